//! `prune` and `retention:`: finished runs go, the oldest first.
//!
//! ```text
//!   rows ──▶ choose (pure) ──▶ Turn: record `run.prune`, forget the row ── synced ──▶ remove the folder ──▶ Turn: it is gone
//! ```
//!
//! The record is durable before the first file goes. A crash in between leaves a folder that no row names: the journal (or its snapshot)
//! still says which, and the next host, or the next `prune`, removes it. Segments are not rewritten. Deciding, measuring and removing is done
//! by whoever asks, on its own thread; the host's loop only checks and writes records.

mod choose;
mod folder;
mod retention;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use self::choose::{Because, Needed, Verdict, choose};
use super::clock;
use super::handle::{Command, CommandError, Handle};
use super::index::{Finished, RunRow};
use super::offline::Snapshot;
use super::workspace::{Workspace, sync_folder};
use crate::event::RunStatus;
use crate::ids::RunId;
use crate::settings::Retention;
use crate::units::{Bytes, Timestamp};

pub(super) use retention::Tidying;

/// What of finished runs stays; nothing said: everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Keep {
    /// Runs that ended so many days ago, or longer, go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// The oldest go until the folders of the others take at most so much. The newest stays in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
}

impl From<Retention> for Keep {
    fn from(retention: Retention) -> Self {
        Self { days: retention.keep_days, size: retention.keep_size }
    }
}

/// What a `prune` did, or would do.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Runs that went, the oldest first.
    pub pruned: Vec<PrunedRun>,
    /// Runs that the limits would let go, and that stay.
    pub kept: Vec<KeptRun>,
    /// Runs that are forgotten while something of their folder could not be removed.
    pub failed: Vec<FailedRun>,
    /// What the folders of the pruned runs took.
    pub bytes: Bytes,
    /// Number of finished runs that stay.
    pub remaining: u64,
}

/// A run that went, or would.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrunedRun {
    /// Its id.
    pub run_id: RunId,
    /// What ran.
    pub name: String,
    /// How it ended.
    pub status: RunStatus,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// What its folder took.
    pub bytes: Bytes,
    /// Why it goes, in words.
    pub reason: String,
}

/// A run that the limits would let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRun {
    /// Its id.
    pub run_id: RunId,
    /// Why it stays, in words.
    pub reason: String,
}

/// A run whose folder is not quite gone. The next `prune` tries again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRun {
    /// Its id.
    pub run_id: RunId,
    /// What the system said.
    pub error: String,
}

/// What the host's loop knows of finished runs and of those that hold on to them.
pub(super) struct Prunable {
    finished: Finished,
    needed: BTreeMap<RunId, Needed>,
    /// Forgotten runs whose folder may still be there.
    leftovers: BTreeSet<RunId>,
}

/// What a `prune` would do. Asks no host and changes nothing.
#[must_use]
pub fn dry_run(workspace: &Workspace, snapshot: &Snapshot, keep: Keep) -> Report {
    let (finished, live) = snapshot.prunable();
    would_go(workspace, finished, held_by(live.iter().map(|(run, earlier)| (run, earlier))), keep)
}

fn would_go(workspace: &Workspace, finished: &Finished, needed: BTreeMap<RunId, Needed>, keep: Keep) -> Report {
    let mut sizes = Sizes::new(workspace, &|| false);
    let (verdicts, kept) = choose(finished.rows().collect(), keep, clock::wall(), needed, |run| sizes.of(run));
    let mut report = Report { dry_run: true, ..Report::new(&verdicts, kept) };
    for verdict in verdicts.iter().filter(|verdict| verdict.needed.is_none()) {
        let bytes = sizes.of(&verdict.row.run_id);
        report.add(pruned_run(&verdict.row, verdict.because, keep, bytes));
    }
    report
}

/// Runs that have results which live runs took over, or may yet take over.
fn held_by<'a>(live: impl IntoIterator<Item = (&'a RunId, &'a RunId)>) -> BTreeMap<RunId, Needed> {
    live.into_iter().map(|(run, earlier)| (earlier.clone(), Needed::ResultsOf(run.clone()))).collect()
}

impl Handle {
    /// Removes finished runs. What is left of runs that went before is removed too. Takes as long as the removal does.
    ///
    /// # Errors
    /// When the host is leaving or cannot write.
    pub fn prune(&self, keep: Keep) -> Result<Report, CommandError> {
        /// One sync for all of them, and few enough to be removed soon after.
        const BATCH: usize = 64;
        self.prune_at(keep, Pace { batch: BATCH, stop: &|| false, rest: &|| () }).map(|(report, _)| report)
    }

