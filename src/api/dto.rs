//! Words of the channel: what requests and answers look like as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::host::HostHealth;
use crate::host::views::DiskLevel;
use crate::ids::RunId;
use crate::units::Timestamp;

/// Answer of `GET /api/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// How long it has been there.
    #[serde(default)]
    pub uptime_seconds: u64,
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

/// Body of a search for a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindRequest {
    /// What was typed: an id, a unique head or tail of one, `last`, `@~N`.
    pub selector: String,
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

/// A mistake in what was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mistake {
    /// JSON Pointer of the value; empty for the whole.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
}

/// Answer to anything that went wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorReply {
    /// What went wrong.
    pub detail: String,
    /// A word for programs.
    pub error_code: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Mistakes, one by one. Those in files also have `file`, `line`, `column`, `severity` and perhaps `help`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<Mistake>")]
    pub errors: Vec<serde_json::Value>,
    /// The same for a terminal, with source lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered: Option<String>,
    /// When.
    pub timestamp: Timestamp,
}

/// A value's own fields, and the same once more under a name: clients of the original system read it there.
pub(super) fn nested(name: &str, value: &impl Serialize) -> serde_json::Value {
    // Strings, numbers and maps with string keys: this cannot fail.
    let mut value = serde_json::to_value(value).unwrap_or_default();
    let inner = value.clone();
    if let Some(map) = value.as_object_mut() {
        map.insert(name.to_owned(), inner);
    }
    value
}
