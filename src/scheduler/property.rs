//! Random pipelines, capacities, outcomes and interruptions: what must hold whatever happens.
//!
//! The simulated host checks after every event that what is kept follows from the states, and at every start the budget, the
//! dependencies and the durable intent (`testing.rs`).

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::testing::{STUCK_AFTER, Sim, capacity, end_facts, exit};
use super::{StopHow, Timers, World, decide};
use crate::event::{EndFacts, Event, FailureCause, LostReason, SkipReason, SpawnFailure, SpawnFailureKind, StopReason};
use crate::ids::{AttemptId, AttemptNumber, NodeIndex, RunId, Seq};
use crate::manifest::Module;
use crate::pipeline::definition::Definition;
use crate::request::{Alternative, OnFailure, Priority, RetryOn, RetryPolicy};
use crate::resources::{Capacity, Gpu, Held};
use crate::run::testing::{N, module, n, pipe_with};
use crate::run::{NodeState, Outcome, RunState};
use crate::units::{Bytes, CpuMillis, DurationMs};

/// Numbers out of a seed that proptest chose: a failure is told by its seed and size.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn hit(&mut self, one_in: u64) -> bool {
        self.roll(one_in) == 0
    }
}

struct Modules {
    plain: Arc<Module>,
    single: Arc<Module>,
}

fn random_pipe(dice: &mut Dice, size: u64, depth: u32, modules: &Modules) -> Arc<Definition> {
    let count = 1 + dice.roll(size);
    let nodes = (0..count).map(|at| random_node(dice, at, size, depth, modules)).collect();
    let on_failure = if dice.hit(4) { OnFailure::Stop } else { OnFailure::Continue };
    pipe_with(nodes, on_failure, dice.hit(3).then(|| json!({"done": "${{ nodes.n0.status }}"})))
}

fn random_node(dice: &mut Dice, at: u64, size: u64, depth: u32, modules: &Modules) -> N {
    let mut node = n(&format!("n{at}")).cpus(dice.roll(5) * 500).memory(dice.roll(4) << 28);
    for before in 0..at {
        if dice.hit(at.div_ceil(2) + 1) {
            node = node.needs(&[&format!("n{before}")]);
        }
    }
    if depth > 0 && dice.hit(4) {
        node = node.calls(&random_pipe(dice, size / 2 + 1, depth - 1, modules));
    } else if dice.hit(4) {
        node = node.module(&modules.single);
    } else {
        node = node.module(&modules.plain);
    }
    node = match dice.roll(6) {
        0 => node.matrix(json!({"x": [1, 2, 3], "y": [1]})),
        1 => {
            node.foreach(["${{ [] }}", "${{ [1, 2, 3] }}", "${{ params.none.at.all }}"][usize::from(!dice.hit(6)) * dice.roll(2) as usize])
        }
        _ => node,
    };
    if dice.hit(3) {
        node = node.max_parallel(1 + u32::try_from(dice.roll(2)).expect("small"));
    }
    if dice.hit(4) {
        node = node.allow_failure();
    }
    if dice.hit(5) {
        let status = format!("${{{{ nodes.n{}.status != 'completed' }}}}", dice.roll(at.max(1)));
        node = node.when(if at == 0 || dice.hit(2) { ["${{ true }}", "${{ false }}"][usize::from(dice.hit(2))] } else { &status });
    }
    if dice.hit(4) {
        node = node.custom("api", dice.roll(3) * 1000);
    }
    if dice.hit(4) {
        node = node.timeout(500);
    }
    node = random_order(dice, node);
    let retry = RetryPolicy {
        attempts: 1 + u32::try_from(dice.roll(3)).expect("small"),
        on: [RetryOn::Exit, RetryOn::Oom, RetryOn::Timeout, RetryOn::Lost].into(),
        grow_memory_millis: 1_500,
        grow_vram_millis: 1_500,
        ..RetryPolicy::default()
    };
    node.retry(retry)
}

/// GPUs, alternatives, priorities, affinity and expected durations for some of the nodes.
fn random_order(dice: &mut Dice, mut node: N) -> N {
    if dice.hit(4) {
        node = if dice.hit(2) { node.gpus([1_000, 2_000, 250][dice.roll(3) as usize]) } else { node.vram(dice.roll(9) << 28) };
    } else if dice.hit(5) {
        let gpu = Alternative { vram: Some(Bytes(dice.roll(9) << 28)), ..Alternative::default() };
        let cpu = Alternative { cpus: Some(CpuMillis(dice.roll(5) * 500)), ..Alternative::default() };
        node = node.any_of(if dice.hit(2) { vec![gpu, cpu] } else { vec![cpu, gpu] });
    }
    if dice.hit(3) {
        node = node.priority(Priority::ALL[dice.roll(3) as usize]);
    }
    if dice.hit(3) {
        node = node.affinity(["x", "y"][dice.roll(2) as usize]);
    }
    if dice.hit(2) { node.duration(dice.roll(5_000)) } else { node }
}

