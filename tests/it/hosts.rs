//! Several terminals in one workspace: one of them is the host, the others attach; and what happens when the host leaves.
#![cfg(unix)]

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Running, TestSpace, until};

fn with_gates() -> TestSpace {
    let space = TestSpace::awkward();
    space.module(
        "gated",
        "params: {properties: {gate: {type: string}, code: {type: integer, default: 0}}}",
        "print('waits at', P['gate'])\nmark('began', P['gate'])\ngate(P['gate'])\nprint('through', P['gate'])\nsys.exit(P['code'])",
    );
    space
}

fn gated(space: &TestSpace, gate: &str, code: &str) -> Running {
    let before = space.marks("began").len();
    let running = space.start(&["run", "gated", "-p", &format!("gate={gate}"), "-p", &format!("code={code}")]);
    space.wait_for_marks("began", before + 1);
    running
}

/// The process in `host.json`.
fn host(space: &TestSpace) -> Option<u64> {
    let text = std::fs::read_to_string(space.at(".prismq/host.json")).ok()?;
    serde_json::from_str::<Value>(&text).ok()?["pid"].as_u64()
}

#[test]
fn a_second_run_attaches_and_both_end_with_their_own_code() {
    let space = with_gates();
    let first = gated(&space, "one", "0");
    let second = gated(&space, "two", "3");
    assert_eq!(host(&space), Some(u64::from(first.pid())));
    second.wait_for("waits at two");
    space.open("two");
    second.end().ends(1).says("through two").complains("exit code 3");
    space.open("one");
    assert_eq!(first.end().ends(0).stdout, "waits at one\nthrough one\n");
    assert_eq!(host(&space), None);
}

#[test]
fn a_third_terminal_cancels_one_of_them() {
    let space = with_gates();
    let first = gated(&space, "one", "0");
    let second = gated(&space, "two", "0");
    space.prismq(&["cancel", "last"]).ends(0);
    second.end().ends(7);
    space.open("one");
    first.end().ends(0);
    let third = gated(&space, "three", "0");
    let fourth = gated(&space, "four", "0");
    space.prismq(&["cancel", "@~1"]).ends(0);
    // What runs direct in the hosting terminal has to end before that terminal can leave.
    space.open("four");
    third.end().ends(7);
    fourth.end().ends(0).says("through four");
}

#[test]
fn ctrl_c_in_an_attached_terminal_ends_only_its_own_run() {
    let space = with_gates();
    let first = gated(&space, "one", "0");
    let second = gated(&space, "two", "0");
    second.signal(Signal::INT);
    second.end().ends(130);
    space.open("one");
    first.end().ends(0).says("through one");
}

#[test]
fn ctrl_c_in_the_hosting_terminal_leaves_the_other_run_alone() {
    let space = with_gates();
    let first = gated(&space, "one", "0");
    let second = gated(&space, "two", "0");
    first.signal(Signal::INT);
    // The host drains: what runs direct in it has to end first.
    space.open("two");
    first.end().ends(130);
    second.end().ends(0).says("through two");
}

#[test]
fn a_host_in_the_background_takes_over_and_ends_by_itself() {
    let space = with_gates();
    space.module("quick", "", "mark('quick', NODE)");
    space.write("p.yaml", "nodes:\n  a: {module: gated, with: {gate: two}}\n  b: {module: gated, needs: [a], with: {gate: three}}\n  c: {module: quick, needs: [b]}\n");
    let first = gated(&space, "one", "0");
    let second = space.start(&["run", "p.yaml"]);
    space.wait_for_marks("began", 2);
    let run = second.run_id();
    space.open("one");
    // Its own run is over; the direct attempt of the other one is waited for, and nothing new is started here.
    first.wait_for_note("handing over");
    space.open("two");
    first.end().ends(0);
    space.wait_for_marks("began", 3);
    let taken_over = until(|| host(&space).filter(|pid| *pid != 0)).expect("somebody is the host");
    assert!(std::path::Path::new(&format!("/proc/{taken_over}")).exists());
    space.open("three");
    let told = second.end().ends(0).stdout;
    assert_eq!(space.statuses(&run), ["a=completed", "b=completed", "c=completed"]);
    for line in ["completed  a", "completed  b", "completed  c"] {
        assert_eq!(told.matches(line).count(), 1, "{line} in\n{told}");
    }
    space.wait_until("the host in the background has ended", || space.processes().is_empty());
    assert_eq!(host(&space), None);
}

