//! What is left of a run as plain arrays: how long each node takes, what it takes up, what waits for it.
//!
//! The scheduler's own state answers many questions; whoever plays a run a thousand times has one. So every limit (places, processors,
//! memory, counted resources, `concurrency`, `max_parallel`) is a number with a capacity here, and every demand a list of amounts. Groups
//! and sub-pipelines have two vertices without duration and demand, their begin and their end.

use std::collections::BTreeMap;

use crate::ids::{ModuleId, NodeIndex, ResourceName};
use crate::pipeline::definition::{Rows, Work};
use crate::request::{NodeSettings, Request};
use crate::resources::Capacity;
use crate::run::{Body, NodeState, RunState};

/// No demand: begins and ends of containers, and what is done already.
pub(super) const FREE: u32 = u32::MAX;

/// What is left of a run.
#[derive(Debug, Clone)]
pub struct Model {
    /// Milliseconds of each vertex. The vertices of the run's nodes come first, in their order.
    pub(super) durations: Vec<u64>,
    /// By how many thousandths each of them may be off, up or down. Empty where they are known.
    pub(super) spreads: Vec<u64>,
    /// Position in `demands`, or [`FREE`].
    pub(super) demand_of: Vec<u32>,
    pub(super) demands: Vec<Demand>,
    pub(super) limits: Vec<Limit>,
    pub(super) successors: Rows,
    /// How many vertices come right before each.
    pub(super) waits: Vec<u32>,
    /// Vertices in an order that respects all edges.
    pub(super) order: Vec<u32>,
    /// How many of the vertices are nodes of the run.
    pub(super) nodes: u32,
    /// Whether what is modelled is all that decides: no unexpanded node, no sub-pipelines that wait for their turn.
    exact: bool,
}

/// Something of which there is only so much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) name: String,
    pub(super) capacity: u64,
    /// Whether it is something that a machine has: only of such room is kept.
    pub(super) is_resource: bool,
}

/// Amounts of limits, each limit once. All nodes of one demand are equal but for order and duration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Demand(pub(super) Vec<(u32, u64)>);

impl Model {
    /// What is left of `run` on a machine; durations are the weights that the run was ordered by.
    #[must_use]
    pub fn of(run: &RunState, capacity: &Capacity) -> Self {
        let mut builder = Builder::new(run, capacity);
        builder.add_vertices();
        builder.add_edges();
        builder.finish()
    }

    /// The same with other durations of some nodes.
    #[must_use]
    pub fn lasting(&self, durations: &BTreeMap<NodeIndex, u64>) -> Self {
        let mut model = self.clone();
        for (node, duration) in durations.iter().filter(|(node, _)| node.at() < self.nodes as usize) {
            model.durations[node.at()] = *duration;
        }
        model
    }

    /// The same where the vertices take so long.
    pub(super) fn taking(&self, durations: &[u64]) -> Self {
        Self { durations: durations.to_vec(), ..self.clone() }
    }

    /// The same where the durations of nodes may be off by so many thousandths, up or down.
    #[must_use]
    pub fn known_to(mut self, thousandths: &dyn Fn(NodeIndex) -> u64) -> Self {
        let of_vertex = |vertex| if vertex < self.nodes { thousandths(NodeIndex(vertex)) } else { 0 };
        let spreads: Vec<u64> = (0..number(self.len())).map(of_vertex).collect();
        self.spreads = if spreads.iter().all(|spread| *spread == 0) { Vec::new() } else { spreads };
        self
    }

    /// How many vertices it has: what playing it once costs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.durations.len()
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.durations.is_empty()
    }

    /// Whether the scheduler would play it as the model does.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// For each vertex the longest time from its begin to the end of the run, its own included.
    #[must_use]
    pub fn tails(&self) -> Vec<u64> {
        let mut tails = vec![0_u64; self.len()];
        for vertex in self.order.iter().rev() {
            let after = self.successors.of(*vertex).iter().map(|next| tails[*next as usize]).max().unwrap_or(0);
            tails[*vertex as usize] = after.saturating_add(self.durations[*vertex as usize]);
        }
        tails
    }

    /// For each vertex the earliest time at which it could begin on a machine without limits.
    #[must_use]
    pub fn heads(&self) -> Vec<u64> {
        let mut heads = vec![0_u64; self.len()];
        for vertex in &self.order {
            let end = heads[*vertex as usize].saturating_add(self.durations[*vertex as usize]);
            for next in self.successors.of(*vertex) {
                heads[*next as usize] = heads[*next as usize].max(end);
            }
        }
        heads
    }

    /// Length of the longest path.
    #[must_use]
    pub fn longest(&self) -> u64 {
        self.tails().into_iter().max().unwrap_or(0)
    }

    /// Nodes on a longest path, in order; among equals the one declared first.
    #[must_use]
    pub fn longest_path(&self) -> Vec<NodeIndex> {
        let tails = self.tails();
        let longest = |found: Option<u32>, vertex: u32| match found {
            Some(best) if tails[best as usize] >= tails[vertex as usize] => Some(best),
            Some(_) | None => Some(vertex),
        };
        let count = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let mut at = (0..count).filter(|vertex| self.waits[*vertex as usize] == 0).fold(None, longest);
        let mut path = Vec::new();
        while let Some(vertex) = at {
            if self.demand_of[vertex as usize] != FREE {
                path.push(NodeIndex(vertex));
            }
            at = self.successors.of(vertex).iter().copied().fold(None, longest);
        }
        path
    }
}

