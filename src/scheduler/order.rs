//! Tests of who comes first: priorities and their patience, room that is kept, affinity, alternatives.

use std::sync::Arc;

use serde_json::json;

use super::testing::{STUCK_AFTER, Sim, capacity};
use super::{Blocker, Survey, World, patience};
use crate::event::{Event, FailureCause};
use crate::ids::RunId;
use crate::pipeline::definition::Definition;
use crate::request::{Alternative, Priority, RetryOn, RetryPolicy};
use crate::resources::{Capacity, Gpu, Unmet};
use crate::run::testing::{N, module, n, pipe, run_id};
use crate::run::{NodeStatus as S, Precedence};
use crate::units::{Bytes, CpuMillis};

const GIB: u64 = 1 << 30;

fn runs_as(priority: Priority) -> Precedence {
    Precedence { forced: None, usual: priority }
}

/// Paths of all running nodes with the numbers of their runs.
fn running(sim: &Sim) -> Vec<String> {
    let mut all = Vec::new();
    for number in 1..9 {
        let Some(run) = sim.world.run(&run_id(number)) else { continue };
        all.extend(run.active().map(|node| format!("{number}/{}", run.path(node))));
    }
    all
}

fn why(sim: &Sim, run: u32, path: &str) -> Vec<Blocker> {
    let id: RunId = run_id(run);
    let node = sim.world.run(&id).and_then(|run| run.find(path)).expect("a node");
    Survey::new(&sim.world, sim.now.wall).explain(&id, node)
}

fn end(sim: &mut Sim, run: u32, path: &str) {
    let id = run_id(run);
    let node = sim.world.run(&id).and_then(|run| run.find(path)).expect("a node");
    let attempt = sim.world.run(&id).expect("it").node(node).state().holding().expect("it runs").0;
    sim.apply(&id, Event::AttemptEnded { node, attempt, facts: super::testing::end_facts() });
    sim.turn();
}

fn submit(sim: &mut Sim, number: u32, nodes: Vec<N>, precedence: Precedence) {
    let definition: Arc<Definition> = pipe(nodes);
    sim.submit_as(number, &definition, precedence);
    sim.turn();
}

#[test]
fn a_higher_priority_comes_first_whoever_was_there_before() {
    let mut sim = Sim::new(capacity(1, 1));
    submit(&mut sim, 1, vec![n("a"), n("b"), n("c").priority(Priority::Low)], runs_as(Priority::Normal));
    submit(&mut sim, 2, vec![n("x"), n("y").priority(Priority::Low)], runs_as(Priority::High));
    assert_eq!(running(&sim), ["1/a"]);
    let blockers = why(&sim, 1, "b");
    assert!(
        matches!(&blockers[..], [.., Blocker::Priority { priority: Priority::Normal, ahead: 1, first: false, since, first_at }]
            if first_at.since(*since) == patience(Priority::Normal)),
        "{blockers:?}"
    );
    let mut order = Vec::new();
    while let Some(next) = running(&sim).first().cloned() {
        let (run, path) = next.split_once('/').expect("a slash");
        end(&mut sim, run.parse().expect("a number"), path);
        order.push(next);
    }
    assert_eq!(order, ["1/a", "2/x", "1/b", "1/c", "2/y"]);
}

#[test]
fn what_is_forced_counts_and_not_what_nodes_say() {
    let mut sim = Sim::new(capacity(1, 1));
    submit(&mut sim, 1, vec![n("a"), n("b").priority(Priority::High)], runs_as(Priority::Normal));
    let forced = Precedence { forced: Some(Priority::High), usual: Priority::Normal };
    submit(&mut sim, 2, vec![n("x").priority(Priority::Low)], forced);
    // The one that is `high` was first anyway.
    assert_eq!(running(&sim), ["1/b"]);
    end(&mut sim, 1, "b");
    assert_eq!(running(&sim), ["2/x"]);
}

#[test]
fn what_has_waited_too_long_comes_first_for_once() {
    let mut sim = Sim::new(capacity(1, 1));
    submit(&mut sim, 1, vec![n("a")], runs_as(Priority::High));
    submit(&mut sim, 2, vec![n("low"), n("more")], runs_as(Priority::Low));
    submit(&mut sim, 3, vec![n("b"), n("c"), n("d")], runs_as(Priority::High));
    sim.pass(patience(Priority::Low).0 - 1);
    end(&mut sim, 1, "a");
    assert_eq!(running(&sim), ["3/b"]);
    sim.pass(1);
    assert!(why(&sim, 2, "low").iter().any(|blocker| matches!(blocker, Blocker::Priority { first: true, ahead: 2, .. })));
    end(&mut sim, 3, "b");
    assert_eq!(running(&sim), ["2/low"]);
    // Its patience begins anew.
    end(&mut sim, 2, "low");
    assert_eq!(running(&sim), ["3/c"]);
}

