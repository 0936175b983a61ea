//! A host without clock, processes and disk: plays runs through the scheduler's own decisions and the runs' own transitions.
//!
//! Only three things are not real: time jumps to the next thing that happens, records are durable at once, and how attempts end is told by
//! a function. So whatever holds here for any machine, any durations and any failures holds of the decisions of a host.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::event::{EndFacts, Event, FailureCause, NotReused, ReuseCheck, RunStatus, Stamp, StartFacts, StopReason};
use crate::ids::{AttemptId, AttemptNumber, NodeIndex, RunId, Seq};
use crate::request::{Isolation, Request};
use crate::resources::{Capacity, Held};
use crate::run::{NodeState, RunState};
use crate::scheduler::{Durations, Effect, StartOrder, StopHow, Timers, World, decide};
use crate::units::{DurationMs, Mono, Now, Timestamp};

/// How a killed attempt that does not go is called is of no interest here: all go.
const STUCK_AFTER: DurationMs = DurationMs(60_000);

/// Decisions in a row after which something is wrong.
const ROUNDS_MAX: u32 = 10_000_000;

/// How an attempt ends, as far as the scheduler can tell.
#[derive(Debug, Clone)]
pub struct Ending {
    /// How long it takes.
    pub takes: DurationMs,
    /// Why it fails, if it does.
    pub failure: Option<FailureCause>,
    /// What it reports.
    pub outputs: Option<std::sync::Arc<serde_json::Value>>,
    /// How long it goes on after a polite stop.
    pub lingers: DurationMs,
}

impl Ending {
    /// A good one.
    #[must_use]
    pub fn after(takes: DurationMs) -> Self {
        Self { takes, failure: None, outputs: None, lingers: DurationMs(0) }
    }
}

/// Tells how an attempt that starts will end.
pub type Behaviour<'b> = Box<dyn FnMut(&StartOrder) -> Ending + 'b>;

/// One attempt, from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Run, node and number.
    pub id: AttemptId,
    /// Path of the node.
    pub path: String,
    /// Since the begin of the simulation.
    pub start: DurationMs,
    /// None while it runs.
    pub end: Option<DurationMs>,
    /// What it holds.
    pub grant: Request,
    /// Whether it completed.
    pub completed: bool,
}

/// Nothing can happen any more, and some runs have not ended: these nodes wait for ever (or the decisions never came to rest).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} never start", .0.join(", "))]
pub struct Stalled(pub Vec<String>);

/// The host.
pub struct Simulation<'b> {
    world: World,
    timers: Timers,
    start: Now,
    now: Now,
    seq: u64,
    behaviour: Behaviour<'b>,
    /// What is to happen: by time, then in the order in which it was arranged.
    ahead: BinaryHeap<Reverse<(Mono, u64)>>,
    arranged: BTreeMap<u64, Arranged>,
    arrangements: u64,
    spans: Vec<Span>,
    open: BTreeMap<AttemptId, (usize, Ending)>,
    peak: Held,
    ended: BTreeMap<RunId, (RunStatus, DurationMs)>,
}

enum Arranged {
    Submission(Box<RunState>),
    Cancel(RunId, bool),
    Capacity(Capacity),
    End(AttemptId),
}

impl<'b> Simulation<'b> {
    /// A machine without runs, at a fixed point in time.
    #[must_use]
    pub fn new(capacity: Capacity, durations: Durations, behaviour: Behaviour<'b>) -> Self {
        let start = Now { wall: Timestamp::from_micros(1_700_000_000_000_000), mono: Mono(0) };
        Self {
            world: World::new(capacity, durations),
            timers: Timers::new(STUCK_AFTER),
            start,
            now: start,
            seq: 0,
            behaviour,
            ahead: BinaryHeap::new(),
            arranged: BTreeMap::new(),
            arrangements: 0,
            spans: Vec::new(),
            open: BTreeMap::new(),
            peak: Held::default(),
            ended: BTreeMap::new(),
        }
    }

    /// A run is submitted so long after the begin.
    pub fn submit_at(&mut self, at: DurationMs, run: RunState) {
        self.arrange(self.start.mono.plus(at), Arranged::Submission(Box::new(run)));
    }

    /// Somebody cancels a run so long after the begin.
    pub fn cancel_at(&mut self, at: DurationMs, run: RunId, kill: bool) {
        self.arrange(self.start.mono.plus(at), Arranged::Cancel(run, kill));
    }

