//! The JSON Schemas of the files that people write, generated from documented types: what `prismq schema` prints and `schemas/` holds.

use serde_json::Value;

/// File name and schema of each format.
#[must_use]
pub fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("module.schema.json", crate::manifest::schema::manifest_schema()),
        ("pipeline.schema.json", crate::pipeline::file::pipeline_schema()),
        ("settings.schema.json", crate::settings::schema::settings_schema()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_is_one_and_names_itself() {
        for (name, schema) in schemas() {
            assert!(jsonschema::meta::is_valid(&schema), "{name}");
            assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
            assert!(schema["title"].as_str().is_some_and(|title| title.starts_with("prismq ")), "{name}");
        }
    }
}
