//! What surfaces show of a run and its nodes.
//!
//! Plain data made on demand; nothing in it is the truth. Nulls are left out of the JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{FailureCause, RunStatus};
use crate::ids::RunId;
use crate::ids::NodeIndex;
use crate::request::Isolation;
use crate::units::{Bytes, DurationMs, Timestamp};

use super::state::{NodeStatus, RunState};

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
    /// Its host died; it waits for `resume`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
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
    /// Most memory that its last attempt used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<Bytes>,
}

impl RunState {
    /// What surfaces show of it.
    #[must_use]
    pub fn view(&self) -> RunView { todo!() }
    /// What surfaces show of a node.
    #[must_use]
    pub fn row(&self, _node: NodeIndex) -> NodeRow { todo!() }
}
