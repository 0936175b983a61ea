//! What can be said of a pipeline before it runs: how large it gets, in which waves it could go, what its longest path is.
//!
//! Used by `plan`, by the scheduler (critical path first) and by the compiler (the cap on nodes). Durations are the caller's: declared,
//! learned, or 1 each.

use std::collections::HashMap;

use crate::units::DurationMs;

use super::definition::{Definition, Expansion, Graph, NodeDef, Work};

/// Size of a pipeline with everything that is known to become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Totals {
    /// Nodes of a run: instances of `matrix` and of `foreach` over a written list, and nodes of sub-pipelines, each call of one being
    /// a node itself. A `foreach` over what a node reports counts as one instance.
    pub nodes: u64,
    /// Edges between nodes as they are declared, in each call of a sub-pipeline once.
    pub edges: u64,
    /// Calls of sub-pipelines.
    pub pipelines: u64,
    /// The number of nodes depends on what nodes will report.
    pub open: bool,
}

/// Sizes of pipelines, each computed once however often it is called. Known by address: use one value for definitions that stay where
/// they are, such as those of one compilation.
#[derive(Debug, Default)]
pub struct Sizes {
    known: HashMap<*const Definition, Option<Totals>>,
}

impl Sizes {
    /// The size of a pipeline; `None` where a number does not fit 64 bits.
    pub fn of(&mut self, definition: &Definition) -> Option<Totals> {
        if let Some(known) = self.known.get(&std::ptr::from_ref(definition)) {
            return *known;
        }
        let totals = self
            .sum(&definition.nodes)
            .map(|totals| Totals { edges: totals.edges.saturating_add(definition.graph.dependencies.targets.len() as u64), ..totals });
        self.known.insert(definition, totals);
        totals
    }

    /// How many nodes these are in a run; `None` where the number does not fit 64 bits.
    pub fn of_nodes(&mut self, nodes: &[NodeDef]) -> Option<u64> {
        self.sum(nodes).map(|totals| totals.nodes)
    }

    fn sum(&mut self, nodes: &[NodeDef]) -> Option<Totals> {
        let mut sum = Totals::default();
        for node in nodes {
            let (instances, open) = instances(node);
            let instances = instances?;
            let inner = match &node.work {
                Work::Module(_) => Totals::default(),
                Work::Pipeline(called) => {
                    let inner = self.of(called)?;
                    Totals { pipelines: inner.pipelines.checked_add(1)?, ..inner }
                }
            };
            sum.nodes = sum.nodes.checked_add(inner.nodes.checked_add(1)?.checked_mul(instances)?)?;
            sum.edges = sum.edges.checked_add(inner.edges.checked_mul(instances)?)?;
            sum.pipelines = sum.pipelines.checked_add(inner.pipelines.checked_mul(instances)?)?;
            sum.open |= open || inner.open;
        }
        Some(sum)
    }
}

/// Instances of a node as far as they are known, and whether they are not.
fn instances(node: &NodeDef) -> (Option<u64>, bool) {
    match node.control.as_ref().and_then(|control| control.expansion.as_ref()) {
        None => (Some(1), false),
        Some(Expansion::Matrix(matrix)) => (matrix.count(), false),
        Some(Expansion::ForEach(list)) => match list.known_length() {
            Some(length) => (u64::try_from(length).ok(), false),
            None => (Some(1), true),
        },
    }
}

/// The wave of each node: 0 where it waits for nothing, else one more than the last wave it waits for.
#[must_use]
pub fn levels(graph: &Graph) -> Vec<u32> {
    let mut levels = vec![0_u32; graph.order.len()];
    for node in &graph.order {
        let before = graph.dependencies.of(*node).iter().map(|dependency| levels[*dependency as usize] + 1).max();
        levels[*node as usize] = before.unwrap_or(0);
    }
    levels
}

/// Positions of the nodes that could run together, wave by wave, each in declared order.
#[must_use]
pub fn waves(graph: &Graph) -> Vec<Vec<u32>> {
    let levels = levels(graph);
    let mut waves = vec![Vec::new(); levels.iter().max().map_or(0, |last| *last as usize + 1)];
    for (node, level) in (0_u32..).zip(levels) {
        waves[level as usize].push(node);
    }
    waves
}

/// For each node the longest time from its start to the end of the pipeline, its own included.
#[must_use]
pub fn bottom_levels(definition: &Definition, duration: &dyn Fn(&NodeDef) -> DurationMs) -> Vec<DurationMs> {
    let graph = &definition.graph;
    let mut levels = vec![DurationMs(0); definition.nodes.len()];
    for node in graph.order.iter().rev() {
        let after = graph.dependents.of(*node).iter().map(|dependent| levels[*dependent as usize].0).max().unwrap_or(0);
        let own = duration(&definition.nodes[*node as usize]);
        levels[*node as usize] = DurationMs(own.0.saturating_add(after));
    }
    levels
}

/// Positions of the nodes on a longest path, in order, and its length. Among equals the one declared first.
#[must_use]
pub fn critical_path(definition: &Definition, duration: &dyn Fn(&NodeDef) -> DurationMs) -> (Vec<u32>, DurationMs) {
    let levels = bottom_levels(definition, duration);
    let graph = &definition.graph;
    let longest = |nodes: &mut dyn Iterator<Item = u32>| {
        nodes.fold(None, |best: Option<u32>, node| match best {
            Some(best) if levels[best as usize] >= levels[node as usize] => Some(best),
            Some(_) | None => Some(node),
        })
    };
    let mut path = Vec::new();
    let count = u32::try_from(levels.len()).unwrap_or(u32::MAX);
    let mut at = longest(&mut (0..count).filter(|node| graph.dependencies.of(*node).is_empty()));
    let length = at.map_or(DurationMs(0), |first| levels[first as usize]);
    while let Some(node) = at {
        path.push(node);
        at = longest(&mut graph.dependents.of(node).iter().copied());
    }
    (path, length)
}

#[cfg(test)]
mod tests;
