//! What a run offers to the scheduler: nodes to decide, to stop, to start, to write ahead.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ids::{ModuleId, NodeIndex, RunId};
use crate::request::{Priority, Request, Reuse};
use crate::resources::{Capacity, most_vram};
use crate::units::{Bytes, CpuMillis, Timestamp};

use super::derived::{ClassId, OrderKey};
use super::plan::Asked;
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

    /// The first ready leaf of each class of a priority, in order.
    pub(crate) fn ready_heads(&self, priority: Priority) -> impl Iterator<Item = (OrderKey, ClassId)> {
        self.derived.heads.get(&priority).into_iter().flatten().copied()
    }

    /// Those of them whose nodes have this `affinity`.
    pub(crate) fn ready_kin(&self, priority: Priority, affinity: &Arc<str>) -> impl Iterator<Item = (OrderKey, ClassId)> {
        self.derived.kin.get(&(priority, affinity.clone())).into_iter().flatten().copied()
    }

    /// Whether any leaf of a priority is ready.
    pub(crate) fn has_ready(&self, priority: Priority) -> bool {
        self.derived.heads.contains_key(&priority)
    }

    /// How many leaves of a priority are ready. Linear in the number of classes.
    pub(crate) fn count_ready(&self, priority: Priority) -> usize {
        self.derived.ready.iter().filter(|(class, _)| self.priority_of(**class) == priority).map(|(_, set)| set.len()).sum()
    }

    /// Priority of a class: that of the run where somebody set one for it, else what its nodes say, else what is usual for such a run.
    pub(crate) fn priority_of(&self, class: ClassId) -> Priority {
        self.priority.forced.or(self.plans.class(class.base).priority).unwrap_or(self.priority.usual)
    }

    /// Priority of a node's attempts.
    pub(crate) fn priority_of_node(&self, node: NodeIndex) -> Priority {
        self.priority.forced.or(self.node_def(node).settings.priority).unwrap_or(self.priority.usual)
    }

    /// Since when nothing of what is ready in a priority has started, as far as its nodes tell. Linear in the number of ready ones.
    pub(crate) fn waits_since(&self, priority: Priority) -> Timestamp {
        let ready = self.derived.ready.iter().filter(|(class, _)| self.priority_of(**class) == priority).flat_map(|(_, set)| set);
        let since = ready.filter_map(|(_, node)| match self.node(*node).state() {
            NodeState::Ready { since } => Some(*since),
            NodeState::Waiting { .. }
            | NodeState::Running { .. }
            | NodeState::Stopping { .. }
            | NodeState::Retrying { .. }
            | NodeState::Interrupted { .. }
            | NodeState::Open { .. }
            | NodeState::Done { .. } => None,
        });
        let started =
            self.active().filter(|node| self.priority_of_node(*node) == priority).filter_map(|node| self.node(node).state().started());
        since.min().unwrap_or_default().max(started.max().unwrap_or_default())
    }

    /// The `affinity` of a class.
    pub(crate) fn affinity_of(&self, class: ClassId) -> Option<&Arc<str>> {
        self.plans.class(class.base).affinity.as_ref()
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

    /// What nodes of a class may ask for, the preferred first. Memory and VRAM that grew after `oom`, and what was only learned, stop at
    /// what there is.
    pub(crate) fn requests_of<'r>(&'r self, class: ClassId, capacity: &'r Capacity) -> impl Iterator<Item = Wanted<'r>> {
        self.plans.class(class.base).asks.iter().map(|ask| Wanted::new(ask, capacity))
    }

    /// Whether nodes of a class may ask for something of which others on the machine may take more than was handed out.
    pub(crate) fn is_class_measured(&self, class: ClassId, capacity: &Capacity) -> bool {
        self.requests_of(class, capacity).any(|wanted| wanted.request.is_measured())
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

    /// Whether the end of this node may let another one of the run start: one that waits for nothing else, or the next one of a group with a
    /// limit. So many others are about to end too, and count as if they had.
    pub(crate) fn is_waited_for(&self, node: NodeIndex, ending: usize) -> bool {
        let is_last = |left: u32| left as usize <= 1 + ending;
        let mut at = node;
        loop {
            at = match self.group_of(at).map(|group| &self.groups[group as usize]) {
                Some(group) if !is_last(group.tally.left) => return group.max_parallel.is_some(),
                Some(group) => group.node,
                None => {
                    let waits = |dependent| matches!(self.node(dependent).state, NodeState::Waiting { unfinished } if is_last(unfinished));
                    let scope = &self.scopes[self.node(at).scope as usize];
                    match scope.owner {
                        _ if self.dependents(at).any(waits) => return true,
                        Some(owner) if is_last(scope.tally.left) => owner,
                        Some(_) | None => return false,
                    }
                }
            };
        }
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

/// One of the requests that an attempt may start with, within what there is.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'r> {
    pub(crate) request: Cow<'r, Request>,
    /// The author says nothing of memory: what is asked for was learned.
    pub(crate) learned_memory: bool,
    /// The same of the memory of a GPU.
    pub(crate) learned_vram: bool,
}

impl<'r> Wanted<'r> {
    fn new(ask: &'r Asked, capacity: &Capacity) -> Self {
        let (learned_memory, learned_vram) = (ask.declared.0.0 == 0, ask.declared.1.0 == 0);
        Self { request: within(ask, capacity), learned_memory, learned_vram }
    }
}

/// What is asked for, where it is more than was declared no more than there is.
fn within<'r>(ask: &'r Asked, capacity: &Capacity) -> Cow<'r, Request> {
    let memory = ask.request.memory.min(capacity.memory.max(ask.declared.0));
    let vram = if ask.request.vram > ask.declared.1 {
        ask.request.vram.min(most_vram(&ask.request, capacity).max(ask.declared.1))
    } else {
        ask.request.vram
    };
    if (memory, vram) == (ask.request.memory, ask.request.vram) {
        return Cow::Borrowed(&ask.request);
    }
    Cow::Owned(Request { memory, vram, ..Request::clone(&ask.request) })
}
