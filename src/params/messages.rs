//! Mistakes of a value in words that name the key, what is allowed and what was found.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, ValidationError, Validator};
use serde_json::{Map, Value};

use super::cost::{self, STEPS_OF_ALL_MISTAKES};
use super::walk::{Follow, joined, property_names, push_token};
use super::{Violation, walk};
use crate::diagnostics::suggest;
use crate::json::DEPTH_MAX;

/// Most mistakes of one value that are told: a list of a million wrong items has one mistake, not a million.
const VIOLATIONS_MAX: usize = 100;

/// See `ParamSchema::check`.
pub(super) fn check(validator: &Validator, schema: &Value, value: &Value) -> Vec<Violation> {
    let steps = match steps_of(schema, value) {
        Ok(steps) => steps,
        Err(refusal) => return vec![refusal],
    };
    if steps > STEPS_OF_ALL_MISTAKES {
        return validator.validate(value).err().map(|error| describe(&error, schema)).unwrap_or_default();
    }
    let mut found: Vec<Violation> = Vec::new();
    for error in validator.iter_errors(value) {
        found.extend(describe(&error, schema));
        if found.len() >= VIOLATIONS_MAX {
            break;
        }
    }
    without_repetition(found)
}

/// See `ParamSchema::check_partial`.
pub(super) fn check_partial(validator: &Validator, schema: &Value, value: &Value, open: &[String]) -> Vec<Violation> {
    if open.is_empty() {
        return check(validator, schema, value);
    }
    if let Err(refusal) = steps_of(schema, value) {
        return vec![refusal];
    }
    let certain = validator.iter_errors(value).filter(|error| is_certain(error, open));
    without_repetition(certain.take(VIOLATIONS_MAX).flat_map(|error| describe(&error, schema)).collect())
}

/// How many steps the check takes, if there is one.
fn steps_of(schema: &Value, value: &Value) -> Result<u64, Violation> {
    refuse_shape(value).map_or(Ok(()), Err)?;
    cost::steps(schema, schema, value).ok_or_else(too_costly)
}

/// Said of a value whose check would not end in time.
pub(super) fn too_costly() -> Violation {
    let message = "these values would take too long to check against their schema".to_owned();
    let help =
        "fewer values, or a schema with fewer alternatives for each of them (`anyOf`, `oneOf`); a long list of data belongs in a file";
    Violation { pointer: String::new(), message, help: Some(help.into()) }
}

/// Two conditions may ask for the same thing.
fn without_repetition(found: Vec<Violation>) -> Vec<Violation> {
    let mut kept: Vec<Violation> = Vec::with_capacity(found.len());
    for violation in found {
        if !kept.contains(&violation) {
            kept.push(violation);
        }
    }
    kept
}

/// Whether `inner` names `outer` or something in it.
fn is_within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a mistake stays one whatever the values at the open pointers will be.
fn is_certain(error: &ValidationError<'_>, open: &[String]) -> bool {
    const CONDITIONAL: [&str; 7] = ["anyOf", "oneOf", "not", "then", "else", "dependentSchemas", "dependentRequired"];
    let place = error.instance_path().as_str();
    if open.iter().any(|open| is_within(place, open)) {
        return false;
    }
    // Which branch is taken may depend on any open value, so that nothing is certain inside of branches.
    let path = error.evaluation_path().as_str();
    if path.split('/').any(|token| CONDITIONAL.contains(&token)) {
        return false;
    }
    match error.kind() {
        Kind::Required { property } => {
            let missing = joined(place, property.as_str().unwrap_or_default());
            !open.iter().any(|open| is_within(open, &missing))
        }
        Kind::AdditionalProperties { .. } | Kind::Type { .. } | Kind::FalseSchema => true,
        // All other keywords judge the value as a whole, and an open part of it may be what breaks or mends it.
        _ => !open.iter().any(|open| is_within(open, place)),
    }
}

