//! A log of any chunks beside a model that knows nothing of files, indexes or windows.

use super::*;

/// A line as the model sees it: its bytes, pieces of a long one together.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    number: u64,
    at: Timestamp,
    stream: Stream,
    bytes: Vec<u8>,
    ended: bool,
}

/// Lines in the order of their ends, then what has no end.
fn model(chunks: &[(Stream, Vec<u8>, i64)]) -> Vec<Told> {
    let mut lines = Vec::new();
    let mut halves = [(Vec::new(), at(0)), (Vec::new(), at(0))];
    for (stream, bytes, millis) in chunks {
        let half = &mut halves[layout::at(*stream)];
        for byte in bytes {
            half.1 = at(*millis);
            half.0.push(*byte);
            if *byte == b'\n' {
                let bytes = std::mem::take(&mut half.0);
                lines.push(Told { number: lines.len() as u64 + 1, at: at(*millis), stream: *stream, bytes, ended: true });
            }
        }
    }
    let number = lines.len() as u64 + 1;
    for (stream, (bytes, at)) in Stream::ALL.into_iter().zip(halves).filter(|(_, (bytes, _))| !bytes.is_empty()) {
        lines.push(Told { number, at, stream, bytes, ended: false });
    }
    lines
}

/// The view of a line by the rule as it is documented, without regard to speed.
fn views(told: &Told) -> Vec<(String, bool)> {
    let mut bytes = told.bytes.as_slice();
    let mut views = Vec::new();
    loop {
        let content = bytes.strip_suffix(b"\n").map_or(bytes, |line| line.strip_suffix(b"\r").unwrap_or(line));
        if content.len() <= LINE_MAX {
            views.extend(Some((String::from_utf8_lossy(content).into_owned(), !told.ended)).filter(|_| !bytes.is_empty()));
            return views;
        }
        views.push((String::from_utf8_lossy(&bytes[..LINE_MAX]).into_owned(), true));
        bytes = &bytes[LINE_MAX..];
    }
}

/// What the reader gives for all of them.
fn expected(lines: &[Told]) -> Vec<(u64, Stream, String, bool)> {
    let view = |told: &Told| {
        let (number, stream) = (told.number, told.stream);
        views(told).into_iter().map(move |(text, partial)| (number, stream, text, partial))
    };
    lines.iter().flat_map(view).collect()
}

fn seen(lines: &[Line]) -> Vec<(u64, Stream, String, bool)> {
    lines.iter().map(|line| (line.number.unwrap_or(0), line.stream, line.text.clone(), line.partial)).collect()
}

/// Chunks with many line ends of both kinds, few different letters, and without characters of several bytes (they are cut elsewhere: see
/// F-44).
fn chunks(longest: usize) -> impl Strategy<Value = Vec<(Stream, Vec<u8>, i64)>> {
    let byte = prop_oneof![4 => Just(b'\n'), 2 => Just(b'\r'), 3 => Just(b'a'), 2 => Just(b'A'), 2 => Just(b'b'), 1 => Just(0xff)];
    let part = prop_oneof![12 => prop::collection::vec(byte, 0..30), 1 => (0..longest).prop_map(|length| vec![b'l'; length])];
    let chunk = (any::<bool>(), part, prop_oneof![Just(0), Just(0), 1_i64..4, 5_i64..20]);
    prop::collection::vec(chunk, 0..40).prop_map(|chunks| {
        let mut now = 0;
        let mut timed = |(second, bytes, pause): (bool, Vec<u8>, i64)| {
            now += pause;
            (if second { Stderr } else { Stdout }, bytes, now)
        };
        chunks.into_iter().map(&mut timed).collect()
    })
}

/// A log of these chunks, and what a follower saw of it that looked after these chunks.
fn followed(chunks: &[(Stream, Vec<u8>, i64)], looks: &[bool], query: Query) -> (TempDir, Vec<Line>) {
    let dir = TempDir::new().expect("a folder");
    let reader = LogReader::open(dir.path());
    let mut writer = LogWriter::new(dir.path());
    let mut cursor = None;
    let mut seen = Vec::new();
    let mut look = |ended: bool| {
        let cursor = cursor.get_or_insert_with(|| reader.cursor(query).expect("it opens"));
        loop {
            let more = reader.poll(cursor, ended).expect("it reads");
            if more.is_empty() {
                return;
            }
            seen.extend(more);
        }
    };
    for (number, (stream, bytes, millis)) in chunks.iter().enumerate() {
        writer.write(*stream, bytes, at(*millis));
        if looks.get(number % looks.len().max(1)).is_some_and(|look| *look) {
            look(false);
        }
    }
    finished(writer);
    look(true);
    (dir, seen)
}

