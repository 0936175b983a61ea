//! All runs of a host together: what decisions look at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::event::{Event, Stamp};
use crate::ids::{AttemptId, ModuleId, NodeIndex, RunId, Seq};
use crate::request::{Priority, Request};
use crate::resources::{Capacity, Disk, DiskLevel, Held, Live, Reading, Usage};
use crate::run::{IllegalEvent, RunState};
use crate::units::Timestamp;

use super::precedence::Queues;
use super::reserve::{Lease, Release};
use super::usage::Used;
use super::warm::Warm;
use super::{Durations, Sample, StopHow};

/// Most attempts that hold nothing though their end is not recorded. Each keeps a wrapper that waits for the disk, and a disk that takes
/// nothing must not gather more and more of them.
pub(super) const VACATED_MAX: usize = 16;

/// Runs that have not ended, capacity, and what is held across the runs. Everything but the settings follows from the runs' states.
#[derive(Debug, Clone)]
pub struct World {
    runs: BTreeMap<RunId, RunState>,
    capacity: Capacity,
    synced: Seq,
    /// Shared with those who submit, each of whom looks at it.
    durations: Arc<Durations>,
    accepting: bool,
    ending: Option<StopHow>,
    disks: Vec<Disk>,
    live: Live,
    used: Used,
    /// The sums below follow from the runs.
    held: Held,
    running: BTreeMap<ModuleId, u32>,
    intended: u32,
    /// Nodes for which the host looks for an earlier result.
    checking: BTreeSet<(RunId, NodeIndex)>,
    /// Runs with something to decide.
    undecided: BTreeSet<RunId>,
    /// Runs with ready nodes that may start.
    startable: BTreeSet<RunId>,
    /// Runs with nodes that ask for something that is measured.
    measured: BTreeSet<RunId>,
    /// What is ready, in the order in which it is looked at.
    queues: Queues,
    /// What running attempts hold, and when each is expected to end.
    ends: BTreeMap<(RunId, NodeIndex), Lease>,
    warm: Warm,
    /// Attempts whose processes are gone, and which hold nothing though their end is not recorded yet.
    vacated: BTreeSet<(RunId, NodeIndex)>,
}

impl World {
    /// A world without runs, in which nothing is durable yet and new attempts may start.
    #[must_use]
    pub fn new(capacity: Capacity, durations: impl Into<Arc<Durations>>) -> Self {
        Self {
            runs: BTreeMap::new(),
            capacity,
            synced: Seq(0),
            durations: durations.into(),
            accepting: true,
            ending: None,
            disks: Vec::new(),
            live: Live::default(),
            used: Used::default(),
            held: Held::default(),
            running: BTreeMap::new(),
            intended: 0,
            checking: BTreeSet::new(),
            undecided: BTreeSet::new(),
            startable: BTreeSet::new(),
            measured: BTreeSet::new(),
            queues: Queues::default(),
            ends: BTreeMap::new(),
            warm: Warm::default(),
            vacated: BTreeSet::new(),
        }
    }

    /// Adds a run, new or read from the journal; one of the same id is replaced. Its nodes are ordered by what was
    /// learned of durations, and those that declare no memory, or none of a GPU, ask for what was learned of that.
    pub fn insert(&mut self, mut run: RunState) {
        self.remove(&run.id().clone());
        if !self.durations.is_empty() {
            run.prioritise(&|module, settings| self.durations.weight(module, settings));
            run.expect_use(&|module, bucket| self.durations.expected_use(&module.id, bucket));
        }
        put(&mut self.measured, run.id(), run.is_measured());
        self.add_sums(&run);
        self.index(&run);
        self.queues.insert(&run);
        self.runs.insert(run.id().clone(), run);
    }

    /// Forgets a run, usually an ended one.
    pub fn remove(&mut self, id: &RunId) -> Option<RunState> {
        let run = self.runs.remove(id)?;
        for node in run.active() {
            if let Some((_, grant)) = run.node(node).state().holding() {
                let grant = grant.clone();
                self.count_attempt(&run, node, &grant, false);
            }
        }
        self.intended -= run.intended();
        self.checking.retain(|(of, _)| of != id);
        self.undecided.remove(id);
        self.startable.remove(id);
        self.measured.remove(id);
        self.queues.remove(id);
        Some(run)
    }

