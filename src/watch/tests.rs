use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use super::settle::QUIET_OPEN;
use super::*;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(60);

fn list(folder: &Path) -> BTreeMap<PathBuf, Stamp> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), Stamp::of(&entry.path()).ok()?))).collect()
}

fn hints(kind: notify::EventKind, file: &Path) -> Hints {
    let mut hints = Hints::default();
    hints.take(&notify::Event::new(kind).add_path(file.to_owned()));
    hints
}

fn closed(file: &Path) -> Hints {
    use notify::event::{AccessKind, AccessMode};
    hints(notify::EventKind::Access(AccessKind::Close(AccessMode::Write)), file)
}

/// A settler that has taken a folder with one old file.
fn settled_folder() -> (tempfile::TempDir, PathBuf, Settler) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.yaml");
    fs::write(&file, "one").expect("written");
    let mut settler = Settler::default();
    settler.take_all(list(folder.path()));
    (folder, file, settler)
}

#[test]
fn a_file_is_taken_when_it_is_closed_or_quiet() {
    let (folder, file, mut settler) = settled_folder();
    let (now, none) = (Instant::now(), Hints::default());
    let look = |settler: &mut Settler, hints: &Hints, at: Duration| {
        // A wall clock in the past: the age of the files says nothing, as on a server whose clock is ahead.
        settler.look(&list(folder.path()), hints, now + at, SystemTime::UNIX_EPOCH)
    };
    assert_eq!(look(&mut settler, &none, Duration::ZERO), Settled::default());
    fs::write(&file, "two!").expect("written");
    let waits = look(&mut settler, &none, Duration::ZERO);
    assert_eq!((waits.is_empty(), waits.again), (true, Some(QUIET)));
    assert!(settler.is_unsettled(&file) && !settler.is_missing(&file));
    fs::write(&file, "three").expect("written");
    assert!(look(&mut settler, &none, QUIET).is_empty(), "it has just changed again");
    assert_eq!(look(&mut settler, &none, QUIET * 2).changed, std::slice::from_ref(&file));
    assert_eq!(look(&mut settler, &none, QUIET * 3), Settled::default());
    fs::write(&file, "four").expect("written");
    assert_eq!(look(&mut settler, &closed(&file), QUIET * 3).changed, std::slice::from_ref(&file), "its writer is done with it");
    assert!(settler.is_taken(&file, Stamp::of(&file).ok().as_ref()));
    settler.doubt(&file);
    assert!(!settler.is_taken(&file, Stamp::of(&file).ok().as_ref()));
    assert_eq!(look(&mut settler, &closed(&file), QUIET * 3).changed, [file], "although it looks the same");
}

#[test]
fn f53_a_file_whose_writer_is_known_to_write_on_is_waited_for_longer() {
    let (folder, file, mut settler) = settled_folder();
    fs::write(&file, "ha").expect("written");
    let now = Instant::now();
    let open = hints(notify::EventKind::Modify(notify::event::ModifyKind::Data(notify::event::DataChange::Any)), &file);
    let mut look = |hints: &Hints, at: Duration| settler.look(&list(folder.path()), hints, now + at, SystemTime::UNIX_EPOCH);
    assert!(look(&open, Duration::ZERO).is_empty());
    let quiet = if cfg!(target_os = "linux") { QUIET_OPEN } else { QUIET };
    assert!(look(&Hints::default(), quiet - Duration::from_millis(1)).is_empty());
    assert_eq!(look(&Hints::default(), quiet).changed, [file], "one that holds it open for ever is not waited for");
}

#[test]
fn f54_a_file_that_is_replaced_is_not_gone_in_between() {
    let (folder, file, mut settler) = settled_folder();
    let now = Instant::now();
    let mut look = |hints: &Hints, at: Duration| {
        let settled = settler.look(&list(folder.path()), hints, now + at, SystemTime::UNIX_EPOCH);
        (settled, settler.is_missing(&file))
    };
    fs::remove_file(&file).expect("removed");
    let (settled, missing) = look(&Hints::default(), Duration::ZERO);
    assert!(settled.is_empty() && missing);
    fs::write(&file, "new").expect("written");
    let (settled, missing) = look(&closed(&file), QUIET / 2);
    assert_eq!((settled.changed, settled.removed, missing), (vec![file.clone()], vec![], false));
    fs::remove_file(&file).expect("removed");
    assert!(look(&Hints::default(), QUIET).0.is_empty());
    let (settled, missing) = look(&Hints::default(), QUIET * 2);
    assert_eq!((settled.removed, missing), (vec![file.clone()], false), "it stayed away");
}

#[test]
fn what_came_long_ago_is_taken_at_once() {
    let (folder, _, mut settler) = settled_folder();
    let moved = folder.path().join("b.yaml");
    fs::write(&moved, "x").expect("written");
    let later = SystemTime::now() + Duration::from_secs(5);
    assert_eq!(settler.look(&list(folder.path()), &Hints::default(), Instant::now(), later).changed, [moved]);
}

