//! The host's loop: a message becomes events, events are committed, the scheduler decides, effects are carried out.
//!
//! Everything here runs on one thread. `select` is the receive; `decide` is [`crate::scheduler::decide`]; `act` is in `act.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use super::clock::Clock;
use super::fanout::Fanout;
use super::filing::Filing;
use super::handle::{Command, CommandError, Reply};
use super::index::{Finished, RunRow};
use super::launch::Launcher;
use super::leave::OnExit;
use super::prepare::{Prepared, Refused, RunHead};
use super::retry::Reuse;
use super::runfile;
use super::update::{NodeChange, Update};
use super::workspace::Workspace;
use crate::engine::{Engine, Fact};
use crate::event::Event;
use crate::ids::{RunId, Seq};
use crate::journal;
use crate::run::RunState;
use crate::scheduler::{Timers, World, decide};

/// What wakes the loop.
pub(super) enum Message {
    /// Somebody asks for something.
    Command(Command),
    /// The engine reports.
    Fact(Fact),
    /// The journal reports.
    Journal(journal::Progress),
    /// A finished run's file is written.
    Filed(Box<RunRow>),
}

/// Messages handled before the scheduler is asked: facts come in bursts, and one decision serves them all.
const MESSAGES_PER_TURN_MAX: usize = 1024;

/// Decisions in a row before messages are looked at again. Each decision lets the next see its results; a graph settles in a handful.
const DECISIONS_PER_TURN_MAX: usize = 64;

/// Runs with more nodes than this do not tell a new follower what happened before.
const TOLD_SO_FAR_MAX: u32 = 1000;

/// What happens once a record is durable.
pub(super) enum After {
    /// Answer somebody.
    Answer(Reply<()>),
    /// Answer a resume.
    Resumed(Reply<Vec<RunId>>, Vec<RunId>),
    /// File the run that ended.
    File(RunId),
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
    pub(super) writer: journal::Writer,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) launcher: Launcher,
    pub(super) fanout: Fanout,
    pub(super) filing: Filing,
    pub(super) after: BTreeMap<Seq, Vec<After>>,
    /// Runs that have ended and whose file is being written.
    pub(super) filing_runs: BTreeMap<RunId, RunRow>,
    /// Set when the journal failed: nothing is started or accepted any more.
    pub(super) failed: Option<String>,
    /// Nothing new is started; the loop ends when this has nothing to wait for.
    pub(super) on_exit: Option<OnExit>,
    /// Nothing new is accepted either.
    pub(super) closed: bool,
    pub(super) queue_max: usize,
}

