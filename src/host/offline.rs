//! Looking without being the host: lists, single runs and logs, straight from the journal and the runs' folders.
//!
//! Works the same whether a host is alive or not, and changes nothing. What looks at the journal's own files, or repairs them where
//! nobody is the host, is in [`journal`].

pub mod journal;

use super::clock;
use super::disk;
use super::index::{Finished, RunRow};
use super::learned::Learned;
use super::look::{AllRuns, RunFound, RunsAsked, RunsSeen};
use super::ownership;
use super::prepare::RunHead;
use super::replay::{load_pinned, replay_to_damage};
use super::resources_view::ResourcesView;
use super::runfile::{self, RunFile};
use super::select::SelectError;
use super::workspace::Workspace;
use crate::diagnostics::Diagnostics;
use crate::ids::{ModuleId, NodeIndex, RunId};
pub use crate::journal::OpenError;
use crate::pipeline::definition::Definition;
use crate::resources::Disk;
use crate::run::RunState;
use crate::scheduler::{Durations, time_left};
use crate::units::{DurationMs, Timestamp};
use std::collections::BTreeMap;

/// What the journal says at this moment.
pub struct Snapshot {
    workspace: Workspace,
    finished: Finished,
    live: BTreeMap<RunId, (RunState, RunHead)>,
    unreadable: BTreeMap<RunId, String>,
    pruned: BTreeMap<RunId, Timestamp>,
    durations: Durations,
    /// Whether a host owns the workspace.
    pub hosted: bool,
    /// Why the journal could not be read to its end, if it is damaged.
    pub damage: Option<String>,
}

/// The graph of what a run was submitted with.
///
/// # Errors
/// Why it cannot be read, in words.
pub fn definition(workspace: &Workspace, run: &RunId) -> Result<std::sync::Arc<Definition>, String> {
    load_pinned(workspace, run, None).map(|(_, definition)| definition)
}

/// How the disks stand that runs write to, at this moment.
#[must_use]
pub fn disks(workspace: &Workspace) -> Vec<Disk> {
    let settings = super::catalog::settings_of(workspace).unwrap_or_default();
    disk::look(workspace, &settings)
}

/// The machine where no host runs.
///
/// # Errors
/// All mistakes of the settings.
pub fn resources(workspace: &Workspace) -> Result<ResourcesView, Diagnostics> {
    let settings = super::catalog::settings_of(workspace)?;
    Ok(ResourcesView::idle(&settings, &disk::look(workspace, &settings)))
}

impl Snapshot {
    /// Reads the journal.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged. Of a workspace that is [only to be looked at](Workspace::looked_at) what stands before the
    /// damage is read.
    pub fn read(workspace: &Workspace) -> Result<Self, OpenError> {
        let hosted = ownership::is_owned(workspace);
        let history = crate::journal::open_read_only(&workspace.journal())?;
        let (replayed, unreadable) = replay_to_damage(workspace, &history, |_| false);
        let damage = history.damage().cloned().into_iter().chain(unreadable).min_by_key(|damage| damage.seq);
        if let Some(damage) = damage.clone().filter(|_| !workspace.is_look_only()) {
            return Err(damage.into());
        }
        Ok(Self {
            workspace: workspace.clone(),
            finished: replayed.finished,
            // A run that has ended and whose file is not written is as much as the journal knows of it.
            live: replayed.runs.into_iter().chain(replayed.unfiled).collect(),
            unreadable: replayed.unreadable,
            pruned: replayed.pruned,
            durations: replayed.durations,
            hosted,
            damage: damage.map(|damage| damage.to_string()),
        })
    }

    /// All runs at this moment.
    #[must_use]
    pub fn all(&self) -> AllRuns {
        let live = self.live.values().map(|(state, head)| self.live_row(state, head)).collect();
        AllRuns { live, finished: self.finished.clone(), unreadable: self.unreadable.clone().into() }
    }

    /// Runs that cannot be read, with the reason.
    #[must_use]
    pub fn unreadable(&self) -> &BTreeMap<RunId, String> {
        &self.unreadable
    }