    /// There is more or less of something from then on.
    pub fn change_at(&mut self, at: DurationMs, capacity: Capacity) {
        self.arrange(self.start.mono.plus(at), Arranged::Capacity(capacity));
    }

    /// What decisions look at.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Time since the begin.
    #[must_use]
    pub fn now(&self) -> DurationMs {
        DurationMs(self.now.mono.0 - self.start.mono.0)
    }

    /// Attempts in the order of their starts.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The most of each resource that was held at once.
    #[must_use]
    pub fn peak(&self) -> &Held {
        &self.peak
    }

    /// How each run ended, and when.
    #[must_use]
    pub fn ended(&self) -> &BTreeMap<RunId, (RunStatus, DurationMs)> {
        &self.ended
    }

    /// Plays until all runs have ended.
    ///
    /// # Errors
    /// When nothing happens any more and something is left.
    pub fn play(&mut self) -> Result<(), Stalled> {
        while self.step()? {}
        Ok(())
    }

    /// Goes to the next point in time at which something happens, and does all that follows. Whether anything did.
    ///
    /// # Errors
    /// When nothing happens any more and something is left.
    pub fn step(&mut self) -> Result<bool, Stalled> {
        let arranged = self.ahead.peek().map(|Reverse((at, _))| *at);
        let due = self.timers.next(self.now.mono);
        let Some(next) = arranged.into_iter().chain(due).min() else {
            let waiting = self.waiting();
            return if waiting.is_empty() { Ok(false) } else { Err(Stalled(waiting)) };
        };
        let passed = next.0.saturating_sub(self.now.mono.0);
        self.now.wall = Timestamp::from_micros(self.now.wall.micros().saturating_add_unsigned(passed.saturating_mul(1000)));
        self.now.mono = self.now.mono.max(next);
        while let Some(Reverse((at, number))) = self.ahead.peek().copied()
            && at <= self.now.mono
        {
            self.ahead.pop();
            if let Some(arranged) = self.arranged.remove(&number) {
                self.happen(arranged);
            }
        }
        self.settle()?;
        Ok(true)
    }

    fn waiting(&self) -> Vec<String> {
        let open = |run: &&RunState| !run.status().is_terminal();
        let nodes = self.world.runs().filter(open).flat_map(|run| {
            run.nodes().filter(|(_, node)| matches!(node.state(), NodeState::Ready { .. })).map(move |(node, _)| run.path(node))
        });
        let nodes: Vec<String> = nodes.collect();
        let stuck = self.world.runs().any(|run| !run.status().is_terminal());
        if nodes.is_empty() && stuck { vec!["held runs".to_owned()] } else { nodes }
    }

    fn arrange(&mut self, at: Mono, what: Arranged) {
        self.arrangements += 1;
        self.ahead.push(Reverse((at, self.arrangements)));
        self.arranged.insert(self.arrangements, what);
    }

    fn happen(&mut self, arranged: Arranged) {
        match arranged {
            Arranged::Submission(run) => {
                let id = run.id().clone();
                self.world.insert(*run);
                self.apply(&id, Event::RunSubmitted { pinned: String::new() });
            }
            Arranged::Cancel(run, kill) => {
                if self.world.run(&run).is_some_and(|run| !run.status().is_terminal()) {
                    self.apply(&run, Event::RunCancelRequested { kill });
                }
            }
            Arranged::Capacity(capacity) => self.world.set_capacity(capacity),
            Arranged::End(id) => self.end(&id),
        }
    }

