//! What attempts of each module usually take: time, and what else was measured. Learned from those that completed.
//!
//! A mean for the order of nodes, and the last samples for everything that a mean cannot tell (`samples.rs`). Whoever applies events
//! teaches it (`World`, and the host at the end of a run); snapshots and ends of runs carry it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::ModuleId;
use crate::request::NodeSettings;
use crate::run::{ExpectedUse, RunState};
use crate::units::DurationMs;

use super::samples::{Sample, Samples};

/// Means and samples by module. Part of the snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Durations {
    modules: BTreeMap<ModuleId, Mean>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mean {
    count: u64,
    total_ms: u64,
    /// Not in snapshots of the first versions.
    #[serde(default, skip_serializing_if = "Samples::is_empty")]
    used: Samples,
}

/// Attempts of a module that a run is asked for samples of, at most.
const SAMPLED_MAX: usize = 1_000;

/// Attempts after which older ones count half as much, so that the mean follows a module that changes.
const MEMORY: u64 = 64;

impl Durations {
    /// What a run teaches: the last attempt of each of its nodes, if it completed. Of a module that ran more often than anybody remembers
    /// only the last nodes are asked for what they used.
    #[must_use]
    pub fn of_run(run: &RunState) -> Self {
        let mut learned = Self::default();
        let mut sampled: BTreeMap<ModuleId, usize> = BTreeMap::new();
        for (index, node) in run.nodes().rev() {
            let Some(record) = node.record() else { continue };
            let (Some(module), Some(end)) = (run.module(index), record.attempts().last().and_then(|last| last.end.as_ref())) else {
                continue;
            };
            if end.failure.is_some() || end.stopped.is_some() {
                continue;
            }
            learned.learn(&module.id, end.duration);
            let count = sampled.entry(module.id.clone()).or_default();
            if *count < SAMPLED_MAX && !module.is_made_up() {
                *count += 1;
                let sample = Sample::new(end.at, end.duration, end.cpu, end.peak_memory).with_vram(end.peak_vram);
                learned.learn_use(&module.id, &module.params.bucket(record.params()), sample);
            }
        }
        learned
    }

    /// Learns from a completed attempt.
    pub fn learn(&mut self, module: &ModuleId, took: DurationMs) {
        let mean = self.modules.entry(module.clone()).or_default();
        mean.count += 1;
        mean.total_ms = mean.total_ms.saturating_add(took.0);
        if mean.count >= MEMORY {
            mean.count /= 2;
            mean.total_ms /= 2;
        }
    }

    /// Learns what a completed attempt used. Learned twice it counts once.
    pub fn learn_use(&mut self, module: &ModuleId, bucket: &str, sample: Sample) {
        self.modules.entry(module.clone()).or_default().used.learn(bucket, sample);
    }

    /// What the last attempts of a module used, if that is known.
    #[must_use]
    pub fn used(&self, module: &ModuleId) -> Option<&Samples> {
        self.modules.get(module).map(|mean| &mean.used).filter(|used| !used.is_empty())
    }

    /// What an attempt of a module may be expected to need, once enough of them were seen. `bucket` is asked for only where it matters.
    #[must_use]
    pub fn expected_use(&self, module: &ModuleId, bucket: &dyn Fn() -> Option<String>) -> ExpectedUse {
        let Some(used) = self.used(module) else { return ExpectedUse::default() };
        let whole = ExpectedUse { memory: used.memory_request(None), vram: used.vram_request(None) };
        let Some(bucket) = Some(whole).filter(|whole| *whole != ExpectedUse::default()).and_then(|_| bucket()) else { return whole };
        ExpectedUse { memory: used.memory_request(Some(&bucket)).or(whole.memory), vram: used.vram_request(Some(&bucket)).or(whole.vram) }
    }

    /// Learns what another host learned.
    pub fn merge(&mut self, others: &Self) {
        for (module, other) in &others.modules {
            let mean = self.modules.entry(module.clone()).or_default();
            mean.count += other.count;
            mean.total_ms = mean.total_ms.saturating_add(other.total_ms);
            mean.used.merge(&other.used);
            while mean.count >= MEMORY {
                mean.count /= 2;
                mean.total_ms /= 2;
            }
        }
    }

    /// The mean of a module, if an attempt of it ever completed.
    #[must_use]
    pub fn of(&self, module: &ModuleId) -> Option<DurationMs> {
        self.modules.get(module).filter(|mean| mean.count > 0).map(|mean| DurationMs(mean.total_ms / mean.count.max(1)))
    }

