//! A capped log, and one on a disk that is full for a while: what is kept, what is told of the rest.

use std::collections::BTreeMap;

use super::*;

/// A line that tells where it stands: the reader's answers can be checked by it.
fn numbered(number: u64) -> String {
    format!("line {number}\n")
}

/// Bytes of all files of a log.
fn disk_use(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("a folder");
    entries.map(|entry| entry.and_then(|entry| entry.metadata()).expect("an entry").len()).sum()
}

/// What is kept of a stream, by place.
fn kept(dir: &Path, stream: Stream) -> BTreeMap<u64, Vec<u8>> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let names = entries.filter_map(|name| name.into_string().ok());
    let files = names.filter_map(|name| Some((layout::begin(stream.file_name(), &name)?, fs::read(dir.join(name)).expect("it is there"))));
    files.collect()
}

#[test]
fn f46_a_capped_log_keeps_its_head_and_its_tail() {
    let dir = TempDir::new().expect("a folder");
    let cap = 64 << 10;
    let mut writer = LogWriter::new(dir.path()).capped(Some(cap));
    let count = 20_000;
    let mut most = 0;
    for number in 1..=count {
        let stream = if number % 7 == 0 { Stderr } else { Stdout };
        writer.write(stream, numbered(number).as_bytes(), at(number.cast_signed() * 6));
        if number % 50 == 0 {
            most = most.max(disk_use(dir.path()));
        }
    }
    let written = writer.finish();
    assert!(most.max(disk_use(dir.path())) <= cap, "{most} bytes on the disk");
    assert!(most > cap * 14 / 16, "{most} bytes on the disk");
    assert!(written.error.is_none(), "{written:?}");
    assert_eq!(written.stdout.written + written.stderr.written, (1..=count).map(|number| numbered(number).len() as u64).sum::<u64>());
    for (stream, told) in [(Stdout, written.stdout), (Stderr, written.stderr)] {
        assert_eq!(kept(dir.path(), stream).values().map(|bytes| bytes.len() as u64).sum::<u64>(), told.kept());
        assert_eq!(told.failed, 0);
    }

    let all = lines(dir.path(), Query::default());
    let markers: Vec<&Line> = all.iter().filter(|line| line.missing > 0).collect();
    assert_eq!(markers.len(), 2, "one for each stream");
    for (marker, told) in markers.iter().map(|marker| (marker, if marker.stream == Stdout { written.stdout } else { written.stderr })) {
        assert_eq!(marker.missing, told.capped);
        let thousands = format!("{},{:03}", told.capped / 1000, told.capped % 1000);
        assert_eq!(marker.text, format!("[... {thousands} bytes not kept (log_cap 64 KiB) ...]"));
    }
    let whole: Vec<u64> = all
        .iter()
        .filter(|line| !line.partial && line.missing == 0)
        .filter_map(|line| {
            let number = line.number?;
            let text = numbered(number);
            assert!(text.ends_with(&format!("{}\n", line.text)), "{line:?}");
            (line.text.len() + 1 == text.len()).then_some(number)
        })
        .collect();
    let first_gone = (1..).find(|number| !whole.contains(number)).expect("not all are kept");
    let head = whole.partition_point(|number| *number < first_gone);
    assert!(first_gone > 500 && whole.len() - head > 400, "{first_gone}, {}", whole.len());
    assert_eq!(whole.last(), Some(&count));
    assert_eq!(whole[head + 2..], (whole[head + 2]..=count).collect::<Vec<_>>(), "the tail has no hole");

    let texts_of = |query| texts(dir.path(), query);
    assert_eq!(texts_of(Query { lines: Some((2, 3)), ..Query::default() }), ["line 2", "line 3"]);
    assert_eq!(texts_of(Query { lines: Some((count - 1, u64::MAX)), ..Query::default() }), ["line 19999", "line 20000"]);
    assert_eq!(texts_of(Query { tail: Some(2), ..Query::default() }), ["line 19999", "line 20000"]);
    assert_eq!(texts_of(Query { tail: Some(1), stream: Some(Stderr), ..Query::default() }), ["line 19999"]);
    let gone = texts_of(Query { lines: Some((10_000, 10_001)), ..Query::default() });
    assert!(!gone.is_empty() && gone.iter().all(|text| text.ends_with("bytes not kept (log_cap 64 KiB) ...]")), "{gone:?}");
    let needle = Needle::new("line 19990", false).expect("a text");
    let found: Vec<Line> = LogReader::open(dir.path()).search(needle, Query::default()).expect("it opens").map(Result::unwrap).collect();
    assert_eq!(found.iter().map(|line| line.number).collect::<Vec<_>>(), [Some(19_990)]);
}

