//! `retry`: a new run of what a finished one was submitted with; nodes that need no repetition take their earlier result.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::handle::CommandError;
use super::prepare::{self, Checked, Prepared, Refused};
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
use crate::run::{Body, NodeState, NodeStatus, RunState};
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
pub(super) fn prepare(
    workspace: &Workspace,
    request: &Retry,
    capacity: &dyn Fn(&Definition) -> Capacity,
) -> Result<(Prepared, Reuse), CommandError> {
    let unreadable = |reason: String| CommandError::Unreadable { run: request.run.clone(), reason };
    if !workspace.run(&request.run).exists() {
        return Err(CommandError::UnknownRun(request.run.clone()));
    }
    let file = RunFile::read(workspace, &request.run).map_err(|error| unreadable(error.to_string()))?;
    let file = file.ok_or_else(|| CommandError::StillRunning(request.run.clone()))?;
    let (mut pinned, definition) = load_pinned(workspace, &request.run, None).map_err(unreadable)?;
    let repeated = repeated(&definition, &request.scope)
        .map_err(|node| CommandError::UnknownNode { run: request.run.clone(), node: node.to_owned() })?;
    admit_again(&definition, &file, &repeated, request, &capacity(&definition))?;
    let reuse = Reuse::of(request, file, repeated);
    pinned.idempotency = None;
    pinned.retry_of = Some(request.run.clone());
    pinned.retry_scope = Some(request.scope.clone());
    let checked = Checked { pinned, definition, notes: Diagnostics::new() };
    let prepared = prepare::pin(workspace, checked, None).map_err(|error: Refused| CommandError::from(error))?;
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
///
/// # Errors
/// The node that there is not.
fn repeated<'a>(definition: &Definition, scope: &'a RetryScope) -> Result<BTreeSet<String>, &'a str> {
    let (name, descendants) = match scope {
        RetryScope::Unfinished => return Ok(BTreeSet::new()),
        RetryScope::From(name) => (name, true),
        RetryScope::Only(name) => (name, false),
    };
    // An instance or an inner node is repeated with the whole node that it belongs to.
    let head = name.split(['[', '.']).next().unwrap_or(name);
    let position = definition.nodes.iter().position(|node| node.id.as_str() == head);
    let start = position.and_then(|position| u32::try_from(position).ok()).ok_or(name.as_str())?;
    let mut found = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(node) = open.pop().filter(|_| descendants) {
        open.extend(definition.graph.dependents.of(node).iter().filter(|next| found.insert(**next)));
    }
    Ok(found.into_iter().filter_map(|at| definition.nodes.get(at as usize)).map(|node| node.id.to_string()).collect())
}

impl Reuse {
    fn of(request: &Retry, file: RunFile, repeated: BTreeSet<String>) -> Self {
        Self {
            from: request.run.clone(),
            results: file.nodes.into_iter().filter(|row| is_good(row.status)).map(|row| (row.node, row.outputs)).collect(),
            repeated,
            only: matches!(request.scope, RetryScope::Only(_)),
        }
    }

    /// The run that it takes results of.
    pub(super) fn from(&self) -> &RunId {
        &self.from
    }
}

impl Turn {
    /// What a retry takes over that an earlier host had accepted: its nodes may still expand, and that host may have died before it recorded
    /// all that it took over.
    pub(super) fn take_over_again(&mut self, run: &RunId) {
        let known = self.heads.get(run).and_then(|head| Some(Retry { run: head.retry_of.clone()?, scope: head.retry_scope.clone()? }));
        let Some((request, state)) = known.zip(self.world.run(run)) else { return };
        let Ok(repeated) = repeated(state.definition(), &request.scope) else { return };
        match RunFile::read(&self.workspace, &request.run) {
            Ok(Some(file)) => {
                let is_open = |node: &NodeIndex| matches!(state.node(*node).state(), NodeState::Open { .. });
                let open: Vec<NodeIndex> = state.nodes().map(|(node, _)| node).filter(is_open).collect();
                self.take_over(run, Reuse::of(&request, file, repeated));
                open.into_iter().for_each(|node| self.take_over_instances(run, node));
            }
            Ok(None) => tracing::warn!(%run, of = %request.run, "the run that it repeats is gone: all that is left of it runs"),
            Err(error) => tracing::warn!(%run, of = %request.run, %error, "the run that it repeats cannot be read: all that is left runs"),
        }
    }

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
        if top && reuse.repeated.contains(&path) || !is_untouched(state, node) {
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

/// Whether nothing was decided about a node.
fn is_untouched(state: &RunState, node: NodeIndex) -> bool {
    let at = state.node(node);
    match at.state() {
        NodeState::Waiting { .. } | NodeState::Ready { .. } => at.attempts() == 0 && state.intent(node).is_none(),
        NodeState::Open { .. }
        | NodeState::Running { .. }
        | NodeState::Stopping { .. }
        | NodeState::Retrying { .. }
        | NodeState::Interrupted { .. }
        | NodeState::Done { .. } => false,
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
