//! What a new host does with what an old one left: ends strangers, writes down what was lost, holds or goes on.
//!
//! For now every attempt is direct, so that none outlives its host: its processes are ended, verified, and only then the attempt is
//! called lost. An attempt that was intended and never claimed did not start, and starts now as if nothing had happened.

use std::collections::HashSet;
use std::time::Duration;

use super::launch::token;
use super::start::HostMode;
use super::turn::Turn;
use crate::engine::{read_claims, reap_strangers};
use crate::event::{EndFacts, Event, FailureCause, LostReason, StartFacts};
use crate::ids::{AttemptNumber, NodeIndex, RunId};
use crate::request::Isolation;
use crate::run::NodeState;

/// How long a process may take to go after the kill. Longer means that it hangs in the kernel; the attempt is lost all the same.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// An attempt of a dead host.
struct Left {
    node: NodeIndex,
    attempt: AttemptNumber,
    /// Its start was recorded.
    recorded: bool,
}

impl Turn {
    /// Deals with the runs that were going on when the last host ended. `boots` says on which boot of the machine each run was last
    /// written.
    pub(super) fn recover(&mut self, mode: HostMode, boots: &std::collections::HashMap<RunId, String>) {
        let runs: Vec<RunId> = self.world.runs().map(|run| run.id().clone()).collect();
        for run in runs {
            let rebooted = boots.get(&run).is_some_and(|boot| boot != crate::journal::boot_id());
            self.recover_run(&run, mode, rebooted);
        }
    }

    fn recover_run(&mut self, run: &RunId, mode: HostMode, rebooted: bool) {
        let left = self.left_behind(run, rebooted);
        let held = self.world.run(run).is_some_and(|state| state.facts().held);
        let holds = match mode {
            HostMode::Run => true,
            // It took over from a host that drained itself; where something was lost, that host died instead.
            HostMode::UntilIdle => !left.is_empty(),
            HostMode::Serve => false,
        };
        let cancelled = self.world.run(run).is_some_and(|state| state.facts().cancel.is_some());
        if holds && !held && !cancelled {
            self.commit(run, Event::RunHeld);
        }
        for attempt in left {
            self.give_up(run, &attempt, rebooted);
        }
        if mode == HostMode::Serve && held {
            self.commit(run, Event::RunResumed);
        }
        let now = self.clock.now();
        if let Some(state) = self.world.run(run) {
            self.timers.recover(state, now);
        }
    }

    /// Attempts that were running, as far as one can know.
    fn left_behind(&self, run: &RunId, rebooted: bool) -> Vec<Left> {
        let Some(state) = self.world.run(run) else { return Vec::new() };
        let claims = read_claims(&self.workspace.run(run)).unwrap_or_else(|error| {
            tracing::error!(%run, %error, "the claims cannot be read: every intended attempt counts as started");
            HashSet::new()
        });
        // A claim is not synced: after a power cut its absence proves nothing.
        let maybe_started = |node: NodeIndex, attempt| rebooted || claims.contains(&(state.path(node), attempt));
        // Also of nodes that still wait by the journal: what made them ready may have been lost with the host, after their process began.
        let unrecorded = state.unused_intents().filter(|(node, attempt)| maybe_started(*node, *attempt));
        let unrecorded = unrecorded.map(|(node, attempt)| Left { node, attempt, recorded: false });
        let recorded = state.nodes().filter_map(|(node, at)| match at.state() {
            NodeState::Running { attempt, .. } | NodeState::Stopping { attempt, .. } => {
                Some(Left { node, attempt: *attempt, recorded: true })
            }
            NodeState::Waiting { .. }
            | NodeState::Ready { .. }
            | NodeState::Retrying { .. }
            | NodeState::Interrupted { .. }
            | NodeState::Open { .. }
            | NodeState::Done { .. } => None,
        });
        unrecorded.chain(recorded).collect()
    }

    fn give_up(&mut self, run: &RunId, left: &Left, rebooted: bool) {
        let Some(state) = self.world.run(run) else { return };
        let path = state.path(left.node);
        let grant = state.node_def(left.node).settings.request.clone();
        if !rebooted {
            let reaped = reap_strangers(&token(run, &path, left.attempt.0), GONE_WITHIN);
            if reaped.left > 0 {
                tracing::error!(%run, node = path, left = reaped.left, "processes of a lost attempt cannot be ended");
            } else if reaped.count > 0 {
                tracing::warn!(%run, node = path, ended = reaped.count, "processes of a lost attempt were ended");
            }
        }
        let ready = matches!(state.node(left.node).state(), NodeState::Ready { .. });
        // Of a node that waits again, the number of the attempt is used up and nothing else.
        if ready && !left.recorded {
            let facts = StartFacts {
                grant,
                isolation: Isolation::Direct,
                params: std::sync::Arc::default(),
                defaulted: Vec::new(),
                script_hash: None,
            };
            self.commit_or_keep(run, Event::AttemptStarted { node: left.node, attempt: left.attempt, facts });
        }
        let reason = if rebooted { LostReason::Reboot } else { LostReason::HostDied };
        let facts = EndFacts::failed(FailureCause::Lost { reason });
        self.commit_or_keep(run, Event::AttemptEnded { node: left.node, attempt: left.attempt, facts });
    }
}
