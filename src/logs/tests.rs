//! Tests of the log of an attempt: the same lines however the bytes came, and no byte lost.

use std::fs;
use std::io::Write;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::units::Timestamp;

mod cap;
mod large;
mod model;
mod skim;

use Stream::{Stderr, Stdout};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_micros(1_763_626_312_000_000 + millis * 1000)
}

/// A log of these chunks, one each 10 ms.
fn log_of(chunks: &[(Stream, &[u8])]) -> TempDir {
    let dir = TempDir::new().expect("a folder");
    let mut writer = LogWriter::new(dir.path());
    for (number, (stream, bytes)) in (0..).zip(chunks) {
        writer.write(*stream, bytes, at(number * 10));
    }
    finished(writer);
    dir
}

/// Ends a log of which everything is kept.
#[track_caller]
fn finished(writer: LogWriter) {
    let written = writer.finish();
    assert!(written.error.is_none(), "{written:?}");
    assert_eq!(written.failed(), 0);
}

fn lines(dir: &Path, query: Query) -> Vec<Line> {
    LogReader::open(dir).lines(query).expect("it opens").map(|line| line.expect("a line")).collect()
}

fn texts(dir: &Path, query: Query) -> Vec<String> {
    lines(dir, query).into_iter().map(|line| line.text).collect()
}

#[test]
fn nothing_is_made_before_the_first_byte() {
    let dir = TempDir::new().expect("a folder");
    let mut writer = LogWriter::new(dir.path());
    writer.write(Stdout, b"", at(0));
    finished(writer);
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
    assert_eq!(texts(dir.path(), Query::default()), [""; 0]);
    assert_eq!(LogReader::open(&dir.path().join("nowhere")).poll(&mut Cursor::default(), true).expect("empty"), []);
}

#[test]
fn streams_are_merged_in_the_order_in_which_they_were_read() {
    let dir = log_of(&[(Stdout, b"one\ntw"), (Stderr, b"careful\n"), (Stdout, b"o\n"), (Stderr, b"half"), (Stdout, b"three\n")]);
    let line = |number, millis, stream, text: &str, partial| Line {
        number: Some(number),
        at: at(millis),
        stream,
        text: text.to_owned(),
        partial,
        missing: 0,
    };
    let all = [
        line(1, 0, Stdout, "one", false),
        line(2, 10, Stderr, "careful", false),
        line(3, 20, Stdout, "two", false),
        line(4, 40, Stdout, "three", false),
        line(5, 30, Stderr, "half", true),
    ];
    assert_eq!(lines(dir.path(), Query::default()), all);
    let query = Query { stream: Some(Stderr), ..Query::default() };
    assert_eq!(lines(dir.path(), query), [all[1].clone(), all[4].clone()]);
    assert_eq!(lines(dir.path(), Query { tail: Some(3), ..Query::default() }), all[2..]);
    assert_eq!(lines(dir.path(), Query { tail: Some(1), ..query }), all[4..]);
    assert_eq!(lines(dir.path(), Query { since: Some(at(15)), ..Query::default() }), all[2..]);
    assert_eq!(lines(dir.path(), Query { since: Some(at(15)), tail: Some(9), stream: Some(Stdout), ..Query::default() }), all[2..4]);
    assert_eq!(lines(dir.path(), Query { lines: Some((2, 4)), ..Query::default() }), all[1..4]);
    assert_eq!(lines(dir.path(), Query { lines: Some((3, 99)), ..query }), all[4..]);
    assert_eq!(lines(dir.path(), Query { lines: Some((2, 4)), tail: Some(1), ..Query::default() }), all[3..4]);
    assert_eq!(lines(dir.path(), Query { lines: Some((6, 9)), ..Query::default() }), []);
    assert_eq!(texts(dir.path(), Query { since: Some(at(1000)), ..Query::default() }), [""; 0]);
    assert_eq!(texts(dir.path(), Query { tail: Some(0), ..Query::default() }), [""; 0]);
    assert_eq!(fs::read(dir.path().join("stdout.log")).expect("it is there"), b"one\ntwo\nthree\n");
}

