//! Free disk is watched while something runs or is about to start; the decision what follows from it is the scheduler's.
//!
//! A thread of its own looks, since a file server that does not answer must not stop the loop; it begins with the first look and sleeps
//! between two. An idle host does not look at all.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use super::handle::{Command, Handle};
use super::turn::{Message, Turn};
use super::update::Update;
use super::workspace::Workspace;
use crate::probe;
use crate::resources::{Disk, DiskLevel, worst_level};
use crate::run::NodeStatus;
use crate::run::view::NodeRow;
use crate::settings::Settings;
use crate::units::{DurationMs, Mono};

/// Time between two looks.
const LOOK_EVERY: DurationMs = DurationMs(5_000);
/// A look so old is good enough for a run that comes.
const FRESH: DurationMs = DurationMs(1_000);

/// Looks at the disks of the runs' folders and of the state. One that cannot be asked is left out: it is no reason to stop.
#[must_use]
pub fn look(workspace: &Workspace, settings: &Settings) -> Vec<Disk> {
    let mut seen = BTreeSet::new();
    let mut disks = Vec::new();
    for folder in [workspace.runs(), workspace.state()] {
        match probe::space(&folder) {
            Ok(space) if seen.insert(space.device.clone()) => {
                let folder = folder.to_string_lossy().into_owned();
                disks.push(Disk { folder, free: space.free, total: space.total, reserve: settings.disk_reserve(space.total) });
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(folder = %folder.display(), %error, "the free space is not known"),
        }
    }
    disks
}

/// The level that was found last, shared with those who only ask.
#[derive(Debug, Clone, Default)]
pub(super) struct Known(Arc<Mutex<DiskLevel>>);

impl Known {
    fn set(&self, level: DiskLevel) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = level;
    }

    pub(super) fn get(&self) -> DiskLevel {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// How the disks stood when somebody last looked; makes that somebody looks again soon, and never waits for it.
    #[must_use]
    pub fn disk_level(&self) -> DiskLevel {
        self.tell(Command::LookAtDisks);
        self.known_disk_level().get()
    }
}

/// What cannot start for want of disk says so.
pub(super) fn name_in<'a>(rows: impl IntoIterator<Item = &'a mut NodeRow>, disks: &[Disk]) {
    let Some(short) = disks.iter().find(|disk| disk.level() == DiskLevel::Short) else { return };
    for row in rows.into_iter().filter(|row| row.status == NodeStatus::Queued && row.cause.is_none()) {
        row.reason = Some(format!("waits for disk: {short}"));
    }
}

/// Has the disks looked at, and remembers when.
pub(super) struct Watch {
    workspace: Workspace,
    settings: Settings,
    inbox: mpsc::Sender<Message>,
    known: Known,
    /// To the thread, once there is one.
    asks: Option<mpsc::Sender<()>>,
    last: Mono,
    /// A look that was asked for and has not come.
    asked: bool,
}

impl Watch {
    pub(super) fn new(handle: &Handle, settings: Settings) -> Self {
        let (workspace, inbox, known) = (handle.workspace().clone(), handle.inbox().clone(), handle.known_disk_level().clone());
        Self { workspace, settings, inbox, known, asks: None, last: Mono(0), asked: false }
    }

    /// Looks with other settings from now on.
    pub(super) fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
        // The next look starts a thread that has them; what the old one still finds is no less true.
        self.asks = None;
    }

    /// The first look, on the thread of whoever starts the host.
    pub(super) fn first(&self) -> Vec<Disk> {
        look(&self.workspace, &self.settings)
    }

    fn ask(&mut self, now: Mono) {
        if self.asked {
            return;
        }
        self.last = now;
        if self.asks.is_none() {
            self.asks = self.begin();
        }
        self.asked = self.asks.as_ref().is_some_and(|asks| asks.send(()).is_ok());
    }

    fn begin(&self) -> Option<mpsc::Sender<()>> {
        let (asks, asked) = mpsc::channel();
        let (workspace, settings, inbox) = (self.workspace.clone(), self.settings.clone(), self.inbox.clone());
        let work = move || {
            for () in asked {
                if inbox.send(Message::Disks(look(&workspace, &settings))).is_err() {
                    break;
                }
            }
        };
        match std::thread::Builder::new().name("disk".into()).spawn(work) {
            Ok(_) => Some(asks),
            Err(error) => {
                tracing::warn!(%error, "no thread to watch the disk");
                None
            }
        }
    }
}

impl Turn {
    /// When the disks are to be looked at again, if at all.
    pub(super) fn disk_due(&self) -> Option<Mono> {
        let wanted = !self.watch.asked && (self.world.held().attempts > 0 || self.world.wants_start());
        wanted.then(|| self.watch.last.plus(LOOK_EVERY))
    }

    /// Called after each turn of the loop.
    pub(super) fn watch_disk(&mut self) {
        let now = self.clock.now().mono;
        if self.disk_due().is_some_and(|due| due <= now) {
            self.watch.ask(now);
        }
    }

    /// Something is about to start.
    pub(super) fn refresh_disk(&mut self) {
        let now = self.clock.now().mono;
        if self.watch.last.plus(FRESH) <= now {
            self.watch.ask(now);
        }
    }

    /// Takes what was found.
    pub(super) fn disks(&mut self, disks: Vec<Disk>) {
        self.watch.asked = false;
        let (before, after) = (worst_level(self.world.disks()), worst_level(&disks));
        if before != after {
            match after {
                DiskLevel::Enough => tracing::info!("there is room on the disk again"),
                DiskLevel::Low | DiskLevel::Short => {
                    let said: Vec<String> = disks.iter().filter(|disk| disk.level() == after).map(ToString::to_string).collect();
                    tracing::warn!("{}", said.join("; "));
                }
            }
            self.fanout.tell_all(&Update::Disk(disks.clone()));
        }
        self.watch.known.set(after);
        self.world.set_disks(disks);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::units::Bytes;

    #[test]
    fn one_file_system_is_named_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = Workspace::at(folder.path()).expect("a workspace");
        assert_eq!(look(&workspace, &Settings::default()), [], "folders that are not there");
        workspace.create_state().expect("folders");
        let settings = Settings { reserve_disk: Some(Bytes(7)), ..Settings::default() };
        let disks = look(&workspace, &settings);
        assert_eq!(disks.len(), 1, "{disks:?}");
        assert_eq!((PathBuf::from(&disks[0].folder), disks[0].reserve), (workspace.runs(), Bytes(7)));
    }
}
