//! Circles of dependencies, named in full with the place of every edge, in time linear in the graph.

use crate::diagnostics::{Diagnostic, Diagnostics, Place};

use super::graph::Stuck;

/// Circles that are reported of one graph; one alone hides the others, a thousand help nobody.
const CIRCLES_MAX: usize = 8;
/// Nodes of a circle that are named: this many from its beginning, and the last one.
const NAMED_MAX: usize = 10;

/// Separate circles of a stuck graph, each in the direction of the flow, beginning with its first declared node. At least one.
#[must_use]
pub fn find(stuck: &Stuck) -> Vec<Vec<u32>> {
    const UNSEEN: u32 = u32::MAX;
    let mut found = Vec::new();
    // Number of the walk that came by, and the position in it.
    let mut seen = vec![(UNSEEN, 0_u32); stuck.left.len()];
    for (walk, start) in (0..).zip(0..stuck.left.len()) {
        if !stuck.left[start] || seen[start].0 != UNSEEN {
            continue;
        }
        let mut path: Vec<u32> = Vec::new();
        let mut node = u32::try_from(start).unwrap_or(UNSEEN);
        while seen[node as usize].0 == UNSEEN {
            seen[node as usize] = (walk, u32::try_from(path.len()).unwrap_or(UNSEEN));
            path.push(node);
            // Every node that is left waits for another one that is left.
            match stuck.dependencies.of(node).iter().find(|dependency| stuck.left[**dependency as usize]) {
                Some(dependency) => node = *dependency,
                None => break,
            }
        }
        let (by, position) = seen[node as usize];
        if by == walk && path.last().is_some_and(|last| stuck.dependencies.of(*last).contains(&node)) {
            found.push(in_flow(&path[position as usize..]));
            if found.len() == CIRCLES_MAX {
                break;
            }
        }
    }
    found
}

/// A circle found against the flow, turned around and begun with its smallest node.
fn in_flow(against: &[u32]) -> Vec<u32> {
    let mut circle: Vec<u32> = against.iter().rev().copied().collect();
    let smallest = circle.iter().enumerate().min_by_key(|(_, node)| **node).map_or(0, |(at, _)| at);
    circle.rotate_left(smallest);
    circle
}

/// Reports the circles. `id` names a node; `place` finds what makes the second node wait for the first.
pub fn report<'i>(
    circles: &[Vec<u32>],
    id: &dyn Fn(u32) -> &'i str,
    place: &dyn Fn(u32, u32) -> Option<Place>,
    diagnostics: &mut Diagnostics,
) {
    for circle in circles {
        diagnostics.push(describe(circle, id, place));
    }
}

