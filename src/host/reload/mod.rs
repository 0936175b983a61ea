//! Hot reload: a host's modules, pipelines and settings follow the files, and subscribers are told what changed.
//!
//! ```text
//!   watch ──look──▶ Books: list, settle, read what changed ──▶ new registry ──difference──▶ updates ──▶ subscribers
//!   submit ─look──▶    │                                          │
//!                      └── settings ──▶ the host's loop           └──▶ the catalogue, exchanged at once
//! ```
//!
//! Never in the host's loop: looks are made on the watcher's thread and on those of submitters. A catalogue is immutable and exchanged as a
//! whole, so that whoever holds one sees the state of one moment; a run is pinned to what it was submitted with. A submission sees every
//! save that was finished before it: it compares the files that it needs, and waits a moment for one that is being written.

mod books;
pub mod files;
mod manifests;
mod pipelines;
mod settings;
mod subscribe;
pub mod update;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak, mpsc};
use std::time::{Duration, Instant};

use super::catalog::{Catalog, NoModule};
use super::handle::Command;
use super::machine::Machine;
use super::prepare::Refused;
use super::submission::{Submit, Target};
use super::turn::Message;
use super::workspace::Workspace;
use crate::settings::{Settings, WatchSetting};
use crate::watch::{Hints, Outlook, Watcher};
use books::{Books, Looked};
pub use pipelines::PipelineEntry;
use subscribe::Subscribers;
pub use subscribe::{Subscription, WorkspaceSink};
use update::{Mistake, WatchNews, WorkspaceUpdate, mistakes};

/// How long a submission waits for a file that is being written.
const SETTLE_MAX: Duration = Duration::from_millis(1_500);
/// Pause between two looks of one that waits.
const SETTLE_PAUSE: Duration = Duration::from_millis(10);
/// Where nobody watches, a view is at most so old.
const VIEW_MAX: Duration = Duration::from_millis(500);

/// A host's view of the workspace's files.
#[derive(Clone)]
pub(super) struct Reload(Arc<Inner>);

struct Inner {
    books: Mutex<Books>,
    shown: RwLock<Shown>,
    subscribers: Subscribers,
    watcher: Mutex<Option<Watcher>>,
    inbox: mpsc::Sender<Message>,
    /// What is handed out of it goes by the settings.
    machine: Machine,
    workspace: Workspace,
}

struct Shown {
    catalog: Option<Arc<Catalog>>,
    watch: Option<WatchNews>,
    looked: Option<Instant>,
}

/// What is wrong with a workspace's files, and how their changes are noticed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReloadView {
    /// Manifests that are refused.
    pub broken: Vec<BrokenView>,
    /// Why the settings' file is refused; those before it stay in use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings_errors: Vec<Mistake>,
    /// How changes are noticed; none where nobody watches, and files are looked at when they are needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchNews>,
}

/// A manifest that is refused.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BrokenView {
    /// The file, relative to the workspace.
    pub file: String,
    /// The module's id, where that much could be read or is known from before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_id: Option<String>,
    /// Whether its last good version stays in use.
    pub usable: bool,
    /// What is wrong.
    pub errors: Vec<Mistake>,
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reload").field("workspace", &self.0.workspace).finish_non_exhaustive()
    }
}

impl Reload {
    /// Nothing is read yet. `watched`: somebody will call [`watch`](Self::watch).
    pub(super) fn new(
        workspace: &Workspace,
        settings: &Arc<Settings>,
        machine: Machine,
        inbox: mpsc::Sender<Message>,
        watched: bool,
    ) -> Self {
        let shown = Shown { catalog: None, watch: None, looked: None };
        Self(Arc::new(Inner {
            books: Mutex::new(Books::new(workspace.clone(), settings.clone(), watched)),
            shown: RwLock::new(shown),
            subscribers: Subscribers::default(),
            watcher: Mutex::new(None),
            inbox,
            machine,
            workspace: workspace.clone(),
        }))
    }

