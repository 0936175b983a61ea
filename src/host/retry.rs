//! `retry`: a new run of what a finished one was submitted with; nodes that need no repetition take their earlier result.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::handle::CommandError;
use super::prepare::{self, Prepared, Refused};
use super::replay::load_pinned;
use super::runfile::RunFile;
use super::submission::{Retry, RetryScope};
use super::turn::Turn;
use super::workspace::Workspace;
use crate::diagnostics::Diagnostics;
use crate::event::{Event, SkipReason};
use crate::ids::{NodeIndex, RunId};
use crate::pipeline::definition::Definition;
use crate::resources::Capacity;
use crate::run::{Body, NodeStatus, RunState};
use crate::scheduler::impossible;

/// What a retry takes over.
#[derive(Debug, Clone)]
pub(super) struct Reuse {
    /// The run that it repeats.
    from: RunId,
    /// Results by path.
    results: BTreeMap<String, Option<Arc<Value>>>,
    /// Nodes at the top of the pipeline that run again, whatever their result was.
    repeated: BTreeSet<String>,
    /// Nothing but the repeated ones runs.
    only: bool,
}

/// Reads the finished run and pins its submission again.
pub(super) fn prepare(workspace: &Workspace, request: &Retry, capacity: &Capacity) -> Result<(Prepared, Reuse), CommandError> {
    let unreadable = |reason: String| CommandError::Unreadable { run: request.run.clone(), reason };
    if !workspace.run(&request.run).exists() {
        return Err(CommandError::UnknownRun(request.run.clone()));
    }
    let file = RunFile::read(workspace, &request.run).map_err(|error| unreadable(error.to_string()))?;
    let file = file.ok_or_else(|| CommandError::StillRunning(request.run.clone()))?;
    let (mut pinned, definition) = load_pinned(workspace, &request.run, None).map_err(unreadable)?;
    let repeated = repeated(&definition, request)?;
    admit_again(&definition, &file, &repeated, request, capacity)?;
    let reuse = Reuse {
        from: request.run.clone(),
        results: file.nodes.into_iter().filter(|row| is_good(row.status)).map(|row| (row.node, row.outputs)).collect(),
        repeated,
        only: matches!(request.scope, RetryScope::Only(_)),
    };
    pinned.idempotency = None;
    pinned.retry_of = Some(request.run.clone());
    let prepared = prepare::pin(workspace, pinned, definition, Diagnostics::new()).map_err(|error: Refused| CommandError::from(error))?;
    Ok((prepared, reuse))
}

/// Refuses what can no longer run here: the machine or the settings may have less than they had. What is taken over needs nothing.
fn admit_again(
    definition: &Definition,
    file: &RunFile,
    repeated: &BTreeSet<String>,
    request: &Retry,
    capacity: &Capacity,
) -> Result<(), CommandError> {
    let done: BTreeSet<&str> = file.nodes.iter().filter(|row| is_good(row.status)).map(|row| row.node.as_str()).collect();
    let only = matches!(request.scope, RetryScope::Only(_));
    let runs = |node: &str| {
        let head = node.split(['[', '.']).next().unwrap_or(node);
        repeated.contains(head) || !only && !done.contains(head)
    };
    let lacking: Vec<_> = impossible(definition, capacity).into_iter().filter(|(node, _)| runs(node)).collect();
    if lacking.is_empty() { Ok(()) } else { Err(Refused::NeverFits(lacking).into()) }
}

fn is_good(status: NodeStatus) -> bool {
    match status {
        NodeStatus::Completed | NodeStatus::Reused => true,
        NodeStatus::Waiting
        | NodeStatus::Queued
        | NodeStatus::Running
        | NodeStatus::Retrying
        | NodeStatus::Failed
        | NodeStatus::Cancelled
        | NodeStatus::Skipped => false,
    }
}

