//! Where to begin reading for some lines, without reading what comes before.

use std::io;

use super::layout::{self, SPAN};
use super::read::Query;
use super::stream::Piece;
use super::walk::{Content, Files, Position, Wanted, count_newlines};
use super::{LINE_MAX, Stream};
use crate::units::Timestamp;

/// Bytes read at a time from the end.
const PIECE: u64 = 64 << 10;
/// So far back the begin of a line is looked for: further back it cannot be told where it would be cut.
const LINE_BEGIN: u64 = LINE_MAX as u64 + 2;

/// Mostly it is so near.
const LINE_BEGIN_NEAR: u64 = 4 << 10;

/// Where reading begins, with the begin of the lines in which it does.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) position: Position,
    /// What stands before the position in the same line, with its time, by stream.
    pub(super) halves: [Option<(Timestamp, Vec<u8>)>; 2],
}

/// Where the lines of a query begin, or a little before. Without `unindexed` at a place of the index, should there be one: the order of
/// what it does not name may yet turn out to be another.
pub(super) fn start(files: &mut Files, query: Query, unindexed: bool) -> io::Result<Start> {
    let position = place(files, query, unindexed)?;
    with_line_begins(files, query, position)
}

/// Where the line begins that a byte of a stream is in, or what is kept of it.
pub(super) fn line_begin(files: &mut Files, stream: Stream, byte: u64) -> io::Result<u64> {
    let mut at = byte;
    let mut step = LINE_BEGIN_NEAR;
    loop {
        let before = files.streams[layout::at(stream)].before(at, step)?;
        if let Some(end) = memchr::memrchr(b'\n', &before) {
            return Ok(at - (before.len() - end - 1) as u64);
        }
        if before.is_empty() {
            return Ok(at);
        }
        at -= before.len() as u64;
        step = PIECE;
    }
}

/// Like [`start`], wherever in a line that is.
pub(super) fn place(files: &mut Files, query: Query, unindexed: bool) -> io::Result<Position> {
    let mut position = Position::BEGIN;
    if let Some(since) = query.since {
        position = since_time(files, since)?;
    }
    if let Some((first, _)) = query.lines {
        let line = at_line(files, first)?;
        position = if position.newlines.is_none() || line.bytes >= position.bytes { line } else { position };
    }
    if let (Some(count), None) = (query.tail, query.lines) {
        position = of_tail(files, query, count, unindexed || files.index.count() == 0)?;
    }
    Ok(position)
}

/// The first chunk read at `since` or later.
fn since_time(files: &mut Files, since: Timestamp) -> io::Result<Position> {
    let entry = files.index.find(|entry| entry.at < since)?;
    before(files, entry)
}

/// The chunk in which the line before `first` ends.
fn at_line(files: &mut Files, first: u64) -> io::Result<Position> {
    let before_it = first.saturating_sub(1);
    let mut position = Position::BEGIN;
    if files.index.counts_lines() {
        let entry = files.index.find(|entry| entry.newlines < before_it)?;
        position = before(files, entry)?;
    }
    // What no entry counts is counted now.
    let wanted = Wanted { stream: None, unindexed: true, counted: true, piece: PIECE };
    loop {
        let here = position;
        let Some(chunk) = files.next(&mut position, wanted)? else { return Ok(here) };
        let newlines = match chunk.content {
            Content::Bytes(bytes) => chunk.newlines.map(|before| before + count_newlines(bytes)),
            Content::Missing(_) => chunk.newlines,
        };
        if newlines.is_none_or(|count| count >= before_it) {
            return Ok(here);
        }
    }
}

/// A place from which on there are at least `count` wanted lines (or everything).
fn of_tail(files: &mut Files, query: Query, count: usize, unindexed: bool) -> io::Result<Position> {
    let mut back = Backwards { query, missing: count as u64, room: (count as u64).saturating_mul(LINE_BEGIN) };
    let entries = files.index.count();
    let indexed = files.index.last().ends;
    let mut position = Position::at(if unindexed { [files.end(0), files.end(1)] } else { indexed }, None);
    // What the index does not name is shown last, and is therefore the first to be looked at from the end.
    for stream in Stream::ALL.into_iter().rev() {
        let at = layout::at(stream);
        position.bytes[at] = back.walk(files, stream, indexed[at], position.bytes[at])?;
    }
    let mut entry = entries;
    while !back.is_enough() && entry > 0 {
        entry -= 1;
        let from = files.index.before(entry)?;
        let Some(to) = files.index.get(entry)? else { continue };
        back.pass(files, (from.ends, from.newlines), (to.ends, to.newlines))?;
    }
    if entry < entries {
        return before(files, entry);
    }
    count_unindexed(files, &mut position)?;
    Ok(position)
}

