//! The workspace: finding its folder, and the layout of its state.
//!
//! Everything that prismq keeps lies under `.prismq/` in the workspace, folders 0700 and files 0600. Used by the host and by verbs
//! that only look.

use std::io;
use std::path::{Path, PathBuf};

use crate::attempt::{open_private, patiently};
use crate::ids::RunId;

/// What makes a folder a workspace: any one of these in it.
const MARKERS: [&str; 3] = ["prismq.yaml", ".prismq", "manifests"];

/// What the names of files begin with while they are written aside.
pub(super) const ASIDE: &str = ".aside-";

/// A workspace's folder. Nothing in it needs to exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    root: PathBuf,
    /// Where the settings put the runs' folders, if not into the state.
    runs: Option<PathBuf>,
    /// Only to be looked at, even where its journal is damaged.
    look_only: bool,
    /// The state may lie on shared storage.
    shared_allowed: bool,
    /// Others may write to what is run.
    any_permissions: bool,
}

impl Workspace {
    /// The workspace in exactly this folder.
    ///
    /// # Errors
    /// When the folder does not exist.
    pub fn at(folder: &Path) -> io::Result<Self> {
        let root = real(folder)?;
        if root.is_dir() {
            Ok(Self { root, runs: None, look_only: false, shared_allowed: false, any_permissions: false })
        } else {
            Err(io::Error::from(io::ErrorKind::NotADirectory))
        }
    }

    /// The nearest folder from `start` upward that holds `prismq.yaml`, `.prismq` or `manifests`.
    #[must_use]
    pub fn find(start: &Path) -> Option<Self> {
        let start = real(start).ok()?;
        start.ancestors().find(|folder| MARKERS.iter().any(|marker| folder.join(marker).exists())).map(|root| Self {
            root: root.to_owned(),
            runs: None,
            look_only: false,
            shared_allowed: false,
            any_permissions: false,
        })
    }

    /// The same, with the runs' folders where `host.runs_dir` of the settings puts them. Settings that cannot be read change nothing here:
    /// whoever needs them says what is wrong with them.
    #[must_use]
    pub fn located(mut self) -> Self {
        if let Ok(settings) = super::catalog::settings_of(&self) {
            self.runs = settings.runs_dir;
            self.shared_allowed |= settings.shared_state;
        }
        self
    }

    /// The same, whatever kind of file system the state lies on. Whoever says so knows what its locks and renames are worth.
    #[must_use]
    pub fn on_any_file_system(mut self) -> Self {
        self.shared_allowed = true;
        self
    }

    /// Whether the state may lie on shared storage.
    #[must_use]
    pub fn is_shared_allowed(&self) -> bool {
        self.shared_allowed
    }

    /// The same, whoever may write to manifests, scripts and settings.
    #[must_use]
    pub fn with_any_permissions(mut self) -> Self {
        self.any_permissions = true;
        self
    }

    /// Whether manifests, scripts and settings are used that others may write to.
    #[must_use]
    pub fn is_any_permission_allowed(&self) -> bool {
        self.any_permissions
    }

    /// The same, to be looked at only: what stands before the damage of a journal is shown, where others refuse it.
    #[must_use]
    pub fn looked_at(mut self) -> Self {
        self.look_only = true;
        self
    }

    /// Whether it is only to be looked at.
    #[must_use]
    pub fn is_look_only(&self) -> bool {
        self.look_only
    }

    /// Its folder, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where manifests lie.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    /// The settings' file.
    #[must_use]
    pub fn settings(&self) -> PathBuf {
        self.root.join("prismq.yaml")
    }

