//! From a list of edges to the arrays of a checked graph: duplicates removed, both directions, a topological order.
//!
//! The graph is built in petgraph's structure and handed on as compressed rows, a third of its memory and all that a run needs. The
//! order is Kahn's, by declared position among equals: petgraph's own is another at every change of the file, names one node of a
//! circle only, and takes seven times as long; several of its algorithms recurse over what a user wrote. The tests hold our order
//! against petgraph's.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::diagnostics::Span;

use super::definition::{Graph, Rows};

/// One dependency as it stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Position of the node that comes first.
    pub from: u32,
    /// Position of the node that waits for it.
    pub to: u32,
    /// What makes it wait: the item of `needs` or the expression.
    pub span: Span,
}

/// A graph that cannot be ordered.
#[derive(Debug)]
pub struct Stuck {
    /// What each node waits for.
    pub dependencies: Rows,
    /// Whether a node is on a circle or behind one.
    pub left: Vec<bool>,
}

impl Graph {
    /// Builds the graph of `nodes` nodes. All ends of edges must be below `nodes`.
    ///
    /// # Errors
    /// What is left when all nodes outside circles are ordered.
    pub fn build(nodes: u32, edges: &[Edge]) -> Result<Self, Stuck> {
        let graph = digraph(nodes, edges);
        let mut dependencies = rows_of(&graph, Direction::Incoming);
        remove_duplicates(&mut dependencies);
        drop(graph);
        let dependents = reversed(nodes, &dependencies);
        match order(nodes, &dependencies, &dependents) {
            Ok(order) => Ok(Self { dependencies, dependents, order }),
            Err(left) => Err(Stuck { dependencies, left }),
        }
    }
}

/// The nodes and edges as they are declared, repeated edges included.
fn digraph(nodes: u32, edges: &[Edge]) -> DiGraph<u32, (), u32> {
    let mut graph = DiGraph::with_capacity(nodes as usize, edges.len());
    for node in 0..nodes {
        graph.add_node(node);
    }
    graph.extend_with_edges(edges.iter().map(|edge| (NodeIndex::<u32>::new(edge.from as usize), NodeIndex::new(edge.to as usize))));
    graph
}

/// The neighbours of every node in one direction.
fn rows_of(graph: &DiGraph<u32, (), u32>, direction: Direction) -> Rows {
    let mut rows = Rows { starts: Vec::with_capacity(graph.node_count() + 1), targets: Vec::with_capacity(graph.edge_count()) };
    rows.starts.push(0);
    for node in graph.node_indices() {
        rows.targets.extend(graph.neighbors_directed(node, direction).map(|neighbour| graph[neighbour]));
        rows.starts.push(u32::try_from(rows.targets.len()).unwrap_or(u32::MAX));
    }
    rows
}

