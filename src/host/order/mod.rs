//! The log of a whole run in one order: every line of every attempt has a number, from 1, that never changes.
//!
//! Attempts write their output each into its own folder; what came first among them is decided once, when somebody first looks, and kept
//! in the run's *order file*: append-only, a record for each span of lines, as the host saw them. So a number of a line is a place in
//! that file: whoever read up to a number goes on behind it, at this host or at the next one, without a gap and without anything twice.
//!
//! `file` is the file, `tail` the thread that continues it while a run goes on, `read` makes lines of it again. Knows nothing of HTTP.

mod file;
mod merge;
mod read;
mod sources;
mod tail;
#[cfg(test)]
mod tests;

pub use read::{Page, Wanted};
pub(super) use sources::Sources;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::handle::CommandError;
use crate::event::RunStatus;
use crate::ids::{AttemptNumber, RunId};
use crate::logs::Line;

use file::Reading;

/// An attempt whose output is in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Path of its node.
    pub node: String,
    /// Its number.
    pub attempt: AttemptNumber,
    /// Where its output is.
    folder: PathBuf,
}

/// A line of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderedLine {
    /// Its number in the run, from 1.
    pub id: u64,
    /// Who wrote it.
    pub attempt: Arc<Attempt>,
    /// The line.
    pub line: Line,
}

/// How far the order of a run has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extent {
    /// Number of its last line; 0 where there is none.
    pub last: u64,
    /// Everything that was there when it was opened is in it.
    pub caught_up: bool,
    /// How the run ended; then nothing will follow any more.
    pub ended: Option<RunStatus>,
    /// Why it cannot be continued at this moment.
    pub trouble: Option<String>,
}

/// What somebody who follows an order is told.
#[derive(Debug)]
pub enum News {
    /// It has come further; these lines are new, or, where they are none, are to be read from it.
    Lines(Vec<OrderedLine>),
    /// Its extent is another one: it has caught up, ended, or is in trouble.
    Changed,
    /// The host lets go of the run; the next one continues it.
    Left,
}

/// Takes news on the tail's thread. Returns whether it wants more; asked about once a second also without news.
pub type NewsSink = Box<dyn FnMut(Option<News>) -> bool + Send>;

/// The order of a run, opened for reading and continued by its tail.
#[derive(Debug)]
pub struct Order {
    run: RunId,
    folder: PathBuf,
    reading: Reading,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    records: u64,
    attempts: Vec<Arc<Attempt>>,
    extent: Extent,
}

/// Why the order of a run cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The host's answer.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Nothing is left of it.
    #[error("{0}")]
    Gone(String),
    /// The disk.
    #[error("the log of the run cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

impl Order {
    /// The run.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Whether the run's folder is still there: it may have been pruned meanwhile.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.folder.is_dir()
    }

    /// How far it has come.
    #[must_use]
    pub fn extent(&self) -> Extent {
        self.shared().extent.clone()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // What is in it is replaced as a whole: a panic elsewhere leaves nothing half done.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