#[test]
fn hang_up_hands_over_too() {
    let space = with_gates();
    space.write("p.yaml", "nodes:\n  a: {module: gated, with: {gate: one}}\n  b: {module: gated, needs: [a], with: {gate: two}}\n");
    let running = space.start(&["run", "p.yaml"]);
    let run = running.run_id();
    space.wait_for_marks("began", 1);
    running.signal(Signal::HUP);
    space.open("one");
    running.end();
    space.open("two");
    space.prismq(&["wait", &run]).ends(0);
    assert_eq!(space.statuses(&run), ["a=completed", "b=completed"]);
    assert_eq!(space.marks("began").len(), 2);
}

#[test]
fn twenty_at_once() {
    let space = TestSpace::new();
    space.module("quick", "params: {properties: {n: {type: integer}}}", "mark('quick', str(P['n']))\nprint('done', P['n'])");
    let all: Vec<Running> = (0..20).map(|n| space.start(&["run", "quick", "-p", &format!("n={n}")])).collect();
    for (n, running) in all.into_iter().enumerate() {
        assert_eq!(running.end().ends(0).stdout, format!("done {n}\n"));
    }
    let mut marks: Vec<u32> = space.marks("quick").iter().map(|mark| mark.parse().expect("a number")).collect();
    marks.sort_unstable();
    assert_eq!(marks, (0..20).collect::<Vec<u32>>(), "each of them exactly once");
    let rows = space.prismq(&["runs", "--json", "-n", "100"]).ends(0).json();
    assert_eq!(rows.as_array().map(Vec::len), Some(20));
    assert_eq!(space.prismq(&["resume"]).ends(0).stderr.lines().count(), 1, "none is held");
}

#[test]
fn twenty_detached_at_once_share_one_host() {
    let space = TestSpace::new();
    space.module("quick", "", "mark('quick')");
    let all: Vec<Running> = (0..20).map(|_| space.start(&["run", "quick", "--detach"])).collect();
    let ids: Vec<String> = all.into_iter().map(|running| running.end().ends(0).stdout.trim().to_owned()).collect();
    for id in &ids {
        space.prismq(&["wait", id]).ends(0);
    }
    assert_eq!(space.marks("quick").len(), 20);
}

/// A host that hangs: its lock is held, and nobody answers. Nothing is started beside it.
#[test]
fn an_owner_that_does_not_answer_is_75() {
    let space = with_gates();
    let first = gated(&space, "one", "0");
    first.signal(Signal::STOP);
    space.prismq(&["run", "gated", "-p", "gate=two"]).ends(75).complains(&first.pid().to_string());
    let said = format!("the host (process {}) does not answer; what is written down is shown", first.pid());
    space.prismq(&["runs"]).ends(0).says("gated").complains(&said);
    space.prismq(&["modules"]).ends(0).says("gated");
    first.signal(Signal::CONT);
    space.open("one");
    first.end().ends(0);
    assert_eq!(space.marks("began").len(), 1);
}

#[test]
fn a_second_serve_names_the_owner() {
    let space = with_gates();
    let first = gated(&space, "one", "0");
    space.prismq(&["serve"]).ends(75).complains(&first.pid().to_string());
    space.open("one");
    first.end().ends(0);
}

