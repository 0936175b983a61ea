//! Random scenarios through the real scheduler: how many a second.
//!
//! `cargo bench --bench simulate`. Each is another machine and another graph of up to forty nodes with requests and durations of
//! their own, all by its seed. Mark: 1,000 a second.
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

const SCENARIOS: u64 = 5_000;
const GRAPHS: u64 = 50;
const NODES_MAX: u64 = 40;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("manifests")).expect("a folder");
    std::fs::write(folder.path().join("manifests/noop.yaml"), "id: noop\ncommand: [/bin/true]\n").expect("a manifest");
    let graphs: Vec<Arc<Definition>> = (0..GRAPHS).map(|seed| graph(folder.path(), seed)).collect();
    let (mut nodes, mut longest) = (0_usize, Duration::ZERO);
    let begun = Instant::now();
    for (seed, graph) in (0..SCENARIOS).zip(graphs.iter().cycle()) {
        let one = Instant::now();
        nodes += play(graph, seed);
        longest = longest.max(one.elapsed());
    }
    let took = begun.elapsed();
    let each = f64::from(u32::try_from(SCENARIOS).unwrap_or(u32::MAX)) / took.as_secs_f64();
    println!("{SCENARIOS} scenarios with {nodes} attempts in {took:?}: {each:.0} a second, {longest:?} at most");
}

/// A graph in which each node needs up to two earlier ones.
fn graph(folder: &std::path::Path, seed: u64) -> Arc<Definition> {
    let mut dice = Dice::new(seed);
    let mut text = String::from("{\"nodes\":{");
    for node in 0..=dice.roll(NODES_MAX) {
        let (cpus, memory) = (1 + dice.roll(4), dice.roll(8));
        let comma = if node > 0 { "," } else { "" };
        let _ = write!(text, "{comma}\"n{node}\":{{\"module\":\"noop\",\"resources\":{{\"cpus\":{cpus},\"memory\":\"{memory}GiB\"}}");
        let needs: std::collections::BTreeSet<u64> = (0..dice.roll(3)).filter(|_| node > 0).map(|_| dice.roll(node)).collect();
        let needs: Vec<String> = needs.into_iter().map(|node| format!("\"n{node}\"")).collect();
        let _ = write!(text, ",\"needs\":[{}]}}", needs.join(","));
    }
    text.push_str("}}");
    let file = folder.join(format!("graph{seed}.json"));
    std::fs::write(&file, text).expect("a pipeline");
    let catalog = Catalog::load(&Workspace::at(folder).expect("a workspace")).expect("settings");
    catalog.pipeline_once(&file).expect("a pipeline").0
}

/// Plays one to its end and gives the number of attempts.
fn play(graph: &Arc<Definition>, seed: u64) -> usize {
    let mut dice = Dice::new(seed ^ 0x5eed);
    let capacity = Capacity {
        cpus: CpuMillis((4 + dice.roll(13)) * 1000),
        memory: Bytes((8 + dice.roll(57)) << 30),
        gpus: Vec::new(),
        custom: BTreeMap::new(),
        max_concurrent: 10,
    };
    let behaviour = Box::new(move |_: &prismq::scheduler::StartOrder| Ending::after(DurationMs(1 + dice.roll(600_000))));
    let mut simulation = Simulation::new(capacity, Durations::default(), behaviour);
    let id = RunId::new(Timestamp::from_micros(0), 1);
    simulation.submit_at(DurationMs(0), RunState::new(id, graph.clone(), Arc::new(json!({})), String::new()));
    simulation.play().expect("it has room for every node");
    simulation.spans().len()
}
