//! What the surfaces read of runs, out of the host's memory: as quick with years of history as without.
//!
//! The loop hands out copies and never works on them: rows are parsed, filtered and put in order on the thread of whoever asked. When an
//! answer is given is `patience`'s to say.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::disk;
use super::handle::{Command, CommandError, Handle, Reply};
use super::index::{Finished, RunRow, Submitted, newest_first};
use super::learned::Learned;
use super::offline::Snapshot;
use super::runfile::{self, RunFile};
use super::select::{SelectError, select};
use super::turn::Turn;
use crate::event::RunStatus;
use crate::ids::{ModuleId, RunId};
use crate::run::RunState;
use crate::run::view::NodeRow;
use crate::units::{DurationMs, Timestamp};

/// A question to the loop.
pub(super) enum Look {
    /// All runs.
    Runs(Reply<AllRuns>),
    /// One run without its nodes.
    Run(RunId, Reply<RunSeen>),
    /// All nodes of a run that has not ended.
    Nodes(RunId, Reply<Option<RunFile>>),
    /// One node of a run.
    Node(RunId, String, Reply<Option<NodeRow>>),
    /// The run that was submitted with an idempotency key.
    Keyed(String, Reply<Option<RunRow>>),
}

/// All runs at one moment.
#[derive(Debug, Clone, Default)]
pub struct AllRuns {
    /// Those that have not ended, or whose file is being written.
    pub live: Vec<RunRow>,
    /// All others.
    pub finished: Finished,
    /// Runs that cannot be read, with the reason. They are in neither of the two.
    pub unreadable: Arc<BTreeMap<RunId, String>>,
}

/// Which runs a terminal wants to see. Filters combine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunsAsked {
    /// Only runs in this state.
    #[serde(default)]
    pub status: Option<RunStatus>,
    /// Only runs of the module or pipeline of this name.
    #[serde(default)]
    pub of: Option<String>,
    /// Only runs whose host is gone and that wait for `resume`.
    #[serde(default)]
    pub held: bool,
    /// At most so many, the newest.
    pub limit: usize,
}

/// The runs that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunsSeen {
    /// Newest first.
    pub rows: Vec<RunRow>,
    /// How many there are in all, whether they were asked for or not.
    pub count: usize,
    /// Runs that cannot be read, with the reason.
    #[serde(default)]
    pub unreadable: BTreeMap<RunId, String>,
}

/// A run that was named.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFound {
    /// Its row.
    pub row: RunRow,
    /// Runs that cannot be read, with the reason.
    #[serde(default)]
    pub unreadable: BTreeMap<RunId, String>,
}

/// Why a run was not found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Nothing or too much fits.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The host could not be asked.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl RunsAsked {
    /// Whether a run is among them.
    #[must_use]
    pub fn passes(&self, row: &RunRow) -> bool {
        self.status.is_none_or(|status| row.status == status)
            && self.of.as_deref().is_none_or(|name| row.name() == name)
            && (!self.held || row.held && !row.status.is_terminal())
    }
}

/// A page of runs, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunsPage {
    /// The rows.
    pub rows: Vec<RunRow>,
    /// How many pass in all.
    pub total: usize,
}

/// A run without its nodes.
#[derive(Debug, Clone)]
pub struct RunSeen {
    /// Its row.
    pub row: RunRow,
    /// Its end was asked for and has not come.
    pub stopping: bool,
    /// Its parameters; none: they are in its file.
    pub parameters: Option<Arc<Value>>,
    /// What it reported; of a single module, what that reported.
    pub outputs: Option<Arc<Value>>,
}

impl AllRuns {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len() + self.finished.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A page of the runs that pass. Without a filter only its own rows are parsed.
    #[must_use]
    pub fn page(&self, offset: usize, limit: usize, filter: Option<&dyn Fn(&RunRow) -> bool>) -> RunsPage {
        let live = self.live.iter().map(|row| (submitted(row), Some(row)));
        let mut order: Vec<_> = live.chain(self.finished.submitted().map(|submitted| (submitted, None))).collect();
        let exact = if filter.is_some() { 0..order.len() } else { offset..offset.saturating_add(limit) };
        newest_first(&mut order, exact);
        let row = |(submitted, live): (Submitted<'_>, Option<&RunRow>)| live.cloned().or_else(|| submitted.row());
        match filter {
            None => {
                let total = order.len();
                RunsPage { rows: order.into_iter().skip(offset).take(limit).filter_map(row).collect(), total }
            }
            Some(passes) => {
                let mut page = RunsPage::default();
                for row in order.into_iter().filter_map(row).filter(|row| passes(row)) {
                    if page.total >= offset && page.rows.len() < limit {
                        page.rows.push(row);
                    }
                    page.total += 1;
                }
                page
            }
        }
    }

    /// What of them a terminal asks for.
    pub(super) fn seen(&self, asked: &RunsAsked) -> RunsSeen {
        let passes = |row: &RunRow| asked.passes(row);
        let filtered = asked.status.is_some() || asked.of.is_some() || asked.held;
        let page = self.page(0, asked.limit, filtered.then_some(&passes));
        RunsSeen { rows: page.rows, count: self.len(), unreadable: (*self.unreadable).clone() }
    }

    /// The run that a selector names. `pruned`: when runs were pruned lately.
    pub(super) fn find(&self, selector: &str, pruned: impl FnOnce() -> BTreeMap<RunId, Timestamp>) -> Result<RunFound, SelectError> {
        let run = select(self.live.iter().map(submitted).chain(self.finished.submitted()), selector, pruned)?;
        let live = self.live.iter().find(|row| row.run_id == run).cloned();
        let row = live.or_else(|| self.finished.get(&run)).ok_or_else(|| SelectError::None(selector.to_owned()))?;
        Ok(RunFound { row, unreadable: (*self.unreadable).clone() })
    }
}

fn submitted(row: &RunRow) -> Submitted<'_> {
    Submitted::new(row.run_id.as_str(), row.created_at)
}

