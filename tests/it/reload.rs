//! Hot reload: files are edited while `serve` runs, by every way in which people and programs write files (F-52 to F-60).
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::process::Command;

use rustix::process::Signal;

use crate::support::faults::skip;
use crate::support::{Ran, Running, TestSpace};

/// A host that has read the files.
fn end(serve: Running) -> Ran {
    serve.signal(Signal::TERM);
    serve.end().ends(0)
}

/// A module that marks what it is.
fn saying(space: &TestSpace, id: &str, word: &str) {
    space.module(id, &format!("description: {word}"), &format!("mark('said', '{word}')"));
}

/// The manifest of a module that marks `word`; its script is one of its own, so that the manifest alone decides.
fn manifest(space: &TestSpace, id: &str, word: &str) -> String {
    let marks = "os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'marks', 'said')";
    space.write(&format!("modules/{word}.py"), format!("import os\nwith open({marks}, 'a') as said:\n    said.write('{word}\\n')\n"));
    format!("id: {id}\nscript: ../modules/{word}.py\n")
}

/// The same in a folder below.
fn deep(manifest: String) -> String {
    manifest.replace("../modules", "../../modules")
}

#[test]
fn an_edited_manifest_counts_from_the_next_run_on_and_is_told() {
    let space = TestSpace::new();
    let (first, second) = (manifest(&space, "a", "one"), manifest(&space, "a", "two"));
    space.write("manifests/a.yaml", first);
    let serve = space.serve();
    space.prismq(&["run", "a"]).ends(0);
    // Nobody waits for the watch: a submission sees every save before it.
    space.write("manifests/a.yaml", second);
    space.prismq(&["run", "a"]).ends(0);
    assert_eq!(space.marks("said"), ["one", "two"]);
    serve.wait_for_note("changed a (manifests/a.yaml): script");
    space.write("manifests/deep/b.yaml", "id: b\nscript: ../../modules/one.py\n");
    space.prismq(&["run", "b"]).ends(0);
    serve.wait_for_note("added b (manifests/deep/b.yaml)");
    fs::remove_file(space.at("manifests/deep/b.yaml")).expect("a file");
    serve.wait_for_note("removed b (manifests/deep/b.yaml)");
    space.prismq(&["run", "b"]).ends(4).complains("no module `b`");
    end(serve);
}

#[test]
fn a_broken_manifest_is_named_with_its_place_and_its_last_good_version_runs() {
    let space = TestSpace::new();
    saying(&space, "a", "good");
    let good = space.read("manifests/a.yaml");
    let serve = space.serve();
    space.prismq(&["run", "a"]).ends(0);
    space.write("manifests/a.yaml", "id: a\nscript: ../modules/a.py\ntimeot: 5m\n");
    serve.wait_for_note("broken a (manifests/a.yaml); its last good version stays in use");
    serve.wait_for_note("  manifests/a.yaml:3:1: ");
    space.prismq(&["run", "a"]).ends(0).complains("the manifest of `a` is broken; its last good version is used");
    space.prismq(&["modules"]).ends(0).says("manifests/a.yaml:3:1: ");
    space.prismq(&["modules", "show", "a"]).ends(0).says("manifests/a.yaml (broken now: this is its last good version)");
    space.write("manifests/a.yaml", good);
    serve.wait_for_note("repaired a (manifests/a.yaml)");
    space.prismq(&["run", "a"]).ends(0);
    assert_eq!(space.marks("said").len(), 3);
    end(serve);
}

#[test]
fn a_manifest_that_was_never_good_is_told_at_the_start_and_refused() {
    let space = TestSpace::new();
    space.write("manifests/a.yaml", "id: a\nscrip: x\n");
    let serve = space.serve();
    serve.wait_for_note("broken a (manifests/a.yaml)");
    space.prismq(&["run", "a"]).ends(3).complains("manifests/a.yaml:2:1");
    end(serve);
}

