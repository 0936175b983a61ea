//! Whether a JSON Schema leaves room for a value at a path: for references to outputs and parameters, before anything runs.
//!
//! Careful in one direction only: what is called missing is certainly missing; wherever a schema leaves it open (conditions,
//! combinations, patterns, no types), the path is accepted and the run will tell.

use serde_json::Value;

use super::expr::Step;

/// A step that leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// Which step.
    pub(super) at: usize,
    /// The keys there are instead.
    pub(super) known: Vec<String>,
    /// The type of what was to be stepped into, where that is the trouble.
    pub(super) found: Option<String>,
}

/// References that lead to references, at most.
const REFERENCES_MAX: usize = 16;
/// Words of a schema that may bring properties which stand elsewhere.
const OPENING: [&str; 10] =
    ["allOf", "anyOf", "oneOf", "if", "then", "else", "dependentSchemas", "patternProperties", "unevaluatedProperties", "$dynamicRef"];

/// Walks `path` down the schema `root`. With `declared_only`, an object that lists properties and says nothing of others has no others:
/// what a module reports beside its declared outputs may come, but nobody can rely on it.
///
/// # Errors
/// The first step that the schema rules out.
pub(super) fn find(root: &Value, path: &[Step], declared_only: bool) -> Result<(), Missing> {
    let mut schema = root;
    for (at, step) in path.iter().enumerate() {
        schema = match descend(root, resolve(root, schema), step, declared_only) {
            Descent::Into(next) => next,
            Descent::Open => return Ok(()),
            Descent::Absent { known, found } => return Err(Missing { at, known, found }),
        };
    }
    Ok(())
}

enum Descent<'s> {
    Into(&'s Value),
    Open,
    Absent { known: Vec<String>, found: Option<String> },
}

/// The schema that a chain of local references ends in.
fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let mut at = schema;
    for _ in 0..REFERENCES_MAX {
        let target = at.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
        match target.and_then(|pointer| root.pointer(pointer)) {
            Some(next) => at = next,
            None => return at,
        }
    }
    &Value::Bool(true)
}

fn descend<'s>(root: &'s Value, schema: &'s Value, step: &Step, declared_only: bool) -> Descent<'s> {
    let Some(words) = schema.as_object() else { return Descent::Open };
    let wanted = match step {
        Step::Key(_) => "object",
        Step::Index(_) => "array",
    };
    if let Some(kind) = words.get("type").filter(|kind| !allows(kind, wanted)) {
        return Descent::Absent { known: Vec::new(), found: Some(kind.as_str().map_or_else(|| kind.to_string(), str::to_owned)) };
    }
    let open = words.contains_key("$ref") || OPENING.iter().any(|word| words.contains_key(*word));
    match step {
        Step::Key(key) => {
            let properties = words.get("properties").and_then(Value::as_object);
            if let Some(inner) = properties.and_then(|properties| properties.get(&**key)) {
                return Descent::Into(inner);
            }
            let more = words.get("additionalProperties").map(|more| resolve(root, more));
            let listed = properties.is_some_and(|properties| !properties.is_empty());
            match more {
                _ if open => Descent::Open,
                Some(more @ Value::Object(_)) => Descent::Into(more),
                Some(Value::Bool(true)) => Descent::Open,
                None if !(declared_only && listed) => Descent::Open,
                _ => {
                    let known = properties.into_iter().flat_map(|properties| properties.keys().cloned()).collect();
                    Descent::Absent { known, found: None }
                }
            }
        }
        Step::Index(index) => {
            let first = words.get("prefixItems").and_then(Value::as_array).filter(|first| !first.is_empty());
            let item = match first {
                Some(first) => usize::try_from(*index).ok().and_then(|at| first.get(at)),
                None => words.get("items"),
            };
            if open { Descent::Open } else { item.map_or(Descent::Open, Descent::Into) }
        }
    }
}

fn allows(kind: &Value, wanted: &str) -> bool {
    match kind {
        Value::String(kind) => kind == wanted,
        Value::Array(kinds) => kinds.iter().any(|kind| kind == wanted),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> Step {
        Step::Key(name.into())
    }

    #[test]
    fn certain_absence_is_found() {
        let schema = json!({
            "type": "object", "additionalProperties": false,
            "properties": {
                "files": {"type": "array", "items": {"$ref": "#/$defs/file"}},
                "text": {"type": "string"},
                "free": {},
                "either": {"anyOf": [{"type": "object"}]},
                "by_name": {"type": "object", "additionalProperties": {"type": "number"}}
            },
            "$defs": {"file": {"type": "object", "properties": {"path": {"type": "string"}}, "additionalProperties": false}}
        });
        let at = |path: &[Step]| find(&schema, path, false).map_err(|missing| missing.at);
        assert_eq!(at(&[key("files"), Step::Index(-1), key("path")]), Ok(()));
        assert_eq!(at(&[key("files"), Step::Index(0), key("pth")]), Err(2));
        assert_eq!(at(&[key("fils")]), Err(0));
        assert_eq!(at(&[key("files"), key("x")]), Err(1));
        assert_eq!(at(&[key("text"), key("x")]), Err(1));
        assert_eq!(at(&[key("text"), Step::Index(0)]), Err(1));
        assert_eq!(at(&[key("free"), key("a"), Step::Index(3)]), Ok(()));
        assert_eq!(at(&[key("either"), key("a")]), Ok(()));
        assert_eq!(at(&[key("by_name"), key("a")]), Ok(()));
        assert_eq!(at(&[key("by_name"), key("a"), key("b")]), Err(2));
        let missing = find(&schema, &[key("files"), Step::Index(0), key("pth")], false).expect_err("no pth");
        assert_eq!(missing.known, ["path"]);
    }

    #[test]
    fn what_is_not_declared_can_be_asked_for_only_of_parameters() {
        let schema = json!({"type": "object", "properties": {"file": {}, "meta": {"type": "object"}}});
        assert_eq!(find(&schema, &[key("other")], false), Ok(()));
        assert_eq!(find(&schema, &[key("other")], true).map_err(|missing| missing.known), Err(vec!["file".into(), "meta".into()]));
        assert_eq!(find(&schema, &[key("meta"), key("x")], true), Ok(()));
        assert_eq!(find(&json!({"properties": {"a": {}}, "additionalProperties": true}), &[key("x")], true), Ok(()));
    }

    #[test]
    fn endless_references_are_open() {
        let schema = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}});
        assert_eq!(find(&schema, &[key("x")], false), Ok(()));
    }
}
