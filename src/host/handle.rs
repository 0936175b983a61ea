//! The handle: how surfaces speak to the host's thread.
//!
//! Every method may be called from any thread and blocks until the host answered; an answer to a change means that it is on the disk.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::disk::Known;
use super::health::{Board, HealthStatus, HostHealth};
use super::history::{self, History};
use super::index::RunRow;
use super::leave::{Attempts, OnExit};
use super::look::{Look, RunSeen};
use super::machine::Machine;
use super::order::Sources;
use super::pinning::Pinning;
use super::prepare::{self, Prepared, Refused};
use super::prune::Prunable;
use super::reload::Reload;
use super::resources_view::ResourcesView;
use super::retry;
use super::submission::{Retry, Submit};
use super::turn::Message;
use super::update::Update;
use super::watch::{WatchSink, WorkspaceView};
use super::why::{WhyAsked, WhyView};
use super::workspace::Workspace;
use crate::diagnostics::Diagnostics;
use crate::ids::RunId;
use crate::journal::{FailureKind, JournalFailure};
use crate::pipeline::definition::Definition;
use crate::resources::Capacity;
use crate::scheduler::Durations;
use crate::settings::Settings;
use crate::units::Timestamp;

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No such run.
    #[error("there is no run {0}")]
    UnknownRun(RunId),
    /// No such node in the run.
    #[error("run {run} has no node `{node}`")]
    UnknownNode {
        /// The run.
        run: RunId,
        /// What was asked for.
        node: String,
    },
    /// Only a held run can be resumed.
    #[error("run {0} is not held: there is nothing to resume")]
    NotHeld(RunId),
    /// Only a finished run can be retried.
    #[error("run {0} has not ended")]
    StillRunning(RunId),
    /// Its idempotency key was used before.
    #[error("the idempotency key was used before, for run {}", .0.run_id)]
    KeyUsed(Box<RunRow>),
    /// The submission was refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The host is leaving or gone.
    #[error("the host is leaving")]
    Gone,
    /// The disk is full: nothing new is accepted until there is room.
    #[error("the disk is full: {0}")]
    DiskFull(String),
    /// The journal takes no records. What was asked for may still come to pass if it heals.
    #[error("the host is read-only: {0}")]
    Journal(String),
    /// What is kept of the run cannot be read.
    #[error("run {run} cannot be read: {reason}")]
    Unreadable {
        /// The run.
        run: RunId,
        /// Why.
        reason: String,
    },
}

impl CommandError {
    /// What a person can do about it, where that is not plain.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::DiskFull(_) => "make room on the disk; the host then goes on by itself, and running modules are not touched",
            Self::Journal(_) => "running modules go on and looking works; `.prismq/log/host.log` says more, `prismq journal verify` checks",
            Self::UnknownRun(_)
            | Self::UnknownNode { .. }
            | Self::NotHeld(_)
            | Self::StillRunning(_)
            | Self::KeyUsed(_)
            | Self::Refused(_)
            | Self::Gone
            | Self::Unreadable { .. } => return None,
        };
        Some(help.to_owned())
    }

    /// A submission that could not be written down since the disk is full is refused as one to a host that knows so already.
    fn or_full(self) -> Self {
        match self {
            Self::Refused(Refused::Disk(error)) if FailureKind::of(&error) == FailureKind::DiskFull => Self::DiskFull(error.to_string()),
            other => other,
        }
    }

    /// The answer to whoever waited for a record when the journal failed.
    pub(super) fn from_failure(failure: &JournalFailure) -> Self {
        match failure.kind {
            FailureKind::DiskFull => Self::DiskFull(failure.to_string()),
            FailureKind::Io | FailureKind::Tampered | FailureKind::Ended => Self::Journal(failure.to_string()),
        }
    }

    /// The answer of a host that can write nothing down; none where it may.
    fn of_health(health: HostHealth) -> Option<Self> {
        let reason = health.reason.unwrap_or_default();
        match health.status {
            HealthStatus::Ok | HealthStatus::Healing => None,
            HealthStatus::DiskFull => Some(Self::DiskFull(reason)),
            HealthStatus::ReadOnly => Some(Self::Journal(reason)),
        }
    }
}

