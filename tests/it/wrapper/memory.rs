//! Memory limits.

use std::process::{Command, Stdio};

use prismq::attempt::{ExitHow, MemoryGuard};
use prismq::units::Bytes;

use super::{Attempt, Wrapper, ended_by, has, is_root, skip};
use crate::support::stub;

const LIMIT: Bytes = Bytes(64 << 20);

fn limited(args: &[&str]) -> Attempt {
    Attempt::of(args).with(|spec| spec.memory = Some(LIMIT))
}

#[test]
fn f34_too_much_memory_is_told_apart_from_other_ends() {
    let attempt = limited(&["eat-memory", "256"]);
    let record = attempt.run();
    assert_eq!((record.how, record.oom), (ended_by(9), true));
    let (limit, guard) = record.memory.expect("it was guarded");
    assert_eq!(limit, LIMIT);
    let peak = record.peak_memory.expect("a peak").0;
    if guard == MemoryGuard::Polling {
        assert!(record.signals == ["KILL"] && peak > LIMIT.0, "{peak}");
    } else {
        assert!(record.signals.is_empty() && (LIMIT.0 / 2..=LIMIT.0).contains(&peak), "{guard:?} {peak}");
    }
    attempt.nothing_is_left();
}

#[test]
fn f34_a_child_that_eats_too_much_is_the_modules_fault() {
    let attempt = Attempt::shell(&format!("'{}' eat-memory 256; exit 9", stub().display())).with(|spec| spec.memory = Some(LIMIT));
    let record = attempt.run();
    assert!(record.oom, "{record:?}");
    assert!(record.how == ExitHow::Code(9) || record.how == ended_by(9), "{record:?}");
}

#[test]
fn a_kill_that_has_nothing_to_do_with_memory() {
    let record = limited(&["signal", "9"]).run();
    assert_eq!((record.how, record.oom), (ended_by(9), false));
    let record = limited(&["eat-memory", "16", "exit"]).run();
    assert!(record.peak_memory.is_some_and(|peak| peak.0 > 16 << 20), "{record:?}");
    assert_eq!((record.how, record.oom), (ExitHow::Code(0), false));
}

#[test]
fn f35_addresses_are_no_memory() {
    let record = limited(&["reserve-memory", "1024"]).run();
    assert_eq!((record.how, record.oom), (ExitHow::Code(0), false));
}

#[test]
fn a_group_is_removed_and_a_wrapper_is_not_in_it() {
    if !is_root() {
        return skip("a_group_is_removed_and_a_wrapper_is_not_in_it", "only root may make a control group of version 1");
    }
    let attempt = limited(&["sleep"]);
    let wrapper = attempt.start();
    let start = attempt.alive();
    if start.memory_guard == Some(MemoryGuard::Polling) {
        return skip("a_group_is_removed_and_a_wrapper_is_not_in_it", "there are no control groups for memory");
    }
    let groups = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its groups");
    let name = format!("/prismq-{}\n", wrapper.pid());
    assert!(groups(start.child.expect("it runs").pid).contains(&name));
    assert_eq!(groups(wrapper.pid()), groups(std::process::id()));
    let own = groups(std::process::id());
    attempt.stop(prismq::attempt::StopAs::Kill, 0);
    attempt.ended();
    let memory =
        own.lines().find_map(|line| line.split_once(":memory:")).map(|(_, path)| format!("/sys/fs/cgroup/memory{path}/{}", name.trim()));
    if let Some(path) = memory {
        assert!(crate::support::until(|| (!std::path::Path::new(path.trim()).exists()).then_some(())).is_some(), "{path} is left");
    }
}

/// The same where control groups cannot be had: what is mounted there is hidden from the wrapper.
fn without_groups(attempt: &Attempt) -> Option<Wrapper> {
    let inner = attempt.command();
    if !is_root() {
        return Some(Wrapper(attempt.command().spawn().expect("it starts")));
    }
    if !has("unshare") {
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", "mount -t tmpfs none /sys/fs/cgroup && exec \"$@\"", "sh"]);
    command.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null()).stdout(Stdio::null());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(Wrapper(command.spawn().expect("it starts")))
}

#[test]
fn f34_without_a_group_the_wrapper_looks_itself() {
    // Two processes, each within the limit by itself.
    let line = format!("'{0}' eat-memory 48 & '{0}' eat-memory 48 & wait", stub().display());
    let attempt = Attempt::shell(&line).with(|spec| spec.memory = Some(LIMIT));
    let Some(mut wrapper) = without_groups(&attempt) else {
        return skip("f34_without_a_group_the_wrapper_looks_itself", "control groups cannot be hidden (no unshare)");
    };
    assert_eq!(wrapper.end(), 0);
    let record = attempt.record();
    let guard = record.memory.map(|(_, guard)| guard);
    if guard != Some(MemoryGuard::Polling) {
        return skip("f34_without_a_group_the_wrapper_looks_itself", "control groups cannot be hidden");
    }
    assert_eq!((record.how, record.oom, record.signals), (ended_by(9), true, vec!["KILL".to_owned()]));
    assert!(record.peak_memory.is_some_and(|peak| peak > LIMIT));
    attempt.nothing_is_left();
}

#[test]
fn memory_that_processes_share_counts_once() {
    // Sixteen of them, forked from one that holds 12 MiB: some 200 MiB if it were added up.
    let line =
        "v=$(head -c 12582912 /dev/zero | tr '\\0' x); for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do (sleep 0.7; :) & done; wait";
    let attempt = Attempt::shell(line).with(|spec| spec.memory = Some(LIMIT));
    let Some(mut wrapper) = without_groups(&attempt) else {
        return skip("memory_that_processes_share_counts_once", "control groups cannot be hidden (no unshare)");
    };
    assert_eq!(wrapper.end(), 0);
    let record = attempt.record();
    assert_eq!((record.how, record.oom), (ExitHow::Code(0), false));
}
