//! Tests of what must hold whatever is asked for: never over capacity on any device, no grant left, and every wait has a bound.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::{Dice, Ending, Simulation};
use crate::event::FailureCause;
use crate::pipeline::definition::Definition;
use crate::request::{Alternative, Priority, RetryOn, RetryPolicy};
use crate::resources::{Capacity, Gpu, Held};
use crate::run::testing::{N, n, pipe, run_id};
use crate::run::{Precedence, RunState};
use crate::scheduler::{Durations, StartOrder, patience};
use crate::units::{Amount, Bytes, CpuMillis, DurationMs};

const MINUTE: u64 = 60_000;

fn machine(cpus: u64, gpus: u64) -> Capacity {
    let api = crate::ids::ResourceName::parse("api").expect("a name");
    let gpu = |at| Gpu { uuid: format!("GPU-{at}"), name: "card".into(), total: Bytes(10), reserve: Bytes(2) };
    Capacity {
        cpus: CpuMillis(cpus * 1_000),
        memory: Bytes(1_024),
        gpus: (0..gpus).map(gpu).collect(),
        custom: BTreeMap::from([(api, Amount(2_000))]),
        max_concurrent: 12,
    }
}

fn run(number: u32, definition: &Arc<Definition>, usual: Priority) -> RunState {
    let mut run = RunState::new(run_id(number), definition.clone(), Arc::new(json!({})), "/w".into());
    run.set_precedence(Precedence { forced: None, usual });
    run
}

/// A node that may ask for anything there is, known or unknown in its duration.
fn random_node(dice: &mut Dice, id: &str) -> N {
    let mut node = n(id).cpus(dice.roll(5) * 500).memory(dice.roll(5) * 200);
    node = match dice.roll(8) {
        0 => node.gpus(1_000),
        1 => node.gpus(2_000).vram(dice.roll(9)),
        2 => node.gpus(250 * (1 + dice.roll(3))),
        3 => node.vram(1 + dice.roll(8)),
        4 => {
            let gpu = Alternative { vram: Some(Bytes(1 + dice.roll(8))), ..Alternative::default() };
            let cpu = Alternative { cpus: Some(CpuMillis(500 + dice.roll(4) * 500)), ..Alternative::default() };
            node.any_of(if dice.roll(4) > 0 { vec![gpu, cpu] } else { vec![cpu, gpu] })
        }
        5 => node.custom("api", dice.roll(3) * 1_000),
        _ => node,
    };
    if dice.roll(3) == 0 {
        node = node.priority(Priority::ALL[usize::try_from(dice.roll(3)).expect("small")]);
    }
    if dice.roll(2) == 0 {
        node = node.affinity(["x", "y", "z"][usize::try_from(dice.roll(3)).expect("small")]);
    }
    if dice.roll(4) == 0 {
        node = node.matrix(json!({"x": [1, 2, 3]}));
    }
    let on = [RetryOn::Exit, RetryOn::Oom].into();
    node = node.retry(RetryPolicy { attempts: 2, on, grow_memory_millis: 1_500, grow_vram_millis: 1_500, ..RetryPolicy::default() });
    if dice.roll(3) > 0 { node.duration(dice.roll(30) * MINUTE / 2) } else { node }
}

fn random_pipe(dice: &mut Dice, size: u64) -> Arc<Definition> {
    let mut nodes = Vec::new();
    for at in 0..=dice.roll(size) {
        let mut node = random_node(dice, &format!("n{at}"));
        for before in 0..at {
            if dice.roll(at + 2) == 0 {
                node = node.needs(&[&format!("n{before}")]);
            }
        }
        nodes.push(node);
    }
    pipe(nodes)
}

/// Sums what runs by what the trace says.
fn assert_within(simulation: &Simulation<'_>, capacity: &Capacity) {
    let mut held = Held::default();
    simulation.spans().iter().filter(|span| span.end.is_none()).for_each(|span| held.take(&span.grant));
    assert!(held.attempts <= capacity.max_concurrent && held.cpus <= capacity.cpus && held.memory <= capacity.memory, "{held:?}");
    assert!(held.custom.iter().all(|(name, amount)| *amount <= capacity.custom[name]), "{held:?}");
    for (uuid, on) in &held.gpus {
        let gpu = capacity.gpus.iter().find(|gpu| gpu.uuid == *uuid).expect("a GPU of this machine");
        assert!(on.vram <= gpu.usable() && on.share.0 <= 1_000, "{uuid}: {on:?}");
        assert!(on.whole == 0 || on.attempts == 1, "{uuid} is whole for one: {on:?}");
    }
    assert_eq!(held, *simulation.world().held(), "what is kept is what runs");
}

