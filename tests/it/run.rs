//! `run`: modules and pipelines to their end, parameters, exit codes, the shape of what is printed.

use serde_json::json;

use crate::support::{TestSpace, steady};

/// A module that gives back its parameters.
const ECHO: &str = r#"
params:
  required: [text]
  properties:
    text: {type: string}
    count: {type: integer, minimum: 1, default: 3}
    deep: {type: object, properties: {a: {type: number}, list: {type: array, items: {type: string}}}}
    fast: {type: boolean}
outputs:
  properties: {got: {type: object}}
"#;

fn with_echo() -> TestSpace {
    let space = TestSpace::new();
    space.module("echo", ECHO, "print('hello', P['text'])\nout(got=P)");
    space
}

#[test]
fn a_module_prints_what_it_prints_and_ends_well() {
    let space = TestSpace::awkward();
    space.module("hello", "", "print('dobrý den')\nprint('and this', file=sys.stderr)\nout(answer=42)");
    let ran = space.prismq(&["run", "hello"]).ends(0);
    assert_eq!(ran.stdout, "dobrý den\n");
    assert_eq!(ran.stderr, "and this\n");
    assert_eq!(space.node("last", "hello")["outputs"], json!({"answer": 42}));
}

#[test]
fn a_pipeline_hands_outputs_from_node_to_node() {
    let space = TestSpace::awkward();
    space.module(
        "number",
        "params: {properties: {n: {type: integer, default: 20}}}\noutputs: {properties: {n: {type: integer}}}",
        "out(n=P['n'] + 1)",
    );
    space.write(
        "pipelines/sum of zwei.yaml",
        r#"
name: sum
params: {properties: {start: {type: integer, default: 4}}}
outputs: {result: "${{ nodes.b.outputs.n }}"}
nodes:
  b:
    module: number
    with: {n: "${{ nodes.a.outputs.n * 2 }}"}
  a:
    module: number
    with: {n: "${{ params.start }}"}
"#,
    );
    let ran = space.prismq(&["run", "pipelines/sum of zwei.yaml"]).ends(0);
    insta::assert_snapshot!(steady(&ran.stdout, &space));
    let said: Vec<&str> = ran.stderr.lines().filter(|line| !line.contains("are free on the disk of")).collect();
    assert!(said.is_empty(), "{said:?}");
    let ran = space.prismq(&["run", "pipelines/sum of zwei.yaml", "-p", "start=10", "--json"]).ends(0);
    assert_eq!(ran.json()["outputs"], json!({"result": 23}));
}

