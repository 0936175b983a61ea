//! Tests of the journal as a whole: what was acknowledged is there again, and every kind of damage gets its verdict.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::value::{RawValue, to_raw_value};
use tempfile::TempDir;

use super::record::{Link, encode, encode_segment_head};
use super::scan::{End, line_end, scan};
use super::*;
use crate::ids::Seq;

mod heal;

const LIMIT: Duration = Duration::from_secs(60);

fn raw(value: &serde_json::Value) -> Box<RawValue> {
    to_raw_value(value).expect("a value is JSON")
}

fn entry<'a>(kind: &'a str, data: Option<&'a RawValue>, urgency: Urgency) -> Entry<'a> {
    Entry { kind, run: None, node: None, attempt: None, data, at: Timestamp::from_micros(1_763_626_312_123_456), urgency }
}

fn open_with(dir: &Path, limits: Limits) -> (Opened, Receiver<Progress>) {
    let (send, receive) = channel();
    let options = Options { on_progress: Box::new(move |progress| drop(send.send(progress))), limits };
    (open(dir, options).expect("the journal opens"), receive)
}

fn open_plain(dir: &Path) -> Opened {
    open_with(dir, Limits::default()).0
}

fn refused(dir: &Path) -> OpenError {
    open(dir, Options::new(drop)).map(drop).expect_err("the journal must be refused")
}

/// Kinds of the records after the snapshot.
fn kinds(history: &History) -> Vec<String> {
    history.records().map(|record| record.expect("a record").kind.into_owned()).collect()
}

fn segment(dir: &Path, number: u32) -> PathBuf {
    dir.join(files::segment_name(number))
}

/// A journal of records `r0`, `r1` ... in a folder of its own.
fn journal_of(count: usize) -> TempDir {
    let dir = TempDir::new().expect("a folder");
    let opened = open_plain(dir.path());
    append_all(&opened.writer, 0..count);
    opened.writer.close().expect("it closes");
    dir
}

fn append_all(writer: &Writer, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let data = raw(&serde_json::json!({"n": number, "text": "some words"}));
        writer.append(entry(&format!("r{number}"), Some(&data), Urgency::Soon)).expect("it is taken");
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("r{number}")).collect()
}

/// Everything in a folder, to see that nothing changed.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(&path).expect("a file")))
        .collect();
    all.sort();
    all
}

