//! Names and making of an attempt's folder: `.prismq/runs/<run>/<node>.<attempt>/`.
//!
//! One level and not `<node>/<attempt>/`: a new folder costs 15 to 30 microseconds of a start and 4 KiB of disk, a tenth of what starting
//! `true` costs, and almost every node has one attempt. No node id begins with a digit, so that `score.1` is no path of a node.
//!
//! A node's path (`clips[2].cut`) becomes one name that every file system takes: Windows keeps device names for itself and does not
//! tell capitals from small letters, and nobody takes more than 255 bytes. Folders are for the owner alone (0700), files too (0600).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::files::replace;
use crate::ids::AttemptNumber;

/// First parts of names in a run's folder that belong to the host; a node of that name gets another folder. No node id holds a dash,
/// so that further names of the host are safe if they hold one.
pub const RESERVED_IN_RUN: [&str; 8] = ["run", "claims", "params", "order", "pinned", "submission", "snapshot", "lock"];

/// Names that Windows keeps for devices, also with anything after a dot.
const WINDOWS_DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// Longest name of a node's folder in bytes: far below the 255 of file systems, since Windows counts the whole path.
const NAME_BYTES_MAX: usize = 96;

/// What the names of a node's folders begin with, before the number of the attempt. The same path always gives the same name, two
/// paths never do, also where capitals do not count.
#[must_use]
pub fn folder_name(node: &str) -> String {
    let head = node.split(['.', '[']).next().unwrap_or(node).to_ascii_lowercase();
    let kept = head.is_empty() || RESERVED_IN_RUN.contains(&head.as_str()) || is_device(&head);
    let plain = node.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.[]".contains(&byte));
    let mut name = if kept { format!("n-{node}") } else { node.to_owned() };
    if !plain || name.len() > NAME_BYTES_MAX {
        // Capitals, or too long: the hash keeps it apart from its neighbours, the head keeps it readable.
        let hash = blake3::hash(node.as_bytes()).to_hex();
        let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || "_.[]-".contains(c) { c } else { '_' }).collect();
        name = format!("{}-{}", &clean[..clean.len().min(NAME_BYTES_MAX - 17)], &hash[..16]);
    }
    name
}

fn is_device(name: &str) -> bool {
    let numbered = |kind: &str| name.strip_prefix(kind).is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit());
    WINDOWS_DEVICES.contains(&name) || numbered("com") || numbered("lpt")
}

/// The folder of one attempt and the names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptFolder {
    path: PathBuf,
}

impl AttemptFolder {
    /// The folder of an attempt of a node in a run's folder. Touches nothing.
    #[must_use]
    pub fn new(run_folder: &Path, node: &str, attempt: AttemptNumber) -> Self {
        let mut name = folder_name(node);
        name.push('.');
        name.push_str(&attempt.to_string());
        Self { path: run_folder.join(name) }
    }

    /// The folder itself; the logs lie in it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `PRISMQ_OUTPUT`: where the module writes a JSON object.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.path.join("output.json")
    }

    /// `PRISMQ_PROGRESS`: where it appends JSON lines.
    #[must_use]
    pub fn progress(&self) -> PathBuf {
        self.path.join("progress.jsonl")
    }

    /// `PRISMQ_ARTIFACTS`: a folder for files that are kept with the run.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.path.join("artifacts")
    }

    /// The working directory of `workdir: fresh`.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// Makes the folder with `artifacts/`, and `work/` if asked for. Two or three `mkdir` and nothing else: this is on the path of every
    /// start. `artifacts/` must be there, since modules open files in it without asking.
    ///
    /// # Errors
    /// Whatever the file system says; also when something else than a folder stands in the way.
    pub fn create(&self, work: bool) -> io::Result<()> {
        create_private_all(&self.path)?;
        self.create_inner(work)
    }

    /// The same for an attempt that may never come, in a run's folder that is there: one that was removed meanwhile is not made anew.
    ///
    /// # Errors
    /// As for [`Self::create`].
    pub fn create_ahead(&self, work: bool) -> io::Result<()> {
        create_private(&self.path)?;
        self.create_inner(work)
    }

    fn create_inner(&self, work: bool) -> io::Result<()> {
        create_private(&self.artifacts())?;
        if work { create_private(&self.work()) } else { Ok(()) }
    }

    /// Removes what was made ahead for an attempt that never came. Folders with anything in them stay.
    pub fn discard(&self) {
        for folder in [self.artifacts(), self.work(), self.path.clone()] {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Makes a folder (0700) whose parent exists; no error if it is there.
fn create_private(path: &Path) -> io::Result<()> {
    match private_builder().create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        done => done,
    }
}

/// Makes a folder and, where they are missing, its parents.
pub(crate) fn create_private_all(path: &Path) -> io::Result<()> {
    match (create_private(path), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            create_private_all(parent)?;
            create_private(path)
        }
        (done, _) => done,
    }
}

