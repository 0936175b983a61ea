//! What the last attempts of a module used, by bucket of their parameters, and what follows from it for the next ones.
//!
//! Kept as a set of the newest samples: to learn one twice changes nothing, and the order does not matter. So what is read back from
//! snapshots and ends of runs is the same, however often and in whatever order they tell it. Bounded: a fixed number of samples for each
//! of a fixed number of buckets. Knows no modules and no runs: [`Durations`](super::Durations) keeps one of these for each module.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units::{Bytes, DurationMs, Timestamp};

/// Samples that are kept of each bucket, the newest.
const SAMPLES_MAX: usize = 20;

/// Buckets that are kept of a module: those that were used last.
const BUCKETS_MAX: usize = 16;

/// Attempts after which what was learned counts as a request.
pub const ENOUGH: usize = 5;

/// What one completed attempt used. Peaks of further resources come beside `memory`: a sample that does not know one leaves it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sample {
    /// When it ended, in microseconds since 1970. With the rest of the sample it tells one attempt from another.
    at: i64,
    /// From its start to its end.
    pub wall: DurationMs,
    /// Time on processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<DurationMs>,
    /// Most memory of all its processes together, as far as that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Most memory of one GPU, as far as that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vram: Option<Bytes>,
}

impl Sample {
    /// Of an attempt that ended at `at`.
    #[must_use]
    pub fn new(at: Timestamp, wall: DurationMs, cpu: Option<DurationMs>, memory: Option<Bytes>) -> Self {
        Self { at: at.micros(), wall, cpu, memory, vram: None }
    }

    /// The same with what it used of a GPU.
    #[must_use]
    pub fn with_vram(self, vram: Option<Bytes>) -> Self {
        Self { vram, ..self }
    }
}

/// The newest samples of a module, by bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Samples {
    /// Each list in order, the oldest first.
    buckets: BTreeMap<String, Vec<Sample>>,
}

impl Samples {
    /// Learns a sample; one that is known already changes nothing.
    pub fn learn(&mut self, bucket: &str, sample: Sample) {
        if !self.buckets.contains_key(bucket) {
            self.buckets.insert(bucket.to_owned(), Vec::new());
        }
        if let Some(list) = self.buckets.get_mut(bucket) {
            insert(list, sample);
        }
        self.forget_old();
    }

    /// Learns what another host learned.
    pub fn merge(&mut self, others: &Self) {
        for (bucket, list) in &others.buckets {
            list.iter().for_each(|sample| self.learn(bucket, *sample));
        }
    }

    /// Whether nothing was learned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// What the last attempts used, of all buckets together.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut all: Vec<Sample> = self.buckets.values().flatten().copied().collect();
        all.sort_unstable();
        let from = all.len().saturating_sub(SAMPLES_MAX);
        Usage::of(&all[from..])
    }

    /// What the last attempts used, bucket by bucket in the order of their words.
    pub fn by_bucket(&self) -> impl Iterator<Item = (&str, Usage)> {
        self.buckets.iter().map(|(bucket, list)| (bucket.as_str(), Usage::of(list)))
    }

    /// What the last attempts of one bucket used, where they are enough to tell.
    #[must_use]
    pub fn of_bucket(&self, bucket: &str) -> Option<Usage> {
        self.buckets.get(bucket).filter(|list| list.len() >= ENOUGH).map(|list| Usage::of(list))
    }

    /// The memory that an attempt may be expected to need: 95 of 100 attempts and a fifth more, of the bucket where that is known well
    /// enough, else of the module.
    #[must_use]
    pub fn memory_request(&self, bucket: Option<&str>) -> Option<Bytes> {
        self.request(bucket, |usage| usage.memory)
    }

    /// The same of the memory of a GPU.
    #[must_use]
    pub fn vram_request(&self, bucket: Option<&str>) -> Option<Bytes> {
        self.request(bucket, |usage| usage.vram)
    }

    fn request(&self, bucket: Option<&str>, of: impl Fn(&Usage) -> Option<Spread<Bytes>>) -> Option<Bytes> {
        let own = bucket.and_then(|bucket| self.of_bucket(bucket)).and_then(|usage| of(&usage));
        own.or_else(|| of(&self.usage())).filter(|used| used.count >= ENOUGH).map(|used| advised(used.p95))
    }

    fn forget_old(&mut self) {
        while self.buckets.len() > BUCKETS_MAX {
            let oldest = self.buckets.iter().map(|(bucket, list)| (list.last().copied(), bucket)).min().map(|(_, bucket)| bucket.clone());
            if let Some(oldest) = oldest {
                self.buckets.remove(&oldest);
            }
        }
    }
}

fn insert(list: &mut Vec<Sample>, sample: Sample) {
    if let Err(at) = list.binary_search(&sample) {
        list.insert(at, sample);
        if list.len() > SAMPLES_MAX {
            list.remove(0);
        }
    }
}

/// What several attempts used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// How many attempts.
    pub attempts: usize,
    /// Run times, in milliseconds.
    pub wall_ms: Spread<DurationMs>,
    /// Time on processors, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<Spread<DurationMs>>,
    /// Peaks of memory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Spread<Bytes>>,
    /// Peaks of memory of one GPU, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vram: Option<Spread<Bytes>>,
}

/// Some values in a few numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Spread<T> {
    /// How many there are.
    pub count: usize,
    /// Half of them are at most this.
    pub p50: T,
    /// 95 of 100 are at most this.
    pub p95: T,
    /// The largest.
    pub max: T,
}

