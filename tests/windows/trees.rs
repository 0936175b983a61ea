//! Nothing of a module outlives its attempt: the job object takes every process that it starts, however deep.

use prismq::attempt::{ExitHow, ProcessIdentity, Standing, StopAs};
use prismq::request::Leaks;

use crate::attempt::{Attempt, gone};
use crate::support::until;

/// The processes whose numbers a module has written, one in a line.
#[track_caller]
fn named(attempt: &Attempt, count: usize) -> Vec<ProcessIdentity> {
    let lines = attempt.wait_for_lines(count);
    let found: Vec<ProcessIdentity> = lines.iter().filter_map(|line| line.trim().parse().ok()).map(ProcessIdentity::of).collect();
    assert!(found.len() == count && found.iter().all(|process| process.started > 0 && process.is_alive()), "{lines:?}: {found:?}");
    found
}

#[test]
fn a_kill_takes_child_and_grandchild() {
    let mut attempt = Attempt::of(&["family", "3"]).start();
    let family = named(&attempt, 3);
    attempt.stop(StopAs::Kill, 0);
    let record = attempt.ended();
    assert_eq!((record.how, record.signals), (ExitHow::Code(0xC000_013A), vec!["KILL".to_owned()]));
    assert_eq!(record.leaked, Vec::<u32>::new(), "who is killed leaks nothing");
    // The record comes after the last of them.
    assert!(family.iter().all(|process| !process.is_alive()), "{family:?}");
}

#[test]
fn f24_twenty_children_are_ended_at_once() {
    let mut attempt = Attempt::of(&["many-children", "20"]).start();
    attempt.wait_for_lines(1);
    attempt.stop(StopAs::Kill, 0);
    assert_eq!(attempt.ended().how, ExitHow::Code(0xC000_013A));
}

#[test]
fn f39_the_death_of_the_wrapper_is_that_of_its_module() {
    let mut attempt = Attempt::of(&["family", "3"]).start();
    let family = named(&attempt, 3);
    let record = attempt.started();
    attempt.wrapper.as_mut().expect("it was started").kill().expect("it can be killed");
    family.into_iter().for_each(gone);
    let dead = until(|| if let Standing::Dead(record) = attempt.standing() { Some(record) } else { None });
    assert_eq!(dead, Some(Some(record)), "what is known of it stays");
    assert!(!attempt.folder.join("exit.json").exists());
}

#[test]
fn f26_what_is_left_behind_is_ended_after_a_normal_end() {
    for mode in ["leak-child", "leak-quiet-child"] {
        let mut attempt = Attempt::of(&[mode]).start();
        let record = attempt.ended();
        let pid: u32 = attempt.lines()[0].trim().parse().expect("its number");
        assert_eq!((record.how, record.leaked), (ExitHow::Code(0), vec![pid]), "{mode}");
        assert!(!ProcessIdentity::of(pid).is_alive(), "{mode}: {pid} is still there");
    }
}

#[test]
fn what_is_allowed_to_stay_outlives_the_wrapper() {
    let mut attempt = Attempt::with(&["leak-quiet-child"], |spec| spec.leaks = Leaks::Allow).start();
    let record = attempt.ended();
    let pid: u32 = attempt.lines()[0].trim().parse().expect("its number");
    assert_eq!((record.how, record.leaked), (ExitHow::Code(0), vec![pid]));
    let left = ProcessIdentity::of(pid);
    assert!(left.started > 0 && left.is_alive());
    let killed = std::process::Command::new("taskkill").args(["/F", "/PID", &pid.to_string()]).output().expect("taskkill runs");
    assert!(killed.status.success(), "{killed:?}");
    gone(left);
}
