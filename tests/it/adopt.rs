//! Modules outlive their host: killed, upgraded or left, the next one finds them, their output and their exit codes.
#![cfg(target_os = "linux")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Running, TestSpace, stub};

/// A module that writes numbered lines until a gate opens, and ends with the code in its parameters.
fn with_counters() -> TestSpace {
    let space = TestSpace::awkward();
    let words = json!(["count-until", space.at("gates/go"), "${{ params.code }}", space.at("marks/starts")]);
    let mut command = vec![json!(stub())];
    command.extend(words.as_array().expect("a list").iter().cloned());
    let manifest = json!({
        "id": "counter",
        "command": command,
        "params": {"properties": {"code": {"type": "integer", "default": 0}}},
        "resources": {"cpus": 0},
    });
    space.write("manifests/counter.yaml", manifest.to_string());
    space.write("prismq.yaml", "host: {max_concurrent: 1000}\n");
    space
}

/// A pipeline of so many counters; every third ends with 3.
fn counters(space: &TestSpace, count: usize) {
    let codes: Vec<usize> = (0..count).map(|n| if n % 3 == 2 { 3 } else { 0 }).collect();
    space.write(
        "p.yaml",
        format!("nodes:\n  n: {{module: counter, foreach: \"${{{{ {codes:?} }}}}\", with: {{code: \"${{{{ item }}}}\"}}}}\n"),
    );
}

fn attempt(space: &TestSpace, run: &str, node: &str) -> PathBuf {
    space.at(format!(".prismq/runs/{run}/{node}.1"))
}

/// A file of an attempt.
#[track_caller]
fn record(space: &TestSpace, run: &str, node: &str, name: &str) -> Value {
    serde_json::from_str(&space.read(attempt(space, run, node).join(name))).expect("JSON")
}

/// How many lines a log has, which must be numbered without a gap or a double.
#[track_caller]
fn lines_in_order(space: &TestSpace, run: &str, node: &str) -> usize {
    // Without a line there is no file.
    let text = std::fs::read_to_string(attempt(space, run, node).join("stdout.log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| *line != "end").collect();
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(*line, format!("line {at}"), "{node}: a line is missing or there twice");
    }
    lines.len()
}

fn lives(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

fn kill(pid: u64) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, Signal::KILL).expect("it can be killed");
}

/// Kills the host with its whole group while `count` modules run. Half of the test lets them end before anybody looks.
fn killed_with_running_modules(count: usize, ended_before: bool) {
    let space = with_counters();
    counters(&space, count);
    let running = space.start(&["run", "p.yaml"]);
    let run = running.run_id();
    space.wait_for_marks("starts", count);
    running.kill_all().ends(137);

    let nodes: Vec<String> = (0..count).map(|n| format!("n[{n}]")).collect();
    let before: Vec<usize> = nodes.iter().map(|node| lines_in_order(&space, &run, node)).collect();
    space.wait_until("all of them go on", || nodes.iter().zip(&before).all(|(node, before)| lines_in_order(&space, &run, node) > *before));
    let exits = || nodes.iter().filter(|node| attempt(&space, &run, node).join("exit.json").exists()).count();
    assert_eq!(exits(), 0);
    if ended_before {
        space.open("go");
        space.wait_until("all of them have ended", || exits() == count);
    }
    let resumed = space.start(&["resume", &run]);
    resumed.wait_for_note_or_out(&run);
    if !ended_before {
        space.open("go");
    }
    resumed.end().ends(1);
    let file = space.show(&run);
    let rows = file["nodes"].as_array().expect("a run has nodes");
    for (n, node) in nodes.iter().enumerate() {
        let row = rows.iter().find(|row| row["node"] == node.as_str()).expect("it is there");
        let (status, code) = if n % 3 == 2 { ("failed", 3) } else { ("completed", 0) };
        assert_eq!((&row["status"], &row["exit_code"], &row["attempts"]), (&json!(status), &json!(code), &json!(1)), "{row}");
        assert_eq!(row["isolation"], "wrapped");
        lines_in_order(&space, &run, node);
        assert!(space.read(attempt(&space, &run, node).join("stdout.log")).ends_with("end\n"), "{node}: its last line is missing");
    }
    let mut starts = space.marks("starts");
    starts.sort();
    let mut wanted = nodes;
    wanted.sort();
    assert_eq!(starts, wanted, "each of them ran exactly once");
}

