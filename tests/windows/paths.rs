//! Paths that are long or odd, and files that somebody else has open.

use std::os::windows::fs::OpenOptionsExt;
use std::path::PathBuf;

use prismq::attempt::{ExitHow, StopAs, StopRequest};
use prismq::units::DurationMs;

use crate::attempt::Attempt;
use crate::support::{TestSpace, stub};

/// More than 260 characters, with spaces, and letters outside ASCII.
fn long() -> PathBuf {
    (0..4).map(|at| format!("{at} – größe {}", "x".repeat(80))).collect()
}

#[test]
fn an_attempt_far_below_a_long_path() {
    let mut attempt = Attempt::within(&long(), &["say-both"], |spec| {
        // A program cannot run in such a folder, but its files may lie there.
        spec.work = std::env::temp_dir();
    })
    .start();
    assert!(attempt.folder.as_os_str().len() > 320);
    assert_eq!(attempt.ended().how, ExitHow::Code(0));
    assert_eq!(attempt.lines(), ["out 0", "out 1", "out 2"]);
}

#[test]
fn a_program_far_below_a_long_path() {
    let mut attempt = Attempt::within(&long(), &["say", "a \"quoted\" word, 50 % & a \\ at the end\\"], |spec| {
        let program = spec.work.join("a program.exe");
        std::fs::copy(stub(), &program).expect("a copy");
        spec.program = program;
        spec.work = std::env::temp_dir();
    })
    .start();
    assert_eq!(attempt.ended().how, ExitHow::Code(0));
    assert_eq!(String::from_utf8_lossy(&attempt.bytes("stdout.log")), "a \"quoted\" word, 50 % & a \\ at the end\\");
}

#[test]
fn a_workspace_with_spaces_runs_a_pipeline() {
    let space = TestSpace::named("Můj první prostor – 工作");
    space.stub("hello", &["say", "hello"], "");
    space.write("p.yaml", "nodes:\n  a: {module: hello}\n  b: {module: hello, needs: [a]}\n");
    let run = space.prismq(&["run", "p.yaml"]).ends(0);
    assert!(run.stdout.contains("completed"), "{run:?}");
    assert_eq!(space.statuses("last"), ["a=completed", "b=completed"]);
    space.prismq(&["logs", "last"]).ends(0).says("hello");
}

#[test]
fn a_workspace_below_a_long_path_keeps_its_state() {
    let space = TestSpace::named(&long().display().to_string());
    space.stub("hello", &["say", "hello"], "workdir: fresh");
    let ran = space.command(&["run", "hello"]);
    let ran = crate::support::Running::start(at_temp(ran, &space), None).end();
    // Whether a program may run in so long a folder is up to the system; that it could not is told, and recorded.
    assert!(ran.code == 0 || ran.stderr.contains("working directory") || ran.stderr.contains("could not start"), "{ran:?}");
    let shown = crate::support::Running::start(at_temp(space.command(&["show", "last"]), &space), None).end().ends(0);
    assert!(shown.stdout.contains("hello"), "{shown:?}");
}

/// The same command in a folder where a program can run.
fn at_temp(mut command: std::process::Command, space: &TestSpace) -> std::process::Command {
    command.current_dir(std::env::temp_dir()).arg("--workspace").arg(space.root());
    command
}

#[test]
fn a_request_replaces_one_that_is_being_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let request = |how| StopRequest { how, grace: DurationMs(0) };
    request(StopAs::Polite).write(folder.path()).expect("the first one");
    let reader = std::fs::File::open(folder.path().join("stop.json")).expect("it is there");
    std::thread::scope(|scope| {
        // Wine refuses to replace an open file, as Windows did before version 10: it is tried again until the reader is done.
        let writing = scope.spawn(|| request(StopAs::Kill).write(folder.path()));
        scope.spawn(move || drop(reader));
        writing.join().expect("no panic").expect("it is replaced");
    });
    assert_eq!(StopRequest::read(folder.path()).expect("it can be read"), Some(request(StopAs::Kill)));
}

#[test]
fn a_file_that_stays_open_is_not_replaced_for_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("stop.json"), "{}").expect("a file");
    // Opened as other programs do it: nobody may replace or remove it.
    let held = std::fs::OpenOptions::new().read(true).share_mode(1).open(folder.path().join("stop.json")).expect("it is there");
    let error = StopRequest { how: StopAs::Kill, grace: DurationMs(0) }.write(folder.path()).expect_err("it cannot be replaced");
    assert!(matches!(error.raw_os_error(), Some(5 | 32)), "{error}");
    drop(held);
}
