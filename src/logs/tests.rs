//! Tests of the log of an attempt: the same lines however the bytes came, and no byte lost.

use std::fs;
use std::io::Write;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::units::Timestamp;

use Stream::{Stderr, Stdout};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_micros(1_763_626_312_000_000 + millis * 1000)
}

/// A log of these chunks, one each 10 ms.
fn log_of(chunks: &[(Stream, &[u8])]) -> TempDir {
    let dir = TempDir::new().expect("a folder");
    let mut writer = LogWriter::new(dir.path());
    for (number, (stream, bytes)) in (0..).zip(chunks) {
        writer.write(*stream, bytes, at(number * 10)).expect("it is written");
    }
    writer.finish().expect("it ends");
    dir
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
    writer.write(Stdout, b"", at(0)).expect("nothing to write");
    writer.finish().expect("it ends");
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
    assert_eq!(texts(dir.path(), Query::default()), [""; 0]);
    assert_eq!(LogReader::open(&dir.path().join("nowhere")).poll(&mut Cursor::default(), true).expect("empty"), []);
}

#[test]
fn streams_are_merged_in_the_order_in_which_they_were_read() {
    let dir = log_of(&[(Stdout, b"one\ntw"), (Stderr, b"careful\n"), (Stdout, b"o\n"), (Stderr, b"half"), (Stdout, b"three\n")]);
    let line = |millis, stream, text: &str, partial| Line { at: at(millis), stream, text: text.to_owned(), partial };
    let all = [
        line(0, Stdout, "one", false),
        line(10, Stderr, "careful", false),
        line(20, Stdout, "two", false),
        line(40, Stdout, "three", false),
        line(30, Stderr, "half", true),
    ];
    assert_eq!(lines(dir.path(), Query::default()), all);
    let query = Query { stream: Some(Stderr), ..Query::default() };
    assert_eq!(lines(dir.path(), query), [all[1].clone(), all[4].clone()]);
    assert_eq!(lines(dir.path(), Query { tail: Some(3), ..Query::default() }), all[2..]);
    assert_eq!(lines(dir.path(), Query { tail: Some(1), ..query }), all[4..]);
    assert_eq!(lines(dir.path(), Query { since: Some(at(15)), ..Query::default() }), all[2..]);
    assert_eq!(lines(dir.path(), Query { since: Some(at(15)), tail: Some(9), stream: Some(Stdout) }), all[2..4]);
    assert_eq!(texts(dir.path(), Query { since: Some(at(1000)), ..Query::default() }), [""; 0]);
    assert_eq!(texts(dir.path(), Query { tail: Some(0), ..Query::default() }), [""; 0]);
    assert_eq!(fs::read(dir.path().join("stdout.log")).expect("it is there"), b"one\ntwo\nthree\n");
}

#[test]
fn the_format_of_the_index_stays() {
    let dir = log_of(&[(Stdout, b"one\n"), (Stderr, b"x"), (Stdout, b"two\n")]);
    let entry = |millis, end: [u8; 7], stream: u8| [&at(millis).micros().to_le_bytes()[..], &end, &[stream]].concat();
    let entries = [entry(0, [4, 0, 0, 0, 0, 0, 0], 0), entry(10, [1, 0, 0, 0, 0, 0, 0], 1), entry(20, [8, 0, 0, 0, 0, 0, 0], 0)];
    assert_eq!(fs::read(dir.path().join("index")).expect("it is there"), [b"pqindex\x01".to_vec(), entries.concat()].concat());
}

#[test]
fn entries_held_back_are_written_by_a_flush() {
    let dir = TempDir::new().expect("a folder");
    let mut writer = LogWriter::new(dir.path());
    let length = || fs::metadata(dir.path().join("index")).expect("it is there").len();
    for millis in 0..4 {
        writer.write(Stdout, b"x\n", at(millis)).expect("it is written");
    }
    assert_eq!(length(), 8 + 16, "the first at once, the others within a few milliseconds together");
    writer.flush().expect("it is written");
    assert_eq!(length(), 8 + 4 * 16);
    writer.write(Stdout, b"x\n", at(100)).expect("it is written");
    assert_eq!(length(), 8 + 5 * 16, "after a pause at once");
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
    let change: [fn(&Path); 4] = [
        // Ahead of the bytes, as after a power cut.
        |dir| append(dir, "index", &index::Entry { at: at(0), stream: Stdout, end: 4000 }.encode()),
        |dir| append(dir, "index", &[9; index::ENTRY]),
        |dir| fs::write(dir.join("index"), b"pqindex\x02later").expect("it is written"),
        |dir| fs::write(dir.join("index"), b"pq").expect("it is written"),
    ];
    for change in change {
        let dir = log_of(&[(Stdout, b"one\ntwo\n"), (Stderr, b"err\n")]);
        change(dir.path());
        assert_eq!(texts(dir.path(), Query::default()), ["one", "two", "err"]);
        assert_eq!(texts(dir.path(), Query { tail: Some(2), ..Query::default() }), ["two", "err"]);
    }
}