#[test]
fn a_stamp_tells_one_file_from_another_of_the_same_name_length_and_time() {
    let (folder, file, _) = settled_folder();
    let (before, facts) = (Stamp::of(&file).expect("a stamp"), fs::metadata(&file).expect("facts"));
    assert_eq!(Stamp::of(&file).ok(), Some(before));
    let aside = folder.path().join("aside");
    fs::write(&aside, "two").expect("written");
    let modified = facts.modified().expect("a time");
    fs::File::options().append(true).open(&aside).and_then(|file| file.set_modified(modified)).expect("set");
    fs::rename(&aside, &file).expect("renamed");
    if cfg!(unix) {
        assert_ne!(Stamp::of(&file).ok(), Some(before));
    }
    assert!(before.may_lie(modified) && !before.may_lie(modified + Duration::from_secs(3)));
    assert!(before.may_lie(SystemTime::UNIX_EPOCH), "a time in the future proves nothing");
}

#[test]
fn hints_of_reading_are_none() {
    use notify::event::{AccessKind, AccessMode, EventKind};
    let file = Path::new("/w/a.yaml");
    let mut hints = Hints::default();
    for kind in [AccessKind::Open(AccessMode::Any), AccessKind::Read, AccessKind::Close(AccessMode::Read)] {
        assert!(!hints.take(&notify::Event::new(EventKind::Access(kind)).add_path(file.to_owned())));
    }
    assert!(hints.is_empty() && !hints.names(file));
    assert!(hints.take(&notify::Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan)), "events were lost");
    assert!(!hints.is_empty() && !hints.is_closed(file));
}

/// What a watcher in a real folder sees. The look lists the folder and those below it.
fn watched(folder: &Path, mode: Mode) -> (Watcher, mpsc::Receiver<BTreeSet<String>>) {
    let (send, seen) = mpsc::channel();
    let (root, outer) = (folder.to_owned(), folder.parent().expect("it lies somewhere").to_owned());
    let look = move |_: &Hints| {
        let mut folders = BTreeSet::from([outer.clone()]);
        let mut names = BTreeSet::new();
        let mut open = vec![root.clone()];
        while let Some(folder) = open.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            folders.insert(folder);
            for entry in entries.flatten() {
                if entry.path().is_dir() {
                    open.push(entry.path());
                } else {
                    names.insert(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        // Nobody may listen any more.
        let _ = send.send(names);
        Outlook { folders, mode, ..Outlook::default() }
    };
    (Watcher::start(look, |_| {}).expect("a thread"), seen)
}

#[track_caller]
fn wait_for(seen: &mpsc::Receiver<BTreeSet<String>>, wanted: &[&str]) {
    let end = Instant::now() + LIMIT;
    let mut last = BTreeSet::new();
    while let Ok(names) = seen.recv_timeout(end.saturating_duration_since(Instant::now())) {
        if names.iter().map(String::as_str).eq(wanted.iter().copied()) {
            return;
        }
        last = names;
    }
    assert_eq!(last, wanted.iter().map(|name| (*name).to_owned()).collect(), "what was seen last");
}

#[test]
fn f56_folders_that_come_go_and_are_exchanged_are_watched() {
    let outer = tempfile::tempdir().expect("a folder");
    let folder = outer.path().join("watched");
    let (_watcher, seen) = watched(&folder, Mode::Native);
    wait_for(&seen, &[]);
    fs::create_dir_all(folder.join("deep/er")).expect("folders");
    fs::write(folder.join("deep/er/a"), "").expect("written");
    wait_for(&seen, &["a"]);
    fs::write(folder.join("deep/er/b"), "").expect("written");
    wait_for(&seen, &["a", "b"]);
    fs::rename(&folder, outer.path().join("old")).expect("renamed");
    wait_for(&seen, &[]);
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("c"), "").expect("written");
    wait_for(&seen, &["c"]);
    fs::remove_dir_all(&folder).expect("removed");
    wait_for(&seen, &[]);
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("d"), "").expect("written");
    wait_for(&seen, &["d"]);
}

#[test]
fn f57_a_watcher_that_polls_needs_no_events() {
    let outer = tempfile::tempdir().expect("a folder");
    let (_watcher, seen) = watched(outer.path(), Mode::Poll);
    wait_for(&seen, &[]);
    fs::write(outer.path().join("a"), "").expect("written");
    wait_for(&seen, &["a"]);
}

#[test]
fn f52_a_storm_of_files_ends_with_what_is_there() {
    let outer = tempfile::tempdir().expect("a folder");
    let folder = outer.path().join("storm");
    fs::create_dir(&folder).expect("a folder");
    let (_watcher, seen) = watched(&folder, Mode::Auto);
    wait_for(&seen, &[]);
    let names: Vec<String> = (0..10_000).map(|n| format!("f{n:05}")).collect();
    for name in &names {
        fs::write(folder.join(name), name).expect("written");
    }
    wait_for(&seen, &names.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_watcher_ends_when_it_is_dropped_and_looks_when_it_is_told() {
    let outer = tempfile::tempdir().expect("a folder");
    let (watcher, seen) = watched(outer.path(), Mode::Native);
    wait_for(&seen, &[]);
    watcher.hurry();
    wait_for(&seen, &[]);
    drop(watcher);
    while let Ok(_late) = seen.recv_timeout(LIMIT) {}
    assert_eq!(seen.try_recv(), Err(mpsc::TryRecvError::Disconnected));
}
