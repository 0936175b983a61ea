//! `docs/attacks.md` against the tests: every attack has a test that exists, or says where it is covered or why there is no test.

use std::collections::{BTreeMap, BTreeSet};

/// Number of rows, from 1 on without gaps.
const ROWS: u32 = 45;

/// The rows that a test names: `a01_a37_no_route` names 1 and 37, `a_16_numbers` 16.
pub(crate) fn rows_of(test: &str) -> Vec<u32> {
    let mut rows = Vec::new();
    let mut rest = test;
    while let Some(after) = rest.strip_prefix('a') {
        let digits = after.strip_prefix('_').unwrap_or(after);
        let Some(number) = digits.get(..2).and_then(|two| two.parse().ok()) else { break };
        rows.push(number);
        let Some(next) = digits.get(2..).and_then(|tail| tail.strip_prefix('_')) else { break };
        rest = next;
    }
    rows
}

/// Names of the test functions in source texts.
pub(crate) fn tests_in<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let name = |line: &str| {
        let name = line.trim_start().strip_prefix("fn ")?.split('(').next()?;
        (!rows_of(name).is_empty()).then(|| name.to_owned())
    };
    texts.flat_map(str::lines).filter_map(name).collect()
}

/// Everything that the table and the tests do not agree on.
pub(crate) fn disagreements(table: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let rows: BTreeMap<u32, &str> =
        table.lines().filter_map(|line| Some((line.strip_prefix("| A-")?.get(..2)?.parse().ok()?, line))).collect();
    let mut found = Vec::new();
    for number in 1..=ROWS {
        let Some(line) = rows.get(&number) else {
            found.push(format!("A-{number:02} has no row"));
            continue;
        };
        let names = line.split('`').skip(1).step_by(2).filter_map(|name| name.rsplit("::").next());
        let named: BTreeSet<&str> = names.filter(|name| !rows_of(name).is_empty()).collect();
        let excused = line.contains("not testable here:") || line.contains("| covered by ");
        if named.is_empty() && !excused {
            found.push(format!("A-{number:02} names neither a test nor the reason why there is none"));
        }
        found.extend(
            named.iter().filter(|name| !tests.contains(**name)).map(|name| format!("A-{number:02} names `{name}`, which is no test")),
        );
    }
    let beyond = rows.keys().filter(|number| !(1..=ROWS).contains(*number));
    found.extend(beyond.map(|number| format!("A-{number:02} is not in the list of attacks")));
    found
}
