//! Folders of attempts, made before they are needed.
//!
//! To make them is the largest thing that lies between the end of one attempt and the start of the next. To find them made costs as much as
//! two of the other calls of a start, so that it is remembered.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::attempt::AttemptFolder;

/// Folders that are remembered. One that is forgotten is found when it is needed.
const MADE_MAX: usize = 512;

/// The folders that were made and not used yet, and whether each has a working directory in it.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    made: HashMap<PathBuf, bool>,
}

impl Ahead {
    /// Makes a folder in that of a run that is there, or not at all. What is in the way is said when it is needed.
    pub(super) fn make(&mut self, folder: &AttemptFolder, fresh: bool) {
        if folder.create_ahead(fresh).is_ok() {
            if self.made.len() == MADE_MAX {
                self.made.clear();
            }
            self.made.insert(folder.path().to_owned(), fresh);
        }
    }

    /// Whether a folder was made with all that is asked for. It is asked once.
    pub(super) fn take(&mut self, folder: &AttemptFolder, fresh: bool) -> bool {
        self.made.remove(folder.path()).is_some_and(|made| made || !fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AttemptNumber;

    #[test]
    fn what_was_made_is_told_once_and_only_if_it_is_all() {
        let run = tempfile::tempdir().unwrap();
        let [plain, fresh, never] = ["a", "b", "c"].map(|node| AttemptFolder::new(run.path(), node, AttemptNumber(1)));
        let mut ahead = Ahead::default();
        ahead.make(&plain, false);
        ahead.make(&fresh, true);
        assert!(!ahead.take(&never, false));
        assert!(!ahead.take(&plain, true), "it has no working directory");
        assert!(ahead.take(&fresh, true) && fresh.work().is_dir());
        assert!(!ahead.take(&fresh, true), "an attempt is started once");
    }

    #[test]
    fn what_could_not_be_made_counts_as_not_made() {
        let run = tempfile::tempdir().unwrap();
        let gone = AttemptFolder::new(&run.path().join("removed"), "a", AttemptNumber(1));
        let mut ahead = Ahead::default();
        ahead.make(&gone, false);
        assert!(!ahead.take(&gone, false) && !gone.path().exists());
    }

    #[test]
    fn more_than_are_remembered() {
        let run = tempfile::tempdir().unwrap();
        let mut ahead = Ahead::default();
        for number in 0..=u32::try_from(MADE_MAX).unwrap() {
            ahead.make(&AttemptFolder::new(run.path(), "a", AttemptNumber(number + 1)), false);
        }
        assert_eq!(ahead.made.len(), 1);
    }
}
