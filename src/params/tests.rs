use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::diagnostics::{Diagnostic, Severity, Source};
use crate::yaml::{Format, Limits, read};

const THUMBNAILS: &str = "
type: object
required: [input]
properties:
  input: {type: string, format: file, description: The video}
  count: {type: integer, minimum: 1, maximum: 200, default: 12}
  mode: {enum: [fast, best], default: fast}
  model: {type: string}
  scale: {type: number, exclusiveMinimum: 0}
  verbose: {type: boolean}
  tags: {type: array, items: {type: string}, maxItems: 3}
  sizes: {type: array, items: {type: integer}}
  render:
    type: object
    additionalProperties: false
    properties: {width: {type: integer, default: 640}, title: {type: string}, masks: {type: array, items: {type: string, format: directory}}}
  level: {anyOf: [{const: auto}, {type: integer}]}
  since: {type: [string, 'null'], format: date}
if: {properties: {mode: {const: best}}}
then: {required: [model]}
";

/// What compiling says, warnings included.
fn compiled(text: &str) -> (Option<ParamSchema>, Vec<Diagnostic>) {
    let tree = read(Source::new("f", text), Format::Yaml, &Limits::PIPELINE).expect("valid YAML");
    let mut diagnostics = Diagnostics::new();
    let schema = ParamSchema::compile(tree.root(), &mut diagnostics);
    assert_eq!(schema.is_none(), diagnostics.has_errors());
    (schema, diagnostics.into_iter().collect())
}

fn schema(text: &str) -> ParamSchema {
    let (schema, said) = compiled(text);
    assert!(said.is_empty(), "{said:?}");
    schema.expect("a good schema")
}

