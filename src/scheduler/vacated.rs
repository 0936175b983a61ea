//! Attempts whose processes are gone before their end is recorded: what they held is free, and nothing else is different.

use std::sync::Arc;

use serde_json::json;

use crate::ids::AttemptId;
use crate::pipeline::definition::Definition;
use crate::resources::Held;
use crate::run::testing::{module, n, pipe, run_id};

use super::testing::{Sim, capacity, exit};
use super::world::VACATED_MAX;
use super::{Blocker, Survey};

impl Sim {
    fn id(&self, path: &str) -> AttemptId {
        let node = self.run().find(path).expect("a node");
        let (attempt, _) = self.run().node(node).state().holding().unwrap_or_else(|| panic!("{path} does not run"));
        AttemptId { run: run_id(1), node, attempt }
    }

    /// Whether it held something until now.
    fn vacate(&mut self, path: &str) -> bool {
        let held = self.world.vacate(&self.id(path)).is_some();
        self.world.sanity_check().unwrap_or_else(|error| panic!("after the processes of {path} are gone: {error}"));
        self.turn();
        held
    }
}

fn one_place(definition: &Arc<Definition>) -> Sim {
    let mut sim = Sim::new(capacity(8, 1));
    sim.submit(1, definition);
    sim.turn();
    sim
}

#[test]
fn room_is_free_when_the_processes_are_gone() {
    let mut sim = one_place(&pipe(vec![n("a"), n("b")]));
    assert_eq!(sim.running(), ["a"]);
    assert!(sim.vacate("a"));
    assert_eq!((sim.running(), sim.world.held().attempts), (vec!["a".to_owned(), "b".to_owned()], 1), "and `a` has not ended");
    sim.ok("a", json!({}));
    assert_eq!(sim.world.held().attempts, 1, "nothing is given back twice");
    sim.ok("b", json!({}));
    assert_eq!((sim.world.held(), sim.run().status().is_terminal()), (&Held::default(), true));
}

/// A less urgent node must not take the place of one that is ready in a moment.
#[test]
fn room_is_kept_for_a_node_that_the_end_lets_start() {
    let mut sim = one_place(&pipe(vec![n("a"), n("b").needs(&["a"]), n("other")]));
    assert!(!sim.vacate("a"));
    assert_eq!((sim.running(), sim.world.held().attempts), (vec!["a".to_owned()], 1));
    sim.ok("a", json!({}));
    assert_eq!(sim.running(), ["b"]);
}

#[test]
fn a_node_that_waits_for_others_too_keeps_nothing_from_them() {
    let mut sim = Sim::new(capacity(8, 2));
    sim.submit(1, &pipe(vec![n("a"), n("b"), n("c"), n("merge").needs(&["a", "b", "c"])]));
    sim.turn();
    assert_eq!(sim.running(), ["a", "b"]);
    assert!(sim.vacate("a"));
    assert_eq!(sim.running(), ["a", "b", "c"]);
    // Two of the three that it waits for are about to end.
    assert!(sim.vacate("b"));
    assert!(!sim.vacate("c"), "the last one keeps its place for it");
    ["a", "b", "c"].iter().for_each(|path| sim.ok(path, json!({})));
    assert_eq!(sim.running(), ["merge"]);
}

#[test]
fn instances_wait_for_each_other_where_their_number_is_limited() {
    let sim = |limit: Option<u32>| {
        let matrix = n("m").matrix(json!({"of": [1, 2, 3]}));
        let matrix = if let Some(limit) = limit { matrix.max_parallel(limit) } else { matrix };
        one_place(&pipe(vec![matrix, n("after").needs(&["m"])]))
    };
    let mut limited = sim(Some(1));
    assert_eq!((limited.running(), limited.vacate("m[0]")), (vec!["m[0]".to_owned()], false));
    let mut free = sim(None);
    assert!(free.vacate("m[0]") && free.vacate("m[1]"));
    assert!(!free.vacate("m[2]"), "with the last one the whole node ends");
}

