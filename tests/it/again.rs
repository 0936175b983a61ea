//! `retry`: a new run of an earlier one, with what had finished taken over.

use serde_json::json;

use crate::support::TestSpace;

/// Three nodes that note each of their starts; the middle one fails until it is let through.
fn failed_once() -> TestSpace {
    let space = TestSpace::new();
    space.module("step", "params: {properties: {v: {}}}\noutputs: {properties: {v: {}}}", "mark('steps', NODE)\nout(v=P.get('v', 'none'))");
    space.module(
        "door",
        "",
        "mark('steps', NODE)\nif not os.path.exists(os.path.join(SPACE, 'gates', 'open')): sys.exit(1)\nout(v='through')",
    );
    space.write(
        "p.yaml",
        "outputs: {v: \"${{ nodes.c.outputs.v }}\"}\nnodes:\n  a: {module: step, with: {v: 1}}\n  b: {module: door, needs: [a]}\n  c: {module: step, with: {v: \"${{ nodes.b.outputs.v }}\"}}\n  d: {module: step}\n",
    );
    space.prismq(&["run", "p.yaml"]).ends(1);
    assert_eq!(space.statuses("last"), ["a=completed", "b=failed", "c=skipped", "d=completed"]);
    space
}

#[test]
fn what_had_finished_is_not_run_again() {
    let space = failed_once();
    let earlier = space.show("last")["run"]["run_id"].clone();
    space.open("open");
    space.prismq(&["retry", "last"]).ends(0);
    assert_eq!(space.statuses("last"), ["a=reused", "b=completed", "c=completed", "d=reused"]);
    let mut steps = space.marks("steps");
    steps.sort();
    assert_eq!(steps, ["a", "b", "b", "c", "d"]);
    let run = space.show("last");
    assert_eq!(run["run"]["retry_of"], earlier);
    assert_eq!(run["outputs"], json!({"v": "through"}));
    // A retry of a retry: results go on through both.
    space.prismq(&["retry", "last"]).ends(0);
    assert_eq!(space.statuses("last"), ["a=reused", "b=reused", "c=reused", "d=reused"]);
    assert_eq!(space.show("last")["outputs"], json!({"v": "through"}));
}

#[test]
fn from_a_node_on_and_only_a_node() {
    let space = failed_once();
    space.open("open");
    space.prismq(&["retry", "last"]).ends(0);
    space.prismq(&["retry", "last", "--from", "b"]).ends(0);
    assert_eq!(space.statuses("last"), ["a=reused", "b=completed", "c=completed", "d=reused"]);
    space.prismq(&["retry", "last", "--only", "b"]).ends(0);
    assert_eq!(space.statuses("last"), ["a=reused", "b=completed", "c=reused", "d=reused"]);
    space.prismq(&["retry", "last", "--from", "nothing"]).ends(4).complains("nothing");
    space.prismq(&["retry", "last", "--from", "a", "--only", "b"]).ends(2);
    space.prismq(&["retry", "nothing"]).ends(4);
}

#[test]
fn only_a_node_of_a_failed_run_leaves_the_others() {
    let space = failed_once();
    space.open("open");
    space.prismq(&["retry", "last", "--only", "b"]);
    assert_eq!(space.statuses("last"), ["a=reused", "b=completed", "c=skipped", "d=reused"]);
}

#[test]
fn instances_are_reused_one_by_one() {
    let space = TestSpace::new();
    space.module("list", "", "out(items=[1, 2, 3])");
    space.module(
        "each",
        "params: {properties: {v: {type: integer}}}",
        "mark('steps', NODE)\nif P['v'] == 2 and not os.path.exists(os.path.join(SPACE, 'gates', 'open')): sys.exit(1)\nout(v=P['v'])",
    );
    space.write(
        "p.yaml",
        "outputs: {all: \"${{ nodes.m.outputs }}\"}\nnodes:\n  l: {module: list}\n  m: {module: each, foreach: \"${{ nodes.l.outputs['items'] }}\", with: {v: \"${{ item }}\"}}\n",
    );
    space.prismq(&["run", "p.yaml"]).ends(1);
    space.open("open");
    space.prismq(&["retry", "last"]).ends(0);
    assert_eq!(space.statuses("last"), ["l=reused", "m=completed", "m[0]=reused", "m[1]=completed", "m[2]=reused"]);
    assert_eq!(space.show("last")["outputs"], json!({"all": [{"v": 1}, {"v": 2}, {"v": 3}]}));
    assert_eq!(space.marks("steps").len(), 4);
}

#[test]
fn a_retry_uses_what_was_submitted_not_what_is_there_now() {
    let space = failed_once();
    space.write("p.yaml", "nodes: {}\n");
    std::fs::remove_file(space.at("manifests/step.yaml")).expect("it was there");
    space.open("open");
    space.prismq(&["retry", "last"]).ends(0);
    assert_eq!(space.statuses("last"), ["a=reused", "b=completed", "c=completed", "d=reused"]);
}

/// The host died right after it had accepted the retry: what is taken over, and what is repeated, is in what was submitted.
#[test]
fn which_nodes_are_repeated_survives_the_host() {
    let space = failed_once();
    space.open("open");
    space.prismq(&["retry", "last"]).ends(0);
    space.prismq(&["retry", "last", "--from", "b"]).ends(0);
    let run = space.show("last")["run"]["run_id"].as_str().expect("an id").to_owned();
    // Nothing is left of it but its submission.
    let journal = space.at(".prismq/journal");
    let segment = std::fs::read_dir(&journal).expect("a folder").flatten().map(|entry| entry.path()).find(|path| {
        path.extension().is_some_and(|end| end == "jsonl") && std::fs::read_to_string(path).is_ok_and(|text| text.contains(&run))
    });
    let segment = segment.expect("a segment of the journal");
    let text = std::fs::read_to_string(&segment).expect("text");
    let is_submit = |line: &str| line.contains("run.submit") && line.contains(&run);
    let kept: usize = text
        .split_inclusive('\n')
        .scan(false, |done, line| (!std::mem::replace(done, *done || is_submit(line))).then_some(line.len()))
        .sum();
    std::fs::write(&segment, &text[..kept]).expect("cut");
    for entry in std::fs::read_dir(space.at(format!(".prismq/runs/{run}"))).expect("its folder").flatten() {
        if entry.file_type().expect("a type").is_dir() {
            std::fs::remove_dir_all(entry.path()).expect("gone");
        } else if entry.file_name() != "pinned.json" {
            std::fs::remove_file(entry.path()).expect("gone");
        }
    }
    let before = space.marks("steps").len();
    space.prismq(&["resume", &run]).ends(0);
    assert_eq!(space.statuses(&run), ["a=reused", "b=completed", "c=completed", "d=reused"]);
    assert_eq!(space.marks("steps").len(), before + 2);
}
