//! The order file against torn ends and restarts, spans against every way to cut the bytes, and the merge of several attempts.

use std::path::Path;

use proptest::prelude::*;

use super::file::{Reading, Record, Writing};
use super::merge::merge;
use super::read::Wanted;
use super::{Extent, Order, Shared};
use crate::attempt::AttemptFolder;
use crate::event::RunStatus;
use crate::ids::{AttemptNumber, RunId};
use crate::logs::{LogWriter, Needle, Span, SpanReader, Spans, Stream};
use crate::units::Timestamp;

const BEGIN: i64 = 1_700_000_000_000_000;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(BEGIN + micros)
}

fn span(from: u64, to: u64, lines: u32) -> Span {
    Span { stream: Stream::Stdout, from, to, at: at(1), lines, gap: false }
}

/// The folder of a node's first attempt, made.
fn attempt(run: &Path, node: &str) -> std::path::PathBuf {
    let folder = AttemptFolder::new(run, node, AttemptNumber(1)).path().to_owned();
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn records(run: &Path, count: u64) -> Vec<Record> {
    Reading::open(run).expect("a file").some(0, count).expect("records")
}

#[test]
fn what_was_written_is_there_for_the_next_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut writing, ends) = Writing::open(folder.path()).expect("a file");
    assert!(ends.is_empty());
    let a = writing.add("a", AttemptNumber(1)).expect("room");
    let b = writing.add("b[0].c", AttemptNumber(2)).expect("room");
    writing.append(&[(a, span(0, 10, 2)), (a, span(10, 20, 1)), (b, span(0, 5, 1)), (a, span(20, 30, 3))]).expect("room");
    assert_eq!((writing.count, writing.next), (3, 8), "neighbours share a record");
    drop(writing);
    let (mut writing, ends) = Writing::open(folder.path()).expect("a file");
    assert_eq!((ends, writing.count, writing.next, writing.ended), (vec![[30, 0], [5, 0]], 3, 8, None));
    assert_eq!((writing.attempts[1].node.as_str(), writing.attempts[1].attempt), ("b[0].c", AttemptNumber(2)));
    writing.end(RunStatus::Failed, at(9)).expect("room");
    let (writing, _) = Writing::open(folder.path()).expect("a file");
    assert_eq!((writing.ended, writing.next), (Some(RunStatus::Failed), 8));
    let reading = Reading::open(folder.path()).expect("a file");
    let places: Vec<u64> = (1..=8).map(|line| reading.find(line, 4).expect("records")).collect();
    assert_eq!(places, [0, 0, 0, 1, 2, 2, 2, 4]);
}

#[test]
fn a_torn_end_is_cut_off_and_written_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut writing, _) = Writing::open(folder.path()).expect("a file");
    let a = writing.add("a", AttemptNumber(1)).expect("room");
    for at in 0..4 {
        writing.append(&[(a, Span { gap: at == 2, ..span(at * 10, at * 10 + 10, 1) })]).expect("room");
    }
    let whole = std::fs::read(folder.path().join("order")).expect("a file");
    let names = std::fs::read(folder.path().join("order.attempts")).expect("a file");
    for kept in 0..=whole.len() {
        let mut torn = whole[..kept].to_vec();
        // What a power cut leaves: zeros, or nothing.
        torn.resize(if kept % 2 == 0 { whole.len() } else { kept }, 0);
        std::fs::write(folder.path().join("order"), torn).expect("a file");
        std::fs::write(folder.path().join("order.attempts"), &names).expect("a file");
        let (writing, ends) = Writing::open(folder.path()).expect("a file");
        let good = (kept as u64 / 48).saturating_sub(1);
        assert_eq!((writing.count, writing.next, ends), (good, good + 1, vec![[good * 10, 0]]), "{kept} bytes kept");
        assert_eq!(records(folder.path(), good).len() as u64, good);
    }
    // Names that were lost take their records with them.
    std::fs::write(folder.path().join("order"), &whole).expect("a file");
    std::fs::write(folder.path().join("order.attempts"), &names[..names.len() - 1]).expect("a file");
    let (writing, ends) = Writing::open(folder.path()).expect("a file");
    assert_eq!((writing.count, ends.len()), (0, 0));
}

#[test]
fn attempts_that_wrote_at_the_same_time_take_turns() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut all: Vec<Spans> = Vec::new();
    for (node, offset) in [("a", 0), ("b", 500_000), ("c", 10_000_000)] {
        let path = attempt(folder.path(), node);
        let mut writer = LogWriter::new(&path);
        for line in 0..3 {
            writer.write(Stream::Stdout, format!("{node}{line}\n").as_bytes(), at(offset + line * 1_000_000));
        }
        assert_eq!(writer.finish().failed(), 0);
        all.push(Spans::after(&path, [0, 0]));
    }
    let mut order = Vec::new();
    let errors = merge(all.iter_mut().enumerate().map(|(at, spans)| (at, spans, true)), |spans| order.append(spans));
    assert!(errors.is_empty());
    assert_eq!(order.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 1, 0, 1, 0, 1, 2, 2, 2]);
}