#[test]
fn the_format_of_the_index_stays() {
    let dir = TempDir::new().expect("a folder");
    let mut writer = LogWriter::new(dir.path()).capped(Some(1 << 20));
    for (millis, stream, bytes) in [(0, Stdout, "one\n"), (10, Stderr, "x"), (20, Stdout, "two\n\n")] {
        writer.write(stream, bytes.as_bytes(), at(millis));
    }
    finished(writer);
    let numbers = |numbers: [i64; 4]| numbers.map(i64::to_le_bytes).concat();
    let entry = |millis, out, err, newlines| numbers([at(millis).micros(), out, err, newlines]);
    let head = [b"pqindex\x02".to_vec(), numbers([1 << 20, 0, 0, 0])[..24].to_vec()].concat();
    let whole = [head, entry(0, 4, 0, 1), entry(10, 4, 1, 1), entry(20, 9, 1, 3)].concat();
    assert_eq!(fs::read(dir.path().join("index")).expect("it is there"), whole);
}

/// As the first version of the program wrote it.
#[test]
fn an_index_of_the_first_version_is_read() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat/v1/attempt");
    let expected = [
        (0, Stdout, "reading 12 frames", Some(1)),
        (1, Stderr, "warning: slow disk", Some(2)),
        (2, Stdout, "frame 1 of 12", Some(3)),
        (2, Stdout, "frame 2 of 12", Some(4)),
        (3, Stdout, "café \u{fffd}\u{fffd}", Some(5)),
        (5, Stdout, "done", Some(6)),
        (4, Stderr, "half a line", Some(7)),
    ];
    let seen = |query| lines(&dir, query).into_iter().map(|line| (line.at, line.stream, line.text, line.number)).collect::<Vec<_>>();
    let wanted = |range: std::ops::Range<usize>, numbered: bool| {
        let line = |(seconds, stream, text, number): &(i64, Stream, &str, Option<u64>)| {
            (at(seconds * 1000), *stream, (*text).to_owned(), number.filter(|_| numbered))
        };
        expected[range].iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(seen(Query::default()), wanted(0..7, true));
    assert_eq!(seen(Query { lines: Some((3, 4)), ..Query::default() }), wanted(2..4, true));
    assert_eq!(seen(Query { since: Some(at(3000)), ..Query::default() }), wanted(4..7, false));
    assert_eq!(seen(Query { tail: Some(2), ..Query::default() }), wanted(5..7, false));
}

#[test]
fn entries_held_back_are_written_by_a_flush() {
    let dir = TempDir::new().expect("a folder");
    let mut writer = LogWriter::new(dir.path());
    let entries = || (fs::metadata(dir.path().join("index")).expect("it is there").len() - 32) / 32;
    for millis in [0, 1, 2] {
        writer.write(Stdout, b"x\n", at(millis));
        writer.write(Stderr, b"x\n", at(millis));
    }
    assert_eq!(entries(), 1, "the first at once, the others within a few milliseconds together");
    writer.flush();
    assert_eq!(entries(), 6);
    for millis in [100, 101, 102, 103, 104] {
        writer.write(Stdout, b"x\n", at(millis));
    }
    assert_eq!(entries(), 7, "after a pause at once");
    writer.write(Stdout, b"x\n", at(106));
    assert_eq!(entries(), 9, "chunks of one stream within that time share an entry");
    let times: Vec<_> = lines(dir.path(), Query { tail: Some(6), ..Query::default() }).iter().map(|line| line.at).collect();
    assert_eq!(times, [100, 104, 104, 104, 104, 106].map(at));
}

#[test]
fn f21_times_never_decrease() {
    let dir = TempDir::new().expect("a folder");
    let mut writer = LogWriter::new(dir.path());
    for millis in [1000, 500, 2000] {
        writer.write(Stdout, b"x\n", at(millis));
    }
    finished(writer);
    let times: Vec<_> = lines(dir.path(), Query::default()).iter().map(|line| line.at).collect();
    assert_eq!(times, [1000, 1000, 2000].map(at));
}

