//! When a sample is due, and what it says: the host's side of the time series. Decides by times that come in.

use std::collections::BTreeMap;

use super::super::machine::CpuTimes;
use super::super::measure::running;
use super::super::turn::Turn;
use super::sample::{RUNS_MAX, RunUse, Sample};
use crate::ids::{AttemptId, RunId};
use crate::resources::Usage;
use crate::units::{DurationMs, Mono};

/// Between two samples.
pub(super) const EVERY: DurationMs = DurationMs(5_000);
/// What ended sooner is not worth a look at the machine.
const FIRST_AFTER: DurationMs = DurationMs(1_000);
/// What still runs by then may use a GPU that it did not ask for: the driver is asked, once.
const GPUS_AFTER: DurationMs = DurationMs(5_000);

/// Knows when something began to run and when the last sample was taken.
#[derive(Debug, Default)]
pub(in crate::host) struct Recorder {
    busy_since: Option<Mono>,
    sampled: Option<Mono>,
    /// Processor times of the last sample.
    last: Option<(Mono, CpuTimes)>,
}

/// What attempts used since the last sample.
#[derive(Debug, Default)]
pub(in crate::host) struct Spent {
    /// Processors by attempt, in thousandths.
    attempts: BTreeMap<AttemptId, u64>,
    /// Of all attempts; not known at the first look.
    ours: Option<u64>,
    /// Of everybody else.
    others: Option<u64>,
}

impl Recorder {
    /// Call whenever attempts may have started or ended.
    pub(in crate::host) fn follow(&mut self, runs: bool, now: Mono) {
        if runs {
            self.busy_since.get_or_insert(now);
        } else if self.sampled.is_none() {
            *self = Self::default();
        }
    }

    /// When the next sample is due. After the last attempt one more is: that nothing runs any more.
    pub(in crate::host) fn due(&self, runs: bool) -> Option<Mono> {
        match (runs, self.busy_since, self.sampled) {
            (true, Some(since), None) => Some(since.plus(FIRST_AFTER)),
            (true, Some(_), Some(last)) => Some(last.plus(EVERY)),
            (false, _, Some(_)) => Some(Mono(0)),
            (true, None, _) | (false, _, None) => None,
        }
    }

    /// Whether something runs for so long that the driver of GPUs is worth asking.
    pub(in crate::host) fn wants_gpus(&self, now: Mono) -> bool {
        self.busy_since.is_some_and(|since| since.plus(GPUS_AFTER) <= now)
    }

    /// Takes the processor times of a look that becomes a sample.
    pub(in crate::host) fn sampled(&mut self, runs: bool, times: CpuTimes, now: Mono) -> Spent {
        let spent = self.last.as_ref().map(|(then, before)| spent(before, &times, now.0.saturating_sub(then.0))).unwrap_or_default();
        if runs {
            self.sampled = Some(now);
            self.last = Some((now, times));
        } else {
            *self = Self::default();
        }
        spent
    }
}

/// Thousandths of a processor between two looks `apart` milliseconds from each other.
fn spent(before: &CpuTimes, after: &CpuTimes, apart: u64) -> Spent {
    if apart == 0 {
        return Spent::default();
    }
    let rate = |ms: u64| ms.saturating_mul(1000) / apart;
    // An attempt that is new since began at nothing.
    let of = |(id, now): (&AttemptId, &DurationMs)| {
        let then = before.attempts.get(id).copied().unwrap_or_default();
        (id.clone(), rate(now.0.saturating_sub(then.0)))
    };
    let attempts: BTreeMap<AttemptId, u64> = after.attempts.iter().map(of).collect();
    let ours = attempts.values().sum::<u64>();
    let busy = before.busy.zip(after.busy).map(|(then, now)| rate(now.0.saturating_sub(then.0)));
    Spent { ours: Some(ours), others: busy.map(|busy| busy.saturating_sub(ours)), attempts }
}

