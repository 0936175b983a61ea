//! From what the wrapper wrote down to an ending.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::super::super::{Ending, Exit, LogLost, StopHow};
use super::super::control::Stops;
use super::super::failure::{self, Start};
use crate::attempt::{AttemptFolder, AttemptSpec, ExitHow, ExitRecord, read_outputs};
use crate::event::{SpawnFailure, SpawnFailureKind};

/// The ending that `exit.json` tells of. `longest_variable` explains a start that failed because too much was handed over.
///
/// # Errors
/// When what the module reported cannot be read now and may be later.
pub(in super::super) fn ending(
    record: &ExitRecord,
    folder: &AttemptFolder,
    longest_variable: Option<(&OsStr, usize)>,
) -> io::Result<Ending> {
    let stops = stops(record);
    Ok(Ending {
        exit: exit(&record.how, folder.path(), longest_variable),
        duration: Duration::from_millis(record.duration.0),
        cpu: Some(Duration::from_micros(record.user_us.saturating_add(record.system_us))).filter(|_| record.duration.0 > 0),
        peak_memory: record.peak_memory,
        memory: record.memory,
        oom: record.oom,
        stop_sent: stops.strongest,
        escalated: stops.escalated,
        leaked: !record.leaked.is_empty(),
        leaked_pids: record.leaked.clone(),
        outputs: read_outputs(&folder.output())?,
        log_lost: lost(record),
    })
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
        ExitHow::SpawnFailed { errno, message } => Exit::SpawnFailed(refused(*errno, message, folder, longest_variable)),
    }
}

/// Why it was not started. Where the system refused the program itself, in the words that a direct attempt would get.
fn refused(errno: i32, message: &str, folder: &Path, longest_variable: Option<(&OsStr, usize)>) -> SpawnFailure {
    let error = io::Error::from_raw_os_error(errno);
    match AttemptSpec::read(folder) {
        Ok(spec) if errno != 0 && message == error.to_string() => {
            failure::explain(&error, Start { program: &spec.program, args: &spec.args, longest_variable, folder: &spec.work })
        }
        // Something that comes before, and the wrapper says what.
        Ok(_) | Err(_) => {
            let transient = errno != 0 && failure::is_transient(&error);
            SpawnFailure { message: message.to_owned(), transient, kind: SpawnFailureKind::Other }
        }
    }
}

fn lost(record: &ExitRecord) -> Option<LogLost> {
    let bytes = record.streams.iter().map(|stream| stream.lost).sum();
    let reason = record.log_error.clone();
    (bytes > 0 || reason.is_some()).then(|| LogLost { bytes, reason: reason.unwrap_or_else(|| "not said".to_owned()) })
}
