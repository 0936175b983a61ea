//! Who comes first, and which of several requests a node gets: what a module, `why` and `show` see of it.

use serde_json::json;

use crate::support::TestSpace;

#[test]
fn the_alternative_that_fits_is_told_to_the_module_and_kept() {
    let space = TestSpace::new();
    space.write("prismq.yaml", "host: {capacity: {gpus: [], memory: 1GiB, cpus: 4}, reserve: {memory: 0}}\n");
    let keys = "resources: {memory: 64MiB}\nany_of: [{vram: 8GiB}, {cpus: 2, memory: 96MiB}]";
    let python = "out(at=os.environ['PRISMQ_ALTERNATIVE'], gpus=os.environ['CUDA_VISIBLE_DEVICES'], cpus=os.environ['PRISMQ_CPUS'], memory=os.environ['PRISMQ_MEMORY_BYTES'])";
    space.module("render", keys, python);
    space.module("plain", "", "out(at=os.environ.get('PRISMQ_ALTERNATIVE'))");
    space.prismq(&["validate"]).ends(0);
    space.prismq(&["run", "render"]).ends(0);
    let node = space.node("last", "render");
    assert_eq!(node["outputs"], json!({"at": "1", "gpus": "", "cpus": "2", "memory": (96_u64 << 20).to_string()}));
    assert_eq!((&node["alternative"], &node["granted_memory"]), (&json!(1), &json!(96_u64 << 20)));
    space.prismq(&["show", "last/render"]).ends(0).says("alternative 1");
    space.prismq(&["modules", "show", "render"]).ends(0).says("1 CPU, 64 MiB memory, 8 GiB VRAM, or 2 CPU, 96 MiB memory");
    space.prismq(&["run", "plain"]).ends(0);
    assert_eq!(space.node("last", "plain")["outputs"], json!({"at": null}));
    // None of them can ever fit.
    space.module("never", "any_of: [{gpus: 1}, {cpus: 99}]", "");
    space.prismq(&["validate"]).ends(8);
    let refused = space.prismq(&["run", "never"]).ends(8);
    refused.complains("needs a GPU, and there is none").complains("needs 99 CPUs, 4 of 4 are free");
}

#[test]
fn a_module_by_itself_comes_before_a_pipeline_unless_the_command_line_says_otherwise() {
    let space = TestSpace::new();
    space.write("prismq.yaml", "host: {max_concurrent: 1}\n");
    space.module("first", "", "mark('order', NODE)\ngate('go')");
    space.module("note", "", "mark('order', NODE)");
    space.write(
        "p.yaml",
        "nodes:\n  slow: {module: first}\n  second: {module: note, needs: slow}\n  third: {module: note, needs: second}\n",
    );
    space.write("low.yaml", "nodes: {unhurried: {module: note, priority: low}, urgent: {module: note, priority: high}}\n");
    let host = space.start(&["run", "p.yaml"]);
    space.wait_for_marks("order", 1);
    let others =
        [space.start(&["run", "low.yaml"]), space.start(&["run", "p.yaml", "--priority", "urgently"]), space.start(&["run", "note"])];
    let waits = |node: &str, part: &str| space.wait_until(part, || space.prismq(&["queue"]).stdout.contains(node));
    waits("/unhurried", "the second pipeline waits");
    waits("/note", "the module waits");
    space.wait_until("its priority is told", || {
        let said = space.prismq(&["queue"]).ends(0).stdout;
        said.contains("its priority is low: 2 ready nodes come before it, until ")
    });
    space.open("go");
    host.end().ends(0);
    let [pipeline, refused, module] = others.map(crate::support::Running::end);
    refused.ends(2).complains("urgently");
    pipeline.ends(0);
    module.ends(0);
    let order = space.marks("order");
    let at = |node: &str| order.iter().position(|mark| mark == node).unwrap_or_else(|| panic!("{node} is not in {order:?}"));
    assert_eq!(order.len(), 6, "{order:?}");
    assert!(at("urgent") < at("second") && at("note") < at("second") && at("third") < at("unhurried"), "{order:?}");
}