#[test]
fn f38_modules_go_on_when_their_host_is_killed_and_are_adopted() {
    killed_with_running_modules(20, false);
}

#[test]
fn f36_exit_codes_are_read_of_modules_that_ended_without_a_host() {
    killed_with_running_modules(20, true);
}

#[test]
#[ignore = "two hundred processes at once, twice: for the full run"]
fn f38_two_hundred_of_two_hundred() {
    killed_with_running_modules(200, false);
    killed_with_running_modules(200, true);
}

/// The host is killed, another one that only adopts is killed as well, a third one finishes.
#[test]
fn an_adopted_module_survives_the_next_host_too() {
    let space = with_counters();
    counters(&space, 2);
    let running = space.start(&["run", "p.yaml"]);
    let run = running.run_id();
    space.wait_for_marks("starts", 2);
    running.kill_all();
    for _ in 0..3 {
        let next = space.start(&["resume", &run]);
        next.wait_for_note_or_out(&run);
        next.kill_all();
    }
    space.open("go");
    space.prismq(&["resume", &run]).ends(0);
    assert_eq!(space.statuses(&run), ["n=completed", "n[0]=completed", "n[1]=completed"]);
    assert_eq!(space.marks("starts").len(), 2);
}

/// Under another run's host an interrupted run is held: what lives is adopted and its result recorded, and nothing new starts.
#[test]
fn a_held_run_records_what_ends() {
    let space = with_counters();
    space.module("other", "", "mark('other')\ngate('other')");
    space.module("after", "", "mark('after')");
    space.write("p.yaml", "nodes:\n  a: {module: counter}\n  b: {module: after, needs: [a]}\n");
    let running = space.start(&["run", "p.yaml"]);
    let run = running.run_id();
    space.wait_for_marks("starts", 1);
    running.kill_all();
    let other = space.start(&["run", "other"]);
    space.wait_for_marks("other", 1);
    assert_eq!(space.show(&run)["run"]["held"], true);
    assert_eq!(space.node(&run, "a")["status"], "running");
    space.open("go");
    space.wait_until("its end is recorded", || space.node(&run, "a")["status"] == "completed");
    assert_eq!((space.node(&run, "b")["attempts"].as_u64(), space.marks("after").len()), (Some(0), 0));
    space.open("other");
    other.end().ends(0);
    space.prismq(&["resume", &run]).ends(0);
    assert_eq!(space.statuses(&run), ["a=completed", "b=completed"]);
}

/// Its module ended while no host was there: the run that is resumed ends at once, and no other one goes on.
#[test]
fn a_run_that_ended_alone_is_nobody_elses() {
    let space = TestSpace::new();
    space.module("one", "", "mark('began')\ngate('one')");
    let running = space.start(&["run", "one"]);
    space.wait_for_marks("began", 1);
    running.kill_all();
    space.open("one");
    space.wait_until("all its processes are gone", || space.processes().is_empty());
    let ran = space.prismq(&["resume", "last"]).ends(0);
    assert!(!ran.stderr.contains("other run"), "{ran:?}");
    assert_eq!(space.statuses("last"), ["one=completed"]);
}

/// The output of an adopted module goes on where it was.
#[test]
fn output_of_an_adopted_module_is_followed() {
    let space = TestSpace::new();
    space.module("talk", "", "mark('began')\ngate('one')\nprint('first')\ngate('two')\nprint('second')");
    let running = space.start(&["run", "talk"]);
    let run = {
        space.wait_for_marks("began", 1);
        running.kill_all();
        space.show("last")["run"]["run_id"].as_str().expect("an id").to_owned()
    };
    let resumed = space.start(&["resume", &run]);
    resumed.wait_for_note_or_out(&run);
    space.open("one");
    space.wait_until("the first line is there", || space.prismq(&["logs", &run]).ends(0).stdout.contains("first"));
    space.open("two");
    resumed.end().ends(0);
    assert_eq!(space.prismq(&["logs", &run]).ends(0).stdout, "first\nsecond\n");
}

