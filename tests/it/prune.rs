//! `prune` and `retention:`: what goes, what stays, and what a crash in the middle leaves.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::TestSpace;

/// A workspace with a module that writes as much as it is told, and fails where it is told.
fn space() -> TestSpace {
    let space = TestSpace::new();
    space.module(
        "write",
        "params: {properties: {size: {type: integer, default: 0}, code: {type: integer, default: 0}, gate: {type: string}}}",
        "with open(os.path.join(os.environ['PRISMQ_ARTIFACTS'], 'data'), 'wb') as file:\n    file.write(os.urandom(P['size']))\nif P.get('gate'):\n    mark('began')\n    gate(P['gate'])\nsys.exit(P['code'])",
    );
    space
}

fn run(space: &TestSpace, size: &str) -> String {
    space.prismq(&["run", "write", "-p", &format!("size={size}")]).ends(0);
    space.show("last")["run"]["run_id"].as_str().expect("an id").to_owned()
}

fn listed(space: &TestSpace) -> Vec<String> {
    let rows = space.prismq(&["runs", "--json"]).ends(0).json();
    rows.as_array().expect("rows").iter().map(|row| row["run_id"].as_str().expect("an id").to_owned()).collect()
}

fn folders(space: &TestSpace) -> BTreeSet<String> {
    let entries = std::fs::read_dir(space.at(".prismq/runs")).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect()
}

