//! What is known of one run: its nodes with their states, in arrays.
//!
//! Read by everybody, changed by [`RunState::apply`] alone (`apply.rs`). A node that never started costs about a hundred bytes; what
//! only started nodes have lies in a [`Record`] of its own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{FailureCause, RunStatus, SkipReason, StopReason};
use crate::ids::{AttemptNumber, NodeIndex, RunId, Seq};
use crate::pipeline::definition::{Definition, NodeDef, Work};
use crate::request::{Priority, Request};
use crate::resources::Held;
use crate::units::{DurationMs, Timestamp};

use super::containers::{Group, Scope};
use super::derived::Derived;
use super::plan::Plans;
use super::record::{Record, RunFacts};

/// State of a node. Each variant holds exactly the facts that are true in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Not all that it needs is terminal (or nothing more is missing, and a decision about it is due).
    Waiting {
        /// Dependencies that are not terminal, plus one while the group or sub-pipeline around it has not been opened.
        unfinished: u32,
    },
    /// It may start, or be opened, when there is room.
    Ready {
        /// Since when.
        since: Timestamp,
    },
    /// An attempt of it runs.
    Running {
        /// Which.
        attempt: AttemptNumber,
        /// What it holds.
        grant: Arc<Request>,
        /// When it was started.
        started: Timestamp,
    },
    /// An attempt of it was asked to stop and has not ended.
    Stopping {
        /// Which.
        attempt: AttemptNumber,
        /// What it still holds.
        grant: Arc<Request>,
        /// Why.
        reason: StopReason,
        /// When it was asked.
        since: Timestamp,
        /// It was killed and was still there so long after that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stuck: Option<DurationMs>,
    },
    /// It failed and is tried again after a pause. It holds nothing.
    Retrying {
        /// The attempt that comes.
        next: AttemptNumber,
        /// When the pause is over, by the wall clock.
        until: Timestamp,
        /// Why the last attempt failed.
        cause: Arc<FailureCause>,
    },
    /// Its attempt was lost with its host. It goes on when the run is resumed.
    Interrupted {
        /// How it was lost.
        cause: Arc<FailureCause>,
    },
    /// A group or sub-pipeline whose nodes go on.
    Open {
        /// Since when.
        since: Timestamp,
    },
    /// It is terminal; this never changes again.
    Done {
        /// How it ended.
        outcome: Outcome,
        /// When.
        at: Timestamp,
    },
}

/// How a node ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Well.
    Completed,
    /// Not well, and it is not tried again.
    Failed {
        /// Why.
        cause: Arc<FailureCause>,
    },
    /// It was stopped, or will not start.
    Cancelled {
        /// `Cancelled` with the run, `OnFailure` because another node failed.
        reason: StopReason,
    },
    /// It was not run.
    Skipped {
        /// Why not.
        because: Arc<SkipReason>,
    },
    /// The result of an earlier run was taken.
    Reused {
        /// That run.
        from: RunId,
    },
}

impl Outcome {
    /// Whether dependents may use its outputs.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match self {
            Self::Completed | Self::Reused { .. } => true,
            Self::Failed { .. } | Self::Cancelled { .. } | Self::Skipped { .. } => false,
        }
    }
}

/// State of a node as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeStatus {
    /// For dependencies.
    Waiting,
    /// For resources, or for a run that is held to go on.
    Queued,
    /// It runs (or is being stopped, or nodes inside it go on).
    Running,
    /// It pauses before its next attempt.
    Retrying,
    /// It ended well.
    Completed,
    /// It failed.
    Failed,
    /// It was stopped.
    Cancelled,
    /// It was not run.
    Skipped,
    /// An earlier result was taken.
    Reused,
}

impl NodeStatus {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 9] = [
        Self::Waiting,
        Self::Queued,
        Self::Running,
        Self::Retrying,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Skipped,
        Self::Reused,
    ];

    /// Whether it never changes again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Waiting | Self::Queued | Self::Running | Self::Retrying => false,
            Self::Completed | Self::Failed | Self::Cancelled | Self::Skipped | Self::Reused => true,
        }
    }

    /// As in JSON and in expressions.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::Reused => "reused",
        }
    }
}

