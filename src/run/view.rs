//! What surfaces show of a run and its nodes.
//!
//! Plain data made on demand; nothing in it is the truth. Nulls are left out of the JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{FailureCause, ReuseCheck, RunStatus, SkipReason, StopReason, StopSignal};
use crate::ids::{NodeIndex, RunId};
use crate::pipeline::definition::Work;
use crate::request::{Isolation, Leaks, MemoryLimit};
use crate::units::{Bytes, DurationMs, Timestamp};

use super::record::AttemptEnd;
use super::state::{Body, NodeState, NodeStatus, Outcome, RunState};

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunView {
    /// Its id.
    #[schemars(with = "String")]
    pub run_id: RunId,
    /// Name of its pipeline or module.
    pub name: String,
    /// Its state.
    pub status: RunStatus,
    /// Why it is not running or not completed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When its first node was started or decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// Number of its nodes, groups and sub-pipelines included.
    pub nodes: u32,
    /// Number of nodes by state; states without nodes are left out.
    pub counts: BTreeMap<NodeStatus, u32>,
    /// Its end was asked for and has not come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopping: bool,
    /// Its host is gone; it waits for `resume`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Number of its nodes that were killed and do not go.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unkillable: u32,
    /// A script changed while it ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mixed_code: bool,
    /// Its parameters.
    pub parameters: Arc<Value>,
    /// What it reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Arc<Value>>,
    /// Path of the first node that failed and was not tolerated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_node: Option<String>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeRow {
    /// Its path.
    pub node: String,
    /// Module that it runs; none for a sub-pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// Name of the pipeline that it calls; none for a module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// Its state.
    pub status: NodeStatus,
    /// Why it is in that state, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it failed, or why the attempt before the next one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<FailureCause>,
    /// It is being asked to stop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopping: bool,
    /// It was killed and does not go. What it holds stays held.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unkillable: bool,
    /// Number of its instances, if it is a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    /// Attempts so far.
    pub attempts: u32,
    /// Exit code of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// When its last attempt was started (a group or sub-pipeline: when it was opened).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it became terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Run time of its last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<DurationMs>,
    /// When its next attempt is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// What it reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Arc<Value>>,
    /// Parameters of its last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Arc<Value>>,
    /// How its last attempt ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// Hash of the script of its last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script_hash: Option<String>,
    /// The script is not the one that the run used first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mixed_code: bool,
    /// Why no earlier result stands for it, and under what its own can be found (`reuse: inputs`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse: Option<Arc<ReuseCheck>>,
    /// Memory that its last attempt was granted: declared, raised after it ran out of it, or learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_memory: Option<Bytes>,
    /// VRAM that its last attempt was granted on each of its GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_vram: Option<Bytes>,
    /// Which of the alternatives of `any_of` its last attempt got, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternative: Option<u32>,
    /// Attempts that ran out of memory, each of which let the next one have more (`grow`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub raised: u32,
    /// The same of the memory of a graphics card.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub raised_vram: u32,
    /// Time of its last attempt on processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<DurationMs>,
    /// Most memory that its last attempt used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<Bytes>,
    /// Most memory of one GPU that its last attempt used, as far as that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_vram: Option<Bytes>,
    /// The memory limit of its last attempt, and what held it to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryLimit>,
    /// What was sent to its last attempt to stop it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<StopSignal>,
    /// The polite stop was not enough for its last attempt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escalated: bool,
    /// What its last attempt left behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaked: Option<Leaked>,
}

/// Processes that were there after the end of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Leaked {
    /// Those that are known by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pids: Vec<u32>,
    /// They were left running (`leaks: allow`). Otherwise they were ended.
    pub running: bool,
}

