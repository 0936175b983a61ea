//! What logs cost: a gigabyte of lines of a hundred bytes goes through the writer, then parts of it are asked for.
//!
//! `cargo bench --bench logs [-- MEGABYTES]` (default 1,000). The writer is compared with the same writes to a plain file; that is all
//! that a pump does for each chunk beside reading its pipe. Times of the writer are those on a processor, where the system tells them,
//! since a busy machine would decide otherwise. What a query reads is what the system counts for this process.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "it writes files and looks at the clock")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use prismq::logs::{Line, LogReader, LogWriter, Needle, Query, Stream};
use prismq::units::Timestamp;

const ROUNDS: usize = 5;
/// Pieces in which a pump gets its input: a pipe of 64 KiB, and one of 1 MiB.
const CHUNKS: [usize; 2] = [64 << 10, 1 << 20];

fn main() {
    let megabytes: u64 = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1000);
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let folder = tempfile::Builder::new().prefix("bench-logs-").tempdir_in(target).expect("a temporary folder");
    let text = lines(20_000);
    for chunk in CHUNKS {
        let mut plain = Vec::new();
        let mut indexed = Vec::new();
        let mut capped = Vec::new();
        for round in 0..ROUNDS {
            let at = |name: &str| folder.path().join(format!("{name}-{chunk}-{round}"));
            plain.push(write_plain(&at("plain"), &text, chunk, megabytes));
            indexed.push(write_log(&at("log"), &text, chunk, megabytes, None));
            capped.push(write_log(&at("capped"), &text, chunk, megabytes, Some(100 << 20)));
            for name in ["plain", "log", "capped"] {
                let path = at(name);
                drop(std::fs::remove_file(&path));
                drop(std::fs::remove_dir_all(&path));
            }
        }
        let ratio = |times: &[Duration]| {
            median(&plain.iter().zip(times).map(|(plain, time)| time.as_secs_f64() / plain.as_secs_f64()).collect::<Vec<_>>())
        };
        let seconds = |times: &[Duration]| median(&times.iter().map(Duration::as_secs_f64).collect::<Vec<_>>());
        println!(
            "{megabytes} MB in pieces of {} KiB: plain file {:.2} s, log {:.2} s ({:.2} x), capped at 100 MiB {:.2} s ({:.2} x)",
            chunk >> 10,
            seconds(&plain),
            seconds(&indexed),
            ratio(&indexed),
            seconds(&capped),
            ratio(&capped)
        );
    }
    let log = folder.path().join("log");
    let count = numbered_log(&log, megabytes);
    queries(&log, count);
}

/// A hundred bytes a line.
fn lines(count: u64) -> Vec<u8> {
    (1..=count).flat_map(|number| format!("{number:>12} {}\n", "x".repeat(86)).into_bytes()).collect()
}

fn pieces(text: &[u8], chunk: usize, megabytes: u64) -> impl Iterator<Item = &[u8]> {
    let mut left = usize::try_from(megabytes * 1_000_000).unwrap_or(usize::MAX);
    text.chunks(chunk).cycle().map_while(move |piece| {
        let piece = &piece[..piece.len().min(left)];
        left -= piece.len();
        Some(piece).filter(|piece| !piece.is_empty())
    })
}

fn write_plain(path: &Path, text: &[u8], chunk: usize, megabytes: u64) -> Duration {
    let begun = Watch::start();
    let mut file = File::create(path).expect("a file");
    for piece in pieces(text, chunk, megabytes) {
        file.write_all(piece).expect("it is written");
    }
    begun.elapsed()
}

fn write_log(path: &Path, text: &[u8], chunk: usize, megabytes: u64, cap: Option<u64>) -> Duration {
    std::fs::create_dir(path).expect("a folder");
    let begun = Watch::start();
    let mut writer = LogWriter::new(path).capped(cap);
    for piece in pieces(text, chunk, megabytes) {
        writer.write(Stream::Stdout, piece, now());
    }
    assert!(writer.finish().error.is_none(), "it is written");
    begun.elapsed()
}

