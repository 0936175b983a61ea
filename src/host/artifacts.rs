//! Files that modules left for people, in `artifacts/` of their attempts.
//!
//! A file is found by looking it up in the listing, never by joining a text from outside to a path: what the listing does not name is not
//! there. Links are not followed and not listed, so that nothing outside the folder can be shown.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::runfile::RunFile;
use super::workspace::Workspace;
use crate::attempt::AttemptFolder;
use crate::ids::{AttemptNumber, RunId};

/// Most files in one listing.
pub const LISTED_MAX: usize = 10_000;
/// Most folders in each other.
const DEPTH_MAX: usize = 16;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Artifact {
    /// Path of the node.
    pub node: String,
    /// Which of its attempts.
    pub attempt: AttemptNumber,
    /// Its name, with `/` between folders.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    #[serde(skip)]
    file: PathBuf,
}

/// The files of all attempts of a run, in the order of its nodes; at most [`LISTED_MAX`].
#[must_use]
pub fn list(workspace: &Workspace, run: &RunFile) -> Vec<Artifact> {
    let folder = workspace.run(&run.run.run_id);
    let mut found = Vec::new();
    for row in &run.nodes {
        for attempt in 1..=row.attempts {
            walk_attempt(&folder, &row.node, AttemptNumber(attempt), &mut found);
        }
    }
    found
}

/// One file of an attempt by its name in the listing, opened, with its size.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] where the listing has no such file; what the disk says.
pub fn open(workspace: &Workspace, run: &RunId, node: &str, attempt: AttemptNumber, path: &str) -> io::Result<(File, u64)> {
    let mut found = Vec::new();
    walk_attempt(&workspace.run(run), node, attempt, &mut found);
    let artifact = found.into_iter().find(|artifact| artifact.path == path).ok_or(io::ErrorKind::NotFound)?;
    let mut options = OpenOptions::new();
    options.read(true);
    // It may have become a link since it was listed.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(&artifact.file)?;
    let about = file.metadata()?;
    if about.is_file() { Ok((file, about.len())) } else { Err(io::ErrorKind::NotFound.into()) }
}

fn walk_attempt(run: &Path, node: &str, attempt: AttemptNumber, found: &mut Vec<Artifact>) {
    let folder = AttemptFolder::new(run, node, attempt).artifacts();
    let mut add = |path: String, bytes: u64, file: PathBuf| {
        found.push(Artifact { node: node.to_owned(), attempt, path, bytes, file });
        found.len() < LISTED_MAX
    };
    // A module may have put a link in the place of the folder that it was given.
    if std::fs::symlink_metadata(&folder).is_ok_and(|about| about.is_dir()) {
        walk(&folder, "", 0, &mut add);
    }
}

/// Goes through a folder; whether to go on. What cannot be read is not there.
fn walk(folder: &Path, prefix: &str, depth: usize, add: &mut dyn FnMut(String, u64, PathBuf) -> bool) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut entries: Vec<_> = entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry))).collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (name, entry) in entries {
        // Of the entry itself, not of what a link leads to.
        let Ok(about) = entry.metadata() else { continue };
        let path = format!("{prefix}{name}");
        let goes_on = if about.is_file() {
            add(path, about.len(), entry.path())
        } else if about.is_dir() && depth < DEPTH_MAX {
            walk(&entry.path(), &format!("{path}/"), depth + 1, add)
        } else {
            true
        };
        if !goes_on {
            return false;
        }
    }
    true
}
