use std::sync::Arc;

use insta::assert_snapshot;
use proptest::strategy::Strategy;
use serde_json::{Value, json};

use super::*;
use crate::pipeline::testing::tree;

fn compile(value: &str) -> (Template, Diagnostics) {
    let tree = tree(value);
    let mut diagnostics = Diagnostics::new();
    (Template::compile(tree.root(), &mut diagnostics), diagnostics)
}

fn good(value: &str) -> Template {
    let (template, diagnostics) = compile(value);
    assert!(diagnostics.is_empty(), "{diagnostics}");
    template
}

fn refused(value: &str) -> String {
    let (_, diagnostics) = compile(value);
    assert!(diagnostics.has_errors(), "{value} was accepted");
    diagnostics.to_string()
}

fn view(id: &str) -> Option<NodeView> {
    let (outputs, status, count) = match id {
        "a" => (json!({"file": "x.txt", "n": 3, "list": [1, 2.5, "z"], "deep": {"b": 1, "a": [true, null]}}), "completed", 1),
        "many" => (json!([{"s": 1}, {"s": 2}, null]), "completed", 3),
        "bad" => (Value::Null, "failed", 1),
        _ => return None,
    };
    Some(NodeView { outputs: Arc::new(outputs), status, count, exit_code: (id == "bad").then_some(7) })
}

fn evaluate(value: &str) -> Result<Value, String> {
    let params = json!({"topic": "science", "count": 12, "none": null, "tags": ["x", "y"], "big": 18_446_744_073_709_551_615_u64});
    let (item, matrix) = (json!({"id": 1, "name": "é"}), json!({"lr": 0.1}));
    let scope = Scope {
        params: &params,
        node: &view,
        item: Some(&item),
        index: Some(4),
        matrix: Some(&matrix),
        run_id: "20260101-000000-00000",
        workspace: "/w",
    };
    good(value).evaluate(&scope).map_err(|diagnostics| diagnostics.to_string())
}