    /// How long an attempt of a node is expected to take: what its author says, else what was learned of its module.
    #[must_use]
    pub fn expected(&self, module: &ModuleId, settings: &NodeSettings) -> Option<DurationMs> {
        settings.duration.or_else(|| self.of(module))
    }

    /// By how many thousandths an attempt may take longer or shorter than expected, as far as the last ones tell: what 95 of 100 stayed
    /// within of the middle one. 0 where fewer than two were measured.
    #[must_use]
    pub fn spread(&self, module: &ModuleId) -> u64 {
        let Some(wall) = self.used(module).map(|used| used.usage()).filter(|usage| usage.attempts > 1).map(|usage| usage.wall_ms) else {
            return 0;
        };
        let off = wall.p95.0.saturating_sub(wall.p50.0);
        off.saturating_mul(1000).checked_div(wall.p50.0).unwrap_or(0).min(1000)
    }

    /// What an attempt of a node weighs against others: what is expected of it, or the mean of all modules where nothing is known of it,
    /// or 1 where nothing is known at all.
    #[must_use]
    pub fn weight(&self, module: &ModuleId, settings: &NodeSettings) -> u64 {
        let overall = || {
            let sum: u64 = self.modules.keys().filter_map(|module| self.of(module)).fold(0, |sum, mean| sum.saturating_add(mean.0));
            DurationMs(sum / (self.modules.len() as u64).max(1))
        };
        settings.duration.unwrap_or_else(|| DurationMs(self.of(module).unwrap_or_else(overall).0.max(1))).0
    }

    /// Whether nothing was learned yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    #[test]
    fn what_the_first_versions_wrote_is_read_and_stays_short() {
        let old = r#"{"a":{"count":2,"total_ms":30}}"#;
        let durations: Durations = serde_json::from_str(old).expect("the old form");
        let module = ModuleId::parse("a").expect("an id");
        assert_eq!((durations.of(&module), durations.used(&module)), (Some(DurationMs(15)), None));
        assert_eq!(serde_json::to_string(&durations).expect("JSON"), old);
    }

    #[test]
    fn what_a_run_used_is_learned_once() {
        let module = ModuleId::parse("a").expect("an id");
        let mut durations = Durations::default();
        for at in 0..5 {
            let at = crate::units::Timestamp::from_micros(at);
            durations.learn_use(&module, "n=1e0", Sample::new(at, DurationMs(5), Some(DurationMs(4)), Some(Bytes(1 << 20))));
        }
        let text = serde_json::to_string(&durations).expect("JSON");
        assert!(text.contains(r#""n=1e0":[{"at":0,"wall":5,"cpu":4,"memory":1048576}"#), "{text}");
        let read: Durations = serde_json::from_str(&text).expect("what it wrote");
        durations.merge(&read);
        assert_eq!(durations, read);
        assert_eq!(durations.expected_use(&module, &|| None), ExpectedUse { memory: Some(Bytes(1_310_720)), vram: None });
        assert_eq!(durations.of(&module), None, "samples alone are no mean");
    }

    #[test]
    fn how_far_a_module_may_be_off_is_what_its_samples_say() {
        let module = ModuleId::parse("a").expect("an id");
        let of = |walls: &[u64]| {
            let mut durations = Durations::default();
            for (at, wall) in walls.iter().enumerate() {
                let at = crate::units::Timestamp::from_micros(i64::try_from(at).expect("a small number"));
                durations.learn_use(&module, "", Sample::new(at, DurationMs(*wall), None, None));
            }
            durations.spread(&module)
        };
        assert_eq!([of(&[]), of(&[700]), of(&[100, 100, 100]), of(&[0, 0])], [0; 4]);
        assert_eq!(of(&[90, 100, 130]), 300, "upwards of the middle one");
        assert_eq!(of(&[1, 1, 1000]), 1000, "never more than once as much");
    }

    #[test]
    fn the_mean_follows_a_module_that_became_slower() {
        let module = ModuleId::parse("a").expect("an id");
        let mut durations = Durations::default();
        assert_eq!(durations.of(&module), None);
        durations.learn(&module, DurationMs(10));
        durations.learn(&module, DurationMs(20));
        assert_eq!(durations.of(&module), Some(DurationMs(15)));
        (0..1000).for_each(|_| durations.learn(&module, DurationMs(1000)));
        assert!(durations.of(&module).is_some_and(|mean| mean.0 > 950));
    }
}
