//! `serve`: a host of its own, and how it ends: once, twice, thrice (F-37).
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Running, TestSpace};

/// Modules that wait for a gate: `wrapped` ones go on without a host, `direct` ones do not. `deaf` takes no notice of a polite stop.
fn with_modules() -> TestSpace {
    let space = TestSpace::new();
    let body = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: (mark('asked'), sys.exit(3)))\nmark('began', NODE)\ngate('go')\nmark('through', NODE)";
    space.module("wrapped", "grace: 20s\nresources: {cpus: 0}", body);
    space.module("direct", "grace: 20s\nisolation: direct\nresources: {cpus: 0}", body);
    let deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nmark('began', NODE)\ngate('go')\nmark('through', NODE)";
    space.module("deaf", "grace: 10m\nresources: {cpus: 0}", deaf);
    space.module("quick", "", "mark('quick')");
    space
}

fn serve(space: &TestSpace, args: &[&str]) -> Running {
    let serve = space.start(&[&["serve"], args].concat());
    serve.wait_for_note("hosting");
    serve
}

/// Starts a module at the host and waits until it runs.
fn detached(space: &TestSpace, module: &str) -> String {
    let before = space.marks("began").len();
    let run = space.prismq(&["run", module, "--detach"]).ends(0).stdout.trim().to_owned();
    space.wait_for_marks("began", before + 1);
    run
}

/// Nothing was cut off from the journal: every host that was there closed it properly.
fn journal_is_clean(space: &TestSpace) {
    let cut = std::fs::read_dir(space.at(".prismq/journal/quarantine")).map_or(0, Iterator::count);
    assert_eq!(cut, 0);
    space.prismq(&["runs"]).ends(0);
}

#[test]
fn serve_is_offered_and_says_how_it_ends() {
    let space = TestSpace::new();
    space.prismq(&["--help"]).ends(0).says("serve");
    let help = space.prismq(&["serve", "--help"]).ends(0).says("--on-exit").says("--until-idle").says("--port").says("would be lost");
    assert!(help.stdout.contains("the second stops all modules") && !help.stdout.contains("--background"), "{}", help.stdout);
}

#[test]
fn it_serves_on_the_port_that_it_was_given_and_ends_when_idle() {
    let space = with_modules();
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|taken| taken.local_addr()).expect("a free port").port();
    let serve = serve(&space, &["--port", &port.to_string(), "--until-idle"]);
    serve.wait_for_note(&format!("127.0.0.1:{port}"));
    space.prismq(&["run", "quick"]).ends(0);
    serve.end().ends(0);
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    space.prismq(&["serve", "--port", &port]).ends(2).complains("port");
}

#[test]
fn f17_a_second_serve_names_the_owner_at_once() {
    let space = with_modules();
    let first = serve(&space, &[]);
    let address: Value = serde_json::from_str(&space.read(".prismq/host.json")).expect("JSON");
    let asked = Instant::now();
    let second = space.prismq(&["serve"]).ends(75).complains(&first.pid().to_string());
    assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
    second.complains(&format!("127.0.0.1:{}", address["port"]));
    first.signal(Signal::INT);
    first.end().ends(0);
}

#[test]
fn a_host_that_is_just_leaving_is_waited_for() {
    let space = with_modules();
    let first = serve(&space, &[]);
    detached(&space, "direct");
    first.signal(Signal::TERM);
    first.wait_for_note("waiting for 1 direct attempt");
    let second = space.start(&["serve"]);
    space.open("go");
    first.end().ends(0);
    second.wait_for_note("hosting").signal(Signal::TERM);
    second.end().ends(0);
}

#[test]
fn f37_once_leave_waits_for_direct_attempts_and_leaves_wrapped_ones() {
    let space = with_modules();
    let first = serve(&space, &[]);
    let wrapped = detached(&space, "wrapped");
    let direct = detached(&space, "direct");
    first.signal(Signal::INT);
    first.wait_for_note("leaving: 1 attempt goes on, and the next host adopts it; waiting for 1 direct attempt, which would be lost");
    // Nothing new is taken. Whoever asks waits for the next host, which in the end is that one itself.
    space.open("go");
    first.end().ends(0);
    assert_eq!(space.show(&direct)["run"]["status"], "completed");
    let second = serve(&space, &[]);
    space.prismq(&["wait", &wrapped]).ends(0);
    assert_eq!(space.node(&wrapped, "wrapped")["attempts"], 1);
    assert_eq!((space.marks("asked").len(), space.marks("through").len()), (0, 2));
    second.signal(Signal::TERM);
    second.end().ends(0);
    journal_is_clean(&space);
}

