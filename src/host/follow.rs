//! Following a run: how it is now, what happened to its nodes before, and then every change once it is durable.
//!
//! Who follows is kept by `fanout`; this says what a new follower hears first.

use super::filing::Unfiled;
use super::handle::{CommandError, FollowSink, Reply};
use super::runfile;
use super::turn::Turn;
use super::update::{NodeChange, Update};
use crate::ids::RunId;
use crate::resources::{DiskLevel, worst_level};

/// Runs with more nodes than this do not tell a new follower what happened before.
const TOLD_SO_FAR_MAX: u32 = 1000;

impl Turn {
    /// Takes a follower.
    pub(super) fn follow(&mut self, run: RunId, sink: FollowSink, reply: Reply<()>) {
        let first = self.describe(&run);
        let known = first.is_some();
        if let Some(first) = first {
            self.fanout.add(run.clone(), first, sink);
            if !self.health.starts() {
                self.fanout.publish_now(&run, &Update::Host(self.health.shown()));
            }
            if worst_level(self.world.disks()) != DiskLevel::Enough {
                self.fanout.publish_now(&run, &Update::Disk(self.world.disks().to_vec()));
            }
            self.tell_so_far(&run);
        }
        drop(reply.send(if known { Ok(()) } else { Err(CommandError::UnknownRun(run)) }));
    }

    /// Tells what has happened to the nodes of a run before it was followed; followers pass over what they know already.
    fn tell_so_far(&mut self, run: &RunId) {
        let Some(state) = self.world.run(run) else { return };
        let (done, total) = state.progress();
        if total > TOLD_SO_FAR_MAX {
            return;
        }
        let folder = self.workspace.run(run);
        let progress = (u64::from(done), u64::from(total));
        let mut changes: Vec<_> = state.nodes().filter_map(|(node, _)| NodeChange::so_far(&state.row(node), &folder, progress)).collect();
        changes.sort_by_key(|change| change.at);
        // Told when it is durable, like everything else.
        let last = self.writer.last_seq();
        for change in changes {
            self.fanout.publish(last, run, Update::Node(Box::new(change)));
        }
        self.fanout.synced(self.world.synced());
    }

    /// How a run is at this moment.
    fn describe(&self, run: &RunId) -> Option<Update> {
        if let (Some(state), Some(head)) = (self.world.run(run), self.heads.get(run)) {
            return Some(Update::Run(Box::new(runfile::row(state, head))));
        }
        // Of a run that is being filed the end is told when the file is there.
        let filing = self.filing_runs.get(run).map(Unfiled::describe);
        filing.or_else(|| self.finished.get(run).map(|row| Update::Ended(Box::new(row))))
    }
}
