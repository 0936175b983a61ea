//! When those who look are answered: once everything that the answer shows is on the disk, so that nothing is shown that a power cut could
//! take back. Who looks at one run does not wait for what happens to others. A slow disk holds them up for a moment only: then the answer
//! leaves out what is not on the disk yet, where it can.

use std::collections::{BTreeSet, VecDeque};

use super::handle::{CommandError, Reply};
use super::index::RunRow;
use super::turn::{After, Turn};
use crate::event::RunStatus;
use crate::ids::{RunId, Seq};
use crate::units::{DurationMs, Mono};

/// How long somebody who looks waits for the disk where there is an answer without it.
const PATIENCE: DurationMs = DurationMs(40);

/// Somebody who waits for an answer.
pub(super) struct Looker {
    /// The last record that the answer shows.
    seq: Seq,
    /// When the other answer is given, where there is one.
    late_at: Option<Mono>,
    answer: Box<dyn FnOnce(When<'_>) + Send>,
}

/// When an answer is given.
enum When<'turn> {
    /// Everything that it shows is on the disk.
    Durable,
    /// The disk is slow.
    Late(&'turn Turn),
}

/// What of runs is not on the disk yet. A result may be known before, and is not told before.
#[derive(Debug, Default)]
pub(super) struct Undurable {
    submitted: BTreeSet<RunId>,
    ended: BTreeSet<RunId>,
}

impl Undurable {
    /// A row without what is not on the disk; none where nothing of the run is.
    pub(super) fn without(&self, row: RunRow) -> Option<RunRow> {
        if self.submitted.contains(&row.run_id) {
            return None;
        }
        if !self.ended.contains(&row.run_id) {
            return Some(row);
        }
        let status = if row.started_at.is_some() { RunStatus::Running } else { RunStatus::Queued };
        Some(RunRow { status, completed_at: None, duration_seconds: None, exit_code: None, error_message: None, reason: None, ..row })
    }
}

impl Turn {
    /// Answers once everything that was recorded of the run so far is durable; at once where the journal takes no records.
    pub(super) fn show<T: Send + 'static>(&mut self, run: &RunId, reply: Reply<T>, answer: Result<T, CommandError>) {
        self.show_by(self.last_of(run), None, reply, answer, |_| Err(CommandError::Gone));
    }