#[test]
fn f37_once_leave_goes_at_once_where_everything_is_wrapped() {
    let space = with_modules();
    let first = serve(&space, &["--on-exit", "leave"]);
    let run = detached(&space, "wrapped");
    first.signal(Signal::INT);
    first.end().ends(0).complains("the next host adopts it");
    assert_eq!(space.marks("through").len(), 0);
    space.open("go");
    space.wait_for_marks("through", 1);
    let second = serve(&space, &["--until-idle"]);
    space.prismq(&["wait", &run]).ends(0);
    assert_eq!(space.node(&run, "wrapped")["attempts"], 1);
    second.end().ends(0);
}

#[test]
fn f37_once_drain_waits_for_all() {
    let space = with_modules();
    let first = serve(&space, &["--on-exit", "drain"]);
    let run = detached(&space, "wrapped");
    first.signal(Signal::INT);
    first.wait_for_note("draining: waiting for 1 attempt");
    space.open("go");
    first.end().ends(0);
    assert_eq!(space.show(&run)["run"]["status"], "completed");
}

#[test]
fn f37_once_kill_stops_all_and_the_next_serve_goes_on() {
    let space = with_modules();
    let first = serve(&space, &["--on-exit", "kill"]);
    let runs = [detached(&space, "wrapped"), detached(&space, "direct")];
    first.signal(Signal::INT);
    first.end().ends(0).complains("stopping 2 attempts");
    assert_eq!((space.marks("asked").len(), space.processes()), (2, vec![]));
    for run in &runs {
        let shown = space.show(run);
        assert_eq!((&shown["run"]["held"], &shown["nodes"][0]["status"]), (&json!(true), &json!("queued")), "{shown}");
        assert!(shown["nodes"][0]["reason"].as_str().is_some_and(|reason| reason.contains("the host ended it when it left")), "{shown}");
    }
    journal_is_clean(&space);
    let second = serve(&space, &[]);
    space.wait_for_marks("began", 4);
    space.open("go");
    for run in &runs {
        space.prismq(&["wait", run]).ends(0);
    }
    second.signal(Signal::TERM);
    second.end().ends(0);
}

#[test]
fn f37_twice_runs_the_ladder_on_all() {
    let space = with_modules();
    let first = serve(&space, &[]);
    let wrapped = detached(&space, "wrapped");
    detached(&space, "direct");
    first.signal(Signal::INT);
    first.wait_for_note("waiting for 1 direct attempt");
    first.signal(Signal::INT);
    first.end().ends(0).complains("stopping 2 attempts");
    assert_eq!((space.marks("asked").len(), space.processes()), (2, vec![]));
    assert_eq!(space.node(&wrapped, "wrapped")["signals"], json!(["TERM"]));
    journal_is_clean(&space);
}

#[test]
fn f37_twice_does_not_wait_for_the_grace_where_the_ladder_runs_already() {
    let space = with_modules();
    let first = serve(&space, &["--on-exit", "kill"]);
    let run = detached(&space, "deaf");
    first.signal(Signal::INT);
    first.wait_for_note("stopping 1 attempt");
    first.signal(Signal::TERM);
    first.end().ends(0).complains("killing 1 attempt");
    assert_eq!(space.processes(), []);
    assert_eq!(space.node(&run, "deaf")["escalated"], true);
}

