//! The loop's part: which runs may go, their records, and what of them is still there.

use std::collections::{BTreeMap, BTreeSet};

use super::super::handle::{CommandError, Reply};
use super::super::record;
use super::super::turn::{After, Turn};
use super::super::watch::Change;
use super::choose::Needed;
use super::{Prunable, held_by};
use crate::ids::RunId;
use crate::journal::{Entry, Urgency};

impl Turn {
    /// What somebody who wants to prune has to know.
    pub(in super::super) fn prunable(&self) -> Prunable {
        Prunable { finished: self.finished.clone(), needed: self.needed(), leftovers: self.pruning.clone() }
    }

    /// Finished runs that must stay.
    fn needed(&self) -> BTreeMap<RunId, Needed> {
        let live = self.heads.iter().filter_map(|(run, head)| Some((run, head.retry_of.as_ref()?)));
        let mut needed = held_by(live);
        for run in self.world.runs() {
            needed.extend(held_by(run.results_of().iter().map(|earlier| (run.id(), earlier))));
        }
        // The heads of runs that are being filed are with the filing thread.
        needed.extend(held_by(self.filing_runs.iter().flat_map(|(run, unfiled)| unfiled.takes_from().map(move |earlier| (run, earlier)))));
        needed.extend(self.fanout.followed().map(|run| (run.clone(), Needed::Followed)));
        needed
    }

    /// Forgets finished runs and says so in the journal. The answer, when the records are durable, names those that went: others have become
    /// needed since, or are gone.
    pub(in super::super) fn prune(&mut self, wanted: &BTreeSet<RunId>, reply: Reply<BTreeSet<RunId>>) {
        if self.on_exit.is_some() {
            return drop(reply.send(Err(CommandError::Gone)));
        }
        if !self.health.records() {
            return drop(reply.send(Err(self.refusal())));
        }
        let needed = self.needed();
        let mut gone = BTreeSet::new();
        let mut last = None;
        for run in self.finished.among(wanted).into_iter().filter(|run| !needed.contains_key(run)) {
            let at = self.clock.now().wall;
            let urgency = Urgency::Now;
            let entry = Entry { kind: record::RUN_PRUNE, run: Some(&run), node: None, attempt: None, data: None, at, urgency };
            match self.writer.append(entry) {
                Ok(seq) => last = Some(seq),
                Err(error) => {
                    tracing::error!(%run, %error, "a run could not be pruned");
                    break;
                }
            }
            tracing::info!(%run, "pruned");
            gone.insert(run);
        }
        self.finished.remove(&gone);
        self.pruning.extend(gone.iter().cloned());
        if !gone.is_empty() {
            self.fanout.change(|| Change::Removed(gone.iter().cloned().collect()));
        }
        match last {
            Some(seq) => self.after.entry(seq).or_default().push(After::Pruned(reply, gone)),
            None => drop(reply.send(Ok(gone))),
        }
    }

    /// The folders of pruned runs are gone.
    pub(in super::super) fn pruned(&mut self, runs: &BTreeSet<RunId>) {
        self.pruning.retain(|run| !runs.contains(run));
    }
}
