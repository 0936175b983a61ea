//! How long attempts of each module usually take, learned from those that completed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::ModuleId;
use crate::request::NodeSettings;
use crate::units::DurationMs;

/// Means by module. Part of the snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Durations {
    modules: BTreeMap<ModuleId, Mean>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mean {
    count: u64,
    total_ms: u64,
}

/// Attempts after which older ones count half as much, so that the mean follows a module that changes.
const MEMORY: u64 = 64;

impl Durations {
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

    /// Learns what another host learned.
    pub fn merge(&mut self, others: &Self) {
        for (module, other) in &others.modules {
            let mean = self.modules.entry(module.clone()).or_default();
            mean.count += other.count;
            mean.total_ms = mean.total_ms.saturating_add(other.total_ms);
            while mean.count >= MEMORY {
                mean.count /= 2;
                mean.total_ms /= 2;
            }
        }
    }

    /// The mean of a module, if an attempt of it ever completed.
    #[must_use]
    pub fn of(&self, module: &ModuleId) -> Option<DurationMs> {
        self.modules.get(module).map(|mean| DurationMs(mean.total_ms / mean.count.max(1)))
    }

    /// How long an attempt of a node is expected to take: what its author says, else what was learned of its module.
    #[must_use]
    pub fn expected(&self, module: &ModuleId, settings: &NodeSettings) -> Option<DurationMs> {
        settings.duration.or_else(|| self.of(module))
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
