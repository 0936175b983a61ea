//! One test for each rule of the semantics, on a host without clock, disk and engine.

use std::sync::Arc;

use serde_json::json;

use super::testing::{STUCK_AFTER, Sim, capacity, end_facts, exit};
use super::{Blocker, StopHow, Survey, Timers, decide, impossible};
use crate::event::{EndFacts, Event, FailureCause, LostReason, RunStatus, StopReason};
use crate::ids::{AttemptNumber, NodeIndex};
use crate::request::{OnFailure, RetryOn, RetryPolicy};
use crate::resources::Disk;
use crate::run::testing::{module, module_with, n, pipe, pipe_with, run_id};
use crate::run::{NodeState, NodeStatus as S};
use crate::units::{Bytes, DurationMs, Timestamp};

fn lost(reason: LostReason) -> FailureCause {
    FailureCause::Lost { reason }
}

#[test]
fn a_chain_hands_outputs_on_and_ends() {
    let chain = pipe_with(
        vec![n("a"), n("b").with(json!({"x": "${{ nodes.a.outputs.n }}"})), n("c").needs(&["b"])],
        OnFailure::Continue,
        Some(json!({"n": "${{ nodes.b.outputs.m }}"})),
    );
    let mut sim = Sim::of(&chain);
    assert_eq!(sim.running(), ["a"]);
    assert_eq!(sim.run().status(), RunStatus::Running);
    sim.ok("a", json!({"n": 7}));
    assert_eq!(*sim.starts.last().expect("b starts").params, json!({"x": 7}));
    sim.ok("b", json!({"m": 8}));
    sim.ok("c", json!({}));
    assert_eq!(sim.run().status(), RunStatus::Completed);
    assert_eq!(sim.run().view().outputs, Some(Arc::new(json!({"n": 8}))));
}

#[test]
fn a_failed_node_skips_its_descendants_naming_the_root_and_the_rest_goes_on() {
    let mut sim = Sim::of(&pipe(vec![n("a"), n("b").needs(&["a"]), n("c").needs(&["b"]), n("free")]));
    sim.fail("a", exit());
    assert_eq!((sim.reason("b"), sim.reason("c")), ("because of a".into(), "because of a".into()));
    assert_eq!(sim.running(), ["free"]);
    sim.ok("free", json!({}));
    assert_eq!(sim.run().status(), RunStatus::Failed);
    assert_eq!(sim.run().view().reason.as_deref(), Some("a: exit code 1"));
}

#[test]
fn a_false_condition_skips_without_failing_and_is_the_root_for_others() {
    let mut sim =
        Sim::of(&pipe(vec![n("a").when("${{ params.topic == 'y' }}"), n("b").needs(&["a"]), n("c").when("${{ params.topic == 'x' }}")]));
    assert_eq!((sim.reason("a"), sim.reason("b")), ("its condition is false".into(), "because of a".into()));
    assert_eq!(sim.running(), ["c"]);
    sim.ok("c", json!({}));
    assert_eq!(sim.run().status(), RunStatus::Completed);
}

#[test]
fn a_when_that_reads_a_status_is_a_failure_handler() {
    let nodes = vec![n("a"), n("ok").needs(&["a"]), n("handler").when("${{ nodes.a.status == 'failed' }}")];
    let mut sim = Sim::of(&pipe(nodes.clone()));
    sim.fail("a", exit());
    assert_eq!(sim.running(), ["handler"]);
    sim.ok("handler", json!({}));
    assert_eq!(sim.run().status(), RunStatus::Failed);
    let mut sim = Sim::of(&pipe(nodes));
    sim.ok("a", json!({}));
    assert_eq!((sim.status("handler"), sim.running()), (S::Skipped, vec!["ok".into()]));
}

#[test]
fn a_condition_that_cannot_be_computed_fails_its_node() {
    let sim = Sim::of(&pipe(vec![n("a").when("${{ params.nothing.at.all }}")]));
    assert_eq!(sim.status("a"), S::Failed);
    assert!(sim.reason("a").contains("test.yaml"), "{}", sim.reason("a"));
    assert_eq!(sim.run().status(), RunStatus::Failed);
}

#[test]
fn parameters_that_do_not_fit_fail_the_node_without_an_attempt() {
    let strict = module_with("strict", None, json!({"type": "object", "properties": {"x": {"type": "integer"}}}));
    let mut sim = Sim::of(&pipe(vec![n("a"), n("b").module(&strict).with(json!({"x": "${{ nodes.a.outputs.x }}"}))]));
    sim.ok("a", json!({"x": "no number"}));
    assert_eq!(
        (sim.status("b"), sim.run().node(sim.run().find("b").expect("b")).record().map(|record| record.attempts().len())),
        (S::Failed, Some(0))
    );
}

