//! The folder of a run: what it takes, and its removal. Links in it are never followed.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

use crate::units::Bytes;

/// Files of a run that are measured; what lies beyond does not count. It bounds the work: a run of a million nodes has many more.
const MEASURED_MAX: usize = 1_000_000;

/// What a folder takes on the disk; 0 where there is none. What cannot be read does not count. `stop` is asked now and then, and ends the
/// work early: `None`.
pub(super) fn measure(folder: &Path, stop: &dyn Fn() -> bool) -> Option<Bytes> {
    const STOP_EVERY: usize = 256;
    let mut sum = 0;
    let mut seen = 0;
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen % STOP_EVERY == 0 && stop() {
                return None;
            }
            if seen > MEASURED_MAX {
                return Some(Bytes(sum));
            }
            // Of the entry itself, also where it is a link.
            let Ok(metadata) = entry.metadata() else { continue };
            sum += taken(&metadata);
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Some(Bytes(sum))
}

#[cfg(unix)]
fn taken(metadata: &Metadata) -> u64 {
    /// The unit of `st_blocks`, whatever the file system's own is.
    const BLOCK: u64 = 512;
    std::os::unix::fs::MetadataExt::blocks(metadata) * BLOCK
}

#[cfg(not(unix))]
fn taken(metadata: &Metadata) -> u64 {
    metadata.len()
}

/// Removes a folder with all that is in it; none there is no mistake. `stop` is asked between two entries of it: `false` where it ended
/// the work early, and the next call goes on.
///
/// # Errors
/// What the system said, of the first thing that could not be removed.
pub(super) fn remove(folder: &Path, stop: &dyn Fn() -> bool) -> io::Result<bool> {
    let entries = match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
        // Somebody moved the run elsewhere and left a link: what it points to is not ours to remove.
        Ok(metadata) if !metadata.is_dir() => return fs::remove_file(folder).or_else(|_| fs::remove_dir(folder)).map(|()| true),
        Ok(_) => fs::read_dir(folder)?,
    };
    for entry in entries {
        if stop() {
            return Ok(false);
        }
        let entry = entry?;
        let removed = if entry.file_type()?.is_dir() { remove_tree(&entry.path()) } else { fs::remove_file(entry.path()) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(true),
    }
}

/// The standard library goes through handles of folders and never through a link, whatever is exchanged meanwhile.
fn remove_tree(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // Package caches and the like make their folders read-only.
            open_up(folder);
            fs::remove_dir_all(folder)
        }
        removed => removed,
    }
}

#[cfg(unix)]
fn open_up(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        // What cannot be changed shows itself in the removal.
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
        let inner = fs::read_dir(&folder).into_iter().flatten().flatten();
        open.extend(inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
    }
}

#[cfg(not(unix))]
fn open_up(_: &Path) {}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const NEVER: &dyn Fn() -> bool = &|| false;

    fn run() -> (tempfile::TempDir, std::path::PathBuf) {
        let root = tempfile::tempdir().expect("a folder");
        let run = root.path().join("run");
        fs::create_dir_all(run.join("a.1/artifacts/deep")).expect("folders");
        fs::write(run.join("run.json"), "{}").expect("a file");
        fs::write(run.join("a.1/artifacts/deep/big"), vec![1_u8; 100_000]).expect("a file");
        (root, run)
    }

    #[test]
    fn a_folder_is_measured_and_removed() {
        let (_root, run) = run();
        let size = measure(&run, NEVER).expect("not stopped").0;
        assert!((100_000..200_000).contains(&size), "{size}");
        assert!(remove(&run, NEVER).expect("removed"));
        assert!(!run.exists());
        assert!(remove(&run, NEVER).expect("nothing to remove"));
        assert_eq!(measure(&run, NEVER), Some(Bytes(0)));
    }

    #[test]
    fn the_work_can_be_stopped_and_gone_on_with() {
        let (_root, run) = run();
        let asked = Cell::new(0);
        let second = || {
            asked.set(asked.get() + 1);
            asked.get() == 2
        };
        assert!(!remove(&run, &second).expect("no mistake"));
        assert!(run.exists());
        assert!(remove(&run, NEVER).expect("removed"));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_removed_and_what_they_point_to_stays() {
        let (root, run) = run();
        let precious = root.path().join("precious");
        fs::create_dir(&precious).expect("a folder");
        fs::write(precious.join("kept"), vec![1_u8; 1_000_000]).expect("a file");
        for link in ["link", "a.1/link", "a.1/artifacts/deep/link"] {
            std::os::unix::fs::symlink(&precious, run.join(link)).expect("a link");
            std::os::unix::fs::symlink(precious.join("kept"), run.join(format!("{link}-to-a-file"))).expect("a link");
        }
        assert!(measure(&run, NEVER).expect("not stopped").0 < 500_000, "what a link points to does not count");
        assert!(remove(&run, NEVER).expect("removed"));
        assert!(!run.exists() && precious.join("kept").exists());
        std::os::unix::fs::symlink(&precious, &run).expect("a link");
        assert!(remove(&run, NEVER).expect("removed"));
        assert!(fs::symlink_metadata(&run).is_err() && precious.join("kept").exists());
    }

    #[cfg(unix)]
    #[test]
    fn folders_without_permission_to_write_are_removed() {
        use std::os::unix::fs::PermissionsExt;
        let (_root, run) = run();
        for folder in ["a.1/artifacts/deep", "a.1/artifacts"] {
            fs::set_permissions(run.join(folder), fs::Permissions::from_mode(0o555)).expect("permissions");
        }
        assert!(remove(&run, NEVER).expect("removed"));
        assert!(!run.exists());
    }
}
