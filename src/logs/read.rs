//! Reading: chunks made into lines.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use super::Stream;
use super::layout;
use super::lines::{Assembler, Line};
use super::place::{self, Start};
use super::search::{Matches, Needle};
use super::walk::{Chunk, Content, Files, Position, Wanted};
use crate::units::{Bytes, Timestamp};

/// Bytes of a chunk that are made into lines at a time.
const PIECE: u64 = 64 << 10;
/// About so many bytes are read by one [`LogReader::poll`], so that a flood cannot fill the memory of a follower.
pub(super) const POLL_MAX: u64 = 1 << 20;

/// Which lines are wanted. Several conditions: those that fulfil all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Query {
    /// Only the last so many.
    pub tail: Option<usize>,
    /// Only this stream.
    pub stream: Option<Stream>,
    /// Only lines read at this time or later.
    pub since: Option<Timestamp>,
    /// Only lines with these numbers, the first and the last. See [`Line::number`].
    pub lines: Option<(u64, u64)>,
    /// The attempt still writes. What its index does not name yet is left out: it will in a moment, and only then the order of both
    /// streams, and with it the numbers of their lines, are known.
    pub growing: bool,
}

impl Query {
    pub(super) fn wants(self, stream: Stream) -> bool {
        self.stream.is_none_or(|wanted| wanted == stream)
    }

    /// Whether a line is among the wanted ones, but for `tail`.
    pub(super) fn takes(self, line: &Line) -> bool {
        let inside = self.lines.zip(line.number).is_none_or(|((first, last), number)| number >= first && number <= last);
        self.since.is_none_or(|since| line.at >= since) && inside
    }

    /// Whether no line from this number on is wanted.
    pub(super) fn is_over(self, number: Option<u64>) -> bool {
        self.lines.zip(number).is_some_and(|((_, last), number)| number > last)
    }

    /// Whether bytes that no entry names are among what it wants.
    pub(super) fn wants_unindexed(self, files: &Files) -> bool {
        !self.growing || files.index.count() == 0
    }

    /// What of the chunks it wants.
    pub(super) fn wanted(self, unindexed: bool, piece: u64) -> Wanted {
        Wanted { stream: self.stream, unindexed, counted: self.lines.is_some(), piece }
    }
}

/// Reads the output of one attempt, which may be growing. Holds nothing open between calls.
#[derive(Debug, Clone)]
pub struct LogReader {
    folder: PathBuf,
}

impl LogReader {
    /// A reader of `folder`. Files that are not there are empty.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The lines that the query wants, merged in the order in which they were read. What is written after this call is not among
    /// them; say in the query whether there may be such. Little more is read than what is wanted: a place is found by the index. A line longer than [`LINE_MAX`](super::LINE_MAX)
    /// may be cut at other places where its begin is not among what is read.
    ///
    /// # Errors
    /// What the system said.
    pub fn lines(&self, query: Query) -> io::Result<Lines> {
        let mut files = Files::open(&self.folder)?;
        let unindexed = query.wants_unindexed(&files);
        let start = place::start(&mut files, query, unindexed)?;
        let mut lines = Lines { query, gatherer: Gatherer::new(&files), files, position: start.position, ended: false };
        lines.gatherer.take_halves(start, query);
        if let Some(count) = query.tail {
            lines.keep_last(count)?;
        }
        Ok(lines)
    }

    /// The lines in which a text is, in their order; each once. `tail` in the query means the last so many of them.
    ///
    /// # Errors
    /// What the system said.
    pub fn search(&self, needle: Needle, query: Query) -> io::Result<Matches> {
        let mut files = Files::open(&self.folder)?;
        let unindexed = query.wants_unindexed(&files);
        let position = place::place(&mut files, Query { tail: None, ..query }, unindexed)?;
        Matches::new(files, position, needle, query)
    }

    /// A cursor before the lines that the query wants; what comes later is wanted too.
    ///
    /// # Errors
    /// What the system said.
    pub fn cursor(&self, query: Query) -> io::Result<Cursor> {
        let mut files = Files::open(&self.folder)?;
        let start = place::start(&mut files, query, false)?;
        let mut cursor = Cursor { position: start.position, query: Query { tail: None, ..query }, gatherer: Gatherer::new(&files) };
        cursor.gatherer.take_halves(start, query);
        if let Some(count) = query.tail {
            while self.advance(&mut cursor, false)? {
                cursor.gatherer.keep_last(count);
            }
            cursor.gatherer.keep_last(count);
        }
        Ok(cursor)
    }

    /// The lines that came since the cursor was last here (a new cursor: from the begin). Gives about a mebibyte at most, so call it
    /// until nothing comes. While the attempt runs, half lines and bytes that are not yet in the index wait for the next call;
    /// with `ended` they come too.
    ///
    /// # Errors
    /// What the system said; the cursor stays usable.
    pub fn poll(&self, cursor: &mut Cursor, ended: bool) -> io::Result<Vec<Line>> {
        while self.advance(cursor, ended)? && cursor.gatherer.ready.is_empty() {}
        Ok(cursor.gatherer.ready.drain(..).collect())
    }