/// An accepted submission.
#[derive(Debug)]
pub struct Accepted {
    /// The new run.
    pub run: RunId,
    /// How it was when it was accepted.
    pub seen: Box<RunSeen>,
    /// Warnings.
    pub notes: Diagnostics,
}

/// Where updates go. Called on the host's thread: must not block; returns whether it wants more.
pub type FollowSink = Box<dyn Fn(Update) -> bool + Send>;

pub(super) type Reply<T> = mpsc::SyncSender<Result<T, CommandError>>;

/// What the handle asks of the host's thread.
pub(super) enum Command {
    /// Take a new run.
    Accept { prepared: Box<Prepared>, retry: Option<Box<retry::Reuse>>, reply: Reply<Box<RunSeen>> },
    /// End a run.
    Cancel { run: RunId, kill: bool, reply: Reply<()> },
    /// Go on with held runs.
    Resume { run: Option<RunId>, reply: Reply<Vec<RunId>> },
    /// Tell about a run.
    Follow { run: RunId, sink: FollowSink, reply: Reply<()> },
    /// Tell about everything.
    Watch { sink: WatchSink, reply: Reply<WorkspaceView> },
    /// Which attempts a run has had.
    LogSources { run: RunId, reply: Reply<Sources> },
    /// Which runs have finished, and which of them must stay.
    Prunable { reply: Reply<Prunable> },
    /// Forget finished runs; answers with those that were forgotten.
    Prune { runs: BTreeSet<RunId>, reply: Reply<BTreeSet<RunId>> },
    /// The folders of forgotten runs are gone.
    Pruned { runs: BTreeSet<RunId> },
    /// Do what `retention:` asks for, if it is time; answers at its end, whether that came by itself.
    Tidy { reply: Reply<bool> },
    /// The thread that did it has ended.
    Tidied { finished: bool },
    /// Look how the disks stand.
    LookAtDisks,
    /// How the machine stands.
    Resources { reply: Reply<ResourcesView> },
    /// Show runs.
    Look(Look),
    /// Why nodes do not run.
    Why { asked: WhyAsked, reply: Reply<WhyView> },
    /// What was learned of durations.
    Durations { reply: Reply<Arc<Durations>> },
    /// Go on with other settings.
    Settings { settings: Arc<Settings>, capacity: Capacity },
    /// How many runs go on (held ones do not).
    Remaining { reply: Reply<usize> },
    /// Start nothing new, and end the thread when there is nothing to wait for. Runs are still accepted where a successor goes on with
    /// them.
    Leave { on_exit: OnExit, hand_over: bool, reply: Reply<Attempts> },
}

/// Speaks to a host in this process.
#[derive(Debug, Clone)]
pub struct Handle {
    workspace: Workspace,
    machine: Machine,
    reload: Reload,
    inbox: mpsc::Sender<Message>,
    board: Board,
    leaving: Arc<AtomicBool>,
    pinning: Pinning,
    disk: Known,
}

impl Handle {
    pub(super) fn new(workspace: Workspace, machine: Machine, reload: Reload, inbox: mpsc::Sender<Message>, board: Board) -> Self {
        Self { workspace, machine, reload, inbox, board, leaving: Arc::default(), pinning: Pinning::default(), disk: Known::default() }
    }

    /// What the files say.
    pub(super) fn reload(&self) -> &Reload {
        &self.reload
    }

    /// Where the host's loop says what it can do.
    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    /// What the host can do at this moment. Never waits for it.
    #[must_use]
    pub fn health(&self) -> HostHealth {
        self.board.shown()
    }

