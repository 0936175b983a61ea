//! The host dies by `kill -9`: nothing acknowledged is lost, nothing that finished runs again, nothing of the dead is left. What a direct
//! attempt loses with its host; wrapped ones are in `adopt.rs`.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{LIMIT, TestSpace};

#[test]
fn a_killed_run_is_held_and_resumed() {
    let space = TestSpace::awkward();
    space.module("step", "", "mark('steps', NODE)\nout(v=NODE)");
    space.module("gated", "isolation: direct", "mark('steps', NODE)\ngate('go')\nout(v=NODE)");
    space.write(
        "p.yaml",
        "outputs: {all: \"${{ [nodes.a.outputs.v, nodes.b.outputs.v, nodes.c.outputs.v] }}\"}\nnodes:\n  a: {module: step}\n  b: {module: gated, needs: [a], retry: {attempts: 2, on: [lost]}}\n  c: {module: step, needs: [b]}\n",
    );
    let running = space.start(&["run", "p.yaml"]);
    let run = running.run_id();
    running.wait_for("running    b");
    space.wait_for_marks("steps", 2);
    running.kill().ends(137);

    let row = space.prismq(&["runs", "--json"]).ends(0).json()[0].clone();
    assert_eq!((&row["run_id"], &row["held"]), (&json!(run), &json!(true)));
    space.prismq(&["runs"]).ends(0).says("held");
    space.prismq(&["wait", &run]).ends(5).complains("resume");
    assert_eq!(space.node(&run, "a")["status"], "completed");

    space.open("go");
    let ran = space.prismq(&["resume"]).ends(0);
    assert!(ran.stdout.contains(&run), "{ran:?}");
    assert_eq!(space.statuses(&run), ["a=completed", "b=completed", "c=completed"]);
    assert_eq!(space.show(&run)["outputs"], json!({"all": ["a", "b", "c"]}));
    assert_eq!(space.marks("steps"), ["a", "b", "b", "c"]);
    assert_eq!(space.node(&run, "b")["attempts"], 2);
    space.prismq(&["resume", &run]).ends(2);
    space.prismq(&["resume"]).ends(0).complains("nothing to resume");
}

/// Whether the work of a lost attempt was done nobody knows: only a person, by `resume`, repeats it where `lost` is not among the causes.
#[test]
fn a_lost_attempt_is_not_repeated_by_itself() {
    let space = TestSpace::new();
    space.module("gated", "isolation: direct\nretry: {attempts: 3, on: [exit, timeout]}", "mark('steps', NODE)\ngate('go')");
    space.module("quick", "", "");
    let running = space.start(&["run", "gated"]);
    let run = {
        space.wait_for_marks("steps", 1);
        running.kill();
        space.show("last")["run"]["run_id"].as_str().expect("an id").to_owned()
    };
    space.open("go");
    space.prismq(&["run", "quick"]).ends(0);
    assert_eq!(space.marks("steps").len(), 1, "another host alone repeats nothing");
    let reason = space.node(&run, "gated")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("host"), "{reason}");
    space.prismq(&["resume", &run]).ends(0);
    assert_eq!((space.node(&run, "gated")["attempts"].as_u64(), space.marks("steps").len()), (Some(2), 2));
}

#[test]
fn orphans_of_a_dead_host_are_ended_before_anything_goes_on() {
    let space = TestSpace::new();
    space.module("spawns", "isolation: direct\nretry: {attempts: 2, on: [lost]}", "import subprocess\nif ATTEMPT == 1:\n    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)'], start_new_session=True)\n    mark('began')\n    gate('never')");
    let running = space.start(&["run", "spawns"]);
    space.wait_for_marks("began", 1);
    running.kill();
    let orphans = space.processes();
    assert!(orphans.len() >= 2, "they live on: {orphans:?}");
    space.prismq(&["resume"]).ends(0);
    assert_eq!(space.processes(), []);
}

#[test]
fn a_new_run_beside_a_held_one() {
    let space = TestSpace::new();
    space.module("gated", "retry: {attempts: 2, on: [lost]}", "mark('steps', NODE)\ngate('go')");
    space.module("quick", "", "print('quick')");
    let running = space.start(&["run", "gated"]);
    space.wait_for_marks("steps", 1);
    running.kill();
    let ran = space.prismq(&["run", "quick"]).ends(0).says("quick").complains("resume");
    assert!(ran.stderr.contains("interrupted"), "{ran:?}");
    assert_eq!(space.show("@~1")["run"]["held"], true);
    space.prismq(&["cancel", "@~1"]).ends(0);
    assert_eq!(space.show("@~1")["run"]["status"], "cancelled");
    assert_eq!(space.marks("steps").len(), 1);
}

#[test]
fn an_attached_run_says_that_the_host_died() {
    let space = TestSpace::new();
    space.module(
        "gated",
        "params: {properties: {n: {type: integer}}}\nretry: {attempts: 2, on: [lost]}",
        "mark('steps', NODE)\ngate('go')",
    );
    let host = space.start(&["run", "gated", "-p", "n=1"]);
    space.wait_for_marks("steps", 1);
    let attached = space.start(&["run", "gated", "-p", "n=2"]);
    space.wait_for_marks("steps", 2);
    host.kill();
    attached.end().ends(5).complains("resume");
    space.open("go");
    space.prismq(&["resume"]).ends(0);
    space.prismq(&["resume"]).ends(0);
    assert_eq!(space.show("last")["run"]["status"], "completed");
    assert_eq!(space.show("@~1")["run"]["status"], "completed");
}

