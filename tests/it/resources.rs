//! Resources: GPUs that are handed out, what never fits, and why something waits.

use crate::support::TestSpace;

/// Two GPUs that nobody can detect: what they have is what the settings say.
const GPUS: &str = "host: {capacity: {gpus: [{uuid: GPU-big, vram: 25GiB, name: Big}, {uuid: GPU-small, vram: 9GiB}]}}\n";

/// A module that tells which GPU it sees, and stays until it is let go.
const SEES: &str = "E = os.environ.get\nmark('began', NODE + ' ' + str(E('CUDA_VISIBLE_DEVICES')) + ' ' + str(E('CUDA_DEVICE_ORDER')) + ' ' + str(E('PRISMQ_VRAM_BYTES')))\ngate('go')\nmark('ended', NODE)";

fn space(vram: &str) -> TestSpace {
    let space = TestSpace::new();
    space.write("prismq.yaml", GPUS);
    space.module("load", &format!("resources: {{cpus: 0, vram: {vram}}}"), SEES);
    space.module("whole", "resources: {cpus: 0, gpus: 1}", SEES);
    space
}

#[test]
fn two_nodes_whose_vram_does_not_fit_together_run_one_after_the_other() {
    let space = space("14GiB");
    space.write("p.yaml", "nodes:\n  a: {module: load}\n  b: {module: load}\n  c: {module: load, resources: {vram: 5GiB}}\n");
    let running = space.start(&["run", "p.yaml"]);
    space.wait_for_marks("began", 2);
    let seen = space.marks("began");
    assert!(seen.contains(&format!("a GPU-big PCI_BUS_ID {}", 14_u64 << 30)), "{seen:?}");
    assert!(seen.contains(&format!("c GPU-small PCI_BUS_ID {}", 5_u64 << 30)), "{seen:?}");
    space.open("go");
    running.end().ends(0);
    let order = space.marks("ended");
    assert!(order.iter().position(|node| node == "a") < order.iter().position(|node| node == "b"), "{order:?}");
    // The grant is in the record.
    let journal = space.prismq(&["journal", "export"]).ends(0).stdout;
    assert!(journal.contains(r#""devices":[{"gpu":"GPU-big","share":0,"vram":15032385536}]"#), "{journal}");
}

#[test]
fn a_whole_gpu_is_for_nobody_else() {
    let space = space("4GiB");
    space.write("p.yaml", "nodes:\n  a: {module: whole, resources: {gpus: 2}}\n  b: {module: load}\n  c: {module: whole}\n");
    let running = space.start(&["run", "p.yaml"]);
    space.wait_for_marks("began", 1);
    assert_eq!(space.marks("began"), ["a GPU-small,GPU-big PCI_BUS_ID None"]);
    space.open("go");
    running.end().ends(0);
    assert_eq!(space.marks("ended")[0], "a");
}

#[test]
fn f65_a_gpu_request_that_can_never_fit_is_refused_with_its_number() {
    let space = space("64GiB");
    let ran = space.prismq(&["run", "load"]).ends(8);
    ran.complains("needs 64 GiB of VRAM on one GPU, 24 GiB of 24 GiB are free").complains("host.reserve.vram");
    // Without any GPU, and saying what to do.
    space.write("prismq.yaml", "host: {capacity: {gpus: []}}\n");
    let ran = space.prismq(&["run", "whole"]).ends(8);
    ran.complains("needs a GPU, and there is none").complains("host: {capacity: {gpus: [{uuid:");
    space.write("p.yaml", "nodes:\n  a: {module: whole}\n");
    space.prismq(&["run", "p.yaml"]).ends(8);
    space.prismq(&["run", "p.yaml", "--dry-run"]).ends(8).says("whole");
    space.prismq(&["run", "p.yaml", "--detach"]).ends(8);
    assert_eq!(space.marks("began").len(), 0);
}

/// The next host knows which GPU an attempt holds that outlived the last one.
#[cfg(unix)]
#[test]
fn a_grant_survives_its_host() {
    let space = space("14GiB");
    space.write("p.yaml", "nodes:\n  a: {module: load}\n  b: {module: load}\n");
    let running = space.start(&["serve"]);
    space.wait_until("a host", || space.at(".prismq/host.json").exists());
    space.prismq(&["run", "p.yaml", "--detach"]).ends(0);
    space.wait_for_marks("began", 1);
    running.signal(rustix::process::Signal::KILL);
    running.end();
    let again = space.start(&["serve", "--until-idle"]);
    space.wait_until("the next host", || space.prismq(&["why", "last/b"]).stdout.contains("GPU-big"));
    assert_eq!(space.marks("began").len(), 1);
    space.open("go");
    again.end().ends(0);
    assert_eq!(space.marks("ended"), ["a", "b"]);
}

/// More than the machine has, by the settings: what is really free decides.
#[test]
fn what_is_really_free_decides_and_why_says_who_has_it() {
    let space = TestSpace::new();
    space.write("prismq.yaml", "host: {capacity: {memory: 1000TiB, api: 1}}\n");
    space.module("huge", "resources: {cpus: 0, memory: 900TiB}", "mark('ran')");
    space.module("light", "resources: {cpus: 0, api: 1}", "mark('light', NODE)\ngate('go')");
    space.write("p.yaml", "nodes:\n  a: {module: huge}\n  b: {module: light}\n  c: {module: light, needs: [b]}\n  d: {module: light}\n");
    let running = space.start(&["run", "p.yaml"]);
    space.wait_for_marks("light", 1);
    let why = |of: &str| space.prismq(&["why", of]).ends(0).stdout;
    space.wait_until("the machine was looked at", || why("last/a").contains("other programs use"));
    assert!(why("last/a").contains("needs 900 TiB of memory, "), "{}", why("last/a"));
    let all = why("last");
    for part in ["c  waiting\n  waits for b\n", "needs 1 of api, 0 of 1 are free: ", "/b has 1 since "] {
        assert!(all.contains(part), "{part:?} is not in\n{all}");
    }
    let json = space.prismq(&["why", "last/d", "--json"]).ends(0).json();
    assert_eq!(json["nodes"][0]["blockers"][0]["unmet"]["resource"], "custom");
    assert_eq!(json["nodes"][0]["blockers"][0]["holders"][0]["node"], "b");
    let queue = space.prismq(&["queue", "--json"]).ends(0).json();
    let waiting: Vec<&str> = queue["nodes"].as_array().expect("nodes").iter().filter_map(|node| node["node"].as_str()).collect();
    assert_eq!(waiting, ["a", "d"]);
    space.prismq(&["why", "last/nobody"]).ends(4).complains("has no node `nobody`");
    let held = space.prismq(&["resources", "--json"]).ends(0).json();
    assert_eq!((&held["hosted"], &held["custom"]["api"]["held"], &held["custom"]["api"]["free"]), (&true.into(), &1000.into(), &0.into()));
    assert!(held["memory"]["used_by_others"].as_u64().is_some_and(|used| used > 0), "{held}");
    space.open("go");
    running.wait_for_note("a waits: needs 900 TiB of memory, ");
    space.wait_until("the others end", || space.marks("light").len() == 3);
    space.prismq(&["cancel", "last"]).ends(0);
    running.end().ends(7);
    assert_eq!(space.marks("ran").len(), 0);
    assert!(why("last/a").contains("cancelled"), "{}", why("last/a"));
}

#[test]
fn resources_and_doctor_without_a_host() {
    let space = space("4GiB");
    space.module("picky", "requires: {commands: [no-such-program-anywhere]}", "");
    let shown = space.prismq(&["resources"]).ends(0).complains("no host runs here");
    shown.says("gpu 0: Big GPU-big, idle, not measured: as the settings say").says("places");
    let json = space.prismq(&["resources", "--json"]).ends(0).json();
    assert_eq!(json["gpus"][0]["vram"]["capacity"], 24_u64 << 30);
    assert!(json["cpus"]["detected"].as_u64().is_some_and(|cpus| cpus > 0));
    let doctor = space.prismq(&["doctor"]).ends(1);
    doctor.says("GPU-big").says("wrapper").says("no-such-program-anywhere").says("2 module(s) have all that they need");
    space.write("manifests/picky.yaml", "id: picky\nscript: ../modules/picky.py\n");
    space.prismq(&["doctor", "--json"]).ends(0);
}

#[test]
fn f65_validate_says_what_can_never_run_here() {
    let space = space("4GiB");
    space.write("pipelines/p.yaml", "nodes:\n  a: {module: load}\n  b: {module: load, resources: {vram: 64GiB}}\n");
    let ran = space.prismq(&["validate"]).ends(8);
    ran.complains("node `b` can never run here: it needs 64 GiB of VRAM").complains("pipelines/p.yaml:3");
    space.write("pipelines/q.yaml", "nodes: {a: {modul: x}}\n");
    space.prismq(&["validate"]).ends(3).complains("can never run here");
    space.prismq(&["validate", "pipelines/p.yaml", "--json"]).ends(8);
}

/// The machine may have less than when the run was made.
#[test]
fn f65_a_retry_that_can_no_longer_fit_is_refused() {
    let space = space("14GiB");
    space.module("fails", "resources: {cpus: 0, vram: 1GiB}", "sys.exit(3)");
    space.write("p.yaml", "nodes:\n  a: {module: load}\n  b: {module: fails, needs: [a]}\n");
    space.open("go");
    space.prismq(&["run", "p.yaml"]).ends(1);
    space.write("prismq.yaml", "host: {capacity: {gpus: [{uuid: GPU-small, vram: 9GiB}]}}\n");
    // What it takes over needs nothing.
    space.prismq(&["retry", "last"]).ends(1);
    space.prismq(&["retry", "@~1", "--from", "a"]).ends(8).complains("node `a` can never run here: it needs 14 GiB of VRAM");
}

/// What a node was seen to use is no longer kept for it a second time, under the wrapper and without one.
#[cfg(target_os = "linux")]
#[test]
fn the_memory_that_nodes_use_is_measured() {
    let space = TestSpace::new();
    let takes = "data = bytearray(200 << 20)\ndata[::4096] = b'x' * len(data[::4096])\nmark('began', NODE)\ngate('go')";
    space.module("wrapped", "resources: {cpus: 0, memory: 1GiB}", takes);
    space.module("direct", "isolation: direct\nresources: {cpus: 0, memory: 1GiB}", takes);
    space.write("p.yaml", "nodes:\n  a: {module: wrapped}\n  b: {module: direct}\n");
    let running = space.start(&["run", "p.yaml"]);
    space.wait_for_marks("began", 2);
    let memory = || space.prismq(&["resources", "--json"]).ends(0).json()["memory"].clone();
    space.wait_until("both are seen", || {
        let used = memory()["used_by_nodes"].as_u64().unwrap_or_default();
        used > 400 << 20 && used < 800 << 20
    });
    assert_eq!(memory()["held"], 2_u64 << 30);
    space.open("go");
    running.end().ends(0);
}

#[test]
fn a_plan_says_that_its_model_knows_no_gpus() {
    let space = TestSpace::new();
    space.module("whole", "duration: 1s\nresources: {cpus: 0, gpus: 1}", "");
    space.module("plain", "duration: 1s", "");
    space.write("prismq.yaml", "host: {capacity: {gpus: [{uuid: GPU-small, vram: 9GiB}]}}\n");
    space.write("p.yaml", "nodes:\n  a: {module: whole}\n  b: {module: whole}\n");
    space.write("q.yaml", "nodes:\n  a: {module: plain}\n");
    space.prismq(&["plan", "p.yaml"]).ends(0).says("GPUs are no part of the model");
    let plan = space.prismq(&["plan", "p.yaml", "--json"]).ends(0).json();
    assert_eq!((plan["gpus_unmodelled"].as_bool(), plan["orders_tried"].as_u64()), (Some(true), Some(0)));
    // The timeline is the scheduler's own, which does know them.
    assert_eq!((plan["makespan_seconds"].as_f64(), plan["lower_bound_seconds"].as_f64()), (Some(2.0), Some(1.0)));
    let plain = space.prismq(&["plan", "q.yaml"]).ends(0);
    assert!(!plain.stdout.contains("GPU"), "{plain:?}");
    assert_eq!(space.prismq(&["plan", "q.yaml", "--json"]).ends(0).json()["gpus_unmodelled"], false);
}
