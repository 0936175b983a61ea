//! A run that is followed goes on when its host dies and another one comes, and two terminals see the same.
#![cfg(target_os = "linux")]

use rustix::process::Signal;

use crate::support::TestSpace;

/// Prints `before`, waits for a gate, prints `after` and ends with the code that it is given.
fn with_module() -> TestSpace {
    let space = TestSpace::new();
    let keys = "resources: {cpus: 0}\nparams: {properties: {code: {type: integer, default: 0}}}";
    space.module("gated", keys, "print('before', flush=True)\nmark('began')\ngate('go')\nprint('after', flush=True)\nsys.exit(P['code'])");
    space
}

#[test]
fn an_attached_run_goes_on_at_the_next_host() {
    for (code, exit) in [(0, 0), (3, 1)] {
        let space = with_module();
        let first = space.serve();
        let attached = space.start(&["run", "gated", "-p", &format!("code={code}")]);
        let waiting = space.start(&["wait", "last", "--timeout", "1m"]);
        attached.wait_for("before");
        first.kill();
        attached.wait_for_note("the host died");
        let second = space.serve();
        // It is at the next host before the module goes on.
        space.wait_until("it runs at the second host", || space.show("last")["run"]["status"] == "running");
        space.open("go");
        let ran = attached.end().ends(exit);
        assert_eq!((ran.stdout.matches("before").count(), ran.stdout.matches("after").count()), (1, 1), "{}", ran.stdout);
        waiting.end();
        assert_eq!(space.marks("began").len(), 1, "the module was not started again");
        second.stop();
    }
}

#[test]
fn who_waits_for_a_host_can_let_go_of_the_run() {
    let space = with_module();
    let first = space.serve();
    let attached = space.start(&["run", "gated"]);
    attached.wait_for("before");
    first.kill();
    attached.wait_for_note("the host died").signal(Signal::INT);
    attached.end().ends(130);
    let second = space.serve();
    space.open("go");
    space.prismq(&["wait", "last"]).ends(0);
    second.stop();
}

#[test]
fn two_terminals_see_the_same() {
    let space = with_module();
    let serve = space.serve();
    let one = space.start(&["run", "gated"]);
    one.wait_for("before");
    let two = space.start(&["logs", "last", "-f"]);
    two.wait_for("before");
    space.open("go");
    let (one, two) = (one.end().ends(0), two.end().ends(0));
    assert_eq!(one.stdout, two.stdout);
    serve.stop();
}
