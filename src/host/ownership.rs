//! Who is the host: the lock and `host.json`.
//!
//! One host owns a workspace, proved by an exclusive lock on `.prismq/lock` that the system takes back when the process dies. The
//! owner writes where it can be reached into `host.json`; whoever does not get the lock reads it there.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::filesystem;
use super::workspace::{Workspace, write_synced};
use crate::units::Timestamp;

/// What `.prismq/host.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAddress {
    /// Form of this file.
    pub format: u32,
    /// The owner's process.
    pub pid: u32,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// Version of the program.
    pub version: String,
    /// `run` or `serve`.
    pub kind: HostKind,
    /// Since when.
    pub started_at: Timestamp,
}

/// What kind of host it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostKind {
    /// A `run` that hosts until its runs end.
    Run,
    /// `serve`.
    Serve,
}

/// The held lock. The system releases it with the process, however that ends.
#[derive(Debug)]
pub struct Ownership {
    lock: File,
    address: PathBuf,
}

impl Ownership {
    /// Takes the lock if nobody holds it. `None`: somebody does.
    ///
    /// # Errors
    /// When the state's folder or the lock's file cannot be made, or ([`io::ErrorKind::Unsupported`]) lies on shared storage.
    pub fn try_take(workspace: &Workspace) -> io::Result<Option<Self>> {
        workspace.create_state()?;
        check_place(workspace)?;
        // The descriptor is closed in every program that is started: who inherited it would hold the lock after our death.
        let mut file = private_file(&workspace.state().join("lock"))?;
        match file.try_lock() {
            Ok(()) => {
                // For those who come second. On a full disk they have to do without.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Some(Self { lock: file, address: workspace.state().join("host.json") }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Says where this host listens.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce(&self, address: &HostAddress) -> io::Result<()> {
        write_synced(&self.address, &serde_json::to_vec_pretty(address)?)
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        // While the lock is still held, so that nobody else's file is removed. If it fails, readers find a dead address and see the
        // free lock.
        let _ = std::fs::remove_file(&self.address);
        let _ = self.lock.set_len(0);
    }
}

/// Looks whether the state may lie where it is.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] where that is shared storage, and nobody allowed it.
pub fn check_place(workspace: &Workspace) -> io::Result<()> {
    let kind = filesystem::unsuitable(&workspace.state()).filter(|_| !workspace.is_shared_allowed());
    kind.map_or(Ok(()), |kind| Err(refusal(&kind)))
}

/// Why the state is not used on a kind of file system.
fn refusal(kind: &str) -> io::Error {
    let what = format!("the state may not lie on {kind}: locks and renames there are not what the journal needs");
    io::Error::new(io::ErrorKind::Unsupported, what)
}

/// Where the owner of a workspace says it listens; `None` where nobody says so.
#[must_use]
pub fn announced(workspace: &Workspace) -> Option<HostAddress> {
    let text = std::fs::read_to_string(workspace.state().join("host.json")).ok()?;
    serde_json::from_str(&text).ok()
}

/// The process that holds the workspace's lock, as far as it can be told: it may just have taken it, or be about to let it go.
#[must_use]
pub fn owner(workspace: &Workspace) -> Option<u32> {
    // Where locked files cannot be read (Windows) only the address is left.
    let text = std::fs::read_to_string(workspace.state().join("lock")).unwrap_or_default();
    let written = text.trim().parse().ok();
    written.or_else(|| announced(workspace).map(|address| address.pid)).filter(|pid| is_alive(*pid))
}

#[cfg(unix)]
fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

#[cfg(not(unix))]
fn is_alive(_pid: u32) -> bool {
    true
}

/// Whether somebody holds the workspace's lock at this moment.
#[must_use]
pub fn is_owned(workspace: &Workspace) -> bool {
    let Ok(file) = OpenOptions::new().read(true).write(true).open(workspace.state().join("lock")) else {
        return false;
    };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

fn private_file(path: &std::path::Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f18_a_refusal_names_the_file_system() {
        let refused = refusal("virtiofs");
        assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
        assert!(refused.to_string().starts_with("the state may not lie on virtiofs: "), "{refused}");
    }

    #[test]
    fn one_owner_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = Workspace::at(folder.path()).expect("a workspace");
        assert!(!is_owned(&workspace));
        let first = Ownership::try_take(&workspace).expect("a lock file").expect("free");
        assert!(Ownership::try_take(&workspace).expect("a lock file").is_none());
        assert!(is_owned(&workspace));
        #[cfg(unix)]
        assert_eq!(owner(&workspace), Some(std::process::id()));
        drop(first);
        assert_eq!(owner(&workspace), None);
        assert!(Ownership::try_take(&workspace).expect("a lock file").is_some());
    }
}
