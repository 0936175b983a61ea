//! What follows from the states of the nodes, kept up to date so that no event costs more than a logarithm.
//!
//! A node's contribution is a function of its own state alone ([`RunState::enter`], [`RunState::leave`]); only `unsettled` and `ahead`
//! also look at its neighbours. All of it can be computed afresh: [`RunState::rebuild`] does so after a thaw and for the sanity check.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::event::SkipReason;
use crate::ids::{NodeIndex, Seq};
use crate::request::Priority;
use crate::resources::Held;

use super::containers::Tally;
use super::retry;
use super::state::{Body, NodeState, Outcome, RunState, index};

/// No group with a `max_parallel`.
const NO_GROUP: u32 = u32::MAX;

/// Ready nodes that are equal to the scheduler except for their order: same request, same `concurrency`, same `max_parallel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId {
    pub(super) base: u32,
    pub(super) group: u32,
}

/// Place of a ready node among the others: longest way to the end first, then the order of the file.
pub(crate) type OrderKey = (Reverse<u64>, NodeIndex);

/// First nodes of classes, in order.
type Heads = BTreeSet<(OrderKey, ClassId)>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Derived {
    /// Nodes by status.
    pub(super) counts: [u32; 9],
    pub(super) held: Held,
    /// Running and stopping nodes.
    pub(super) active: BTreeSet<NodeIndex>,
    pub(super) ready: BTreeMap<ClassId, BTreeSet<OrderKey>>,
    /// The first node of each of these sets by the priority of its class, so that nobody has to look at all sets to find the first node.
    pub(super) heads: BTreeMap<Priority, Heads>,
    /// Those of them whose nodes share an `affinity`, by its key.
    pub(super) kin: BTreeMap<(Priority, Arc<str>), Heads>,
    /// How many of these sets ask for how many thousandths of a processor, and for how much memory: the least tells whether looking further
    /// is of any use.
    pub(super) asked_cpus: BTreeMap<u64, u32>,
    pub(super) asked_memory: BTreeMap<u64, u32>,
    /// Ready leaves of which nobody knows yet whether an earlier result is taken. They are in no class: nothing of them is to start.
    pub(super) unchecked: BTreeSet<NodeIndex>,
    pub(super) interrupted: BTreeSet<NodeIndex>,
    /// Nodes whose attempt was killed and does not go.
    pub(super) stuck: BTreeSet<NodeIndex>,
    /// Nodes that need a decision: each of them gives one record.
    pub(super) unsettled: BTreeSet<NodeIndex>,
    /// Waiting leaves whose only unfinished dependency runs, and for which no earlier result has to be looked for: their intents may be
    /// written now.
    pub(super) ahead: BTreeSet<NodeIndex>,
    /// Nodes that hold nothing and have an intent that was not used.
    pub(super) intended: u32,
    /// Pipelines of the run that are stopped by a failure.
    pub(super) stops: u32,
}

impl RunState {
    /// Puts a node into a state. `unsettled` and `ahead` are the caller's to refresh.
    pub(super) fn set(&mut self, node: NodeIndex, state: NodeState) {
        self.leave(node);
        self.nodes[node.at()].state = state;
        self.enter(node);
    }

    /// Changes a node's intent.
    pub(super) fn set_intent(&mut self, node: NodeIndex, intent: Option<Seq>) {
        self.leave(node);
        self.nodes[node.at()].record.get_or_insert_default().intent = intent;
        self.enter(node);
    }

    /// Takes back what the node contributes.
    pub(super) fn leave(&mut self, node: NodeIndex) {
        self.count(node, false);
        if self.awaits_check(node) {
            self.derived.unchecked.remove(&node);
            return;
        }
        if let NodeState::Ready { .. } = self.node(node).state
            && let Some((class, key)) = self.place(node)
        {
            self.change_ready(class, |set| _ = set.remove(&key));
        }
    }

    /// Adds what the node contributes.
    pub(super) fn enter(&mut self, node: NodeIndex) {
        self.count(node, true);
        if self.awaits_check(node) {
            self.derived.unchecked.insert(node);
            return;
        }
        if let NodeState::Ready { .. } = self.node(node).state
            && let Some((class, key)) = self.place(node)
        {
            self.change_ready(class, |set| _ = set.insert(key));
        }
    }

