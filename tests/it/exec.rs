//! `exec`: any script, its own exit code.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;

use crate::support::{Running, TestSpace, stub};

#[test]
fn it_ends_with_the_scripts_own_code_and_output() {
    let space = TestSpace::awkward();
    space.write("skript ž.py", "import sys\nprint(sys.argv[1:])\nprint('err', file=sys.stderr)\nsys.exit(int(sys.argv[1]))\n");
    for code in [0, 1, 3, 42, 255] {
        let ran = space.prismq(&["exec", "skript ž.py", "--", &code.to_string(), "-x", "a b", "--", "$HOME", ""]).ends(code);
        assert_eq!(ran.stdout, format!("['{code}', '-x', 'a b', '--', '$HOME', '']\n"));
        assert_eq!(ran.stderr, "err\n");
    }
    assert_eq!(space.prismq(&["runs", "--json"]).ends(0).json().as_array().map(Vec::len), Some(5), "each of them is recorded");
}

#[test]
fn codes_of_ours() {
    let space = TestSpace::new();
    space.prismq(&["exec", "nothing.py"]).ends(127);
    let script = space.write("plain.sh", "#!/bin/sh\nexit 5\n");
    space.prismq(&["exec", "plain.sh"]).ends(5);
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    space.prismq(&["exec", "plain.sh"]).ends(5);
    // A program that may not be executed, and one whose interpreter is not there.
    let program = space.write("program", "not a program");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o644)).expect("permissions");
    space.prismq(&["exec", "program"]).ends(126);
    space.prismq(&["exec", "."]).ends(126);
    let lost = space.write("lost", "#!/no/such/interpreter\n");
    std::fs::set_permissions(&lost, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let ran = space.prismq(&["exec", "lost"]);
    assert!(matches!(ran.code, 126 | 127), "{ran:?}");
}

#[test]
fn a_signal_is_128_and_its_number() {
    let space = TestSpace::new();
    let stub = stub().display().to_string();
    space.prismq(&["exec", &stub, "--", "signal", "15"]).ends(143).complains("signal");
    space.prismq(&["exec", &stub, "--", "signal", "9"]).ends(137);
    space.prismq(&["exec", &stub, "--", "exit", "17"]).ends(17);
}

#[test]
fn a_broken_journal_is_ours() {
    let space = TestSpace::new();
    space.write("x.py", "print(1)");
    space.prismq(&["exec", "x.py"]).ends(0);
    let journal = space.at(".prismq/journal/000001.jsonl");
    let mut bytes = std::fs::read(&journal).expect("a journal");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&journal, bytes).expect("written");
    let ran = space.prismq(&["exec", "x.py"]);
    assert!(matches!(ran.code, 78 | 125), "{ran:?}");
}

#[test]
fn it_needs_no_workspace() {
    let space = TestSpace::new();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("x.py"), "import os\nprint(os.getcwd())\n").expect("a file");
    let mut command = space.command(&["exec", "x.py"]);
    command.current_dir(folder.path());
    let ran = Running::start(command, None).end().ends(0);
    let here = std::fs::canonicalize(folder.path()).expect("it exists");
    assert_eq!(ran.stdout.trim(), here.display().to_string());
}

#[test]
fn output_without_a_line_end_and_bytes_that_are_no_text() {
    let space = TestSpace::new();
    let stub = stub().display().to_string();
    let ran = space.prismq(&["exec", &stub, "--", "half-line"]).ends(0);
    assert!(ran.stdout.starts_with("first\nno end"), "{ran:?}");
    space.prismq(&["exec", &stub, "--", "invalid-utf8"]).ends(0);
    let flood = space.prismq(&["exec", &stub, "--", "flood", "300000"]).ends(0);
    assert_eq!(flood.stdout.replace('\n', "").len(), 300_000);
}
