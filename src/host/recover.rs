//! What a new host does with what an old one left: writes down what ended meanwhile, adopts what lives, ends strangers, and writes down
//! what was lost; then it holds or goes on.
//!
//! A wrapped attempt is what its folder says. First comes what the folders tell, in rounds: the end of one attempt may make the node ready
//! whose attempt the dead host had started next. Only then the run is held, and only then attempts are called lost, since a lost
//! attempt of a held run waits for `resume`. All of it may be cut short and begun again: what was written is not written twice, and what
//! was not is found again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::launch::token;
use super::start::HostMode;
use super::turn::Turn;
use crate::attempt::{AttemptFolder, AttemptSpec, StopRequest};
use crate::engine::{self, Found, Left, StopHow, read_claims, reap_strangers};
use crate::event::{EndFacts, Event, FailureCause, LostReason, StartFacts, StopReason};
use crate::ids::{AttemptId, AttemptNumber, NodeIndex, RunId};
use crate::request::{Isolation, Request};
use crate::run::{NodeState, RunState, evaluate};
use crate::scheduler::records_of;
use crate::units::DurationMs;

/// How long a process may take to go after the kill. Longer means that it hangs in the kernel; the attempt is lost all the same.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// An attempt of a dead host.
#[derive(Debug, Clone)]
struct Trace {
    node: NodeIndex,
    attempt: AttemptNumber,
    /// How it was started, where the start was recorded.
    recorded: Option<Isolation>,
}

/// What is to be done about an attempt whose result nobody will ever know.
#[derive(Debug)]
struct Lost {
    trace: Trace,
    isolation: Isolation,
    reason: LostReason,
}

/// A run that is being recovered.
struct Recovery {
    run: RunId,
    /// Its attempts are of another boot of the machine, so that none of their processes can be alive.
    rebooted: bool,
    /// Direct attempts that were started.
    claims: HashSet<(String, AttemptNumber)>,
    /// Attempts about which everything is said.
    done: BTreeSet<(NodeIndex, AttemptNumber)>,
    lost: Vec<Lost>,
    /// What can be learned from other attempts has been learned.
    last: bool,
    /// How long adopted attempts have run at least.
    ran: BTreeMap<NodeIndex, DurationMs>,
}

impl Turn {
    /// Deals with the runs that were going on when the last host ended. `boots` says on which boot of the machine the attempts of each run
    /// were intended.
    pub(super) fn recover(&mut self, mode: HostMode, boots: &HashMap<RunId, String>) {
        let runs: Vec<RunId> = self.world.runs().map(|run| run.id().clone()).collect();
        for run in runs {
            let rebooted = boots.get(&run).is_some_and(|boot| boot != crate::journal::boot_id());
            let claims = read_claims(&self.workspace.run(&run)).unwrap_or_else(|error| {
                tracing::error!(%run, %error, "the claims cannot be read: every intended attempt counts as started");
                HashSet::new()
            });
            let recovery = Recovery { run, rebooted, claims, done: BTreeSet::new(), lost: Vec::new(), last: false, ran: BTreeMap::new() };
            self.recover_run(recovery, mode);
        }
    }

    fn recover_run(&mut self, mut recovery: Recovery, mode: HostMode) {
        for last in [false, true] {
            recovery.last = last;
            while self.look_at_folders(&mut recovery) {
                self.settle_records(&recovery.run);
            }
        }
        self.give_up_out_of_turn(&mut recovery);
        let run = recovery.run.clone();
        let state = self.world.run(&run);
        let (held, open) = state.map_or((false, false), |state| (state.facts().held, !state.is_over() && state.facts().cancel.is_none()));
        let holds = match mode {
            HostMode::Run => true,
            // It took over from a host that left; where something was lost, that host died instead.
            HostMode::UntilIdle => recovery.lost.iter().any(|lost| lost.reason != LostReason::NeverStarted),
            HostMode::Serve => false,
        };
        if holds && !held && open {
            self.commit(&run, Event::RunHeld);
        }
        for lost in std::mem::take(&mut recovery.lost) {
            self.give_up(&run, &lost, recovery.rebooted);
        }
        if mode == HostMode::Serve && held {
            self.commit(&run, Event::RunResumed);
        }
        let now = self.clock.now();
        if let Some(state) = self.world.run(&run) {
            self.timers.recover(state, now, |node| recovery.ran.get(&node).copied().unwrap_or_default());
        }
    }

