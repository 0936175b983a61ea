//! stub
use super::Durations;
use crate::event::{Event, Stamp};
use crate::ids::{RunId, Seq};
use crate::resources::{Capacity, Held};
use crate::run::{IllegalEvent, RunState};
use std::collections::BTreeMap;
/// All that decisions look at.
#[derive(Debug)]
pub struct World { runs: BTreeMap<RunId, RunState>, capacity: Capacity, synced: Seq, durations: Durations, accepting: bool, held: Held }
impl World {
    /// No runs.
    pub fn new(capacity: Capacity, durations: Durations) -> Self { Self { runs: BTreeMap::new(), capacity, synced: Seq(0), durations, accepting: true, held: Held::default() } }
    /// Adds a run (new, or read from the journal).
    pub fn insert(&mut self, _run: RunState) { todo!() }
    /// Forgets a run.
    pub fn remove(&mut self, _run: &RunId) -> Option<RunState> { todo!() }
    /// A run.
    pub fn run(&self, run: &RunId) -> Option<&RunState> { self.runs.get(run) }
    /// All runs, oldest first.
    pub fn runs(&self) -> impl Iterator<Item = &RunState> { self.runs.values() }
    /// Applies an event; an unknown run is an error of its own.
    pub fn apply(&mut self, _run: &RunId, _event: &Event, _stamp: Stamp) -> Result<(), IllegalEvent> { todo!() }
    /// All up to here is durable.
    pub fn set_synced(&mut self, seq: Seq) { self.synced = self.synced.max(seq); }
    /// Whether anything new may start.
    pub fn set_accepting(&mut self, accepting: bool) { self.accepting = accepting; }
    /// What there is.
    pub fn set_capacity(&mut self, capacity: Capacity) { self.capacity = capacity; }
    /// What there is.
    pub fn capacity(&self) -> &Capacity { &self.capacity }
    /// What is held.
    pub fn held(&self) -> &Held { &self.held }
    /// What was learned.
    pub fn durations(&self) -> &Durations { &self.durations }
}