/// Rows of `(row, target)` pairs, targets in the order of the pairs.
pub(super) fn rows(nodes: u32, pairs: impl Iterator<Item = (u32, u32)> + Clone) -> Rows {
    let mut starts = vec![0_u32; nodes as usize + 1];
    for (row, _) in pairs.clone() {
        starts[row as usize + 1] += 1;
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    let mut next = starts.clone();
    let mut targets = vec![0_u32; starts.last().copied().unwrap_or(0) as usize];
    for (row, target) in pairs {
        let at = &mut next[row as usize];
        targets[*at as usize] = target;
        *at += 1;
    }
    Rows { starts, targets }
}

fn remove_duplicates(rows: &mut Rows) {
    let mut kept = 0_usize;
    let mut start = 0_usize;
    for row in 1..rows.starts.len() {
        let end = rows.starts[row] as usize;
        rows.targets[start..end].sort_unstable();
        let first = kept;
        for at in start..end {
            let target = rows.targets[at];
            if kept == first || rows.targets[kept - 1] != target {
                rows.targets[kept] = target;
                kept += 1;
            }
        }
        start = end;
        rows.starts[row] = u32::try_from(kept).unwrap_or(u32::MAX);
    }
    rows.targets.truncate(kept);
}

fn reversed(nodes: u32, of: &Rows) -> Rows {
    rows(nodes, (0..nodes).flat_map(|row| of.of(row).iter().map(move |target| (*target, row))))
}

/// The smallest topological order by declared position; else which nodes could not be ordered.
fn order(nodes: u32, dependencies: &Rows, dependents: &Rows) -> Result<Vec<u32>, Vec<bool>> {
    // Most files, and nearly all generated ones, are written in an order that runs.
    if (0..nodes).all(|node| dependencies.of(node).last().is_none_or(|last| *last < node)) {
        return Ok((0..nodes).collect());
    }
    let mut waits: Vec<u32> = (0..nodes).map(|node| u32::try_from(dependencies.of(node).len()).unwrap_or(u32::MAX)).collect();
    let mut ready: BinaryHeap<Reverse<u32>> = (0..nodes).filter(|node| waits[*node as usize] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes as usize);
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for dependent in dependents.of(node) {
            let left = &mut waits[*dependent as usize];
            *left -= 1;
            if *left == 0 {
                ready.push(Reverse(*dependent));
            }
        }
    }
    if order.len() == nodes as usize { Ok(order) } else { Err(waits.into_iter().map(|waits| waits > 0).collect()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edge(from: u32, to: u32) -> Edge {
        Edge { from, to, span: Span::default() }
    }

    #[test]
    fn rows_hold_each_edge_once_in_both_directions() {
        let graph = Graph::build(4, &[edge(2, 0), edge(3, 0), edge(2, 0), edge(3, 2), edge(0, 1)]).expect("no circle");
        assert_eq!(graph.dependencies.of(0), [2, 3]);
        assert_eq!(graph.dependents.of(3), [0, 2]);
        assert_eq!(graph.dependents.of(1), [] as [u32; 0]);
        assert_eq!(graph.order, [3, 2, 0, 1]);
    }

    #[test]
    fn among_equals_the_declared_order_holds() {
        assert_eq!(Graph::build(3, &[]).expect("no edges").order, [0, 1, 2]);
        assert_eq!(Graph::build(4, &[edge(3, 1)]).expect("one edge").order, [0, 2, 3, 1]);
        assert_eq!(Graph::build(0, &[]).expect("nothing").order, [] as [u32; 0]);
    }

    /// F-67: deep graphs are no deeper on the stack.
    #[test]
    fn a_long_chain_backwards_is_ordered() {
        let count = 100_000;
        let edges: Vec<Edge> = (1..count).map(|node| edge(node, node - 1)).collect();
        let graph = Graph::build(count, &edges).expect("a chain");
        assert_eq!(graph.order.first(), Some(&(count - 1)));
    }

    proptest! {
        #[test]
        fn an_order_respects_every_edge_and_exists_exactly_where_petgraph_finds_one(
            (nodes, pairs) in (1_u32..40).prop_flat_map(|nodes| (Just(nodes), prop::collection::vec((0..nodes, 0..nodes), 0..80)))
        ) {
            let edges: Vec<Edge> = pairs.iter().map(|(from, to)| edge(*from, *to)).collect();
            let mut oracle = DiGraph::<u32, (), u32>::default();
            (0..nodes).for_each(|node| { oracle.add_node(node); });
            pairs.iter().for_each(|(from, to)| { oracle.add_edge(NodeIndex::from(*from), NodeIndex::from(*to), ()); });
            let sorted = petgraph::algo::toposort(&oracle, None);
            match Graph::build(nodes, &edges) {
                Ok(graph) => {
                    prop_assert!(sorted.is_ok());
                    let mut at = vec![usize::MAX; nodes as usize];
                    graph.order.iter().enumerate().for_each(|(position, node)| at[*node as usize] = position);
                    prop_assert!(at.iter().all(|position| *position != usize::MAX));
                    prop_assert!(pairs.iter().all(|(from, to)| at[*from as usize] < at[*to as usize]));
                }
                Err(stuck) => {
                    prop_assert!(sorted.is_err());
                    prop_assert!(stuck.left.contains(&true));
                }
            }
        }
    }
}