/// F-46: one chunk is larger than everything that is kept.
#[test]
fn f46_a_flood_of_large_chunks_stays_under_the_cap() {
    let dir = TempDir::new().expect("a folder");
    let mut writer = LogWriter::new(dir.path()).capped(Some(100_000));
    let flood = b"y\n".repeat(1 << 19);
    for chunk in 0..20 {
        writer.write(Stdout, &flood, at(chunk));
        assert!(disk_use(dir.path()) <= 100_000);
    }
    let written = writer.finish();
    assert_eq!((written.stdout.written, written.stdout.failed), (20 << 20, 0));
    assert!(written.stdout.kept() > 90_000, "{written:?}");
    let all = lines(dir.path(), Query::default());
    assert_eq!(all.iter().map(|line| if line.missing > 0 { line.missing } else { line.text.len() as u64 + 1 }).sum::<u64>(), 20 << 20);
    assert_eq!(all.last().and_then(|line| line.number), Some(10 << 20));
}

#[test]
fn a_log_below_its_cap_is_as_any_other() {
    let dir = TempDir::new().expect("a folder");
    let mut writer = LogWriter::new(dir.path()).capped(Some(1 << 20));
    writer.write(Stdout, b"one\n", at(0));
    writer.write(Stderr, b"two\n", at(10));
    finished(writer);
    assert_eq!(texts(dir.path(), Query::default()), ["one", "two"]);
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 3);
}

/// A follower that is slower than the cap is told what it missed, and goes on behind it.
#[test]
fn a_slow_follower_of_a_capped_log_is_told_of_the_gap() {
    let dir = TempDir::new().expect("a folder");
    let reader = LogReader::open(dir.path());
    let mut writer = LogWriter::new(dir.path()).capped(Some(16 << 10));
    let mut cursor = Cursor::default();
    let (mut seen, mut missing, mut number) = (0, 0, 0);
    for round in 0..8 {
        for _ in 0..(if round % 2 == 0 { 5 } else { 5000 }) {
            number += 1;
            writer.write(Stdout, numbered(number).as_bytes(), at(number.cast_signed()));
        }
        writer.flush();
        let lines = reader.poll(&mut cursor, false).expect("it reads");
        seen += lines.iter().filter(|line| line.missing == 0).map(|line| line.text.len() as u64 + u64::from(!line.partial)).sum::<u64>();
        missing += lines.iter().map(|line| line.missing).sum::<u64>();
        assert_eq!(lines.last().map(|line| (line.number, line.text.clone())), Some((Some(number), format!("line {number}"))));
    }
    assert!(missing > 0);
    assert_eq!(seen + missing, (1..=number).map(|number| numbered(number).len() as u64).sum::<u64>());
    finished(writer);
}

/// Readers beside a writer that goes on to new files and removes old ones all the time: what they show is right, whatever they miss.
#[test]
fn readers_beside_a_capped_writer_see_lines_as_they_are() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().to_owned();
    let count = 60_000;
    let writer = std::thread::spawn(move || {
        let mut writer = LogWriter::new(&path).capped(Some(64 << 10));
        for number in 1..=count {
            let stream = if number % 11 == 0 { Stderr } else { Stdout };
            writer.write(stream, numbered(number).as_bytes(), at(number.cast_signed()));
        }
        writer.finish()
    });
    let reader = LogReader::open(dir.path());
    let check = |line: &Line| {
        if let (0, false, Some(number)) = (line.missing, line.partial, line.number) {
            assert!(numbered(number).ends_with(&format!("{}\n", line.text)), "{line:?}");
        }
    };
    let mut cursor = Cursor::default();
    let (mut told, mut rounds) = (0, 0);
    loop {
        let ended = writer.is_finished();
        loop {
            let lines = reader.poll(&mut cursor, ended).expect("it reads");
            lines.iter().for_each(check);
            let length = |line: &Line| if line.missing > 0 { line.missing } else { line.text.len() as u64 + u64::from(!line.partial) };
            told += lines.iter().map(length).sum::<u64>();
            if lines.is_empty() {
                break;
            }
        }
        let query = Query { growing: !ended, ..Query::default() };
        let last = lines(dir.path(), Query { tail: Some(20), ..query });
        last.iter().for_each(check);
        let number = last.iter().rev().find_map(|line| line.number).unwrap_or(1);
        let near = Query { lines: Some((number.saturating_sub(50), number)), stream: Some(Stderr), ..query };
        lines(dir.path(), near).iter().for_each(check);
        let needle = Needle::new(&format!("line {number}"), false).expect("a text");
        let from = Query { lines: Some((number.saturating_sub(5), u64::MAX)), ..query };
        reader.search(needle, from).expect("it opens").take(1).for_each(|line| check(&line.expect("a line")));
        rounds += 1;
        if ended {
            break;
        }
    }
    let written = writer.join().expect("it ends");
    assert_eq!(written.failed(), 0);
    assert_eq!(told, written.stdout.written + written.stderr.written, "after {rounds} rounds");
}

