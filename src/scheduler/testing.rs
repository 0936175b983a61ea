//! A host without clock, disk and engine: applies what `decide` says and lets the test end the attempts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::event::{EndFacts, Event, FailureCause, Stamp, StartFacts};
use crate::ids::{AttemptId, ResourceName, RunId, Seq};
use crate::pipeline::definition::Definition;
use crate::request::Isolation;
use crate::resources::Capacity;
use crate::run::testing::run_id;
use crate::run::{NodeState, NodeStatus, Precedence, RunState};
use crate::units::{Amount, Bytes, CpuMillis, DurationMs, Mono, Now, Timestamp};

use super::{Durations, Effect, ReuseOrder, StartOrder, StopHow, Timers, World, decide};

/// How long a kill may take in these tests.
pub(super) const STUCK_AFTER: DurationMs = DurationMs(60_000);

pub(super) struct Sim {
    pub(super) world: World,
    pub(super) timers: Timers,
    pub(super) now: Now,
    pub(super) seq: u64,
    pub(super) log: Vec<(RunId, Event, Stamp)>,
    pub(super) stops: Vec<(AttemptId, StopHow)>,
    pub(super) starts: Vec<StartOrder>,
    pub(super) checks: Vec<ReuseOrder>,
    /// Everything written is durable at once.
    pub(super) synced: bool,
    /// Check everything after each event: too slow for big runs.
    pub(super) careful: bool,
}

pub(super) fn capacity(cpus: u64, max_concurrent: u32) -> Capacity {
    let api = ResourceName::parse("api").expect("a name");
    Capacity {
        cpus: CpuMillis(cpus * 1000),
        memory: Bytes(1 << 30),
        gpus: Vec::new(),
        custom: BTreeMap::from([(api, Amount(2000))]),
        max_concurrent,
    }
}