    /// Where state lies.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join(".prismq")
    }

    /// The journal's folder.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.state().join("journal")
    }

    /// The folder of a run.
    #[must_use]
    pub fn run(&self, run: &RunId) -> PathBuf {
        self.runs().join(run.as_str())
    }

    /// Where all runs' folders lie.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.runs.clone().unwrap_or_else(|| self.state().join("runs"))
    }

    /// How messages call a file: relative to the workspace with `/`, or whole if it lies elsewhere.
    #[must_use]
    pub fn display(&self, file: &Path) -> String {
        let shown = file.strip_prefix(&self.root).unwrap_or(file);
        if cfg!(windows) { shown.to_string_lossy().replace('\\', "/") } else { shown.to_string_lossy().into_owned() }
    }

    /// Makes the state's folders.
    ///
    /// # Errors
    /// What the system says.
    pub fn create_state(&self) -> io::Result<()> {
        create_private_folder(&self.state())?;
        create_private_folder(&self.runs())
    }
}

/// Where a file or folder really is. Some drives of Windows cannot say it (RAM disks, old file servers); then its absolute name has to do.
///
/// # Errors
/// What the system says, above all that there is nothing.
pub(super) fn real(path: &Path) -> io::Result<PathBuf> {
    match std::fs::canonicalize(path) {
        Ok(real) => Ok(plain(real)),
        Err(_) if cfg!(windows) && path.exists() => std::path::absolute(path),
        Err(error) => Err(error),
    }
}

/// Without the `\\?\` that Windows puts before a canonical path, and which many programs do not understand.
fn plain(path: PathBuf) -> PathBuf {
    match path.to_str().and_then(|text| text.strip_prefix(r"\\?\")) {
        Some(short) if !short.starts_with("UNC") => PathBuf::from(short),
        _ => path,
    }
}

/// Makes a folder, and those above it, that only its owner can enter.
///
/// # Errors
/// What the system says.
pub fn create_private_folder(folder: &Path) -> io::Result<()> {
    private_folders().recursive(true).create(folder)
}

/// Makes a folder that only its owner can enter.
///
/// # Errors
/// What the system says, also that it is there already, or that the one above it is not.
pub(super) fn create_new_private_folder(folder: &Path) -> io::Result<()> {
    private_folders().create(folder)
}

#[cfg_attr(not(unix), expect(unused_mut, reason = "who may enter is inherited there"))]
fn private_folders() -> std::fs::DirBuilder {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Writes and syncs a file of a folder that nothing speaks of yet, so that nobody minds where only a part of it is there. Its readers wait
/// for a record that is written afterwards.
///
/// # Errors
/// What the system says, also that it is there already.
pub(super) fn write_first(file: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut made = open_private(std::fs::OpenOptions::new().write(true).create_new(true), file)?;
    made.write_all(bytes)?;
    made.sync_data()?;
    sync_folder(file.parent().unwrap_or(Path::new(".")))
}

/// Writes a file aside, syncs it, and puts it in its place, so that a reader sees the old or the new one and never a half.
///
/// # Errors
/// What the system says; the old file is then untouched.
pub fn write_synced(file: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let folder = file.parent().unwrap_or(Path::new("."));
    // tempfile makes it 0600 and with a name nobody can guess.
    let mut aside = tempfile::Builder::new().prefix(ASIDE).tempfile_in(folder)?;
    aside.write_all(bytes)?;
    aside.as_file().sync_data()?;
    let mut aside = Some(aside.into_temp_path());
    patiently(|| {
        // It comes back with the error.
        let path = aside.take().ok_or(io::ErrorKind::NotFound)?;
        path.persist(file).map_err(|failed| {
            aside = Some(failed.path);
            failed.error
        })
    })?;
    sync_folder(folder)
}

/// Makes a rename in a folder durable. Windows has nothing like it and does not need it.
///
/// # Errors
/// What the system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { std::fs::File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_is_found_upward() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("manifests/a b/ü");
        std::fs::create_dir_all(&deep).expect("folders");
        let found = Workspace::find(&deep).expect("a workspace");
        assert_eq!(found, Workspace::at(folder.path()).expect("a workspace"));
        assert_eq!(found.display(&found.manifests().join("x.yaml")), "manifests/x.yaml");
    }

    #[test]
    fn a_synced_file_replaces_the_old_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("f");
        for text in ["one", "two"] {
            write_synced(&file, text.as_bytes()).expect("written");
            assert_eq!(std::fs::read_to_string(&file).expect("read"), text);
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("a list").count(), 1);
    }
}
