//! The kill ladder as decisions: ask, wait for the grace, kill, wait, say that it does not go. On a host without clock and processes.

use serde_json::json;

use super::testing::{STUCK_AFTER, Sim, capacity, end_facts, exit};
use super::{StopHow, Timers};
use crate::event::{EndFacts, Event, FailureCause, RunStatus, SpawnFailure, SpawnFailureKind, StopReason, StopSignal};
use crate::request::OnFailure;
use crate::resources::Held;
use crate::run::testing::{n, pipe, pipe_with};
use crate::run::{NodeState, NodeStatus as S};
use crate::units::{DurationMs, Timestamp};

use StopHow::{Kill, Polite};

/// The default of `grace`.
const GRACE: u64 = 10_000;

/// How an attempt ends that had to be killed.
fn killed(reason: StopReason) -> EndFacts {
    EndFacts { stopped: Some(reason), signal: Some(9), signals: vec![StopSignal::Term, StopSignal::Kill], escalated: true, ..end_facts() }
}

fn cancel(sim: &mut Sim, kill: bool) {
    sim.event(Event::RunCancelRequested { kill });
    sim.turn();
}

/// What is kept goes through a snapshot, and a new host begins with the deadlines.
fn restart(sim: &mut Sim) {
    sim.timers = Timers::new(STUCK_AFTER);
    let run = sim.run().clone();
    sim.timers.recover(&run, sim.now, |_| DurationMs(0));
    sim.turn();
}

#[test]
fn f23_cancel_timeout_and_on_failure_go_up_the_same_ladder() {
    type Stop = fn(&mut Sim);
    let stopped_by: [(StopReason, Stop); 3] = [
        (StopReason::Cancelled, |sim| cancel(sim, false)),
        (StopReason::Timeout, |sim| sim.pass(1_000)),
        (StopReason::OnFailure, |sim| sim.fail("b", exit())),
    ];
    for (reason, stop) in stopped_by {
        let mut sim = Sim::of(&pipe_with(vec![n("a").timeout(1_000), n("b")], OnFailure::Stop, None));
        if reason != StopReason::OnFailure {
            sim.ok("b", json!({}));
        }
        stop(&mut sim);
        assert_eq!(sim.ladder(), [Polite], "{reason:?}");
        sim.pass(GRACE - 1);
        assert_eq!(sim.ladder(), [Polite], "{reason:?}: it has its grace");
        sim.pass(1);
        assert_eq!(sim.ladder(), [Polite, Kill], "{reason:?}");
        assert!(matches!(sim.state("a"), NodeState::Stopping { reason: why, stuck: None, .. } if *why == reason), "{:?}", sim.state("a"));
        sim.end("a", killed(reason));
        let row = sim.run().row(sim.run().find("a").expect("a"));
        assert!(row.escalated && row.signals == [StopSignal::Term, StopSignal::Kill], "{row:?}");
        assert_eq!(*sim.world.held(), Held::default(), "{reason:?}");
    }
}

#[test]
fn a_kill_goes_over_the_polite_stop_and_comes_once() {
    let mut sim = Sim::of(&pipe(vec![n("a")]));
    cancel(&mut sim, true);
    assert_eq!(sim.ladder(), [Kill]);
    sim.pass(GRACE);
    assert_eq!(sim.ladder(), [Kill]);
    let mut sim = Sim::of(&pipe(vec![n("a")]));
    cancel(&mut sim, false);
    cancel(&mut sim, true);
    sim.pass(GRACE);
    assert_eq!(sim.ladder(), [Polite, Kill]);
}