/// A cancel that was answered is not forgotten by the crash after it.
#[test]
fn a_recorded_cancel_survives() {
    let space = TestSpace::new();
    space.module(
        "deaf",
        "grace: 1s\nretry: {attempts: 5, on: [lost]}",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nmark('steps')\ngate('never')",
    );
    let running = space.start(&["run", "deaf"]);
    space.wait_for_marks("steps", 1);
    running.signal(rustix::process::Signal::INT);
    running.wait_for_note("cancelling");
    // The note comes before the answer; the journal has the record once it was synced.
    space.wait_until("the cancel is recorded", || space.read(".prismq/journal/000001.jsonl").contains("cancel"));
    running.kill();
    space.prismq(&["cancel", "last"]).ends(0);
    assert_eq!(space.show("last")["run"]["status"], "cancelled");
    assert_eq!(space.marks("steps").len(), 1);
}

/// A run in the list of runs, which knows it also while its file is not written.
fn row_of(space: &TestSpace, run: &str) -> serde_json::Value {
    let rows = space.prismq(&["runs", "--json", "-n", "100"]).ends(0).json();
    rows.as_array().and_then(|rows| rows.iter().find(|row| row["run_id"] == run)).expect("it is known").clone()
}

/// Kills hosts at all kinds of moments. `PRISMQ_TEST_KILLS` says how often (20 without it).
#[test]
fn killed_again_and_again() {
    let kills: u32 = std::env::var("PRISMQ_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let space = TestSpace::new();
    space.module(
        "step",
        "params: {properties: {v: {}}}\nretry: {attempts: 100, on: [lost]}",
        "mark('steps', os.environ['PRISMQ_RUN_ID'] + '/' + NODE + '/' + str(ATTEMPT))\nout(v=P.get('v'))",
    );
    space.write(
        "p.yaml",
        "outputs: {all: \"${{ nodes.m.outputs }}\", last: \"${{ nodes.z.outputs.v }}\"}\nnodes:\n  l: {module: step, with: {v: [1, 2, 3, 4]}}\n  m: {module: step, foreach: \"${{ nodes.l.outputs.v }}\", with: {v: \"${{ item }}\"}, max_parallel: 2}\n  z: {module: step, with: {v: \"${{ nodes.m.outputs | length }}\"}}\n",
    );
    let begun = Instant::now();
    space.prismq(&["run", "p.yaml"]).ends(0);
    let whole = begun.elapsed();
    let mut acknowledged: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut held: Option<String> = None;
    for cycle in 0..kills {
        let running = match &held {
            None => space.start(&["run", "p.yaml"]),
            Some(run) => space.start(&["resume", run]),
        };
        // Moments spread evenly over the length of a run, and beyond it.
        let moment = whole.mul_f64(f64::from((cycle * 7) % 20) / 16.0);
        let until = Instant::now() + moment;
        let mut running = running;
        while running.is_running() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        let ended = running.kill();
        for line in ended.stdout.lines() {
            let mut words = line.split_whitespace();
            if line.starts_with("run ") {
                held = words.nth(1).map(str::to_owned);
                acknowledged.entry(held.clone().expect("an id")).or_default();
            } else if let (Some(run), Some("completed"), Some(node)) = (&held, words.nth(2), words.next()) {
                acknowledged.entry(run.clone()).or_default().push(node.to_owned());
            }
        }
        if let Some(run) = held.clone().filter(|_| ended.code == 0) {
            assert_eq!(space.show(&run)["run"]["status"], "completed");
            held = None;
        } else if let Some(run) = &held {
            let row = row_of(&space, run);
            assert!(row["held"] == true || row["status"] == "completed", "{row}");
            if row["status"] == "completed" {
                held = None;
            }
        }
    }
    let end = Instant::now() + LIMIT;
    while let Some(row) =
        space.prismq(&["runs", "--json", "-n", "100"]).ends(0).json().as_array().expect("rows").iter().find(|row| row["held"] == true)
    {
        space.prismq(&["resume", row["run_id"].as_str().expect("an id")]).ends(0);
        assert!(Instant::now() < end, "there is no end of held runs");
    }
    for (run, nodes) in &acknowledged {
        let file = space.show(run);
        assert_eq!(file["run"]["status"], "completed", "{run}");
        assert_eq!(file["outputs"], json!({"all": [{"v": 1}, {"v": 2}, {"v": 3}, {"v": 4}], "last": 4}), "{run}");
        for node in nodes {
            // What was told as completed was not run again: no start of it came after. Its last start is the only one that counted.
            let attempts = space.node(run, node)["attempts"].as_u64().unwrap_or(0);
            let starts = space.marks("steps").iter().filter(|mark| mark.starts_with(&format!("{run}/{node}/"))).count() as u64;
            assert!(starts <= attempts, "{run}/{node}: {starts} starts in {attempts} attempts");
        }
    }
    // Never twice: an attempt ran at most once.
    let mut marks = space.marks("steps");
    let count = marks.len();
    marks.sort();
    marks.dedup();
    assert_eq!(marks.len(), count, "an attempt was started twice");
}