#[test]
fn f53_what_is_being_written_is_not_loaded() {
    let space = TestSpace::new();
    let (first, second) = (manifest(&space, "a", "one"), manifest(&space, "a", "two"));
    let file = space.write("manifests/a.yaml", first);
    let serve = space.serve();
    space.prismq(&["run", "a"]).ends(0);
    // Cut off in the middle this is a manifest too, of a script that is not there.
    let (begin, rest) = second.split_at(second.len() - "o.py\n".len());
    let mut writer = fs::File::create(&file).expect("a file");
    writer.write_all(begin.as_bytes()).expect("written");
    let half = space.prismq(&["run", "a"]);
    // A machine that is very slow gives the writer up, which takes a second of silence; nothing else is allowed.
    assert!(half.code == 0 || half.stderr.contains("tw"), "{half:?}");
    writer.write_all(rest.as_bytes()).expect("written");
    drop(writer);
    space.prismq(&["run", "a"]).ends(0);
    assert_eq!(space.marks("said").last().map(String::as_str), Some("two"));
    end(serve);
}

#[test]
fn f54_f55_saves_by_rename_are_one_change_each_and_the_module_is_never_gone() {
    let space = TestSpace::new();
    let file = space.write("manifests/a.yaml", manifest(&space, "a", "one"));
    let serve = space.serve();
    space.prismq(&["run", "a"]).ends(0);
    // As vim does it: the old file steps aside, a new one takes its name.
    let words = ["two", "three", "four"];
    for word in words {
        let text = manifest(&space, "a", word);
        let aside = space.at("manifests/a.yaml~");
        fs::rename(&file, &aside).expect("renamed");
        fs::write(&file, text).expect("written");
        fs::remove_file(&aside).expect("removed");
        space.prismq(&["run", "a"]).ends(0);
    }
    // As others do it: a new file is put over the old one.
    let aside = space.write("manifests/.a.yaml.tmp", manifest(&space, "a", "five"));
    fs::rename(&aside, &file).expect("renamed");
    space.prismq(&["run", "a"]).ends(0);
    assert_eq!(space.marks("said"), ["one", "two", "three", "four", "five"]);
    let told = end(serve).stderr;
    assert_eq!(told.matches("changed a (").count(), 4, "{told}");
    assert!(!told.contains("removed") && !told.contains("added") && !told.contains("broken"), "{told}");
}

#[test]
fn f56_a_folder_that_is_replaced_removed_or_made_again_is_seen() {
    let space = TestSpace::new();
    space.write("manifests/a.yaml", manifest(&space, "a", "one"));
    let serve = space.serve();
    space.prismq(&["run", "a"]).ends(0);
    fs::rename(space.at("manifests"), space.at("old")).expect("renamed");
    space.write("manifests/b.yaml", manifest(&space, "b", "two"));
    serve.wait_for_note("added b (manifests/b.yaml)");
    serve.wait_for_note("removed a (manifests/a.yaml)");
    fs::remove_dir_all(space.at("manifests")).expect("removed");
    serve.wait_for_note("removed b (manifests/b.yaml)");
    // The new folder is watched like the old one.
    space.write("manifests/inner/c.yaml", deep(manifest(&space, "c", "three")));
    serve.wait_for_note("added c (manifests/inner/c.yaml)");
    fs::rename(space.at("manifests/inner"), space.at("manifests/outer")).expect("renamed");
    serve.wait_for_note("changed c (manifests/outer/c.yaml): file");
    space.prismq(&["run", "c"]).ends(0);
    end(serve);
}

#[test]
fn f56_a_branch_that_is_checked_out_is_seen() {
    let space = TestSpace::new();
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"]).args(args);
        command.current_dir(space.root()).output().is_ok_and(|output| output.status.success())
    };
    if !git(&["init", "-q"]) {
        return skip("f56_a_branch_that_is_checked_out_is_seen", "there is no git");
    }
    space.write(".gitignore", ".prismq\nmarks\ngates\nmodules\n");
    space.write("manifests/x/a.yaml", "id: a\nscript: ../../modules/one.py\n");
    assert!(git(&["add", "-A"]) && git(&["commit", "-qm", "a"]) && git(&["checkout", "-qb", "other"]));
    assert!(git(&["rm", "-qr", "manifests"]));
    space.write("manifests/y/b.yaml", "id: b\nscript: ../../modules/one.py\n");
    assert!(git(&["add", "-A"]) && git(&["commit", "-qm", "b"]));
    let serve = space.serve();
    // Only what was known can be told to be gone.
    space.prismq(&["modules", "show", "b"]).ends(0);
    assert!(git(&["checkout", "-q", "main"]));
    serve.wait_for_note("added a (manifests/x/a.yaml)");
    serve.wait_for_note("removed b (manifests/y/b.yaml)");
    assert!(git(&["checkout", "-q", "other"]));
    serve.wait_for_note("added b (manifests/y/b.yaml)");
    serve.wait_for_note("removed a (manifests/x/a.yaml)");
    end(serve);
}