/// An order of one attempt whose spans are these.
fn order_of(run: &Path, node: &str, spans: &[Span]) -> Order {
    let (mut writing, _) = Writing::open(run).expect("a file");
    let place = writing.add(node, AttemptNumber(1)).expect("room");
    let named: Vec<_> = spans.iter().map(|span| (place, *span)).collect();
    writing.append(&named).expect("room");
    let extent = Extent { last: writing.next - 1, caught_up: true, ..Extent::default() };
    Order {
        run: RunId::parse("20260101-000000-abcde").expect("an id"),
        folder: run.to_owned(),
        reading: Reading::open(run).expect("a file"),
        shared: std::sync::Mutex::new(Shared { records: writing.count, attempts: writing.attempts.clone(), extent }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the output was cut into chunks, and wherever the ordering was interrupted: the lines read again by their numbers are those
    /// that a single look gives.
    #[test]
    fn spans_give_the_same_lines_whenever_they_are_read(
        chunks in proptest::collection::vec((any::<bool>(), "[a-c\r\n]{0,12}|x{40000}|é{33000}\n?", 0_i64..20_000), 1..20),
        stops in proptest::collection::vec(any::<bool>(), 20),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = attempt(folder.path(), "a");
        let mut writer = LogWriter::new(&path);
        let mut spans = Vec::new();
        let mut reader = Spans::after(&path, [0, 0]);
        let mut seen = Vec::new();
        let mut time = 1;
        for ((is_error, text, pause), stop) in chunks.iter().zip(&stops) {
            time += pause;
            writer.write(if *is_error { Stream::Stderr } else { Stream::Stdout }, text.as_bytes(), at(time));
            writer.flush();
            if *stop {
                // A host that crashed knows nothing but what is in the file.
                let mut ends = [0, 0];
                spans.iter().for_each(|span: &Span| ends[usize::from(span.stream == Stream::Stderr)] = span.to);
                reader = Spans::after(&path, ends);
            }
            while reader.read(false, true, |span, lines| { spans.push(span); seen.extend(lines); }).expect("readable") {}
        }
        prop_assert_eq!(writer.finish().failed(), 0);
        while reader.read(true, true, |span, lines| { spans.push(span); seen.extend(lines); }).expect("readable") {}
        prop_assert_eq!(spans.iter().map(|span| u64::from(span.lines)).sum::<u64>(), seen.len() as u64);
        let texts: Vec<&str> = seen.iter().map(|line| line.text.as_str()).collect();
        let mut again = Vec::new();
        let mut opened = SpanReader::open(&path).expect("readable");
        for span in &spans {
            opened.lines(span, |line| again.push(line.text)).expect("readable");
        }
        prop_assert_eq!(&again, &texts);
        if spans.is_empty() {
            return Ok(());
        }
        // By numbers, from the end, by a text, and raw.
        let order = order_of(folder.path(), "a", &spans);
        let all = Wanted::default();
        let last = texts.len() as u64;
        for from in [1, last.min(2), last] {
            let page = order.lines(from, &all, 3, u64::MAX).expect("readable");
            let expected = &texts[usize::try_from(from).expect("small") - 1..];
            let got: Vec<&str> = page.lines.iter().map(|line| line.line.text.as_str()).collect();
            prop_assert_eq!(&got[..], &expected[..expected.len().min(3)]);
            prop_assert_eq!(page.lines.first().map(|line| line.id), Some(from));
        }
        let tail = order.tail(2, &all).expect("readable");
        prop_assert_eq!(tail.lines.last().map(|line| line.id), Some(texts.len() as u64));
        let needle = Needle::new("b", false).expect("a text");
        let found = order.search(&needle, 1, &all, usize::MAX, u64::MAX).expect("readable");
        let expected: Vec<u64> = (1..).zip(&texts).filter(|(_, text)| text.contains('b')).map(|(id, _)| id).collect();
        prop_assert_eq!(found.lines.iter().map(|line| line.id).collect::<Vec<_>>(), expected);
        for (is_error, stream) in [(false, Stream::Stdout), (true, Stream::Stderr)] {
            let written: String = chunks.iter().filter(|chunk| chunk.0 == is_error).map(|chunk| chunk.1.as_str()).collect();
            let mut raw = Vec::new();
            let wanted = Wanted { stream: Some(stream), ..Wanted::default() };
            let total = order.raw(&wanted, 0..u64::MAX, |bytes| { raw.extend_from_slice(bytes); true }).expect("readable");
            prop_assert_eq!((total, raw.len()), (written.len() as u64, written.len()));
            prop_assert!(raw == written.as_bytes());
            let mut part = Vec::new();
            order.raw(&wanted, 3..7, |bytes| { part.extend_from_slice(bytes); true }).expect("readable");
            prop_assert_eq!(&part[..], written.as_bytes().get(3..written.len().min(7)).unwrap_or_default());
        }
    }
}