impl std::fmt::Display for Leaked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pids.len() {
            0 => f.write_str("processes")?,
            1 => f.write_str("1 process")?,
            count => write!(f, "{count} processes")?,
        }
        f.write_str(if self.running { ", left running" } else { ", ended" })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl RunState {
    /// What surfaces show of it.
    #[must_use]
    pub fn view(&self) -> RunView {
        let facts = self.facts();
        let (ended, status) = facts.ended.unzip();
        let failed_node = self.failed_inside(None).map(|(first, _)| first);
        let counts = NodeStatus::ALL.into_iter().zip(self.counts()).filter(|(_, count)| *count > 0).collect();
        RunView {
            run_id: self.id().clone(),
            name: self.definition().name.clone(),
            status: self.status(),
            reason: self.reason(failed_node.as_deref()),
            created_at: facts.created,
            started_at: facts.started,
            completed_at: ended,
            nodes: u32::try_from(self.len()).unwrap_or(u32::MAX),
            counts,
            stopping: facts.cancel.is_some() && status.is_none(),
            held: facts.held && status.is_none(),
            unkillable: u32::try_from(self.stuck().len()).unwrap_or(u32::MAX),
            mixed_code: facts.mixed_code,
            parameters: self.params().clone(),
            outputs: facts.outputs.clone(),
            failed_node,
        }
    }

    fn reason(&self, failed: Option<&str>) -> Option<String> {
        let held = "its host is gone; `resume` continues it";
        match self.status() {
            RunStatus::Running if self.only_stuck_is_left() => Some(self.stuck_words()),
            RunStatus::Queued | RunStatus::Running if self.facts().cancel.is_some() => Some("being cancelled".into()),
            RunStatus::Queued | RunStatus::Running if self.facts().held => Some(held.into()),
            RunStatus::Queued => Some("waits for resources".into()),
            RunStatus::Running | RunStatus::Completed => None,
            RunStatus::Cancelled => Some("cancelled".into()),
            RunStatus::Failed => match failed.and_then(|path| self.find(path)) {
                Some(node) => Some(format!("{}: {}", failed.unwrap_or_default(), words(self.node(node).state()).unwrap_or_default())),
                None => super::evaluate::outputs(self, None).err().map(|cause| format!("the run's outputs: {cause}")),
            },
        }
    }

    /// Whether it waits for nothing but attempts that do not go.
    fn only_stuck_is_left(&self) -> bool {
        let count = |status: NodeStatus| self.derived.counts[status as usize];
        let stuck = self.stuck().len();
        stuck > 0 && stuck == self.active().len() && count(NodeStatus::Queued) + count(NodeStatus::Retrying) == 0
    }

    fn stuck_words(&self) -> String {
        let first = self.stuck().next().map(|node| self.path(node)).unwrap_or_default();
        match self.stuck().len() {
            1 => format!("waits for {first}, which was killed and does not go"),
            count => format!("waits for {count} nodes that were killed and do not go, such as {first}"),
        }
    }

    /// Nodes that are terminal, and all that are known.
    #[must_use]
    pub fn progress(&self) -> (u32, u32) {
        let done = NodeStatus::ALL.iter().filter(|status| status.is_terminal()).map(|status| self.derived.counts[*status as usize]).sum();
        (done, self.derived.counts.iter().sum())
    }

    /// What surfaces show of a node.
    ///
    /// # Panics
    /// When the index is not one of this run's.
    #[must_use]
    pub fn row(&self, node: NodeIndex) -> NodeRow {
        let (at, def) = (self.node(node), self.node_def(node));
        let record = at.record();
        let last = record.and_then(|record| record.attempts().last());
        let end = last.and_then(|last| last.end.as_ref());
        let (module, pipeline) = match &def.work {
            Work::Module(module) => (Some(module), None),
            Work::Pipeline(pipeline) => (None, Some(pipeline.name.clone())),
        };
        let first_hash = module.and_then(|module| self.first_script_hash(&module.id));
        let script_hash = last.and_then(|last| last.script_hash.as_deref());
        let (opened, ended, retry_at) = times(at.state());
        NodeRow {
            node: self.path(node),
            module: module.map(|module| module.id.to_string()),
            pipeline,
            status: at.state().status(),
            reason: if self.awaits_check(node) { Some("looks for an earlier result".into()) } else { words(at.state()) },
            cause: cause(at.state()).cloned(),
            stopping: matches!(at.state(), NodeState::Stopping { .. }),
            unkillable: at.state().is_stuck(),
            instances: match at.body() {
                Body::Group(_) => u32::try_from(self.children(node).len()).ok(),
                Body::Leaf | Body::Scope(_) => None,
            },
            attempts: at.attempts(),
            exit_code: record.and_then(super::Record::exit_code),
            started_at: last.map(|last| last.started).or(opened),
            ended_at: ended,
            duration_ms: end.map(|end| end.duration),
            retry_at,
            outputs: at.outputs().cloned(),
            parameters: last.and(record).map(|record| record.params().clone()),
            isolation: last.map(|last| last.isolation),
            script_hash: script_hash.map(ToOwned::to_owned),
            mixed_code: script_hash.is_some() && script_hash != first_hash,
            reuse: record.and_then(super::Record::reuse).cloned(),
            granted_memory: last.and_then(|last| last.memory),
            granted_vram: last.and_then(|last| last.vram),
            alternative: last.and_then(|last| last.alternative),
            raised: if def.settings.retry.grow_memory_millis > 1000 { record.map_or(0, |record| record.grown) } else { 0 },
            raised_vram: if def.settings.retry.grow_vram_millis > 1000 { record.map_or(0, |record| record.grown_vram) } else { 0 },
            cpu_ms: end.and_then(|end| end.cpu),
            peak_memory: end.and_then(|end| end.peak_memory),
            peak_vram: end.and_then(|end| end.peak_vram),
            memory: end.and_then(|end| end.memory),
            signals: end.map(|end| end.signals.clone()).unwrap_or_default(),
            escalated: end.is_some_and(|end| end.escalated),
            leaked: end.and_then(|end| leaked(end, last.map(|last| last.isolation), def.settings.leaks)),
        }
    }
}

