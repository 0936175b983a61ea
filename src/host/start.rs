//! Becoming the host of a workspace: lock, journal, recovery, threads.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use super::catalog;
use super::clock::{self, Clock};
use super::disk::Watch;
use super::fanout::Fanout;
use super::filing::Filing;
use super::handle::Handle;
use super::health::Board;
use super::launch::Launcher;
use super::machine::Machine;
use super::measure::{Gauge, Pids};
use super::ownership::{HostAddress, HostKind, Ownership};
use super::prune::Tidying;
use super::reload::Reload;
use super::replay::{Replayed, replay};
use super::sweep;
use super::turn::{Ended, Message, Turn};
use super::workspace::Workspace;
use crate::diagnostics::Diagnostics;
use crate::engine::{Fact, LocalEngine};
use crate::ids::RunId;
use crate::journal::{self, OpenError};
use crate::scheduler::{Durations, Timers, World};
use crate::settings::Settings;

/// So long a host that ends waits for submissions that are being written into their folders: a sync of a slow disk.
const PINNING_LIMIT: Duration = Duration::from_secs(2);

/// How a host treats what an earlier one left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostMode {
    /// A `run`: what was interrupted is held.
    Run,
    /// A `serve` that ends when nothing is left: it goes on with what was handed over.
    UntilIdle,
    /// A `serve`: everything goes on.
    Serve,
}

/// What a host is started with.
#[derive(Debug, Clone, Copy)]
pub struct StartOptions {
    /// How it treats interrupted runs.
    pub mode: HostMode,
}

/// Why a host could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Mistakes in `prismq.yaml`.
    #[error("the settings are refused: {0}")]
    Settings(Diagnostics),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The disk, or no thread.
    #[error("the host cannot start: {0}")]
    Io(#[from] io::Error),
}

/// A host in this process. It holds the workspace's lock until it is dropped; [`Host::join`] waits until it has drained.
#[derive(Debug)]
pub struct Host {
    handle: Handle,
    thread: Option<JoinHandle<Ended>>,
    ownership: Ownership,
    settings: Arc<Settings>,
    held: Vec<RunId>,
}

impl Host {
    /// Opens the journal, tells it again, recovers what was left, and starts the loop.
    ///
    /// # Errors
    /// See [`StartError`]. The lock is free again then.
    pub fn start(workspace: &Workspace, ownership: Ownership, options: StartOptions) -> Result<Self, StartError> {
        super::limits::survive_file_size_limit();
        let settings = Arc::new(catalog::settings_of(workspace).map_err(StartError::Settings)?);
        let (inbox, messages) = mpsc::channel::<Message>();
        let progress = inbox.clone();
        // A message to a loop that has ended is for nobody.
        let opened = journal::open(
            &workspace.journal(),
            journal::Options::new(move |said| {
                let _ = progress.send(Message::Journal(said));
            }),
        )?;
        let missing = |run: &RunId| !workspace.run(run).join("run.json").exists();
        let replayed = replay(workspace, &opened.history, missing).map_err(OpenError::from)?;
        for (run, reason) in &replayed.unreadable {
            tracing::error!(%run, reason, "a run cannot be read and is left as it is");
        }
        let last = opened.history.last_seq();
        drop(opened.history);
        sweep_after(workspace, &replayed);
        if !opened.reserve {
            tracing::warn!("there is no room for the ballast: should the disk be full, nothing more can be written down");
        }
        let machine = Machine::of_host(settings.clone());
        let durations = replayed.durations.clone();
        if replayed.runs.values().any(|(state, _)| super::forecast::wants_gpu(state.definition(), &durations)) {
            machine.find_gpus();
        }
        let watched = options.mode != HostMode::Run;
        let reload = Reload::new(workspace, &settings, machine.clone(), inbox.clone(), watched);
        let handle = Handle::new(workspace.clone(), machine.clone(), reload, inbox.clone(), Board::default());
        let mut turn = make_turn(workspace, &settings, machine, durations, opened.writer, &handle)?;
        turn.world.set_synced(last);
        let disks = turn.watch.first();
        turn.disks(disks);
        let boots = take_over(&mut turn, replayed);
        let retries: Vec<RunId> = turn.heads.iter().filter(|(_, head)| head.retry_of.is_some()).map(|(run, _)| run.clone()).collect();
        retries.iter().for_each(|run| turn.take_over_again(run));
        turn.recover(options.mode, &boots);
        tracing::info!(pid = std::process::id(), mode = ?options.mode, going = turn.world.runs().len(), "hosting");
        let held = turn.world.runs().filter(|run| run.facts().held).map(|run| run.id().clone()).collect();
        if watched {
            handle.reload().watch(&settings);
        }
        let thread = std::thread::Builder::new().name("host".into()).spawn(move || turn.run(&messages))?;
        Ok(Self { handle, thread: Some(thread), ownership, settings, held })
    }

