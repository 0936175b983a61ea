//! The whole program: a host that is killed, hosts that meet, what people see.

use std::path::PathBuf;

use prismq::attempt::{ProcessIdentity, Standing, standing};
use serde_json::{Value, json};

use crate::attempt::gone;
use crate::support::{TestSpace, stub, until};

impl TestSpace {
    /// A module that is the stub with these arguments.
    pub(crate) fn stub(&self, id: &str, args: &[&str], keys: &str) {
        let mut command = vec![stub().display().to_string()];
        command.extend(args.iter().map(|arg| (*arg).to_owned()));
        self.write(&format!("manifests/{id}.yaml"), format!("id: {id}\ncommand: {}\n{keys}\n", json!(command)));
    }

    /// A module that writes numbered lines until `gates/go` is there.
    fn counter(&self, id: &str, code: &str) {
        let (go, starts) = (self.at("gates").join("go"), self.at("marks").join("starts"));
        self.stub(id, &["count-until", &go.display().to_string(), code, &starts.display().to_string()], "resources: {cpus: 0}");
    }

    fn attempt(&self, run: &str, node: &str) -> PathBuf {
        self.at(".prismq").join("runs").join(run).join(format!("{node}.1"))
    }

    fn module_of(&self, run: &str, node: &str) -> ProcessIdentity {
        let found = until(|| match standing(&self.attempt(run, node)) {
            Ok(Standing::Alive(Some(record))) => record.child,
            _ => None,
        });
        found.expect("the module runs")
    }

    /// The members of a family of three that the newest run started at its only node, once all of them are there.
    fn family(&self, node: &str) -> Vec<ProcessIdentity> {
        let run = self.show("last")["run"]["run_id"].as_str().expect("an id").to_owned();
        let log = || {
            let text = std::fs::read_to_string(self.attempt(&run, node).join("stdout.log")).unwrap_or_default();
            Some(text.lines().filter_map(|line| line.trim().parse::<u32>().ok()).collect::<Vec<_>>()).filter(|pids| pids.len() == 3)
        };
        let family: Vec<ProcessIdentity> = until(log).expect("all of them").into_iter().map(ProcessIdentity::of).collect();
        assert!(family.iter().all(|process| process.started > 0 && process.is_alive()), "{family:?}");
        family
    }
}

#[test]
fn f38_a_host_is_ended_by_force_and_its_module_is_adopted() {
    let space = TestSpace::named("a space");
    space.counter("counter", "0");
    space.write("p.yaml", "nodes:\n  a: {module: counter}\n  b: {module: counter, needs: [a]}\n");
    let running = space.start(&["run", "p.yaml"]);
    let run = running.run_id();
    space.wait_for_marks("starts", 1);
    let module = space.module_of(&run, "a");
    // `TerminateProcess`: nothing of the host runs any more.
    running.kill();
    assert!(module.is_alive(), "it outlives the host");
    let resumed = space.start(&["resume", &run]);
    resumed.wait_for_note_or_out(&run);
    assert!(module.is_alive());
    space.open("go");
    resumed.end().ends(0);
    assert_eq!(space.statuses(&run), ["a=completed", "b=completed"]);
    assert_eq!(space.marks("starts"), ["a", "b"], "each of them ran once");
    assert_eq!(space.node(&run, "a")["attempts"], 1);
    let log = space.read(space.attempt(&run, "a").join("stdout.log"));
    assert!(log.starts_with("line 0\nline 1\n") && log.ends_with("end\n"), "{log}");
}

