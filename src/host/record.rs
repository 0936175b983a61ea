//! Events as journal records, and back.
//!
//! A record names its node by path, so that a person can read the journal with `jq` and a later version may number nodes
//! differently. One table of kinds, used in both directions; a kind that this version does not know is an error of that run, never
//! skipped.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::event::{EndFacts, Event, FailureCause, ReuseCheck, RunStatus, SkipReason, StartFacts, StopReason};
use crate::ids::{AttemptNumber, NodeIndex, RunId};
use crate::units::DurationMs;

/// Why a record could not be turned into an event.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    /// Written by a later version, or damaged where the checksum cannot see it.
    #[error("the record kind `{0}` is not known to this version")]
    UnknownKind(String),
    /// It names no node, or one that the run does not have.
    #[error("record `{kind}` names the node {node:?}, which the run does not have")]
    UnknownNode {
        /// Kind of the record.
        kind: String,
        /// Path in it.
        node: Option<String>,
    },
    /// Its data are not of the form that its kind has.
    #[error("data of record `{kind}`: {error}")]
    Data {
        /// Kind of the record.
        kind: String,
        /// What the reader said.
        error: serde_json::Error,
    },
}

/// Kind of the record by which a finished run is forgotten. It is no event of the run: of that nothing is left.
pub(super) const RUN_PRUNE: &str = "run.prune";

/// Kind of a record for an event.
#[must_use]
pub(super) fn kind(event: &Event) -> &'static str {
    match event {
        Event::RunSubmitted { .. } => "run.submit",
        Event::RunCancelRequested { .. } => "run.cancel",
        Event::RunHeld => "run.hold",
        Event::RunResumed => "run.resume",
        Event::RunEnded { .. } => "run.end",
        Event::NodeReady { .. } => "node.ready",
        Event::NodeSkipped { .. } => "node.skip",
        Event::NodeExpanded { .. } => "node.expand",
        Event::NodeOpened { .. } => "node.open",
        Event::NodeFinished { .. } => "node.finish",
        Event::NodeFailed { .. } => "node.fail",
        Event::NodeCancelled { .. } => "node.cancel",
        Event::NodeReused { .. } => "node.reuse",
        Event::NodeChecked { .. } => "node.check",
        Event::AttemptIntended { .. } => "att.intent",
        Event::AttemptStarted { .. } => "att.start",
        Event::AttemptStopping { .. } => "att.stop",
        Event::AttemptStuck { .. } => "att.stuck",
        Event::AttemptEnded { .. } => "att.exit",
    }
}

/// Whether somebody waits until the record is on the disk: an answer to a person, or a start.
#[must_use]
pub(super) fn is_awaited(event: &Event) -> bool {
    match event {
        Event::RunSubmitted { .. }
        | Event::RunCancelRequested { .. }
        | Event::RunResumed
        | Event::RunEnded { .. }
        | Event::AttemptIntended { .. } => true,
        Event::RunHeld
        | Event::NodeReady { .. }
        | Event::NodeSkipped { .. }
        | Event::NodeExpanded { .. }
        | Event::NodeOpened { .. }
        | Event::NodeFinished { .. }
        | Event::NodeFailed { .. }
        | Event::NodeCancelled { .. }
        | Event::NodeReused { .. }
        | Event::NodeChecked { .. }
        | Event::AttemptStarted { .. }
        | Event::AttemptStopping { .. }
        | Event::AttemptStuck { .. }
        | Event::AttemptEnded { .. } => false,
    }
}

/// The attempt that an event is about.
#[must_use]
pub(super) fn attempt(event: &Event) -> Option<AttemptNumber> {
    match event {
        Event::AttemptIntended { attempt, .. }
        | Event::AttemptStarted { attempt, .. }
        | Event::AttemptStopping { attempt, .. }
        | Event::AttemptStuck { attempt, .. }
        | Event::AttemptEnded { attempt, .. } => Some(*attempt),
        Event::RunSubmitted { .. }
        | Event::RunCancelRequested { .. }
        | Event::RunHeld
        | Event::RunResumed
        | Event::RunEnded { .. }
        | Event::NodeReady { .. }
        | Event::NodeSkipped { .. }
        | Event::NodeExpanded { .. }
        | Event::NodeOpened { .. }
        | Event::NodeFinished { .. }
        | Event::NodeFailed { .. }
        | Event::NodeCancelled { .. }
        | Event::NodeReused { .. }
        | Event::NodeChecked { .. } => None,
    }
}

