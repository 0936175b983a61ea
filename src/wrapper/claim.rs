//! Taking an attempt: the claim, the lock that proves this process alive, and the start record.
//!
//! The order is that of `attempt::standing`, which reads it. Each step can be the last one of a killed wrapper.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::attempt::{CLAIM, SPEC, START, START_ASIDE, StartRecord, lock_for_life, open_private, rename};

/// A claimed attempt. The lock is held as long as this lives.
#[derive(Debug)]
pub(super) struct Claim {
    folder: PathBuf,
    file: File,
    /// The start record has its final name.
    is_named: bool,
}

impl Claim {
    /// Claims the attempt in a folder. `None`: somebody else has it, or a looker found this wrapper too late and sealed it.
    pub(super) fn take(folder: &Path) -> io::Result<Option<Self>> {
        if !claim(folder)? {
            return Ok(None);
        }
        let Some(file) = make(&folder.join(START_ASIDE))? else { return Ok(None) };
        match lock_for_life(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let sealed = file.metadata()?.len() > 0;
        Ok((!sealed).then(|| Self { folder: folder.to_owned(), file, is_named: false }))
    }

    /// Writes that the module is about to be started.
    ///
    /// Nothing is synced here or in [`Self::started`]: everybody in the same boot sees what was written. After a power cut the new boot
    /// says enough, and an exit record is synced by itself.
    pub(super) fn starting(&mut self, record: &StartRecord) -> io::Result<()> {
        self.file.write_all(record.encode().as_bytes())
    }

    /// Writes that it runs. The record is longer than the one before it, and so covers it whole.
    pub(super) fn started(&mut self, record: &StartRecord) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(record.encode().as_bytes())?;
        rename(&self.folder.join(START_ASIDE), &self.folder.join(START))?;
        self.is_named = true;
        Ok(())
    }

    /// The exit record has its name: where the start record got none, as for a module that never ran, it is of no more use.
    pub(super) fn ended(&self) {
        if !self.is_named {
            // Whoever looks finds the exit record first.
            let _ = std::fs::remove_file(self.folder.join(START_ASIDE));
        }
    }

    /// Makes the start durable. Of use only for modules that live on for a while: then a power cut leaves who ran, and since when.
    pub(super) fn sync(&self) {
        // Nothing depends on it.
        let _ = self.file.sync_data();
        #[cfg(unix)]
        drop(File::open(&self.folder).and_then(|folder| folder.sync_all()));
    }
}

/// Makes the claim; `false`: it is there already. A second name of the spec is as atomic as a new file, and costs half as much. Not every
/// file system has that, and then it is a new file.
fn claim(folder: &Path) -> io::Result<bool> {
    match std::fs::hard_link(folder.join(SPEC), folder.join(CLAIM)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(_) => make(&folder.join(CLAIM)).map(|made| made.is_some()),
    }
}

/// Makes a file; `None` if it is there already.
fn make(path: &Path) -> io::Result<Option<File>> {
    match open_private(OpenOptions::new().write(true).create_new(true), path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{Standing, standing};

    #[test]
    fn f42_an_attempt_is_claimed_once() {
        let folder = tempfile::tempdir().unwrap();
        let first = Claim::take(folder.path()).unwrap().expect("nobody has it");
        assert!(Claim::take(folder.path()).unwrap().is_none());
        assert_eq!(standing(folder.path()).unwrap(), Standing::Alive(None));
        drop(first);
        assert_eq!(standing(folder.path()).unwrap(), Standing::NeverStarted);
        assert!(Claim::take(folder.path()).unwrap().is_none(), "nor a second time after its death");
    }

    #[test]
    fn f29_a_start_record_without_a_start_goes_with_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let claim = Claim::take(folder.path()).unwrap().expect("nobody has it");
        claim.ended();
        assert!(!folder.path().join(START_ASIDE).exists());
    }

    #[test]
    fn f42_a_wrapper_that_comes_after_a_looker_refuses() {
        // A looker takes the step that the wrapper is slow to take: after the claim, and after making the start record.
        let folder = tempfile::tempdir().unwrap();
        make(&folder.path().join(CLAIM)).unwrap().unwrap();
        assert_eq!(standing(folder.path()).unwrap(), Standing::NeverStarted);
        assert!(make(&folder.path().join(START_ASIDE)).unwrap().is_none());

        let folder = tempfile::tempdir().unwrap();
        make(&folder.path().join(CLAIM)).unwrap().unwrap();
        let late = make(&folder.path().join(START_ASIDE)).unwrap().unwrap();
        assert_eq!(standing(folder.path()).unwrap(), Standing::NeverStarted);
        lock_for_life(&late).unwrap();
        assert!(late.metadata().unwrap().len() > 0, "the mark by which it refuses");
    }
}
