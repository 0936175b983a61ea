//! The layers of the crate, enforced: reads `src/**` and fails on an import against the table, on a module that the table does not
//! know, on a clock, file, process or thread in the pure layers, and on a file that has grown too long.
//!
//! Test code (`#[cfg(test)]`) is exempt. The reader in `layering/scan.rs` knows just enough of Rust's syntax: comments and strings are
//! blanked out, `use` groups are spelled out, `super::` is resolved. Run it alone: `cargo test --test layering`.
#![expect(clippy::disallowed_methods, reason = "this test reads the source files")]

#[path = "layering/attacks.rs"]
mod attacks;
#[path = "layering/faults.rs"]
mod faults;
#[path = "layering/rules.rs"]
mod rules;
#[path = "layering/scan.rs"]
mod scan;

use std::fs;
use std::path::{Path, PathBuf};

use rules::{LINES_MAX, check};
use scan::SourceFile;

/// All Rust files under a folder, sorted.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the source folder can be listed");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry can be read").path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] }).filter(|path| is_rust(path)).collect()
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

/// The crate's source, paths relative to `src`.
fn crate_source() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    rust_files(&root)
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            let inside = path.strip_prefix(&root).expect("it was found under the root");
            (inside.to_string_lossy().replace('\\', "/"), text)
        })
        .collect()
}