#[derive(Serialize, Deserialize)]
struct Pinned {
    pinned: String,
}

#[derive(Serialize, Deserialize)]
struct Kill {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    kill: bool,
}

/// Data of `run.end`: what the run's index row needs, so that an ended run is never replayed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RunEnd<'a> {
    /// Final status.
    pub(super) status: RunStatus,
    /// What the pipeline's `outputs` gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) outputs: Option<Arc<Value>>,
    /// The index row.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) row: Option<&'a RawValue>,
    /// Durations learned from it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) learned: Option<&'a RawValue>,
}

#[derive(Serialize, Deserialize)]
struct Because {
    reason: SkipReason,
}

#[derive(Serialize, Deserialize)]
struct Items {
    items: Arc<Vec<Value>>,
}

#[derive(Serialize, Deserialize)]
struct Params {
    params: Arc<Value>,
}

#[derive(Serialize, Deserialize)]
struct Outputs {
    outputs: Arc<Value>,
}

#[derive(Serialize, Deserialize)]
struct Failed {
    failure: FailureCause,
}

#[derive(Serialize, Deserialize)]
struct Reused {
    from: RunId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outputs: Option<Arc<Value>>,
}

#[derive(Serialize, Deserialize)]
struct Stopping {
    reason: StopReason,
}

#[derive(Serialize, Deserialize)]
struct Stuck {
    waited_ms: DurationMs,
}

/// Data of an event's record. `None` where kind and node say everything. `run.end` is written by [`RunEnd`] instead, with its row.
#[must_use]
pub(super) fn data(event: &Event) -> Option<Box<RawValue>> {
    let text = match event {
        Event::RunHeld | Event::RunResumed | Event::NodeReady { .. } | Event::NodeCancelled { .. } | Event::AttemptIntended { .. } => {
            return None;
        }
        Event::RunSubmitted { pinned } => serde_json::to_string(&Pinned { pinned: pinned.clone() }),
        Event::RunCancelRequested { kill } => serde_json::to_string(&Kill { kill: *kill }),
        Event::RunEnded { status, outputs } => {
            serde_json::to_string(&RunEnd { status: *status, outputs: outputs.clone(), row: None, learned: None })
        }
        Event::NodeSkipped { because, .. } => serde_json::to_string(&json!({ "reason": because })),
        Event::NodeExpanded { items, .. } => serde_json::to_string(&Items { items: items.clone() }),
        Event::NodeOpened { params, .. } => serde_json::to_string(&Params { params: params.clone() }),
        Event::NodeFinished { outputs, .. } => serde_json::to_string(&Outputs { outputs: outputs.clone() }),
        Event::NodeFailed { cause, .. } => serde_json::to_string(&json!({ "failure": cause })),
        Event::NodeReused { from, outputs, .. } => serde_json::to_string(&Reused { from: from.clone(), outputs: outputs.clone() }),
        Event::NodeChecked { check, .. } => serde_json::to_string(check),
        Event::AttemptStarted { facts, .. } => serde_json::to_string(facts),
        Event::AttemptStopping { reason, .. } => serde_json::to_string(&Stopping { reason: *reason }),
        Event::AttemptStuck { waited, .. } => serde_json::to_string(&Stuck { waited_ms: *waited }),
        Event::AttemptEnded { facts, .. } => serde_json::to_string(facts),
    };
    // Serialising our own words to memory fails only where a map key is no string, and none of these has such keys.
    text.ok().and_then(|text| RawValue::from_string(text).ok())
}

/// Data of a `run.end` record.
#[must_use]
pub(super) fn end_data(status: RunStatus, outputs: Option<Arc<Value>>, row: &RawValue, learned: &RawValue) -> Option<Box<RawValue>> {
    let text = serde_json::to_string(&RunEnd { status, outputs, row: Some(row), learned: Some(learned) });
    text.ok().and_then(|text| RawValue::from_string(text).ok())
}

