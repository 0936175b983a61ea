//! What this machine has and what of it is free: processors, memory, GPUs and disk that prismq may use.
//!
//! What it has is asked once at the start of a host, what is free whenever somebody wants to know. Respects CPU affinity and the limits of
//! control groups, so that a host in a container does not count the whole machine. Knows nothing of reserves or settings: `host` takes
//! those off.

mod cgroup;
mod cpu;
mod disk;
mod gpu;
mod nvml;
mod processes;

use crate::units::{Bytes, CpuMillis};

pub use cgroup::{Limits, limits_in};
pub use cpu::busy;
pub use disk::{Space, space};
pub use gpu::{GpuDevice, GpuDriver, GpuUse, NoDriver, nvidia};
pub use processes::Processes;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detected {
    /// Processors.
    pub cpus: CpuMillis,
    /// Memory.
    pub memory: Bytes,
}

/// Memory at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: Bytes,
    /// What a new program can have without anybody being put out.
    pub free: Bytes,
}

/// Looks.
#[must_use]
pub fn detect() -> Detected {
    // The standard library looks at the affinity mask and at the quotas of control groups, of which it takes whole processors.
    let whole = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get) as u64 * 1000;
    let quota = cgroup::limits().cpus.map_or(whole, |quota| quota.0);
    let cpus = CpuMillis(if quota < whole || quota - whole < 1000 { quota } else { whole });
    // Where nothing can be learned nothing is limited: a wrong small number would refuse every module.
    Detected { cpus, memory: memory().map_or(Bytes(u64::MAX), |memory| memory.total) }
}

/// Memory of the machine, or of the control group where that is less.
#[must_use]
pub fn memory() -> Option<Memory> {
    let refresh = sysinfo::RefreshKind::nothing().with_memory(sysinfo::MemoryRefreshKind::nothing().with_ram());
    let system = sysinfo::System::new_with_specifics(refresh).ok()?;
    // Groups of version 1 are sysinfo's to know. What it calls free in a group counts the cache of files as used, and that is given up
    // when somebody needs memory: a node would wait for ever where a large file was read.
    let total = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory).min(system.total_memory());
    let free = system.available_memory().min(total);
    let found = within(Memory { total: Bytes(total), free: Bytes(free) }, cgroup::limits());
    (found.total.0 > 0).then_some(found)
}

fn within(machine: Memory, limits: Limits) -> Memory {
    Memory {
        total: limits.memory.map_or(machine.total, |limit| limit.min(machine.total)),
        free: limits.memory_free.map_or(machine.free, |free| free.min(machine.free)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_found() {
        let found = detect();
        assert!(found.cpus.0 > 0 && found.memory.0 > 1 << 20, "{found:?}");
        let memory = memory().expect("memory");
        assert!(memory.free <= memory.total && memory.free.0 > 0, "{memory:?}");
    }

    #[test]
    fn a_group_makes_the_machine_smaller_and_never_larger() {
        let machine = Memory { total: Bytes(100), free: Bytes(50) };
        let limits = |memory, free| Limits { memory: Some(Bytes(memory)), memory_free: Some(Bytes(free)), cpus: None };
        assert_eq!(within(machine, limits(40, 10)), Memory { total: Bytes(40), free: Bytes(10) });
        assert_eq!(within(machine, limits(400, 300)), machine);
        assert_eq!(within(machine, Limits::default()), machine);
    }
}
