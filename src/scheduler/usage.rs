//! What running attempts were seen to use of what they hold: their peaks, until they end.
//!
//! An attempt that used much and less since may use as much again, so what counts is the peak.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{AttemptId, NodeIndex};
use crate::request::Request;
use crate::resources::{GpuReading, Held, Reading, Seen, Usage};
use crate::run::RunState;
use crate::units::Bytes;

/// Peaks by attempt, each no more than what the attempt holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Peaks {
    attempts: BTreeMap<AttemptId, Usage>,
    /// VRAM that was in use of a GPU when none of our attempts held any of it. Where a driver does not tell what each process uses, the
    /// rest is taken for that of our attempts.
    idle: BTreeMap<String, Bytes>,
}

impl Peaks {
    /// Takes what an attempt was seen to use.
    pub(super) fn note(&mut self, id: AttemptId, usage: Usage, grant: Arc<Request>) {
        let peak = self.attempts.entry(id).or_default();
        peak.memory = peak.memory.max(usage.memory.min(grant.memory));
        for device in &grant.devices {
            let used = usage.vram.get(&device.gpu).copied().unwrap_or_default().min(device.vram);
            let peak = peak.vram.entry(device.gpu.clone()).or_default();
            *peak = used.max(*peak);
        }
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
        for peak in self.attempts.values() {
            seen.memory.0 = seen.memory.0.saturating_add(peak.memory.0);
            for (gpu, vram) in &peak.vram {
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