    /// What was learned of a module, if anything; what live runs teach is in it.
    #[must_use]
    pub fn learned(&self, module: &ModuleId) -> Option<Learned> {
        let mut durations = self.durations.clone();
        self.live.values().for_each(|(state, _)| durations.merge(&Durations::of_run(state)));
        durations.used(module).map(Learned::of)
    }

    /// How long a run still takes, by what is known of its modules.
    fn time_left(&self, state: &RunState) -> Option<DurationMs> {
        let mut state = state.clone();
        state.prioritise(&|module, settings| self.durations.weight(module, settings));
        let settings = super::catalog::settings_of(&self.workspace).unwrap_or_default();
        // One core a node is what most of them ask for. Nobody asks the drivers of GPUs for this.
        let cpus = settings.capacity.cpus.unwrap_or_else(|| crate::probe::detect().cpus);
        let places = u64::from(settings.max_concurrent).min(cpus.0.div_ceil(1000));
        time_left(&state, &self.durations, places, clock::wall())
    }

    /// Rows of the finished runs, and of the others each run whose results it has, or may have.
    pub(super) fn prunable(&self) -> (&Finished, Vec<(RunId, RunId)>) {
        let takes = self.live.iter().flat_map(|(run, (state, head))| {
            let earlier = head.retry_of.clone().into_iter().chain(state.results_of());
            earlier.map(move |earlier| (run.clone(), earlier))
        });
        (&self.finished, takes.collect())
    }

    /// When runs were pruned, of those that the journal still tells of.
    pub(super) fn into_pruned(self) -> BTreeMap<RunId, Timestamp> {
        self.pruned
    }

    /// A run that nobody works on: its host is gone.
    fn live_row(&self, state: &RunState, head: &RunHead) -> RunRow {
        let mut row = runfile::row(state, head);
        row.held |= !self.hosted && !row.status.is_terminal();
        row
    }

    /// The row of a run.
    #[must_use]
    pub fn row(&self, run: &RunId) -> Option<RunRow> {
        match self.live.get(run) {
            Some((state, head)) => Some(self.live_row(state, head)),
            None => self.finished.get(run),
        }
    }

    /// The state of a run that has not ended.
    #[must_use]
    pub fn live(&self, run: &RunId) -> Option<&RunState> {
        self.live.get(run).map(|(state, _)| state)
    }

    /// A run with all its nodes.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn file(&self, run: &RunId) -> std::io::Result<Option<RunFile>> {
        match self.live.get(run) {
            Some((state, head)) => {
                let mut file = RunFile::of(state, head);
                file.run = self.live_row(state, head);
                if !file.run.held {
                    disk::name_in(&mut file.nodes, &disks(&self.workspace));
                }
                file.time_left_ms = if file.run.held { None } else { self.time_left(state) };
                Ok(Some(file))
            }
            None => Ok(RunFile::read(&self.workspace, run)?.or_else(|| self.unfiled(run))),
        }
    }

    /// A run whose end is in the journal and whose file is still being written: its nodes are told again.
    fn unfiled(&self, run: &RunId) -> Option<RunFile> {
        self.finished.get(run)?;
        let history = crate::journal::open_read_only(&self.workspace.journal()).ok()?;
        let (replayed, _) = replay_to_damage(&self.workspace, &history, |ended| ended == run);
        let told = replayed.unfiled.get(run).map(|(state, head)| RunFile::of(state, head));
        // It may be there by now.
        told.or_else(|| RunFile::read(&self.workspace, run).ok().flatten())
    }

    /// Path of a node by its index, of a run that has not ended.
    #[must_use]
    pub fn path(&self, run: &RunId, node: NodeIndex) -> Option<String> {
        self.live.get(run).map(|(state, _)| state.path(node))
    }

    /// The run that a selector names: its id, a unique head or tail of it, `last`, `@~N`.
    ///
    /// # Errors
    /// When none or several fit.
    pub fn find(&self, selector: &str) -> Result<RunFound, SelectError> {
        self.all().find(selector, || self.pruned.clone())
    }

    /// The runs that are asked for.
    #[must_use]
    pub fn seen(&self, asked: &RunsAsked) -> RunsSeen {
        self.all().seen(asked)
    }
}
