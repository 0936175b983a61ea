//! JSON without places, for texts that are no files of users: `-p ranges=[1,2]`, what a module reports. It is what `serde_json` reads,
//! minus what that mends silently: duplicate keys, numbers that it would round, nesting without end.
//!
//! Files of users are read by `yaml`, with the place of every value. Used by `params` and `attempt`.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::tree::check_number;

/// Most lists and maps inside each other, in values of parameters and outputs. Deeper ones are mistakes or attacks.
pub const DEPTH_MAX: usize = 64;

/// Parses one JSON value. Duplicate keys, numbers that 64 bits cannot hold and more than [`DEPTH_MAX`] levels are refused.
///
/// # Errors
/// What is wrong, as a fragment for a message.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Seed { depth: 0 }.deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    check_numbers(text)?;
    Ok(value)
}

/// Looks at the numbers of a text that is known to be JSON: the parser rounds whole ones that do not fit.
fn check_numbers(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let start = at;
        match byte {
            b'"' => {
                at += 1;
                while bytes.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                while bytes.get(at).is_some_and(is_part) {
                    at += 1;
                }
                check_number(&text[start..at])?;
            }
            _ => at += 1,
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Seed {
    depth: usize,
}

impl Seed {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth < DEPTH_MAX {
            Ok(Self { depth: self.depth + 1 })
        } else {
            Err(E::custom(format!("more than {DEPTH_MAX} lists and maps inside each other")))
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(deeper)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice")));
            }
            let value = entries.next_value_seed(deeper)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_16_what_would_be_mended_silently_is_refused() {
        assert_eq!(
            parse(r#"{"a": [1, 2.5, "x\"123456789012345678901234", null, true]}"#).map_err(|_| ()),
            Ok(json!({"a": [1, 2.5, "x\"123456789012345678901234", null, true]}))
        );
        for (text, word) in [
            (r#"{"a": 1, "a": 2}"#, "twice"),
            ("[18446744073709551616]", "64 bits"),
            ("[1e400]", "out of range"),
            ("[1] 2", "trailing"),
            ("[NaN]", "expected value"),
            (r#""\ud83d""#, "hex escape"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        assert!(parse(&deep).expect_err("deep").contains("more than 64"));
        assert!(parse(&deep[1..129]).is_ok());
    }
}