#[test]
fn an_adopted_module_is_cancelled_as_any_other() {
    let space = with_counters();
    counters(&space, 3);
    let running = space.start(&["run", "p.yaml"]);
    let run = running.run_id();
    space.wait_for_marks("starts", 3);
    running.kill_all();
    space.prismq(&["cancel", &run]).ends(0);
    assert_eq!(space.show(&run)["run"]["status"], "cancelled");
    assert_eq!(space.processes(), []);
}

/// A cancel that was recorded goes on in the wrapper while there is no host, and the end that comes of it is no failure of the module.
#[test]
fn a_stop_survives_the_host() {
    let space = TestSpace::new();
    space.module(
        "deaf",
        "grace: 1s",
        "import signal\nsignal.signal(signal.SIGTERM, lambda *_: mark('asked'))\nmark('began')\ngate('never')",
    );
    let running = space.start(&["run", "deaf"]);
    space.wait_for_marks("began", 1);
    let run = space.show("last")["run"]["run_id"].as_str().expect("an id").to_owned();
    running.signal(Signal::INT);
    space.wait_for_marks("asked", 1);
    running.kill_all();
    space.wait_until("it was killed after its grace", || attempt(&space, &run, "deaf").join("exit.json").exists());
    assert_eq!(record(&space, &run, "deaf", "exit.json")["escalated"], true);
    space.prismq(&["cancel", &run]).ends(0);
    assert_eq!(space.statuses(&run), ["deaf=cancelled"]);
}

