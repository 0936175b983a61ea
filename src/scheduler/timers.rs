//! Deadlines by the monotonic clock: timeouts, grace periods, how long a kill may take, pauses before retries.
//!
//! Kept apart from the runs because it is no part of their history: a new host starts them afresh ([`Timers::recover`]). The wall clock
//! is used for nothing but the pause of a node that was retrying when the host died, and cannot make that longer than the policy's
//! longest pause.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::Event;
use crate::ids::{AttemptId, AttemptNumber, NodeIndex, RunId};
use crate::request::NodeSettings;
use crate::run::{NodeState, RunState};
use crate::units::{DurationMs, Mono, Now, Timestamp};

use super::effect::StopHow;

/// What is due at a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The attempt has run as long as it may.
    Timeout(AttemptNumber),
    /// The attempt had its time to stop by itself.
    Grace(AttemptNumber),
    /// The attempt was killed and should have been gone by now.
    Stuck(AttemptNumber),
    /// The pause before the next attempt is over.
    Retry,
}

type Key = (RunId, NodeIndex);

/// All deadlines of a host. A node has at most one.
#[derive(Debug, Clone)]
pub struct Timers {
    /// How long a killed attempt may take to go before it counts as one that cannot be killed.
    stuck_after: DurationMs,
    by_time: BTreeSet<(Mono, Key)>,
    by_node: BTreeMap<Key, (Mono, Due)>,
    /// Attempts whose kill was carried out.
    killed: BTreeMap<Key, AttemptNumber>,
}

impl Timers {
    /// No deadlines. A killed attempt that is not over after `stuck_after` counts as one that cannot be killed.
    #[must_use]
    pub fn new(stuck_after: DurationMs) -> Self {
        Self { stuck_after, by_time: BTreeSet::new(), by_node: BTreeMap::new(), killed: BTreeMap::new() }
    }

    /// Changes how long a killed attempt may take to go; deadlines that are set already stay.
    pub fn set_stuck_after(&mut self, stuck_after: DurationMs) {
        self.stuck_after = stuck_after;
    }

    /// Looks at an event that was just applied to `run`. Live only: after a replay, [`recover`](Self::recover) is right.
    pub fn observe(&mut self, run: &RunState, event: &Event, now: Now) {
        match event {
            Event::RunEnded { .. } => self.forget(run.id()),
            Event::RunSubmitted { .. }
            | Event::RunCancelRequested { .. }
            | Event::RunHeld
            | Event::RunResumed
            | Event::NodeChecked { .. }
            | Event::AttemptIntended { .. } => {}
            Event::NodeReady { node }
            | Event::NodeSkipped { node, .. }
            | Event::NodeExpanded { node, .. }
            | Event::NodeOpened { node, .. }
            | Event::NodeFinished { node, .. }
            | Event::NodeFailed { node, .. }
            | Event::NodeCancelled { node }
            | Event::NodeReused { node, .. }
            | Event::AttemptStarted { node, .. }
            | Event::AttemptStopping { node, .. }
            | Event::AttemptStuck { node, .. }
            | Event::AttemptEnded { node, .. } => self.set_for(run, *node, now),
        }
    }

    /// Sets the deadlines of a run that was read from the journal. `ran` says how long a running attempt has run at least, by a clock that
    /// never jumps: so much is taken off its timeout, and nothing where nobody knows. A wall clock is not asked: one that was put
    /// forward would kill what has just begun. The grace of an attempt that was asked to stop begins anew.
    pub fn recover(&mut self, run: &RunState, now: Now, ran: impl Fn(NodeIndex) -> DurationMs) {
        self.forget(run.id());
        for (node, at) in run.nodes() {
            match at.state() {
                NodeState::Running { .. } => self.set_with(run, node, now, ran(node)),
                NodeState::Retrying { .. } => self.set_for(run, node, now),
                NodeState::Stopping { attempt, .. } => {
                    let grace = run.node_def(node).settings.grace;
                    self.put((run.id().clone(), node), now.mono.plus(grace), Due::Grace(*attempt));
                }
                NodeState::Waiting { .. }
                | NodeState::Ready { .. }
                | NodeState::Interrupted { .. }
                | NodeState::Open { .. }
                | NodeState::Done { .. } => {}
            }
        }
    }

    /// Forgets a run.
    pub fn forget(&mut self, run: &RunId) {
        let keys: Vec<Key> =
            self.by_node.range((run.clone(), NodeIndex(0))..).map(|(key, _)| key.clone()).take_while(|key| key.0 == *run).collect();
        keys.iter().for_each(|key| self.clear(key));
        self.killed.retain(|key, _| key.0 != *run);
    }

