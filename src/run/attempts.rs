//! What attempts do to their node: intent, start, stop, end, and the verdict on a failed one.

use std::sync::Arc;

use crate::event::{EndFacts, FailureCause, LostReason, StartFacts, StopReason};
use crate::ids::{AttemptNumber, NodeIndex, Seq};
use crate::request::Request;
use crate::units::{DurationMs, Timestamp};

use super::apply::Refusal;
use super::record::{AttemptEnd, AttemptRecord};
use super::retry::{Verdict, busy_pause, verdict};
use super::state::{Body, NodeState, Outcome, RunState};

/// How often an attempt that never started is simply started again. Where that does not help, something is wrong with the machine.
const FORGIVEN_MAX: u32 = 20;

impl RunState {
    /// Number of the attempt of a node that comes next.
    #[must_use]
    pub fn next_attempt(&self, node: NodeIndex) -> AttemptNumber {
        AttemptNumber(self.node(node).attempts() + 1)
    }

    /// Where the intent of the next attempt stands in the journal, if it was written.
    #[must_use]
    pub fn intent(&self, node: NodeIndex) -> Option<Seq> {
        self.node(node).record().and_then(|record| record.intent)
    }

    /// Attempts that were intended and not started, as a new host finds them: of each it has to see whether a trace exists. Linear.
    pub fn unused_intents(&self) -> impl Iterator<Item = (NodeIndex, AttemptNumber)> {
        let unused = |node: &NodeIndex| self.intent(*node).is_some() && !self.node(*node).state.is_done();
        self.nodes().map(|(node, _)| node).filter(unused).map(|node| (node, self.next_attempt(node)))
    }

    pub(super) fn attempt_intended(&mut self, node: NodeIndex, attempt: AttemptNumber, seq: Seq) -> Result<(), Refusal> {
        let idle = matches!(self.node(node).state, NodeState::Waiting { .. } | NodeState::Ready { .. } | NodeState::Retrying { .. });
        if !idle || self.node(node).body != Body::Leaf {
            return self.refuse(node);
        }
        self.check_next(node, attempt)?;
        if self.intent(node).is_some() {
            return Err(format!("attempt {attempt} is intended already"));
        }
        self.set_intent(node, Some(seq));
        self.refresh_ahead(node);
        Ok(())
    }

    pub(super) fn attempt_started(
        &mut self,
        node: NodeIndex,
        attempt: AttemptNumber,
        facts: &StartFacts,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        if !matches!(self.node(node).state, NodeState::Ready { .. }) || self.node(node).body != Body::Leaf || self.awaits_check(node) {
            return self.refuse(node);
        }
        self.check_next(node, attempt)?;
        if self.intent(node).is_none() {
            return Err(format!("attempt {attempt} was not intended"));
        }
        let script_hash = facts.script_hash.as_deref().map(|hash| self.note_script(node, hash));
        let grant = self.shared_grant(node, &facts.grant);
        let granted = Some(grant.memory).filter(|memory| memory.0 > 0);
        self.set_intent(node, None);
        let record = self.nodes[node.at()].record.get_or_insert_default();
        record.last = attempt.0;
        record.params = facts.params.clone();
        record.defaulted.clone_from(&facts.defaulted);
        record.attempts.push(AttemptRecord {
            number: attempt,
            started: at,
            isolation: facts.isolation,
            memory: granted,
            vram: Some(facts.grant.vram).filter(|vram| vram.0 > 0),
            alternative: facts.grant.alternative,
            script_hash,
            end: None,
        });
        self.set(node, NodeState::Running { attempt, grant, started: at });
        self.refresh(node);
        self.refresh_dependents_ahead(node);
        Ok(())
    }

    pub(super) fn attempt_stopping(
        &mut self,
        node: NodeIndex,
        attempt: AttemptNumber,
        reason: StopReason,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let NodeState::Running { attempt: current, grant, .. } = &self.node(node).state else { return self.refuse(node) };
        if *current != attempt {
            return self.refuse(node);
        }
        let grant = grant.clone();
        self.set(node, NodeState::Stopping { attempt, grant, reason, since: at, stuck: None });
        Ok(())
    }

    pub(super) fn attempt_stuck(&mut self, node: NodeIndex, attempt: AttemptNumber, waited: DurationMs) -> Result<(), Refusal> {
        let NodeState::Stopping { attempt: current, grant, reason, since, .. } = &self.node(node).state else { return self.refuse(node) };
        if *current != attempt {
            return self.refuse(node);
        }
        let (grant, reason, since) = (grant.clone(), *reason, *since);
        self.set(node, NodeState::Stopping { attempt, grant, reason, since, stuck: Some(waited) });
        Ok(())
    }