#[test]
fn waiting_survives_the_host() {
    let mut sim = Sim::new(capacity(1, 1));
    submit(&mut sim, 1, vec![n("a"), n("b")], runs_as(Priority::High));
    submit(&mut sim, 2, vec![n("low")], runs_as(Priority::Low));
    sim.pass(patience(Priority::Low).0);
    submit(&mut sim, 3, vec![n("x")], runs_as(Priority::High));
    let mut next = World::new(sim.world.capacity().clone(), sim.world.durations().clone());
    next.set_synced(sim.world.synced());
    sim.world.runs().cloned().for_each(|run| next.insert(run));
    sim.world = next;
    sim.timers = super::Timers::new(STUCK_AFTER);
    // What is overdue the longest comes first.
    end(&mut sim, 1, "a");
    assert_eq!(running(&sim), ["1/b"]);
    end(&mut sim, 1, "b");
    assert_eq!(running(&sim), ["2/low"]);
}

/// A machine with 8 CPUs, on which `a` has 4 of them for 10 s if that is known.
fn half_taken(known: bool) -> Sim {
    let mut sim = Sim::new(capacity(8, 20));
    let a = n("a").cpus(4_000);
    submit(&mut sim, 1, vec![if known { a.duration(10_000) } else { a }], runs_as(Priority::High));
    sim
}

#[test]
fn room_is_kept_for_the_first_that_does_not_fit() {
    let mut sim = half_taken(true);
    submit(&mut sim, 2, vec![n("big").cpus(6_000)], runs_as(Priority::Normal));
    let later = vec![
        n("short").cpus(1_000).duration(9_000),
        n("beside").cpus(2_000).duration(60_000),
        n("long").cpus(1_000).memory(1).duration(60_000),
        n("unknown").module(&module("other", None)).cpus(900),
    ];
    submit(&mut sim, 3, later, runs_as(Priority::Normal));
    assert_eq!(running(&sim), ["1/a", "3/short", "3/beside"], "what ends before, and what fits beside the big one");
    let expected = Some(sim.now.wall.plus(crate::units::DurationMs(10_000)));
    for path in ["long", "unknown"] {
        let held_back = Blocker::HeldBack { run_id: run_id(2).to_string(), node: "big".into(), expected };
        assert_eq!(why(&sim, 3, path)[0], held_back, "{path}");
    }
    assert!(why(&sim, 2, "big").contains(&Blocker::Reserved { expected }), "{:?}", why(&sim, 2, "big"));
    sim.pass(9_000);
    end(&mut sim, 3, "short");
    assert_eq!(running(&sim), ["1/a", "3/beside"]);
    end(&mut sim, 1, "a");
    assert_eq!(running(&sim), ["2/big", "3/beside"]);
}

#[test]
fn where_nothing_is_known_nobody_takes_what_the_first_one_lacks() {
    let mut sim = half_taken(false);
    submit(&mut sim, 2, vec![n("big").cpus(6_000)], runs_as(Priority::Normal));
    let later = vec![n("free").cpus(0).duration(60_000), n("beside").cpus(2_000), n("more").cpus(1_000).duration(1)];
    submit(&mut sim, 3, later, runs_as(Priority::Normal));
    // Whatever ends, the big one and the one beside it fit then; for another there is no such room.
    assert_eq!(running(&sim), ["1/a", "3/free", "3/beside"]);
    assert!(matches!(&why(&sim, 3, "more")[..], [Blocker::HeldBack { expected: None, .. }]), "{:?}", why(&sim, 3, "more"));
    end(&mut sim, 1, "a");
    assert_eq!(running(&sim), ["2/big", "3/free", "3/beside"]);
}

#[test]
fn an_attempt_that_runs_longer_than_expected_is_taken_to_need_twice_as_long() {
    let mut sim = half_taken(true);
    submit(&mut sim, 2, vec![n("big").cpus(8_000)], runs_as(Priority::Normal));
    sim.pass(11_000);
    submit(&mut sim, 3, vec![n("fits").duration(9_000), n("late").cpus(1_001).duration(9_001)], runs_as(Priority::Normal));
    assert_eq!(running(&sim), ["1/a", "3/fits"]);
}

#[test]
fn what_can_have_no_room_keeps_nobody() {
    let mut sim = half_taken(true);
    submit(&mut sim, 2, vec![n("never").cpus(9_000), n("small")], runs_as(Priority::Normal));
    assert_eq!(running(&sim), ["1/a", "2/small"]);
}

#[test]
fn nodes_of_one_affinity_run_one_after_another() {
    let keys = ["a", "b", "a", "b", "a"];
    let nodes = (0..).zip(keys).map(|(at, key)| n(&format!("n{at}")).affinity(key));
    let mut sim = Sim::new(capacity(1, 1));
    submit(&mut sim, 1, nodes.chain([n("plain")]).collect(), runs_as(Priority::Normal));
    let mut order = Vec::new();
    while let [path] = &sim.running()[..] {
        let path = path.clone();
        sim.ok(&path, json!({}));
        order.push(path);
    }
    assert_eq!(order, ["n0", "n2", "n4", "n1", "n3", "plain"]);
}

#[test]
fn the_longest_way_counts_before_affinity() {
    let mut sim = Sim::new(capacity(1, 1));
    let nodes = vec![n("a").affinity("x"), n("b"), n("c").needs(&["b"]), n("d").affinity("x")];
    submit(&mut sim, 1, nodes, runs_as(Priority::Normal));
    assert_eq!(sim.running(), ["b"]);
}

