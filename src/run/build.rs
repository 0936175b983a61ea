//! Making the arrays: a run before anything happened, and the nodes that a `foreach` adds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use crate::ids::{ModuleId, NodeIndex, RunId, Seq};
use crate::pipeline::definition::{Control, Definition, Expansion, NODES_MAX, Work};
use crate::request::NodeSettings;

use super::containers::{Group, Scope, Tally};
use super::derived::Derived;
use super::plan::{Expected, Plans};
use super::record::RunFacts;
use super::state::{Body, NO_ORDINAL, Node, NodeState, Precedence, RunState, index};

impl RunState {
    /// A run before its submission is recorded: every node waits. `params` are complete and checked; `workspace` is the folder that
    /// expressions see. The pipeline makes at most `NODES_MAX` nodes: whoever compiled it has counted them.
    #[must_use]
    pub fn new(id: RunId, definition: Arc<Definition>, params: Arc<Value>, workspace: String) -> Self {
        let mut run = Self {
            id,
            params: params.clone(),
            workspace: workspace.into(),
            facts: RunFacts::default(),
            plans: Plans::new(&definition, &|_, settings| settings.duration.map_or(1, |expected| expected.0)),
            nodes: Vec::new(),
            groups: Vec::new(),
            scopes: Vec::new(),
            expanded: Vec::new(),
            scripts: BTreeMap::new(),
            order: None,
            priority: Precedence::default(),
            derived: Derived::default(),
            last: Seq(0),
        };
        run.enter_pipeline(None, 0);
        run.scopes[0].params = Some(params);
        run.rebuild();
        run
    }

    /// Orders ready nodes by the expected duration of what comes after them, in any unit that is the same for all modules.
    pub fn prioritise(&mut self, weight: &dyn Fn(&ModuleId, &NodeSettings) -> u64) {
        let definition = self.definition().clone();
        self.plans = Plans::new(&definition, weight);
        for scope in 0..self.scopes.len() {
            self.scopes[scope].tail = self.tail_of(self.scopes[scope].owner);
        }
        self.rebuild();
    }

    /// Orders ready nodes by these priorities, the highest first; one for each node that there is now. Nodes that are added later have that
    /// of the node that they came from. The order decides what starts first and nothing else: no record depends on it.
    pub fn set_order(&mut self, order: Option<Arc<[u64]>>) {
        self.order = order;
        self.rebuild();
    }

    /// Says where it stands among other runs.
    pub fn set_precedence(&mut self, priority: Precedence) {
        if priority != self.priority {
            self.priority = priority;
            self.rebuild();
        }
    }

    /// Whether an order was set.
    #[must_use]
    pub fn has_order(&self) -> bool {
        self.order.is_some()
    }

    /// How long an attempt of a node is expected to take, in the unit of [`prioritise`](Self::prioritise); of a sub-pipeline its longest way.
    #[must_use]
    pub fn weight(&self, node: NodeIndex) -> u64 {
        let at = self.node(node);
        self.plans.get(self.scopes[at.scope as usize].plan).weights[at.position as usize]
    }

    /// Lets nodes that declare no memory, or none of a GPU, ask for what their module is known to need.
    pub fn expect_use(&mut self, expected: Expected<'_>) {
        if self.plans.expect_use(expected) {
            self.rebuild();
        }
    }

    /// Nodes that a `foreach` node with `items` items adds. Saturates.
    pub(crate) fn nodes_added(&self, node: NodeIndex, items: usize) -> u64 {
        let at = self.node(node);
        let plan = self.plans.get(self.scopes[at.scope as usize].plan);
        let inside = plan.inner(at.position).map_or(0, |inner| self.plans.get(inner).size);
        inside.saturating_add(1).saturating_mul(items as u64)
    }

    /// Whether that many more nodes would be too many.
    pub(crate) fn is_too_many(&self, added: u64) -> bool {
        (self.nodes.len() as u64).saturating_add(added) > NODES_MAX
    }

    /// Adds the instances of a `foreach` node.
    pub(super) fn expand(&mut self, node: NodeIndex, items: Arc<Vec<Value>>) {
        let Body::Group(group) = self.node(node).body else { return };
        let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
        self.groups[group as usize].items = Some(items);
        let from = self.nodes.len();
        self.add_instances(node, group, count);
        (from..self.nodes.len()).for_each(|at| self.enter(index(at)));
    }

