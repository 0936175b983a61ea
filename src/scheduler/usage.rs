//! What running attempts were seen to use of what they hold, when somebody last looked.
//!
//! An attempt that used much and less since may use as much again. What it gave back looks free, so it has to be kept for it: what counts is
//! what it uses now, and not its peak.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{AttemptId, NodeIndex};
use crate::request::Request;
use crate::resources::{GpuReading, Held, Reading, Seen, Usage};
use crate::run::RunState;
use crate::units::Bytes;

/// Use by attempt, each no more than what the attempt holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Used {
    attempts: BTreeMap<AttemptId, Usage>,
    /// VRAM that was in use of a GPU when none of our attempts held any of it. Where a driver does not tell what each process uses, the
    /// rest is taken for that of our attempts.
    idle: BTreeMap<String, Bytes>,
}

impl Used {
    /// Takes what an attempt was seen to use.
    pub(super) fn note(&mut self, id: AttemptId, usage: Usage, grant: Arc<Request>) {
        let vram = grant.devices.iter().map(|device| {
            let used = usage.vram.get(&device.gpu).copied().unwrap_or_default().min(device.vram);
            (device.gpu.clone(), used)
        });
        self.attempts.insert(id, Usage { memory: usage.memory.min(grant.memory), vram: vram.collect() });
    }

    /// An attempt of this node has ended.
    pub(super) fn forget(&mut self, run: &RunState, node: NodeIndex) {
        if self.attempts.is_empty() {
            return;
        }
        self.attempts.retain(|id, _| id.node != node || id.run != *run.id());
    }

    /// Takes what others use of GPUs that none of our attempts holds anything of.
    pub(super) fn read(&mut self, held: &Held, reading: &Reading) {
        for (gpu, reading) in &reading.gpus {
            match reading {
                GpuReading::Seen { used, .. } if held.gpu(gpu).attempts == 0 => {
                    self.idle.insert(gpu.clone(), *used);
                }
                GpuReading::Seen { .. } | GpuReading::Lost => {}
            }
        }
    }

    /// All of them together.
    pub(super) fn seen(&self, held: &Held, reading: &Reading) -> Seen {
        let mut seen = Seen::default();
        for used in self.attempts.values() {
            seen.memory.0 = seen.memory.0.saturating_add(used.memory.0);
            for (gpu, vram) in &used.vram {
                let sum = seen.vram.entry(gpu.clone()).or_default();
                sum.0 = sum.0.saturating_add(vram.0);
            }
        }
        for (gpu, reading) in &reading.gpus {
            match reading {
                GpuReading::Seen { used, by_process: false, .. } => {
                    let idle = self.idle.get(gpu).copied().unwrap_or_default();
                    let ours = Bytes(used.0.saturating_sub(idle.0)).min(held.gpu(gpu).vram);
                    seen.vram.insert(gpu.clone(), ours);
                }
                GpuReading::Seen { by_process: true, .. } | GpuReading::Lost => {}
            }
        }
        seen
    }
}
