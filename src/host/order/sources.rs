//! Which attempts a run has had so far: asked of the host's loop once, when somebody begins to look.

use crate::event::RunStatus;
use crate::host::handle::{Command, CommandError, Handle};
use crate::host::offline::Snapshot;
use crate::host::runfile::RunFile;
use crate::host::select::SelectError;
use crate::host::turn::Turn;
use crate::ids::{AttemptNumber, RunId};
use crate::run::NodeStatus;
use crate::run::view::NodeRow;

use super::OrderError;

/// An attempt that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host) struct Seen {
    /// Path of its node.
    pub(in crate::host) node: String,
    /// Its number.
    pub(in crate::host) attempt: AttemptNumber,
    /// It writes nothing more.
    pub(in crate::host) over: bool,
}

/// The attempts of a run.
#[derive(Debug, Clone, Default)]
pub(in crate::host) struct Sources {
    /// How the run ended, if it has; then the attempts stand in its file.
    pub(in crate::host) ended: Option<RunStatus>,
    /// Attempts so far, of a run that goes on.
    pub(in crate::host) attempts: Vec<Seen>,
}

impl Handle {
    /// The attempts of a run, wherever they are told.
    pub(super) fn log_sources(&self, run: &RunId) -> Result<Sources, OrderError> {
        let mut sources = match self.ask(|reply| Command::LogSources { run: run.clone(), reply }) {
            Ok(sources) => sources,
            Err(CommandError::UnknownRun(run)) => return Err(self.unknown(run)),
            Err(other) => return Err(other.into()),
        };
        if sources.ended.is_some() {
            if !self.workspace().run(run).is_dir() {
                return Err(OrderError::Gone(format!("the folder of run {run} is gone, and its logs with it")));
            }
            if let Some(file) = RunFile::read(self.workspace(), run)? {
                sources.attempts = file.nodes.iter().flat_map(attempts_of).collect();
            }
        }
        Ok(sources)
    }

    /// A run that is not there may have been pruned; the journal tells for a while.
    fn unknown(&self, run: RunId) -> OrderError {
        let selected = Snapshot::read(self.workspace()).map(|snapshot| snapshot.find(run.as_str()));
        match selected {
            Ok(Err(error @ SelectError::Pruned { .. })) => OrderError::Gone(error.to_string()),
            Ok(_) | Err(_) => CommandError::UnknownRun(run).into(),
        }
    }
}

/// The attempts of a node of a finished run.
fn attempts_of(row: &NodeRow) -> impl Iterator<Item = Seen> {
    let count = if row.status == NodeStatus::Reused { 0 } else { row.attempts };
    (1..=count).map(|attempt| Seen { node: row.node.clone(), attempt: AttemptNumber(attempt), over: true })
}

impl Turn {
    /// What the loop knows of a run's attempts.
    pub(in crate::host) fn log_sources(&self, run: &RunId) -> Result<Sources, CommandError> {
        let state = match (self.world.run(run), self.filing_runs.get(run)) {
            (Some(state), _) => state,
            // Its file is being written, or could not be.
            (None, Some(unfiled)) => unfiled.state(),
            (None, None) => {
                let row = self.finished.get(run).ok_or_else(|| CommandError::UnknownRun(run.clone()))?;
                return Ok(Sources { ended: Some(row.status), attempts: Vec::new() });
            }
        };
        let mut attempts = Vec::new();
        for (index, node) in state.nodes().filter(|(_, node)| node.attempts() > 0) {
            if node.state().status() == NodeStatus::Reused {
                continue;
            }
            let (path, count) = (state.path(index), node.attempts());
            let runs = node.state().holding().is_some();
            let seen = |attempt| Seen { node: path.clone(), attempt: AttemptNumber(attempt), over: !runs || attempt < count };
            attempts.extend((1..=count).map(seen));
        }
        Ok(Sources { ended: None, attempts })
    }
}
