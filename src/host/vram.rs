//! The most memory of a GPU that each attempt was seen to use.
//!
//! Where the driver tells what each process uses, that counts. Where it does not (Windows with a display attached), what a GPU has in use
//! beyond what it had before is that of the attempt that holds it, but only while it is the only one of ours on it. Pure: readings come in.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::AttemptId;
use crate::resources::{GpuReading, Reading, Usage};
use crate::units::Bytes;

/// Peaks by attempt.
#[derive(Debug, Default)]
pub(super) struct Peaks {
    /// What was in use of each GPU when none of our attempts held any of it.
    idle: BTreeMap<String, Bytes>,
    attempts: BTreeMap<AttemptId, Peak>,
}

#[derive(Debug, Default)]
struct Peak {
    /// As the driver tells it, by GPU.
    told: BTreeMap<String, Bytes>,
    /// As the difference of the whole GPU.
    difference: Bytes,
    /// Others of ours were on its GPU: the difference is nobody's.
    shared: bool,
}

/// An attempt that runs, and the GPUs that it was granted.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) id: AttemptId,
    pub(super) gpus: Vec<String>,
}

impl Peaks {
    /// Takes a look at the machine. `holders` are all attempts that run.
    pub(super) fn note(&mut self, reading: &Reading, used: &[(AttemptId, Usage)], holders: &[Holder]) {
        // One that ended while somebody looked was taken already, and one that was given up never will be.
        let run: BTreeSet<&AttemptId> = holders.iter().map(|holder| &holder.id).collect();
        self.attempts.retain(|id, _| run.contains(id));
        for (id, usage) in used.iter().filter(|(id, usage)| !usage.vram.is_empty() && run.contains(id)) {
            let peak = self.attempts.entry(id.clone()).or_default();
            for (gpu, vram) in &usage.vram {
                let most = peak.told.entry(gpu.clone()).or_default();
                *most = (*most).max(*vram);
            }
        }
        for (gpu, reading) in &reading.gpus {
            match reading {
                GpuReading::Seen { used, by_process: false, .. } => self.note_whole(gpu, *used, holders),
                GpuReading::Seen { by_process: true, .. } | GpuReading::Lost => {}
            }
        }
    }

    fn note_whole(&mut self, gpu: &str, used: Bytes, holders: &[Holder]) {
        let on_it: Vec<&Holder> = holders.iter().filter(|holder| holder.gpus.iter().any(|held| held == gpu)).collect();
        match on_it.as_slice() {
            [] => drop(self.idle.insert(gpu.to_owned(), used)),
            [alone] => {
                let Some(idle) = self.idle.get(gpu) else { return };
                let difference = Bytes(used.0.saturating_sub(idle.0));
                let peak = self.attempts.entry(alone.id.clone()).or_default();
                peak.difference = peak.difference.max(difference);
            }
            several => several.iter().for_each(|holder| self.attempts.entry(holder.id.clone()).or_default().shared = true),
        }
    }