impl Handle {
    /// The runs that a terminal asks for.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn runs_seen(&self, asked: &RunsAsked) -> Result<RunsSeen, CommandError> {
        self.runs().map(|all| all.seen(asked))
    }

    /// The run that a selector names: its id, a unique head or tail of it, `last`, `@~N`.
    ///
    /// # Errors
    /// When none or several fit, or the host is gone.
    pub fn find(&self, selector: &str) -> Result<RunFound, FindError> {
        // The journal tells for a while.
        let pruned = || Snapshot::read(self.workspace()).map(Snapshot::into_pruned).unwrap_or_default();
        Ok(self.runs()?.find(selector, pruned)?)
    }

    /// What was learned of a module, if anything; what live runs teach is in it.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn learned(&self, module: &ModuleId) -> Result<Option<Learned>, CommandError> {
        let durations = self.ask(|reply| Command::Durations { reply })?;
        Ok(durations.used(module).map(Learned::of))
    }

    /// All runs.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn runs(&self) -> Result<AllRuns, CommandError> {
        self.look(Look::Runs)
    }

    /// A run without its nodes. What is not in memory any more is read from its file.
    ///
    /// # Errors
    /// When there is no such run, its file cannot be read, or the host is gone.
    pub fn run(&self, run: &RunId) -> Result<RunSeen, CommandError> {
        let mut seen = self.look(|reply| Look::Run(run.clone(), reply))?;
        if seen.parameters.is_none() {
            let file = self.file_on_disk(run)?;
            let single = file.run.pipeline.is_none();
            seen.parameters = Some(file.parameters);
            // A single module is the last node: what it depends on stands before it.
            seen.outputs = file.outputs.or_else(|| file.nodes.last().filter(|_| single)?.outputs.clone());
        }
        Ok(seen)
    }

    /// A run with all its nodes.
    ///
    /// # Errors
    /// As [`Handle::run`].
    pub fn run_file(&self, run: &RunId) -> Result<RunFile, CommandError> {
        match self.look(|reply| Look::Nodes(run.clone(), reply))? {
            Some(file) => Ok(file),
            None => self.file_on_disk(run),
        }
    }

    /// A node of a run.
    ///
    /// # Errors
    /// As [`Handle::run`], and when the run has no such node.
    pub fn node(&self, run: &RunId, node: &str) -> Result<NodeRow, CommandError> {
        if let Some(row) = self.look(|reply| Look::Node(run.clone(), node.to_owned(), reply))? {
            return Ok(row);
        }
        let unknown = || CommandError::UnknownNode { run: run.clone(), node: node.to_owned() };
        self.file_on_disk(run)?.nodes.into_iter().find(|row| row.node == node).ok_or_else(unknown)
    }

    /// The run that was submitted with an idempotency key, as long as it is kept.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn keyed(&self, key: &str) -> Result<Option<RunRow>, CommandError> {
        self.look(|reply| Look::Keyed(key.to_owned(), reply))
    }

    fn file_on_disk(&self, run: &RunId) -> Result<RunFile, CommandError> {
        let unreadable = |reason: String| CommandError::Unreadable { run: run.clone(), reason };
        match RunFile::read(self.workspace(), run) {
            Ok(Some(file)) => Ok(file),
            Ok(None) => Err(unreadable("its file is not there".to_owned())),
            Err(error) => Err(unreadable(error.to_string())),
        }
    }

    fn look<T>(&self, look: impl FnOnce(Reply<T>) -> Look) -> Result<T, CommandError> {
        self.ask(|reply| Command::Look(look(reply)))
    }
}

