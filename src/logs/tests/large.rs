//! A large log: a query reads little more than what it gives.

#![cfg(target_os = "linux")]

use super::*;

/// Bytes that this thread has read so far.
fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").expect("Linux tells");
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("it is there");
    line.parse().expect("a number")
}

const LINES: u64 = 80_000;

/// A line of a hundred bytes; every tenth one of standard error.
fn hundred(number: u64) -> String {
    format!("{number:>12} {}\n", "x".repeat(86))
}

/// A log of 8 MB that took 8 seconds.
fn large() -> TempDir {
    let dir = TempDir::new().expect("a folder");
    let mut writer = LogWriter::new(dir.path());
    for first in (1..=LINES).step_by(100) {
        let text: String = (first..first + 100).map(hundred).collect();
        writer.write(if first / 100 % 10 == 9 { Stderr } else { Stdout }, text.as_bytes(), at((first / 10).cast_signed()));
    }
    finished(writer);
    dir
}

#[test]
fn a_query_of_a_large_log_reads_little() {
    let dir = large();
    let reader = LogReader::open(dir.path());
    let numbers = |lines: Vec<std::io::Result<Line>>| -> Vec<u64> {
        lines
            .into_iter()
            .map(|line| line.expect("a line"))
            .map(|line| {
                let number = line.number.expect("it is counted");
                assert_eq!(format!("{}\n", line.text), hundred(number));
                number
            })
            .collect()
    };
    let cheap = |what: &str, at_most: u64, query: &dyn Fn() -> Vec<std::io::Result<Line>>| {
        let before = bytes_read();
        let found = query();
        let read = bytes_read() - before;
        assert!(read <= at_most, "{what}: {read} bytes were read");
        numbers(found)
    };
    let lines = |query| reader.lines(query).expect("it opens").collect::<Vec<_>>();
    // An entry covers 256 KiB at most; each stream has a window of 64 KiB, and the index is read in blocks of 8 KiB.
    let window = 512 << 10;
    for first in [1, 2, 39_950, 79_501] {
        let found = cheap("lines by number", window, &|| lines(Query { lines: Some((first, first + 499)), ..Query::default() }));
        assert_eq!(found, (first..first + 500).collect::<Vec<_>>());
    }
    let found = cheap("the last ones", window, &|| lines(Query { tail: Some(200), ..Query::default() }));
    assert_eq!(found, (LINES - 199..=LINES).collect::<Vec<_>>());
    let found = cheap("the last ones of a stream", window, &|| lines(Query { tail: Some(3), stream: Some(Stderr), ..Query::default() }));
    assert_eq!(found, [79_998, 79_999, 80_000]);
    let since = Query { since: Some(at(7_990)), ..Query::default() };
    let found = cheap("lines since a time", window, &|| lines(since));
    assert_eq!(found, (79_901..=LINES).collect::<Vec<_>>());
    let found = cheap("the next match", window, &|| {
        let needle = Needle::new("  60777 ", false).expect("a text");
        let query = Query { lines: Some((60_000, u64::MAX)), ..Query::default() };
        reader.search(needle, query).expect("it opens").take(1).collect()
    });
    assert_eq!(found, [60_777]);
    let found = cheap("a match at the very end: every byte once", LINES * 100 + window, &|| {
        let needle = Needle::new("  79999 ", false).expect("a text");
        reader.search(needle, Query::default()).expect("it opens").collect()
    });
    assert_eq!(found, [79_999]);
}

/// F-44: a huge line is shown in pieces, and at no time as a whole.
#[test]
fn f44_a_huge_line_is_read_piece_by_piece() {
    let dir = TempDir::new().expect("a folder");
    let length = 30_000_000;
    let file = fs::File::create(dir.path().join("stdout.log")).expect("it is made");
    file.set_len(length).expect("a sparse file");
    append(dir.path(), "stdout.log", b"needle\nnext\n");
    let reader = LogReader::open(dir.path());
    let before = peak_memory();
    let mut shown = 0;
    let mut cursor = Cursor::default();
    loop {
        let lines = reader.poll(&mut cursor, true).expect("it reads");
        if lines.is_empty() {
            break;
        }
        assert!(lines.iter().all(|line| line.text.len() <= LINE_MAX && line.number.is_some_and(|number| number <= 2)));
        shown += lines.iter().map(|line| line.text.len() as u64 + u64::from(!line.partial)).sum::<u64>();
    }
    assert_eq!(shown, length + 12);
    let needle = Needle::new("NEEDLE", true).expect("a text");
    let found: Vec<Line> = reader.search(needle, Query::default()).expect("it opens").map(Result::unwrap).collect();
    assert_eq!(found.iter().map(|line| (line.number, line.partial)).collect::<Vec<_>>(), [(Some(1), true)]);
    assert!(found[0].text.ends_with("needle") && found[0].text.len() <= LINE_MAX);
    assert_eq!(texts(dir.path(), Query { tail: Some(1), ..Query::default() }), ["next"]);
    // Other tests run in this process too.
    let grown = peak_memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes of memory");
}

/// The most memory that this process ever used.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is there");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}