    /// Reads the files, checks and pins them, and has the run accepted.
    ///
    /// # Errors
    /// When it is refused, or the host is leaving.
    pub fn submit(&self, submit: &Submit) -> Result<Accepted, CommandError> {
        // Before anything is written for it.
        CommandError::of_health(self.health()).map_or(Ok(()), Err)?;
        if let Some(asked) = &submit.idempotency
            && let Some(row) = self.keyed(&asked.key)?
        {
            return Err(CommandError::KeyUsed(Box::new(row)));
        }
        let catalog = self.reload.catalog_for_submit(submit)?;
        let durations = self.ask(|reply| Command::Durations { reply })?;
        let capacity = |definition: &Definition| self.capacity_for(definition, &durations);
        let refused = |refused: Refused| CommandError::from(refused).or_full();
        let checked = prepare::check(&catalog, submit, &capacity).map_err(refused)?;
        // Before anything is written: it may take a while.
        let order = super::forecast::order(&checked.definition, &self.machine.capacity(), &durations);
        let _inside = self.pinning.enter().ok_or(CommandError::Gone)?;
        self.accept(prepare::pin(&self.workspace, checked, order).map_err(refused)?, None)
    }

    /// Makes a new run out of a finished one's submission.
    ///
    /// # Errors
    /// When there is no such run or node, it has not ended, or the host is leaving.
    pub fn retry(&self, request: &Retry) -> Result<Accepted, CommandError> {
        CommandError::of_health(self.health()).map_or(Ok(()), Err)?;
        let durations = self.ask(|reply| Command::Durations { reply })?;
        let capacity = |definition: &Definition| self.capacity_for(definition, &durations);
        let _inside = self.pinning.enter().ok_or(CommandError::Gone)?;
        let (prepared, reuse) = retry::prepare(&self.workspace, request, &capacity).map_err(CommandError::or_full)?;
        self.accept(prepared, Some(Box::new(reuse)))
    }

    /// What there is for a graph. Where it asks for a GPU the driver is asked, on this thread and not in the host's loop.
    fn capacity_for(&self, definition: &Definition, durations: &Durations) -> Capacity {
        if super::forecast::wants_gpu(definition, durations) {
            self.machine.find_gpus();
        }
        self.machine.capacity()
    }

    fn accept(&self, mut prepared: Prepared, retry: Option<Box<retry::Reuse>>) -> Result<Accepted, CommandError> {
        let run = prepared.run.clone();
        let notes = std::mem::take(&mut prepared.notes);
        let recorded = prepared.recorded.clone();
        let answer = self.ask(|reply| Command::Accept { prepared: Box::new(prepared), retry, reply });
        match answer {
            Ok(seen) => Ok(Accepted { run, seen, notes }),
            // Nobody knows whether it is on the disk.
            Err(CommandError::Gone) if recorded.load(Ordering::Acquire) => Err(CommandError::Gone),
            Err(refused) => {
                // Nothing of a refused run appears later. What cannot be removed is a folder that no record names.
                let _ = std::fs::remove_dir_all(self.workspace.run(&run));
                Err(refused)
            }
        }
    }

    /// Has a run ended. It may still be ending when this returns; a run that has ended is left as it is.
    ///
    /// # Errors
    /// When there is no such run, or the host is leaving.
    pub fn cancel(&self, run: &RunId, kill: bool) -> Result<(), CommandError> {
        self.ask(|reply| Command::Cancel { run: run.clone(), kill, reply })
    }

    /// Goes on with a held run, or with all of them.
    ///
    /// # Errors
    /// When there is no such run, it is not held, or the host is leaving.
    pub fn resume(&self, run: Option<&RunId>) -> Result<Vec<RunId>, CommandError> {
        self.ask(|reply| Command::Resume { run: run.cloned(), reply })
    }

    /// Tells `sink` about a run from now on, beginning with how it is.
    ///
    /// # Errors
    /// When there is no such run, or the host is leaving.
    pub fn follow(&self, run: &RunId, sink: FollowSink) -> Result<(), CommandError> {
        self.ask(|reply| Command::Follow { run: run.clone(), sink, reply })
    }