/// Time of this thread on a processor; wall time where the system does not tell.
struct Watch {
    wall: Instant,
    busy: Option<Duration>,
}

impl Watch {
    fn start() -> Self {
        Self { wall: Instant::now(), busy: busy() }
    }

    fn elapsed(&self) -> Duration {
        self.busy.zip(busy()).map_or_else(|| self.wall.elapsed(), |(before, now)| now - before)
    }
}

fn busy() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// A log whose lines carry their number, one in ten chunks of standard error, a millisecond for each of them; gives the number of lines.
fn numbered_log(path: &Path, megabytes: u64) -> u64 {
    std::fs::create_dir(path).expect("a folder");
    let mut writer = LogWriter::new(path);
    let count = megabytes * 10_000;
    for first in (1..=count).step_by(500) {
        let text: Vec<u8> = (first..first + 500).flat_map(|number| format!("{number:>12} {}\n", "x".repeat(86)).into_bytes()).collect();
        let stream = if first / 500 % 10 == 9 { Stream::Stderr } else { Stream::Stdout };
        writer.write(stream, &text, Timestamp::from_micros(1_763_626_312_000_000 + i64::try_from(first).unwrap_or(0) * 2));
    }
    assert!(writer.finish().error.is_none(), "it is written");
    let index = std::fs::metadata(path.join("index")).map_or(0, |metadata| metadata.len());
    println!("\n{count} lines, an index of {} KiB", index >> 10);
    count
}

fn queries(path: &Path, count: u64) {
    let reader = LogReader::open(path);
    let lines = |query| reader.lines(query).expect("it opens").map(|line| line.expect("a line")).collect::<Vec<_>>();
    let middle = count * 12 / 100;
    measure("lines 12 % to 12 % + 500", || lines(Query { lines: Some((middle, middle + 500)), ..Query::default() }), 501, middle);
    measure("last 200", || lines(Query { tail: Some(200), ..Query::default() }), 200, count - 199);
    let since = Timestamp::from_micros(1_763_626_312_000_000 + i64::try_from(count).unwrap_or(0) * 2 - 2000);
    measure("since the last 1/1000 s but one", || lines(Query { since: Some(since), ..Query::default() }), 0, 0);
    let stderr = Query { stream: Some(Stream::Stderr), ..Query::default() };
    measure("last 200 of stderr", || lines(Query { tail: Some(200), ..stderr }), 200, 0);
    measure("lines 12 % to 12 % + 10,000, stderr only", || lines(Query { lines: Some((middle, middle + 10_000)), ..stderr }), 0, 0);
    let search = |text: &str, any_case, query| {
        let needle = Needle::new(text, any_case).expect("a text");
        reader.search(needle, query).expect("it opens").take(1).map(|line| line.expect("a line")).collect::<Vec<_>>()
    };
    let near = middle + 20_000;
    let from = Query { lines: Some((middle, u64::MAX)), ..Query::default() };
    measure("next match, 2 MB further", || search(&format!(" {near} "), false, from), 1, near);
    let (far, begin) = (count - 5, Query::default());
    measure("first match, at the very end", || search(&format!(" {far} "), false, begin), 1, far);
    measure("the same, any case", || search(&format!(" {far} X"), true, begin), 1, far);
}

/// Asks five times; prints the median of the times, and what one of them read. `expected` lines come, from number `first` on (0: any).
fn measure(what: &str, query: impl Fn() -> Vec<Line>, expected: usize, first: u64) {
    let mut times = Vec::new();
    let mut read = 0;
    let mut given = 0;
    for _ in 0..ROUNDS {
        let (before, begun) = (bytes_read(), Instant::now());
        let lines = query();
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        read = bytes_read() - before;
        given = lines.len();
        assert!(expected == 0 || given == expected, "{what}: {given} lines");
        assert!(first == 0 || lines[0].number == Some(first), "{what}: {:?}", lines[0].number);
    }
    println!("{what:<45} {:>9.2} ms {:>9} KiB read {given:>6} lines", median(&times), read >> 10);
}

/// What this process has read so far, where the system tells.
fn bytes_read() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok()).unwrap_or(0)
}
