use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::json;

use super::super::bind;
use super::super::definition::{Expansion, Work};
use super::super::expr::{NodeView, Scope};
use super::super::testing::{Workspace, depending, module};
use super::*;

fn workspace() -> Workspace {
    Workspace::of([
        module("noop", "", ""),
        module(
            "cut",
            r#"{"required": ["input"], "properties": {"input": {"type": "string", "format": "file"}, "count": {"type": "integer", "minimum": 1, "default": 12}}}"#,
            r#"{"properties": {"file": {"type": "string"}, "ideas": {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "integer"}}}}}}"#,
        ),
        depending(module("needs-noop", "", ""), &["noop"]),
    ])
}

/// A pipeline of these nodes.
fn nodes(text: &str) -> String {
    format!(r#"{{"params": {{"properties": {{"topic": {{"type": "string"}}}}}}, "nodes": {{{text}}}}}"#)
}

fn refused(text: &str) -> String {
    workspace().refused(&nodes(text))
}

#[test]
fn a_pipeline_becomes_nodes_and_edges() {
    let definition = workspace().good(&nodes(
        r#""last": {"module": "cut", "needs": "c", "with": {"input": "${{ nodes.a.outputs.file }}"}},
           "a": {"module": "cut", "with": {"input": "x.mp4"}},
           "b": {"module": "noop", "needs": ["a"], "when": "${{ nodes.a.status == 'failed' }}", "allow_failure": true},
           "c": {"module": "noop", "needs": ["a", "b", "a"], "foreach": "${{ nodes.a.outputs.ideas }}", "max_parallel": 2}"#,
    ));
    assert_eq!(definition.name, "p");
    assert_eq!(definition.graph.order, [1, 2, 3, 0]);
    assert_eq!(definition.graph.dependencies.of(0), [1, 3]);
    assert_eq!(definition.graph.dependencies.of(3), [1, 2]);
    let control = definition.nodes[2].control.as_ref().expect("b has some");
    assert_eq!((control.observed.as_slice(), control.allow_failure), ([1].as_slice(), true));
    let control = definition.nodes[3].control.as_ref().expect("c has some");
    assert!(matches!(control.expansion, Some(Expansion::ForEach(_))));
    assert_eq!(control.max_parallel, Some(2));
    // Nodes that change nothing share what their module has.
    let Work::Module(cut) = &definition.nodes[1].work else { panic!("a module") };
    assert!(Arc::ptr_eq(&definition.nodes[1].settings, &cut.settings));
    assert!(definition.nodes[1].control.is_none());
}

#[test]
fn parameters_of_a_node_are_completed_and_made_absolute() {
    let definition = workspace().good(&nodes(
        r#""a": {"module": "cut", "with": {"input": "../in/x.mp4"}},
           "b": {"module": "cut", "with": {"input": "${{ nodes.a.outputs.file }}", "count": "${{ nodes.a.outputs.ideas | length }}"}}"#,
    ));
    let params = json!({"topic": "t"});
    let view = |outputs: serde_json::Value| NodeView { outputs: Arc::new(outputs), status: "completed", count: 1, exit_code: Some(0) };
    let bound = |node: usize, ideas: serde_json::Value| {
        let look = |_: &str| Some(view(json!({"file": "/abs/y.mp4", "ideas": ideas.clone()})));
        let scope = Scope { params: &params, node: &look, item: None, index: None, matrix: None, run_id: "r", workspace: "/w" };
        bind::node_params(&definition.nodes[node], &definition.folder, &scope)
    };
    let completed = bound(0, json!([])).expect("good parameters");
    assert_eq!(completed.value["count"], 12);
    assert_eq!(completed.defaulted, ["/count"]);
    if cfg!(unix) {
        assert_eq!(completed.value["input"], "/in/x.mp4");
        assert_eq!(bound(1, json!([1, 2])).expect("good parameters").value, json!({"input": "/abs/y.mp4", "count": 2}));
    }
    let wrong = bound(1, json!([])).expect_err("count is 0").into_iter().next().expect("one mistake");
    assert_eq!(wrong.pointer.as_deref(), Some("/count"));
    assert_snapshot!(wrong.message, @"`b`: `count` must be at least 1, not `0`");
    assert_snapshot!(bound(1, json!(3)).expect_err("no length"), @"p.json:2:94: `nodes.a.outputs.ideas | length` failed: invalid operation: cannot calculate length of value of type number");
}

#[test]
fn all_mistakes_come_at_once_and_in_order() {
    assert_snapshot!(workspace().refused(r#"{
  "nmae": "x",
  "on_failure": "halt",
  "params": {"properties": {"topic": {"type": "string"}}},
  "outputs": {"r": "${{ nodes.cuts.outputs.file }}", "s": "${{ item }}"},
  "nodes": {
    "fetch-feed": {"module": "noop"},
    "a": {"module": "ct", "with": {"x": 1}},
    "b": {"module": "cut", "with": {"count": 0, "inptu": "x"}},
    "c": {"module": "cut", "with": {"input": "${{ params.topc }}", "count": "many"}, "needs": ["b", "z"]},
    "d": {"module": "noop", "neds": [], "priority": 3, "concurrency": 1},
    "e": {"module": "noop", "pipeline": "x.yaml"},
    "f": {},
    "g": [],
    "h": {"module": "noop", "with": {"x": "${{ item.y }}"}, "when": "nodes.b.count", "max_parallel": 2},
    "i": {"module": "cut", "with": {"input": "${{ nodes.b.outputs.fil }}"}, "foreach": "${{ item }}"}
  }
}"#), @r##"
    p.json:2:3: unknown field `nmae` (help: did you mean `name`?)
    p.json:3:17: `on_failure` cannot be "halt" (help: known are `continue`, `stop`)
    p.json:5:25: there is no node `cuts` (help: known are `fetch-feed`, `a`, `b`, `c`, `d`, `e`, `f`, `g`, `h`, `i`)
    p.json:5:64: `item` does not exist here (help: `item` exists in a node with `foreach`, outside its own list)
    p.json:7:5: node id `fetch-feed` holds a dash, and `nodes.fetch-feed` would be a subtraction (help: write `fetch_feed`)
    p.json:8:21: there is no module `ct` (help: did you mean `cut`?)
    p.json:9:37: `b`: `input` is missing
    p.json:9:46: `b`: `count` must be at least 1, not `0`
    p.json:9:49: `b`: unknown parameter `inptu` (help: did you mean `input`?)
    p.json:10:51: the pipeline has no parameter `topc` (help: did you mean `topic`?)
    p.json:10:77: `c`: `count` must be a whole number, not the text "many"
    p.json:10:101: there is no node `z` (help: known are `fetch-feed`, `a`, `b`, `c`, `d`, `e`, `f`, `g`, `h`, `i`)
    p.json:11:29: unknown field `neds` (help: did you mean `needs`?)
    p.json:11:53: `priority` must be one of `high`, `normal`, `low`, not `3`
    p.json:11:56: `concurrency` stands in a module's manifest, not in a node
    p.json:12:41: node `e` has both `module` and `pipeline` (help: a node runs one of them)
    p.json:13:5: node `f` does not say what it runs (help: give it `module: ID` or `pipeline: FILE`)
    p.json:14:5: node `g` must be a map, not a list (help: write at least `module: ID`)
    p.json:15:38: `h`: unknown parameter `x` (help: there are no parameters here)
    p.json:15:48: `item` does not exist here (help: `item` exists in a node with `foreach`, outside its own list)
    p.json:15:69: an expression is expected here, not text (help: write `${{ nodes.b.count }}`)
    p.json:15:102: `max_parallel` has no effect on a single node (help: it limits the instances of `foreach` or `matrix`)
    p.json:16:51: module `cut` reports no `fil` (help: did you mean `file`?)
    p.json:16:93: `item` does not exist here (help: `item` exists in a node with `foreach`, outside its own list)
    "##);
}

#[test]
fn modules_that_cannot_run_say_why() {
    let mut workspace = workspace().with_broken("half");
    let mut off = module("off", "", "");
    off.enabled = false;
    workspace.modules.insert("off".into(), Arc::new(off));
    let text = nodes(
        r#""a": {"module": "off"}, "b": {"module": "half"}, "c": {"module": "noop.yaml"}, "d": {"module": 3}, "e": {"module": "nop"}"#,
    );
    assert_snapshot!(workspace.refused(&text), @r##"
    p.json:1:85: module `off` is switched off (help: its manifest says `enabled: false`)
    p.json:1:109: module `half` is broken (help: its manifest is /w/manifests/half.yaml; `prismq validate` says what is wrong with it)
    p.json:1:134: there is no module `noop.yaml` (help: a pipeline's file is called by `pipeline: noop.yaml`)
    p.json:1:164: `module` must be the id of a module, not a number
    p.json:1:184: there is no module `nop` (help: did you mean `noop`?)
    "##);
    assert_snapshot!(Workspace::default().refused(r#"{"nodes": {"a": {"module": "b"}}}"#), @"p.json:1:28: there is no module `b` (help: the workspace has no modules: put manifests under `manifests/`)");
}

#[test]
fn files_that_are_no_pipelines_are_refused() {
    assert_snapshot!(workspace().refused("[]"), @"p.json:1:1: a pipeline must be a map, not a list");
    assert_snapshot!(workspace().refused("{}"), @"p.json:1:1: a pipeline needs `nodes`");
    assert_snapshot!(workspace().refused(r#"{"nodes": {}, "format": 2, "schedule": {}}"#), @r##"
    p.json:1:11: `nodes` must be a map of at least one node, not an empty map
    p.json:1:25: this version of prismq reads `format: 1` only
    p.json:1:28: `schedule` is not built yet: it comes with Patterns (help: leave it out; nothing is accepted and then ignored)
    "##);
    assert_snapshot!(workspace().refused(r#"{"nodes": []}"#), @"p.json:1:11: `nodes` must be a map of at least one node, not a list");
    assert_snapshot!(workspace().refused(r#"{"nodes": {"a": {"module": "noop"}, "a": {"module": "noop"}}, "outputs": []}"#), @r##"
    p.json:1:37: node `a` is declared twice
    p.json:1:74: `outputs` must be a map, not a list (help: write `name: ${{ nodes.ID.outputs.name }}`)
    "##);
}

/// F-67: circles are named with the place of every edge; a node that needs itself; a node that does not exist.
#[test]
fn circles_are_named_with_their_places() {
    let text = "{\"nodes\": {\n\"a\": {\"module\": \"noop\", \"needs\": \"c\"},\n\"b\": {\"module\": \"noop\", \"needs\": [\"a\"]},\n\"c\": {\"module\": \"noop\", \"with\": {\"x\": \"${{ nodes.b.status }}\"}}}}";
    let any = module("noop", r#"{"properties": {"x": {}}}"#, "");
    let refused = Workspace::of([any]).compile(text).map(|_| ()).expect_err("a circle");
    let found = refused.iter().next().expect("one finding");
    assert_snapshot!(found, @"p.json:3:35: these 3 nodes wait for each other: a -> b -> c -> a (help: take one of these dependencies out)");
    let related: Vec<String> = found.related.iter().map(|(what, place)| format!("{place}: {what}")).collect();
    assert_snapshot!(related.join("\n"), @r##"
    p.json:4:44: `c` needs `b`
    p.json:2:34: `a` needs `c`
    "##);
    assert_snapshot!(self::refused(r#""a": {"module": "noop", "needs": "a"}"#), @"p.json:1:102: `a` needs itself (help: take one of these dependencies out)");
    assert_snapshot!(self::refused(r#""abc": {"module": "noop"}, "b": {"module": "noop", "needs": ["abd", 3]}"#), @r##"
    p.json:1:130: there is no node `abd` (help: did you mean `abc`?)
    p.json:1:137: `needs` names nodes, and this is a number (help: write an id, or a list of ids)
    "##);
}

#[test]
fn references_to_outputs_are_checked_down_to_the_module() {
    let workspace = workspace()
        .file("/w/sub/clip.json", r#"{"outputs": {"f": "${{ nodes.c.outputs.file }}", "all": "${{ nodes.c.outputs }}", "k": {"x": 1}}, "params": {"properties": {"idea": {}}, "required": ["idea"]}, "nodes": {"c": {"module": "cut", "with": {"input": "${{ params.idea }}"}}}}"#)
        .file("/w/silent.json", r#"{"nodes": {"c": {"module": "noop"}}}"#);
    let ok = r#""s": {"pipeline": "sub/clip.json", "with": {"idea": 1}}, "m": {"pipeline": "sub/clip.json", "foreach": [1, 2], "with": {"idea": "${{ item }}"}}, "#;
    let with = |path: &str| {
        nodes(&format!(
            r#"{ok}"q": {{"pipeline": "silent.json"}}, "z": {{"module": "cut", "with": {{"input": "${{{{ nodes.{path} }}}}"}}}}"#
        ))
    };
    for good in [
        "s.outputs.f",
        "s.outputs.all.file",
        "s.outputs.all.ideas[0].id",
        "m.outputs[1].f",
        "m.outputs | length",
        "s.outputs.k.x",
        "q.outputs",
        "m.count",
    ] {
        workspace.good(&with(good));
    }
    let mut found = Vec::new();
    for bad in [
        "s.outputs.g",
        "s.outputs.all.fil",
        "s.outputs.all.ideas[0].idd",
        "s.outputs.f.x",
        "m.outputs.f",
        "m.outputs[1].g",
        "q.outputs.x",
        "s.outputs[0]",
    ] {
        found.push(workspace.refused(&with(bad)));
    }
    assert_snapshot!(found.join("\n"), @r##"
    p.json:1:294: pipeline `clip` reports no `g` (help: known are `f`, `all`, `k`)
    p.json:1:294: module `cut` reports no `fil` (help: did you mean `file`?)
    p.json:1:294: `nodes.c.outputs.ideas[0]` has no `idd` (help: did you mean `id`?)
    p.json:1:294: `nodes.c.outputs.file` is of type string, it has no `x`
    p.json:1:294: the outputs of `m` are a list, one entry for each instance (help: write `nodes.m.outputs[0].f`, or `nodes.m.outputs | map(attribute='f') | list`)
    p.json:1:294: pipeline `clip` reports no `g` (help: known are `f`, `all`, `k`)
    p.json:1:294: pipeline `silent` has no `outputs`, so there is no `x` (help: say under `outputs` of its file what it reports)
    p.json:1:294: the outputs of `s` are an object, not a list
    "##);
}

#[test]
fn sub_pipelines_are_compiled_once_and_their_mistakes_stand_in_their_file() {
    let workspace = workspace()
        .file("/w/sub/a.json", r#"{"params": {"required": ["n"], "properties": {"n": {"type": "integer"}}}, "nodes": {"x": {"module": "noop", "with": {"q": 1}}}}"#)
        .file("/w/ok.json", r#"{"params": {"required": ["n"], "properties": {"n": {"type": "integer"}}}, "nodes": {"x": {"module": "noop"}}}"#);
    let text = nodes(
        r#""a": {"pipeline": "sub/a.json"}, "b": {"pipeline": "./sub/../sub/a.json"}, "c": {"pipeline": "gone.json"}, "d": {"pipeline": 3},
           "e": {"pipeline": "ok.json"}, "f": {"pipeline": "ok.json", "with": {"n": "x"}, "timeout": "3s"}"#,
    );
    assert_snapshot!(workspace.refused(&text), @r##"
    a.json:1:118: `x`: unknown parameter `q` (help: there are no parameters here)
    p.json:1:162: /w/gone.json does not exist
    p.json:1:194: `pipeline` must be the path of a pipeline's file, not a number
    p.json:2:12: `e`: `n` is missing
    p.json:2:85: `f`: `n` must be a whole number, not the text "x"
    p.json:2:91: `timeout` has no effect on a node that calls a pipeline (help: give it to the nodes inside)
    "##);
    let good = workspace.good(&nodes(r#""e": {"pipeline": "ok.json", "with": {"n": 1}}, "f": {"pipeline": "ok.json", "with": {"n": 2}}"#));
    let (Work::Pipeline(one), Work::Pipeline(two)) = (&good.nodes[0].work, &good.nodes[1].work) else { panic!("pipelines") };
    assert!(Arc::ptr_eq(one, two));
    assert_eq!(one.name, "ok");
}

#[test]
fn pipelines_that_call_each_other_are_refused_with_the_chain() {
    let workspace = workspace()
        .file("/w/a.json", r#"{"nodes": {"x": {"pipeline": "b.json"}}}"#)
        .file("/w/b.json", r#"{"nodes": {"x": {"pipeline": "a.json"}}}"#)
        .file("/w/p.json", r#"{"nodes": {"x": {"pipeline": "p.json"}}}"#);
    assert_snapshot!(workspace.refused(r#"{"nodes": {"x": {"pipeline": "a.json"}}}"#), @"b.json:1:30: pipelines call each other without end: a.json -> b.json -> a.json");
    assert_snapshot!(workspace.refused(r#"{"nodes": {"x": {"pipeline": "p.json"}}}"#), @"p.json:1:30: pipelines call each other without end: p.json -> p.json");
    let deep = (0..40).fold(self::workspace(), |workspace, at| {
        workspace.file(&format!("/w/d{at}.json"), &format!(r#"{{"nodes": {{"x": {{"pipeline": "d{}.json"}}}}}}"#, at + 1))
    });
    assert_snapshot!(deep.refused(r#"{"nodes": {"x": {"pipeline": "d0.json"}}}"#), @"d30.json:1:30: pipelines are nested deeper than 32 levels");
}

#[test]
fn what_expands_is_checked() {
    assert_snapshot!(refused(
        r#""a": {"module": "noop", "matrix": {"x": [1]}, "foreach": [1]},
           "b": {"module": "noop", "matrix": {}},
           "c": {"module": "noop", "matrix": {"x": [], "y": 3, "a-b": [1], "z": ["${{ params.topic }}"]}},
           "d": {"module": "noop", "foreach": "abc"},
           "e": {"module": "noop", "foreach": {"a": 1}},
           "f": {"module": "cut", "matrix": {"x": ["1"]}, "with": {"input": "${{ item }}${{ matrix.x }}"}},
           "g": {"module": "noop", "foreach": [1], "max_parallel": 0, "allow_failure": "no"}"#
    ), @r##"
    p.json:1:126: a node has either `matrix` or `foreach` (help: put the `foreach` around a sub-pipeline with the `matrix`)
    p.json:2:46: `matrix` must be a map of lists (help: write `matrix: {name: [value, value]}`)
    p.json:3:52: `x` in `matrix` must be a list of at least one value (help: its values are known before the run; for a list that a node or a parameter brings there is `foreach`)
    p.json:3:61: `y` in `matrix` must be a list of at least one value (help: its values are known before the run; for a list that a node or a parameter brings there is `foreach`)
    p.json:3:64: `matrix.a-b` would be no name in an expression (help: write `a_b`)
    p.json:3:81: `z` in `matrix` holds an expression (help: the values of a matrix are known before the run; for others there is `foreach`)
    p.json:4:47: an expression is expected here, not text (help: write `${{ abc }}`)
    p.json:5:47: an expression is expected here, not a map (help: write one `${{ ... }}` with nothing around it)
    p.json:6:82: `item` does not exist here (help: `item` exists in a node with `foreach`, outside its own list)
    p.json:7:68: `max_parallel` must be a whole number from 1
    p.json:7:88: `allow_failure` must be `true` or `false`
    "##);
    let definition = workspace().good(&nodes(
        r#""m": {"module": "cut", "matrix": {"lr": [0.1, 0.01], "size": ["s", "m"]}, "with": {"input": "${{ matrix.size }}${{ index }}"}}"#,
    ));
    let Some(Expansion::Matrix(matrix)) = &definition.nodes[0].control.as_ref().expect("some").expansion else { panic!("a matrix") };
    assert_eq!(matrix.count(), Some(4));
    assert_eq!(matrix.combination(1), json!({"lr": 0.1, "size": "m"}));
}

/// A-44 and F-67: what would be more than a million nodes is refused before anything is made of it.
#[test]
fn fan_out_bombs_are_refused() {
    let list = |count: usize| format!("[{}]", vec!["1"; count].join(","));
    let matrix = |a: usize, b: usize| format!(r#""m": {{"module": "noop", "matrix": {{"a": {}, "b": {}}}}}"#, list(a), list(b));
    assert_snapshot!(refused(&matrix(1001, 1000)), @"p.json:1:104: `matrix` makes 1001 x 1000 nodes; a run has at most 1000000");
    workspace().good(&nodes(&matrix(1000, 1000)));
    assert_snapshot!(refused(&(matrix(1000, 1000) + r#", "z": {"module": "noop"}"#)), @"p.json:1:59: with its instances and sub-pipelines, the pipeline has 1000001 nodes; a run has at most 1000000");
    let wide = format!(r#"{{"nodes": {{"x": {{"module": "noop", "foreach": {}}}}}}}"#, list(1001));
    let inner = workspace().file("/w/wide.json", &wide);
    assert_snapshot!(inner.refused(&nodes(&format!(r#""f": {{"pipeline": "wide.json", "foreach": {}}}"#, list(1000)))), @"p.json:1:59: with its instances and sub-pipelines, the pipeline has 1002000 nodes; a run has at most 1000000");
    // 2^40 calls: each file calls the next one twice.
    let doubling = (0..30).fold(workspace(), |workspace, at| {
        let next = format!("d{}.json", at + 1);
        let inner = if at == 29 { r#""module": "noop""#.to_owned() } else { format!(r#""pipeline": "{next}""#) };
        workspace.file(&format!("/w/d{at}.json"), &format!(r#"{{"nodes": {{"x": {{{inner}}}, "y": {{{inner}}}}}}}"#))
    });
    assert!(doubling.refused(r#"{"nodes": {"x": {"pipeline": "d0.json"}}}"#).contains("a run has at most 1000000"));
    let many: Vec<String> = vec![r#""n":{"module":"noop"}"#.to_owned(); 1_000_001];
    assert_snapshot!(refused(&many.join(",")), @"p.json:1:59: the pipeline has 1000001 nodes, a run at most 1000000");
}

#[test]
fn dependencies_of_modules_become_edges() {
    let workspace = workspace();
    let one = workspace.good(&nodes(r#""a": {"module": "needs-noop"}, "b": {"module": "noop"}"#));
    assert_eq!(one.graph.dependencies.of(0), [1]);
    let (none, notes) = workspace.compile(&nodes(r#""a": {"module": "needs-noop"}, "b": {"module": "needs-noop"}"#)).expect("a note only");
    assert!(none.graph.dependencies.targets.is_empty());
    assert_snapshot!(notes, @"p.json:1:69: module `needs-noop` depends on `noop`, which no node of this pipeline runs");
    assert_snapshot!(refused(r#""a": {"module": "needs-noop"}, "b": {"module": "noop"}, "c": {"module": "noop"}"#), @"p.json:1:69: module `needs-noop` depends on `noop`, which 2 nodes run (help: name the one that `a` waits for, such as `needs: [b]`)");
    let named = workspace.good(&nodes(r#""a": {"module": "needs-noop", "needs": "c"}, "b": {"module": "noop"}, "c": {"module": "noop"}"#));
    assert_eq!(named.graph.dependencies.of(0), [2]);
}

#[test]
fn a_thousand_mistakes_do_not_become_a_million() {
    let many: Vec<String> = (0..20_000).map(|at| format!(r#""n{at}":{{"module":"noop","needs":"m{at}"}}"#)).collect();
    let refused = workspace().compile(&nodes(&many.join(","))).map(|_| ()).expect_err("mistakes");
    assert!(refused.len() < 1_100, "{}", refused.len());
    assert!(refused.iter().any(|one| one.message.starts_with("there are more mistakes")));
}

#[test]
fn a_long_chain_is_compiled_without_recursion() {
    let many: Vec<String> = (0..100_000).map(|at| format!(r#""n{at}":{{"module":"noop","needs":["n{}"]}}"#, at + 1)).collect();
    let text = nodes(&(many.join(",") + r#","n100000":{"module":"noop"}"#));
    let definition = workspace().good(&text);
    assert_eq!(definition.graph.order[0], 100_000);
    let circle = nodes(&(many.join(",") + r#","n100000":{"module":"noop","needs":"n0"}"#));
    assert!(workspace().refused(&circle).contains("these 100001 nodes wait for each other"));
}

#[test]
fn nodes_override_their_modules_manifest() {
    let definition = workspace().good(&nodes(
        r#""a": {"module": "noop", "timeout": "30s", "resources": {"memory": "2GiB"}}, "b": {"module": "noop", "resources": {"memory": "2GiB"}, "timeout": "30s"},
           "c": {"module": "noop", "isolation": "direct"}, "d": {"module": "noop", "isolation": "wrapped"}"#,
    ));
    let settings: Vec<_> = definition.nodes.iter().map(|node| &node.settings).collect();
    assert_eq!(settings[0].timeout, Some(crate::units::DurationMs(30_000)));
    assert_eq!(settings[0].request.memory, crate::units::Bytes(2 << 30));
    assert!(Arc::ptr_eq(settings[0], settings[1]), "the same settings are held once");
    assert_eq!(settings[2].isolation, crate::request::Isolation::Direct);
    let Work::Module(noop) = &definition.nodes[3].work else { panic!("a module") };
    assert!(Arc::ptr_eq(settings[3], &noop.settings), "what changes nothing is not held at all");
    assert_snapshot!(refused(r#""a": {"module": "noop", "timeout": "30", "retry": {"attemps": 2}, "isolation": "none"}"#), @r##"
    p.json:1:104: `timeout`: `30` is not a duration: write a number with ms, s, m, h or d, such as `30s` or `1h30m`
    p.json:1:120: unknown field `attemps` (help: did you mean `attempts`?)
    p.json:1:148: `isolation` cannot be "none" (help: known are `wrapped`, `direct`)
    "##);
    assert_snapshot!(
        refused(
            r#""a": {"module": "noop", "isolation": "direct", "leaks": "allow"}, "b": {"module": "noop", "capture": "raw", "log_cap": "1MB"},
               "c": {"module": "noop", "log_cap": "1kB"}, "d": {"pipeline": "s.json", "capture": "raw"}"#
        ),
        @r"
    p.json:1:116: `leaks: allow` needs the wrapper, which knows what was left: `isolation: direct` goes without it (help: write `isolation: wrapped`, or `leaks: end`)
    p.json:1:177: `capture: raw` cannot have a `log_cap`: the module writes its log files itself (help: write `log_cap: null` to keep everything, or `capture: pump`)
    p.json:2:51: `log_cap` is at least 64 KiB (help: write `log_cap: null` to keep everything)
    p.json:2:77: /w/s.json does not exist
    p.json:2:87: `capture` has no effect on a node that calls a pipeline (help: give it to the nodes inside)
    "
    );
}

fn anything() -> impl Strategy<Value = serde_json::Value> {
    let texts = ["noop", "cut", "a", "b", "${{ item }}", "${{ nodes.a.outputs.file }}", "${{ params.topic", "continue", "s.json", "1s", ""];
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        (-2_i64..3).prop_map(|number| json!(number)),
        prop::sample::select(texts.to_vec()).prop_map(|text| json!(text)),
    ];
    let keys = [
        "nodes",
        "a",
        "b",
        "module",
        "pipeline",
        "with",
        "needs",
        "when",
        "matrix",
        "foreach",
        "params",
        "outputs",
        "properties",
        "x-y",
        "input",
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::Array),
            prop::collection::vec((prop::sample::select(keys.to_vec()), inner), 0..6)
                .prop_map(|entries| entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    /// Bad input of any shape is refused with places, and never a panic.
    #[test]
    fn no_document_makes_it_panic(nodes in prop::collection::vec(anything(), 0..4), rest in anything()) {
        let workspace = workspace().file("/w/s.json", &rest.to_string());
        let nodes: serde_json::Map<_, _> = nodes.into_iter().zip(["a", "b", "c", "d"]).map(|(node, id)| (id.to_owned(), node)).collect();
        let text = json!({"nodes": nodes, "outputs": rest}).to_string();
        for text in [text, rest.to_string()] {
            if let Err(found) = workspace.compile(&text) {
                prop_assert!(found.has_errors());
                prop_assert!(found.iter().all(|one| one.place.is_some()), "{}", found);
            }
        }
    }
}