#[test]
fn f37_thrice_exits_at_once_and_wrapped_modules_go_on() {
    let space = with_modules();
    let first = serve(&space, &[]);
    let wrapped = detached(&space, "deaf");
    space.module(
        "lost",
        "grace: 10m\nisolation: direct\nresources: {cpus: 0}",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nmark('began', NODE)\ngate('never')",
    );
    let direct = detached(&space, "lost");
    for note in ["waiting for 1 direct attempt", "stopping 2 attempts", "ending at once"] {
        first.signal(Signal::INT);
        first.wait_for_note(note);
    }
    first.end().ends(130);
    journal_is_clean(&space);
    // Both modules live on. What was wrapped is still being stopped, by its wrapper alone; what was direct is found by its mark.
    assert!(space.processes().len() >= 3, "{:?}", space.processes());
    space.open("go");
    space.wait_for_marks("through", 1);
    let second = serve(&space, &[]);
    space.wait_until("the direct one was ended", || space.node(&direct, "lost")["attempts"] != json!(1) || space.processes().len() <= 2);
    space.prismq(&["cancel", "--kill", &direct]).ends(0);
    let shown = space.node(&wrapped, "deaf");
    assert_eq!(shown["attempts"], 1, "{shown}");
    second.signal(Signal::TERM);
    second.end().ends(0);
}

#[test]
fn who_follows_a_run_is_told_when_its_host_ended_it() {
    let space = with_modules();
    let first = serve(&space, &["--on-exit", "kill"]);
    let running = space.start(&["run", "wrapped"]);
    space.wait_for_marks("began", 1);
    first.signal(Signal::TERM);
    first.end().ends(0);
    running.end().ends(5).complains("left and ended what ran").complains("prismq resume");
    space.open("go");
    space.prismq(&["resume"]).ends(0);
}

#[test]
fn who_follows_a_run_goes_on_where_its_host_left_it() {
    let space = with_modules();
    let first = serve(&space, &[]);
    let running = space.start(&["run", "wrapped"]);
    space.wait_for_marks("began", 1);
    first.signal(Signal::TERM);
    first.end().ends(0);
    // It is the host itself now.
    space.wait_until("somebody is the host", || space.at(".prismq/host.json").exists());
    space.open("go");
    running.end().ends(0);
    assert_eq!(space.node("last", "wrapped")["attempts"], 1);
}

/// Ctrl-C in a terminal whose host handed over ends that terminal's run, at whichever host it is by then.
#[test]
fn ctrl_c_reaches_a_wrapped_run_across_a_hand_over() {
    let space = with_modules();
    space.module("short", "resources: {cpus: 0}", "mark('began', NODE)\ngate('short')");
    let first = space.start(&["run", "short"]);
    space.wait_for_marks("began", 1);
    let second = space.start(&["run", "deaf"]);
    space.wait_for_marks("began", 2);
    space.open("short");
    first.end().ends(0);
    second.signal(Signal::INT);
    second.wait_for_note("once more");
    second.signal(Signal::INT);
    second.end().ends(130).complains("killing");
    assert_eq!(space.statuses("last"), ["deaf=cancelled"]);
    assert_eq!(space.node("last", "deaf")["signals"], json!(["TERM", "KILL"]));
    space.wait_until("nobody is left", || space.processes().is_empty());
}

/// A terminal that is closed leaves its wrapped run to a host in the background, where another one can cancel it.
#[test]
fn a_run_goes_on_after_a_hang_up_and_can_be_cancelled_from_elsewhere() {
    let space = with_modules();
    let running = space.start(&["run", "wrapped"]);
    space.wait_for_marks("began", 1);
    running.signal(Signal::HUP);
    running.end();
    space.prismq(&["cancel", "last"]).ends(0).says("cancelled");
    assert_eq!((space.marks("asked").len(), space.marks("through").len()), (1, 0));
    assert_eq!(space.node("last", "wrapped")["attempts"], 1);
    space.wait_until("nobody is left", || space.processes().is_empty());
}

/// A host whose own run is over waits for the direct attempts of others. Whoever sits there is not locked in.
#[test]
fn a_terminal_that_waits_for_others_can_be_left() {
    let space = with_modules();
    space.module("short", "resources: {cpus: 0}", "mark('began', NODE)\ngate('short')");
    let first = space.start(&["run", "short"]);
    space.wait_for_marks("began", 1);
    let second = space.start(&["run", "direct"]);
    space.wait_for_marks("began", 2);
    space.open("short");
    first.wait_for_note("waiting for 1 direct attempt of other runs");
    first.signal(Signal::INT);
    first.wait_for_note("once more ends this host at once");
    first.signal(Signal::INT);
    first.end().ends(130);
    second.end().ends(5);
    space.wait_until("nobody is left", || space.processes().is_empty());
}
