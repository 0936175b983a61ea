//! Paths that are long or odd.

use std::path::{Path, PathBuf};

use prismq::attempt::ExitHow;
use prismq::engine::{Engine, Exit, Spec, Stdin, WorkIn};
use serde_json::json;

use crate::attempt::Attempt;
use crate::bench::Bench;
use crate::engine::BOTH;
use crate::support::{Running, TestSpace, stub};

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

/// Runs a copy of the stub that lies in a folder of this name; its one argument must reach it as it is.
#[track_caller]
fn copied_to(name: &Path) {
    let word = "a \"quoted\" word, 50 % & a \\ at the end\\";
    let mut attempt = Attempt::within(name, &["say", word], |spec| {
        let program = spec.work.join("a program.exe");
        std::fs::copy(stub(), &program).expect("a copy");
        spec.program = program;
        spec.work = std::env::temp_dir();
    })
    .start();
    assert_eq!(attempt.ended().how, ExitHow::Code(0));
    assert_eq!(String::from_utf8_lossy(&attempt.bytes("stdout.log")), word);
}

#[test]
fn a_program_in_a_folder_with_spaces_and_what_shells_take_for_their_own() {
    copied_to(Path::new("Program Files (größe) & more, 50% 'x' ^ – 工作"));
}

#[test]
#[ignore = "ignored under Wine: it starts no program by a name of more than 260 characters"]
fn a_program_far_below_a_long_path() {
    copied_to(&long());
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
fn runs_below_a_long_path() {
    let space = TestSpace::named("a space");
    let runs = space.at("runs").join(long());
    space.write("prismq.yaml", format!("host:\n  runs_dir: {}\n", json!(runs)));
    space.stub("hello", &["outputs", r#"{"said": "hello"}"#], "");
    space.stub("say", &["say-both"], "");
    space.write("p.yaml", "nodes:\n  a: {module: hello}\n  b: {module: say, needs: [a]}\n");
    space.prismq(&["run", "p.yaml"]).ends(0).says("completed");
    assert_eq!(space.statuses("last"), ["a=completed", "b=completed"]);
    assert_eq!(space.node("last", "a")["outputs"], json!({"said": "hello"}));
    space.prismq(&["logs", "last"]).ends(0).says("out 2").says("err 2");
    let run = space.show("last")["run"]["run_id"].as_str().expect("an id").to_owned();
    let log = runs.join(run).join("b.1").join("stdout.log");
    assert!(log.as_os_str().len() > 320 && log.is_file(), "{}", log.display());
}

/// A module runs in the folder of its script, or in one of its attempt. Here either is longer than Windows takes it.
#[test]
fn a_workspace_below_a_long_path_says_why_nothing_runs() {
    let space = TestSpace::named(&long().display().to_string());
    let prismq = |args: &[&str]| {
        let mut command = space.command(args);
        command.current_dir(std::env::temp_dir()).arg("--workspace").arg(space.root());
        Running::start(command, None).end()
    };
    for (id, isolation, workdir) in
        [("a", "wrapped", "fresh"), ("b", "direct", "fresh"), ("c", "wrapped", "script"), ("d", "direct", "script")]
    {
        space.stub(id, &["say", "hello"], &format!("isolation: {isolation}\nworkdir: {workdir}"));
        let ran = prismq(&["run", id]);
        let words = ran.stdout.clone() + &ran.stderr;
        assert!(ran.code == 1 && words.contains("working directory") && words.contains("may have 258"), "{ran:?}");
        let shown = prismq(&["show", "last", "--json"]).ends(0).json();
        assert_eq!(shown["nodes"][0]["node"], id, "{shown}");
    }
    prismq(&["validate"]).ends(0);
    prismq(&["journal", "verify"]).ends(0);
}

#[test]
fn an_engine_far_below_a_long_path() {
    for isolation in BOTH {
        let bench = Bench::below(&long(), isolation);
        let ending = bench.run(0, &["outputs", r#"{"files": ["a b.txt"]}"#]);
        assert_eq!((ending.exit, ending.outputs), (Exit::Exited(0), Ok(Some(json!({"files": ["a b.txt"]})))), "{isolation:?}");
        bench.engine.start(Spec { stdin: Stdin::Params, ..bench.spec(1, &["echo-input"]) });
        assert_eq!((bench.ending().exit, bench.log(1)), (Exit::Exited(0), r#"{"topic":"größe"}"#.to_owned()), "{isolation:?}");
        bench.engine.start(Spec { work: WorkIn::Fresh, ..bench.spec(2, &["where"]) });
        let Exit::SpawnFailed(failure) = bench.ending().exit else { panic!("it started") };
        assert!(failure.message.contains("working directory") && failure.message.contains("may have 258"), "{failure:?}");
        bench.engine.join();
    }
}