#[test]
fn allow_failure_tolerates_for_the_run_but_not_for_dependents() {
    let mut sim = Sim::of(&pipe(vec![n("a").allow_failure(), n("b").needs(&["a"]), n("c")]));
    sim.fail("a", exit());
    assert_eq!(sim.status("b"), S::Skipped);
    sim.ok("c", json!({}));
    assert_eq!(sim.run().status(), RunStatus::Completed);
}

#[test]
fn a_matrix_exists_from_the_start_and_collects_in_order() {
    let mut sim = Sim::of(&pipe(vec![
        n("a").matrix(json!({"x": [1, 2], "y": ["p", "q"]})).with(json!({"k": "${{ matrix.x }}${{ matrix.y }}"})).max_parallel(2),
        n("b").with(json!({"all": "${{ nodes.a.outputs }}", "count": "${{ nodes.a.count }}"})),
    ]));
    assert_eq!(sim.running(), ["a[0]", "a[1]"]);
    assert_eq!(*sim.starts[1].params, json!({"k": "1q"}));
    assert!(matches!(
        &Survey::new(&sim.world, sim.now.wall).explain(&run_id(1), sim.run().find("a[2]").expect("it"))[..],
        [Blocker::MaxParallel { limit: 2, .. }]
    ));
    sim.ok("a[1]", json!({"i": 1}));
    sim.ok("a[0]", json!({"i": 0}));
    sim.ok("a[3]", json!({"i": 3}));
    sim.ok("a[2]", json!({"i": 2}));
    assert_eq!(sim.outputs("a"), json!([{"i": 0}, {"i": 1}, {"i": 2}, {"i": 3}]));
    assert_eq!(sim.starts.last().expect("b").params["count"], json!(4));
}

#[test]
fn a_foreach_expands_once_its_list_is_known() {
    let mut sim = Sim::of(&pipe(vec![
        n("list"),
        n("each").foreach("${{ nodes.list.outputs.items }}").with(json!({"item": "${{ item }}", "at": "${{ index }}"})),
        n("after").with(json!({"all": "${{ nodes.each.outputs }}"})),
    ]));
    assert_eq!(sim.run().find("each[0]"), None);
    sim.ok("list", json!({"items": ["p", "q"]}));
    assert_eq!(sim.running(), ["each[0]", "each[1]"]);
    assert_eq!(*sim.starts.last().expect("each[1]").params, json!({"item": "q", "at": 1}));
    sim.fail("each[1]", exit());
    sim.ok("each[0]", json!({}));
    assert_eq!((sim.status("each"), sim.reason("after")), (S::Failed, "because of each[1]".into()));
    assert_eq!(sim.run().status(), RunStatus::Failed);
}

#[test]
fn an_empty_list_completes_with_an_empty_list() {
    let mut sim = Sim::of(&pipe(vec![n("each").foreach("${{ [] }}"), n("after").with(json!({"all": "${{ nodes.each.outputs }}"}))]));
    assert_eq!((sim.status("each"), sim.outputs("each")), (S::Completed, json!([])));
    sim.ok("after", json!({}));
    assert_eq!(sim.run().status(), RunStatus::Completed);
}

#[test]
fn what_is_no_list_fails_the_foreach() {
    let sim = Sim::of(&pipe(vec![n("each").foreach("${{ params.topic }}")]));
    assert_eq!(sim.reason("each"), "`foreach` must give a list, and gives a text");
}

#[test]
fn an_expanded_node_that_allows_failure_has_null_for_the_failed_and_dependents_run() {
    let mut sim = Sim::of(&pipe(vec![
        n("each").foreach("${{ [1, 2] }}").allow_failure(),
        n("after").with(json!({"all": "${{ nodes.each.outputs }}"})),
    ]));
    sim.fail("each[0]", exit());
    sim.ok("each[1]", json!({"x": 1}));
    assert_eq!(sim.outputs("each"), json!([null, {"x": 1}]));
    sim.ok("after", json!({}));
    assert_eq!(sim.run().status(), RunStatus::Completed);
}

