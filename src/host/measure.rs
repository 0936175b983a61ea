//! What the machine has free is measured while something that asks for memory runs or is about to start; what follows from it is the
//! scheduler's decision.
//!
//! A thread of its own looks, since a driver that hangs must not stop the loop. It begins with the first look and sleeps between two. An
//! idle host does not look at all, so that the first node after a pause waits for a look, which takes milliseconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use super::handle::{Handle, Reply};
use super::machine::{Found, Machine, Report, Subject};
use super::resources_view::ResourcesView;
use super::turn::{Message, Turn};
use super::watch::Change;
use crate::attempt::AttemptFolder;
use crate::ids::AttemptId;
use crate::request::Isolation;
use crate::units::{DurationMs, Mono};

/// Time between two looks.
const LOOK_EVERY: DurationMs = DurationMs(1_000);
/// A look older than this says nothing any more: nobody looked, since nothing ran.
const STALE: DurationMs = DurationMs(2_500);
/// Least time between two looks, however many attempts end.
const LOOK_AGAIN: DurationMs = DurationMs(50);
/// A machine that does not answer within this time is given up: a driver hangs.
const ANSWER_WITHIN: DurationMs = DurationMs(10_000);

/// Processes of attempts that have no wrapper, as the engine reports them.
#[derive(Debug, Clone, Default)]
pub(super) struct Pids(Arc<Mutex<HashMap<AttemptId, u32>>>);

impl Pids {
    pub(super) fn started(&self, id: &AttemptId, pid: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), pid);
    }

    pub(super) fn ended(&self, id: &AttemptId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn get(&self, id: &AttemptId) -> Option<u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }
}

/// Has the machine looked at, and remembers when.
pub(super) struct Gauge {
    inbox: mpsc::Sender<Message>,
    found: Found,
    pids: Pids,
    /// Until the thread takes it.
    machine: Option<Machine>,
    asks: Option<mpsc::Sender<Vec<Subject>>>,
    /// When the last look came.
    last: Option<Mono>,
    /// When a look was asked for that has not come.
    asked: Option<Mono>,
    /// The last look was given up and has not come yet: nobody asks again, and nothing waits for it.
    hung: bool,
    /// An attempt ended: what it used may be free now.
    freed: bool,
    /// Who wants to see what comes.
    waiting: Vec<Reply<ResourcesView>>,
}

impl Gauge {
    pub(super) fn new(handle: &Handle, machine: Machine, pids: Pids) -> Self {
        let found = machine.found().clone();
        let inbox = handle.inbox().clone();
        Self {
            inbox,
            found,
            pids,
            machine: Some(machine),
            asks: None,
            last: None,
            asked: None,
            hung: false,
            freed: false,
            waiting: Vec::new(),
        }
    }

    /// What was found at the start.
    pub(super) fn found(&self) -> &Found {
        &self.found
    }

    fn ask(&mut self, subjects: Vec<Subject>, now: Mono) {
        if let Some(mut machine) = self.machine.take() {
            let (asks, asked) = mpsc::channel::<Vec<Subject>>();
            let inbox = self.inbox.clone();
            let work = move || {
                for subjects in asked {
                    if inbox.send(Message::Machine(machine.look(&subjects))).is_err() {
                        break;
                    }
                }
            };
            match std::thread::Builder::new().name("machine".into()).spawn(work) {
                Ok(_) => self.asks = Some(asks),
                Err(error) => tracing::warn!(%error, "no thread to look at the machine"),
            }
        }
        self.freed = false;
        // Without the thread the answer never comes, and the machine counts as silent after a while.
        self.asked = Some(now);
        if let Some(asks) = &self.asks {
            let _ = asks.send(subjects);
        }
    }

    fn is_stale(&self, now: Mono) -> bool {
        !self.hung && self.last.is_none_or(|last| last.plus(STALE) <= now)
    }
}