impl Turn {
    /// A look at the machine as a sample.
    pub(in crate::host) fn sample(&self, used: &BTreeMap<AttemptId, Usage>, spent: &Spent) -> Sample {
        let mut runs: BTreeMap<RunId, RunUse> = BTreeMap::new();
        for (id, grant) in running(&self.world) {
            let entry = runs.entry(id.run.clone()).or_insert_with(|| RunUse {
                run_id: id.run.clone(),
                nodes: 0,
                cpus: 0,
                cpus_used: None,
                memory: 0,
                memory_used: 0,
                vram: 0,
                vram_used: 0,
            });
            entry.nodes += 1;
            entry.cpus += grant.cpus.0;
            entry.memory += grant.memory.0;
            entry.vram += grant.devices.iter().map(|device| device.vram.0).sum::<u64>();
            if let Some(used) = used.get(&id) {
                entry.memory_used += used.memory.0;
                entry.vram_used += used.vram.values().map(|vram| vram.0).sum::<u64>();
            }
            if let Some(cpus) = spent.attempts.get(&id) {
                entry.cpus_used = Some(entry.cpus_used.unwrap_or(0) + cpus);
            }
        }
        let mut runs: Vec<RunUse> = runs.into_values().collect();
        runs.sort_by_key(|run| std::cmp::Reverse((run.vram, run.memory.max(run.memory_used), run.cpus)));
        runs.truncate(RUNS_MAX);
        let memory = used.values().map(|used| used.memory.0).sum();
        Sample::of(self.clock.now().wall, &self.resources_view(), (spent.ours, spent.others), memory, runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AttemptNumber, NodeIndex};
    use crate::run::testing::run_id;

    #[test]
    fn nobody_looks_while_nothing_runs_and_once_more_at_the_end() {
        let mut recorder = Recorder::default();
        recorder.follow(false, Mono(5));
        assert_eq!(recorder.due(false), None);
        recorder.follow(true, Mono(10_000));
        recorder.follow(true, Mono(10_400));
        assert_eq!((recorder.due(true), recorder.wants_gpus(Mono(11_000))), (Some(Mono(11_000)), false));
        // It was short.
        recorder.follow(false, Mono(10_500));
        assert_eq!(recorder.due(false), None);
        recorder.follow(true, Mono(20_000));
        recorder.sampled(true, CpuTimes::default(), Mono(21_000));
        assert_eq!((recorder.due(true), recorder.wants_gpus(Mono(25_000))), (Some(Mono(26_000)), true));
        recorder.follow(false, Mono(22_000));
        assert_eq!(recorder.due(false), Some(Mono(0)));
        recorder.sampled(false, CpuTimes::default(), Mono(22_100));
        assert_eq!((recorder.due(false), recorder.wants_gpus(Mono(99_000))), (None, false));
    }

    #[test]
    fn processors_are_counted_between_two_looks() {
        let id = |node| AttemptId { run: run_id(1), node: NodeIndex(node), attempt: AttemptNumber(1) };
        let times = |busy, attempts: &[(u32, u64)]| CpuTimes {
            busy: Some(DurationMs(busy)),
            attempts: attempts.iter().map(|(node, ms)| (id(*node), DurationMs(*ms))).collect(),
        };
        let mut recorder = Recorder::default();
        let first = recorder.sampled(true, times(100_000, &[(1, 7_000)]), Mono(1_000));
        assert_eq!((first.ours, first.others), (None, None));
        let second = recorder.sampled(true, times(120_000, &[(1, 12_000), (2, 2_500)]), Mono(6_000));
        assert_eq!((second.ours, second.others), (Some(1_500), Some(2_500)));
        assert_eq!(second.attempts[&id(1)], 1_000);
        // A number that went back, as where a process was given another's, is none.
        let third = recorder.sampled(true, times(121_000, &[(1, 3)]), Mono(7_000));
        assert_eq!((third.ours, third.others), (Some(0), Some(1_000)));
    }
}
