//! What attempts leave behind, and what a run is apart from its nodes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{FailureCause, ReuseCheck, RunStatus, StopReason, StopSignal};
use crate::ids::{AttemptNumber, Seq};
use crate::request::{Isolation, MemoryLimit};
use crate::units::{Bytes, DurationMs, Timestamp};

/// What a node has once an attempt of it was intended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Number of the last attempt that was started or lost; 0 before.
    pub(super) last: u32,
    /// Attempts that do not count against the retry policy: those that never started, and those after which the run was resumed.
    pub(super) forgiven: u32,
    /// Attempts that ran out of memory: each lets the next one have more.
    pub(super) grown: u32,
    /// The same of the memory of a graphics card.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) grown_vram: u32,
    /// The last attempts for which the system had no room, in a row: each makes the next pause longer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) busy: u32,
    /// The attempt `last + 1` may start once this position of the journal is durable.
    pub(super) intent: Option<Seq>,
    /// Attempts in order, the current one last.
    pub(super) attempts: Vec<AttemptRecord>,
    /// Parameters of the last attempt.
    pub(super) params: Arc<Value>,
    /// JSON Pointers of those that came from defaults.
    pub(super) defaulted: Vec<String>,
    /// An earlier result was looked for and none was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reuse: Option<Arc<ReuseCheck>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Record {
    /// Attempts in order, the current one last. Those that never started are not among them.
    #[must_use]
    pub fn attempts(&self) -> &[AttemptRecord] {
        &self.attempts
    }

    /// Parameters of the last attempt, completed.
    #[must_use]
    pub fn params(&self) -> &Arc<Value> {
        &self.params
    }

    /// JSON Pointers of the parameters that came from defaults.
    #[must_use]
    pub fn defaulted(&self) -> &[String] {
        &self.defaulted
    }

    /// What came of the search for an earlier result, where none was taken.
    #[must_use]
    pub fn reuse(&self) -> Option<&Arc<ReuseCheck>> {
        self.reuse.as_ref()
    }

    /// Exit code of the last attempt that had one.
    #[must_use]
    pub fn exit_code(&self) -> Option<i64> {
        self.attempts.last().and_then(|attempt| attempt.end.as_ref()).and_then(|end| end.code)
    }
}

/// What is kept of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Its number.
    pub number: AttemptNumber,
    /// When it was started.
    pub started: Timestamp,
    /// How it runs.
    pub isolation: Isolation,
    /// The memory that it was granted, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// The VRAM that it was granted, if any, on each of its GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vram: Option<Bytes>,
    /// Which of the alternatives of `any_of` it got, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternative: Option<u32>,
    /// Hash of its script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script_hash: Option<Arc<str>>,
    /// How it ended; none while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<AttemptEnd>,
}

/// How an attempt ended, as kept in the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// When.
    pub at: Timestamp,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Arc<FailureCause>>,
    /// Why we stopped it, if we did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<StopReason>,
    /// Exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// Signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Run time.
    pub duration: DurationMs,
    /// Time of its processes on processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<DurationMs>,
    /// Most memory that it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<Bytes>,
    /// Most memory of one GPU that it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_vram: Option<Bytes>,
    /// Its memory limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryLimit>,
    /// What was sent to it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<StopSignal>,
    /// A kill was needed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escalated: bool,
    /// It left processes behind.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaked: bool,
    /// Those processes, as far as they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaked_pids: Vec<u32>,
}

/// What a run is apart from its nodes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunFacts {
    /// Hash of what was submitted; none before the submission was recorded.
    pub pinned: Option<String>,
    /// When it was submitted.
    pub created: Option<Timestamp>,
    /// When the first attempt started or the first node was decided.
    pub started: Option<Timestamp>,
    /// When it ended, and how.
    pub ended: Option<(Timestamp, RunStatus)>,
    /// What it reported.
    pub outputs: Option<Arc<Value>>,
    /// Somebody asked for its end; `true`: at once.
    pub cancel: Option<bool>,
    /// Its host died and nobody said `resume`.
    pub held: bool,
    /// A script changed while the run used it.
    pub mixed_code: bool,
}