impl Turn {
    /// When the machine is to be looked at again, or a look is given up.
    pub(super) fn measure_due(&self) -> Option<Mono> {
        if let Some(asked) = self.gauge.asked {
            return Some(asked.plus(ANSWER_WITHIN));
        }
        if self.gauge.hung {
            return None;
        }
        let held = self.world.held();
        let waits = self.world.wants_reading();
        let wanted = waits || held.memory.0 > 0 || !held.gpus.is_empty();
        let every = if waits && self.gauge.freed { LOOK_AGAIN } else { LOOK_EVERY };
        wanted.then(|| self.gauge.last.map_or(Mono(0), |last| last.plus(every)))
    }

    /// Called after each turn of the loop.
    pub(super) fn measure(&mut self) {
        let now = self.clock.now().mono;
        if self.measure_due().is_none_or(|due| due > now) {
            return;
        }
        if self.gauge.asked.is_some() {
            tracing::error!("the machine was asked what is free and does not answer: its GPUs count as lost");
            let reading = Machine::silent(&self.gauge.found);
            self.measured(Report { reading, used: Vec::new() });
            self.gauge.hung = true;
            return;
        }
        self.look_at_machine(now);
    }

    /// Called before decisions: what asks for memory starts by a fresh look only.
    pub(super) fn measure_first(&mut self) {
        let now = self.clock.now().mono;
        if !self.gauge.is_stale(now) || !self.world.wants_reading() {
            return;
        }
        self.world.await_reading();
        if self.gauge.asked.is_none() {
            self.look_at_machine(now);
        }
    }

    /// An attempt has ended that held memory or a GPU: what waits for it need not wait for the next look in turn.
    pub(super) fn freed(&mut self) {
        self.gauge.freed = true;
    }

    fn look_at_machine(&mut self, now: Mono) {
        let subjects = self.subjects();
        self.gauge.ask(subjects, now);
    }

    /// Attempts that hold memory or a GPU.
    fn subjects(&self) -> Vec<Subject> {
        let held = self.world.held();
        if held.memory.0 == 0 && held.gpus.is_empty() {
            return Vec::new();
        }
        let active = self.world.runs().flat_map(|run| run.active().map(move |node| (run, node)));
        let subject = active.filter_map(|(run, node)| {
            let state = run.node(node);
            let (attempt, _) = state.state().holding().filter(|(_, grant)| grant.is_measured())?;
            let id = AttemptId { run: run.id().clone(), node, attempt };
            let direct = state.record()?.attempts().last()?.isolation == Isolation::Direct;
            let folder = AttemptFolder::new(&self.workspace.run(run.id()), &run.path(node), attempt).path().to_owned();
            Some(Subject { pid: if direct { self.gauge.pids.get(&id) } else { None }, id, folder })
        });
        subject.collect()
    }

    /// Takes what was found.
    pub(super) fn measured(&mut self, report: Report) {
        self.gauge.asked = None;
        self.gauge.hung = false;
        self.gauge.last = Some(self.clock.now().mono);
        self.world.set_reading(report.reading, report.used);
        self.answer_resources();
        let Self { fanout, gauge, world, .. } = self;
        fanout.change(|| {
            let view = ResourcesView::of(gauge.found(), world.capacity(), world.held(), world.live(), world.disks());
            Change::Resources(Box::new(view))
        });
    }

    fn answer_resources(&mut self) {
        if !self.gauge.waiting.is_empty() {
            let view = self.resources_view();
            self.gauge.waiting.drain(..).for_each(|reply| drop(reply.send(Ok(view.clone()))));
        }
    }

    /// Answers with how the machine stands now.
    pub(super) fn show_resources(&mut self, reply: Reply<ResourcesView>) {
        self.gauge.waiting.push(reply);
        if self.gauge.hung {
            self.answer_resources();
        } else if self.gauge.asked.is_none() {
            let now = self.clock.now().mono;
            self.look_at_machine(now);
        }
    }

    pub(super) fn resources_view(&self) -> ResourcesView {
        ResourcesView::of(self.gauge.found(), self.world.capacity(), self.world.held(), self.world.live(), self.world.disks())
    }
}
