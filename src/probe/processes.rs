//! All processes of the machine with their parents, memory and time on processors: what the processes below one use together.

use std::collections::{HashMap, HashSet};

use crate::units::{Bytes, DurationMs};

/// One look at all processes.
#[derive(Debug, Default)]
pub struct Processes {
    memory: HashMap<u32, Bytes>,
    cpu: HashMap<u32, DurationMs>,
    children: HashMap<u32, Vec<u32>>,
}

impl Processes {
    /// Looks. Costs some milliseconds.
    #[must_use]
    pub fn look() -> Self {
        let mut found = Self::default();
        for_each(|pid, parent, memory, cpu| {
            found.add(pid, parent, memory);
            found.cpu.insert(pid, cpu);
        });
        found
    }

    fn add(&mut self, pid: u32, parent: u32, memory: Bytes) {
        self.memory.insert(pid, memory);
        self.children.entry(parent).or_default().push(pid);
    }

    /// Whether there is such a process.
    #[must_use]
    pub fn has(&self, pid: u32) -> bool {
        self.memory.contains_key(&pid)
    }

    /// A process and all below it; empty where there is none.
    #[must_use]
    pub fn below(&self, root: u32) -> HashSet<u32> {
        let mut found = HashSet::new();
        let mut open = if self.has(root) { vec![root] } else { Vec::new() };
        while let Some(pid) = open.pop() {
            // Numbers are given anew while they are read: a circle must not be followed.
            if found.insert(pid) {
                open.extend(self.children.get(&pid).into_iter().flatten());
            }
        }
        found
    }

    /// Memory of these processes together. What they share is counted for none of them where the system tells it apart.
    #[must_use]
    pub fn memory_of(&self, pids: &HashSet<u32>) -> Bytes {
        Bytes(pids.iter().filter_map(|pid| self.memory.get(pid)).fold(0, |sum, memory| sum.saturating_add(memory.0)))
    }

    /// Time of these processes on processors together, since each was started.
    #[must_use]
    pub fn cpu_of(&self, pids: &HashSet<u32>) -> DurationMs {
        DurationMs(pids.iter().filter_map(|pid| self.cpu.get(pid)).fold(0, |sum, cpu| sum.saturating_add(cpu.0)))
    }
}

#[cfg(target_os = "linux")]
fn for_each(mut take: impl FnMut(u32, u32, Bytes, DurationMs)) {
    let page = rustix::param::page_size() as u64;
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        // One that ended meanwhile is passed over.
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let Some(stat) = read("stat") else { continue };
        let Some((parent, memory)) = parent_in(&stat).zip(read("statm").as_deref().and_then(own_pages)) else { continue };
        take(pid, parent, Bytes(memory.saturating_mul(page)), of_ticks(ticks_in(&stat).unwrap_or(0)));
    }
}

/// The parent in `/proc/PID/stat`. The name before it may hold spaces and parentheses.
#[cfg(target_os = "linux")]
fn parent_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Ticks on processors in `/proc/PID/stat`, with those of children that have ended and were waited for: so that what a whole tree has used
/// does not shrink when one of them ends.
#[cfg(target_os = "linux")]
fn ticks_in(stat: &str) -> Option<u64> {
    let words = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(4).map(str::parse::<i64>);
    let ticks: Vec<i64> = words.collect::<Result<_, _>>().ok()?;
    (ticks.len() == 4).then(|| ticks.into_iter().map(|ticks| u64::try_from(ticks).unwrap_or(0)).sum())
}

/// The kernel's ticks as time.
#[cfg(target_os = "linux")]
pub(super) fn of_ticks(ticks: u64) -> DurationMs {
    DurationMs(ticks.saturating_mul(1000) / rustix::param::clock_ticks_per_second().max(1))
}

/// Pages in `/proc/PID/statm` that are in memory and belong to no file.
#[cfg(target_os = "linux")]
fn own_pages(statm: &str) -> Option<u64> {
    let mut words = statm.split_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (words.next()?.ok()?, words.next()?.ok()?);
    Some(resident.saturating_sub(shared))
}

#[cfg(not(target_os = "linux"))]
fn for_each(mut take: impl FnMut(u32, u32, Bytes, DurationMs)) {
    use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};
    let Ok(mut system) = System::new() else { return };
    let kind = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    for (pid, process) in system.processes() {
        let parent = process.parent().map_or(0, sysinfo::Pid::as_u32);
        take(pid.as_u32(), parent, Bytes(process.memory()), DurationMs(process.accumulated_cpu_time()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_its_memory_are_found() {
        let found = Processes::look();
        let own = found.below(std::process::id());
        assert!(own.contains(&std::process::id()));
        assert!(found.memory_of(&own).0 > 1 << 16, "{:?}", found.memory_of(&own));
        assert!(found.below(u32::MAX).is_empty());
    }

    #[test]
    fn what_is_below_is_counted_once_and_circles_end() {
        let mut found = Processes::default();
        for (pid, parent, memory) in [(1, 0, 1), (2, 1, 10), (3, 2, 100), (4, 1, 1000), (5, 6, 7), (6, 5, 7)] {
            found.add(pid, parent, Bytes(memory));
        }
        assert_eq!(found.memory_of(&found.below(2)), Bytes(110));
        assert_eq!(found.memory_of(&found.below(1)), Bytes(1111));
        assert_eq!(found.below(5).len(), 2);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn names_with_parentheses_do_not_confuse() {
        assert_eq!(parent_in("12 (a) b) (c)) S 7 12 12 0"), Some(7));
        assert_eq!(parent_in("12"), None);
        assert_eq!(ticks_in("12 (a) b) (c)) S 7 12 12 0 -1 4194304 1 2 3 4 100 20 3 4 20 0"), Some(127));
        assert_eq!((ticks_in("12"), ticks_in("12 (a) S 7 1")), (None, None));
        assert_eq!((own_pages("100 50 20 1 0 9 0"), own_pages("1 2 3"), own_pages("")), (Some(30), Some(0), None));
    }
}