fn lines_of(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

/// Waits for one kind of progress; anything else passes by.
fn wait_for(progress: &Receiver<Progress>, wanted: impl Fn(&Progress) -> bool) -> Progress {
    let begin = Instant::now();
    loop {
        let left = LIMIT.saturating_sub(begin.elapsed());
        let next = progress.recv_timeout(left).expect("the progress waited for comes in time");
        if wanted(&next) {
            return next;
        }
    }
}

#[test]
fn the_format_of_a_line_stays() {
    let run = RunId::parse("20251120-081152-zzzzz").expect("a run id");
    let data = raw(&serde_json::json!({"code": 0, "text": "ž\u{1f600}\n"}));
    let mut out = Vec::new();
    let first = encode_segment_head(&mut out, Link::default(), "6f1c02ab-0000-4000-8000-000000000001", None);
    let record = Entry {
        kind: "att.exit",
        run: Some(&run),
        node: Some("clips[2].cut"),
        attempt: Some(AttemptNumber::FIRST),
        data: Some(&data),
        at: Timestamp::from_micros(1_763_626_312_123_456),
        urgency: Urgency::Soon,
    };
    encode(&mut out, first, "1c0ffee0", &record).expect("it fits");
    insta::assert_snapshot!(String::from_utf8(out).expect("ASCII"), @r#"
    {"c":"a28dd01a","p":"00000000","s":1,"k":"seg.open","fmt":1,"id":"6f1c02ab-0000-4000-8000-000000000001","snap":null}
    {"c":"17290129","p":"a28dd01a","s":2,"t":1763626312123456,"b":"1c0ffee0","k":"att.exit","run":"20251120-081152-zzzzz","node":"clips[2].cut","att":1,"d":{"code":0,"text":"\u017e\ud83d\ude00\n"}}
    "#);
}

#[test]
fn what_is_appended_is_read_back() {
    let dir = TempDir::new().expect("a folder");
    let run = RunId::parse("20251120-081152-zzzzz").expect("a run id");
    let long = "žluťoučký kůň ".repeat(20_000);
    let lookalike = format!("{{\"blob\":\"{}\"}}", "0".repeat(64));
    let pretty = RawValue::from_string("{\n\t\"a\": \"\u{2028}\\n\"\r\n}".to_owned()).expect("JSON");
    let values = [
        raw(&serde_json::json!({"long": long})),
        RawValue::from_string(lookalike).expect("JSON"),
        pretty,
        raw(&serde_json::json!("\u{0}\u{7f}\u{10ffff}\"\\")),
        raw(&serde_json::Value::Null),
    ];
    let opened = open_plain(dir.path());
    for data in &values {
        let node = "uzel \"ž\"\n";
        let record = Entry { run: Some(&run), node: Some(node), attempt: Some(AttemptNumber(7)), ..entry("k", Some(data), Urgency::Now) };
        opened.writer.append(record).expect("it is taken");
    }
    opened.writer.append(entry("bare", None, Urgency::Now)).expect("it is taken");
    opened.writer.close().expect("it closes");

    let history = open_read_only(dir.path()).expect("it opens");
    let records: Vec<_> = history.records().map(|record| record.expect("a record")).collect();
    assert_eq!(records.len(), values.len() + 1);
    for (record, data) in records.iter().zip(&values) {
        let read: Option<serde_json::Value> = record.data.as_deref().map(|data| serde_json::from_str(data).expect("JSON"));
        let given: serde_json::Value = serde_json::from_str(data.get()).expect("JSON");
        assert_eq!(read.unwrap_or_default(), given);
        assert_eq!((record.run.as_deref(), record.node.as_deref()), (Some(run.as_str()), Some("uzel \"ž\"\n")));
        assert_eq!((record.attempt, record.boot.as_ref()), (Some(AttemptNumber(7)), boot_id()));
    }
    assert_eq!(records[5].data, None);
    let bytes = fs::read(segment(dir.path(), 1)).expect("the segment");
    assert!(bytes.is_ascii());
    for line in lines_of(&bytes) {
        assert!(line.len() <= 64 << 10, "a line has {} bytes", line.len());
        serde_json::from_slice::<serde_json::Value>(line).expect("every line is JSON");
    }
}

#[test]
fn a_changed_or_missing_blob_is_damage() {
    for change in [true, false] {
        let dir = TempDir::new().expect("a folder");
        let opened = open_plain(dir.path());
        let data = raw(&serde_json::json!("x".repeat(70_000)));
        opened.writer.append(entry("big", Some(&data), Urgency::Now)).expect("it is taken");
        opened.writer.close().expect("it closes");
        let blob = fs::read_dir(dir.path().join("blobs")).expect("blobs").next().expect("one").expect("an entry").path();
        if change {
            fs::write(&blob, vec![b'y'; 70_002]).expect("it is written");
        } else {
            fs::remove_file(&blob).expect("it is removed");
        }
        let history = open_read_only(dir.path()).expect("it opens");
        let damage = history.records().next().expect("a record").expect_err("damage");
        assert_eq!(damage.seq, Seq(2));
    }
}

#[test]
fn names_longer_than_a_line_are_refused_and_leave_no_gap() {
    let dir = TempDir::new().expect("a folder");
    let opened = open_plain(dir.path());
    let long = "n".repeat(70_000);
    let refusal = opened.writer.append(Entry { node: Some(&long), ..entry("k", None, Urgency::Now) });
    assert!(matches!(refusal, Err(AppendError::TooLong { length }) if length > 70_000), "{refusal:?}");
    append_all(&opened.writer, 0..2);
    opened.writer.close().expect("it closes");
    assert_eq!(kinds(&open_read_only(dir.path()).expect("it opens")), names(2));
}

#[test]
fn f05_every_cut_of_the_last_three_records_is_a_torn_tail() {
    let dir = journal_of(8);
    let bytes = fs::read(segment(dir.path(), 1)).expect("the segment");
    let lines = lines_of(&bytes);
    let mut ends = vec![0];
    ends.extend(lines.iter().scan(0, |end, line| {
        *end += line.len();
        Some(*end)
    }));
    for cut in ends[lines.len() - 3]..=bytes.len() {
        let scanned = scan(&bytes[..cut], Some(Link::default()));
        let whole = ends.iter().rposition(|end| *end <= cut).expect("0 is one");
        assert_eq!((scanned.whole, scanned.records), (ends[whole], whole as u64), "cut at {cut}");
        assert_eq!(scanned.end, if ends[whole] == cut { End::Clean } else { End::Torn }, "cut at {cut}");
    }
}

#[test]
fn f05_a_torn_tail_is_kept_aside_and_the_journal_goes_on() {
    let whole = journal_of(5);
    let bytes = fs::read(segment(whole.path(), 1)).expect("the segment");
    let last = lines_of(&bytes).last().expect("a line").len();
    for cut in (1..last).step_by(23) {
        let dir = TempDir::new().expect("a folder");
        fs::write(segment(dir.path(), 1), &bytes[..bytes.len() - cut]).expect("it is written");
        let before = contents(dir.path());
        let looked = open_read_only(dir.path()).expect("it opens");
        assert_eq!((kinds(&looked), looked.damage()), (names(4), None));
        assert_eq!(contents(dir.path()), before, "a look changes nothing");

        let opened = open_plain(dir.path());
        assert_eq!(kinds(&opened.history), names(4));
        let trimmed = opened.history.trimmed().expect("a torn tail").clone();
        assert_eq!(trimmed.bytes, (last - cut) as u64);
        assert_eq!(fs::read(trimmed.kept.expect("kept")).expect("the tail"), &bytes[bytes.len() - last..bytes.len() - cut]);
        append_all(&opened.writer, 4..6);
        opened.writer.close().expect("it closes");

        let again = open_plain(dir.path());
        assert_eq!((kinds(&again.history), again.history.trimmed()), (names(6), None));
        let text = fs::read_to_string(segment(dir.path(), 1)).expect("the segment");
        assert_eq!(text.matches("\"k\":\"journal.trim\"").count(), 1);
    }
}

#[test]
fn f05_a_tail_at_the_place_of_an_earlier_one_is_kept_beside_it() {
    let dir = journal_of(2);
    let path = segment(dir.path(), 1);
    let whole = fs::read(&path).expect("the segment");
    let tails: Vec<Vec<u8>> = ["{\"c\":\"1", "{\"c\":\"22", "{\"c\":\"1"].map(|tail| tail.as_bytes().to_vec()).into();
    let kept: Vec<PathBuf> = tails
        .iter()
        .map(|tail| {
            fs::write(&path, [&whole[..], tail].concat()).expect("it is written");
            open_plain(dir.path()).history.trimmed().expect("a torn tail").kept.clone().expect("kept")
        })
        .collect();
    assert_eq!(kept[0], kept[2], "the same is not kept twice");
    assert_ne!(kept[0], kept[1]);
    for (kept, tail) in kept.iter().zip(&tails) {
        assert_eq!(&fs::read(kept).expect("the tail"), tail);
    }
}

#[test]
fn a_torn_first_line_of_a_segment_gives_way() {
    let dir = journal_of(3);
    fs::write(segment(dir.path(), 2), b"{\"c\":\"12").expect("it is written");
    let opened = open_plain(dir.path());
    assert_eq!(kinds(&opened.history), names(3));
    append_all(&opened.writer, 3..5);
    opened.writer.close().expect("it closes");
    assert_eq!(kinds(&open_plain(dir.path()).history), names(5));
    assert!(!segment(dir.path(), 2).exists());

    for content in [&b""[..], b"{", b"\0\0\0\0"] {
        let dir = TempDir::new().expect("a folder");
        fs::write(segment(dir.path(), 1), content).expect("it is written");
        let opened = open_plain(dir.path());
        append_all(&opened.writer, 0..2);
        opened.writer.close().expect("it closes");
        assert_eq!(kinds(&open_plain(dir.path()).history), names(2));
    }
}

#[test]
fn f06_every_flipped_bit_is_found() {
    let dir = journal_of(50);
    let bytes = fs::read(segment(dir.path(), 1)).expect("the segment");
    let mut before = Link::default();
    let mut start = 0;
    let (mut damaged, mut torn) = (0, 0);
    for line in lines_of(&bytes) {
        // The lines before are whole, and a scan comes to this place with their link.
        let mut rest = bytes[start..].to_vec();
        for at in 0..line.len() {
            for bit in 0..8 {
                rest[at] ^= 1 << bit;
                let scanned = scan(&rest, Some(before));
                assert_eq!(scanned.whole, 0, "record {}: bit {bit} of byte {at} went unseen", before.seq + 1);
                match scanned.end {
                    End::Damaged(_) => damaged += 1,
                    End::Torn => {
                        assert_eq!(start + at + 1, bytes.len(), "torn only where the last line end was");
                        torn += 1;
                    }
                    End::Clean => panic!("a flipped bit is not clean"),
                }
                rest[at] ^= 1 << bit;
            }
        }
        before = scan(&bytes[..start + line.len()], Some(Link::default())).last;
        start += line.len();
    }
    assert_eq!((damaged, torn), (bytes.len() * 8 - 8, 8));
}

#[test]
fn f06_damage_in_the_middle_refuses_and_changes_nothing() {
    let dir = journal_of(6);
    let mut bytes = fs::read(segment(dir.path(), 1)).expect("the segment");
    let offset: usize = lines_of(&bytes)[..3].iter().map(|line| line.len()).sum();
    bytes[offset + 40] ^= 4;
    fs::write(segment(dir.path(), 1), &bytes).expect("it is written");
    let before = contents(dir.path());
    let error = refused(dir.path());
    let OpenError::Damaged(damage) = &error else { panic!("{error}") };
    assert_eq!((damage.offset, damage.seq), (offset as u64, Seq(4)));
    let help = error.help();
    for choice in ["journal verify", "--read-only", "journal repair --cut-at"] {
        assert!(help.contains(choice), "{help}");
    }
    let history = open_read_only(dir.path()).expect("a look is possible");
    assert_eq!((kinds(&history), history.damage()), (names(2), Some(damage.as_ref())));
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn f07_dropped_doubled_and_swapped_lines_are_damage() {
    let dir = journal_of(8);
    let bytes = fs::read(segment(dir.path(), 1)).expect("the segment");
    let lines = lines_of(&bytes);
    // The last line may be missing without a trace: then it was never written, as far as anybody can tell.
    for at in 0..lines.len() - 1 {
        let mut dropped = lines.clone();
        dropped.remove(at);
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at]);
        let mut swapped = lines.clone();
        swapped.swap(at, at + 1);
        for (what, changed, bad) in [("dropped", dropped, at), ("doubled", doubled, at + 1), ("swapped", swapped, at)] {
            fs::write(segment(dir.path(), 1), changed.concat()).expect("it is written");
            let OpenError::Damaged(damage) = refused(dir.path()) else { panic!("{what} {at}") };
            assert_eq!(damage.seq.0, bad as u64 + 1, "{what} {at}: {damage}");
        }
    }
}

#[test]
fn f08_zeros_at_the_end_are_a_torn_tail() {
    let dir = journal_of(4);
    let bytes = fs::read(segment(dir.path(), 1)).expect("the segment");
    let last = bytes.len() - lines_of(&bytes).last().expect("a line").len();
    let appended = [bytes.as_slice(), &[0; 4096]].concat();
    let mut zeroed = bytes.clone();
    zeroed[last..].fill(0);
    let mut zeroed_but_its_end = zeroed.clone();
    *zeroed_but_its_end.last_mut().expect("a byte") = b'\n';
    for (content, count) in [(appended, 4), (zeroed, 3), (zeroed_but_its_end, 3)] {
        let dir = TempDir::new().expect("a folder");
        fs::write(segment(dir.path(), 1), content).expect("it is written");
        let opened = open_plain(dir.path());
        assert_eq!(kinds(&opened.history), names(count));
        assert!(opened.history.trimmed().is_some());
    }
    // Zeros that cannot come from the end of a file, and one that is a flipped bit.
    let mut middle = bytes.clone();
    let second = lines_of(&bytes)[0].len();
    middle[second + 20..second + 60].fill(0);
    let mut lone = bytes.clone();
    lone[last + 50] = 0;
    for content in [middle, lone] {
        fs::write(segment(dir.path(), 1), content).expect("it is written");
        assert!(matches!(refused(dir.path()), OpenError::Damaged(_)));
    }
}

#[test]
fn f19_a_newer_format_is_refused_and_nothing_is_changed() {
    let dir = journal_of(2);
    let text = fs::read_to_string(segment(dir.path(), 1)).expect("the segment");
    fs::write(segment(dir.path(), 1), text.replace("\"fmt\":1", "\"fmt\":2") + "torn").expect("it is written");
    let before = contents(dir.path());
    assert!(matches!(refused(dir.path()), OpenError::NewerFormat { found: 2, .. }));
    assert!(matches!(open_read_only(dir.path()), Err(OpenError::NewerFormat { found: 2, .. })));
    assert_eq!(contents(dir.path()), before);

    let dir = journal_of(2);
    fs::write(dir.path().join("snapshot-000002.jsonl"), "{\"k\":\"snap\",\"fmt\":9,\"s\":3,\"more\":true}\n").expect("it is written");
    assert!(matches!(refused(dir.path()), OpenError::NewerFormat { found: 9, .. }));
}

/// Takes a snapshot after everything so far and waits until it is in place.
fn snapshot_now(writer: &Writer, progress: &Receiver<Progress>, lines: Vec<String>) -> Seq {
    let upto = writer.last_seq();
    writer.snapshot(lines, upto);
    let done = wait_for(progress, |progress| matches!(progress, Progress::Snapshot(_) | Progress::SnapshotFailed(_)));
    assert!(matches!(done, Progress::Snapshot(seq) if seq == upto), "{done:?}");
    upto
}

#[test]
fn snapshots_bound_the_replay_and_old_segments_go() {
    let dir = TempDir::new().expect("a folder");
    let (opened, progress) = open_with(dir.path(), Limits { bytes: u64::MAX, records: 10 });
    for round in 0..4 {
        append_all(&opened.writer, round * 10..round * 10 + 10);
        assert!(opened.writer.needs_snapshot());
        snapshot_now(&opened.writer, &progress, vec![format!("state {round}"), "ž".to_owned()]);
        assert!(!opened.writer.needs_snapshot());
    }
    append_all(&opened.writer, 40..43);
    opened.writer.close().expect("it closes");
    let listing = files::list(dir.path()).expect("a listing");
    // The newest snapshot with its segment, and the one before, in case the newest cannot be read.
    assert_eq!((listing.segments, listing.snapshots), (vec![4, 5], vec![4, 5]));

    let opened = open_plain(dir.path());
    assert_eq!(opened.history.snapshot_lines().collect::<Vec<_>>(), ["state 3", "ž"]);
    assert_eq!(kinds(&opened.history), ["r40", "r41", "r42"]);
    drop(opened);

    let newest = dir.path().join(files::snapshot_name(5));
    let mut bytes = fs::read(&newest).expect("the snapshot");
    bytes[60] ^= 1;
    fs::write(&newest, bytes).expect("it is written");
    let history = open_read_only(dir.path()).expect("the one before will do");
    assert_eq!(history.broken_snapshots(), [newest]);
    assert_eq!(history.snapshot_lines().next(), Some("state 2"));
    assert_eq!(kinds(&history), names(43)[30..]);
}

#[test]
fn records_taken_while_a_snapshot_is_made_are_replayed_after_it() {
    let dir = TempDir::new().expect("a folder");
    let (opened, progress) = open_with(dir.path(), Limits::default());
    append_all(&opened.writer, 0..5);
    let upto = opened.writer.last_seq();
    append_all(&opened.writer, 5..8);
    opened.writer.snapshot(vec!["state".to_owned()], upto);
    append_all(&opened.writer, 8..20);
    wait_for(&progress, |progress| matches!(progress, Progress::Snapshot(_)));
    append_all(&opened.writer, 20..22);
    opened.writer.close().expect("it closes");
    let opened = open_plain(dir.path());
    assert_eq!(kinds(&opened.history), names(22)[5..]);
    assert_eq!(opened.history.snapshot_seq(), upto);
}

#[test]
fn f03_a_snapshot_without_its_segment_is_used() {
    let dir = TempDir::new().expect("a folder");
    let (opened, progress) = open_with(dir.path(), Limits::default());
    append_all(&opened.writer, 0..5);
    snapshot_now(&opened.writer, &progress, vec!["state".to_owned()]);
    opened.writer.close().expect("it closes");
    fs::remove_file(segment(dir.path(), 2)).expect("it is removed");
    fs::write(dir.path().join("000002.jsonl.tmp"), "{\"c\"").expect("it is written");

    let (opened, progress) = open_with(dir.path(), Limits::default());
    assert_eq!((kinds(&opened.history), opened.history.snapshot_lines().next()), (vec![], Some("state")));
    append_all(&opened.writer, 5..6);
    snapshot_now(&opened.writer, &progress, vec!["later".to_owned()]);
    append_all(&opened.writer, 6..7);
    opened.writer.close().expect("it closes");
    let opened = open_plain(dir.path());
    assert_eq!((kinds(&opened.history), opened.history.snapshot_lines().next()), (vec!["r6".to_owned()], Some("later")));
    assert!(!dir.path().join("000002.jsonl.tmp").exists());
}

#[test]
fn missing_segments_are_damage() {
    let dir = TempDir::new().expect("a folder");
    let (opened, progress) = open_with(dir.path(), Limits::default());
    append_all(&opened.writer, 0..5);
    snapshot_now(&opened.writer, &progress, vec!["state".to_owned()]);
    append_all(&opened.writer, 5..6);
    opened.writer.close().expect("it closes");
    fs::remove_file(dir.path().join(files::snapshot_name(2))).expect("it is removed");
    assert_eq!(kinds(&open_read_only(dir.path()).expect("it opens")), names(6), "without the snapshot everything is told");
    fs::remove_file(segment(dir.path(), 1)).expect("it is removed");
    assert!(matches!(refused(dir.path()), OpenError::Damaged(_)), "the begin is missing");

    let dir = TempDir::new().expect("a folder");
    let (opened, progress) = open_with(dir.path(), Limits::default());
    append_all(&opened.writer, 0..5);
    snapshot_now(&opened.writer, &progress, vec!["state".to_owned()]);
    opened.writer.close().expect("it closes");
    fs::remove_file(segment(dir.path(), 1)).expect("it is removed");
    fs::remove_file(segment(dir.path(), 2)).expect("it is removed");
    assert!(matches!(refused(dir.path()), OpenError::Damaged(_)), "only the snapshot is left");
}

#[test]
fn a_snapshot_that_cannot_be_written_is_reported_and_the_journal_goes_on() {
    let dir = TempDir::new().expect("a folder");
    let (opened, progress) = open_with(dir.path(), Limits { bytes: 1, records: 1 });
    append_all(&opened.writer, 0..1);
    opened.writer.snapshot(vec!["two\nlines".to_owned()], opened.writer.last_seq());
    let failed = wait_for(&progress, |progress| matches!(progress, Progress::SnapshotFailed(_)));
    assert!(format!("{failed:?}").contains("line end"), "{failed:?}");
    append_all(&opened.writer, 1..3);
    assert!(opened.writer.needs_snapshot(), "it can be tried again");
    opened.writer.close().expect("it closes");
    assert_eq!(kinds(&open_plain(dir.path()).history), names(3));
}

#[test]
fn blobs_go_with_the_last_segment_that_names_them() {
    let dir = TempDir::new().expect("a folder");
    let (opened, progress) = open_with(dir.path(), Limits::default());
    let (old, kept) = (raw(&serde_json::json!("o".repeat(70_000))), raw(&serde_json::json!("k".repeat(70_000))));
    for data in [&old, &kept] {
        opened.writer.append(entry("big", Some(data), Urgency::Soon)).expect("it is taken");
    }
    for _ in 0..3 {
        snapshot_now(&opened.writer, &progress, vec![]);
        opened.writer.append(entry("big", Some(&kept), Urgency::Soon)).expect("it is taken");
    }
    opened.writer.close().expect("it closes");
    let left: Vec<_> = fs::read_dir(dir.path().join("blobs")).expect("blobs").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(left, [blob::hash_of(kept.get().as_bytes()).as_str()]);
    assert_eq!(kinds(&open_plain(dir.path()).history), ["big"]);
}

#[test]
fn records_of_many_producers_stand_in_the_order_of_their_numbers() {
    const PRODUCERS: usize = 8;
    const EACH: usize = 150;
    let dir = TempDir::new().expect("a folder");
    let (opened, progress) = open_with(dir.path(), Limits::default());
    let writer = Arc::new(opened.writer);
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let writer = writer.clone();
            thread::spawn(move || -> Vec<(u64, String)> {
                let take = |number: usize| {
                    let kind = format!("p{producer}.{number}");
                    let urgency = if number.is_multiple_of(3) { Urgency::Now } else { Urgency::Soon };
                    (writer.append(entry(&kind, None, urgency)).expect("it is taken").0, kind)
                };
                (0..EACH).map(take).collect()
            })
        })
        .collect();
    let mut taken: Vec<_> = producers.into_iter().flat_map(|producer| producer.join().expect("it ends")).collect();
    taken.sort();
    assert!(writer.flush_and_wait(LIMIT).expect("it is synced"));
    assert_eq!(writer.synced_seq(), writer.last_seq());
    drop(writer);
    let synced: Vec<u64> = progress
        .iter()
        .map(|progress| match progress {
            Progress::Synced(seq) => seq.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(synced.is_sorted_by(|a, b| a < b), "{synced:?}");
    assert!(synced.len() < PRODUCERS * EACH / 2, "syncs are shared: {}", synced.len());
    let history = open_read_only(dir.path()).expect("it opens");
    let read: Vec<_> = history.records().map(|record| record.map(|record| (record.seq.0, record.kind.into_owned()))).collect();
    assert_eq!(read.into_iter().collect::<Result<Vec<_>, _>>(), Ok(taken));
}

#[test]
fn a_record_that_nobody_waits_for_is_synced_soon() {
    let dir = TempDir::new().expect("a folder");
    let (opened, progress) = open_with(dir.path(), Limits::default());
    let seq = opened.writer.append(entry("soon", None, Urgency::Soon)).expect("it is taken");
    let done = wait_for(&progress, |_| true);
    assert!(matches!(done, Progress::Synced(synced) if synced == seq), "{done:?}");
}

#[test]
fn a_panic_in_the_receiver_of_progress_refuses_later_records() {
    let dir = TempDir::new().expect("a folder");
    let writer = open(dir.path(), Options::new(|_| panic!("on purpose"))).expect("it opens").writer;
    writer.append(entry("r0", None, Urgency::Now)).expect("it is taken");
    let begin = Instant::now();
    while writer.append(entry("later", None, Urgency::Soon)).is_ok() {
        assert!(begin.elapsed() < LIMIT, "records are taken for ever");
        thread::yield_now();
    }
}

#[test]
fn a_snapshot_of_the_future_is_refused() {
    let dir = TempDir::new().expect("a folder");
    let (opened, progress) = open_with(dir.path(), Limits::default());
    opened.writer.snapshot(vec![], Seq(99));
    wait_for(&progress, |progress| matches!(progress, Progress::SnapshotFailed(_)));
    append_all(&opened.writer, 0..1);
    snapshot_now(&opened.writer, &progress, vec![]);
}

#[test]
fn f16_a_journal_changed_under_a_live_writer_is_noticed() {
    type Change = fn(&Path);
    let changes: [Change; 3] = [
        |path| fs::remove_file(path).expect("it is removed"),
        |path| fs::write(path, "").expect("it is emptied"),
        |path| {
            let copy = path.with_extension("copy");
            fs::copy(path, &copy).and_then(|_| fs::rename(&copy, path)).expect("it is replaced");
        },
    ];
    for change in changes.iter().take(if cfg!(unix) { 3 } else { 2 }) {
        let dir = TempDir::new().expect("a folder");
        let (opened, progress) = open_with(dir.path(), Limits::default());
        change(&segment(dir.path(), 1));
        opened.writer.append(entry("r0", None, Urgency::Now)).expect("it is taken");
        let first = wait_for(&progress, |_| true);
        assert!(matches!(&first, Progress::Failed(failure) if failure.kind == FailureKind::Tampered), "{first:?}");
    }
}

#[cfg(unix)]
#[test]
fn a33_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().expect("a folder");
    let journal = dir.path().join("journal");
    let (opened, progress) = open_with(&journal, Limits::default());
    let data = raw(&serde_json::json!("x".repeat(70_000)));
    opened.writer.append(entry("big", Some(&data), Urgency::Now)).expect("it is taken");
    snapshot_now(&opened.writer, &progress, vec![]);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&journal), mode(&journal.join("blobs"))), (0o700, 0o700));
    for (path, _) in contents(&journal).into_iter().chain(contents(&journal.join("blobs"))) {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_look_at_a_journal_that_is_being_written_sees_a_prefix() {
    let dir = TempDir::new().expect("a folder");
    let (opened, progress) = open_with(dir.path(), Limits::default());
    let folder = dir.path().to_owned();
    let looker = thread::spawn(move || {
        let mut seen = 0;
        while seen < 400 {
            let history = open_read_only(&folder).expect("a look is always possible");
            assert_eq!(history.damage(), None);
            let base: usize = history.snapshot_lines().next().map_or(0, |line| line.parse().expect("a number"));
            let kinds = kinds(&history);
            assert_eq!(kinds, (base..base + kinds.len()).map(|number| format!("r{number}")).collect::<Vec<_>>());
            assert!(base + kinds.len() >= seen, "nothing that was seen vanishes");
            seen = base + kinds.len();
        }
    });
    for round in 0..20 {
        append_all(&opened.writer, round * 20..round * 20 + 20);
        snapshot_now(&opened.writer, &progress, vec![(round * 20 + 20).to_string()]);
    }
    looker.join().expect("no look went wrong");
}

#[test]
fn journals_of_version_1_can_be_read_for_ever() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat/v1/journal");
    let history = open_read_only(&dir).expect("it opens");
    assert_eq!((history.damage(), history.trimmed()), (None, None));
    let mut told = history.snapshot_lines().map(str::to_owned).collect::<Vec<_>>();
    for record in history.records() {
        let record = record.expect("a record");
        let data: serde_json::Value = record.data.as_deref().map(|data| serde_json::from_str(data).expect("JSON")).unwrap_or_default();
        let length = data.to_string().len();
        let shown = if length > 60 { format!("{length} bytes") } else { data.to_string() };
        told.push(format!("{} {} {:?} {:?} {:?} {shown}", record.seq.0, record.kind, record.run, record.node, record.attempt));
    }
    insta::assert_snapshot!(told.join("\n"), @r#"
    {"run":"20251120-081152-zzzzz"}
    6 att.exit Some("20251120-081152-zzzzz") Some("clips[2].cut") Some(AttemptNumber(2)) {"text":"ž 😀"}
    7 large None None None 70002 bytes
    8 bare None None None null
    "#);
}

/// Writes the fixture of today's format. Run by hand when a new format begins, into the folder of that format.
#[test]
#[ignore = "writes a fixture; fixtures of released formats are never written again"]
fn write_fixture() {
    let dir = PathBuf::from(std::env::var_os("FIXTURE_FOLDER").expect("FIXTURE_FOLDER names a folder"));
    let (opened, progress) = open_with(&dir, Limits::default());
    let run = RunId::parse("20251120-081152-zzzzz").expect("a run id");
    append_all(&opened.writer, 0..3);
    snapshot_now(&opened.writer, &progress, vec!["{\"run\":\"20251120-081152-zzzzz\"}".to_owned()]);
    let (small, large) = (raw(&serde_json::json!({"text": "ž \u{1f600}"})), raw(&serde_json::json!("x".repeat(70_000))));
    let exit = Entry { run: Some(&run), node: Some("clips[2].cut"), ..entry("att.exit", Some(&small), Urgency::Now) };
    opened.writer.append(Entry { attempt: Some(AttemptNumber(2)), ..exit }).expect("it is taken");
    opened.writer.append(entry("large", Some(&large), Urgency::Now)).expect("it is taken");
    opened.writer.append(entry("bare", None, Urgency::Now)).expect("it is taken");
    opened.writer.close().expect("it closes");
}

/// Measures; `.ci/full benchmarks` runs it with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn f20_replay_of_a_million_records() {
    const RECORDS: usize = 1_000_000;
    let dir = TempDir::new().expect("a folder");
    let (opened, progress) = open_with(dir.path(), Limits::default());
    let begin = Instant::now();
    append_all(&opened.writer, 0..RECORDS);
    assert!(opened.writer.flush_and_wait(LIMIT).expect("it is synced"));
    eprintln!("append: {:?}", begin.elapsed());
    let begin = Instant::now();
    let history = open_read_only(dir.path()).expect("it opens");
    eprintln!("verify: {:?}", begin.elapsed());
    assert_eq!(history.records().filter(Result::is_ok).count(), RECORDS);
    let parsed = begin.elapsed();
    eprintln!("verify and parse: {parsed:?}");
    // Five times what it takes; without optimization it takes longer.
    assert!(cfg!(debug_assertions) || parsed < Duration::from_secs(5), "{parsed:?}");
    drop(history);
    snapshot_now(&opened.writer, &progress, vec!["x".repeat(300); 100_000]);
    let begin = Instant::now();
    let history = open_read_only(dir.path()).expect("it opens");
    assert_eq!(history.snapshot_lines().map(str::len).sum::<usize>(), 30_000_000);
    eprintln!("snapshot of 100,000 lines: {:?}", begin.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// The program or the machine dies while records are being written: whatever the file was cut to beyond the last
    /// acknowledgement, recovery gives a prefix that holds everything acknowledged, and the journal goes on.
    #[test]
    fn a_crash_keeps_everything_acknowledged(
        sizes in prop::collection::vec(0_usize..3000, 1..20),
        acked in 0_usize..20,
        cut in 0.0..1.0_f64,
        zeros in 0_usize..3,
    ) {
        let dir = TempDir::new().expect("a folder");
        let opened = open_plain(dir.path());
        let mut acknowledged = 0;
        let mut durable = fs::metadata(segment(dir.path(), 1)).expect("the segment").len();
        for (number, size) in sizes.iter().enumerate() {
            let data = raw(&serde_json::json!({"filler": "y".repeat(*size)}));
            opened.writer.append(entry(&format!("r{number}"), Some(&data), Urgency::Soon)).expect("it is taken");
            if number < acked {
                prop_assert!(opened.writer.flush_and_wait(LIMIT).expect("it is synced"));
                acknowledged = number + 1;
                durable = fs::metadata(segment(dir.path(), 1)).expect("the segment").len();
            }
        }
        opened.writer.close().expect("it closes");
        let mut bytes = fs::read(segment(dir.path(), 1)).expect("the segment");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place between the two")]
        let length = durable as usize + ((bytes.len() - durable as usize) as f64 * cut) as usize;
        bytes.truncate(length);
        bytes.resize(length + zeros * 512, 0);
        fs::write(segment(dir.path(), 1), bytes).expect("it is written");

        let opened = open_plain(dir.path());
        let kept = kinds(&opened.history);
        prop_assert!(kept.len() >= acknowledged);
        prop_assert_eq!(&kept, &names(kept.len()));
        append_all(&opened.writer, kept.len()..kept.len() + 1);
        opened.writer.close().expect("it closes");
        prop_assert_eq!(kinds(&open_plain(dir.path()).history), names(kept.len() + 1));
    }

    /// No bytes whatsoever make reading panic, and what is not a journal is never taken for one.
    #[test]
    fn any_bytes_get_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let scanned = scan(&bytes, None);
        prop_assert_eq!(scanned.records, 0);
        let whole_line = line_end(&bytes).is_some();
        prop_assert!(whole_line || !matches!(scanned.end, End::Damaged(_)));
    }
}
