//! Files that get their name while somebody else has the old or the new one open: a reader, or a program like a virus scanner.

use std::fs::{File, OpenOptions};
use std::os::windows::fs::OpenOptionsExt;

use prismq::attempt::{ExitHow, Standing, StopAs, StopRequest};
use prismq::units::DurationMs;

use crate::attempt::Attempt;
use crate::support::{TestSpace, until};

/// What a handle allows others: to read, and to write. Not to rename or remove, which readers that mind nobody allow too.
const READ: u32 = 1;
const WRITE: u32 = 2;

fn request(how: StopAs) -> StopRequest {
    StopRequest { how, grace: DurationMs(0) }
}

#[test]
fn a_request_replaces_one_that_is_being_read() {
    let folder = tempfile::tempdir().expect("a folder");
    request(StopAs::Polite).write(folder.path()).expect("the first one");
    let written = || folder.path().join("stop.json.tmp").metadata().is_ok_and(|file| file.len() > 0);
    let reader = File::open(folder.path().join("stop.json")).expect("it is there");
    std::thread::scope(|scope| {
        // Wine refuses to replace an open file, as Windows did before version 10: it is tried again until the reader is done.
        let writing = scope.spawn(|| request(StopAs::Kill).write(folder.path()));
        assert!(until(|| (written() || writing.is_finished()).then_some(())).is_some());
        drop(reader);
        writing.join().expect("no panic").expect("it is replaced");
    });
    assert_eq!(StopRequest::read(folder.path()).expect("it can be read"), Some(request(StopAs::Kill)));
}

#[test]
fn a_file_that_stays_open_is_not_replaced_for_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    request(StopAs::Polite).write(folder.path()).expect("the first one");
    let held = OpenOptions::new().read(true).share_mode(READ).open(folder.path().join("stop.json")).expect("it is there");
    let error = request(StopAs::Kill).write(folder.path()).expect_err("it cannot be replaced");
    assert!(matches!(error.raw_os_error(), Some(5 | 32)), "{error}");
    assert!(!folder.path().join("stop.json.tmp").exists());
    drop(held);
    assert_eq!(StopRequest::read(folder.path()).expect("it can be read"), Some(request(StopAs::Polite)), "the old one is whole");
}

#[test]
fn an_exit_record_gets_its_name_when_a_scanner_is_done_with_it() {
    let attempt = Attempt::of(&["exit", "7"]);
    let aside = attempt.folder.join("exit.json.tmp");
    let scanner = OpenOptions::new().write(true).create(true).truncate(false).share_mode(READ | WRITE).open(&aside).expect("a file");
    let mut attempt = attempt.start();
    let written = |but| {
        let file = aside.metadata().expect("it is there");
        (file.len() > 0).then(|| file.modified().expect("a time")).filter(|at| Some(*at) != but)
    };
    let first = until(|| written(None)).expect("the record was not written");
    // It was refused its name, for longer than a scanner takes, and is written anew.
    assert!(until(|| written(Some(first))).is_some(), "it was given up");
    assert!(matches!(attempt.standing(), Standing::Alive(Some(_))), "{:?}", attempt.standing());
    drop(scanner);
    assert_eq!(attempt.ended().how, ExitHow::Code(7));
}

#[test]
fn a_log_can_be_read_moved_and_removed_while_it_is_written() {
    let base = tempfile::tempdir().expect("a folder");
    let go = base.path().join("go");
    let mut attempt = Attempt::of(&["count-until", &go.display().to_string(), "0", "NUL"]).start();
    attempt.wait_for_lines(2);
    let reader = File::open(attempt.folder.join("stdout.log")).expect("it is there");
    std::fs::rename(attempt.folder.join("stdout.log"), base.path().join("moved.log")).expect("it can be moved");
    std::fs::write(&go, "").expect("a file");
    let record = attempt.ended();
    drop(reader);
    let text = std::fs::read_to_string(base.path().join("moved.log")).expect("text");
    assert!(text.starts_with("line 0\nline 1\n") && text.ends_with("end\n"), "{text}");
    assert_eq!((record.how, record.streams[0].written, record.streams[0].lost), (ExitHow::Code(0), text.len() as u64, 0));
}

#[test]
fn the_name_of_the_host_is_replaced_while_it_is_being_read() {
    let space = TestSpace::named("a space");
    let name = space.at(".prismq").join("host.json");
    let host = space.start(&["serve", "--port", "0"]);
    let announced = |pid: u32| until(|| std::fs::read_to_string(&name).ok().filter(|text| text.contains(&format!("\"pid\": {pid},"))));
    let pid = host.pid();
    assert!(announced(pid).is_some(), "{}", std::fs::read_to_string(&name).unwrap_or_default());
    host.kill();
    let reader = File::open(&name).expect("a killed host leaves it behind");
    let mut next = space.start(&["serve", "--port", "0"]);
    let aside = || {
        let names = std::fs::read_dir(space.at(".prismq")).expect("a folder").flatten().map(|entry| entry.file_name());
        names.into_iter().any(|name| name.to_string_lossy().starts_with(".aside-"))
    };
    let replaced = || std::fs::read_to_string(&name).is_ok_and(|text| text.contains(&next.pid().to_string()));
    assert!(until(|| (aside() || replaced()).then_some(())).is_some(), "it does not announce itself");
    drop(reader);
    assert!(announced(next.pid()).is_some(), "{}", std::fs::read_to_string(&name).unwrap_or_default());
    assert!(next.is_running());
    next.kill();
}