impl Turn {
    /// Runs until it was told to drain and nothing is left to wait for. Gives the number of runs that a successor should go on with.
    pub(super) fn run(mut self, inbox: &mpsc::Receiver<Message>) -> usize {
        self.settle();
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
            self.settle();
            self.snapshot_if_due();
        }
        // Before the journal is closed and the workspace given free: what was just handed over stands on its own feet then.
        self.engine.release();
        self.fanout.end_all(&Update::Leaving);
        let remaining = self.remaining();
        if let Err(error) = self.writer.close() {
            tracing::error!(%error, "the journal could not be closed");
        }
        remaining
    }

    /// Runs that go on; held ones do not.
    fn remaining(&self) -> usize {
        self.world.runs().filter(|run| !run.facts().held).count()
    }

    /// The next message; `None` when a deadline came first.
    fn receive(&mut self, inbox: &mpsc::Receiver<Message>) -> Option<Message> {
        // The turn holds a sender of its own inbox (in the engine's sink), so that this cannot be disconnected.
        let Some(due) = self.timers.next(self.clock.now().mono) else {
            let message = inbox.recv().ok();
            self.clock.woke(None);
            return message;
        };
        loop {
            let nap = self.clock.nap(due);
            let message = inbox.recv_timeout(nap.to_std()).ok();
            if let Some(away) = self.clock.woke(Some(nap)) {
                tracing::warn!(away_ms = away.0, "this process was stopped, or the machine slept: all deadlines are later by that");
            }
            if message.is_some() || self.clock.now().mono >= due {
                return message;
            }
        }
    }

    fn is_drained(&self) -> bool {
        let settled = || self.filing_runs.is_empty() && (self.after.is_empty() || self.failed.is_some());
        self.on_exit == Some(OnExit::Now) || self.awaited() == Some(0) && settled()
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Command(command) => self.command(command),
            Message::Fact(fact) => self.fact(fact),
            Message::Journal(progress) => self.journal(progress),
            Message::Filed(row) => self.filed(*row),
        }
    }

    /// Asks the scheduler until it has nothing more to say.
    fn settle(&mut self) {
        if self.failed.is_some() {
            return;
        }
        for _ in 0..DECISIONS_PER_TURN_MAX {
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
            journal::Progress::Synced(seq) => {
                self.world.set_synced(seq);
                self.fanout.synced(seq);
                while let Some(entry) = self.after.first_entry().filter(|entry| *entry.key() <= seq) {
                    for after in entry.remove() {
                        self.afterwards(after);
                    }
                }
            }
            journal::Progress::Failed(failure) => {
                tracing::error!(%failure, "the journal failed: nothing more is started or accepted");
                self.failed = Some(failure.to_string());
                self.world.set_accepting(false);
                for after in std::mem::take(&mut self.after).into_values().flatten() {
                    self.refuse(after);
                }
                self.fanout.end_all(&Update::Failed { reason: failure.to_string() });
            }
            journal::Progress::Snapshot(seq) => tracing::debug!(seq = seq.0, "snapshot"),
            journal::Progress::SnapshotFailed(failure) => tracing::warn!(%failure, "a snapshot could not be written"),
        }
    }

    fn afterwards(&mut self, after: After) {
        match after {
            // Whoever asked may have gone away meanwhile.
            After::Answer(reply) => drop(reply.send(Ok(()))),
            After::Resumed(reply, runs) => drop(reply.send(Ok(runs))),
            After::File(run) => self.file(&run),
        }
    }

    fn refuse(&self, after: After) {
        let reason = self.failed.clone().unwrap_or_default();
        match after {
            After::Answer(reply) => drop(reply.send(Err(CommandError::Journal(reason)))),
            After::Resumed(reply, _) => drop(reply.send(Err(CommandError::Journal(reason)))),
            After::File(_) => {}
        }
    }

    /// Takes an ended run out of the world and hands it to the filing thread.
    pub(super) fn file(&mut self, run: &RunId) {
        self.timers.forget(run);
        self.reuse.remove(run);
        let Some(state) = self.world.remove(run) else { return };
        let Some(head) = self.heads.remove(run) else { return };
        self.filing_runs.insert(run.clone(), runfile::row(&state, &head));
        self.filing.file(state, head);
    }

    fn filed(&mut self, row: RunRow) {
        let run = row.run_id.clone();
        tracing::info!(%run, status = row.status.as_str(), "ended");
        self.filing_runs.remove(&run);
        self.finished.push(&row);
        self.fanout.end(&run, &Update::Ended(Box::new(row)));
    }

    fn snapshot_if_due(&mut self) {
        // Writing the state of a run takes time in proportion to its nodes: as much must have happened meanwhile.
        let nodes: u64 = self.world.runs().map(|run| run.len() as u64).sum();
        let due = self.writer.needs_snapshot() && self.writer.records_since_snapshot() >= nodes * 2;
        if due && self.failed.is_none() && self.filing_runs.is_empty() {
            let lines = super::replay::snapshot_lines(&self.finished, &self.world);
            self.writer.snapshot(lines, self.writer.last_seq());
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Accept { prepared, retry, reply } => self.accept(*prepared, retry.map(|reuse| *reuse), reply),
            Command::Cancel { run, kill, reply } => self.cancel(&run, kill, reply),
            Command::Resume { run, reply } => self.resume(run, reply),
            Command::Follow { reply, .. } if self.failed.is_some() => {
                drop(reply.send(Err(CommandError::Journal(self.failed.clone().unwrap_or_default()))));
            }
            Command::Follow { run, sink, reply } => {
                let first = self.describe(&run);
                let known = first.is_some();
                if let Some(first) = first {
                    self.fanout.add(run.clone(), first, sink);
                    self.tell_so_far(&run);
                }
                drop(reply.send(if known { Ok(()) } else { Err(CommandError::UnknownRun(run)) }));
            }
            Command::Remaining { reply } => {
                drop(reply.send(Ok(self.remaining())));
            }
            Command::Leave { on_exit, hand_over, reply } => {
                let attempts = self.leave(on_exit, hand_over);
                drop(reply.send(Ok(attempts)));
            }
        }
    }

    /// Tells what has happened to the nodes of a run before it was followed; followers pass over what they know already.
    fn tell_so_far(&mut self, run: &RunId) {
        let Some(state) = self.world.run(run) else { return };
        let (done, total) = state.progress();
        if total > TOLD_SO_FAR_MAX {
            return;
        }
        let folder = self.workspace.run(run);
        let progress = (u64::from(done), u64::from(total));
        let mut changes: Vec<_> = state.nodes().filter_map(|(node, _)| NodeChange::so_far(&state.row(node), &folder, progress)).collect();
        changes.sort_by_key(|change| change.at);
        // Told when it is durable, like everything else.
        let last = self.writer.last_seq();
        for change in changes {
            self.fanout.publish(last, run, Update::Node(Box::new(change)));
        }
        self.fanout.synced(self.world.synced());
    }

    /// How a run is at this moment.
    fn describe(&self, run: &RunId) -> Option<Update> {
        if let (Some(state), Some(head)) = (self.world.run(run), self.heads.get(run)) {
            return Some(Update::Run(Box::new(runfile::row(state, head))));
        }
        // Of a run that is being filed the end is told when the file is there.
        let filing = self.filing_runs.get(run).map(|row| Update::Run(Box::new(row.clone())));
        filing.or_else(|| self.finished.get(run).map(|row| Update::Ended(Box::new(row))))
    }

    fn accept(&mut self, prepared: Prepared, reuse: Option<Reuse>, reply: Reply<()>) {
        if self.closed {
            return drop(reply.send(Err(CommandError::Gone)));
        }
        if let Some(reason) = &self.failed {
            return drop(reply.send(Err(CommandError::Journal(reason.clone()))));
        }
        if self.world.runs().count() >= self.queue_max {
            let reason = format!("{} runs are waiting or running already (host.queue in prismq.yaml)", self.queue_max);
            return drop(reply.send(Err(CommandError::Refused(Refused::Busy(reason)))));
        }
        let run = prepared.run.clone();
        tracing::info!(%run, name = prepared.definition.name, "accepted");
        let workspace = self.workspace.root().to_string_lossy().into_owned();
        self.world.insert(RunState::new(run.clone(), prepared.definition, prepared.params, workspace));
        self.heads.insert(run.clone(), prepared.head);
        match self.commit(&run, Event::RunSubmitted { pinned: prepared.pinned_hash }) {
            Some(seq) => self.after.entry(seq).or_default().push(After::Answer(reply)),
            None => drop(reply.send(Err(CommandError::Journal(self.failed.clone().unwrap_or_default())))),
        }
        if let Some(reuse) = reuse {
            self.take_over(&run, reuse);
        }
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
            None => drop(reply.send(Err(CommandError::Journal(self.failed.clone().unwrap_or_default())))),
        }
    }

    fn resume(&mut self, run: Option<RunId>, reply: Reply<Vec<RunId>>) {
        let held = |state: &RunState| state.needs_resume() && !state.status().is_terminal();
        let runs: Vec<RunId> = match &run {
            None => self.world.runs().filter(|state| held(state)).map(|state| state.id().clone()).collect(),
            Some(run) => match self.world.run(run) {
                Some(state) if held(state) => vec![run.clone()],
                Some(_) => return drop(reply.send(Err(CommandError::NotHeld(run.clone())))),
                None if self.filing_runs.contains_key(run) || self.finished.get(run).is_some() => {
                    return drop(reply.send(Err(CommandError::NotHeld(run.clone()))));
                }
                None => return drop(reply.send(Err(CommandError::UnknownRun(run.clone())))),
            },
        };
        let last = runs.iter().filter_map(|run| self.commit(run, Event::RunResumed)).max();
        match last {
            Some(seq) => self.after.entry(seq).or_default().push(After::Resumed(reply, runs)),
            None => drop(reply.send(Ok(runs))),
        }
    }
}
