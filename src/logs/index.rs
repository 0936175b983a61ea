//! The index as it is read: entries by number, found by halving. It may lie in several files (a capped log), grow, or be of the first
//! version.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::Stream;
use super::layout::{ENTRY, Entry, HEAD, MAGIC, VERSION};
use crate::units::Timestamp;

/// Entries read at a time.
const BLOCK: u64 = 256;

/// The index of an attempt, as long as it was when it was opened.
#[derive(Debug, Default)]
pub(super) struct Index {
    parts: Vec<Part>,
    count: u64,
    /// The greatest of all, since nothing decreases.
    last: Entry,
    cap: Option<u64>,
    block: Vec<Entry>,
    block_from: u64,
    /// All entries of an index of the first version; it counts no line ends.
    table: Option<Vec<Entry>>,
}

/// A file of it.
#[derive(Debug)]
struct Part {
    file: File,
    /// Number of its first entry.
    first: u64,
    count: u64,
}

impl Index {
    /// Opens these files, in their order. What cannot be an index is passed over: the bytes are shown without it.
    pub(super) fn open(paths: &[PathBuf]) -> io::Result<Self> {
        let mut index = Self::default();
        for path in paths {
            let mut file = match File::open(path) {
                Ok(file) => file,
                // The cap took it just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let mut head = [0; HEAD];
            let length = read_up_to(&mut file, &mut head)?;
            if length < 8 || head[..7] != MAGIC {
                continue;
            }
            match head[7] {
                1 if index.parts.is_empty() => index.table = Some(table_of_first_version(path)?),
                VERSION if length == HEAD => index.add(file, &head)?,
                _ => {}
            }
        }
        if let Some(table) = &index.table {
            index.count = table.len() as u64;
            index.last = table.last().copied().unwrap_or_default();
        }
        Ok(index)
    }

    fn add(&mut self, file: File, head: &[u8; HEAD]) -> io::Result<()> {
        let mut eight = [0; 8];
        eight.copy_from_slice(&head[8..16]);
        self.cap = Some(u64::from_le_bytes(eight)).filter(|cap| *cap > 0);
        let count = (file.metadata()?.len() - HEAD as u64) / ENTRY as u64;
        let mut part = Part { file, first: self.count, count };
        // Zeros at the end are what a power cut leaves.
        if let Some(last) = count.checked_sub(1)
            && part.entry(last)?.is_none()
        {
            part.count = halve(count, |at| Ok(part.entry(at)?.is_some()))?;
        }
        let Some(last) = part.count.checked_sub(1) else { return Ok(()) };
        let last = part.entry(last)?.unwrap_or_default();
        if last.total() >= self.last.total() {
            self.last = last;
            self.count += part.count;
            self.parts.push(part);
        }
        Ok(())
    }

    /// How many entries there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Whether entries say how many lines there were.
    pub(super) fn counts_lines(&self) -> bool {
        self.table.is_none() && self.count > 0
    }

    /// The cap, if it was reached.
    pub(super) fn reached_cap(&self) -> Option<u64> {
        self.cap.filter(|_| self.parts.len() > 1)
    }

    /// How far the output had come at the last entry.
    pub(super) fn last(&self) -> Entry {
        self.last
    }

    /// How far the output had come before the entry at a position.
    pub(super) fn before(&mut self, position: u64) -> io::Result<Entry> {
        match position.checked_sub(1) {
            Some(before) => Ok(self.get(before)?.unwrap_or(self.last)),
            None => Ok(Entry::default()),
        }
    }

    /// The entry at a position; none beyond the last one, and where something else than an entry is.
    pub(super) fn get(&mut self, position: u64) -> io::Result<Option<Entry>> {
        if let Some(table) = &self.table {
            return Ok(usize::try_from(position).ok().and_then(|position| table.get(position)).copied());
        }
        if position >= self.count {
            return Ok(None);
        }
        if position < self.block_from || position >= self.block_from + self.block.len() as u64 {
            self.load(position)?;
        }
        let at = usize::try_from(position.saturating_sub(self.block_from)).unwrap_or(usize::MAX);
        Ok(self.block.get(at).copied())
    }

    /// The first position whose entry is not one of those that `is_before` holds for; it must hold for the first ones only.
    pub(super) fn find(&mut self, is_before: impl Fn(&Entry) -> bool) -> io::Result<u64> {
        halve(self.count, |position| Ok(self.get(position)?.is_some_and(|entry| is_before(&entry))))
    }

    fn load(&mut self, position: u64) -> io::Result<()> {
        self.block.clear();
        let Some(part) = self.parts.iter_mut().rev().find(|part| part.first <= position) else { return Ok(()) };
        let from = (position - part.first) / BLOCK * BLOCK;
        let wanted = (part.count - from).min(BLOCK) * ENTRY as u64;
        let mut bytes = Vec::new();
        part.file.seek(SeekFrom::Start(HEAD as u64 + from * ENTRY as u64))?;
        (&part.file).take(wanted).read_to_end(&mut bytes)?;
        self.block_from = part.first + from;
        let last = self.last;
        // A flipped bit must not lead beyond the end, so that no byte of the output is passed over for it.
        let within = |entry: Entry| Entry {
            at: entry.at.min(last.at),
            ends: [entry.ends[0].min(last.ends[0]), entry.ends[1].min(last.ends[1])],
            newlines: entry.newlines.min(last.newlines),
        };
        self.block.extend(bytes.as_chunks().0.iter().map(|chunk| Entry::decode(*chunk).map_or(last, within)));
        Ok(())
    }
}

impl Part {
    fn entry(&mut self, at: u64) -> io::Result<Option<Entry>> {
        let mut bytes = [0; ENTRY];
        self.file.seek(SeekFrom::Start(HEAD as u64 + at * ENTRY as u64))?;
        let length = read_up_to(&mut self.file, &mut bytes)?;
        Ok(Entry::decode(bytes).filter(|_| length == ENTRY))
    }
}

/// The first of `count` positions at which `holds` does not.
fn halve(count: u64, mut holds: impl FnMut(u64) -> io::Result<bool>) -> io::Result<u64> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// The first version: after 8 bytes of head 16 for each chunk, its time, where it ends in its stream (7 bytes), and the stream.
fn table_of_first_version(path: &Path) -> io::Result<Vec<Entry>> {
    let bytes = fs::read(path)?;
    let mut now = Entry::default();
    let (chunks, _) = bytes.get(8..).unwrap_or_default().as_chunks::<16>();
    let decode = |chunk: &[u8; 16]| {
        let [t0, t1, t2, t3, t4, t5, t6, t7, e0, e1, e2, e3, e4, e5, e6, stream] = *chunk;
        let stream = Stream::ALL.get(usize::from(stream))?;
        let at = Timestamp::from_micros(i64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]));
        let end = &mut now.ends[super::layout::at(*stream)];
        *end = u64::from_le_bytes([e0, e1, e2, e3, e4, e5, e6, 0]).max(*end);
        now.at = now.at.max(at);
        Some(now)
    };
    Ok(chunks.iter().map_while(decode).collect())
}
