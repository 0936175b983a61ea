//! The host's loop: a message becomes events, events are committed, the scheduler decides, effects are carried out.
//!
//! Everything here runs on one thread. `select` is the receive; `decide` is [`crate::scheduler::decide`]; `act` is in `act.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use super::clock::{Clock, NAP_LONGEST};
use super::disk::Watch;
use super::fanout::Fanout;
use super::filing::{Filing, Unfiled};
use super::handle::{Command, CommandError, Reply};
use super::health::{Board, Health, Intake};
use super::index::{Finished, RunRow};
use super::launch::Launcher;
use super::leave::OnExit;
use super::look::RunSeen;
use super::machine::Report;
use super::measure::Gauge;
use super::patience::Looker;
use super::prepare::{Prepared, Refused, RunHead};
use super::prune::Tidying;
use super::retry::Reuse;
use super::update::Update;
use super::workspace::Workspace;
use crate::engine::{Engine, Fact};
use crate::event::Event;
use crate::ids::{AttemptId, RunId, Seq};
use crate::journal;
use crate::resources::Disk;
use crate::run::RunState;
use crate::scheduler::{Timers, World, decide};
use crate::units::Mono;

/// What wakes the loop.
pub(super) enum Message {
    /// Somebody asks for something.
    Command(Command),
    /// The engine reports.
    Fact(Fact),
    /// The journal reports.
    Journal(journal::Progress),
    /// How the disks stand.
    Disks(Vec<Disk>),
    /// What the machine has free.
    Machine(Report),
    /// An earlier result of a node was looked for.
    Checked(super::reuse::Answer),
    /// A finished run's file was written, or could not be.
    Filed(RunId, Result<(), std::io::Error>),
}

/// Messages handled before the scheduler is asked: facts come in bursts, and one decision serves them all.
const MESSAGES_PER_TURN_MAX: usize = 1024;

/// Decisions in a row before messages are looked at again. Each decision lets the next see its results; a graph settles in a handful.
const DECISIONS_PER_TURN_MAX: usize = 64;

/// What happens once a record is durable.
pub(super) enum After {
    /// Answer who submitted a run, with how it was then.
    Submitted(Reply<Box<RunSeen>>, Box<RunSeen>),
    /// Answer somebody.
    Answer(Reply<()>),
    /// Answer a resume.
    Resumed(Reply<Vec<RunId>>, Vec<RunId>),
    /// Answer a prune: these runs are forgotten.
    Pruned(Reply<BTreeSet<RunId>>, BTreeSet<RunId>),
    /// File the run that ended.
    File(RunId),
    /// Tell the engine that this attempt will probably come.
    Expect(AttemptId),
}

/// How a loop ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// Runs that a successor should go on with.
    pub remaining: usize,
    /// Why the journal could not be written at the end, and what happened last is not in it.
    pub unwritten: Option<String>,
}

/// The state of the loop.
pub(super) struct Turn {
    pub(super) workspace: Workspace,
    pub(super) clock: Clock,
    pub(super) world: World,
    pub(super) timers: Timers,
    pub(super) heads: BTreeMap<RunId, RunHead>,
    pub(super) reuse: BTreeMap<RunId, Reuse>,
    pub(super) finished: Finished,
    /// Runs that could not be read and are left as they are, with the reason.
    pub(super) unreadable: Arc<BTreeMap<RunId, String>>,
    /// Runs by the idempotency keys that they were submitted with; some may be pruned.
    pub(super) keys: BTreeMap<String, RunId>,
    pub(super) writer: journal::Writer,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) launcher: Launcher,
    pub(super) fanout: Fanout,
    pub(super) filing: Filing,
    pub(super) reuser: super::reuse::Reuser,
    pub(super) after: BTreeMap<Seq, Vec<After>>,
    /// Those who look and wait for the disk, in the order in which they asked.
    pub(super) lookers: VecDeque<Looker>,
    /// Runs that have ended and whose file is being written.
    pub(super) filing_runs: BTreeMap<RunId, Unfiled>,
    /// Whether the journal takes records, and the same for other threads.
    pub(super) health: Health,
    pub(super) board: Board,
    /// What happened and could not be written down yet, in order.
    pub(super) backlog: Vec<(RunId, Event)>,
    /// Requests that wait for the healing of the journal.
    pub(super) parked: Vec<Command>,
    /// Forgotten runs whose folders may still be there.
    pub(super) pruning: BTreeSet<RunId>,
    pub(super) tidying: Tidying,
    pub(super) watch: Watch,
    pub(super) gauge: Gauge,
    /// Nothing new is started; the loop ends when this has nothing to wait for.
    pub(super) on_exit: Option<OnExit>,
    /// Nothing new is accepted either.
    pub(super) closed: bool,
    pub(super) queue_max: usize,
}

