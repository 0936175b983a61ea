//! Lines in which a text is. The bytes are searched as they lie there; only lines with a hit are made into text.

use std::collections::VecDeque;
use std::io;

use super::Stream;
use super::layout;
use super::lines::{LINE_MAX, Line, character_end, text};
use super::place;
use super::read::Query;
use super::stream::Piece;
use super::walk::{Chunk, Content, Files, Position, count_newlines};
use crate::units::Timestamp;

/// Bytes that are searched at a time.
const PIECE: u64 = 256 << 10;

/// A text to be found within lines.
#[derive(Debug, Clone)]
pub struct Needle {
    how: How,
    /// Longest match in bytes.
    length: usize,
}

#[derive(Debug, Clone)]
enum How {
    Exactly(Box<memchr::memmem::Finder<'static>>),
    AnyCase(Box<regex::bytes::Regex>),
}

impl Needle {
    /// The text, also where capitals differ if that is wanted (in every script that has them). None for a text that no line can hold: an
    /// empty one, or one with a line end in it.
    #[must_use]
    pub fn new(text: &str, any_case: bool) -> Option<Self> {
        if text.is_empty() || text.contains('\n') {
            return None;
        }
        if !any_case {
            return Some(Self { how: How::Exactly(Box::new(memchr::memmem::Finder::new(text).into_owned())), length: text.len() });
        }
        let pattern = regex::bytes::RegexBuilder::new(&regex::escape(text)).case_insensitive(true).build().ok()?;
        // The other form of a letter has four bytes at most.
        Some(Self { how: How::AnyCase(Box::new(pattern)), length: text.chars().count() * 4 })
    }

    /// Whether it is in a line.
    #[must_use]
    pub fn is_in(&self, line: &str) -> bool {
        self.find(line.as_bytes()).is_some()
    }

    /// Whether it is in some bytes of an output.
    #[must_use]
    pub fn is_in_bytes(&self, bytes: &[u8]) -> bool {
        self.find(bytes).is_some()
    }

    fn find(&self, bytes: &[u8]) -> Option<usize> {
        match &self.how {
            How::Exactly(finder) => finder.find(bytes),
            How::AnyCase(pattern) => pattern.find(bytes).map(|found| found.start()),
        }
    }
}

/// Lines in which a text is, searched as they are asked for. Of a line longer than [`LINE_MAX`] the surroundings of the
/// first match are given.
#[derive(Debug)]
pub struct Matches {
    files: Files,
    needle: Needle,
    query: Query,
    position: Position,
    scanners: [Scanner; 2],
    ready: VecDeque<Line>,
    ended: bool,
}

/// What the search of a chunk gave.
enum Found {
    Line(Line),
    /// Its text is not in the chunk.
    Hit(Hit),
}

/// A line with a match in it.
struct Hit {
    /// Where the match begins in its stream.
    from: u64,
    /// Where the line's end is, or behind its last byte.
    end: u64,
    at: Timestamp,
    stream: Stream,
    number: Option<u64>,
    /// It has no line end.
    open: bool,
}

impl Matches {
    pub(super) fn new(files: Files, position: Position, needle: Needle, query: Query) -> io::Result<Self> {
        let mut matches = Self { files, needle, query, position, scanners: Default::default(), ready: VecDeque::new(), ended: false };
        for stream in Stream::ALL.into_iter().filter(|stream| query.wants(*stream)) {
            matches.search_line_before(stream)?;
        }
        if let Some(count) = query.tail {
            while !matches.ended {
                matches.advance()?;
                let surplus = matches.ready.len().saturating_sub(count);
                matches.ready.drain(..surplus);
            }
        }
        Ok(matches)
    }

    /// Searches the begin of the line in which a stream stands: its end lies behind the position.
    fn search_line_before(&mut self, stream: Stream) -> io::Result<()> {
        let at = layout::at(stream);
        let here = self.position.bytes[at];
        let mut from = place::line_begin(&mut self.files, stream, here)?;
        while from < here && self.scanners[at].hit.is_none() {
            let Piece::Bytes(bytes) = self.files.streams[at].piece(from, here.min(from + PIECE))? else { break };
            self.scanners[at].feed(&self.needle, from, bytes, |_, _| {});
            from += bytes.len() as u64;
        }
        Ok(())
    }

    fn advance(&mut self) -> io::Result<()> {
        let Self { files, needle, query, position, scanners, ended, .. } = self;
        let over = query.is_over(position.newlines.map(|before| before + 1));
        let mut found = Vec::new();
        match if over { None } else { files.next(position, query.wanted(query.wants_unindexed(files), PIECE))? } {
            Some(chunk) => of_chunk(&chunk, needle, &mut scanners[layout::at(chunk.stream)], &mut found),
            None => {
                *ended = true;
                let number = position.newlines.map(|before| before + 1);
                for stream in Stream::ALL {
                    let end = position.bytes[layout::at(stream)];
                    let at = files.unindexed_at();
                    found.extend(scanners[layout::at(stream)].finish(end, at, stream, number).map(Found::Hit));
                }
            }
        }
        for found in found {
            let line = match found {
                Found::Line(line) => line,
                Found::Hit(hit) => self.line(&hit)?,
            };
            self.ready.extend(Some(line).filter(|line| self.query.takes(line)));
        }
        Ok(())
    }

