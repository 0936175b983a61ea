//! What follows from a node's end or opening: dependents become ready, containers come to their end, stops spread.
//!
//! Nothing here decides: where a value has to be computed or a reason named, the node is put among the unsettled ones, and `decide`
//! proposes the event. Nothing here recurses.

use std::sync::Arc;

use serde_json::Value;

use crate::event::{FailureCause, SkipReason};
use crate::ids::NodeIndex;
use crate::request::OnFailure;
use crate::units::Timestamp;

use super::state::{Body, NodeState, Outcome, RunState};

impl RunState {
    /// Makes a node terminal and does what follows.
    pub(super) fn finish(&mut self, node: NodeIndex, outcome: Outcome, at: Timestamp) {
        self.close_inside(node, &outcome, at);
        self.end(node, outcome.clone(), at);
        match self.group_of(node) {
            Some(group) => self.after_instance(node, group),
            None => self.after_node(node, at),
        }
        if let Outcome::Failed { .. } = outcome
            && !self.is_tolerated(node)
        {
            self.stop_scope_of(node);
        }
    }

    /// The state alone, with its places in the sets.
    fn end(&mut self, node: NodeIndex, outcome: Outcome, at: Timestamp) {
        self.set(node, NodeState::Done { outcome, at });
        self.derived.unsettled.remove(&node);
        self.derived.ahead.remove(&node);
    }

    fn after_instance(&mut self, node: NodeIndex, group: u32) {
        let at = &mut self.groups[group as usize];
        if self.nodes[node.at()].ordinal < at.admitted {
            at.turns -= 1;
        }
        let (owner, left) = (at.node, at.tally.left);
        self.admit(group as usize);
        if left == 0 {
            self.refresh(owner);
        }
    }

    fn after_node(&mut self, node: NodeIndex, at: Timestamp) {
        let scope = &self.scopes[self.node(node).scope as usize];
        if let (Some(owner), 0) = (scope.owner, scope.tally.left) {
            self.refresh(owner);
        }
        let dependents: Vec<NodeIndex> = self.dependents(node).collect();
        for dependent in dependents {
            self.release(dependent, at);
        }
    }

    /// One thing less that a waiting node waits for.
    fn release(&mut self, node: NodeIndex, at: Timestamp) {
        let NodeState::Waiting { unfinished } = &mut self.nodes[node.at()].state else { return };
        *unfinished -= 1;
        match *unfinished {
            0 => self.settle(node, at),
            1 => self.refresh_ahead(node),
            _ => {}
        }
    }

    /// A node that waits for nothing more: it is ready, open, or needs a decision.
    fn settle(&mut self, node: NodeIndex, at: Timestamp) {
        self.derived.ahead.remove(&node);
        let free = self.control(node).is_none_or(|control| control.when.is_none()) && self.first_bad_dependency(node).is_none();
        match self.node(node).body {
            Body::Leaf if free => self.set(node, NodeState::Ready { since: at }),
            Body::Group(_) if free && self.is_matrix(node) => self.open_group(node, at),
            Body::Leaf | Body::Group(_) | Body::Scope(_) => {}
        }
        self.refresh(node);
    }

    /// Whether its instances exist from the start.
    pub(crate) fn is_matrix(&self, node: NodeIndex) -> bool {
        use crate::pipeline::definition::Expansion;
        match self.control(node).and_then(|control| control.expansion.as_ref()) {
            Some(Expansion::Matrix(_)) => true,
            Some(Expansion::ForEach(_)) | None => false,
        }
    }

    /// The first dependency that is terminal, not good, and not one whose status `when` reads.
    #[must_use]
    pub fn first_bad_dependency(&self, node: NodeIndex) -> Option<NodeIndex> {
        let scope = &self.scopes[self.node(node).scope as usize];
        let observed = self.control(node).map_or(&[][..], |control| &control.observed);
        let bad = |dependency: &NodeIndex| {
            let outcome = self.node(*dependency).state.outcome();
            outcome.is_some_and(|outcome| !outcome.is_good()) && !observed.contains(&(dependency.0 - scope.first))
        };
        self.dependencies(node).find(bad)
    }

    /// The instances of a group go on.
    pub(super) fn open_group(&mut self, node: NodeIndex, at: Timestamp) {
        let Body::Group(group) = self.node(node).body else { return };
        self.set(node, NodeState::Open { since: at });
        for child in self.children(node) {
            if let NodeState::Waiting { .. } = self.node(child).state {
                self.set(child, NodeState::Ready { since: at });
                self.refresh(child);
            }
        }
        self.admit(group as usize);
        self.refresh(node);
    }

    /// The nodes of a sub-pipeline (or, without an owner, of the run) go on.
    pub(super) fn open_scope(&mut self, scope: u32, params: Arc<Value>, at: Timestamp) {
        self.scopes[scope as usize].params = Some(params);
        let owner = self.scopes[scope as usize].owner;
        if let Some(owner) = owner {
            self.set(owner, NodeState::Open { since: at });
        }
        for inner in self.scope_nodes(scope) {
            self.release(NodeIndex(inner), at);
        }
        if let Some(owner) = owner {
            self.refresh(owner);
            if self.is_swept(owner) {
                self.sweep(scope);
            }
        }
    }

    /// Sub-pipelines among the instances of an open group get their turn, as many as `max_parallel` allows.
    pub(super) fn admit(&mut self, group: usize) {
        let owner = self.groups[group].node;
        if !super::build::calls_pipeline(&self.node_def(owner).work) || !matches!(self.node(owner).state, NodeState::Open { .. }) {
            return;
        }
        let limit = self.groups[group].max_parallel.unwrap_or(u32::MAX);
        while self.groups[group].turns < limit && self.groups[group].admitted < self.groups[group].count {
            let child = NodeIndex(self.groups[group].first + self.groups[group].admitted);
            self.groups[group].admitted += 1;
            if !self.node(child).state.is_done() {
                self.groups[group].turns += 1;
                self.refresh(child);
            }
        }
    }

