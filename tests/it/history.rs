//! `resources --since`: how the machine stood while something ran, told by the host that measured it and by nobody at all.

use serde_json::Value;

use crate::support::TestSpace;

fn samples(space: &TestSpace) -> Vec<Value> {
    space.prismq(&["resources", "--since", "1h", "--json"]).ends(0).json()["samples"].as_array().expect("samples").clone()
}

#[test]
fn what_ran_is_in_the_time_series_with_and_without_a_host() {
    let space = TestSpace::new();
    space.write("prismq.yaml", "host: {capacity: {cpus: 8, memory: 64GiB, api: 4}}\n");
    space.module(
        "busy",
        "resources: {cpus: 2, memory: 3GiB, api: 1}",
        "x = bytearray(50 << 20)\nx[::4096] = b'x' * len(x[::4096])\nmark('up')\ngate('go')",
    );
    space.prismq(&["resources", "--since", "1h"]).ends(0).complains("nothing was measured");
    let running = space.start(&["serve"]);
    space.wait_until("a host", || space.at(".prismq/host.json").exists());
    space.prismq(&["run", "busy", "--detach"]).ends(0);
    space.wait_for_marks("up", 1);
    space.wait_until("a sample of it", || samples(&space).iter().any(|sample| sample["memory"]["used"].as_u64() > Some(50 << 20)));
    let run = space.show("last")["run"]["run_id"].clone();
    let all = samples(&space);
    let sample = all.iter().find(|sample| sample["runs"][0]["memory_used"].as_u64() > Some(50 << 20)).expect("a sample with the run");
    assert_eq!((&sample["nodes"], &sample["cpus"]["held"], &sample["memory"]["held"]), (&1.into(), &2000.into(), &(3_u64 << 30).into()));
    assert_eq!(
        (&sample["custom"]["api"]["total"], &sample["custom"]["api"]["held"], &sample["custom"]["api"]["free"]),
        (&4000.into(), &1000.into(), &3000.into())
    );
    assert_eq!((&sample["runs"][0]["run_id"], &sample["runs"][0]["memory"]), (&run, &(3_u64 << 30).into()));
    assert!(sample["memory"]["others"].as_u64() > Some(0), "{sample}");
    space.open("go");
    space.prismq(&["wait", "last"]).ends(0);
    // Once more, that nothing runs; then nobody looks any more.
    space.wait_until("the last sample", || samples(&space).last().is_some_and(|sample| sample["nodes"] == 0));
    let count = samples(&space).len();
    running.kill();
    assert_eq!(samples(&space).len(), count);
    let shown = space.prismq(&["resources", "--since", "1h"]).ends(0);
    shown.says("memory: ").says("held").says("others").says("api: 4").says(run.as_str().expect("an id"));
    space.prismq(&["resources", "--since", "yesterdayish"]).ends(2);
    // A file that nobody can read all of.
    let folder = space.at(".prismq/resources");
    let file = std::fs::read_dir(&folder).expect("a folder").flatten().next().expect("a file").path();
    let mut text = std::fs::read(&file).expect("text");
    text.truncate(text.len() - 5);
    std::fs::write(&file, text).expect("cut");
    assert_eq!(samples(&space).len(), count - 1);
}
