use super::*;
use crate::pipeline::testing::tree_named;

fn read_text(text: &str) -> Result<(Workflow, Diagnostics), Diagnostics> {
    read(&tree_named("w.json", text), &Options { scale: Decimal::ONE, cores: true, memory: true })
}

fn mistakes(text: &str) -> Vec<String> {
    read_text(text).err().map(|found| found.sorted().iter().map(plain).collect()).unwrap_or_default()
}

/// Without its help.
fn plain(found: &Diagnostic) -> String {
    let text = found.to_string();
    text.split(" (help: ").next().unwrap_or_default().to_owned()
}

fn task<'w>(workflow: &'w Workflow, id: &str) -> &'w Task {
    workflow.tasks.iter().find(|task| task.id.as_str() == id).expect("a task")
}

#[test]
fn version_1_5_keeps_graph_and_execution_apart() {
    let text = r#"{"name": "w", "schemaVersion": "1.5", "workflow": {
        "specification": {"tasks": [
            {"id": "a b.1", "name": "a", "parents": [], "children": ["c"], "inputFiles": []},
            {"id": "c", "name": "c", "parents": ["a b.1"], "children": []},
            {"id": "d", "name": "d", "parents": ["nobody"], "children": []}
        ], "files": []},
        "execution": {"makespanInSeconds": 3, "tasks": [
            {"id": "c", "runtimeInSeconds": 1.25e1, "coreCount": 2, "memoryInBytes": 1000000, "avgCPU": 99.5, "command": {"program": "x", "arguments": []}},
            {"id": "a b.1", "runtimeInSeconds": 0, "coreCount": 0.5}
        ]}}}"#;
    let (workflow, notes) = read_text(text).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!((workflow.name.as_deref(), workflow.timeless), (Some("w"), 1));
    assert_eq!(
        *task(&workflow, "c"),
        Task {
            id: NodeId::parse("c").expect("an id"),
            needs: vec![0],
            duration: DurationMs(12_500),
            cpus: Some(CpuMillis(2_000)),
            memory: Some(Bytes(1_000_000)),
        }
    );
    let first = task(&workflow, "a_b_1");
    assert_eq!((first.duration, first.cpus, first.memory), (DurationMs(0), Some(CpuMillis(500)), None));
    let notes: Vec<String> = notes.iter().map(plain).collect();
    assert_eq!(notes, ["w.json:5:50: `parents` of task `d` names no task of the workflow"]);
    insta::assert_snapshot!(pipeline_text(&workflow, "file"), @r#"
    {
    "name": "w",
    "nodes": {
    "a_b_1": {"module":"wfformat-sleep","with":{"seconds":0.0},"duration":"0ms","resources":{"cpus":"500m"}},
    "c": {"module":"wfformat-sleep","with":{"seconds":12.5},"needs":["a_b_1"],"duration":"12500ms","resources":{"cpus":"2000m","memory":1000000}},
    "d": {"module":"wfformat-sleep","with":{"seconds":0.0},"duration":"0ms"}
    }
    }
    "#);
}

#[test]
fn older_versions_have_one_list() {
    let text = r#"{"workflow": {"tasks": [
        {"name": "one", "id": "1", "runtimeInSeconds": 2, "cores": 4, "memoryInBytes": 10, "parents": [], "children": []},
        {"name": "two", "id": "2", "runtime": 0.5, "memory": 3, "parents": ["one"]},
        {"name": "three", "runtime": null, "parents": ["2"]}
    ]}}"#;
    let (workflow, notes) = read_text(text).unwrap_or_else(|found| panic!("{found}"));
    assert!(notes.is_empty());
    assert_eq!(task(&workflow, "_1").cpus, Some(CpuMillis(4_000)));
    assert_eq!((&task(&workflow, "_2").needs, task(&workflow, "_2").memory), (&vec![0], Some(Bytes(3072))));
    assert_eq!((&task(&workflow, "three").needs, workflow.timeless), (&vec![1], 1));
    let jobs = r#"{"workflow": {"jobs": [{"name": "one", "runtime": 2, "parents": []}]}}"#;
    assert_eq!(read_text(jobs).map(|(workflow, _)| workflow.tasks.len()).ok(), Some(1));
}

#[test]
fn mistakes_have_places() {
    for (text, expected) in [
        ("[]", &["w.json:1:1: this is no WfFormat file: it has no `workflow`"][..]),
        (r#"{"workflow": {}}"#, &["w.json:1:14: the workflow has no tasks"]),
        (r#"{"workflow": {"tasks": []}}"#, &["w.json:1:24: the workflow has no tasks"]),
        (r#"{"workflow": {"tasks": {}}}"#, &["w.json:1:24: `tasks` must be a list, not a map"]),
        (r#"{"workflow": {"tasks": [{}, 7]}}"#, &["w.json:1:25: a task needs an `id`", "w.json:1:29: a task needs an `id`"]),
        (r#"{"workflow": {"tasks": [{"id": "a"}, {"id": "a"}]}}"#, &["w.json:1:45: there are two tasks `a`"]),
        (r#"{"workflow": {"tasks": [{"id": "a", "parents": "b"}]}}"#, &["w.json:1:48: `parents` must be a list of tasks, not a string"]),
        (
            r#"{"workflow": {"tasks": [{"id": "a", "parents": ["b"]}, {"id": "b", "parents": ["a"]}]}}"#,
            &["w.json:1:32: these tasks wait for each other: a -> b -> a"],
        ),
        (
            r#"{"workflow": {"tasks": [{"id": "a", "runtime": -1}, {"id": "b", "runtime": "x"}]}}"#,
            &[
                "w.json:1:48: `runtime` of task `a` must be a number from 0 on, not `-1`",
                "w.json:1:76: `runtime` of task `b` must be a number from 0 on, not a string",
            ],
        ),
        (
            r#"{"workflow": {"tasks": [{"id": "a", "runtime": 1e300}]}}"#,
            &["w.json:1:48: `runtime` of task `a` must be a number from 0 on, not `1e300`"],
        ),
    ] {
        assert_eq!(mistakes(text), expected, "{text}");
    }
}