fn value(text: &str) -> Value {
    evaluate(&Value::String(text.into()).to_string()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn fails(text: &str) -> String {
    evaluate(&Value::String(text.into()).to_string()).expect_err(text)
}

#[test]
fn a_whole_value_keeps_its_type() {
    assert_eq!(value("${{ params.count }}"), json!(12));
    assert_eq!(value("${{ params.big }}"), json!(18_446_744_073_709_551_615_u64));
    assert_eq!(value("${{ nodes.a.outputs.list }}"), json!([1, 2.5, "z"]));
    assert_eq!(value("${{ nodes.a.outputs.deep }}").to_string(), r#"{"b":1,"a":[true,null]}"#);
    assert_eq!(value("${{ params.none }}"), Value::Null);
    assert_eq!(value("${{ params.count + 1 }}"), json!(13));
    assert_eq!(value("${{ params.count / 8 }}"), json!(1.5));
    assert_eq!(value("${{ nodes.a.outputs.list[1:] }}"), json!([2.5, "z"]));
    assert_eq!(value("${{ {'k': nodes.a.outputs.deep, 'l': [item.id]} }}"), json!({"k": {"b": 1, "a": [true, null]}, "l": [1]}));
    assert_eq!(value("${{ matrix.lr }}"), json!(0.1));
    assert_eq!(value("${{ index }}"), json!(4));
    assert_eq!(value("${{ run.id }}"), json!("20260101-000000-00000"));
    assert_eq!(value("${{ params }}")["topic"], "science");
    assert_eq!(value("${{ nodes.bad.exit_code }}"), json!(7));
    assert_eq!(value("${{ nodes.a.exit_code }}"), Value::Null);
    assert_eq!(value("${{ range(3) | list }}"), json!([0, 1, 2]));
}

#[test]
fn text_around_an_expression_makes_text() {
    assert_eq!(value("<${{ params.count }}|${{ params.topic }}|${{ nodes.a.outputs.list }}>"), json!(r#"<12|science|[1,2.5,"z"]>"#));
    assert_eq!(value("${{ workspace }}/$${{ x }}"), json!("/w/${{ x }}"));
    assert_eq!(value("$${{ x }}"), json!("${{ x }}"));
    assert_eq!(value(" ${{ item.name }}"), json!(" é"));
    assert_eq!(value("${{ '}}' }}"), json!("}}"));
}

#[test]
fn views_behave_like_the_values_they_show() {
    assert_eq!(value("${{ nodes.many.outputs | map(attribute='s') | first }}"), json!(1));
    assert_eq!(value("${{ nodes.a.outputs.list | length }}"), json!(3));
    assert_eq!(value("${{ nodes.a.outputs.deep | items | first | first }}"), json!("b"));
    assert_eq!(value("${{ params.tags | join(',') }}"), json!("x,y"));
    assert_eq!(value("${{ params.tags + ['z'] }}"), json!(["x", "y", "z"]));
    assert_eq!(value("${{ params.tags == ['x', 'y'] }}"), json!(true));
    assert_eq!(value("${{ params.tags == params.tags }}"), json!(true));
    assert_eq!(value("${{ 'b' in nodes.a.outputs.deep }}"), json!(true));
    assert_eq!(value("${{ nodes.a.outputs.list[index - 2] }}"), json!("z"));
    assert_eq!(value("${{ nodes.a.outputs.list[-1] }}"), json!("z"));
    assert_eq!(value("${{ nodes.a.outputs['file'] | upper }}"), json!("X.TXT"));
    assert_eq!(value("${{ nodes.a.outputs.deep | tojson }}"), json!(r#"{"b": 1, "a": [true, null]}"#));
    assert_eq!(value("${{ nodes.a.outputs.gone | default('d') }}"), json!("d"));
    assert_eq!(value("${{ nodes.a.outputs.gone is defined }}"), json!(false));
    assert_eq!(value("${{ params.count > 3 and nodes.bad.status == 'failed' }}"), json!(true));
    assert_eq!(value("${{ 'yes' if params.none is none else 'no' }}"), json!("yes"));
}

#[test]
fn what_is_undefined_at_run_time_says_what_there_is() {
    assert_snapshot!(fails("${{ nodes.a.outputs.fil }}"),
        @"p.json:1:2: `nodes.a.outputs.fil` is not defined: `nodes.a.outputs` has no `fil` (help: did you mean `file`?)");
    assert_snapshot!(fails("x ${{ 1 + params.cuont }}"),
        @"p.json:1:12: `params.cuont` is not defined: `params` has no `cuont` (help: did you mean `count`?)");
    assert_snapshot!(fails("${{ nodes.bad.outputs.x }}"), @"p.json:1:2: `nodes.bad.outputs.x` is not defined: `nodes.bad.outputs` is null");
    assert_snapshot!(fails("${{ nodes.a.outputs.list[3] }}"),
        @"p.json:1:2: `nodes.a.outputs.list[3]` is not defined: `nodes.a.outputs.list` has 3 items, counted from 0");
    assert_snapshot!(fails("${{ nodes.many.outputs.s }}"),
        @"p.json:1:2: `nodes.many.outputs.s` is not defined: `nodes.many.outputs` is a list (help: take one of its 3 items, or `nodes.many.outputs | map(attribute='s') | list`)");
    assert_snapshot!(fails("${{ {'a': params.x} }}"), @"p.json:1:2: `{'a': params.x}` has no value that can be passed on: a part of it is not defined");
    assert_snapshot!(fails("${{ params.topic * 1.5 }}"), @"p.json:1:2: `params.topic * 1.5` failed: invalid operation: strings can only be multiplied with integers");
    assert_snapshot!(fails("${{ 1 / 0 }}"), @"p.json:1:2: `1 / 0` failed: invalid operation: unable to calculate 1 / 0");
}

#[test]
fn all_mistakes_of_a_value_come_at_once() {
    let all = evaluate(r#"{"a": "${{ params.a }}", "b": ["${{ params.b }} and ${{ item.c }}"], "d": 1}"#).expect_err("three mistakes");
    assert_eq!(all.lines().count(), 3, "{all}");
}

#[test]
fn unknown_names_are_found_at_compile_time() {
    assert_snapshot!(refused(r#""${{ param.x }}""#), @"p.json:1:6: unknown name `param` (help: did you mean `params`?)");
    assert_snapshot!(refused(r#""${{ nodes }}""#), @"p.json:1:6: `nodes` must be followed by the id of a node, written out (help: which nodes an expression refers to must be known before the run: write `nodes.ID.outputs`)");
    assert_snapshot!(refused(r#""${{ nodes[params.x].outputs }}""#), @"p.json:1:6: `nodes` must be followed by the id of a node, written out (help: which nodes an expression refers to must be known before the run: write `nodes.ID.outputs`)");
    assert_snapshot!(refused(r#""${{ nodes.a }}""#), @"p.json:1:6: `nodes.a` is not a value by itself (help: write `nodes.ID.outputs`, `nodes.ID.status`, `nodes.ID.count` or `nodes.ID.exit_code`)");
    assert_snapshot!(refused(r#""${{ nodes.a.output.x }}""#), @"p.json:1:6: a node has no `output`: `nodes.a.output` (help: did you mean `outputs`?)");
    assert_snapshot!(refused(r#""${{ nodes['a-b'].outputs }}""#), @"p.json:1:6: node id `a-b` holds a dash, and `nodes.a-b` would be a subtraction (help: write `a_b`)");
    assert_snapshot!(refused(r#""${{ run.name }}""#), @"p.json:1:6: of `run`, expressions see only its id (help: write `run.id`)");
    assert_snapshot!(refused(r#""${{ params.x | lenght }}""#), @"p.json:1:17: unknown filter `lenght` (help: did you mean `length`?)");
    assert_snapshot!(refused(r#""${{ params.x is definde }}""#), @"p.json:1:18: unknown test `definde` (help: did you mean `defined`?)");
    assert_snapshot!(refused(r#""${{ open('x') }}""#), @"p.json:1:6: unknown function `open` (help: known are `range`, `dict`)");
    assert_snapshot!(refused(r#""${{ params.x + }}""#), @"p.json:1:2: `params.x +` is not an expression: unexpected end of input, expected expression");
    assert_snapshot!(refused(r#""a ${{ }}""#), @"p.json:1:4: an empty expression (help: write `$${{` for the characters themselves)");
    assert_snapshot!(refused(r#""a ${{ params.x""#), @"p.json:1:4: `${{` is not closed (help: close it with `}}`, or write `$${{` for the characters themselves)");
    assert_snapshot!(refused(r#"{"${{ params.x }}": 1}"#), @"p.json:1:2: an expression cannot stand in a key, here `${{ params.x }}` (help: expressions stand in values; a key is taken as it is)");
}

#[test]
fn the_place_is_that_of_the_reference_in_the_file() {
    assert!(refused("{\n  \"k\": \"é ${{ 1 + param.x }}\"\n}").starts_with("p.json:2:19: "));
    // An escaped text does not stand in the source as it is: the whole value is the place.
    assert!(refused(r#"{"k": "\t${{ param.x }}"}"#).starts_with("p.json:1:7: "));
}

fn referred(text: &str) -> Vec<String> {
    good(&Value::String(text.into()).to_string()).references().iter().map(ToString::to_string).collect()
}

#[test]
fn references_are_found_wherever_they_stand() {
    assert_eq!(referred("${{ nodes.a.outputs.x }}"), ["a"]);
    assert_eq!(referred("${{ nodes['a'].outputs[\"x\"] }}"), ["a"]);
    assert_eq!(referred("${{ nodes.a.outputs[nodes.b.count:nodes.c.count] }}"), ["a", "b", "c"]);
    assert_eq!(referred("${{ params.x[nodes.a.outputs.k] | default(nodes.b.outputs.d) }}"), ["a", "b"]);
    assert_eq!(referred("${{ 1 if nodes.a.status == 'failed' else nodes . b . outputs }}"), ["a", "b"]);
    assert_eq!(referred("${{ {'nodes': nodes.a.count, 'x': [nodes.b.count]} }}"), ["a", "b"]);
    assert_eq!(referred("${{ dict(nodes=nodes.a.count) }}"), ["a"]);
    assert_eq!(referred("${{ params.nodes.z }} ${{ 'nodes.z.outputs' }} ${{ nodes.a.count }}${{ nodes.a.status }}"), ["a"]);
    assert_eq!(referred("${{ not nodes.a.count is divisibleby nodes.b.count }}"), ["a", "b"]);
    assert_eq!(referred("${{ nodes.a.outputs.list.0.x + -nodes.b.outputs.f * 1.5e-3 }}"), ["a", "b"]);
    assert_eq!(referred("${{ params.x is not none and nodes.a.count in [1, 2] }}"), ["a"]);
}

#[test]
fn status_reads_and_output_paths_are_known() {
    let tree = tree(r#""${{ nodes.a.status == 'failed' or nodes.b.outputs.f['k'][-1] and nodes.a.count }}""#);
    let expression = Expression::compile(tree.root(), &mut Diagnostics::new()).expect("an expression");
    assert_eq!(expression.reads_status_of().iter().map(NodeId::as_str).collect::<Vec<_>>(), ["a"]);
    let used = expression.node_uses().nth(1).expect("the use of b");
    assert_eq!((used.id.as_str(), used.field), ("b", NodeField::Outputs));
    assert_eq!(used.path, [Step::Key("f".into()), Step::Key("k".into()), Step::Index(-1)]);
    assert_eq!(used.place.line_column(), (1, 36));
}

#[test]
fn names_exist_only_where_they_may() {
    let template = good(r#"["${{ item.x }}", "${{ matrix.y }}", "${{ index }}", "${{ nodes.a.count }}", "${{ params.x }}"]"#);
    let mut diagnostics = Diagnostics::new();
    template.check_names(Names::default(), &mut diagnostics);
    assert_eq!(diagnostics.len(), 4);
    assert_snapshot!(diagnostics.iter().next().expect("the first"), @"p.json:1:7: `item` does not exist here (help: `item` exists in a node with `foreach`, outside its own list)");
    let mut diagnostics = Diagnostics::new();
    template.check_names(Names { nodes: true, item: true, index: true, matrix: true }, &mut diagnostics);
    assert!(diagnostics.is_empty());
}

#[test]
fn a_when_must_be_one_expression() {
    let compiled = |value: &str| {
        let tree = tree(value);
        let mut diagnostics = Diagnostics::new();
        Expression::compile(tree.root(), &mut diagnostics);
        diagnostics.to_string()
    };
    assert_snapshot!(compiled(r#""nodes.a.count > 0""#), @"p.json:1:1: an expression is expected here, not text (help: write `${{ nodes.a.count > 0 }}`)");
    assert_snapshot!(compiled("true"), @"p.json:1:1: an expression is expected here, not a boolean (help: write one `${{ ... }}` with nothing around it)");
    assert_snapshot!(compiled(r#""x ${{ params.y }}""#), @"p.json:1:1: an expression is expected here, not text (help: write one `${{ ... }}` with nothing around it)");
    assert_eq!(compiled(r#""${{ true }}""#), "");
}

#[test]
fn truth_is_that_of_the_language() {
    let scope_params = json!({});
    let scope = Scope { params: &scope_params, node: &view, item: None, index: None, matrix: None, run_id: "", workspace: "" };
    let truth = |code: &str| {
        let tree = tree(&Value::String(format!("${{{{ {code} }}}}")).to_string());
        Expression::compile(tree.root(), &mut Diagnostics::new()).expect(code).is_true(&scope).expect(code)
    };
    assert!(["true", "1", "'x'", "[0]", "nodes.many.count > 0", "0.1"].into_iter().all(truth));
    assert!(!["false", "0", "0.0", "''", "[]", "{}", "none"].into_iter().any(truth));
}

/// A-rows of expressions: no way to the machine, no endless work.
#[test]
fn expressions_reach_nothing_and_end() {
    assert!(refused(r#""${{ self }}""#).contains("unknown name"));
    assert!(refused(r#""${{ debug() }}""#).contains("unknown function"));
    assert!(refused(r#""${{ namespace() }}""#).contains("unknown function"));
    assert!(fails("${{ 'x' * 1000000000000 }}").contains("too large"));
    assert!(fails("${{ (range(100000) | list) * 1000 }}").contains("2000000"));
    for half in [100, 2_000] {
        let deep = format!("\"${{{{ {}1{} }}}}\"", "(".repeat(half), ")".repeat(half));
        assert!(half == 100 && compile(&deep).1.is_empty() || refused(&deep).contains("is not an expression"));
    }
    let chain = "1".to_owned() + &"+1".repeat(2_000);
    assert_eq!(value(&format!("${{{{ {chain} }}}}")), json!(2_001));
    let not = "not ".repeat(1_000) + "1";
    assert!(compile(&format!("\"${{{{ {not} }}}}\"")).1.len() < 2);
    assert!(refused(&format!("\"${{{{ {chain}{chain}{chain} }}}}\"")).contains("at most 4096 bytes"));
}

#[test]
fn the_part_known_before_a_run_has_open_pointers() {
    let (known, open) = good(r#"{"a/b": ["x", "${{ params.q }}"], "c": 1, "d": "v${{ params.q }}"}"#).known();
    assert_eq!(known, json!({"a/b": ["x", null], "c": 1, "d": null}));
    assert_eq!(open, ["/a~1b/1", "/d"]);
}

#[test]
fn values_without_expressions_are_constants() {
    assert!(matches!(good(r#"{"a": [1, "x", {"b": null}]}"#), Template::Constant(_)));
    let (Template::Constant(one), Template::Constant(two)) = (good("{}"), good("{}")) else { panic!("constants") };
    assert!(Arc::ptr_eq(&one, &two));
}

#[test]
fn definitions_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Expression>();
    shared::<crate::pipeline::definition::Definition>();
}

/// One item of a long list is read without touching the others: each instance of a `foreach` does that.
#[test]
fn a_long_list_is_not_copied_to_read_one_item() {
    let items: Vec<Value> = (0..100_000).map(|number| json!({"n": number, "text": "x".repeat(20)})).collect();
    let outputs = Arc::new(json!({"list": items}));
    let look = |_: &str| Some(NodeView { outputs: outputs.clone(), status: "completed", count: 1, exit_code: None });
    let template =
        good(r#"["${{ nodes.a.outputs.list[index].n }}", "${{ nodes.a.outputs.list[7].n }}", "${{ nodes.a.outputs.list | length }}"]"#);
    let start = std::time::Instant::now();
    for index in 0..1_000 {
        let params = Value::Null;
        let scope = Scope { params: &params, node: &look, item: None, index: Some(index), matrix: None, run_id: "", workspace: "" };
        assert_eq!(template.evaluate(&scope).expect("values"), json!([index, 7, 100_000]));
    }
    // Copying would take a hundred million steps.
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in r#"(\$?\$\{\{|\}\}|[a-z]{1,6}|nodes|params|'|"|\\|[\[\](){}.|=<>!,:+*/%~é 0-9-]|is|not|if|else){0,24}"#) {
        let (template, diagnostics) = compile(&Value::String(text).to_string());
        if diagnostics.is_empty() {
            let params = json!({"a": [1, {"b": "c"}], "x": "y"});
            let scope = Scope { params: &params, node: &view, item: None, index: None, matrix: None, run_id: "r", workspace: "w" };
            let _ = template.evaluate(&scope);
        }
    }

    /// Whatever steps lead to a value, the path finds it, by our own way and by the language's.
    #[test]
    fn paths_find_what_is_there(steps in proptest::collection::vec(proptest::prop_oneof![
        "[a-z][a-z0-9_]{0,5}".prop_map(|key| Step::Key(key.into())),
        "[a-z -]{1,6}".prop_map(|key| Step::Key(key.into())),
        (-3_i64..3).prop_map(Step::Index),
    ], 1..6)) {
        let params = steps.iter().rev().fold(json!("found"), |inner, step| match step {
            Step::Key(key) => json!({&**key: inner}),
            Step::Index(index) => {
                let mut items = vec![Value::Null; 4];
                let at = usize::try_from(if *index < 0 { index + 4 } else { *index }).expect("in the list");
                items[at] = inner;
                Value::Array(items)
            }
        });
        let path = steps.iter().map(ToString::to_string).collect::<String>();
        for code in [format!("${{{{ params{path} }}}}"), format!("${{{{ (params{path}) }}}}")] {
            let scope = Scope { params: &params, node: &|_| None, item: None, index: None, matrix: None, run_id: "", workspace: "" };
            let value = good(&Value::String(code).to_string()).evaluate(&scope);
            proptest::prop_assert_eq!(value.map_err(|found| found.to_string()), Ok(json!("found")));
        }
    }
}
