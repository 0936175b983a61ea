//! Keeping a module within its memory: by a control group where there can be one, else by looking.
//!
//! `RLIMIT_AS` is not among the ways: it counts addresses and not memory, and programs that reserve much and use little fail by it.

use std::fs;
use std::time::{Duration, Instant};

use super::cgroup::Group;
use super::tree;
use crate::attempt::MemoryGuard;
use crate::units::Bytes;

/// How often the memory is looked at where no control group can be made. What grows beyond its limit and back between two looks is not
/// seen, and what takes all memory of the machine within one has been ended by the kernel before.
const LOOK: Duration = Duration::from_millis(250);

/// First and longest pause between two looks at a module without a limit, whose memory is only to be learned: what lives for minutes is
/// told well enough by a look a second.
const MEASURE_FIRST: Duration = Duration::from_millis(125);
const MEASURE: Duration = Duration::from_secs(1);

/// What holds a module to its limit.
#[derive(Debug)]
pub(in crate::wrapper) enum Guard {
    /// The kernel does.
    Group(Group),
    /// We do; or it has none and is only measured.
    Watch(Watch),
}

/// The sum of all descendants, looked at now and then.
#[derive(Debug)]
pub(in crate::wrapper) struct Watch {
    limit: Option<u64>,
    peak: u64,
    next: Instant,
    pause: Duration,
}

impl Guard {
    /// The best guard that can be had here. A module that is started now is born under it.
    pub(in crate::wrapper) fn set_up(limit: Option<Bytes>) -> Self {
        if let Some(group) = limit.and_then(Group::enter) {
            return Self::Group(group);
        }
        let pause = if limit.is_some() { LOOK } else { MEASURE_FIRST };
        Self::Watch(Watch { limit: limit.map(|limit| limit.0), peak: 0, next: Instant::now() + pause, pause })
    }

    /// The module was started: this process is not meant.
    pub(in crate::wrapper) fn leave(&self) {
        if let Self::Group(group) = self {
            group.leave();
        }
    }

    pub(in crate::wrapper) fn kind(&self) -> Option<MemoryGuard> {
        match self {
            Self::Group(group) => Some(group.kind()),
            Self::Watch(watch) => watch.limit.map(|_| MemoryGuard::Polling),
        }
    }

    /// When [`Self::is_passed`] wants to look.
    pub(in crate::wrapper) fn next(&self) -> Option<Instant> {
        match self {
            Self::Group(_) => None,
            Self::Watch(watch) => Some(watch.next),
        }
    }

    /// Whether the limit was found to be passed now, so that the module must be ended.
    pub(in crate::wrapper) fn is_passed(&mut self, now: Instant) -> bool {
        match self {
            Self::Group(_) => false,
            Self::Watch(watch) => watch.next <= now && watch.look(now),
        }
    }

    /// Whether the kernel ended something because of the limit, and the most memory that was used.
    pub(in crate::wrapper) fn finish(self) -> (bool, Option<Bytes>) {
        match self {
            Self::Group(group) => (group.has_killed(), group.peak()),
            Self::Watch(watch) => (false, (watch.peak > 0).then_some(Bytes(watch.peak))),
        }
    }
}

impl Watch {
    fn look(&mut self, now: Instant) -> bool {
        self.next = now + self.pause;
        let all = tree::living();
        let Some(limit) = self.limit else {
            self.pause = (self.pause * 2).min(MEASURE);
            self.peak = self.peak.max(together(&all, self.peak));
            return false;
        };
        let resident = sum(&all, "status", "VmRSS:");
        self.peak = self.peak.max(resident);
        // Pages that several processes share count in each of them. To know better is dear, and only needed here.
        resident > limit && sum(&all, "smaps_rollup", "Pss:") > limit
    }
}

/// Memory of all processes together, or something not above `known`. Of a single one the kernel keeps the peak; of several that share
/// pages only the dear way tells, so that it is gone only where there is something to learn.
fn together(all: &[u32], known: u64) -> u64 {
    match all {
        [_] => sum(all, "status", "VmHWM:"),
        _ if sum(all, "status", "VmRSS:") <= known => 0,
        _ => sum(all, "smaps_rollup", "Pss:"),
    }
}

/// Sum of a value in a file of each process, in bytes.
fn sum(all: &[u32], file: &str, key: &str) -> u64 {
    let of = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(key))?;
        value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    all.iter().filter_map(of).sum::<u64>().saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_process_is_read() {
        let own = [std::process::id()];
        let (resident, shared) = (sum(&own, "status", "VmRSS:"), sum(&own, "smaps_rollup", "Pss:"));
        assert!(resident > 1 << 20 && shared > 1 << 19, "{resident} {shared}");
        assert_eq!(sum(&[u32::MAX], "status", "VmRSS:"), 0);
        assert!(together(&own, 0) >= resident);
        assert_eq!(together(&[], 0), 0);
    }
}
