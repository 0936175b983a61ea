use std::sync::Arc;

use super::*;
use crate::diagnostics::Source;
use crate::manifest::registry::{LastGood, ManifestResult};
use crate::manifest::{read_module, readable_id};
use crate::yaml::{Format, Limits, read};

const FOLDER: &str = if cfg!(windows) { "C:\\w" } else { "/w" };

fn result(name: &str, text: &str) -> ManifestResult {
    let file = Path::new(FOLDER).join(name);
    let tree = read(Source::new(name, text), Format::Yaml, &Limits::MANIFEST);
    let id = tree.as_ref().ok().and_then(readable_id);
    let outcome = tree.and_then(|tree| read_module(&tree, &file)).map(|(module, notes)| (Arc::new(module), notes));
    ManifestResult { file, id, outcome }
}

fn registry(files: &[(&str, &str)]) -> Registry {
    Registry::build(files.iter().map(|(name, text)| result(name, text)).collect())
}

/// As a host keeps it: what was good before stays in use.
fn after(before: &Registry, files: &[(&str, &str)]) -> Registry {
    let kept = before.iter().map(|module| LastGood { file: module.file(), module: module.clone() });
    let results: Vec<ManifestResult> = files.iter().map(|(name, text)| result(name, text)).collect();
    let broken = |file: &Path| results.iter().any(|result| result.file == file && result.outcome.is_err());
    let kept = kept.filter(|kept| broken(&kept.file)).collect();
    Registry::build_keeping(results, kept)
}

fn told(before: &Registry, after: &Registry) -> Vec<String> {
    difference(before, after)
        .into_iter()
        .map(|change| {
            let id = change.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
            let file = change.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let usable = if change.usable { "" } else { " unusable" };
            format!("{:?} {id} {file} [{}]{usable}", change.kind, change.what.join(","))
        })
        .collect()
}

const A: (&str, &str) = ("a.yaml", "id: a\nscript: a.py\n");
const B: (&str, &str) = ("b.yaml", "id: b\nscript: b.py\ntimeout: 1m\n");
const BAD_A: (&str, &str) = ("a.yaml", "id: a\nscript: a.py\ntimeot: 5\n");
const TORN_A: (&str, &str) = ("a.yaml", "id: a\nscript: [");

#[test]
fn nothing_changes_where_nothing_changed() {
    let files = [A, B, ("c.yaml", "id: c\nscrip: x\n")];
    assert_eq!(told(&registry(&files), &registry(&files)), [""; 0]);
}

#[test]
fn added_changed_and_removed() {
    let (one, other) = (registry(&[A]), registry(&[B]));
    assert_eq!(told(&one, &other), ["Added b b.yaml []", "Removed a a.yaml [] unusable"]);
    let edited = registry(&[("b.yaml", "id: b\nscript: c.py\ntimeout: 2m\nparams: {properties: {n: {type: integer}}}\n")]);
    assert_eq!(told(&other, &edited), ["Changed b b.yaml [script,params,timeout]"]);
    assert_eq!(told(&other, &registry(&[("b.yaml", "# a word\nid: b\nscript: b.py\ntimeout: 60s\n")])), ["Changed b b.yaml []"]);
    assert_eq!(told(&other, &registry(&[("c.yaml", B.1)])), ["Changed b c.yaml [file]"]);
}

#[test]
fn a_broken_one_keeps_its_last_good_version_until_it_is_repaired_or_gone() {
    let good = registry(&[A, B]);
    let broken = after(&good, &[BAD_A, B]);
    assert!(broken.get("a").is_some() && broken.broken_named("a").is_some());
    assert_eq!(told(&good, &broken), ["Broken a a.yaml []"]);
    // A file that cannot even be read says no id, and is known by what it was.
    let torn = after(&broken, &[TORN_A, B]);
    assert_eq!(told(&broken, &torn), ["Broken a a.yaml []"], "for another reason");
    assert_eq!(told(&torn, &after(&torn, &[TORN_A, B])), [""; 0], "the same mistake again is no news");
    assert_eq!(told(&torn, &after(&torn, &[("a.yaml", "id: a\nscript: new.py\n"), B])), ["Repaired a a.yaml [script]"]);
    assert_eq!(told(&torn, &after(&torn, &[A, B])), ["Repaired a a.yaml []"]);
    assert_eq!(told(&torn, &after(&torn, &[B])), ["Removed a a.yaml [] unusable"]);
}

#[test]
fn one_that_was_never_good_is_told_too() {
    let nothing = registry(&[]);
    let broken = registry(&[BAD_A]);
    assert_eq!(told(&nothing, &broken), ["Broken a a.yaml [] unusable"]);
    assert_eq!(told(&broken, &nothing), ["Removed a a.yaml [] unusable"]);
    assert_eq!(told(&broken, &registry(&[A])), ["Repaired a a.yaml []"]);
    assert_eq!(told(&nothing, &registry(&[("t.yaml", "id: [")])), ["Broken - t.yaml [] unusable"]);
}

#[test]
fn an_id_that_two_files_claim_is_used_by_neither_whatever_was_good_before() {
    let good = registry(&[A]);
    let both = after(&good, &[A, ("copy.yaml", A.1)]);
    assert!(both.get("a").is_none());
    assert_eq!(told(&good, &both), ["Broken a a.yaml [] unusable", "Broken a copy.yaml [] unusable"]);
    assert_eq!(told(&both, &after(&good, &[A])), ["Repaired a a.yaml []", "Removed a copy.yaml [] unusable"]);
    // One that cannot say its id gives way to another file that does.
    let moved = after(&good, &[TORN_A, ("copy.yaml", A.1)]);
    assert_eq!(moved.get("a").map(|module| module.file()), Some(Path::new(FOLDER).join("copy.yaml")));
}
