//! Where to begin reading for the last lines, or for the lines since a time, without reading what comes before.

use std::io;

use super::index::{Entry, Index};
use super::read::{Files, PIECE, Position, Query};
use super::{LINE_MAX, Stream};
use crate::units::Timestamp;

/// Where reading begins.
#[derive(Debug, Default)]
pub(super) struct Start {
    pub(super) position: Position,
    /// What stands before the position in the same line, with its time, by stream.
    pub(super) halves: [Option<(Timestamp, Vec<u8>)>; 2],
}

/// A place from which on there are at least `count` wanted lines (or everything).
pub(super) fn start_of_tail(files: &mut Files, query: Query, count: usize) -> io::Result<Start> {
    let mut back = Backwards { query, missing: count as u64, room: (count as u64).saturating_mul(LINE_MAX as u64 + 2) };
    let entries = files.index.as_ref().map_or(0, Index::count);
    let mut position = Position { entry: entries, bytes: files.lengths };
    // What the index does not name is shown last, and is therefore the first to be looked at from the end.
    for stream in Stream::ALL.into_iter().rev() {
        let begin = indexed_end(files, stream, entries)?;
        position.bytes[stream.at()] = back.walk(files, stream, begin, files.lengths[stream.at()])?;
    }
    while !back.is_enough() && position.entry > 0 {
        position.entry -= 1;
        let Some(entry) = files.index.as_mut().map_or(Ok(None), |index| index.get(position.entry))? else { continue };
        let at = entry.stream.at();
        let begin = indexed_end(files, entry.stream, position.entry)?;
        if query.wants(entry.stream) && begin < entry.end {
            back.walk(files, entry.stream, begin, entry.end.min(files.lengths[at]))?;
            position.bytes[at] = begin;
        }
    }
    with_line_starts(files, position)
}

/// The first chunk read at `since` or later.
pub(super) fn start_since(files: &mut Files, query: Query, since: Timestamp) -> io::Result<Start> {
    let mut position = Position::default();
    while let Some(entry) = files.index.as_mut().map_or(Ok(None), |index| index.get(position.entry))? {
        let at = entry.stream.at();
        if entry.end > files.lengths[at] || (entry.at >= since && query.wants(entry.stream)) {
            break;
        }
        position.bytes[at] = position.bytes[at].max(entry.end);
        position.entry += 1;
    }
    with_line_starts(files, position)
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

    /// Walks from `end` of a stream towards `begin`; gives where it stopped.
    fn walk(&mut self, files: &mut Files, stream: Stream, begin: u64, end: u64) -> io::Result<u64> {
        let mut at = end;
        while at > begin && self.query.wants(stream) && !self.is_enough() {
            let from = at.saturating_sub(PIECE).max(begin);
            let bytes = files.read(stream, from, at)?;
            let ends = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.missing = self.missing.saturating_sub(ends);
            self.room = self.room.saturating_sub(at - from);
            at = from;
        }
        Ok(at)
    }
}

/// The last entry of a stream before a position.
fn entry_before(files: &mut Files, stream: Stream, before: u64) -> io::Result<Option<Entry>> {
    if files.lengths[stream.at()] == 0 {
        return Ok(None);
    }
    let Some(index) = &mut files.index else { return Ok(None) };
    for position in (0..before).rev() {
        if let Some(entry) = index.get(position)?.filter(|entry| entry.stream == stream) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Where the entries before a position end in a stream.
fn indexed_end(files: &mut Files, stream: Stream, before: u64) -> io::Result<u64> {
    let limit = files.lengths[stream.at()];
    Ok(entry_before(files, stream, before)?.map_or(0, |entry| entry.end.min(limit)))
}

/// Adds the begin of the line in which each stream stands, if that is near: its end lies behind the position.
fn with_line_starts(files: &mut Files, position: Position) -> io::Result<Start> {
    let mut start = Start { position, halves: Default::default() };
    for stream in Stream::ALL {
        let here = position.bytes[stream.at()];
        let from = here.saturating_sub(PIECE + 2);
        let mut before = files.read(stream, from, here)?;
        match before.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => drop(before.drain(..=end)),
            None if from == 0 => {}
            // Longer than a line in a view: where it would be cut cannot be told from here.
            None => before.clear(),
        }
        if !before.is_empty() {
            let entry = entry_before(files, stream, position.entry)?.filter(|entry| entry.end >= here);
            let at = entry.map_or(files.unindexed_at(), |entry| entry.at);
            start.halves[stream.at()] = Some((at, before));
        }
    }
    Ok(start)
}
