//! What a journal holds: the lines of its newest snapshot, and the records after it.

use std::path::PathBuf;

use super::{Damage, Record};
use crate::ids::Seq;

/// What recovery cut off the end of the last segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trimmed {
    /// The segment.
    pub path: PathBuf,
    /// Where it was cut.
    pub offset: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
    /// Where they are kept; none for a look that changes nothing.
    pub kept: Option<PathBuf>,
}

/// Everything to be told again, verified. Drop it after the replay: it holds the files' text in memory.
#[derive(Debug, Default)]
pub struct History {}

impl History {
    /// Number of the last record that the snapshot includes; 0 without one.
    #[must_use]
    pub fn snapshot_seq(&self) -> Seq {
        todo!()
    }
    /// Lines of the snapshot, as they were given to [`Writer::snapshot`](super::Writer::snapshot).
    pub fn snapshot_lines(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }
    /// Records after the snapshot, in order, without the journal's own.
    ///
    /// # Errors
    /// A record whose checksum holds and that is yet no record, or whose blob is gone.
    pub fn records(&self) -> impl Iterator<Item = Result<Record<'_>, Damage>> {
        std::iter::empty()
    }
    /// Number of the last record; 0 in an empty journal.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        todo!()
    }
    /// Where the journal is damaged; only after `open_read_only`, which shows what stands before it.
    #[must_use]
    pub fn damage(&self) -> Option<&Damage> {
        todo!()
    }
    /// What was cut off (or, read only, what would be).
    #[must_use]
    pub fn trimmed(&self) -> Option<&Trimmed> {
        todo!()
    }
}
