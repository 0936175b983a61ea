//! Facts of a run, in the past tense: what the journal holds and what alone changes a run's state.
//!
//! An [`Event`] names nodes by their index in the run's arrays; the host turns that into the node's path when it writes the record,
//! and back when it replays. What is only streamed (progress, output) is no event. Used by `run` (which applies them), `scheduler`
//! (which proposes them) and `host` (which makes them durable).

mod attempt;
mod reuse;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{AttemptNumber, NodeIndex, RunId, Seq};
use crate::request::RetryOn;
use crate::units::{Bytes, DurationMs, Timestamp};

pub use attempt::{EndFacts, StartFacts, StopSignal};
pub use reuse::{NotReused, ReuseCheck, ReuseKey, ReusePart};

/// Where and when an event stands in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Position in the journal.
    pub seq: Seq,
    /// Wall clock of the host.
    pub at: Timestamp,
}

/// State of a run as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Accepted; nothing has started.
    Queued,
    /// At least one node was started or decided.
    Running,
    /// Everything ended well, or was skipped on purpose.
    Completed,
    /// A node failed and was not tolerated.
    Failed,
    /// The cancel was recorded before the end.
    Cancelled,
}

impl RunStatus {
    /// Whether it never changes again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Completed | Self::Failed | Self::Cancelled => true,
        }
    }

    /// As in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why an attempt was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LostReason {
    /// The machine was started again meanwhile.
    Reboot,
    /// The host died while a direct attempt ran; what was left of it was ended.
    HostDied,
    /// The host was told to leave nothing running, and ended it.
    HostLeft,
    /// The wrapper was killed.
    WrapperKilled,
    /// Its start had been recorded as intended, and nothing was started.
    NeverStarted,
}

/// Why a program could not be started at all. Tried again only where the cause may pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpawnFailure {
    /// What the system said, with the program's name.
    pub message: String,
    /// Whether it may work a moment later (no free process or descriptor).
    pub transient: bool,
    /// `not_found`, `not_executable` or another: what `exec` turns into 127, 126 and 125.
    pub kind: SpawnFailureKind,
}

/// Kind of a [`SpawnFailure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpawnFailureKind {
    /// The program or script does not exist.
    NotFound,
    /// It exists and cannot be executed.
    NotExecutable,
    /// Anything else.
    Other,
}

/// Why a node failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "cause")]
pub enum FailureCause {
    /// The program ended with a code other than 0.
    Exit {
        /// The code.
        code: i64,
    },
    /// The program was ended by a signal that was not ours.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// It ran longer than allowed.
    Timeout {
        /// The limit.
        limit_ms: DurationMs,
    },
    /// It was killed for using more memory than it had, or it said itself that a graphics card had no more.
    Oom {
        /// The limit, where one was set.
        limit: Option<Bytes>,
        /// The most it used.
        peak: Option<Bytes>,
        /// The line of standard error that says so, where it was the memory of a graphics card.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        said: Option<String>,
    },
    /// It could not be started.
    Spawn(SpawnFailure),
    /// Nobody knows how it ended.
    Lost {
        /// Why not.
        reason: LostReason,
    },
    /// Its parameters, condition or list could not be computed or did not fit the schema. Each message has its place.
    Parameters {
        /// One for each mistake.
        messages: Vec<String>,
    },
    /// What it reported is no JSON object or does not fit the manifest's `outputs`.
    Outputs {
        /// What is wrong.
        message: String,
    },
    /// Nodes inside it failed: instances of an expanded node, nodes of a sub-pipeline.
    Inner {
        /// Path of the first one.
        first: String,
        /// How many.
        failed: u64,
    },
    /// The script changed during the run, and the manifest says `pin: strict`.
    ScriptChanged,
}

impl FailureCause {
    /// The word under which a retry policy names it; `None` for causes that no repetition can mend, and for
    /// [`resource_busy`](Self::is_resource_busy), which no policy has to name.
    #[must_use]
    pub fn retry_word(&self) -> Option<RetryOn> {
        match self {
            Self::Exit { .. } | Self::Signal { .. } | Self::Outputs { .. } => Some(RetryOn::Exit),
            Self::Timeout { .. } => Some(RetryOn::Timeout),
            Self::Oom { .. } => Some(RetryOn::Oom),
            Self::Lost { .. } => Some(RetryOn::Lost),
            Self::Spawn(_) | Self::Parameters { .. } | Self::Inner { .. } | Self::ScriptChanged => None,
        }
    }