#[test]
fn the_last_node_of_a_called_pipeline_is_waited_for_by_whoever_waits_for_that() {
    let inner = pipe(vec![n("x"), n("y")]);
    let mut sim = one_place(&pipe(vec![n("call").calls(&inner), n("after").needs(&["call"]), n("other")]));
    while !sim.running().contains(&"call.x".to_owned()) {
        let path = sim.running().pop().expect("something runs");
        sim.ok(&path, json!({}));
    }
    assert!(sim.vacate("call.x"), "`call.y` is left");
    let last = sim.running().into_iter().find(|path| path == "call.y").expect("the next one");
    assert!(!sim.vacate(&last));
}

#[test]
fn another_attempt_holds_anew() {
    let mut sim = one_place(&pipe(vec![n("a").attempts(2)]));
    assert!(sim.vacate("a"));
    assert!(!sim.vacate("a"), "it holds nothing any more");
    let old = sim.id("a");
    sim.fail("a", exit());
    sim.pass(60_000);
    assert_eq!((sim.running(), sim.world.held().attempts), (vec!["a".to_owned()], 1));
    assert!(sim.world.vacate(&old).is_none(), "that was another one");
    assert!(sim.vacate("a"));
    sim.ok("a", json!({}));
    assert_eq!(*sim.world.held(), Held::default());
}

#[test]
fn a_module_that_runs_alone_may_run_again() {
    let alone = module("alone", Some(1));
    let mut sim = Sim::of(&pipe(vec![n("a").module(&alone), n("b").module(&alone)]));
    assert_eq!(sim.running(), ["a"]);
    assert!(sim.vacate("a"));
    assert_eq!(sim.running(), ["a", "b"]);
}

/// A disk that takes no records must not gather wrappers without end.
#[test]
fn only_so_many_wait_for_the_disk() {
    let nodes = (0..VACATED_MAX + 3).map(|number| n(&format!("n{number}"))).collect();
    let mut sim = one_place(&pipe(nodes));
    for number in 0..VACATED_MAX {
        assert!(sim.vacate(&format!("n{number}")));
    }
    let last = format!("n{VACATED_MAX}");
    assert!(!sim.vacate(&last), "it keeps its room until its end");
    assert_eq!((sim.running().len(), sim.world.held().attempts), (VACATED_MAX + 1, 1));
    sim.ok("n0", json!({}));
    assert_eq!(sim.running().len(), VACATED_MAX, "an end that is recorded frees what it still held, which is nothing");
    assert!(sim.vacate(&last), "and there is room for one more that waits");
    assert_eq!(sim.running().len(), VACATED_MAX + 1);
}

#[test]
fn it_is_not_told_to_hold_what_another_one_lacks() {
    let mut sim = one_place(&pipe(vec![n("a"), n("b"), n("c")]));
    assert!(sim.vacate("a"));
    let found = Survey::new(&sim.world, sim.now.wall).explain(&run_id(1), sim.run().find("c").expect("a node"));
    let Blocker::Resource { holders, .. } = &found[0] else { panic!("{found:?}") };
    assert_eq!(holders.iter().map(|holder| holder.node.as_str()).collect::<Vec<_>>(), ["b"]);
}

/// The next host knows nothing of it: until it has looked into the folder, the attempt holds what it was given.
#[test]
fn a_run_that_is_read_anew_holds_all_again() {
    let mut sim = one_place(&pipe(vec![n("a"), n("b")]));
    assert!(sim.vacate("a"));
    let run = sim.run().clone();
    sim.world.insert(run);
    assert_eq!((sim.world.held().attempts, sim.world.sanity_check()), (2, Ok(())));
    sim.ok("a", json!({}));
    sim.ok("b", json!({}));
    assert_eq!(*sim.world.held(), Held::default());
}