    /// Watches the files from now on, on a thread of its own, which also reads them for the first time. Where there is no thread, files
    /// are looked at when they are needed.
    pub(super) fn watch(&self, settings: &Settings) {
        if settings.watch == WatchSetting::Off {
            return;
        }
        let (looking, telling) = (Arc::downgrade(&self.0), Arc::downgrade(&self.0));
        let upgrade = |weak: &Weak<Inner>| weak.upgrade().map(Self);
        let look = move |hints: &Hints| upgrade(&looking).map(|reload| reload.look(hints)).unwrap_or_default();
        let tell = move |state: &crate::watch::State| {
            if let Some(reload) = telling.upgrade().map(Self) {
                reload.set_watch(state.into());
            }
        };
        match Watcher::start(look, tell) {
            Ok(watcher) => *lock(&self.0.watcher) = Some(watcher),
            Err(error) => tracing::warn!(%error, "no thread to watch the files"),
        }
    }

    /// Watches no longer.
    pub(super) fn stop(&self) {
        let watcher = lock(&self.0.watcher).take();
        drop(watcher);
    }

    fn set_watch(&self, news: WatchNews) {
        tracing::info!(by = ?news.by, reason = news.reason.as_deref().unwrap_or_default(), "changes of files");
        // Held until it is told, so that whoever subscribes meanwhile hears of it once.
        let mut shown = self.0.shown.write().unwrap_or_else(PoisonError::into_inner);
        let first = shown.watch.replace(news.clone()).is_none();
        // That it works as usual is no news.
        if !first || news.reason.is_some() {
            self.0.subscribers.tell(&WorkspaceUpdate::Watch(news));
        }
    }

    /// Looks at the files, and puts what has changed in force.
    fn look(&self, hints: &Hints) -> Outlook {
        let mut books = lock(&self.0.books);
        self.look_with(&mut books, hints).outlook
    }

    /// The same, for whoever holds the books. Everything is told before the next one may look.
    fn look_with(&self, books: &mut Books, hints: &Hints) -> Looked {
        let mut looked = books.look(hints);
        if let Some(settings) = looked.settings.take() {
            self.0.machine.set_settings(settings.clone());
            // A loop that has ended needs no settings.
            let _ = self.0.inbox.send(Message::Command(Command::Settings { settings, capacity: self.0.machine.capacity() }));
        }
        {
            let mut shown = self.0.shown.write().unwrap_or_else(PoisonError::into_inner);
            shown.looked = Some(Instant::now());
            if let Some(catalog) = looked.catalog.take() {
                shown.catalog = Some(catalog);
            }
        }
        for update in &looked.updates {
            for line in update.lines() {
                tracing::info!("{line}");
            }
            self.0.subscribers.tell(update);
        }
        looked
    }

    /// The catalogue as it was read last; read now where it was not.
    fn current(&self) -> Arc<Catalog> {
        loop {
            if let Some(catalog) = self.shown(|shown| shown.catalog.clone()) {
                return catalog;
            }
            self.look(&Hints::default());
        }
    }