#[test]
fn both_line_ends_are_ends_also_across_chunks() {
    let dir = log_of(&[(Stdout, b"a\r"), (Stdout, b"\nb\r\n\r\n 10%\r 20%\nc\r")]);
    assert_eq!(texts(dir.path(), Query::default()), ["a", "b", "", " 10%\r 20%", "c\r"]);
}

#[test]
fn f44_long_lines_are_shown_in_pieces() {
    let long = "x".repeat(LINE_MAX);
    let exact = format!("{long}\n{long}\r\n");
    let dir = log_of(&[(Stdout, exact.as_bytes())]);
    assert_eq!(
        lines(dir.path(), Query::default()).iter().map(|line| (line.text.len(), line.partial)).collect::<Vec<_>>(),
        [(LINE_MAX, false); 2]
    );

    let longer = format!("{long}{long}yz\n{long}w");
    let dir = log_of(&[(Stdout, longer.as_bytes())]);
    let found: Vec<_> = lines(dir.path(), Query::default()).iter().map(|line| (line.text.len(), line.partial)).collect();
    assert_eq!(found, [(LINE_MAX, true), (LINE_MAX, true), (2, false), (LINE_MAX, true), (1, true)]);

    // A character is not cut in two.
    let wide = format!("{}€\n", "x".repeat(LINE_MAX - 1));
    let dir = log_of(&[(Stdout, wide.as_bytes())]);
    let found = lines(dir.path(), Query::default());
    assert_eq!((found[0].text.len(), found[0].partial, found[1].text.as_str()), (LINE_MAX - 1, true, "€"));
}

#[test]
fn f45_invalid_utf8_is_kept_on_disk_and_replaced_in_views() {
    let bytes = b"ok\n\xff\xfe\n\xe2\x82\n\0\x1b[2J\n";
    let dir = log_of(&[(Stderr, bytes)]);
    assert_eq!(texts(dir.path(), Query::default()), ["ok", "\u{fffd}\u{fffd}", "\u{fffd}", "\0\u{1b}[2J"]);
    assert_eq!(fs::read(dir.path().join("stderr.log")).expect("it is there"), bytes);
}

fn append(dir: &Path, name: &str, bytes: &[u8]) {
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(dir.join(name))
        .and_then(|mut file| file.write_all(bytes))
        .expect("it is written");
}

#[test]
fn bytes_that_the_index_does_not_name_are_shown() {
    let dir = log_of(&[(Stdout, b"one\ntw"), (Stderr, b"err\n")]);
    append(dir.path(), "stdout.log", b"o\nthree\n");
    append(dir.path(), "stderr.log", b"late\n");
    append(dir.path(), "index", b"half an ent");
    assert_eq!(texts(dir.path(), Query::default()), ["one", "err", "two", "three", "late"]);
    assert_eq!(texts(dir.path(), Query { tail: Some(2), ..Query::default() }), ["three", "late"]);
    assert_eq!(texts(dir.path(), Query { tail: Some(4), ..Query::default() }), ["err", "two", "three", "late"]);
    let reader = LogReader::open(dir.path());
    let mut cursor = Cursor::default();
    let mut poll = |ended| reader.poll(&mut cursor, ended).expect("it reads").into_iter().map(|line| line.text).collect::<Vec<_>>();
    assert_eq!(poll(false), ["one", "err"]);
    assert_eq!(poll(true), ["two", "three", "late"]);
    assert_eq!(poll(true), [""; 0]);
}

#[test]
fn a_program_that_writes_its_files_itself_is_followed() {
    let dir = TempDir::new().expect("a folder");
    let reader = LogReader::open(dir.path());
    let mut cursor = Cursor::default();
    let mut poll = |ended| reader.poll(&mut cursor, ended).expect("it reads").into_iter().map(|line| line.text).collect::<Vec<_>>();
    append(dir.path(), "stdout.log", b"one\ntw");
    assert_eq!(poll(false), ["one"]);
    append(dir.path(), "stdout.log", b"o\nend");
    assert_eq!(poll(false), ["two"]);
    assert_eq!(poll(true), ["end"]);
}

