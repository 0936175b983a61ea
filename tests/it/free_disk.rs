//! Free disk: what is said when there is little, and that nothing starts below the reserve.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Running, TestSpace};

const NO_ROOM: &str = "host: {reserve: {disk: 100000TiB}}\n";

#[test]
fn nothing_starts_below_the_reserve_and_everybody_is_told() {
    let space = TestSpace::new();
    space.module("quick", "", "mark('ran')");
    space.write("p.yaml", "nodes:\n  a: {module: quick}\n  b: {module: quick, when: \"${{ false }}\"}\n  c: {module: quick, needs: [a]}\n");
    space.write("prismq.yaml", NO_ROOM);
    let running = space.start(&["run", "p.yaml"]);
    running.wait_for_note("nothing starts below 100000 TiB");
    running.wait_for_note("host.reserve.disk");
    let reason = || space.node("last", "a")["reason"].as_str().unwrap_or_default().to_owned();
    space.wait_until("the condition is decided all the same", || space.node("last", "b")["status"] == "skipped");
    assert!(reason().starts_with("waits for disk: "), "{}", reason());
    assert_eq!(space.node("last", "c")["reason"], "waits for 1 node");
    space.prismq(&["runs"]).ends(0).complains("nothing starts below");
    running.signal(Signal::INT);
    running.end().ends(130);
    assert_eq!(space.marks("ran").len(), 0);
    // With room it starts at once.
    space.write("prismq.yaml", "host: {reserve: {disk: 0}}\n");
    space.prismq(&["run", "quick"]).ends(0);
}

/// A single module, whose own output is all that is shown, says it too.
#[test]
fn a_single_module_says_why_it_does_not_start() {
    let space = TestSpace::new();
    space.module("quick", "", "");
    space.write("prismq.yaml", NO_ROOM);
    let running = space.start(&["run", "quick", "--json"]);
    running.wait_for_note("nothing starts below");
    running.signal(Signal::INT);
    assert_eq!(running.end().ends(130).json()["run"]["status"], json!("cancelled"));
}

/// The program with the runs' folders on a small disk of its own, which goes away with it.
fn on_small_disk(space: &TestSpace, args: &[&str]) -> Option<Running> {
    const SCRIPT: &str = "mount -t tmpfs -o size=4m none runs && head -c 3800000 /dev/zero > runs/filler && exec \"$@\"";
    std::fs::create_dir_all(space.at("runs")).expect("a folder");
    let plain = space.command(args);
    let unshared = |command: &mut Command| {
        command.args(["--mount", "sh", "-c"]).current_dir(space.root());
    };
    let mut probe = Command::new("unshare");
    unshared(&mut probe);
    if !probe.arg("mount -t tmpfs none runs").output().is_ok_and(|done| done.status.success()) {
        return None;
    }
    let mut command = Command::new("unshare");
    unshared(&mut command);
    command.args([SCRIPT, "sh"]).arg(plain.get_program()).args(plain.get_args());
    command.env_remove("PRISMQ_WORKSPACE").envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(Running::start(command, None))
}

#[test]
fn a_full_disk_lets_runs_wait_until_there_is_room_again() {
    let space = TestSpace::new();
    space.module("first", "", "mark('began', NODE)\ngate('go')\nmark('ended', NODE)");
    space.module("second", "", "mark('ended', NODE)");
    space.write("p.yaml", "nodes:\n  a: {module: first}\n  b: {module: second, needs: [a]}\n");
    space.write("prismq.yaml", "host: {runs_dir: runs, reserve: {disk: 256KiB}}\n");
    let Some(running) = on_small_disk(&space, &["run", "p.yaml"]) else {
        eprintln!("skipped a_full_disk_lets_runs_wait_until_there_is_room_again: mounting needs root");
        return;
    };
    space.wait_for_marks("began", 1);
    // Seen from outside its own world of mounts.
    let runs = PathBuf::from(format!("/proc/{}/root", running.pid())).join(space.at("runs").strip_prefix("/").expect("absolute"));
    running.wait_for_note("of 4 MiB are free");
    std::fs::write(runs.join("more"), vec![1_u8; 150_000]).expect("written");
    running.wait_for_note("nothing starts below 256 KiB");
    space.open("go");
    running.wait_for("completed  a");
    assert_eq!(space.marks("ended"), ["a"], "what ran goes on, what follows waits");
    std::fs::remove_file(runs.join("filler")).expect("removed");
    running.wait_for_note("there is room on the disk again");
    running.end().ends(0).says("completed  b");
}