    /// Adds the nodes of a pipeline, then what is inside them. Iterative: a list of what is still to be filled.
    fn enter_pipeline(&mut self, owner: Option<NodeIndex>, plan: u32) {
        let mut to_enter = VecDeque::from([(owner, plan)]);
        while let Some((owner, plan)) = to_enter.pop_front() {
            let scope = u32::try_from(self.scopes.len()).unwrap_or(u32::MAX);
            let first = index(self.nodes.len()).0;
            let tail = self.tail_of(owner);
            self.scopes.push(Scope { owner, plan, first, params: None, tail, stop: None, tally: Tally::default() });
            if let Some(owner) = owner {
                self.nodes[owner.at()].body = Body::Scope(scope);
            }
            let definition = self.plans.get(plan).definition.clone();
            for position in 0..index(definition.nodes.len()).0 {
                let waits = index(definition.graph.dependencies.of(position).len()).0 + 1;
                self.nodes.push(waiting(scope, position, NO_ORDINAL, waits));
            }
            for (position, def) in definition.nodes.iter().enumerate() {
                let node = NodeIndex(first + index(position).0);
                match expansion(def.control.as_deref()) {
                    Some(expansion) => self.add_group(node, expansion, def.control.as_deref(), &mut to_enter),
                    None => to_enter.extend(self.plans.get(plan).inner(index(position).0).map(|inner| (Some(node), inner))),
                }
            }
        }
    }

    fn add_group(
        &mut self,
        node: NodeIndex,
        expansion: &Expansion,
        control: Option<&Control>,
        to_enter: &mut VecDeque<(Option<NodeIndex>, u32)>,
    ) {
        let group = index(self.groups.len()).0;
        self.nodes[node.at()].body = Body::Group(group);
        let max_parallel = control.and_then(|control| control.max_parallel);
        let (first, tally) = (index(self.nodes.len()).0, Tally::default());
        self.groups.push(Group { node, first, count: 0, items: None, max_parallel, admitted: 0, turns: 0, tally });
        match expansion {
            Expansion::ForEach(_) => {}
            Expansion::Matrix(matrix) => {
                let count = matrix.count().and_then(|count| u32::try_from(count).ok()).unwrap_or(u32::MAX);
                to_enter.extend(self.push_instances(node, group, count));
            }
        }
    }

    fn add_instances(&mut self, node: NodeIndex, group: u32, count: u32) {
        for (owner, plan) in self.push_instances(node, group, count) {
            self.enter_pipeline(owner, plan);
        }
    }

    /// Adds instances and says which of them are pipelines to be entered.
    fn push_instances(&mut self, node: NodeIndex, group: u32, count: u32) -> Vec<(Option<NodeIndex>, u32)> {
        let (scope, position) = (self.node(node).scope, self.node(node).position);
        let first = index(self.nodes.len()).0;
        self.groups[group as usize].first = first;
        self.groups[group as usize].count = count;
        self.nodes.extend((0..count).map(|ordinal| waiting(scope, position, ordinal, 1)));
        let inner = self.plans.get(self.scopes[scope as usize].plan).inner(position);
        inner.map_or_else(Vec::new, |plan| (first..first + count).map(|at| (Some(NodeIndex(at)), plan)).collect())
    }

    /// Weight of the longest way after a node to the end of the run.
    fn tail_of(&self, node: Option<NodeIndex>) -> u64 {
        let Some(at) = node.map(|node| self.node(node)) else { return 0 };
        let scope = &self.scopes[at.scope as usize];
        let plan = self.plans.get(scope.plan);
        scope.tail + (plan.levels[at.position as usize] - plan.weights[at.position as usize])
    }
}

fn expansion(control: Option<&Control>) -> Option<&Expansion> {
    control.and_then(|control| control.expansion.as_ref())
}

fn waiting(scope: u32, position: u32, ordinal: u32, unfinished: u32) -> Node {
    let state = NodeState::Waiting { unfinished };
    Node { scope, position, ordinal, body: Body::Leaf, state, outputs: None, record: None }
}

/// Whether a node calls a pipeline.
pub(super) fn calls_pipeline(work: &Work) -> bool {
    match work {
        Work::Module(_) => false,
        Work::Pipeline(_) => true,
    }
}