impl NodeState {
    /// As people see it.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        match self {
            Self::Waiting { .. } => NodeStatus::Waiting,
            Self::Ready { .. } | Self::Interrupted { .. } => NodeStatus::Queued,
            Self::Running { .. } | Self::Stopping { .. } | Self::Open { .. } => NodeStatus::Running,
            Self::Retrying { .. } => NodeStatus::Retrying,
            Self::Done { outcome, .. } => match outcome {
                Outcome::Completed => NodeStatus::Completed,
                Outcome::Failed { .. } => NodeStatus::Failed,
                Outcome::Cancelled { .. } => NodeStatus::Cancelled,
                Outcome::Skipped { .. } => NodeStatus::Skipped,
                Outcome::Reused { .. } => NodeStatus::Reused,
            },
        }
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::Done { outcome, .. } => Some(outcome),
            Self::Waiting { .. }
            | Self::Ready { .. }
            | Self::Running { .. }
            | Self::Stopping { .. }
            | Self::Retrying { .. }
            | Self::Interrupted { .. }
            | Self::Open { .. } => None,
        }
    }

    /// Whether it is terminal.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.outcome().is_some()
    }

    /// Whether its attempt was killed and does not go.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        matches!(self, Self::Stopping { stuck: Some(_), .. })
    }

    /// When its attempt was started, while nobody stops it.
    #[must_use]
    pub fn started(&self) -> Option<Timestamp> {
        match self {
            Self::Running { started, .. } => Some(*started),
            Self::Stopping { .. }
            | Self::Waiting { .. }
            | Self::Ready { .. }
            | Self::Retrying { .. }
            | Self::Interrupted { .. }
            | Self::Open { .. }
            | Self::Done { .. } => None,
        }
    }

    /// The attempt that holds something, with its grant.
    #[must_use]
    pub fn holding(&self) -> Option<(AttemptNumber, &Arc<Request>)> {
        match self {
            Self::Running { attempt, grant, .. } | Self::Stopping { attempt, grant, .. } => Some((*attempt, grant)),
            Self::Waiting { .. }
            | Self::Ready { .. }
            | Self::Retrying { .. }
            | Self::Interrupted { .. }
            | Self::Open { .. }
            | Self::Done { .. } => None,
        }
    }
}

/// What a node is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// It runs a module.
    Leaf,
    /// `matrix` or `foreach`: its instances are children. Position among the run's groups.
    Group(u32),
    /// A sub-pipeline: the nodes of that scope are inside it. Position among the run's scopes.
    Scope(u32),
}

/// A node of a run.
#[derive(Debug, Clone)]
pub struct Node {
    /// The scope in which it stands.
    pub(super) scope: u32,
    /// Position of its definition in that scope's pipeline.
    pub(super) position: u32,
    /// Its number, if it is an instance of a group; else [`NO_ORDINAL`].
    pub(super) ordinal: u32,
    pub(super) body: Body,
    pub(super) state: NodeState,
    /// What it reported; of a completed group the list.
    pub(super) outputs: Option<Arc<Value>>,
    pub(super) record: Option<Box<Record>>,
}

/// `Node::ordinal` of a node that is no instance.
pub(super) const NO_ORDINAL: u32 = u32::MAX;

impl Node {
    /// Its state.
    #[must_use]
    pub fn state(&self) -> &NodeState {
        &self.state
    }

    /// What it is made of.
    #[must_use]
    pub fn body(&self) -> Body {
        self.body
    }

    /// Its number among the instances of its group, from 0.
    #[must_use]
    pub fn ordinal(&self) -> Option<u32> {
        (self.ordinal != NO_ORDINAL).then_some(self.ordinal)
    }

    /// What it reported; of a completed group the list. `None` where there is nothing.
    #[must_use]
    pub fn outputs(&self) -> Option<&Arc<Value>> {
        self.outputs.as_ref()
    }

    /// What its attempts left.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.record.as_deref()
    }

    /// Number of attempts, lost and never started ones included.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.record().map_or(0, |record| record.last)
    }
}