    pub(super) fn attempt_ended(
        &mut self,
        node: NodeIndex,
        attempt: AttemptNumber,
        facts: &EndFacts,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        match self.node(node).state.holding() {
            Some((current, _)) if current == attempt => {}
            Some(_) => return self.refuse(node),
            None => return self.intent_lost(node, attempt, facts, at),
        }
        let failure = failure_of(facts, self.node_def(node).settings.timeout).map(Arc::new);
        self.note_end(node, facts, failure.clone(), at);
        match (failure, facts.stopped) {
            (Some(cause), Some(StopReason::HostLeaves)) => self.interrupt(node, cause),
            (Some(cause), _) => self.failed_attempt(node, cause, at),
            (None, Some(reason @ (StopReason::Cancelled | StopReason::OnFailure))) => self.finish(node, Outcome::Cancelled { reason }, at),
            (None, None | Some(StopReason::Timeout | StopReason::HostLeaves)) => {
                self.nodes[node.at()].outputs.clone_from(&facts.outputs);
                self.finish(node, Outcome::Completed, at);
            }
        }
        self.refresh_dependents_ahead(node);
        Ok(())
    }

    /// Another attempt, or the end of the node.
    fn failed_attempt(&mut self, node: NodeIndex, cause: Arc<FailureCause>, at: Timestamp) {
        if self.facts.held && self.facts.cancel.is_none() && goes_on_after_resume(&cause) {
            return self.interrupt(node, cause);
        }
        if cause.is_resource_busy() && !self.is_swept(node) {
            return self.wait_for_system(node, cause, at);
        }
        let record = self.nodes[node.at()].record.get_or_insert_default();
        if matches!(&*cause, FailureCause::Lost { reason: LostReason::NeverStarted }) && record.forgiven < FORGIVEN_MAX {
            // Nothing was done: it starts once more as if nothing had happened, and does not count against the policy.
            record.forgiven += 1;
            self.set(node, NodeState::Ready { since: at });
            return self.refresh(node);
        }
        let policy = &self.node_def(node).settings.retry;
        let (last, forgiven) = self.node(node).record().map_or((0, 0), |record| (record.last, record.forgiven));
        // Nothing is tried again in a run that is coming to its end.
        let code = self.node(node).record().and_then(super::Record::exit_code);
        let verdict = if self.is_swept(node) { Verdict::Final } else { verdict(policy, last.saturating_sub(forgiven), &cause, code) };
        match verdict {
            Verdict::Final => self.finish(node, Outcome::Failed { cause }, at),
            Verdict::Again(pause) => self.pause(node, pause, cause, at),
        }
    }

    /// The system had no room for the attempt. Nothing of the module has run, so that no policy counts it.
    fn wait_for_system(&mut self, node: NodeIndex, cause: Arc<FailureCause>, at: Timestamp) {
        let record = self.nodes[node.at()].record.get_or_insert_default();
        record.forgiven += 1;
        let pause = busy_pause(record.busy);
        self.pause(node, pause, cause, at);
    }

    fn pause(&mut self, node: NodeIndex, pause: DurationMs, cause: Arc<FailureCause>, at: Timestamp) {
        let until = Timestamp::from_micros(at.micros().saturating_add_unsigned(pause.0.saturating_mul(1000)));
        self.set(node, NodeState::Retrying { next: self.next_attempt(node), until, cause });
        self.refresh(node);
    }

    fn interrupt(&mut self, node: NodeIndex, cause: Arc<FailureCause>) {
        self.set(node, NodeState::Interrupted { cause });
        self.refresh(node);
    }

    /// An attempt that was intended, of which a later host found no proper start.
    fn intent_lost(&mut self, node: NodeIndex, attempt: AttemptNumber, facts: &EndFacts, at: Timestamp) -> Result<(), Refusal> {
        let Some(cause @ FailureCause::Lost { reason }) = &facts.failure else { return self.refuse(node) };
        if !matches!(self.node(node).state, NodeState::Waiting { .. } | NodeState::Ready { .. } | NodeState::Retrying { .. }) {
            return self.refuse(node);
        }
        self.check_next(node, attempt)?;
        if self.intent(node).is_none() {
            return Err(format!("attempt {attempt} was not intended"));
        }
        self.set_intent(node, None);
        let ready = matches!(self.node(node).state, NodeState::Ready { .. });
        let record = self.nodes[node.at()].record.get_or_insert_default();
        record.last = attempt.0;
        if ready && *reason != LostReason::NeverStarted {
            self.failed_attempt(node, Arc::new(cause.clone()), at);
        } else {
            // Nothing was done: the number is used up, the policy's count is not.
            record.forgiven += 1;
            if let NodeState::Retrying { next, .. } = &mut self.nodes[node.at()].state {
                *next = attempt.next();
            }
            self.refresh_ahead(node);
        }
        Ok(())
    }