    /// Attempts that may have been started and are not over by the journal, also of nodes that still wait by it: what made them ready may
    /// have been lost with the host, after their process began.
    fn traces(&self, recovery: &Recovery) -> Vec<Trace> {
        let Some(state) = self.world.run(&recovery.run) else { return Vec::new() };
        let recorded = state.active().filter_map(|node| {
            let isolation = state.node(node).record()?.attempts().last()?.isolation;
            let (attempt, _) = state.node(node).state().holding()?;
            Some(Trace { node, attempt, recorded: Some(isolation) })
        });
        let intended = state.unused_intents().map(|(node, attempt)| Trace { node, attempt, recorded: None });
        recorded.chain(intended).filter(|trace| !recovery.done.contains(&(trace.node, trace.attempt))).collect()
    }

    /// One round. Whether another one may find more.
    fn look_at_folders(&mut self, recovery: &mut Recovery) -> bool {
        let mut more = false;
        for trace in self.traces(recovery) {
            if trace.recorded == Some(Isolation::Direct) {
                recovery.lose(trace, Isolation::Direct, LostReason::HostDied);
                continue;
            }
            let Some(left) = self.left(&recovery.run, &trace) else { continue };
            match engine::look(&left) {
                Ok(found @ (Found::Alive { .. } | Found::Ended(_))) => more |= self.take_over_attempt(recovery, &trace, left, found),
                Ok(Found::NeverStarted) if !recovery.rebooted => recovery.lose(trace, Isolation::Wrapped, LostReason::NeverStarted),
                Ok(Found::Dead { rebooted }) if !rebooted.unwrap_or(recovery.rebooted) => {
                    recovery.lose(trace, Isolation::Wrapped, LostReason::WrapperKilled);
                }
                Ok(Found::NeverStarted | Found::Dead { .. }) => recovery.lose(trace, Isolation::Wrapped, LostReason::Reboot),
                Ok(Found::Unclaimed) => more |= Self::unclaimed(recovery, trace, &left),
                Err(error) => self.unreadable(recovery, &trace, left, &error),
            }
        }
        more
    }

    /// An attempt that lives, or that ended while nobody looked. Whether something was written down. Where it is not its turn by what is
    /// known so far, it is looked at again in the next round; and if there is none, given up.
    fn take_over_attempt(&mut self, recovery: &mut Recovery, trace: &Trace, left: Left, found: Found) -> bool {
        if !self.is_in_turn(&recovery.run, trace) {
            return false;
        }
        self.record_start(&recovery.run, trace, Isolation::Wrapped);
        if !self.note_stop(&left, recovery.last) {
            return trace.recorded.is_none();
        }
        recovery.done.insert((trace.node, trace.attempt));
        match found {
            Found::Alive { ran } => self.adopt(recovery, left, ran),
            Found::Ended(ending) => self.ended(&left.id, *ending),
            Found::Unclaimed | Found::NeverStarted | Found::Dead { .. } => {}
        }
        true
    }

    /// No wrapper has claimed it. Whether it has to be looked at once more.
    fn unclaimed(recovery: &mut Recovery, trace: Trace, left: &Left) -> bool {
        // Neither a claim of a direct attempt nor one of a wrapper is synced: after a power cut their absence proves nothing.
        if recovery.rebooted {
            let isolation = trace.recorded.unwrap_or(Isolation::Direct);
            recovery.lose(trace, isolation, LostReason::Reboot);
        } else if recovery.claims.contains(&(left.node.clone(), trace.attempt)) {
            recovery.lose(trace, Isolation::Direct, LostReason::HostDied);
        } else if trace.recorded.is_none() {
            // An unused intent: it starts as if nothing had happened. Should a wrapper be on its way to it, only one of the two gets it.
            recovery.done.insert((trace.node, trace.attempt));
        } else {
            return Self::prevent(recovery, trace, left);
        }
        false
    }

    /// Its start was recorded, and nobody has begun it. Whether somebody is just doing so.
    fn prevent(recovery: &mut Recovery, trace: Trace, left: &Left) -> bool {
        match engine::prevent(left) {
            Ok(true) => recovery.lose(trace, Isolation::Wrapped, LostReason::NeverStarted),
            // A wrapper came in this moment.
            Ok(false) => return true,
            Err(error) => {
                tracing::error!(run = %recovery.run, node = left.node, %error, "an attempt that was not started cannot be given up for sure");
                recovery.lose(trace, Isolation::Wrapped, LostReason::WrapperKilled);
            }
        }
        false
    }

