//! The system's own events: a watch for each folder, never for a whole tree.
//!
//! A watch on a tree costs one for each file system object on Linux, gives nothing for folders that were there before under Wine, and dies
//! with the first folder that may not be read. A watch on a file is blind after the first save by rename.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::hints::Hints;

/// Watches of folders.
pub(super) struct Native {
    watcher: RecommendedWatcher,
    armed: BTreeMap<PathBuf, Identity>,
}

/// A folder that was removed and made again is another one, and the old watch says nothing of it.
type Identity = Option<(u64, u64)>;

/// What came of watching the folders that are wanted.
pub(super) struct Armed {
    /// Folders were added: what happened in them before is not known.
    pub(super) new: bool,
    /// Why some are not watched.
    pub(super) lacking: Option<String>,
}

impl Native {
    /// Begins; events go to `sink`, on a thread of the library.
    pub(super) fn start(sink: impl Fn(notify::Result<notify::Event>) + Send + 'static) -> Result<Self, String> {
        // The library takes no notice of a thread that it cannot have, and panics at the first folder: better to know before.
        let spare = std::thread::Builder::new().name("watch-spare".into()).spawn(|| {});
        let spare = spare.map_err(|error| format!("there is no room for another thread: {error}"))?;
        let watcher = notify::recommended_watcher(sink).map_err(|error| reason(&error));
        // It has ended already, and cannot panic.
        let _ = spare.join();
        let watcher = watcher?;
        Ok(Self { watcher, armed: BTreeMap::new() })
    }

    /// Watches exactly these folders. One to which something happened itself is watched anew.
    pub(super) fn arm(&mut self, wanted: &BTreeSet<PathBuf>, hints: &Hints) -> Armed {
        let stale: Vec<PathBuf> = self
            .armed
            .iter()
            .filter(|(folder, armed)| !wanted.contains(*folder) || identity(folder) != **armed || is_lost(folder, hints))
            .map(|(folder, _)| folder.clone())
            .collect();
        for folder in stale {
            // Of a folder that is gone the system has forgotten the watch already.
            let _ = self.watcher.unwatch(&folder);
            self.armed.remove(&folder);
        }
        let mut outcome = Armed { new: false, lacking: None };
        for folder in wanted {
            if self.armed.contains_key(folder) {
                continue;
            }
            // Before the watch: a folder that is exchanged in between is watched anew at the next look.
            let identity = identity(folder);
            match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    outcome.new = true;
                    self.armed.insert(folder.clone(), identity);
                }
                // It went in this moment; the next look does not ask for it.
                Err(_) if !folder.is_dir() => {}
                Err(error) => {
                    outcome.lacking = Some(reason(&error));
                    break;
                }
            }
        }
        outcome
    }
}

/// Where the system does not tell one folder from another, an event about the folder itself has to do.
fn is_lost(folder: &Path, hints: &Hints) -> bool {
    cfg!(not(unix)) && hints.names(folder)
}

#[cfg(unix)]
fn identity(folder: &Path) -> Identity {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(folder).ok().map(|facts| (facts.dev(), facts.ino()))
}

#[cfg(not(unix))]
fn identity(folder: &Path) -> Identity {
    let made = std::fs::metadata(folder).and_then(|facts| facts.created()).ok()?;
    let made = made.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
    Some((made.as_secs(), u64::from(made.subsec_nanos())))
}

/// What the system says, in words that say what to do.
fn reason(error: &notify::Error) -> String {
    let limit = |name: &str| format!("the limit of this system is reached (`{name}`, see `sysctl fs.inotify`)");
    match &error.kind {
        ErrorKind::MaxFilesWatch => limit("fs.inotify.max_user_watches"),
        #[cfg(target_os = "linux")]
        ErrorKind::Io(error) if error.raw_os_error() == Some(libc::ENOSPC) => limit("fs.inotify.max_user_watches"),
        #[cfg(target_os = "linux")]
        ErrorKind::Io(error) if error.raw_os_error() == Some(libc::EMFILE) => limit("fs.inotify.max_user_instances"),
        ErrorKind::Io(error) => error.to_string(),
        ErrorKind::Generic(_) | ErrorKind::PathNotFound | ErrorKind::WatchNotFound | ErrorKind::InvalidConfig(_) => error.to_string(),
    }
}