    /// Reads on for about a mebibyte; whether there may be more.
    fn advance(&self, cursor: &mut Cursor, ended: bool) -> io::Result<bool> {
        let Cursor { position, query, gatherer } = cursor;
        let mut files = Files::open(&self.folder)?;
        gatherer.cap = files.index.reached_cap();
        let wanted = query.wanted(ended || files.index.count() == 0, PIECE);
        let mut read = 0;
        while read < POLL_MAX {
            let Some(chunk) = files.next(position, wanted)? else {
                if ended {
                    gatherer.finish(&files, position, *query);
                }
                return Ok(false);
            };
            if let Content::Bytes(bytes) = &chunk.content {
                read += bytes.len() as u64;
            }
            gatherer.take(&chunk, *query);
        }
        Ok(true)
    }
}

/// Where a follower stands.
#[derive(Debug, Clone)]
pub struct Cursor {
    position: Position,
    query: Query,
    gatherer: Gatherer,
}

impl Default for Cursor {
    fn default() -> Self {
        Self { position: Position::BEGIN, query: Query::default(), gatherer: Gatherer::default() }
    }
}

/// Makes lines of chunks.
#[derive(Debug, Clone, Default)]
struct Gatherer {
    assemblers: [Assembler; 2],
    ready: VecDeque<Line>,
    cap: Option<u64>,
}

impl Gatherer {
    fn new(files: &Files) -> Self {
        Self { cap: files.index.reached_cap(), ..Self::default() }
    }

    fn take_halves(&mut self, start: Start, query: Query) {
        for (stream, half) in Stream::ALL.into_iter().zip(start.halves) {
            if let Some((at, bytes)) = half.filter(|_| query.wants(stream)) {
                let newlines = start.position.newlines;
                let from = start.position.bytes[layout::at(stream)] - bytes.len() as u64;
                self.take(&Chunk { at, stream, from, newlines, content: Content::Bytes(&bytes) }, query);
            }
        }
    }

    fn take(&mut self, chunk: &Chunk<'_>, query: Query) {
        let Chunk { at, stream, newlines, .. } = *chunk;
        let Self { assemblers, ready, cap } = self;
        let assembler = &mut assemblers[layout::at(stream)];
        match chunk.content {
            Content::Bytes(bytes) => {
                let mut number = newlines.map(|before| before + 1);
                assembler.feed(bytes, at, |text, partial| {
                    let line = Line { number, at, stream, text, partial, missing: 0 };
                    ready.extend(Some(line).filter(|line| query.takes(line)));
                    number = number.map(|number| number + u64::from(!partial));
                });
            }
            Content::Missing(missing) => {
                let number = newlines.map(|before| before + 1);
                assembler.finish(|at, text| {
                    let line = Line { number, at, stream, text, partial: true, missing: 0 };
                    ready.extend(Some(line).filter(|line| query.takes(line)));
                });
                ready.push_back(gap(at, stream, missing, *cap));
            }
        }
    }

    /// Takes the half lines at the end of both streams, and what is missing there.
    fn finish(&mut self, files: &Files, position: &mut Position, query: Query) {
        let number = position.newlines.map(|before| before + 1);
        for stream in Stream::ALL {
            let Self { assemblers, ready, .. } = self;
            assemblers[layout::at(stream)].finish(|at, text| {
                let line = Line { number, at, stream, text, partial: true, missing: 0 };
                ready.extend(Some(line).filter(|line| query.takes(line)));
            });
        }
        let at = files.index.last().at;
        self.ready.extend(files.missing_at_end(position).map(|(stream, missing)| gap(at, stream, missing, self.cap)));
    }

    fn keep_last(&mut self, count: usize) {
        let surplus = self.ready.len().saturating_sub(count);
        self.ready.drain(..surplus);
    }
}

/// The line that stands for bytes that are not on the disk.
pub(super) fn gap(at: Timestamp, stream: Stream, missing: u64, cap: Option<u64>) -> Line {
    let why = match cap {
        Some(cap) => format!("log_cap {}", Bytes(cap)),
        None => "the disk was full or failed".to_owned(),
    };
    let text = format!("[... {} bytes not kept ({why}) ...]", grouped(missing));
    Line { number: None, at, stream, text, partial: false, missing }
}

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Lines, read as they are asked for.
#[derive(Debug)]
pub struct Lines {
    files: Files,
    query: Query,
    position: Position,
    gatherer: Gatherer,
    ended: bool,
}

impl Lines {
    /// Reads to the end and keeps only the last lines.
    fn keep_last(&mut self, count: usize) -> io::Result<()> {
        while !self.ended {
            self.advance()?;
            self.gatherer.keep_last(count);
        }
        Ok(())
    }

    fn advance(&mut self) -> io::Result<()> {
        let Self { files, query, position, gatherer, ended } = self;
        let chunk = if query.is_over(position.newlines.map(|before| before + 1)) {
            None
        } else {
            files.next(position, query.wanted(query.wants_unindexed(files), PIECE))?
        };
        match chunk {
            Some(chunk) => gatherer.take(&chunk, *query),
            None => {
                *ended = true;
                gatherer.finish(files, position, *query);
            }
        }
        Ok(())
    }
}

impl Iterator for Lines {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(line) = self.gatherer.ready.pop_front() {
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
