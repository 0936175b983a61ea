//! What is known of an attempt at its start and at its end: data of its two records.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{FailureCause, StopReason};
use crate::request::{Isolation, MemoryLimit, Request};
use crate::units::{Bytes, DurationMs};

/// What was sent to an attempt to stop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    /// The polite one: it may still clean up.
    Term,
    /// The end.
    Kill,
}

impl StopSignal {
    /// As in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Kill => "KILL",
        }
    }
}

/// What is known of an attempt at its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFacts {
    /// What it holds until it ends.
    pub grant: Request,
    /// How it really runs, whatever the manifest asked for.
    pub isolation: Isolation,
    /// Its parameters, checked and completed.
    #[serde(default, skip_serializing_if = "is_empty_object")]
    pub params: Arc<Value>,
    /// JSON Pointers of the parameters that came from the schema's defaults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub defaulted: Vec<String>,
    /// Hash of the script (BLAKE3, hex), for scripts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script_hash: Option<String>,
}

fn is_empty_object(value: &Value) -> bool {
    value.as_object().is_none_or(serde_json::Map::is_empty)
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndFacts {
    /// Why it failed; none: it completed. An attempt that we stopped for a cancel is in neither: see `stopped`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureCause>,
    /// It ended because we stopped it, for this reason (`Timeout` is also a failure).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<StopReason>,
    /// Exit code, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// Signal, where one ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// What it reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Arc<Value>>,
    /// Run time by a monotonic clock.
    pub duration_ms: DurationMs,
    /// Time of its processes on processors, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<DurationMs>,
    /// Most memory that it used, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<Bytes>,
    /// Most memory of one GPU that it used, as far as that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_vram: Option<Bytes>,
    /// The memory limit that really held it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryLimit>,
    /// What was sent to it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<StopSignal>,
    /// The kill was needed after the polite stop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escalated: bool,
    /// Processes of it were left after its end, and were ended unless it may leave some (`leaks: allow`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaked: bool,
    /// Those processes, as far as they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaked_pids: Vec<u32>,
}

impl EndFacts {
    /// Of an attempt of which nothing is known but why it failed: it was never started, or it was lost.
    #[must_use]
    pub fn failed(cause: FailureCause) -> Self {
        Self {
            failure: Some(cause),
            stopped: None,
            code: None,
            signal: None,
            outputs: None,
            duration_ms: DurationMs(0),
            cpu_ms: None,
            peak_memory: None,
            peak_vram: None,
            memory: None,
            signals: Vec::new(),
            escalated: false,
            leaked: false,
            leaked_pids: Vec::new(),
        }
    }
}