#[test]
fn each_items_chain_goes_on_by_itself_inside_a_sub_pipeline() {
    let clip = pipe_with(
        vec![n("score").with(json!({"idea": "${{ params.idea }}"})), n("cut").needs(&["score"])],
        OnFailure::Continue,
        Some(json!({"file": "${{ nodes.cut.outputs.file }}"})),
    );
    let mut sim = Sim::of(&pipe(vec![n("clips").foreach("${{ ['p', 'q'] }}").calls(&clip).with(json!({"idea": "${{ item }}"}))]));
    assert_eq!(sim.running(), ["clips[0].score", "clips[1].score"]);
    assert_eq!(*sim.starts[1].params, json!({"idea": "q"}));
    sim.ok("clips[1].score", json!({}));
    assert_eq!(sim.running(), ["clips[0].score", "clips[1].cut"]);
    sim.ok("clips[1].cut", json!({"file": "q.mp4"}));
    assert_eq!((sim.status("clips[1]"), sim.status("clips")), (S::Completed, S::Running));
    sim.ok("clips[0].score", json!({}));
    sim.ok("clips[0].cut", json!({"file": "p.mp4"}));
    assert_eq!(sim.outputs("clips"), json!([{"file": "p.mp4"}, {"file": "q.mp4"}]));
    assert_eq!(sim.run().status(), RunStatus::Completed);
}

#[test]
fn max_parallel_limits_sub_pipelines_too() {
    let inner = pipe(vec![n("a"), n("b").needs(&["a"])]);
    let mut sim = Sim::of(&pipe(vec![n("s").matrix(json!({"x": [0, 1, 2]})).calls(&inner).max_parallel(1)]));
    assert_eq!(sim.running(), ["s[0].a"]);
    let waiting = Survey::new(&sim.world, sim.now.wall).explain(&run_id(1), sim.run().find("s[1]").expect("it"));
    assert_eq!(waiting, [Blocker::MaxParallel { group: "s".into(), limit: 1 }]);
    sim.ok("s[0].a", json!({}));
    sim.ok("s[0].b", json!({}));
    assert_eq!(sim.running(), ["s[1].a"]);
    sim.fail("s[1].a", exit());
    assert_eq!((sim.status("s[1]"), sim.running()), (S::Failed, vec!["s[2].a".into()]));
}

#[test]
fn a_failure_deep_inside_is_named_where_it_happened() {
    let inner = pipe(vec![n("x"), n("y").needs(&["x"])]);
    let middle = pipe(vec![n("m").calls(&inner)]);
    let mut sim = Sim::of(&pipe(vec![n("s").calls(&middle), n("after").needs(&["s"])]));
    sim.fail("s.m.x", exit());
    assert_eq!((sim.reason("s"), sim.reason("after")), ("s.m.x failed".into(), "because of s.m.x".into()));
    assert_eq!(sim.status("s.m.y"), S::Skipped);
}

#[test]
fn what_is_inside_a_skipped_container_is_skipped_with_it() {
    let inner = pipe(vec![n("x"), n("y").matrix(json!({"k": [1, 2]}))]);
    let sim = Sim::of(&pipe(vec![n("s").calls(&inner).when("${{ false }}"), n("g").matrix(json!({"k": [1]})).when("${{ 1 > 2 }}")]));
    for path in ["s", "s.x", "s.y", "s.y[1]", "g", "g[0]"] {
        assert_eq!(sim.reason(path), "its condition is false", "{path}");
    }
    assert_eq!(sim.run().status(), RunStatus::Completed);
}

#[test]
fn a_failed_attempt_is_tried_again_after_a_pause_by_the_monotonic_clock() {
    let mut sim = Sim::of(&pipe(vec![n("a").attempts(3), n("b").needs(&["a"])]));
    sim.fail("a", exit());
    assert_eq!((sim.status("a"), sim.world.held().attempts), (S::Retrying, 0));
    // F-21: the wall clock jumps by a day; nothing is due.
    sim.now.wall = Timestamp::from_micros(sim.now.wall.micros() + 86_400_000_000);
    sim.turn();
    assert_eq!(sim.running(), Vec::<String>::new());
    assert_eq!(sim.timers.next(sim.now.mono), Some(sim.now.mono.plus(DurationMs(2_000))));
    sim.pass(1_999);
    assert_eq!(sim.running(), Vec::<String>::new());
    sim.pass(1);
    assert_eq!(sim.running(), ["a"]);
    sim.fail("a", exit());
    sim.pass(4_000);
    sim.fail("a", exit());
    assert_eq!((sim.status("a"), sim.status("b"), sim.starts.len()), (S::Failed, S::Skipped, 3));
}

