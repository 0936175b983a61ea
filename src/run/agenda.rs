//! What a run offers to the scheduler: nodes to decide, to stop, to start, to write ahead.

use std::collections::BTreeSet;

use crate::ids::{ModuleId, NodeIndex, RunId};
use crate::request::{Request, Reuse};
use crate::resources::Most;
use crate::units::{Bytes, CpuMillis};

use super::derived::{ClassId, OrderKey};
use super::state::{Body, NodeState, NodeStatus, Outcome, RunState};

impl RunState {
    /// Nodes that need a decision. Each of them gives one record, unless the run is held.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = NodeIndex> {
        self.derived.unsettled.iter().copied()
    }

    /// Running and stopping nodes.
    pub fn active(&self) -> impl ExactSizeIterator<Item = NodeIndex> {
        self.derived.active.iter().copied()
    }

    /// Stopping nodes whose attempt was killed and does not go.
    pub fn stuck(&self) -> impl ExactSizeIterator<Item = NodeIndex> {
        self.derived.stuck.iter().copied()
    }

    /// Waiting leaves whose only unfinished dependency runs, whose next attempt is not intended, and which start without a check.
    pub(crate) fn ahead(&self) -> impl ExactSizeIterator<Item = NodeIndex> {
        self.derived.ahead.iter().copied()
    }

    /// Ready leaves for which an earlier result has to be looked for before they start.
    pub(crate) fn unchecked(&self) -> impl ExactSizeIterator<Item = NodeIndex> {
        self.derived.unchecked.iter().copied()
    }

    /// Whether a node is ready but for the answer whether an earlier result is taken. That is asked once, before its first attempt.
    #[must_use]
    pub fn awaits_check(&self, node: NodeIndex) -> bool {
        matches!(self.node(node).state, NodeState::Ready { .. }) && self.is_unchecked(node)
    }

    /// Whether an earlier result has to be looked for before the first attempt of a leaf, now or when it is ready.
    pub(super) fn is_unchecked(&self, node: NodeIndex) -> bool {
        let at = self.node(node);
        at.body == Body::Leaf
            && self.node_def(node).settings.reuse == Reuse::Inputs
            && at.record().is_none_or(|record| record.reuse.is_none() && record.attempts.is_empty())
    }

    /// Runs whose results nodes of this one have. Linear.
    #[must_use]
    pub fn results_of(&self) -> BTreeSet<RunId> {
        if self.derived.counts[NodeStatus::Reused as usize] == 0 {
            return BTreeSet::new();
        }
        let from = self.nodes.iter().filter_map(|node| match node.state.outcome() {
            Some(Outcome::Reused { from }) => Some(from),
            Some(Outcome::Completed | Outcome::Failed { .. } | Outcome::Cancelled { .. } | Outcome::Skipped { .. }) | None => None,
        });
        from.cloned().collect()
    }

    /// Nodes that hold nothing and have an unused intent.
    pub(crate) fn intended(&self) -> u32 {
        self.derived.intended
    }

    /// The first ready leaf of each class, in order.
    pub(crate) fn ready_heads(&self) -> impl Iterator<Item = (OrderKey, ClassId)> {
        self.derived.heads.iter().copied()
    }

    /// The ready leaves of a class after one of them, in order.
    pub(crate) fn ready_after(&self, class: ClassId, key: OrderKey) -> impl Iterator<Item = OrderKey> {
        let after = (std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded);
        self.derived.ready.get(&class).into_iter().flat_map(move |set| set.range(after).copied())
    }

    /// The least of processors and of memory that any ready leaf asks for: with less free than either, none of them starts.
    pub(crate) fn least_asked(&self) -> (CpuMillis, Bytes) {
        let least = |asked: &std::collections::BTreeMap<u64, u32>| asked.first_key_value().map_or(0, |(amount, _)| *amount);
        (CpuMillis(least(&self.derived.asked_cpus)), Bytes(least(&self.derived.asked_memory)))
    }

    /// Whether it is held and nobody asked for its end: nothing is decided or started then.
    pub(crate) fn is_frozen(&self) -> bool {
        self.facts.held && self.facts.cancel.is_none()
    }

    /// Whether `decide` has to look at it apart from starting ready nodes.
    pub(crate) fn wants_decision(&self) -> bool {
        let stopping = !self.derived.active.is_empty() && (self.facts.cancel.is_some() || self.derived.stops > 0);
        let open = self.facts.ended.is_none();
        open && (self.is_over()
            || stopping
            || !self.is_frozen()
                && (!self.derived.unsettled.is_empty() || !self.derived.ahead.is_empty() || !self.derived.unchecked.is_empty()))
    }

    /// Whether it has ready nodes that may start.
    pub(crate) fn wants_start(&self) -> bool {
        !self.derived.ready.is_empty() && !self.facts.held && self.facts.cancel.is_none()
    }

    /// What nodes of a class ask for. Memory that grew after `oom`, and what was only learned, stops at what there is.
    pub(crate) fn request_of(&self, class: ClassId, most: Most) -> std::borrow::Cow<'_, Request> {
        let base = self.plans.class(class.base);
        let memory = Bytes(base.request.memory.0.min(most.memory.0.max(base.declared)));
        let vram = if base.learned_vram { base.request.vram.min(most.vram) } else { base.request.vram };
        if (memory, vram) == (base.request.memory, base.request.vram) {
            std::borrow::Cow::Borrowed(&base.request)
        } else {
            std::borrow::Cow::Owned(Request { memory, vram, ..Request::clone(&base.request) })
        }
    }

    /// Whether the author of a class's nodes says nothing of the memory of a GPU that they ask for.
    pub(crate) fn learned_vram(&self, class: ClassId) -> bool {
        self.plans.class(class.base).learned_vram
    }

    /// Whether the author of a class's nodes says how much memory they need.
    pub(crate) fn declares_memory(&self, class: ClassId) -> bool {
        self.plans.class(class.base).declared > 0
    }

    /// Whether any of its nodes asks for something of which others on the machine may take more than was handed out. Linear in the
    /// number of different requests.
    pub(crate) fn is_measured(&self) -> bool {
        self.plans.any_request(Request::is_measured)
    }

    /// The module of a class with its `concurrency`, if it has one.
    pub(crate) fn concurrency_of(&self, class: ClassId) -> Option<&(ModuleId, u32)> {
        self.plans.class(class.base).limit.as_ref()
    }

    /// The group of a class that has a `max_parallel`: its node, the limit, and how many of it run.
    pub(crate) fn parallel_of(&self, class: ClassId) -> Option<(NodeIndex, u32, u32)> {
        let group = self.groups.get(class.group as usize)?;
        Some((group.node, group.max_parallel?, group.tally.active))
    }

    /// Weight of the longest way from a node to the end of the run, the node included.
    pub(crate) fn way_to_end(&self, node: NodeIndex) -> u64 {
        self.order_of(node).0.0
    }

    /// Class of a ready leaf.
    pub(crate) fn class_of(&self, node: NodeIndex) -> Option<ClassId> {
        let key = self.order_of(node);
        self.derived.ready.iter().find(|(_, set)| set.contains(&key)).map(|(class, _)| *class)
    }
}