#[test]
fn parameters_come_from_defaults_a_file_and_the_command_line() {
    let space = with_echo();
    space.write("in.yaml", "text: from the file\ncount: 7\ndeep: {a: 1.5}\n");
    space
        .prismq(&["run", "echo", "--params", "in.yaml", "-p", "count=9", "-p", "deep.list=x", "-p", "deep.list=y z", "-p", "fast=true"])
        .ends(0);
    let node = space.node("last", "echo");
    let wanted = json!({"text": "from the file", "count": 9, "deep": {"a": 1.5, "list": ["x", "y z"]}, "fast": true});
    assert_eq!(node["outputs"]["got"], wanted);
    assert_eq!(node["parameters"], wanted);

    space.prismq(&["run", "echo", "-p", "text=123"]).ends(0).says("hello 123");
    assert_eq!(
        space.node("last", "echo")["parameters"],
        json!({"text": "123", "count": 3}),
        "the default of an integer, and text by the schema"
    );

    space
        .prismq_reading(&["run", "echo", "--params", "-"], r#"{"text": "ze standardního vstupu", "count": 2}"#)
        .ends(0)
        .says("ze standardního");
    space.prismq_reading(&["run", "echo", "--params", "-"], "text: yaml is fine as well\n").ends(0).says("yaml is fine");
}

/// A-15: whatever a value looks like, it arrives as it is, and no shell ever sees it.
#[test]
fn a15_values_arrive_as_they_are() {
    let space = TestSpace::new();
    space.module("argv", "params: {properties: {text: {type: string}}}", "print(json.dumps([P, sys.argv[1:]]))");
    for text in ["-rf", "--config=/etc/x", "@file", ";id", "$(id)", "two\nlines", "a=b=c", "", "%PATH%", "\"quoted\" 'too'", "✓ ž 工"] {
        let ran = space.prismq(&["run", "argv", "-p", &format!("text={text}")]).ends(0);
        assert_eq!(ran.json(), json!([{"text": text}, [format!("--text={text}")]]));
    }
}

/// A-15: where a value would be an argument of its own, one that looks like an option is refused.
#[test]
fn a15_a_separate_value_never_becomes_an_option() {
    let space = TestSpace::new();
    space.module("argv", "arguments: flags-spaced\nparams: {properties: {text: {type: string}}}", "print(json.dumps(sys.argv[1:]))");
    assert_eq!(space.prismq(&["run", "argv", "-p", "text=plain value"]).ends(0).json(), json!(["--text", "plain value"]));
    let ran = space.prismq(&["run", "argv", "-p", "text=--config=/etc/x"]).ends(3).complains("text");
    assert_eq!(ran.stdout, "");
    assert!(space.prismq(&["runs", "--json", "--status", "failed"]).ends(0).json() == json!([]), "nothing was started");
    space.write("manifests/words.yaml", "id: words\ncommand: [echo, '${{ params.text }}']\nparams: {properties: {text: {type: string}}}\n");
    space.prismq(&["run", "words", "-p", "text=-rf"]).ends(3).complains("-rf");
}

#[test]
fn every_style_of_arguments() {
    let space = TestSpace::new();
    let schema = "params: {properties: {count: {type: integer, default: 2}, names: {type: array, items: {type: string}, default: [a, b c]}, \
                  fast: {type: boolean, default: true}, slow: {type: boolean, default: false}}}";
    let says = |style: &str, python: &str| {
        let id = format!("m-{style}");
        space.module(&id, &format!("arguments: {style}\n{schema}"), python);
        space.prismq(&["run", &id]).ends(0).json()
    };
    let argv = "print(json.dumps(sys.argv[1:]))";
    let all = json!({"count": 2, "names": ["a", "b c"], "fast": true, "slow": false});
    assert_eq!(says("flags", argv), json!(["--count=2", "--names=a", "--names=b c", "--fast", "--no-slow"]));
    assert_eq!(says("flags-spaced", argv), json!(["--count", "2", "--names", "a", "--names", "b c", "--fast", "--no-slow"]));
    assert_eq!(says("json-file", "print(open(sys.argv[1]).read())"), all);
    assert_eq!(says("json-stdin", "print(sys.stdin.read())"), all);
    assert_eq!(says("env", "print(json.dumps([sys.argv[1:], P]))"), json!([[], all]));
}

#[test]
fn each_kind_of_end_has_its_code() {
    let space = with_echo();
    space.module("bad", "", "print('about to fail')\nsys.exit(3)");
    space.write("bad.yaml", "nodes:\n  a: {module: bad}\n  b: {module: echo, with: {text: x}, needs: [a]}\n");
    space.write("prismq.yaml", "host: {capacity: {cpus: 4, memory: 8GiB, licence: 1}}\n");
    space.module("big", "resources: {licence: 2}", "");

    space.prismq(&["run", "echo", "-p", "text=x"]).ends(0);
    space.prismq(&["run", "bad"]).ends(1).complains("exit code 3");
    let ran = space.prismq(&["run", "bad.yaml"]).ends(1);
    insta::assert_snapshot!("a_failed_pipeline", steady(&ran.stdout, &space));
    assert_eq!(space.statuses("last"), ["a=failed", "b=skipped"]);
    space.prismq(&["run"]).ends(2);
    space.prismq(&["run", "echo", "--no-such-flag"]).ends(2);
    space.prismq(&["run", "Echo!"]).ends(2);
    space.prismq(&["run", "echo"]).ends(3).complains("text");
    space.prismq(&["run", "ehco"]).ends(4).complains("echo");
    space.prismq(&["run", "none.yaml"]).ends(4);
    space.prismq(&["run", "echo", "--params", "none.yaml"]).ends(4);
    space.prismq(&["run", "big"]).ends(8).complains("licence");
    // Refused requests leave no run behind.
    assert_eq!(space.prismq(&["runs", "--json"]).ends(0).json().as_array().map(Vec::len), Some(3));
}

/// F-65: a request that the machine can never meet is refused at once, and a mistake in a file is told first.
#[test]
fn f65_what_can_never_fit_is_refused_at_submit() {
    let space = TestSpace::new();
    space.write("prismq.yaml", "host: {capacity: {cpus: 2, memory: 1GiB}}\n");
    space.module("huge", "resources: {memory: 64GiB}", "");
    space.module("fine", "", "");
    space.prismq(&["run", "huge"]).ends(8).complains("64").complains("memory");
    space.write("two.yaml", "nodes:\n  a: {module: huge}\n  b: {module: fine}\n");
    space.prismq(&["run", "two.yaml"]).ends(8);
    space.write("both.yaml", "nodes:\n  a: {module: huge}\n  b: {module: nine}\n");
    space.prismq(&["run", "both.yaml"]).ends(3);
    space.write("unknown.yaml", "nodes:\n  a: {module: fine, resources: {youtube-api: 1}}\n");
    space.prismq(&["run", "unknown.yaml"]).ends(3).complains("youtube-api");
}

#[test]
fn json_is_one_value_of_a_known_shape() {
    let space = with_echo();
    let file = space.prismq(&["run", "echo", "-p", "text=x", "--json"]).ends(0).json();
    let keys: Vec<&str> = file.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["format", "run", "parameters", "nodes"]);
    assert_eq!(file["run"]["status"], "completed");
    assert_eq!(file["run"]["module_id"], "echo");
    assert_eq!(file["run"]["exit_code"], 0);
    for time in ["created_at", "started_at", "completed_at"] {
        let text = file["run"][time].as_str().unwrap_or_default();
        assert!(text.ends_with('Z') && text.contains('T'), "{time}: {text}");
    }
    let node = &file["nodes"][0];
    assert_eq!(node["node"], "echo");
    assert_eq!(node["status"], "completed");
    assert_eq!(node["attempts"], 1);
    assert_eq!(node["isolation"], "wrapped", "what was done is recorded");
    // What the verb printed is what was kept.
    let kept: serde_json::Value =
        serde_json::from_str(&space.read(format!(".prismq/runs/{}/run.json", file["run"]["run_id"].as_str().expect("an id"))))
            .expect("JSON");
    assert_eq!(kept, file);
}

