//! From how a program ended to what that means for the attempt: completed, failed and why, or stopped by us.

use std::sync::Arc;

use crate::engine::{Ending, Exit, StopHow};
use crate::event::{EndFacts, FailureCause, LostReason, StopReason, StopSignal};
use crate::manifest::Module;
use crate::request::MemoryLimit;
use crate::units::DurationMs;

/// What we asked of an attempt before it ended, and how long it was allowed to run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Why it was stopped, if it was.
    pub(super) stopping: Option<StopReason>,
    /// Its `timeout`.
    pub(super) timeout: Option<DurationMs>,
}

/// Judges an ending.
pub(super) fn judge(ending: Ending, asked: Asked, module: &Module) -> EndFacts {
    let (code, signal) = match &ending.exit {
        Exit::Exited(code) => (Some(*code), None),
        Exit::Signaled(signal) => (None, Some(*signal)),
        Exit::SpawnFailed(_) | Exit::Prevented | Exit::Lost(_) => (None, None),
    };
    let mut outputs = None;
    let failure = match (asked.stopping, &ending.exit) {
        // A timeout counts even when the program then ended with 0: it was told to stop in the middle.
        (Some(StopReason::Timeout), _) => Some(FailureCause::Timeout { limit_ms: asked.timeout.unwrap_or_default() }),
        (Some(StopReason::HostLeaves), _) => Some(FailureCause::Lost { reason: LostReason::HostLeft }),
        (Some(StopReason::Cancelled | StopReason::OnFailure), _) | (None, Exit::Prevented) => None,
        (None, Exit::Lost(reason)) => Some(FailureCause::Lost { reason: *reason }),
        // One that ended well all the same lost a helper only.
        (None, exit @ (Exit::Exited(_) | Exit::Signaled(_))) if ending.oom && *exit != Exit::Exited(0) => {
            Some(FailureCause::Oom { limit: ending.memory.map(|(limit, _)| limit), peak: ending.peak_memory })
        }
        (None, Exit::SpawnFailed(failure)) => Some(FailureCause::Spawn(failure.clone())),
        (None, Exit::Signaled(signal)) => Some(FailureCause::Signal { signal: *signal }),
        (None, Exit::Exited(0)) => match reported(ending.outputs, module) {
            Ok(value) => {
                outputs = value.map(Arc::new);
                None
            }
            Err(message) => Some(FailureCause::Outputs { message }),
        },
        (None, Exit::Exited(code)) => Some(FailureCause::Exit { code: *code }),
    };
    EndFacts {
        failure,
        stopped: asked.stopping.or((ending.exit == Exit::Prevented).then_some(StopReason::Cancelled)),
        code,
        signal,
        outputs,
        duration_ms: DurationMs(u64::try_from(ending.duration.as_millis()).unwrap_or(u64::MAX)),
        peak_memory: ending.peak_memory,
        memory: ending.memory.map(|(limit, guard)| MemoryLimit { limit, guard }),
        signals: signals(ending.stop_sent, ending.escalated),
        escalated: ending.escalated,
        leaked: ending.leaked,
        leaked_pids: ending.leaked_pids,
    }
}

fn signals(strongest: Option<StopHow>, escalated: bool) -> Vec<StopSignal> {
    match strongest {
        None => Vec::new(),
        Some(StopHow::Polite) => vec![StopSignal::Term],
        Some(StopHow::Kill) if escalated => vec![StopSignal::Term, StopSignal::Kill],
        Some(StopHow::Kill) => vec![StopSignal::Kill],
    }
}

/// What a module reported, checked against its manifest's `outputs`.
fn reported(outputs: Result<Option<serde_json::Value>, String>, module: &Module) -> Result<Option<serde_json::Value>, String> {
    let value = outputs?;
    let Some(schema) = &module.outputs else { return Ok(value) };
    let checked = value.unwrap_or_else(|| serde_json::Value::Object(serde_json::Map::new()));
    let mistakes = schema.check(&checked);
    if mistakes.is_empty() {
        return Ok(Some(checked));
    }
    let said: Vec<String> = mistakes.iter().map(|mistake| format!("{}: {}", mistake.pointer, mistake.message)).collect();
    Err(said.join("; "))
}
