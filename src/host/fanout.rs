//! Those who follow runs, and what they are told: only what is durable, in order.

use std::collections::{BTreeMap, VecDeque};

use super::handle::FollowSink;
use super::update::Update;
use super::watch::{Change, WatchSink};
use crate::event::RunStatus;
use crate::ids::{RunId, Seq};

/// Followers by run, and updates that wait for the disk.
#[derive(Default)]
pub(super) struct Fanout {
    followers: BTreeMap<RunId, Vec<FollowSink>>,
    /// Those who are told of all runs.
    watchers: Vec<WatchSink>,
    /// What the watchers know of the runs that go on.
    statuses: BTreeMap<RunId, RunStatus>,
    pending: VecDeque<(Seq, RunId, Told)>,
}

/// What waits for the disk.
enum Told {
    Everybody(Update),
    Watchers(Change),
}

impl Fanout {
    /// Adds a follower; what is pending for the run will reach it too, which at worst tells it twice how a node is.
    pub(super) fn add(&mut self, run: RunId, first: Update, sink: FollowSink) {
        let is_last = matches!(first, Update::Ended(_));
        if sink(first) && !is_last {
            self.followers.entry(run).or_default().push(sink);
        }
    }

    /// Whether anybody follows the run: an update that nobody wants need not be made.
    pub(super) fn is_followed(&self, run: &RunId) -> bool {
        !self.watchers.is_empty() || self.followers.contains_key(run)
    }

    /// Tells somebody of all runs from now on.
    pub(super) fn watch(&mut self, sink: WatchSink) {
        self.watchers.push(sink);
    }

    /// Whether the watchers have yet to hear that a run's status is this.
    pub(super) fn is_news(&mut self, run: &RunId, status: RunStatus) -> bool {
        !self.watchers.is_empty() && self.statuses.insert(run.clone(), status) != Some(status)
    }

    /// Tells the watchers once everything up to `seq` is durable.
    pub(super) fn publish_change(&mut self, seq: Seq, run: &RunId, change: Change) {
        if !self.watchers.is_empty() {
            self.pending.push_back((seq, run.clone(), Told::Watchers(change)));
        }
    }

    /// Tells the watchers something that is in no record, or made only where somebody watches.
    pub(super) fn change(&mut self, change: impl FnOnce() -> Change) {
        if !self.watchers.is_empty() {
            self.tell_watchers(&change());
        }
    }

    fn tell_watchers(&mut self, change: &Change) {
        self.watchers.retain(|sink| sink(change.clone()));
        if self.watchers.is_empty() {
            self.statuses.clear();
        }
    }

    /// Runs that somebody follows.
    pub(super) fn followed(&self) -> impl Iterator<Item = &RunId> {
        self.followers.keys()
    }

    /// Tells the run's followers once everything up to `seq` is durable.
    pub(super) fn publish(&mut self, seq: Seq, run: &RunId, update: Update) {
        self.pending.push_back((seq, run.clone(), Told::Everybody(update)));
    }

    /// Tells what happened but is in no record.
    pub(super) fn publish_now(&mut self, run: &RunId, update: &Update) {
        self.send(run, update);
    }

    /// Everything up to `seq` is durable.
    pub(super) fn synced(&mut self, seq: Seq) {
        while self.pending.front().is_some_and(|(at, _, _)| *at <= seq) {
            match self.pending.pop_front() {
                Some((_, run, Told::Everybody(update))) => self.send(&run, &update),
                Some((_, _, Told::Watchers(change))) => self.tell_watchers(&change),
                None => {}
            }
        }
    }

    /// Tells the last thing there is to tell of a run.
    pub(super) fn end(&mut self, run: &RunId, update: &Update) {
        self.send(run, update);
        self.followers.remove(run);
        self.statuses.remove(run);
    }

    /// Tells everybody who follows any run something that is in no record.
    pub(super) fn tell_all(&mut self, update: &Update) {
        self.tell_change(None, update);
        self.followers.retain(|_, sinks| {
            sinks.retain(|sink| sink(update.clone()));
            !sinks.is_empty()
        });
    }

    /// Tells everybody the last thing there is to tell of any run.
    pub(super) fn end_all(&mut self, update: &Update) {
        self.tell_change(None, update);
        for followers in std::mem::take(&mut self.followers).into_values() {
            for sink in followers {
                sink(update.clone());
            }
        }
    }

    /// Tells the watchers what an update of a run, or of all, is to them.
    fn tell_change(&mut self, run: Option<&RunId>, update: &Update) {
        if !self.watchers.is_empty()
            && let Some(change) = Change::of(run, update)
        {
            self.tell_watchers(&change);
        }
    }

    fn send(&mut self, run: &RunId, update: &Update) {
        self.tell_change(Some(run), update);
        let Some(followers) = self.followers.get_mut(run) else { return };
        followers.retain(|sink| sink(update.clone()));
        if followers.is_empty() {
            self.followers.remove(run);
        }
    }
}