#[test]
fn a_dry_run_checks_and_starts_nothing() {
    let space = with_echo();
    space.write(
        "p.yaml",
        "params: {properties: {t: {type: string, default: dry}}}\nnodes:\n  a: {module: echo, with: {text: \"${{ params.t }}\"}}\n",
    );
    space.prismq(&["run", "p.yaml", "--dry-run"]).ends(0).says("wave 1").says("dry");
    space.prismq(&["run", "p.yaml", "--dry-run", "-p", "t=1", "-p", "nope=1"]).ends(3).complains("nope");
    space.prismq(&["run", "echo", "--dry-run"]).ends(3);
    assert!(!space.at(".prismq/runs").exists() || std::fs::read_dir(space.at(".prismq/runs")).expect("a folder").next().is_none());
}

#[test]
fn a_detached_run_goes_on_by_itself() {
    let space = TestSpace::new();
    space.module("slow", "", "gate('go')\nmark('done')");
    let ran = space.prismq(&["run", "slow", "--detach"]).ends(0);
    let run = ran.stdout.trim().to_owned();
    assert_eq!(run.len(), 21, "nothing but the id: {ran:?}");
    assert_eq!(space.show(&run)["run"]["completed_at"], json!(null));
    space.open("go");
    space.prismq(&["wait", &run]).ends(0);
    assert_eq!(space.marks("done").len(), 1);
    space.prismq(&["run", "slwo", "--detach"]).ends(4);
}

