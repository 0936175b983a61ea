//! The stream of everything but logs: a snapshot, then every change with its number, and back to a snapshot where too much was missed.
#![cfg(target_os = "linux")]

use rustix::process::Signal;
use serde_json::Value;

use crate::support::TestSpace;
use crate::support::sse::{Event, Events, get};

fn named<'a>(events: &'a [Event], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event.name.as_deref() == Some(name)).map(|event| &event.data).collect()
}

/// Whether a run has come to a status.
fn came(events: &[Event], run: &str, status: &str) -> bool {
    named(events, "run").iter().any(|row| row["run_id"] == run && row["status"] == status)
}

#[test]
fn a_snapshot_and_then_every_change() {
    let space = TestSpace::new();
    space.module("gated", "resources: {cpus: 0}", "mark('began')\ngate('go')");
    space.module("quick", "resources: {cpus: 0}", "print('x')");
    let serve = space.start(&["serve"]);
    serve.wait_for_note("hosting");
    let earlier = space.prismq(&["run", "quick", "--detach"]).ends(0).stdout.trim().to_owned();
    space.prismq(&["wait", &earlier]).ends(0);
    let stream = Events::open(&space, "/api/events", &[]);
    let first = stream.wait("a snapshot", |events| !events.is_empty());
    let snapshot = &named(&first, "snapshot")[0];
    assert_eq!(
        (&snapshot["runs"][0]["run_id"], &snapshot["runs"][0]["status"]),
        (&earlier.as_str().into(), &"completed".into()),
        "{snapshot}"
    );
    assert_eq!((&snapshot["queue"]["running"], &snapshot["host"]["status"]), (&0.into(), &"ok".into()), "{snapshot}");
    assert_eq!(snapshot["seq"].as_u64(), first[0].id);

    let run = space.prismq(&["run", "gated", "--detach"]).ends(0).stdout.trim().to_owned();
    let running = stream.wait("it runs", |events| came(events, &run, "running"));
    let seen = running.last().and_then(|event| event.id).expect("a change has a number");
    space.open("go");
    let all = stream.wait("its end", |events| came(events, &run, "completed"));
    assert!(came(&all, &run, "queued") || came(&all, &run, "running"), "it was told of before its end");
    let node = |status: &str| named(&all, "node").iter().any(|node| node["run_id"] == run.as_str() && node["status"] == status);
    assert!(node("completed"), "{all:#?}");
    assert!(named(&all, "node").iter().all(|node| node.get("folder").is_none()), "no paths of the host");
    let ids: Vec<u64> = all.iter().filter_map(|event| event.id).collect();
    assert!(ids.windows(2).all(|two| two[1] == two[0] + 1), "numbers without a gap: {ids:?}");

    // Who comes back gets what it missed, and no snapshot.
    let back = Events::open(&space, "/api/events", &[("Last-Event-ID", &seen.to_string())]);
    let missed = back.wait("what was missed", |events| came(events, &run, "completed"));
    assert_eq!(missed[0].id, Some(seen + 1));
    assert!(named(&missed, "snapshot").is_empty());
    // A number of another time is told so.
    let foreign = Events::open(&space, "/api/events", &[("Last-Event-ID", "17")]);
    let events = foreign.wait("a snapshot", |events| events.len() >= 2);
    assert_eq!((events[0].name.as_deref(), events[1].name.as_deref()), (Some("reset"), Some("snapshot")));
    get(&space, "/api/events", &[("Last-Event-ID", "x")]).refuses(400, "invalid_last_event_id");

    space.prismq(&["prune", "--keep-days", "0"]).ends(0);
    stream.wait("what was pruned", |events| named(events, "removed").iter().any(|removed| removed["runs"].to_string().contains(&earlier)));
    serve.signal(Signal::TERM);
    stream.to_end();
    serve.end().ends(0);
}