fn with_gpus(count: u64) -> Capacity {
    let gpu = |at| Gpu { uuid: format!("GPU-{at}"), name: "card".into(), total: Bytes(9 * GIB), reserve: Bytes(GIB) };
    Capacity { gpus: (0..count).map(gpu).collect(), memory: Bytes(64 * GIB), ..capacity(16, 16) }
}

/// Which GPU each start of run 1 got.
fn placed(sim: &Sim) -> Vec<String> {
    let gpu = |order: &super::StartOrder| order.grant.devices.first().map_or("none".to_owned(), |device| device.gpu.clone());
    sim.starts.iter().map(|order| format!("{} {}", order.path, gpu(order))).collect()
}

#[test]
fn nodes_of_one_affinity_stay_on_their_gpu() {
    let mut sim = Sim::new(with_gpus(2));
    let node = |id: &str, key: &str| n(id).gpus(1_000).affinity(key);
    let nodes = vec![node("a0", "a"), node("b0", "b"), node("a1", "a"), node("b1", "b"), node("b2", "b")];
    submit(&mut sim, 1, nodes, runs_as(Priority::Normal));
    assert_eq!(placed(&sim), ["a0 GPU-0", "b0 GPU-1"]);
    sim.ok("b0", json!({}));
    assert_eq!(placed(&sim).last().map(String::as_str), Some("b1 GPU-1"), "and not `a1`, which stands before it");
    sim.ok("a0", json!({}));
    assert_eq!(placed(&sim).last().map(String::as_str), Some("a1 GPU-0"));
    sim.ok("a1", json!({}));
    assert_eq!(placed(&sim).last().map(String::as_str), Some("b2 GPU-0"), "a preference keeps no GPU idle");
}

fn gpu_or_cpu() -> Vec<Alternative> {
    vec![
        Alternative { vram: Some(Bytes(6 * GIB)), ..Alternative::default() },
        Alternative { cpus: Some(CpuMillis(8_000)), ..Alternative::default() },
    ]
}

#[test]
fn the_first_alternative_that_fits_is_taken() {
    let mut sim = Sim::new(with_gpus(1));
    let nodes = (0..4).map(|at| n(&format!("n{at}")).memory(GIB).any_of(gpu_or_cpu()));
    submit(&mut sim, 1, nodes.collect(), runs_as(Priority::Normal));
    assert_eq!(placed(&sim), ["n0 GPU-0", "n1 none"]);
    let chosen = |at: usize| (sim.starts[at].grant.alternative, sim.starts[at].grant.cpus, sim.starts[at].grant.memory);
    assert_eq!(chosen(0), (Some(0), CpuMillis(1_000), Bytes(GIB)));
    assert_eq!(chosen(1), (Some(1), CpuMillis(8_000), Bytes(GIB)));
    let lacks = why(&sim, 1, "n3");
    assert!(
        matches!(
            &lacks[..],
            [
                Blocker::Resource { unmet: Unmet::Vram { .. }, alternative: Some(0), .. },
                Blocker::Resource { unmet: Unmet::Cpus { .. }, alternative: Some(1), .. },
            ]
        ),
        "{lacks:?}"
    );
    assert_eq!(sim.run().row(sim.run().find("n1").expect("it")).alternative, Some(1));
    sim.ok("n1", json!({}));
    assert_eq!(placed(&sim).last().map(String::as_str), Some("n2 none"));
}

#[test]
fn a_request_never_fits_only_where_no_alternative_does() {
    let lacks = |gpus: u64, cpus: u64| {
        let capacity = Capacity { cpus: CpuMillis(cpus), ..with_gpus(gpus) };
        super::impossible(&pipe(vec![n("x").any_of(gpu_or_cpu())]), &capacity).len()
    };
    assert_eq!((lacks(1, 1_000), lacks(0, 8_000), lacks(0, 7_999)), (0, 0, 2));
}

#[test]
fn vram_grows_after_a_graphics_card_was_full_and_stops_at_the_card() {
    let retry = RetryPolicy { attempts: 9, on: [RetryOn::Oom].into(), grow_vram_millis: 1_500, ..RetryPolicy::default() };
    let mut sim = Sim::new(with_gpus(1));
    submit(&mut sim, 1, vec![n("a").vram(4 * GIB).memory(GIB).retry(retry)], runs_as(Priority::Normal));
    let full = || FailureCause::Oom { limit: None, peak: None, said: Some("CUDA out of memory".into()) };
    for expected in [4 * GIB, 6 * GIB, 8 * GIB, 8 * GIB] {
        let grant = &sim.starts.last().expect("it").grant;
        assert_eq!((grant.vram, grant.devices[0].vram, grant.memory), (Bytes(expected), Bytes(expected), Bytes(GIB)));
        sim.fail("a", full());
        sim.pass(60_000);
    }
    sim.ok("a", json!({}));
    assert_eq!(sim.status("a"), S::Completed);
    assert_eq!(sim.run().row(sim.run().find("a").expect("it")).raised_vram, 4);
}