#[test]
fn memory_grows_after_oom_up_to_what_there_is() {
    let policy = RetryPolicy { attempts: 4, grow_memory_millis: 2_000, backoff: DurationMs(0), ..RetryPolicy::default() };
    let mut sim = Sim::of(&pipe(vec![n("a").memory(300 << 20).retry(policy)]));
    for _ in 0..3 {
        sim.fail("a", FailureCause::Oom { limit: None, peak: None, said: None });
        sim.pass(0);
    }
    let asked: Vec<Bytes> = sim.starts.iter().map(|order| order.grant.memory).collect();
    assert_eq!(asked, [Bytes(300 << 20), Bytes(600 << 20), Bytes(1 << 30), Bytes(1 << 30)]);
}

#[test]
fn f21_a_timeout_stops_politely_then_kills_and_may_be_tried_again() {
    let mut sim = Sim::of(&pipe(vec![n("a").timeout(1_000).attempts(2)]));
    sim.pass(999);
    assert!(sim.stops.is_empty());
    sim.pass(1);
    assert_eq!(sim.ladder(), [StopHow::Polite]);
    sim.pass(9_999);
    assert_eq!(sim.stops.len(), 1);
    sim.pass(1);
    assert_eq!(sim.ladder(), [StopHow::Polite, StopHow::Kill]);
    sim.pass(100_000);
    assert_eq!(sim.stops.len(), 2, "a kill is asked for once");
    sim.end("a", EndFacts { stopped: Some(StopReason::Timeout), signal: Some(9), ..end_facts() });
    assert_eq!(sim.status("a"), S::Retrying);
    assert!(sim.reason("a").contains("timeout after 1.0s"), "{}", sim.reason("a"));
}

#[test]
fn an_adopted_attempt_has_its_whole_timeout_again() {
    let mut sim = Sim::of(&pipe(vec![n("a").timeout(1_000)]));
    sim.pass(900);
    sim.timers = Timers::new(STUCK_AFTER);
    let run = sim.run().clone();
    sim.timers.recover(&run, sim.now, |_| DurationMs(0));
    sim.pass(900);
    assert!(sim.stops.is_empty());
    sim.pass(100);
    assert_eq!(sim.stops.len(), 1);
}

#[test]
fn f21_an_adopted_attempt_has_what_is_left_of_its_timeout() {
    let mut sim = Sim::of(&pipe(vec![n("a").timeout(1_000)]));
    let adopt = |sim: &mut Sim, ran: u64| {
        sim.timers = Timers::new(STUCK_AFTER);
        let run = sim.run().clone();
        sim.timers.recover(&run, sim.now, |_| DurationMs(ran));
    };
    adopt(&mut sim, 700);
    sim.pass(200);
    assert!(sim.stops.is_empty());
    sim.pass(100);
    assert_eq!(sim.stops.len(), 1);
    let mut sim = Sim::of(&pipe(vec![n("a").timeout(1_000)]));
    // It ran out while there was no host.
    adopt(&mut sim, 5_000);
    sim.pass(0);
    assert_eq!(sim.stops.len(), 1);
}

#[test]
fn on_failure_stop_stops_the_running_and_skips_the_rest() {
    let inner = pipe(vec![n("x"), n("y").needs(&["x"])]);
    let nodes =
        vec![n("a"), n("b"), n("later").needs(&["b"]), n("s").calls(&inner), n("handler").when("${{ nodes.a.status == 'failed' }}")];
    let mut sim = Sim::of(&pipe_with(nodes, OnFailure::Stop, None));
    assert_eq!(sim.running(), ["a", "b", "s.x"]);
    sim.fail("a", exit());
    assert_eq!(sim.stops.len(), 2);
    assert_eq!(sim.reason("later"), "a failed (on_failure: stop)");
    assert_eq!((sim.status("s.y"), sim.status("handler")), (S::Skipped, S::Skipped));
    for path in ["b", "s.x"] {
        sim.end(path, EndFacts { stopped: Some(StopReason::OnFailure), ..end_facts() });
        assert_eq!(sim.reason(path), "another node failed (on_failure: stop)");
    }
    assert_eq!((sim.status("s"), sim.run().status()), (S::Cancelled, RunStatus::Failed));
}

