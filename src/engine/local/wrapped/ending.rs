//! From what the wrapper wrote down to an ending.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::super::super::{Ending, Exit, LogLost, StopHow};
use super::super::control::Stops;
use super::super::failure::{self, Start};
use crate::attempt::{AttemptFolder, AttemptSpec, ExitHow, ExitRecord, read_outputs};
use crate::event::{SpawnFailure, SpawnFailureKind};

/// The ending that `exit.json` tells of. `longest_variable` explains a start that failed because too much was handed over.
pub(in super::super) fn ending(record: &ExitRecord, folder: &AttemptFolder, longest_variable: Option<(&OsStr, usize)>) -> Ending {
    let stops = stops(record);
    Ending {
        exit: exit(&record.how, folder.path(), longest_variable),
        duration: Duration::from_millis(record.duration.0),
        peak_memory: record.peak_memory,
        memory: record.memory,
        oom: record.oom,
        stop_sent: stops.strongest,
        escalated: stops.escalated,
        leaked: !record.leaked.is_empty(),
        leaked_pids: record.leaked.clone(),
        outputs: read_outputs(&folder.output()),
        log_lost: lost(record),
    }
}

/// Bytes of output that were written to the logs.
pub(super) fn logged(record: &ExitRecord) -> u64 {
    record.streams.iter().map(|stream| stream.written.saturating_sub(stream.dropped).saturating_sub(stream.lost)).sum()
}

fn stops(record: &ExitRecord) -> Stops {
    let sent = |name: &str| record.signals.iter().any(|signal| signal == name);
    let strongest = if sent("KILL") { Some(StopHow::Kill) } else { sent("TERM").then_some(StopHow::Polite) };
    Stops { strongest, escalated: record.escalated }
}

fn exit(how: &ExitHow, folder: &Path, longest_variable: Option<(&OsStr, usize)>) -> Exit {
    match how {
        ExitHow::Code(code) => Exit::Exited(*code),
        ExitHow::Signal { number, .. } => Exit::Signaled(*number),
        ExitHow::Prevented => Exit::Prevented,
        ExitHow::SpawnFailed { errno: 0, message } => {
            Exit::SpawnFailed(SpawnFailure { message: message.clone(), transient: false, kind: SpawnFailureKind::Other })
        }
        ExitHow::SpawnFailed { errno, .. } => Exit::SpawnFailed(refused(*errno, folder, longest_variable)),
    }
}

/// Why the system refused to start the program, in the words that a direct attempt would get.
fn refused(errno: i32, folder: &Path, longest_variable: Option<(&OsStr, usize)>) -> SpawnFailure {
    let error = io::Error::from_raw_os_error(errno);
    match AttemptSpec::read(folder) {
        Ok(spec) => {
            let args: &[OsString] = &spec.args;
            failure::explain(&error, Start { program: &spec.program, args, longest_variable, folder: &spec.work })
        }
        Err(_) => failure::preparing("the program could not be started", &error),
    }
}

fn lost(record: &ExitRecord) -> Option<LogLost> {
    let bytes = record.streams.iter().map(|stream| stream.lost).sum();
    let reason = record.log_error.clone();
    (bytes > 0 || reason.is_some()).then(|| LogLost { bytes, reason: reason.unwrap_or_else(|| "not said".to_owned()) })
}