    /// Speaks to it.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Runs that wait for `resume` since their host died.
    #[must_use]
    pub fn held(&self) -> &[RunId] {
        &self.held
    }

    /// Says in `host.json` where it can be reached.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce(&self, port: u16, kind: HostKind) -> io::Result<()> {
        self.ownership.announce(&HostAddress {
            format: 1,
            pid: std::process::id(),
            port,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kind,
            started_at: clock::wall(),
        })
    }

    /// Waits until the loop has ended (see [`Handle::leave`]) and gives the workspace free. Tells what is left for a successor.
    pub fn join(mut self) -> Ended {
        self.handle.reload().stop();
        let ended = self.thread.take().map(JoinHandle::join);
        if !self.handle.pinning().close(PINNING_LIMIT) {
            tracing::warn!("a submission is still being written down; the next host removes what is left of it");
        }
        ended.map_or_else(Ended::default, |ended| {
            ended.unwrap_or_else(|_| {
                tracing::error!("the host's thread panicked");
                Ended { remaining: 0, unwritten: Some("the host's thread ended by a mistake of ours".to_owned()) }
            })
        })
    }
}

fn make_turn(
    workspace: &Workspace,
    settings: &Settings,
    machine: Machine,
    durations: Durations,
    writer: journal::Writer,
    handle: &Handle,
) -> io::Result<Turn> {
    let inbox = handle.inbox();
    let facts = inbox.clone();
    let pids = Pids::default();
    let reported = pids.clone();
    let sink = Arc::new(move |fact: Fact| {
        // That it runs was recorded before it was handed over: waking the loop for it would cost a thread switch for each node.
        match &fact {
            Fact::Started { id, pid } => reported.started(id, *pid),
            Fact::Ended { id, .. } => reported.ended(id),
            Fact::Output { .. } | Fact::Progress { .. } | Fact::Vacated { .. } => {}
        }
        if !matches!(fact, Fact::Started { .. }) {
            // A fact for a loop that has ended is for nobody.
            let _ = facts.send(Message::Fact(fact));
        }
    });
    Ok(Turn {
        workspace: workspace.clone(),
        clock: Clock::start(),
        world: World::new(machine.capacity(), durations),
        timers: Timers::new(settings.unkillable_after),
        heads: std::collections::BTreeMap::new(),
        reuse: std::collections::BTreeMap::new(),
        finished: super::index::Finished::default(),
        unreadable: Arc::default(),
        keys: std::collections::BTreeMap::new(),
        writer,
        engine: Arc::new(LocalEngine::new(sink)),
        launcher: Launcher::new(workspace.clone(), catalog::script_roots(workspace, settings), settings.secrets.clone()),
        fanout: Fanout::default(),
        filing: Filing::start(workspace.clone(), inbox.clone())?,
        reuser: super::reuse::Reuser::start(workspace.clone(), inbox.clone())?,
        after: std::collections::BTreeMap::new(),
        lookers: std::collections::VecDeque::new(),
        filing_runs: std::collections::BTreeMap::new(),
        health: super::health::Health::default(),
        board: handle.board().clone(),
        backlog: Vec::new(),
        parked: Vec::new(),
        pruning: std::collections::BTreeSet::new(),
        watch: Watch::new(handle, settings.clone()),
        gauge: Gauge::new(handle, machine, pids),
        tidying: Tidying::new(settings.retention.into(), handle.clone()),
        on_exit: None,
        closed: false,
        queue_max: usize::try_from(settings.max_queued).unwrap_or(usize::MAX),
    })
}

/// Removes what earlier hosts left half made.
fn sweep_after(workspace: &Workspace, replayed: &Replayed) {
    let open = || replayed.runs.keys().chain(replayed.unfiled.keys());
    let known = open().chain(replayed.unreadable.keys()).map(RunId::as_str).chain(replayed.finished.ids()).collect();
    sweep::sweep(workspace, open(), &known);
}

/// Puts what the journal told into the loop. Gives the boot on which each live run was last written.
fn take_over(turn: &mut Turn, replayed: Replayed) -> std::collections::HashMap<RunId, String> {
    turn.finished = replayed.finished;
    turn.unreadable = Arc::new(replayed.unreadable);
    // Records say that they went; a host that died meanwhile may have left some of their folders.
    let pruned = replayed.pruning.into_iter().chain(replayed.pruned.into_keys());
    turn.pruning = pruned.filter(|run| turn.workspace.run(run).exists()).collect();
    for (run, (state, head)) in replayed.runs {
        turn.world.insert(state);
        turn.heads.insert(run, head);
    }
    turn.keys = turn.finished.keys().collect();
    let heads = turn.heads.iter().chain(replayed.unfiled.iter().map(|(run, (_, head))| (run, head)));
    let keyed = heads.filter_map(|(run, head)| Some((head.idempotency.as_ref()?.key.clone(), run.clone())));
    turn.keys.extend(keyed);
    for (run, (state, head)) in replayed.unfiled {
        turn.file_run(&run, state, head);
    }
    replayed.boots
}