fn private_builder() -> DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has modes"))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder
}

/// The parameters of an attempt as a file. Attempts of a run with the same parameters share it: it lies in the run's folder under
/// the hash of its content and is written once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamsFile {
    path: PathBuf,
    text: String,
}

impl ParamsFile {
    /// The file of these parameters in a run's folder. Writes nothing yet.
    #[must_use]
    pub fn new(run_folder: &Path, params: &Value) -> Self {
        let text = params.to_string();
        let hash = blake3::hash(text.as_bytes()).to_hex();
        let mut path = run_folder.join("params");
        path.push(format!("{}.json", &hash[..32]));
        Self { path, text }
    }

    /// Where it lies (`PRISMQ_PARAMS`).
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The JSON.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Writes it aside and renames it, so that nobody ever reads half of it.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(&self) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            create_private_all(folder)?;
        }
        match replace(&self.path, &self.path.with_extension("tmp"), |file| file.write_all(self.text.as_bytes())) {
            // Its name is that of its content. On Windows a module may read it, and it cannot be replaced: it need not be.
            Err(_) if cfg!(windows) && self.path.metadata().is_ok_and(|there| there.len() == self.text.len() as u64) => Ok(()),
            done => done,
        }
    }
}

/// Opens a file that only the owner may read, should it be made.
pub(crate) fn open_private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_taken_by_every_file_system() {
        for plain in ["score", "score[3]", "clips[2].cut", "_x9"] {
            assert_eq!(folder_name(plain), plain);
        }
        let long = format!("{}.{}", "a".repeat(64), "b".repeat(64));
        let odd = ["Score", "SCORE", "con", "con.cut", "CON", "nul[1]", "com1", "run.json", "claims", "params", long.as_str(), "../x", "ä"];
        let mut seen = std::collections::HashSet::from(["score".to_owned()]);
        for node in odd {
            let name = folder_name(node);
            assert!(name.len() <= NAME_BYTES_MAX && name.is_ascii() && !name.contains('/'), "{node}: {name}");
            let head = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
            assert!(!is_device(&head) && !RESERVED_IN_RUN.contains(&head.as_str()) && !head.is_empty(), "{node}: {name}");
            assert!(seen.insert(name.to_ascii_lowercase()), "{node}: {name} is taken twice");
        }
    }

    #[test]
    fn a_folder_is_made_whole_and_private() {
        let base = tempfile::tempdir().unwrap();
        let folder = AttemptFolder::new(&base.path().join("runs/r"), "a", AttemptNumber::FIRST);
        folder.create(true).unwrap();
        folder.create(true).expect("making it again is no error");
        assert!(folder.artifacts().is_dir() && folder.work().is_dir());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = folder.path().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
        let blocked = AttemptFolder::new(base.path(), "b", AttemptNumber::FIRST);
        std::fs::write(base.path().join("b.1"), "in the way").unwrap();
        assert!(blocked.create(false).is_err());
    }

    #[test]
    fn equal_parameters_share_a_file() {
        let base = tempfile::tempdir().unwrap();
        let one = ParamsFile::new(base.path(), &json!({"a": 1}));
        assert_eq!(one, ParamsFile::new(base.path(), &json!({"a": 1})));
        assert_ne!(one.path(), ParamsFile::new(base.path(), &json!({"a": 2})).path());
        one.write().unwrap();
        one.write().unwrap();
        assert_eq!(std::fs::read_to_string(one.path()).unwrap(), r#"{"a":1}"#);
        assert_eq!(std::fs::read_dir(base.path().join("params")).unwrap().count(), 1);
    }
}
