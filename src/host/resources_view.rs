//! What `resources` shows: detected, reserved, held, used by others, free.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::machine::{Found, Machine};
use crate::resources::{Capacity, Disk, Gpu, GpuReading, Held, Live};
use crate::settings::Settings;
use crate::units::{Amount, Bytes, CpuMillis};

/// The machine, and what is handed out of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourcesView {
    /// A host was asked; without one nothing is held.
    pub hosted: bool,
    /// Places for running nodes.
    pub places: Places,
    /// Processors.
    pub cpus: CpusView,
    /// Memory.
    pub memory: MemoryView,
    /// GPUs that may be handed out.
    pub gpus: Vec<GpuView>,
    /// Why none was detected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_gpus: Option<String>,
    /// Counted resources by name.
    pub custom: BTreeMap<String, CustomView>,
    /// Disks that runs write to.
    pub disks: Vec<Disk>,
}

/// Places for running nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Places {
    /// How many there are (`max_concurrent`).
    pub capacity: u32,
    /// How many are taken.
    pub held: u32,
}

/// Processors, in thousandths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CpusView {
    /// Found on this machine.
    pub detected: CpuMillis,
    /// May be handed out.
    pub capacity: CpuMillis,
    /// Held by running nodes.
    pub held: CpuMillis,
    /// Not held.
    pub free: CpuMillis,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryView {
    /// Found on this machine.
    pub detected: Bytes,
    /// Kept for the person at the machine.
    pub reserved: Bytes,
    /// May be handed out.
    pub capacity: Bytes,
    /// Held by running nodes.
    pub held: Bytes,
    /// The most that running nodes were seen to use of it.
    pub used_by_nodes: Bytes,
    /// Used by everybody else; left out where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by_others: Option<Bytes>,
    /// What a new node can have.
    pub free: Bytes,
}

/// A GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GpuView {
    /// As the driver tells it.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// It was there and does not answer.
    pub lost: bool,
    /// It answers, and what is free of it is measured.
    pub measured: bool,
    /// A node has it for itself.
    pub whole: bool,
    /// Nodes that hold something of it.
    pub nodes: u32,
    /// Thousandths of it that are held.
    pub share: Amount,
    /// Its memory.
    pub vram: MemoryView,
}

/// A counted resource, in thousandths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CustomView {
    /// May be handed out.
    pub capacity: Amount,
    /// Held by running nodes.
    pub held: Amount,
    /// Not held.
    pub free: Amount,
}

impl ResourcesView {
    /// Of a machine on which no host runs.
    pub(super) fn idle(settings: &Settings, disks: &[Disk]) -> Self {
        let machine = Machine::detect(settings);
        let live = Live::new(machine.look(&[]).reading, crate::resources::Seen::default());
        let view = Self::of(&machine.found(), &machine.capacity(), &Held::default(), &live, disks);
        Self { hosted: false, ..view }
    }

    pub(super) fn of(found: &Found, capacity: &Capacity, held: &Held, live: &Live, disks: &[Disk]) -> Self {
        let cpus = CpusView {
            detected: found.machine.cpus,
            capacity: capacity.cpus,
            held: held.cpus,
            free: CpuMillis(capacity.cpus.0.saturating_sub(held.cpus.0)),
        };
        let left = Bytes(capacity.memory.0.saturating_sub(held.memory.0));
        let room = live.memory_room(held);
        let memory = MemoryView {
            detected: found.machine.memory,
            reserved: Bytes(found.machine.memory.0.saturating_sub(capacity.memory.0)),
            capacity: capacity.memory,
            held: held.memory,
            used_by_nodes: live.seen().memory,
            used_by_others: room.as_ref().map(|room| room.others),
            free: room.map_or(left, |room| left.min(room.free)),
        };
        let custom = capacity.custom.iter().map(|(name, all)| {
            let taken = held.custom(name);
            (name.to_string(), CustomView { capacity: *all, held: taken, free: Amount(all.0.saturating_sub(taken.0)) })
        });
        Self {
            hosted: true,
            places: Places { capacity: capacity.max_concurrent, held: held.attempts },
            cpus,
            memory,
            gpus: capacity.gpus.iter().map(|gpu| gpu_view(gpu, held, live)).collect(),
            no_gpus: found.gpus.as_ref().err().cloned(),
            custom: custom.collect(),
            disks: disks.to_vec(),
        }
    }
}

fn gpu_view(gpu: &Gpu, held: &Held, live: &Live) -> GpuView {
    let taken = held.gpu(&gpu.uuid);
    let room = live.vram_room(&gpu.uuid, taken.vram);
    let lost = live.is_lost(&gpu.uuid);
    let left = if taken.whole > 0 || lost { Bytes(0) } else { Bytes(gpu.usable().0.saturating_sub(taken.vram.0)) };
    GpuView {
        uuid: gpu.uuid.clone(),
        name: gpu.name.clone(),
        lost,
        measured: matches!(live.reading().gpus.get(&gpu.uuid), Some(GpuReading::Seen { .. })),
        whole: taken.whole > 0,
        nodes: taken.attempts,
        share: taken.share,
        vram: MemoryView {
            detected: gpu.total,
            reserved: gpu.reserve.min(gpu.total),
            capacity: gpu.usable(),
            held: taken.vram,
            used_by_nodes: live.seen().vram.get(&gpu.uuid).copied().unwrap_or_default(),
            used_by_others: room.as_ref().map(|room| room.others),
            free: room.map_or(left, |room| left.min(room.free)),
        },
    }
}
