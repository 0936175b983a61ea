//! Admission against what the machine really has free: the traps of everybody who tried, each as a test.

use std::collections::BTreeMap;

use serde_json::json;

use super::testing::{Sim, capacity};
use super::{Durations, Sample, Survey, World};
use crate::ids::{AttemptId, AttemptNumber, ModuleId};
use crate::request::Alternative;
use crate::resources::{Gpu, GpuReading, MemoryReading, Reading, Usage};
use crate::run::testing::{n, pipe, run_id};
use crate::units::{Amount, Bytes, DurationMs, Timestamp};

const GIB: u64 = 1 << 30;

/// A machine with 16 GiB of memory and a GPU of 24 GiB, of which one is reserved each.
fn sim(nodes: Vec<crate::run::testing::N>) -> Sim {
    let mut capacity = capacity(16, 16);
    capacity.memory = Bytes(15 * GIB);
    capacity.gpus = vec![Gpu { uuid: "GPU-0".into(), name: "Card".into(), total: Bytes(24 * GIB), reserve: Bytes(GIB) }];
    let mut sim = Sim::new(capacity);
    sim.submit(1, &pipe(nodes));
    sim
}

/// The machine with so much free of both.
fn reading(memory: u64, vram: u64, by_process: bool) -> Reading {
    let gpu = GpuReading::Seen { used: Bytes(24 * GIB - vram), free: Bytes(vram), by_process };
    let memory = MemoryReading { total: Bytes(16 * GIB), free: Bytes(memory) };
    Reading { memory: Some(memory), gpus: BTreeMap::from([("GPU-0".to_owned(), gpu)]) }
}

fn used(sim: &Sim, path: &str, memory: u64, vram: u64) -> (AttemptId, Usage) {
    let node = sim.run().find(path).expect("a node");
    let id = AttemptId { run: run_id(1), node, attempt: AttemptNumber(1) };
    (id, Usage { memory: Bytes(memory), vram: BTreeMap::from([("GPU-0".to_owned(), Bytes(vram))]) })
}

impl Sim {
    fn reads(&mut self, reading: Reading, used: Vec<(AttemptId, Usage)>) {
        self.world.set_reading(reading, used);
        self.turn();
    }

    fn whys(&self, path: &str) -> String {
        let found = Survey::new(&self.world, self.now.wall).explain(&run_id(1), self.run().find(path).expect("a node"));
        let super::Blocker::Resource { unmet, .. } = &found[0] else { panic!("{found:?}") };
        unmet.to_string()
    }
}

#[test]
fn trap_1_what_others_use_counts_and_nothing_is_killed() {
    let mut sim = sim(vec![n("a").memory(4 * GIB), n("b").memory(4 * GIB), n("free")]);
    // A browser and a build take 11 GiB.
    sim.reads(reading(5 * GIB, 24 * GIB, true), vec![]);
    assert_eq!(sim.running(), ["a", "free"], "who asks for no memory never waits for it");
    assert_eq!(sim.whys("b"), "needs 4 GiB of memory, 1 GiB are free: other programs use 11 GiB, running nodes may still take 4 GiB");
    // Even more: what runs goes on.
    let seen = used(&sim, "a", 4 * GIB, 0);
    sim.reads(reading(0, 24 * GIB, true), vec![seen]);
    assert_eq!(sim.running(), ["a", "free"]);
    // The person closes the browser.
    sim.reads(reading(9 * GIB, 24 * GIB, true), vec![]);
    assert_eq!(sim.running(), ["a", "b", "free"]);
}

#[test]
fn trap_2_two_loads_that_start_in_the_gap_between_check_and_growth() {
    let mut sim = sim(vec![n("a").vram(12 * GIB), n("b").vram(11 * GIB)]);
    // By what was handed out both fit into 23 GiB. A game holds 3 GiB: by what is free each fits, and both do not.
    sim.reads(reading(16 * GIB, 21 * GIB, true), vec![]);
    assert_eq!(sim.running(), ["a"]);
    // It loads: what is free shrinks, and what it may still take shrinks with it.
    for loaded in [0, 4, 8, 12] {
        let seen = used(&sim, "a", 0, loaded * GIB);
        sim.reads(reading(16 * GIB, (21 - loaded) * GIB, true), vec![seen]);
        assert_eq!(sim.running(), ["a"], "with {loaded} GiB loaded");
        assert!(sim.whys("b").contains("9 GiB are free on Card: other programs use 3 GiB"), "{}", sim.whys("b"));
    }
    // The game ends.
    let seen = used(&sim, "a", 0, 12 * GIB);
    sim.reads(reading(16 * GIB, 12 * GIB, true), vec![seen]);
    assert_eq!(sim.running(), ["a", "b"]);
}