struct Builder<'r> {
    run: &'r RunState,
    model: Model,
    /// The vertex at which a node ends: its own, or the second one of a container.
    ends: Vec<u32>,
    known: BTreeMap<Demand, u32>,
    customs: BTreeMap<ResourceName, u32>,
    modules: BTreeMap<ModuleId, u32>,
    groups: BTreeMap<NodeIndex, u32>,
    /// The last settings and what they came to, where nothing else counts.
    last: Option<(*const NodeSettings, *const crate::manifest::Module, u32)>,
}

const PLACES: u32 = 0;
const CPUS: u32 = 1;
const MEMORY: u32 = 2;

impl<'r> Builder<'r> {
    fn new(run: &'r RunState, capacity: &Capacity) -> Self {
        let limit = |name: &str, capacity: u64| Limit { name: name.to_owned(), capacity, is_resource: true };
        let mut limits =
            vec![limit("places", u64::from(capacity.max_concurrent)), limit("cpus", capacity.cpus.0), limit("memory", capacity.memory.0)];
        let mut customs = BTreeMap::new();
        for (name, amount) in &capacity.custom {
            customs.insert(name.clone(), number(limits.len()));
            limits.push(limit(name.as_str(), amount.0));
        }
        let nodes = number(run.len());
        let model = Model {
            durations: Vec::with_capacity(run.len()),
            spreads: Vec::new(),
            demand_of: Vec::with_capacity(run.len()),
            demands: Vec::new(),
            limits,
            successors: Rows::default(),
            waits: Vec::new(),
            order: Vec::new(),
            nodes,
            exact: true,
        };
        let (known, modules, groups) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { run, model, ends: (0..nodes).collect(), known, customs, modules, groups, last: None }
    }

    fn add_vertices(&mut self) {
        for (node, at) in self.run.nodes() {
            let unexpanded = matches!(at.body(), Body::Group(_)) && !self.run.is_matrix(node) && self.run.children(node).len() == 0;
            let is_work = matches!(at.body(), Body::Leaf) || unexpanded;
            self.model.exact &= !unexpanded;
            let (duration, demand) = match at.state() {
                NodeState::Done { .. } => (0, FREE),
                NodeState::Waiting { .. }
                | NodeState::Ready { .. }
                | NodeState::Running { .. }
                | NodeState::Stopping { .. }
                | NodeState::Retrying { .. }
                | NodeState::Interrupted { .. }
                | NodeState::Open { .. }
                    if is_work =>
                {
                    (self.run.weight(node), self.demand(node))
                }
                NodeState::Waiting { .. }
                | NodeState::Ready { .. }
                | NodeState::Running { .. }
                | NodeState::Stopping { .. }
                | NodeState::Retrying { .. }
                | NodeState::Interrupted { .. }
                | NodeState::Open { .. } => (0, FREE),
            };
            self.model.durations.push(duration);
            self.model.demand_of.push(demand);
        }
        for (node, at) in self.run.nodes() {
            match at.body() {
                Body::Leaf => {}
                Body::Group(_) | Body::Scope(_) => {
                    self.ends[node.at()] = number(self.model.durations.len());
                    self.model.durations.push(0);
                    self.model.demand_of.push(FREE);
                }
            }
        }
    }