/// What no schema forbids and no module can be given: NUL cannot stand on a command line, and endless nesting ends in a crash.
fn refuse_shape(value: &Value) -> Option<Violation> {
    if has_good_shape(value, 0) {
        return None;
    }
    let mut stack = vec![(String::new(), value, 0)];
    while let Some((pointer, value, depth)) = stack.pop() {
        if depth > DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} lists and maps inside each other");
            return Some(Violation { pointer, message, help: None });
        }
        match value {
            Value::String(text) if text.contains('\0') => return Some(nul(pointer)),
            Value::Array(list) => {
                stack.extend(list.iter().enumerate().rev().map(|(at, item)| (joined(&pointer, &at.to_string()), item, depth + 1)));
            }
            Value::Object(map) => {
                if map.keys().any(|key| key.contains('\0')) {
                    return Some(nul(pointer));
                }
                stack.extend(map.iter().map(|(key, item)| (joined(&pointer, key), item, depth + 1)));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    None
}

/// The same question without the place, which costs nothing for the values that are good.
fn has_good_shape(value: &Value, depth: usize) -> bool {
    depth <= DEPTH_MAX
        && match value {
            Value::String(text) => !text.contains('\0'),
            Value::Array(list) => list.iter().all(|item| has_good_shape(item, depth + 1)),
            Value::Object(map) => map.iter().all(|(key, item)| !key.contains('\0') && has_good_shape(item, depth + 1)),
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
        }
}

fn nul(pointer: String) -> Violation {
    let message = format!("{} holds a NUL character, which no program can be given", label(&pointer));
    Violation { pointer, message, help: Some("remove the character; pass binary data as a file".into()) }
}

/// `` `render.sizes[2]` `` for `/render/sizes/2`.
pub(super) fn label(pointer: &str) -> String {
    let mut name = String::new();
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        if !name.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit()) {
            name.push_str(&format!("[{token}]"));
        } else {
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(&token);
        }
    }
    if name.is_empty() { "the value".into() } else { format!("`{name}`") }
}

/// A value in messages.
pub(super) fn found(value: &Value) -> String {
    const SHOWN_MAX: usize = 60;
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(value) => format!("`{value}`"),
        Value::String(text) if text.chars().count() <= SHOWN_MAX => format!("the text {text:?}"),
        Value::String(_) => "a long text".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a map".into(),
    }
}

/// Allowed values, as JSON.
pub(super) fn listed(options: &[Value]) -> String {
    const LISTED_MAX: usize = 20;
    let mut text = options.iter().take(LISTED_MAX).map(Value::to_string).collect::<Vec<_>>().join(", ");
    if options.len() > LISTED_MAX {
        text.push_str(&format!(" and {} more", options.len() - LISTED_MAX));
    }
    text
}

/// One error of the validator, in our words; one for each key where it names several.
pub(super) fn describe(error: &ValidationError<'_>, schema: &Value) -> Vec<Violation> {
    describe_at(error.instance_path().as_str(), error, schema)
}

/// The same for a value that stands elsewhere than where it was checked.
pub(super) fn describe_at(pointer: &str, error: &ValidationError<'_>, schema: &Value) -> Vec<Violation> {
    let value = error.instance().as_ref();
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let known = known_beside(error, schema);
            unexpected.iter().map(|name| unknown(pointer, name, &known)).collect()
        }
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            let by_condition = ["/then/", "/else/"].iter().any(|part| error.schema_path().as_str().contains(part));
            let help = by_condition.then(|| "the values of other parameters make it necessary (`if`/`then` of the schema)".to_owned());
            vec![Violation { pointer: pointer.to_owned(), message: format!("{} is missing", label(&joined(pointer, name))), help }]
        }
        Kind::FalseSchema if error.schema_path().as_str().ends_with("/additionalProperties") => {
            let message = format!("{} holds a key that its schema does not declare, with the value {}", label(pointer), found(value));
            vec![Violation { pointer: pointer.to_owned(), message, help: None }]
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => vec![none_fits(pointer, value, context, schema)],
        other => {
            let parent = parent_schema(error, schema);
            let (must, help) = demand(other, value, parent);
            let must = must.unwrap_or_else(|| fallback(error));
            let message = format!("{} {must}, not {}", label(pointer), found(value));
            vec![Violation { pointer: pointer.to_owned(), message, help }]
        }
    }
}

