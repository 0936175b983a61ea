use super::*;
use crate::diagnostics::Source;
use crate::tree::Tree;
use crate::yaml::{Format, Limits, read};

fn tree(text: &str) -> Tree {
    read(Source::new("f", text), Format::Yaml, &Limits::MANIFEST).expect("valid YAML")
}

/// Reads one key of a map and gives the value with what was said about it.
fn with<T>(text: &str, get: impl FnOnce(&Fields<'_>, &mut Diagnostics) -> T) -> (T, String) {
    let tree = tree(text);
    let mut diagnostics = Diagnostics::new();
    let fields = Fields::open_any(tree.root(), "a test", &mut diagnostics).expect("a map");
    let value = get(&fields, &mut diagnostics);
    (value, diagnostics.to_string())
}

#[test]
fn unknown_and_later_keys_are_told_apart() {
    let tree = tree("parms: {}\nid: x\ncapture: raw\nzzz: 1\n");
    let mut found = Diagnostics::new();
    assert!(Fields::open(tree.root(), "a manifest", &["id", "params"], &[("capture", "Durability")], &mut found).is_some());
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(lines[0], "f:1:1: unknown field `parms` (help: did you mean `params`?)");
    assert!(lines[1].starts_with("f:3:1: `capture` is not built yet: it comes with Durability"), "{}", lines[1]);
    assert_eq!(lines[2], "f:4:1: unknown field `zzz` (help: known are `id`, `params`)");
    assert_eq!(lines.len(), 3);
}

#[test]
fn what_is_no_map_is_refused() {
    for (text, found) in [("[a]", "a list"), ("x", "the text \"x\""), ("", "nothing"), ("3", "`3`")] {
        let mut diagnostics = Diagnostics::new();
        assert!(Fields::open(tree(text).root(), "a manifest", &[], &[], &mut diagnostics).is_none());
        assert!(diagnostics.to_string().contains(&format!("a manifest must be a map, not {found}")), "{diagnostics}");
    }
}

#[test]
fn texts_that_are_numbers_are_to_be_quoted() {
    let (value, said) = with("version: 1.10", |fields, found| fields.text("version", found).map(str::to_owned));
    assert_eq!((value, said.as_str()), (None, "f:1:10: `version` must be a text, not `1.10` (help: quote it: \"1.10\")"));
    let (_, said) = with("tags: [a, 1, b]", |fields, found| fields.texts("tags", found).map(|texts| texts.len()));
    assert!(said.starts_with("f:1:11: an item of `tags` must be a text"), "{said}");
    let (_, said) = with("env: {A: 1}", |fields, found| fields.text_map("env", found).map(|texts| texts.len()));
    assert!(said.contains("`A` in `env`") && said.contains("quote it: \"1\""), "{said}");
}

#[test]
fn amounts_durations_and_ranges() {
    assert_eq!(with("t: 1h30m", |fields, found| fields.duration("t", found)), (Some(DurationMs(5_400_000)), String::new()));
    let (value, said) = with("t: 30", |fields, found| fields.duration("t", found));
    assert!(value.is_none() && said.contains("write `30s`"), "{said}");
    assert_eq!(with("m: 2GiB", |fields, found| fields.bytes("m", found)).0, Some(Bytes(2 << 30)));
    assert_eq!(with("c: 500m", |fields, found| fields.cpus("c", found)).0, Some(CpuMillis(500)));
    assert_eq!(with("f: 1.5", |fields, found| fields.thousandths("f", 1_000, 10_000, found)).0, Some(1_500));
    let (value, said) = with("n: 0", |fields, found| fields.whole("n", 1, 100, found));
    assert_eq!((value, said.as_str()), (None, "f:1:4: `n` must be a whole number from 1 to 100, not `0`"));
    assert!(with("n: 1.5", |fields, found| fields.whole("n", 1, 100, found)).1.contains("not `1.5`"));
    assert!(with("n:", |fields, found| fields.whole("n", 1, 100, found)).1.contains("leave the key out"));
    assert_eq!(with("x: 1", |fields, found| fields.whole("n", 1, 100, found)), (None, String::new()), "absent is no mistake");
}

#[test]
fn words_and_booleans() {
    let words = [("flags", 1), ("env", 2)];
    assert_eq!(with("a: env", |fields, found| fields.word("a", &words, found)).0, Some(2));
    let (_, said) = with("a: flag", |fields, found| fields.word("a", &words, found));
    assert_eq!(said, "f:1:4: `a` cannot be \"flag\" (help: did you mean `flags`?)");
    let (value, said) = with("a: no", |fields, found| fields.boolean("a", found));
    assert!(value.is_none() && said.contains("write `false`"), "{said}");
    let (_, said) = with("a: 1", |fields, found| fields.required("id", "a manifest", found).is_some());
    assert_eq!(said, "f:1:1: a manifest needs `id`");
}