    /// What an attempt of a node takes up.
    fn demand(&mut self, node: NodeIndex) -> u32 {
        let def = self.run.node_def(node);
        let Work::Module(module) = &def.work else { return FREE };
        let parallel = self.run.node(node).ordinal().and(def.control.as_ref()).and_then(|control| control.max_parallel);
        let key = (std::sync::Arc::as_ptr(&def.settings), std::sync::Arc::as_ptr(module));
        if let (None, Some((settings, of, demand))) = (parallel, self.last)
            && (settings, of) == key
        {
            return demand;
        }
        let settings = &def.settings;
        self.model.exact &= settings.priority.is_none() && settings.affinity.is_none() && settings.any_of.is_empty();
        let request = &least(settings);
        let mut amounts = vec![(PLACES, 1), (CPUS, request.cpus.0), (MEMORY, request.memory.0)];
        for (name, amount) in &request.custom {
            let next = number(self.model.limits.len());
            let limit = *self.customs.entry(name.clone()).or_insert(next);
            if limit == next {
                self.model.limits.push(Limit { name: name.to_string(), capacity: 0, is_resource: true });
            }
            amounts.push((limit, amount.0));
        }
        if let Some(most) = module.concurrency {
            let next = number(self.model.limits.len());
            let limit = *self.modules.entry(module.id.clone()).or_insert(next);
            if limit == next {
                self.model.limits.push(Limit {
                    name: format!("concurrency of {}", module.id),
                    capacity: u64::from(most),
                    is_resource: false,
                });
            }
            amounts.push((limit, 1));
        }
        if let (Some(most), Some(group)) = (parallel, self.run.parent(node)) {
            let next = number(self.model.limits.len());
            let limit = *self.groups.entry(group).or_insert(next);
            if limit == next {
                self.model.limits.push(Limit {
                    name: format!("max_parallel of {}", def.id),
                    capacity: u64::from(most),
                    is_resource: false,
                });
            }
            amounts.push((limit, 1));
        }
        amounts.retain(|(_, amount)| *amount > 0);
        let demand = Demand(amounts);
        let next = number(self.model.demands.len());
        let found = *self.known.entry(demand.clone()).or_insert(next);
        if found == next {
            self.model.demands.push(demand);
        }
        if parallel.is_none() {
            self.last = Some((key.0, key.1, found));
        }
        found
    }

    fn add_edges(&mut self) {
        let run = self.run;
        let ends = &self.ends;
        let mut turns = false;
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        for (node, at) in run.nodes() {
            pairs.extend(run.dependencies(node).map(|before| (ends[before.at()], node.0)));
            if let Some(parent) = run.parent(node) {
                pairs.push((parent.0, node.0));
                pairs.push((ends[node.at()], ends[parent.at()]));
                let limited = run.node_def(node).control.as_ref().is_some_and(|control| control.max_parallel.is_some());
                turns |= limited && at.ordinal().is_some() && matches!(at.body(), Body::Scope(_));
            }
            if ends[node.at()] != node.0 {
                pairs.push((node.0, ends[node.at()]));
            }
        }
        self.model.exact &= !turns;
        let count = self.model.durations.len();
        let mut starts = vec![0_u32; count + 1];
        let mut waits = vec![0_u32; count];
        for (from, to) in &pairs {
            starts[*from as usize + 1] += 1;
            waits[*to as usize] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut targets = vec![0_u32; pairs.len()];
        for (from, to) in pairs {
            let at = &mut next[from as usize];
            targets[*at as usize] = to;
            *at += 1;
        }
        self.model.successors = Rows { starts, targets };
        self.model.waits = waits;
    }

    fn finish(mut self) -> Model {
        let mut left = self.model.waits.clone();
        let mut order: Vec<u32> = (0..number(left.len())).filter(|vertex| left[*vertex as usize] == 0).collect();
        let mut at = 0;
        while let Some(vertex) = order.get(at).copied() {
            at += 1;
            for next in self.model.successors.of(vertex) {
                left[*next as usize] -= 1;
                if left[*next as usize] == 0 {
                    order.push(*next);
                }
            }
        }
        self.model.order = order;
        self.model
    }
}

/// The least that an attempt takes of anything, whichever of its alternatives it gets. What is bounded by it stays a bound.
pub(super) fn least(settings: &NodeSettings) -> Request {
    let mut requests = settings.requests().into_iter();
    let mut least = requests.next().unwrap_or_default();
    for other in requests {
        least.cpus = least.cpus.min(other.cpus);
        least.memory = least.memory.min(other.memory);
        least.gpus = least.gpus.min(other.gpus);
        least.vram = least.vram.min(other.vram);
        least.custom.retain(|name, _| other.custom.contains_key(name));
        least.custom.iter_mut().for_each(|(name, amount)| *amount = (*amount).min(other.custom[name]));
    }
    least
}

/// Runs have at most `NODES_MAX` nodes, and a model at most twice as many vertices.
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
