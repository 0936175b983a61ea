//! A schema and a document of parameters, with a line `---` between them: completing twice is completing once, and what was checked stays
//! good.

use prismq::diagnostics::{Diagnostics, Source};
use prismq::params::ParamSchema;
use prismq::yaml::{Format, Limits, read};
use serde_json::Value;

use super::{Play, Target, way};

pub(crate) fn target() -> Target {
    Target {
        name: "params",
        words: &[
            "\n---\n",
            "{\"type\":\"object\",\"properties\":{",
            "\"a\":{\"type\":\"integer\"}",
            "\"minimum\":",
            "\"default\":",
            "\"enum\":[",
            "\"const\":",
            "\"required\":[\"a\"]",
            "\"additionalProperties\":",
            "\"if\":{",
            "\"then\":{",
            "\"allOf\":[",
            "\"anyOf\":[",
            "\"$ref\":\"#/$defs/a\"",
            "\"$defs\":{",
            "\"pattern\":\"^a+$\"",
            "\"format\":\"file\"",
            "\"items\":{",
            "\"uniqueItems\":true",
            "\"multipleOf\":0.1",
            "\"patternProperties\":{",
            "null",
            "true",
            "1.0",
            "1e400",
            "\"\\ud800\"",
            "\"\\u0000\"",
            "a=1",
            "a.b=[1,2]",
        ],
        begin,
    }
}

fn begin() -> Play {
    Box::new(|input| {
        let text = String::from_utf8_lossy(input);
        let (schema, document) = text.split_once("\n---\n").unwrap_or((&text, "{}"));
        let Ok(tree) = read(Source::new("s.json", schema), Format::Json, &Limits::MANIFEST) else { return 1 };
        let mut diagnostics = Diagnostics::new();
        let Some(schema) = ParamSchema::compile(tree.root(), &mut diagnostics) else {
            assert!(diagnostics.has_errors(), "refused without a reason");
            return way(&diagnostics.iter().take(2).map(|diagnostic| diagnostic.message.clone()).collect::<String>());
        };
        let values = match read(Source::new("d.json", document), Format::Json, &Limits::MANIFEST).map(|tree| tree.root().to_json()) {
            Ok(Value::Object(map)) => map,
            Ok(_) => return 2,
            Err(_) => {
                // Then as it would stand on the command line.
                let mut values = serde_json::Map::new();
                return schema.assign(&mut values, document).map_or_else(|violation| way(&violation.message), |()| 3);
            }
        };
        let once = match schema.complete(values) {
            Ok(once) => once,
            Err(refusal) => return way(&refusal.message),
        };
        let violations = schema.check(&once.value);
        let Value::Object(map) = once.value.clone() else { panic!("parameters are an object") };
        let twice = schema.complete(map).expect("it was affordable before");
        assert_eq!(twice.value, once.value, "completing twice changes something");
        assert_eq!(schema.check(&twice.value), violations, "checking twice differs");
        let _ = (schema.bucket(&once.value), schema.path_pointers(&once.value), schema.property_names().len());
        way(&violations.iter().take(3).map(|violation| violation.message.clone()).collect::<String>())
    })
}