    /// A run.
    #[must_use]
    pub fn run(&self, run: &RunId) -> Option<&RunState> {
        self.runs.get(run)
    }

    /// All runs, the oldest first.
    pub fn runs(&self) -> impl ExactSizeIterator<Item = &RunState> {
        self.runs.values()
    }

    /// Applies an event to a run and keeps the sums right. Learns from attempts that completed.
    ///
    /// # Errors
    /// When the run is not known, or the event does not fit its state; nothing is changed then.
    pub fn apply(&mut self, id: &RunId, event: &Event, stamp: Stamp) -> Result<(), IllegalEvent> {
        let Some(mut run) = self.runs.remove(id) else {
            return Err(IllegalEvent { event: "an event", subject: format!("run {id}"), why: "there is no such run".into() });
        };
        let before = holding(&run, event.node());
        let intended = run.intended();
        let applied = run.apply(event, stamp);
        if applied.is_ok() {
            if let Some(node) = event.node().filter(|_| !self.checking.is_empty()) {
                self.checking.remove(&(id.clone(), node));
            }
            self.follow(&run, event, stamp, before);
            self.intended = self.intended - intended + run.intended();
            self.index(&run);
            self.queues.follow(&run, event, stamp.at);
        }
        self.runs.insert(id.clone(), run);
        applied
    }

    fn follow(&mut self, run: &RunState, event: &Event, stamp: Stamp, before: Option<Arc<Request>>) {
        let Some(node) = event.node() else { return };
        let after = holding(run, Some(node));
        if before.is_some() != after.is_some() {
            let plus = after.is_some();
            if let Some(grant) = before.or(after) {
                self.count_attempt(run, node, &grant, plus);
                self.warm.note(&grant, run.node_def(node).settings.affinity.as_ref());
            }
        }
        if let Event::AttemptEnded { facts, .. } = event
            && facts.failure.is_none()
            && facts.stopped.is_none()
            && let Some(module) = run.module(node)
        {
            let durations = Arc::make_mut(&mut self.durations);
            durations.learn(&module.id, facts.duration_ms);
            if let Some(record) = run.node(node).record().filter(|_| !module.is_made_up()) {
                let sample = Sample::new(stamp.at, facts.duration_ms, facts.cpu_ms, facts.peak_memory).with_vram(facts.peak_vram);
                durations.learn_use(&module.id, &module.params.bucket(record.params()), sample);
            }
        }
    }

    fn count_attempt(&mut self, run: &RunState, node: NodeIndex, grant: &Request, plus: bool) {
        let Some(module) = run.module(node) else { return };
        if plus {
            self.held.take(grant);
            let expected = self.durations.expected(&module.id, &run.node_def(node).settings);
            let state = run.node(node).state();
            let lease = state.holding().map(|(_, grant)| Lease { expected: state.started().zip(expected), grant: grant.clone() });
            self.ends.extend(lease.map(|lease| ((run.id().clone(), node), lease)));
            *self.running.entry(module.id.clone()).or_default() += 1;
            return;
        }
        let key = (run.id().clone(), node);
        if self.vacated.remove(&key) {
            return;
        }
        self.held.give_back(grant);
        self.ends.remove(&key);
        self.used.forget(run, node);
        if self.live != Live::default() {
            self.live.set_seen(self.used.seen(&self.held, self.live.reading()));
        }
        if let Some(count) = self.running.get_mut(&module.id) {
            *count -= 1;
            if *count == 0 {
                self.running.remove(&module.id);
            }
        }
    }

    /// Gives free what an attempt holds: nothing of it runs any more, and its end will be recorded once the disk has taken it. Gives what that
    /// was; `None` where it holds nothing (any more), and where it keeps it until then: for a node that its end lets start, which shall not find
    /// its place taken by a less urgent one, or since so many are in this state that the disk has to catch up first.
    pub fn vacate(&mut self, id: &AttemptId) -> Option<Arc<Request>> {
        let key = (id.run.clone(), id.node);
        if self.vacated.len() >= VACATED_MAX || self.vacated.contains(&key) {
            return None;
        }
        let run = self.runs.get(&id.run)?;
        holding_attempt(run, id).filter(|_| !run.is_waited_for(id.node, self.vacated.len()))?;
        self.give_free(id)
    }