pub(super) fn unknown(pointer: &str, name: &str, known: &[&str]) -> Violation {
    let mut full = pointer.to_owned();
    push_token(&mut full, name);
    let message = format!("unknown parameter {}", label(&full));
    let help = suggest(name, known.iter().copied()).or_else(|| Some("there are no parameters here".into()));
    Violation { pointer: full, message, help }
}

/// The keys that the object of an "unknown key" error may have.
fn known_beside<'s>(error: &ValidationError<'_>, schema: &'s Value) -> Vec<&'s str> {
    let Some(parent) = schema.pointer(parent_pointer(error.schema_path().as_str())) else { return Vec::new() };
    if std::ptr::eq(parent, schema) {
        return property_names(schema);
    }
    let keys = |schema: &'s Map<String, Value>| schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys);
    walk::applied(schema, parent, Follow::Possible).into_iter().flat_map(keys).map(String::as_str).collect()
}

fn parent_pointer(pointer: &str) -> &str {
    pointer.rfind('/').map_or("", |at| &pointer[..at])
}

fn parent_schema<'s>(error: &ValidationError<'_>, schema: &'s Value) -> Option<&'s Map<String, Value>> {
    schema.pointer(parent_pointer(error.schema_path().as_str()))?.as_object()
}

/// What a keyword demands ("must be at least 1"), and help. `None`: the validator's own words have to do.
fn demand(kind: &Kind, value: &Value, parent: Option<&Map<String, Value>>) -> (Option<String>, Option<String>) {
    let plain = |text: String| (Some(text), None);
    match kind {
        Kind::Type { kind } => type_demand(kind, value),
        Kind::Enum { options } => {
            let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
            let help = value.as_str().and_then(|given| crate::diagnostics::nearest(given, options.iter().filter_map(Value::as_str)));
            (Some(format!("must be one of {}", listed(options))), help.map(|name| format!("did you mean `{name}`?")))
        }
        Kind::Constant { expected_value } => plain(format!("must be {expected_value}")),
        Kind::Minimum { .. } | Kind::Maximum { .. } | Kind::ExclusiveMinimum { .. } | Kind::ExclusiveMaximum { .. } => {
            plain(format!("must be {}", range(parent)))
        }
        Kind::MultipleOf { multiple_of } => plain(format!("must be a multiple of {multiple_of}")),
        Kind::Pattern { pattern } => plain(format!("must match the pattern `{pattern}`")),
        Kind::Format { format } => (Some(format!("must be a valid {format}")), format_help(format)),
        Kind::MinLength { .. } | Kind::MaxLength { .. } => {
            let length = value.as_str().map_or(0, |text| text.chars().count());
            plain(format!("must have {} characters (it has {length})", count_range(parent, "minLength", "maxLength")))
        }
        Kind::MinItems { .. } | Kind::MaxItems { .. } => {
            let length = value.as_array().map_or(0, Vec::len);
            plain(format!("must have {} items (it has {length})", count_range(parent, "minItems", "maxItems")))
        }
        Kind::MinProperties { .. } | Kind::MaxProperties { .. } => {
            plain(format!("must have {} keys", count_range(parent, "minProperties", "maxProperties")))
        }
        Kind::UniqueItems => plain("must not hold the same item twice".into()),
        Kind::Contains => plain("must hold an item of the kind that `contains` describes".into()),
        Kind::FalseSchema => plain("must be left out".into()),
        Kind::Not { .. } => plain("must not be what `not` describes".into()),
        Kind::OneOfMultipleValid { .. } => plain("must fit exactly one of the forms of `oneOf`; it fits several".into()),
        _ => (None, None),
    }
}