fn describe<'i>(circle: &[u32], id: &dyn Fn(u32) -> &'i str, place: &dyn Fn(u32, u32) -> Option<Place>) -> Diagnostic {
    let first = circle[0];
    let mut diagnostic = if circle.len() == 1 {
        Diagnostic::error(format!("`{}` needs itself", id(first)))
    } else {
        let hidden = circle.len().saturating_sub(NAMED_MAX + 1);
        let mut names: Vec<String> = circle.iter().take(NAMED_MAX).map(|node| id(*node).to_owned()).collect();
        if hidden > 0 {
            names.push(format!("({hidden} more)"));
        }
        if circle.len() > NAMED_MAX {
            names.extend(circle.last().map(|node| id(*node).to_owned()));
        }
        names.push(id(first).to_owned());
        Diagnostic::error(format!("these {} nodes wait for each other: {}", circle.len(), names.join(" -> ")))
    };
    diagnostic = diagnostic.with_help("take one of these dependencies out");
    let edges = circle.iter().copied().zip(circle.iter().copied().skip(1).chain([first]));
    let last = circle.len() - 1;
    for (at, (from, to)) in edges.enumerate() {
        if at >= NAMED_MAX && at != last {
            continue;
        }
        let Some(place) = place(from, to) else { continue };
        if diagnostic.place.is_none() {
            diagnostic = diagnostic.at(place);
        } else {
            diagnostic = diagnostic.with_related(format!("`{}` needs `{}`", id(to), id(from)), place);
        }
    }
    diagnostic
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a limit on how long a hostile input may take")]
mod tests {
    use std::time::{Duration, Instant};

    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::super::definition::Graph;
    use super::super::graph::Edge;
    use super::*;
    use crate::diagnostics::Span;

    fn edges(pairs: &[(u32, u32)]) -> Vec<Edge> {
        pairs.iter().map(|(from, to)| Edge { from: *from, to: *to, span: Span::default() }).collect()
    }

    fn circles(nodes: u32, pairs: &[(u32, u32)]) -> Vec<Vec<u32>> {
        find(&Graph::build(nodes, &edges(pairs)).expect_err("a circle"))
    }

    fn text(circle: &[u32]) -> String {
        let names: Vec<String> = (0..200_000).map(|node| format!("n{node}")).collect();
        describe(circle, &|node| &names[node as usize], &|_, _| None).message
    }

    #[test]
    fn circles_go_with_the_flow_from_their_first_node() {
        assert_eq!(circles(4, &[(1, 2), (2, 3), (3, 1), (0, 1)]), [[1, 2, 3]]);
        assert_eq!(circles(3, &[(2, 2), (0, 1)]), [[2]]);
        // What only hangs behind a circle is not part of it; two circles are two.
        assert_eq!(circles(6, &[(0, 1), (1, 0), (1, 2), (3, 4), (4, 3), (4, 5)]), [[0, 1], [3, 4]]);
        assert_eq!(circles(5, &[(3, 4), (4, 3), (4, 0), (0, 1)]), [[3, 4]]);
    }

    #[test]
    fn texts_name_the_whole_circle_or_its_ends() {
        assert_snapshot!(text(&[0]), @"`n0` needs itself");
        assert_snapshot!(text(&[0, 1, 2]), @"these 3 nodes wait for each other: n0 -> n1 -> n2 -> n0");
        assert_snapshot!(text(&(0..11).collect::<Vec<_>>()), @"these 11 nodes wait for each other: n0 -> n1 -> n2 -> n3 -> n4 -> n5 -> n6 -> n7 -> n8 -> n9 -> n10 -> n0");
        assert_snapshot!(text(&(0..100_000).collect::<Vec<_>>()), @"these 100000 nodes wait for each other: n0 -> n1 -> n2 -> n3 -> n4 -> n5 -> n6 -> n7 -> n8 -> n9 -> (99989 more) -> n99999 -> n0");
    }

    /// F-67: a circle of 100,000 nodes is refused in less than a second, without recursion.
    #[test]
    fn a_circle_of_100_000_nodes_is_found_quickly() {
        let count = 100_000;
        let pairs: Vec<(u32, u32)> = (0..count).map(|node| (node, (node + 1) % count)).collect();
        let start = Instant::now();
        let found = circles(count, &pairs);
        assert_eq!(found[0].len(), count as usize);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }

    proptest! {
        #[test]
        fn every_reported_circle_is_one(
            (nodes, pairs) in (1_u32..30).prop_flat_map(|nodes| (Just(nodes), prop::collection::vec((0..nodes, 0..nodes), 1..60)))
        ) {
            if let Err(stuck) = Graph::build(nodes, &edges(&pairs)) {
                let found = find(&stuck);
                prop_assert!(!found.is_empty());
                for circle in found {
                    let next = circle.iter().skip(1).chain([&circle[0]]);
                    prop_assert!(circle.iter().zip(next).all(|(from, to)| pairs.contains(&(*from, *to))), "{:?}", circle);
                    let mut distinct = circle.clone();
                    distinct.sort_unstable();
                    distinct.dedup();
                    prop_assert_eq!(distinct.len(), circle.len());
                }
            }
        }
    }
}
