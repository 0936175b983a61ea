//! Scenarios with their traces, and what must hold for any of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::model::FREE;
use super::*;
use crate::event::{FailureCause, RunStatus};
use crate::ids::{ResourceName, RunId};
use crate::pipeline::definition::Definition;
use crate::request::{OnFailure, RetryOn, RetryPolicy};
use crate::resources::{Capacity, Held};
use crate::run::RunState;
use crate::run::testing::{N, module, n, pipe, pipe_with, run_id};
use crate::scheduler::{Durations, StartOrder};
use crate::units::{Amount, Bytes, CpuMillis, DurationMs};

fn machine(cpus: u64, memory: u64, places: u32) -> Capacity {
    let api = ResourceName::parse("api").expect("a name");
    let custom = BTreeMap::from([(api, Amount(2000))]);
    Capacity { cpus: CpuMillis(cpus), memory: Bytes(memory), gpus: Vec::new(), custom, max_concurrent: places }
}

fn run(number: u32, definition: &Arc<Definition>) -> RunState {
    RunState::new(run_id(number), definition.clone(), Arc::new(json!({"topic": "x"})), "/w".into())
}

/// Durations from the nodes themselves.
fn as_declared(order: &StartOrder) -> Ending {
    Ending::after(order.settings.duration.unwrap_or(DurationMs(1)))
}

fn declared(capacity: Capacity) -> Simulation<'static> {
    Simulation::new(capacity, Durations::default(), Box::new(as_declared))
}

fn trace(simulation: &Simulation<'_>) -> String {
    let line = |span: &Span| {
        let end = span.end.map_or_else(|| "...".to_owned(), |end| end.to_string());
        let failed = if span.completed { "" } else { " failed" };
        format!("{:<6} {end:<6} {}#{}{failed}\n", span.start.to_string(), span.path, span.id.attempt)
    };
    let ended = simulation.ended().iter().map(|(_, (status, at))| format!("{at} {}\n", status.as_str()));
    simulation.spans().iter().map(line).chain(ended).collect()
}

fn node(id: &str, ms: u64) -> N {
    n(id).duration(ms)
}

