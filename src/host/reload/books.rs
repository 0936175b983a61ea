//! What was read of a workspace, and a look at its files: what has changed since, read again and put together.
//!
//! A look costs a listing and a `stat` of each file. Nothing is opened that has not changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::catalog::{self, Catalog};
use super::super::filesystem;
use super::super::permissions;
use super::super::workspace::Workspace;
use super::manifests::Manifests;
use super::pipelines::Pipelines;
use super::update::{ModuleNews, SettingsNews, WorkspaceUpdate, mistakes};
use crate::diagnostics::{Diagnostics, Source};
use crate::manifest::difference::difference;
use crate::settings::{Settings, WatchSetting};
use crate::source::{self, Listing};
use crate::watch::{Hints, Mode, Outlook, QUIET, Settled, Settler, Stamp};

/// A file whose stamp may lie is compared by its content once more, after this time at the latest.
const COMPARE_AFTER: Duration = Duration::from_millis(2_100);

/// The state of what was read.
#[derive(Debug)]
pub(super) struct Books {
    workspace: Workspace,
    settings: Arc<Settings>,
    settings_source: Option<Arc<Source>>,
    /// Why the settings' file is refused; those before it are in use.
    refused_settings: Option<Diagnostics>,
    settler: Settler,
    hashes: BTreeMap<PathBuf, blake3::Hash>,
    /// Files whose stamp could be that of another content too when it was taken.
    racy: BTreeSet<PathBuf>,
    manifests: Manifests,
    pipelines: Pipelines,
    catalog: Option<Arc<Catalog>>,
}

/// What a look found.
#[derive(Default)]
pub(super) struct Looked {
    /// The new catalogue, if it is another one.
    pub(super) catalog: Option<Arc<Catalog>>,
    /// New settings of the host.
    pub(super) settings: Option<Arc<Settings>>,
    pub(super) updates: Vec<WorkspaceUpdate>,
    pub(super) outlook: Outlook,
    /// Whether some files have changed and not settled.
    pub(super) waiting: bool,
}

/// What there is at the moment of a look.
struct Seen {
    manifests: Listing,
    pipelines: source::FilesFound,
    stamps: BTreeMap<PathBuf, Stamp>,
    wall: SystemTime,
}

impl Books {
    /// Nothing is read yet; the settings are those that the host was started with. Pipelines are read where `with_pipelines` says so.
    pub(super) fn new(workspace: Workspace, settings: Arc<Settings>, with_pipelines: bool) -> Self {
        Self {
            workspace,
            settings,
            settings_source: None,
            refused_settings: None,
            settler: Settler::default(),
            hashes: BTreeMap::new(),
            racy: BTreeSet::new(),
            manifests: Manifests::default(),
            pipelines: Pipelines::new(with_pipelines),
            catalog: None,
        }
    }

    /// Whether a file is in the state that was read.
    pub(super) fn is_read(&self, file: &Path) -> bool {
        self.settler.is_taken(file, self.stamp(file).as_ref())
    }

    /// Why the settings' file is refused, if it is.
    pub(super) fn refused_settings(&self) -> Option<&Diagnostics> {
        self.refused_settings.as_ref()
    }

    pub(super) fn pipelines(&self) -> &Pipelines {
        &self.pipelines
    }

    fn stamp(&self, file: &Path) -> Option<Stamp> {
        // Whoever links to the settings means what is in them.
        if file == self.workspace.settings() { Stamp::followed(file).ok() } else { Stamp::of(file).ok() }
    }

    /// Looks at the files, and takes what has changed and settled.
    pub(super) fn look(&mut self, hints: &Hints) -> Looked {
        let seen = self.see();
        let first = self.catalog.is_none();
        let mut settled = if first {
            self.settler.take_all(seen.stamps.clone());
            let mut changed: Vec<PathBuf> = seen.stamps.keys().cloned().collect();
            // A file that is not there says something too.
            changed.push(self.workspace.settings());
            Settled { changed, ..Settled::default() }
        } else {
            self.compare_racy(&seen);
            self.settler.look(&seen.stamps, hints, Instant::now(), seen.wall)
        };
        let mut looked = Looked::default();
        let mut dirty = first;
        let settings_file = self.workspace.settings();
        if settled.changed.contains(&settings_file) || settled.removed.contains(&settings_file) {
            dirty |= self.take_settings(first, &seen, &mut settled, &mut looked);
        }
        dirty |= self.take_manifests(first, &seen, &mut settled);
        if dirty {
            self.rebuild(first, &mut looked);
        }
        let named = |file: &PathBuf| seen.pipelines.files.binary_search(file).is_ok();
        let pipelines_dirty = dirty || settled.changed.iter().any(named) || self.pipelines.knows_any(&settled.removed);
        if let Some(catalog) = self.catalog.clone().filter(|_| pipelines_dirty) {
            let is_unsettled = |file: &Path| self.settler.is_unsettled(file);
            let changes = self.pipelines.check(&catalog, &seen.pipelines.files, &settled.changed, is_unsettled);
            if !first && !changes.is_empty() {
                looked.updates.push(WorkspaceUpdate::Pipelines(changes));
            }
        }
        looked.waiting = self.settler.is_waiting() || settled.again.is_some();
        looked.outlook = self.outlook(&seen, settled.again);
        looked
    }

