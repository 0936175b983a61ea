//! Defaults, and whole numbers written as whole numbers.

use serde_json::{Map, Number, Value};

use super::cost::steps;
use super::messages::too_costly;
use super::walk::{Follow, applied, each_place, of_item, of_key, push_token};
use super::{Completed, Violation};
use crate::json::DEPTH_MAX;

/// Most defaults of one value. A schema whose defaults hold themselves would fill in without end; compiling refuses it.
pub(super) const DEFAULTS_MAX: usize = 10_000;

/// Most bytes of them, about: a long default of each of many items.
const DEFAULTS_BYTES_MAX: usize = 8 << 20;

/// Most schemas that are looked at for them. A request has room for some three hundred thousand objects.
const FILLING_STEPS_MAX: u64 = 1_000_000;

/// See `ParamSchema::complete`.
pub(super) fn complete(root: &Value, has_defaults: bool, values: Map<String, Value>) -> Result<Completed, Violation> {
    let mut value = Value::Object(values);
    let mut filling = Filling::new(root);
    if has_defaults {
        filling.fill(root, &mut value, 0)?;
    }
    let defaulted = filling.defaulted;
    steps(root, root, &value).ok_or_else(too_costly)?;
    canonicalise(root, &mut value);
    Ok(Completed { value, defaulted })
}

/// A default of a schema with the defaults inside it, as it will stand in a value.
pub(super) fn complete_default(root: &Value, schema: &Value, mut default: Value) -> Result<Value, Violation> {
    Filling::new(root).fill(schema, &mut default, 0)?;
    Ok(default)
}

struct Filling<'s> {
    root: &'s Value,
    pointer: String,
    defaulted: Vec<String>,
    /// Bytes of the defaults so far.
    bytes: usize,
    /// Schemas that were looked at.
    steps: u64,
}

impl<'s> Filling<'s> {
    fn new(root: &'s Value) -> Self {
        Self { root, pointer: String::new(), defaulted: Vec::new(), bytes: 0, steps: 0 }
    }

    /// Walks into what is there, and inserts what is not. Only by what holds in any case: which branch of an `anyOf` is meant, nobody
    /// knows before the value is complete.
    fn fill(&mut self, schema: &'s Value, value: &mut Value, depth: usize) -> Result<(), Violation> {
        if depth >= DEPTH_MAX {
            return Ok(());
        }
        let length = self.pointer.len();
        for schema in applied(self.root, schema, Follow::Certain) {
            self.steps += 1;
            if self.steps > FILLING_STEPS_MAX {
                return Err(too_costly());
            }
            match value {
                Value::Object(map) => {
                    self.insert_defaults(schema, map)?;
                    for (key, value) in map.iter_mut() {
                        let Some(inner) = of_key(schema, key) else { continue };
                        push_token(&mut self.pointer, key);
                        self.fill(inner, value, depth + 1)?;
                        self.pointer.truncate(length);
                    }
                }
                Value::Array(list) => {
                    for (at, value) in list.iter_mut().enumerate() {
                        let Some(inner) = of_item(schema, at) else { continue };
                        push_token(&mut self.pointer, &at.to_string());
                        self.fill(inner, value, depth + 1)?;
                        self.pointer.truncate(length);
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        Ok(())
    }

    fn insert_defaults(&mut self, schema: &'s Map<String, Value>, map: &mut Map<String, Value>) -> Result<(), Violation> {
        let length = self.pointer.len();
        for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if map.contains_key(key) {
                continue;
            }
            let default = applied(self.root, property, Follow::Certain).into_iter().find_map(|schema| schema.get("default"));
            if let Some(default) = default {
                self.bytes = self.bytes.saturating_add(bytes_of(default));
                if self.defaulted.len() >= DEFAULTS_MAX || self.bytes > DEFAULTS_BYTES_MAX {
                    return Err(too_many_defaults(&self.pointer));
                }
                map.insert(key.clone(), default.clone());
                push_token(&mut self.pointer, key);
                self.defaulted.push(self.pointer.clone());
                self.pointer.truncate(length);
            }
        }
        Ok(())
    }
}

fn too_many_defaults(pointer: &str) -> Violation {
    let message = format!("too many values are left to their defaults: at most {DEFAULTS_MAX}, and {} MiB", DEFAULTS_BYTES_MAX >> 20);
    Violation { pointer: pointer.to_owned(), message, help: Some("shorten the list; a long list of data belongs in a file".into()) }
}

/// About what a value takes.
fn bytes_of(value: &Value) -> usize {
    const EACH: usize = 32;
    EACH + match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(bytes_of).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + bytes_of(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Largest whole number up to which every double with no fraction is exactly that number.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// The integer that a number is, written as one: `1.0`, `1e3`.
pub(super) fn whole(number: &Number) -> Option<Number> {
    if number.is_i64() || number.is_u64() {
        return Some(number.clone());
    }
    let value = number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() <= EXACT_MAX)?;
    // Exact: the value has no fraction and lies within 2^53.
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    Some(Number::from(value as i64))
}

/// Whether a schema's `type` lets whole numbers in and no others.
fn wants_integer(schema: &Map<String, Value>) -> bool {
    match schema.get("type") {
        Some(Value::String(name)) => name == "integer",
        Some(Value::Array(names)) => names.iter().any(|name| name == "integer") && !names.iter().any(|name| name == "number"),
        Some(_) | None => false,
    }
}

/// `1.0` is an integer to JSON Schema and a float to the module that gets it: write it as the schema says.
fn canonicalise(root: &Value, value: &mut Value) {
    let mut found: Vec<(String, Number)> = Vec::new();
    each_place(root, root, Follow::Possible, value, &mut String::new(), &mut |pointer, schema, value| {
        if let Value::Number(number) = value
            && number.is_f64()
            && wants_integer(schema)
            && let Some(whole) = whole(number)
        {
            found.push((pointer.to_owned(), whole));
        }
    });
    for (pointer, number) in found {
        if let Some(place) = value.pointer_mut(&pointer) {
            *place = Value::Number(number);
        }
    }
}