#[test]
fn on_failure_stop_waits_for_the_last_attempt_and_stays_in_its_own_pipeline() {
    let inner = pipe_with(vec![n("x").attempts(2), n("y"), n("z").needs(&["y"])], OnFailure::Stop, None);
    let mut sim = Sim::of(&pipe(vec![n("s").calls(&inner), n("free")]));
    sim.fail("s.x", exit());
    assert!(sim.stops.is_empty());
    sim.pass(2_000);
    sim.fail("s.x", exit());
    assert_eq!(sim.stops.len(), 1);
    sim.end("s.y", EndFacts { stopped: Some(StopReason::OnFailure), ..end_facts() });
    assert_eq!((sim.status("s.z"), sim.status("s"), sim.status("free")), (S::Skipped, S::Failed, S::Running));
}

#[test]
fn a_cancel_stops_what_runs_and_cancels_what_waits() {
    let mut sim = Sim::of(&pipe(vec![n("a"), n("b").needs(&["a"]), n("c").attempts(2), n("g").matrix(json!({"x": [1, 2]})).needs(&["a"])]));
    sim.fail("c", exit());
    sim.event(Event::RunCancelRequested { kill: false });
    sim.turn();
    assert_eq!((sim.status("b"), sim.status("c"), sim.status("g[1]")), (S::Cancelled, S::Cancelled, S::Cancelled));
    assert!(sim.run().view().stopping);
    assert_eq!(sim.ladder(), [StopHow::Polite]);
    sim.event(Event::RunCancelRequested { kill: true });
    sim.turn();
    assert_eq!(sim.ladder(), [StopHow::Polite, StopHow::Kill]);
    sim.end("a", EndFacts { stopped: Some(StopReason::Cancelled), signal: Some(9), ..end_facts() });
    assert_eq!((sim.run().status(), sim.world.held().attempts), (RunStatus::Cancelled, 0));
}

#[test]
fn what_ends_well_during_a_cancel_is_completed_and_the_run_is_cancelled() {
    let mut sim = Sim::of(&pipe(vec![n("a")]));
    sim.event(Event::RunCancelRequested { kill: false });
    sim.turn();
    sim.ok("a", json!({}));
    assert_eq!((sim.status("a"), sim.run().status()), (S::Completed, RunStatus::Cancelled));
}

#[test]
fn a_held_run_starts_nothing_and_skips_nothing_until_it_is_resumed() {
    let mut sim = Sim::of(&pipe(vec![n("a"), n("b").needs(&["a"]), n("c"), n("d").needs(&["c"])]));
    sim.event(Event::RunHeld);
    sim.fail("a", lost(LostReason::HostDied));
    assert!(matches!(sim.state("a"), NodeState::Interrupted { .. }));
    sim.ok("c", json!({}));
    assert_eq!((sim.status("b"), sim.running()), (S::Waiting, vec![]));
    assert!(Survey::new(&sim.world, sim.now.wall).explain(&run_id(1), sim.run().find("d").expect("d")).contains(&Blocker::RunHeld));
    sim.event(Event::RunResumed);
    sim.turn();
    assert_eq!(sim.running(), ["a", "d"]);
    let a = sim.run().find("a").expect("a");
    assert_eq!(sim.run().node(a).attempts(), 2);
    sim.ok("a", json!({}));
    assert_eq!(sim.running(), ["b", "d"]);
}

#[test]
fn without_a_hold_the_policy_decides_on_lost_attempts() {
    let policy = RetryPolicy { attempts: 2, on: [RetryOn::Lost].into(), ..RetryPolicy::default() };
    let mut sim = Sim::of(&pipe(vec![n("a"), n("b").retry(policy)]));
    sim.fail("a", lost(LostReason::Reboot));
    sim.fail("b", lost(LostReason::Reboot));
    assert_eq!((sim.status("a"), sim.status("b")), (S::Failed, S::Retrying));
}

#[test]
fn a_held_run_can_be_cancelled() {
    let mut sim = Sim::of(&pipe(vec![n("a"), n("b").needs(&["a"])]));
    sim.event(Event::RunHeld);
    sim.fail("a", lost(LostReason::HostDied));
    sim.event(Event::RunCancelRequested { kill: false });
    sim.turn();
    assert_eq!((sim.status("a"), sim.run().status()), (S::Cancelled, RunStatus::Cancelled));
}

#[test]
fn an_attempt_that_a_leaving_host_stopped_is_interrupted() {
    let mut sim = Sim::of(&pipe(vec![n("a"), n("b").needs(&["a"])]));
    sim.end("a", EndFacts { stopped: Some(StopReason::HostLeaves), ..end_facts() });
    assert!(matches!(sim.state("a"), NodeState::Interrupted { .. }) && sim.run().needs_resume());
    sim.event(Event::RunResumed);
    sim.turn();
    assert_eq!(sim.running(), ["a"]);
}