/// How an attempt ends; mostly as asked when it is being stopped.
fn random_end(dice: &mut Dice, state: &NodeState) -> EndFacts {
    let failed = |cause| EndFacts { failure: Some(cause), ..end_facts() };
    if let NodeState::Stopping { reason, .. } = state
        && !dice.hit(4)
    {
        return EndFacts { stopped: Some(*reason), ..end_facts() };
    }
    match dice.roll(12) {
        0 | 1 => failed(exit()),
        2 => failed(FailureCause::Oom { limit: None, peak: Some(Bytes(5)), said: dice.hit(2).then(|| "CUDA out of memory".to_owned()) }),
        3 => failed(FailureCause::Lost { reason: LostReason::WrapperKilled }),
        4 => failed(FailureCause::Lost { reason: LostReason::HostDied }),
        5 => EndFacts { stopped: Some(StopReason::HostLeaves), ..end_facts() },
        6 => failed(FailureCause::Spawn(SpawnFailure { message: "busy".into(), transient: true, kind: SpawnFailureKind::Other })),
        _ => EndFacts { outputs: Some(Arc::new(json!({"n": 1}))), code: Some(0), ..end_facts() },
    }
}

/// All attempts that run or stop.
fn active(sim: &Sim) -> Vec<AttemptId> {
    let of = |run: &RunState, node| {
        let (attempt, _) = run.node(node).state().holding().expect("it is active");
        AttemptId { run: run.id().clone(), node, attempt }
    };
    sim.world.runs().flat_map(|run| run.active().map(move |node| of(run, node))).collect()
}

/// One of them.
fn any_active(sim: &Sim, dice: &mut Dice) -> Option<AttemptId> {
    let mut active = active(sim);
    let sides = active.len() as u64;
    (sides > 0).then(|| active.swap_remove(usize::try_from(dice.roll(sides)).expect("small")))
}

fn end(sim: &mut Sim, dice: &mut Dice, id: AttemptId) {
    let AttemptId { run, node, attempt } = id;
    let state = sim.world.run(&run).expect("a run").node(node).state().clone();
    sim.apply(&run, Event::AttemptEnded { node, attempt, facts: random_end(dice, &state) });
}

fn end_one(sim: &mut Sim, dice: &mut Dice) -> bool {
    let id = any_active(sim, dice);
    let is_there = id.is_some();
    id.into_iter().for_each(|id| end(sim, dice, id));
    is_there
}

/// The processes of an attempt are gone; its end comes later.
fn vacate_one(sim: &mut Sim, dice: &mut Dice) {
    let Some(id) = any_active(sim, dice) else { return };
    let before = sim.world.has_vacated(&id.run, id.node);
    let vacated = sim.world.vacate(&id).is_some();
    assert!(!(before && vacated), "given back twice");
    sim.world.sanity_check().unwrap_or_else(|error| panic!("after the processes are gone: {error}"));
}

/// A host that dies and comes back: the state goes through a snapshot, deadlines are set afresh, some runs are held.
fn restart(sim: &mut Sim, dice: &mut Dice) {
    // What was only waiting for the disk is found in the folders, before anything else.
    for id in active(sim).into_iter().filter(|id| sim.world.has_vacated(&id.run, id.node)).collect::<Vec<_>>() {
        end(sim, dice, id);
    }
    let runs: Vec<RunState> = sim.world.runs().cloned().collect();
    for run in runs {
        let frozen = serde_json::to_string(&run.freeze()).expect("a snapshot");
        let frozen = serde_json::from_str(&frozen).expect("the same snapshot");
        let thawed = RunState::thaw(run.id().clone(), run.definition().clone(), run.params().clone(), "/w".into(), frozen);
        let thawed = thawed.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(thawed.freeze(), run.freeze());
        assert_eq!(thawed.sanity_check(), Ok(()));
        sim.timers.recover(&thawed, sim.now, |_| DurationMs(0));
        let (id, open) = (thawed.id().clone(), thawed.facts().ended.is_none());
        sim.world.insert(thawed);
        if open && dice.hit(2) {
            sim.apply(&id, Event::RunHeld);
        }
        lose_intents(sim, &id, dice);
    }
}

