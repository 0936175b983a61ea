//! Finished runs, counted: by state and by module. Each row is parsed once, and only when somebody asks.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::event::RunStatus;
use crate::host::index::RunRow;
use crate::host::look::AllRuns;
use crate::units::Timestamp;

/// Counts of the rows that were seen so far.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counted>);

#[derive(Debug, Clone, Default)]
struct Counted {
    /// How many rows.
    seen: usize,
    /// The text of the last one, by which it is noticed that runs were pruned.
    last: String,
    counts: Counts,
    modules: BTreeMap<String, ModuleTally>,
}

/// Runs by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) queued: u64,
    pub(super) running: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
}

impl Counts {
    fn add(&mut self, status: RunStatus) {
        let count = match status {
            RunStatus::Queued => &mut self.queued,
            RunStatus::Running => &mut self.running,
            RunStatus::Completed => &mut self.completed,
            RunStatus::Failed => &mut self.failed,
            RunStatus::Cancelled => &mut self.cancelled,
        };
        *count += 1;
    }

    pub(super) fn total(self) -> u64 {
        self.queued + self.running + self.completed + self.failed + self.cancelled
    }
}

/// Runs of a module.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct ModuleTally {
    pub(super) total: u64,
    pub(super) last: Option<Timestamp>,
    completed: u64,
    failed: u64,
    /// Runs of it that have not ended.
    pub(super) active: u64,
}

impl ModuleTally {
    /// Of those that completed or failed, how many completed, in percent.
    pub(super) fn success_rate(self) -> Option<f64> {
        percent(self.completed, self.completed + self.failed)
    }

    fn add(&mut self, row: &RunRow) {
        self.total += 1;
        self.last = self.last.max(Some(row.created_at));
        match row.status {
            RunStatus::Queued | RunStatus::Running => self.active += 1,
            RunStatus::Completed => self.completed += 1,
            RunStatus::Failed => self.failed += 1,
            RunStatus::Cancelled => {}
        }
    }
}

/// A share in percent with one decimal; none of nothing.
pub(super) fn percent(part: u64, whole: u64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "for people, with one decimal")]
    (whole > 0).then(|| (part as f64 * 1000.0 / whole as f64).round() / 10.0)
}

impl Counted {
    fn add(&mut self, row: &RunRow) {
        self.counts.add(row.status);
        if let Some(module) = &row.module_id {
            self.modules.entry(module.clone()).or_default().add(row);
        }
    }
}

impl Tally {
    fn of(&self, all: &AllRuns) -> Counted {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = counted.seen.checked_sub(1).and_then(|at| all.finished.texts().nth(at));
        if counted.seen > 0 && before != Some(counted.last.as_str()) {
            *counted = Counted::default();
        }
        for text in all.finished.texts().skip(counted.seen) {
            if let Ok(row) = serde_json::from_str::<RunRow>(text) {
                counted.add(&row);
            }
        }
        counted.seen = all.finished.len();
        all.finished.texts().last().unwrap_or_default().clone_into(&mut counted.last);
        let mut now = counted.clone();
        drop(counted);
        all.live.iter().for_each(|row| now.add(row));
        now
    }

    /// All runs by state.
    pub(super) fn counts(&self, all: &AllRuns) -> Counts {
        self.of(all).counts
    }

    /// All runs by module.
    pub(super) fn modules(&self, all: &AllRuns) -> BTreeMap<String, ModuleTally> {
        self.of(all).modules
    }
}