#[test]
fn f42_an_intent_of_which_nothing_started_costs_a_number_and_no_try() {
    let mut sim = Sim::new(capacity(1, 1));
    sim.submit(1, &pipe(vec![n("a"), n("b")]));
    sim.turn();
    let b = sim.run().find("b").expect("b");
    assert!(sim.run().intent(b).is_some(), "intents are written ahead");
    let facts = EndFacts { failure: Some(lost(LostReason::NeverStarted)), ..end_facts() };
    sim.event(Event::AttemptEnded { node: b, attempt: AttemptNumber(1), facts });
    sim.ok("a", json!({}));
    assert_eq!(sim.starts.last().expect("b").id.attempt, AttemptNumber(2));
    sim.fail("b", exit());
    assert_eq!(sim.status("b"), S::Failed);
}

#[test]
fn nothing_starts_before_its_intent_is_durable_and_urgent_nodes_keep_their_room() {
    let mut sim = Sim::new(capacity(1, 1));
    sim.synced = false;
    sim.submit(1, &pipe(vec![n("a"), n("b")]));
    sim.turn();
    assert!(sim.starts.is_empty());
    sim.synced = true;
    sim.turn();
    assert_eq!(sim.running(), ["a"]);
}

#[test]
fn the_intent_of_a_sole_successor_is_written_while_its_parent_runs() {
    let sim = Sim::of(&pipe(vec![n("a"), n("b").needs(&["a"]), n("c").needs(&["b"]), n("w").needs(&["a"]).when("${{ true }}")]));
    let intended = |path: &str| sim.run().intent(sim.run().find(path).expect("a node")).is_some();
    assert_eq!((intended("b"), intended("c"), intended("w")), (true, false, false));
}

#[test]
fn the_longest_way_to_the_end_starts_first() {
    let mut sim = Sim::new(capacity(1, 1));
    sim.submit(1, &pipe(vec![n("short"), n("long"), n("l2").needs(&["long"]), n("l3").needs(&["l2"])]));
    sim.turn();
    assert_eq!(sim.running(), ["long"]);
}

#[test]
fn learned_durations_change_the_order() {
    let slow = module("slow", None);
    let chain = || pipe(vec![n("a"), n("b").needs(&["a"]), n("s").module(&slow)]);
    let mut sim = Sim::new(capacity(1, 1));
    sim.submit(1, &chain());
    sim.turn();
    assert_eq!(sim.running(), ["a"]);
    sim.ok("a", json!({}));
    assert_eq!(sim.running(), ["b"]);
    sim.ok("b", json!({}));
    sim.end("s", EndFacts { duration_ms: DurationMs(100_000), ..end_facts() });
    let id = sim.submit(2, &chain());
    sim.turn();
    let run = sim.world.run(&id).expect("run 2");
    assert_eq!(run.active().map(|node| run.path(node)).collect::<Vec<_>>(), ["s"]);
}

#[test]
fn a_class_without_room_does_not_hold_up_the_others() {
    let one = module("one", Some(1));
    let nodes = vec![
        n("a").module(&one),
        n("b").module(&one),
        n("big").cpus(7_500),
        n("small").cpus(500),
        n("p").custom("api", 2000).cpus(0),
        n("q").custom("api", 1).cpus(0),
    ];
    let mut sim = Sim::of(&pipe(nodes));
    assert_eq!(sim.running(), ["a", "small", "p"]);
    let why = |path: &str| Survey::new(&sim.world, sim.now.wall).explain(&run_id(1), sim.run().find(path).expect("a node"));
    assert!(matches!(&why("b")[..], [Blocker::Concurrency { limit: 1, holders, .. }] if holders[0].node == "a"), "{:?}", why("b"));
    assert!(
        matches!(&why("big")[..], [Blocker::Resource { missing: false, holders, .. }, Blocker::Reserved { .. }] if holders.len() == 2),
        "{:?}",
        why("big")
    );
    assert!(matches!(&why("q")[..], [Blocker::Resource { holders, .. }] if holders[0].amount == "2"), "{:?}", why("q"));
    sim.ok("p", json!({}));
    assert!(sim.running().contains(&"q".to_owned()));
}

