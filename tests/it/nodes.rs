//! What nodes of a pipeline can do: many from one, conditions, failures, retries, limits.

use serde_json::{Value, json};

use crate::support::TestSpace;

/// Runs a pipeline and gives its `run.json`.
#[track_caller]
fn run(space: &TestSpace, pipeline: &str, code: i32) -> Value {
    space.write("p.yaml", pipeline);
    space.prismq(&["run", "p.yaml", "--json"]).ends(code).json()
}

/// Status of all nodes, in order.
fn statuses(file: &Value) -> Vec<String> {
    let nodes = file["nodes"].as_array().expect("nodes");
    nodes.iter().map(|node| format!("{}={}", node["node"].as_str().unwrap_or("?"), node["status"].as_str().unwrap_or("?"))).collect()
}

fn node<'a>(file: &'a Value, path: &str) -> &'a Value {
    let nodes = file["nodes"].as_array().expect("nodes");
    nodes.iter().find(|node| node["node"] == path).unwrap_or_else(|| panic!("there is no node {path} in {:?}", statuses(file)))
}

fn reason(file: &Value, path: &str) -> String {
    node(file, path)["reason"].as_str().unwrap_or_default().to_owned()
}

fn with_modules() -> TestSpace {
    let space = TestSpace::new();
    space.module(
        "list",
        "params: {properties: {n: {type: integer}}}\noutputs: {properties: {items: {type: array}}}",
        "out(items=list(range(P['n'])))",
    );
    let value = "params: {properties: {v: {}, bad: {}}}\noutputs: {properties: {v: {}}}";
    space.module("value", value, "mark('order', NODE)\nif P.get('bad') == P.get('v') and 'bad' in P: sys.exit(9)\nout(v=P.get('v'))");
    space
}

#[test]
fn foreach_collects_in_order_with_null_for_what_failed() {
    let space = with_modules();
    let file = run(
        &space,
        r#"
outputs: {all: "${{ nodes.each.outputs }}", count: "${{ nodes.each.count }}"}
nodes:
  list: {module: list, with: {n: 4}}
  each:
    module: value
    foreach: ${{ nodes.list.outputs['items'] }}
    with: {v: "${{ item * 10 + index }}", bad: 22}
    allow_failure: true
  after: {module: value, with: {v: "${{ nodes.each.outputs | length }}"}}
"#,
        0,
    );
    assert_eq!(file["outputs"], json!({"all": [{"v": 0}, {"v": 11}, null, {"v": 33}], "count": 4}));
    assert_eq!(node(&file, "each[2]")["exit_code"], 9);
    assert_eq!(node(&file, "after")["outputs"], json!({"v": 4}));
}

#[test]
fn an_empty_list_is_a_completed_node() {
    let space = with_modules();
    let file = run(
        &space,
        "nodes:\n  list: {module: list, with: {n: 0}}\n  each: {module: value, foreach: \"${{ nodes.list.outputs['items'] }}\", with: {v: \"${{ item }}\"}}\n  \
         after: {module: value, with: {v: \"${{ nodes.each.outputs }}\"}}\n  when: {module: value, when: \"${{ nodes.each.count > 0 }}\"}\n",
        0,
    );
    assert_eq!(statuses(&file), ["list=completed", "each=completed", "after=completed", "when=skipped"]);
    assert_eq!(node(&file, "after")["outputs"], json!({"v": []}));
}

#[test]
fn a_failed_instance_fails_the_whole() {
    let space = with_modules();
    let file = run(
        &space,
        "nodes:\n  each: {module: value, matrix: {x: [1, 2, 3]}, with: {v: \"${{ matrix.x }}\", bad: 2}}\n  after: {module: value, needs: [each]}\n",
        1,
    );
    assert_eq!(statuses(&file), ["each=failed", "after=skipped", "each[0]=completed", "each[1]=failed", "each[2]=completed"]);
    assert!(reason(&file, "after").contains("each"), "{}", reason(&file, "after"));
}

#[test]
fn foreach_over_something_that_is_no_list_fails_with_its_reason() {
    let space = with_modules();
    let file = run(
        &space,
        "nodes:\n  a: {module: value, with: {v: 7}}\n  each: {module: value, foreach: \"${{ nodes.a.outputs.v }}\", with: {v: \"${{ item }}\"}}\n",
        1,
    );
    assert_eq!(node(&file, "each")["status"], "failed");
    assert!(reason(&file, "each").contains("list"), "{}", reason(&file, "each"));
}

#[test]
fn matrix_counts_like_a_clock() {
    let space = with_modules();
    let file = run(
        &space,
        "outputs: {all: \"${{ nodes.m.outputs }}\"}\nnodes:\n  m:\n    module: value\n    matrix: {lr: [0.1, 0.01], size: [s, m]}\n    with: {v: \"${{ matrix.size ~ matrix.lr }}\"}\n",
        0,
    );
    assert_eq!(file["outputs"]["all"], json!([{"v": "s0.1"}, {"v": "m0.1"}, {"v": "s0.01"}, {"v": "m0.01"}]));
}

