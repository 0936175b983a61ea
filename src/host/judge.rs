//! From how a program ended to what that means for the attempt: completed, failed and why, or stopped by us.

use std::sync::Arc;

use crate::engine::{Ending, Exit, StopHow};
use crate::event::{EndFacts, FailureCause, LostReason, StopReason, StopSignal};
use crate::manifest::Module;
use crate::request::MemoryLimit;
use crate::units::DurationMs;

/// What we asked of an attempt before it ended, how long it was allowed to run, and what it said.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    /// Why it was stopped, if it was.
    pub(super) stopping: Option<StopReason>,
    /// Its `timeout`.
    pub(super) timeout: Option<DurationMs>,
    /// What it said of a graphics card without memory.
    pub(super) said: Option<String>,
}

/// Judges an ending.
pub(super) fn judge(ending: Ending, asked: Asked, module: &Module) -> EndFacts {
    let (code, signal) = match &ending.exit {
        Exit::Exited(code) => (Some(*code), None),
        Exit::Signaled(signal) => (None, Some(*signal)),
        Exit::SpawnFailed(_) | Exit::Prevented | Exit::Lost(_) => (None, None),
    };
    let mut outputs = None;
    // What had ended before the stop reached it ended by itself, whatever was recorded meanwhile.
    let stopping = asked.stopping.filter(|_| ending.stop_sent.is_some() || ending.exit == Exit::Prevented);
    let failure = match (stopping, &ending.exit) {
        // A timeout counts even when the program then ended with 0: it was told to stop in the middle.
        (Some(StopReason::Timeout), _) => Some(FailureCause::Timeout { limit_ms: asked.timeout.unwrap_or_default() }),
        (Some(StopReason::HostLeaves), _) => Some(FailureCause::Lost { reason: LostReason::HostLeft }),
        (Some(StopReason::Cancelled | StopReason::OnFailure), _) | (None, Exit::Prevented) => None,
        (None, Exit::Lost(reason)) => Some(FailureCause::Lost { reason: *reason }),
        // One that ended well all the same lost a helper only.
        (None, exit @ (Exit::Exited(_) | Exit::Signaled(_))) if ending.oom && *exit != Exit::Exited(0) => {
            Some(FailureCause::Oom { limit: ending.memory.map(|(limit, _)| limit), peak: ending.peak_memory, said: None })
        }
        (None, exit @ (Exit::Exited(_) | Exit::Signaled(_))) if *exit != Exit::Exited(0) && asked.said.is_some() => {
            Some(FailureCause::Oom { limit: None, peak: None, said: asked.said })
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
        stopped: stopping.or((ending.exit == Exit::Prevented).then_some(StopReason::Cancelled)),
        code,
        signal,
        outputs,
        duration_ms: DurationMs(u64::try_from(ending.duration.as_millis()).unwrap_or(u64::MAX)),
        cpu_ms: ending.cpu.map(|cpu| DurationMs(u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX))),
        peak_memory: ending.peak_memory,
        // What a look at the machine found is added by who keeps it.
        peak_vram: None,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::run::testing::module;

    fn ending(exit: Exit, stop_sent: Option<StopHow>) -> Ending {
        Ending {
            exit,
            duration: Duration::from_millis(7),
            cpu: None,
            peak_memory: None,
            memory: None,
            oom: false,
            escalated: stop_sent == Some(StopHow::Kill),
            stop_sent,
            leaked: false,
            leaked_pids: Vec::new(),
            outputs: Ok(None),
            log_lost: None,
        }
    }

    fn judged(exit: Exit, stopping: Option<StopReason>, stop_sent: Option<StopHow>) -> EndFacts {
        judge(ending(exit, stop_sent), Asked { stopping, timeout: Some(DurationMs(9)), said: None }, &module("m", None))
    }

    #[test]
    fn a_stopped_attempt_counts_as_stopped_however_it_then_ended() {
        for exit in [Exit::Exited(0), Exit::Exited(3), Exit::Signaled(15)] {
            let cancelled = judged(exit.clone(), Some(StopReason::Cancelled), Some(StopHow::Polite));
            assert_eq!((cancelled.failure, cancelled.stopped), (None, Some(StopReason::Cancelled)));
            let timeout = judged(exit.clone(), Some(StopReason::Timeout), Some(StopHow::Polite));
            assert_eq!(timeout.failure, Some(FailureCause::Timeout { limit_ms: DurationMs(9) }));
            let left = judged(exit, Some(StopReason::HostLeaves), Some(StopHow::Polite));
            assert_eq!(left.failure, Some(FailureCause::Lost { reason: LostReason::HostLeft }));
        }
    }

    #[test]
    fn what_ended_before_the_stop_reached_it_ended_by_itself() {
        for reason in [StopReason::Cancelled, StopReason::Timeout, StopReason::OnFailure, StopReason::HostLeaves] {
            let facts = judged(Exit::Exited(0), Some(reason), None);
            assert_eq!((facts.failure, facts.stopped, facts.signals), (None, None, vec![]));
            assert_eq!(judged(Exit::Exited(3), Some(reason), None).failure, Some(FailureCause::Exit { code: 3 }));
        }
        let prevented = judged(Exit::Prevented, Some(StopReason::OnFailure), None);
        assert_eq!((prevented.failure, prevented.stopped), (None, Some(StopReason::OnFailure)));
    }

    #[test]
    fn what_a_module_says_of_its_card_counts_only_where_it_failed_by_itself() {
        let said = || Some("CUDA out of memory".to_owned());
        let judged = |exit: Exit, oom: bool, stopping: Option<StopReason>| {
            let ending = Ending { oom, ..ending(exit, stopping.map(|_| StopHow::Polite)) };
            judge(ending, Asked { stopping, timeout: None, said: said() }, &module("m", None)).failure
        };
        let of_card = Some(FailureCause::Oom { limit: None, peak: None, said: said() });
        assert_eq!(judged(Exit::Exited(1), false, None), of_card);
        assert_eq!(judged(Exit::Signaled(6), false, None), of_card);
        assert_eq!(judged(Exit::Exited(0), false, None), None);
        assert_eq!(judged(Exit::Exited(1), true, None), Some(FailureCause::Oom { limit: None, peak: None, said: None }));
        assert!(matches!(judged(Exit::Exited(1), false, Some(StopReason::Timeout)), Some(FailureCause::Timeout { .. })));
    }

    #[test]
    fn signals_are_told_in_order() {
        let signals = |sent| judged(Exit::Signaled(9), Some(StopReason::Cancelled), sent).signals;
        assert_eq!(signals(Some(StopHow::Polite)), [StopSignal::Term]);
        assert_eq!(signals(Some(StopHow::Kill)), [StopSignal::Term, StopSignal::Kill]);
        let mut killed = ending(Exit::Signaled(9), Some(StopHow::Kill));
        killed.escalated = false;
        let facts = judge(killed, Asked { stopping: Some(StopReason::Cancelled), ..Asked::default() }, &module("m", None));
        assert_eq!(facts.signals, [StopSignal::Kill]);
    }
}