    /// What the machine has, what is handed out of it, and what is free now.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn resources(&self) -> Result<ResourcesView, CommandError> {
        self.machine.find_gpus();
        self.ask(|reply| Command::Resources { reply })
    }

    /// How the machine stood since then, while something ran. Read from files on the caller's thread: the host need not answer.
    ///
    /// # Errors
    /// What the disk says.
    pub fn resource_history(&self, since: Timestamp) -> std::io::Result<History> {
        history::read(&self.workspace, since)
    }

    /// Why nodes do not run.
    ///
    /// # Errors
    /// When there is no such run or node, or the host is gone.
    pub fn why(&self, asked: WhyAsked) -> Result<WhyView, CommandError> {
        self.ask(|reply| Command::Why { asked, reply })
    }

    /// How many runs go on; held ones do not.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn remaining(&self) -> Result<usize, CommandError> {
        self.ask(|reply| Command::Remaining { reply })
    }

    /// Starts nothing new from now on; the host ends when there is nothing left for which `on_exit` waits. Followers are told then that
    /// it leaves. Where it hands over, it accepts runs to the last moment, and the successor starts them. May be called again with
    /// something more urgent. Gives what runs at this moment.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn leave(&self, on_exit: OnExit, hand_over: bool) -> Result<Attempts, CommandError> {
        self.leaving.store(true, Ordering::Relaxed);
        self.ask(|reply| Command::Leave { on_exit, hand_over, reply })
    }

    /// Whether it was told to leave. Never waits for the host.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Submissions that are being written down.
    pub(super) fn pinning(&self) -> &Pinning {
        &self.pinning
    }

    /// The workspace that it is the host of.
    #[must_use]
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    pub(super) fn known_disk_level(&self) -> &Known {
        &self.disk
    }

    pub(super) fn inbox(&self) -> &mpsc::Sender<Message> {
        &self.inbox
    }

    /// Tells the loop something that needs no answer. A loop that has ended needs to know nothing.
    pub(super) fn tell(&self, command: Command) {
        let _ = self.inbox.send(Message::Command(command));
    }

    pub(super) fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, CommandError> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.inbox.send(Message::Command(command(reply))).map_err(|_| CommandError::Gone)?;
        answer.recv().unwrap_or(Err(CommandError::Gone))
    }

    /// The same, waiting at most so long; `None` where no answer came within that time.
    pub(super) fn ask_within<T>(&self, limit: Duration, command: impl FnOnce(Reply<T>) -> Command) -> Result<Option<T>, CommandError> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.inbox.send(Message::Command(command(reply))).map_err(|_| CommandError::Gone)?;
        match answer.recv_timeout(limit) {
            Ok(answer) => answer.map(Some),
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(CommandError::Gone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::catalog::Catalog;
    use crate::host::ownership::Ownership;
    use crate::host::start::{Host, HostMode, StartOptions};
    use crate::host::submission::Target;
    use crate::ids::ModuleId;

    /// The host ends after the submission was written into its folder and before the record of it.
    #[test]
    fn f02_a_submission_that_a_leaving_host_did_not_take_leaves_no_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("manifests")).expect("a folder");
        std::fs::write(folder.path().join("manifests/m.yaml"), "id: m\ncommand: [\"true\"]\n").expect("a file");
        let workspace = Workspace::at(folder.path()).expect("a workspace");
        let ownership = Ownership::try_take(&workspace).expect("a lock").expect("it is free");
        let host = Host::start(&workspace, ownership, StartOptions { mode: HostMode::Run }).expect("a host");
        let handle = host.handle().clone();
        let submit = Submit {
            target: Target::Module { id: ModuleId::parse("m").expect("an id"), with_dependencies: false },
            assignments: Vec::new(),
            params_file: None,
            caller_folder: folder.path().to_owned(),
            reuse: false,
            saved: false,
            idempotency: None,
            priority: None,
        };
        let catalog = Catalog::load(&workspace).expect("no settings");
        let checked = prepare::check(&catalog, &submit, &|_| handle.machine.capacity()).expect("it is good");
        let prepared = prepare::pin(&workspace, checked, None).expect("room");
        let run = prepared.run.clone();
        handle.leave(OnExit::Kill, false).expect("it lives");
        drop(host.join());
        assert!(workspace.run(&run).exists());
        assert!(matches!(handle.accept(prepared, None), Err(CommandError::Gone)));
        assert!(!workspace.run(&run).exists());
        assert!(handle.pinning.enter().is_none(), "nobody writes anything any more");
    }
}
