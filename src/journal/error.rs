//! What can go wrong with a journal. Nothing here knows exit codes; the edge maps [`OpenError::Damaged`] to 78.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::FORMAT;
use crate::ids::Seq;

/// A place in the journal that cannot be what was written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// First byte of the file that is wrong.
    pub offset: u64,
    /// Number of the record that should stand there.
    pub seq: Seq,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at byte {} (record {}): {}", self.path.display(), self.offset, self.seq.0, self.reason)
    }
}

/// Why a journal could not be opened. Nothing on disk was changed in the first two cases.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is damaged elsewhere than at its very end, where a crash cannot have done it.
    #[error("the journal is refused: {0}")]
    Damaged(Box<Damage>),
    /// A newer program wrote it.
    #[error("{} has format {found}, this program reads up to {FORMAT}", .path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The disk or the permissions said no.
    #[error("{doing} {}: {source}", .path.display())]
    Io {
        /// What was tried, e.g. `cannot read`.
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Damaged(damage) => format!(
                "nothing was changed; `prismq journal verify` shows the extent, `--read-only` opens what is whole, \
                 `prismq journal repair --cut-at {}` gives up record {} and all later ones (after a copy)",
                damage.offset, damage.seq.0
            ),
            Self::NewerFormat { .. } => "nothing was changed; use the newer program, or another workspace".to_owned(),
            Self::Io { .. } => "check the permissions and the free space of the state folder".to_owned(),
        }
    }
}

impl From<Damage> for OpenError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(Box::new(damage))
    }
}

/// Why a record was not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The journal failed and takes nothing until it is healed.
    #[error(transparent)]
    Failed(JournalFailure),
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// The names alone are longer than a line may be.
    #[error("a record's names take {length} bytes, more than a line of the journal may have")]
    TooLong {
        /// Their length.
        length: usize,
    },
}

/// Why a journal takes no records. Cheap to clone: everybody concerned gets the same.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the journal cannot be written: {doing} {}: {source}", .path.display())]
pub struct JournalFailure {
    /// What was tried.
    pub doing: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// What the system said.
    pub source: Arc<io::Error>,
    /// What can be done about it.
    pub kind: FailureKind,
}

/// What a failure of the journal is, by what can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The disk or the quota is full, or the file may grow no more: it passes when space is made.
    DiskFull,
    /// The disk did not do what it was asked for.
    Io,
    /// Somebody deleted, replaced or changed the journal's file. What the next program would read is not what was written, and no new
    /// file may hide that.
    Tampered,
    /// The thread that writes is gone, by a mistake of ours. Another host may do better.
    Ended,
}

impl FailureKind {
    /// What an error of the disk means.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge);
        if full { Self::DiskFull } else { Self::Io }
    }
}

impl JournalFailure {
    pub(super) fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let kind = FailureKind::of(&source);
        Self { doing, path: path.to_owned(), source: Arc::new(source), kind }
    }

    pub(super) fn tampered(path: &Path, what: String) -> Self {
        let source = Arc::new(io::Error::other(what));
        Self { doing: "it was tampered with:", path: path.to_owned(), source, kind: FailureKind::Tampered }
    }

    pub(super) fn ended(path: &Path) -> Self {
        let source = Arc::new(io::Error::other("see standard error"));
        Self { doing: "its thread panicked while writing", path: path.to_owned(), source, kind: FailureKind::Ended }
    }
}
