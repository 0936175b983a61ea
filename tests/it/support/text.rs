//! Texts without what is different each time.

use serde_json::Value;

use super::TestSpace;

/// A text with the workspace's folder, run ids, dates, times and durations replaced by words.
pub(crate) fn steady(text: &str, space: &TestSpace) -> String {
    let text = text.replace(&*space.root().to_string_lossy(), "WORKSPACE");
    let lines: Vec<String> = text.lines().map(steady_line).collect();
    lines.join("\n")
}

fn steady_line(line: &str) -> String {
    let mut result = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let before = result.chars().next_back();
        let at_start = before.is_none_or(|before| before == ' ' || before == '(' || before == ',');
        if let Some((word, length)) = at_start.then(|| recognised(rest)).flatten() {
            if word == "TOOK" {
                // It stands at the right end of its column: the longer it took, the fewer spaces are before it.
                let text = result.trim_end().len();
                result.truncate(result.len().min(text + 2));
            }
            result.push_str(word);
            rest = &rest[length..];
        } else {
            result.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    result
}

/// Shapes that stand for something that changes: `0` is a digit, `a` a letter or digit.
const SHAPES: [(&str, &str); 3] = [("00000000-000000-aaaaa", "RUN"), ("0000-00-00 00:00:00", "DATE"), ("00:00:00", "TIME")];

fn recognised(text: &str) -> Option<(&'static str, usize)> {
    for (shape, word) in SHAPES {
        let fits = |(wanted, found): (char, char)| match wanted {
            '0' => found.is_ascii_digit(),
            'a' => found.is_ascii_alphanumeric(),
            exactly => exactly == found,
        };
        if text.chars().count() >= shape.len() && shape.chars().zip(text.chars()).all(fits) {
            return Some((word, shape.len()));
        }
    }
    let number = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').filter(|at| *at > 0)?;
    let unit = [" s", "ms", "s", "m"].into_iter().find(|unit| text[number..].starts_with(unit))?;
    let length = number + unit.len();
    let ends = !text[length..].starts_with(|next: char| next.is_alphanumeric());
    ends.then_some(("TOOK", length))
}

/// Lines of JSON, parsed.
#[track_caller]
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn what_changes_is_replaced() {
    let text = "run 20251120-081152-zzzzz at 2025-11-20 08:11:52, 08:11:52: in 1.25 s, 30ms and 2s; 3 steps, 12 of v1.2";
    assert_eq!(steady_line(text), "run RUN at DATE, TIME: in TOOK, TOOK and TOOK; 3 steps, 12 of v1.2");
}