    fn see(&self) -> Seen {
        let manifests = source::list_manifests(&self.workspace.manifests(), self.workspace.root());
        let pipelines =
            if self.pipelines.is_on() { catalog::pipelines_of(&self.workspace, &self.settings) } else { source::FilesFound::default() };
        // After the listing: what is written meanwhile has a stamp that is not taken.
        let wall = SystemTime::now();
        let readable = manifests.entries.iter().filter(|entry| entry.refused.is_none()).map(|entry| &entry.path);
        let files = readable.chain(&pipelines.files).cloned().chain([self.workspace.settings()]);
        let stamps = files.filter_map(|file| self.stamp(&file).map(|stamp| (file, stamp))).collect();
        Seen { manifests, pipelines, stamps, wall }
    }

    /// Files that were written in the same step of the file system's clock as they were read.
    fn compare_racy(&mut self, seen: &Seen) {
        for file in std::mem::take(&mut self.racy) {
            let Some(stamp) = seen.stamps.get(&file).filter(|stamp| self.settler.is_taken(&file, Some(stamp))) else { continue };
            let read = source::read_file(&file, "", source::MANIFEST_BYTES_MAX).ok();
            let hash = read.map(|source| blake3::hash(source.text.as_bytes()));
            if hash.as_ref() != self.hashes.get(&file) {
                self.settler.doubt(&file);
            } else if stamp.may_lie(seen.wall) {
                self.racy.insert(file);
            }
        }
    }

    /// Remembers a text. Whether it is another one than before.
    fn is_new_text(&mut self, file: &Path, source: Option<&Arc<Source>>, seen: &Seen) -> bool {
        if seen.stamps.get(file).is_some_and(|stamp| stamp.may_lie(seen.wall)) {
            self.racy.insert(file.to_owned());
        }
        let hash = source.map(|source| blake3::hash(source.text.as_bytes()));
        let known = self.hashes.get(file).copied();
        match hash {
            Some(hash) => self.hashes.insert(file.to_owned(), hash),
            None => self.hashes.remove(file),
        };
        hash.is_none() || known != hash
    }

    /// What cannot be read of a file that was written just now may be half of it: its next state is waited for.
    fn may_be_half(&mut self, file: &Path, seen: &Seen, settled: &mut Settled) -> bool {
        let age = seen.stamps.get(file).and_then(|stamp| stamp.age(seen.wall)).filter(|age| *age < QUIET);
        if let Some(age) = age {
            self.settler.doubt(file);
            self.hashes.remove(file);
            let left = QUIET - age;
            settled.again = Some(settled.again.map_or(left, |again| again.min(left)));
        }
        age.is_some()
    }

    /// Reads the settings again. Whether modules have to be read again, since their defaults are others.
    fn take_settings(&mut self, first: bool, seen: &Seen, settled: &mut Settled, looked: &mut Looked) -> bool {
        let file = self.workspace.settings();
        match catalog::load_settings(&self.workspace) {
            Err(refused) => {
                if (!first && self.may_be_half(&file, seen, settled)) || self.refused_settings.as_ref() == Some(&refused) {
                    return false;
                }
                let news = SettingsNews { errors: mistakes(&refused), ..SettingsNews::default() };
                looked.updates.push(WorkspaceUpdate::Settings(news));
                self.refused_settings = Some(refused);
                false
            }
            Ok((read, source)) => {
                if !self.is_new_text(&file, source.as_ref(), seen) && self.refused_settings.is_none() {
                    return false;
                }
                let was_refused = self.refused_settings.take().is_some();
                self.settings_source = source;
                let changes = self.settings.difference(&read);
                let next = self.settings.taking(read);
                if next.pipelines != self.settings.pipelines {
                    // They were listed by the old patterns.
                    settled.again = Some(Duration::ZERO);
                }
                let defaults = next.defaults != self.settings.defaults;
                let keys = |live: bool| changes.iter().filter(|change| change.live == live).map(|change| change.key.to_owned()).collect();
                let news = SettingsNews { changed: keys(true), restart: keys(false), errors: Vec::new() };
                if was_refused || news != SettingsNews::default() {
                    looked.updates.push(WorkspaceUpdate::Settings(news));
                }
                if next != *self.settings {
                    self.settings = Arc::new(next);
                    looked.settings = Some(self.settings.clone());
                }
                if defaults && !first {
                    settled.changed.extend(self.manifests.files());
                    self.hashes.retain(|known, _| *known == file);
                }
                // The catalogue holds them.
                true
            }
        }
    }