#[test]
fn the_source_keeps_to_the_layers() {
    let source = crate_source();
    assert!(source.len() > 5, "only {} files were found under src: is this the right folder?", source.len());
    let violations = check(&scan::parse(&source));
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn every_fault_has_a_test_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts: Vec<String> = crate_source().into_iter().map(|(_, text)| text).collect();
    // Not this file: its samples are no tests.
    let tests = rust_files(&root.join("tests")).into_iter().filter(|path| !path.ends_with("tests/layering.rs"));
    texts.extend(tests.map(|path| fs::read_to_string(path).expect("a source file is UTF-8")));
    let table = fs::read_to_string(root.join("docs/faults.md")).expect("docs/faults.md can be read");
    let found = faults::disagreements(&faults::read(&table), &faults::tests_in(texts.iter().map(String::as_str)));
    assert!(found.is_empty(), "{} disagreements between docs/faults.md and the tests:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_attack_has_a_test_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts: Vec<String> = crate_source().into_iter().map(|(_, text)| text).collect();
    let tests = rust_files(&root.join("tests")).into_iter().filter(|path| !path.ends_with("tests/layering.rs"));
    texts.extend(tests.map(|path| fs::read_to_string(path).expect("a source file is UTF-8")));
    let table = fs::read_to_string(root.join("docs/attacks.md")).expect("docs/attacks.md can be read");
    let found = attacks::disagreements(&table, &attacks::tests_in(texts.iter().map(String::as_str)));
    assert!(found.is_empty(), "{} disagreements between docs/attacks.md and the tests:\n{}", found.len(), found.join("\n"));
}

#[test]
fn an_attack_without_a_test_is_noticed() {
    let tests = attacks::tests_in(["    fn a01_works() {\nfn a_02_a03_older() {\nfn again() {"].into_iter());
    assert_eq!(tests.len(), 2);
    let found = attacks::disagreements("| A-01 | x | `it::a01_works` |\n| A-02 | x | `a02_gone` |\n| A-03 | x | y |\n| A-46 | x |", &tests);
    for message in ["A-02 names `a02_gone`, which is no test", "A-03 names neither", "A-04 has no row", "A-46 is not in the list"] {
        assert!(found.iter().any(|found| found.contains(message)), "{message} is missing in {found:?}");
    }
    assert!(!found.iter().any(|found| found.contains("A-01")), "{found:?}");
}

#[test]
fn a_fault_without_a_test_is_noticed() {
    let rows = faults::read(
        "| F-01 | x | y | `it::f01_works` |\n| F-02 | x | y | `f02_gone`, `f01_works` |\n| F-03 | x | not testable here: no |",
    );
    let tests = faults::tests_in(["    fn f01_works() {\nfn f01_f03_unnamed() {\n fn other() {"].into_iter());
    let found = faults::disagreements(&rows, &tests);
    for message in ["F-02 names `f02_gone`, which is no test", "F-01 does not name its test `f01_f03_unnamed`", "F-04 has no row"] {
        assert!(found.iter().any(|found| found == message), "{message} is missing in {found:?}");
    }
    assert!(!found.iter().any(|found| found.contains("F-03 names")), "a reason is enough: {found:?}");
}

#[test]
fn the_table_has_no_cycles() {
    let mut above: Vec<&str> = Vec::new();
    for row in rules::TABLE {
        for used in row.may_use {
            assert!(above.contains(used), "`{}` may use `{used}`, which stands below it in the table", row.module);
        }
        assert!(!above.contains(&row.module), "`{}` stands twice in the table", row.module);
        above.push(row.module);
    }
}

/// What `check` says about some files.
fn judged(files: &[(&str, &str)]) -> Vec<String> {
    let owned: Vec<(String, String)> = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    check(&scan::parse(&owned))
}

/// Asserts exactly one violation, at this place and with this text in its message.
fn assert_one(files: &[(&str, &str)], place: &str, part: &str) {
    let violations = judged(files);
    assert_eq!(violations.len(), 1, "{violations:#?}");
    assert!(violations[0].starts_with(place), "{} should be at {place}", violations[0]);
    assert!(violations[0].contains(part), "{} should say {part}", violations[0]);
}

#[test]
fn an_allowed_import_passes() {
    assert_eq!(judged(&[("params/mod.rs", "use crate::tree::NodeRef;\nuse crate::diagnostics::{Place, Span};\n")]), [""; 0]);
    assert_eq!(judged(&[("main.rs", "fn main() { prismq::cli::main() }")]), [""; 0]);
}

#[test]
fn an_import_against_the_table_is_found_with_its_line() {
    assert_one(
        &[("journal/write.rs", "//! Head\n\nuse crate::run::RunState;\n")],
        "src/journal/write.rs:3:",
        "`journal` may not use `run`",
    );
    assert_one(&[("ids.rs", "fn f() -> crate::event::Event { todo!() }")], "src/ids.rs:1:", "`ids` may not use `event`");
}

#[test]
fn groups_are_spelled_out() {
    let text = "use crate::{\n    ids::RunId,\n    journal::{self, read::{Reader, Tail as End}},\n    units::*,\n};";
    assert_one(&[("yaml.rs", text)], "src/yaml.rs:3:", "`yaml` may not use `journal`");
    assert_one(&[("yaml.rs", "use crate::{ids, {logs}};")], "src/yaml.rs:1:", "`logs`");
}

#[test]
fn a_path_through_super_is_resolved() {
    assert_one(&[("logs/tail.rs", "use super::super::engine::Engine;")], "src/logs/tail.rs:1:", "`logs` may not use `engine`");
    assert_one(&[("logs/mod.rs", "mod inner { use super::super::engine::Engine; }")], "src/logs/mod.rs:1:", "`engine`");
    assert_eq!(judged(&[("logs/tail.rs", "use super::store::Store;\npub(super) fn f() {}\npub(crate) fn g() {}")]), [""; 0]);
}

#[test]
fn a_part_with_a_row_of_its_own_is_judged_by_it() {
    assert_eq!(judged(&[("manifest/mod.rs", "use crate::pipeline::expr::Template;")]), [""; 0]);
    assert_one(&[("manifest/mod.rs", "use crate::pipeline::definition::Definition;")], "src/manifest/mod.rs:1:", "`pipeline`");
    assert_one(
        &[("pipeline/expr/scope.rs", "use crate::pipeline::definition::Definition;")],
        "src/pipeline/expr/scope.rs:1:",
        "`pipeline::expr`",
    );
}

#[test]
fn whatever_is_no_code_is_passed_over() {
    let text = r##"
//! See [`crate::host`].
/* use crate::host::Handle; /* nested crate::host */ */
const A: &str = "crate::host";
const B: &str = r#"use "crate::host";"#;
const C: char = '"'; // crate::host
fn f<'a>(_: &'a str) {}
"##;
    assert_eq!(judged(&[("units.rs", text)]), [""; 0]);
}

