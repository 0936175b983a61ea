//! The transition function of a run.
//!
//! [`RunState::apply`] is total: a pair of state and event that is not listed is an [`IllegalEvent`] and changes nothing. Each handler
//! first checks, then changes; what follows for other nodes is in `flow.rs`, what an attempt does to its node in `attempts.rs`.

use std::sync::Arc;

use serde_json::Value;

use crate::event::{Event, FailureCause, ReuseCheck, RunStatus, SkipReason, Stamp, StopReason};
use crate::ids::{NodeIndex, RunId};
use crate::units::Timestamp;

use super::state::{Body, NodeState, Outcome, RunState};

/// An event that does not fit the state. Nothing was changed. Live this is a mistake of the host, on replay a damaged record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event} of {subject} is not possible: {why}")]
pub struct IllegalEvent {
    /// Name of the event.
    pub event: &'static str,
    /// The node's path, or `the run`.
    pub subject: String,
    /// Why not, naming the state.
    pub why: String,
}

/// Why a handler refuses; `apply` adds the event and the node.
pub(super) type Refusal = String;

impl RunState {
    /// Makes the transition that the event stands for.
    ///
    /// # Errors
    /// When the event does not fit the state; nothing is changed then.
    pub fn apply(&mut self, event: &Event, stamp: Stamp) -> Result<(), IllegalEvent> {
        let applied = self.check_run(event).and_then(|()| self.dispatch(event, stamp));
        applied.map_err(|why| self.illegal(event, why))?;
        self.last = stamp.seq;
        if event.node().is_some() && !matches!(event, Event::AttemptIntended { .. }) {
            self.facts.started.get_or_insert(stamp.at);
        }
        Ok(())
    }

    fn dispatch(&mut self, event: &Event, stamp: Stamp) -> Result<(), Refusal> {
        let at = stamp.at;
        match event {
            Event::RunSubmitted { pinned } => self.submitted(pinned, at),
            Event::RunCancelRequested { kill } => self.cancel_requested(*kill),
            Event::RunHeld => self.set_held(),
            Event::RunResumed => self.resumed(at),
            Event::RunEnded { status, outputs } => self.ended(*status, outputs.as_ref(), at),
            Event::NodeReady { node } => self.node_ready(*node, at),
            Event::NodeSkipped { node, because } => self.node_skipped(*node, because, at),
            Event::NodeExpanded { node, items } => self.node_expanded(*node, items, at),
            Event::NodeOpened { node, params } => self.node_opened(*node, params, at),
            Event::NodeFinished { node, outputs } => self.node_finished(*node, outputs, at),
            Event::NodeFailed { node, cause } => self.node_failed(*node, cause, at),
            Event::NodeCancelled { node } => self.node_cancelled(*node, at),
            Event::NodeReused { node, from, outputs } => self.node_reused(*node, from, outputs.as_ref(), at),
            Event::NodeChecked { node, check } => self.node_checked(*node, check),
            Event::AttemptIntended { node, attempt } => self.attempt_intended(*node, *attempt, stamp.seq),
            Event::AttemptStarted { node, attempt, facts } => self.attempt_started(*node, *attempt, facts, at),
            Event::AttemptStopping { node, attempt, reason } => self.attempt_stopping(*node, *attempt, *reason, at),
            Event::AttemptStuck { node, attempt, waited } => self.attempt_stuck(*node, *attempt, *waited),
            Event::AttemptEnded { node, attempt, facts } => self.attempt_ended(*node, *attempt, facts, at),
        }
    }

    /// What holds for all events: the run was submitted, has not ended, and has the node.
    fn check_run(&self, event: &Event) -> Result<(), Refusal> {
        let submission = matches!(event, Event::RunSubmitted { .. });
        match (&self.facts.pinned, &self.facts.ended) {
            (Some(_), _) if submission => return Err("it was submitted already".into()),
            (None, _) if !submission => return Err("it was not submitted".into()),
            (_, Some((_, status))) => return Err(format!("it is {}", status.as_str())),
            (Some(_) | None, None) => {}
        }
        match event.node() {
            Some(node) if node.at() >= self.nodes.len() => Err(format!("there is no node {}", node.0)),
            Some(_) | None => Ok(()),
        }
    }

    fn illegal(&self, event: &Event, why: Refusal) -> IllegalEvent {
        let subject = match event.node() {
            Some(node) if node.at() < self.nodes.len() => self.path(node),
            Some(_) | None => "the run".to_owned(),
        };
        IllegalEvent { event: name(event), subject, why }
    }

    fn submitted(&mut self, pinned: &str, at: Timestamp) -> Result<(), Refusal> {
        self.facts.pinned = Some(pinned.to_owned());
        self.facts.created = Some(at);
        let params = self.params.clone();
        self.open_scope(0, params, at);
        Ok(())
    }

    fn cancel_requested(&mut self, kill: bool) -> Result<(), Refusal> {
        // It only moves up: a polite request after a kill changes nothing.
        let before = self.facts.cancel;
        self.facts.cancel = Some(kill || before.unwrap_or(false));
        if before.is_none() {
            self.sweep(0);
        }
        Ok(())
    }

