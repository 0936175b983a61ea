//! Words of the channel: what requests and answers look like as JSON.

use serde::{Deserialize, Serialize};

use crate::host::HostHealth;
use crate::host::views::DiskLevel;
use crate::ids::RunId;
use crate::units::Timestamp;

/// Answer of `GET /api/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What it can do, and why not more.
    #[serde(flatten)]
    pub health: HostHealth,
    /// How the disks stand that runs write to; below `enough` there is little space, and at `short` nothing new starts.
    #[serde(default)]
    pub disk: DiskLevel,
    /// Version of the host.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// It starts nothing new and ends as soon as it can.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

/// Answer to an accepted submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The new run. It is on the disk.
    pub run_id: RunId,
    /// Warnings, rendered for a terminal without colours.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
}

/// Body of a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CancelRequest {
    /// Kill at once, without the polite stop.
    #[serde(default)]
    pub kill: bool,
}

/// Body of a resume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResumeRequest {
    /// The run; none: every run that is held.
    #[serde(default)]
    pub run_id: Option<RunId>,
}

/// Answer to a resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeReply {
    /// Runs that go on.
    pub resumed: Vec<RunId>,
}

/// Answer to anything that went wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// What went wrong.
    pub detail: String,
    /// A word for programs.
    pub error_code: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Mistakes, one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<serde_json::Value>,
    /// The same for a terminal, with source lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered: Option<String>,
    /// When.
    pub timestamp: Timestamp,
}