#[test]
fn the_longest_way_goes_first_and_what_fits_beside_it() {
    let graph = pipe(vec![
        node("short", 500),
        node("load", 2_000),
        node("train", 10_000).needs(&["load"]).cpus(2_000),
        node("side", 3_000),
        node("wide", 1_000).cpus(3_000),
    ]);
    let mut simulation = declared(machine(3_000, 0, 10));
    simulation.submit_at(DurationMs(0), run(1, &graph));
    assert_eq!(simulation.play(), Ok(()));
    insta::assert_snapshot!(trace(&simulation), @r"
    0ms    2.0s   load#1
    0ms    3.0s   side#1
    0ms    500ms  short#1
    2.0s   12.0s  train#1
    12.0s  13.0s  wide#1
    13.0s completed
    ");
    assert_eq!((simulation.peak().cpus, simulation.peak().attempts), (CpuMillis(3_000), 3));
}

#[test]
fn a_failed_attempt_is_tried_again_after_its_pause() {
    let retry = RetryPolicy { attempts: 2, on: [RetryOn::Exit].into(), backoff: DurationMs(4_000), ..RetryPolicy::default() };
    let graph = pipe_with(vec![node("a", 1_000).retry(retry), node("b", 1_000).needs(&["a"])], OnFailure::Stop, None);
    let mut count = 0;
    let behaviour = move |order: &StartOrder| {
        count += 1;
        Ending { failure: (count == 1).then_some(FailureCause::Exit { code: 1 }), ..as_declared(order) }
    };
    let mut simulation = Simulation::new(machine(1_000, 0, 1), Durations::default(), Box::new(behaviour));
    simulation.submit_at(DurationMs(500), run(1, &graph));
    assert_eq!(simulation.play(), Ok(()));
    insta::assert_snapshot!(trace(&simulation), @r"
    500ms  1.5s   a#1 failed
    5.5s   6.5s   a#2
    6.5s   7.5s   b#1
    7.5s completed
    ");
}

#[test]
fn a_cancelled_run_gives_its_room_to_the_next() {
    let graph = pipe(vec![node("a", 60_000)]);
    let mut simulation = declared(machine(1_000, 0, 4));
    simulation.submit_at(DurationMs(0), run(1, &graph));
    simulation.submit_at(DurationMs(1_000), run(2, &graph));
    simulation.cancel_at(DurationMs(5_000), run_id(1), false);
    assert_eq!(simulation.play(), Ok(()));
    assert_eq!(simulation.ended()[&run_id(1)], (RunStatus::Cancelled, DurationMs(5_000)));
    assert_eq!(simulation.ended()[&run_id(2)], (RunStatus::Completed, DurationMs(65_000)));
}

#[test]
fn what_never_has_room_is_named_and_goes_on_when_there_is() {
    let graph = pipe(vec![node("small", 1_000), node("big", 1_000).cpus(4_000)]);
    let mut simulation = declared(machine(2_000, 0, 4));
    simulation.submit_at(DurationMs(0), run(1, &graph));
    assert_eq!(simulation.play(), Err(Stalled(vec!["big".into()])));
    simulation.change_at(DurationMs(9_000), machine(4_000, 0, 4));
    assert_eq!(simulation.play(), Ok(()));
    assert_eq!(simulation.ended()[&run_id(1)].1, DurationMs(10_000));
}

#[test]
fn what_only_a_run_could_tell_is_assumed() {
    let inner = pipe(vec![node("x", 1_000).with(json!({"v": "${{ params.v }}"})), node("y", 1_000).needs(&["x"])]);
    let graph = pipe(vec![
        node("fetch", 2_000),
        node("clips", 0).calls(&inner).foreach("${{ nodes.fetch.outputs.ideas }}").with(json!({"v": "${{ item }}"})),
        node("each", 500).matrix(json!({"x": [1, 2, 3]})).max_parallel(2),
        node("report", 100).when("${{ nodes.clips.count > 3 }}").with(json!({"c": "${{ nodes.clips.outputs }}"})),
    ]);
    let mut simulation = declared(machine(8_000, 0, 8));
    simulation.submit_at(DurationMs(0), run(1, &assumed(&graph, &|_| None)));
    assert_eq!(simulation.play(), Ok(()));
    insta::assert_snapshot!(trace(&simulation), @r"
    0ms    2.0s   fetch#1
    0ms    500ms  each[0]#1
    0ms    500ms  each[1]#1
    500ms  1.0s   each[2]#1
    2.0s   3.0s   clips[0].x#1
    3.0s   4.0s   clips[0].y#1
    4.0s   4.1s   report#1
    4.1s completed
    ");
}

/// A graph on which the longest way first is not the best order: it starts the two long ways and leaves the wide node for the end.
fn tricky() -> Arc<Definition> {
    pipe(vec![node("a", 300), node("b", 300), node("c", 200), node("d", 200), node("e", 200)])
}

#[test]
fn the_best_order_is_found_and_the_scheduler_goes_by_it() {
    let graph = tricky();
    let capacity = machine(2_000, 0, 10);
    let fresh = run(1, &graph);
    let model = Model::of(&fresh, &capacity);
    let choice = choose(&model, UNITS, 1);
    assert_eq!((choice.critical_path, choice.makespan), (Some(700), Some(600)), "{choice:?}");
    let again = choose(&model, UNITS, 1);
    assert_eq!((again.order.clone(), again.tried), (choice.order.clone(), choice.tried), "the same seed gives the same order");
    for (order, expected) in [(None, 700), (choice.order, 600)] {
        let mut simulation = declared(capacity.clone());
        let mut run = fresh.clone();
        run.set_order(order);
        simulation.submit_at(DurationMs(0), run);
        assert_eq!(simulation.play(), Ok(()));
        assert_eq!(simulation.ended()[&run_id(1)].1, DurationMs(expected));
    }
}

/// Forty nodes of any length, each after at most two of those before it.
fn tangle(dice: &mut Dice) -> Arc<Definition> {
    let mut tie = |at: u64| {
        let before: Vec<String> = (0..dice.roll(3).min(at)).map(|_| format!("n{}", dice.roll(at))).collect();
        let before: Vec<&str> = before.iter().map(String::as_str).collect();
        node(&format!("n{at}"), 100 + dice.roll(900)).needs(&before)
    };
    pipe((0..40).map(&mut tie).collect())
}

#[test]
fn an_order_is_judged_by_plays_where_durations_are_known_only_roughly() {
    let (mut dice, mut lasted) = (Dice::new(5), [0_u64; 2]);
    for seed in 0..6 {
        let fresh = run(1, &tangle(&mut dice));
        let known = Model::of(&fresh, &machine(3_000, 0, 10));
        let roughly = known.clone().known_to(&|_| 300);
        let choices = [choose(&known, UNITS / 20, seed), choose(&roughly, UNITS / 20, seed)];
        assert_eq!(choose(&known.clone().known_to(&|_| 0), UNITS / 20, seed).order, choices[0].order, "0 is certain");
        assert_eq!(choose(&roughly, UNITS / 20, seed).order, choices[1].order, "the same seed gives the same order");
        // What is told is how the run ends if all comes as expected.
        assert_eq!(choices[0].critical_path, choices[1].critical_path);
        assert!(choices[1].makespan >= choices[0].makespan, "{choices:?}");
        // Plays that neither of them was chosen by.
        for _ in 0..100 {
            let real = fresh.nodes().map(|(node, _)| (node, dice.spread(fresh.weight(node), 300))).collect();
            let real = known.lasting(&real);
            for (choice, lasted) in choices.iter().zip(&mut lasted) {
                let priority = choice.order.as_deref().map_or_else(|| known.tails(), <[u64]>::to_vec);
                *lasted += Player::new(&real, u64::MAX).makespan(&priority, u64::MAX).expect("there is room");
            }
        }
    }
    assert!(lasted[1] < lasted[0], "{lasted:?}");
}

#[test]
fn large_and_hopeless_runs_keep_the_longest_way() {
    let many: Vec<N> = (0..=NODES_MAX).map(|at| n(&format!("n{at}"))).collect();
    let choice = choose(&Model::of(&run(1, &pipe(many)), &machine(2_000, 0, 2)), UNITS, 1);
    assert_eq!((choice.order, choice.tried), (None, 0));
    let choice = choose(&Model::of(&run(1, &pipe(vec![n("big").cpus(9_000)])), &machine(2_000, 0, 2)), UNITS, 1);
    assert_eq!((choice.order, choice.makespan), (None, None));
}

/// Nodes that all ask for something else: every start compares all that are ready.
fn all_different(count: u64) -> Model {
    let nodes = (0..count).map(|at| node(&format!("n{at}"), 100 + at % 7).cpus(0).memory(1 + at)).collect();
    Model::of(&run(1, &pipe(nodes)), &machine(2_000, 2 * count, u32::MAX))
}

#[test]
fn a_search_is_bounded_by_its_work_units_whatever_the_graph() {
    let model = all_different(3_000);
    for most in [1_000, 50_000] {
        let mut player = Player::new(&model, most);
        assert_eq!(player.makespan(&model.tails(), u64::MAX), None, "one play needs more than {most}");
        let overshoot = player.units() - most;
        assert!(player.is_spent() && overshoot <= 3 * model.len() as u64, "{overshoot}");
    }
    let choice = choose(&model, 50_000, 1);
    assert_eq!((choice.order, choice.policy, choice.makespan, choice.tried), (None, Policy::CriticalPath, None, 1));
    assert!(choose(&all_different(30), 50_000, 1).makespan.is_some_and(|makespan| makespan > 0), "a small one is played");
}

#[test]
fn bounds_within_work_units_are_bounds_too() {
    let mut dice = Dice::new(7);
    for _ in 0..40 {
        let scenario = random_scenario(&mut dice, 0, 12);
        let model = Model::of(&run(1, &scenario.definitions[0]), &scenario.capacity);
        let (full, least) = (bounds(&model), super::bound::bounds_within(&model, 0));
        assert_eq!((least.path, least.area.clone(), least.best()), (full.path, full.area.clone(), full.path.max(full.area.0)));
        for units in [10, 300, 3_000, u64::MAX] {
            let found = super::bound::bounds_within(&model, units);
            assert!(least.best() <= found.best() && found.best() <= full.best(), "{units}: {found:?} {full:?}");
        }
        assert_eq!(super::bound::bounds_within(&model, u64::MAX), full);
    }
}

#[test]
fn bounds_of_known_graphs() {
    let found = |nodes: Vec<N>, capacity: &Capacity| bounds(&Model::of(&run(1, &pipe(nodes)), capacity));
    let chain = found(vec![node("a", 3), node("b", 4).needs(&["a"])], &machine(1_000, 0, 10));
    assert_eq!((chain.path, chain.best()), (7, 7));
    let wide = found((0..5).map(|at| node(&format!("n{at}"), 10)).collect(), &machine(2_000, 0, 10));
    assert_eq!((wide.path, wide.area.clone(), wide.best()), (10, (25, "cpus".into()), 25));
    // A chain before and behind four nodes: neither the path (12) nor the area (16) knows that one of two processors is idle outside.
    let mut waist: Vec<N> = vec![node("first", 6)];
    waist.extend((0..4).map(|at| node(&format!("n{at}"), 5).needs(&["first"])));
    waist.push(node("last", 1).needs(&["n0", "n1", "n2", "n3"]));
    let waist = found(waist, &machine(2_000, 0, 10));
    assert_eq!((waist.path, waist.area.0, waist.interval), (12, 14, Some((17, "cpus".into()))));
    let memory = found((0..4).map(|at| node(&format!("n{at}"), 10).memory(600)).collect(), &machine(8_000, 1_000, 10));
    assert_eq!(memory.area, (24, "memory".into()));
}

/// A random pipeline without failures and conditions.
fn random_pipe(dice: &mut Dice, size: u64, depth: u32, single: &Arc<crate::manifest::Module>) -> Arc<Definition> {
    let count = 1 + dice.roll(size);
    let mut nodes = Vec::new();
    for at in 0..count {
        let mut node = node(&format!("n{at}"), dice.roll(50) * dice.roll(3) * 100).cpus(dice.roll(5) * 500).memory(dice.roll(4) * 256);
        for before in 0..at {
            if dice.roll(at.div_ceil(2) + 1) == 0 {
                node = node.needs(&[&format!("n{before}")]);
            }
        }
        node = match dice.roll(8) {
            0 if depth > 0 => node.calls(&random_pipe(dice, size / 2 + 1, depth - 1, single)),
            1 => node.module(single),
            2 => node.custom("api", dice.roll(3) * 1000),
            _ => node,
        };
        node = match dice.roll(6) {
            0 => node.matrix(json!({"x": [1, 2, 3]})),
            1 => node.matrix(json!({"x": [1, 2, 3, 4]})).max_parallel(2),
            _ => node,
        };
        nodes.push(node);
    }
    pipe(nodes)
}

struct Scenario {
    capacity: Capacity,
    definitions: Vec<Arc<Definition>>,
}

fn random_scenario(dice: &mut Dice, runs: u64, size: u64) -> Scenario {
    let single = module("single", Some(1));
    let capacity = machine(2_000 + dice.roll(5) * 1_000, 768 + dice.roll(4) * 512, 1 + u32::try_from(dice.roll(6)).expect("small"));
    let definitions = (0..=dice.roll(runs)).map(|_| random_pipe(dice, size, 1, &single)).collect();
    Scenario { capacity, definitions }
}

/// Sums what runs by what the trace says, and not by what the scheduler keeps.
fn assert_within(simulation: &Simulation<'_>, capacity: &Capacity) {
    let (mut held, mut singles) = (Held::default(), 0);
    for span in simulation.spans().iter().rev().take(64).filter(|span| span.end.is_none()) {
        held.take(&span.grant);
        let run = simulation.world().run(&span.id.run).expect("its run goes on");
        singles += u32::from(run.module(span.id.node).is_some_and(|module| module.id.as_str() == "single"));
    }
    assert!(held.attempts <= capacity.max_concurrent && held.cpus <= capacity.cpus && held.memory <= capacity.memory, "{held:?}");
    assert!(held.custom.iter().all(|(name, amount)| *amount <= capacity.custom[name]), "{held:?}");
    assert!(singles <= 1, "`concurrency: 1` is held to");
    assert_eq!(held, *simulation.world().held(), "what is kept is what runs");
}

/// Plays a scenario with failures, retries and cancels, and checks all that must hold.
fn check_scenario(seed: u64, size: u64) {
    let mut dice = Dice::new(seed);
    let scenario = random_scenario(&mut dice, 3, size);
    let mut luck = Dice::new(seed ^ 0x5eed);
    let behaviour = move |order: &StartOrder| {
        let failure = (luck.roll(12) == 0).then_some(FailureCause::Exit { code: 1 });
        let declared = order.settings.duration.unwrap_or_default().0;
        Ending { takes: DurationMs(luck.spread(declared, 300)), failure, ..Ending::after(DurationMs(0)) }
    };
    let mut simulation = Simulation::new(scenario.capacity.clone(), Durations::default(), Box::new(behaviour));
    let mut last = 0;
    for (number, definition) in (1..).zip(&scenario.definitions) {
        last = dice.roll(5_000);
        simulation.submit_at(DurationMs(last), run(number, definition));
        if dice.roll(8) == 0 {
            simulation.cancel_at(DurationMs(dice.roll(10_000)), run_id(number), dice.roll(2) == 0);
        }
    }
    let ended = loop {
        match simulation.step() {
            Ok(true) => assert_within(&simulation, &scenario.capacity),
            ended => break ended,
        }
    };
    assert_eq!(ended, Ok(false));
    assert_eq!(simulation.ended().len(), scenario.definitions.len(), "every run ends");
    assert_eq!(*simulation.world().held(), Held::default(), "no grant is left");
    assert!(simulation.open_runs().is_empty());
    // No wait is longer than all the work there is: whenever something waits, something runs.
    let work: u64 = simulation.spans().iter().filter_map(|span| Some(span.end?.0 - span.start.0)).sum();
    let latest = simulation.ended().values().map(|(_, at)| at.0).max().unwrap_or(0);
    assert!(latest <= last.max(10_000) + work, "{latest} is later than {last} and {work} of work");
}

fn makespan_of(run: &RunState, capacity: &Capacity) -> Option<u64> {
    let mut simulation = declared(capacity.clone());
    let id: RunId = run.id().clone();
    simulation.submit_at(DurationMs(0), run.clone());
    simulation.play().ok()?;
    Some(simulation.ended()[&id].1.0)
}

/// The interval bound by its definition, over the same intervals.
fn overload_by_definition(model: &Model, limit: u32, capacity: u64) -> u64 {
    let (heads, tails, path) = (model.heads(), model.tails(), model.longest());
    let amount = |vertex: usize| {
        let demand = model.demand_of[vertex];
        if demand == FREE {
            0
        } else {
            model.demands[demand as usize].0.iter().find(|(of, _)| *of == limit).map_or(0, |(_, amount)| *amount)
        }
    };
    let nodes: Vec<usize> = (0..model.len()).filter(|vertex| amount(*vertex) > 0 && model.durations[*vertex] > 0).collect();
    let mut most = 0;
    let points = |node: &usize| [heads[*node], path - tails[*node]].map(|at| [at, at + model.durations[*node]]);
    let points: Vec<u64> = nodes.iter().flat_map(|node| points(node).into_iter().flatten()).collect();
    for begin in points.iter().copied() {
        for end in points.iter().copied().filter(|end| *end > begin) {
            let forced = |node: &usize| {
                let (head, latest, duration) = (heads[*node], path - tails[*node], model.durations[*node]);
                let early = (head + duration).saturating_sub(begin);
                u128::from(early.min(end.saturating_sub(latest)).min(duration).min(end - begin)) * u128::from(amount(*node))
            };
            let work: u128 = nodes.iter().map(forced).sum();
            let needed = u64::try_from(work.div_ceil(u128::from(capacity))).expect("small");
            most = most.max(needed.saturating_sub(end - begin));
        }
    }
    most
}

proptest! {
    // 256 of each; `PROPTEST_CASES=10000` plays more.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_over_capacity_and_everything_ends(seed in any::<u64>(), size in 1..12_u64) {
        check_scenario(seed, size);
    }

    #[test]
    fn the_model_plays_as_the_scheduler_does(seed in any::<u64>(), size in 1..12_u64) {
        let mut dice = Dice::new(seed);
        let scenario = random_scenario(&mut dice, 0, size);
        let run = run(1, &scenario.definitions[0]);
        let model = Model::of(&run, &scenario.capacity);
        let played = Player::new(&model, u64::MAX).makespan(&model.tails(), u64::MAX);
        let real = makespan_of(&run, &scenario.capacity);
        if model.is_exact() {
            prop_assert_eq!(played, real);
        }
        let found = bounds(&model);
        prop_assert!(real.is_none_or(|real| found.best() <= real), "{:?} and {:?}", found, real);
        for (limit, of) in (0_u32..).zip(&model.limits) {
            let by_definition = overload_by_definition(&model, limit, of.capacity.max(1));
            let best = found.interval.clone().map_or(0, |(bound, _)| bound);
            prop_assert!(of.capacity == 0 || found.path + by_definition <= best, "{} of {}", by_definition, of.name);
        }
    }

    #[test]
    fn a_chosen_order_is_never_worse_than_the_longest_way_first(seed in any::<u64>(), size in 1..12_u64) {
        let mut dice = Dice::new(seed);
        let scenario = random_scenario(&mut dice, 0, size);
        let mut run = run(1, &scenario.definitions[0]);
        let model = Model::of(&run, &scenario.capacity);
        let choice = choose(&model, 5_000, seed);
        let plain = makespan_of(&run, &scenario.capacity);
        run.set_order(choice.order.clone());
        prop_assert_eq!(run.sanity_check(), Ok(()));
        let chosen = makespan_of(&run, &scenario.capacity);
        if model.is_exact() {
            prop_assert!(chosen <= plain, "{chosen:?} {plain:?} {choice:?}");
            // Where the units did not suffice for one play nothing is told, and nothing is changed.
            prop_assert!(choice.makespan.map_or(choice.order.is_none(), |told| chosen == Some(told)), "{chosen:?} {choice:?}");
        }
    }
}
