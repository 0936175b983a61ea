//! The local engine: direct attempts in a job of the host, wrapped ones that outlive it.

use prismq::attempt::ProcessIdentity;
use prismq::engine::{Engine, Exit, Fact, Spec, Stdin, StopHow};
use prismq::event::SpawnFailureKind;
use prismq::request::Isolation;
use serde_json::json;

use crate::attempt::gone;
use crate::bench::{Bench, id};
use crate::support::until;

pub(crate) const BOTH: [Isolation; 2] = [Isolation::Direct, Isolation::Wrapped];

#[test]
fn codes_outputs_and_parameters() {
    for isolation in BOTH {
        let bench = Bench::of(isolation);
        assert_eq!(bench.run(0, &["exit-code", "3221225477"]).exit, Exit::Exited(0xC000_0005), "{isolation:?}");
        let ending = bench.run(1, &["outputs", r#"{"files": ["a b.txt"]}"#]);
        assert_eq!(ending.outputs, Ok(Some(json!({"files": ["a b.txt"]}))), "{isolation:?}");
        bench.engine.start(Spec { stdin: Stdin::Params, ..bench.spec(2, &["echo-input"]) });
        assert_eq!((bench.ending().exit, bench.log(2)), (Exit::Exited(0), r#"{"topic":"größe"}"#.to_owned()), "{isolation:?}");
        assert!(bench.ending_of_a_missing_program().message.contains("missing.exe"));
        bench.engine.join();
    }
}

impl Bench {
    fn ending_of_a_missing_program(&self) -> prismq::event::SpawnFailure {
        self.engine.start(Spec { program: self.at("missing.exe"), ..self.spec(3, &[]) });
        match self.ending().exit {
            Exit::SpawnFailed(failure) => {
                assert_eq!((failure.kind, failure.transient), (SpawnFailureKind::NotFound, false));
                failure
            }
            other => panic!("it started: {other:?}"),
        }
    }

    /// The members of a family of this size, once all of them are there.
    fn family(&self, node: u32, count: usize) -> Vec<ProcessIdentity> {
        let lines = until(|| {
            let log = self.log(node);
            Some(log.lines().filter_map(|line| line.trim().parse::<u32>().ok()).collect::<Vec<_>>()).filter(|pids| pids.len() == count)
        });
        lines.expect("the family is complete").into_iter().map(ProcessIdentity::of).collect()
    }
}

#[test]
fn a_start_and_output_are_told_while_it_runs() {
    for isolation in BOTH {
        let bench = Bench::of(isolation);
        let go = bench.at("go");
        bench.engine.start(bench.spec(0, &["count-until", &go.display().to_string(), "3", "NUL"]));
        assert!(ProcessIdentity::of(bench.started()).is_alive(), "{isolation:?}");
        bench.until("output", |fact| matches!(fact, Fact::Output { bytes, .. } if bytes >= 6).then_some(()));
        std::fs::write(&go, "").expect("a file");
        assert_eq!(bench.ending().exit, Exit::Exited(3), "{isolation:?}");
    }
}

#[test]
fn f24_a_kill_reaches_the_whole_family() {
    for isolation in BOTH {
        let bench = Bench::of(isolation);
        bench.engine.start(bench.spec(0, &["family", "3"]));
        let family = bench.family(0, 3);
        assert!(family.iter().all(|process| process.started > 0), "{family:?}");
        bench.engine.stop(&id(0), StopHow::Kill);
        let ending = bench.ending();
        assert_eq!((ending.exit, ending.stop_sent), (Exit::Exited(0xC000_013A), Some(StopHow::Kill)), "{isolation:?}");
        family.into_iter().for_each(gone);
    }
}

#[test]
fn a_quiet_child_that_is_left_behind_is_ended() {
    for isolation in BOTH {
        let bench = Bench::of(isolation);
        let ending = bench.run(0, &["leak-quiet-child"]);
        assert_eq!((ending.exit, ending.leaked), (Exit::Exited(0), true), "{isolation:?}");
        let pid = bench.log(0).trim().parse().expect("its number");
        assert!(!ProcessIdentity::of(pid).is_alive(), "{isolation:?}: {pid} is still there");
    }
}

#[test]
fn f38_a_wrapped_attempt_is_let_go_and_adopted() {
    let bench = Bench::of(Isolation::Wrapped);
    let go = bench.at("go");
    bench.engine.start(bench.spec(0, &["count-until", &go.display().to_string(), "5", "NUL"]));
    let module = ProcessIdentity::of(bench.started());
    bench.engine.release();
    let next = bench.next();
    drop(bench);
    assert!(module.is_alive());
    next.engine.adopt(next.left(0));
    next.until("output", |fact| matches!(fact, Fact::Output { bytes, .. } if bytes >= 6).then_some(()));
    std::fs::write(&go, "").expect("a file");
    assert_eq!(next.ending().exit, Exit::Exited(5));
    assert!(next.log(0).ends_with("end\n"));
}

#[test]
fn an_adopted_attempt_is_stopped() {
    let bench = Bench::of(Isolation::Wrapped);
    bench.engine.start(bench.spec(0, &["family", "2"]));
    let family = bench.family(0, 2);
    bench.engine.release();
    let next = bench.next();
    next.engine.adopt(next.left(0));
    next.engine.stop(&id(0), StopHow::Polite);
    assert_eq!(next.ending().exit, Exit::Exited(0xC000_013A));
    family.into_iter().for_each(gone);
}

#[test]
fn twenty_at_once() {
    let bench = Bench::of(Isolation::Wrapped);
    for node in 0..20 {
        bench.engine.start(bench.spec(node, &["exit", &node.to_string()]));
    }
    let mut codes: Vec<Exit> = (0..20).map(|_| bench.ending().exit).collect();
    codes.sort_by_key(|exit| if let Exit::Exited(code) = exit { *code } else { -1 });
    assert_eq!(codes, (0..20).map(Exit::Exited).collect::<Vec<_>>());
    bench.engine.join();
}
