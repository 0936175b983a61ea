//! The descendants of the wrapper: what is there, and its end by force.
//!
//! The wrapper adopts every orphan among them, so that whatever a module starts stays below it, with or without a session, a group or a
//! parent of its own. No number is signalled for its own sake: a handle to the process is opened first, and only then is it checked that
//! its parent is one of ours. So a number that was given away meanwhile harms no stranger.

use std::collections::BTreeSet;
use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open, pidfd_send_signal};

use crate::attempt::ProcessStat;

/// Rounds in which everything is stopped until nothing new appears. Each round stops all parents that the one before has seen, so that
/// only what was born meanwhile is new.
const STOP_ROUNDS_MAX: usize = 64;

/// Whether an end that `wait` reports is the end of everything. It is, since orphans come to us.
pub(super) fn is_gone(_: Pid) -> bool {
    true
}

/// Living descendants.
pub(super) fn living() -> Vec<u32> {
    walk().into_iter().filter(|pid| ProcessStat::read(*pid).is_some_and(|stat| !stat.dead)).collect()
}

/// Ends all descendants. Once the module was waited for, the number of its group may belong to a stranger.
pub(super) fn kill(group: Pid, waited_for: bool) {
    if !waited_for {
        // Almost always this is all: one call that no member escapes by forking.
        let _ = kill_process_group(group, Signal::KILL);
    }
    // What forks faster than it is killed must first stand still. Who stands still does not wait for its children either, so that
    // their numbers stay theirs.
    let mut stopped = BTreeSet::new();
    for _ in 0..STOP_ROUNDS_MAX {
        let all = walk();
        let before = stopped.len();
        for pid in &all {
            if stopped.insert(*pid) {
                send(*pid, Signal::STOP, &all);
            }
        }
        if stopped.len() == before {
            break;
        }
    }
    let all = walk();
    for pid in &all {
        send(*pid, Signal::KILL, &all);
    }
}

/// Signals a process if it is still one of ours: its parent is among `all`, or is this process.
fn send(pid: u32, signal: Signal, all: &BTreeSet<u32>) {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let handle = pidfd_open(number, PidfdFlags::empty());
    let Some(stat) = ProcessStat::read(pid) else { return };
    if stat.dead || !(stat.parent == std::process::id() || all.contains(&stat.parent)) {
        return;
    }
    let _ = match handle {
        Ok(handle) => pidfd_send_signal(handle, signal),
        // An old kernel, or no descriptor left: the number alone, checked a moment ago.
        Err(Errno::NOSYS | Errno::MFILE | Errno::NFILE) => kill_process(number, signal),
        Err(error) => Err(error),
    };
}

/// All descendants, the dead ones that nobody has waited for among them.
fn walk() -> BTreeSet<u32> {
    let own = std::process::id();
    let mut found = BTreeSet::new();
    let mut open = vec![own];
    while let Some(parent) = open.pop() {
        match children(parent) {
            Some(children) => open.extend(children.into_iter().filter(|child| found.insert(*child))),
            None if parent == own => return scan(own),
            // It is gone, and its children are somebody else's: ours in the next walk.
            None => {}
        }
    }
    found
}

/// Children of a process, those of all its threads. `None`: it is gone, or the kernel keeps no lists.
fn children(parent: u32) -> Option<Vec<u32>> {
    let mut children = Vec::new();
    let mut listed = false;
    for thread in fs::read_dir(format!("/proc/{parent}/task")).ok()?.flatten() {
        let Ok(list) = fs::read_to_string(thread.path().join("children")) else { continue };
        listed = true;
        children.extend(list.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    listed.then_some(children)
}

/// The same by looking at every process of the machine, for kernels without lists of children.
fn scan(own: u32) -> BTreeSet<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeSet::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = numbers.filter_map(|pid| Some((pid, ProcessStat::read(pid)?.parent))).collect();
    let mut found = BTreeSet::new();
    loop {
        let before = found.len();
        for (pid, parent) in &parents {
            if *parent == own || found.contains(parent) {
                found.insert(*pid);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// A shell with a child below it; both live until they are killed.
    fn two_generations() -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 60 & echo; wait"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // The line comes when the second one was started.
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        child
    }

    #[test]
    fn both_ways_to_look_find_the_same() {
        let mut child = two_generations();
        let below = |all: BTreeSet<u32>| -> BTreeSet<u32> {
            let mut found = BTreeSet::from([child.id()]);
            found.extend(all.into_iter().filter(|pid| ProcessStat::read(*pid).is_some_and(|stat| stat.parent == child.id())));
            found
        };
        // Other tests of this process have children too.
        let (walked, scanned) = (below(walk()), below(scan(std::process::id())));
        let grandchild = walked.iter().find(|pid| **pid != child.id()).copied();
        send(child.id(), Signal::KILL, &walked);
        send(grandchild.unwrap_or(0), Signal::KILL, &walked);
        child.wait().unwrap();
        assert_eq!((walked.len(), &walked), (2, &scanned));
    }

    #[test]
    fn f31_a_number_that_is_no_descendant_of_ours_is_left_alone() {
        let mut child = two_generations();
        let grandchild = children(child.id()).unwrap()[0];
        // As if the number in our list had been given to somebody else's child.
        send(grandchild, Signal::KILL, &BTreeSet::from([grandchild]));
        let spared = ProcessStat::read(grandchild).is_some_and(|stat| !stat.dead);
        send(grandchild, Signal::KILL, &BTreeSet::from([child.id()]));
        send(child.id(), Signal::KILL, &BTreeSet::new());
        child.wait().unwrap();
        assert!(spared);
    }
}