/// One run.
#[derive(Debug, Clone)]
pub struct RunState {
    pub(super) id: RunId,
    pub(super) params: Arc<Value>,
    pub(super) workspace: Arc<str>,
    pub(super) facts: RunFacts,
    pub(super) plans: Plans,
    pub(super) nodes: Vec<Node>,
    pub(super) groups: Vec<Group>,
    pub(super) scopes: Vec<Scope>,
    /// Groups in the order in which they were expanded while the run went on: with it the arrays can be built again.
    pub(super) expanded: Vec<NodeIndex>,
    /// Hash under which each script was first used.
    pub(super) scripts: std::collections::BTreeMap<crate::ids::ModuleId, Arc<str>>,
    /// A priority for each node that there was when it was chosen; none: the longest way to the end first.
    pub(super) order: Option<Arc<[u64]>>,
    pub(super) priority: Precedence,
    pub(super) derived: Derived,
    /// The record of the last event; 0 where none was applied since it was built.
    pub(super) last: Seq,
}

/// Where a run stands among the others. No part of its history: it follows from what was submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precedence {
    /// Of all its nodes, whatever they say.
    pub forced: Option<Priority>,
    /// Of nodes that say nothing.
    pub usual: Priority,
}

impl Default for Precedence {
    fn default() -> Self {
        Self { forced: None, usual: Priority::Normal }
    }
}

impl RunState {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// The record of the last event; 0 where that was in a snapshot. With it everything is durable that can be seen of the run.
    #[must_use]
    pub fn last_record(&self) -> Seq {
        self.last
    }

    /// Its pipeline.
    #[must_use]
    pub fn definition(&self) -> &Arc<Definition> {
        self.scope_definition(0)
    }

    /// Its parameters.
    #[must_use]
    pub fn params(&self) -> &Arc<Value> {
        &self.params
    }

    /// The workspace's folder, as expressions see it.
    #[must_use]
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// What it is apart from its nodes.
    #[must_use]
    pub fn facts(&self) -> &RunFacts {
        &self.facts
    }

    /// Its state as people see it.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        match (&self.facts.ended, self.facts.started) {
            (Some((_, status)), _) => *status,
            (None, Some(_)) => RunStatus::Running,
            (None, None) => RunStatus::Queued,
        }
    }

    /// Number of its nodes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it has no nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node.
    ///
    /// # Panics
    /// When the index is not one of this run's.
    #[must_use]
    pub fn node(&self, node: NodeIndex) -> &Node {
        &self.nodes[node.at()]
    }

    /// A node, if the index is one of this run's.
    #[must_use]
    pub fn get(&self, node: NodeIndex) -> Option<&Node> {
        self.nodes.get(node.at())
    }

    /// All nodes in the order of their indices.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (NodeIndex, &Node)> + DoubleEndedIterator {
        self.nodes.iter().enumerate().map(|(at, node)| (index(at), node))
    }

    /// What the pipeline says of a node. Instances share the definition of their group.
    #[must_use]
    pub fn node_def(&self, node: NodeIndex) -> &NodeDef {
        let node = self.node(node);
        &self.scope_definition(node.scope).nodes[node.position as usize]
    }

    /// The module that a leaf (or an instance that is a leaf) runs.
    #[must_use]
    pub fn module(&self, node: NodeIndex) -> Option<&Arc<crate::manifest::Module>> {
        match &self.node_def(node).work {
            Work::Module(module) => Some(module),
            Work::Pipeline(_) => None,
        }
    }

    /// Hash under which a module's script was first used in this run.
    #[must_use]
    pub fn first_script_hash(&self, module: &crate::ids::ModuleId) -> Option<&str> {
        self.scripts.get(module).map(AsRef::as_ref)
    }

    /// What its attempts hold.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.derived.held
    }

    /// Number of nodes in each state, in the order of [`NodeStatus::ALL`].
    #[must_use]
    pub fn counts(&self) -> [u32; 9] {
        self.derived.counts
    }

    pub(super) fn scope_definition(&self, scope: u32) -> &Arc<Definition> {
        &self.plans.get(self.scopes[scope as usize].plan).definition
    }
}

/// The index of the node at a position. Runs have at most `NODES_MAX` nodes.
pub(super) fn index(at: usize) -> NodeIndex {
    NodeIndex(u32::try_from(at).unwrap_or(u32::MAX))
}