#[test]
fn f57_without_events_changes_are_looked_for() {
    let space = TestSpace::new();
    space.write("prismq.yaml", "host: {watch: poll}\n");
    space.write("manifests/a.yaml", manifest(&space, "a", "one"));
    let serve = space.serve();
    serve.wait_for_note("looked for every few seconds");
    space.write("manifests/a.yaml", manifest(&space, "a", "two"));
    serve.wait_for_note("changed a (manifests/a.yaml): script");
    end(serve);
    // Nobody watches, and a submission sees what is there all the same.
    space.write("prismq.yaml", "host: {watch: off}\n");
    let serve = space.serve();
    space.prismq(&["run", "a"]).ends(0);
    space.write("manifests/a.yaml", manifest(&space, "a", "three"));
    space.prismq(&["run", "a"]).ends(0);
    assert_eq!(space.marks("said"), ["two", "three"]);
    end(serve);
}

#[test]
fn f58_a_limit_of_watches_is_said_once_and_changes_are_looked_for() {
    let space = TestSpace::new();
    for id in ["a", "b", "c"] {
        space.write(&format!("manifests/{id}/{id}.yaml"), deep(manifest(&space, id, id)));
    }
    let serve = space.command(&["serve"]);
    let mut limited = Command::new("unshare");
    limited.args(["-Ur", "sh", "-c", "echo 2 > /proc/sys/user/max_inotify_watches && exec \"$0\" \"$@\""]);
    limited.arg(serve.get_program()).args(serve.get_args()).current_dir(space.root());
    for (name, value) in serve.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let possible = Command::new("unshare").args(["-Ur", "sh", "-c", "echo 2 > /proc/sys/user/max_inotify_watches"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return skip("f58_a_limit_of_watches_is_said_once_and_changes_are_looked_for", "no user namespaces");
    }
    let serve = Running::start(limited, None);
    serve.wait_for_note("fs.inotify.max_user_watches");
    for word in ["one", "two"] {
        space.write("manifests/c/c.yaml", deep(manifest(&space, "c", word)));
        // Told once for each, and in use.
        space.wait_until("the change is in use", || {
            space.prismq(&["run", "c"]).code == 0 && space.marks("said").last().is_some_and(|said| said == word)
        });
    }
    serve.wait_for_note("changed c (manifests/c/c.yaml): script");
    serve.signal(Signal::TERM);
    let told = serve.end().ends(0).stderr;
    assert_eq!(told.matches("max_user_watches").count(), 1, "{told}");
}

#[test]
fn f60_a_run_keeps_what_it_was_submitted_with() {
    let space = TestSpace::new();
    space.module("first", "", "mark('began')\ngate('go')");
    space.write("manifests/second.yaml", manifest(&space, "second", "old"));
    space.write("pipelines/p.yaml", "nodes:\n  a: {module: first}\n  b: {module: second, needs: [a]}\n");
    let serve = space.serve();
    let run = space.prismq(&["run", "pipelines/p.yaml", "--detach"]).ends(0).stdout.trim().to_owned();
    space.wait_for_marks("began", 1);
    space.write("manifests/second.yaml", manifest(&space, "second", "new"));
    serve.wait_for_note("changed second (");
    fs::remove_file(space.at("manifests/first.yaml")).expect("a file");
    serve.wait_for_note("removed first (");
    serve.wait_for_note("broken pipeline pipelines/p.yaml");
    // A queued one keeps it too, and a new one is what the files say now.
    space.open("go");
    space.prismq(&["wait", &run]).ends(0);
    assert_eq!(space.marks("said"), ["old"]);
    space.prismq(&["run", "second"]).ends(0);
    assert_eq!(space.marks("said"), ["old", "new"]);
    end(serve);
}

#[test]
fn settings_are_read_again_and_what_needs_a_restart_is_named() {
    let space = TestSpace::new();
    space.write("prismq.yaml", "host: {max_concurrent: 1}\n");
    space.module("a", "resources: {cpus: 0}", "mark('began')\ngate('go')");
    let serve = space.serve();
    let runs: Vec<String> = (0..2).map(|_| space.prismq(&["run", "a", "--detach"]).ends(0).stdout.trim().to_owned()).collect();
    space.wait_for_marks("began", 1);
    space.write("prismq.yaml", "host: {max_concurent: 2}\n");
    serve.wait_for_note("broken settings; those before stay in use");
    serve.wait_for_note("prismq.yaml:1:8: ");
    assert_eq!(space.marks("began").len(), 1);
    space.write("prismq.yaml", "host: {max_concurrent: 2, runs_dir: elsewhere}\n");
    serve.wait_for_note("changed settings: host.max_concurrent");
    serve.wait_for_note("not before this host is started again: host.runs_dir");
    // The second run starts since there is a place for it now.
    space.wait_for_marks("began", 2);
    space.open("go");
    space.wait_until("both runs have ended", || runs.iter().all(|run| space.at(format!(".prismq/runs/{run}/run.json")).exists()));
    // Defaults of modules count for the next run.
    space.write("prismq.yaml", "host: {max_concurrent: 2, runs_dir: elsewhere}\ndefaults: {environment: {WORD: new}}\n");
    serve.wait_for_note("changed settings: defaults");
    assert!(!space.at("elsewhere").exists());
    end(serve);
}

#[test]
fn a_run_with_watch_repeats_what_is_affected_and_says_why() {
    let space = TestSpace::new();
    space.module("make", "", "mark('made')\nout(n=1)");
    space.module("take", "params: {properties: {n: {type: integer}}}", "mark('taken', 'v1')");
    space.write("p.yaml", "nodes:\n  m: {module: make}\n  t: {module: take, with: {n: '${{ nodes.m.outputs.n }}'}}\n");
    let running = space.start(&["run", "p.yaml", "--watch"]);
    running.wait_for_note("watching 6 files; Ctrl-C ends");
    space.module("take", "params: {properties: {n: {type: integer}}}", "mark('taken', 'v2')");
    running.wait_for_note("changed: modules/take.py");
    running.wait_for_note("t completed (ran): the script changed since run");
    running.wait_for_note("m reused: from run");
    assert_eq!((space.marks("made").len(), space.marks("taken")), (1, vec!["v1".to_owned(), "v2".to_owned()]));
    // A mistake is shown, and its repair leads to the next run.
    space.write("p.yaml", "nodes:\n  m: {module: make}\n  t: {module: tak, with: {n: 3}}\n");
    running.wait_for_note("changed: p.yaml");
    running.wait_for_note("`tak`");
    space.write("p.yaml", "nodes:\n  m: {module: make}\n  t: {module: take, with: {n: 3}}\n");
    running.wait_for_note("t completed (ran): the parameters changed since run");
    assert_eq!((space.marks("made").len(), space.marks("taken").len()), (1, 3));
    running.signal(Signal::INT);
    running.end().ends(130);
}

#[test]
fn a_change_during_a_watched_run_waits_for_its_end() {
    let space = TestSpace::new();
    space.module("a", "", "mark('began')\ngate('go')");
    let running = space.start(&["run", "a", "--watch"]);
    space.wait_for_marks("began", 1);
    let manifest = space.read("manifests/a.yaml");
    space.write("manifests/a.yaml", format!("{manifest}version: '2'\n"));
    running.wait_for_note("it runs again when this run has ended");
    assert_eq!(space.marks("began").len(), 1);
    space.open("go");
    space.wait_for_marks("began", 2);
    running.wait_for_note("a completed (ran): the manifest changed since run");
    running.signal(Signal::INT);
    running.end().ends(130);
}