/// Counts the line ends between the last entry and a position behind it, where that is cheap.
fn count_unindexed(files: &mut Files, position: &mut Position) -> io::Result<()> {
    let last = files.index.last();
    let bytes = position.bytes[0].saturating_sub(last.ends[0]) + position.bytes[1].saturating_sub(last.ends[1]);
    if bytes > SPAN as u64 || !(files.index.counts_lines() || files.index.count() == 0) {
        return Ok(());
    }
    let mut count = last.newlines;
    for (stream, to) in position.bytes.into_iter().enumerate() {
        let mut from = last.ends[stream];
        while from < to {
            let Piece::Bytes(bytes) = files.streams[stream].piece(from, to)? else { return Ok(()) };
            count += count_newlines(bytes);
            from += bytes.len() as u64;
        }
    }
    position.newlines = Some(count);
    Ok(())
}

/// The place before an entry.
fn before(files: &mut Files, entry: u64) -> io::Result<Position> {
    let before = files.index.before(entry)?;
    Ok(Position::at(before.ends, if files.index.counts_lines() || entry == 0 { Some(before.newlines) } else { None }))
}

/// Counts lines from the end.
struct Backwards {
    query: Query,
    /// Line ends still to be found.
    missing: u64,
    /// Bytes after which there must be enough lines even without line ends, since lines are cut.
    room: u64,
}

impl Backwards {
    fn is_enough(&self) -> bool {
        self.missing == 0 || self.room == 0
    }

    /// Passes an entry, unread where the index knows what it holds.
    fn pass(&mut self, files: &mut Files, from: ([u64; 2], u64), to: ([u64; 2], u64)) -> io::Result<()> {
        let is_there = |files: &Files, at: usize| from.0[at] < to.0[at] && files.streams[at].holds(from.0[at], to.0[at]);
        let comes = Stream::ALL.map(|stream| from.0[layout::at(stream)] < to.0[layout::at(stream)]);
        let wanted = Stream::ALL.map(|stream| self.query.wants(stream) && is_there(files, layout::at(stream)));
        if files.index.counts_lines() && (comes == wanted || wanted == [false, false]) {
            if comes == wanted {
                let bytes = [0, 1].map(|at| to.0[at].saturating_sub(from.0[at]));
                self.missing = self.missing.saturating_sub(to.1.saturating_sub(from.1));
                self.room = self.room.saturating_sub(bytes[0] + bytes[1]);
            }
            return Ok(());
        }
        for stream in Stream::ALL.into_iter().rev().filter(|stream| wanted[layout::at(*stream)]) {
            let at = layout::at(stream);
            self.walk(files, stream, from.0[at], to.0[at])?;
        }
        Ok(())
    }

    /// Walks from `end` of a stream towards `begin`; gives where it stopped.
    fn walk(&mut self, files: &mut Files, stream: Stream, begin: u64, end: u64) -> io::Result<u64> {
        let mut at = end;
        while at > begin && self.query.wants(stream) && !self.is_enough() {
            let bytes = files.streams[layout::at(stream)].before(at, PIECE.min(at - begin))?;
            if bytes.is_empty() {
                return Ok(begin);
            }
            self.missing = self.missing.saturating_sub(count_newlines(&bytes));
            self.room = self.room.saturating_sub(bytes.len() as u64);
            at -= bytes.len() as u64;
        }
        Ok(at)
    }
}

/// Adds the begin of the line in which each stream stands, if that is near: its end lies behind the position.
fn with_line_begins(files: &mut Files, query: Query, position: Position) -> io::Result<Start> {
    let mut start = Start { position, halves: Default::default() };
    for stream in Stream::ALL.into_iter().filter(|stream| query.wants(*stream)) {
        let at = layout::at(stream);
        let here = position.bytes[at];
        let mut half = files.streams[at].before(here, LINE_BEGIN_NEAR)?;
        if half.len() as u64 == LINE_BEGIN_NEAR && memchr::memchr(b'\n', &half).is_none() {
            half = files.streams[at].before(here, LINE_BEGIN)?;
        }
        match memchr::memrchr(b'\n', &half) {
            Some(end) => drop(half.drain(..=end)),
            // Longer than a line in a view: where it would be cut cannot be told from here.
            None if half.len() as u64 == LINE_BEGIN => half.clear(),
            None => {}
        }
        if !half.is_empty() {
            let entry = files.index.find(|entry| entry.ends[at] < here)?;
            let read = files.index.get(entry)?.map_or(files.unindexed_at(), |entry| entry.at);
            start.halves[at] = Some((read, half));
        }
    }
    Ok(start)
}