    /// The same, but after a moment the late answer.
    pub(super) fn show_soon<T: Send + 'static>(
        &mut self,
        run: &RunId,
        reply: Reply<T>,
        answer: Result<T, CommandError>,
        late: impl FnOnce(&Self) -> Result<T, CommandError> + Send + 'static,
    ) {
        let late_at = self.clock.now().mono.plus(PATIENCE);
        self.show_by(self.last_of(run), Some(late_at), reply, answer, late);
    }

    /// The same with all runs: answers once everything that was recorded so far is durable, and after a moment with the late answer.
    pub(super) fn show_all_soon<T: Send + 'static>(
        &mut self,
        reply: Reply<T>,
        answer: Result<T, CommandError>,
        late: impl FnOnce(&Self) -> Result<T, CommandError> + Send + 'static,
    ) {
        let late_at = self.clock.now().mono.plus(PATIENCE);
        self.show_by(self.writer.last_seq(), Some(late_at), reply, answer, late);
    }

    /// The last record of a run. One that has left the world is on the disk, and so is one of which nothing happened since the host began.
    /// That a run is gone may be in any record.
    fn last_of(&self, run: &RunId) -> Seq {
        match self.world.run(run) {
            Some(state) => state.last_record(),
            None if self.is_finished(run) => Seq(0),
            // Asked of the journal itself: a new host begins it with records that nobody is told of.
            None => self.writer.last_seq(),
        }
    }

    fn show_by<T: Send + 'static>(
        &mut self,
        seq: Seq,
        late_at: Option<Mono>,
        reply: Reply<T>,
        answer: Result<T, CommandError>,
        late: impl FnOnce(&Self) -> Result<T, CommandError> + Send + 'static,
    ) {
        if seq <= self.writer.synced_seq() || !self.health.records() {
            // Whoever asked may have gone away meanwhile.
            return drop(reply.send(answer));
        }
        let answer = move |when: When<'_>| {
            let answer = match when {
                When::Durable => answer,
                When::Late(turn) => late(turn),
            };
            drop(reply.send(answer));
        };
        self.lookers.push_back(Looker { seq, late_at, answer: Box::new(answer) });
    }

    /// Everything up to this record is durable.
    pub(super) fn answer_lookers(&mut self, seq: Seq) {
        if self.lookers.is_empty() {
            return;
        }
        let (durable, waiting): (VecDeque<Looker>, _) = std::mem::take(&mut self.lookers).into_iter().partition(|looker| looker.seq <= seq);
        self.lookers = waiting;
        durable.into_iter().for_each(|looker| (looker.answer)(When::Durable));
    }

    /// The journal takes no records any more: looking works to the last.
    pub(super) fn answer_all_lookers(&mut self) {
        for looker in std::mem::take(&mut self.lookers) {
            (looker.answer)(When::Durable);
        }
    }

    /// When the first of them has waited long enough.
    pub(super) fn late_answer_due(&self) -> Option<Mono> {
        self.lookers.iter().find_map(|looker| looker.late_at)
    }

    /// Called after each turn of the loop.
    pub(super) fn answer_late(&mut self) {
        if self.lookers.is_empty() {
            return;
        }
        let now = self.clock.now().mono;
        let is_late = |looker: &Looker| looker.late_at.is_some_and(|at| at <= now);
        let (late, waiting): (VecDeque<Looker>, _) = std::mem::take(&mut self.lookers).into_iter().partition(is_late);
        self.lookers = waiting;
        late.into_iter().for_each(|looker| (looker.answer)(When::Late(self)));
    }

    /// What of runs is not on the disk yet.
    pub(super) fn undurable(&self) -> Undurable {
        let mut undurable = Undurable::default();
        for after in self.after.values().flatten() {
            match after {
                After::Submitted(_, seen) => drop(undurable.submitted.insert(seen.row.run_id.clone())),
                After::File(run) => drop(undurable.ended.insert(run.clone())),
                After::Answer(_) | After::Resumed(..) | After::Pruned(..) | After::Expect(_) => {}
            }
        }
        undurable
    }

    /// Whether a run was submitted and that is not on the disk.
    pub(super) fn is_just_submitted(&self, run: &RunId) -> bool {
        self.after.values().flatten().any(|after| matches!(after, After::Submitted(_, new) if new.row.run_id == *run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_on_the_disk_is_left_out() {
        let id = |at: u32| RunId::new(crate::units::Timestamp::from_micros(0), at);
        let row = |at: u32| -> RunRow {
            let text = format!(
                r#"{{"run_id": "{}", "status": "failed", "created_at": "2026-11-20T08:00:00Z", "started_at": "2026-11-20T08:00:01Z",
                    "completed_at": "2026-11-20T08:00:02Z", "duration_seconds": 1.0, "exit_code": 1, "error_message": "m: exit code 1",
                    "nodes": {{"failed": 1}}}}"#,
                id(at)
            );
            serde_json::from_str(&text).expect("a row")
        };
        let undurable = Undurable { submitted: BTreeSet::from([id(1)]), ended: BTreeSet::from([id(1), id(2), id(3)]) };
        assert_eq!(undurable.without(row(1)), None);
        let shown = undurable.without(row(2)).expect("it is there");
        assert_eq!((shown.status, shown.completed_at, shown.exit_code, shown.error_message), (RunStatus::Running, None, None, None));
        let never_started = undurable.without(RunRow { started_at: None, ..row(3) });
        assert_eq!(never_started.map(|row| row.status), Some(RunStatus::Queued));
        assert_eq!(undurable.without(row(4)), Some(row(4)));
    }
}
