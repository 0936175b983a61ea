use proptest::prelude::*;

use super::super::testing::{Workspace, module};
use super::*;

fn workspace() -> Workspace {
    Workspace::of([module("m", "", "")])
}

fn ids(definition: &Definition, nodes: &[u32]) -> Vec<String> {
    nodes.iter().map(|node| definition.nodes[*node as usize].id.to_string()).collect()
}

fn diamond() -> std::sync::Arc<Definition> {
    workspace().good(
        r#"{"nodes": {"d": {"module": "m", "needs": ["b", "c"]}, "a": {"module": "m"}, "b": {"module": "m", "needs": "a"},
            "c": {"module": "m", "needs": "a"}, "lone": {"module": "m"}}}"#,
    )
}

#[test]
fn waves_hold_what_could_run_together() {
    let definition = diamond();
    let waves: Vec<Vec<String>> = waves(&definition.graph).iter().map(|wave| ids(&definition, wave)).collect();
    assert_eq!(waves, [vec!["a", "lone"], vec!["b", "c"], vec!["d"]]);
    assert!(super::waves(&Graph::default()).iter().all(Vec::is_empty));
}

#[test]
fn the_critical_path_follows_the_durations() {
    let definition = diamond();
    let (path, length) = critical_path(&definition, &|_| DurationMs(1));
    assert_eq!((ids(&definition, &path), length), (vec!["a".to_owned(), "b".to_owned(), "d".to_owned()], DurationMs(3)));
    let by_name = |node: &NodeDef| {
        DurationMs(match node.id.as_str() {
            "c" => 5,
            "lone" => 7,
            _ => 1,
        })
    };
    let (path, length) = critical_path(&definition, &by_name);
    assert_eq!((ids(&definition, &path), length), (vec!["a".to_owned(), "c".to_owned(), "d".to_owned()], DurationMs(7)));
    assert_eq!(bottom_levels(&definition, &by_name), [1, 7, 2, 6, 7].map(DurationMs));
    assert_eq!(critical_path(&definition, &|_| DurationMs(u64::MAX)).1, DurationMs(u64::MAX));
}

#[test]
fn totals_count_instances_and_inner_nodes() {
    let workspace = workspace().file("/w/sub.json", r#"{"nodes": {"a": {"module": "m"}, "b": {"module": "m", "needs": "a"}}}"#);
    let definition = workspace.good(
        r#"{"nodes": {"x": {"module": "m", "matrix": {"a": [1, 2], "b": [1, 2, 3]}}, "s": {"pipeline": "sub.json", "foreach": [1, 2], "needs": "x"},
            "t": {"pipeline": "sub.json", "foreach": "${{ nodes.x.outputs }}"}}}"#,
    );
    let totals = Sizes::default().of(&definition).expect("small");
    assert_eq!(totals, Totals { nodes: 6 + 2 * 3 + 3, edges: 2 + 2 + 1, pipelines: 3, open: true });
}

proptest! {
    #[test]
    fn a_level_is_one_more_than_the_highest_before_it(pairs in prop::collection::vec((0_u32..30, 0_u32..30), 0..90)) {
        let edges: Vec<_> = pairs.iter().filter(|(from, to)| from != to)
            .map(|(from, to)| super::super::graph::Edge { from: *from.min(to), to: *from.max(to), span: crate::diagnostics::Span::default() }).collect();
        let graph = Graph::build(30, &edges).expect("edges go up only");
        let levels = levels(&graph);
        for node in 0..30 {
            let before = graph.dependencies.of(node).iter().map(|other| levels[*other as usize]).max();
            prop_assert_eq!(levels[node as usize], before.map_or(0, |level| level + 1));
        }
    }
}