    fn set_held(&mut self) -> Result<(), Refusal> {
        // A second crash before the first was answered is no mistake.
        self.facts.held = true;
        Ok(())
    }

    fn resumed(&mut self, at: Timestamp) -> Result<(), Refusal> {
        if !self.needs_resume() {
            return Err("it is not held".into());
        }
        self.facts.held = false;
        for node in self.derived.interrupted.clone() {
            self.nodes[node.at()].record.get_or_insert_default().forgiven += 1;
            self.set(node, NodeState::Ready { since: at });
            self.refresh(node);
        }
        Ok(())
    }

    /// Whether it is held, or has nodes that wait to be resumed.
    #[must_use]
    pub fn needs_resume(&self) -> bool {
        self.facts.held || !self.derived.interrupted.is_empty()
    }

    fn ended(&mut self, status: RunStatus, outputs: Option<&Arc<Value>>, at: Timestamp) -> Result<(), Refusal> {
        if !self.is_over() {
            return Err(format!("{} nodes are not terminal", self.scopes[0].tally.left));
        }
        // Outputs of the pipeline that cannot be computed fail a run whose nodes all went well.
        if status != self.status_at_end() && (status, self.status_at_end()) != (RunStatus::Failed, RunStatus::Completed) {
            return Err(format!("it would be {}", self.status_at_end().as_str()));
        }
        self.facts.ended = Some((at, status));
        self.facts.outputs = outputs.cloned();
        Ok(())
    }

    /// Whether every node is terminal.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.facts.pinned.is_some() && self.scopes[0].tally.left == 0
    }

    /// How a run ends whose nodes are all terminal.
    pub(crate) fn status_at_end(&self) -> RunStatus {
        if self.facts.cancel.is_some() {
            RunStatus::Cancelled
        } else if self.scopes[0].tally.failed > 0 {
            RunStatus::Failed
        } else {
            RunStatus::Completed
        }
    }

    fn node_ready(&mut self, node: NodeIndex, at: Timestamp) -> Result<(), Refusal> {
        let (state, body) = (&self.node(node).state, self.node(node).body);
        let decided = matches!(state, NodeState::Waiting { unfinished: 0 });
        if body == Body::Leaf && (decided || matches!(state, NodeState::Retrying { .. })) {
            self.set(node, NodeState::Ready { since: at });
            self.refresh(node);
            Ok(())
        } else if decided && self.is_matrix(node) {
            self.open_group(node, at);
            self.sweep_new(node);
            Ok(())
        } else {
            self.refuse(node)
        }
    }

    fn node_skipped(&mut self, node: NodeIndex, because: &SkipReason, at: Timestamp) -> Result<(), Refusal> {
        self.check_idle(node)?;
        self.finish(node, Outcome::Skipped { because: Arc::new(because.clone()) }, at);
        Ok(())
    }

    fn node_expanded(&mut self, node: NodeIndex, items: &Arc<Vec<Value>>, at: Timestamp) -> Result<(), Refusal> {
        let foreach = matches!(self.node(node).body, Body::Group(_)) && !self.is_matrix(node);
        if !foreach || self.node(node).state != (NodeState::Waiting { unfinished: 0 }) {
            return self.refuse(node);
        }
        if self.is_too_many(self.nodes_added(node, items.len())) {
            return Err(format!("{} instances would be too many nodes", items.len()));
        }
        self.expand(node, items.clone());
        self.expanded.push(node);
        self.open_group(node, at);
        self.sweep_new(node);
        Ok(())
    }

    fn node_opened(&mut self, node: NodeIndex, params: &Arc<Value>, at: Timestamp) -> Result<(), Refusal> {
        let (NodeState::Waiting { unfinished: 0 } | NodeState::Ready { .. }) = self.node(node).state else { return self.refuse(node) };
        let Body::Scope(scope) = self.node(node).body else { return self.refuse(node) };
        self.open_scope(scope, params.clone(), at);
        Ok(())
    }

    fn node_finished(&mut self, node: NodeIndex, outputs: &Arc<Value>, at: Timestamp) -> Result<(), Refusal> {
        self.check_finished_inside(node)?;
        self.nodes[node.at()].outputs = match self.node(node).body {
            // The list is what the instances reported: the event need not repeat it.
            Body::Group(_) => Some(Arc::new(self.collected(node))),
            Body::Leaf | Body::Scope(_) => Some(outputs.clone()).filter(|outputs| !outputs.is_null()),
        };
        self.finish(node, Outcome::Completed, at);
        Ok(())
    }

    /// What the instances of a group reported, in order, null where there is nothing.
    pub(super) fn collected(&self, group: NodeIndex) -> Value {
        self.children(group).map(|child| self.node(child).outputs.as_deref().cloned().unwrap_or(Value::Null)).collect()
    }

    fn node_failed(&mut self, node: NodeIndex, cause: &FailureCause, at: Timestamp) -> Result<(), Refusal> {
        if !matches!(self.node(node).state, NodeState::Waiting { unfinished: 0 } | NodeState::Ready { .. }) {
            self.check_finished_inside(node)?;
        }
        self.finish(node, Outcome::Failed { cause: Arc::new(cause.clone()) }, at);
        Ok(())
    }

    fn node_cancelled(&mut self, node: NodeIndex, at: Timestamp) -> Result<(), Refusal> {
        self.check_idle(node)?;
        let reason = if self.facts.cancel.is_some() { StopReason::Cancelled } else { StopReason::OnFailure };
        self.finish(node, Outcome::Cancelled { reason }, at);
        Ok(())
    }

    fn node_reused(&mut self, node: NodeIndex, from: &RunId, outputs: Option<&Arc<Value>>, at: Timestamp) -> Result<(), Refusal> {
        let state = &self.node(node).state;
        let untouched = matches!(state, NodeState::Open { .. }) && self.inside(node).is_some_and(|tally| tally.active == 0);
        if !untouched && !matches!(state, NodeState::Waiting { .. } | NodeState::Ready { .. }) {
            return self.refuse(node);
        }
        self.nodes[node.at()].outputs = outputs.cloned();
        self.finish(node, Outcome::Reused { from: from.clone() }, at);
        Ok(())
    }

    /// It may start now: it leaves those that wait for the answer.
    fn node_checked(&mut self, node: NodeIndex, check: &ReuseCheck) -> Result<(), Refusal> {
        if !self.awaits_check(node) {
            return self.refuse(node);
        }
        self.leave(node);
        self.nodes[node.at()].record.get_or_insert_default().reuse = Some(Arc::new(check.clone()));
        self.enter(node);
        Ok(())
    }

    /// Nothing of it runs, and nothing inside it is left to run if it was opened.
    fn check_idle(&self, node: NodeIndex) -> Result<(), Refusal> {
        match &self.node(node).state {
            NodeState::Waiting { .. } | NodeState::Ready { .. } | NodeState::Retrying { .. } | NodeState::Interrupted { .. } => Ok(()),
            NodeState::Open { .. } => self.check_finished_inside(node),
            NodeState::Running { .. } | NodeState::Stopping { .. } | NodeState::Done { .. } => self.refuse(node),
        }
    }

    fn check_finished_inside(&self, node: NodeIndex) -> Result<(), Refusal> {
        let NodeState::Open { .. } = self.node(node).state else { return self.refuse(node) };
        match self.inside(node).map_or(0, |tally| tally.left) {
            0 => Ok(()),
            left => Err(format!("{left} nodes inside it are not terminal")),
        }
    }

    /// A container that was opened while its surroundings were being stopped.
    fn sweep_new(&mut self, node: NodeIndex) {
        if self.is_swept(node) {
            self.children(node).for_each(|child| self.refresh(child));
        }
    }

    /// The refusal of an event by a node's state.
    pub(super) fn refuse<T>(&self, node: NodeIndex) -> Result<T, Refusal> {
        let what = match self.node(node).body {
            Body::Leaf => "a module",
            Body::Group(_) => "an expanded node",
            Body::Scope(_) => "a sub-pipeline",
        };
        Err(format!("it is {what} in state {}", describe(&self.node(node).state)))
    }
}

