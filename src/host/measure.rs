//! What the machine has free is measured while something that asks for memory runs or is about to start; what follows from it is the
//! scheduler's decision.
//!
//! A thread of its own looks, since a driver that hangs must not stop the loop. It begins with the first look and sleeps between two. An
//! idle host does not look at all, so that the first node after a pause waits for a look, which takes milliseconds.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use super::handle::{Handle, Reply};
use super::history::{self, Recorder, Sample, Store};
use super::machine::{CpuTimes, Found, Machine, Report, Subject};
use super::resources_view::ResourcesView;
use super::turn::{Message, Turn};
use super::vram::{Holder, Peaks};
use super::watch::Change;
use crate::attempt::AttemptFolder;
use crate::ids::AttemptId;
use crate::request::{Isolation, Request};
use crate::resources::Usage;
use crate::scheduler::World;
use crate::units::{Bytes, DurationMs, Mono, Now};

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

/// What the thread is to do.
enum Order {
    /// Look, and for GPUs too if nobody did yet.
    Look { subjects: Vec<Subject>, gpus: bool },
    /// Write a sample down.
    Keep(Box<Sample>),
}

/// Has the machine looked at, and remembers when.
pub(super) struct Gauge {
    inbox: mpsc::Sender<Message>,
    found: Found,
    /// GPUs are in `found`, and in the world's capacity.
    knows_devices: bool,
    pids: Pids,
    machine: Machine,
    asks: Option<mpsc::Sender<Order>>,
    /// When the last look came.
    last: Option<Now>,
    /// When a look was asked for that has not come.
    asked: Option<Mono>,
    /// The last look was given up and has not come yet: nobody asks again, and nothing waits for it.
    hung: bool,
    /// An attempt ended: what it used may be free now.
    freed: bool,
    /// It had a GPU: what was read before says nothing of what it left there.
    left_gpu: bool,
    /// Memory of GPUs that running attempts were seen to use at most.
    peaks: Peaks,
    /// When a look becomes a sample of the time series, and where those are kept.
    recorder: Recorder,
    samples: PathBuf,
    /// The look that was asked for is at all attempts.
    asked_all: bool,
    /// Who wants to see what comes.
    waiting: Vec<Reply<ResourcesView>>,
}

impl Gauge {
    pub(super) fn new(handle: &Handle, machine: Machine, pids: Pids) -> Self {
        let found = machine.found();
        let inbox = handle.inbox().clone();
        Self {
            inbox,
            knows_devices: machine.has_asked(),
            found,
            pids,
            machine,
            asks: None,
            last: None,
            asked: None,
            hung: false,
            freed: false,
            left_gpu: false,
            peaks: Peaks::default(),
            recorder: Recorder::default(),
            samples: history::folder(handle.workspace()),
            asked_all: false,
            waiting: Vec::new(),
        }
    }

    /// What is known of the machine.
    pub(super) fn found(&self) -> &Found {
        &self.found
    }

    fn ask(&mut self, subjects: Vec<Subject>, gpus: bool, now: Mono) {
        if self.asks.is_none() {
            let machine = self.machine.clone();
            let (asks, asked) = mpsc::channel::<Order>();
            let inbox = self.inbox.clone();
            let store = Store::new(self.samples.clone());
            let work = move || work(&machine, store, asked, &inbox);
            match std::thread::Builder::new().name("machine".into()).spawn(work) {
                Ok(_) => self.asks = Some(asks),
                Err(error) => tracing::warn!(%error, "no thread to look at the machine"),
            }
        }
        self.freed = false;
        self.left_gpu = false;
        // Without the thread the answer never comes, and the machine counts as silent after a while.
        self.asked = Some(now);
        if let Some(asks) = &self.asks {
            let _ = asks.send(Order::Look { subjects, gpus });
        }
    }

    fn is_stale(&self, now: Now) -> bool {
        !self.hung && (self.left_gpu || self.last.is_none_or(|last| is_old(last, now)))
    }

    /// This process was stopped, or the machine slept: what was read before says nothing any more.
    pub(super) fn forget_reading(&mut self) {
        self.last = None;
    }
}