#[test]
fn sub_pipelines_go_on_item_by_item() {
    let space = with_modules();
    space.module(
        "step",
        "params: {properties: {i: {type: integer}}}\noutputs: {properties: {i: {type: integer}}}",
        "mark('order', NODE)\nout(i=P['i'] + 1)",
    );
    // The first step of the last item waits until the second step of the first item is done: impossible if items went in lockstep.
    space.module(
        "knot",
        "params: {properties: {i: {type: integer}}}\noutputs: {properties: {i: {type: integer}}}",
        "if P['i'] == 1: gate('first-is-through')\nout(i=P['i'])",
    );
    space.module(
        "open",
        "params: {properties: {i: {type: integer}}}\noutputs: {properties: {i: {type: integer}}}",
        "open(os.path.join(SPACE, 'gates', 'first-is-through'), 'w').close()\nout(i=P['i'] * 100)",
    );
    space.write("inner.yaml", "params: {required: [i], properties: {i: {type: integer}}}\noutputs: {i: \"${{ nodes.b.outputs.i }}\"}\nnodes:\n  a: {module: knot, with: {i: \"${{ params.i }}\"}}\n  b: {module: open, with: {i: \"${{ nodes.a.outputs.i }}\"}}\n");
    let file = run(
        &space,
        "outputs: {all: \"${{ nodes.clips.outputs }}\"}\nnodes:\n  clips: {pipeline: inner.yaml, foreach: \"${{ [0, 1] }}\", with: {i: \"${{ item }}\"}}\n  one: {pipeline: inner.yaml, with: {i: 7}}\n",
        0,
    );
    assert_eq!(file["outputs"], json!({"all": [{"i": 0}, {"i": 100}]}));
    assert_eq!(node(&file, "clips[1].b")["outputs"], json!({"i": 100}));
    assert_eq!(node(&file, "one")["outputs"], json!({"i": 700}));
    assert_eq!(node(&file, "one.b")["status"], "completed");
}

#[test]
fn conditions_and_failure_handlers() {
    let space = with_modules();
    let file = run(
        &space,
        r#"
nodes:
  bad: {module: value, with: {v: 1, bad: 1}, allow_failure: true}
  behind: {module: value, needs: [bad]}
  further: {module: value, needs: [behind]}
  handler: {module: value, when: "${{ nodes.bad.status == 'failed' }}", with: {v: "${{ nodes.bad.exit_code }}"}}
  never: {module: value, when: "${{ nodes.bad.status == 'completed' }}"}
  fine: {module: value}
"#,
        0,
    );
    assert_eq!(
        statuses(&file),
        ["bad=failed", "behind=skipped", "further=skipped", "handler=completed", "never=skipped", "fine=completed"]
    );
    assert_eq!(node(&file, "handler")["outputs"], json!({"v": 9}));
    assert!(reason(&file, "further").contains("bad"), "the root cause, not the link before: {}", reason(&file, "further"));
}

#[test]
fn on_failure_stop_ends_what_has_not_begun() {
    let space = with_modules();
    space.module("slow", "grace: 5s", "mark('began')\ngate('never')");
    space.module("fails", "", "gate('fail')\nsys.exit(1)");
    space.write(
        "p.yaml",
        "on_failure: stop\nnodes:\n  bad: {module: fails}\n  slow: {module: slow}\n  late: {module: value, needs: [slow]}\n",
    );
    let running = space.start(&["run", "p.yaml"]);
    space.wait_for_marks("began", 1);
    space.open("fail");
    running.end().ends(1);
    let statuses = space.statuses("last");
    assert_eq!(statuses[0], "bad=failed");
    assert!(statuses[1] != "slow=completed" && statuses[2] != "late=completed", "{statuses:?}");
    assert_eq!(space.marks("order").len(), 0);
}

#[test]
fn retries_by_cause_with_growing_waits() {
    let space = TestSpace::new();
    space.module(
        "flaky",
        "params: {properties: {fails: {type: integer}}}",
        "mark('tries-' + NODE, str(time.time()))\nif ATTEMPT <= P['fails']: sys.exit(1)\nout(attempt=ATTEMPT)",
    );
    let file = run(
        &space,
        r#"
nodes:
  mended: {module: flaky, with: {fails: 2}, retry: {attempts: 3, on: [exit], backoff: 100ms, factor: 2}}
  other_cause: {module: flaky, with: {fails: 9}, retry: {attempts: 3, on: [timeout]}}
  too_few: {module: flaky, with: {fails: 9}, retry: {attempts: 2, on: [exit], backoff: 10ms}}
"#,
        1,
    );
    assert_eq!(statuses(&file), ["mended=completed", "other_cause=failed", "too_few=failed"]);
    assert_eq!(node(&file, "mended")["attempts"], 3);
    assert_eq!(node(&file, "mended")["outputs"], json!({"attempt": 3}));
    assert_eq!(node(&file, "other_cause")["attempts"], 1);
    assert_eq!(node(&file, "too_few")["attempts"], 2);
    let times: Vec<f64> = space.marks("tries-mended").iter().map(|time| time.parse().expect("a time")).collect();
    assert!(times[1] - times[0] >= 0.1 && times[2] - times[1] >= 0.2, "{times:?}");
    // Each attempt has a folder of its own, and `logs` can show an earlier one.
    assert!(space.prismq(&["logs", "last/mended", "--attempt", "1"]).code == 0);
}

