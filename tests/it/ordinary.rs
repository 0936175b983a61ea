//! What the system refuses to an ordinary user, told by name. Root would see nothing of it, so `.ci/run ordinary` plays these as somebody
//! else; as root they only say that they were passed over.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::TestSpace;
use crate::support::faults::{is_root, skip};

/// A path without any rights, until it is dropped.
struct Closed(PathBuf, u32);

impl Closed {
    fn new(path: PathBuf, mode: u32) -> Self {
        let before = mode_of(&path);
        set_mode(&path, mode);
        Self(path, before)
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        set_mode(&self.0, self.1);
    }
}

fn mode_of(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its owner may");
}

/// A workspace with one run behind it, where refusals can be seen.
fn space() -> Option<TestSpace> {
    if is_root() {
        skip("ordinary", "root is refused nothing");
        return None;
    }
    let space = TestSpace::new();
    space.module("good", "", "print('hello')");
    space.prismq(&["run", "good"]).ends(0);
    Some(space)
}

#[test]
fn an_unreadable_manifest_or_script_hinders_nobody_else() {
    let Some(space) = space() else { return };
    space.module("other", "", "");
    let manifest = Closed::new(space.at("manifests/other.yaml"), 0);
    space.prismq(&["modules"]).ends(0).says("good").says("manifests/other.yaml: 1 error");
    space.prismq(&["run", "good"]).ends(0);
    space.prismq(&["run", "other"]).ends(4).complains("manifests/other.yaml is broken");
    let refused = space.prismq(&["validate"]).ends(3);
    assert!((refused.stdout + &refused.stderr).contains("the file may not be read by this user"));
    drop(manifest);
    let _script = Closed::new(space.at("modules/other.py"), 0);
    space.prismq(&["run", "other"]).ends(3).complains("the file may not be read by this user");
}

#[test]
fn state_that_may_not_be_touched_is_named() {
    let Some(space) = space() else { return };
    for (path, verb) in [
        (".prismq/token", &["run", "good"][..]),
        (".prismq/lock", &["run", "good"]),
        (".prismq/journal/000001.jsonl", &["run", "good"]),
        (".prismq/journal/000001.jsonl", &["runs"]),
    ] {
        let _closed = Closed::new(space.at(path), 0);
        let refused = space.prismq(verb).ends(2);
        refused.complains("Permission denied");
    }
    let run = std::fs::read_dir(space.at(".prismq/runs")).expect("a folder").next().expect("a run").expect("an entry").path();
    let closed = Closed::new(run, 0);
    space.prismq(&["logs", "last"]).ends(2).complains("Permission denied");
    drop(closed);
    space.prismq(&["logs", "last"]).ends(0).says("hello");
}

#[test]
fn a_workspace_that_may_not_be_written_is_refused_and_can_be_read() {
    let Some(space) = space() else { return };
    std::fs::remove_dir_all(space.at(".prismq")).expect("the state goes");
    let _closed = Closed::new(space.root().to_owned(), 0o555);
    space.prismq(&["modules"]).ends(0).says("good");
    space.prismq(&["run", "good"]).ends(2).complains(".prismq: Permission denied");
}

/// What is made is its owner's alone, whatever the shell would give to others.
#[test]
fn state_is_private_under_any_umask() {
    let space = TestSpace::new();
    space.module("good", "", "mark('begun')\ngate('end')");
    space.prismq_reading(&["secret", "set", "KEY"], "a-value").ends(0);
    let mut shell = std::process::Command::new("sh");
    let program = space.command::<&str>(&[]);
    shell.args(["-c", "umask 000; exec \"$0\" run good"]).arg(program.get_program()).current_dir(space.root());
    let running = crate::support::Running::start(shell, None);
    space.wait_for_marks("begun", 1);
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    visit(&space.at(".prismq"), &mut |path, mode, is_folder| {
        looked_at += 1;
        let wanted = if is_folder { 0o700 } else { 0o600 };
        if mode & !wanted & 0o777 != 0 {
            wrong.push(format!("{} {mode:o}", path.display()));
        }
    });
    space.open("end");
    running.end().ends(0);
    assert!(looked_at > 8 && wrong.is_empty(), "{looked_at} looked at, open to others: {wrong:#?}");
}

fn visit(path: &Path, look: &mut impl FnMut(&Path, u32, bool)) {
    // What is written aside may be gone when it is looked at.
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return };
    look(path, metadata.permissions().mode() & 0o777, metadata.is_dir());
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).expect("it may be listed").flatten() {
            visit(&entry.path(), look);
        }
    }
}
