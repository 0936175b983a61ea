//! JSON without places, for texts that are no files of users: `-p ranges=[1,2]`, what a module reports. It is what `serde_json` reads,
//! minus what that mends silently: duplicate keys, numbers that it would round, nesting without end.
//!
//! Files of users are read by `yaml`, with the place of every value. Used by `params` and `attempt`.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::tree::check_number;

/// Most lists and maps inside each other, in values of parameters and outputs. Deeper ones are mistakes or attacks.
pub const DEPTH_MAX: usize = 64;

/// Why a text is refused, and at which value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// JSON Pointer of the value; empty where the text is no JSON at all.
    pub pointer: String,
    /// What is wrong, as a fragment for a message.
    pub message: String,
}

/// Parses one JSON value. Duplicate keys, numbers that 64 bits cannot hold and more than [`DEPTH_MAX`] levels are refused.
///
/// # Errors
/// What is wrong, as a fragment for a message.
pub fn parse(text: &str) -> Result<Value, String> {
    parse_located(text).map_err(|refused| refused.message)
}

/// The same, for those who also want to say where.
///
/// # Errors
/// What is wrong, and at which value.
pub fn parse_located(text: &str) -> Result<Value, Refused> {
    let place = RefCell::new(String::new());
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Seed { depth: 0, place: &place }.deserialize(&mut deserializer);
    let value = value.map_err(|error| Refused { pointer: place.take(), message: error.to_string() })?;
    deserializer.end().map_err(|error| Refused { pointer: String::new(), message: error.to_string() })?;
    check_numbers(text)?;
    Ok(value)
}

/// Adds a step to a JSON Pointer.
pub fn push_step(pointer: &mut String, step: &str) {
    pointer.push('/');
    pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
}

/// Where a scan of a text stands: in a list at this item, or in a map at this key.
enum Level {
    List(usize),
    Map { key: String, is_key: bool },
}

fn pointer_of(levels: &[Level]) -> String {
    let mut pointer = String::new();
    for level in levels {
        match level {
            Level::List(item) => push_step(&mut pointer, &item.to_string()),
            Level::Map { key, .. } => push_step(&mut pointer, key),
        }
    }
    pointer
}

/// Looks at the numbers of a text that is known to be JSON: the parser rounds whole ones that do not fit.
fn check_numbers(text: &str) -> Result<(), Refused> {
    let bytes = text.as_bytes();
    let mut levels: Vec<Level> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'"' => {
                while bytes.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
                if let Some(Level::Map { key, is_key: true }) = levels.last_mut() {
                    *key = serde_json::from_str(&text[start..at]).unwrap_or_default();
                }
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                while bytes.get(at).is_some_and(is_part) {
                    at += 1;
                }
                check_number(&text[start..at]).map_err(|message| Refused { pointer: pointer_of(&levels), message })?;
            }
            b'[' => levels.push(Level::List(0)),
            b'{' => levels.push(Level::Map { key: String::new(), is_key: true }),
            b']' | b'}' => drop(levels.pop()),
            b':' => {
                if let Some(Level::Map { is_key, .. }) = levels.last_mut() {
                    *is_key = false;
                }
            }
            b',' => match levels.last_mut() {
                Some(Level::List(item)) => *item += 1,
                Some(Level::Map { is_key, .. }) => *is_key = true,
                None => {}
            },
            _ => {}
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Seed<'p> {
    depth: usize,
    /// Pointer of the value that is being read. After a mistake it stays where that was.
    place: &'p RefCell<String>,
}

impl Seed<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth < DEPTH_MAX {
            Ok(Self { depth: self.depth + 1, ..self })
        } else {
            Err(E::custom(format!("more than {DEPTH_MAX} lists and maps inside each other")))
        }
    }

    /// Goes into a value; gives what `leave` wants.
    fn enter(self, step: &str) -> usize {
        let mut place = self.place.borrow_mut();
        let length = place.len();
        push_step(&mut place, step);
        length
    }

    fn leave(self, length: usize) {
        self.place.borrow_mut().truncate(length);
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
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
        loop {
            let length = self.enter(&list.len().to_string());
            let item = items.next_element_seed(deeper)?;
            self.leave(length);
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let length = self.enter(&key);
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice")));
            }
            let value = entries.next_value_seed(deeper)?;
            self.leave(length);
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
    fn a16_the_place_of_a_mistake_is_named() {
        let deep = format!(r#"{{"d": {}{}}}"#, "[".repeat(65), "]".repeat(65));
        for (text, pointer) in [
            (r#"{"a": {"b/c": 1, "b/c": 2}}"#, "/a/b~1c"),
            (r#"{"a": [1, {"n": 18446744073709551616}]}"#, "/a/1/n"),
            (r#"{"x": "1e999,[{", "a": [1, [], 1e400]}"#, "/a/2"),
            (r#"{"a": NaN}"#, "/a"),
            ("{", ""),
        ] {
            assert_eq!(parse_located(text).expect_err(text).pointer, pointer, "{text}");
        }
        assert!(parse_located(&deep).expect_err("deep").pointer.starts_with("/d/0/0/"));
    }

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