/// A record as an event. `find` gives the node of a path.
///
/// # Errors
/// When the kind or the node is not known, or the data do not fit.
pub(super) fn event(
    kind: &str,
    path: Option<&str>,
    attempt: Option<AttemptNumber>,
    data: &str,
    find: impl Fn(&str) -> Option<NodeIndex>,
) -> Result<Event, RecordError> {
    let node = || path.and_then(&find).ok_or_else(|| RecordError::UnknownNode { kind: kind.to_owned(), node: path.map(str::to_owned) });
    let attempt = attempt.unwrap_or(AttemptNumber::FIRST);
    Ok(match kind {
        "run.submit" => Event::RunSubmitted { pinned: read::<Pinned>(kind, data)?.pinned },
        "run.cancel" => Event::RunCancelRequested { kill: read::<Kill>(kind, data)?.kill },
        "run.hold" => Event::RunHeld,
        "run.resume" => Event::RunResumed,
        "run.end" => {
            let end: RunEnd<'_> = read(kind, data)?;
            Event::RunEnded { status: end.status, outputs: end.outputs }
        }
        "node.ready" => Event::NodeReady { node: node()? },
        "node.skip" => Event::NodeSkipped { node: node()?, because: read::<Because>(kind, data)?.reason },
        "node.expand" => Event::NodeExpanded { node: node()?, items: read::<Items>(kind, data)?.items },
        "node.open" => Event::NodeOpened { node: node()?, params: read::<Params>(kind, data)?.params },
        "node.finish" => Event::NodeFinished { node: node()?, outputs: read::<Outputs>(kind, data)?.outputs },
        "node.fail" => Event::NodeFailed { node: node()?, cause: read::<Failed>(kind, data)?.failure },
        "node.cancel" => Event::NodeCancelled { node: node()? },
        "node.reuse" => {
            let reused: Reused = read(kind, data)?;
            Event::NodeReused { node: node()?, from: reused.from, outputs: reused.outputs }
        }
        "node.check" => Event::NodeChecked { node: node()?, check: read::<Box<ReuseCheck>>(kind, data)? },
        "att.intent" => Event::AttemptIntended { node: node()?, attempt },
        "att.start" => Event::AttemptStarted { node: node()?, attempt, facts: read::<StartFacts>(kind, data)? },
        "att.stop" => Event::AttemptStopping { node: node()?, attempt, reason: read::<Stopping>(kind, data)?.reason },
        "att.stuck" => Event::AttemptStuck { node: node()?, attempt, waited: read::<Stuck>(kind, data)?.waited_ms },
        "att.exit" => Event::AttemptEnded { node: node()?, attempt, facts: read::<EndFacts>(kind, data)? },
        other => return Err(RecordError::UnknownKind(other.to_owned())),
    })
}