impl Usage {
    fn of(samples: &[Sample]) -> Self {
        let wall = spread(samples.iter().map(|sample| sample.wall));
        Self {
            attempts: samples.len(),
            wall_ms: wall.unwrap_or(Spread { count: 0, p50: DurationMs(0), p95: DurationMs(0), max: DurationMs(0) }),
            cpu_ms: spread(samples.iter().filter_map(|sample| sample.cpu)),
            memory: spread(samples.iter().filter_map(|sample| sample.memory)),
            vram: spread(samples.iter().filter_map(|sample| sample.vram)),
        }
    }
}

/// By the nearest rank: every number that is told was measured.
fn spread<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<Spread<T>> {
    let mut sorted: Vec<T> = values.collect();
    sorted.sort_unstable();
    let rank = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Some(Spread { count: sorted.len(), p50: rank(50)?, p95: rank(95)?, max: rank(100)? })
}

/// A fifth more than what was used, rounded up to an eighth of a power of two: near values become one request, which packs better and
/// is easier to read.
#[must_use]
pub fn advised(used: Bytes) -> Bytes {
    let wanted = used.0.saturating_add(used.0 / 5).max(1);
    let step = (1_u64 << wanted.ilog2()) >> 3;
    Bytes(if step == 0 { wanted } else { wanted.checked_next_multiple_of(step).unwrap_or(u64::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn sample(at: i64, memory: u64) -> Sample {
        Sample { at, wall: DurationMs(10), cpu: None, memory: Some(Bytes(memory)), vram: None }
    }

    #[test]
    fn a_request_comes_from_five_attempts_on() {
        let mut samples = Samples::default();
        for at in 0..4 {
            samples.learn("", sample(at, 100 * MIB));
        }
        assert_eq!(samples.memory_request(None), None);
        samples.learn("", sample(4, 100 * MIB));
        assert_eq!(samples.memory_request(None), Some(Bytes(120 * MIB)));
        assert_eq!(samples.memory_request(Some("other")), Some(Bytes(120 * MIB)), "too little is known of it: the module's");
    }

    #[test]
    fn a_bucket_that_is_known_speaks_for_itself() {
        let mut samples = Samples::default();
        for at in 0..5 {
            samples.learn("mode=fast", sample(at, 100 * MIB));
            samples.learn("mode=best", sample(at + 10, 1000 * MIB));
        }
        assert_eq!(samples.memory_request(Some("mode=fast")), Some(Bytes(120 * MIB)));
        assert_eq!(samples.memory_request(Some("mode=best")), samples.memory_request(None));
        assert_eq!(samples.usage().memory.map(|memory| (memory.count, memory.max)), Some((10, Bytes(1000 * MIB))));
    }

    #[test]
    fn memory_of_a_gpu_is_learned_beside_the_other() {
        let mut samples = Samples::default();
        for at in 0..5 {
            samples.learn("", sample(at, 100 * MIB).with_vram((at > 0).then_some(Bytes(1000 * MIB))));
        }
        assert_eq!((samples.memory_request(None), samples.vram_request(None)), (Some(Bytes(120 * MIB)), None));
        samples.learn("", sample(5, 100 * MIB).with_vram(Some(Bytes(1000 * MIB))));
        assert_eq!(samples.vram_request(Some("unknown")), Some(advised(Bytes(1000 * MIB))));
    }

    #[test]
    fn attempts_without_a_measure_do_not_count() {
        let mut samples = Samples::default();
        for at in 0..9 {
            samples.learn("", Sample { memory: (at > 5).then_some(Bytes(5)), ..sample(at, 0) });
        }
        assert_eq!((samples.memory_request(None), samples.usage().attempts), (None, 9));
    }

    #[test]
    fn samples_are_few_and_the_newest() {
        let mut samples = Samples::default();
        for at in 0..1000_i64 {
            samples.learn(&format!("n=1e{}", at / 50), sample(at, 1));
        }
        assert_eq!(samples.buckets.len(), BUCKETS_MAX);
        assert!(samples.buckets.values().all(|list| list.len() == SAMPLES_MAX));
        assert!(!samples.buckets.contains_key("n=1e3") && samples.buckets.contains_key("n=1e4"));
        assert_eq!(samples.usage().attempts, SAMPLES_MAX);
    }

    #[test]
    fn neither_order_nor_repetition_matters() {
        let mut all: Vec<(String, Sample)> = (0..60_i64).map(|at| (format!("b{}", at % 3), sample(at, 7))).collect();
        let mut forth = Samples::default();
        all.iter().for_each(|(bucket, sample)| forth.learn(bucket, *sample));
        all.reverse();
        let mut back = Samples::default();
        all.iter().for_each(|(bucket, sample)| back.learn(bucket, *sample));
        assert_eq!(forth, back);
        back.merge(&forth);
        assert_eq!(forth, back);
    }

    #[test]
    fn ranks_are_values_that_were_measured() {
        let of = |count: u64| spread((1..=count).map(Bytes)).map(|spread| (spread.p50.0, spread.p95.0, spread.max.0));
        assert_eq!((of(0), of(1), of(2), of(20)), (None, Some((1, 1, 1)), Some((1, 2, 2)), Some((10, 19, 20))));
    }

    #[test]
    fn advice_is_rounded_up() {
        let text = |mib: u64| advised(Bytes(mib * MIB)).to_string();
        assert_eq!([text(2150), text(100), text(1)], ["2.7 GiB", "120 MiB", "1.2 MiB"]);
        assert_eq!((advised(Bytes(0)), advised(Bytes(u64::MAX))), (Bytes(1), Bytes(u64::MAX)));
    }
}