impl Turn {
    /// Runs until it was told to drain and nothing is left to wait for.
    pub(super) fn run(mut self, inbox: &mpsc::Receiver<Message>) -> Ended {
        self.settle();
        self.writer.hand_over();
        while !self.is_drained() {
            // Where a deadline came first there is no message, and the scheduler is asked all the same.
            if let Some(first) = self.receive(inbox) {
                self.handle(first);
            }
            for _ in 1..MESSAGES_PER_TURN_MAX {
                match inbox.try_recv() {
                    Ok(message) => self.handle(message),
                    Err(_) => break,
                }
            }
            self.mend();
            self.file_again();
            self.answer_late();
            self.settle();
            self.writer.hand_over();
            self.snapshot_if_due();
            self.tidy();
            self.watch_disk();
            self.measure();
        }
        // Before the journal is closed and the workspace given free: what was just handed over stands on its own feet then.
        self.engine.release();
        let unwritten = self.health.unwell();
        // Another host would find the same disk.
        let farewell = unwritten.clone().map_or(Update::Leaving, |reason| Update::Failed { reason });
        self.fanout.end_all(&farewell);
        let remaining = self.remaining();
        if let Err(error) = self.writer.close() {
            tracing::error!(%error, "the journal could not be closed");
        }
        Ended { remaining, unwritten }
    }

    /// Runs that go on. Held ones do not, nor does one that has ended and whose file is still to be written.
    pub(super) fn remaining(&self) -> usize {
        self.world.runs().filter(|run| !run.facts().held && !run.status().is_terminal()).count()
    }

    /// The next message; `None` when a deadline came first.
    fn receive(&mut self, inbox: &mpsc::Receiver<Message>) -> Option<Message> {
        // The turn holds a sender of its own inbox (in the engine's sink), so that this cannot be disconnected.
        let Some(due) = self.due() else {
            let message = inbox.recv().ok();
            self.clock.woke(None);
            return message;
        };
        // Only what is done to attempts must not come all at once after a pause.
        let is_careful = self.timers.next(self.clock.now().mono).is_some();
        loop {
            let left = self.clock.until(due);
            let nap = if is_careful { left.min(NAP_LONGEST) } else { left };
            let message = inbox.recv_timeout(nap.to_std()).ok();
            if let Some(away) = self.clock.woke(is_careful.then_some(nap)) {
                self.gauge.forget_reading();
                tracing::warn!(away_ms = away.0, "this process was stopped, or the machine slept: all deadlines are later by that");
            }
            if message.is_some() || self.clock.now().mono >= due {
                return message;
            }
        }
    }

    /// The earliest deadline.
    fn due(&self) -> Option<Mono> {
        let timers = self.timers.next(self.clock.now().mono).filter(|_| self.health.records());
        let filing = self.filing_runs.values().filter_map(Unfiled::again).min();
        [timers, self.health.next(), filing, self.tidy_due(), self.disk_due(), self.measure_due(), self.late_answer_due()]
            .into_iter()
            .flatten()
            .min()
    }