#[test]
fn f36_the_code_of_a_module_that_ended_without_a_host_is_read() {
    let space = TestSpace::named("a space");
    space.counter("counter", "3221225477");
    let running = space.start(&["run", "counter"]);
    space.wait_for_marks("starts", 1);
    running.kill();
    let run = space.show("last")["run"]["run_id"].as_str().expect("an id").to_owned();
    space.open("go");
    space.wait_until("it has ended", || space.attempt(&run, "counter").join("exit.json").exists());
    space.prismq(&["resume", &run]).ends(1).says("0xC0000005 (access violation)");
    let row = space.node(&run, "counter");
    assert_eq!((&row["status"], &row["exit_code"], &row["attempts"]), (&json!("failed"), &json!(0xC000_0005_u32), &json!(1)));
    space.prismq(&["show", &format!("{run}/counter")]).ends(0).says("0xC0000005");
}

#[test]
fn f39_a_wrapper_that_is_killed_makes_its_attempt_lost() {
    let space = TestSpace::named("a space");
    space.counter("counter", "0");
    let running = space.start(&["run", "counter"]);
    space.wait_for_marks("starts", 1);
    let run = space.show("last")["run"]["run_id"].as_str().expect("an id").to_owned();
    let module = space.module_of(&run, "counter");
    let Ok(Standing::Alive(Some(record))) = standing(&space.attempt(&run, "counter")) else { panic!("it runs") };
    let pid = record.wrapper.pid.to_string();
    assert!(std::process::Command::new("taskkill").args(["/F", "/PID", &pid]).output().expect("taskkill runs").status.success());
    gone(module);
    running.end().ends(1).complains("its wrapper was killed");
}

#[test]
fn a_cancel_ends_the_whole_tree() {
    let space = TestSpace::named("a space");
    space.stub("family", &["family", "3"], "");
    let running = space.start(&["run", "family"]);
    running.wait_for("\n");
    let family = space.family("family");
    space.prismq(&["cancel", "last"]).ends(0);
    assert!(family.iter().all(|process| !process.is_alive()), "{family:?}");
    running.end().ends(7);
}

/// What is told at its declaration: a direct attempt is lost with its host. Its tree must not be left behind.
#[test]
fn a_direct_attempt_and_its_tree_end_with_the_host() {
    let space = TestSpace::named("a space");
    space.stub("family", &["family", "3"], "isolation: direct");
    let running = space.start(&["run", "family"]);
    running.wait_for("\n");
    let family = space.family("family");
    running.kill();
    family.into_iter().for_each(gone);
    // A lost attempt would be made once more.
    space.prismq(&["cancel", "last"]).ends(0);
    assert_eq!(space.statuses("last"), ["family=cancelled"]);
}

#[test]
fn output_is_shown_while_the_module_runs() {
    let space = TestSpace::named("a space");
    space.counter("counter", "0");
    let mut running = space.start(&["run", "counter", "--logs"]);
    running.wait_for("line 1");
    let following = space.start(&["logs", "last", "--follow"]);
    following.wait_for("line 1");
    space.prismq(&["logs", "last"]).ends(0).says("line 0");
    assert!(running.is_running());
    space.open("go");
    following.end().ends(0).says("end");
    running.end().ends(0).says("end");
}

#[test]
fn f17_one_host_and_the_others_name_it() {
    let space = TestSpace::named("a space");
    let mut first = space.start(&["serve", "--port", "0"]);
    let host = || -> Option<Value> { serde_json::from_str(&std::fs::read_to_string(space.at(".prismq").join("host.json")).ok()?).ok() };
    let pid = until(|| host()?["pid"].as_u64().filter(|pid| *pid != 0)).expect("it announces itself");
    assert_eq!(pid, u64::from(first.pid()));
    let others: Vec<_> = (0..4).map(|_| space.start(&["serve", "--port", "0"])).collect();
    for other in others {
        other.end().ends(75).complains(&pid.to_string());
    }
    assert!(first.is_running());
    first.kill();
    let next = space.start(&["serve", "--port", "0"]);
    let taken = until(|| host()?["pid"].as_u64().filter(|pid| *pid == u64::from(next.pid())));
    assert!(taken.is_some(), "the lock went with the process");
    next.kill();
}
