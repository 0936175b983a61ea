//! The decision: what is due, what has to be recorded, what can start, which intents to write ahead.

use crate::event::{Event, SkipReason, StopReason};
use crate::ids::{AttemptId, AttemptNumber, NodeIndex};
use crate::run::{NodeState, RunState};
use crate::units::Now;

use super::effect::{Effect, StopHow};
use super::settle::settle;
use super::timers::Due;
use super::{Timers, World, reuse, starts};

/// Most effects of one call: a run of a million nodes that is cancelled must not fill the memory with records before the first one is
/// written. The rest comes with the next call.
const EFFECTS_MAX: usize = 4_096;

/// What to do now. Carry the effects out in order: apply each record, and `AttemptStarted` for each start; then call again until
/// nothing comes. Called twice on the same world it says the same; called after its effects were applied it says nothing new.
#[must_use]
pub fn decide(world: &World, timers: &Timers, now: Now) -> Vec<Effect> {
    let mut effects = Vec::new();
    deadlines(world, timers, now, &mut effects);
    if let Some(how) = world.ending() {
        endings(world, how, timers, &mut effects);
    }
    let before = effects.len();
    for run in world.undecided() {
        let kill = run.facts().cancel == Some(true) || world.ending() == Some(StopHow::Kill);
        stops(run, kill, timers, &mut effects);
        records(run, &mut effects);
        if world.accepting() {
            reuse::checks(world, run, &mut effects);
        }
        if effects.len() >= EFFECTS_MAX {
            return effects;
        }
    }
    if effects.len() > before {
        // What follows from these records may be more urgent than what is ready now.
        return effects;
    }
    if world.accepting() && world.short_disks().next().is_none() {
        starts::starts(world, now.wall, &mut effects);
    }
    effects
}

/// What follows for one run from what is known of it, apart from starts and stops: for a new host, before it goes on with the run.
#[must_use]
pub fn records_of(run: &RunState) -> Vec<Effect> {
    let mut effects = Vec::new();
    if !run.status().is_terminal() {
        records(run, &mut effects);
    }
    effects
}

/// Attempts whose time is up, and nodes whose pause is over.
fn deadlines(world: &World, timers: &Timers, now: Now, effects: &mut Vec<Effect>) {
    for (run, node, due) in timers.due(now.mono) {
        let Some(run) = world.run(run).filter(|run| node.at() < run.len()) else { continue };
        let state = run.node(node).state();
        match due {
            Due::Timeout(attempt) if is_running(state, attempt) && !run.is_swept(node) && world.ending().is_none() => {
                effects.push(record(run, Event::AttemptStopping { node, attempt, reason: StopReason::Timeout }));
                effects.push(stop(run, node, attempt, StopHow::Polite));
            }
            Due::Grace(attempt) if is_stopping(state, attempt) => effects.push(stop(run, node, attempt, StopHow::Kill)),
            Due::Stuck(attempt) if is_stopping(state, attempt) && !state.is_stuck() => {
                effects.push(record(run, Event::AttemptStuck { node, attempt, waited: timers.stuck_after() }));
            }
            Due::Retry if matches!(state, NodeState::Retrying { .. }) && !run.facts().held && !run.is_swept(node) => {
                effects.push(record(run, Event::NodeReady { node }));
            }
            Due::Timeout(_) | Due::Grace(_) | Due::Stuck(_) | Due::Retry => {}
        }
    }
}

fn is_running(state: &NodeState, due: AttemptNumber) -> bool {
    matches!(state, NodeState::Running { attempt, .. } if *attempt == due)
}

fn is_stopping(state: &NodeState, due: AttemptNumber) -> bool {
    matches!(state, NodeState::Stopping { attempt, .. } if *attempt == due)
}

/// Attempts of a host that leaves nothing running. Their runs are held, so that nothing follows from how they end.
fn endings(world: &World, how: StopHow, timers: &Timers, effects: &mut Vec<Effect>) {
    for run in world.runs() {
        let mut held = run.facts().held || run.facts().cancel.is_some();
        // Those of a run that is stopped anyway are looked at there.
        for node in run.active().filter(|node| !run.is_swept(*node)) {
            match run.node(node).state() {
                NodeState::Running { attempt, .. } => {
                    if !held {
                        held = true;
                        effects.push(record(run, Event::RunHeld));
                    }
                    effects.push(record(run, Event::AttemptStopping { node, attempt: *attempt, reason: StopReason::HostLeaves }));
                    effects.push(stop(run, node, *attempt, how));
                }
                NodeState::Stopping { attempt, .. } if how == StopHow::Kill && !timers.is_killed(run.id(), node, *attempt) => {
                    effects.push(stop(run, node, *attempt, StopHow::Kill));
                }
                NodeState::Stopping { .. }
                | NodeState::Waiting { .. }
                | NodeState::Ready { .. }
                | NodeState::Retrying { .. }
                | NodeState::Interrupted { .. }
                | NodeState::Open { .. }
                | NodeState::Done { .. } => {}
            }
        }
    }
}

/// Attempts of a run that is cancelled, or of a pipeline that is stopped.
fn stops(run: &RunState, kill: bool, timers: &Timers, effects: &mut Vec<Effect>) {
    for node in run.active().filter(|node| run.is_swept(*node)) {
        match run.node(node).state() {
            NodeState::Running { attempt, .. } => {
                let reason = if run.facts().cancel.is_some() { StopReason::Cancelled } else { StopReason::OnFailure };
                effects.push(record(run, Event::AttemptStopping { node, attempt: *attempt, reason }));
                effects.push(stop(run, node, *attempt, if kill { StopHow::Kill } else { StopHow::Polite }));
            }
            NodeState::Stopping { attempt, .. } if kill && !timers.is_killed(run.id(), node, *attempt) => {
                effects.push(stop(run, node, *attempt, StopHow::Kill));
            }
            NodeState::Stopping { .. }
            | NodeState::Waiting { .. }
            | NodeState::Ready { .. }
            | NodeState::Retrying { .. }
            | NodeState::Interrupted { .. }
            | NodeState::Open { .. }
            | NodeState::Done { .. } => {}
        }
    }
}

/// One record for each node that needs a decision, or the end of the run.
fn records(run: &RunState, effects: &mut Vec<Effect>) {
    if run.is_over() {
        effects.push(record(run, super::settle::end(run)));
        return;
    }
    if run.is_frozen() {
        return;
    }
    for node in run.unsettled() {
        if effects.len() >= EFFECTS_MAX {
            return;
        }
        let event = match removal(run, node) {
            Some(removed) => removed,
            None => settle(run, node),
        };
        effects.push(record(run, event));
    }
}

/// The end of a node that is still to run while its run is cancelled or its pipeline stopped.
fn removal(run: &RunState, node: NodeIndex) -> Option<Event> {
    if let NodeState::Open { .. } = run.node(node).state() {
        return None;
    }
    if run.facts().cancel.is_some() {
        return Some(Event::NodeCancelled { node });
    }
    run.stop_around(node).map(|because| Event::NodeSkipped { node, because: SkipReason::clone(because) })
}

pub(super) fn record(run: &RunState, event: Event) -> Effect {
    Effect::Record { run: run.id().clone(), event }
}

fn stop(run: &RunState, node: NodeIndex, attempt: AttemptNumber, how: StopHow) -> Effect {
    Effect::Stop { id: AttemptId { run: run.id().clone(), node, attempt }, how }
}
