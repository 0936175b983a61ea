//! `reuse: inputs`: what was done with the same manifest, script, parameters and input files is not done again.

use serde_json::{Value, json};

use crate::support::TestSpace;

const PARAMS: &str = "params: {properties: {input: {type: string, format: file}, folder: {type: string, format: directory}, n: {type: integer, default: 1}}}";
const COUNT: &str = "mark('ran', NODE)\nout(n=P['n'], size=len(open(P['input']).read()) if 'input' in P else 0)";

fn counter(keys: &str) -> TestSpace {
    let space = TestSpace::new();
    space.module("count", &format!("{PARAMS}\nreuse: inputs\n{keys}"), COUNT);
    space
}

fn run(space: &TestSpace, args: &[&str]) -> Value {
    space.prismq(&[&["run", "count"], args].concat()).ends(0);
    space.node("last", "count")
}

/// Makes a file that is old enough to be trusted.
fn old_file(space: &TestSpace, name: &str, text: &str) {
    let file = space.write(name, text);
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    std::fs::File::options().append(true).open(file).and_then(|file| file.set_modified(then)).expect("an older file");
}

#[test]
fn the_same_again_is_taken_from_the_run_that_did_it() {
    let space = counter("");
    old_file(&space, "in.txt", "four");
    let first = run(&space, &["-p", "input=in.txt"]);
    assert_eq!((&first["status"], &first["reuse"]["why"]), (&json!("completed"), &json!("first")));
    let id = space.show("last")["run"]["run_id"].clone();
    let second = run(&space, &["-p", "input=in.txt"]);
    assert_eq!((&second["status"], &second["outputs"]), (&json!("reused"), &json!({"n": 1, "size": 4})));
    assert_eq!(second["reason"], json!(format!("from run {}", id.as_str().expect("an id"))));
    assert_eq!(space.show("last")["run"]["results_of"], json!([id]));
    // Written by name instead of by default: the same parameters.
    assert_eq!(run(&space, &["-p", "n=1", "-p", "input=in.txt"])["status"], "reused");
    assert_eq!(space.marks("ran").len(), 1);
}

#[test]
fn whatever_decides_over_the_result_makes_it_run_again() {
    let space = counter("");
    old_file(&space, "in.txt", "four");
    old_file(&space, "dir/a.txt", "1");
    let args = ["-p", "input=in.txt", "-p", "folder=dir"];
    assert_eq!(run(&space, &args)["status"], "completed");
    let changed = |args: &[&str], part: &str| {
        let node = run(&space, args);
        assert_eq!((&node["status"], &node["reuse"]["why"]), (&json!("completed"), &json!("changed")), "{part}: {node}");
        assert_eq!(node["reuse"]["parts"], json!([part]), "{node}");
    };
    changed(&["-p", "input=in.txt", "-p", "folder=dir", "-p", "n=2"], "parameters");
    assert_eq!(run(&space, &args)["status"], "reused", "the first one is still known");
    old_file(&space, "in.txt", "five5");
    let node = run(&space, &args);
    assert_eq!(node["reuse"]["why"], "changed");
    assert_eq!(node["outputs"]["size"], 5);
    old_file(&space, "dir/b/c.txt", "2");
    assert_eq!(run(&space, &args)["reuse"]["parts"], json!(["inputs"]));
    space.write("modules/count.py", space.read("modules/count.py") + "# changed\n");
    changed(&args, "script");
    space.write("manifests/count.yaml", space.read("manifests/count.yaml") + "version: \"2\"\n");
    changed(&args, "module");
}

#[test]
fn an_input_that_changes_while_it_runs_makes_no_result_for_it() {
    let space = TestSpace::new();
    space.module("count", &format!("{PARAMS}\nreuse: inputs"), "mark('ran', NODE)\nopen(P['input'], 'a').write('x')\nout(n=1)");
    old_file(&space, "in.txt", "");
    assert_eq!(run(&space, &["-p", "input=in.txt"])["status"], "completed");
    old_file(&space, "in.txt", "");
    assert_eq!(run(&space, &["-p", "input=in.txt"])["reuse"]["why"], "first");
    // What is not there yet is written by the module, and no input.
    assert_eq!(run(&space, &["-p", "input=new.txt"])["status"], "completed");
    assert_eq!(run(&space, &["-p", "input=new.txt"])["status"], "completed");
}