    /// The text of a hit: its line, or of a long one what is around the match.
    fn line(&mut self, hit: &Hit) -> io::Result<Line> {
        let stream = &mut self.files.streams[layout::at(hit.stream)];
        let before = stream.before(hit.from, LINE_MAX as u64)?;
        let begin = memchr::memrchr(b'\n', &before).map_or(0, |end| end + 1);
        let mut bytes = before[begin..].to_vec();
        let mut cut = bytes.len() == LINE_MAX;
        if bytes.len() as u64 + (hit.end - hit.from) > LINE_MAX as u64 && bytes.len() > LINE_MAX / 2 {
            cut = true;
            bytes.drain(..bytes.len() - LINE_MAX / 2);
        }
        let mut at = hit.from;
        while at < hit.end && bytes.len() < LINE_MAX {
            match stream.piece(at, hit.end.min(at + (LINE_MAX - bytes.len()) as u64))? {
                Piece::Bytes(piece) => {
                    bytes.extend_from_slice(piece);
                    at += piece.len() as u64;
                }
                Piece::Gap => break,
            }
        }
        if at < hit.end {
            cut = true;
            bytes.truncate(character_end(&bytes));
        } else if !hit.open && bytes.ends_with(b"\r") {
            bytes.pop();
        }
        let Hit { number, at, stream, .. } = *hit;
        Ok(Line { number, at, stream, text: text(&bytes), partial: hit.open || cut, missing: 0 })
    }
}

/// Searches a chunk.
fn of_chunk(chunk: &Chunk<'_>, needle: &Needle, scanner: &mut Scanner, found: &mut Vec<Found>) {
    let Chunk { at, stream, from, newlines, .. } = *chunk;
    let number = newlines.map(|before| before + 1);
    let bytes = match chunk.content {
        Content::Bytes(bytes) => bytes,
        Content::Missing(missing) => {
            found.extend(scanner.finish(from - missing, at, stream, number).map(Found::Hit));
            return;
        }
    };
    let (mut counted, mut number) = (0, number);
    scanner.feed(needle, from, bytes, |hit, end| {
        number = number.map(|before| before + count_newlines(&bytes[counted..end]));
        counted = end;
        let inside = hit.checked_sub(from).and_then(|hit| usize::try_from(hit).ok());
        let begin = inside.and_then(|inside| memchr::memrchr(b'\n', &bytes[..inside])).map(|end| end + 1);
        found.push(match begin.filter(|begin| end - begin <= LINE_MAX) {
            Some(begin) => {
                let line = bytes[begin..end].strip_suffix(b"\r").unwrap_or(&bytes[begin..end]);
                Found::Line(Line { number, at, stream, text: text(line), partial: false, missing: 0 })
            }
            None => Found::Hit(Hit { from: hit, end: from + end as u64, at, stream, number, open: false }),
        });
    });
}

/// Searches one stream, whose bytes come in pieces.
#[derive(Debug, Default)]
struct Scanner {
    /// The end of what was searched, as far as a match may begin in it.
    overlap: Vec<u8>,
    /// Where the first match is in the line that has not ended yet.
    hit: Option<u64>,
}

impl Scanner {
    /// Searches bytes that begin at `from`; tells the first match of each line that ends in them, and where in them it ends.
    fn feed(&mut self, needle: &Needle, from: u64, bytes: &[u8], mut emit: impl FnMut(u64, usize)) {
        let reach = needle.length - 1;
        if self.hit.is_none() && !self.overlap.is_empty() {
            let begin = self.overlap.len();
            self.overlap.extend_from_slice(&bytes[..bytes.len().min(reach)]);
            let found = needle.find(&self.overlap).filter(|found| *found < begin);
            self.hit = found.map(|found| from - (begin - found) as u64);
            self.overlap.truncate(begin);
        }
        let mut at = 0;
        loop {
            if let Some(hit) = self.hit {
                let Some(end) = memchr::memchr(b'\n', &bytes[at..]) else { break };
                emit(hit, at + end);
                at += end + 1;
                self.hit = None;
            }
            let Some(found) = needle.find(&bytes[at..]) else { break };
            self.hit = Some(from + (at + found) as u64);
            at += found;
        }
        self.overlap.extend_from_slice(&bytes[bytes.len().saturating_sub(reach)..]);
        let surplus = self.overlap.len().saturating_sub(reach);
        self.overlap.drain(..surplus);
        if let Some(end) = memchr::memrchr(b'\n', &self.overlap) {
            self.overlap.drain(..=end);
        }
    }

    /// What is left at the end, or before a gap.
    fn finish(&mut self, end: u64, at: Timestamp, stream: Stream, number: Option<u64>) -> Option<Hit> {
        self.overlap.clear();
        let from = self.hit.take()?;
        Some(Hit { from, end, at, stream, number, open: true })
    }
}

impl Iterator for Matches {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.advance() {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }
}