    /// Changes the ready nodes of a class and what follows from its first one.
    fn change_ready(&mut self, class: ClassId, change: impl FnOnce(&mut BTreeSet<OrderKey>)) {
        let set = self.derived.ready.entry(class).or_default();
        let before = set.first().copied();
        change(set);
        let after = set.first().copied();
        if after.is_none() {
            self.derived.ready.remove(&class);
        }
        if before == after {
            return;
        }
        self.move_head(class, before, after);
        if before.is_some() != after.is_some() {
            let (cpus, memory) = self.plans.class(class.base).least();
            count_asked(&mut self.derived.asked_cpus, cpus, after.is_some());
            count_asked(&mut self.derived.asked_memory, memory, after.is_some());
        }
    }

    fn move_head(&mut self, class: ClassId, before: Option<OrderKey>, after: Option<OrderKey>) {
        let priority = self.priority_of(class);
        let change = |heads: &mut Heads| {
            before.iter().for_each(|key| _ = heads.remove(&(*key, class)));
            heads.extend(after.map(|key| (key, class)));
            heads.is_empty()
        };
        if change(self.derived.heads.entry(priority).or_default()) {
            self.derived.heads.remove(&priority);
        }
        let Some(affinity) = self.plans.class(class.base).affinity.clone() else { return };
        let key = (priority, affinity);
        if change(self.derived.kin.entry(key.clone()).or_default()) {
            self.derived.kin.remove(&key);
        }
    }

    fn count(&mut self, node: NodeIndex, plus: bool) {
        let step = |number: &mut u32, counts: bool| {
            if counts {
                *number = if plus { *number + 1 } else { *number - 1 };
            }
        };
        let at = &self.nodes[node.at()];
        let tolerated = self.is_tolerated(node);
        let holding = at.state.holding().map(|(_, grant)| grant.clone());
        let derived = &mut self.derived;
        step(&mut derived.counts[at.state.status() as usize], true);
        step(&mut derived.intended, holding.is_none() && !at.state.is_done() && at.record().is_some_and(|record| record.intent.is_some()));
        let marked = [
            (matches!(at.state, NodeState::Interrupted { .. }), &mut derived.interrupted),
            (at.state.is_stuck(), &mut derived.stuck),
            (holding.is_some(), &mut derived.active),
        ];
        for (_, set) in marked.into_iter().filter(|(marked, _)| *marked) {
            if plus {
                set.insert(node)
            } else {
                set.remove(&node)
            };
        }
        if let Some(grant) = &holding {
            if plus { derived.held.take(grant) } else { derived.held.give_back(grant) }
        }
        let tally = match at.ordinal() {
            Some(_) => {
                let Body::Group(group) = self.nodes[(self.scopes[at.scope as usize].first + at.position) as usize].body else { return };
                &mut self.groups[group as usize].tally
            }
            None => &mut self.scopes[at.scope as usize].tally,
        };
        step(&mut tally.left, !at.state.is_done());
        step(&mut tally.active, holding.is_some() || matches!(at.state, NodeState::Open { .. }));
        match at.state.outcome() {
            None | Some(Outcome::Completed | Outcome::Reused { .. }) => {}
            Some(Outcome::Failed { .. }) => step(&mut tally.failed, !tolerated),
            Some(Outcome::Cancelled { .. }) => step(&mut tally.cancelled, true),
            Some(Outcome::Skipped { because }) => match &**because {
                SkipReason::Stopped { .. } => step(&mut tally.stopped, true),
                SkipReason::Condition | SkipReason::Dependency { .. } | SkipReason::NotSelected => {}
            },
        }
    }

    /// Class and order of a leaf; `None` for others.
    fn place(&mut self, node: NodeIndex) -> Option<(ClassId, OrderKey)> {
        let at = &self.nodes[node.at()];
        if at.body != Body::Leaf {
            return None;
        }
        let plan = self.plans.get(self.scopes[at.scope as usize].plan);
        let mut base = plan.class(at.position)?;
        let (grown, grown_vram) = at.record().map_or((0, 0), |record| (record.grown, record.grown_vram));
        let group = self.group_of(node).filter(|group| self.groups[*group as usize].max_parallel.is_some()).unwrap_or(NO_GROUP);
        if grown > 0 || grown_vram > 0 {
            let settings = plan.definition.nodes[at.position as usize].settings.clone();
            base = self.plans.class_with(base, |ask| retry::grown(&ask.request, &settings.retry, grown, grown_vram));
        }
        Some((ClassId { base, group }, self.order_of(node)))
    }

    /// Place of a node among the ready ones.
    pub(super) fn order_of(&self, node: NodeIndex) -> OrderKey {
        if let Some(priority) = self.chosen_priority(node) {
            return (Reverse(priority), node);
        }
        let at = &self.nodes[node.at()];
        let scope = &self.scopes[at.scope as usize];
        (Reverse(self.plans.get(scope.plan).levels[at.position as usize].saturating_add(scope.tail)), node)
    }

