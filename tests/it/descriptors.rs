//! A host that has no descriptor left: it waits for one without turning in circles, loses nothing, and goes on when there are some again.
#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;

use crate::support::faults::{FaultyHost, health, host_pid, skip};
use crate::support::{Running, TestSpace};

/// With few descriptors many wrapped attempts run all the same, and direct ones fail cleanly and are tried again.
#[test]
fn f33_a_host_that_runs_out_of_descriptors() {
    let space = TestSpace::new();
    space.write("prismq.yaml", "host: {max_concurrent: 60}\n");
    let retry = "resources: {cpus: 0}\nretry: {attempts: 50, backoff: 50ms, max_backoff: 200ms}";
    space.module("wrapped", retry, "mark('wrapped', NODE)");
    space.module("direct", &format!("isolation: direct\n{retry}"), "mark('direct', NODE)");
    for (module, count) in [("wrapped", 100_usize), ("direct", 60)] {
        let items: Vec<usize> = (0..count).collect();
        space.write("p.yaml", format!("nodes:\n  n: {{module: {module}, foreach: \"${{{{ {items:?} }}}}\"}}\n"));
        let mut command = Command::new("prlimit");
        let program = space.command(&["run", "p.yaml"]);
        command.arg("--nofile=64").arg(program.get_program()).args(program.get_args()).current_dir(space.root());
        command.env_remove("PRISMQ_WORKSPACE").env("PRISMQ_TEST_SPACE", space.root());
        let ran = Running::start(command, None).end();
        assert_eq!(ran.code, 0, "{ran:?}");
        let mut marks = space.marks(module);
        marks.sort();
        marks.dedup();
        assert_eq!(marks.len(), count);
    }
}

/// A connection over which nothing was said yet.
fn connect(space: &TestSpace) -> TcpStream {
    let address: Value = serde_json::from_str(&space.read(".prismq/host.json")).expect("JSON");
    let port = u16::try_from(address["port"].as_u64().expect("a port")).expect("a port");
    TcpStream::connect(("127.0.0.1", port)).expect("the system takes it for the host")
}

/// What a process has used so far of a CPU.
fn cpu_of(pid: Pid) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).expect("it lives");
    let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|number| number.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// Asks over one more connection, to which nobody answers for two seconds, in which the host hardly uses a CPU.
#[track_caller]
fn nobody_answers_and_nobody_spins(space: &TestSpace, host: Pid, when: &str) -> TcpStream {
    const WATCHED: Duration = Duration::from_secs(2);
    let mut asking = connect(space);
    asking.write_all(b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").expect("the system takes it");
    asking.set_read_timeout(Some(WATCHED)).expect("a limit");
    let (begun, before) = (Instant::now(), cpu_of(host));
    let answer = asking.read(&mut [0]);
    let (time, used) = (begun.elapsed(), cpu_of(host) - before);
    assert!(answer.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "{when}: it was answered");
    println!("{when}: {} ms of CPU in {} ms", used.as_millis(), time.as_millis());
    assert!(used < time / 5, "{when}: {used:?} of CPU in {time:?}");
    asking
}

/// Connections of others are held open until the host takes no more.
#[test]
fn f33_connections_that_say_nothing_cost_no_module_its_end_and_no_cpu() {
    let test = "f33_connections_that_say_nothing_cost_no_module_its_end_and_no_cpu";
    if Command::new("prlimit").arg("--version").output().is_err() {
        return skip(test, "prlimit is not installed");
    }
    let space = TestSpace::new();
    for isolation in ["wrapped", "direct"] {
        let keys = format!("resources: {{cpus: 0}}\nisolation: {isolation}");
        space.module(isolation, &keys, "mark('began')\ngate('go')\nmark('ended')\nsys.exit(3 if NODE == 'd' else 0)");
    }
    space.module("quick", "resources: {cpus: 0}", "mark('quick')");
    space.write("p.yaml", "nodes:\n  w: {module: wrapped}\n  d: {module: direct}\n  after: {module: quick, needs: [w]}\n");
    let host = FaultyHost::start_by(&space, "prlimit", &["--nofile=64".to_owned()]).up();
    let pid = host_pid(&space).expect("a host");
    let run = space.prismq(&["run", "p.yaml", "--detach"]).ends(0).stdout.trim().to_owned();
    space.wait_for_marks("began", 2);

    // More than 64 descriptors could hold.
    let held: Vec<TcpStream> = (0..80).map(|_| connect(&space)).collect();
    let asking = nobody_answers_and_nobody_spins(&space, pid, "connections are held");
    // What ends meanwhile is recorded, and what waits for it starts: connections leave room for both.
    space.open("go");
    space.wait_for_marks("quick", 1);
    drop((held, asking));
    space.wait_until("it answers again", || health(&space).as_deref() == Some("ok"));
    space.wait_until("the run is over", || space.show(&run)["run"]["completed_at"].is_string());
    assert_eq!(space.statuses(&run), ["w=completed", "d=failed", "after=completed"]);
    assert_eq!((space.node(&run, "d")["exit_code"].as_i64(), space.marks("ended").len()), (Some(3), 2));
    space.prismq(&["run", "quick"]).ends(0);
    host.stop().ends(0);
    space.prismq(&["journal", "verify"]).ends(0);
}

/// Not one is left, for whatever reason: not even for the folder of an attempt that has ended.
#[test]
fn f33_without_any_descriptor_the_host_waits_for_one() {
    let space = TestSpace::new();
    space.module("wrapped", "resources: {cpus: 0}", "mark('began')\ngate('go')\nmark('ended')");
    space.module("direct", "resources: {cpus: 0}\nisolation: direct", "mark('began')\ngate('go')\nmark('ended')");
    space.module("quick", "resources: {cpus: 0}", "mark('quick')");
    space.write("p.yaml", "nodes:\n  w: {module: wrapped}\n  d: {module: direct}\n  after: {module: quick, needs: [w, d]}\n");
    let host = FaultyHost::start_by(&space, "env", &[]).up();
    let pid = host_pid(&space).expect("a host");
    let run = space.prismq(&["run", "p.yaml", "--detach"]).ends(0).stdout.trim().to_owned();
    space.wait_for_marks("began", 2);
    let exit = space.at(format!(".prismq/runs/{run}/w.1/exit.json"));

    let usual = getrlimit(Resource::Nofile);
    let limit = |current| prlimit(Some(pid), Resource::Nofile, Rlimit { current, maximum: usual.maximum }).expect("it is ours");
    limit(Some(3));
    space.open("go");
    space.wait_until("both have ended", || exit.exists() && space.marks("ended").len() == 2);
    let asking = nobody_answers_and_nobody_spins(&space, pid, "no descriptor is free");
    limit(usual.current);
    drop(asking);
    space.wait_until("it answers again", || health(&space).as_deref() == Some("ok"));
    space.wait_until("the run is over", || space.show(&run)["run"]["completed_at"].is_string());
    assert_eq!(space.statuses(&run), ["w=completed", "d=completed", "after=completed"], "{}", space.node(&run, "d"));
    space.prismq(&["run", "quick"]).ends(0);
    assert_eq!((space.marks("ended").len(), space.marks("quick").len()), (2, 2), "nothing ran twice");
    host.stop().ends(0);
    space.prismq(&["journal", "verify"]).ends(0);
}
