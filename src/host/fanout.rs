//! Those who follow runs, and what they are told: only what is durable, in order.

use std::collections::{BTreeMap, VecDeque};

use super::handle::FollowSink;
use super::update::Update;
use crate::ids::{RunId, Seq};

/// Followers by run, and updates that wait for the disk.
#[derive(Default)]
pub(super) struct Fanout {
    followers: BTreeMap<RunId, Vec<FollowSink>>,
    pending: VecDeque<(Seq, RunId, Update)>,
}

impl Fanout {
    /// Adds a follower; what is pending for the run will reach it too, which at worst tells it twice how a node is.
    pub(super) fn add(&mut self, run: RunId, first: Update, sink: FollowSink) {
        if sink(first) {
            self.followers.entry(run).or_default().push(sink);
        }
    }

    /// Whether anybody follows the run: an update that nobody wants need not be made.
    pub(super) fn is_followed(&self, run: &RunId) -> bool {
        self.followers.contains_key(run)
    }

    /// Runs that somebody follows.
    pub(super) fn followed(&self) -> impl Iterator<Item = &RunId> {
        self.followers.keys()
    }

    /// Tells the run's followers once everything up to `seq` is durable.
    pub(super) fn publish(&mut self, seq: Seq, run: &RunId, update: Update) {
        self.pending.push_back((seq, run.clone(), update));
    }

    /// Tells what happened but is in no record.
    pub(super) fn publish_now(&mut self, run: &RunId, update: &Update) {
        self.send(run, update);
    }

    /// Everything up to `seq` is durable.
    pub(super) fn synced(&mut self, seq: Seq) {
        while self.pending.front().is_some_and(|(at, _, _)| *at <= seq) {
            if let Some((_, run, update)) = self.pending.pop_front() {
                self.send(&run, &update);
            }
        }
    }

    /// Tells the last thing there is to tell of a run.
    pub(super) fn end(&mut self, run: &RunId, update: &Update) {
        self.send(run, update);
        self.followers.remove(run);
    }

    /// Tells everybody who follows any run something that is in no record.
    pub(super) fn tell_all(&mut self, update: &Update) {
        self.followers.retain(|_, sinks| {
            sinks.retain(|sink| sink(update.clone()));
            !sinks.is_empty()
        });
    }

    /// Tells everybody the last thing there is to tell of any run.
    pub(super) fn end_all(&mut self, update: &Update) {
        for followers in std::mem::take(&mut self.followers).into_values() {
            for sink in followers {
                sink(update.clone());
            }
        }
    }

    fn send(&mut self, run: &RunId, update: &Update) {
        let Some(followers) = self.followers.get_mut(run) else { return };
        followers.retain(|sink| sink(update.clone()));
        if followers.is_empty() {
            self.followers.remove(run);
        }
    }
}
