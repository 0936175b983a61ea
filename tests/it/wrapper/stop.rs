//! The kill ladder.

use std::time::{Duration, Instant};

use prismq::attempt::{ExitHow, Standing, StopAs, StopRequest};
use prismq::units::DurationMs;
use rustix::process::Signal;

use super::{Attempt, FewProcesses, Wrapper, ended_by, signal, skip};
use crate::support::{stub, until};

#[test]
fn a_polite_stop_is_enough_for_a_polite_module() {
    let attempt = Attempt::shell("trap 'echo bye; exit 7' TERM; echo ready; sleep 60 & wait");
    let mut wrapper = attempt.start();
    attempt.says("ready");
    attempt.stop(StopAs::Polite, 30_000);
    assert_eq!(wrapper.end(), 0);
    let record = attempt.record();
    assert_eq!((record.how, record.signals, record.escalated), (ExitHow::Code(7), vec!["TERM".to_owned()], false));
    assert_eq!(attempt.out(), "ready\nbye\n");
    attempt.nothing_is_left();
}

#[test]
fn f23_a_module_that_ignores_the_polite_stop() {
    let attempt = Attempt::of(&["ignore-stop"]);
    attempt.start_and(|attempt| {
        attempt.says("ready");
        let begun = Instant::now();
        attempt.stop(StopAs::Polite, 300);
        attempt.ended();
        assert!(begun.elapsed() >= Duration::from_millis(300), "it had its grace");
    });
    let record = attempt.record();
    assert_eq!((record.how, record.signals, record.escalated), (ended_by(9), vec!["TERM".to_owned(), "KILL".to_owned()], true));
    assert_eq!(attempt.out(), "ready\nstop ignored\n");
    attempt.nothing_is_left();
}

#[test]
fn a_kill_does_not_wait_for_a_grace() {
    let attempt = Attempt::of(&["ignore-stop"]);
    attempt.start_and(|attempt| {
        attempt.says("ready");
        attempt.stop(StopAs::Polite, 600_000);
        attempt.says("stop ignored");
        attempt.stop(StopAs::Kill, 0);
        attempt.ended();
    });
    let record = attempt.record();
    assert_eq!((record.how, record.escalated), (ended_by(9), true));
    attempt.nothing_is_left();
}

#[test]
fn a_signal_to_the_wrapper_is_a_stop() {
    let attempt = Attempt::of(&["ignore-stop"]).with(|spec| spec.grace = DurationMs(600_000));
    attempt.start_and(|attempt| {
        attempt.says("ready");
        let wrapper = attempt.alive().wrapper.pid;
        signal(wrapper, Signal::TERM);
        attempt.says("stop ignored");
        assert!(matches!(attempt.standing(), Standing::Alive(_)));
        signal(wrapper, Signal::TERM);
        attempt.ended();
    });
    assert_eq!(attempt.record().signals, ["TERM", "KILL"]);

    let graceful = Attempt::of(&["ignore-stop"]).with(|spec| spec.grace = DurationMs(100));
    graceful.start_and(|attempt| {
        attempt.says("ready");
        signal(attempt.alive().wrapper.pid, Signal::TERM);
        attempt.ended();
    });
    assert!(graceful.record().escalated, "the grace of the spec counts");
}

#[test]
fn f28_a_module_that_stopped_itself_is_stopped() {
    let attempt = Attempt::shell("echo ready; kill -STOP $$; echo never");
    attempt.start_and(|attempt| {
        attempt.says("ready");
        attempt.stop(StopAs::Polite, 600_000);
        attempt.ended();
    });
    let record = attempt.record();
    assert_eq!((record.how, record.escalated, attempt.out().as_str()), (ended_by(15), false, "ready\n"));
}

#[test]
fn f24_a_fork_bomb_is_ended() {
    let Some(group) = FewProcesses::new("bomb", 120) else {
        return skip("f24_a_fork_bomb_is_ended", "no control group for a number of processes can be made");
    };
    let attempt = Attempt::of(&["fork-bomb"]);
    let mut wrapper = Wrapper(group.inside(&attempt.command()).spawn().expect("it starts"));
    until(|| (attempt.processes().len() > 100).then_some(())).expect("it grows to its limit");
    let begun = Instant::now();
    attempt.stop(StopAs::Kill, 0);
    assert_eq!(wrapper.end(), 0);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(attempt.record().how, ended_by(9));
    attempt.nothing_is_left();
}