fn type_demand(kind: &TypeKind, value: &Value) -> (Option<String>, Option<String>) {
    let types: Vec<JsonType> = match kind {
        TypeKind::Single(one) => vec![*one],
        TypeKind::Multiple(set) => set.iter().collect(),
    };
    let names: Vec<&str> = types.iter().map(|one| described(*one)).collect();
    let wants_text = types.contains(&JsonType::String);
    let help = match value {
        Value::Number(_) | Value::Bool(_) if wants_text => Some(format!("quote it: \"{value}\"")),
        Value::String(text) if !wants_text && crate::json::parse(text).is_ok_and(|value| !value.is_string()) => {
            Some(format!("write it without quotes: {text}"))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    };
    (Some(format!("must be {}", names.join(" or "))), help)
}

fn described(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Array => "a list",
        JsonType::Boolean => "`true` or `false`",
        JsonType::Integer => "a whole number",
        JsonType::Null => "null",
        JsonType::Number => "a number",
        JsonType::Object => "a map",
        JsonType::String => "a text",
    }
}

/// `from 1 to 200`, `at least 1`, `greater than 0 and at most 1`.
fn range(schema: Option<&Map<String, Value>>) -> String {
    let Some(schema) = schema else { return "within its range".into() };
    let number = |key: &str| schema.get(key).filter(|value| value.is_number());
    if let (Some(least), Some(most)) = (number("minimum"), number("maximum")) {
        return format!("from {least} to {most}");
    }
    let limits = [("minimum", "at least"), ("exclusiveMinimum", "greater than"), ("maximum", "at most"), ("exclusiveMaximum", "less than")];
    let parts: Vec<String> = limits.iter().filter_map(|(key, words)| Some(format!("{words} {}", number(key)?))).collect();
    parts.join(" and ")
}

fn count_range(schema: Option<&Map<String, Value>>, least: &str, most: &str) -> String {
    let number = |key: &str| schema.and_then(|schema| schema.get(key)).filter(|value| value.is_number());
    match (number(least), number(most)) {
        (Some(least), Some(most)) if least == most => format!("exactly {least}"),
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("at least {least}"),
        (None, Some(most)) => format!("at most {most}"),
        (None, None) => "another number of".into(),
    }
}

fn format_help(format: &str) -> Option<String> {
    let example = match format {
        "date-time" => "2026-11-20T08:30:00Z",
        "date" => "2026-11-20",
        "time" => "08:30:00Z",
        "duration" => "P1DT2H",
        "email" => "name@example.org",
        "uri" => "https://example.org/page",
        "ipv4" => "192.0.2.1",
        "uuid" => "67e55044-10b1-426f-9247-bb680e5fe0c8",
        _ => return None,
    };
    Some(format!("write it like `{example}`"))
}

/// Of several forms the one that a value comes nearest to is the one to talk about.
fn none_fits(pointer: &str, value: &Value, branches: &[Vec<ValidationError<'static>>], schema: &Value) -> Violation {
    let nearest = branches.iter().filter(|errors| !errors.is_empty()).min_by_key(|errors| {
        let deepest = errors.iter().map(|error| error.instance_path().as_str().len()).max().unwrap_or_default();
        (errors.len(), usize::MAX - deepest)
    });
    let reasons = nearest.into_iter().flatten().take(3).flat_map(|error| describe(error, schema)).map(|reason| reason.message);
    let help = reasons.collect::<Vec<_>>().join("; ");
    let message = format!("{} fits none of its {} allowed forms: it is {}", label(pointer), branches.len(), found(value));
    Violation { pointer: pointer.to_owned(), message, help: (!help.is_empty()).then(|| format!("for the nearest form: {help}")) }
}

/// For the rest: the validator's words without the value, which may be long.
fn fallback(error: &ValidationError<'_>) -> String {
    format!("must satisfy `{}` ({})", error.kind().keyword(), error.masked_with("it"))
}
