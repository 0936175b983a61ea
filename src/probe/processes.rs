//! All processes of the machine with their parents and memory: what the processes below one use together.

use std::collections::{HashMap, HashSet};

use crate::units::Bytes;

/// One look at all processes.
#[derive(Debug, Default)]
pub struct Processes {
    memory: HashMap<u32, Bytes>,
    children: HashMap<u32, Vec<u32>>,
}

impl Processes {
    /// Looks. Costs some milliseconds.
    #[must_use]
    pub fn look() -> Self {
        let mut found = Self::default();
        for_each(|pid, parent, memory| found.add(pid, parent, memory));
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
}

#[cfg(target_os = "linux")]
fn for_each(mut take: impl FnMut(u32, u32, Bytes)) {
    let page = rustix::param::page_size() as u64;
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        // One that ended meanwhile is passed over.
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let Some((parent, memory)) = read("stat").as_deref().and_then(parent_in).zip(read("statm").as_deref().and_then(own_pages)) else {
            continue;
        };
        take(pid, parent, Bytes(memory.saturating_mul(page)));
    }
}

/// The parent in `/proc/PID/stat`. The name before it may hold spaces and parentheses.
#[cfg(target_os = "linux")]
fn parent_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Pages in `/proc/PID/statm` that are in memory and belong to no file.
#[cfg(target_os = "linux")]
fn own_pages(statm: &str) -> Option<u64> {
    let mut words = statm.split_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (words.next()?.ok()?, words.next()?.ok()?);
    Some(resident.saturating_sub(shared))
}

#[cfg(not(target_os = "linux"))]
fn for_each(mut take: impl FnMut(u32, u32, Bytes)) {
    use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};
    let Ok(mut system) = System::new() else { return };
    let kind = ProcessRefreshKind::nothing().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    for (pid, process) in system.processes() {
        let parent = process.parent().map_or(0, sysinfo::Pid::as_u32);
        take(pid.as_u32(), parent, Bytes(process.memory()));
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
        assert_eq!((own_pages("100 50 20 1 0 9 0"), own_pages("1 2 3"), own_pages("")), (Some(30), Some(0), None));
    }
}
