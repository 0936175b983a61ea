//! How long a run still takes, by what its modules took before.
//!
//! A rough answer for people: the longest way that is left, or the work that is left spread over the places for it, whichever is longer.
//! It knows nothing of memory and of other runs. Says nothing rather than a guess where a module is not known.

use crate::pipeline::definition::Work;
use crate::run::{NodeState, RunState};
use crate::units::{DurationMs, Timestamp};

use super::Durations;

/// The time left at `now` of a run that was given these durations by [`RunState::prioritise`]. `None`: it has ended, or some module of
/// which a node is left never completed before. `places`: how many of its nodes can run at once.
#[must_use]
pub fn time_left(run: &RunState, durations: &Durations, places: u64, now: Timestamp) -> Option<DurationMs> {
    if run.status().is_terminal() {
        return None;
    }
    let (mut way, mut work) = (0_u64, 0_u64);
    for (index, node) in run.nodes().filter(|(_, node)| !node.state().is_done()) {
        let took = match &run.node_def(index).work {
            Work::Module(module) => durations.expected(&module.id, &run.node_def(index).settings)?.0,
            // Its nodes are counted themselves.
            Work::Pipeline(_) => continue,
        };
        let ran = match node.state() {
            NodeState::Running { started, .. } => now.since(*started).0.min(took),
            NodeState::Waiting { .. }
            | NodeState::Ready { .. }
            | NodeState::Stopping { .. }
            | NodeState::Retrying { .. }
            | NodeState::Interrupted { .. }
            | NodeState::Open { .. }
            | NodeState::Done { .. } => 0,
        };
        way = way.max(run.way_to_end(index).saturating_sub(ran));
        work = work.saturating_add(took - ran);
    }
    Some(DurationMs(way.max(work / places.max(1))))
}
