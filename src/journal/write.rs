//! Writing.
use std::time::Duration;

use super::{AppendError, Entry, JournalFailure};
use crate::ids::Seq;

/// What the writer thread reports.
#[derive(Debug, Clone)]
pub enum Progress {
    /// All records up to this one are durable.
    Synced(Seq),
    /// Nothing more is taken. Said once.
    Failed(JournalFailure),
    /// A snapshot includes everything up to this record, and a new segment was begun.
    Snapshot(Seq),
    /// A snapshot could not be written; the journal goes on without it.
    SnapshotFailed(JournalFailure),
}

/// Appends records. All methods take `&self`; share it in an `Arc` where several threads write. Dropping it closes the journal.
#[derive(Debug)]
pub struct Writer {}

impl Writer {
    /// Takes a record and gives it its number. Never waits for the disk.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(&self, _entry: Entry<'_>) -> Result<Seq, AppendError> {
        todo!()
    }
    /// Waits until everything taken so far is durable; false when `limit` passed first.
    ///
    /// # Errors
    /// When the journal failed.
    pub fn flush_and_wait(&self, _limit: Duration) -> Result<bool, AppendError> {
        todo!()
    }
    /// Whether so much was written since the last snapshot that it is time for the next.
    #[must_use]
    pub fn needs_snapshot(&self) -> bool {
        todo!()
    }
    /// Writes the host's state after record `upto` as a snapshot, one line of JSON each (without line ends), and begins a new segment. Returns at once;
    /// the end is reported as [`Progress::Snapshot`] or [`Progress::SnapshotFailed`].
    pub fn snapshot(&self, _lines: Vec<String>, _upto: Seq) {
        todo!()
    }
    /// Number of the last record taken.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        todo!()
    }
    /// Syncs what is left and ends the thread.
    ///
    /// # Errors
    /// When the journal failed, now or before.
    pub fn close(self) -> Result<(), AppendError> {
        todo!()
    }
}
