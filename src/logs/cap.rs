//! The cap of a log: its first half stays, and of what follows the last files. A file is made, filled and removed, never rewritten, which
//! works the same on every system, and beside readers.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::Path;

use super::append::BackOff;
use super::layout::{self, ENTRY, HEAD};

/// A smaller cap would be spent on heads of files.
const LEAST: u64 = 16 << 10;
/// The tail is dropped in so many steps.
const STEPS: u64 = 8;

/// How much may still be written, and what of it goes first.
#[derive(Debug)]
pub(super) struct Cap {
    limit: u64,
    /// What the files that are open now may still take.
    left: u64,
    tail: VecDeque<Step>,
    dropped: [u64; 2],
    back_off: BackOff,
}

/// Files that are removed together.
#[derive(Debug, Default)]
struct Step {
    index: String,
    streams: Vec<String>,
    kept: [u64; 2],
}

impl Cap {
    pub(super) fn new(limit: u64) -> Self {
        let limit = limit.max(LEAST);
        Self { limit, left: limit / 2 - HEAD as u64, tail: VecDeque::new(), dropped: [0, 0], back_off: BackOff::default() }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes of each stream that were removed.
    pub(super) fn dropped(&self) -> [u64; 2] {
        self.dropped
    }

    /// How many of so many bytes may be written with an entry; none if not even one.
    pub(super) fn fitting(&self, wanted: usize) -> Option<usize> {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        Some(left.saturating_sub(ENTRY).min(wanted)).filter(|fitting| *fitting > 0)
    }

    /// So many bytes and entries were written, to a file of this name if it is new.
    pub(super) fn took(&mut self, stream: usize, made: Option<String>, bytes: u64, entries: u64) {
        self.left = self.left.saturating_sub(bytes + entries * ENTRY as u64);
        if let Some(step) = self.tail.back_mut() {
            step.kept[stream] += bytes;
            step.streams.extend(made);
        }
    }

    /// Goes on to the next files, which begin at a byte of both streams; makes room for them. Whether it did: after a failure the next
    /// try is not at once.
    pub(super) fn turn(&mut self, folder: &Path, from: u64) -> io::Result<bool> {
        if !self.back_off.is_over() {
            return Ok(false);
        }
        while self.tail.len() as u64 >= STEPS {
            if let Err(error) = self.remove_oldest(folder) {
                self.back_off.failed();
                return Err(error);
            }
        }
        self.back_off.worked();
        self.tail.push_back(Step { index: layout::name(layout::INDEX, from), ..Step::default() });
        self.left = self.limit / 2 / STEPS - (HEAD + ENTRY) as u64;
        Ok(true)
    }

    /// Its bytes before its index, so that a reader never takes them for bytes that no entry names.
    fn remove_oldest(&mut self, folder: &Path) -> io::Result<()> {
        let Some(step) = self.tail.front() else { return Ok(()) };
        for name in step.streams.iter().chain([&step.index]) {
            match fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        for (dropped, kept) in self.dropped.iter_mut().zip(step.kept) {
            *dropped += kept;
        }
        self.tail.pop_front();
        Ok(())
    }
}
