//! A few files by name, watched for somebody who works on them: `run --watch`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use super::super::filesystem;
use super::super::prepare::{self, Refused};
use super::super::submission::{Submit, Target};
use super::super::workspace::Workspace;
use crate::manifest::Program;
use crate::pipeline::definition::{Definition, Work};
use crate::source;
use crate::watch::{Hints, Mode, Outlook, Settler, Stamp, Watcher};

/// The files that decide what a submission does: its pipelines, the manifests and scripts of its modules, the settings. They need not
/// exist.
///
/// # Errors
/// Why it would be refused.
pub fn files_of(workspace: &Workspace, submit: &Submit) -> Result<BTreeSet<PathBuf>, Refused> {
    let (pinned, definition, _) = prepare::resolve(workspace, submit)?;
    let mut files: BTreeSet<PathBuf> = pinned.manifests.into_iter().chain(pinned.pipelines).map(|file| file.path).collect();
    files.insert(workspace.settings());
    scripts(&definition, &mut files);
    Ok(files)
}

/// Where a submission is refused: the files that may have to be mended.
#[must_use]
pub fn files_nearby(workspace: &Workspace, submit: &Submit) -> BTreeSet<PathBuf> {
    let manifests = source::list_manifests(&workspace.manifests(), workspace.root()).entries;
    let mut files: BTreeSet<PathBuf> = manifests.into_iter().map(|entry| entry.path).collect();
    files.insert(workspace.settings());
    match &submit.target {
        Target::Pipeline { path } => drop(files.insert(path.clone())),
        // The manifest that is missing.
        Target::Module { id, .. } => drop(files.insert(workspace.manifests().join(format!("{id}.yaml")))),
        Target::Exec { script, .. } => drop(files.insert(script.clone())),
    }
    files
}

fn scripts(definition: &Definition, files: &mut BTreeSet<PathBuf>) {
    for node in &definition.nodes {
        match &node.work {
            Work::Module(module) => match &module.program {
                Program::Script { path, .. } => drop(files.insert(path.clone())),
                Program::Command(_) => {}
            },
            Work::Pipeline(inner) => scripts(inner, files),
        }
    }
}

/// Watches files until it is dropped.
#[derive(Debug)]
pub struct FileWatch {
    _watcher: Watcher,
}

/// What is known of the files.
struct Known {
    files: BTreeSet<PathBuf>,
    settler: Settler,
    hashes: BTreeMap<PathBuf, Option<blake3::Hash>>,
}

impl FileWatch {
    /// Watches the files that `read` finds, and gives what it found in them. It reads them after the watch has begun, and so more than once:
    /// a change that is not in what it found is told.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn around<R>(
        mut read: impl FnMut() -> (BTreeSet<PathBuf>, R),
        tell: impl Fn(Vec<PathBuf>) + Clone + Send + 'static,
    ) -> io::Result<(Self, BTreeSet<PathBuf>, R)> {
        let (mut files, _) = read();
        loop {
            let watch = Self::start(files.clone(), tell.clone())?;
            let (now, found) = read();
            if now.is_subset(&files) {
                return Ok((watch, files, found));
            }
            files.extend(now);
        }
    }

    /// Tells, on a thread of its own, of files whose content has changed since this call, or that came or went.
    ///
    /// # Errors
    /// When there is no thread.
    pub(super) fn start(files: BTreeSet<PathBuf>, tell: impl Fn(Vec<PathBuf>) + Send + 'static) -> io::Result<Self> {
        let mut known = Known { files, settler: Settler::default(), hashes: BTreeMap::new() };
        // Before the content is read: what changes in between has another stamp afterwards.
        known.settler.take_all(known.stamps());
        known.hashes = known.files.iter().map(|file| (file.clone(), hash(file))).collect();
        let look = move |hints: &Hints| {
            let (changed, outlook) = known.look(hints);
            if !changed.is_empty() {
                tell(changed);
            }
            outlook
        };
        Ok(Self { _watcher: Watcher::start(look, |_| {})? })
    }
}

impl Known {
    fn stamps(&self) -> BTreeMap<PathBuf, Stamp> {
        self.files.iter().filter_map(|file| Some((file.clone(), Stamp::followed(file).ok()?))).collect()
    }

    fn look(&mut self, hints: &Hints) -> (Vec<PathBuf>, Outlook) {
        let stamps = self.stamps();
        let settled = self.settler.look(&stamps, hints, Instant::now(), SystemTime::now());
        let mut changed = Vec::new();
        for file in settled.changed.into_iter().chain(settled.removed) {
            let now = hash(&file);
            if self.hashes.insert(file.clone(), now) != Some(now) {
                changed.push(file);
            }
        }
        // Of a folder that does not exist yet, the nearest one above tells.
        let folder = |file: &PathBuf| file.ancestors().skip(1).find(|above| above.is_dir()).map(Path::to_owned);
        let folders: BTreeSet<PathBuf> = self.files.iter().filter_map(folder).collect();
        let deaf = folders.iter().find_map(|folder| filesystem::unsuitable(folder)).map(|kind| format!("{kind} sends no events"));
        (changed, Outlook { folders, again: settled.again, mode: Mode::Auto, deaf })
    }
}

/// The content of a file; none where it cannot be read.
fn hash(file: &Path) -> Option<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut file = std::fs::File::open(file).ok()?;
    io::copy(&mut file, &mut hasher).ok()?;
    Some(hasher.finalize())
}
