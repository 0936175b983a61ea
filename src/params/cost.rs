//! What it costs to check a value against a schema: counted before anything is tried, since nothing can stop a check that has begun.
//!
//! A few words of schema can ask for more work than there is time: alternatives that refer to themselves double with each level of the
//! value, and ten thousand alternatives for each of fifty thousand items are tried one by one. A step is a schema that speaks about a place
//! of the value, told once more for each alternative around it, whose mistakes are gathered too. Counting is cheaper than checking by an
//! order of magnitude and never counts less than what a check does.

use serde_json::{Map, Value};

use super::walk::{of_item, resolve};

/// Most steps of one check: about a second. A list of half a million numbers, which fills a request, takes as many as it has numbers.
pub(super) const STEPS_MAX: u64 = 2_000_000;

/// Up to so many steps all mistakes are gathered, and beyond only the first.
pub(super) const STEPS_OF_ALL_MISTAKES: u64 = 200_000;

/// So many words of a keyword (keys that are declared, values of an `enum`) cost one step, and so many bytes of a text to look for a pattern.
const WORDS_OF_A_STEP: u64 = 32;

/// Steps to check `value` against `schema`; `None`: more than [`STEPS_MAX`].
pub(super) fn steps(root: &Value, schema: &Value, value: &Value) -> Option<u64> {
    let mut count = Count { root, left: STEPS_MAX };
    count.visit(schema, value, 1)?;
    Some(STEPS_MAX - count.left)
}

struct Count<'s> {
    root: &'s Value,
    left: u64,
}

impl Count<'_> {
    fn spend(&mut self, steps: u64) -> Option<()> {
        self.left = self.left.checked_sub(steps)?;
        Some(())
    }

    /// `weight`: 1, and 1 for each alternative around it. Ends in any case: circles without a step into the value are refused when a schema
    /// is compiled, and a value ends.
    fn visit(&mut self, schema: &Value, value: &Value, weight: u64) -> Option<()> {
        let Value::Object(schema) = schema else { return self.spend(weight) };
        let before = self.left;
        let mut words = 0;
        let mut asks_again = false;
        for (keyword, inner) in schema {
            words += length(inner);
            match (keyword.as_str(), inner) {
                ("$ref", Value::String(reference)) => {
                    resolve(self.root, reference).map_or(Some(()), |target| self.visit(target, value, weight))?;
                }
                ("allOf", Value::Array(list)) => list.iter().try_for_each(|inner| self.visit(inner, value, weight))?,
                ("anyOf" | "oneOf", Value::Array(list)) => list.iter().try_for_each(|inner| self.visit(inner, value, weight + 1))?,
                ("dependentSchemas", Value::Object(map)) => map.values().try_for_each(|inner| self.visit(inner, value, weight + 1))?,
                ("not" | "if" | "then" | "else", inner) => self.visit(inner, value, weight + 1)?,
                ("pattern" | "format", _) => words += value.as_str().map_or(0, |text| text.len() as u64),
                ("unevaluatedItems" | "unevaluatedProperties", _) => asks_again = true,
                _ => {}
            }
        }
        self.spend(weight.saturating_mul(1 + words / WORDS_OF_A_STEP))?;
        match value {
            Value::Object(map) => self.keys(schema, map, weight)?,
            Value::Array(list) => self.items(schema, list, weight)?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        if asks_again {
            // For each key or item it is asked again which schema has spoken about it.
            self.spend((before - self.left).saturating_mul(length(value)))?;
        }
        Some(())
    }

    fn keys(&mut self, schema: &Map<String, Value>, map: &Map<String, Value>, weight: u64) -> Option<()> {
        let properties = schema.get("properties").and_then(Value::as_object);
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        let others = ["additionalProperties", "unevaluatedProperties"].map(|name| schema.get(name));
        for (key, value) in map {
            let declared = properties.and_then(|properties| properties.get(key));
            let others = others.iter().copied().flatten().filter(|_| declared.is_none());
            // Which patterns a key matches is not looked at here.
            let by_pattern = patterns.into_iter().flat_map(Map::values);
            declared.into_iter().chain(others).chain(by_pattern).try_for_each(|inner| self.visit(inner, value, weight))?;
            if let Some(names) = schema.get("propertyNames") {
                self.visit(names, &Value::String(key.clone()), weight)?;
            }
        }
        Some(())
    }

    fn items(&mut self, schema: &Map<String, Value>, list: &[Value], weight: u64) -> Option<()> {
        let more = ["contains", "unevaluatedItems"].map(|name| schema.get(name));
        for (at, value) in list.iter().enumerate() {
            of_item(schema, at).into_iter().chain(more.into_iter().flatten()).try_for_each(|inner| self.visit(inner, value, weight))?;
        }
        Some(())
    }
}

fn length(value: &Value) -> u64 {
    match value {
        Value::Array(list) => list.len() as u64,
        Value::Object(map) => map.len() as u64,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(schema: &Value, value: &Value) -> Option<u64> {
        steps(schema, schema, value)
    }

    #[test]
    fn each_schema_that_speaks_about_a_place_is_a_step() {
        assert_eq!(of(&json!({}), &json!({"a": [1, 2]})), Some(1));
        assert_eq!(of(&json!({"properties": {"a": {"items": {}}}}), &json!({"a": [1, 2], "b": 3})), Some(4));
        assert_eq!(of(&json!({"properties": {"a": {}}, "additionalProperties": {}}), &json!({"a": 1, "b": 1})), Some(3));
        assert_eq!(of(&json!({"prefixItems": [{}], "items": {}, "contains": {}}), &json!([1, 2, 3])), Some(7));
        assert_eq!(of(&json!({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{}, {}]}}}), &json!(1)), Some(4));
        // Alternatives count once more.
        assert_eq!(of(&json!({"anyOf": [{}, {"not": {}}]}), &json!(1)), Some(1 + 2 + 2 + 3));
        assert_eq!(of(&json!({"enum": vec![0; 320]}), &json!(1)), Some(11));
        assert_eq!(of(&json!({"pattern": "a"}), &json!("x".repeat(3_200))), Some(101));
    }

    #[test]
    fn what_doubles_with_each_level_ends_at_the_limit() {
        let branch = json!({"properties": {"l": {"$ref": "#"}}});
        let schema = json!({"anyOf": [branch, branch]});
        let deep = |levels| (0..levels).fold(json!({}), |inner, _| json!({"l": inner}));
        assert!(of(&schema, &deep(5)).is_some());
        assert_eq!(of(&schema, &deep(60)), None);
        let unevaluated = json!({"properties": {"l": {"$ref": "#"}}, "unevaluatedProperties": false});
        assert!(of(&unevaluated, &deep(5)).is_some());
        assert_eq!(of(&unevaluated, &deep(60)), None);
    }
}