/// The only refusal of a schema.
#[track_caller]
fn refused(text: &str, place: &str, word: &str) {
    let (schema, said) = compiled(text);
    assert!(schema.is_none(), "accepted: {text}");
    let said: Vec<String> = said.iter().filter(|one| one.severity == Severity::Error).map(ToString::to_string).collect();
    let fits = said.len() == 1 && said[0].starts_with(&format!("f:{place}: ")) && said[0].contains(word);
    assert!(fits, "{text}: {said:#?}");
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

fn checked(schema: &ParamSchema, value: Value) -> Vec<String> {
    let value = schema.complete(object(value)).expect("affordable").value;
    schema.check(&value).iter().map(|violation| format!("{}: {violation}", violation.pointer)).collect()
}

#[test]
fn a_good_value_is_completed() {
    let schema = schema(THUMBNAILS);
    let done = schema.complete(object(json!({"input": "a.mp4", "render": {}}))).expect("affordable");
    assert_eq!(done.value, json!({"input": "a.mp4", "render": {"width": 640}, "count": 12, "mode": "fast"}));
    assert_eq!(done.defaulted, ["/count", "/mode", "/render/width"]);
    assert!(schema.check(&done.value).is_empty());
    assert_eq!(schema.property_names()[..3], ["input", "count", "mode"]);
    assert_eq!(schema.schema()["additionalProperties"], json!(false));
    let empty = ParamSchema::empty();
    assert_eq!(empty.complete(Map::new()).expect("affordable").value, json!({}));
    assert_eq!(checked(&empty, json!({"x": 1})), ["/x: unknown parameter `x` (help: there are no parameters here)"]);
    let nested = super::tests::schema("properties: {a: {type: object, additionalProperties: false}}\n");
    assert!(checked(&nested, json!({"a": {"x": 1}}))[0].starts_with("/a: `a` holds a key that its schema does not declare"));
}

#[test]
fn mistakes_name_the_key_the_range_and_what_was_meant() {
    let schema = schema(THUMBNAILS);
    let base = |more: Value| {
        let mut value = object(json!({"input": "a"}));
        value.extend(object(more));
        Value::Object(value)
    };
    for (given, expected) in [
        (json!({"count": 0}), "/count: `count` must be from 1 to 200, not `0`"),
        (json!({"count": 1.5}), "/count: `count` must be a whole number, not `1.5`"),
        (json!({"count": "12"}), "/count: `count` must be a whole number, not the text \"12\" (help: write it without quotes: 12)"),
        (json!({"mode": "bets"}), "/mode: `mode` must be one of \"fast\", \"best\", not the text \"bets\" (help: did you mean `best`?)"),
        (
            json!({"mode": "best"}),
            ": `model` is missing (help: the values of other parameters make it necessary (`if`/`then` of the schema))",
        ),
        (json!({"scale": 0}), "/scale: `scale` must be greater than 0, not `0`"),
        (json!({"model": 3}), "/model: `model` must be a text, not `3` (help: quote it: \"3\")"),
        (json!({"tags": ["a", 1]}), "/tags/1: `tags[1]` must be a text, not `1` (help: quote it: \"1\")"),
        (json!({"tags": ["a", "b", "c", "d"]}), "/tags: `tags` must have at most 3 items (it has 4), not a list"),
        (json!({"render": {"widht": 1}}), "/render/widht: unknown parameter `render.widht` (help: did you mean `width`?)"),
        (
            json!({"since": "20.11.2026"}),
            "/since: `since` must be a valid date, not the text \"20.11.2026\" (help: write it like `2026-11-20`)",
        ),
    ] {
        assert_eq!(checked(&schema, base(given.clone())), [expected], "{given}");
    }
    let level = checked(&schema, base(json!({"level": "much"})));
    assert!(level[0].starts_with("/level: `level` fits none of its 2 allowed forms"), "{level:?}");
    let many = checked(&schema, json!({"count": 0, "mode": 1, "x": 1}));
    assert_eq!(many.len(), 4, "all at once: {many:?}");
}

#[test]
fn a_17_whole_numbers_are_canonical() {
    let schema = schema(THUMBNAILS);
    let done = schema
        .complete(object(json!({"input": "a", "count": 3.0, "scale": 2.0, "sizes": [1.0, 2], "render": {"width": 1e2}})))
        .expect("affordable");
    let text = serde_json::to_string(&done.value).expect("writes");
    assert!(
        text.contains("\"count\":3,") && text.contains("\"scale\":2.0") && text.contains("[1,2]") && text.contains("\"width\":100"),
        "{text}"
    );
    for bad in [json!("1"), json!(true)] {
        assert_eq!(checked(&schema, json!({"input": "a", "count": bad})).len(), 1);
    }
}

#[test]
fn a_18_unknown_and_missing_parameters() {
    let schema = schema(THUMBNAILS);
    assert_eq!(checked(&schema, json!({})), [": `input` is missing"]);
    assert_eq!(checked(&schema, json!({"input": "a", "cuont": 3})), ["/cuont: unknown parameter `cuont` (help: did you mean `count`?)"]);
}

#[test]
fn a_16_values_that_no_module_can_be_given() {
    let schema = schema(THUMBNAILS);
    let nul = checked(&schema, json!({"input": "a\0b"}));
    assert!(nul.len() == 1 && nul[0].starts_with("/input: `input` holds a NUL"), "{nul:?}");
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let deep = checked(&schema, json!({"input": deep}));
    assert!(deep.len() == 1 && deep[0].contains("more than 64"), "{deep:?}");
    let mut values = Map::new();
    for (assignment, word) in [
        ("count=18446744073709551616", "whole number"),
        ("scale=NaN", "a number"),
        ("scale=1e400", "a number"),
        ("sizes=[18446744073709551616]", "64 bits"),
        ("render={\"width\": 1, \"width\": 2}", "twice"),
    ] {
        let refused = schema.assign(&mut values, assignment).expect_err(assignment);
        assert!(refused.to_string().contains(word), "{assignment}: {refused}");
    }
    assert!(values.is_empty());
}

#[test]
fn assignments_are_read_by_type() {
    let schema = schema(THUMBNAILS);
    let mut values = Map::new();
    for assignment in [
        "input=12",
        "count=5",
        "mode=best",
        "scale=2.5",
        "verbose=true",
        "tags=a",
        "tags=b=c",
        "sizes=[1,2]",
        "sizes=3",
        "model=true",
        "render.width=10.0",
        "render.title=1.10",
        "level=auto",
        "since=null",
        "render.masks=x",
    ] {
        schema.assign(&mut values, assignment).expect(assignment);
    }
    assert_eq!(
        Value::Object(values.clone()),
        json!({"input": "12", "count": 5, "mode": "best", "scale": 2.5, "verbose": true, "tags": ["a", "b=c"], "sizes": [1, 2, 3],
               "model": "true", "render": {"width": 10, "title": "1.10", "masks": ["x"]}, "level": "auto", "since": null})
    );
    assert_eq!(schema.path_pointers(&Value::Object(values.clone())), ["/input", "/render/masks/0"]);
    schema.assign(&mut values, "level=7").expect("the other form");
    schema.assign(&mut values, "render={\"width\": 3}").expect("whole");
    assert_eq!((&values["level"], &values["render"]), (&json!(7), &json!({"width": 3})));
    for (assignment, expected) in [
        ("cuont=3", "unknown parameter `cuont` (help: did you mean `count`?)"),
        ("render.widht=3", "unknown parameter `render.widht` (help: did you mean `width`?)"),
        ("count=many", "`count` must be a whole number, not \"many\""),
        ("count=1.5", "`count` must be a whole number, not \"1.5\""),
        ("verbose=yes", "`verbose` must be `true` or `false`, not \"yes\""),
        ("mode=fats", "`mode` must be one of \"fast\", \"best\", not \"fats\" (help: did you mean `fast`?)"),
        ("count", "\"count\" is not of the form key=value (help: write `count=VALUE`)"),
    ] {
        assert_eq!(schema.assign(&mut values, assignment).map_err(|refused| refused.to_string()), Err(expected.to_owned()));
    }
    let dotted = super::tests::schema("properties: {a.b: {type: integer}, a: {type: object}, any: {}}\n");
    let mut values = Map::new();
    for assignment in ["a.b=1", "a.c=x", "any=[1]", "any=plain"] {
        dotted.assign(&mut values, assignment).expect(assignment);
    }
    assert_eq!(Value::Object(values), json!({"a.b": 1, "a": {"c": "x"}, "any": "plain"}));
}

#[test]
fn what_is_known_before_a_run_is_checked_before_it() {
    let schema = schema(THUMBNAILS);
    let check = |value: Value, open: &[&str]| -> Vec<String> {
        let open: Vec<String> = open.iter().map(|pointer| (*pointer).to_owned()).collect();
        schema.check_partial(&value, &open).iter().map(|found| found.pointer.clone()).collect()
    };
    assert_eq!(check(json!({"input": null}), &["/input"]), [""; 0], "what stands at an open place does not matter");
    assert_eq!(check(json!({}), &["/input"]), [""; 0], "an open value is not missing");
    assert_eq!(check(json!({"count": 0, "widht": 1}), &["/input"]), ["/count", "/widht"], "literals are checked");
    assert_eq!(check(json!({"input": "a"}), &["/mode"]), [""; 0], "the condition may not hold");
    assert_eq!(check(json!({"count": 1}), &["/mode"]), [""], "a missing key is missing");
    assert_eq!(check(json!({"input": "a", "tags": ["a", null, 3]}), &["/tags/1"]), ["/tags/2"]);
    assert_eq!(check(json!({"input": "a", "render": {"width": null, "x": 1}}), &["/render/width"]), ["/render/x"]);
    assert_eq!(check(json!({"mode": "fast"}), &[]), [""]);
}

#[test]
fn mistakes_of_a_schema_are_found_at_their_places() {
    refused("properties:\n  a: {type: strng}\n", "2:13", "did you mean `string`?");
    refused("properties:\n  a: {minimum: low}\n", "2:16", "must be a number");
    refused("type: array\n", "1:7", "a map of parameters");
    refused("properties:\n  a: {type: string, format: fiel}\n", "2:29", "did you mean `file`?");
    refused("properties:\n  a: {type: integer, default: many}\n", "2:31", "the default does not fit");
    refused("properties:\n  größe: {minimum: 3, default: 1}\n", "2:32", "at least 3");
    refused("properties:\n  a: {$ref: '#/$defs/siez'}\n$defs: {size: {type: integer}}\n", "2:13", "did you mean `#/$defs/size`?");
    refused("[a]\n", "1:1", "a schema is a map");
    refused("$id: http://example.org/x\n", "1:1", "`$id` is refused");
    refused("$schema: http://json-schema.org/draft-07/schema#\n", "1:10", "draft 2020-12");
    let (schema, said) = compiled("properties: {a: {type: string}}\nrequried: [a]\n");
    assert!(schema.is_some());
    assert_eq!(
        said[0].to_string(),
        "f:2:1: `requried` is not a keyword of JSON Schema and changes nothing (help: did you mean `required`?)"
    );
    let (_, said) = compiled("properties:\n  a: {type: strng}\n  b: {pattern: '('}\n  c: {minimum: x}\n");
    assert_eq!(said.len(), 3, "{said:?}");
}

#[test]
fn a_24_references_stay_inside_the_schema() {
    for reference in ["file:///etc/passwd", "http://169.254.169.254/latest", "https://example.org/s.json", "other.json", "#name"] {
        refused(&format!("properties:\n  a: {{$ref: '{reference}'}}\n"), "2:13", "refers to itself only");
    }
    let local = schema(
        "properties: {a: {$ref: '#/$defs/small size'}}\n$defs: {small size: {type: integer, default: 3, maximum: 9}}\n"
            .replace("'#/$defs/small size'", "'#/$defs/small%20size'")
            .as_str(),
    );
    assert_eq!(local.complete(Map::new()).expect("affordable").value, json!({"a": 3}));
    assert_eq!(checked(&local, json!({"a": 10})), ["/a: `a` must be at most 9, not `10`"]);
}

#[test]
fn a_25_schemas_that_would_cost_too_much() {
    let start = Instant::now();
    for pattern in ["^(a|aa)+(?<!a)$", "(a)\\1", "(?=a)b", "("] {
        refused(&format!("properties:\n  a: {{pattern: '{pattern}'}}\n"), "2:16", "the pattern cannot be used");
    }
    let linear = schema("properties: {a: {type: string, pattern: '^(a+)+$'}}\n");
    assert_eq!(checked(&linear, json!({"a": format!("{}!", "a".repeat(50_000))})).len(), 1);
    refused("$ref: '#'\n", "1:1", "without a step");
    refused("allOf: [{$ref: '#/$defs/a'}]\n$defs: {a: {anyOf: [{$ref: '#/$defs/b'}]}, b: {$ref: '#/$defs/a'}}\n", "1:1", "without a step");
    let wide = format!("anyOf: [{}]\n", vec!["{}"; 50_000].join(","));
    refused(&wide, "1:1", "alternatives");
    let mut doubling = "$ref: '#/$defs/d0'\n$defs:\n".to_owned();
    for level in 0..40 {
        doubling.push_str(&format!("  d{level}: {{allOf: [{{$ref: '#/$defs/d{0}'}}, {{$ref: '#/$defs/d{0}'}}]}}\n", level + 1));
    }
    doubling.push_str("  d40: {type: object}\n");
    refused(&doubling, "1:1", "alternatives");
    let large = format!("description: \"{}\"\n", "x".repeat(SCHEMA_BYTES_MAX));
    refused(&large, "1:1", "at most 262144 bytes");
    refused(
        "properties: {n: {$ref: '#/$defs/n'}}\n$defs: {n: {type: object, default: {}, properties: {a: {$ref: '#/$defs/n'}, b: {$ref: '#/$defs/n'}}}}\n",
        "1:1",
        "never end",
    );
    let recursive = schema(
        "properties: {tree: {$ref: '#/$defs/t'}}\n$defs: {t: {type: object, properties: {l: {$ref: '#/$defs/t'}, v: {type: integer, default: 1}}}}\n",
    );
    assert_eq!(recursive.complete(object(json!({"tree": {"l": {}}}))).expect("affordable").value, json!({"tree": {"l": {"v": 1}, "v": 1}}));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// The schema is small and the value is, and to check the one against the other would take from minutes to for ever.
#[test]
fn a_25_values_that_would_cost_too_much() {
    let start = Instant::now();
    let refusals = |schema: &ParamSchema, value: Value| match schema.complete(object(value.clone())) {
        Ok(completed) => schema.check(&completed.value),
        Err(refusal) => {
            let refusals = vec![refusal];
            assert_eq!(schema.check(&value), refusals);
            refusals
        }
    };
    let too_long = |schema: &ParamSchema, value: Value| {
        let found = refusals(schema, value);
        assert!(found.len() == 1 && found[0].message.contains("would take too long"), "{found:?}");
    };
    let nested = |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({"l": inner}));
    let doubling = |word: &str| {
        schema(&format!(
            "properties: {{t: {{$ref: '#/$defs/t'}}}}\n$defs: {{t: {{{word}: [{{$ref: '#/$defs/u'}}, {{$ref: '#/$defs/u'}}]}}, \
             u: {{properties: {{l: {{$ref: '#/$defs/t'}}, d: {{default: 1}}}}, required: [x]}}}}\n"
        ))
    };
    // Here it is the defaults that are looked for everywhere.
    let refusal = doubling("allOf").complete(object(json!({"t": nested(60)}))).expect_err("it would not end");
    assert!(refusal.message.contains("would take too long"), "{refusal}");
    for word in ["anyOf", "oneOf"] {
        let doubling = doubling(word);
        too_long(&doubling, json!({"t": nested(60)}));
        assert_ne!(refusals(&doubling, json!({"t": nested(4)})), []);
        assert_eq!(doubling.path_pointers(&json!({"t": nested(60)})), [""; 0]);
        assert!(doubling.assign(&mut Map::new(), &format!("t{}=1", ".l".repeat(60))).is_ok());
    }
    let forms: Vec<String> = (0..9_000).map(|number| format!("{{const: {number}}}")).collect();
    let wide = schema(&format!("properties: {{a: {{items: {{anyOf: [{}]}}}}}}\n", forms.join(", ")));
    let many = json!({"a": vec![99_999; 43_000]});
    assert_eq!(wide.check_partial(&many, &["/x".to_owned()]).len(), 1);
    too_long(&wide, many);
    assert_eq!(refusals(&wide, json!({"a": [5, 8_999]})), []);
    // Much, and no more than there is time for: the first mistake is told.
    let plain = schema("properties: {a: {items: {type: integer}}}\n");
    assert_eq!(refusals(&plain, json!({"a": vec![1; 500_000]})), []);
    assert_eq!(checked(&plain, json!({"a": vec!["x"; 500_000]})).len(), 1);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

/// They are never left out silently.
#[test]
fn more_defaults_than_are_filled_in_are_refused() {
    let items = schema("properties: {a: {items: {properties: {d: {default: 1}}}}}\n");
    let filled = items.complete(object(json!({"a": vec![json!({}); 10_000]}))).expect("so many are");
    assert_eq!(filled.defaulted.len(), 10_000);
    let refusal = items.complete(object(json!({"a": vec![json!({}); 10_001]}))).expect_err("one more");
    assert_eq!(refusal.pointer, "/a/10000");
    let long = schema(&format!("properties: {{a: {{items: {{properties: {{d: {{default: '{}'}}}}}}}}}}\n", "x".repeat(100_000)));
    let refusal = long.complete(object(json!({"a": vec![json!({}); 1_000]}))).expect_err("100 MB");
    assert!(refusal.message.contains("8 MiB"), "{refusal}");
}

#[test]
fn composed_schemas_are_closed_too() {
    let composed = schema(
        "allOf: [{$ref: '#/$defs/common'}]\nproperties: {a: {type: integer}}\n$defs: {common: {properties: {b: {type: integer, default: 2}}}}\n",
    );
    assert_eq!(checked(&composed, json!({"a": 1, "b": 3})), [""; 0]);
    assert_eq!(checked(&composed, json!({"a": 1, "more": 3})), ["/more: unknown parameter `more` (help: known are `a`, `b`)"]);
    assert_eq!(composed.complete(Map::new()).expect("affordable").value, json!({"b": 2}));
    let open = schema("additionalProperties: true\n");
    assert_eq!(checked(&open, json!({"x": 1})), [""; 0]);
    let tree = read(Source::new("f", "properties: {files: {type: array}}\n"), Format::Yaml, &Limits::MANIFEST).expect("valid");
    let outputs = ParamSchema::compile_outputs(tree.root(), &mut Diagnostics::new()).expect("good");
    assert_eq!((checked(&outputs, json!({"more": 1})).len(), checked(&outputs, json!({"files": 1})).len()), (0, 1));
}

/// Schemas as a careless author might write them: right keywords with wrong values, and the other way round.
fn careless() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let keyword = prop::sample::select(vec![
        "type",
        "properties",
        "items",
        "required",
        "enum",
        "const",
        "default",
        "minimum",
        "maximum",
        "pattern",
        "format",
        "anyOf",
        "allOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "$ref",
        "$defs",
        "additionalProperties",
        "patternProperties",
        "prefixItems",
        "multipleOf",
        "minItems",
        "a",
        "b",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..300).prop_map(Value::from),
        (-2.0_f64..2.0).prop_map(Value::from),
        prop::sample::select(vec![
            "integer",
            "string",
            "object",
            "array",
            "number",
            "#",
            "#/$defs/a",
            "#/properties/a",
            "date",
            "file",
            "(",
            "^a+$",
            "x"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 5, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => prop::collection::vec((keyword.clone(), inner), 0..5)
                .prop_map(|entries| Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn no_schema_and_no_value_make_a_panic(schema in careless(), value in careless(), text in "[ab]\\.?[a-z0-9.=\\[{\"-]{0,12}") {
        let text_of_schema = schema.to_string();
        let tree = read(Source::new("f", text_of_schema), Format::Json, &Limits::PIPELINE).expect("valid JSON");
        let mut diagnostics = Diagnostics::new();
        let compiled = ParamSchema::compile(tree.root(), &mut diagnostics);
        proptest::prop_assert_eq!(compiled.is_none(), diagnostics.has_errors());
        for found in diagnostics.iter() {
            proptest::prop_assert!(found.place.is_some(), "{}", found);
        }
        if let Some(compiled) = compiled {
            let mut values = match value { Value::Object(map) => map, other => Map::from_iter([("a".to_owned(), other)]) };
            let _ = compiled.assign(&mut values, &text);
            let Ok(done) = compiled.complete(values) else { return Ok(()) };
            for pointer in &done.defaulted {
                proptest::prop_assert!(done.value.pointer(pointer).is_some());
            }
            let whole = compiled.check(&done.value);
            proptest::prop_assert_eq!(compiled.check_partial(&done.value, &[]), whole);
            proptest::prop_assert!(compiled.check_partial(&done.value, &["".to_owned()]).is_empty());
            let again = compiled.complete(match done.value.clone() { Value::Object(map) => map, _ => Map::new() }).expect("affordable");
            proptest::prop_assert_eq!(again.value, done.value, "completing twice changes nothing");
        }
    }
}