fn leaked(end: &AttemptEnd, isolation: Option<Isolation>, leaks: Leaks) -> Option<Leaked> {
    // Only a wrapper knows what a module left, so that only under one it may be left alone.
    let running = leaks == Leaks::Allow && isolation == Some(Isolation::Wrapped);
    end.leaked.then(|| Leaked { pids: end.leaked_pids.clone(), running })
}

/// When a container was opened, a node ended, and its next attempt is due.
fn times(state: &NodeState) -> (Option<Timestamp>, Option<Timestamp>, Option<Timestamp>) {
    match state {
        NodeState::Open { since } => (Some(*since), None, None),
        NodeState::Done { at, .. } => (None, Some(*at), None),
        NodeState::Retrying { until, .. } => (None, None, Some(*until)),
        NodeState::Waiting { .. }
        | NodeState::Ready { .. }
        | NodeState::Running { .. }
        | NodeState::Stopping { .. }
        | NodeState::Interrupted { .. } => (None, None, None),
    }
}

fn cause(state: &NodeState) -> Option<&FailureCause> {
    match state {
        NodeState::Retrying { cause, .. } | NodeState::Interrupted { cause } => Some(cause),
        NodeState::Done { outcome: Outcome::Failed { cause }, .. } => Some(cause),
        NodeState::Done {
            outcome: Outcome::Completed | Outcome::Cancelled { .. } | Outcome::Skipped { .. } | Outcome::Reused { .. },
            ..
        }
        | NodeState::Waiting { .. }
        | NodeState::Ready { .. }
        | NodeState::Running { .. }
        | NodeState::Stopping { .. }
        | NodeState::Open { .. } => None,
    }
}

/// Why a node is in its state, where that says more than the state's name.
fn words(state: &NodeState) -> Option<String> {
    match state {
        NodeState::Running { .. } | NodeState::Open { .. } => None,
        NodeState::Waiting { unfinished: 0 } => Some("is about to be decided".into()),
        NodeState::Waiting { unfinished: 1 } => Some("waits for 1 node".into()),
        NodeState::Waiting { unfinished } => Some(format!("waits for {unfinished} nodes")),
        NodeState::Ready { .. } => Some("waits for resources".into()),
        NodeState::Stopping { reason, stuck: Some(waited), .. } => {
            Some(format!("unkillable: still there {waited} after the kill ({}); what it holds stays held", stop_words(*reason)))
        }
        NodeState::Stopping { reason, stuck: None, .. } => Some(format!("being stopped: {}", stop_words(*reason))),
        NodeState::Retrying { next, cause, .. } => Some(format!("attempt {next} follows: {cause}")),
        NodeState::Interrupted { cause } => Some(format!("{cause}; `resume` continues it")),
        NodeState::Done { outcome, .. } => match outcome {
            Outcome::Completed => None,
            Outcome::Failed { cause } => Some(cause.to_string()),
            Outcome::Cancelled { reason } => Some(stop_words(*reason).into()),
            Outcome::Skipped { because } => Some(skip_words(because)),
            Outcome::Reused { from } => Some(format!("from run {from}")),
        },
    }
}

fn stop_words(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Cancelled => "the run was cancelled",
        StopReason::Timeout => "it ran too long",
        StopReason::OnFailure => "another node failed (on_failure: stop)",
        StopReason::HostLeaves => "the host is leaving",
    }
}

fn skip_words(because: &SkipReason) -> String {
    match because {
        SkipReason::Condition => "its condition is false".into(),
        SkipReason::NotSelected => "the retry asked for another node only".into(),
        SkipReason::Dependency { root } => format!("because of {root}"),
        SkipReason::Stopped { root } => format!("{root} failed (on_failure: stop)"),
    }
}