#[test]
fn trap_3_a_reading_that_wavers_stops_nothing() {
    // All that may be handed out, beside a desktop that uses the whole reserve.
    let mut sim = sim(vec![n("a").vram(23 * GIB), n("b").memory(15 * GIB)]);
    sim.reads(reading(15 * GIB, 23 * GIB - 1, true), vec![]);
    assert_eq!(sim.running(), ["b"], "a byte is missing");
    sim.reads(reading(15 * GIB, 23 * GIB, true), vec![]);
    assert_eq!(sim.running(), ["a", "b"], "the next reading is another one, and what counts");
}

#[test]
fn what_was_given_back_may_be_used_again() {
    let mut sim = sim(vec![n("a").memory(8 * GIB), n("b").memory(7 * GIB)]);
    sim.reads(reading(10 * GIB, 24 * GIB, true), vec![]);
    assert_eq!(sim.running(), ["a"], "6 GiB are used by others");
    let seen = used(&sim, "a", 8 * GIB, 0);
    sim.reads(reading(2 * GIB, 24 * GIB, true), vec![seen]);
    let seen = used(&sim, "a", GIB, 0);
    sim.reads(reading(9 * GIB, 24 * GIB, true), vec![seen]);
    assert_eq!(sim.running(), ["a"], "7 of the 9 GiB that are free are a's");
}

#[test]
fn what_is_used_counts_until_the_end() {
    let mut sim = sim(vec![n("a").memory(8 * GIB), n("b").memory(7 * GIB)]);
    sim.reads(reading(14 * GIB, 24 * GIB, true), vec![]);
    assert_eq!(sim.running(), ["a"], "2 GiB are used by others");
    let seen = used(&sim, "a", 8 * GIB, 0);
    sim.reads(reading(6 * GIB, 24 * GIB, true), vec![seen]);
    assert_eq!(sim.running(), ["a"]);
    sim.ok("a", json!({}));
    assert_eq!(sim.running(), [""; 0], "what it used is not seen to be free yet");
    sim.reads(reading(14 * GIB, 24 * GIB, true), vec![]);
    assert_eq!(sim.running(), ["b"]);
    assert_eq!(sim.world.live().seen().memory, Bytes(0));
}

#[test]
fn what_was_read_of_processes_that_are_gone_meanwhile_does_not_count() {
    let mut sim = sim(vec![n("a").memory(8 * GIB), n("b").memory(7 * GIB)]);
    sim.reads(reading(14 * GIB, 24 * GIB, true), vec![]);
    let seen = used(&sim, "a", 8 * GIB, 0);
    sim.reads(reading(6 * GIB, 24 * GIB, true), vec![seen.clone()]);
    assert!(sim.world.vacate(&seen.0).is_some());
    sim.reads(reading(6 * GIB, 24 * GIB, true), vec![seen]);
    assert_eq!((sim.running(), sim.world.live().seen().memory), (vec!["a".to_owned()], Bytes(0)), "nothing is seen to be free yet");
    sim.reads(reading(14 * GIB, 24 * GIB, true), vec![]);
    assert_eq!(sim.running(), ["a", "b"], "before the end of `a` is recorded");
    sim.ok("a", json!({}));
    sim.ok("b", json!({}));
    assert_eq!((sim.world.held(), sim.world.live().seen().memory), (&crate::resources::Held::default(), Bytes(0)));
}

