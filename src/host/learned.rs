//! What was learned of a module, for people: what its last attempts used, beside what its manifest declares.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scheduler::{self, Samples, Spread};
use crate::units::{Bytes, DurationMs};

/// What the last attempts of a module used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Learned {
    /// All of them together.
    #[serde(flatten)]
    pub usage: Usage,
    /// The memory that is set aside for an attempt where the manifest declares none; not known before enough attempts were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_request: Option<Bytes>,
    /// The same of the memory of a GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vram_request: Option<Bytes>,
    /// The same by kind and size of their parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<Bucket>,
}

/// Attempts with parameters of one kind and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bucket {
    /// Which, such as `count=1e1,mode=fast`.
    pub bucket: String,
    /// What they used.
    #[serde(flatten)]
    pub usage: Usage,
}

/// What some attempts used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// How many.
    pub attempts: usize,
    /// Their run times in milliseconds.
    pub wall_ms: Numbers,
    /// Their times on processors in milliseconds, where measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<Numbers>,
    /// Their peaks of memory in bytes, where measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Numbers>,
    /// Their peaks of memory of one GPU in bytes, where measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vram: Option<Numbers>,
}

/// Some measured values in a few numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Numbers {
    /// Half of them are at most this.
    pub p50: u64,
    /// 95 of 100 are at most this.
    pub p95: u64,
    /// The largest.
    pub max: u64,
}

impl Learned {
    pub(super) fn of(samples: &Samples) -> Self {
        let usage = Usage::of(samples.usage());
        let mut buckets: Vec<Bucket> =
            samples.by_bucket().map(|(bucket, usage)| Bucket { bucket: bucket.to_owned(), usage: Usage::of(usage) }).collect();
        // A single one says nothing that the whole does not say.
        buckets.retain(|bucket| bucket.usage != usage);
        Self { usage, memory_request: samples.memory_request(None), vram_request: samples.vram_request(None), buckets }
    }

    /// How what was used goes with what is declared, in a sentence; nothing where no memory was measured.
    #[must_use]
    pub fn advice(&self, declared: Bytes) -> Option<String> {
        self.put_side_by_side(declared, self.usage.memory, self.memory_request)
    }

    /// The same of the memory of a GPU.
    #[must_use]
    pub fn vram_advice(&self, declared: Bytes) -> Option<String> {
        self.put_side_by_side(declared, self.usage.vram, self.vram_request)
    }

    fn put_side_by_side(&self, declared: Bytes, used: Option<Numbers>, request: Option<Bytes>) -> Option<String> {
        let used = Bytes(used?.max);
        let runs = if self.usage.attempts == 1 { "in one run".to_owned() } else { format!("in the last {} runs", self.usage.attempts) };
        let better = scheduler::advised(used);
        let said = format!("used {used} at most {runs}");
        Some(match (declared, request) {
            (Bytes(0), Some(request)) => format!("declared none, {said}: {request} are set aside for it"),
            (Bytes(0), None) => format!("declared none, {said}: too few to set memory aside ({} are needed)", scheduler::ENOUGH),
            _ if better < Bytes(declared.0 / 5 * 4) => format!("declared {declared}, {said}: consider {better}"),
            _ if used.0 > declared.0 / 10 * 9 => format!("declared {declared}, {said}, which is close: consider {better}"),
            _ => format!("declared {declared}, {said}"),
        })
    }
}

impl Usage {
    fn of(usage: scheduler::Usage) -> Self {
        Self {
            attempts: usage.attempts,
            wall_ms: times(usage.wall_ms),
            cpu_ms: usage.cpu_ms.map(times),
            memory: usage.memory.map(sizes),
            vram: usage.vram.map(sizes),
        }
    }

    /// In words.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{} mostly, {} at most", DurationMs(self.wall_ms.p50), DurationMs(self.wall_ms.max));
        if let Some(cpu) = self.cpu_ms {
            text.push_str(&format!("; CPU {}", DurationMs(cpu.p50)));
        }
        if let Some(memory) = self.memory {
            text.push_str(&format!("; memory {}", Bytes(memory.max)));
        }
        if let Some(vram) = self.vram {
            text.push_str(&format!("; VRAM {}", Bytes(vram.max)));
        }
        text
    }
}

fn sizes(spread: Spread<Bytes>) -> Numbers {
    Numbers { p50: spread.p50.0, p95: spread.p95.0, max: spread.max.0 }
}

fn times(spread: Spread<DurationMs>) -> Numbers {
    Numbers { p50: spread.p50.0, p95: spread.p95.0, max: spread.max.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::Sample;
    use crate::units::Timestamp;

    const GIB: u64 = 1 << 30;

    fn learned(count: i64, memory: Option<u64>) -> Learned {
        let mut samples = Samples::default();
        for at in 0..count {
            samples.learn("", Sample::new(Timestamp::from_micros(at), DurationMs(90), None, memory.map(Bytes)));
        }
        Learned::of(&samples)
    }

    #[test]
    fn declared_and_used_are_put_side_by_side() {
        let used = GIB * 21 / 10;
        let of = |count, declared| learned(count, Some(used)).advice(Bytes(declared)).expect("memory is known");
        assert_eq!(of(30, 8 * GIB), "declared 8 GiB, used 2 GiB at most in the last 20 runs: consider 2.7 GiB");
        assert_eq!(of(20, 3 * GIB), "declared 3 GiB, used 2 GiB at most in the last 20 runs");
        assert_eq!(of(7, 2 * GIB), "declared 2 GiB, used 2 GiB at most in the last 7 runs, which is close: consider 2.7 GiB");
        assert_eq!(of(5, 0), "declared none, used 2 GiB at most in the last 5 runs: 2.7 GiB are set aside for it");
        assert_eq!(of(1, 0), "declared none, used 2 GiB at most in one run: too few to set memory aside (5 are needed)");
        assert_eq!(learned(9, None).advice(Bytes(GIB)), None);
    }

    #[test]
    fn memory_of_a_gpu_has_a_sentence_of_its_own() {
        let mut samples = Samples::default();
        for at in 0..20 {
            let sample = Sample::new(Timestamp::from_micros(at), DurationMs(90), None, None);
            samples.learn("", sample.with_vram(Some(Bytes(GIB * 21 / 10))));
        }
        let learned = Learned::of(&samples);
        let said = learned.vram_advice(Bytes(8 * GIB)).expect("it is known");
        assert_eq!(said, "declared 8 GiB, used 2 GiB at most in the last 20 runs: consider 2.7 GiB");
        assert_eq!((learned.advice(Bytes(GIB)), learned.usage.text().as_str()), (None, "90ms mostly, 90ms at most; VRAM 2 GiB"));
    }

    #[test]
    fn a_single_bucket_is_not_told_twice() {
        assert!(learned(3, Some(1)).buckets.is_empty());
        assert_eq!(learned(3, None).usage.text(), "90ms mostly, 90ms at most");
    }
}
