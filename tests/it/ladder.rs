//! The kill ladder from outside: nothing of an attempt is left after `cancel`, and what cannot be killed is shown and waited for.
#![cfg(target_os = "linux")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Running, TestSpace, until};

/// Between the polite stop and the kill, and how much longer all of it may take.
const GRACE: Duration = Duration::from_secs(1);
const AFTER_GRACE: Duration = Duration::from_secs(5);

/// Takes no notice of a polite stop.
const DEAF: &str = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n";

/// Processes that carry the mark of an attempt of this space, whoever their parent is.
fn marked(space: &TestSpace) -> Vec<(u32, String)> {
    let carries = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"PRISMQ_TOKEN="))
    };
    space.processes().into_iter().filter(|(pid, _)| carries(pid)).collect()
}

/// Starts a module, waits until it has done its worst, cancels it and looks that nothing of it is left in time.
fn is_gone_after_cancel(space: &TestSpace, module: &str, worst: usize) -> Running {
    let running = space.start(&["run", module]);
    space.wait_for_marks("began", worst);
    assert!(!marked(space).is_empty());
    let asked = Instant::now();
    let cancel = space.start(&["cancel", "last"]);
    space.wait_until("nothing of it is left", || marked(space).is_empty());
    assert!(asked.elapsed() < GRACE + AFTER_GRACE, "it took {:?}", asked.elapsed());
    cancel.end().ends(0);
    assert_eq!(space.statuses("last"), [format!("{module}=cancelled")]);
    running
}

#[test]
fn f23_who_ignores_the_polite_stop_is_gone_after_the_grace() {
    let space = TestSpace::new();
    space.module("deaf", "grace: 1s", &format!("{DEAF}mark('began')\ngate('never')"));
    is_gone_after_cancel(&space, "deaf", 1).end().ends(7);
    let node = space.node("last", "deaf");
    assert_eq!((&node["signals"], &node["escalated"]), (&json!(["TERM", "KILL"]), &json!(true)), "{node}");
    space.prismq(&["show", "last/deaf"]).ends(0).says("TERM, KILL (it did not go within its grace)");
}

#[test]
#[ignore = "waits for the wrapper's sweep"]
fn f25_a_daemon_in_a_session_of_its_own_is_gone_after_cancel() {
    let space = TestSpace::new();
    let daemon = "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        mark('began')\n        time.sleep(600)\n    os._exit(0)\nmark('began')\ngate('never')";
    space.module("daemon", "grace: 1s", &format!("{DEAF}{daemon}"));
    is_gone_after_cancel(&space, "daemon", 2).end().ends(7);
}

#[test]
#[ignore = "waits for the wrapper's sweep"]
fn f25_a_daemon_that_outlives_its_module_is_ended_and_told() {
    let space = TestSpace::new();
    let daemon = "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        mark('began', str(os.getpid()))\n        time.sleep(600)\n    os._exit(0)\nos.wait()\nwhile not os.path.exists(os.path.join(SPACE, 'marks', 'began')): time.sleep(0.01)";
    space.module("daemon", "", daemon);
    space.write("p.yaml", "nodes:\n  a: {module: daemon}\n");
    space.prismq(&["run", "p.yaml"]).ends(0).says("a left 1 process, ended");
    assert_eq!(marked(&space), []);
    let pid: u32 = space.marks("began")[0].parse().expect("a process");
    assert_eq!(space.node("last", "a")["leaked"], json!({"pids": [pid], "running": false}));

    space.write("p.yaml", "nodes:\n  a: {module: daemon, leaks: allow}\n");
    space.prismq(&["run", "p.yaml"]).ends(0).says("a left 1 process, left running");
    let left = marked(&space);
    assert_eq!(left.len(), 1, "{left:?}");
    space.prismq(&["show", "last/a"]).ends(0).says(&format!("left running: {}", left[0].0));
    kill(left[0].0);
}

#[test]
#[ignore = "waits for the wrapper's sweep"]
fn f24_a_fork_bomb_is_gone_after_cancel() {
    let Some(group) = Group::new("pids", "bomb") else { return };
    group.set("pids.max", "64");
    let space = TestSpace::new();
    // It moves itself into the group, and begins only there.
    let bomb = format!(
        "{DEAF}with open({:?}, 'w') as file: file.write(str(os.getpid()))\nmark('began')\nwhile True:\n    try: os.fork()\n    except OSError: time.sleep(0.001)",
        group.file("cgroup.procs")
    );
    space.module("bomb", "grace: 1s", &bomb);
    let full = || group.get("pids.current").trim() == "64";
    let running = space.start(&["run", "bomb"]);
    space.wait_until("the bomb has filled its group", full);
    let asked = Instant::now();
    space.prismq(&["cancel", "last"]).ends(0);
    assert_eq!(marked(&space), []);
    assert!(asked.elapsed() < GRACE + AFTER_GRACE, "it took {:?}", asked.elapsed());
    running.end().ends(7);
}

