use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::tree::NodeRef;

fn yaml(text: &str) -> Result<Value, String> {
    of(text, Format::Yaml, &Limits::PIPELINE)
}

fn json_of(text: &str) -> Result<Value, String> {
    of(text, Format::Json, &Limits::PIPELINE)
}

fn of(text: &str, format: Format, limits: &Limits) -> Result<Value, String> {
    read(Source::new("f", text), format, limits).map(|tree| tree.root().to_json()).map_err(|found| found.to_string())
}

/// The refusal of a YAML text: must begin with the place and hold every word.
#[track_caller]
fn refused(text: &str, place: &str, words: &[&str]) {
    let shown: String = text.chars().take(60).collect();
    let message = yaml(text).expect_err(&shown);
    assert!(message.starts_with(&format!("f:{place}: ")), "{shown:?} gave: {message}");
    for word in words {
        assert!(message.contains(word), "{shown:?} lacks {word:?}: {message}");
    }
}

#[test]
fn values_of_a_manifest_with_their_places() {
    let text = "\u{feff}# köpf\r\nid: thumbnails\r\nparams:\r\n  # größe\r\n  properties:\r\n    größe: {type: 'integer', default: 12}\r\ntags: [a, \"b\"]\r\ncommand:\r\n- x\r\n- 'it''s'\r\nlast:\r\n";
    let tree = read(Source::new("f", text), Format::Yaml, &Limits::PIPELINE).expect("valid");
    assert_eq!(
        tree.root().to_json(),
        json!({"id": "thumbnails", "params": {"properties": {"größe": {"type": "integer", "default": 12}}}, "tags": ["a", "b"],
               "command": ["x", "it's"], "last": null})
    );
    let written = |node: NodeRef<'_>| text[node.span().start as usize..node.span().end as usize].to_owned();
    for (pointer, source) in [
        ("/id", "thumbnails"),
        ("/params/properties/größe", "{type: 'integer', default: 12}"),
        ("/params/properties/größe/type", "'integer'"),
        ("/params/properties", "größe: {type: 'integer', default: 12}"),
        ("/tags/1", "\"b\""),
        ("/command", "- x\r\n- 'it''s'"),
        ("/command/1", "'it''s'"),
        ("/last", ""),
    ] {
        assert_eq!(written(tree.root().nearest_at(pointer)), source, "{pointer}");
    }
    let (key, _) = tree.root().get("params").and_then(|node| node.get("properties")?.entries().next()).expect("there");
    assert_eq!((written(key), key.place().to_string()), ("größe".to_owned(), "f:6:5".to_owned()));
}

#[test]
fn block_texts_and_absent_values() {
    let text = "a: |\n  one\n  two\nb: >-\n  folded\n  text\nc:\nd: ''\ne: ~\nf: plain\n  continued\n";
    assert_eq!(yaml(text), Ok(json!({"a": "one\ntwo\n", "b": "folded text", "c": null, "d": "", "e": null, "f": "plain continued"})));
    assert_eq!(yaml(""), Ok(Value::Null));
    assert_eq!(yaml("# only a comment\n"), Ok(Value::Null));
    assert_eq!(json_of(" \n"), Ok(Value::Null));
}

#[test]
fn a_19_an_exponential_alias_bomb_dies_early() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let last = level - 1;
        bomb.push_str(&format!(
            "a{level}: &a{level} [*a{last}, *a{last}, *a{last}, *a{last}, *a{last}, *a{last}, *a{last}, *a{last}, *a{last}]\n"
        ));
    }
    let start = Instant::now();
    let found = read(Source::new("f", bomb), Format::Yaml, &Limits::PIPELINE).expect_err("a bomb");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let found = found.iter().next().expect("one").clone();
    assert!(found.message.contains("stand for too much"), "{found}");
    assert!(found.place.is_some() && found.related.len() == 1, "both places are named");
}

#[test]
fn a_20_a_quadratic_alias_bomb_dies_early() {
    let bomb = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(60_000), vec!["*a"; 900].join(", "));
    let message = yaml(&bomb).expect_err("a bomb");
    assert!(message.contains("1048576 bytes of text"), "{message}");
    let many = format!("a: &a x\nb: [{}]\n", vec!["*a"; 1_001].join(", "));
    assert!(yaml(&many).expect_err("too many").contains("at most 1000 aliases"));
}