/// A driver that does not tell what each process uses (a display is attached, on Windows).
#[test]
fn where_nobody_tells_whose_vram_it_is_the_difference_to_idle_is_ours() {
    let mut sim = sim(vec![n("a").vram(10 * GIB), n("b").vram(10 * GIB), n("c").vram(10 * GIB)]);
    sim.reads(reading(16 * GIB, 22 * GIB, false), vec![]);
    assert_eq!(sim.running(), ["a", "b"]);
    sim.reads(reading(16 * GIB, 7 * GIB, false), vec![]);
    assert_eq!(sim.world.live().seen().vram["GPU-0"], Bytes(15 * GIB));
    sim.reads(reading(16 * GIB, GIB, false), vec![]);
    assert_eq!(sim.world.live().seen().vram["GPU-0"], Bytes(20 * GIB), "never more than they asked for");
}

#[test]
fn an_old_reading_is_not_decided_by() {
    let mut sim = sim(vec![n("a").memory(GIB), n("b").vram(GIB), n("c")]);
    assert!(sim.world.wants_reading());
    sim.world.await_reading();
    sim.turn();
    assert_eq!(sim.running(), ["c"]);
    assert_eq!(sim.whys("a"), "the machine is being looked at");
    sim.reads(reading(16 * GIB, 24 * GIB, true), vec![]);
    assert_eq!(sim.running(), ["a", "b", "c"]);
    assert!(!sim.world.wants_reading(), "nothing waits");
}

#[test]
fn f62_a_gpu_that_is_lost_lets_its_nodes_wait_and_comes_back() {
    let mut sim = sim(vec![n("a").vram(GIB), n("b")]);
    let lost = Reading { memory: None, gpus: BTreeMap::from([("GPU-0".to_owned(), GpuReading::Lost)]) };
    sim.reads(lost, vec![]);
    assert_eq!(sim.running(), ["b"]);
    let found = Survey::new(&sim.world, sim.now.wall).explain(&run_id(1), sim.run().find("a").expect("a node"));
    assert!(matches!(&found[..], [super::Blocker::Resource { missing: true, .. }]), "{found:?}");
    assert_eq!(sim.whys("a"), "needs 1 GiB of VRAM, and there is no GPU (a GPU does not answer)");
    sim.reads(reading(16 * GIB, 24 * GIB, true), vec![]);
    assert_eq!(sim.running(), ["a", "b"]);
}

#[test]
fn f63_the_grant_names_the_gpu_and_comes_back_whole() {
    let mut sim = sim(vec![n("a").vram(12 * GIB), n("c").gpus(500), n("d").gpus(500), n("b").gpus(1000)]);
    sim.turn();
    assert_eq!(sim.running(), ["a", "c", "d"]);
    let given: Vec<_> = sim.starts.iter().map(|order| (order.path.as_str(), &order.grant.devices)).collect();
    assert!(given.iter().all(|(_, devices)| devices.len() == 1 && devices[0].gpu == "GPU-0"), "{given:?}");
    assert_eq!(sim.whys("b"), "needs a GPU, 0 of 1 are free");
    for path in ["a", "c", "d"] {
        sim.ok(path, json!({}));
    }
    assert_eq!(sim.running(), ["b"]);
    sim.ok("b", json!({}));
    assert_eq!(*sim.world.held(), crate::resources::Held::default());
}

/// Five attempts of the module used so much of a GPU.
fn five_used(vram: u64) -> Durations {
    let mut durations = Durations::default();
    let id = ModuleId::parse("m").expect("an id");
    for at in 0..5 {
        let sample = Sample::new(Timestamp::from_micros(at), DurationMs(10), None, None);
        durations.learn_use(&id, "", sample.with_vram(Some(Bytes(vram))));
    }
    durations
}

/// Five attempts used 10 GiB each; their author says nothing. Nobody has to close a browser for a module that always ran.
#[test]
fn memory_that_was_only_learned_keeps_apart_and_keeps_nobody_out() {
    let mut sim = sim(vec![n("free")]);
    let mut durations = Durations::default();
    let id = ModuleId::parse("m").expect("an id");
    for at in 0..5 {
        durations.learn_use(&id, "", Sample::new(Timestamp::from_micros(at), DurationMs(10), None, Some(Bytes(10 * GIB))));
    }
    sim.world = World::new(sim.world.capacity().clone(), durations);
    sim.submit(1, &pipe(vec![n("a"), n("b")]));
    sim.reads(reading(3 * GIB, 24 * GIB, true), vec![]);
    assert_eq!(sim.running(), ["a"], "alone, whatever else runs on the machine, and not two of them");
    sim.ok("a", json!({}));
    sim.reads(reading(3 * GIB, 24 * GIB, true), vec![]);
    assert_eq!(sim.running(), ["b"]);
}