    fn is_drained(&self) -> bool {
        let filed = || self.filing_runs.values().all(|run| run.again().is_some());
        // What a failed journal still owes is left to the next host, once it was tried.
        let written = || !self.health.is_healing() && (self.after.is_empty() && self.lookers.is_empty() || !self.health.records());
        self.on_exit == Some(OnExit::Now) || (self.awaited() == Some(0) && filed() && written())
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Command(command) => self.command(command),
            Message::Fact(fact) => self.fact(fact),
            Message::Journal(progress) => self.journal(progress),
            Message::Disks(disks) => self.disks(disks),
            Message::Machine(report) => self.measured(report),
            Message::Checked(answer) => self.checked(answer),
            Message::Filed(run, written) => self.filed(&run, written),
        }
    }

    /// Asks the scheduler until it has nothing more to say.
    fn settle(&mut self) {
        self.measure_first();
        for _ in 0..DECISIONS_PER_TURN_MAX {
            // Also when a record was refused just now.
            if !self.health.records() {
                return;
            }
            let effects = decide(&self.world, &self.timers, self.clock.now());
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                self.act(effect);
            }
        }
    }

    fn journal(&mut self, progress: journal::Progress) {
        match progress {
            journal::Progress::Synced(seq) => self.synced(seq),
            journal::Progress::Failed(failure) => self.journal_failed(&failure),
            journal::Progress::Healed { upto, reserve_spent } => self.journal_healed(upto, reserve_spent),
            journal::Progress::HealFailed(failure) => self.heal_failed(&failure),
            journal::Progress::Reserve(made) => self.reserve_made(made),
            journal::Progress::Snapshot(seq) => tracing::debug!(seq = seq.0, "snapshot"),
            journal::Progress::SnapshotFailed(failure) => tracing::warn!(%failure, "a snapshot could not be written"),
        }
    }

    /// Everything up to this record is durable.
    pub(super) fn synced(&mut self, seq: Seq) {
        self.world.set_synced(seq);
        self.fanout.synced(seq);
        self.answer_lookers(seq);
        while let Some(entry) = self.after.first_entry().filter(|entry| *entry.key() <= seq) {
            for after in entry.remove() {
                self.afterwards(after);
            }
        }
    }

    fn afterwards(&mut self, after: After) {
        match after {
            // Whoever asked may have gone away meanwhile.
            After::Submitted(reply, seen) => drop(reply.send(Ok(seen))),
            After::Answer(reply) => drop(reply.send(Ok(()))),
            After::Resumed(reply, runs) => drop(reply.send(Ok(runs))),
            After::Pruned(reply, runs) => drop(reply.send(Ok(runs))),
            After::File(run) => self.file(&run),
            After::Expect(id) => self.expect(&id),
        }
    }

    /// Takes an ended run out of the world and hands it to the filing thread.
    pub(super) fn file(&mut self, run: &RunId) {
        self.timers.forget(run);
        self.reuse.remove(run);
        let Some(state) = self.world.remove(run) else { return };
        let Some(head) = self.heads.remove(run) else { return };
        self.engine.forget(&self.workspace.run(run));
        self.file_run(run, state, head);
    }

    fn snapshot_if_due(&mut self) {
        if !self.writer.needs_snapshot() || !self.health.starts() {
            return;
        }
        // Writing the state of a run takes time in proportion to its nodes: as much must have happened meanwhile.
        let nodes: u64 = self.world.runs().map(|run| run.len() as u64).sum();
        if self.writer.records_since_snapshot() >= nodes * 2 {
            let lines = super::replay::snapshot_lines(&self.finished, &self.pruning, &self.world, self.filing_runs.values());
            self.writer.snapshot(lines, self.writer.last_seq());
        }
    }

    pub(super) fn command(&mut self, command: Command) {
        let intake = match &command {
            Command::Accept { .. } => self.health.for_runs(),
            // To prune is what helps a full disk: its records fit where those of a new run do not.
            Command::Cancel { .. } | Command::Resume { .. } | Command::Prune { .. } => self.health.for_changes(),
            Command::Follow { .. }
            | Command::Watch { .. }
            | Command::LogSources { .. }
            | Command::Prunable { .. }
            | Command::Pruned { .. }
            | Command::Tidy { .. }
            | Command::Tidied { .. }
            | Command::LookAtDisks
            | Command::Resources { .. }
            | Command::Look(_)
            | Command::Why { .. }
            | Command::Durations { .. }
            | Command::Settings { .. }
            | Command::Remaining { .. }
            | Command::Leave { .. } => Intake::Takes,
        };
        match (intake, command) {
            (Intake::Takes, command) => self.carry_out(command),
            (Intake::Later, command) => self.parked.push(command),
            (Intake::Refuses(why), Command::Accept { reply, .. }) => drop(reply.send(Err(why))),
            (Intake::Refuses(why), Command::Cancel { reply, .. }) => drop(reply.send(Err(why))),
            (Intake::Refuses(why), Command::Resume { reply, .. }) => drop(reply.send(Err(why))),
            (Intake::Refuses(why), Command::Prune { reply, .. }) => drop(reply.send(Err(why))),
            (
                Intake::Refuses(_),
                command @ (Command::Follow { .. }
                | Command::Watch { .. }
                | Command::LogSources { .. }
                | Command::Prunable { .. }
                | Command::Pruned { .. }
                | Command::Tidy { .. }
                | Command::Tidied { .. }
                | Command::LookAtDisks
                | Command::Resources { .. }
                | Command::Look(_)
                | Command::Why { .. }
                | Command::Durations { .. }
                | Command::Settings { .. }
                | Command::Remaining { .. }
                | Command::Leave { .. }),
            ) => self.carry_out(command),
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Accept { prepared, retry, reply } => self.accept(*prepared, retry.map(|reuse| *reuse), reply),
            Command::Cancel { run, kill, reply } => self.cancel(&run, kill, reply),
            Command::Resume { run, reply } => self.resume(run, reply),
            Command::Follow { reply, .. } if matches!(self.health, Health::Broken(_)) => drop(reply.send(Err(self.refusal()))),
            Command::Follow { run, sink, reply } => self.follow(run, sink, reply),
            Command::Watch { sink, reply } => self.watch(sink, reply),
            Command::LogSources { run, reply } => drop(reply.send(self.log_sources(&run))),
            Command::Prunable { reply } => drop(reply.send(Ok(self.prunable()))),
            Command::Prune { runs, reply } => self.prune(&runs, reply),
            Command::Pruned { runs } => self.pruned(&runs),
            Command::Tidy { reply } => self.tidy_now(reply),
            Command::Tidied { finished } => self.tidied(finished),
            Command::LookAtDisks => self.refresh_disk(),
            Command::Resources { reply } => self.show_resources(reply),
            Command::Look(look) => self.look(look),
            Command::Why { asked, reply } => drop(reply.send(self.why(&asked))),
            Command::Durations { reply } => drop(reply.send(Ok(self.world.durations().clone()))),
            Command::Settings { settings, capacity } => self.take_settings(&settings, capacity),
            Command::Remaining { reply } => {
                drop(reply.send(Ok(self.remaining())));
            }
            Command::Leave { on_exit, hand_over, reply } => {
                let attempts = self.leave(on_exit, hand_over);
                drop(reply.send(Ok(attempts)));
            }
        }
    }

    /// The run that was submitted with the same idempotency key.
    fn keyed(&self, prepared: &Prepared) -> Option<RunRow> {
        let asked = prepared.head.idempotency.as_ref()?;
        self.keys.get(&asked.key).and_then(|run| self.row_of(run))
    }

    fn accept(&mut self, prepared: Prepared, reuse: Option<Reuse>, reply: Reply<Box<RunSeen>>) {
        if self.closed {
            return drop(reply.send(Err(CommandError::Gone)));
        }
        if self.world.runs().len() >= self.queue_max {
            let reason = format!("{} runs are waiting or running already (host.max_queued in prismq.yaml)", self.queue_max);
            return drop(reply.send(Err(CommandError::Refused(Refused::Busy(reason)))));
        }
        // What it repeats may have been pruned while it was prepared.
        if let Some(from) = reuse.as_ref().map(Reuse::from).filter(|from| !self.is_finished(from)) {
            return drop(reply.send(Err(CommandError::UnknownRun(from.clone()))));
        }
        if let Some(known) = self.keyed(&prepared) {
            return drop(reply.send(Err(CommandError::KeyUsed(Box::new(known)))));
        }
        self.refresh_disk();
        self.take_devices();
        let (run, recorded) = (prepared.run.clone(), prepared.recorded);
        tracing::info!(%run, name = prepared.definition.name, "accepted");
        let workspace = self.workspace.root().to_string_lossy().into_owned();
        let mut state = RunState::new(run.clone(), prepared.definition, prepared.params, workspace);
        state.set_precedence(prepared.precedence);
        if prepared.order.is_some() {
            state.set_order(prepared.order);
        }
        self.world.insert(state);
        if let Some(idempotency) = &prepared.head.idempotency {
            self.keys.insert(idempotency.key.clone(), run.clone());
        }
        self.heads.insert(run.clone(), prepared.head);
        let committed = self.commit(&run, Event::RunSubmitted { pinned: prepared.pinned_hash });
        let Some((seq, seen)) = committed.zip(self.seen(&run)) else {
            self.forget(&run);
            return drop(reply.send(Err(self.refusal())));
        };
        recorded.store(true, Ordering::Release);
        self.after.entry(seq).or_default().push(After::Submitted(reply, Box::new(seen)));
        if let Some(reuse) = reuse {
            self.take_over(&run, reuse);
        }
    }

    pub(super) fn is_finished(&self, run: &RunId) -> bool {
        self.filing_runs.contains_key(run) || self.finished.get(run).is_some()
    }

    fn cancel(&mut self, run: &RunId, kill: bool, reply: Reply<()>) {
        let Some(state) = self.world.run(run) else {
            let known = self.filing_runs.contains_key(run) || self.finished.get(run).is_some();
            let answer = if known { Ok(()) } else { Err(CommandError::UnknownRun(run.clone())) };
            return drop(reply.send(answer));
        };
        let asked = state.facts().cancel;
        if state.status().is_terminal() || asked == Some(true) || (asked == Some(false) && !kill) {
            return drop(reply.send(Ok(())));
        }
        match self.commit(run, Event::RunCancelRequested { kill }) {
            Some(seq) => self.after.entry(seq).or_default().push(After::Answer(reply)),
            None => drop(reply.send(Err(self.refusal()))),
        }
    }

    fn resume(&mut self, run: Option<RunId>, reply: Reply<Vec<RunId>>) {
        self.refresh_disk();
        let held = |state: &RunState| state.needs_resume() && !state.status().is_terminal();
        let runs: Vec<RunId> = match &run {
            None => self.world.runs().filter(|state| held(state)).map(|state| state.id().clone()).collect(),
            Some(run) => match self.world.run(run) {
                Some(state) if held(state) => vec![run.clone()],
                // It is on its way to its end; whoever wanted it to go on is told of that.
                Some(state) if state.facts().cancel.is_some() => return drop(reply.send(Ok(Vec::new()))),
                Some(_) => return drop(reply.send(Err(CommandError::NotHeld(run.clone())))),
                None if self.filing_runs.contains_key(run) || self.finished.get(run).is_some() => {
                    return drop(reply.send(Err(CommandError::NotHeld(run.clone()))));
                }
                None => return drop(reply.send(Err(CommandError::UnknownRun(run.clone())))),
            },
        };
        let last = runs.iter().filter_map(|run| self.commit(run, Event::RunResumed)).max();
        match last {
            _ if !self.health.records() => drop(reply.send(Err(self.refusal()))),
            Some(seq) => self.after.entry(seq).or_default().push(After::Resumed(reply, runs)),
            None => drop(reply.send(Ok(runs))),
        }
    }
}