/// A state in a few words, for refusals.
fn describe(state: &NodeState) -> String {
    match state {
        NodeState::Waiting { unfinished } => format!("waiting for {unfinished}"),
        NodeState::Ready { .. } => "ready".into(),
        NodeState::Running { attempt, .. } => format!("running attempt {attempt}"),
        NodeState::Stopping { attempt, stuck: None, .. } => format!("stopping attempt {attempt}"),
        NodeState::Stopping { attempt, stuck: Some(_), .. } => format!("stopping attempt {attempt}, which does not go"),
        NodeState::Retrying { next, .. } => format!("pausing before attempt {next}"),
        NodeState::Interrupted { .. } => "interrupted".into(),
        NodeState::Open { .. } => "open".into(),
        NodeState::Done { .. } => state.status().as_str().into(),
    }
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::RunSubmitted { .. } => "submission",
        Event::RunCancelRequested { .. } => "cancel request",
        Event::RunHeld => "hold",
        Event::RunResumed => "resumption",
        Event::RunEnded { .. } => "end",
        Event::NodeReady { .. } => "readiness",
        Event::NodeSkipped { .. } => "skip",
        Event::NodeExpanded { .. } => "expansion",
        Event::NodeOpened { .. } => "opening",
        Event::NodeFinished { .. } => "completion",
        Event::NodeFailed { .. } => "failure",
        Event::NodeCancelled { .. } => "cancellation",
        Event::NodeReused { .. } => "reuse",
        Event::NodeChecked { .. } => "check for an earlier result",
        Event::AttemptIntended { .. } => "intent",
        Event::AttemptStarted { .. } => "start",
        Event::AttemptStopping { .. } => "stop",
        Event::AttemptStuck { .. } => "hanging",
        Event::AttemptEnded { .. } => "end of an attempt",
    }
}