fn work(machine: &Machine, mut store: Store, orders: mpsc::Receiver<Order>, inbox: &mpsc::Sender<Message>) {
    let mut failed = false;
    for order in orders {
        match order {
            Order::Look { subjects, gpus } => {
                if gpus {
                    machine.find_gpus();
                }
                if inbox.send(Message::Machine(machine.look(&subjects))).is_err() {
                    break;
                }
            }
            Order::Keep(sample) => {
                let kept = store.append(&sample);
                // Once is enough: a full disk stays full for a while.
                if let Some(error) = kept.as_ref().err().filter(|_| !failed) {
                    tracing::warn!(%error, "how the machine stands cannot be written down");
                }
                failed = kept.is_err();
            }
        }
    }
}

/// Attempts that run, with what they hold.
pub(super) fn running(world: &World) -> impl Iterator<Item = (AttemptId, &Request)> {
    let active = world.runs().flat_map(|run| run.active().map(move |node| (run, node)));
    active.filter_map(|(run, node)| {
        let (attempt, grant) = run.node(node).state().holding()?;
        Some((AttemptId { run: run.id().clone(), node, attempt }, &**grant))
    })
}

/// Whether a look says nothing any more. The monotonic clock stands still while the machine sleeps, and the wall clock does not; where that
/// one was set, one more look does no harm.
fn is_old(last: Now, now: Now) -> bool {
    let apart = now.wall.micros().abs_diff(last.wall.micros()) / 1000;
    last.mono.plus(STALE) <= now.mono || apart > now.mono.0.saturating_sub(last.mono.0) + STALE.0
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
        let next = wanted.then(|| self.gauge.last.map_or(Mono(0), |last| last.mono.plus(every)));
        [next, self.gauge.recorder.due(held.attempts > 0)].into_iter().flatten().min()
    }

    /// Called after each turn of the loop.
    pub(super) fn measure(&mut self) {
        let now = self.clock.now().mono;
        self.gauge.recorder.follow(self.world.held().attempts > 0, now);
        if self.measure_due().is_none_or(|due| due > now) {
            return;
        }
        if self.gauge.asked.is_some() {
            tracing::error!("the machine was asked what is free and does not answer: its GPUs count as lost");
            let reading = Machine::silent(&self.gauge.found);
            self.gauge.asked_all = false;
            self.measured(Report { reading, ..Report::default() });
            self.gauge.hung = true;
            return;
        }
        self.look_at_machine(now);
    }

    /// Called before decisions: what asks for memory starts by a fresh look only.
    pub(super) fn measure_first(&mut self) {
        let now = self.clock.now();
        if !self.gauge.is_stale(now) || !self.world.wants_reading() {
            return;
        }
        self.world.await_reading();
        if self.gauge.asked.is_none() {
            self.look_at_machine(now.mono);
        }
    }

    /// An attempt has ended that held memory or a GPU: what waits for it need not wait for the next look in turn. After one that had a GPU
    /// nothing starts without a look: its process may have left something there that lives, and took it since the last one.
    pub(super) fn freed(&mut self, has_gpu: bool) {
        self.gauge.freed = true;
        self.gauge.left_gpu |= has_gpu;
    }

    fn look_at_machine(&mut self, now: Mono) {
        let runs = self.world.held().attempts > 0;
        let all = self.gauge.recorder.due(runs).is_some_and(|due| due <= now);
        let subjects = self.subjects(all);
        self.gauge.asked_all = all;
        let gpus = self.gauge.recorder.wants_gpus(now);
        self.gauge.ask(subjects, gpus, now);
    }

    /// Attempts that hold memory or a GPU; all of them where `all` is said, or where a GPU may be used that nobody was granted.
    fn subjects(&self, all: bool) -> Vec<Subject> {
        let held = self.world.held();
        let all = all || self.gauge.found.gpus.as_ref().is_ok_and(|gpus| !gpus.is_empty());
        if held.attempts == 0 || !all && held.memory.0 == 0 && held.gpus.is_empty() {
            return Vec::new();
        }
        let active = self.world.runs().flat_map(|run| run.active().map(move |node| (run, node)));
        let subject = active.filter_map(|(run, node)| {
            let state = run.node(node);
            let (attempt, _) = state.state().holding().filter(|(_, grant)| all || grant.is_measured())?;
            let id = AttemptId { run: run.id().clone(), node, attempt };
            let direct = state.record()?.attempts().last()?.isolation == Isolation::Direct;
            let folder = AttemptFolder::new(&self.workspace.run(run.id()), &run.path(node), attempt).path().to_owned();
            Some(Subject { pid: if direct { self.gauge.pids.get(&id) } else { None }, id, folder })
        });
        subject.collect()
    }

    /// Attempts that run, with the GPUs that they were granted.
    fn holders(&self) -> Vec<Holder> {
        let gpus = |grant: &Request| grant.devices.iter().map(|device| device.gpu.clone()).collect();
        running(&self.world).map(|(id, grant)| Holder { id, gpus: gpus(grant) }).collect()
    }

    /// The most memory of one GPU that an attempt was seen to use, which has ended.
    pub(super) fn peak_vram(&mut self, id: &AttemptId, granted: bool) -> Option<Bytes> {
        self.gauge.peaks.take(id, granted)
    }

    /// Takes what was found.
    pub(super) fn measured(&mut self, report: Report) {
        self.gauge.asked = None;
        self.gauge.hung = false;
        self.gauge.last = Some(self.clock.now());
        self.take_devices();
        let holders = self.holders();
        self.gauge.peaks.note(&report.reading, &report.used, &holders);
        let used: BTreeMap<AttemptId, Usage> = report.used.iter().cloned().collect();
        self.world.set_reading(report.reading, report.used);
        if std::mem::take(&mut self.gauge.asked_all) {
            self.keep_sample(&used, report.times);
        }
        self.answer_resources();
        let Self { fanout, gauge, world, .. } = self;
        fanout.change(|| {
            let view = ResourcesView::of(gauge.found(), world.capacity(), world.held(), world.live(), world.disks());
            Change::Resources(Box::new(view))
        });
    }

    /// GPUs that somebody had looked for since may be handed out.
    pub(super) fn take_devices(&mut self) {
        if self.gauge.machine.has_asked() && !self.gauge.knows_devices {
            self.gauge.knows_devices = true;
            self.gauge.found = self.gauge.machine.found();
            self.world.set_capacity(self.gauge.machine.capacity());
        }
    }

    /// Which devices are expected is the settings' to say.
    pub(super) fn settings_of_machine_changed(&mut self) {
        self.gauge.found = self.gauge.machine.found();
    }

    fn keep_sample(&mut self, used: &BTreeMap<AttemptId, Usage>, times: CpuTimes) {
        let runs = self.world.held().attempts > 0;
        let spent = self.gauge.recorder.sampled(runs, times, self.clock.now().mono);
        let sample = self.sample(used, &spent);
        if let Some(asks) = &self.gauge.asks {
            let _ = asks.send(Order::Keep(Box::new(sample)));
        }
    }

    fn answer_resources(&mut self) {
        if !self.gauge.waiting.is_empty() {
            let view = self.resources_view();
            self.gauge.waiting.drain(..).for_each(|reply| drop(reply.send(Ok(view.clone()))));
        }
    }

    /// Answers with how the machine stands now.
    pub(super) fn show_resources(&mut self, reply: Reply<ResourcesView>) {
        self.take_devices();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Timestamp;

    #[test]
    fn a_reading_of_before_a_suspend_is_old() {
        let at = |mono, wall_s: i64| Now { mono: Mono(mono), wall: Timestamp::from_micros(wall_s * 1_000_000) };
        let read = at(10_000, 100);
        assert!(!is_old(read, at(11_000, 101)));
        assert!(is_old(read, at(12_500, 102)), "nobody looked");
        assert!(is_old(read, at(10_100, 8 * 3600)), "the machine slept, and the monotonic clock with it");
        assert!(is_old(read, at(10_100, 50)), "the wall clock was set: nobody knows");
    }
}
