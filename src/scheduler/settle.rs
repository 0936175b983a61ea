//! The record of a node that needs a decision: skipped, ready, expanded, opened, finished or failed.

use std::sync::Arc;

use crate::event::{Event, FailureCause, RunStatus, SkipReason};
use crate::ids::NodeIndex;
use crate::run::{Body, NodeState, RunState, evaluate};

/// The one event that the state of an unsettled node asks for, in a run that goes on.
pub(super) fn settle(run: &RunState, node: NodeIndex) -> Event {
    match run.node(node).state() {
        NodeState::Open { .. } => come_to_end(run, node),
        NodeState::Ready { .. } => open(run, node),
        NodeState::Waiting { .. }
        | NodeState::Running { .. }
        | NodeState::Stopping { .. }
        | NodeState::Retrying { .. }
        | NodeState::Interrupted { .. }
        | NodeState::Done { .. } => enter(run, node),
    }
}

/// A node all of whose dependencies are terminal.
fn enter(run: &RunState, node: NodeIndex) -> Event {
    if let Some(dependency) = run.first_bad_dependency(node) {
        return Event::NodeSkipped { node, because: SkipReason::Dependency { root: run.root_cause(dependency) } };
    }
    match evaluate::condition(run, node) {
        Err(cause) => Event::NodeFailed { node, cause },
        Ok(false) => Event::NodeSkipped { node, because: SkipReason::Condition },
        Ok(true) => match run.node(node).body() {
            Body::Leaf => Event::NodeReady { node },
            Body::Group(_) if run.is_matrix(node) => Event::NodeReady { node },
            Body::Group(_) => match evaluate::items(run, node) {
                Ok(items) => Event::NodeExpanded { node, items: Arc::new(items) },
                Err(cause) => Event::NodeFailed { node, cause },
            },
            Body::Scope(_) => open(run, node),
        },
    }
}

/// A sub-pipeline that may go on: its parameters are bound now.
fn open(run: &RunState, node: NodeIndex) -> Event {
    match evaluate::params(run, node) {
        Ok(params) => Event::NodeOpened { node, params: Arc::new(params.value) },
        Err(cause) => Event::NodeFailed { node, cause },
    }
}

/// A group or sub-pipeline in which nothing is left to run.
fn come_to_end(run: &RunState, node: NodeIndex) -> Event {
    // `allow_failure` of an expanded node tolerates its instances; that of a sub-pipeline's node tolerates the node itself.
    if let Some((first, failed)) = run.failed_inside(Some(node)) {
        return Event::NodeFailed { node, cause: FailureCause::Inner { first, failed } };
    }
    let (cancelled, stopped) = run.cut_short_inside(node);
    if cancelled {
        return Event::NodeCancelled { node };
    }
    if stopped && let Some(because) = run.stop_around(node) {
        return Event::NodeSkipped { node, because: SkipReason::clone(because) };
    }
    match evaluate::outputs(run, Some(node)) {
        Ok(outputs) => Event::NodeFinished { node, outputs: Arc::new(outputs) },
        Err(cause) => Event::NodeFailed { node, cause },
    }
}

/// The end of a run whose nodes are all terminal.
pub(super) fn end(run: &RunState) -> Event {
    let status = run.status_at_end();
    if status != RunStatus::Completed {
        return Event::RunEnded { status, outputs: None };
    }
    match evaluate::outputs(run, None) {
        Ok(outputs) => Event::RunEnded { status, outputs: Some(Arc::new(outputs)).filter(|outputs| !outputs.is_null()) },
        // The view says why: it evaluates the outputs again.
        Err(_) => Event::RunEnded { status: RunStatus::Failed, outputs: None },
    }
}
