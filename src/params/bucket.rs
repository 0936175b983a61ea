//! Which attempts of a module are alike: a word for the size and the kind of its parameters.
//!
//! Time and memory of a module mostly follow from a few of its parameters: a mode, a size, a count. A bucket keeps of each parameter as
//! much as tells such attempts apart and as little as makes them few: booleans and words of an `enum` as they are, numbers by their
//! order of magnitude, lists by that of their length. Free texts and paths are left out: there would be as many buckets as attempts.

use std::fmt::Write;

use serde_json::{Number, Value};

/// Most parameters that a bucket tells of: the first in the order of their names.
const TOLD_MAX: usize = 8;

/// Longest word of an `enum` that is told.
const WORD_MAX: usize = 32;

/// The bucket of complete parameters, such as `count=1e1,mode=fast`. Empty where nothing of them counts. The same for the same values,
/// on every machine.
pub(super) fn bucket(schema: &Value, value: &Value) -> String {
    let mut bucket = String::new();
    let Some(values) = value.as_object() else { return bucket };
    let mut names: Vec<&String> = values.keys().collect();
    names.sort_unstable();
    let told = names.into_iter().filter_map(|name| Some((name, word(schema.pointer("/properties")?.get(name)?, values.get(name)?)?)));
    for (at, (name, word)) in told.take(TOLD_MAX).enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // Writing to a text cannot fail.
        let _ = write!(bucket, "{comma}{name}={word}");
    }
    bucket
}

/// What is told of one value; nothing of free texts, objects and nothings.
fn word(schema: &Value, value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(magnitude(number)),
        Value::Array(list) => Some(format!("#{}", magnitude(&Number::from(list.len())))),
        Value::String(text) => schema.get("enum").map(|_| text.chars().take(WORD_MAX).collect()),
        Value::Null | Value::Object(_) => None,
    }
}

/// The order of magnitude: `0`, `1e0` for 1 to 9, `-1e3`, `1e-2`. Read off the digits: a logarithm may differ from machine to machine.
fn magnitude(number: &Number) -> String {
    let power = |digits: u32| format!("1e{}", digits.saturating_sub(1));
    if let Some(value) = number.as_u64() {
        return if value == 0 { "0".to_owned() } else { power(value.checked_ilog10().unwrap_or(0) + 1) };
    }
    if let Some(value) = number.as_i64() {
        return format!("-{}", power(value.unsigned_abs().checked_ilog10().unwrap_or(0) + 1));
    }
    let text = format!("{:e}", number.as_f64().unwrap_or_default());
    let sign = if text.starts_with('-') { "-" } else { "" };
    match text.split_once('e') {
        Some(("0" | "-0", _)) | None => "0".to_owned(),
        Some((_, exponent)) => format!("{sign}1e{exponent}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bucket_tells_sizes_and_kinds() {
        let schema = json!({"properties": {
            "count": {}, "mode": {"enum": ["fast", "best"]}, "input": {"type": "string"}, "deep": {}, "list": {}, "more": {}, "none": {}
        }});
        let of = |value: Value| bucket(&schema, &value);
        assert_eq!(of(json!({"mode": "fast", "count": 12, "input": "/a", "deep": true})), "count=1e1,deep=true,mode=fast");
        assert_eq!(of(json!({"count": 99})), of(json!({"count": 10})));
        assert_ne!(of(json!({"count": 100})), of(json!({"count": 10})));
        assert_eq!(of(json!({"list": [1, 2, 3], "more": {"a": 1}, "none": null})), "list=#1e0");
        assert_eq!(of(json!({"unknown": 3})), "");
        assert_eq!(of(json!([1])), "");
    }

    #[test]
    fn magnitudes_are_exact_at_their_edges() {
        let of = |value: Value| bucket(&json!({"properties": {"n": {}}}), &json!({"n": value}));
        let all = [json!(0), json!(0.0), json!(9), json!(10), json!(-1000), json!(0.001), json!(0.0099), json!(-2.5), json!(u64::MAX)];
        let words: Vec<String> = all.into_iter().map(of).collect();
        assert_eq!(words, ["n=0", "n=0", "n=1e0", "n=1e1", "n=-1e3", "n=1e-3", "n=1e-3", "n=-1e0", "n=1e19"]);
    }

    #[test]
    fn a_bucket_is_short_whatever_the_parameters_are() {
        let names: Vec<String> = (0..100).map(|number| format!("p{number:03}")).collect();
        let schema =
            json!({"properties": names.iter().map(|name| (name.clone(), json!({"enum": ["x"]}))).collect::<serde_json::Map<_, _>>()});
        let value: Value = names.iter().map(|name| (name.clone(), json!("x".repeat(1000)))).collect::<serde_json::Map<_, _>>().into();
        let bucket = bucket(&schema, &value);
        assert_eq!(bucket.split(',').count(), TOLD_MAX);
        assert!(bucket.len() < TOLD_MAX * (WORD_MAX + 8), "{bucket}");
    }
}
