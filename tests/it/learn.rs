//! What earlier attempts used: kept in the journal, shown, and set aside for the next ones.

use serde_json::{Value, json};

use crate::support::TestSpace;

fn learned(space: &TestSpace, module: &str) -> Value {
    space.prismq(&["modules", "show", module, "--json"]).ends(0).json()["learned"].clone()
}

/// The memory that attempts were granted, in order, as the journal has it.
fn granted(space: &TestSpace, run: &str) -> Vec<Value> {
    let id = space.show(run)["run"]["run_id"].as_str().expect("an id").to_owned();
    let export = space.prismq(&["journal", "export"]).ends(0).stdout;
    let records = export.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_run = records.filter(|record| record["kind"] == "att.start" && record["run"] == id.as_str());
    of_run.map(|record| record["data"]["grant"]["memory"].clone()).collect()
}

#[test]
fn what_was_used_is_set_aside_from_five_runs_on() {
    let space = TestSpace::new();
    space.module("eater", "params: {properties: {size: {type: integer, default: 3}, word: {type: string}}}", "time.sleep(0.01)");
    assert_eq!(learned(&space, "eater"), Value::Null);
    for _ in 0..4 {
        space.prismq(&["run", "eater"]).ends(0);
    }
    let four = learned(&space, "eater");
    assert_eq!((&four["attempts"], &four["memory_request"]), (&json!(4), &Value::Null));
    assert!(four["memory"]["max"].as_u64().is_some_and(|peak| peak > 1 << 20), "{four}");
    assert!(four["wall_ms"]["p50"].as_u64().is_some_and(|wall| wall >= 10), "{four}");
    assert!(four["cpu_ms"]["max"].is_u64(), "{four}");
    space.prismq(&["run", "eater"]).ends(0);
    assert_eq!(granted(&space, "last"), [Value::Null]);
    let five = learned(&space, "eater");
    let request = five["memory_request"].clone();
    assert!(request.as_u64() > five["memory"]["p95"].as_u64(), "{five}");
    space.prismq(&["modules", "show", "eater"]).ends(0).says("declared none, used").says("are set aside for it");
    // Set aside, and not a limit: what nobody promised ends nobody.
    space.prismq(&["run", "eater"]).ends(0);
    assert_eq!(granted(&space, "last"), [request]);
    let node = space.node("last", "eater");
    assert!(node["memory"].is_null() && node["cpu_ms"].is_u64() && node["peak_memory"].is_u64(), "{node}");
}

#[test]
fn what_was_declared_is_compared_with_what_was_used() {
    let space = TestSpace::new();
    space.write("prismq.yaml", "host: {capacity: {cpus: 4, memory: 64GiB}}\n");
    space.module("modest", "resources: {memory: 8GiB}\nparams: {properties: {mode: {enum: [fast, best], default: fast}}}", "");
    for mode in ["fast", "best", "fast"] {
        space.prismq(&["run", "modest", "-p", &format!("mode={mode}")]).ends(0);
    }
    let shown = space.prismq(&["modules", "show", "modest"]).ends(0);
    shown.says("declared 8 GiB, used ").says(" at most in the last 3 runs: consider ").says("mode=best").says("mode=fast");
    let learned = learned(&space, "modest");
    let buckets: Vec<&Value> = learned["buckets"].as_array().expect("buckets").iter().map(|bucket| &bucket["attempts"]).collect();
    assert_eq!(buckets, [&json!(1), &json!(2)]);
    // A snapshot carries it as the ends of runs do, and what is declared stays what is asked for.
    space.prismq(&["run", "modest"]).ends(0);
    assert_eq!(granted(&space, "last"), [json!(8_u64 << 30)]);
}

#[test]
#[cfg(target_os = "linux")]
fn memory_of_all_processes_together_is_measured() {
    let space = TestSpace::new();
    // It lives long enough for the wrapper to look, which it does once a second.
    let python = "import subprocess\ncode = 'import time; x = bytearray(40 << 20); print(flush=True); time.sleep(60)'\n\
                  both = [subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE) for _ in range(2)]\n\
                  [one.stdout.read(1) for one in both]\ntime.sleep(1.2)\n[one.kill() for one in both]\n[one.wait() for one in both]";
    space.module("pair", "", python);
    space.prismq(&["run", "pair"]).ends(0);
    let peak = space.node("last", "pair")["peak_memory"].as_u64().expect("a peak");
    assert!(peak > 80 << 20, "{peak}");
}

#[test]
fn a_module_that_failed_teaches_nothing() {
    let space = TestSpace::new();
    space.module("bad", "", "sys.exit(3)");
    space.prismq(&["run", "bad"]).ends(1);
    assert_eq!(learned(&space, "bad"), Value::Null);
}

#[test]
fn the_time_left_of_a_run_is_told_once_its_modules_are_known() {
    let space = TestSpace::new();
    space.module("slow", "", "mark('up')\ngate('first')");
    space.module("after", "", "time.sleep(0.2)");
    space.write("p.yaml", "nodes: {a: {module: slow}, b: {module: after, needs: [a]}}\n");
    let first = space.start(&["run", "p.yaml"]);
    space.wait_for_marks("up", 1);
    assert_eq!(space.show("last")["time_left_ms"], Value::Null);
    space.open("first");
    first.end().ends(0);
    std::fs::remove_file(space.at("gates/first")).expect("it is there");
    let second = space.start(&["run", "p.yaml"]);
    space.wait_for_marks("up", 2);
    space.wait_until("the time left is told", || space.show("last")["time_left_ms"].as_u64().is_some_and(|left| left >= 200));
    space.prismq(&["show", "last"]).ends(0).says("about ");
    space.open("first");
    second.end().ends(0);
    assert_eq!(space.show("last")["time_left_ms"], Value::Null);
}
