//! Where schemas stand inside a schema, and which of them speak about a place of a value.

use serde_json::{Map, Value};

use super::cost::steps;

/// What a keyword holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Data, numbers, names: no schema.
    Data,
    /// A schema.
    Schema,
    /// A list of schemas.
    List,
    /// A map from names to schemas.
    Map,
}

/// A keyword of draft 2020-12. `in_place`: its schemas speak about the very value that its own schema speaks about.
pub(super) struct Keyword {
    pub(super) name: &'static str,
    pub(super) holds: Holds,
    pub(super) in_place: bool,
}

const fn data(name: &'static str) -> Keyword {
    Keyword { name, holds: Holds::Data, in_place: false }
}

const fn inner(name: &'static str, holds: Holds) -> Keyword {
    Keyword { name, holds, in_place: false }
}

const fn in_place(name: &'static str, holds: Holds) -> Keyword {
    Keyword { name, holds, in_place: true }
}

pub(super) const KEYWORDS: &[Keyword] = &[
    data("$schema"),
    data("$id"),
    data("$ref"),
    data("$anchor"),
    data("$dynamicRef"),
    data("$dynamicAnchor"),
    data("$vocabulary"),
    data("$comment"),
    inner("$defs", Holds::Map),
    inner("definitions", Holds::Map),
    in_place("allOf", Holds::List),
    in_place("anyOf", Holds::List),
    in_place("oneOf", Holds::List),
    in_place("not", Holds::Schema),
    in_place("if", Holds::Schema),
    in_place("then", Holds::Schema),
    in_place("else", Holds::Schema),
    in_place("dependentSchemas", Holds::Map),
    inner("prefixItems", Holds::List),
    inner("items", Holds::Schema),
    inner("contains", Holds::Schema),
    inner("properties", Holds::Map),
    inner("patternProperties", Holds::Map),
    inner("additionalProperties", Holds::Schema),
    inner("propertyNames", Holds::Schema),
    inner("unevaluatedItems", Holds::Schema),
    inner("unevaluatedProperties", Holds::Schema),
    inner("contentSchema", Holds::Schema),
    data("type"),
    data("const"),
    data("enum"),
    data("multipleOf"),
    data("maximum"),
    data("exclusiveMaximum"),
    data("minimum"),
    data("exclusiveMinimum"),
    data("maxLength"),
    data("minLength"),
    data("pattern"),
    data("maxItems"),
    data("minItems"),
    data("uniqueItems"),
    data("maxContains"),
    data("minContains"),
    data("maxProperties"),
    data("minProperties"),
    data("required"),
    data("dependentRequired"),
    data("title"),
    data("description"),
    data("default"),
    data("deprecated"),
    data("readOnly"),
    data("writeOnly"),
    data("examples"),
    data("format"),
    data("contentMediaType"),
    data("contentEncoding"),
];

/// Appends a token to a JSON Pointer.
pub(super) fn push_token(pointer: &mut String, token: &str) {
    pointer.push('/');
    for c in token.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// A pointer with one more token.
pub(super) fn joined(pointer: &str, token: &str) -> String {
    let mut longer = pointer.to_owned();
    push_token(&mut longer, token);
    longer
}

/// The schemas that a keyword's value holds, each with its pointer below `pointer` (which names the keyword).
pub(super) fn held<'s>(holds: Holds, value: &'s Value, pointer: &str) -> Vec<(String, &'s Value)> {
    match (holds, value) {
        (Holds::Schema, schema) => vec![(pointer.to_owned(), schema)],
        (Holds::List, Value::Array(list)) => {
            list.iter().enumerate().map(|(at, schema)| (joined(pointer, &at.to_string()), schema)).collect()
        }
        (Holds::Map, Value::Object(map)) => map.iter().map(|(name, schema)| (joined(pointer, name), schema)).collect(),
        (Holds::Data | Holds::List | Holds::Map, _) => Vec::new(),
    }
}

/// Calls `visit` with every schema inside `schema`, itself first, and its pointer.
pub(super) fn each_schema<'s>(schema: &'s Value, pointer: &str, visit: &mut dyn FnMut(&str, &'s Map<String, Value>)) {
    let Value::Object(map) = schema else { return };
    visit(pointer, map);
    for keyword in KEYWORDS.iter().filter(|keyword| keyword.holds != Holds::Data) {
        let Some(value) = map.get(keyword.name) else { continue };
        for (pointer, inner) in held(keyword.holds, value, &joined(pointer, keyword.name)) {
            each_schema(inner, &pointer, visit);
        }
    }
}

