//! `-p key=value`: a text of the command line becomes a value of the schema's type.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};

use super::Violation;
use super::complete::whole;
use super::messages::{label, listed, unknown};
use super::walk::{Follow, applied, joined, of_item, property_names};
use crate::diagnostics::suggest;
use crate::json;
use crate::tree::check_number;

/// See `ParamSchema::assign`.
pub(super) fn assign(root: &Value, values: &mut Map<String, Value>, assignment: &str) -> Result<(), Violation> {
    let Some((key, text)) = assignment.split_once('=') else {
        let help = format!("write `{assignment}=VALUE`");
        return Err(refusal("", format!("{assignment:?} is not of the form key=value"), Some(help)));
    };
    let names = property_names(root);
    let path: Vec<&str> = if names.contains(&key) { vec![key] } else { key.split('.').collect() };
    set(root, &[root], values, &path, "", text)
}

/// Sets `path` below `values`, which all of `schemas` describe.
fn set<'s>(
    root: &'s Value,
    schemas: &[&'s Value],
    values: &mut Map<String, Value>,
    path: &[&str],
    pointer: &str,
    text: &str,
) -> Result<(), Violation> {
    let [key, rest @ ..] = path else { return Ok(()) };
    let inner = schemas_of_key(root, schemas, key).ok_or_else(|| unknown(pointer, key, &known(root, schemas)))?;
    let pointer = joined(pointer, key);
    if rest.is_empty() {
        let value = parse(root, &inner, values.get(*key), &pointer, text)?;
        values.insert((*key).to_owned(), value);
        return Ok(());
    }
    let object = values.entry((*key).to_owned()).or_insert_with(|| Value::Object(Map::new()));
    match object {
        Value::Object(map) => set(root, &inner, map, rest, &pointer, text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(refusal(&pointer, format!("{} was given as a whole before", label(&pointer)), Some("give it whole or by its keys".into())))
        }
    }
}

/// The schemas of a key; an empty list where the object may have any key; `None` where it may not have this one.
fn schemas_of_key<'s>(root: &'s Value, schemas: &[&'s Value], key: &str) -> Option<Vec<&'s Value>> {
    let parts = |follow| -> Vec<&Map<String, Value>> { schemas.iter().flat_map(|schema| applied(root, schema, follow)).collect() };
    // A condition that asks what a key is does not say what the key may be; it counts only where nothing else declares the key.
    for follow in [Follow::Forms, Follow::Possible] {
        let declared: Vec<&Value> = parts(follow).iter().filter_map(|schema| schema.get("properties")?.get(key)).collect();
        if !declared.is_empty() {
            return Some(each_once(declared));
        }
    }
    let parts = parts(Follow::Possible);
    let closing = ["additionalProperties", "unevaluatedProperties"];
    let closed = parts.iter().any(|schema| closing.iter().any(|keyword| schema.get(*keyword) == Some(&Value::Bool(false))));
    let by_pattern = parts.iter().any(|schema| schema.contains_key("patternProperties"));
    if closed && !by_pattern {
        return None;
    }
    Some(each_once(parts.iter().filter_map(|schema| schema.get("additionalProperties")).filter(|schema| schema.is_object()).collect()))
}

/// Alternatives that refer to the same schema would double the list with each step of a path.
fn each_once(schemas: Vec<&Value>) -> Vec<&Value> {
    let mut seen = BTreeSet::new();
    schemas.into_iter().filter(|schema| seen.insert(std::ptr::from_ref(*schema))).collect()
}

fn known<'s>(root: &'s Value, schemas: &[&'s Value]) -> Vec<&'s str> {
    let parts = schemas.iter().flat_map(|schema| applied(root, schema, Follow::Possible));
    parts.filter_map(|schema| schema.get("properties")?.as_object()).flat_map(Map::keys).map(String::as_str).collect()
}

/// What the schemas of one place let in.
#[derive(Default)]
struct Allowed<'s> {
    types: Vec<&'s str>,
    options: Vec<Value>,
    items: Vec<&'s Value>,
}

impl<'s> Allowed<'s> {
    fn of(root: &'s Value, schemas: &[&'s Value]) -> Self {
        let mut allowed = Self::default();
        for schema in schemas.iter().flat_map(|schema| applied(root, schema, Follow::Forms)) {
            allowed.items.extend(of_item(schema, 0));
            let options = schema.get("enum").and_then(Value::as_array).into_iter().flatten().chain(schema.get("const"));
            let told_before = allowed.options.len();
            allowed.options.extend(options.cloned());
            match schema.get("type") {
                // The type beside a list of values adds nothing to it.
                _ if allowed.options.len() > told_before => {}
                Some(Value::String(name)) => allowed.types.push(name),
                Some(Value::Array(names)) => allowed.types.extend(names.iter().filter_map(Value::as_str)),
                Some(_) | None => {}
            }
        }
        allowed
    }

    /// The one of the listed values that a text names: the text itself, or its JSON.
    fn option(&self, text: &str) -> Option<Value> {
        let parsed = json::parse(text).ok();
        let names = |option: &&Value| option.as_str() == Some(text) || (!option.is_string() && Some(*option) == parsed.as_ref());
        self.options.iter().find(names).cloned()
    }

    fn has(&self, name: &str) -> bool {
        self.types.contains(&name)
    }
}

