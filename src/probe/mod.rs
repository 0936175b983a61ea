//! What this machine has: processors, memory and disk that prismq may use.
//!
//! Processors and memory are asked once at the start of a host, free space whenever somebody wants to know. Respects CPU affinity and cgroup limits, so that a host in a container does not count the whole
//! machine. Knows nothing of reserves or settings: `host` takes those off.

mod disk;

use crate::units::{Bytes, CpuMillis};

pub use disk::{Space, space};

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detected {
    /// Processors.
    pub cpus: CpuMillis,
    /// Memory.
    pub memory: Bytes,
}

/// Looks.
#[must_use]
pub fn detect() -> Detected {
    // The standard library looks at the affinity mask and at cgroup quotas.
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    Detected { cpus: CpuMillis(cpus as u64 * 1000), memory: memory() }
}

/// Memory of the machine, or of the cgroup where that is less. Where nothing can be learned nothing is limited: a wrong small number
/// would refuse every module.
fn memory() -> Bytes {
    const UNKNOWN: Bytes = Bytes(u64::MAX);
    let refresh = sysinfo::RefreshKind::nothing().with_memory(sysinfo::MemoryRefreshKind::nothing().with_ram());
    let Ok(system) = sysinfo::System::new_with_specifics(refresh) else { return UNKNOWN };
    let machine = system.total_memory();
    let limited = system.cgroup_limits().map_or(machine, |limits| limits.total_memory.min(machine));
    if limited == 0 { UNKNOWN } else { Bytes(limited) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn something_is_found() {
        let found = super::detect();
        assert!(found.cpus.0 >= 1000 && found.memory.0 > 1 << 20, "{found:?}");
    }
}
