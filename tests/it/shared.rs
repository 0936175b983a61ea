//! A workspace whose state lies on shared storage. What the kernel calls such is a program of ours that hands a folder through.

use std::process::Command;

use crate::support::faults::{Mount, is_root, skip};
use crate::support::{Running, TestSpace, until};

/// Mounts a folder as this kind of file system on the state's place. None where that is not possible.
fn mounted(space: &TestSpace, kind: &str) -> Option<(Mount, Running)> {
    let (behind, place) = (space.at("behind"), space.at(".prismq"));
    for folder in [&behind, &place] {
        prismq::host::workspace::create_private_folder(folder).expect("a folder");
    }
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fake/fuse.py")).arg(kind).args([&behind, &place]);
    let mut serving = Running::start(command, None);
    let seen = until(|| if serving.stdout().contains("mounted") { Some(true) } else { (!serving.is_running()).then_some(false) });
    seen.unwrap_or(false).then(|| (Mount::of(place), serving))
}

/// Once nobody has the state open any more.
fn unmount(space: &TestSpace, mount: Mount, serving: Running) {
    space.wait_until("nobody uses it", || space.processes().iter().all(|(_, line)| line.contains("fuse.py")));
    drop(mount);
    serving.end().ends(0);
}

#[test]
fn f18_a_state_on_shared_storage_is_refused_by_its_name_unless_allowed() {
    let test = "f18_a_state_on_shared_storage_is_refused_by_its_name_unless_allowed";
    if !is_root() {
        return skip(test, "only root may mount a file system");
    }
    let space = TestSpace::new();
    space.module("hello", "", "mark('hello')");
    let Some((mount, serving)) = mounted(&space, "fuse.sshfs") else {
        return skip(test, "no file system of a program can be mounted");
    };
    for args in [&["run", "hello"][..], &["run", "hello", "--detach"], &["serve", "--until-idle"]] {
        let refused = space.prismq(args).ends(2);
        assert!(!space.at(".prismq/lock").exists() && !space.at(".prismq/journal").exists(), "{args:?} began a state");
        refused.complains("the state may not lie on fuse.sshfs: locks and renames").complains("`--i-know`").complains("runs_dir");
    }
    assert_eq!(space.marks("hello").len(), 0);
    space.prismq(&["--i-know", "run", "hello"]).ends(0);
    // As a setting it counts for every verb.
    space.write("prismq.yaml", "host: {shared_state: true}\n");
    space.prismq(&["run", "hello"]).ends(0);
    assert_eq!(space.marks("hello").len(), 2);
    space.prismq(&["journal", "verify"]).ends(0);
    unmount(&space, mount, serving);
}

#[test]
fn f18_what_lies_on_a_disk_of_this_machine_is_not_refused_for_the_program_between() {
    let test = "f18_what_lies_on_a_disk_of_this_machine_is_not_refused_for_the_program_between";
    if !is_root() {
        return skip(test, "only root may mount a file system");
    }
    let space = TestSpace::new();
    space.module("hello", "", "mark('hello')");
    let Some((mount, serving)) = mounted(&space, "fuse.gocryptfs") else {
        return skip(test, "no file system of a program can be mounted");
    };
    space.prismq(&["run", "hello"]).ends(0);
    unmount(&space, mount, serving);
}