fn parse(root: &Value, schemas: &[&Value], before: Option<&Value>, pointer: &str, text: &str) -> Result<Value, Violation> {
    let allowed = Allowed::of(root, schemas);
    if let Some(option) = allowed.option(text) {
        return Ok(option);
    }
    if allowed.types.is_empty() && !allowed.options.is_empty() {
        let message = format!("{} must be one of {}, not {text:?}", label(pointer), listed(&allowed.options));
        return Err(refusal(pointer, message, suggest(text, allowed.options.iter().filter_map(Value::as_str).collect::<Vec<_>>())));
    }
    if allowed.types.is_empty() {
        // The schema does not say: JSON where it is JSON, else the text itself.
        return Ok(json::parse(text).unwrap_or_else(|_| text.into()));
    }
    if let Some(value) = typed(&allowed, text) {
        return Ok(value);
    }
    if allowed.has("array") {
        return array(root, &allowed, before, pointer, text);
    }
    if allowed.has("string") {
        return Ok(text.into());
    }
    Err(not_of_type(&allowed, pointer, text))
}

/// The value, if the text is one of the allowed types that are told apart by their notation.
fn typed(allowed: &Allowed<'_>, text: &str) -> Option<Value> {
    let number = || -> Option<Number> {
        check_number(text).ok()?;
        serde_json::from_str(text).ok()
    };
    match text {
        "null" if allowed.has("null") => return Some(Value::Null),
        "true" if allowed.has("boolean") => return Some(true.into()),
        "false" if allowed.has("boolean") => return Some(false.into()),
        _ => {}
    }
    if allowed.has("integer")
        && let Some(whole) = number().as_ref().and_then(whole)
    {
        return Some(Value::Number(whole));
    }
    if allowed.has("number")
        && let Some(number) = number()
    {
        return Some(Value::Number(number));
    }
    if allowed.has("object") && text.trim_start().starts_with('{') {
        return json::parse(text).ok().filter(Value::is_object);
    }
    None
}

/// JSON is the whole list; anything else is one item more.
fn array(root: &Value, allowed: &Allowed<'_>, before: Option<&Value>, pointer: &str, text: &str) -> Result<Value, Violation> {
    if text.trim_start().starts_with('[') {
        match json::parse(text) {
            Ok(list) => return Ok(list),
            // A text item may begin with a bracket; for all other items it is a list gone wrong.
            Err(reason) if !Allowed::of(root, &allowed.items).has("string") => {
                return Err(refusal(pointer, format!("{} is not a JSON list: {reason}", label(pointer)), None));
            }
            Err(_) => {}
        }
    }
    let mut list = before.and_then(Value::as_array).cloned().unwrap_or_default();
    let item = parse(root, &allowed.items, None, &joined(pointer, &list.len().to_string()), text)?;
    list.push(item);
    Ok(Value::Array(list))
}

fn not_of_type(allowed: &Allowed<'_>, pointer: &str, text: &str) -> Violation {
    let words = allowed.types.iter().map(|name| match *name {
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "object" => "a JSON object",
        "null" => "null",
        other => other,
    });
    let mut words: Vec<&str> = words.collect();
    words.dedup();
    let help = match json::parse(text) {
        Err(reason) if allowed.has("object") => {
            Some(format!("as JSON it does not read: {reason}; keys can be given one by one: `key.inner=1`"))
        }
        Ok(_) | Err(_) => check_number(text).err().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')),
    };
    refusal(pointer, format!("{} must be {}, not {text:?}", label(pointer), words.join(" or ")), help)
}

fn refusal(pointer: &str, message: String, help: Option<String>) -> Violation {
    Violation { pointer: pointer.to_owned(), message, help }
}
