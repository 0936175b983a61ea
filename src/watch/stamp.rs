//! What is known of a file without reading it.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A file as the disk describes it. Two equal stamps mean the same content, except where the clock of the file system is too coarse to
/// tell: see [`Stamp::may_lie`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    identity: Identity,
}

/// What tells a file from another one of the same name, length and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    /// When anything about it changed: unlike the time of its content, no program can set it.
    changed: (i64, i64),
}

/// Steps of the coarsest clock of a file system in use (FAT: two seconds), which shows by whole milliseconds in its times.
const COARSE: Duration = Duration::from_secs(2);
/// Steps of the clock of any other one: some kernels take the time of their last tick.
const FINE: Duration = Duration::from_millis(50);

impl Stamp {
    /// Looks at a file. A link is looked at itself.
    ///
    /// # Errors
    /// What the system says, above all that there is none.
    pub fn of(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|facts| Self::from(&facts))
    }

    /// The same of what a link leads to.
    ///
    /// # Errors
    /// What the system says, above all that there is nothing.
    pub fn followed(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|facts| Self::from(&facts))
    }

    /// Whether the file was written so shortly before `now` that a second write within the same step of the clock would give the same
    /// stamp. Then only the content tells.
    #[must_use]
    pub fn may_lie(&self, now: SystemTime) -> bool {
        let nanos = self.modified.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).map_or(0, |at| at.subsec_nanos());
        let step = if nanos.is_multiple_of(1_000_000) { COARSE } else { FINE };
        self.age(now).is_none_or(|age| age < step)
    }

    /// How long ago its content was written; none if that lies in the future or is not known.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        self.modified.and_then(|modified| now.duration_since(modified).ok())
    }
}

impl From<&Metadata> for Stamp {
    fn from(facts: &Metadata) -> Self {
        Self { length: facts.len(), modified: facts.modified().ok(), identity: identity(facts) }
    }
}

#[cfg(unix)]
fn identity(facts: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    Identity { device: facts.dev(), inode: facts.ino(), changed: (facts.ctime(), facts.ctime_nsec()) }
}

/// Elsewhere a replaced file is told by when it was made.
#[cfg(not(unix))]
fn identity(facts: &Metadata) -> Identity {
    let made = facts.created().ok().and_then(|made| made.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
    let seconds = i64::try_from(made.as_secs()).unwrap_or(i64::MAX);
    Identity { device: 0, inode: 0, changed: (seconds, i64::from(made.subsec_nanos())) }
}