    fn give_free(&mut self, id: &AttemptId) -> Option<Arc<Request>> {
        let run = self.runs.remove(&id.run)?;
        let grant = holding_attempt(&run, id).cloned();
        if let Some(grant) = &grant {
            self.count_attempt(&run, id.node, grant, false);
            self.vacated.insert((id.run.clone(), id.node));
        }
        self.runs.insert(id.run.clone(), run);
        grant
    }

    /// Whether an attempt that runs or stops holds nothing any more.
    #[must_use]
    pub fn has_vacated(&self, run: &RunId, node: NodeIndex) -> bool {
        !self.vacated.is_empty() && self.vacated.contains(&(run.clone(), node))
    }

    fn add_sums(&mut self, run: &RunState) {
        for node in run.active() {
            if let Some((_, grant)) = run.node(node).state().holding() {
                self.count_attempt(run, node, grant, true);
            }
        }
        self.intended += run.intended();
    }

    fn index(&mut self, run: &RunState) {
        put(&mut self.undecided, run.id(), run.wants_decision());
        put(&mut self.startable, run.id(), run.wants_start());
    }

    /// The host looks for an earlier result of a node. What becomes of it is an event about that node.
    pub fn set_checking(&mut self, run: &RunId, node: NodeIndex) {
        self.checking.insert((run.clone(), node));
    }

    /// The host could not answer: it is asked again.
    pub fn forget_checking(&mut self, run: &RunId, node: NodeIndex) {
        self.checking.remove(&(run.clone(), node));
    }

    /// Whether it does.
    #[must_use]
    pub fn is_checking(&self, run: &RunId, node: NodeIndex) -> bool {
        !self.checking.is_empty() && self.checking.contains(&(run.clone(), node))
    }

    /// Everything up to this position of the journal is durable. Never moves back.
    pub fn set_synced(&mut self, seq: Seq) {
        self.synced = self.synced.max(seq);
    }

    /// Up to where the journal is durable.
    #[must_use]
    pub fn synced(&self) -> Seq {
        self.synced
    }

    /// Whether new attempts may start. A host that leaves, or whose disk is full, says no; decisions without attempts go on.
    pub fn set_accepting(&mut self, accepting: bool) {
        self.accepting = accepting;
    }

    /// Whether new attempts may start.
    #[must_use]
    pub fn accepting(&self) -> bool {
        self.accepting
    }

    /// Ends all attempts: the host leaves and was told to leave nothing running. It only moves up, from politely to at once.
    pub fn set_ending(&mut self, how: StopHow) {
        self.ending = self.ending.max(Some(how));
    }

    /// Whether all attempts are to end, and how.
    #[must_use]
    pub fn ending(&self) -> Option<StopHow> {
        self.ending
    }

    /// How the file systems stand that runs write to.
    pub fn set_disks(&mut self, disks: Vec<Disk>) {
        self.disks = disks;
    }

    /// How the file systems stood when somebody last looked.
    #[must_use]
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    /// File systems with so little space that nothing new starts.
    pub fn short_disks(&self) -> impl Iterator<Item = &Disk> {
        self.disks.iter().filter(|disk| disk.level() == DiskLevel::Short)
    }

    /// What was read of the machine, and what running attempts use of what they hold. It is as new as it gets.
    pub fn set_reading(&mut self, reading: Reading, used: impl IntoIterator<Item = (AttemptId, Usage)>) {
        for (id, usage) in used {
            // What was read before its processes were gone is not true any more.
            let holds = |run: &RunState| holding_attempt(run, &id).filter(|_| !self.has_vacated(&id.run, id.node)).cloned();
            if let Some(grant) = self.runs.get(&id.run).and_then(holds) {
                self.used.note(id, usage, grant);
            }
        }
        self.used.read(&self.held, &reading);
        let seen = self.used.seen(&self.held, &reading);
        self.live = Live::new(reading, seen);
    }

    /// The reading is old, or one comes soon: until then nothing starts that asks for memory.
    pub fn await_reading(&mut self) {
        self.live.set_awaited(true);
    }

    /// The machine when somebody last looked.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Whether a ready node asks for something of which others on the machine may take more than was handed out.
    #[must_use]
    pub fn wants_reading(&self) -> bool {
        let startable = self.measured.iter().filter(|id| self.startable.contains(*id)).filter_map(|id| self.runs.get(id));
        startable.into_iter().any(|run| {
            let heads = Priority::ALL.into_iter().flat_map(|priority| run.ready_heads(priority));
            heads.into_iter().any(|(_, class)| run.is_class_measured(class, &self.capacity))
        })
    }

