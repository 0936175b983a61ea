//! What the host does when its journal fails: takes back what nobody was promised, keeps what happened, and has the journal healed.
//!
//! [`health`](super::health) decides; here is carried out.

use std::collections::BTreeMap;

use super::handle::CommandError;
use super::health::{Chore, Health, Intake};
use super::replay::snapshot_lines;
use super::turn::{After, Turn};
use super::update::Update;
use crate::event::Event;
use crate::ids::{NodeIndex, RunId, Seq};
use crate::journal::JournalFailure;

impl Turn {
    /// The journal takes nothing more.
    pub(super) fn journal_failed(&mut self, failure: &JournalFailure) {
        tracing::error!(%failure, "the journal failed");
        let chore = self.health.failed(failure.kind, failure.to_string(), self.clock.now().mono);
        self.roll_back(failure);
        self.health_changed(chore);
    }

    /// Takes back the runs whose submission is not durable: those who submitted them are told so, and nothing of them appears later.
    fn roll_back(&mut self, failure: &JournalFailure) {
        let refusal = || CommandError::from_failure(failure);
        let after = std::mem::take(&mut self.after);
        let mut kept: BTreeMap<Seq, Vec<After>> = BTreeMap::new();
        for (seq, after) in after.into_iter().flat_map(|(seq, list)| list.into_iter().map(move |after| (seq, after))) {
            match after {
                After::Submitted(reply, seen) => {
                    self.forget(&seen.row.run_id);
                    // Whoever asked may have gone away meanwhile.
                    drop(reply.send(Err(refusal())));
                }
                // They are in the state already, and answered when that is on the disk.
                // A hint, and no more.
                After::Expect(_) => {}
                After::Answer(_) | After::Resumed(..) | After::Pruned(..) | After::File(_) => kept.entry(seq).or_default().push(after),
            }
        }
        self.after = kept;
    }

    /// Forgets a run that was never accepted.
    pub(super) fn forget(&mut self, run: &RunId) {
        tracing::warn!(%run, "was not accepted: it could not be written down");
        self.timers.forget(run);
        self.reuse.remove(run);
        self.heads.remove(run);
        self.world.remove(run);
        self.backlog.retain(|(of, _)| of != run);
    }

    /// A new segment was begun: everything that was taken is durable.
    pub(super) fn journal_healed(&mut self, upto: Seq, reserve_spent: bool) {
        tracing::warn!(seq = upto.0, "the journal goes on in a new segment");
        let chore = self.health.healed(reserve_spent, self.clock.now().mono);
        self.synced(upto);
        self.health_changed(Some(chore));
        for (run, event) in std::mem::take(&mut self.backlog) {
            self.commit_or_keep(&run, event);
        }
        self.unpark();
    }

    /// No new segment could be begun.
    pub(super) fn heal_failed(&mut self, failure: &JournalFailure) {
        tracing::error!(%failure, "the journal could not be begun anew");
        self.health.heal_failed(failure.kind, failure.to_string(), self.clock.now().mono);
        self.health_changed(None);
        self.refuse_waiting();
        self.unpark();
    }

    /// The ballast is there again, or there is no room for it yet.
    pub(super) fn reserve_made(&mut self, made: bool) {
        if !made {
            tracing::debug!("there is no room for the ballast");
        }
        self.health.reserve(made, self.clock.now().mono);
        self.health_changed(None);
    }

    /// Does what is due for the journal.
    pub(super) fn mend(&mut self) {
        let chore = self.health.due(self.clock.now().mono);
        if chore.is_some() {
            self.health_changed(chore);
        }
    }

    /// Says how it stands now, and asks the journal for what is to be done.
    fn health_changed(&mut self, chore: Option<Chore>) {
        let shown = self.health.shown();
        self.world.set_accepting(self.health.starts() && self.on_exit.is_none());
        if self.board.shown() != shown {
            tracing::info!(status = ?shown.status, reason = shown.reason, "health");
            self.fanout.tell_all(&Update::Host(shown.clone()));
            self.board.show(shown);
            if self.health.starts() {
                self.file_again_now();
            }
        }
        if let Health::Broken(reason) = &self.health {
            let reason = reason.clone();
            self.fanout.end_all(&Update::Failed { reason });
            self.refuse_waiting();
            self.unpark();
        }
        match chore {
            None => {}
            Some(Chore::Heal) => {
                let Self { writer, finished, pruning, world, filing_runs, .. } = self;
                writer.heal(|| snapshot_lines(finished, pruning, world, filing_runs.values()));
            }
            Some(Chore::Reserve) => self.writer.restore_reserve(),
        }
    }

    /// Answers those who wait for a record that may not become durable. What they asked for is in the state all the same, and becomes
    /// durable if the journal ever heals: they are told that it is not certain.
    fn refuse_waiting(&mut self) {
        let Intake::Refuses(_) = self.health.for_changes() else { return };
        self.answer_all_lookers();
        let after = std::mem::take(&mut self.after);
        for (seq, after) in after.into_iter().flat_map(|(seq, list)| list.into_iter().map(move |after| (seq, after))) {
            match after {
                After::File(_) => self.after.entry(seq).or_default().push(after),
                After::Expect(_) => {}
                After::Submitted(reply, seen) => {
                    self.forget(&seen.row.run_id);
                    drop(reply.send(Err(self.refusal())));
                }
                After::Answer(reply) => drop(reply.send(Err(self.refusal()))),
                After::Resumed(reply, _) => drop(reply.send(Err(self.refusal()))),
                After::Pruned(reply, _) => drop(reply.send(Err(self.refusal()))),
            }
        }
    }

    /// Why a change is refused now.
    pub(super) fn refusal(&self) -> CommandError {
        match self.health.for_changes() {
            Intake::Refuses(refusal) => refusal,
            Intake::Takes | Intake::Later => CommandError::Journal(self.health.shown().reason.unwrap_or_default()),
        }
    }

    /// Takes up the requests that came during the healing.
    fn unpark(&mut self) {
        for command in std::mem::take(&mut self.parked) {
            self.command(command);
        }
    }

    /// Commits what happened whether or not it can be written down now; where it cannot, it is kept until it can.
    pub(super) fn commit_or_keep(&mut self, run: &RunId, event: Event) {
        if !self.health.records() || self.try_commit(run, &event).is_refused() {
            self.backlog.push((run.clone(), event));
        }
    }

    /// Whether the end of a node's attempt is known and could not be written down yet.
    pub(super) fn has_ended_unwritten(&self, run: &RunId, node: NodeIndex) -> bool {
        self.backlog.iter().any(|(of, event)| of == run && matches!(event, Event::AttemptEnded { node: ended, .. } if *ended == node))
    }
}