#[test]
fn aliases_within_the_budget_are_copies() {
    let text = "common: &c {a: [1, {b: 2}], t: \"x\"}\none: *c\nlist: [*c, *c]\ns: &s word\nt: *s\n";
    let c = json!({"a": [1, {"b": 2}], "t": "x"});
    assert_eq!(yaml(text), Ok(json!({"common": c, "one": c, "list": [c, c], "s": "word", "t": "word"})));
    let manifest = of(text, Format::Yaml, &Limits::MANIFEST).expect_err("none in manifests");
    assert!(manifest.starts_with("f:1:9: anchors") && manifest.contains("f:4:4: anchors"), "{manifest}");
    refused("a: &a [1, *a]\n", "1:11", &["cannot hold itself"]);
    refused("a: *nobody\n", "1:4", &["names no anchor"]);
}

#[test]
fn a_21_depth_tabs_nul_two_documents_duplicate_keys() {
    let start = Instant::now();
    refused(&"[".repeat(100), "1:65", &["more than 64"]);
    refused(&"[".repeat(100_000), "1:256", &["too many brackets"]);
    assert!(json_of(&"[".repeat(100_000)).expect_err("deep").starts_with("f:1:65: more than 64"));
    let deep: String = (0..200).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    refused(&deep, "65:65", &["more than 64"]);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(yaml(&format!("{}{}", "[".repeat(64), "]".repeat(64))).map(|_| ()), Ok(()));

    refused("a: 1\n\tb: 2\n", "1:4", &["indent with spaces"]);
    refused("a: \"x\0\"\n", "1:6", &["NUL"]);
    refused("a: 1\n---\nb: 2\n", "2:1", &["second document"]);
    let found = read(Source::new("f", "a: 1\nb: 2\na: 3\n"), Format::Yaml, &Limits::MANIFEST).expect_err("twice");
    let found = found.iter().next().expect("one");
    assert_eq!(found.to_string(), "f:3:1: the key `a` stands twice in this map (help: keep one of the two)");
    assert_eq!(found.related[0].1.to_string(), "f:1:1");
    assert!(json_of(r#"{"a": 1, "\u0061": 2}"#).expect_err("twice").contains("stands twice"));
    assert_eq!(yaml("a: {k: 1}\nb: {k: 1}\n").map(|_| ()), Ok(()), "the same key in another map");
}

#[test]
fn a_21_duplicates_among_many_keys() {
    let mut text: String = (0..2_000).map(|number| format!("key{number}: {number}\n")).collect();
    assert_eq!(yaml(&text).map(|value| value.as_object().map(serde_json::Map::len)), Ok(Some(2_000)));
    text.push_str("key1234: again\n");
    refused(&text, "2001:1", &["`key1234` stands twice"]);
}

#[test]
fn a_22_tags_are_refused() {
    refused("a: !!python/object/apply:os.system [\"id\"]\n", "1:4", &["`!!python/object/apply:os.system`"]);
    refused("a: !secret x\n", "1:4", &["`!secret`"]);
    refused("!!map {a: 1}\n", "1:1", &["tag"]);
    refused("a: !!str 1\nb: !x\n", "1:4", &["f:2:4: the tag `!x`"]);
}

#[test]
fn a_23_merge_keys_and_odd_scalars() {
    refused("a: &a {x: 1}\nb: {<<: *a}\n", "2:5", &["merge key"]);
    assert_eq!(yaml("a: no\nb: on\nc: ~\non: yes\n"), Ok(json!({"a": "no", "b": "on", "c": null, "on": "yes"})));
    refused("a: 010\nb: 1_000\nc: .nan\nd: ok\ne: 1e400\n", "1:4", &["quote it: \"010\"", "f:2:4: ", "f:3:4: ", "f:5:4: "]);
    assert_eq!(yaml("a: 0x1F\nb: 0o17\nc: +1\nd: .5\ne: \"010\""), Ok(json!({"a": 31, "b": 15, "c": 1, "d": 0.5, "e": "010"})));
    refused("1: a\n", "1:1", &["quote it: \"1\""]);
    refused("true: a\n", "1:1", &["quote it"]);
    refused("? [a]\n: b\n", "1:3", &["cannot be a key"]);
    refused("a: {{ x }}\n", "1:5", &["cannot be a key", "quoted"]);
    refused(": a\n", "1:1", &["key is missing"]);
}

#[test]
fn f_53_half_written_files() {
    refused("name: slow\npar", "2:4", &["`:` was expected", "is the file complete?"]);
    refused("name: \"slow\npar", "1:7", &["does not end"]);
    refused("params: [\"na", "1:10", &["is the file complete?"]);
    refused("params: {type: object, prop", "1:28", &["is the file complete?"]);
    for (text, place) in [("{\"a\": [1, 2", "1:12"), ("{\"a\": \"x", "1:7"), ("{\"a\"", "1:5"), ("{", "1:2"), ("{\"a\": tr", "1:7")] {
        let message = json_of(text).expect_err(text);
        assert!(message.starts_with(&format!("f:{place}: ")), "{text}: {message}");
    }
}

#[test]
fn several_mistakes_come_at_once_with_the_tree() {
    let text = "a: 010\nb: !x 1\nc: 1\nc: 2\nd: [1, 2]\n";
    let reading = read_on(Source::new("f", text), Format::Yaml, &Limits::MANIFEST);
    let places: Vec<String> = reading.diagnostics.iter().filter_map(|found| Some(found.place.as_ref()?.to_string())).collect();
    assert_eq!(places, ["f:1:4", "f:2:4", "f:4:1"]);
    assert_eq!(reading.tree.expect("a tree").root().get("d").map(NodeRef::len), Some(2));
    let endless: String = (0..1_000).map(|_| "- 010\n").collect();
    assert!(read_on(Source::new("f", endless), Format::Yaml, &Limits::MANIFEST).diagnostics.len() < 60);
}

#[test]
fn texts_beyond_their_budget_are_not_parsed() {
    let long = format!("a: {}\n", "x".repeat(300 * 1024));
    let message = of(&long, Format::Yaml, &Limits::MANIFEST).expect_err("long");
    assert!(message.contains("at most 262144"), "{message}");
    let many = format!("[{}]", vec!["1"; 200_000].join(","));
    assert!(of(&many[..250_000], Format::Json, &Limits::MANIFEST).expect_err("many").contains("more than 100000"));
}

#[test]
fn json_is_strict() {
    for (text, place, word) in [
        ("[1,]", "1:4", "remove the comma"),
        ("{\"a\": 1,}", "1:9", "remove the comma"),
        ("{a: 1}", "1:2", "double quotes"),
        ("{'a': 1}", "1:2", "double quotes"),
        ("[1 2]", "1:4", "`,` or `]`"),
        ("[01]", "1:2", "leading zeros"),
        ("[1.]", "1:2", "not a number"),
        ("[.5]", "1:2", "a value was expected"),
        ("[+1]", "1:2", "a value was expected"),
        ("[NaN]", "1:2", "NaN"),
        ("[Infinity]", "1:2", "Infinity"),
        ("[truex]", "1:2", "`truex`"),
        ("[1] // x", "1:5", "behind the end"),
        ("[\"a\tb\"]", "1:4", "control character"),
        ("[\"\\x\"]", "1:3", "escape"),
        ("[\"\\u12\"]", "1:3", "hexadecimal"),
        ("\"ä\n\"", "1:3", "control character"),
        ("[1}", "1:3", "`,` or `]`"),
    ] {
        let message = json_of(text).expect_err(text);
        assert!(message.starts_with(&format!("f:{place}: ")) && message.contains(word), "{text}: {message}");
    }
}

#[test]
fn a_16_surrogates_and_numbers_in_json() {
    assert_eq!(json_of(r#""\ud83d\ude00\u00e4\n\/""#), Ok(json!("😀ä\n/")));
    for lone in [r#""\ud83d""#, r#""\ud83dx""#, r#""\ude00""#, r#""\ud83d\u0041""#] {
        assert!(json_of(lone).expect_err(lone).contains("surrogate"), "{lone}");
    }
    for number in ["1e400", "-1e400", "18446744073709551616", "-9223372036854775809"] {
        assert!(json_of(number).expect_err(number).contains("64 bits"), "{number}");
    }
    assert_eq!(json_of("18446744073709551615"), Ok(json!(u64::MAX)));
}

fn values() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[ -~]{0,12}",
        "\\PC{0,8}",
        "[a\"\\\\\n\t/é😀]{0,6}",
        Just("010".to_owned()),
        Just("no".to_owned()),
        Just("~".to_owned())
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |number| serde_json::Number::from_f64(number).map(Value::Number)),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..6).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_reads_what_serde_json_writes(value in values()) {
        prop_assert_eq!(json_of(&serde_json::to_string(&value).expect("writes")), Ok(value.clone()));
        prop_assert_eq!(json_of(&serde_json::to_string_pretty(&value).expect("writes")), Ok(value));
    }

    #[test]
    fn yaml_reads_json_alike(value in values()) {
        // Escapes of one code unit at a time are JSON's own; serde_json writes none, and DEL and the C1 characters are not YAML.
        let text = serde_json::to_string_pretty(&value).expect("writes");
        let printable = !text.chars().any(|c| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'));
        prop_assume!(printable);
        prop_assert_eq!(yaml(&text), Ok(value));
    }

    #[test]
    fn json_accepts_and_refuses_as_serde_json_does(text in "[\\[\\]{},:\"0-9eE.+\\-a-c\\\\ntruefals ]{0,24}") {
        let theirs: Result<Value, _> = serde_json::from_str(&text);
        let ours = json_of(&text);
        // Stricter only where the reason is one of ours.
        match (&theirs, &ours) {
            (Ok(theirs), Ok(ours)) => prop_assert_eq!(theirs, ours),
            (Err(_), Err(_)) => {}
            (Err(_), Ok(value)) => prop_assert!(value.is_null() && text.trim().is_empty(), "{}", text),
            (Ok(_), Err(reason)) => prop_assert!(reason.contains("twice") || reason.contains("64 bits"), "{}: {}", text, reason),
        }
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in "\\PC{0,40}|[-:\\[\\]{}&*!|>'\"%@`#,?~\\n\\r\\t a-c0-9é]{0,60}") {
        for format in [Format::Yaml, Format::Json] {
            let reading = read_on(Source::new("f", text.clone()), format, &Limits::PIPELINE);
            if let Some(tree) = &reading.tree {
                let _ = tree.root().to_json();
            }
            for found in reading.diagnostics.iter() {
                let place = found.place.as_ref().expect("a place").to_string();
                prop_assert!(place.starts_with("f:"));
            }
        }
    }
}

#[test]
fn large_maps_cost_what_their_size_costs() {
    use std::fmt::Write as _;
    let mut entries = String::from("{");
    for number in 0..200_000 {
        let _ = write!(entries, "{}\"key{number}\": [{number}, \"text\"]", if number > 0 { ",\n" } else { "" });
    }
    entries.push('}');
    let start = Instant::now();
    let tree = read(Source::new("f", entries.as_str()), Format::Json, &Limits::PIPELINE).expect("valid");
    assert_eq!(tree.root().len(), 200_000);
    // Quadratic would be minutes, even in an optimised build.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let lines: String = (0..50_000).map(|number| format!("key{number}: value ä{number}\n")).collect();
    let start = Instant::now();
    let tree = read(Source::new("f", lines.as_str()), Format::Yaml, &Limits::PIPELINE).expect("valid");
    assert_eq!(tree.root().get("key49999").and_then(NodeRef::as_str), Some("value ä49999"));
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let twice = entries.replacen("\"key199999\"", "\"key3\"", 1);
    let refused = read(Source::new("f", twice), Format::Json, &Limits::PIPELINE).expect_err("twice");
    let refused = refused.iter().next().expect("one");
    assert!(refused.to_string().starts_with("f:200000:1: the key `key3`") && refused.related[0].1.to_string() == "f:4:1", "{refused}");
}
