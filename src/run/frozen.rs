//! The part of a run's state that changes, for snapshots. What was pinned at submit (pipeline, parameters) lies elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::SkipReason;
use crate::ids::{ModuleId, NodeIndex, RunId};
use crate::pipeline::definition::Definition;

use super::record::{Record, RunFacts};
use super::state::{Body, NodeState, RunState};

/// A run without what was pinned. Nodes that only wait are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frozen {
    facts: RunFacts,
    /// Number of nodes, as a check.
    nodes: u32,
    /// Lists of `foreach` nodes, in the order in which they were expanded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    expanded: Vec<(u32, Arc<Vec<Value>>)>,
    /// Parameters of sub-pipelines that were opened, by scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    opened: Vec<(u32, Arc<Value>)>,
    /// Scopes that a failure stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stopped: Vec<(u32, Arc<SkipReason>)>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    scripts: BTreeMap<ModuleId, Arc<str>>,
    /// Nodes with something to tell.
    changed: Vec<FrozenNode>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FrozenNode {
    node: u32,
    state: NodeState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outputs: Option<Arc<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<Box<Record>>,
}

/// Why a frozen state is none of this pipeline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot does not fit the run's pipeline: {0}")]
pub struct ThawError(String);

impl RunState {
    /// What has to be kept of it besides what was pinned.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        let items = |node: &NodeIndex| match self.node(*node).body {
            Body::Group(group) => self.groups[group as usize].items.clone().map(|items| (node.0, items)),
            Body::Leaf | Body::Scope(_) => None,
        };
        let scopes = || (1_u32..).zip(self.scopes.iter().skip(1));
        Frozen {
            facts: self.facts.clone(),
            nodes: super::state::index(self.nodes.len()).0,
            expanded: self.expanded.iter().filter_map(items).collect(),
            opened: scopes().filter_map(|(at, scope)| Some((at, scope.params.clone()?))).collect(),
            stopped: (0_u32..).zip(&self.scopes).filter_map(|(at, scope)| Some((at, scope.stop.clone()?))).collect(),
            scripts: self.scripts.clone(),
            changed: self.nodes().filter_map(|(node, _)| self.freeze_node(node)).collect(),
        }
    }

    fn freeze_node(&self, node: NodeIndex) -> Option<FrozenNode> {
        let at = self.node(node);
        if matches!(at.state, NodeState::Waiting { .. }) && at.record.is_none() {
            return None;
        }
        // The list of a completed group is put together again from its instances; that of a reused one is its own.
        let collected = matches!(at.body, Body::Group(_)) && at.state.status() == super::state::NodeStatus::Completed;
        let outputs = if collected { None } else { at.outputs.clone() };
        Some(FrozenNode { node: node.0, state: at.state.clone(), outputs, record: at.record.clone() })
    }

    /// The run again, over the same pinned pipeline and parameters.
    ///
    /// # Errors
    /// When the frozen state names nodes that the pipeline does not make.
    pub fn thaw(id: RunId, definition: Arc<Definition>, params: Arc<Value>, workspace: String, frozen: Frozen) -> Result<Self, ThawError> {
        let mut run = Self::new(id, definition, params, workspace);
        for (node, items) in frozen.expanded {
            let node = NodeIndex(node);
            let foreach = run.get(node).is_some_and(|at| matches!(at.body, Body::Group(_))) && !run.is_matrix(node);
            if !foreach || run.is_too_many(run.nodes_added(node, items.len())) {
                return Err(ThawError(format!("node {} cannot be expanded", node.0)));
            }
            run.expand(node, items);
            run.expanded.push(node);
        }
        if run.nodes.len() != frozen.nodes as usize {
            return Err(ThawError(format!("it has {} nodes, the pipeline makes {}", frozen.nodes, run.nodes.len())));
        }
        for (scope, params) in frozen.opened {
            run.scopes.get_mut(scope as usize).ok_or_else(|| ThawError(format!("there is no scope {scope}")))?.params = Some(params);
        }
        for (scope, stop) in frozen.stopped {
            run.scopes.get_mut(scope as usize).ok_or_else(|| ThawError(format!("there is no scope {scope}")))?.stop = Some(stop);
        }
        for frozen in frozen.changed {
            let at = run.nodes.get_mut(frozen.node as usize).ok_or_else(|| ThawError(format!("there is no node {}", frozen.node)))?;
            (at.state, at.outputs, at.record) = (frozen.state, frozen.outputs, frozen.record);
        }
        run.facts = frozen.facts;
        run.scripts = frozen.scripts;
        run.share_grants();
        run.recount();
        run.rebuild();
        run.check_states().map_err(ThawError)?;
        Ok(run)
    }

    /// Grants read from a snapshot are copies; most are what their class asks for.
    fn share_grants(&mut self) {
        for at in 0..self.nodes.len() {
            let node = super::state::index(at);
            let Some((_, grant)) = self.node(node).state.holding() else { continue };
            let shared = self.shared_grant(node, &Arc::clone(grant));
            match &mut self.nodes[at].state {
                NodeState::Running { grant, .. } | NodeState::Stopping { grant, .. } => *grant = shared,
                NodeState::Waiting { .. }
                | NodeState::Ready { .. }
                | NodeState::Retrying { .. }
                | NodeState::Interrupted { .. }
                | NodeState::Open { .. }
                | NodeState::Done { .. } => {}
            }
        }
    }

    /// What waiting nodes wait for, and the lists of completed groups, from the states of the other nodes.
    fn recount(&mut self) {
        // Instances come after their group in the array, so that lists inside lists are there when they are needed.
        for at in (0..self.nodes.len()).rev() {
            let node = super::state::index(at);
            if let NodeState::Waiting { .. } = self.node(node).state {
                self.nodes[at].state = NodeState::Waiting { unfinished: self.unfinished(node) };
            }
            if matches!(self.node(node).body, Body::Group(_)) && self.node(node).state.status() == super::state::NodeStatus::Completed {
                self.nodes[at].outputs = Some(Arc::new(self.collected(node)));
            }
        }
    }
}