/// A later host found nothing, or traces, of attempts that were intended.
fn lose_intents(sim: &mut Sim, id: &RunId, dice: &mut Dice) {
    let run = sim.world.run(id).expect("a run").clone();
    for (node, at) in run.nodes() {
        if run.intent(node).is_some() && !at.state().is_done() && dice.hit(2) {
            let reason = if dice.hit(2) { LostReason::NeverStarted } else { LostReason::HostDied };
            let facts = EndFacts { failure: Some(FailureCause::Lost { reason }), ..end_facts() };
            sim.apply(id, Event::AttemptEnded { node, attempt: AttemptNumber(at.attempts() + 1), facts });
        }
    }
}

/// A host that leaves nothing running, and its successor.
fn leave(sim: &mut Sim, dice: &mut Dice) {
    sim.world.set_accepting(false);
    sim.world.set_ending(if dice.hit(2) { StopHow::Polite } else { StopHow::Kill });
    sim.turn();
    while end_one(sim, dice) {
        sim.turn();
        assert!(sim.world.runs().all(|run| run.active().all(|node| !matches!(run.node(node).state(), NodeState::Running { .. }))));
    }
    let mut next = World::new(sim.world.capacity().clone(), sim.world.durations().clone());
    next.set_synced(Seq(sim.seq));
    sim.world.runs().cloned().for_each(|run| next.insert(run));
    sim.world = next;
    sim.timers = Timers::new(STUCK_AFTER);
    resume(sim);
}

fn open_runs(sim: &Sim) -> Vec<RunId> {
    sim.world.runs().filter(|run| run.facts().ended.is_none()).map(|run| run.id().clone()).collect()
}

/// One thing that happens from outside.
fn happen(sim: &mut Sim, dice: &mut Dice, mix: &Mix, step: u32) {
    let open = open_runs(sim);
    let run = open[usize::try_from(dice.roll(open.len() as u64)).expect("small")].clone();
    match dice.roll(40) {
        0 if step > 20 && dice.hit(mix.seldom) => sim.apply(&run, Event::RunCancelRequested { kill: dice.hit(2) }),
        1 if dice.hit(mix.seldom) => restart(sim, dice),
        2 if dice.hit(mix.seldom * 4) => leave(sim, dice),
        // Long enough for a grace, and at times for a kill that has no effect.
        3 => pass(sim, dice.roll(2) * 60_000 + 10_000),
        4..8 => pass(sim, dice.roll(3_000)),
        12..16 => vacate_one(sim, dice),
        8..12 => sim.world.set_synced(Seq(sim.world.synced().0 + dice.roll(5)).min(Seq(sim.seq))),
        _ => {
            if !end_one(sim, dice) {
                sim.world.set_synced(Seq(sim.seq));
                resume(sim);
                if let Some(next) = sim.timers.next(sim.now.mono) {
                    pass(sim, next.0 - sim.now.mono.0);
                }
            }
        }
    }
}

/// Time alone: decisions come with the next turn.
fn pass(sim: &mut Sim, ms: u64) {
    sim.now.mono = sim.now.mono.plus(DurationMs(ms));
    sim.now.wall = sim.now.wall.plus(DurationMs(ms));
}

fn resume(sim: &mut Sim) {
    for id in open_runs(sim) {
        if sim.world.run(&id).is_some_and(RunState::needs_resume) {
            sim.apply(&id, Event::RunResumed);
        }
    }
}

/// Every skipped node names a node where the trouble began, and that one did not end well.
fn check_roots(run: &RunState) {
    for (node, at) in run.nodes() {
        let Some(Outcome::Skipped { because }) = at.state().outcome() else { continue };
        let root = match &**because {
            SkipReason::Condition | SkipReason::NotSelected => continue,
            SkipReason::Dependency { root } | SkipReason::Stopped { root } => run.find(root).unwrap_or_else(|| panic!("no node {root}")),
        };
        assert!(root != node || at.state().is_done());
        let outcome = run.node(root).state().outcome().unwrap_or_else(|| panic!("the root {} goes on", run.path(root)));
        assert!(!outcome.is_good(), "the root {} of {} ended well", run.path(root), run.path(node));
    }
}