    /// Call for each stop that was carried out: the next rung of the ladder has its time from then on. `grace` is that of the node.
    pub fn stopped(&mut self, id: &AttemptId, how: StopHow, grace: DurationMs, now: Mono) {
        let key = (id.run.clone(), id.node);
        match how {
            StopHow::Polite => self.put(key, now.plus(grace), Due::Grace(id.attempt)),
            StopHow::Kill => {
                self.put(key.clone(), now.plus(self.stuck_after), Due::Stuck(id.attempt));
                self.killed.insert(key, id.attempt);
            }
        }
    }

    /// How long a killed attempt may take to go.
    pub(super) fn stuck_after(&self) -> DurationMs {
        self.stuck_after
    }

    /// The earliest deadline after `after`. Those up to `after` have been in the hands of `decide`.
    #[must_use]
    pub fn next(&self, after: Mono) -> Option<Mono> {
        self.by_time.iter().map(|(at, _)| *at).find(|at| *at > after)
    }

    /// What is due by now, in the order of the deadlines.
    pub(super) fn due(&self, now: Mono) -> impl Iterator<Item = (&RunId, NodeIndex, Due)> {
        self.by_time.iter().take_while(move |(at, _)| *at <= now).filter_map(|(_, key)| {
            let (_, due) = self.by_node.get(key)?;
            Some((&key.0, key.1, *due))
        })
    }

    /// Whether the kill of an attempt was carried out.
    pub(super) fn is_killed(&self, run: &RunId, node: NodeIndex, attempt: AttemptNumber) -> bool {
        self.killed.get(&(run.clone(), node)) == Some(&attempt)
    }

    /// Makes a node's deadline what its state asks for.
    fn set_for(&mut self, run: &RunState, node: NodeIndex, now: Now) {
        self.set_with(run, node, now, DurationMs(0));
    }

    fn set_with(&mut self, run: &RunState, node: NodeIndex, now: Now, ran: DurationMs) {
        let key = (run.id().clone(), node);
        let wanted = deadline(run.node(node).state(), &run.node_def(node).settings, now, ran);
        if run.node(node).state().holding().is_none() {
            self.killed.remove(&key);
        }
        match wanted {
            Some((at, due)) => self.put(key, at, due),
            None => self.clear(&key),
        }
    }

    fn put(&mut self, key: Key, at: Mono, due: Due) {
        self.clear(&key);
        self.by_time.insert((at, key.clone()));
        self.by_node.insert(key, (at, due));
    }

    fn clear(&mut self, key: &Key) {
        if let Some((at, _)) = self.by_node.remove(key) {
            self.by_time.remove(&(at, key.clone()));
        }
    }
}

fn deadline(state: &NodeState, settings: &NodeSettings, now: Now, ran: DurationMs) -> Option<(Mono, Due)> {
    match state {
        NodeState::Running { attempt, .. } => {
            let left = |limit: DurationMs| DurationMs(limit.0.saturating_sub(ran.0));
            settings.timeout.map(|limit| (now.mono.plus(left(limit)), Due::Timeout(*attempt)))
        }
        NodeState::Stopping { attempt, stuck: None, .. } => Some((now.mono.plus(settings.grace), Due::Grace(*attempt))),
        NodeState::Retrying { until, .. } => Some((now.mono.plus(pause(*until, now.wall, settings.retry.max_backoff)), Due::Retry)),
        NodeState::Stopping { stuck: Some(_), .. }
        | NodeState::Waiting { .. }
        | NodeState::Ready { .. }
        | NodeState::Interrupted { .. }
        | NodeState::Open { .. }
        | NodeState::Done { .. } => None,
    }
}

/// What is left of a pause, rounded up to the millisecond; a wall clock that jumped back cannot make it longer than `longest`.
fn pause(until: Timestamp, now: Timestamp, longest: DurationMs) -> DurationMs {
    let left = until.since(now);
    let exact = left.0.saturating_mul(1000) == u64::try_from(until.micros().saturating_sub(now.micros())).unwrap_or(0);
    DurationMs((left.0 + u64::from(!exact)).min(longest.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f21_a_wall_clock_that_jumped_cannot_prolong_a_pause() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let longest = DurationMs(60_000);
        assert_eq!(pause(at(100), at(98), longest), DurationMs(2_000));
        assert_eq!(pause(at(100), at(100_000), longest), DurationMs(0));
        assert_eq!(pause(at(100_000), at(0), longest), longest);
        assert_eq!(pause(Timestamp::from_micros(1), at(0), longest), DurationMs(1));
    }
}
