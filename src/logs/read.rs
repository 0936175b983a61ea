//! Reading: the chunks in the order of the index, then the bytes that it does not name, made into lines.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::Stream;
use super::index::Index;
use super::lines::{Assembler, Line};
use super::tail::{self, Start};
use crate::units::Timestamp;

/// Bytes read at a time.
pub(super) const PIECE: u64 = 64 << 10;
/// About so many bytes are read by one [`LogReader::poll`], so that a flood cannot fill the memory of a follower.
const POLL_MAX: u64 = 1 << 20;

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Query {
    /// Only the last so many.
    pub tail: Option<usize>,
    /// Only this stream.
    pub stream: Option<Stream>,
    /// Only lines read at this time or later.
    pub since: Option<Timestamp>,
}

impl Query {
    pub(super) fn wants(self, stream: Stream) -> bool {
        self.stream.is_none_or(|wanted| wanted == stream)
    }

    fn is_late_enough(self, line: &Line) -> bool {
        self.since.is_none_or(|since| line.at >= since)
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
    /// them. A tail is read from the end; there, a line longer than [`LINE_MAX`](super::LINE_MAX) may be cut at other places.
    ///
    /// # Errors
    /// What the system said.
    pub fn lines(&self, query: Query) -> io::Result<Lines> {
        let mut files = Files::open(&self.folder)?;
        let start = match (query.tail, query.since) {
            (Some(count), _) => tail::start_of_tail(&mut files, query, count)?,
            (None, Some(since)) => tail::start_since(&mut files, query, since)?,
            (None, None) => Start::default(),
        };
        let position = start.position;
        let mut lines = Lines { files, query, position, assemblers: Default::default(), ready: VecDeque::new(), ended: false };
        for (stream, half) in Stream::ALL.into_iter().zip(start.halves) {
            if let Some((at, bytes)) = half.filter(|_| query.wants(stream)) {
                lines.accept(Chunk { at, stream, bytes });
            }
        }
        if let Some(count) = query.tail {
            lines.keep_last(count)?;
        }
        Ok(lines)
    }

    /// The lines that came since the cursor was last here (a new cursor: from the begin). Gives about a mebibyte at most, so call it
    /// until nothing comes. While the attempt runs, half lines and bytes that are not yet in the index wait for the next call;
    /// with `ended` they come too.
    ///
    /// # Errors
    /// What the system said; the cursor stays usable.
    pub fn poll(&self, cursor: &mut Cursor, ended: bool) -> io::Result<Vec<Line>> {
        let mut files = Files::open(&self.folder)?;
        let mut lines = Vec::new();
        let mut read = 0;
        let bare = files.index.is_none();
        while read < POLL_MAX {
            let Some(chunk) = files.next(&mut cursor.position, Query::default(), ended || bare)? else {
                if ended {
                    finish(&mut cursor.assemblers, &mut |line| lines.push(line));
                }
                break;
            };
            read += chunk.bytes.len() as u64;
            let assembler = &mut cursor.assemblers[chunk.stream.at()];
            assembler.feed(&chunk.bytes, chunk.at, |text, partial| lines.push(Line { at: chunk.at, stream: chunk.stream, text, partial }));
        }
        Ok(lines)
    }
}

/// Where a follower stands.
#[derive(Debug, Clone, Default)]
pub struct Cursor {
    position: Position,
    assemblers: [Assembler; 2],
}

/// A place in the order of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// The next index entry.
    pub(super) entry: u64,
    /// The next byte of each stream.
    pub(super) bytes: [u64; 2],
}

/// Some bytes of a stream.
pub(super) struct Chunk {
    at: Timestamp,
    stream: Stream,
    bytes: Vec<u8>,
}

/// The files of an attempt, as long as they were when they were opened.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) index: Option<Index>,
    streams: [Option<File>; 2],
    pub(super) lengths: [u64; 2],
    changed: Timestamp,
    last_at: Timestamp,
}

