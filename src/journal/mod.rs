//! The journal: one append-only list of records on disk, from which every run can be told again.
//!
//! ```text
//!  host ── append ──▶ gathering buffer ──▶ writer thread ──▶ journal/000002.jsonl
//!   ▲                  (under a mutex)      write, fdatasync        │
//!   └── Progress::Synced(seq) ◀──────────────────┘            recovery ──▶ History (snapshot lines, then records)
//! ```
//!
//! A record is one line of JSON with a checksum, the checksum of the record before it, and a number without gaps (`record.rs` has
//! the format). Appending never waits for the disk: while one batch is written and synced the next gathers, which is group commit
//! without a timer. Recovery trims a torn tail and keeps it aside; damage anywhere else refuses the journal and changes nothing; no
//! line is ever skipped.
//!
//! A write or a sync that fails gives its segment up for good. The journal takes nothing then until whoever owns it has it
//! [healed](Writer::heal) by a snapshot and a new segment.
//!
//! The journal must not know what its records mean: kinds and data are opaque to it, and so are the lines of a snapshot. Only `host`
//! talks to it. It takes no lock: whoever calls [`open`] holds the lock of the state folder. [`open_read_only`] needs none.
//!
//! In the folder: `NNNNNN.jsonl` segments, `snapshot-NNNNNN.jsonl` (the state at the begin of that segment), `blobs/` (data too long
//! for a line, by hash), `quarantine/` (what was trimmed), `ballast` (deleted when the disk is full).

mod blob;
mod boot;
mod error;
mod files;
mod heal;
mod history;
mod record;
mod recover;
mod repair;
mod reserve;
mod scan;
mod segment;
mod snapshot;
mod thread;
mod verify;
mod write;

pub use boot::boot_id;
pub use error::{AppendError, Damage, FailureKind, JournalFailure, OpenError};
pub use history::{History, Trimmed};
pub use record::Record;
pub use recover::{Opened, open, open_from_oldest, open_read_only};
pub use repair::{RepairError, Repaired, repair};
pub use verify::{SegmentEnd, SegmentReport, SnapshotReport, Verified, verify};
pub use write::{Progress, Writer};

use serde_json::value::RawValue;

use crate::ids::{AttemptNumber, RunId};
use crate::units::Timestamp;

/// Format of segments and snapshots that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// A record to be appended. Borrowed, since it is encoded before `append` returns.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// What happened, e.g. `run.submit`. Never `seg.open` or `journal.*`, which are the journal's own.
    pub kind: &'a str,
    /// The run concerned.
    pub run: Option<&'a RunId>,
    /// Path of the node within the run.
    pub node: Option<&'a str>,
    /// The attempt of the node.
    pub attempt: Option<AttemptNumber>,
    /// Anything else, as JSON. However long: what does not fit a line goes to `blobs/` by itself.
    pub data: Option<&'a RawValue>,
    /// Wall clock, for people; the order of records is their number.
    pub at: Timestamp,
    /// Whether somebody waits for it.
    pub urgency: Urgency,
}

/// How soon a record must be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Written at once (so it survives the end of the program) and synced within [`SOON`]; nobody waits.
    Soon,
    /// Written and synced at once: an answer or a start waits for it.
    Now,
}

/// Longest time between the writing of an [`Urgency::Soon`] record and its sync.
pub const SOON: std::time::Duration = std::time::Duration::from_millis(50);

/// When a journal wants a snapshot and a new segment. The defaults bound a replay to well under a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of records since the last snapshot.
    pub bytes: u64,
    /// Number of records since the last snapshot.
    pub records: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 16 << 20, records: 50_000 }
    }
}

/// How a journal is opened.
pub struct Options {
    /// Called by the writer thread whenever records became durable, and once when it fails. It must not block; it may call
    /// [`Writer::append`].
    pub on_progress: Box<dyn Fn(Progress) + Send>,
    /// When a snapshot is due.
    pub limits: Limits,
}

impl Options {
    /// The usual limits with this receiver of progress.
    pub fn new(on_progress: impl Fn(Progress) + Send + 'static) -> Self {
        Self { on_progress: Box::new(on_progress), limits: Limits::default() }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