    /// Keeps what the end of an attempt told; the node still holds its grant.
    fn note_end(&mut self, node: NodeIndex, facts: &EndFacts, failure: Option<Arc<FailureCause>>, at: Timestamp) {
        let record = self.nodes[node.at()].record.get_or_insert_default();
        // More memory does not help a graphics card, nor the other way round.
        record.grown += u32::from(matches!(failure.as_deref(), Some(FailureCause::Oom { said: None, .. })));
        record.grown_vram += u32::from(matches!(failure.as_deref(), Some(FailureCause::Oom { said: Some(_), .. })));
        record.busy = if failure.as_deref().is_some_and(FailureCause::is_resource_busy) { record.busy.saturating_add(1) } else { 0 };
        if let Some(attempt) = record.attempts.last_mut() {
            attempt.end = Some(AttemptEnd {
                at,
                failure,
                stopped: facts.stopped,
                code: facts.code,
                signal: facts.signal,
                duration: facts.duration_ms,
                cpu: facts.cpu_ms,
                peak_memory: facts.peak_memory,
                peak_vram: facts.peak_vram,
                memory: facts.memory,
                signals: facts.signals.clone(),
                escalated: facts.escalated,
                leaked: facts.leaked,
                leaked_pids: facts.leaked_pids.clone(),
            });
        }
    }

    /// Remembers under which hash a module's script was first used, and notices a change.
    fn note_script(&mut self, node: NodeIndex, hash: &str) -> Arc<str> {
        let Some(module) = self.module(node).map(|module| module.id.clone()) else { return hash.into() };
        let first = self.scripts.entry(module).or_insert_with(|| hash.into()).clone();
        if &*first == hash {
            return first;
        }
        self.facts.mixed_code = true;
        hash.into()
    }

    /// The grant, shared with the class where it is what the class asks for.
    pub(super) fn shared_grant(&self, node: NodeIndex, grant: &Request) -> Arc<Request> {
        let at = self.node(node);
        let plan = self.plans.get(self.scopes[at.scope as usize].plan);
        let asks = plan.class(at.position).map_or(&[][..], |class| &self.plans.class(class).asks);
        let asked = asks.iter().map(|ask| &ask.request).find(|asked| ***asked == *grant);
        asked.cloned().unwrap_or_else(|| Arc::new(grant.clone()))
    }

    fn check_next(&self, node: NodeIndex, attempt: AttemptNumber) -> Result<(), Refusal> {
        let next = self.next_attempt(node);
        if attempt == next { Ok(()) } else { Err(format!("attempt {next} comes next, not {attempt}")) }
    }

    fn refresh_dependents_ahead(&mut self, node: NodeIndex) {
        let dependents: Vec<NodeIndex> = self.dependents(node).collect();
        dependents.into_iter().for_each(|dependent| self.refresh_ahead(dependent));
    }
}

/// Why an attempt failed, if it did: an end that we forced for a timeout, or because the host left, is a failure too.
fn failure_of(facts: &EndFacts, timeout: Option<DurationMs>) -> Option<FailureCause> {
    let failure = facts.failure.clone();
    match facts.stopped {
        None => failure,
        Some(StopReason::Timeout) => failure.or(Some(FailureCause::Timeout { limit_ms: timeout.unwrap_or_default() })),
        Some(StopReason::HostLeaves) => failure.or(Some(FailureCause::Lost { reason: LostReason::HostLeft })),
        // It died by our hand: whatever the signal left as a code is no failure of its own.
        Some(StopReason::Cancelled | StopReason::OnFailure) => None,
    }
}

/// Whether a node goes on when its held run is resumed: its attempt was lost with the host or the machine, not by itself.
fn goes_on_after_resume(cause: &FailureCause) -> bool {
    match cause {
        FailureCause::Lost { reason: LostReason::HostDied | LostReason::HostLeft | LostReason::Reboot | LostReason::NeverStarted } => true,
        FailureCause::Lost { reason: LostReason::WrapperKilled }
        | FailureCause::Exit { .. }
        | FailureCause::Signal { .. }
        | FailureCause::Timeout { .. }
        | FailureCause::Oom { .. }
        | FailureCause::Spawn(_)
        | FailureCause::Parameters { .. }
        | FailureCause::Outputs { .. }
        | FailureCause::Inner { .. }
        | FailureCause::ScriptChanged => false,
    }
}
