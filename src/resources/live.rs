//! What the machine really has free, and how much of what running attempts asked for they were seen to use.
//!
//! A new attempt fits if it fits beside the requests of the others (the ledger) *and* into what is free now, less what the others may still
//! take of what they asked for: an attempt that has just begun to load its model uses nothing yet. The reserve is taken off the capacity
//! and not off what is free: what the person's programs use counts against the reserve first, and only beyond it keeps attempts waiting.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Held;
use crate::units::Bytes;

/// What was found when somebody looked at the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Memory; none where it cannot be learned.
    pub memory: Option<MemoryReading>,
    /// GPUs by UUID; those that cannot be measured are not in it.
    pub gpus: BTreeMap<String, GpuReading>,
}

/// Memory of the machine, or of the control group that this process lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReading {
    /// All of it.
    pub total: Bytes,
    /// What a new program can have without anybody being put out.
    pub free: Bytes,
}

/// A GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuReading {
    /// It answers.
    Seen {
        /// Memory in use.
        used: Bytes,
        /// Memory free.
        free: Bytes,
        /// Whether the driver tells what each process uses. On Windows with a display attached it does not.
        by_process: bool,
    },
    /// It was there and does not answer any more.
    Lost,
}

/// What one attempt uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory of all its processes.
    pub memory: Bytes,
    /// VRAM by UUID of the GPU.
    pub vram: BTreeMap<String, Bytes>,
}

/// How much of what running attempts asked for they were seen to use when somebody last looked, together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Memory.
    pub memory: Bytes,
    /// VRAM by UUID.
    pub vram: BTreeMap<String, Bytes>,
}

/// The machine as decisions see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    reading: Reading,
    seen: Seen,
    awaited: bool,
}

/// What is free for a new attempt, and why not more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveRoom {
    /// Free for a new attempt.
    pub free: Bytes,
    /// What running attempts may still take of what they hold.
    pub growth: Bytes,
    /// What is used by others than our attempts.
    pub others: Bytes,
}

impl LiveRoom {
    /// `free` and `used` as measured; `held` by running attempts, of which `seen` was seen to be in use.
    fn of(free: Bytes, used: Bytes, held: Bytes, seen: Bytes) -> Self {
        let seen = seen.min(held);
        let growth = Bytes(held.0 - seen.0);
        Self { free: Bytes(free.0.saturating_sub(growth.0)), growth, others: Bytes(used.0.saturating_sub(seen.0)) }
    }
}

impl Live {
    /// From a reading and what attempts were seen to use.
    #[must_use]
    pub fn new(reading: Reading, seen: Seen) -> Self {
        Self { reading, seen, awaited: false }
    }

    /// What was read.
    #[must_use]
    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// What attempts were seen to use.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The same with what attempts were seen to use.
    pub fn set_seen(&mut self, seen: Seen) {
        self.seen = seen;
    }

    /// The reading is old: what asks for memory waits for the next one.
    pub fn set_awaited(&mut self, awaited: bool) {
        self.awaited = awaited;
    }

    /// Whether the reading is old.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.awaited
    }

    /// Of the memory; none where it is not known.
    #[must_use]
    pub fn memory_room(&self, held: &Held) -> Option<LiveRoom> {
        let MemoryReading { total, free } = self.reading.memory?;
        Some(LiveRoom::of(free, Bytes(total.0.saturating_sub(free.0)), held.memory, self.seen.memory))
    }

    /// Of a GPU of whose memory so much is held; none for one that cannot be measured.
    #[must_use]
    pub fn vram_room(&self, uuid: &str, held: Bytes) -> Option<LiveRoom> {
        match self.reading.gpus.get(uuid)? {
            GpuReading::Seen { used, free, .. } => {
                Some(LiveRoom::of(*free, *used, held, self.seen.vram.get(uuid).copied().unwrap_or_default()))
            }
            GpuReading::Lost => None,
        }
    }

    /// What would be read if none of our attempts used anything, as far as can be told from what they were seen to use.
    #[must_use]
    pub fn without_ours(&self) -> Self {
        let given = |free: Bytes, seen: Bytes| Bytes(free.0.saturating_add(seen.0));
        let memory = self.reading.memory.map(|read| MemoryReading { free: given(read.free, self.seen.memory).min(read.total), ..read });
        let gpus = self.reading.gpus.iter().map(|(gpu, read)| {
            let seen = self.seen.vram.get(gpu).copied().unwrap_or_default();
            let read = match read {
                GpuReading::Seen { used, free, by_process } => {
                    GpuReading::Seen { used: Bytes(used.0.saturating_sub(seen.0)), free: given(*free, seen), by_process: *by_process }
                }
                GpuReading::Lost => GpuReading::Lost,
            };
            (gpu.clone(), read)
        });
        Self { reading: Reading { memory, gpus: gpus.collect() }, seen: Seen::default(), awaited: false }
    }

    /// What is left where nobody asks how much is free: which GPUs do not answer.
    #[must_use]
    pub fn losses(&self) -> Self {
        let lost = self.reading.gpus.iter().filter(|(_, read)| matches!(read, GpuReading::Lost));
        let gpus = lost.map(|(gpu, _)| (gpu.clone(), GpuReading::Lost)).collect();
        Self { reading: Reading { memory: None, gpus }, ..Self::default() }
    }

    /// Whether a GPU was there and does not answer.
    #[must_use]
    pub fn is_lost(&self, uuid: &str) -> bool {
        matches!(self.reading.gpus.get(uuid), Some(GpuReading::Lost))
    }
}
