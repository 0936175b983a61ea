//! Ending runs early: `cancel`, Ctrl-C, modules that do not listen.
#![cfg(unix)]

use rustix::process::Signal;

use crate::support::{TestSpace, stub, until};

/// A module that runs until it is stopped, and one that takes no notice of a polite stop.
fn with_modules() -> TestSpace {
    let space = TestSpace::new();
    space.module("long", "grace: 20s", "mark('began', NODE)\ngate('never')");
    space.module(
        "deaf",
        "grace: 500ms",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nmark('began', NODE)\ngate('never')",
    );
    space.module("quick", "", "mark('quick')");
    space.write("p.yaml", "nodes:\n  a: {module: long}\n  b: {module: quick, needs: [a]}\n");
    space
}

#[test]
fn cancel_waits_until_it_is_over() {
    let space = with_modules();
    let running = space.start(&["run", "p.yaml"]);
    let run = running.run_id();
    space.wait_for_marks("began", 1);
    space.prismq(&["cancel", &run]).ends(0).says("cancelled");
    assert_eq!(space.show(&run)["run"]["status"], "cancelled");
    running.end().ends(7);
    assert_eq!(space.statuses(&run), ["a=cancelled", "b=cancelled"]);
    assert_eq!(space.marks("quick").len(), 0);
    // A terminal state never changes.
    space.prismq(&["cancel", &run]).ends(0).complains("cancelled");
    space.prismq(&["run", "quick"]).ends(0);
    space.prismq(&["cancel", "last"]).ends(0).complains("completed");
    assert_eq!(space.show("last")["run"]["status"], "completed");
    space.prismq(&["wait", &run]).ends(7);
    space.prismq(&["cancel", "nothing"]).ends(4);
}

#[test]
fn folders_made_ahead_go_when_a_run_is_cancelled() {
    let space = with_modules();
    space.write("prismq.yaml", "host: {max_concurrent: 1}\n");
    let nodes: String = (0..20).map(|number| format!("  n{number}: {{module: long}}\n")).collect();
    space.write("many.yaml", format!("nodes:\n{nodes}"));
    let running = space.start(&["run", "many.yaml"]);
    let run = running.run_id();
    space.wait_for_marks("began", 1);
    // With one place the host has nothing else to do: it makes those of all that are ready.
    let folders = || {
        let inside = std::fs::read_dir(space.at(".prismq/runs").join(&run)).expect("the run's folder").flatten();
        let mut names: Vec<String> = inside.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| name.ends_with(".1"));
        names
    };
    assert!(until(|| (folders().len() == 20).then_some(())).is_some(), "{:?}", folders());
    space.prismq(&["cancel", &run]).ends(0);
    running.end().ends(7);
    assert_eq!(folders(), ["n0.1"]);
}

#[test]
fn ctrl_c_cancels_ones_own_run() {
    let space = with_modules();
    let running = space.start(&["run", "p.yaml"]);
    space.wait_for_marks("began", 1);
    running.signal(Signal::INT);
    running.end().ends(130).complains("cancelling");
    assert_eq!(space.statuses("last"), ["a=cancelled", "b=cancelled"]);
}

#[test]
fn a_second_ctrl_c_kills() {
    let space = TestSpace::new();
    let deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nmark('began', NODE)\ngate('never')";
    space.module("deaf", "grace: 10m", deaf);
    let running = space.start(&["run", "deaf"]);
    space.wait_for_marks("began", 1);
    running.signal(Signal::INT);
    running.wait_for_note("once more");
    running.signal(Signal::INT);
    running.end().ends(130).complains("killing");
    assert_eq!(space.statuses("last"), ["deaf=cancelled"]);
}

#[test]
fn who_ignores_the_polite_stop_is_killed_after_the_grace() {
    let space = with_modules();
    let running = space.start(&["run", "deaf"]);
    space.wait_for_marks("began", 1);
    space.prismq(&["cancel", "last"]).ends(0);
    running.end().ends(7);
    assert_eq!(space.statuses("last"), ["deaf=cancelled"]);
}

#[test]
fn force_does_not_wait_for_the_grace() {
    let space = TestSpace::new();
    let deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nmark('began', NODE)\ngate('never')";
    space.module("deaf", "grace: 10m", deaf);
    let running = space.start(&["run", "deaf"]);
    space.wait_for_marks("began", 1);
    space.prismq(&["cancel", "last", "--force"]).ends(0);
    running.end().ends(7);
}

#[test]
fn a_whole_group_is_stopped() {
    let space = TestSpace::new();
    let running = space.start(&["exec", &stub().display().to_string(), "--", "many-children", "5"]);
    running.wait_for("ready");
    assert!(space.processes().len() >= 6);
    running.signal(Signal::INT);
    running.end().ends(130);
    assert_eq!(space.processes(), []);
}

#[test]
fn waiting_and_retrying_nodes_are_cancelled_as_well() {
    let space = TestSpace::new();
    space.module("fails", "retry: {attempts: 9, on: [exit], backoff: 10m, max_backoff: 10m}", "mark('began')\nsys.exit(1)");
    space.write("p.yaml", "nodes:\n  a: {module: fails}\n  b: {module: fails, needs: [a]}\n");
    let running = space.start(&["run", "p.yaml"]);
    running.wait_for("retrying   a");
    space.prismq(&["cancel", "last"]).ends(0);
    running.end().ends(7);
    assert_eq!(space.statuses("last"), ["a=cancelled", "b=cancelled"]);
    assert_eq!(space.marks("began").len(), 1);
}

#[test]
fn ctrl_c_under_wait_only_stops_waiting() {
    let space = TestSpace::new();
    space.module("gated", "", "mark('began')\ngate('go')");
    let running = space.start(&["run", "gated"]);
    space.wait_for_marks("began", 1);
    let waiting = space.start(&["wait", "last"]);
    space.wait_until("it follows", || {
        std::fs::read(format!("/proc/{}/status", waiting.pid())).is_ok_and(|text| {
            // SIGINT is caught (bit 1 of the mask): from here on it will not just die of it.
            let text = String::from_utf8_lossy(&text).into_owned();
            let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim).unwrap_or("0").to_owned();
            u64::from_str_radix(&mask, 16).is_ok_and(|mask| mask & 2 != 0)
        })
    });
    waiting.signal(Signal::INT);
    waiting.end().ends(130);
    space.open("go");
    running.end().ends(0);
}