#[test]
fn a_second_writer_goes_on_behind_the_first() {
    let dir = log_of(&[(Stdout, b"one\ntw")]);
    append(dir.path(), "index", b"torn");
    let mut writer = LogWriter::new(dir.path());
    writer.write(Stderr, b"err\n", at(100)).expect("it is written");
    writer.write(Stdout, b"o\n", at(110)).expect("it is written");
    writer.finish().expect("it ends");
    assert_eq!(texts(dir.path(), Query::default()), ["one", "err", "two"]);
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
    assert!(LogWriter::new(dir.path()).write(Stdout, b"x", at(0)).is_err());
    assert_eq!(fs::read_to_string(target).expect("it is there"), "kept");
}

/// A reader that took more than the end of this file would not come back.
#[cfg(unix)]
#[test]
fn a_tail_reads_only_the_end() {
    for with_index in [true, false] {
        let dir = TempDir::new().expect("a folder");
        let file = fs::File::create(dir.path().join("stdout.log")).expect("it is made");
        if file.set_len(1 << 40).is_err() {
            eprintln!("skipped: no file of a tebibyte can be made here");
            return;
        }
        let mut writer = LogWriter::new(dir.path());
        writer.write(Stdout, b"\n", at(0)).expect("it is written");
        for number in 0..5000 {
            writer.write(Stdout, format!("line {number}\n").as_bytes(), at(number)).expect("it is written");
        }
        writer.write(Stderr, b"end\n", at(5000)).expect("it is written");
        writer.finish().expect("it ends");
        if !with_index {
            fs::remove_file(dir.path().join("index")).expect("it is removed");
        }
        let tail = texts(dir.path(), Query { tail: Some(3), ..Query::default() });
        assert_eq!(tail, ["line 4998", "line 4999", "end"]);
        if with_index {
            let since = texts(dir.path(), Query { since: Some(at(4998)), ..Query::default() });
            assert_eq!(since, ["line 4998", "line 4999", "end"]);
        }
    }
}

/// The lines of a stream by the rule as it is documented, without regard to speed.
fn expected(mut bytes: &[u8]) -> Vec<(String, bool)> {
    let mut lines = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let content = match end {
            Some(end) if bytes[..end].ends_with(b"\r") => end - 1,
            Some(end) => end,
            None => bytes.len(),
        };
        let (text, taken, partial) =
            if content > LINE_MAX { (LINE_MAX, LINE_MAX, true) } else { (content, end.map_or(content, |end| end + 1), end.is_none()) };
        lines.push((String::from_utf8_lossy(&bytes[..text]).into_owned(), partial));
        bytes = &bytes[taken..];
    }
    lines
}

fn of_stream(lines: &[Line], stream: Stream) -> Vec<(String, bool)> {
    lines.iter().filter(|line| line.stream == stream).map(|line| (line.text.clone(), line.partial)).collect()
}

/// Bytes with many line ends of both kinds, and without characters of several bytes (they are cut elsewhere: see F-44).
fn output() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => Just(b'\n'), 2 => Just(b'\r'), 10 => any::<u8>().prop_map(|byte| if byte < 0xc0 { byte } else { b'x' })];
    let part = prop_oneof![8 => prop::collection::vec(byte, 0..40), 1 => (0_usize..140_000).prop_map(|length| vec![b'l'; length])];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However the streams are cut into chunks and whenever a follower looks, each stream gives the same lines, and a tail gives the
    /// last of them.
    #[test]
    fn chunks_do_not_matter(
        out in output(),
        err in output(),
        cuts in prop::collection::vec((any::<bool>(), 1_usize..9000, any::<bool>(), 0_i64..9), 1..200),
        tail in 0_usize..30,
    ) {
        let dir = TempDir::new().expect("a folder");
        let mut writer = LogWriter::new(dir.path());
        let reader = LogReader::open(dir.path());
        let mut cursor = Cursor::default();
        let (mut followed, mut time) = (Vec::new(), 0);
        let mut left = [out.as_slice(), err.as_slice()];
        for (second, length, look, pause) in cuts.into_iter().chain([(false, usize::MAX, false, 0), (true, usize::MAX, false, 0)]) {
            let stream = if second { Stderr } else { Stdout };
            let (chunk, rest) = left[stream.at()].split_at(length.min(left[stream.at()].len()));
            left[stream.at()] = rest;
            time += pause;
            writer.write(stream, chunk, at(time)).expect("it is written");
            if look {
                followed.extend(reader.poll(&mut cursor, false).expect("it reads"));
            }
        }
        writer.finish().expect("it ends");
        loop {
            let more = reader.poll(&mut cursor, true).expect("it reads");
            if more.is_empty() {
                break;
            }
            followed.extend(more);
        }
        let all = lines(dir.path(), Query::default());
        for (stream, bytes) in [(Stdout, &out), (Stderr, &err)] {
            prop_assert_eq!(of_stream(&all, stream), expected(bytes));
            prop_assert_eq!(of_stream(&followed, stream), expected(bytes));
            let only: Vec<_> = all.iter().filter(|line| line.stream == stream).cloned().collect();
            prop_assert_eq!(lines(dir.path(), Query { stream: Some(stream), ..Query::default() }), only);
        }
        if all.iter().all(|line| line.text.len() < LINE_MAX) {
            let last = &all[all.len().saturating_sub(tail)..];
            prop_assert_eq!(lines(dir.path(), Query { tail: Some(tail), ..Query::default() }), last);
            let since = at(time / 2);
            let later: Vec<_> = all.iter().filter(|line| line.at >= since).cloned().collect();
            prop_assert_eq!(lines(dir.path(), Query { since: Some(since), ..Query::default() }), later);
        }
    }
}