#[test]
fn concurrency_counts_across_runs_and_the_older_run_goes_first() {
    let one = module("one", Some(1));
    let mut sim = Sim::new(capacity(8, 8));
    for number in [2, 1] {
        sim.submit(number, &pipe(vec![n("a").module(&one)]));
    }
    sim.turn();
    assert_eq!((sim.running(), sim.world.held().attempts), (vec!["a".to_owned()], 1));
    sim.ok("a", json!({}));
    assert_eq!(sim.world.run(&run_id(2)).expect("run 2").active().count(), 1);
}

#[test]
fn f65_what_can_never_fit_is_known_before_the_run() {
    let inner = pipe(vec![n("x").cpus(9_000)]);
    let found = impossible(&pipe(vec![n("a"), n("s").calls(&inner), n("t").calls(&inner)]), &capacity(8, 8));
    let texts: Vec<String> = found.iter().map(|(path, unmet)| format!("{path} {unmet}")).collect();
    assert_eq!(texts, ["s.x needs 9 CPUs, 8 of 8 are free"]);
}

#[test]
fn a_capacity_that_shrank_is_a_missing_resource() {
    let mut sim = Sim::of(&pipe(vec![n("a").cpus(8_000), n("b").cpus(8_000)]));
    sim.world.set_capacity(capacity(2, 8));
    sim.ok("a", json!({}));
    let why = Survey::new(&sim.world, sim.now.wall).explain(&run_id(1), sim.run().find("b").expect("b"));
    assert!(matches!(&why[..], [Blocker::Resource { missing: true, .. }]), "{why:?}");
}

#[test]
fn a_host_that_does_not_accept_starts_nothing() {
    let mut sim = Sim::new(capacity(8, 8));
    sim.world.set_accepting(false);
    sim.submit(1, &pipe(vec![n("a"), n("b").when("${{ false }}")]));
    sim.turn();
    assert_eq!((sim.running().len(), sim.status("b"), sim.log.len()), (0, S::Skipped, 2));
    sim.world.set_accepting(true);
    sim.turn();
    assert_eq!(sim.running(), ["a"]);
}

#[test]
fn below_the_reserve_of_a_disk_nothing_starts_and_the_rest_goes_on() {
    let disk = |free: u64| Disk { folder: "/w/runs".into(), free: Bytes(free), total: Bytes(1000), reserve: Bytes(20) };
    let mut sim = Sim::new(capacity(8, 1));
    sim.submit(1, &pipe(vec![n("a"), n("b").needs(&["a"]), n("c"), n("d").when("${{ false }}")]));
    sim.turn();
    sim.world.set_disks(vec![disk(900), disk(19)]);
    let running = sim.running();
    sim.ok(&running[0].clone(), json!({}));
    assert_eq!((sim.running().len(), sim.status("d"), sim.status("a")), (0, S::Skipped, S::Completed), "what ran has ended, as usual");
    let intents = sim.log.len();
    sim.turn();
    assert_eq!(sim.log.len(), intents, "nor is an intent written");
    for path in ["b", "c"] {
        let why = Survey::new(&sim.world, sim.now.wall).explain(&run_id(1), sim.run().find(path).expect("a node"));
        assert_eq!(why, [Blocker::Disk { disk: disk(19) }], "{path}");
    }
    assert_eq!(serde_json::to_value(Blocker::Disk { disk: disk(19) }).expect("JSON")["blocker"], "disk");
    sim.world.set_disks(vec![disk(900), disk(20)]);
    sim.turn();
    assert_eq!(sim.running().len(), 1, "low is no reason to wait");
}

#[test]
fn earlier_results_are_reused() {
    let inner = pipe(vec![n("x")]);
    let mut sim = Sim::new(capacity(8, 8));
    sim.submit(1, &pipe(vec![n("a"), n("s").calls(&inner), n("b").with(json!({"n": "${{ nodes.a.outputs.n }}"})).needs(&["s"])]));
    for (path, outputs) in [("a", Some(Arc::new(json!({"n": 3})))), ("s", None)] {
        let node = sim.run().find(path).expect("a node");
        sim.event(Event::NodeReused { node, from: run_id(7), outputs });
    }
    sim.turn();
    assert_eq!((sim.running(), sim.status("s.x")), (vec!["b".to_owned()], S::Reused));
    assert_eq!(*sim.starts[0].params, json!({"n": 3}));
    sim.ok("b", json!({}));
    assert_eq!(sim.run().status(), RunStatus::Completed);
}