fn check_mixture(seed: u64, size: u64) {
    let mut dice = Dice::new(seed);
    let capacity = machine(2 + dice.roll(4), 2);
    let mut luck = Dice::new(seed ^ 0x5eed);
    let behaviour = move |order: &StartOrder| {
        let failure = match luck.roll(16) {
            0 => Some(FailureCause::Exit { code: 1 }),
            1 => Some(FailureCause::Oom { limit: None, peak: None, said: Some("CUDA out of memory".into()) }),
            _ => None,
        };
        let usual = order.settings.duration.map_or(luck.roll(10) * MINUTE, |declared| declared.0);
        Ending { takes: DurationMs(luck.spread(usual, 300)), failure, ..Ending::after(DurationMs(0)) }
    };
    let mut simulation = Simulation::new(capacity.clone(), Durations::default(), Box::new(behaviour));
    let (runs, mut last) = (1 + dice.roll(4), 0);
    for number in 1..=u32::try_from(runs).expect("small") {
        let usual = Priority::ALL[usize::try_from(dice.roll(3)).expect("small")];
        let at = dice.roll(30 * MINUTE);
        last = last.max(at);
        simulation.submit_at(DurationMs(at), run(number, &random_pipe(&mut dice, size), usual));
    }
    let ended = loop {
        match simulation.step() {
            Ok(true) => assert_within(&simulation, &capacity),
            ended => break ended,
        }
    };
    assert_eq!(ended, Ok(false), "everything starts");
    assert_eq!((simulation.ended().len(), simulation.world().held()), (usize::try_from(runs).expect("small"), &Held::default()));
    assert_eq!(simulation.world().sanity_check(), Ok(()));
    // Whenever something waits, something runs, or a failed node pauses.
    let work: u64 = simulation.spans().iter().filter_map(|span| Some(span.end?.0 - span.start.0 + 2_000)).sum();
    let latest = simulation.ended().values().map(|(_, at)| at.0).max().unwrap_or(0);
    assert!(latest <= last + work, "{latest} is later than {last} and {work} of work");
}

/// Small urgent runs without end, as many as the machine can do, and some that ask for most of it and are not urgent: how long those wait.
fn check_flood(seed: u64) {
    let mut dice = Dice::new(seed);
    let cpus = 2 + dice.roll(4);
    let (small, large) = ((1 + dice.roll(8)) * MINUTE, (1 + dice.roll(8)) * MINUTE);
    let known = dice.roll(2) == 0;
    let declared = |node: N, ms: u64| if known { node.duration(ms) } else { node };
    let behaviour = move |order: &StartOrder| Ending::after(DurationMs(if order.path == "small" { small } else { large }));
    let mut simulation = Simulation::new(machine(cpus, 2), Durations::default(), Box::new(behaviour));
    let victims = 1 + u32::try_from(dice.roll(3)).expect("small");
    let until = 150 * MINUTE;
    let flood =
        pipe(vec![declared(n("small").cpus(1_000).memory(1_024 / cpus).vram(16 / cpus).any_of(small_asks(&mut dice, cpus)), small)]);
    let (mut at, mut number) = (0, 100);
    while at < until {
        simulation.submit_at(DurationMs(at), run(number, &flood, Priority::High));
        number += 1;
        at += small.div_ceil(cpus) + dice.roll(MINUTE / 10);
    }
    let mut bounds = BTreeMap::new();
    for victim in 1..=victims {
        let node = match dice.roll(3) {
            0 => n("large").cpus(cpus * 1_000),
            1 => n("large").cpus(1_000).memory(1_024),
            _ => n("large").cpus(2_000).gpus(2_000),
        };
        let (priority, at) = (Priority::ALL[usize::try_from(dice.roll(3)).expect("small")], dice.roll(20 * MINUTE));
        simulation.submit_at(DurationMs(at), run(victim, &pipe(vec![declared(node, large)]), priority));
        // Each of them, and what gathers while room is kept for it and it runs, may come before.
        bounds.insert(run_id(victim), at + patience(priority).0 + u64::from(victims) * 4 * (small + large));
    }
    while simulation.step() == Ok(true) {}
    for (run, bound) in bounds {
        let span = simulation.spans().iter().find(|span| span.id.run == run).unwrap_or_else(|| panic!("{run} never started"));
        assert!(span.start.0 <= bound, "{run} started at {} and not until {}", span.start, DurationMs(bound));
    }
}

/// With or without a GPU: both leave no room for the large ones as long as they come.
fn small_asks(dice: &mut Dice, cpus: u64) -> Vec<Alternative> {
    let plain = Alternative { vram: Some(Bytes(0)), ..Alternative::default() };
    let gpu = Alternative { vram: Some(Bytes((16 / cpus).min(8))), ..Alternative::default() };
    if dice.roll(2) == 0 { vec![gpu, plain] } else { vec![plain, gpu] }
}

proptest! {
    // 256 of each; `PROPTEST_CASES=10000` plays more.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_over_capacity_on_any_device_and_nothing_is_left(seed in any::<u64>(), size in 1..12_u64) {
        check_mixture(seed, size);
    }

    #[test]
    fn no_flood_of_urgent_runs_makes_another_wait_without_bound(seed in any::<u64>()) {
        check_flood(seed);
    }
}