/// The host died between writing the wish down and telling the wrapper: the next one tells it.
#[test]
fn a_stop_that_nobody_was_told_of() {
    let space = with_counters();
    space.write("p.yaml", "nodes:\n  a: {module: counter}\n");
    let running = space.start(&["run", "p.yaml"]);
    let run = running.run_id();
    space.wait_for_marks("starts", 1);
    running.kill_all();
    std::fs::write(attempt(&space, &run, "a").join("stop.json"), r#"{"format":1,"how":"polite","grace_ms":10000}"#).expect("a file");
    let resumed = space.prismq(&["resume", &run]);
    assert_eq!(space.statuses(&run), ["a=cancelled"], "{resumed:?}");
}

/// The run of a wrapper that was killed is lost, whatever its module did; nothing of the module lives on.
#[test]
fn f39_a_killed_wrapper_makes_its_attempt_lost() {
    let space = with_counters();
    space.write("p.yaml", "nodes:\n  a: {module: counter}\n");
    let running = space.start(&["run", "p.yaml"]);
    let run = running.run_id();
    space.wait_for_marks("starts", 1);
    space.wait_until("it is written down", || attempt(&space, &run, "a").join("start.json").exists());
    let start = record(&space, &run, "a", "start.json");
    let (wrapper, child) = (start["wrapper_pid"].as_u64().expect("a number"), start["child_pid"].as_u64().expect("a number"));
    kill(wrapper);
    running.end().ends(1).says("wrapper was killed");
    assert!(!lives(child), "the module lives on");
    assert_eq!(space.node(&run, "a")["cause"], json!({"cause": "lost", "reason": "wrapper_killed"}));
}

/// The same while there is no host.
#[test]
fn f39_a_wrapper_that_was_killed_with_its_host() {
    let space = with_counters();
    space.write("p.yaml", "nodes:\n  a: {module: counter}\n");
    let running = space.start(&["run", "p.yaml"]);
    let run = running.run_id();
    space.wait_for_marks("starts", 1);
    space.wait_until("it is written down", || attempt(&space, &run, "a").join("start.json").exists());
    let start = record(&space, &run, "a", "start.json");
    running.kill_all();
    kill(start["wrapper_pid"].as_u64().expect("a number"));
    space.open("go");
    space.prismq(&["resume", &run]).ends(1).says("wrapper was killed");
    assert!(!lives(start["child_pid"].as_u64().expect("a number")));
}

/// The program that starts wrappers is killed: those that run go on, and the next attempt gets another one.
#[test]
fn a_killed_nursery_is_replaced() {
    let space = with_counters();
    space.module("after", "", "mark('after')");
    space.write("p.yaml", "nodes:\n  a: {module: counter}\n  b: {module: after, needs: [a]}\n");
    let running = space.start(&["run", "p.yaml"]);
    let run = running.run_id();
    space.wait_for_marks("starts", 1);
    let nurseries = nurseries(&space, &running);
    assert_eq!(nurseries.len(), 1, "{:?}", space.processes());
    kill(u64::from(nurseries[0]));
    space.wait_until("no zombie is left of it", || !std::path::Path::new(&format!("/proc/{}", nurseries[0])).exists());
    space.open("go");
    running.end().ends(0);
    assert_eq!(space.statuses(&run), ["a=completed", "b=completed"]);
    assert_eq!((space.marks("starts").len(), space.marks("after").len()), (1, 1));
}

/// Whatever the moment: no attempt is lost by it, and none is executed twice.
#[test]
fn nurseries_killed_again_and_again() {
    let space = TestSpace::new();
    space.write("prismq.yaml", "host: {max_concurrent: 4}\n");
    space.module("step", "resources: {cpus: 0}", "mark('steps', NODE)");
    let items: Vec<u32> = (0..100).collect();
    space.write("p.yaml", format!("nodes:\n  n: {{module: step, foreach: \"${{{{ {items:?} }}}}\"}}\n"));
    let mut running = space.start(&["run", "p.yaml"]);
    let mut killed = 0;
    while running.is_running() {
        for pid in nurseries(&space, &running) {
            // It may have been replaced meanwhile by itself.
            killed += u32::from(
                i32::try_from(pid)
                    .ok()
                    .and_then(rustix::process::Pid::from_raw)
                    .is_some_and(|pid| rustix::process::kill_process(pid, Signal::KILL).is_ok()),
            );
        }
    }
    let ran = running.end();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(killed > 3, "{killed} nurseries were killed");
    let mut marks = space.marks("steps");
    marks.sort();
    let count = marks.len();
    marks.dedup();
    assert_eq!((marks.len(), count), (100, 100));
}

/// The nurseries of a host.
fn nurseries(space: &TestSpace, host: &Running) -> Vec<u32> {
    let all = space.processes().into_iter().filter(|(_, line)| line.contains("--nursery"));
    all.map(|(pid, _)| pid).filter(|pid| parent(*pid) == Some(host.pid())).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The number of a dead wrapper belongs to somebody else by now; and even a living one that is named wrongly is not taken for its number.
#[test]
fn f31_a_stranger_with_the_wrappers_number_is_left_alone() {
    let space = with_counters();
    space.write("p.yaml", "nodes:\n  a: {module: counter}\n");
    let mut stranger = Command::new("sleep").arg("300").stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("sleep");
    for dead in [false, true] {
        let before = space.marks("starts").len();
        let running = space.start(&["run", "p.yaml"]);
        let run = running.run_id();
        space.wait_for_marks("starts", before + 1);
        space.wait_until("it is written down", || attempt(&space, &run, "a").join("start.json").exists());
        running.kill_all();
        let path = attempt(&space, &run, "a").join("start.json");
        let right = record(&space, &run, "a", "start.json");
        let mut start = right.clone();
        if dead {
            kill(start["wrapper_pid"].as_u64().expect("a number"));
            kill(start["child_pid"].as_u64().expect("a number"));
        }
        start["wrapper_pid"] = json!(stranger.id());
        start["child_pid"] = json!(stranger.id());
        // In place: the lock stays where it is.
        std::fs::write(&path, start.to_string()).expect("a file");
        let cancelling = space.start(&["cancel", &run]);
        if !dead {
            space.wait_until("the wish is written down", || attempt(&space, &run, "a").join("stop.json").exists());
            // Nobody can be told as long as the number is a stranger's.
            std::fs::write(&path, right.to_string()).expect("a file");
        }
        cancelling.end().ends(0);
        assert!(lives(u64::from(stranger.id())), "a stranger was signalled (dead: {dead})");
        assert!(matches!(stranger.try_wait(), Ok(None)));
        space.wait_until("nothing is left of it", || space.processes().is_empty());
    }
    stranger.kill().expect("it can be killed");
    let _ = stranger.wait();
}

/// What an older version of the wrapper wrote is read; what a newer one wrote is not guessed at.
#[test]
fn f40_folders_of_other_versions() {
    let space = with_counters();
    space.write("p.yaml", "nodes:\n  a: {module: counter}\n");
    let running = space.start(&["run", "p.yaml"]);
    let run = running.run_id();
    space.wait_for_marks("starts", 1);
    running.kill_all();
    space.open("go");
    let exit = attempt(&space, &run, "a").join("exit.json");
    space.wait_until("it has ended", || exit.exists());
    let mut later = record(&space, &run, "a", "exit.json");
    later["format"] = json!(99);
    std::fs::write(&exit, later.to_string()).expect("a file");
    let refused = space.start(&["resume", &run]);
    refused.wait_for_note_or_out(&run);
    space.wait_until("the log says so", || space.read(".prismq/log/host.log").contains("has format 99"));
    assert_eq!(space.node(&run, "a")["status"], "running", "nobody knows that it ended");
    // The first format is read for ever.
    let first = r#"{"format":1,"how":"code","code":7,"started_us":1763626312000000,"ended_us":1763626313000000,"duration_ms":1000,"user_us":1,"system_us":2,"oom":false,"signals":[],"escalated":false,"leaked":[],"stdout":7,"stdout_dropped":0,"stdout_lost":0,"stderr":0,"stderr_dropped":0,"stderr_lost":0}"#;
    std::fs::write(&exit, first).expect("a file");
    refused.end().ends(1);
    let row = space.node(&run, "a");
    assert_eq!((&row["exit_code"], &row["duration_ms"]), (&json!(7), &json!(1000)));
}

/// What a disk made of an exit record that had its name. Nobody will write another one, so that nobody waits for it.
#[test]
fn f13_an_exit_record_that_is_none_holds_nobody_up() {
    let space = with_counters();
    space.write("p.yaml", "nodes:\n  a: {module: counter}\n");
    for text in ["", "\0\0\0\0", "{\"format\":1,"] {
        let begun = space.marks("starts").len();
        let running = space.start(&["run", "p.yaml"]);
        let run = running.run_id();
        space.wait_for_marks("starts", begun + 1);
        running.kill_all();
        space.open("go");
        let folder = attempt(&space, &run, "a");
        space.wait_until("it has ended", || folder.join("exit.json").exists() && space.processes().is_empty());
        std::fs::write(folder.join("exit.json"), text).expect("a file");
        space.prismq(&["resume", &run]).ends(1);
        let row = space.node(&run, "a");
        assert_eq!(
            (&row["status"], row["reason"].as_str().is_some_and(|reason| reason.contains("lost"))),
            (&json!("failed"), true),
            "{row}"
        );
        std::fs::remove_file(space.at("gates/go")).expect("it was opened");
    }
}

/// The machine was restarted meanwhile: no process can be of that attempt, even if one carries its mark.
#[test]
fn f41_after_a_restart_of_the_machine_no_process_is_signalled() {
    let space = with_counters();
    space.write("p.yaml", "nodes:\n  a: {module: counter}\n");
    let running = space.start(&["run", "p.yaml"]);
    let run = running.run_id();
    space.wait_for_marks("starts", 1);
    space.wait_until("it is written down", || attempt(&space, &run, "a").join("start.json").exists());
    running.kill_all();
    let mut start = record(&space, &run, "a", "start.json");
    let (wrapper, child) = (start["wrapper_pid"].as_u64().expect("a number"), start["child_pid"].as_u64().expect("a number"));
    kill(wrapper);
    kill(child);
    start["boot"] = json!("00000000-0000-0000-0000-000000000000");
    std::fs::write(attempt(&space, &run, "a").join("start.json"), start.to_string()).expect("a file");
    let mut decoy = Command::new("sleep");
    decoy.arg("300").env("PRISMQ_TOKEN", format!("{run}/a/1")).stdin(Stdio::null()).stdout(Stdio::null());
    let mut decoy = decoy.spawn().expect("sleep");
    space.prismq(&["runs"]).ends(0);
    space.module("other", "", "");
    space.prismq(&["run", "other"]).ends(0);
    let row = space.node(&run, "a");
    assert!(row["reason"].as_str().is_some_and(|reason| reason.contains("machine was restarted")), "{row}");
    assert!(matches!(decoy.try_wait(), Ok(None)), "a process was signalled");
    space.open("go");
    space.prismq(&["resume", &run]).ends(0);
    assert_eq!(space.node(&run, "a")["attempts"], 2);
    decoy.kill().expect("it can be killed");
    let _ = decoy.wait();
}

/// A timeout goes on where it was: the module is not given its whole time again, and not cut short either.
#[test]
fn the_timeout_of_an_adopted_module_counts_from_its_start() {
    let space = TestSpace::new();
    space.module("long", "timeout: 5s\ngrace: 1s", "mark('began')\ngate('never')");
    let running = space.start(&["run", "long"]);
    let begun = std::time::Instant::now();
    space.wait_for_marks("began", 1);
    running.kill_all();
    space.wait_until("some of it has passed", || begun.elapsed() > std::time::Duration::from_secs(3));
    space.prismq(&["resume"]).ends(1).says("timeout");
    let ran = space.node("last", "long")["duration_ms"].as_u64().expect("a time");
    assert!((4_900..7_500).contains(&ran), "{ran} ms: not the 5 s that it was given");
}

/// A host that leaves does not wait for wrapped attempts, and its successor goes on with them.
#[test]
fn f37_a_host_that_leaves_hands_its_modules_over() {
    let space = with_counters();
    space.module("after", "", "mark('after')");
    space.write("p.yaml", "nodes:\n  a: {module: counter}\n  b: {module: after, needs: [a]}\n");
    let running = space.start(&["run", "p.yaml"]);
    let run = running.run_id();
    space.wait_for_marks("starts", 1);
    running.signal(Signal::HUP);
    running.end();
    assert_eq!(space.node(&run, "a")["status"], "running");
    let before = lines_in_order(&space, &run, "a");
    space.wait_until("it goes on", || lines_in_order(&space, &run, "a") > before);
    space.open("go");
    space.prismq(&["wait", &run]).ends(0);
    assert_eq!(space.statuses(&run), ["a=completed", "b=completed"]);
    assert_eq!((space.marks("starts").len(), space.node(&run, "a")["attempts"].as_u64()), (1, Some(1)));
}

#[test]
fn f37_serve_leaves_its_modules_running_at_the_first_signal() {
    let space = with_counters();
    space.write("p.yaml", "nodes:\n  a: {module: counter}\n");
    let serving = space.start(&["serve"]);
    space.wait_until("it is there", || space.at(".prismq/host.json").exists());
    let run = space.prismq(&["run", "p.yaml", "--detach"]).ends(0).stdout.trim().to_owned();
    space.wait_for_marks("starts", 1);
    serving.signal(Signal::INT);
    serving.end().ends(0);
    let before = lines_in_order(&space, &run, "a");
    space.wait_until("it goes on", || lines_in_order(&space, &run, "a") > before);
    let serving = space.start(&["serve"]);
    space.open("go");
    space.prismq(&["wait", &run]).ends(0);
    assert_eq!((space.statuses(&run), space.marks("starts").len()), (vec!["a=completed".to_owned()], 1));
    serving.signal(Signal::INT);
    serving.end().ends(0);
}