    /// Whether the system had no process, memory or descriptor for it, or its program was just being written: nothing of the module has
    /// run, and it waits for the system as others wait for a grant.
    #[must_use]
    pub fn is_resource_busy(&self) -> bool {
        match self {
            Self::Spawn(failure) => failure.transient,
            Self::Exit { .. }
            | Self::Signal { .. }
            | Self::Timeout { .. }
            | Self::Oom { .. }
            | Self::Lost { .. }
            | Self::Parameters { .. }
            | Self::Outputs { .. }
            | Self::Inner { .. }
            | Self::ScriptChanged => false,
        }
    }
}

/// An exit code as people look it up: those by which Windows says that it ended a program are hexadecimal, and the common ones in words.
#[must_use]
pub fn exit_code_text(code: i64) -> String {
    let meaning = match code {
        0xC000_0005 => " (access violation)",
        0xC000_0017 => " (no memory)",
        0xC000_001D => " (illegal instruction)",
        0xC000_00FD => " (stack overflow)",
        0xC000_0135 => " (a DLL was not found)",
        0xC000_0139 => " (a DLL lacks a function)",
        0xC000_013A => " (ended by Ctrl-C or by force)",
        0xC000_0142 => " (a DLL could not be initialised)",
        0xC000_0374 => " (damaged heap)",
        0xC000_0409 => " (aborted)",
        _ => "",
    };
    if (0x8000_0000..=0xFFFF_FFFF).contains(&code) { format!("0x{code:08X}{meaning}") } else { code.to_string() }
}

impl std::fmt::Display for FailureCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit { code } => write!(f, "exit code {}", exit_code_text(*code)),
            Self::Signal { signal } => write!(f, "ended by signal {signal}"),
            Self::Timeout { limit_ms } => write!(f, "timeout after {limit_ms}"),
            Self::Oom { said: Some(said), .. } => write!(f, "out of memory on a graphics card: {said}"),
            Self::Oom { limit: Some(limit), .. } => write!(f, "out of memory (limit {limit})"),
            Self::Oom { limit: None, .. } => f.write_str("out of memory"),
            Self::Spawn(failure) if failure.transient => write!(f, "resource_busy: {}", failure.message),
            Self::Spawn(failure) => write!(f, "could not start: {}", failure.message),
            Self::Lost { reason: LostReason::Reboot } => f.write_str("lost: the machine was restarted"),
            Self::Lost { reason: LostReason::HostDied } => f.write_str("lost: the host died while it ran"),
            Self::Lost { reason: LostReason::HostLeft } => f.write_str("lost: the host ended it when it left"),
            Self::Lost { reason: LostReason::WrapperKilled } => f.write_str("lost: its wrapper was killed"),
            Self::Lost { reason: LostReason::NeverStarted } => f.write_str("lost: it was never started"),
            Self::Parameters { messages } => f.write_str(&messages.join("; ")),
            Self::Outputs { message } => write!(f, "bad outputs: {message}"),
            Self::Inner { first, failed: 1 } => write!(f, "{first} failed"),
            Self::Inner { first, failed } => write!(f, "{failed} nodes failed, the first is {first}"),
            Self::ScriptChanged => f.write_str("the script changed during the run (pin: strict)"),
        }
    }
}

/// Why a node was skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "because")]
pub enum SkipReason {
    /// Its `when` was false.
    Condition,
    /// A node that it needs did not complete; `root` is where the trouble began.
    Dependency {
        /// Path of the node at the root of it.
        root: String,
    },
    /// `retry --only` named another node, and no earlier result of this one is there.
    NotSelected,
    /// The run was stopped after the failure of `root` (`on_failure: stop`).
    Stopped {
        /// Path of the failed node.
        root: String,
    },
}

/// Why an attempt is being stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The run was cancelled.
    Cancelled,
    /// It ran longer than allowed.
    Timeout,
    /// Another node failed and the pipeline says `on_failure: stop`.
    OnFailure,
    /// The host leaves and was told to leave nothing running.
    HostLeaves,
}