impl Turn {
    pub(super) fn look(&mut self, look: Look) {
        match look {
            Look::Runs(reply) => {
                let all = self.all_runs(Some);
                self.show_all_soon(reply, Ok(all), |turn| {
                    let undurable = turn.undurable();
                    Ok(turn.all_runs(|row| undurable.without(row)))
                });
            }
            Look::Run(run, reply) => {
                let seen = self.seen(&run).ok_or_else(|| CommandError::UnknownRun(run.clone()));
                // A run that is only just there has no earlier state to be shown.
                if seen.is_err() || self.is_just_submitted(&run) {
                    return self.show(&run, reply, seen);
                }
                self.show_soon(&run.clone(), reply, seen, move |turn| turn.seen_durable(&run));
            }
            Look::Nodes(run, reply) => {
                let file = self.live_file(&run);
                let known = file.is_some() || self.finished.get(&run).is_some();
                let answer = if known { Ok(file) } else { Err(CommandError::UnknownRun(run.clone())) };
                self.show(&run, reply, answer);
            }
            Look::Node(run, node, reply) => {
                let mut row = self.state_of(&run).map(|state| state.find(&node).map(|index| state.row(index)));
                self.name_the_disk(&run, row.iter_mut().flatten());
                let answer = match row {
                    Some(None) => Err(CommandError::UnknownNode { run: run.clone(), node }),
                    Some(row) => Ok(row),
                    None if self.finished.get(&run).is_some() => Ok(None),
                    None => Err(CommandError::UnknownRun(run.clone())),
                };
                self.show(&run, reply, answer);
            }
            Look::Keyed(key, reply) => {
                let row = self.keys.get(&key).cloned().and_then(|run| self.row_of(&run));
                match row.as_ref().map(|row| row.run_id.clone()) {
                    Some(run) => self.show(&run, reply, Ok(row)),
                    None => drop(reply.send(Ok(None))),
                }
            }
        }
    }

    /// All runs as they are now, each row as it may be shown.
    fn all_runs(&self, shown: impl Fn(RunRow) -> Option<RunRow>) -> AllRuns {
        let going = self.world.runs().filter_map(|run| self.row_of(run.id()));
        let filing = self.filing_runs.values().map(|run| run.row().clone());
        let live = going.chain(filing).filter_map(shown).collect();
        AllRuns { live, finished: self.finished.clone(), unreadable: self.unreadable.clone() }
    }

    fn state_of(&self, run: &RunId) -> Option<&RunState> {
        self.world.run(run).or_else(|| self.filing_runs.get(run).map(super::filing::Unfiled::state))
    }

    /// The row of a run, wherever it is.
    pub(super) fn row_of(&self, run: &RunId) -> Option<RunRow> {
        if let (Some(state), Some(head)) = (self.world.run(run), self.heads.get(run)) {
            return Some(runfile::row(state, head));
        }
        self.filing_runs.get(run).map(|run| run.row().clone()).or_else(|| self.finished.get(run))
    }

    pub(super) fn seen(&self, run: &RunId) -> Option<RunSeen> {
        let row = self.row_of(run)?;
        let state = self.state_of(run);
        Some(RunSeen {
            stopping: state.is_some_and(|state| state.facts().cancel.is_some()) && !row.status.is_terminal(),
            parameters: state.map(|state| state.params().clone()),
            outputs: state.and_then(|state| {
                let main = || runfile::main_node(state).filter(|_| row.pipeline.is_none());
                state.facts().outputs.clone().or_else(|| state.node(main()?).outputs().cloned())
            }),
            row,
        })
    }

    /// The same without what is not on the disk yet.
    fn seen_durable(&self, run: &RunId) -> Result<RunSeen, CommandError> {
        let unknown = || CommandError::UnknownRun(run.clone());
        let mut seen = self.seen(run).ok_or_else(unknown)?;
        seen.row = self.undurable().without(seen.row).ok_or_else(unknown)?;
        seen.outputs = seen.outputs.filter(|_| seen.row.status.is_terminal());
        Ok(seen)
    }

    fn live_file(&self, run: &RunId) -> Option<RunFile> {
        if let Some(unfiled) = self.filing_runs.get(run) {
            return Some(unfiled.file());
        }
        let mut file = RunFile::of(self.world.run(run)?, self.heads.get(run)?);
        file.time_left_ms = self.time_left(run);
        self.name_the_disk(run, &mut file.nodes);
        Some(file)
    }

    /// Nodes of a run that goes on and cannot start for want of disk say so.
    fn name_the_disk<'a>(&self, run: &RunId, rows: impl IntoIterator<Item = &'a mut NodeRow>) {
        if self.world.run(run).is_some_and(|state| !state.facts().held) {
            disk::name_in(rows, self.world.disks());
        }
    }

    /// How long a run still takes, by what is known of its modules; none where nothing of it goes on.
    fn time_left(&self, run: &RunId) -> Option<DurationMs> {
        let state = self.world.run(run).filter(|state| !state.facts().held)?;
        let capacity = self.world.capacity();
        let places = u64::from(capacity.max_concurrent).min(capacity.cpus.0.div_ceil(1000));
        crate::scheduler::time_left(state, self.world.durations(), places, self.clock.now().wall)
    }
}