#[test]
fn a_pipeline_may_be_json() {
    let space = with_echo();
    space.write("p.json", r#"{"nodes": {"a": {"module": "echo", "with": {"text": "${{ 'j' ~ 'son' }}"}}}, "outputs": {"x": "${{ nodes.a.outputs.got.text }}"}}"#);
    assert_eq!(space.prismq(&["run", "p.json", "--json"]).ends(0).json()["outputs"], json!({"x": "json"}));
    space.write("twice.json", r#"{"nodes": {"a": {"module": "echo", "module": "echo", "with": {"text": "1"}}}}"#);
    space.prismq(&["run", "twice.json"]).ends(3).complains("twice.json:1:");
}

#[test]
fn dependencies_run_first_when_asked() {
    let space = TestSpace::new();
    space.module("first", "", "mark('order', NODE)");
    space.module("second", "dependencies: [first]", "mark('order', NODE)");
    space.prismq(&["run", "second"]).ends(0);
    assert_eq!(space.marks("order"), ["second"]);
    space.prismq(&["run", "second", "--with-dependencies"]).ends(0);
    assert_eq!(space.marks("order"), ["second", "first", "second"]);
    space.module("needy", "params: {required: [x], properties: {x: {type: string}}}", "");
    space.module("third", "dependencies: [needy]", "");
    space.prismq(&["run", "third", "--with-dependencies"]).ends(3).complains("needy").complains("x");
    // In a pipeline the only node of that module comes first by itself.
    space.write("p.yaml", "nodes:\n  late: {module: second}\n  early: {module: first}\n");
    space.prismq(&["run", "p.yaml"]).ends(0);
    assert_eq!(space.marks("order")[3..], ["early", "late"]);
}

#[test]
fn paths_start_where_they_were_written() {
    let space = TestSpace::awkward();
    space.module("file", "params: {properties: {input: {type: string, format: file}}}", "print(open(P['input']).read())");
    space.write("elsewhere/in.txt", "from the caller");
    space.write("pipelines/in.txt", "from the pipeline");
    space.write("pipelines/p.yaml", "nodes:\n  a: {module: file, with: {input: in.txt}}\n");
    let mut command = space.command(&["run", "file", "-p", "input=in.txt"]);
    command.current_dir(space.at("elsewhere"));
    crate::support::Running::start(command, None).end().ends(0).says("from the caller");
    space.prismq(&["run", "pipelines/p.yaml"]).ends(0);
    space.prismq(&["logs", "last/a"]).ends(0).says("from the pipeline");
}

/// F-60: a run keeps what it was submitted with.
#[test]
fn f60_a_run_keeps_the_manifest_it_was_submitted_with() {
    let space = TestSpace::new();
    space.module("gate", "", "mark('began')\ngate('go')");
    space.module("late", "params: {properties: {n: {type: integer, default: 1}}}", "out(n=P['n'], argv=sys.argv[1:])");
    space.write("p.yaml", "nodes:\n  a: {module: gate}\n  b: {module: late, needs: [a]}\n");
    let running = space.start(&["run", "p.yaml"]);
    space.wait_for_marks("began", 1);
    space.write("manifests/late.yaml", "id: late\nscript: ../modules/late.py\nparams: {properties: {n: {type: integer, default: 2}}}\n");
    std::fs::remove_file(space.at("manifests/gate.yaml")).expect("it was there");
    std::fs::remove_file(space.at("p.yaml")).expect("it was there");
    space.open("go");
    running.end().ends(0);
    assert_eq!(space.node("last", "b")["outputs"], json!({"n": 1, "argv": ["--n=1"]}));
}