#[test]
fn only_what_completed_counts_and_only_where_it_is_asked_for() {
    let space = TestSpace::new();
    space.module("count", "reuse: inputs", "mark('ran', NODE)\nsys.exit(0 if os.path.exists(os.path.join(SPACE, 'gates', 'well')) else 1)");
    space.prismq(&["run", "count"]).ends(1);
    space.open("well");
    assert_eq!(run(&space, &[])["status"], "completed");
    assert_eq!(run(&space, &[])["status"], "reused");
    space.write("p.yaml", "nodes: {a: {module: count}, b: {module: count, reuse: never}, c: {module: count, environment: {A: \"1\"}}}\n");
    space.prismq(&["run", "p.yaml"]).ends(0);
    assert_eq!(space.statuses("last"), ["a=reused", "b=completed", "c=completed"]);
    assert_eq!(space.node("last", "c")["reuse"]["parts"], json!(["module"]));
    space.module("bad", "reuse: outputs", "");
    space.prismq(&["validate"]).ends(3).complains("reuse");
}

#[test]
fn what_comes_from_nodes_before_is_looked_at_when_they_are_over() {
    let space = counter("");
    space.module("source", "", "out(v=int(open(os.path.join(SPACE, 'marks', 'v')).read()))");
    space.write("marks/v", "3");
    space.write(
        "p.yaml",
        "nodes:\n  s: {module: source}\n  c: {module: count, with: {n: \"${{ nodes.s.outputs.v }}\"}}\n  d: {module: count, with: {n: \"${{ nodes.c.outputs.n + 1 }}\"}}\n  e: {module: count, foreach: [7, 8], with: {n: \"${{ item }}\"}}\n",
    );
    space.prismq(&["plan", "p.yaml"]).ends(0).says("decided when it is ready");
    space.prismq(&["run", "p.yaml"]).ends(0);
    space.prismq(&["run", "p.yaml"]).ends(0);
    assert_eq!(space.statuses("last"), ["s=completed", "c=reused", "d=reused", "e=completed", "e[0]=reused", "e[1]=reused"]);
    space.write("marks/v", "4");
    space.prismq(&["run", "p.yaml"]).ends(0);
    assert_eq!(space.statuses("last")[..3], ["s=completed", "c=reused", "d=completed"], "4 was done before, 5 was not");
    // Whoever repeats wants it done, whatever is known.
    space.prismq(&["retry", "last", "--from", "c"]).ends(0);
    assert_eq!(space.statuses("last")[..3], ["s=reused", "c=completed", "d=completed"]);
    assert_eq!(space.node("last", "c")["reuse"]["why"], "retry");
}

