//! The index file: an 8-byte head, then 16 bytes for each chunk.
//!
//! ```text
//! "pqindex" version(1)    time: i64 microseconds    end of the chunk in its stream: 56 bits    stream: 8 bits     (little endian)
//! ```
//!
//! An entry holds where its chunk ends rather than how long it is (a chunk begins where the one before it in its stream ended):
//! so the last lines of a large log are found from the end, without adding up everything before.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::Stream;
use crate::units::Timestamp;

/// Name of the file in the attempt's folder.
pub(super) const FILE_NAME: &str = "index";
/// What the file begins with; the last byte is the version.
pub(super) const HEAD: [u8; 8] = *b"pqindex\x01";
/// Length of an entry.
pub(super) const ENTRY: usize = 16;
/// Entries read at a time.
const BLOCK: u64 = 4096;

/// One chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// When it was read.
    pub(super) at: Timestamp,
    pub(super) stream: Stream,
    /// Where it ends in its stream.
    pub(super) end: u64,
}

impl Entry {
    pub(super) fn encode(self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..8].copy_from_slice(&self.at.micros().to_le_bytes());
        bytes[8..].copy_from_slice(&self.end.to_le_bytes());
        bytes[ENTRY - 1] = match self.stream {
            Stream::Stdout => 0,
            Stream::Stderr => 1,
        };
        bytes
    }

    /// The entry, unless its stream is none of ours.
    pub(super) fn decode(bytes: [u8; ENTRY]) -> Option<Self> {
        let [t0, t1, t2, t3, t4, t5, t6, t7, e0, e1, e2, e3, e4, e5, e6, stream] = bytes;
        let stream = match stream {
            0 => Stream::Stdout,
            1 => Stream::Stderr,
            _ => return None,
        };
        let at = Timestamp::from_micros(i64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]));
        Some(Self { at, stream, end: u64::from_le_bytes([e0, e1, e2, e3, e4, e5, e6, 0]) })
    }
}

/// The index of an attempt, as long as it was when it was opened.
#[derive(Debug)]
pub(super) struct Index {
    file: File,
    count: u64,
    block: Vec<Entry>,
    block_from: u64,
}

impl Index {
    /// Opens the index in a folder. None where there is none, or one of another version: the bytes are shown without it.
    pub(super) fn open(folder: &Path) -> io::Result<Option<Self>> {
        let mut file = match File::open(folder.join(FILE_NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut head = [0; HEAD.len()];
        match file.read_exact(&mut head) {
            Ok(()) if head == HEAD => {}
            Ok(()) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let count = file.metadata()?.len().saturating_sub(HEAD.len() as u64) / ENTRY as u64;
        Ok(Some(Self { file, count, block: Vec::new(), block_from: 0 }))
    }

    /// How many entries there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The last entry.
    pub(super) fn last(&mut self) -> io::Result<Option<Entry>> {
        self.count.checked_sub(1).map_or(Ok(None), |position| self.get(position))
    }

    /// The entry at a position; `None` beyond the last one, and from the first one on that cannot be right.
    pub(super) fn get(&mut self, position: u64) -> io::Result<Option<Entry>> {
        if position >= self.count {
            return Ok(None);
        }
        if position < self.block_from || position >= self.block_from + self.block.len() as u64 {
            self.load(position)?;
        }
        let at = usize::try_from(position - self.block_from).unwrap_or(usize::MAX);
        let Some(entry) = self.block.get(at) else {
            self.count = position;
            return Ok(None);
        };
        Ok(Some(*entry))
    }

    fn load(&mut self, position: u64) -> io::Result<()> {
        self.block_from = position - position % BLOCK;
        let wanted = (self.count - self.block_from).min(BLOCK) * ENTRY as u64;
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(HEAD.len() as u64 + self.block_from * ENTRY as u64))?;
        (&self.file).take(wanted).read_to_end(&mut bytes)?;
        self.block.clear();
        self.block.extend(bytes.as_chunks().0.iter().map_while(|chunk| Entry::decode(*chunk)));
        Ok(())
    }
}
