//! The output of an attempt as spans: whole lines of one stream, in the order in which they were read.
//!
//! A span is remembered as two bytes of one stream, and read again it gives the same lines, whatever the index says by then: what becomes
//! a line depends on the bytes alone. That is what numbers of lines across streams and attempts can be built on.

use std::io;
use std::path::{Path, PathBuf};

use super::Stream;
use super::layout;
use super::lines::{Assembler, Line};
use super::read::{POLL_MAX, gap};
use super::skim::Skimmed;
use super::stream::Piece;
use super::walk::{Chunk, Content, Files, Position, Wanted};
use crate::units::Timestamp;

/// Bytes of a chunk that are looked at at a time.
const PIECE: u64 = 64 << 10;

/// Whole lines of one stream. The last one may be a half line where the output ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The stream.
    pub stream: Stream,
    /// Its first byte in the stream.
    pub from: u64,
    /// Behind its last byte.
    pub to: u64,
    /// When its end was read.
    pub at: Timestamp,
    /// How many lines it has in a view; at least one.
    pub lines: u32,
    /// Its bytes are not on the disk. A view has one line for them.
    pub gap: bool,
}

/// Reads the spans of an attempt that may be growing. Holds nothing open between calls.
#[derive(Debug, Clone)]
pub struct Spans {
    folder: PathBuf,
    position: Position,
    /// Where the first line begins that was not given yet, by stream.
    begins: [u64; 2],
    assemblers: [Assembler; 2],
}

impl Spans {
    /// The spans behind those that end at these bytes of standard output and standard error.
    #[must_use]
    pub fn after(folder: &Path, ends: [u64; 2]) -> Self {
        let position = if ends == [0, 0] { Position::BEGIN } else { Position::at(ends, None) };
        Self { folder: folder.to_owned(), position, begins: ends, assemblers: Default::default() }
    }

    /// Reads on for about a mebibyte and gives what it finds with its lines, which are left out without `texts` (then whole entries of the
    /// index are passed unread where that gives the same). Whether there may be
    /// more at once. While the attempt runs, half lines and bytes that are not in the index yet wait for the next call; with `ended` they
    /// come too.
    ///
    /// # Errors
    /// What the system said; it can go on then.
    pub fn read(&mut self, ended: bool, texts: bool, mut give: impl FnMut(Span, Vec<Line>)) -> io::Result<bool> {
        let mut files = Files::open(&self.folder)?;
        let cap = files.index.reached_cap();
        let unindexed = ended || files.index.count() == 0;
        let wanted = Wanted { stream: None, unindexed, counted: false, piece: PIECE };
        let mut read = 0;
        while read < POLL_MAX {
            if !texts && let Some(skimmed) = files.skim(&mut self.position)? {
                read += Skimmed::READ;
                self.take_skimmed(&skimmed, &mut give);
                continue;
            }
            let Some(chunk) = files.next(&mut self.position, wanted)? else {
                if ended {
                    let at = files.index.last().at;
                    let missing: Vec<_> = files.missing_at_end(&mut self.position).collect();
                    Stream::ALL.into_iter().for_each(|stream| self.finish(stream, texts, &mut give));
                    for (stream, count) in missing {
                        self.gap(stream, at, count, cap, &mut give);
                    }
                }
                return Ok(false);
            };
            match chunk.content {
                Content::Bytes(bytes) => {
                    read += bytes.len() as u64;
                    self.take(&chunk, bytes, texts, &mut give);
                }
                Content::Missing(count) => {
                    self.finish(chunk.stream, texts, &mut give);
                    self.gap(chunk.stream, chunk.at, count, cap, &mut give);
                }
            }
        }
        Ok(true)
    }

    fn take(&mut self, chunk: &Chunk<'_>, bytes: &[u8], texts: bool, give: &mut impl FnMut(Span, Vec<Line>)) {
        let Chunk { at, stream, from, .. } = *chunk;
        let here = layout::at(stream);
        let assembler = &mut self.assemblers[here];
        let mut found = Found::default();
        if texts {
            assembler.feed_bytes(bytes, at, |line, partial| found.add(line, partial, at, stream, texts));
        } else {
            found.count = assembler.count(bytes, at);
        }
        let end = from + bytes.len() as u64 - assembler.pending();
        self.give(stream, end, at, found, give);
    }