#[test]
fn an_index_that_cannot_be_right_costs_times_and_no_bytes() {
    let change: [fn(&Path); 5] = [
        |dir| append(dir, "index", &[0; 64]),
        |dir| append(dir, "index", &[9; 64]),
        |dir| fs::write(dir.join("index"), b"pqindex\x03later").expect("it is written"),
        |dir| fs::write(dir.join("index"), b"pq").expect("it is written"),
        // A flipped bit in the middle: far beyond the end.
        |dir| {
            let mut index = fs::read(dir.join("index")).expect("it is there");
            index[32 + 8 + 2] ^= 4;
            fs::write(dir.join("index"), index).expect("it is written");
        },
    ];
    for change in change {
        let dir = log_of(&[(Stdout, b"one\ntwo\n"), (Stderr, b"err\n")]);
        change(dir.path());
        assert_eq!(texts(dir.path(), Query::default()), ["one", "two", "err"]);
        assert_eq!(texts(dir.path(), Query { tail: Some(2), ..Query::default() }), ["two", "err"]);
    }
}

#[test]
fn bytes_that_a_power_cut_took_are_told_of() {
    let dir = log_of(&[(Stdout, b"one\ntwo\n"), (Stderr, b"err\n"), (Stdout, b"three\n")]);
    fs::OpenOptions::new().write(true).open(dir.path().join("stdout.log")).and_then(|file| file.set_len(6)).expect("it is cut");
    let told = "[... 8 bytes not kept (the disk was full or failed) ...]";
    assert_eq!(texts(dir.path(), Query::default()), ["one", "err", "tw", told]);
    assert_eq!(texts(dir.path(), Query { stream: Some(Stderr), ..Query::default() }), ["err"]);
}

/// F-39: the program that wrote it was killed between any two writes, or in the middle of one.
#[test]
fn f39_a_log_is_readable_wherever_its_writer_died() {
    let dir = log_of(&[(Stdout, b"one\ntw"), (Stderr, b"err\n"), (Stdout, b"o\nthree\n")]);
    let whole = fs::read(dir.path().join("index")).expect("it is there");
    for length in 0..=whole.len() {
        fs::write(dir.path().join("index"), &whole[..length]).expect("it is cut");
        let mut seen = texts(dir.path(), Query::default());
        let tail = texts(dir.path(), Query { tail: Some(2), ..Query::default() });
        assert_eq!(tail, seen[2..], "cut at {length}");
        let range = texts(dir.path(), Query { lines: Some((2, 3)), ..Query::default() });
        assert_eq!(range, seen[1..3], "cut at {length}");
        seen.sort();
        assert_eq!(seen, ["err", "one", "three", "two"], "cut at {length}");
    }
}

#[test]
fn a_second_writer_leaves_the_log_as_it_is() {
    let dir = log_of(&[(Stdout, b"one\n")]);
    let mut writer = LogWriter::new(dir.path());
    writer.write(Stdout, b"two\n", at(100));
    writer.write(Stdout, b"three\n", at(200));
    let written = writer.finish();
    assert_eq!((written.stdout.written, written.stdout.failed, written.stdout.kept()), (10, 10, 0));
    assert_eq!(written.error.map(|error| error.kind()), Some(std::io::ErrorKind::AlreadyExists));
    assert_eq!(texts(dir.path(), Query::default()), ["one"]);
}

#[cfg(unix)]
#[test]
fn a33_a40_logs_are_private_and_never_written_through_a_link() {
    use std::os::unix::fs::PermissionsExt;
    let dir = log_of(&[(Stdout, b"a\n"), (Stderr, b"b\n")]);
    for entry in fs::read_dir(dir.path()).expect("a folder") {
        let mode = entry.and_then(|entry| entry.metadata()).expect("an entry").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let dir = TempDir::new().expect("a folder");
    let target = dir.path().join("precious");
    fs::write(&target, "kept").expect("it is written");
    std::os::unix::fs::symlink(&target, dir.path().join("stdout.log")).expect("a link");
    let mut writer = LogWriter::new(dir.path());
    writer.write(Stdout, b"x", at(0));
    assert_eq!(writer.finish().failed(), 1);
    assert_eq!(fs::read_to_string(target).expect("it is there"), "kept");
}