impl Files {
    fn open(folder: &Path) -> io::Result<Self> {
        // The index first: then every byte that it names is within the lengths read after it.
        let mut index = Index::open(folder)?;
        let last = index.as_mut().map_or(Ok(None), Index::last)?;
        let last_at = last.map(|entry| entry.at).unwrap_or_default();
        let mut files = Self { index, streams: [None, None], lengths: [0, 0], changed: Timestamp::default(), last_at };
        for stream in Stream::ALL {
            let file = match File::open(folder.join(stream.file_name())) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let metadata = file.metadata()?;
            let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let micros = changed.and_then(|passed| i64::try_from(passed.as_micros()).ok()).unwrap_or_default();
            files.changed = files.changed.max(Timestamp::from_micros(micros));
            files.lengths[stream.at()] = metadata.len();
            files.streams[stream.at()] = Some(file);
        }
        Ok(files)
    }

    /// The time given to bytes that no entry names: the last change of the files, or that of the last entry if it is later.
    pub(super) fn unindexed_at(&self) -> Timestamp {
        self.changed.max(self.last_at)
    }

    /// Reads a part of a stream; shorter where the file ends.
    pub(super) fn read(&mut self, stream: Stream, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if let Some(file) = &mut self.streams[stream.at()] {
            file.seek(SeekFrom::Start(from))?;
            file.take(to.saturating_sub(from)).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }

    /// The next bytes after a position, at most [`PIECE`] of them; the position moves on.
    fn next(&mut self, position: &mut Position, query: Query, unindexed: bool) -> io::Result<Option<Chunk>> {
        while let Some(entry) = self.index.as_mut().map_or(Ok(None), |index| index.get(position.entry))? {
            let at = entry.stream.at();
            if entry.end > self.lengths[at] {
                // The index survived a power cut that the bytes did not survive. It says nothing more that can be trusted.
                break;
            }
            if query.wants(entry.stream) && position.bytes[at] < entry.end {
                return self.piece(position, entry.stream, entry.end, entry.at).map(Some);
            }
            position.entry += 1;
        }
        for stream in Stream::ALL {
            let end = self.lengths[stream.at()];
            if unindexed && query.wants(stream) && position.bytes[stream.at()] < end {
                let at = self.unindexed_at();
                return self.piece(position, stream, end, at).map(Some);
            }
        }
        Ok(None)
    }

    fn piece(&mut self, position: &mut Position, stream: Stream, end: u64, at: Timestamp) -> io::Result<Chunk> {
        let from = position.bytes[stream.at()];
        let to = end.min(from + PIECE);
        let bytes = self.read(stream, from, to)?;
        // Also where the file was cut meanwhile: what is gone is passed over, so that this ends.
        position.bytes[stream.at()] = to;
        Ok(Chunk { at, stream, bytes })
    }
}

/// Lines, read as they are asked for.
#[derive(Debug)]
pub struct Lines {
    files: Files,
    query: Query,
    position: Position,
    assemblers: [Assembler; 2],
    ready: VecDeque<Line>,
    ended: bool,
}

impl Lines {
    /// Reads to the end and keeps only the last lines.
    fn keep_last(&mut self, count: usize) -> io::Result<()> {
        while !self.ended {
            self.advance()?;
            let surplus = self.ready.len().saturating_sub(count);
            self.ready.drain(..surplus);
        }
        Ok(())
    }

    fn advance(&mut self) -> io::Result<()> {
        if let Some(chunk) = self.files.next(&mut self.position, self.query, true)? {
            self.accept(chunk);
            return Ok(());
        }
        self.ended = true;
        let Self { query, assemblers, ready, .. } = self;
        finish(assemblers, &mut |line| ready.extend(Some(line).filter(|line| query.is_late_enough(line))));
        Ok(())
    }

    fn accept(&mut self, Chunk { at, stream, bytes }: Chunk) {
        let Self { query, assemblers, ready, .. } = self;
        assemblers[stream.at()].feed(&bytes, at, |text, partial| {
            let line = Line { at, stream, text, partial };
            ready.extend(Some(line).filter(|line| query.is_late_enough(line)));
        });
    }
}

/// Gives the half lines at the end of both streams.
fn finish(assemblers: &mut [Assembler; 2], emit: &mut impl FnMut(Line)) {
    for stream in Stream::ALL {
        assemblers[stream.at()].finish(|at, text| emit(Line { at, stream, text, partial: true }));
    }
}

impl Iterator for Lines {
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