    /// Everything inside a container that ends before it was opened (or is replaced by an earlier result) ends with it.
    fn close_inside(&mut self, node: NodeIndex, outcome: &Outcome, at: Timestamp) {
        if self.inside(node).is_none_or(|tally| tally.left == 0) {
            return;
        }
        let inner = match outcome {
            Outcome::Failed { .. } => {
                Outcome::Skipped { because: Arc::new(SkipReason::Dependency { root: self.root_of(node, Some(outcome)) }) }
            }
            Outcome::Completed | Outcome::Cancelled { .. } | Outcome::Skipped { .. } | Outcome::Reused { .. } => outcome.clone(),
        };
        let mut containers = vec![node];
        while let Some(container) = containers.pop() {
            for child in self.children(container) {
                if !self.node(child).state.is_done() {
                    self.end(child, inner.clone(), at);
                    containers.push(child);
                }
            }
        }
    }

    /// `on_failure: stop` after the final failure of a node.
    fn stop_scope_of(&mut self, node: NodeIndex) {
        let scope = self.node(node).scope;
        let first = self.scopes[scope as usize].stop.is_none();
        match self.scope_definition(scope).on_failure {
            OnFailure::Stop if first => {
                let root = self.root_of(node, None);
                self.scopes[scope as usize].stop = Some(Arc::new(SkipReason::Stopped { root }));
                self.derived.stops += 1;
                self.sweep(scope);
            }
            OnFailure::Stop | OnFailure::Continue => {}
        }
    }

    /// Puts all nodes of a scope that are still to run, at every depth, among the unsettled ones.
    pub(super) fn sweep(&mut self, scope: u32) {
        let mut containers = Vec::new();
        self.scope_nodes(scope).for_each(|inner| self.sweep_node(NodeIndex(inner), &mut containers));
        while let Some(container) = containers.pop() {
            self.children(container).for_each(|child| self.sweep_node(child, &mut containers));
        }
    }

    fn sweep_node(&mut self, node: NodeIndex, containers: &mut Vec<NodeIndex>) {
        self.refresh(node);
        if let NodeState::Open { .. } = self.node(node).state {
            containers.push(node);
        }
    }

    /// Whether the run is being cancelled, or a pipeline around the node stopped.
    #[must_use]
    pub fn is_swept(&self, node: NodeIndex) -> bool {
        self.facts.cancel.is_some() || self.stop_around(node).is_some()
    }

    /// Why the pipelines around a node are stopped, if one is: the innermost.
    pub(crate) fn stop_around(&self, node: NodeIndex) -> Option<&Arc<SkipReason>> {
        let mut at = Some(node);
        while let Some(node) = at {
            let scope = &self.scopes[self.node(node).scope as usize];
            if scope.stop.is_some() {
                return scope.stop.as_ref();
            }
            at = scope.owner;
        }
        None
    }

    /// Whether the group and the pipeline right around a node are open.
    pub(super) fn is_surrounded_by_open(&self, node: NodeIndex) -> bool {
        match self.parent(node) {
            Some(parent) => matches!(self.node(parent).state, NodeState::Open { .. }),
            None => self.facts.pinned.is_some(),
        }
    }

    /// Path of the node where the trouble of a node that did not end well began.
    #[must_use]
    pub fn root_cause(&self, node: NodeIndex) -> String {
        self.root_of(node, None)
    }

    fn root_of(&self, node: NodeIndex, outcome: Option<&Outcome>) -> String {
        match outcome.or_else(|| self.node(node).state.outcome()) {
            Some(Outcome::Failed { cause }) => match &**cause {
                FailureCause::Inner { first, .. } => first.clone(),
                FailureCause::Exit { .. }
                | FailureCause::Signal { .. }
                | FailureCause::Timeout { .. }
                | FailureCause::Oom { .. }
                | FailureCause::Spawn(_)
                | FailureCause::Lost { .. }
                | FailureCause::Parameters { .. }
                | FailureCause::Outputs { .. }
                | FailureCause::ScriptChanged => self.path(node),
            },
            Some(Outcome::Skipped { because }) => match &**because {
                SkipReason::Dependency { root } | SkipReason::Stopped { root } => root.clone(),
                SkipReason::Condition => self.path(node),
            },
            Some(Outcome::Completed | Outcome::Cancelled { .. } | Outcome::Reused { .. }) | None => self.path(node),
        }
    }

    /// Whether a node directly inside a container was cancelled, and whether one was skipped because something was stopped.
    #[must_use]
    pub fn cut_short_inside(&self, container: NodeIndex) -> (bool, bool) {
        self.inside(container).map_or((false, false), |tally| (tally.cancelled > 0, tally.stopped > 0))
    }

    /// The first node directly inside a container that failed and was not tolerated, and how many did. Linear: asked once, at its end.
    #[must_use]
    pub fn failed_inside(&self, container: Option<NodeIndex>) -> Option<(String, u64)> {
        let tally = container.map_or(Some(&self.scopes[0].tally), |node| self.inside(node))?;
        let failed =
            |node: &NodeIndex| matches!(self.node(*node).state.outcome(), Some(Outcome::Failed { .. })) && !self.is_tolerated(*node);
        let first = match container {
            _ if tally.failed == 0 => None,
            Some(node) => self.children(node).find(failed),
            None => self.roots().find(failed),
        };
        first.map(|first| (self.root_cause(first), u64::from(tally.failed)))
    }
}