#[test]
fn test_code_is_exempt_and_what_follows_it_is_not() {
    let text = "#[cfg(test)]\nmod tests {\n    use crate::host::Handle;\n}\nuse crate::run::RunState;\n";
    assert_one(&[("units.rs", text)], "src/units.rs:5:", "`units` may not use `run`");
    let sibling = [("units.rs", "#[cfg(test)]\nmod tests;\n"), ("units/tests.rs", "use crate::host::Handle;")];
    assert_eq!(judged(&sibling), [""; 0]);
    let sibling =
        [("run/mod.rs", "#[cfg(all(test, unix))]\n#[path = \"x.rs\"]\nmod tests;"), ("run/tests/deep.rs", "use crate::host::Handle;")];
    assert_eq!(judged(&sibling), [""; 0]);
    assert_one(&[("units.rs", "#[cfg(any(test, unix))]\nuse crate::run::RunState;")], "src/units.rs:2:", "`run`");
    assert_one(&[("units.rs", "mod tests;"), ("units/tests.rs", "use crate::host::Handle;")], "src/units/tests.rs:1:", "`host`");
}

#[test]
fn an_unknown_module_is_named() {
    assert_one(&[("helpers.rs", "fn f() {}")], "src/helpers.rs:1:", "`helpers` is not in the table");
    assert_one(&[("cli/mod.rs", "use crate::Handle;")], "src/cli/mod.rs:1:", "`crate::Handle`");
    assert_one(&[("cli/mod.rs", "use crate::*;")], "src/cli/mod.rs:1:", "`crate::*`");
}

#[test]
fn clocks_files_processes_and_threads_stay_out_of_the_pure_layers() {
    for (text, part) in [
        ("use std::time::Instant;", "std::time::Instant"),
        ("use std::{fmt, time::{Duration, SystemTime}};", "std::time::SystemTime"),
        ("fn f() { let _ = std::fs::read(\"x\"); }", "std::fs"),
        ("use std::fs::File;", "std::fs"),
        ("use std::process::Command;", "std::process"),
        ("fn f() { std::thread::yield_now() }", "std::thread"),
        ("fn f() { std::env::var(\"X\"); }", "std::env"),
        ("use tokio::sync::mpsc;", "tokio"),
        ("fn f() { getrandom::fill(&mut []); }", "getrandom"),
        ("fn f(p: &std::path::Path) -> bool { p.exists() }", ".exists()"),
        ("fn f() { let _ = jiff::Timestamp::now(); }", "now()"),
        ("fn f() { println!(\"x\") }", "println!"),
    ] {
        assert_one(&[("scheduler/decide.rs", text)], "src/scheduler/decide.rs:1:", part);
    }
    let fine = "use std::time::Duration;\nuse std::sync::Arc;\nuse crate::units::Now;\nfn f(now: Now) { g(now) }\nfn g(_: Now) {}";
    assert_eq!(judged(&[("scheduler/decide.rs", fine)]), [""; 0]);
    assert_eq!(judged(&[("engine/spawn.rs", "use std::process::Command;")]), [""; 0]);
}

#[test]
fn a_long_file_is_refused_and_its_tests_do_not_count() {
    let code = "fn f() {}\n".repeat(LINES_MAX);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "fn f() {}\n".repeat(LINES_MAX));
    assert_eq!(judged(&[("units.rs", &format!("{code}{tests}"))]), [""; 0]);
    assert_one(&[("units.rs", &format!("{code}\n{tests}"))], "src/units.rs:1:", "501 lines");
}

#[test]
fn an_item_under_test_ends_where_it_should() {
    let text = "#[cfg(test)]\nfn helper() -> [u8; 2] { [1, 2] }\n#[cfg(test)]\nuse crate::host::{A, B};\nuse crate::run::RunState;";
    assert_one(&[("units.rs", text)], "src/units.rs:5:", "`run`");
    let files = scan::parse(&[("units.rs".to_owned(), "#![cfg(test)]\nuse crate::host::A;".to_owned())]);
    assert!(files.iter().all(SourceFile::is_test), "an inner attribute makes the whole file test code");
}
