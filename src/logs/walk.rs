//! The chunks of a log in the order of its index, then the bytes that no entry names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Stream;
use super::index::Index;
use super::layout::{self, Entry, SPAN};
use super::stream::{Piece, StreamBytes};
use crate::units::Timestamp;

/// A place in the order of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// The next byte of each stream.
    pub(super) bytes: [u64; 2],
    /// Line ends of both before it; none where that is not known.
    pub(super) newlines: Option<u64>,
    /// Bytes of each stream that were passed, are not on the disk, and were not told of yet.
    missing: [u64; 2],
}

impl Position {
    /// The begin of the output.
    pub(super) const BEGIN: Self = Self::at([0, 0], Some(0));

    /// A place behind so many bytes and line ends.
    pub(super) const fn at(bytes: [u64; 2], newlines: Option<u64>) -> Self {
        Self { bytes, newlines, missing: [0, 0] }
    }

    /// Whether bytes were passed that are missing and were not told of yet.
    pub(super) fn has_missing(self) -> bool {
        self.missing != [0, 0]
    }
}

/// What is wanted of the chunks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Only this stream.
    pub(super) stream: Option<Stream>,
    /// Also bytes that no entry names.
    pub(super) unindexed: bool,
    /// Lines are counted also where that means reading what is not wanted.
    pub(super) counted: bool,
    /// About so many bytes at a time.
    pub(super) piece: u64,
}

/// Some bytes of a stream, or a gap in it.
pub(super) struct Chunk<'a> {
    pub(super) at: Timestamp,
    pub(super) stream: Stream,
    /// Where it begins in its stream.
    pub(super) from: u64,
    /// Line ends of both streams before it.
    pub(super) newlines: Option<u64>,
    pub(super) content: Content<'a>,
}

pub(super) enum Content<'a> {
    Bytes(&'a [u8]),
    /// So many bytes are missing here.
    Missing(u64),
}

/// The files of an attempt, as long as they were when they were opened.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) index: Index,
    pub(super) streams: [StreamBytes; 2],
    /// The entry that was used last.
    pub(super) entry: u64,
}