/// Numbers, streams, texts of lines, and whether they are whole. Pieces of long lines are left out: a piece is decided when more of its
/// line comes, and gets its number then.
fn short(lines: Vec<(u64, Stream, String, bool)>) -> Vec<(u64, Stream, String, bool)> {
    lines.into_iter().filter(|(_, _, text, partial)| !(*partial && text.len() >= LINE_MAX)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the streams are cut into chunks and whenever a follower looks, the lines are those of the model, and so is every part of
    /// them that a query asks for.
    #[test]
    fn a_log_is_what_the_model_says(
        chunks in chunks(140_000),
        looks in prop::collection::vec(any::<bool>(), 1..9),
        tail in 0_usize..40,
        part in (0_u64..60, 0_u64..40),
    ) {
        let model = model(&chunks);
        let (dir, follower) = followed(&chunks, &looks, Query::default());
        let all = lines(dir.path(), Query::default());
        prop_assert_eq!(short(seen(&all)), short(expected(&model)));
        prop_assert_eq!(short(seen(&follower)), short(expected(&model)));
        for stream in Stream::ALL {
            let only: Vec<Told> = model.iter().filter(|line| line.stream == stream).cloned().collect();
            let seen_only = lines(dir.path(), Query { stream: Some(stream), ..Query::default() });
            prop_assert_eq!(short(seen(&seen_only)), short(expected(&only)));
            let texts = |lines: &[(u64, Stream, String, bool)]| lines.iter().map(|(_, _, text, _)| text.clone()).collect::<Vec<_>>();
            prop_assert_eq!(texts(&seen(&seen_only)), texts(&expected(&only)), "pieces too");
            let bytes: Vec<u8> = chunks.iter().filter(|(of, _, _)| *of == stream).flat_map(|(_, bytes, _)| bytes.clone()).collect();
            prop_assert_eq!(fs::read(dir.path().join(stream.file_name())).unwrap_or_default(), bytes);
        }
        let ended: Vec<&Line> = all.iter().filter(|line| !line.partial).collect();
        for (line, told) in ended.iter().zip(model.iter().filter(|told| told.ended)) {
            prop_assert!(line.at >= told.at && line.at.micros() - told.at.micros() < 5000, "{line:?} {told:?}");
        }
        if model.iter().all(|line| line.bytes.len() < LINE_MAX) {
            let whole = expected(&model);
            let (first, last) = (part.0, part.0 + part.1);
            let since = at(part.0.cast_signed() * 4);
            for stream in [None, Some(Stdout), Some(Stderr)] {
                let wanted = |line: &Line| stream.is_none_or(|only| line.stream == only);
                let query = Query { stream, ..Query::default() };
                let of: Vec<Line> = all.iter().filter(|line| wanted(line)).cloned().collect();
                let last_ones = &of[of.len().saturating_sub(tail)..];
                prop_assert_eq!(seen(&lines(dir.path(), Query { tail: Some(tail), ..query })), seen(last_ones));
                let inside: Vec<_> = whole.iter().filter(|line| stream.is_none_or(|only| line.1 == only) && (first..=last).contains(&line.0)).cloned().collect();
                let found = lines(dir.path(), Query { lines: Some((first, last)), ..query });
                prop_assert_eq!(seen(&found), &inside[..]);
                let found = lines(dir.path(), Query { lines: Some((first, last)), tail: Some(tail), ..query });
                prop_assert_eq!(seen(&found), &inside[inside.len().saturating_sub(tail)..]);
                let later: Vec<Line> = of.iter().filter(|line| line.at >= since).cloned().collect();
                prop_assert_eq!(lines(dir.path(), Query { since: Some(since), ..query }), later.clone());
                let later_inside: Vec<Line> = later.into_iter().filter(|line| line.number.is_some_and(|number| (first..=last).contains(&number))).collect();
                prop_assert_eq!(lines(dir.path(), Query { since: Some(since), lines: Some((first, last)), ..query }), later_inside);
            }
        }
    }

    /// A program that writes its files itself has no index: all of standard output comes first, and queries are answered all the same.
    #[test]
    fn a_log_without_an_index_is_asked_the_same_way(
        chunks in chunks(300),
        tail in 0_usize..40,
        part in (0_u64..60, 0_u64..40),
    ) {
        let (dir, _) = followed(&chunks, &[], Query::default());
        let _ = fs::remove_file(dir.path().join("index"));
        let by_stream = |stream| chunks.iter().filter(move |(of, _, _)| *of == stream).cloned();
        let model = model(&by_stream(Stdout).chain(by_stream(Stderr)).collect::<Vec<_>>());
        let texts_of = |lines: &[(u64, Stream, String, bool)]| {
            lines.iter().map(|(_, stream, text, partial)| (*stream, text.clone(), *partial)).collect::<Vec<_>>()
        };
        let (first, last) = (part.0, part.0 + part.1);
        for stream in [None, Some(Stdout), Some(Stderr)] {
            let whole: Vec<_> = expected(&model).into_iter().filter(|line| stream.is_none_or(|only| line.1 == only)).collect();
            let query = Query { stream, ..Query::default() };
            prop_assert_eq!(texts_of(&seen(&lines(dir.path(), query))), texts_of(&whole));
            let found = lines(dir.path(), Query { tail: Some(tail), ..query });
            prop_assert_eq!(texts_of(&seen(&found)), texts_of(&whole[whole.len().saturating_sub(tail)..]));
            let inside: Vec<_> = whole.iter().filter(|line| (first..=last).contains(&line.0)).cloned().collect();
            prop_assert_eq!(seen(&lines(dir.path(), Query { lines: Some((first, last)), ..query })), inside.clone());
            let needle = Needle::new("a", false).expect("a text");
            let found = LogReader::open(dir.path()).search(needle, Query { lines: Some((first, last)), ..query }).expect("it opens");
            let numbers: Vec<_> = found.map(|line| line.expect("a line").number.unwrap_or(0)).collect();
            let wanted: Vec<_> = inside.iter().filter(|line| line.2.contains('a')).map(|line| line.0).collect();
            prop_assert_eq!(numbers, wanted);
        }
    }

    /// A follower that begins late, of one stream, with the last lines so far.
    #[test]
    fn a_follower_may_begin_anywhere(
        chunks in chunks(300),
        begin in 0_usize..80,
        tail in 0_usize..9,
        stream in prop_oneof![Just(None), Just(Some(Stdout)), Just(Some(Stderr))],
    ) {
        let looks: Vec<bool> = (0..chunks.len()).map(|number| number >= begin).collect();
        let so_far: Vec<_> = chunks[..chunks.len().min(begin + 1)].to_vec();
        let known = model(&so_far).into_iter().filter(|told| told.ended && stream.is_none_or(|only| told.stream == only));
        let skipped = known.count().saturating_sub(tail);
        let query = Query { stream, tail: Some(tail), ..Query::default() };
        let (_dir, follower) = followed(&chunks, &looks, query);
        let wanted: Vec<Told> = model(&chunks).into_iter().filter(|told| stream.is_none_or(|only| told.stream == only)).collect();
        // What the writer still held back when the follower began comes as news.
        let all = expected(&wanted);
        let seen = seen(&follower);
        prop_assert!(seen.len() <= all.len() && seen.len() + skipped >= all.len(), "{} of {}, {skipped} skipped", seen.len(), all.len());
        prop_assert_eq!(&seen[..], &all[all.len() - seen.len()..]);
    }

    /// A text is found where it is, and nowhere else, wherever chunks end.
    #[test]
    fn a_text_is_found_in_the_lines_that_hold_it(
        chunks in chunks(200_000),
        needle in "[abA\r]{1,3}|l{1,3}",
        any_case in any::<bool>(),
        first in 0_u64..40,
        tail in 0_usize..9,
    ) {
        let dir = TempDir::new().expect("a folder");
        let mut writer = LogWriter::new(dir.path());
        for (stream, bytes, millis) in &chunks {
            writer.write(*stream, bytes, at(*millis));
        }
        finished(writer);
        let fold = |bytes: &[u8]| if any_case { bytes.to_ascii_lowercase() } else { bytes.to_vec() };
        let wanted = fold(needle.as_bytes());
        let holds = |told: &Told| fold(&told.bytes).windows(wanted.len()).any(|window| window == wanted);
        for stream in [None, Some(Stdout), Some(Stderr)] {
            let told: Vec<u64> = model(&chunks)
                .iter()
                .filter(|told| stream.is_none_or(|only| told.stream == only) && told.number >= first && holds(told))
                .map(|told| told.number)
                .collect();
            let query = Query { stream, lines: Some((first, u64::MAX)), ..Query::default() };
            let search = |query| {
                let needle = Needle::new(&needle, any_case).expect("a text of one line");
                let found = LogReader::open(dir.path()).search(needle, query).expect("it opens");
                found.map(|line| line.expect("a line")).collect::<Vec<Line>>()
            };
            let found = search(query);
            prop_assert_eq!(found.iter().filter_map(|line| line.number).collect::<Vec<_>>(), told.clone());
            for line in &found {
                // A return before the line's end is not shown.
                prop_assert!(needle.contains('\r') || fold(line.text.as_bytes()).windows(wanted.len()).any(|window| window == wanted));
                prop_assert!(line.text.len() <= LINE_MAX * 3);
            }
            let last: Vec<_> = search(Query { tail: Some(tail), ..query }).iter().filter_map(|line| line.number).collect();
            prop_assert_eq!(last, &told[told.len().saturating_sub(tail)..]);
        }
    }
}
