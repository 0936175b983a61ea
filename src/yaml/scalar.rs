//! What an unquoted YAML scalar is: the core schema of YAML 1.2, minus what different readers read differently.

use crate::tree::{Kind, check_number};

/// The meaning of a plain scalar.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// A value whose notation is JSON's too.
    As(Kind),
    /// A number in a notation that JSON does not have, and the same number in JSON.
    Number(String),
    /// Refused: why, and what to write.
    Refused(String, String),
}

/// Resolves a plain scalar.
pub(super) fn resolve(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::As(Kind::Null),
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return Plain::As(Kind::Bool),
        _ => {}
    }
    // All that can be a number begins like one; almost every scalar is told by its first byte.
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned.as_bytes().first() {
        Some(b'0'..=b'9' | b'.') => number(text, unsigned),
        Some(_) | None => Plain::As(Kind::String),
    }
}

fn number(text: &str, unsigned: &str) -> Plain {
    if matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return Plain::Refused(format!("`{text}` is no number that JSON can hold"), "leave it out, or quote it to pass a text".into());
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(text, digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(text, digits, 8);
    }
    if is_underscored(unsigned) {
        return Plain::Refused(
            format!("`{text}` is a number to some readers of YAML and a text to others"),
            format!("write {} for the number, or quote it: \"{text}\"", text.replace('_', "")),
        );
    }
    let Some((whole, fraction, exponent)) = decimal(unsigned) else { return Plain::As(Kind::String) };
    if whole.len() > 1 && whole.starts_with('0') {
        return Plain::Refused(
            format!("`{text}` begins with a zero: an octal number to some readers of YAML, a decimal one to others"),
            format!("quote it: \"{text}\", or write the number without the zero"),
        );
    }
    let json = in_json(text.starts_with('-'), whole, fraction, exponent);
    match check_number(&json) {
        Err(reason) => Plain::Refused(reason, format!("quote it: \"{text}\"")),
        Ok(()) if json == text => Plain::As(Kind::Number),
        Ok(()) => Plain::Number(json),
    }
}

fn radix(text: &str, digits: &str, radix: u32) -> Plain {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Plain::As(Kind::String);
    }
    match u64::from_str_radix(digits, radix) {
        Ok(value) => Plain::Number(value.to_string()),
        Err(_) => Plain::Refused(format!("`{text}` does not fit 64 bits"), format!("quote it: \"{text}\"")),
    }
}

/// `1_000`, `1_0.5`: digits with underscores between them and nothing else but a fraction.
fn is_underscored(unsigned: &str) -> bool {
    unsigned.contains('_')
        && unsigned.starts_with(|c: char| c.is_ascii_digit())
        && unsigned.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_' || byte == b'.')
        && unsigned.bytes().filter(|byte| *byte == b'.').count() <= 1
}

/// Whole part, fraction (without the point) and exponent (without the letter) of a decimal number of the core schema.
fn decimal(unsigned: &str) -> Option<(&str, &str, &str)> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((_, "" | "+" | "-")) => return None,
        Some((mantissa, exponent)) => (mantissa, exponent),
        None => (unsigned, ""),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let fits = digits(whole) && digits(fraction) && digits(exponent_digits) && !(whole.is_empty() && fraction.is_empty());
    fits.then_some((whole, fraction, exponent))
}

fn in_json(negative: bool, whole: &str, fraction: &str, exponent: &str) -> String {
    let mut json = String::with_capacity(whole.len() + fraction.len() + exponent.len() + 4);
    if negative {
        json.push('-');
    }
    json.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        json.push('.');
        json.push_str(fraction);
    }
    if !exponent.is_empty() {
        json.push('e');
        json.push_str(exponent);
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_23_words_and_numbers_that_readers_disagree_about() {
        for word in ["no", "No", "on", "off", "yes", "y", "n", "1.2.3", "12:30:45", "2026-11-20", "0b101", "-", "+", ".", "-a", "1e", "1_a"]
        {
            assert_eq!(resolve(word), Plain::As(Kind::String), "{word}");
        }
        for word in ["~", "null", "NULL", ""] {
            assert_eq!(resolve(word), Plain::As(Kind::Null), "{word}");
        }
        for word in ["010", "-010", "007", "1_000", "1_0.5", ".nan", "-.inf", "+.INF", "08", "00"] {
            assert!(matches!(resolve(word), Plain::Refused(..)), "{word}");
        }
        let Plain::Refused(_, help) = resolve("010") else { panic!("octal-looking") };
        assert!(help.contains("quote it: \"010\""), "{help}");
    }

    #[test]
    fn other_notations_become_json_numbers() {
        for (text, json) in [("0x1F", "31"), ("0o17", "15"), ("+1", "1"), (".5", "0.5"), ("-.5", "-0.5"), ("1.", "1"), ("1E3", "1e3")] {
            assert_eq!(resolve(text), Plain::Number(json.to_owned()), "{text}");
        }
        for text in ["0", "-0", "1", "1.5", "1e3", "-2.5e-3", "18446744073709551615", "-9223372036854775808"] {
            assert_eq!(resolve(text), Plain::As(Kind::Number), "{text}");
        }
    }

    #[test]
    fn a_16_numbers_out_of_range_are_refused() {
        for text in ["18446744073709551616", "-9223372036854775809", "1e400", "-1e400", "0xfffffffffffffffff"] {
            assert!(matches!(resolve(text), Plain::Refused(..)), "{text}");
        }
    }
}
