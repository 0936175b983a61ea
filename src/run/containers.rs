//! What holds nodes: groups (instances of one node) and scopes (pipelines entered).

use std::sync::Arc;

use serde_json::Value;

use crate::event::SkipReason;
use crate::ids::NodeIndex;

/// How the nodes directly inside a group or scope stand. Follows from their states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Not terminal yet.
    pub(super) left: u32,
    /// Running, stopping or open: what `max_parallel` counts.
    pub(super) active: u32,
    /// Failed and not tolerated.
    pub(super) failed: u32,
    /// Cancelled.
    pub(super) cancelled: u32,
    /// Skipped because something was stopped.
    pub(super) stopped: u32,
}

/// An expanded node: `matrix` from the start, `foreach` once its list is known.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// The node that was expanded.
    pub(super) node: NodeIndex,
    /// Its first instance.
    pub(super) first: u32,
    /// Number of instances.
    pub(super) count: u32,
    /// Items of a `foreach`; none for a `matrix`.
    pub(super) items: Option<Arc<Vec<Value>>>,
    pub(super) max_parallel: Option<u32>,
    /// Sub-pipelines among the instances wait here for their turn: all before this number had it.
    pub(super) admitted: u32,
    /// Those of them that are not terminal.
    pub(super) turns: u32,
    pub(super) tally: Tally,
}

/// A pipeline entered: that of the run, or one called by a node.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// The node that called it; none for the run's own.
    pub(super) owner: Option<NodeIndex>,
    /// Its pipeline among the run's plans.
    pub(super) plan: u32,
    /// Its first node.
    pub(super) first: u32,
    /// Its parameters, once it was opened.
    pub(super) params: Option<Arc<Value>>,
    /// What comes after it on the longest way to the end of the run: added to the levels of its nodes.
    pub(super) tail: u64,
    /// A node of it failed under `on_failure: stop`: why the others are skipped.
    pub(super) stop: Option<Arc<SkipReason>>,
    pub(super) tally: Tally,
}