fn ids(report: &Value, key: &str) -> Vec<String> {
    report[key].as_array().expect("runs").iter().map(|run| run["run_id"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn the_oldest_go_until_the_rest_fits() {
    let space = space();
    let runs: Vec<String> = (0..3).map(|_| run(&space, "500000")).collect();
    let dry = space.prismq(&["prune", "--keep-size", "1200kB", "--dry-run", "--json"]).ends(0).json();
    assert_eq!((ids(&dry, "pruned"), &dry["remaining"], &dry["dry_run"]), (vec![runs[0].clone()], &json!(2), &json!(true)));
    assert!(dry["pruned"][0]["bytes"].as_u64().is_some_and(|bytes| (500_000..700_000).contains(&bytes)), "{dry}");
    assert_eq!(listed(&space).len(), 3, "a dry run changes nothing");

    space.prismq(&["prune", "--keep-size", "1200kB"]).ends(0).says(&runs[0]).says("newer runs take").says("removed; 2 runs left");
    assert_eq!(listed(&space), [runs[2].clone(), runs[1].clone()]);
    assert_eq!(folders(&space), runs[1..].iter().cloned().collect());
    for verb in ["show", "logs", "retry", "cancel", "wait"] {
        space.prismq(&[verb, &runs[0]]).ends(4).complains("was pruned at");
    }
    space.prismq(&["prune", "--keep-size", "1200kB"]).ends(0).says("0 runs (0 B) removed; 2 runs left");
    space.prismq(&["prune", "--keep-days", "0"]).ends(0).says("2 runs").says("0 runs left");
    assert_eq!(folders(&space), BTreeSet::new());
    space.prismq(&["runs"]).ends(0).complains("no runs yet");
    let after = run(&space, "0");
    assert_eq!(listed(&space), [after]);
}

#[test]
fn something_must_say_what_stays() {
    let space = space();
    space.prismq(&["prune"]).ends(2).complains("--keep-days");
    space.prismq(&["prune", "--keep-size", "much"]).ends(2).complains("is not a size");
    run(&space, "0");
    space.write("prismq.yaml", "retention: {keep_days: 1}\n");
    space.prismq(&["prune"]).ends(0).says("0 runs (0 B) removed; 1 run left");
}

#[cfg(unix)]
#[test]
fn a_live_host_prunes_and_keeps_what_lives() {
    let space = space();
    let old = run(&space, "0");
    space.write(
        "p.yaml",
        "nodes:\n  good: {module: write}\n  bad: {module: write, needs: [good], with: {code: 1}}\n  after: {module: write, needs: [good], with: {gate: go}}\n",
    );
    space.open("go");
    space.prismq(&["run", "p.yaml"]).ends(1);
    let failed = space.show("last")["run"]["run_id"].as_str().expect("an id").to_owned();
    std::fs::remove_file(space.at("gates/go")).expect("it was open");
    let retried = space.start(&["retry", &failed, "--from", "after"]);
    space.wait_for_marks("began", 2);
    let live = space.show("last")["run"]["run_id"].as_str().expect("an id").to_owned();

    let dry = space.prismq(&["prune", "--keep-days", "0", "--dry-run", "--json"]).ends(0).json();
    let report = space.prismq(&["prune", "--keep-days", "0", "--json"]).ends(0).json();
    for report in [&dry, &report] {
        assert_eq!((ids(report, "pruned"), ids(report, "kept")), (vec![old.clone()], vec![failed.clone()]), "{report}");
        assert_eq!(report["kept"][0]["reason"], format!("run {live} has results of it"));
    }
    assert_eq!(folders(&space), BTreeSet::from([failed.clone(), live.clone()]));
    space.open("go");
    retried.end().ends(1);
    let report = space.prismq(&["prune", "--keep-days", "0", "--json"]).ends(0).json();
    assert_eq!(ids(&report, "pruned"), [failed, live]);
}

#[cfg(unix)]
#[test]
fn what_links_point_to_stays() {
    let space = space();
    let precious = space.write("precious/file", "kept");
    let id = run(&space, "0");
    let inside = space.at(format!(".prismq/runs/{id}"));
    std::os::unix::fs::symlink(precious.parent().expect("a folder"), inside.join("link")).expect("a link");
    std::os::unix::fs::symlink(precious.parent().expect("a folder"), inside.join("write.1/artifacts/link")).expect("a link");
    space.prismq(&["prune", "--keep-days", "0"]).ends(0).says("1 run");
    assert_eq!((folders(&space), space.read("precious/file").as_str()), (BTreeSet::new(), "kept"));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a list").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a kind").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// The record is there, the folder too: as after a crash between the two.
#[test]
fn a_folder_that_a_crash_left_goes_with_the_next_prune() {
    let space = space();
    let (gone, stays) = (run(&space, "0"), run(&space, "0"));
    let folder = space.at(format!(".prismq/runs/{gone}"));
    copy(&folder, &space.at("aside"));
    space.prismq(&["prune", "--keep-size", "1"]).ends(0).says(&gone);
    copy(&space.at("aside"), &folder);
    assert_eq!(listed(&space), vec![stays.clone()], "a folder alone is no run");
    space.prismq(&["show", &gone]).ends(4);
    space.prismq(&["prune", "--keep-days", "1000"]).ends(0).says("0 runs");
    assert_eq!(folders(&space), BTreeSet::from([stays]));
}

/// Kills `prune` at all kinds of moments. Whatever is listed is whole, and in the end everything is gone.
#[cfg(unix)]
#[test]
fn prune_killed_again_and_again() {
    let space = TestSpace::new();
    space.module(
        "litter",
        "",
        "for number in range(1500):\n    open(os.path.join(os.environ['PRISMQ_ARTIFACTS'], str(number)), 'w').close()",
    );
    for _ in 0..6 {
        space.prismq(&["run", "litter"]).ends(0);
    }
    let mut interrupted = 0;
    for cycle in 0..60_u64 {
        let mut pruning = space.start(&["prune", "--keep-days", "0"]);
        let until = std::time::Instant::now() + std::time::Duration::from_millis(5 + cycle * 3);
        while pruning.is_running() && std::time::Instant::now() < until {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        interrupted += u32::from(pruning.kill().code != 0);
        let left = listed(&space);
        for run in &left {
            assert_eq!(space.show(run)["run"]["status"], "completed", "{run} is listed and not whole");
            let count = std::fs::read_dir(space.at(format!(".prismq/runs/{run}/litter.1/artifacts"))).expect("its artifacts").count();
            assert_eq!(count, 1500, "{run} is listed and not whole");
        }
        if left.is_empty() {
            break;
        }
    }
    assert!(interrupted > 0, "no prune was interrupted");
    space.prismq(&["prune", "--keep-days", "0"]).ends(0);
    assert_eq!((listed(&space), folders(&space)), (Vec::new(), BTreeSet::new()));
}

#[test]
fn a_host_prunes_by_itself_when_its_run_is_over() {
    let space = space();
    let old: Vec<String> = (0..2).map(|_| run(&space, "0")).collect();
    assert!(!space.at(".prismq/retention").exists(), "without `retention:` nobody looks");
    space.write("prismq.yaml", "retention: {keep_size: 1}\n");
    let newest = run(&space, "0");
    space.wait_until("the old ones are gone", || folders(&space) == BTreeSet::from([newest.clone()]));
    assert_eq!(listed(&space), vec![newest.clone()]);
    space.prismq(&["show", &old[0]]).ends(4);
    space.wait_until("the look is noted", || space.at(".prismq/retention").exists());
    let next = run(&space, "0");
    assert_eq!(listed(&space), [next, newest], "the next look is an hour later");
}