    /// Whether any node is ready to start.
    #[must_use]
    pub fn wants_start(&self) -> bool {
        !self.startable.is_empty()
    }

    /// Changes what there is. Attempts that run keep what they hold.
    pub fn set_capacity(&mut self, capacity: Capacity) {
        self.capacity = capacity;
    }

    /// What there is.
    #[must_use]
    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// What the attempts of all runs hold.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// What was learned, for the snapshot.
    #[must_use]
    pub fn durations(&self) -> &Arc<Durations> {
        &self.durations
    }

    /// Attempts of a module that run, across all runs.
    #[must_use]
    pub fn running(&self, module: &ModuleId) -> u32 {
        self.running.get(module).copied().unwrap_or(0)
    }

    /// Runs with something to decide, the oldest first.
    pub(super) fn undecided(&self) -> impl Iterator<Item = &RunState> {
        self.undecided.iter().filter_map(|id| self.runs.get(id))
    }

    /// Runs with ready nodes, the oldest first.
    pub(super) fn startable(&self) -> impl Iterator<Item = &RunState> {
        self.startable.iter().filter_map(|id| self.runs.get(id))
    }

    /// What is ready, the highest priority first, then the oldest run.
    pub(super) fn queues(&self) -> impl Iterator<Item = (&RunState, Priority)> {
        self.queues.by_priority().filter_map(|(id, priority)| Some((self.runs.get(id)?, priority)))
    }

    /// What has waited so long that one node of each comes first.
    pub(super) fn overdue(&self, now: Timestamp) -> impl Iterator<Item = (&RunState, Priority)> {
        self.queues.overdue(now).filter_map(|(id, priority)| Some((self.runs.get(id)?, priority)))
    }

    /// Since when nothing of what is ready of a run has started.
    pub(super) fn waits_since(&self, run: &RunId, priority: Priority) -> Option<Timestamp> {
        self.queues.since(run, priority)
    }

    /// What running attempts hold, and when each is expected to end. Linear in their number.
    pub(super) fn releases(&self, now: Timestamp) -> Vec<Release> {
        self.ends.values().map(|lease| lease.release(now)).collect()
    }

    /// Where nodes of an affinity ran last.
    pub(super) fn warm(&self) -> &Warm {
        &self.warm
    }

    /// Unused intents of all runs.
    pub(super) fn intended(&self) -> u32 {
        self.intended
    }

    /// Compares the sums with the runs, and checks every run. For tests and for a host that suspects its state.
    ///
    /// # Errors
    /// Says what differs.
    pub fn sanity_check(&self) -> Result<(), String> {
        let mut fresh = Self::new(self.capacity.clone(), Durations::default());
        for run in self.runs.values() {
            run.sanity_check().map_err(|error| format!("run {}: {error}", run.id()))?;
            fresh.insert(run.clone());
        }
        for (run, node) in &self.vacated {
            if let Some((attempt, _)) = self.runs.get(run).and_then(|run| run.node(*node).state().holding()) {
                fresh.give_free(&AttemptId { run: run.clone(), node: *node, attempt });
            }
        }
        let sums = |world: &Self| {
            let Self { held, running, intended, undecided, startable, .. } = world;
            let (queues, ends) = (world.queues.keys(), world.ends.keys());
            format!("{held:?} {running:?} {intended} {undecided:?} {startable:?} {queues:?} {ends:?}")
        };
        if sums(&fresh) == sums(self) { Ok(()) } else { Err(format!("{} is kept, {} is right", sums(self), sums(&fresh))) }
    }
}

fn holding(run: &RunState, node: Option<NodeIndex>) -> Option<Arc<Request>> {
    run.get(node?)?.state().holding().map(|(_, grant)| grant.clone())
}

fn holding_attempt<'r>(run: &'r RunState, id: &AttemptId) -> Option<&'r Arc<Request>> {
    run.get(id.node)?.state().holding().filter(|(attempt, _)| *attempt == id.attempt).map(|(_, grant)| grant)
}

fn put(set: &mut BTreeSet<RunId>, id: &RunId, there: bool) {
    if !there {
        set.remove(id);
    } else if !set.contains(id) {
        set.insert(id.clone());
    }
}
