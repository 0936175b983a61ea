//! Whole entries of the index, counted without being read: how many lines they have the index knows, and where the first one ends and the
//! last one begins is seen at their edges. What a log of a gigabyte holds is known after reading a tenth of it.
//!
//! Only where reading would give the same: see [`Files::skim`].

use std::io;

use super::Stream;
use super::layout::{self, Entry};
use super::lines::LINE_MAX;
use super::stream::Piece;
use super::walk::{Files, Position};
use crate::units::Timestamp;

/// So much is read at an edge. Where no line ends in it the entry is not skimmed.
const EDGE: u64 = 4 << 10;

/// An entry of one stream, and what was read of it.
pub(super) struct Skimmed {
    pub(super) at: Timestamp,
    pub(super) stream: Stream,
    /// Behind its last byte.
    pub(super) to: u64,
    /// Its begin up to the first line end.
    pub(super) head: Vec<u8>,
    /// Line ends behind that one.
    pub(super) line_ends: u32,
    /// What stands behind the last one.
    pub(super) tail: Vec<u8>,
}

impl Skimmed {
    /// Bytes that were read for it, about.
    pub(super) const READ: u64 = 2 * EDGE;
}

impl Files {
    /// The next entry, if the position is at its begin, it is of one stream, all of it is on the disk, and it is so short that no line
    /// between two line ends of it is too long to be one in a view. The position moves behind it.
    pub(super) fn skim(&mut self, position: &mut Position) -> io::Result<Option<Skimmed>> {
        if !self.index.counts_lines() || position.has_missing() {
            return Ok(None);
        }
        self.find_entry(position)?;
        while self.index.get(self.entry)?.is_some_and(|entry| entry.ends == position.bytes) {
            self.entry += 1;
        }
        let before = self.index.before(self.entry)?;
        let Some(entry) = self.index.get(self.entry)?.filter(|_| before.ends == position.bytes) else { return Ok(None) };
        let Some(stream) = only_stream(before, entry) else { return Ok(None) };
        let skimmed = self.edges(stream, before, entry)?;
        if skimmed.is_some() {
            position.bytes = entry.ends;
            position.newlines = Some(entry.newlines);
        }
        Ok(skimmed)
    }

    fn edges(&mut self, stream: Stream, before: Entry, entry: Entry) -> io::Result<Option<Skimmed>> {
        let here = layout::at(stream);
        let (from, to) = (before.ends[here], entry.ends[here]);
        let bytes = &mut self.streams[here];
        if to - from <= Skimmed::READ || to - from > LINE_MAX as u64 || !bytes.has_all(from, to) {
            return Ok(None);
        }
        let Piece::Bytes(edge) = bytes.piece(from, from + EDGE)? else { return Ok(None) };
        let Some(first) = memchr::memchr(b'\n', edge) else { return Ok(None) };
        let head = edge[..=first].to_vec();
        // With the begin of what follows: it is the next that is looked at.
        let Piece::Bytes(edge) = bytes.exactly(to - EDGE, to, Skimmed::READ)? else { return Ok(None) };
        let Some(last) = memchr::memrchr(b'\n', edge) else { return Ok(None) };
        let tail = edge[last + 1..].to_vec();
        // An index that lost some bits may say anything.
        let between = to - from - (head.len() + tail.len()) as u64;
        let line_ends = entry.newlines.checked_sub(before.newlines + 1).filter(|line_ends| (1..=between).contains(line_ends));
        let line_ends = line_ends.and_then(|line_ends| u32::try_from(line_ends).ok());
        Ok(line_ends.map(|line_ends| Skimmed { at: entry.at, stream, to, head, line_ends, tail }))
    }
}

/// The stream whose bytes an entry covers, if those of the other one are none.
fn only_stream(before: Entry, entry: Entry) -> Option<Stream> {
    let mut came = Stream::ALL.into_iter().filter(|stream| before.ends[layout::at(*stream)] != entry.ends[layout::at(*stream)]);
    let stream = came.next().filter(|stream| before.ends[layout::at(*stream)] < entry.ends[layout::at(*stream)]);
    stream.filter(|_| came.next().is_none())
}