    fn take_skimmed(&mut self, skimmed: &Skimmed, give: &mut impl FnMut(Span, Vec<Line>)) {
        let Skimmed { at, stream, to, line_ends, .. } = *skimmed;
        let assembler = &mut self.assemblers[layout::at(stream)];
        let mut found = Found { count: line_ends, ..Found::default() };
        for edge in [&skimmed.head, &skimmed.tail] {
            assembler.feed_bytes(edge, at, |_, _| found.count += 1);
        }
        let end = to - assembler.pending();
        self.give(stream, end, at, found, give);
    }

    fn finish(&mut self, stream: Stream, texts: bool, give: &mut impl FnMut(Span, Vec<Line>)) {
        let here = layout::at(stream);
        let assembler = &mut self.assemblers[here];
        let end = self.begins[here] + assembler.pending();
        let mut found = Found::default();
        let mut last = Timestamp::default();
        assembler.finish(|at, text| {
            last = at;
            found.add(text.as_bytes(), true, at, stream, texts);
        });
        self.give(stream, end, last, found, give);
    }

    fn give(&mut self, stream: Stream, to: u64, at: Timestamp, found: Found, give: &mut impl FnMut(Span, Vec<Line>)) {
        if found.count > 0 {
            let from = std::mem::replace(&mut self.begins[layout::at(stream)], to);
            give(Span { stream, from, to, at, lines: found.count, gap: false }, found.lines);
        }
    }

    fn gap(&mut self, stream: Stream, at: Timestamp, count: u64, cap: Option<u64>, give: &mut impl FnMut(Span, Vec<Line>)) {
        let begin = &mut self.begins[layout::at(stream)];
        let from = std::mem::replace(begin, *begin + count);
        give(Span { stream, from, to: from + count, at, lines: 1, gap: true }, vec![gap(at, stream, count, cap)]);
    }
}

#[derive(Default)]
struct Found {
    count: u32,
    lines: Vec<Line>,
}

impl Found {
    fn add(&mut self, bytes: &[u8], partial: bool, at: Timestamp, stream: Stream, texts: bool) {
        self.count += 1;
        if texts {
            self.lines.push(Line { number: None, at, stream, text: super::lines::text(bytes), partial, missing: 0 });
        }
    }
}

/// Reads spans of one attempt again. Its files are as long as they were when it was opened.
#[derive(Debug)]
pub struct SpanReader {
    files: Files,
}

impl SpanReader {
    /// Opens the files of an attempt.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Ok(Self { files: Files::open(folder)? })
    }

    /// The lines of a span. What is not kept any more is a line that says so.
    ///
    /// # Errors
    /// What the system said.
    pub fn lines(&mut self, span: &Span, mut give: impl FnMut(Line)) -> io::Result<()> {
        let (stream, here) = (span.stream, layout::at(span.stream));
        let unindexed_at = self.files.unindexed_at();
        let cap = self.files.index.reached_cap();
        let Files { index, streams, .. } = &mut self.files;
        let mut entry = index.find(|entry| entry.ends[here] <= span.from)?;
        let mut assembler = Assembler::default();
        let mut from = span.from;
        let line = |at, text, partial| Line { number: None, at, stream, text, partial, missing: 0 };
        while from < span.to {
            let mut known = index.get(entry)?;
            while known.is_some_and(|known| known.ends[here] <= from) {
                entry += 1;
                known = index.get(entry)?;
            }
            let (to, at) = known.map_or((span.to, unindexed_at), |known| (known.ends[here].min(span.to), known.at));
            match streams[here].piece(from, to)? {
                Piece::Bytes(bytes) => {
                    assembler.feed_bytes(bytes, at, |bytes, partial| give(line(at, super::lines::text(bytes), partial)));
                    from += bytes.len() as u64;
                }
                Piece::Gap => {
                    let end = from + streams[here].gap(from, span.to);
                    assembler.finish(|at, text| give(line(at, text, true)));
                    give(gap(at, stream, end - from, cap));
                    from = end;
                }
            }
        }
        assembler.finish(|at, text| give(line(at, text, true)));
        Ok(())
    }

    /// The bytes between two places of a stream, piece by piece, as far as they are on the disk. It ends early where `give` says no.
    ///
    /// # Errors
    /// What the system said.
    pub fn bytes(&mut self, span: &Span, mut give: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        let stream = &mut self.files.streams[layout::at(span.stream)];
        let mut from = span.from;
        while from < span.to {
            match stream.piece(from, span.to)? {
                Piece::Bytes(bytes) => {
                    from += bytes.len() as u64;
                    if !give(bytes) {
                        return Ok(());
                    }
                }
                Piece::Gap => from += stream.gap(from, span.to),
            }
        }
        Ok(())
    }
}