    /// Decides and carries out until nothing more comes.
    fn settle(&mut self) -> Result<(), Stalled> {
        for _ in 0..ROUNDS_MAX {
            self.world.set_synced(Seq(self.seq));
            let effects = decide(&self.world, &self.timers, self.now);
            if effects.is_empty() {
                return Ok(());
            }
            effects.into_iter().for_each(|effect| self.carry_out(effect));
        }
        Err(Stalled(vec!["the decisions".to_owned()]))
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Record { run, event } => self.apply(&run, event),
            Effect::Start(order) => self.begin(&order),
            // Nothing was ever run here whose result could be taken.
            Effect::CheckReuse(order) => {
                let check = ReuseCheck { why: NotReused::First, key: None, at: self.now.wall, files: Vec::new() };
                self.apply(&order.run, Event::NodeChecked { node: order.node, check: Box::new(check) });
            }
            Effect::Stop { id, how } => self.stop(id, how),
        }
    }

    fn begin(&mut self, order: &StartOrder) {
        let ending = (self.behaviour)(order);
        let facts = StartFacts {
            grant: order.grant.clone(),
            isolation: Isolation::Wrapped,
            params: order.params.clone(),
            defaulted: order.defaulted.clone(),
            script_hash: None,
        };
        self.apply(&order.id.run, Event::AttemptStarted { node: order.id.node, attempt: order.id.attempt, facts });
        let (start, grant, path) = (self.now(), order.grant.clone(), order.path.clone());
        self.spans.push(Span { id: order.id.clone(), path, start, end: None, grant, completed: false });
        self.note_peak();
        self.arrange(self.now.mono.plus(ending.takes), Arranged::End(order.id.clone()));
        self.open.insert(order.id.clone(), (self.spans.len() - 1, ending));
    }

    fn stop(&mut self, id: AttemptId, how: StopHow) {
        let Some(run) = self.world.run(&id.run) else { return };
        let grace = run.node_def(id.node).settings.grace;
        self.timers.stopped(&id, how, grace, self.now.mono);
        let lingers = match how {
            StopHow::Polite => self.open.get(&id).map_or(DurationMs(0), |(_, ending)| ending.lingers),
            StopHow::Kill => DurationMs(0),
        };
        self.arrange(self.now.mono.plus(lingers), Arranged::End(id));
    }

    /// The end of an attempt, unless it has ended: one that was stopped has two arranged.
    fn end(&mut self, id: &AttemptId) {
        let Some((span, ending)) = self.open.remove(id) else { return };
        let span = &mut self.spans[span];
        span.end = Some(DurationMs(self.now.mono.0 - self.start.mono.0));
        let took = DurationMs(self.now.mono.0 - self.start.mono.0 - span.start.0);
        let stopped = self.world.run(&id.run).and_then(|run| stop_reason(run, id.node, id.attempt));
        let failure = ending.failure.filter(|_| stopped.is_none());
        span.completed = failure.is_none() && stopped.is_none();
        let code = span.completed.then_some(0);
        let outputs = ending.outputs.filter(|_| span.completed);
        let unknown = FailureCause::Exit { code: 1 };
        let facts = EndFacts { failure, stopped, code, outputs, duration_ms: took, ..EndFacts::failed(unknown) };
        self.apply(&id.run, Event::AttemptEnded { node: id.node, attempt: id.attempt, facts });
    }

    fn apply(&mut self, run: &RunId, event: Event) {
        self.seq += 1;
        let stamp = Stamp { seq: Seq(self.seq), at: self.now.wall };
        let applied = self.world.apply(run, &event, stamp);
        debug_assert!(applied.is_ok(), "{applied:?}");
        if let Some(state) = self.world.run(run) {
            self.timers.observe(state, &event, self.now);
        }
        if let Event::RunEnded { status, .. } = event {
            self.ended.insert(run.clone(), (status, self.now()));
            // As the host does: of a run that ended only its row stays.
            self.world.remove(run);
        }
    }

    fn note_peak(&mut self) {
        let held = self.world.held();
        self.peak.cpus = self.peak.cpus.max(held.cpus);
        self.peak.memory = self.peak.memory.max(held.memory);
        self.peak.attempts = self.peak.attempts.max(held.attempts);
        for (name, amount) in &held.custom {
            let most = self.peak.custom.entry(name.clone()).or_default();
            *most = (*most).max(*amount);
        }
    }

    /// Runs that have been submitted and have not ended.
    #[must_use]
    pub fn open_runs(&self) -> BTreeSet<RunId> {
        self.world.runs().map(|run| run.id().clone()).collect()
    }
}

fn stop_reason(run: &RunState, node: NodeIndex, of: AttemptNumber) -> Option<StopReason> {
    match run.get(node)?.state() {
        NodeState::Stopping { attempt, reason, .. } if *attempt == of => Some(*reason),
        NodeState::Stopping { .. }
        | NodeState::Running { .. }
        | NodeState::Waiting { .. }
        | NodeState::Ready { .. }
        | NodeState::Retrying { .. }
        | NodeState::Interrupted { .. }
        | NodeState::Open { .. }
        | NodeState::Done { .. } => None,
    }
}