    /// What [`prune`](Self::prune) would do.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn would_prune(&self, keep: Keep) -> Result<Report, CommandError> {
        let Prunable { finished, needed, leftovers: _ } = self.ask(|reply| Command::Prunable { reply })?;
        Ok(would_go(self.workspace(), &finished, needed, keep))
    }

    /// [`prune`](Self::prune) at another pace; whether it came to its end.
    fn prune_at(&self, keep: Keep, pace: Pace<'_>) -> Result<(Report, bool), CommandError> {
        let stop = pace.stop;
        let Prunable { finished, needed, leftovers } = self.ask(|reply| Command::Prunable { reply })?;
        let workspace = self.workspace();
        let mut report = Report::default();
        if !self.remove(leftovers.iter(), &mut report, stop) {
            return Ok((report, false));
        }
        let mut sizes = Sizes::new(workspace, stop);
        let (verdicts, kept) = choose(finished.rows().collect(), keep, clock::wall(), needed, |run| sizes.of(run));
        if sizes.stopped {
            return Ok((report, false));
        }
        let failed = std::mem::take(&mut report.failed);
        report = Report { failed, ..Report::new(&verdicts, kept) };
        let going: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.needed.is_none()).collect();
        for (at, batch) in going.chunks(pace.batch).enumerate() {
            if at > 0 {
                (pace.rest)();
            }
            if stop() {
                return Ok((report, false));
            }
            let runs: BTreeSet<RunId> = batch.iter().map(|verdict| verdict.row.run_id.clone()).collect();
            let gone = self.ask(|reply| Command::Prune { runs, reply })?;
            for verdict in batch.iter().filter(|verdict| gone.contains(&verdict.row.run_id)) {
                report.add(pruned_run(&verdict.row, verdict.because, keep, sizes.of(&verdict.row.run_id)));
            }
            if !self.remove(gone.iter(), &mut report, stop) {
                return Ok((report, false));
            }
        }
        Ok((report, true))
    }

    /// Removes the folders of runs whose record is durable. Whether it came to its end.
    fn remove<'a>(&self, runs: impl Iterator<Item = &'a RunId>, report: &mut Report, stop: &dyn Fn() -> bool) -> bool {
        let workspace = self.workspace();
        let mut gone = BTreeSet::new();
        let mut finished = true;
        for run in runs {
            match folder::remove(&workspace.run(run), stop) {
                Ok(true) => drop(gone.insert(run.clone())),
                Ok(false) => {
                    finished = false;
                    break;
                }
                Err(error) => {
                    tracing::warn!(%run, %error, "the folder of a pruned run could not be removed");
                    report.failed.push(FailedRun { run_id: run.clone(), error: error.to_string() });
                }
            }
        }
        // Only what is gone after a power cut too is crossed off.
        if !gone.is_empty() && synced(&workspace.runs()) {
            self.tell(Command::Pruned { runs: gone });
        }
        finished
    }
}

fn synced(folder: &Path) -> bool {
    let synced = sync_folder(folder);
    if let Err(error) = &synced {
        tracing::warn!(%error, "the folder of the runs could not be synced");
    }
    synced.is_ok()
}

/// How fast it goes.
#[derive(Clone, Copy)]
struct Pace<'a> {
    /// Runs whose records are written together, and whose folders then go.
    batch: usize,
    /// Asked all the time: ends the work early.
    stop: &'a dyn Fn() -> bool,
    /// Called between two batches.
    rest: &'a dyn Fn(),
}

/// Sizes of run folders, each measured once.
struct Sizes<'a> {
    workspace: &'a Workspace,
    known: BTreeMap<RunId, Bytes>,
    stop: &'a dyn Fn() -> bool,
    /// A size is missing because the work was stopped.
    stopped: bool,
}

impl<'a> Sizes<'a> {
    fn new(workspace: &'a Workspace, stop: &'a dyn Fn() -> bool) -> Self {
        Self { workspace, known: BTreeMap::new(), stop, stopped: false }
    }

    fn of(&mut self, run: &RunId) -> Bytes {
        if let Some(known) = self.known.get(run) {
            return *known;
        }
        match folder::measure(&self.workspace.run(run), self.stop).filter(|_| !self.stopped) {
            Some(size) => *self.known.entry(run.clone()).or_insert(size),
            None => {
                self.stopped = true;
                Bytes(0)
            }
        }
    }
}

impl Report {
    fn new(verdicts: &[Verdict], kept: usize) -> Self {
        let needed = verdicts.iter().filter_map(|verdict| {
            let reason = match verdict.needed.as_ref()? {
                Needed::ResultsOf(run) => format!("run {run} has results of it"),
                Needed::Followed => "somebody looks at it".to_owned(),
            };
            Some(KeptRun { run_id: verdict.row.run_id.clone(), reason })
        });
        let kept_runs: Vec<KeptRun> = needed.collect();
        Self { remaining: (kept + kept_runs.len()) as u64, kept: kept_runs, ..Self::default() }
    }

    fn add(&mut self, run: PrunedRun) {
        self.bytes.0 = self.bytes.0.saturating_add(run.bytes.0);
        self.pruned.push(run);
    }
}

fn pruned_run(row: &RunRow, because: Because, keep: Keep, bytes: Bytes) -> PrunedRun {
    let reason = match because {
        Because::Age { days } => format!("ended {days} days ago"),
        Because::Size => format!("newer runs take {}", keep.size.unwrap_or_default()),
    };
    PrunedRun { run_id: row.run_id.clone(), name: row.name().to_owned(), status: row.status, completed_at: row.completed_at, bytes, reason }
}