/// What a `$ref` such as `#/$defs/size` points at.
pub(super) fn resolve<'s>(root: &'s Value, reference: &str) -> Option<&'s Value> {
    root.pointer(&reference_pointer(reference)?)
}

/// The pointer of a local reference, with `%20` and the like decoded.
pub(super) fn reference_pointer(reference: &str) -> Option<String> {
    let fragment = reference.strip_prefix('#')?;
    if !fragment.contains('%') {
        return Some(fragment.to_owned());
    }
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
                rest = tail;
            }
            (byte, tail) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// Which schemas beside the plain ones are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// Only what holds in any case: `$ref` and `allOf`.
    Certain,
    /// Also the forms that a value may have: `anyOf` and `oneOf`.
    Forms,
    /// Also conditions.
    Possible,
}

impl Follow {
    fn keywords(self) -> &'static [&'static str] {
        match self {
            Self::Certain => &["allOf"],
            Self::Forms => &["allOf", "anyOf", "oneOf"],
            Self::Possible => &["allOf", "anyOf", "oneOf", "if", "then", "else"],
        }
    }
}

/// `schema` and the schemas that speak about the same value. Ends in any case: circles without a step into the value are refused when
/// a schema is compiled.
pub(super) fn applied<'s>(root: &'s Value, schema: &'s Value, follow: Follow) -> Vec<&'s Map<String, Value>> {
    let mut found = Vec::new();
    collect_applied(root, schema, follow, &mut found);
    found
}

fn collect_applied<'s>(root: &'s Value, schema: &'s Value, follow: Follow, found: &mut Vec<&'s Map<String, Value>>) {
    let Value::Object(map) = schema else { return };
    found.push(map);
    if let Some(target) = map.get("$ref").and_then(Value::as_str).and_then(|reference| resolve(root, reference)) {
        collect_applied(root, target, follow, found);
    }
    for inner in follow.keywords().iter().filter_map(|keyword| map.get(*keyword)) {
        match inner {
            Value::Array(list) => list.iter().for_each(|inner| collect_applied(root, inner, follow, found)),
            other => collect_applied(root, other, follow, found),
        }
    }
}

/// The schema of a key of an object that `schema` describes: declared, or the one for keys that are not.
pub(super) fn of_key<'s>(schema: &'s Map<String, Value>, key: &str) -> Option<&'s Value> {
    schema.get("properties").and_then(|properties| properties.get(key)).or_else(|| schema.get("additionalProperties"))
}

/// The schema of an item of a list that `schema` describes.
pub(super) fn of_item(schema: &Map<String, Value>, at: usize) -> Option<&Value> {
    schema.get("prefixItems").and_then(|list| list.get(at)).or_else(|| schema.get("items"))
}

/// Called with a place of a value, a schema that speaks about it, and what stands there.
pub(super) type Visit<'v, 's> = dyn FnMut(&str, &'s Map<String, Value>, &Value) + 'v;

/// Calls `visit` for every place of `value` and every schema that speaks about it.
pub(super) fn each_place<'s>(
    root: &'s Value,
    schema: &'s Value,
    follow: Follow,
    value: &Value,
    pointer: &mut String,
    visit: &mut Visit<'_, 's>,
) {
    for schema in applied(root, schema, follow) {
        visit(pointer, schema, value);
        let length = pointer.len();
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let Some(inner) = of_key(schema, key) else { continue };
                    push_token(pointer, key);
                    each_place(root, inner, follow, value, pointer, visit);
                    pointer.truncate(length);
                }
            }
            Value::Array(list) => {
                for (at, value) in list.iter().enumerate() {
                    let Some(inner) = of_item(schema, at) else { continue };
                    push_token(pointer, &at.to_string());
                    each_place(root, inner, follow, value, pointer, visit);
                    pointer.truncate(length);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// See `ParamSchema::path_pointers`.
pub(super) fn path_pointers(root: &Value, value: &Value) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    if steps(root, root, value).is_none() {
        return found;
    }
    each_place(root, root, Follow::Possible, value, &mut String::new(), &mut |pointer, schema, value| {
        let is_path = matches!(schema.get("format").and_then(Value::as_str), Some("file" | "directory"));
        if is_path && value.is_string() && !found.iter().any(|known| known == pointer) {
            found.push(pointer.to_owned());
        }
    });
    found
}

/// See `ParamSchema::property_names`.
pub(super) fn property_names(root: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for schema in applied(root, root, Follow::Possible) {
        for name in schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    names
}