    /// Reads manifests that have changed. Whether the modules are others.
    fn take_manifests(&mut self, first: bool, seen: &Seen, settled: &mut Settled) -> bool {
        let mut dirty = false;
        let changed: BTreeSet<PathBuf> = settled.changed.iter().cloned().collect();
        for entry in seen.manifests.entries.iter().filter(|entry| entry.refused.is_none() && changed.contains(&entry.path)) {
            let source = source::read_manifest(entry, self.workspace.root());
            if source.is_err() && is_gone(&entry.path) {
                // It went between the look at its folder and this one, and will be missing in the next.
                continue;
            }
            let source = permissions::vouched(&self.workspace, &entry.path, source);
            let was_good = self.manifests.is_good(&entry.path);
            if !self.is_new_text(&entry.path, source.as_ref().ok(), seen) {
                continue;
            }
            let before = (!first).then(|| self.manifests.take(&entry.path));
            self.manifests.put(&entry.path, source, &self.settings.defaults);
            let bad = !self.manifests.is_good(&entry.path);
            if let Some(before) = before
                && bad
                && self.may_be_half(&entry.path, seen, settled)
            {
                self.manifests.put_back(&entry.path, before);
                continue;
            }
            if bad && was_good {
                tracing::warn!(file = %entry.path.display(), "a manifest is broken");
            }
            dirty = true;
        }
        for file in &settled.removed {
            self.hashes.remove(file);
            self.racy.remove(file);
            dirty |= self.manifests.remove(file);
        }
        let refused = seen.manifests.entries.iter().filter_map(|entry| Some((entry.path.clone(), entry.refused.clone()?)));
        dirty | self.manifests.set_refused(refused.collect())
    }

    /// Puts the modules together anew, and tells what has become of them.
    fn rebuild(&mut self, first: bool, looked: &mut Looked) {
        let registry = self.manifests.registry(|file| self.settler.is_missing(file));
        if let Some(before) = self.catalog.as_ref().filter(|_| !first) {
            let changes = difference(&before.registry, &registry);
            let news: Vec<ModuleNews> = changes.iter().map(|change| ModuleNews::of(change, &self.workspace)).collect();
            if !news.is_empty() {
                looked.updates.push(WorkspaceUpdate::Modules(news));
            }
        }
        let catalog = Arc::new(Catalog {
            workspace: self.workspace.clone(),
            settings: self.settings.as_ref().clone(),
            settings_source: self.settings_source.clone(),
            registry,
        });
        self.catalog = Some(catalog.clone());
        looked.catalog = Some(catalog);
    }

    fn outlook(&self, seen: &Seen, again: Option<Duration>) -> Outlook {
        let mut folders: BTreeSet<PathBuf> = seen.manifests.folders.iter().chain(&seen.pipelines.folders).cloned().collect();
        // Of a folder that does not exist, or goes, its parent tells.
        folders.insert(self.workspace.root().to_owned());
        let roots = self.settings.pipelines.iter().map(|pattern| self.workspace.root().join(pattern.base()));
        folders.extend(roots.filter_map(|folder| folder.ancestors().skip(1).find(|above| above.is_dir()).map(Path::to_owned)));
        folders.retain(|folder| folder.starts_with(self.workspace.root()));
        let racy = (!self.racy.is_empty()).then_some(COMPARE_AFTER);
        let mode = match self.settings.watch {
            WatchSetting::Auto | WatchSetting::Off => Mode::Auto,
            WatchSetting::Native => Mode::Native,
            WatchSetting::Poll => Mode::Poll,
        };
        let deaf = filesystem::unsuitable(self.workspace.root()).map(|kind| format!("{kind} sends no events"));
        Outlook { folders, again: again.into_iter().chain(racy).min(), mode, deaf }
    }
}

fn is_gone(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}