/// A fact about a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The run was accepted. What was submitted lies pinned in the run's folder under this hash.
    RunSubmitted {
        /// BLAKE3 of the pinned submission, hex.
        pinned: String,
    },
    /// Somebody asked for its end.
    RunCancelRequested {
        /// At once, without the polite stop.
        kill: bool,
    },
    /// Its host died; it goes on only when somebody says `resume`.
    RunHeld,
    /// It goes on.
    RunResumed,
    /// Every node is terminal.
    RunEnded {
        /// The final status.
        status: RunStatus,
        /// What the pipeline's `outputs` gave, if it has any.
        outputs: Option<Arc<Value>>,
    },
    /// The node's `when` was true, or the pause before its next attempt is over.
    NodeReady {
        /// The node.
        node: NodeIndex,
    },
    /// It will not run.
    NodeSkipped {
        /// The node.
        node: NodeIndex,
        /// Why.
        because: SkipReason,
    },
    /// A `foreach` list was computed: one instance for each item.
    NodeExpanded {
        /// The node.
        node: NodeIndex,
        /// The list.
        items: Arc<Vec<Value>>,
    },
    /// A sub-pipeline was entered with these parameters.
    NodeOpened {
        /// The node that calls it.
        node: NodeIndex,
        /// Checked and completed.
        params: Arc<Value>,
    },
    /// A sub-pipeline came to its end, all its nodes being well.
    NodeFinished {
        /// The node that called it.
        node: NodeIndex,
        /// What its `outputs` gave.
        outputs: Arc<Value>,
    },
    /// It failed without an attempt, or because of nodes inside it.
    NodeFailed {
        /// The node.
        node: NodeIndex,
        /// Why.
        cause: FailureCause,
    },
    /// It was cancelled before it started.
    NodeCancelled {
        /// The node.
        node: NodeIndex,
    },
    /// An earlier run's result was taken.
    NodeReused {
        /// The node.
        node: NodeIndex,
        /// That run.
        from: RunId,
        /// Its outputs.
        outputs: Option<Arc<Value>>,
    },
    /// An earlier result was looked for (`reuse: inputs`), and none was taken: the node runs.
    NodeChecked {
        /// The node.
        node: NodeIndex,
        /// Why not, and under what its own result can be found.
        check: Box<ReuseCheck>,
    },
    /// The attempt may start: durable before it does. Writing it ahead of need costs nothing.
    AttemptIntended {
        /// The node.
        node: NodeIndex,
        /// The attempt.
        attempt: AttemptNumber,
    },
    /// It was handed to the engine.
    AttemptStarted {
        /// The node.
        node: NodeIndex,
        /// The attempt.
        attempt: AttemptNumber,
        /// Facts.
        facts: StartFacts,
    },
    /// It was asked to stop.
    AttemptStopping {
        /// The node.
        node: NodeIndex,
        /// The attempt.
        attempt: AttemptNumber,
        /// Why.
        reason: StopReason,
    },
    /// It was killed and is still there: it hangs in the kernel, and what it holds stays held until it goes.
    AttemptStuck {
        /// The node.
        node: NodeIndex,
        /// The attempt.
        attempt: AttemptNumber,
        /// How long after the kill it was still there.
        waited: DurationMs,
    },
    /// It ended, or was found to be lost.
    AttemptEnded {
        /// The node.
        node: NodeIndex,
        /// The attempt.
        attempt: AttemptNumber,
        /// Facts.
        facts: EndFacts,
    },
}

impl Event {
    /// The node it is about.
    #[must_use]
    pub fn node(&self) -> Option<NodeIndex> {
        match self {
            Self::RunSubmitted { .. } | Self::RunCancelRequested { .. } | Self::RunHeld | Self::RunResumed | Self::RunEnded { .. } => None,
            Self::NodeReady { node }
            | Self::NodeSkipped { node, .. }
            | Self::NodeExpanded { node, .. }
            | Self::NodeOpened { node, .. }
            | Self::NodeFinished { node, .. }
            | Self::NodeFailed { node, .. }
            | Self::NodeCancelled { node }
            | Self::NodeReused { node, .. }
            | Self::NodeChecked { node, .. }
            | Self::AttemptIntended { node, .. }
            | Self::AttemptStarted { node, .. }
            | Self::AttemptStopping { node, .. }
            | Self::AttemptStuck { node, .. }
            | Self::AttemptEnded { node, .. } => Some(*node),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_windows_are_hexadecimal() {
        let text = |code| FailureCause::Exit { code }.to_string();
        assert_eq!(text(3), "exit code 3");
        assert_eq!(text(-1), "exit code -1");
        assert_eq!(text(0xC000_0005), "exit code 0xC0000005 (access violation)");
        assert_eq!(text(0x8000_0003), "exit code 0x80000003");
    }
}
