//! The index as it is written: entries wait a few milliseconds for company.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;

use super::append::{BackOff, create, write_some};
use super::layout::{self, ENTRY, Entry, HEAD, SPAN_WRITTEN};
use crate::units::{DurationMs, Timestamp};

/// Entries wait at most about so long, so that a flood of small chunks costs one small write and not two each. Chunks of one stream
/// within this time share an entry.
const HOLD: DurationMs = DurationMs(5);
/// So many entries wait at most.
const HELD_MAX: usize = 128;

/// The index file and what waits for it.
#[derive(Debug, Default)]
pub(super) struct IndexFile {
    /// What the head says of the cap.
    pub(super) cap: Option<u64>,
    file: Option<File>,
    /// Whole entries end here.
    length: u64,
    /// What the file follows on: nothing, or the state at which the tail's files were turned.
    base: Option<Entry>,
    held: Vec<Entry>,
    /// The last held entry can be extended: it is of this stream, begins at this time and byte.
    open: Option<(usize, Timestamp, u64)>,
    last: Entry,
    written_at: Option<Timestamp>,
    back_off: BackOff,
    foreign: bool,
}

impl IndexFile {
    /// The output has come so far, by bytes of one stream. Gives the number of entries that it needs more.
    pub(super) fn add(&mut self, stream: usize, now: Entry) -> u64 {
        let before = std::mem::replace(&mut self.last, now);
        if let Some((of, since, from)) = self.open
            && let Some(last) = self.held.last_mut()
            && of == stream
            && now.at.since(since) < HOLD
            && now.ends[stream] - from <= SPAN_WRITTEN as u64
        {
            *last = now;
            return 0;
        }
        if self.held.len() >= HELD_MAX {
            // They cannot be written. The newest tells what the others do, but for times and order.
            self.held.clear();
        }
        self.held.push(now);
        self.open = Some((stream, now.at, before.ends[stream]));
        1
    }

    /// Whether entries have waited long enough.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let recent = self.written_at.is_some_and(|written| now.since(written) < HOLD);
        self.held.len() >= HELD_MAX || (!self.held.is_empty() && !recent)
    }

    /// The next try comes at once.
    pub(super) fn insist(&mut self) {
        self.back_off.worked();
    }

    /// What follows goes into another file, which begins with how far the output has come.
    pub(super) fn turn(&mut self, now: Entry) {
        self.file = None;
        self.foreign = false;
        self.base = Some(now);
        self.held.clear();
        self.open = None;
    }

    /// Writes what is held.
    pub(super) fn flush(&mut self, folder: &Path, now: Timestamp) -> io::Result<()> {
        if self.held.is_empty() || self.foreign || !self.back_off.is_over() {
            return Ok(());
        }
        self.written_at = Some(now);
        let written = self.try_flush(folder);
        match &written {
            Ok(()) => {
                self.held.clear();
                self.open = None;
                self.back_off.worked();
            }
            Err(error) => {
                self.foreign = self.file.is_none() && error.kind() == io::ErrorKind::AlreadyExists;
                self.back_off.failed();
            }
        }
        written
    }

    fn try_flush(&mut self, folder: &Path) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEAD + (self.held.len() + 1) * ENTRY);
        if self.file.is_none() {
            self.file = Some(create(&folder.join(layout::name(layout::INDEX, self.base.map_or(0, Entry::total))))?);
            self.length = 0;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if self.length == 0 {
            bytes.extend_from_slice(&layout::head(self.cap));
            bytes.extend(self.base.map(Entry::encode).into_iter().flatten());
        }
        bytes.extend(self.held.iter().flat_map(|entry| entry.encode()));
        let (written, failure) = write_some(file, &bytes);
        let Some(failure) = failure else {
            self.length += written as u64;
            return Ok(());
        };
        // Half an entry would shift all later ones.
        file.set_len(self.length)?;
        file.seek(SeekFrom::Start(self.length))?;
        Err(failure)
    }
}
