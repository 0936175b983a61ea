//! Form fields out of a JSON Schema: name, kind, choices and bounds, for clients that do not read schemas.
//!
//! A convenience that says less than the schema: values are always judged by the schema. Nulls are left out, since some clients compare
//! with them.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// A field of a form.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct Field {
    name: String,
    #[serde(rename = "type")]
    kind: Kind,
    required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<Value>,
    /// What can be chosen from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    options: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    placeholder: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Text,
    Number,
    Select,
    Checkbox,
    Password,
}

/// The fields of an object's schema, in declared order.
pub(super) fn fields(schema: &Value) -> Vec<Field> {
    let required: Vec<&str> = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    properties.map(|(name, property)| field(name, property, required.contains(&name.as_str()))).collect()
}

fn field(name: &str, property: &Value, required: bool) -> Field {
    let text = |key: &str| property.get(key).and_then(Value::as_str);
    let options = property.get("enum").and_then(Value::as_array).cloned().unwrap_or_default();
    let kind = match text("type") {
        _ if !options.is_empty() => Kind::Select,
        Some("boolean") => Kind::Checkbox,
        Some("integer" | "number") => Kind::Number,
        _ if text("format") == Some("password") => Kind::Password,
        _ => Kind::Text,
    };
    let first_example = property.get("examples").and_then(Value::as_array).and_then(|examples| examples.first());
    Field {
        name: name.to_owned(),
        kind,
        required,
        label: text("title").map(str::to_owned),
        description: text("description").map(str::to_owned),
        default: property.get("default").cloned(),
        options,
        min: property.get("minimum").cloned(),
        max: property.get("maximum").cloned(),
        placeholder: first_example.cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_say_what_the_schema_says_and_no_nulls() {
        let schema = json!({"required": ["a"], "properties": {
            "a": {"type": "integer", "minimum": 1, "default": 3, "description": "How many"},
            "b": {"enum": ["x", "y"], "title": "Mode"},
            "c": {"type": "boolean"},
            "d": {"type": "string", "format": "password"},
            "e": {"type": "object"}}});
        let expected = json!([
            {"name": "a", "type": "number", "required": true, "description": "How many", "default": 3, "min": 1},
            {"name": "b", "type": "select", "required": false, "label": "Mode", "options": ["x", "y"]},
            {"name": "c", "type": "checkbox", "required": false},
            {"name": "d", "type": "password", "required": false},
            {"name": "e", "type": "text", "required": false}]);
        assert_eq!(serde_json::to_value(fields(&schema)).expect("JSON"), expected);
        assert_eq!(fields(&json!(true)), []);
    }
}