impl Sim {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self {
            world: World::new(capacity, Durations::default()),
            timers: Timers::new(STUCK_AFTER),
            now: Now { wall: Timestamp::from_micros(1_700_000_000_000_000), mono: Mono(5_000) },
            seq: 0,
            log: vec![],
            stops: vec![],
            starts: vec![],
            checks: vec![],
            synced: true,
            careful: true,
        }
    }

    /// With room for eight attempts and one submitted run, after the first decisions.
    pub(super) fn of(definition: &Arc<Definition>) -> Self {
        let mut sim = Self::new(capacity(8, 8));
        sim.submit(1, definition);
        sim.turn();
        sim
    }

    pub(super) fn submit(&mut self, number: u32, definition: &Arc<Definition>) -> RunId {
        let id = run_id(number);
        self.world.insert(RunState::new(id.clone(), definition.clone(), Arc::new(json!({"topic": "x"})), "/w".into()));
        self.apply(&id, Event::RunSubmitted { pinned: "hash".into() });
        id
    }

    pub(super) fn submit_as(&mut self, number: u32, definition: &Arc<Definition>, precedence: Precedence) -> RunId {
        let id = run_id(number);
        let mut run = RunState::new(id.clone(), definition.clone(), Arc::new(json!({"topic": "x"})), "/w".into());
        run.set_precedence(precedence);
        self.world.insert(run);
        self.apply(&id, Event::RunSubmitted { pinned: "hash".into() });
        id
    }

    pub(super) fn run(&self) -> &RunState {
        self.world.run(&run_id(1)).expect("run 1")
    }

    pub(super) fn apply(&mut self, run: &RunId, event: Event) {
        self.seq += 1;
        let stamp = Stamp { seq: Seq(self.seq), at: self.now.wall };
        self.world.apply(run, &event, stamp).unwrap_or_else(|error| panic!("{error}"));
        self.timers.observe(self.world.run(run).expect("a run"), &event, self.now);
        self.log.push((run.clone(), event, stamp));
        if self.careful {
            self.world.sanity_check().unwrap_or_else(|error| panic!("after {:?}: {error}", self.log.last()));
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        self.apply(&run_id(1), event);
    }

    /// Decides and applies until nothing comes.
    pub(super) fn turn(&mut self) {
        for round in 0.. {
            assert!(round < 1_000_000, "decisions never end");
            if self.synced {
                self.world.set_synced(Seq(self.seq));
            }
            let effects = decide(&self.world, &self.timers, self.now);
            if effects.is_empty() {
                return;
            }
            effects.into_iter().for_each(|effect| self.carry_out(effect));
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Record { run, event } => self.apply(&run, event),
            Effect::CheckReuse(order) => {
                self.world.set_checking(&order.run, order.node);
                self.checks.push(*order);
            }
            Effect::Stop { id, how } => {
                let grace = self.world.run(&id.run).expect("a run").node_def(id.node).settings.grace;
                self.timers.stopped(&id, how, grace, self.now.mono);
                self.stops.push((id, how));
            }
            Effect::Start(order) => {
                self.check_start(&order);
                let facts = StartFacts {
                    grant: order.grant.clone(),
                    isolation: Isolation::Direct,
                    params: order.params.clone(),
                    defaulted: order.defaulted.clone(),
                    script_hash: None,
                };
                self.apply(&order.id.run, Event::AttemptStarted { node: order.id.node, attempt: order.id.attempt, facts });
                if self.careful {
                    self.check_budget();
                }
                self.starts.push(*order);
            }
        }
    }

    fn check_start(&self, order: &StartOrder) {
        let run = self.world.run(&order.id.run).expect("a run");
        assert!(
            run.intent(order.id.node).is_some_and(|seq| seq <= self.world.synced()),
            "{} starts before its intent is durable",
            order.path
        );
        assert!(run.dependencies(order.id.node).all(|node| run.node(node).state().is_done()), "{} starts too early", order.path);
        assert!(!run.facts().held && run.facts().cancel.is_none(), "{} starts in a run that is held or cancelled", order.path);
    }

    fn check_budget(&self) {
        let (held, capacity) = (self.world.held(), self.world.capacity());
        assert!(held.attempts <= capacity.max_concurrent && held.cpus <= capacity.cpus && held.memory <= capacity.memory, "{held:?}");
        assert!(held.custom.iter().all(|(name, held)| *held <= capacity.custom[name]), "{held:?}");
        for (uuid, held) in &held.gpus {
            let gpu = capacity.gpus.iter().find(|gpu| gpu.uuid == *uuid).expect("a GPU of this machine");
            assert!(held.vram <= gpu.usable() && held.share.0 <= 1_000 && (held.whole == 0 || held.attempts == 1), "{uuid}: {held:?}");
        }
        for run in self.world.runs() {
            for node in run.active() {
                let module = run.module(node).expect("a leaf");
                assert!(module.concurrency.is_none_or(|limit| self.world.running(&module.id) <= limit), "concurrency of {}", module.id);
                let limit = run.node_def(node).control.as_ref().and_then(|control| control.max_parallel);
                if let (Some(limit), Some(parent), Some(_)) = (limit, run.parent(node), run.node(node).ordinal()) {
                    let active = run.children(parent).filter(|child| run.node(*child).state().holding().is_some()).count();
                    assert!(active <= limit as usize, "max_parallel of {}", run.path(parent));
                }
            }
        }
    }

    /// Paths of the attempts of run 1 that hold something.
    pub(super) fn running(&self) -> Vec<String> {
        self.run().active().map(|node| self.run().path(node)).collect()
    }

    pub(super) fn end(&mut self, path: &str, facts: EndFacts) {
        let node = self.run().find(path).unwrap_or_else(|| panic!("no node {path}"));
        let (attempt, _) = self.run().node(node).state().holding().unwrap_or_else(|| panic!("{path} does not run"));
        self.event(Event::AttemptEnded { node, attempt, facts });
        self.turn();
    }

    pub(super) fn ok(&mut self, path: &str, outputs: Value) {
        self.end(path, EndFacts { outputs: Some(Arc::new(outputs)), code: Some(0), ..end_facts() });
    }

    /// The stops so far, in order.
    pub(super) fn ladder(&self) -> Vec<StopHow> {
        self.stops.iter().map(|(_, how)| *how).collect()
    }

    pub(super) fn fail(&mut self, path: &str, cause: FailureCause) {
        self.end(path, EndFacts { failure: Some(cause), code: Some(1), ..end_facts() });
    }

    pub(super) fn status(&self, path: &str) -> NodeStatus {
        self.state(path).status()
    }

    pub(super) fn state(&self, path: &str) -> &NodeState {
        let run = self.run();
        run.node(run.find(path).unwrap_or_else(|| panic!("no node {path}"))).state()
    }

    pub(super) fn reason(&self, path: &str) -> String {
        let run = self.run();
        run.row(run.find(path).expect("a node")).reason.unwrap_or_default()
    }

    pub(super) fn outputs(&self, path: &str) -> Value {
        let run = self.run();
        run.node(run.find(path).expect("a node")).outputs().map_or(Value::Null, |outputs| Value::clone(outputs))
    }

    /// Time passes.
    pub(super) fn pass(&mut self, ms: u64) {
        self.now.mono = self.now.mono.plus(DurationMs(ms));
        self.now.wall = Timestamp::from_micros(self.now.wall.micros().saturating_add_unsigned(ms * 1000));
        self.turn();
    }
}

pub(super) fn end_facts() -> EndFacts {
    EndFacts {
        failure: None,
        stopped: None,
        code: None,
        signal: None,
        outputs: None,
        duration_ms: DurationMs(10),
        cpu_ms: None,
        peak_memory: None,
        peak_vram: None,
        memory: None,
        signals: Vec::new(),
        escalated: false,
        leaked: false,
        leaked_pids: Vec::new(),
    }
}

pub(super) fn exit() -> FailureCause {
    FailureCause::Exit { code: 1 }
}
