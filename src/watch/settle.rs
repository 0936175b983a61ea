//! When a file that has changed is taken: not while somebody writes it, and not in the moment in which it is replaced.
//!
//! Pure: times come in as arguments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::hints::Hints;
use super::stamp::Stamp;

/// A file that has looked the same for so long is taken, where nobody can say whether its writer is done.
pub const QUIET: Duration = Duration::from_millis(300);
/// The same for a file whose writer is known not to have closed it: one that writes slowly is waited for, one that holds it open for ever is
/// not.
pub(super) const QUIET_OPEN: Duration = Duration::from_secs(5);

/// Remembers which state of each file was taken, and which is waited for.
#[derive(Debug, Default)]
pub struct Settler {
    /// None: it is there, and its next state is taken whatever it is.
    taken: BTreeMap<PathBuf, Option<Stamp>>,
    waiting: BTreeMap<PathBuf, Waiting>,
}

/// A state of a file that is not the taken one.
#[derive(Debug)]
struct Waiting {
    /// None: it is gone.
    stamp: Option<Stamp>,
    since: Instant,
    open: bool,
}

/// What a look gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Files to be read, new or in a new state.
    pub changed: Vec<PathBuf>,
    /// Files that are gone.
    pub removed: Vec<PathBuf>,
    /// When to look again, since some have changed and not settled yet.
    pub again: Option<Duration>,
}

impl Settled {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

impl Settler {
    /// Compares what is there now with what was taken. What is given as changed or removed counts as taken from now on.
    pub fn look(&mut self, listed: &BTreeMap<PathBuf, Stamp>, hints: &Hints, now: Instant, wall: SystemTime) -> Settled {
        let mut settled = Settled::default();
        let mut waiting = BTreeMap::new();
        for (path, stamp) in listed {
            let was = self.waiting.remove(path);
            if self.is_taken(path, Some(stamp)) {
                continue;
            }
            let seen = was.as_ref().filter(|was| was.stamp == Some(*stamp)).map_or(now, |was| was.since);
            let open = !hints.is_closed(path) && (hints.is_open(path) || was.is_some_and(|was| was.open));
            let quiet = if open { QUIET_OPEN } else { QUIET };
            let quiet_for = stamp.age(wall).unwrap_or_default().max(now.saturating_duration_since(seen));
            if hints.is_closed(path) || quiet_for >= quiet {
                settled.changed.push(path.clone());
            } else {
                settled.wait(quiet - quiet_for);
                waiting.insert(path.clone(), Waiting { stamp: Some(*stamp), since: seen, open });
            }
        }
        for path in self.taken.keys().filter(|path| !listed.contains_key(*path)) {
            let seen = self.waiting.get(path).filter(|was| was.stamp.is_none()).map_or(now, |was| was.since);
            let quiet_for = now.saturating_duration_since(seen);
            if quiet_for >= QUIET {
                settled.removed.push(path.clone());
            } else {
                settled.wait(QUIET - quiet_for);
                waiting.insert(path.clone(), Waiting { stamp: None, since: seen, open: false });
            }
        }
        self.waiting = waiting;
        for path in &settled.changed {
            self.taken.insert(path.clone(), listed.get(path).copied());
        }
        for path in &settled.removed {
            self.taken.remove(path);
        }
        settled
    }

    /// Takes everything as it is: the first look, before which nothing was there to be kept.
    pub fn take_all(&mut self, listed: BTreeMap<PathBuf, Stamp>) {
        self.waiting.clear();
        self.taken = listed.into_iter().map(|(path, stamp)| (path, Some(stamp))).collect();
    }

    /// Whether a file, or that there is none, is the state that was taken.
    #[must_use]
    pub fn is_taken(&self, path: &Path, stamp: Option<&Stamp>) -> bool {
        match self.taken.get(path) {
            Some(taken) => taken.is_some() && taken.as_ref() == stamp,
            None => stamp.is_none(),
        }
    }

    /// Whether a file that was taken is missing at this moment, and not long enough to be gone.
    #[must_use]
    pub fn is_missing(&self, path: &Path) -> bool {
        self.waiting.get(path).is_some_and(|waiting| waiting.stamp.is_none())
    }

    /// Whether a file has changed, or is missing, and has not settled yet.
    #[must_use]
    pub fn is_unsettled(&self, path: &Path) -> bool {
        self.waiting.contains_key(path)
    }

    /// Whether some files have changed and not settled yet.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Has a file taken again as soon as it has settled, although it may look the same.
    pub fn doubt(&mut self, path: &Path) {
        if let Some(taken) = self.taken.get_mut(path) {
            *taken = None;
        }
    }
}

impl Settled {
    fn wait(&mut self, time: Duration) {
        self.again = Some(self.again.map_or(time, |again| again.min(time)));
    }
}
