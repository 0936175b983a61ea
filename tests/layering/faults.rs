//! `docs/faults.md` against the tests: every fault of the promises has a test that exists, or says why there is none.

use std::collections::{BTreeMap, BTreeSet};

/// Rows that must be there: journal and disk, clock, processes, output, and resources.
pub(crate) fn wanted() -> impl Iterator<Item = u32> {
    (1..=48).chain(52..=66)
}

/// A row of the table.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// Names of tests.
    tests: BTreeSet<String>,
    /// It says why there is no test.
    excused: bool,
}

/// Reads the rows: lines that begin with `| F-`. Names of tests stand in backquotes and begin with `f` and a digit.
pub(crate) fn read(text: &str) -> BTreeMap<u32, Row> {
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("| F-") else { continue };
        let Some(number) = rest.get(..2).and_then(|digits| digits.parse().ok()) else { continue };
        let names = line.split('`').skip(1).step_by(2).map(|name| name.rsplit("::").next().unwrap_or(name));
        let tests = names.filter(|name| rows_of(name).contains(&number)).map(str::to_owned).collect();
        rows.insert(number, Row { tests, excused: line.contains("not testable here:") });
    }
    rows
}

/// The rows that a test names: `f09_f15_a_full_disk` names 9 and 15.
pub(crate) fn rows_of(test: &str) -> Vec<u32> {
    let number = |part: &&str| part.len() == 3 && part.starts_with('f') && part[1..].bytes().all(|byte| byte.is_ascii_digit());
    test.split('_').take_while(number).filter_map(|part| part[1..].parse().ok()).collect()
}

/// Names of the test functions in source texts.
pub(crate) fn tests_in<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let name = |line: &str| {
        let rest = line.trim_start().strip_prefix("fn ")?;
        let name = rest.split('(').next()?;
        (!rows_of(name).is_empty()).then(|| name.to_owned())
    };
    texts.flat_map(str::lines).filter_map(name).collect()
}

/// Everything that the table and the tests do not agree on.
pub(crate) fn disagreements(rows: &BTreeMap<u32, Row>, tests: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for number in wanted() {
        match rows.get(&number) {
            None => found.push(format!("F-{number:02} has no row")),
            Some(row) if row.tests.is_empty() && !row.excused => {
                found.push(format!("F-{number:02} names neither a test nor, after `not testable here:`, the reason"));
            }
            Some(_) => {}
        }
    }
    for (number, row) in rows {
        let missing = row.tests.difference(tests);
        found.extend(missing.map(|test| format!("F-{number:02} names `{test}`, which is no test")));
    }
    let wanted: BTreeSet<u32> = wanted().collect();
    for test in tests {
        for number in rows_of(test).into_iter().filter(|number| wanted.contains(number)) {
            if !rows.get(&number).is_some_and(|row| row.tests.contains(test)) {
                found.push(format!("F-{number:02} does not name its test `{test}`"));
            }
        }
    }
    found
}