impl Files {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let files = Self::look(folder)?;
        let bare = files.index.count() == 0 && files.streams.iter().any(|stream| stream.end() > 0);
        // A log may just begin: bytes are in their order as long as there is no index after they were seen.
        if bare && Index::open(&Found::look(folder)?.index)?.count() > 0 { Self::look(folder) } else { Ok(files) }
    }

    fn look(folder: &Path) -> io::Result<Self> {
        let mut found = Found::look(folder)?;
        // The index first: then every byte that it names is within the lengths read after it.
        let index = Index::open(&found.index)?;
        if index.count() > 0 {
            // Files that were made meanwhile belong to the index that was just read.
            found = Found::look(folder)?;
        }
        let [out, err] = &found.streams;
        Ok(Self { index, streams: [StreamBytes::open(out)?, StreamBytes::open(err)?], entry: 0 })
    }

    /// Where a stream ends: behind its last byte, or where the index says that it was.
    pub(super) fn end(&self, stream: usize) -> u64 {
        self.streams[stream].end().max(if self.index.counts_lines() { self.index.last().ends[stream] } else { 0 })
    }

    /// The time given to bytes that no entry names: the last change of the files, or that of the last entry if it is later.
    pub(super) fn unindexed_at(&self) -> Timestamp {
        self.streams.iter().map(StreamBytes::changed).fold(self.index.last().at, Timestamp::max)
    }

    /// The next chunk after a position, which moves on.
    pub(super) fn next<'a>(&'a mut self, position: &mut Position, wanted: Wanted) -> io::Result<Option<Chunk<'a>>> {
        let Some((stream, to, at)) = self.seek(position, wanted)? else { return Ok(None) };
        let here = layout::at(stream);
        let from = position.bytes[here];
        let newlines = position.newlines;
        let to = to.min(from + wanted.piece);
        let missing = std::mem::take(&mut position.missing[here]);
        if missing > 0 {
            return Ok(Some(Chunk { at, stream, from, newlines, content: Content::Missing(missing) }));
        }
        // `seek` stops at bytes only; a file that is gone since then is passed by the next call.
        let bytes = match self.streams[here].piece(from, to)? {
            Piece::Bytes(bytes) => bytes,
            Piece::Gap => &[],
        };
        position.bytes[here] = if bytes.is_empty() { to } else { from + bytes.len() as u64 };
        position.missing[here] = position.bytes[here] - from - bytes.len() as u64;
        position.newlines = newlines.map(|count| count + count_newlines(bytes)).filter(|_| !bytes.is_empty());
        Ok(Some(Chunk { at, stream, from, newlines, content: Content::Bytes(bytes) }))
    }

    /// What is missing at the end, and was not told of.
    pub(super) fn missing_at_end(&self, position: &mut Position) -> impl Iterator<Item = (Stream, u64)> {
        let missing = std::mem::take(&mut position.missing);
        Stream::ALL.into_iter().zip(missing).filter(|(_, missing)| *missing > 0)
    }

    /// Moves on to bytes that are wanted and on the disk: their stream, an end of what belongs together, and the time.
    fn seek(&mut self, position: &mut Position, wanted: Wanted) -> io::Result<Option<(Stream, u64, Timestamp)>> {
        self.find_entry(position)?;
        while let Some(entry) = self.index.get(self.entry)? {
            for stream in Stream::ALL {
                let end = match self.index.counts_lines() {
                    true => entry.ends[layout::at(stream)],
                    // Of the first version: it survived a power cut that the bytes did not survive.
                    false => entry.ends[layout::at(stream)].min(self.streams[layout::at(stream)].end()),
                };
                if self.pass(position, stream, end, wanted)? {
                    if position.newlines.is_none() && self.index.counts_lines() {
                        position.newlines = self.count_back(position, entry)?;
                    }
                    return Ok(Some((stream, end, entry.at)));
                }
            }
            if self.index.counts_lines() {
                position.newlines = Some(entry.newlines);
            }
            self.entry += 1;
        }
        for stream in Stream::ALL {
            let end = self.streams[layout::at(stream)].end();
            if wanted.unindexed && self.pass(position, stream, end, wanted)? {
                return Ok(Some((stream, end, self.unindexed_at())));
            }
        }
        Ok(None)
    }

    /// Line ends before a position, from what the entry in which it is says of its end; none where that would mean reading much.
    fn count_back(&mut self, position: &Position, entry: Entry) -> io::Result<Option<u64>> {
        let mut after = 0;
        for (stream, end) in entry.ends.into_iter().enumerate() {
            let mut from = position.bytes[stream];
            while from < end {
                if end - from > SPAN as u64 {
                    return Ok(None);
                }
                let Piece::Bytes(bytes) = self.streams[stream].piece(from, end)? else { return Ok(None) };
                after += count_newlines(bytes);
                from += bytes.len() as u64;
            }
        }
        Ok(entry.newlines.checked_sub(after))
    }

    /// The entry that the position is in, or at whose end it is. Mostly it is still the one of the last call.
    pub(super) fn find_entry(&mut self, position: &Position) -> io::Result<()> {
        let is_passed = |ends: [u64; 2]| ends[0] <= position.bytes[0] && ends[1] <= position.bytes[1];
        let is_near =
            is_passed(self.index.before(self.entry)?.ends) && self.index.get(self.entry + 1)?.is_none_or(|entry| !is_passed(entry.ends));
        if !is_near {
            self.entry = self.index.find(|entry| is_passed(entry.ends))?;
        }
        Ok(())
    }

    /// Passes what is not wanted or not there before `end`. Whether wanted bytes were met.
    fn pass(&mut self, position: &mut Position, stream: Stream, end: u64, wanted: Wanted) -> io::Result<bool> {
        let here = layout::at(stream);
        let is_wanted = wanted.stream.is_none_or(|only| only == stream);
        while position.bytes[here] < end {
            let from = position.bytes[here];
            // What is passed unread is counted where that is cheap, or where it was asked for.
            let is_read = is_wanted || wanted.counted || (end - from <= SPAN as u64 && self.entry >= self.index.count());
            if !is_read {
                position.bytes[here] = end;
                position.newlines = None;
                break;
            }
            let (length, newlines, is_there) = match self.streams[here].piece(from, end.min(from + wanted.piece))? {
                Piece::Bytes(_) if is_wanted => return Ok(true),
                Piece::Bytes(bytes) => (bytes.len() as u64, Some(count_newlines(bytes)), true),
                // All of it at once: an index that lost some bits may speak of more than any disk holds.
                Piece::Gap => (self.streams[here].gap(from, end), None, false),
            };
            position.bytes[here] += length;
            position.newlines = position.newlines.zip(newlines).map(|(before, more)| before + more);
            position.missing[here] += if is_wanted && !is_there { length } else { 0 };
        }
        Ok(false)
    }
}

/// Number of line ends in some bytes.
pub(super) fn count_newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Names in an attempt's folder that belong to its log.
#[derive(Debug, Default)]
struct Found {
    index: Vec<PathBuf>,
    streams: [Vec<(u64, PathBuf)>; 2],
}

impl Found {
    fn look(folder: &Path) -> io::Result<Self> {
        let mut index = Vec::new();
        let mut found = Self::default();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(from) = layout::begin(layout::INDEX, name) {
                index.push((from, folder.join(name)));
            }
            for stream in Stream::ALL {
                if let Some(from) = layout::begin(stream.file_name(), name) {
                    found.streams[layout::at(stream)].push((from, folder.join(name)));
                }
            }
        }
        index.sort_unstable();
        found.streams.iter_mut().for_each(|files| files.sort_unstable());
        found.index = index.into_iter().map(|(_, path)| path).collect();
        Ok(found)
    }
}
