//! What a module leaves behind.

use std::time::{Duration, Instant};

use prismq::attempt::ExitHow;
use prismq::request::Leaks;

use super::{Attempt, lives};

#[test]
fn f25_a_daemon_is_found_and_ended() {
    // In a session of its own, without streams, its parent gone: only its descent gives it away.
    let attempt = Attempt::shell("setsid sh -c 'sh -c \"exec sleep 60 </dev/null >/dev/null 2>&1\" & echo $!' ; exit 4");
    let record = attempt.run();
    assert_eq!(record.how, ExitHow::Code(4));
    let said: u32 = attempt.out().trim().parse().expect("its number");
    assert_eq!(record.leaked, [said]);
    assert!(!lives(said));
    attempt.nothing_is_left();
}

#[test]
fn f25_a_daemon_of_a_module_that_goes_on() {
    let attempt = Attempt::of(&["daemonize"]);
    let record = attempt.run();
    assert_eq!(record.how, ExitHow::Code(0));
    assert!(!record.leaked.is_empty());
    attempt.nothing_is_left();
}

#[test]
fn f26_a_child_that_holds_the_pipes_does_not_hold_up_the_result() {
    let attempt = Attempt::of(&["leak-child"]);
    let begun = Instant::now();
    let record = attempt.run();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(record.duration.0 < 200, "it ended when the program ended: {record:?}");
    let said: u32 = attempt.out().trim().parse().expect("its number");
    assert_eq!((record.how, record.leaked), (ExitHow::Code(0), vec![said]));
    assert!(!lives(said));
}

#[test]
fn what_leaves_by_itself_is_no_leak() {
    let attempt = Attempt::shell("(sleep 0.05; echo late) & echo soon");
    let record = attempt.run();
    assert_eq!((record.how, record.leaked, attempt.out().as_str()), (ExitHow::Code(0), vec![], "soon\nlate\n"));
}

#[test]
fn a_stranger_that_holds_the_pipe_is_left_alone() {
    // Started by the test and not by the module, which only lends it its output.
    let attempt = Attempt::shell("echo ready; read line < \"$PRISMQ_ARTIFACTS/go\"; exit 5");
    let go = attempt.at("go");
    assert!(std::process::Command::new("mkfifo").arg(&go).status().expect("mkfifo").success());
    let mut wrapper = attempt.start();
    attempt.says("ready");
    let child = attempt.alive().child.expect("it runs").pid;
    let mut stranger = std::process::Command::new("/bin/sleep");
    let borrowed = std::fs::OpenOptions::new().write(true).open(format!("/proc/{child}/fd/1")).expect("its output");
    let mut stranger = stranger.arg("60").stdout(borrowed).spawn().expect("a stranger");
    let begun = Instant::now();
    std::fs::write(&go, "now\n").expect("it is told");
    assert_eq!(wrapper.end(), 0);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let record = attempt.record();
    assert_eq!((record.how, record.leaked), (ExitHow::Code(5), vec![]));
    assert_eq!(stranger.try_wait().expect("a child"), None, "it lives");
    stranger.kill().expect("it ends");
    stranger.wait().expect("it ends");
}

#[test]
fn allowed_leaks_live_on_and_are_reported() {
    let attempt = Attempt::of(&["leak-child"]).with(|spec| spec.leaks = Leaks::Allow);
    let begun = Instant::now();
    let record = attempt.run();
    assert!(begun.elapsed() < Duration::from_secs(5));
    let said: u32 = attempt.out().trim().parse().expect("its number");
    assert_eq!((record.how, record.leaked), (ExitHow::Code(0), vec![said]));
    assert!(lives(said));
}

#[test]
fn orphans_of_a_long_module_do_not_pile_up_as_zombies() {
    let attempt = Attempt::shell("for i in 1 2 3 4 5 6 7 8; do (sh -c 'exit 0' &) ; done; echo ready; sleep 60");
    let wrapper = attempt.start();
    attempt.says("ready");
    let children = || {
        let pid = wrapper.pid();
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default().split_whitespace().count()
    };
    assert!(crate::support::until(|| (children() == 1).then_some(())).is_some(), "{} children", children());
}