#[test]
fn f24_a_bomb_that_is_left_behind_is_ended_too() {
    let Some(group) = FewProcesses::new("left", 60) else {
        return skip("f24_a_bomb_that_is_left_behind_is_ended_too", "no control group for a number of processes can be made");
    };
    let attempt = Attempt::shell(&format!("'{}' fork-bomb & exit 0", stub().display()));
    let mut wrapper = Wrapper(group.inside(&attempt.command()).spawn().expect("it starts"));
    assert_eq!(wrapper.end(), 0);
    let record = attempt.record();
    assert_eq!(record.how, ExitHow::Code(0));
    assert!(!record.leaked.is_empty());
    attempt.nothing_is_left();
}

#[test]
fn a_family_in_many_sessions_is_ended_as_one() {
    let attempt = Attempt::shell("for i in 1 2 3 4 5; do setsid sh -c 'setsid sleep 60 & setsid sleep 60 & wait' & done; echo ready; wait");
    attempt.start_and(|attempt| {
        until(|| (attempt.processes().len() >= 16).then_some(())).expect("all are there");
        attempt.stop(StopAs::Kill, 0);
        attempt.ended();
    });
    attempt.nothing_is_left();
}

#[test]
fn a_stop_before_the_start_prevents_it() {
    for how in [StopAs::Polite, StopAs::Kill] {
        let attempt = Attempt::shell("echo ran");
        StopRequest { how, grace: DurationMs(0) }.write(attempt.path()).expect("the request is written");
        assert_eq!(attempt.run().how, ExitHow::Prevented);
        assert_eq!(attempt.out(), "");
    }
    let attempt = Attempt::shell("echo ran");
    std::fs::write(attempt.at("stop.json"), "not understood").expect("a file");
    assert_eq!(attempt.run().how, ExitHow::Prevented, "whoever wrote it wanted no start");
}

#[test]
fn a_stop_during_the_start_is_not_lost() {
    // Not waiting for the wrapper and its start is the point; the pauses only spread the moments.
    for round in 0..40_u64 {
        let attempt = Attempt::of(&["sleep"]);
        let mut wrapper = attempt.start();
        let moment = Instant::now() + Duration::from_micros(round * 150);
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        attempt.stop(if round % 2 == 0 { StopAs::Polite } else { StopAs::Kill }, 600_000);
        assert_eq!(wrapper.end(), 0);
        let how = attempt.record().how;
        assert!(how == ExitHow::Prevented || how == ended_by(15) || how == ended_by(9), "{how:?}");
        attempt.nothing_is_left();
    }
}

#[test]
fn what_a_stopped_module_leaves_is_ended_even_where_leaks_are_allowed() {
    let attempt = Attempt::shell("setsid sleep 60 & trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done");
    let attempt = attempt.with(|spec| spec.leaks = prismq::request::Leaks::Allow);
    attempt.start_and(|attempt| {
        attempt.says("ready");
        attempt.stop(StopAs::Polite, 600_000);
        attempt.ended();
    });
    attempt.nothing_is_left();
}

#[test]
fn f31_a_group_whose_leader_was_waited_for_is_not_signalled() {
    // The module is gone and its number free, what it left is in its grace: a polite stop in that moment must not go to that number.
    let attempt = Attempt::shell("setsid sh -c 'echo ready; exec sleep 60' & exec sleep 0.01");
    let mut wrapper = attempt.start();
    attempt.stop(StopAs::Polite, 600_000);
    assert_eq!(wrapper.end(), 0);
    attempt.nothing_is_left();
}

impl Attempt {
    /// Starts it, does something meanwhile, and waits for the wrapper's end.
    #[track_caller]
    fn start_and(&self, meanwhile: impl FnOnce(&Self)) {
        let mut wrapper = self.start();
        meanwhile(self);
        assert_eq!(wrapper.end(), 0);
    }
}
