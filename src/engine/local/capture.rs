//! What a module writes: into its logs, counted, and announced now and then.
//!
//! A log that cannot be written never hinders the module: its pipe is drained all the same, and what was lost is counted.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::super::{Fact, LogLost, Sink};
use crate::attempt::AttemptFolder;
use crate::ids::AttemptId;
use crate::logs::{LogWriter, Stream};
use crate::units::{Bytes, Timestamp};

/// Shortest time between two announcements of output: about what a person can follow, and no load for those who listen.
pub(super) const ANNOUNCE_EVERY: Duration = Duration::from_millis(50);

/// Output of one attempt.
pub(super) struct Capture<'a> {
    id: &'a AttemptId,
    sink: &'a Sink,
    logs: LogWriter,
    bytes: u64,
    announced: u64,
    last: Option<Instant>,
}

impl<'a> Capture<'a> {
    /// Into the logs of a folder, which keep at most so many bytes.
    pub(super) fn new(id: &'a AttemptId, folder: &AttemptFolder, cap: Option<Bytes>, sink: &'a Sink) -> Self {
        Self { id, sink, logs: LogWriter::new(folder.path()).capped(cap.map(|cap| cap.0)), bytes: 0, announced: 0, last: None }
    }

    /// Takes bytes as they were read.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.logs.write(stream, bytes, wall_clock());
        if self.last.is_none_or(|last| last.elapsed() >= ANNOUNCE_EVERY) {
            self.announce();
        }
    }

    /// Whether somebody should still be told of bytes.
    pub(super) fn is_due(&self) -> bool {
        self.bytes > self.announced
    }

    /// Announces what was not announced yet.
    pub(super) fn announce(&mut self) {
        if self.is_due() {
            self.last = Some(Instant::now());
            self.announced = self.bytes;
            // Who is woken by this reads the log at once.
            self.logs.flush();
            (self.sink)(Fact::Output { id: self.id.clone(), bytes: self.bytes });
        }
    }

    /// Closes the logs and tells what was lost.
    pub(super) fn finish(self) -> Option<LogLost> {
        let written = self.logs.finish();
        let bytes = written.failed();
        written.error.map(|error| LogLost { bytes, reason: error.to_string() })
    }
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