#[test]
fn a_plan_of_very_many_nodes_does_not_look_at_the_files_of_each() {
    let space = counter("");
    let nodes = |count: usize| (0..count).map(|at| format!(r#""n{at}": {{"module": "count"}}"#)).collect::<Vec<_>>().join(", ");
    space.write("few.json", format!(r#"{{"nodes": {{{}}}}}"#, nodes(3)));
    space.prismq(&["plan", "few.json"]).ends(0).says("no completed attempt of it is known");
    space.write("many.json", format!(r#"{{"nodes": {{{}}}}}"#, nodes(20_001)));
    let many = space.prismq(&["plan", "many.json"]).ends(0).says("decided when it is ready");
    assert!(!many.stdout.contains("no completed attempt"));
}

#[test]
fn a_plan_tells_what_would_be_reused_and_why_not() {
    let space = counter("");
    space.write("p.yaml", "nodes: {a: {module: count}, b: {module: count, with: {n: \"${{ nodes.a.outputs.n + 1 }}\"}}}\n");
    space.prismq(&["plan", "p.yaml"]).ends(0).says("would run: no completed attempt of it is known").says("decided when it is ready");
    space.prismq(&["run", "p.yaml"]).ends(0);
    let id = space.show("last")["run"]["run_id"].as_str().expect("an id").to_owned();
    let plan = space.prismq(&["plan", "p.yaml", "--json"]).ends(0).json();
    let reuse: Vec<&Value> = plan["nodes"].as_array().expect("nodes").iter().map(|node| &node["reuse"]).collect();
    assert_eq!(reuse, [&json!(format!("would be reused from run {id}")); 2]);
    space.write("modules/count.py", space.read("modules/count.py") + "# changed\n");
    space.prismq(&["plan", "p.yaml"]).ends(0).says(&format!("would run: the script changed since run {id}"));
}

#[test]
fn what_was_pruned_is_done_again_and_what_is_used_stays() {
    let space = counter("");
    run(&space, &[]);
    let first = space.show("last")["run"]["run_id"].as_str().expect("an id").to_owned();
    assert_eq!(run(&space, &[])["status"], "reused");
    // The newer run has the older one's result: both go, or none.
    let report = space.prismq(&["prune", "--keep-days", "0", "--dry-run", "--json"]).ends(0).json();
    assert_eq!(report["pruned"].as_array().map(Vec::len), Some(2), "{report}");
    let report = space.prismq(&["prune", "--keep-size", "1", "--json"]).ends(0).json();
    assert_eq!(report["kept"][0]["run_id"], json!(first), "{report}");
    space.prismq(&["prune", "--keep-days", "0"]).ends(0);
    let again = run(&space, &[]);
    assert_eq!(
        (&again["status"], &again["reuse"]),
        (
            &json!("completed"),
            &json!({
                "why": "pruned", "run": first, "key": again["reuse"]["key"], "at": again["reuse"]["at"],
            })
        )
    );
    assert_eq!(run(&space, &[])["status"], "reused");
}

#[test]
fn replay_needs_no_files() {
    let space = counter("");
    run(&space, &[]);
    space.module("gated", "", "mark('up')\ngate('go')");
    space.write("p.yaml", "nodes: {a: {module: count}, b: {module: count, with: {n: 2}}, g: {module: gated, needs: [a, b]}}\n");
    let host = space.start(&["run", "p.yaml"]);
    space.wait_for_marks("up", 1);
    host.kill();
    std::fs::remove_dir_all(space.at(".prismq/reuse")).expect("it is there");
    std::fs::remove_file(space.at("modules/count.py")).expect("it is there");
    space.open("go");
    space.prismq(&["resume", "last"]).ends(0);
    assert_eq!(space.statuses("last"), ["a=reused", "b=completed", "g=completed"]);
    assert_eq!(space.marks("ran").len(), 2);
}

/// A result that names a file is one as long as the file is there.
#[test]
fn a_result_whose_file_is_gone_is_made_again() {
    let space = TestSpace::new();
    let keys = "reuse: inputs\noutputs: {properties: {file: {type: string, format: file}}}";
    space.module("count", keys, "path = os.path.join(SPACE, 'marks', 'made')\nopen(path, 'w').write('x')\nout(file=path)");
    run(&space, &[]);
    assert_eq!(run(&space, &[])["status"], "reused");
    std::fs::remove_file(space.at("marks/made")).expect("it is there");
    let again = run(&space, &[]);
    assert_eq!((&again["status"], &again["reuse"]["why"]), (&json!("completed"), &json!("output_gone")));
}

/// Nor is it where another one was written over it, in the same run or later.
#[test]
fn a_result_whose_file_was_overwritten_is_made_again() {
    let space = TestSpace::new();
    let keys = "params: {properties: {n: {type: integer, default: 1}}}\nreuse: inputs\noutputs: {properties: {file: {type: string, format: file}}}";
    space.module("count", keys, "path = os.path.join(SPACE, 'marks', 'made')\nopen(path, 'w').write(str(P['n']))\nout(file=path)");
    run(&space, &[]);
    assert_eq!(run(&space, &["-p", "n=2"])["status"], "completed");
    let again = run(&space, &[]);
    assert_eq!((&again["status"], &again["reuse"]["why"]), (&json!("completed"), &json!("output_changed")));
    assert_eq!(run(&space, &[])["status"], "reused");
    assert_eq!(run(&space, &["-p", "n=2"])["status"], "completed");

    space.module("late", "", "import time\ntime.sleep(0.1)\nopen(os.path.join(SPACE, 'marks', 'made'), 'w').write('x')");
    space.write("p.yaml", "nodes: {a: {module: count, with: {n: 3}}, b: {module: late, needs: [a]}}\n");
    space.prismq(&["run", "p.yaml"]).ends(0);
    space.prismq(&["run", "p.yaml"]).ends(0);
    assert_eq!(space.statuses("last"), ["a=completed", "b=completed"]);
}

/// Another file was put in its place, of the same length and with its time: an output, and an input.
#[test]
#[cfg(unix)]
fn a_file_that_was_replaced_is_noticed_by_more_than_its_time() {
    let space = TestSpace::new();
    let keys = "params: {properties: {input: {type: string, format: file}}}\nreuse: inputs\noutputs: {properties: {file: {type: string, format: file}}}";
    space.module(
        "count",
        keys,
        "path = os.path.join(SPACE, 'marks', 'made')\nopen(path, 'w').write(open(P['input']).read())\nout(file=path)",
    );
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let replace = |path: &str, text: &str, time: std::time::SystemTime| {
        let aside = space.write("aside", text);
        std::fs::File::options().append(true).open(&aside).and_then(|file| file.set_modified(time)).expect("its time");
        std::fs::rename(aside, space.at(path)).expect("replaced");
    };
    replace("in.txt", "1", long_ago);
    let host = space.start(&["serve"]);
    space.wait_until("a host", || space.at(".prismq/host.json").exists());
    let run = |status: &str| {
        space.prismq(&["run", "count", "-p", "input=in.txt"]).ends(0);
        assert_eq!(space.node("last", "count")["status"], status, "{}", space.node("last", "count"));
    };
    run("completed");
    run("reused");
    let made = std::fs::metadata(space.at("marks/made")).and_then(|found| found.modified()).expect("its time");
    replace("marks/made", "x", made);
    run("completed");
    run("reused");
    replace("in.txt", "2", long_ago);
    run("completed");
    assert_eq!(space.read("marks/made"), "2");
    host.kill();
}