/// Only who knows the token may speak to a host.
#[test]
fn the_channel_is_the_owners() {
    use std::io::{Read, Write};
    let space = with_gates();
    let first = gated(&space, "one", "0");
    let address: Value = serde_json::from_str(&space.read(".prismq/host.json")).expect("JSON");
    let port = u16::try_from(address["port"].as_u64().expect("a port")).expect("a port");
    let token = space.read(".prismq/token");
    let ask = |headers: &str| -> String {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a host");
        let body = r#"{"run_id":null}"#;
        write!(stream, "POST /api/local/resume HTTP/1.1\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer.lines().next().unwrap_or_default().to_owned()
    };
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    let bearer = format!("Authorization: Bearer {}\r\n", token.trim());
    assert!(ask(&format!("{host}{bearer}")).contains("200"));
    assert!(ask(&host).contains("401"));
    assert!(ask(&format!("{host}Authorization: Bearer {}\r\n", "0".repeat(64))).contains("401"));
    assert!(ask(&format!("Host: evil.example\r\n{bearer}")).contains("421"));
    assert!(!ask(&format!("{host}{bearer}Origin: http://evil.example\r\n")).contains("200"));
    space.open("one");
    first.end().ends(0);
}

#[test]
fn f17_of_twenty_hosts_at_once_one_wins_and_each_other_names_it() {
    let space = TestSpace::new();
    space.module("quick", "", "mark('quick')");
    let mut all: Vec<Running> = (0..20).map(|_| space.start(&["serve"])).collect();
    space.wait_until("one is left", || host(&space).is_some());
    let owner = until(|| {
        all.iter_mut()
            .filter_map(|running| running.is_running().then(|| running.pid()))
            .collect::<Vec<_>>()
            .try_into()
            .ok()
            .map(|[one]: [u32; 1]| one)
    });
    let owner = owner.expect("exactly one goes on");
    assert_eq!(host(&space), Some(u64::from(owner)));
    space.prismq(&["run", "quick"]).ends(0);
    for running in all {
        if running.pid() == owner {
            running.signal(Signal::INT);
            running.end().ends(0);
        } else {
            running.end().ends(75).complains(&format!("process {owner} "));
        }
    }
    assert_eq!(space.marks("quick").len(), 1);
}

/// The address that a killed host left names a process that is gone: nobody may be sent there.
#[test]
fn f17_a_second_host_does_not_name_a_dead_one() {
    let space = with_gates();
    let first = gated(&space, "one", "0");
    first.kill();
    let dead = host(&space).expect("its address is left");
    let second = gated(&space, "two", "0");
    let ran = space.prismq(&["serve"]).ends(75).complains(&second.pid().to_string());
    assert!(!ran.stderr.contains(&dead.to_string()), "{ran:?}");
    for gate in ["one", "two"] {
        space.open(gate);
    }
    second.end().ends(0);
}

/// Who inherited the lock would hold it after the death of the host.
#[cfg(target_os = "linux")]
#[test]
fn f17_no_module_inherits_the_lock() {
    let space = TestSpace::new();
    // It lives on in a session of its own, without its marks, so that the next host leaves it alone.
    space.module("lives", "", "import subprocess\nprocess = subprocess.Popen(['sleep', '300'], env={}, start_new_session=True, close_fds=False)\nmark('pid', str(process.pid))\nmark('open', '|'.join(os.readlink('/proc/self/fd/' + fd) for fd in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + fd)))\ngate('go')");
    space.module("quick", "", "mark('quick')");
    let first = space.start(&["run", "lives"]);
    space.wait_for_marks("open", 1);
    first.kill();
    let living: i32 = space.marks("pid")[0].parse().expect("a number");
    let living = rustix::process::Pid::from_raw(living).expect("a process");
    assert!(!space.marks("open")[0].contains(".prismq/lock"), "{:?}", space.marks("open"));
    assert!(rustix::process::test_kill_process(living).is_ok(), "it lives on");
    let ran = space.prismq(&["run", "quick"]);
    let killed = rustix::process::kill_process(living, Signal::KILL);
    space.open("go");
    ran.ends(0);
    killed.expect("it lived until now");
    assert_eq!(space.marks("quick").len(), 1);
}