#[test]
fn outputs_that_cannot_be_computed_fail_the_run_and_say_why() {
    let mut sim = Sim::of(&pipe_with(vec![n("a")], OnFailure::Continue, Some(json!({"x": "${{ nodes.a.outputs.nothing }}"}))));
    sim.ok("a", json!({}));
    assert_eq!(sim.run().status(), RunStatus::Failed);
    assert!(sim.run().view().reason.is_some_and(|reason| reason.starts_with("the run's outputs: test.yaml")));
}

#[test]
fn a_hundred_thousand_nodes_are_quick_even_in_a_debug_build() {
    let axis: Vec<u32> = (0..50_000).collect();
    let nodes = vec![n("a").matrix(json!({"x": axis})), n("b").matrix(json!({"x": axis})), n("end").needs(&["a", "b"])];
    let mut sim = Sim::new(capacity(8, 8));
    sim.careful = false;
    sim.submit(1, &pipe(nodes));
    sim.turn();
    let mut ended = 0;
    loop {
        let next = sim.run().active().next();
        let Some(node) = next else { break };
        let attempt = sim.run().node(node).attempts();
        sim.event(Event::AttemptEnded { node, attempt: AttemptNumber(attempt), facts: end_facts() });
        sim.turn();
        ended += 1;
    }
    assert_eq!((ended, sim.run().status()), (100_001, RunStatus::Completed));
}

#[test]
fn ten_thousand_waiting_runs_do_not_slow_the_decisions_down() {
    let one = pipe(vec![n("a")]);
    let mut sim = Sim::new(capacity(8, 8));
    sim.careful = false;
    for number in 1..=10_000 {
        sim.submit(number, &one);
    }
    sim.turn();
    for number in 1..=10_000 {
        let (run, node) = (run_id(number), NodeIndex(0));
        assert!(matches!(sim.world.run(&run).expect("a run").node(node).state(), NodeState::Running { .. }), "run {number} has its turn");
        sim.apply(&run, Event::AttemptEnded { node, attempt: AttemptNumber(1), facts: end_facts() });
        sim.turn();
        sim.world.remove(&run);
    }
    assert_eq!((sim.world.runs().len(), sim.world.sanity_check()), (0, Ok(())));
}

#[test]
fn a_node_with_many_dependents_and_a_long_chain_are_cheap() {
    let mut nodes = vec![n("root")];
    nodes.extend((0..5_000).map(|at| n(&format!("leaf{at}")).needs(&["root"])));
    nodes.push(n("c0"));
    nodes.extend((1..5_000).map(|at| n(&format!("c{at}")).needs(&[&format!("c{}", at - 1)])));
    let mut sim = Sim::new(capacity(8, 8));
    sim.careful = false;
    sim.submit(1, &pipe(nodes));
    sim.turn();
    sim.fail("root", exit());
    assert_eq!(sim.status("leaf4999"), S::Skipped);
    for at in 0..5_000 {
        sim.ok(&format!("c{at}"), json!({}));
    }
    assert_eq!(sim.run().status(), RunStatus::Failed);
    assert_eq!(sim.run().sanity_check(), Ok(()));
}

#[test]
fn a_cancel_of_a_huge_run_comes_in_portions() {
    let axis: Vec<u32> = (0..20_000).collect();
    let mut sim = Sim::new(capacity(1, 1));
    sim.careful = false;
    sim.submit(1, &pipe(vec![n("a").matrix(json!({"x": axis}))]));
    sim.turn();
    sim.event(Event::RunCancelRequested { kill: false });
    let first = decide(&sim.world, &sim.timers, sim.now);
    assert!(first.len() < 5_000, "{}", first.len());
    sim.turn();
    sim.end("a[0]", EndFacts { stopped: Some(StopReason::Cancelled), ..end_facts() });
    assert_eq!((sim.status("a"), sim.run().status()), (S::Cancelled, RunStatus::Cancelled));
}

#[test]
fn behind_a_node_for_which_room_is_kept_only_so_many_are_looked_at() {
    let started = |others: u64| {
        let mut nodes = vec![n("a").cpus(4_000), n("head").cpus(8_000)];
        nodes.extend((0..others).map(|at| n(&format!("n{at}")).cpus(5_000).memory(at + 1)));
        nodes.push(n("small").cpus(0));
        let mut sim = Sim::new(capacity(8, 8));
        sim.careful = false;
        sim.submit(1, &pipe(nodes));
        sim.turn();
        sim.running()
    };
    assert_eq!(started(100), ["a", "small"]);
    assert_eq!(started(1_000), ["a"], "however much waits");
}