    /// A folder that cannot be read, or that a later version wrote, is no reason to call its attempt lost: it may live. The engine goes on
    /// looking, and a person may cancel it.
    fn unreadable(&mut self, recovery: &mut Recovery, trace: &Trace, left: Left, error: &std::io::Error) {
        recovery.done.insert((trace.node, trace.attempt));
        if trace.recorded.is_some() {
            tracing::error!(run = %recovery.run, node = left.node, %error, "an attempt's folder cannot be read: it counts as running");
            self.adopt(recovery, left, Duration::ZERO);
        } else {
            tracing::error!(run = %recovery.run, node = left.node, %error, "an attempt's folder cannot be read: it counts as not started");
        }
    }

    /// Goes on with a living attempt.
    fn adopt(&mut self, recovery: &mut Recovery, left: Left, ran: Duration) {
        recovery.ran.insert(left.id.node, DurationMs(u64::try_from(ran.as_millis()).unwrap_or(u64::MAX)));
        tracing::info!(run = %recovery.run, node = left.node, attempt = left.id.attempt.0, "a running attempt was adopted");
        let id = left.id.clone();
        let unasked = !is_asked(&left);
        self.engine.adopt(left);
        if unasked && self.is_stopping(&id) {
            // Recorded, and the host died before it asked.
            self.engine.stop(&id, StopHow::Polite);
        }
    }

    fn is_stopping(&self, id: &AttemptId) -> bool {
        self.world.run(&id.run).is_some_and(|state| matches!(state.node(id.node).state(), NodeState::Stopping { .. }))
    }

    /// Whether the run's state takes the attempt: its start was recorded, or its node may start.
    fn is_in_turn(&self, run: &RunId, trace: &Trace) -> bool {
        trace.recorded.is_some() || self.world.run(run).is_some_and(|state| may_start(state, trace.node))
    }

    /// What an attempt holds whose record was lost with the host.
    fn recovered_grant(&self, run: &RunId, state: &RunState, trace: &Trace) -> Request {
        let settings = &state.node_def(trace.node).settings;
        let folder = AttemptFolder::new(&self.workspace.run(run), &state.path(trace.node), trace.attempt);
        // A direct one has none, and does not outlive its host.
        match AttemptSpec::read(folder.path()) {
            Ok(spec) => granted(settings.asked(spec.alternative), spec),
            Err(_) => settings.requests().swap_remove(0),
        }
    }

    /// Records the start of an attempt whose record was lost with the host.
    fn record_start(&mut self, run: &RunId, trace: &Trace, isolation: Isolation) {
        let Some(state) = self.world.run(run) else { return };
        if !may_start(state, trace.node) {
            return;
        }
        // They were computed from the same results before.
        let (params, defaulted) = match evaluate::params(state, trace.node) {
            Ok(params) => (Arc::new(params.value), params.defaulted),
            Err(_) => (Arc::default(), Vec::new()),
        };
        let facts = StartFacts { grant: self.recovered_grant(run, state, trace), isolation, params, defaulted, script_hash: None };
        self.commit(run, Event::AttemptStarted { node: trace.node, attempt: trace.attempt, facts });
    }

    /// The dead host asked for a stop and could not record it: then the end that comes of it is no failure of the module. Says why it asked,
    /// or that this may still be learned.
    fn note_stop(&mut self, left: &Left, last: bool) -> bool {
        let AttemptId { run, node, attempt } = left.id.clone();
        let Some(state) = self.world.run(&run) else { return true };
        if !matches!(state.node(node).state(), NodeState::Running { .. }) || !is_asked(left) {
            return true;
        }
        let reason = if state.facts().cancel.is_some() {
            StopReason::Cancelled
        } else if state.is_swept(node) {
            StopReason::OnFailure
        } else if state.node_def(node).settings.timeout.is_some() {
            StopReason::Timeout
        } else if !last {
            // Perhaps another attempt failed, and its end has not been read yet.
            return false;
        } else {
            // A cancel that nobody answered: it was on its way to the disk.
            self.commit(&run, Event::RunCancelRequested { kill: false });
            StopReason::Cancelled
        };
        self.commit(&run, Event::AttemptStopping { node, attempt, reason });
        true
    }

    /// What follows from the records for the nodes of one run, but for starts and stops.
    fn settle_records(&mut self, run: &RunId) {
        loop {
            let effects = self.world.run(run).map(records_of).unwrap_or_default();
            if effects.is_empty() || !self.health.records() {
                return;
            }
            effects.into_iter().for_each(|effect| self.act(effect));
        }
    }

