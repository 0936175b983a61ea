//! What somebody is told who watches the whole workspace: how it is, and then every change, once it is durable.

use std::sync::Arc;

use serde::Serialize;

use super::handle::{Command, CommandError, Handle, Reply};
use super::health::HostHealth;
use super::index::RunRow;
use super::reload::update::WorkspaceUpdate;
use super::resources_view::ResourcesView;
use super::runfile;
use super::turn::Turn;
use super::update::{NodeChange, Update};
use crate::ids::RunId;
use crate::resources::Disk;

/// Finished runs that are told at the begin; the rest is in the lists.
const FINISHED_TOLD: usize = 100;

/// A change of the workspace.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A run is new, or its status is another one. A terminal status is its last.
    Run(Box<RunRow>),
    /// A node of a run changed.
    Node {
        /// The run.
        run: RunId,
        /// What changed.
        change: Box<NodeChange>,
    },
    /// A node reported progress.
    Progress(Box<Progress>),
    /// These runs were pruned.
    Removed(Vec<RunId>),
    /// What the host can do has changed.
    Host(HostHealth),
    /// The disks stand otherwise.
    Disks(Vec<Disk>),
    /// The machine was looked at.
    Resources(Box<ResourcesView>),
    /// Modules, pipelines or settings.
    Files(Arc<WorkspaceUpdate>),
    /// The host leaves. The last change.
    Leaving,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// The run.
    pub run_id: RunId,
    /// Path of the node.
    pub node: String,
    /// Steps done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<f64>,
    /// Steps in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    /// What it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Change {
    /// What an update is to a watcher, if it is anything.
    pub(super) fn of(run: Option<&RunId>, update: &Update) -> Option<Self> {
        match update {
            Update::Run(row) | Update::Ended(row) => Some(Self::Run(row.clone())),
            Update::Node(change) => Some(Self::Node { run: run?.clone(), change: change.clone() }),
            Update::Output { .. } => None,
            Update::Progress { node, done, total, message } => Some(Self::Progress(Box::new(Progress {
                run_id: run?.clone(),
                node: node.clone(),
                done: *done,
                total: *total,
                message: message.clone(),
            }))),
            // Of one run it is what all are told.
            Update::Host(health) => run.is_none().then(|| Self::Host(health.clone())),
            Update::Disk(disks) => run.is_none().then(|| Self::Disks(disks.clone())),
            Update::Failed { .. } => None,
            Update::Leaving => run.is_none().then_some(Self::Leaving),
        }
    }
}

/// Where changes go. Called on the host's thread: must not block; returns whether it wants more.
pub type WatchSink = Box<dyn Fn(Change) -> bool + Send>;

/// How the workspace is when somebody begins to watch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WorkspaceView {
    /// Runs that go on and the newest finished ones, the newest first.
    pub runs: Vec<RunRow>,
    /// What the host can do.
    pub health: HostHealth,
    /// How the disks stand.
    pub disks: Vec<Disk>,
    /// How the machine stands, as far as it was looked at.
    pub resources: ResourcesView,
}

impl Handle {
    /// How the workspace is; every change after that goes to `sink`.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn watch(&self, sink: WatchSink) -> Result<WorkspaceView, CommandError> {
        self.ask(|reply| Command::Watch { sink, reply })
    }
}

impl Turn {
    /// Takes a watcher.
    pub(super) fn watch(&mut self, sink: WatchSink, reply: Reply<WorkspaceView>) {
        let mut runs = Vec::new();
        for state in self.world.runs() {
            runs.extend(self.heads.get(state.id()).map(|head| runfile::row(state, head)));
        }
        runs.extend(self.filing_runs.values().map(|unfiled| unfiled.row().clone()));
        runs.sort_by_key(|row| std::cmp::Reverse(row.created_at));
        runs.extend(self.finished.newest(FINISHED_TOLD));
        // Records that are not durable yet are told a moment later all the same.
        let (health, disks) = (self.health.shown(), self.world.disks().to_vec());
        let view = WorkspaceView { runs, health, disks, resources: self.resources_view() };
        self.fanout.watch(sink);
        drop(reply.send(Ok(view)));
    }
}