/// F-10: the log cannot be written for a while. What was lost is counted and shown, and what comes after it is kept.
#[test]
fn f10_what_could_not_be_written_is_shown_as_a_gap() {
    let parent = TempDir::new().expect("a folder");
    let dir = parent.path().join("attempt");
    let mut writer = LogWriter::new(&dir);
    writer.write(Stdout, b"one\ntwo\n", at(0));
    fs::create_dir(&dir).expect("there is room again");
    let begun = std::time::Instant::now();
    let mut number = 3;
    // The next try is not at once.
    while !dir.join("stdout.log").exists() && fs::read_dir(&dir).expect("a folder").count() == 0 {
        writer.write(Stdout, numbered(number).as_bytes(), at(number.cast_signed()));
        number += 1;
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "it never goes on");
    }
    writer.write(Stdout, b"end\n", at(number.cast_signed()));
    let written = writer.finish();
    assert_eq!(written.error.as_ref().map(std::io::Error::kind), Some(std::io::ErrorKind::NotFound));
    assert!(written.failed() >= 8 && written.stdout.kept() > 4, "{written:?}");
    let all = lines(&dir, Query::default());
    assert_eq!(all[0].missing, written.failed());
    assert!(all[0].text.ends_with(" bytes not kept (the disk was full or failed) ...]"), "{:?}", all[0]);
    assert_eq!((all[1].text.clone(), all[1].number), (format!("line {}", number - 1), Some(number - 1)));
    assert_eq!((all[2].text.as_str(), all[2].number), ("end", Some(number)));
    assert_eq!(texts(&dir, Query { lines: Some((number, number)), ..Query::default() }), ["end"]);
}

/// A line that goes over from one file to the next is asked for by its number.
#[test]
fn f46_a_line_across_two_files_of_a_capped_log_is_had_whole() {
    let dir = TempDir::new().expect("a folder");
    let mut writer = LogWriter::new(dir.path()).capped(Some(46_256));
    let mut whole = [0_usize; 2];
    let chunks = [
        (Stdout, 29_713),
        (Stdout, 150),
        (Stdout, 1),
        (Stdout, 163),
        (Stdout, 1),
        (Stderr, 20_826),
        (Stdout, 3),
        (Stderr, 16),
        (Stdout, 8),
    ];
    for (stream, length) in chunks {
        let from = whole[layout::at(stream)];
        whole[layout::at(stream)] += length;
        let bytes: Vec<u8> = (from..from + length).map(|place| if place % 17 == 16 { b'\n' } else { b'x' }).collect();
        writer.write(stream, &bytes, at(0));
    }
    assert!(writer.finish().error.is_none());
    let last = lines(dir.path(), Query::default()).pop().expect("a line");
    assert_eq!((last.text.len(), last.partial), (16, false));
    let number = last.number.expect("it is counted");
    assert_eq!(lines(dir.path(), Query { lines: Some((number, number)), ..Query::default() }), [last]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever comes: the cap holds, each byte that is kept stands at its place, and everything is either shown or told of.
    #[test]
    fn a_cap_holds_and_nothing_is_lost_silently(
        chunks in prop::collection::vec((any::<bool>(), prop_oneof![9 => 1_usize..600, 1 => 1_usize..60_000], 0_i64..9), 1..400),
        cap in 0_u64..120_000,
    ) {
        let dir = TempDir::new().expect("a folder");
        let mut writer = LogWriter::new(dir.path()).capped(Some(cap));
        let mut whole = [Vec::new(), Vec::new()];
        let mut time = 0;
        let mut newlines = 0;
        for (second, length, pause) in chunks {
            let stream = if second { Stderr } else { Stdout };
            let whole = &mut whole[layout::at(stream)];
            let from = whole.len();
            // Bytes that differ by their place, with lines of 17.
            whole.extend((from..from + length).map(|place| if place % 17 == 16 { b'\n' } else { b'a' + u8::try_from(place / 17 % 23).unwrap() }));
            newlines += whole[from..].iter().filter(|byte| **byte == b'\n').count() as u64;
            time += pause;
            writer.write(stream, &whole[from..], at(time));
            prop_assert!(disk_use(dir.path()) <= cap.max(16 << 10));
        }
        let written = writer.finish();
        prop_assert!(written.error.is_none());
        for (stream, told) in [(Stdout, written.stdout), (Stderr, written.stderr)] {
            let whole = &whole[layout::at(stream)];
            prop_assert_eq!(told.written, whole.len() as u64);
            let kept = kept(dir.path(), stream);
            prop_assert_eq!(kept.values().map(|bytes| bytes.len() as u64).sum::<u64>(), told.kept());
            for (place, bytes) in &kept {
                let place = usize::try_from(*place).unwrap();
                prop_assert_eq!(&bytes[..], &whole[place..place + bytes.len()]);
            }
        }
        let all = lines(dir.path(), Query::default());
        let shown: u64 = all.iter().map(|line| if line.missing > 0 { line.missing } else { line.text.len() as u64 + u64::from(!line.partial) }).sum();
        prop_assert_eq!(shown, written.stdout.written + written.stderr.written);
        let last = all.iter().filter(|line| !line.partial).filter_map(|line| line.number).max();
        prop_assert!(last.is_none_or(|last| last <= newlines));
        for line in all.iter().filter(|line| !line.partial && line.missing == 0).rev().take(20) {
            let number = line.number.unwrap_or(0);
            let found = lines(dir.path(), Query { lines: Some((number, number)), ..Query::default() });
            prop_assert!(number > 0 && found.iter().any(|found| found == line), "{line:?} {found:?}");
        }
    }
}