fn check_end(sim: &Sim) {
    assert_eq!(*sim.world.held(), Held::default(), "grants are left");
    for run in sim.world.runs() {
        check_roots(run);
        assert!(run.nodes().all(|(_, node)| node.state().is_done()), "a node is left");
        assert_eq!(run.find(&run.path(NodeIndex(0))), Some(NodeIndex(0)));
        let mut replayed = RunState::new(run.id().clone(), run.definition().clone(), run.params().clone(), "/w".into());
        for (_, event, stamp) in sim.log.iter().filter(|(id, ..)| id == run.id()) {
            replayed.apply(event, *stamp).unwrap_or_else(|error| panic!("{error}"));
        }
        assert_eq!(replayed.freeze(), run.freeze(), "replay differs");
        assert_eq!(replayed.counts(), run.counts());
    }
}

/// How much happens to how many nodes.
struct Mix {
    /// Nodes of a pipeline at most, in each of its levels.
    size: u64,
    /// Nodes of all runs at least.
    nodes: usize,
    runs: u32,
    cpus: u64,
    places: u32,
    /// Cancels and deaths of the host are so much rarer than usual.
    seldom: u64,
    steps_max: u32,
}

/// Simulates to the end of all runs, checks it, and gives it for further looks.
fn simulate(seed: u64, mix: &Mix) -> Sim {
    let mut dice = Dice(seed | 1);
    let modules = Modules { plain: module("plain", None), single: module("single", Some(1)) };
    let gpu = |at: u64| Gpu { uuid: format!("GPU-{at}"), name: "card".into(), total: Bytes(9 << 28), reserve: Bytes(1 << 28) };
    let mut sim = Sim::new(Capacity { gpus: (0..2).map(gpu).collect(), ..capacity(mix.cpus, mix.places) });
    sim.synced = dice.hit(2);
    sim.careful = mix.nodes < 1_000;
    for number in 1.. {
        let definition = random_pipe(&mut dice, mix.size, 2, &modules);
        sim.submit(number, &definition);
        if number >= mix.runs && sim.world.runs().map(RunState::len).sum::<usize>() >= mix.nodes {
            break;
        }
    }
    for step in 0.. {
        sim.turn();
        assert!(decide(&sim.world, &sim.timers, sim.now).is_empty(), "deciding twice does something");
        if open_runs(&sim).is_empty() {
            check_end(&sim);
            break;
        }
        assert!(step < mix.steps_max, "it never ends");
        happen(&mut sim, &mut dice, mix, step);
    }
    sim
}

/// Ends, failures, cancels, kills without effect, a system without room, hosts that die and hosts that leave: nothing stays held.
#[test]
fn f66_ten_thousand_attempts_leave_nothing_held() {
    let mix = |seed| Mix { size: 40, nodes: 2_000, runs: 1, cpus: 16, places: 12, seldom: 10 + seed % 20, steps_max: 100_000 };
    type Is = fn(&Event) -> bool;
    let kinds: [(&str, Is); 6] = [
        ("starts", |event| matches!(event, Event::AttemptStarted { .. })),
        ("cancels", |event| matches!(event, Event::RunCancelRequested { .. })),
        ("kills without effect", |event| matches!(event, Event::AttemptStuck { .. })),
        (
            "attempts without room",
            |event| matches!(event, Event::AttemptEnded { facts, .. } if facts.failure.as_ref().is_some_and(FailureCause::is_resource_busy)),
        ),
        ("ends by a leaving host", |event| matches!(event, Event::AttemptStopping { reason: StopReason::HostLeaves, .. })),
        ("holds", |event| matches!(event, Event::RunHeld)),
    ];
    let mut counts = kinds.map(|(name, _)| (name, 0));
    for seed in 1.. {
        let sim = simulate(seed * 0x5eed, &mix(seed));
        assert_eq!((sim.world.held(), sim.world.sanity_check()), (&Held::default(), Ok(())), "seed {seed}");
        for (count, (_, is)) in counts.iter_mut().zip(kinds) {
            count.1 += sim.log.iter().filter(|(_, event, _)| is(event)).count();
        }
        if counts[0].1 >= 10_000 {
            break;
        }
    }
    assert!(counts.iter().all(|(_, count)| *count > 5), "{counts:?}");
}

proptest! {
    // 256; `PROPTEST_CASES=10000` plays more.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_rules_hold_and_it_ends(seed in any::<u64>(), size in 1..9_u64, cpus in 2..6_u64, places in 1..6_u32) {
        simulate(seed, &Mix { size, nodes: 0, runs: 2, cpus, places, seldom: 1, steps_max: 5_000 });
    }
}
