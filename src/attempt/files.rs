//! What systems do differently with the files of an attempt: the lock that proves its wrapper alive, and giving a file its name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::folder::open_private;

/// Takes the lock that proves a wrapper alive. It is let go with the handle, however the process dies.
///
/// # Errors
/// [`TryLockError::WouldBlock`] if a wrapper or a looker has it; what the system said.
pub(crate) fn lock_for_life(file: &File) -> Result<(), TryLockError> {
    #[cfg(windows)]
    return crate::win32::try_lock(file);
    #[cfg(not(windows))]
    file.try_lock()
}

/// Tests that lock; lookers do not disturb each other.
///
/// # Errors
/// [`TryLockError::WouldBlock`] if the wrapper lives; what the system said.
pub(super) fn look_at_lock(file: &File) -> Result<(), TryLockError> {
    #[cfg(windows)]
    return crate::win32::try_lock_shared(file);
    #[cfg(not(windows))]
    file.try_lock_shared()
}

/// Gives a file its name, in place of another one if need be.
///
/// # Errors
/// What the system said.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    patiently(|| std::fs::rename(from, to))
}

/// Writes a file aside and gives it its name. Where that fails nothing is left of it.
///
/// # Errors
/// What the system said first.
pub(super) fn replace(path: &Path, aside: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = open_private(OpenOptions::new().write(true).create(true).truncate(true), aside)?;
    let filled = fill(&mut file);
    drop(file);
    let done = filled.and_then(|()| rename(aside, path));
    if done.is_err() {
        // A later try makes it anew.
        let _ = std::fs::remove_file(aside);
    }
    done
}

/// Does something to the name of a file. On Windows somebody may have the file open for a moment, a reader or a virus scanner; that is
/// waited for, about a second in all.
///
/// # Errors
/// What the system said last.
pub(crate) fn patiently<T>(mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    #[cfg(windows)]
    for round in 1..ROUNDS {
        match act() {
            Err(error) if is_held(&error) => std::thread::sleep(PAUSE * round),
            done => return done,
        }
    }
    act()
}

#[cfg(windows)]
const ROUNDS: u32 = 14;

#[cfg(windows)]
const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Whether somebody else's handle is in the way: access denied, sharing violation, lock violation.
#[cfg(windows)]
fn is_held(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(5 | 32 | 33))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn f11_nothing_is_left_of_a_file_that_cannot_get_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("f/in the way")).unwrap();
        assert!(replace(&at("f"), &at("f.tmp"), |file| file.write_all(b"x")).is_err());
        assert!(replace(&at("g"), &at("g.tmp"), |_| Err(io::Error::other("no"))).is_err());
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["f"]);
    }

    #[test]
    fn a_file_that_is_open_for_a_moment_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (new, old) = (folder.path().join("new"), folder.path().join("old"));
        std::fs::write(&old, "old").unwrap();
        std::fs::write(&new, "new").unwrap();
        let reader = File::open(&old).unwrap();
        let (began, begun) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                began.send(()).unwrap();
                rename(&new, &old).unwrap();
            });
            begun.recv().unwrap();
            drop(reader);
        });
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "new");
        assert!(rename(&new, &old).is_err(), "what is not there is not waited for");
    }
}
