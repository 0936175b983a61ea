//! What those who follow a run are told, in the same words in one process and over the channel.
//!
//! Only what is durable is told. Output itself is not among it: followers are woken and read the log's files.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::health::HostHealth;
use super::index::RunRow;
use crate::attempt::AttemptFolder;
use crate::ids::AttemptNumber;
use crate::resources::Disk;
use crate::run::NodeStatus;
use crate::run::view::NodeRow;
use crate::units::{DurationMs, Timestamp};

/// A message to a follower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type", content = "data")]
pub enum Update {
    /// The run as it is: the first message, and whenever its status changes.
    Run(Box<RunRow>),
    /// A node changed.
    Node(Box<NodeChange>),
    /// A node wrote output.
    Output {
        /// Path of the node.
        node: String,
        /// Its attempt's folder, where the logs are.
        folder: PathBuf,
    },
    /// A node reported progress.
    Progress {
        /// Path of the node.
        node: String,
        /// Steps done.
        done: Option<f64>,
        /// Steps in all.
        total: Option<f64>,
        /// What it says.
        message: Option<String>,
    },
    /// What the host can do has changed.
    Host(HostHealth),
    /// How the disks stand that runs write to: when that changes for better or worse, and at first where there is little space.
    Disk(Vec<Disk>),
    /// The run ended; the last message.
    Ended(Box<RunRow>),
    /// The host cannot write its journal any more, and will not try again. The last message.
    Failed {
        /// What the disk said.
        reason: String,
    },
    /// The host leaves, and another one takes over: ask that one. The last message.
    Leaving,
}

/// A change of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeChange {
    /// When.
    pub at: Timestamp,
    /// Path of the node.
    pub node: String,
    /// Its state now.
    pub status: String,
    /// Its attempt was killed and does not go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unkillable: bool,
    /// Attempt, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptNumber>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Exit code of the attempt that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Run time of the attempt that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<DurationMs>,
    /// The attempt's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Nodes that are over, of all that are known.
    pub done: u64,
    /// All nodes that are known.
    pub total: u64,
}

impl NodeChange {
    /// How a node is, for somebody who was not there when it became so; `None` where nothing has happened to it yet. `run` is the
    /// run's folder, `progress` the nodes that are over, of all that are known.
    #[must_use]
    pub fn so_far(row: &NodeRow, run: &Path, (done, total): (u64, u64)) -> Option<Self> {
        let over = match row.status {
            NodeStatus::Waiting | NodeStatus::Queued => return None,
            NodeStatus::Running | NodeStatus::Retrying => false,
            NodeStatus::Completed | NodeStatus::Failed | NodeStatus::Cancelled | NodeStatus::Skipped | NodeStatus::Reused => true,
        };
        let attempt = (row.attempts > 0).then_some(AttemptNumber(row.attempts));
        Some(Self {
            at: row.ended_at.or(row.started_at).unwrap_or_default(),
            node: row.node.clone(),
            status: row.status.as_str().to_owned(),
            unkillable: row.unkillable,
            attempt,
            reason: row.reason.clone(),
            exit_code: row.exit_code.filter(|_| over),
            duration_ms: row.duration_ms.filter(|_| over),
            folder: attempt.map(|attempt| AttemptFolder::new(run, &row.node, attempt).path().to_owned()),
            done,
            total,
        })
    }
}
