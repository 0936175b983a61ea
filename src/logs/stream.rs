//! The bytes of one stream as they lie on the disk: one file, or several with gaps between them.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use crate::units::Timestamp;

/// Bytes read at a time, at least, so that small chunks do not cost a call each.
const WINDOW: u64 = 64 << 10;
/// And at most.
const WINDOW_MAX: u64 = 256 << 10;

/// A stream, as long as it was when it was opened. One file of it is open at a time.
#[derive(Debug, Default)]
pub(super) struct StreamBytes {
    segments: Vec<Segment>,
    open: Option<(usize, File)>,
    window: Vec<u8>,
    window_from: u64,
    changed: Timestamp,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    from: u64,
    end: u64,
}

/// What is at a place of a stream.
pub(super) enum Piece<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// Bytes that are not on the disk; [`StreamBytes::gap`] says how many.
    Gap,
}

impl StreamBytes {
    /// The stream that lies in these files, each with the byte at which it begins.
    pub(super) fn open(files: &[(u64, PathBuf)]) -> io::Result<Self> {
        let mut stream = Self::default();
        for (from, path) in files {
            let metadata = match fs::metadata(path) {
                Ok(metadata) => metadata,
                // The cap took it just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let micros = changed.and_then(|passed| i64::try_from(passed.as_micros()).ok()).unwrap_or_default();
            stream.changed = stream.changed.max(Timestamp::from_micros(micros));
            if let Some(before) = stream.segments.last_mut() {
                before.end = before.end.min(*from);
            }
            stream.segments.push(Segment { path: path.clone(), from: *from, end: from.saturating_add(metadata.len()) });
        }
        Ok(stream)
    }

    /// Behind the last byte.
    pub(super) fn end(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.end)
    }

    /// When it was last written to.
    pub(super) fn changed(&self) -> Timestamp {
        self.changed
    }

    /// Whether any byte of a range is there.
    pub(super) fn holds(&self, from: u64, to: u64) -> bool {
        let first = self.segments.partition_point(|segment| segment.end <= from);
        self.segments.get(first).is_some_and(|segment| segment.from < to)
    }

    /// Whether all bytes of a range are there, in one file.
    pub(super) fn has_all(&self, from: u64, to: u64) -> bool {
        let first = self.segments.partition_point(|segment| segment.end <= from);
        self.segments.get(first).is_some_and(|segment| segment.from <= from && to <= segment.end)
    }

    /// All bytes from `from` to `to`, which are in one file. So many from `from` on are read and no more: what follows is then at hand.
    pub(super) fn exactly(&mut self, from: u64, to: u64, read: u64) -> io::Result<Piece<'_>> {
        let at = self.segments.partition_point(|segment| segment.end <= from);
        let Some(segment) = self.segments.get(at) else { return Ok(Piece::Gap) };
        let wanted = read.min(segment.end - from);
        let window_end = self.window_from + self.window.len() as u64;
        let is_here = self.window_from <= from && from + wanted <= window_end;
        if !is_here && (!self.load(at, from, wanted)? || from + (self.window.len() as u64) < to) {
            return Ok(Piece::Gap);
        }
        self.piece(from, to)
    }

    /// What is at `from`, at most up to `to`, which lies behind it. A piece may be shorter than what there is.
    pub(super) fn piece(&mut self, from: u64, to: u64) -> io::Result<Piece<'_>> {
        let window_end = self.window_from + self.window.len() as u64;
        if from < self.window_from || from >= window_end {
            let at = self.segments.partition_point(|segment| segment.end <= from);
            let Some(segment) = self.segments.get(at) else { return Ok(Piece::Gap) };
            if segment.from > from {
                return Ok(Piece::Gap);
            }
            let wanted = (to - from).clamp(WINDOW, WINDOW_MAX).min(segment.end - from);
            if !self.load(at, from, wanted)? {
                return Ok(Piece::Gap);
            }
        }
        let skipped = usize::try_from(from - self.window_from).unwrap_or(usize::MAX);
        let rest = self.window.get(skipped..).unwrap_or_default();
        let length = usize::try_from(to - from).unwrap_or(usize::MAX).min(rest.len());
        Ok(Piece::Bytes(&rest[..length]))
    }

    /// How much is missing from `from` on, where something is, at most up to `to`.
    pub(super) fn gap(&self, from: u64, to: u64) -> u64 {
        let next = self.segments.iter().map(|segment| if segment.from > from { segment.from } else { segment.end });
        next.filter(|next| *next > from).min().unwrap_or(to).min(to) - from
    }

    /// The bytes before `to`, as far as they are there without a gap, at most so many.
    pub(super) fn before(&mut self, to: u64, at_most: u64) -> io::Result<Vec<u8>> {
        let at = self.segments.partition_point(|segment| segment.end < to);
        let Some(segment) = self.segments.get(at).filter(|segment| segment.from < to) else { return Ok(Vec::new()) };
        // A file that ends where the next one begins is no gap.
        let mut begin = segment.from;
        for earlier in self.segments[..at].iter().rev() {
            if earlier.end < begin {
                break;
            }
            begin = earlier.from;
        }
        let from = to.saturating_sub(at_most).max(begin);
        let mut bytes = Vec::new();
        while from + (bytes.len() as u64) < to {
            match self.piece(from + bytes.len() as u64, to)? {
                Piece::Bytes(piece) => bytes.extend_from_slice(piece),
                Piece::Gap => return Ok(Vec::new()),
            }
        }
        Ok(bytes)
    }

    /// Reads a part of a file; false where there is nothing any more.
    fn load(&mut self, at: usize, from: u64, wanted: u64) -> io::Result<bool> {
        let segment = &self.segments[at];
        if self.open.as_ref().is_none_or(|(open, _)| *open != at) {
            match File::open(&segment.path) {
                Ok(file) => self.open = Some((at, file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let Some((_, file)) = &mut self.open else { return Ok(false) };
        file.seek(SeekFrom::Start(from - segment.from))?;
        self.window.clear();
        self.window_from = from;
        file.take(wanted).read_to_end(&mut self.window)?;
        Ok(!self.window.is_empty())
    }
}
