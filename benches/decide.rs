//! What a decision costs in a large run: 101,000 nodes of which 1,000 run, played through the scheduler without processes.
//!
//! `cargo bench --bench decide`. Each event is the end of an attempt with all that follows: the transition, the decisions until nothing more
//! comes, the record of the next start. Mark: 1 ms for each event on average.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "it writes files and looks at the clock")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prismq::host::catalog::Catalog;
use prismq::host::workspace::Workspace;
use prismq::ids::RunId;
use prismq::pipeline::definition::Definition;
use prismq::resources::Capacity;
use prismq::run::RunState;
use prismq::scheduler::Durations;
use prismq::simulate::{Dice, Ending, Simulation};
use prismq::units::{Bytes, CpuMillis, DurationMs, Timestamp};
use serde_json::json;

const WAITING: u32 = 100_000;
const RUNNING: u32 = 1_000;
const EVENTS: u32 = 20_000;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("manifests")).expect("a folder");
    std::fs::write(folder.path().join("manifests/noop.yaml"), "id: noop\ncommand: [/bin/true]\n").expect("a manifest");
    let chains = |node: u32, text: &mut String| {
        if node >= RUNNING {
            let _ = write!(text, ",\"needs\":\"n{}\"", node - RUNNING);
        }
    };
    let requests = |node: u32, text: &mut String| {
        let _ = write!(text, ",\"resources\":{{\"memory\":{}}}", 1_000_000 + u64::from(node * 7919 % 100_003));
    };
    // Half of the places and processors stay free: every decision looks for smaller nodes that may pass the first one.
    let memory = u64::from(RUNNING) * 1_050_000;
    measure("waiting for room, all alike", &definition(folder.path(), |_, _| {}), (RUNNING, 1 << 40));
    measure("waiting for room, each with a request of its own", &definition(folder.path(), requests), (RUNNING, 1 << 40));
    measure("waiting for each other", &definition(folder.path(), chains), (RUNNING, 1 << 40));
    measure("behind a node for which room is kept", &definition(folder.path(), requests), (2 * RUNNING, memory));
}

/// A pipeline of many nodes; `more` adds to each.
fn definition(folder: &std::path::Path, more: impl Fn(u32, &mut String)) -> Arc<Definition> {
    let mut text = String::from("{\"nodes\":{\n");
    for node in 0..WAITING + RUNNING {
        let _ = write!(text, "{}\"n{node}\":{{\"module\":\"noop\"", if node > 0 { ",\n" } else { "" });
        more(node, &mut text);
        text.push('}');
    }
    text.push_str("}}");
    let file = folder.join("large.json");
    std::fs::write(&file, text).expect("a pipeline");
    let catalog = Catalog::load(&Workspace::at(folder).expect("a workspace")).expect("settings");
    catalog.pipeline_once(&file).expect("a pipeline").0
}

fn measure(what: &str, definition: &Arc<Definition>, (places, memory): (u32, u64)) {
    let capacity = Capacity {
        cpus: CpuMillis(u64::from(places) * 1000),
        memory: Bytes(memory),
        gpus: Vec::new(),
        custom: BTreeMap::new(),
        max_concurrent: places,
    };
    let mut dice = Dice::new(1);
    let behaviour = Box::new(move |_: &prismq::scheduler::StartOrder| Ending::after(DurationMs(1_000_000 + dice.roll(1_000_000))));
    let mut simulation = Simulation::new(capacity, Durations::default(), behaviour);
    let id = RunId::new(Timestamp::from_micros(0), 1);
    simulation.submit_at(DurationMs(0), RunState::new(id, definition.clone(), Arc::new(json!({})), String::new()));
    let begun = Instant::now();
    simulation.step().expect("the first starts");
    let first = begun.elapsed();
    let started = simulation.spans().len();
    let mut longest = Duration::ZERO;
    let begun = Instant::now();
    let ended = |simulation: &Simulation<'_>| simulation.spans().len() - started;
    while ended(&simulation) < EVENTS as usize {
        let one = Instant::now();
        simulation.step().expect("an end");
        longest = longest.max(one.elapsed());
    }
    let each = begun.elapsed() / EVENTS;
    println!("{what}: {each:?} an event, {longest:?} at most; the first {started} starts in {first:?}");
}