#[test]
fn what_does_not_go_after_the_kill_is_unkillable_keeps_its_grant_and_may_still_end() {
    let mut sim = Sim::of(&pipe(vec![n("a").cpus(8_000), n("b").needs(&["a"])]));
    cancel(&mut sim, false);
    sim.pass(GRACE);
    sim.pass(STUCK_AFTER.0 - 1);
    assert!(!sim.state("a").is_stuck());
    sim.pass(1);
    assert!(sim.state("a").is_stuck());
    assert_eq!(sim.ladder(), [Polite, Kill], "there is nothing stronger");
    let row = sim.run().row(sim.run().find("a").expect("a"));
    assert!(row.unkillable && row.stopping && row.status == S::Running, "{row:?}");
    insta::assert_snapshot!(row.reason.expect("a reason"), @"unkillable: still there 1m 00s after the kill (the run was cancelled); what it holds stays held");
    let view = sim.run().view();
    assert_eq!((view.status, view.unkillable), (RunStatus::Running, 1));
    insta::assert_snapshot!(view.reason.expect("a reason"), @"waits for a, which was killed and does not go");
    // Nothing takes its place, however long that takes.
    let other = sim.submit(2, &pipe(vec![n("x")]));
    sim.pass(86_400_000);
    assert_eq!(sim.world.held().attempts, 1);
    assert_eq!(sim.world.run(&other).expect("run 2").active().count(), 0);
    assert_eq!(sim.timers.next(sim.now.mono), None, "nobody wakes up for it");
    sim.end("a", killed(StopReason::Cancelled));
    assert_eq!((sim.status("a"), sim.run().status()), (S::Cancelled, RunStatus::Cancelled));
    assert_eq!(sim.world.run(&other).expect("run 2").active().count(), 1);
}

#[test]
fn a_run_with_other_things_to_do_says_nothing_of_what_does_not_go() {
    let mut sim = Sim::of(&pipe(vec![n("a").timeout(1_000), n("b"), n("c").needs(&["b"])]));
    sim.pass(1_000 + GRACE);
    sim.pass(GRACE);
    sim.pass(STUCK_AFTER.0);
    assert!(sim.state("a").is_stuck());
    assert_eq!((sim.run().view().reason, sim.run().view().unkillable), (None, 1));
    sim.ok("b", json!({}));
    sim.ok("c", json!({}));
    assert_eq!(sim.run().status(), RunStatus::Running);
    assert!(sim.run().view().reason.is_some_and(|reason| reason.contains("does not go")));
    // A timeout is a failure however it then ended.
    sim.end("a", EndFacts { stopped: Some(StopReason::Timeout), code: Some(0), ..end_facts() });
    assert_eq!((sim.status("a"), sim.run().status()), (S::Failed, RunStatus::Failed));
}

#[test]
fn the_next_host_goes_up_the_ladder_again() {
    let mut sim = Sim::of(&pipe(vec![n("a").timeout(1_000)]));
    sim.pass(1_000);
    sim.pass(GRACE - 1);
    restart(&mut sim);
    sim.pass(GRACE - 1);
    assert_eq!(sim.ladder(), [Polite], "it has its whole grace again");
    sim.pass(1);
    assert_eq!(sim.ladder(), [Polite, Kill]);
    sim.pass(STUCK_AFTER.0);
    assert!(sim.state("a").is_stuck());
    let told = sim.log.len();
    restart(&mut sim);
    sim.pass(GRACE);
    sim.pass(STUCK_AFTER.0);
    assert_eq!(sim.ladder(), [Polite, Kill, Kill]);
    assert_eq!(sim.log.len(), told, "it is known already that it does not go");
}

#[test]
fn f21_the_wall_clock_may_jump_as_it_likes() {
    let day = 86_400_000_000;
    for jump in [day, -day, -1_700_000_000_000_000] {
        let mut sim = Sim::of(&pipe(vec![n("a").timeout(1_000)]));
        let at = |sim: &mut Sim, ms: u64, ladder: &[StopHow], stuck: bool| {
            sim.now.wall = Timestamp::from_micros(sim.now.wall.micros() + jump);
            sim.turn();
            sim.pass(ms - 1);
            sim.now.wall = Timestamp::from_micros(sim.now.wall.micros() - jump);
            sim.turn();
            assert!(sim.ladder().len() < ladder.len() || stuck, "too early by a clock that jumped by {jump}");
            assert!(!sim.state("a").is_stuck());
            sim.pass(1);
            assert_eq!((&sim.ladder()[..], sim.state("a").is_stuck()), (ladder, stuck));
        };
        at(&mut sim, 1_000, &[Polite], false);
        at(&mut sim, GRACE, &[Polite, Kill], false);
        at(&mut sim, STUCK_AFTER.0, &[Polite, Kill], true);
        let order: Vec<u64> = sim.log.iter().map(|(_, _, stamp)| stamp.seq.0).collect();
        assert!(order.is_sorted(), "records are ordered by their number, not by their time");
    }
}