    /// The priority that was set for a node, or for the one around it that was there at that time.
    fn chosen_priority(&self, node: NodeIndex) -> Option<u64> {
        let order = self.order.as_ref()?;
        let mut at = Some(node);
        while let Some(node) = at {
            if let Some(priority) = order.get(node.at()) {
                return Some(*priority);
            }
            at = self.parent(node);
        }
        None
    }

    /// Keeps a node's place in `unsettled` right after something around it changed.
    pub(super) fn refresh(&mut self, node: NodeIndex) {
        if self.needs_decision(node) {
            self.derived.unsettled.insert(node);
        } else {
            self.derived.unsettled.remove(&node);
        }
    }

    /// Whether the next step of a node is a record that `decide` has to propose.
    pub(crate) fn needs_decision(&self, node: NodeIndex) -> bool {
        let at = self.node(node);
        match &at.state {
            NodeState::Waiting { unfinished: 0 } => true,
            NodeState::Ready { .. } if self.is_admitted(node) => true,
            NodeState::Waiting { .. } | NodeState::Ready { .. } | NodeState::Retrying { .. } | NodeState::Interrupted { .. } => {
                self.is_swept(node) && self.is_surrounded_by_open(node)
            }
            NodeState::Open { .. } => self.inside(node).is_some_and(|tally| tally.left == 0),
            NodeState::Running { .. } | NodeState::Stopping { .. } | NodeState::Done { .. } => false,
        }
    }

    /// Whether a ready instance that is a sub-pipeline has its turn.
    fn is_admitted(&self, node: NodeIndex) -> bool {
        let at = self.node(node);
        match (at.body, at.ordinal(), self.group_of(node)) {
            (Body::Scope(_), Some(ordinal), Some(group)) => ordinal < self.groups[group as usize].admitted,
            (Body::Scope(_) | Body::Leaf | Body::Group(_), _, _) => false,
        }
    }

    /// How the nodes inside a group or sub-pipeline stand; `None` for a leaf.
    pub(super) fn inside(&self, node: NodeIndex) -> Option<&Tally> {
        match self.node(node).body {
            Body::Leaf => None,
            Body::Group(group) => Some(&self.groups[group as usize].tally),
            Body::Scope(scope) => Some(&self.scopes[scope as usize].tally),
        }
    }

    /// Keeps a node's place in `ahead` right.
    pub(super) fn refresh_ahead(&mut self, node: NodeIndex) {
        if self.may_be_intended_ahead(node) {
            self.derived.ahead.insert(node);
        } else {
            self.derived.ahead.remove(&node);
        }
    }

    fn may_be_intended_ahead(&self, node: NodeIndex) -> bool {
        let at = self.node(node);
        let plain = at.body == Body::Leaf && at.ordinal().is_none() && self.control(node).is_none_or(|control| control.when.is_none());
        let intended = at.record().is_some_and(|record| record.intent.is_some());
        // An intent says that a process may exist, and none does before the answer about an earlier result is recorded. Written earlier, it
        // could outlive that record in a crash, and the state would refuse the attempt that was started after both.
        plain
            && !self.is_unchecked(node)
            && !intended
            && at.state == (NodeState::Waiting { unfinished: 1 })
            && self.dependencies(node).any(|dependency| self.node(dependency).state.holding().is_some())
    }

    /// Everything of this file, from the states of the nodes.
    pub(super) fn rebuild(&mut self) {
        self.derived = Derived::default();
        self.derived.stops = index(self.scopes.iter().filter(|scope| scope.stop.is_some()).count()).0;
        self.groups.iter_mut().for_each(|group| group.tally = Tally::default());
        self.scopes.iter_mut().for_each(|scope| scope.tally = Tally::default());
        let all = (0..self.nodes.len()).map(index);
        all.clone().for_each(|node| self.enter(node));
        for group in 0..self.groups.len() {
            self.groups[group].admitted = 0;
            self.groups[group].turns = 0;
            self.admit(group);
        }
        for node in all {
            self.refresh(node);
            self.refresh_ahead(node);
        }
    }
}

fn count_asked(counts: &mut BTreeMap<u64, u32>, amount: u64, plus: bool) {
    let count = counts.entry(amount).or_default();
    *count = if plus { *count + 1 } else { count.saturating_sub(1) };
    if *count == 0 {
        counts.remove(&amount);
    }
}
