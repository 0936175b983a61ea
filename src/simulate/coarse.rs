//! Bounds of pipelines that are too large to be played: the longest path and the areas, straight from the definition.

use std::collections::BTreeMap;

use crate::manifest::Module;
use crate::pipeline::analysis;
use crate::pipeline::definition::{Definition, Expansion, NodeDef, Work};
use crate::request::Request;
use crate::resources::Capacity;
use crate::units::DurationMs;

use super::bound::Bounds;
use super::model::least;

/// How long an attempt is expected to take.
pub type Expected<'e> = &'e dyn Fn(&NodeDef, &Module) -> u64;

/// The longest path, the areas, and the positions of the nodes on that path. Limits of modules and groups are left out.
#[must_use]
pub fn coarse(definition: &Definition, capacity: &Capacity, expected: Expected<'_>) -> (Bounds, Vec<u32>) {
    let mut lengths = BTreeMap::new();
    measure(definition, expected, &mut lengths);
    let (positions, path) = analysis::critical_path(definition, &|node| DurationMs(length(node, expected, &lengths)));
    let mut sums = Sums::default();
    sums.add(definition, 1, expected);
    let areas = [
        (sums.time, u64::from(capacity.max_concurrent), "places".to_owned()),
        (sums.cpus, capacity.cpus.0, "cpus".to_owned()),
        (sums.memory, capacity.memory.0, "memory".to_owned()),
    ];
    let custom = sums.custom.iter().map(|(name, sum)| {
        let all = capacity.custom.iter().find(|(known, _)| known.as_str() == name.as_str()).map_or(0, |(_, all)| all.0);
        (*sum, all, name.clone())
    });
    let needed = areas.into_iter().chain(custom).filter(|(_, all, _)| *all > 0);
    let area = needed.map(|(sum, all, name)| (u64::try_from(sum.div_ceil(u128::from(all))).unwrap_or(u64::MAX), name));
    let area = area.fold((0, String::new()), |most, next| if next.0 > most.0 { next } else { most });
    (Bounds { path: path.0, area, interval: None }, positions)
}

/// The longest way through each sub-pipeline, by its address.
fn measure(definition: &Definition, expected: Expected<'_>, lengths: &mut BTreeMap<*const Definition, u64>) {
    for node in &definition.nodes {
        if let Work::Pipeline(inner) = &node.work
            && !lengths.contains_key(&std::sync::Arc::as_ptr(inner))
        {
            measure(inner, expected, lengths);
            let (_, length) = analysis::critical_path(inner, &|node| DurationMs(length(node, expected, lengths)));
            lengths.insert(std::sync::Arc::as_ptr(inner), length.0);
        }
    }
}

fn length(node: &NodeDef, expected: Expected<'_>, lengths: &BTreeMap<*const Definition, u64>) -> u64 {
    match &node.work {
        Work::Module(module) => expected(node, module),
        Work::Pipeline(inner) => lengths.get(&std::sync::Arc::as_ptr(inner)).copied().unwrap_or(0),
    }
}

/// Amounts times milliseconds.
#[derive(Default)]
struct Sums {
    time: u128,
    cpus: u128,
    memory: u128,
    custom: BTreeMap<String, u128>,
}

impl Sums {
    fn add(&mut self, definition: &Definition, times: u64, expected: Expected<'_>) {
        for node in &definition.nodes {
            let times = times.saturating_mul(instances(node));
            match &node.work {
                Work::Module(module) => self.add_request(&least(&node.settings), times, expected(node, module)),
                Work::Pipeline(inner) => self.add(inner, times, expected),
            }
        }
    }

    fn add_request(&mut self, request: &Request, times: u64, duration: u64) {
        let time = u128::from(times).saturating_mul(u128::from(duration));
        let add = |sum: &mut u128, amount: u64| *sum = sum.saturating_add(time.saturating_mul(u128::from(amount)));
        add(&mut self.time, 1);
        add(&mut self.cpus, request.cpus.0);
        add(&mut self.memory, request.memory.0);
        for (name, amount) in &request.custom {
            add(self.custom.entry(name.to_string()).or_default(), amount.0);
        }
    }
}

fn instances(node: &NodeDef) -> u64 {
    match node.control.as_ref().and_then(|control| control.expansion.as_ref()) {
        None => 1,
        Some(Expansion::Matrix(matrix)) => matrix.count().unwrap_or(u64::MAX),
        Some(Expansion::ForEach(list)) => list.known_length().map_or(1, |length| length as u64),
    }
}