#[test]
fn a_timeout_stops_and_may_be_retried() {
    let space = TestSpace::new();
    space.module("hangs", "timeout: 2s\ngrace: 5s", "print('here', ATTEMPT)\ngate('never') if ATTEMPT == 1 else out(ok=True)");
    let file = run(&space, "nodes:\n  a: {module: hangs, retry: {attempts: 2, on: [timeout], backoff: 10ms}}\n  b: {module: hangs}\n", 1);
    assert_eq!(statuses(&file), ["a=completed", "b=failed"]);
    assert!(reason(&file, "b").contains("2s") || reason(&file, "b").contains("time"), "{}", reason(&file, "b"));
    let logs = space.prismq(&["logs", "last/b"]).ends(0);
    assert_eq!(logs.stdout, "here 1\n", "what it wrote before is kept");
}

/// Marks `+` and `-` around a moment, and gives the largest number of them at once.
const OVERLAP: &str = "mark('span', '+')\ntime.sleep(0.05)\nmark('span', '-')";

fn most_at_once(space: &TestSpace) -> i32 {
    let (mut now, mut most) = (0, 0);
    for line in space.marks("span") {
        now += if line == "+" { 1 } else { -1 };
        most = most.max(now);
    }
    most
}

#[test]
fn limits_at_once() {
    let many = "matrix: {x: [1, 2, 3, 4, 5, 6]}";
    for (keys, settings, node_keys, limit) in [
        ("resources: {cpus: 0}", "host: {capacity: {cpus: 64}}", "max_parallel: 2", 2),
        ("resources: {cpus: 0}\nconcurrency: 1", "host: {capacity: {cpus: 64}}", "", 1),
        ("resources: {cpus: 0, licence: 2}", "host: {capacity: {cpus: 64, licence: 5}}", "", 2),
        ("resources: {cpus: 2}", "host: {capacity: {cpus: 4}}", "", 2),
        ("resources: {cpus: 0}", "host: {max_concurrent: 3}", "", 3),
    ] {
        let space = TestSpace::new();
        space.write("prismq.yaml", settings);
        space.module("span", keys, OVERLAP);
        run(&space, &format!("nodes:\n  m:\n    module: span\n    {many}\n    {node_keys}\n"), 0);
        assert_eq!(space.marks("span").len(), 12);
        let most = most_at_once(&space);
        assert!(most <= limit, "{most} at once with {keys:?} {settings:?} {node_keys:?}");
    }
}

#[test]
fn what_an_expression_cannot_do_is_a_failed_node_with_its_reason() {
    let space = with_modules();
    space.module("free", "", "out(x=[1])");
    let file = run(
        &space,
        "nodes:\n  a: {module: free}\n  b: {module: value, with: {v: \"${{ nodes.a.outputs.nothing }}\"}}\n  c: {module: value, with: {v: \"${{ nodes.a.outputs.x + 1 }}\"}}\n",
        1,
    );
    assert_eq!(statuses(&file), ["a=completed", "b=failed", "c=failed"]);
    assert!(reason(&file, "b").contains("nothing") || reason(&file, "b").contains("undefined"), "{}", reason(&file, "b"));
}

#[test]
fn outputs_that_break_the_schema_fail_the_node() {
    let space = TestSpace::new();
    let schema = "outputs: {required: [n], properties: {n: {type: integer}}}";
    space.module("wrong", schema, "out(n='text')");
    space.module("none", schema, "");
    space.module("no-json", schema, "open(os.environ['PRISMQ_OUTPUT'], 'w').write('{')");
    space.module("no-object", "", "open(os.environ['PRISMQ_OUTPUT'], 'w').write('[1]')");
    space.module("twice", "", "open(os.environ['PRISMQ_OUTPUT'], 'w').write('{\"a\": 1, \"a\": 2}')");
    space.module("huge", "", "out(x='x' * 3_000_000)");
    for id in ["wrong", "none", "no-json", "no-object", "huge"] {
        let ran = space.prismq(&["run", id]).ends(1);
        assert!(ran.stderr.contains("output"), "{id}: {ran:?}");
    }
    // Keys of data are the module's business; what counts is that nothing breaks.
    assert!(matches!(space.prismq(&["run", "twice"]).code, 0 | 1));
    let reason = space.node("@~3", "no_json")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("output"), "{reason}");
}