fn read<'a, T: Deserialize<'a>>(kind: &str, data: &'a str) -> Result<T, RecordError> {
    let data = if data.is_empty() { "{}" } else { data };
    serde_json::from_str(data).map_err(|error| RecordError::Data { kind: kind.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{LostReason, NotReused, ReuseKey, ReusePart, StopSignal};
    use crate::request::{Isolation, Request};
    use crate::units::Timestamp;

    fn samples() -> Vec<Event> {
        let node = NodeIndex(7);
        let attempt = AttemptNumber(2);
        let run = RunId::parse("20251120-081152-zzzzz").expect("a run id");
        let value = || Arc::new(json!({"a": [1, "ä"]}));
        vec![
            Event::RunSubmitted { pinned: "00".into() },
            Event::RunCancelRequested { kill: true },
            Event::RunHeld,
            Event::RunResumed,
            Event::RunEnded { status: RunStatus::Failed, outputs: Some(value()) },
            Event::NodeReady { node },
            Event::NodeSkipped { node, because: SkipReason::Dependency { root: "fetch".into() } },
            Event::NodeExpanded { node, items: Arc::new(vec![json!(1), json!("x")]) },
            Event::NodeOpened { node, params: value() },
            Event::NodeFinished { node, outputs: value() },
            Event::NodeFailed { node, cause: FailureCause::Lost { reason: LostReason::HostDied } },
            Event::NodeCancelled { node },
            Event::NodeReused { node, from: run, outputs: None },
            Event::NodeChecked {
                node,
                check: Box::new(ReuseCheck {
                    why: NotReused::Changed {
                        since: RunId::parse("20251120-081152-zzzzz").expect("a run id"),
                        parts: vec![ReusePart::Inputs],
                    },
                    key: Some(ReuseKey { module: "aa".into(), script: "bb".into(), params: "cc".into(), inputs: "dd".into() }),
                    at: Timestamp::from_micros(1),
                    files: vec!["/a".into()],
                }),
            },
            Event::AttemptIntended { node, attempt },
            Event::AttemptStarted {
                node,
                attempt,
                facts: StartFacts {
                    grant: Request::default(),
                    isolation: Isolation::Direct,
                    params: value(),
                    defaulted: vec!["/a".into()],
                    script_hash: Some("ff".into()),
                },
            },
            Event::AttemptStopping { node, attempt, reason: StopReason::Timeout },
            Event::AttemptStuck { node, attempt, waited: DurationMs(60_000) },
            Event::AttemptEnded {
                node,
                attempt,
                facts: EndFacts {
                    failure: Some(FailureCause::Exit { code: 3 }),
                    stopped: None,
                    code: Some(3),
                    signal: None,
                    outputs: None,
                    duration_ms: DurationMs(12),
                    cpu_ms: None,
                    peak_memory: None,
                    peak_vram: None,
                    memory: None,
                    signals: vec![StopSignal::Term, StopSignal::Kill],
                    escalated: true,
                    leaked: true,
                    leaked_pids: vec![4711],
                },
            },
        ]
    }

    #[test]
    fn every_event_round_trips() {
        for sample in samples() {
            let data = data(&sample).map(|data| data.get().to_owned()).unwrap_or_default();
            let path = sample.node().map(|_| "n[7]");
            let find = |path: &str| (path == "n[7]").then_some(NodeIndex(7));
            let back = event(kind(&sample), path, attempt(&sample), &data, find).expect("a known record");
            assert_eq!(back, sample);
        }
    }

    #[test]
    fn the_records_of_today_stay_readable() {
        // A change of any of these lines is a change of the journal's format: old journals must still be read.
        let line = |sample: &Event| match data(sample) {
            Some(data) => format!("{} {}", kind(sample), data.get()),
            None => kind(sample).to_owned(),
        };
        let lines: Vec<String> = samples().iter().map(line).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        run.submit {"pinned":"00"}
        run.cancel {"kill":true}
        run.hold
        run.resume
        run.end {"status":"failed","outputs":{"a":[1,"ä"]}}
        node.ready
        node.skip {"reason":{"because":"dependency","root":"fetch"}}
        node.expand {"items":[1,"x"]}
        node.open {"params":{"a":[1,"ä"]}}
        node.finish {"outputs":{"a":[1,"ä"]}}
        node.fail {"failure":{"cause":"lost","reason":"host_died"}}
        node.cancel
        node.reuse {"from":"20251120-081152-zzzzz"}
        node.check {"why":"changed","since":"20251120-081152-zzzzz","parts":["inputs"],"key":{"module":"aa","script":"bb","params":"cc","inputs":"dd"},"at":"1970-01-01T00:00:00.000001Z","files":["/a"]}
        att.intent
        att.start {"grant":{"cpus":1000},"isolation":"direct","params":{"a":[1,"ä"]},"defaulted":["/a"],"script_hash":"ff"}
        att.stop {"reason":"timeout"}
        att.stuck {"waited_ms":60000}
        att.exit {"failure":{"cause":"exit","code":3},"code":3,"duration_ms":12,"signals":["TERM","KILL"],"escalated":true,"leaked":true,"leaked_pids":[4711]}
        "#);
    }

    #[test]
    fn f19_ends_of_the_first_version_are_read() {
        let old = r#"{"failure":{"cause":"exit","code":3},"code":3,"duration_ms":12,"escalated":true,"leaked":true}"#;
        let Ok(Event::AttemptEnded { facts, .. }) = event("att.exit", Some("a"), None, old, |_| Some(NodeIndex(0))) else {
            panic!("it is an end");
        };
        assert!(facts.escalated && facts.leaked && facts.signals.is_empty() && facts.leaked_pids.is_empty());
    }

    #[test]
    fn strange_records_are_errors() {
        let find = |_: &str| None;
        assert!(matches!(event("att.moved", None, None, "", find), Err(RecordError::UnknownKind(_))));
        assert!(matches!(event("node.ready", Some("x"), None, "", find), Err(RecordError::UnknownNode { .. })));
        assert!(matches!(event("run.end", None, None, "{}", find), Err(RecordError::Data { .. })));
    }
}