    /// Attempts that the dead host had started although, by what is known now, their node may not start yet: what made it ready is lost,
    /// and will be repeated or not. They are ended, and their numbers are used up.
    fn give_up_out_of_turn(&mut self, recovery: &mut Recovery) {
        for trace in self.traces(recovery) {
            if let Some(left) = self.left(&recovery.run, &trace) {
                let reaped = engine::end(&left, GONE_WITHIN);
                tracing::warn!(run = %recovery.run, node = left.node, ended = reaped.count, left = reaped.left, "an attempt came too early");
                recovery.lose(trace, Isolation::Wrapped, LostReason::HostDied);
            }
        }
    }

    fn left(&self, run: &RunId, trace: &Trace) -> Option<Left> {
        let state = self.world.run(run)?;
        let node = state.path(trace.node);
        Some(Left {
            id: AttemptId { run: run.clone(), node: trace.node, attempt: trace.attempt },
            run_folder: self.workspace.run(run),
            token: token(run, &node, trace.attempt.0),
            grace: state.node_def(trace.node).settings.grace,
            node,
        })
    }

    fn give_up(&mut self, run: &RunId, lost: &Lost, rebooted: bool) {
        let trace = &lost.trace;
        let Some(state) = self.world.run(run) else { return };
        let path = state.path(trace.node);
        // After a reboot no process of it can be alive, and one that has its token has it by chance.
        if !rebooted && lost.reason != LostReason::Reboot {
            let reaped = reap_strangers(&token(run, &path, trace.attempt.0), GONE_WITHIN);
            if reaped.left > 0 {
                tracing::error!(%run, node = path, left = reaped.left, "processes of a lost attempt cannot be ended");
            } else if reaped.count > 0 {
                tracing::warn!(%run, node = path, ended = reaped.count, "processes of a lost attempt were ended");
            }
        }
        // Of a node that waits again, and of an attempt that was not even started, the number is used up and nothing else.
        if lost.reason != LostReason::NeverStarted {
            self.record_start(run, trace, lost.isolation);
        }
        let facts = EndFacts::failed(FailureCause::Lost { reason: lost.reason });
        self.commit_or_keep(run, Event::AttemptEnded { node: trace.node, attempt: trace.attempt, facts });
    }
}

impl Recovery {
    fn lose(&mut self, trace: Trace, isolation: Isolation, reason: LostReason) {
        self.done.insert((trace.node, trace.attempt));
        self.lost.push(Lost { trace, isolation, reason });
    }
}

/// Whether the state takes the start of an attempt of a node.
fn may_start(state: &RunState, node: NodeIndex) -> bool {
    matches!(state.node(node).state(), NodeState::Ready { .. }) && !state.awaits_check(node)
}

fn is_asked(left: &Left) -> bool {
    let folder = AttemptFolder::new(&left.run_folder, &left.node, left.id.attempt);
    StopRequest::read(folder.path()).is_ok_and(|request| request.is_some())
}

/// What an attempt was started with, by its folder: its memory may have been raised after `oom`, or learned where nothing was declared.
fn granted(asked: Request, spec: AttemptSpec) -> Request {
    let vram = spec.gpus.first().map_or(asked.vram, |device| device.vram);
    Request { memory: spec.memory.or(spec.set_aside).unwrap_or(asked.memory), vram, devices: spec.gpus, ..asked }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    #[test]
    fn a_recovered_attempt_holds_what_it_was_started_with() {
        let text = |memory: &str| {
            format!(
                r#"{{"format":1,"name":"r/n/2","token":"t","program":"/bin/true","args":[],"environment":[],"work":"/","capture":"pump","leaks":"end",{memory}"grace_ms":1000}}"#
            )
        };
        let spec = |memory: &str| AttemptSpec::decode(&text(memory)).expect("a spec");
        let asked = Request { memory: Bytes(64), ..Request::default() };
        assert_eq!(granted(asked.clone(), spec("\"memory\":128,")), Request { memory: Bytes(128), ..asked.clone() });
        assert_eq!(granted(asked.clone(), spec("")), asked);
        let learned = Request { memory: Bytes(7), ..Request::default() };
        assert_eq!(granted(Request::default(), spec("\"set_aside\":7,")), learned);
        let devices = vec![crate::request::GpuShare { gpu: "GPU-1".into(), share: crate::units::Amount(0), vram: Bytes(9) }];
        let wanted = Request { vram: Bytes(9), devices, ..Request::default() };
        assert_eq!(granted(Request::default(), spec("\"gpus\":[\"0 9 GPU-1\"],")), wanted);
    }
}