/// Nodes of the pipeline that run again by the request: the named one, and with `--from` all that depends on it.
fn repeated(definition: &Definition, request: &Retry) -> Result<BTreeSet<String>, CommandError> {
    let (name, descendants) = match &request.scope {
        RetryScope::Unfinished => return Ok(BTreeSet::new()),
        RetryScope::From(name) => (name, true),
        RetryScope::Only(name) => (name, false),
    };
    // An instance or an inner node is repeated with the whole node that it belongs to.
    let head = name.split(['[', '.']).next().unwrap_or(name);
    let position = definition.nodes.iter().position(|node| node.id.as_str() == head);
    let start = position
        .and_then(|position| u32::try_from(position).ok())
        .ok_or_else(|| CommandError::UnknownNode { run: request.run.clone(), node: name.clone() })?;
    let mut found = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(node) = open.pop().filter(|_| descendants) {
        open.extend(definition.graph.dependents.of(node).iter().filter(|next| found.insert(**next)));
    }
    Ok(found.into_iter().filter_map(|at| definition.nodes.get(at as usize)).map(|node| node.id.to_string()).collect())
}

impl Reuse {
    /// The run that it takes results of.
    pub(super) fn from(&self) -> &RunId {
        &self.from
    }
}

impl Turn {
    /// Records what a new run takes over from the one that it repeats.
    pub(super) fn take_over(&mut self, run: &RunId, reuse: Reuse) {
        let Some(state) = self.world.run(run) else { return };
        let whole: Vec<NodeIndex> = (0..state.definition().nodes.len()).filter_map(|at| u32::try_from(at).ok()).map(NodeIndex).collect();
        for node in whole {
            self.take_over_node(run, node, &reuse, true);
        }
        self.reuse.insert(run.clone(), reuse);
    }

    /// A node of the pipeline, and where it did not complete as a whole, what is inside it.
    fn take_over_node(&mut self, run: &RunId, node: NodeIndex, reuse: &Reuse, top: bool) {
        let Some(state) = self.world.run(run) else { return };
        let path = state.path(node);
        if top && reuse.repeated.contains(&path) {
            return;
        }
        if let Some(outputs) = reuse.results.get(&path) {
            let event = Event::NodeReused { node, from: reuse.from.clone(), outputs: outputs.clone() };
            self.commit_or_keep(run, event);
        } else if reuse.only && top {
            self.commit_or_keep(run, Event::NodeSkipped { node, because: SkipReason::NotSelected });
        } else {
            for inner in inside(state, node) {
                self.take_over_node(run, inner, reuse, false);
            }
        }
    }

    /// The instances of a node that was just expanded. Their results are only those of the earlier run if the list is the same, which
    /// is certain only where everything before the node was taken over too.
    pub(super) fn take_over_instances(&mut self, run: &RunId, node: NodeIndex) {
        let Some(reuse) = self.reuse.get(run).cloned() else { return };
        let Some(state) = self.world.run(run) else { return };
        let path = state.path(node);
        let head = path.split(['[', '.']).next().unwrap_or(&path);
        if reuse.repeated.contains(head) || !everything_before_is_reused(state, head) {
            return;
        }
        for inner in inside(state, node) {
            self.take_over_node(run, inner, &reuse, false);
        }
    }
}

fn everything_before_is_reused(state: &RunState, head: &str) -> bool {
    let definition = state.definition();
    let Some(position) = definition.nodes.iter().position(|node| node.id.as_str() == head) else { return false };
    let position = u32::try_from(position).unwrap_or(u32::MAX);
    definition.graph.dependencies.of(position).iter().all(|before| state.node(NodeIndex(*before)).state().status() == NodeStatus::Reused)
}

/// Nodes directly inside a group or a sub-pipeline.
fn inside(state: &RunState, node: NodeIndex) -> Vec<NodeIndex> {
    match state.node(node).body() {
        Body::Leaf => Vec::new(),
        Body::Group(_) | Body::Scope(_) => state.children(node).collect(),
    }
}