#[test]
fn f28_a_module_that_stopped_itself_is_gone_after_cancel() {
    let space = TestSpace::new();
    space.module("stopped", "grace: 1s", "import signal\nmark('began')\nos.kill(os.getpid(), signal.SIGSTOP)\ngate('never')");
    is_gone_after_cancel(&space, "stopped", 1).end().ends(7);
    assert_eq!(space.node("last", "stopped")["signals"], json!(["TERM"]), "it was woken up to hear it");
}

#[test]
fn f28_the_timeout_of_a_module_that_stopped_itself_fires() {
    let space = TestSpace::new();
    space.module("stopped", "timeout: 500ms\ngrace: 10s", "import signal\nos.kill(os.getpid(), signal.SIGSTOP)\ngate('never')");
    space.prismq(&["run", "stopped"]).ends(1).complains("timeout after 500ms");
    assert_eq!(marked(&space), []);
}

#[test]
fn a_timeout_is_a_failure_even_of_a_module_that_then_ends_well() {
    let space = TestSpace::new();
    space.module(
        "tidy",
        "timeout: 500ms\ngrace: 20s",
        "import signal\nsignal.signal(signal.SIGTERM, lambda *_: (mark('tidied'), sys.exit(0)))\ngate('never')",
    );
    space.prismq(&["run", "tidy"]).ends(1).complains("timeout after 500ms");
    let node = space.node("last", "tidy");
    assert_eq!((&node["exit_code"], &node["signals"], &node["status"]), (&json!(0), &json!(["TERM"]), &json!("failed")), "{node}");
    assert_eq!(space.marks("tidied").len(), 1);
}

#[test]
fn on_failure_stop_goes_up_the_ladder_too() {
    let space = TestSpace::new();
    space.module("deaf", "grace: 500ms", &format!("{DEAF}mark('began')\ngate('never')"));
    space.module("fails", "", "gate('fail')\nsys.exit(3)");
    space.write("p.yaml", "on_failure: stop\nnodes:\n  a: {module: deaf}\n  b: {module: fails}\n");
    let running = space.start(&["run", "p.yaml"]);
    space.wait_for_marks("began", 1);
    space.open("fail");
    running.end().ends(1);
    assert_eq!(space.statuses("last"), ["a=cancelled", "b=failed"]);
    assert_eq!(space.node("last", "a")["escalated"], true);
    assert_eq!(marked(&space), []);
}

#[test]
fn several_runs_are_cancelled_at_once() {
    let space = TestSpace::new();
    space.module("long", "grace: 20s", "mark('began')\ngate('never')");
    let all: Vec<Running> = (0..3).map(|_| space.start(&["run", "long"])).collect();
    space.wait_for_marks("began", 3);
    space.prismq(&["cancel", "last", "nothing"]).ends(4);
    assert_eq!(marked(&space).len(), 3 * marked(&space).len() / 3, "a name that is none cancels nothing");
    assert!(!space.prismq(&["runs", "--json"]).ends(0).stdout.contains("cancelled"));
    let ended = space.prismq(&["cancel", "last", "@~1", "@~2", "last"]).ends(0);
    assert_eq!(ended.stdout.matches("cancelled").count(), 3, "{}", ended.stdout);
    all.into_iter().for_each(|running| drop(running.end().ends(7)));
    assert_eq!(marked(&space), []);
}

/// A process that is frozen takes no signal, not even the kill: as one that hangs in a driver.
#[test]
fn what_cannot_be_killed_is_shown_keeps_its_grant_and_ends_when_it_goes() {
    let Some(group) = Group::new("freezer", "unkillable") else { return };
    let space = TestSpace::new();
    space.write("prismq.yaml", "host: {max_concurrent: 1, unkillable_after: 300ms}\n");
    space.module("hangs", "grace: 100ms", "mark('began', str(os.getpid()))\ngate('never')");
    space.module("quick", "", "mark('quick')");
    space.write("p.yaml", "nodes:\n  a: {module: hangs}\n");
    let running = space.start(&["run", "p.yaml"]);
    let run = running.run_id();
    space.wait_for_marks("began", 1);
    group.set("cgroup.procs", &space.marks("began")[0]);
    group.set("freezer.state", "FROZEN");
    space.wait_until("it is frozen", || group.get("freezer.state").trim() == "FROZEN");

    let cancel = space.start(&["cancel", &run]);
    cancel.wait_for_note("a: unkillable: still there 300ms after the kill");
    running.wait_for("unkillable");
    let quick = space.start(&["run", "quick"]);
    let row = space.show(&run);
    assert_eq!((&row["run"]["status"], &row["run"]["unkillable"]), (&json!("running"), &json!(1)), "{row}");
    assert_eq!((&row["nodes"][0]["unkillable"], &row["nodes"][0]["status"]), (&json!(true), &json!("running")), "{row}");
    space.prismq(&["runs"]).ends(0).says("unkillable");
    let shown = space.prismq(&["show", &run]).ends(0).says("waits for a, which was killed and does not go");
    assert!(shown.stdout.contains("what it holds stays held"), "{}", shown.stdout);
    space.wait_until("the other run was taken", || {
        space.prismq(&["runs", "--json"]).ends(0).json().as_array().is_some_and(|all| all.len() == 2)
    });
    assert_eq!(space.marks("quick").len(), 0, "its place is not free");

    group.set("freezer.state", "THAWED");
    cancel.end().ends(0).says("cancelled");
    running.end().ends(7);
    quick.end().ends(0);
    assert_eq!(space.statuses(&run), ["a=cancelled"]);
    assert_eq!(marked(&space), []);
}