    fn shown<T>(&self, get: impl FnOnce(&Shown) -> T) -> T {
        get(&self.0.shown.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// For a view: what was read last, and where nobody watches, not long ago.
    pub(super) fn catalog(&self) -> Arc<Catalog> {
        let watched = lock(&self.0.watcher).is_some();
        let old = || self.shown(|shown| shown.looked.is_none_or(|looked| looked.elapsed() > VIEW_MAX));
        if !watched && old() {
            self.look(&Hints::default());
        }
        self.current()
    }

    /// For a submission; see [`catalog_for`](Self::catalog_for). One that takes earlier results reads modules in its own way.
    pub(super) fn catalog_for_submit(&self, submit: &Submit) -> Result<Arc<Catalog>, Refused> {
        if submit.reuse { Ok(Arc::new(Catalog::load_reusing(&self.0.workspace)?)) } else { Ok(self.catalog_for(&submit.target)) }
    }

    /// For a submission: with everything that was saved before, as far as it needs it.
    fn catalog_for(&self, target: &Target) -> Arc<Catalog> {
        self.settled(|catalog| files_of(catalog, target))
    }

    /// With everything that was saved before, of the files that are needed; none: of all. What is being written just now is waited for, and
    /// not for long.
    fn settled(&self, needed: impl Fn(&Catalog) -> Option<Vec<PathBuf>>) -> Arc<Catalog> {
        let deadline = Instant::now() + SETTLE_MAX;
        loop {
            let catalog = self.current();
            if self.is_fresh(needed(&catalog)) || Instant::now() >= deadline {
                return self.current();
            }
            std::thread::sleep(SETTLE_PAUSE);
        }
    }

    /// Whether files are as they were read. Looks again where they are not.
    fn is_fresh(&self, needed: Option<Vec<PathBuf>>) -> bool {
        let mut books = lock(&self.0.books);
        if needed.is_some_and(|files| files.iter().all(|file| books.is_read(file))) {
            return true;
        }
        !self.look_with(&mut books, &Hints::default()).waiting
    }

    /// What is wrong, and how changes are noticed.
    pub(super) fn view(&self) -> ReloadView {
        let catalog = self.catalog();
        let broken = catalog.registry.broken().iter().map(|broken| BrokenView {
            file: self.0.workspace.display(&broken.file),
            module_id: broken.last_good.as_ref().or(broken.id.as_ref()).map(ToString::to_string),
            usable: broken.last_good.is_some(),
            errors: mistakes(&broken.diagnostics),
        });
        let books = lock(&self.0.books);
        ReloadView {
            broken: broken.collect(),
            settings_errors: books.refused_settings().map(mistakes).unwrap_or_default(),
            watch: self.shown(|shown| shown.watch.clone()),
        }
    }

    /// The pipelines of the catalogue; where nobody watches they are looked for now, and not checked.
    pub(super) fn pipelines(&self) -> Vec<PipelineEntry> {
        let catalog = self.catalog();
        let books = lock(&self.0.books);
        if books.pipelines().is_on() {
            return books.pipelines().entries(&self.0.workspace);
        }
        drop(books);
        let entry = |file: PathBuf| PipelineEntry { file: self.0.workspace.display(&file), errors: Vec::new() };
        catalog.pipeline_files().into_iter().map(entry).collect()
    }

    /// Begins with how changes are noticed, where that is not as usual: the watcher may have told it before.
    pub(super) fn subscribe(&self, sink: WorkspaceSink) {
        let shown = self.0.shown.read().unwrap_or_else(PoisonError::into_inner);
        let unusual = shown.watch.clone().filter(|news| news.reason.is_some());
        if unusual.is_none_or(|news| sink(&Arc::new(WorkspaceUpdate::Watch(news)))) {
            self.0.subscribers.add(sink);
        }
    }
}

/// The files that say what a submission means, where they are known without a look at all of them.
fn files_of(catalog: &Catalog, target: &Target) -> Option<Vec<PathBuf>> {
    let settings = catalog.workspace.settings();
    match target {
        Target::Module { id, with_dependencies: false } => match catalog.module(id.as_str()) {
            Ok(module) => Some(vec![settings, module.file()]),
            Err(NoModule::Broken(_) | NoModule::Unknown(_)) => None,
        },
        Target::Module { .. } | Target::Pipeline { .. } => None,
        Target::Exec { .. } => Some(vec![settings]),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl super::Handle {
    /// Settings and modules as they are now. Immutable: ask again for a newer one.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.reload().catalog()
    }

    /// The same for somebody who has just saved a file and wants to see what it means: with everything that was saved before.
    #[must_use]
    pub fn settled_catalog(&self) -> Arc<Catalog> {
        self.reload().settled(|_| None)
    }

    /// How many clients of streams may be connected, where files were looked at already. Looks at none itself: it is asked for each client.
    #[must_use]
    pub fn sse_clients(&self) -> Option<usize> {
        self.reload().shown(|shown| shown.catalog.as_ref().map(|catalog| catalog.settings.sse_clients))
    }

    /// The pipelines that can be started by name.
    #[must_use]
    pub fn pipelines(&self) -> Vec<PipelineEntry> {
        self.reload().pipelines()
    }

    /// Broken files, and how changes are noticed.
    #[must_use]
    pub fn reload_view(&self) -> ReloadView {
        self.reload().view()
    }

    /// Tells `sink` of every change of modules, pipelines and settings from now on, and first of how changes are noticed where that is not
    /// by events. It is called on the thread that noticed it, must not block or ask the host, and returns whether it wants more.
    pub fn on_workspace_update(&self, sink: WorkspaceSink) {
        self.reload().subscribe(sink);
    }

    /// The same, gathered: at most `most` updates wait for whoever reads them.
    #[must_use]
    pub fn workspace_updates(&self, most: usize) -> Subscription {
        let (subscription, sink) = Subscription::new(most);
        self.reload().subscribe(sink);
        subscription
    }
}

#[cfg(test)]
mod tests;