    /// The most that an attempt used of one GPU, as far as that was seen; it has ended. Of one that was granted no GPU and used several
    /// nothing is told: what it needs of one of them nobody knows.
    pub(super) fn take(&mut self, id: &AttemptId, granted: bool) -> Option<Bytes> {
        let peak = self.attempts.remove(id)?;
        let told = peak.told.values().max().copied().filter(|_| granted || peak.told.len() == 1);
        let difference = Some(peak.difference).filter(|_| peak.told.is_empty() && !peak.shared);
        told.or(difference).filter(|most| most.0 > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AttemptNumber, NodeIndex};
    use crate::run::testing::run_id;

    const GIB: u64 = 1 << 30;

    fn id(node: u32) -> AttemptId {
        AttemptId { run: run_id(1), node: NodeIndex(node), attempt: AttemptNumber(1) }
    }

    fn holder(node: u32, gpus: &[&str]) -> Holder {
        Holder { id: id(node), gpus: gpus.iter().map(|gpu| (*gpu).to_owned()).collect() }
    }

    fn reading(used: u64, by_process: bool) -> Reading {
        let seen = GpuReading::Seen { used: Bytes(used * GIB), free: Bytes((24 - used) * GIB), by_process };
        Reading { memory: None, gpus: BTreeMap::from([("A".to_owned(), seen)]) }
    }

    fn uses(node: u32, vram: &[(&str, u64)]) -> (AttemptId, Usage) {
        let vram = vram.iter().map(|(gpu, gib)| ((*gpu).to_owned(), Bytes(gib * GIB))).collect();
        (id(node), Usage { memory: Bytes(0), vram })
    }

    #[test]
    fn what_the_driver_tells_of_processes_counts_and_its_most() {
        let mut peaks = Peaks::default();
        let both = [holder(1, &["A"]), holder(2, &["A"])];
        for (one, two) in [(1, 2), (7, 3), (4, 9)] {
            peaks.note(&reading(20, true), &[uses(1, &[("A", one)]), uses(2, &[("A", two)])], &both);
        }
        assert_eq!((peaks.take(&id(1), true), peaks.take(&id(2), true)), (Some(Bytes(7 * GIB)), Some(Bytes(9 * GIB))));
        assert_eq!(peaks.take(&id(1), true), None, "it was taken");
    }

    #[test]
    fn a_difference_counts_only_for_one_that_is_alone() {
        let mut peaks = Peaks::default();
        let alone = [holder(1, &["A"]), holder(3, &[])];
        peaks.note(&reading(2, false), &[], &[]);
        peaks.note(&reading(2, false), &[], &alone);
        peaks.note(&reading(12, false), &[], &alone);
        peaks.note(&reading(9, false), &[], &alone);
        assert_eq!(peaks.take(&id(1), true), Some(Bytes(10 * GIB)));
        peaks.note(&reading(3, false), &[], &[]);
        assert!(peaks.attempts.is_empty(), "nobody else is left");
        peaks.note(&reading(8, false), &[], &[holder(4, &["A"])]);
        peaks.note(&reading(14, false), &[], &[holder(4, &["A"]), holder(5, &["A"])]);
        peaks.note(&reading(9, false), &[], &[holder(4, &["A"])]);
        assert_eq!((peaks.take(&id(4), true), peaks.take(&id(5), true)), (None, None), "nobody knows whose it was");
    }

    #[test]
    fn without_a_look_before_it_nothing_is_told() {
        let mut peaks = Peaks::default();
        peaks.note(&reading(12, false), &[], &[holder(1, &["A"])]);
        assert_eq!(peaks.take(&id(1), true), None);
    }

    #[test]
    fn two_that_have_not_loaded_yet_are_told_apart_once_they_have() {
        let mut peaks = Peaks::default();
        let both = [holder(1, &["A"]), holder(2, &["A"])];
        // No process is on the card, so that the driver tells of none.
        peaks.note(&reading(1, false), &[], &both);
        peaks.note(&reading(9, true), &[uses(1, &[("A", 5)]), uses(2, &[("A", 3)])], &both);
        assert_eq!((peaks.take(&id(1), true), peaks.take(&id(2), true)), (Some(Bytes(5 * GIB)), Some(Bytes(3 * GIB))));
    }

    #[test]
    fn what_was_granted_no_gpu_teaches_by_one_and_not_by_several() {
        let mut peaks = Peaks::default();
        peaks.note(&reading(9, true), &[uses(1, &[("A", 5)]), uses(2, &[("A", 3), ("B", 1)])], &[holder(1, &[]), holder(2, &[])]);
        assert_eq!((peaks.take(&id(1), false), peaks.take(&id(2), false)), (Some(Bytes(5 * GIB)), None));
        // One that ended while somebody looked leaves nothing behind.
        peaks.note(&reading(9, true), &[uses(3, &[("A", 5)])], &[]);
        assert!(peaks.attempts.is_empty());
    }
}
