//! Which run's ready nodes are looked at first: by priority, then the oldest run; and what has waited too long comes first for once.
//!
//! A *queue* is what is ready of a run in one priority. It has its turn by its priority until nothing of it has started for as long as
//! its priority is patient; then one node of it comes before everything else, and its patience begins anew. So each queue has a bound to
//! its wait, whatever else is submitted, and what is urgent loses no more than a start in minutes. That the bound holds for a node that
//! needs more room than is free is the business of `reserve`.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::Event;
use crate::ids::RunId;
use crate::request::Priority;
use crate::run::RunState;
use crate::units::{DurationMs, Timestamp};

/// How long a queue of a priority waits for a start before it comes first. A person who waits for a run of his own hardly waits longer
/// than the first; what is said to be unimportant may wait for an hour.
#[must_use]
pub fn patience(priority: Priority) -> DurationMs {
    match priority {
        Priority::High => DurationMs(5 * 60_000),
        Priority::Normal => DurationMs(10 * 60_000),
        Priority::Low => DurationMs(60 * 60_000),
    }
}

/// All queues with something ready. Each change costs a logarithm.
#[derive(Debug, Clone, Default)]
pub(super) struct Queues {
    by_priority: BTreeSet<(Priority, RunId)>,
    /// Since when nothing of a queue has started.
    since: BTreeMap<(RunId, Priority), Timestamp>,
    /// When the patience of each is at its end.
    due: BTreeSet<(Timestamp, RunId, Priority)>,
}

impl Queues {
    /// A run is there anew. How long it waits follows from its nodes.
    pub(super) fn insert(&mut self, run: &RunState) {
        for priority in Priority::ALL.into_iter().filter(|priority| run.wants_start() && run.has_ready(*priority)) {
            self.begin((run.id().clone(), priority), run.waits_since(priority));
        }
    }

    /// An event of a run was applied at a time.
    pub(super) fn follow(&mut self, run: &RunState, event: &Event, at: Timestamp) {
        for priority in Priority::ALL {
            let there = run.wants_start() && run.has_ready(priority);
            let known = self.by_priority.contains(&(priority, run.id().clone()));
            match (known, there) {
                (false, false) => {}
                (true, false) => self.end(&(run.id().clone(), priority)),
                (false, true) => self.begin((run.id().clone(), priority), at),
                (true, true) => {
                    if let Event::AttemptStarted { node, .. } = event
                        && run.priority_of_node(*node) == priority
                    {
                        let key = (run.id().clone(), priority);
                        self.end(&key);
                        self.begin(key, at);
                    }
                }
            }
        }
    }

    /// A run is gone.
    pub(super) fn remove(&mut self, run: &RunId) {
        Priority::ALL.into_iter().for_each(|priority| self.end(&(run.clone(), priority)));
    }

    fn begin(&mut self, (run, priority): (RunId, Priority), since: Timestamp) {
        self.by_priority.insert((priority, run.clone()));
        self.due.insert((since.plus(patience(priority)), run.clone(), priority));
        self.since.insert((run, priority), since);
    }

    fn end(&mut self, key: &(RunId, Priority)) {
        if let Some(since) = self.since.remove(key) {
            self.by_priority.remove(&(key.1, key.0.clone()));
            self.due.remove(&(since.plus(patience(key.1)), key.0.clone(), key.1));
        }
    }

    /// All of them, the highest priority first, then the oldest run.
    pub(super) fn by_priority(&self) -> impl Iterator<Item = (&RunId, Priority)> {
        self.by_priority.iter().map(|(priority, run)| (run, *priority))
    }

    /// Those whose patience is at its end, the longest overdue first. A queue that is alone overtakes nobody.
    pub(super) fn overdue(&self, now: Timestamp) -> impl Iterator<Item = (&RunId, Priority)> {
        let due = self.due.iter().filter(|_| self.due.len() > 1);
        due.take_while(move |(at, ..)| *at <= now).map(|(_, run, priority)| (run, *priority))
    }

    /// Since when nothing of a queue has started.
    pub(super) fn since(&self, run: &RunId, priority: Priority) -> Option<Timestamp> {
        self.since.get(&(run.clone(), priority)).copied()
    }

    /// The queues without their times, to compare them with the runs.
    pub(super) fn keys(&self) -> &BTreeSet<(Priority, RunId)> {
        &self.by_priority
    }
}