/// A host that is stopped for longer than a module may run, as by Ctrl-Z or the sleep of the machine: when it goes on, the module has not
/// used up its time.
#[test]
fn f22_a_host_that_was_stopped_kills_nothing_at_once() {
    let space = TestSpace::new();
    space.module("gated", "timeout: 5s", "mark('began')\ngate('go')");
    space.module("quick", "", "mark('quick')");
    let running = space.start(&["run", "gated"]);
    space.wait_for_marks("began", 1);
    running.signal(Signal::STOP);
    let stopped = Instant::now();
    space.wait_until("it was stopped for long", || stopped.elapsed() > Duration::from_millis(6_500));
    running.signal(Signal::CONT);
    // By the time that somebody else's module ran, it has looked at its clock.
    space.prismq(&["run", "quick"]).ends(0);
    assert_eq!(space.node("@~1", "gated")["stopping"], json!(null));
    space.open("go");
    running.end().ends(0);
}

/// Where no process can be had, a module waits for that as for any other resource, and the host goes on serving.
#[test]
fn f32_without_a_free_process_a_module_waits() {
    let Some(group) = Group::new("pids", "busy") else { return };
    let space = TestSpace::new();
    space.module("gated", "", "mark('began')\ngate('go')");
    space.module("quick", "", "mark('quick')");
    let serve = space.start(&["serve"]);
    serve.wait_for_note("hosting");
    group.set("cgroup.procs", &serve.pid().to_string());
    // What a host starts once is there then.
    let first = space.prismq(&["run", "gated", "--detach"]).ends(0).stdout;
    space.wait_for_marks("began", 1);
    group.set("pids.max", &(count(&group) + 2).to_string());
    let run = space.prismq(&["run", "gated", "--detach"]).ends(0).stdout;
    let run = run.trim();
    space.wait_until("it waits for a process", || {
        space.node(run, "gated")["reason"].as_str().is_some_and(|reason| reason.contains("resource_busy"))
    });
    assert_eq!(space.node(run, "gated")["status"], "retrying");
    assert!(health(&space).contains("\"ok\""));
    group.set("pids.max", "max");
    space.open("go");
    space.prismq(&["wait", run]).ends(0);
    space.prismq(&["wait", first.trim()]).ends(0);
    assert!(space.node(run, "gated")["attempts"].as_u64().is_some_and(|attempts| attempts > 1));
    serve.signal(Signal::TERM);
    serve.end().ends(0);
}

fn count(group: &Group) -> u64 {
    group.get("pids.current").trim().parse().expect("a number")
}

/// What the host of a space answers to `GET /api/health`.
fn health(space: &TestSpace) -> String {
    use std::io::{Read, Write};
    let address: serde_json::Value = serde_json::from_str(&space.read(".prismq/host.json")).expect("JSON");
    let port = u16::try_from(address["port"].as_u64().expect("a port")).expect("a port");
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a host");
    write!(stream, "GET /api/health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, Signal::KILL).expect("it can be killed");
}

/// A control group of version 1 for one test.
struct Group(PathBuf);

impl Group {
    /// `None`, and a word about it, where there is no such controller or we may not use it.
    fn new(controller: &str, name: &str) -> Option<Self> {
        let folder = PathBuf::from(format!("/sys/fs/cgroup/{controller}/prismq-it-{name}-{}", std::process::id()));
        match std::fs::create_dir(&folder) {
            Ok(()) if folder.join("cgroup.procs").exists() => Some(Self(folder)),
            made => {
                eprintln!("skipped: no control group of version 1 for {controller} ({made:?})");
                let _ = std::fs::remove_dir(&folder);
                None
            }
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    #[track_caller]
    fn set(&self, name: &str, value: &str) {
        std::fs::write(self.file(name), value).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    #[track_caller]
    fn get(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::write(self.file("freezer.state"), "THAWED");
        let _ = std::fs::write(self.file("pids.max"), "max");
        // Empty only when the last process of the test has gone.
        let _ = until(|| std::fs::remove_dir(&self.0).ok());
    }
}
