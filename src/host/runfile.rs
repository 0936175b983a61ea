//! `run.json`: what is kept of a finished run, beside its row in the index.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::index::RunRow;
use super::prepare::RunHead;
use super::workspace::{Workspace, write_synced};
use crate::ids::{NodeIndex, RunId};
use crate::run::RunState;
use crate::run::view::NodeRow;
use crate::units::DurationMs;

/// Version of the form of `run.json`.
pub const RUN_FORMAT: u32 = 1;

/// A run with all its nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    /// [`RUN_FORMAT`].
    pub format: u32,
    /// Its row in the index.
    pub run: RunRow,
    /// Its parameters.
    pub parameters: Arc<Value>,
    /// What it reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Arc<Value>>,
    /// How long it still takes, of a run that goes on and whose modules are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_left_ms: Option<DurationMs>,
    /// Its nodes, in the order of the state's arrays: definition order, instances after.
    pub nodes: Vec<NodeRow>,
}

impl RunFile {
    /// What is to be kept of a run.
    #[must_use]
    pub fn of(state: &RunState, head: &RunHead) -> Self {
        let nodes = state.nodes().map(|(index, _)| state.row(index)).collect();
        Self {
            format: RUN_FORMAT,
            run: row(state, head),
            parameters: state.params().clone(),
            outputs: state.facts().outputs.clone(),
            time_left_ms: None,
            nodes,
        }
    }

    /// Reads the file of a finished run; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read or is no such file.
    pub fn read(workspace: &Workspace, run: &RunId) -> io::Result<Option<Self>> {
        match std::fs::read(workspace.run(run).join("run.json")) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes and syncs it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, workspace: &Workspace) -> io::Result<()> {
        write_synced(&workspace.run(&self.run.run_id).join("run.json"), &serde_json::to_vec(self)?)
    }
}

/// The row of a run in the index.
#[must_use]
pub fn row(state: &RunState, head: &RunHead) -> RunRow {
    let view = state.view();
    let ended = view.completed_at;
    let seconds = match (view.started_at, ended) {
        (Some(started), Some(ended)) => Some(ended.since(started).to_std().as_secs_f64()),
        _ => None,
    };
    let single = head.pipeline.is_none().then(|| main_node(state)).flatten();
    RunRow {
        run_id: view.run_id,
        module_id: head.module.clone(),
        pipeline: head.pipeline.clone(),
        status: view.status,
        held: view.held,
        unkillable: view.unkillable,
        reason: view.reason.filter(|_| !view.status.is_terminal()),
        created_at: view.created_at.unwrap_or_default(),
        started_at: view.started_at,
        completed_at: ended,
        duration_seconds: seconds,
        exit_code: single.and_then(|node| state.node(node).record()).and_then(|record| record.exit_code()),
        error_message: view.failed_node.as_deref().map(|path| failure_text(state, path)),
        retry_of: head.retry_of.clone(),
        results_of: state.results_of().into_iter().collect(),
        idempotency: head.idempotency.clone(),
        mixed_code: view.mixed_code,
        nodes: view.counts.iter().map(|(status, count)| (status.as_str().to_owned(), u64::from(*count))).collect(),
    }
}

/// The node of the module that a single run is about: the last one, its dependencies stand before it.
#[must_use]
pub fn main_node(state: &RunState) -> Option<NodeIndex> {
    let count = u32::try_from(state.definition().nodes.len()).ok()?;
    count.checked_sub(1).map(NodeIndex)
}

fn failure_text(state: &RunState, path: &str) -> String {
    let reason = state.find(path).and_then(|node| state.row(node).reason);
    match reason {
        Some(reason) => format!("{path}: {reason}"),
        None => format!("{path} failed"),
    }
}