/// The same with the memory of a GPU, also where more was used than one may hand out.
#[test]
fn vram_that_was_only_learned_keeps_apart_and_keeps_nobody_out() {
    for (used, asked) in [(10 * GIB, 12 * GIB), (40 * GIB, 23 * GIB)] {
        let mut sim = sim(vec![n("free")]);
        let durations = five_used(used);
        sim.world = World::new(sim.world.capacity().clone(), durations.clone());
        sim.submit(1, &pipe(vec![n("a"), n("b")]));
        sim.reads(reading(16 * GIB, 3 * GIB, true), vec![]);
        assert_eq!(sim.running(), ["a"], "alone, whatever else is on the card, and not two of them");
        let grant = &sim.starts.last().expect("a start").grant;
        assert_eq!((grant.vram, grant.devices.len(), grant.devices[0].vram), (Bytes(asked), 1, Bytes(asked)));
        sim.ok("a", json!({}));
        sim.reads(reading(16 * GIB, 3 * GIB, true), vec![]);
        assert_eq!(sim.running(), ["b"]);
        // Without a GPU there is nothing to ask for.
        let none = crate::resources::Capacity { gpus: Vec::new(), ..sim.world.capacity().clone() };
        sim.world = World::new(none, durations);
        sim.submit(1, &pipe(vec![n("a"), n("b")]));
        sim.turn();
        assert_eq!(sim.running(), ["a", "b"]);
    }
}

/// One that does not answer is no place for it, however full the others are.
#[test]
fn f62_vram_that_was_only_learned_is_taken_of_a_gpu_that_answers() {
    let mut sim = sim(vec![n("a")]);
    let durations = five_used(10 * GIB);
    let mut capacity = sim.world.capacity().clone();
    capacity.gpus.push(Gpu { uuid: "GPU-1".into(), ..capacity.gpus[0].clone() });
    sim.world = World::new(capacity, durations);
    sim.submit(1, &pipe(vec![n("a")]));
    let full = GpuReading::Seen { used: Bytes(21 * GIB), free: Bytes(3 * GIB), by_process: true };
    let gpus = BTreeMap::from([("GPU-0".to_owned(), GpuReading::Lost), ("GPU-1".to_owned(), full)]);
    sim.reads(Reading { memory: None, gpus }, vec![]);
    assert_eq!(sim.running(), ["a"]);
    let devices = &sim.starts.last().expect("a start").grant.devices;
    assert_eq!(devices.iter().map(|device| device.gpu.as_str()).collect::<Vec<_>>(), ["GPU-1"]);
}

/// What a module used of a GPU is expected of the alternative that runs on one, and of no other.
#[test]
fn vram_is_learned_for_the_alternative_that_asks_for_a_gpu() {
    let mut sim = sim(vec![n("free")]);
    let mut durations = Durations::default();
    let id = ModuleId::parse("m").expect("an id");
    for at in 0..5 {
        let sample = Sample::new(Timestamp::from_micros(at), DurationMs(10), None, Some(Bytes(GIB)));
        durations.learn_use(&id, "", sample.with_vram(Some(Bytes(10 * GIB))));
    }
    sim.world = World::new(sim.world.capacity().clone(), durations);
    let on_gpu = Alternative { gpus: Some(Amount(500)), ..Alternative::default() };
    let with_memory = Alternative { memory: Some(Bytes(3 * GIB)), ..Alternative::default() };
    let node = |id| n(id).any_of(vec![on_gpu.clone(), with_memory.clone()]);
    sim.submit(1, &pipe(vec![node("a"), node("b")]));
    sim.reads(reading(16 * GIB, 24 * GIB, true), vec![]);
    let given: Vec<_> = sim.starts.iter().rev().take(2).rev().map(|order| &order.grant).collect();
    let amounts: Vec<_> = given.iter().map(|grant| (grant.alternative, grant.vram, grant.memory, grant.devices.len())).collect();
    let learned = Bytes(GIB + GIB / 4);
    assert_eq!(amounts, [(Some(0), Bytes(12 * GIB), learned, 1), (Some(1), Bytes(0), Bytes(3 * GIB), 0)]);
}