#[test]
fn a_host_that_leaves_nothing_running_holds_the_runs_that_it_interrupts() {
    let mut sim = Sim::of(&pipe(vec![n("a"), n("b").needs(&["a"]), n("c")]));
    let waiting = sim.submit(2, &pipe(vec![n("x").cpus(7_500)]));
    sim.turn();
    sim.world.set_accepting(false);
    sim.world.set_ending(Polite);
    sim.turn();
    assert_eq!((sim.ladder(), sim.run().facts().held), (vec![Polite, Polite], true));
    assert!(!sim.world.run(&waiting).expect("run 2").facts().held, "nothing of it was interrupted");
    // One of them ends well all the same.
    sim.ok("c", json!({}));
    sim.pass(GRACE);
    assert_eq!(sim.ladder(), [Polite, Polite, Kill]);
    sim.end("a", EndFacts { failure: None, ..killed(StopReason::HostLeaves) });
    assert!(matches!(sim.state("a"), NodeState::Interrupted { .. }), "{:?}", sim.state("a"));
    assert_eq!((sim.status("b"), sim.status("c"), sim.run().status()), (S::Waiting, S::Completed, RunStatus::Running));
    insta::assert_snapshot!(sim.reason("a"), @"lost: the host ended it when it left; `resume` continues it");
    // The next host resumes.
    let mut next = Sim { seq: sim.seq, ..Sim::new(capacity(8, 8)) };
    sim.world.runs().cloned().for_each(|run| next.world.insert(run));
    next.event(Event::RunResumed);
    next.turn();
    assert_eq!(next.running(), ["a"]);
}

#[test]
fn a_second_request_to_end_everything_does_not_wait_for_the_grace() {
    let mut sim = Sim::of(&pipe(vec![n("a"), n("b")]));
    let cancelled = sim.submit(2, &pipe(vec![n("x")]));
    sim.turn();
    sim.apply(&cancelled, Event::RunCancelRequested { kill: false });
    sim.turn();
    sim.world.set_accepting(false);
    sim.world.set_ending(Polite);
    sim.turn();
    assert_eq!(sim.ladder(), [Polite, Polite, Polite], "what is being stopped already is not asked twice");
    sim.world.set_ending(Kill);
    sim.turn();
    assert_eq!(sim.ladder()[3..], [Kill, Kill, Kill]);
    sim.turn();
    assert_eq!(sim.ladder().len(), 6);
}

fn busy() -> FailureCause {
    FailureCause::Spawn(SpawnFailure { message: "no process is free".into(), transient: true, kind: SpawnFailureKind::Other })
}

#[test]
fn f32_what_the_system_has_no_room_for_waits_and_is_no_failed_attempt() {
    let mut sim = Sim::of(&pipe(vec![n("a"), n("b").needs(&["a"])]));
    for pause in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
        sim.fail("a", busy());
        assert_eq!((sim.status("a"), sim.world.held().attempts), (S::Retrying, 0));
        assert!(sim.reason("a").ends_with("resource_busy: no process is free"), "{}", sim.reason("a"));
        assert_eq!(sim.timers.next(sim.now.mono), Some(sim.now.mono.plus(DurationMs(pause))));
        sim.pass(pause);
        assert_eq!(sim.running(), ["a"]);
    }
    // The policy has one attempt, and it is still there to be used.
    sim.ok("a", json!({}));
    sim.ok("b", json!({}));
    assert_eq!(sim.run().status(), RunStatus::Completed);
}

#[test]
fn f32_a_later_want_begins_with_a_short_pause_again() {
    let mut sim = Sim::of(&pipe(vec![n("a").attempts(2)]));
    sim.fail("a", busy());
    sim.pass(1_000);
    sim.fail("a", busy());
    sim.pass(2_000);
    sim.fail("a", exit());
    sim.pass(2_000);
    sim.fail("a", busy());
    assert_eq!(sim.timers.next(sim.now.mono), Some(sim.now.mono.plus(DurationMs(1_000))));
    sim.pass(1_000);
    sim.fail("a", exit());
    assert_eq!(sim.status("a"), S::Failed, "two attempts really ran");
}

#[test]
fn f32_a_run_that_is_cancelled_waits_for_no_room() {
    let mut sim = Sim::of(&pipe(vec![n("a"), n("b")]));
    sim.fail("a", busy());
    sim.event(Event::RunCancelRequested { kill: false });
    sim.end("b", EndFacts { failure: Some(busy()), ..end_facts() });
    assert_eq!((sim.status("a"), sim.status("b"), sim.run().status()), (S::Cancelled, S::Failed, RunStatus::Cancelled));
}
