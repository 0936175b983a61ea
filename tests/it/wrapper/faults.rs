//! Wrappers that are killed, started twice, or hindered by the disk.

use std::process::{Command, Stdio};

use prismq::attempt::{ExitHow, Standing};
use rustix::process::Signal;

use super::{Attempt, Wrapper, has, lives, signal, skip};
use crate::support::until;

/// Each start of the module leaves a line.
fn counting(then: &str) -> Attempt {
    Attempt::shell(&format!("echo x >> \"$PRISMQ_ARTIFACTS/count\"; {then}"))
}

fn count(attempt: &Attempt) -> usize {
    attempt.log("count").len() / 2
}

/// The wrapper under `strace`, which does something to one of its calls.
fn injected(attempt: &Attempt, calls: &str, what: &str, only: &[&str]) -> Wrapper {
    let inner = attempt.command();
    let mut command = Command::new("strace");
    // Pauses take no time.
    let trace = format!("trace={calls},clock_nanosleep");
    command.args(["-qq", "-o", "/dev/null", "-e", &trace, "-e", &format!("inject={calls}:{what}")]);
    command.args(["-e", "inject=clock_nanosleep:retval=0"]);
    command.args(only).arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null()).stdout(Stdio::null());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Wrapper(command.spawn().expect("strace starts"))
}

#[test]
fn f39_a_killed_wrapper_is_known_to_be_dead() {
    let attempt = Attempt::of(&["sleep"]);
    let mut wrapper = attempt.start();
    let start = attempt.alive();
    wrapper.kill();
    assert_eq!(attempt.standing(), Standing::Dead(Some(start.clone())));
    assert!(!attempt.at("exit.json").exists());
    let child = start.child.expect("it ran");
    assert!(child.is_alive() && !start.wrapper.is_alive(), "its module lives on, and holds no lock");
    signal(child.pid, Signal::KILL);
    until(|| (!lives(child.pid)).then_some(())).expect("it ends");
}

#[test]
fn f42_two_wrappers_at_once_start_it_once() {
    for _ in 0..20 {
        let attempt = counting("sleep 0.02");
        let mut both = [attempt.start(), attempt.start()];
        let mut codes = both.each_mut().map(Wrapper::end);
        codes.sort_unstable();
        assert_eq!((codes, count(&attempt)), ([0, 3], 1));
        assert_eq!(attempt.record().how, ExitHow::Code(0));
    }
}

#[test]
fn f42_a_finished_attempt_is_not_started_again() {
    let attempt = counting("exit 5");
    attempt.run();
    assert_eq!(attempt.start().end(), 3);
    assert_eq!((attempt.record().how, count(&attempt)), (ExitHow::Code(5), 1));
}

/// Kills the wrapper in the N-th call of a kind, for every N, and asks the folder what happened. Whatever it says must be true.
#[test]
fn f42_killed_at_every_step() {
    if !has("strace") {
        return skip("f42_killed_at_every_step", "strace is not installed");
    }
    let mut seen = [0; 4];
    for calls in
        ["openat,open", "write", "rename,renameat,renameat2", "flock", "clone,clone3,vfork", "fdatasync,fsync", "pipe2", "wait4,waitid"]
    {
        for number in 1.. {
            assert!(number < 200, "{calls} without an end");
            let attempt = counting("exit 0");
            let code = injected(&attempt, calls, &format!("signal=KILL:when={number}"), &[]).end();
            // What a killed wrapper leaves goes on by itself.
            until(|| attempt.processes().is_empty().then_some(())).expect("the module ends");
            let ran = count(&attempt);
            assert!(ran <= 1, "{calls} {number}: it ran {ran} times");
            let standing = attempt.standing();
            let what = format!("killed in {calls} {number}: {standing:?}, ran {ran} times");
            match standing {
                Standing::Unclaimed => {
                    seen[0] += 1;
                    assert_eq!(ran, 0, "{what}");
                    assert_eq!(attempt.start().end(), 0, "{what}: it can still be started");
                }
                Standing::NeverStarted => {
                    seen[1] += 1;
                    assert_eq!(ran, 0, "{what}");
                    assert_eq!(attempt.start().end(), 3, "{what}: nobody starts it any more");
                    assert_eq!(count(&attempt), 0, "{what}");
                }
                Standing::Dead(start) => {
                    seen[2] += 1;
                    assert!(start.is_some(), "{what}");
                    assert_eq!(attempt.start().end(), 3, "{what}");
                }
                Standing::Ended(record) => {
                    seen[3] += 1;
                    assert_eq!((record.how, ran), (ExitHow::Code(0), 1), "{calls} {number}");
                }
                Standing::Alive(_) => panic!("{what}"),
            }
            if code == 0 {
                break;
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 2), "every kind of death was met: {seen:?}");
}

#[test]
fn f09_an_exit_record_waits_for_room_on_the_disk() {
    if !has("strace") {
        return skip("f09_an_exit_record_waits_for_room_on_the_disk", "strace is not installed");
    }
    for (error, times) in [("ENOSPC", "1..14"), ("EIO", "1..3")] {
        let attempt = counting("exit 6");
        assert_eq!(injected(&attempt, "fdatasync", &format!("error={error}:when={times}"), &[]).end(), 0, "{error}");
        assert_eq!((attempt.record().how, count(&attempt)), (ExitHow::Code(6), 1), "{error}");
    }
}

#[test]
fn f12_a_disk_that_never_takes_the_record_is_given_up() {
    if !has("strace") {
        return skip("f12_a_disk_that_never_takes_the_record_is_given_up", "strace is not installed");
    }
    let attempt = counting("exit 6");
    assert_eq!(injected(&attempt, "fdatasync", "error=EIO:when=1+", &[]).end(), 4);
    assert!(matches!(attempt.standing(), Standing::Dead(Some(_))));
}

#[test]
fn f47_a_slow_disk_slows_the_module_and_loses_nothing() {
    if !has("strace") {
        return skip("f47_a_slow_disk_slows_the_module_and_loses_nothing", "strace is not installed");
    }
    let attempt = Attempt::of(&["flood", "3000000", "stdout"]);
    let slow = format!("{}/stdout.log", attempt.path().display());
    let mut wrapper = injected(&attempt, "write", "delay_enter=20000", &["-P", &slow]);
    assert_eq!(wrapper.end(), 0);
    let record = attempt.record();
    assert!(record.duration.0 >= 40, "{record:?}");
    assert_eq!((record.how, record.streams[0].written, record.streams[0].lost), (ExitHow::Code(0), 3_000_000, 0));
    assert_eq!(attempt.log("stdout.log").len(), 3_000_000);
}
