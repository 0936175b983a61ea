//! Tests of the transition function, of paths and of snapshots. What needs decisions is tested in `scheduler`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::testing::{n, pipe, run_id, run_of};
use super::*;
use crate::event::{EndFacts, Event, FailureCause, LostReason, RunStatus, SkipReason, Stamp, StartFacts, StopReason};
use crate::ids::{AttemptNumber, NodeIndex, Seq};
use crate::pipeline::definition::Definition;
use crate::request::{Isolation, Request};
use crate::units::{DurationMs, Timestamp};

/// Applies events with growing positions and checks everything after each.
struct Live {
    run: RunState,
    seq: u64,
}

impl Live {
    fn new(definition: &Arc<Definition>) -> Self {
        let mut live = Self { run: run_of(definition), seq: 0 };
        live.ok(Event::RunSubmitted { pinned: "hash".into() });
        live
    }

    fn apply(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        self.seq += 1;
        let stamp = Stamp { seq: Seq(self.seq), at: Timestamp::from_micros(i64::try_from(self.seq).expect("small") * 1_000_000) };
        let applied = self.run.apply(event, stamp);
        assert_eq!(self.run.sanity_check(), Ok(()));
        applied
    }

    fn ok(&mut self, event: Event) {
        self.apply(&event).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Refused, and nothing changed.
    fn refused(&mut self, event: &Event) -> String {
        let before = self.run.freeze();
        let error = self.apply(event).expect_err("it is refused");
        assert_eq!(self.run.freeze(), before, "a refused event changed something");
        error.to_string()
    }

    fn at(&self, path: &str) -> NodeIndex {
        self.run.find(path).unwrap_or_else(|| panic!("no node {path}"))
    }

    fn start(&mut self, path: &str, attempt: u32) {
        let node = self.at(path);
        self.ok(Event::AttemptIntended { node, attempt: AttemptNumber(attempt) });
        self.ok(started(node, attempt, "h1"));
    }

    fn end(&mut self, path: &str, attempt: u32, facts: EndFacts) {
        let node = self.at(path);
        self.ok(Event::AttemptEnded { node, attempt: AttemptNumber(attempt), facts });
    }
}

fn started(node: NodeIndex, attempt: u32, hash: &str) -> Event {
    let facts = StartFacts {
        grant: Request::default(),
        isolation: Isolation::Direct,
        params: Arc::new(json!({"x": 1})),
        defaulted: vec!["/x".into()],
        script_hash: Some(hash.into()),
    };
    Event::AttemptStarted { node, attempt: AttemptNumber(attempt), facts }
}

fn done(outputs: Value) -> EndFacts {
    EndFacts {
        failure: None,
        stopped: None,
        code: Some(0),
        signal: None,
        outputs: Some(Arc::new(outputs)),
        duration_ms: DurationMs(5),
        cpu_ms: None,
        peak_memory: None,
        peak_vram: None,
        memory: None,
        signals: Vec::new(),
        escalated: false,
        leaked: false,
        leaked_pids: Vec::new(),
    }
}

fn failed(cause: FailureCause) -> EndFacts {
    EndFacts { failure: Some(cause), code: Some(3), outputs: None, ..done(Value::Null) }
}

#[test]
fn a_node_is_small() {
    assert!(size_of::<Node>() <= 120, "{}", size_of::<Node>());
}

#[test]
fn paths_are_found_again() {
    let inner = pipe(vec![n("cut"), n("each").matrix(json!({"k": [1, 2]}))]);
    let live = Live::new(&pipe(vec![n("a"), n("clips").matrix(json!({"x": [1, 2, 3]})).calls(&inner), n("s").calls(&inner)]));
    let paths: Vec<String> = live.run.nodes().map(|(node, _)| live.run.path(node)).collect();
    assert_eq!(paths.len(), 3 + 3 + 4 * 4);
    for (node, path) in live.run.nodes().map(|(node, _)| node).zip(&paths) {
        assert_eq!(live.run.find(path), Some(node), "{path}");
    }
    assert!(paths.contains(&"clips[2].each[1]".to_owned()), "{paths:?}");
    let strange = [
        "",
        ".",
        "a.",
        ".a",
        "a[0]",
        "clips[3]",
        "clips[02]",
        "clips[+1]",
        "clips[-1]",
        "clips[",
        "clips[]",
        "clips[2]x",
        "clips[2].no",
        "s.cut.x",
        "a b",
        "é",
        "clips[99999999999]",
    ];
    for path in strange {
        assert_eq!(live.run.find(path), None, "{path}");
    }
}

#[test]
fn nothing_happens_before_the_submission_and_after_the_end() {
    let mut live = Live { run: run_of(&pipe(vec![n("a")])), seq: 0 };
    let text = live.refused(&Event::RunCancelRequested { kill: false });
    assert_eq!(text, "cancel request of the run is not possible: it was not submitted");
    live.ok(Event::RunSubmitted { pinned: "h".into() });
    live.refused(&Event::RunSubmitted { pinned: "h".into() });
    assert_eq!(live.run.status(), RunStatus::Queued);
    live.refused(&Event::RunEnded { status: RunStatus::Completed, outputs: None });
    live.start("a", 1);
    live.end("a", 1, done(json!({})));
    live.refused(&Event::RunEnded { status: RunStatus::Cancelled, outputs: None });
    live.ok(Event::RunEnded { status: RunStatus::Completed, outputs: None });
    assert_eq!(live.refused(&Event::RunCancelRequested { kill: true }), "cancel request of the run is not possible: it is completed");
    assert_eq!(live.run.status(), RunStatus::Completed);
}

#[test]
fn late_messages_of_old_attempts_are_refused() {
    let mut live = Live::new(&pipe(vec![n("a").attempts(2)]));
    let a = live.at("a");
    live.start("a", 1);
    live.end("a", 1, failed(FailureCause::Exit { code: 3 }));
    assert!(matches!(live.run.node(a).state(), NodeState::Retrying { until, .. } if *until == Timestamp::from_micros(6_000_000)));
    live.ok(Event::NodeReady { node: a });
    live.start("a", 2);
    let late = Event::AttemptEnded { node: a, attempt: AttemptNumber(1), facts: done(json!({})) };
    assert_eq!(live.refused(&late), "end of an attempt of a is not possible: it is a module in state running attempt 2");
    live.refused(&Event::AttemptStopping { node: a, attempt: AttemptNumber(1), reason: StopReason::Timeout });
    live.end("a", 2, done(json!({"n": 1})));
    live.refused(&Event::AttemptEnded { node: a, attempt: AttemptNumber(2), facts: done(json!({})) });
    assert_eq!((live.run.held().attempts, live.run.node(a).attempts()), (0, 2));
}

#[test]
fn an_attempt_that_never_started_is_started_again_and_does_not_count() {
    let never = || failed(FailureCause::Lost { reason: LostReason::NeverStarted });
    let mut live = Live::new(&pipe(vec![n("a").attempts(1)]));
    let a = live.at("a");
    live.start("a", 1);
    live.end("a", 1, never());
    assert!(matches!(live.run.node(a).state(), NodeState::Ready { .. }));
    live.start("a", 2);
    live.end("a", 2, failed(FailureCause::Exit { code: 3 }));
    assert!(matches!(live.run.node(a).state(), NodeState::Done { .. }), "the first real attempt was the only one");

    // Held, it waits for the resume like everything else that was lost.
    let mut live = Live::new(&pipe(vec![n("a").attempts(1)]));
    live.start("a", 1);
    live.ok(Event::RunHeld);
    live.end("a", 1, never());
    assert!(matches!(live.run.node(a).state(), NodeState::Interrupted { .. }));

    // Where that does not help, it comes to an end.
    let mut live = Live::new(&pipe(vec![n("a").attempts(1)]));
    for attempt in 1..100 {
        live.start("a", attempt);
        live.end("a", attempt, never());
        if live.run.node(a).state().is_done() {
            return;
        }
    }
    panic!("it is started for ever");
}

#[test]
fn a_start_needs_its_own_intent() {
    let mut live = Live::new(&pipe(vec![n("a"), n("b").needs(&["a"])]));
    let (a, b) = (live.at("a"), live.at("b"));
    live.refused(&started(a, 1, "h"));
    live.refused(&Event::AttemptIntended { node: a, attempt: AttemptNumber(2) });
    live.ok(Event::AttemptIntended { node: a, attempt: AttemptNumber(1) });
    live.refused(&Event::AttemptIntended { node: a, attempt: AttemptNumber(1) });
    live.ok(Event::AttemptIntended { node: b, attempt: AttemptNumber(1) });
    live.refused(&started(b, 1, "h"));
    live.refused(&started(a, 2, "h"));
    assert_eq!(live.run.unused_intents().collect::<Vec<_>>(), [(a, AttemptNumber(1)), (b, AttemptNumber(1))]);
    live.ok(started(a, 1, "h"));
    assert_eq!(live.run.unused_intents().collect::<Vec<_>>(), [(b, AttemptNumber(1))]);
    let not_lost = Event::AttemptEnded { node: b, attempt: AttemptNumber(1), facts: done(json!({})) };
    live.refused(&not_lost);
}

#[test]
fn each_event_that_does_not_fit_its_node_is_refused() {
    let inner = pipe(vec![n("x")]);
    let definition = pipe(vec![n("a"), n("g").foreach("${{ [1] }}"), n("m").matrix(json!({"k": [1, 2]})), n("s").calls(&inner)]);
    let mut live = Live::new(&definition);
    let [a, g, m, s] = ["a", "g", "m", "s"].map(|path| live.at(path));
    let items = Arc::new(vec![json!(1)]);
    for event in [
        Event::NodeReady { node: a },
        Event::NodeReady { node: s },
        Event::NodeExpanded { node: a, items: items.clone() },
        Event::NodeExpanded { node: m, items: items.clone() },
        Event::NodeOpened { node: g, params: Arc::default() },
        Event::NodeFinished { node: a, outputs: Arc::default() },
        Event::NodeFinished { node: m, outputs: Arc::default() },
        Event::NodeFinished { node: s, outputs: Arc::default() },
        Event::NodeFailed { node: m, cause: FailureCause::ScriptChanged },
        Event::NodeCancelled { node: m },
        Event::NodeSkipped { node: m, because: SkipReason::Condition },
        Event::AttemptIntended { node: g, attempt: AttemptNumber(1) },
        Event::AttemptEnded { node: a, attempt: AttemptNumber(1), facts: failed(FailureCause::Lost { reason: LostReason::Reboot }) },
        Event::NodeReady { node: NodeIndex(999) },
        Event::RunResumed,
    ] {
        live.refused(&event);
    }
    live.ok(Event::NodeExpanded { node: g, items: items.clone() });
    live.refused(&Event::NodeExpanded { node: g, items });
    let too_many = Arc::new(vec![Value::Null; 1_000_001]);
    let mut live = Live::new(&definition);
    assert!(live.refused(&Event::NodeExpanded { node: g, items: too_many }).contains("too many nodes"));
}

#[test]
fn a_changed_script_marks_the_run_and_the_row() {
    let mut live = Live::new(&pipe(vec![n("a"), n("b")]));
    let b = live.at("b");
    live.start("a", 1);
    assert!(!live.run.view().mixed_code);
    live.ok(Event::AttemptIntended { node: b, attempt: AttemptNumber(1) });
    live.ok(started(b, 1, "h2"));
    assert!(live.run.view().mixed_code);
    assert_eq!((live.run.row(live.at("a")).mixed_code, live.run.row(b).mixed_code), (false, true));
}

#[test]
fn views_say_what_happened() {
    let mut live = Live::new(&pipe(vec![n("a").attempts(2), n("b").needs(&["a"])]));
    live.start("a", 1);
    live.end("a", 1, failed(FailureCause::Exit { code: 3 }));
    let row = live.run.row(live.at("a"));
    assert_eq!((row.status, row.exit_code, row.attempts), (NodeStatus::Retrying, Some(3), 1));
    assert_eq!(row.reason.as_deref(), Some("attempt 2 follows: exit code 3"));
    assert_eq!(live.run.row(live.at("b")).reason.as_deref(), Some("waits for 1 node"));
    let json = serde_json::to_value(live.run.view()).expect("a view");
    assert_eq!(json["counts"], json!({"waiting": 1, "retrying": 1}));
    assert_eq!(json.get("completed_at"), None);
}

#[test]
fn a_snapshot_keeps_a_run_in_the_middle_of_everything() {
    let inner = pipe(vec![n("x"), n("y").needs(&["x"])]);
    let definition = pipe(vec![n("l"), n("each").foreach("${{ nodes.l.outputs.i }}").calls(&inner).max_parallel(1), n("r").attempts(2)]);
    let mut live = Live::new(&definition);
    live.start("l", 1);
    live.end("l", 1, done(json!({"i": [1, 2]})));
    let each = live.at("each");
    live.ok(Event::NodeExpanded { node: each, items: Arc::new(vec![json!(1), json!(2)]) });
    let first = live.at("each[0]");
    live.ok(Event::NodeOpened { node: first, params: Arc::new(json!({"p": 1})) });
    live.start("each[0].x", 1);
    live.start("r", 1);
    live.end("r", 1, failed(FailureCause::Exit { code: 3 }));
    let text = serde_json::to_string(&live.run.freeze()).expect("a snapshot");
    let frozen: Frozen = serde_json::from_str(&text).expect("the same");
    let thawed = RunState::thaw(run_id(1), definition, Arc::new(json!({})), "/w".into(), frozen.clone()).expect("it fits");
    assert_eq!(thawed.freeze(), live.run.freeze());
    assert_eq!(thawed.sanity_check(), Ok(()));
    assert_eq!(thawed.held(), live.run.held());
    let other = pipe(vec![n("a")]);
    let refused = RunState::thaw(run_id(1), other, Arc::new(json!({})), "/w".into(), frozen).expect_err("another pipeline");
    assert_eq!(refused.to_string(), "the snapshot does not fit the run's pipeline: node 1 cannot be expanded");
}

#[test]
fn instances_inside_instances_keep_their_numbers_on_replay() {
    let inner = pipe(vec![n("deep").foreach("${{ [1, 2] }}")]);
    let mut live = Live::new(&pipe(vec![n("s").matrix(json!({"k": [1, 2]})).calls(&inner)]));
    for path in ["s[1]", "s[0]"] {
        let node = live.at(path);
        live.ok(Event::NodeOpened { node, params: Arc::new(json!({})) });
        let deep = live.at(&format!("{path}.deep"));
        live.ok(Event::NodeExpanded { node: deep, items: Arc::new(vec![json!(1), json!(2)]) });
    }
    let nodes = live.run.len();
    let thawed =
        RunState::thaw(run_id(1), live.run.definition().clone(), Arc::new(json!({})), "/w".into(), live.run.freeze()).expect("it fits");
    let paths = |run: &RunState| (0..nodes).map(|at| run.path(NodeIndex(u32::try_from(at).expect("few")))).collect::<Vec<_>>();
    assert_eq!(paths(&thawed), paths(&live.run));
}

#[test]
fn a_million_instances_are_made_and_opened_quickly() {
    let axis: Vec<u32> = (0..1_000).collect();
    let mut run = run_of(&pipe(vec![n("g").matrix(json!({"x": axis, "y": axis}))]));
    assert_eq!(run.len(), 1_000_001);
    run.apply(&Event::RunSubmitted { pinned: "h".into() }, Stamp::default()).expect("legal");
    assert_eq!(run.counts()[NodeStatus::Queued as usize], 1_000_000);
}
