//! Spans counted by the index beside spans counted by reading.

use super::super::skim::Skimmed;
use super::super::walk::{Files, Position};
use super::*;

/// Chunks as a program writes them: many short lines, now and then a long one, both streams, pauses.
fn chunks() -> impl Strategy<Value = Vec<(Stream, Vec<u8>, i64)>> {
    let line = prop_oneof![
        40 => (0_usize..300).prop_map(|length| [vec![b'x'; length], b"\n".to_vec()].concat()),
        10 => (0_usize..300).prop_map(|length| [vec![b'y'; length], b"\r\n".to_vec()].concat()),
        3 => (3_000_usize..9_000).prop_map(|length| [vec![b'z'; length], b"\n".to_vec()].concat()),
        1 => (LINE_MAX - 4..LINE_MAX + 4).prop_map(|length| [vec![b'l'; length], b"\n".to_vec()].concat()),
        1 => (40_000_usize..140_000).prop_map(|length| vec![b'm'; length]),
    ];
    let part = (prop::collection::vec(line, 1..6), 1_usize..150).prop_map(|(lines, times)| lines.concat().repeat(times));
    // A pipe of 64 KiB gives no more at once.
    let part = part.prop_map(|bytes| bytes[..bytes.len().min(64 << 10)].to_vec());
    let chunk = (prop_oneof![3 => Just(Stdout), 1 => Just(Stderr)], part, prop_oneof![3 => Just(0_i64), 1 => 1_i64..3, 1 => 5_i64..20]);
    prop::collection::vec(chunk, 1..12).prop_map(|mut chunks| {
        let mut now = 0;
        for (_, _, time) in &mut chunks {
            now += *time;
            *time = now;
        }
        chunks
    })
}

fn write(folder: &Path, cap: Option<u64>, chunks: &[(Stream, Vec<u8>, i64)]) {
    let mut writer = LogWriter::new(folder).capped(cap);
    for (stream, bytes, millis) in chunks {
        writer.write(*stream, bytes, at(*millis));
    }
    assert!(writer.finish().error.is_none());
}

/// Spans, and their lines where they are wanted.
fn read(folder: &Path, ends: [u64; 2], texts: bool) -> (Vec<Span>, Vec<Line>) {
    let (mut spans, mut lines) = (Vec::new(), Vec::new());
    let mut reader = Spans::after(folder, ends);
    let mut more = true;
    while more {
        let mut add = |span, of_span| {
            spans.push(span);
            lines.extend(of_span);
        };
        more = reader.read(true, texts, &mut add).expect("readable");
    }
    (spans, lines)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Each span that was counted has as many lines as are read in it later, and all together are the lines of the log in their order.
    #[test]
    fn what_the_index_counts_is_what_reading_gives(chunks in chunks(), cap in prop::option::weighted(0.3, 100_000_u64..400_000)) {
        let dir = TempDir::new().expect("a folder");
        write(dir.path(), cap, &chunks);
        let (_, lines) = read(dir.path(), [0, 0], true);
        let (spans, _) = read(dir.path(), [0, 0], false);
        let mut opened = SpanReader::open(dir.path()).expect("readable");
        let mut again = Vec::new();
        for span in &spans {
            let before = again.len();
            opened.lines(span, |line| again.push(line)).expect("readable");
            prop_assert_eq!(again.len() - before, span.lines as usize, "{:?}", span);
        }
        let told = |line: &Line| (line.stream, line.text.clone(), line.partial, line.missing);
        prop_assert_eq!(again.iter().map(told).collect::<Vec<_>>(), lines.iter().map(told).collect::<Vec<_>>());
        // From the end of any span on, too.
        let mut ends = [0, 0];
        for (at, span) in spans.iter().enumerate().take(spans.len() / 2) {
            ends[layout::at(span.stream)] = span.to;
            if at % 3 == 0 {
                let (rest, _) = read(dir.path(), ends, false);
                let count = |spans: &[Span]| spans.iter().map(|span| span.lines).sum::<u32>();
                prop_assert_eq!(count(&rest), count(&spans[at + 1..]), "behind {:?}", ends);
            }
        }
    }
}

/// Ten million bytes of lines: all of them are counted, and next to none is read.
#[test]
fn entries_are_skimmed_where_they_can_be() {
    let dir = TempDir::new().expect("a folder");
    let chunk = "a line of output of a usual length\n".repeat(1_500).into_bytes();
    let chunks: Vec<_> = (0..200).map(|at| (Stdout, chunk.clone(), at)).collect();
    write(dir.path(), None, &chunks);
    let mut files = Files::open(dir.path()).expect("readable");
    let mut position = Position::BEGIN;
    let mut count = 0;
    while let Some(skimmed) = files.skim(&mut position).expect("readable") {
        assert!((skimmed.head.len() + skimmed.tail.len()) as u64 <= Skimmed::READ);
        count += 1 + skimmed.line_ends;
    }
    assert_eq!((count, position.bytes), (200 * 1_500, [200 * chunk.len() as u64, 0]));
}

/// What an index says that lost some bits is not believed where it cannot be, and nothing is passed over.
#[test]
fn an_index_with_flipped_bits_loses_no_line() {
    let dir = TempDir::new().expect("a folder");
    let chunk = "a line\n".repeat(4_000).into_bytes();
    write(dir.path(), None, &[(Stdout, chunk.clone(), 0), (Stdout, chunk.clone(), 20), (Stderr, chunk.clone(), 40)]);
    let path = dir.path().join("index");
    let whole = std::fs::read(&path).expect("readable");
    for bit in layout::HEAD * 8..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, bytes).expect("writable");
        let (spans, _) = read(dir.path(), [0, 0], false);
        for stream in Stream::ALL {
            let of_stream: Vec<&Span> = spans.iter().filter(|span| span.stream == stream && !span.gap).collect();
            assert!(of_stream.windows(2).all(|pair| pair[0].to == pair[1].from), "bit {bit}: {of_stream:?}");
            let ends = (of_stream.first().map(|span| span.from), of_stream.last().map(|span| span.to));
            assert_eq!(ends, (Some(0), Some(chunk.len() as u64 * if stream == Stdout { 2 } else { 1 })), "bit {bit}");
        }
    }
}
