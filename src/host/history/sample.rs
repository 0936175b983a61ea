//! One sample, and several as one. Words and arithmetic only.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::resources_view::{MemoryView, ResourcesView};
use crate::ids::RunId;
use crate::units::{DurationMs, Timestamp};

/// How the machine stood.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// When. Of several in one: the first.
    pub at: Timestamp,
    /// Nodes that ran.
    #[serde(default)]
    pub nodes: u32,
    /// Processors, in thousandths.
    #[serde(default)]
    pub cpus: Level,
    /// Memory, in bytes.
    #[serde(default)]
    pub memory: Level,
    /// Memory of GPUs by UUID, in bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vram: BTreeMap<String, Level>,
    /// Counted resources by name, in thousandths.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom: BTreeMap<String, Level>,
    /// Runs with running nodes, those that hold most first; no more than 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunUse>,
}

/// How one resource stood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Level {
    /// All of it.
    #[serde(default)]
    pub total: u64,
    /// Kept for the person at the machine.
    #[serde(default)]
    pub reserved: u64,
    /// Held by running nodes.
    #[serde(default)]
    pub held: u64,
    /// Really used by them; left out where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// Used by everybody else; left out where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<u64>,
    /// What a new node could have.
    #[serde(default)]
    pub free: u64,
}

/// What one run had of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunUse {
    /// Its id.
    pub run_id: RunId,
    /// Nodes of it that ran.
    pub nodes: u32,
    /// Processors that they held, in thousandths.
    #[serde(default)]
    pub cpus: u64,
    /// Processors that they used, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus_used: Option<u64>,
    /// Memory that they held, in bytes.
    #[serde(default)]
    pub memory: u64,
    /// Memory that they used, in bytes.
    #[serde(default)]
    pub memory_used: u64,
    /// Memory of GPUs that they held, in bytes.
    #[serde(default)]
    pub vram: u64,
    /// Memory of GPUs that they used, as far as the driver tells, in bytes.
    #[serde(default)]
    pub vram_used: u64,
}

/// Samples of some time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// Since when.
    pub since: Timestamp,
    /// Between two samples while something runs, in milliseconds; where many are joined into one, more.
    pub every_ms: DurationMs,
    /// The oldest first. There is none of times at which nothing ran.
    pub samples: Vec<Sample>,
}

/// Most runs in a sample.
pub(super) const RUNS_MAX: usize = 16;

impl Sample {
    /// From what `resources` shows. What nodes really use is that of the look and not cut at what they hold.
    pub(super) fn of(at: Timestamp, view: &ResourcesView, cpus: (Option<u64>, Option<u64>), memory: u64, runs: Vec<RunUse>) -> Self {
        let vram = view.gpus.iter().map(|gpu| (gpu.uuid.clone(), Level::of(&gpu.vram, gpu.vram.used_by_nodes.0)));
        let custom = view.custom.iter().map(|(name, custom)| {
            let level = Level { total: custom.capacity.0, held: custom.held.0, free: custom.free.0, ..Level::default() };
            (name.clone(), level)
        });
        Self {
            at,
            nodes: view.places.held,
            cpus: Level {
                total: view.cpus.detected.0,
                reserved: view.cpus.detected.0.saturating_sub(view.cpus.capacity.0),
                held: view.cpus.held.0,
                used: cpus.0,
                others: cpus.1,
                free: view.cpus.free.0,
            },
            memory: Level::of(&view.memory, memory),
            vram: vram.collect(),
            custom: custom.collect(),
            runs,
        }
    }

    /// Takes one that follows into this one: the most that was held and used, the least that was free.
    pub(super) fn join(&mut self, next: Self) {
        self.nodes = self.nodes.max(next.nodes);
        self.cpus.join(next.cpus);
        self.memory.join(next.memory);
        join_all(&mut self.vram, next.vram);
        join_all(&mut self.custom, next.custom);
        for run in next.runs {
            if let Some(known) = self.runs.iter_mut().find(|known| known.run_id == run.run_id) {
                known.join(&run);
            } else if self.runs.len() < RUNS_MAX {
                self.runs.push(run);
            }
        }
    }
}

fn join_all(levels: &mut BTreeMap<String, Level>, next: BTreeMap<String, Level>) {
    for (name, level) in next {
        levels.entry(name).and_modify(|known| known.join(level)).or_insert(level);
    }
}

impl Level {
    fn of(view: &MemoryView, used: u64) -> Self {
        // What nodes use beyond what they hold the view counts for others.
        let beyond = used.saturating_sub(view.used_by_nodes.0);
        Self {
            total: view.detected.0,
            reserved: view.reserved.0,
            held: view.held.0,
            used: Some(used),
            others: view.used_by_others.map(|others| others.0.saturating_sub(beyond)),
            free: view.free.0,
        }
    }

    fn join(&mut self, next: Self) {
        *self = Self {
            total: self.total.max(next.total),
            reserved: self.reserved.max(next.reserved),
            held: self.held.max(next.held),
            used: self.used.max(next.used),
            others: self.others.max(next.others),
            free: self.free.min(next.free),
        };
    }
}

impl RunUse {
    /// The most of both.
    pub fn join(&mut self, next: &Self) {
        self.nodes = self.nodes.max(next.nodes);
        self.cpus = self.cpus.max(next.cpus);
        self.cpus_used = self.cpus_used.max(next.cpus_used);
        self.memory = self.memory.max(next.memory);
        self.memory_used = self.memory_used.max(next.memory_used);
        self.vram = self.vram.max(next.vram);
        self.vram_used = self.vram_used.max(next.vram_used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    #[test]
    fn what_nodes_use_beyond_what_they_hold_is_theirs() {
        let view = MemoryView {
            detected: Bytes(100),
            reserved: Bytes(10),
            held: Bytes(20),
            used_by_nodes: Bytes(20),
            used_by_others: Some(Bytes(50)),
            free: Bytes(30),
            ..MemoryView::default()
        };
        let level = Level::of(&view, 45);
        assert_eq!(level, Level { total: 100, reserved: 10, held: 20, used: Some(45), others: Some(25), free: 30 });
    }

    #[test]
    fn several_become_one_by_the_most_held_and_the_least_free() {
        let level = |held, used, free| Level { total: 10, held, used, free, ..Level::default() };
        let sample = |held, used, free| Sample {
            custom: BTreeMap::from([("api".to_owned(), level(held, used, free))]),
            memory: level(held, used, free),
            ..Sample::default()
        };
        let mut one = sample(1, Some(5), 9);
        one.join(sample(4, None, 3));
        assert_eq!((one.memory, one.custom["api"]), (level(4, Some(5), 3), level(4, Some(5), 3)));
    }

    #[test]
    fn a_sample_of_an_earlier_or_later_version_is_read() {
        let read: Sample =
            serde_json::from_str(r#"{"at":"2026-11-20T10:00:00Z","memory":{"held":3},"of a later one":1}"#).expect("a sample");
        assert_eq!((read.memory.held, read.vram.len(), read.cpus.used), (3, 0, None));
    }
}
