//! What a module writes: into its logs, counted, and announced now and then.
//!
//! A log that cannot be written never hinders the module: its pipe is drained all the same, and what was lost is counted.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::wall_clock;
use crate::attempt::StreamTotals;
use crate::logs::{LogWriter, Stream};

/// Time from the first byte that nobody was told of to telling it: about what a person can follow, and no load for those who listen. A
/// module that ends sooner is announced by its end alone.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(50);

/// Output of one attempt.
#[derive(Debug)]
pub(super) struct Pump {
    logs: LogWriter,
    totals: [StreamTotals; 2],
    announce_at: Option<Instant>,
    error: Option<String>,
}

impl Pump {
    pub(super) fn new(folder: &Path) -> Self {
        Self { logs: LogWriter::new(folder), totals: [StreamTotals::default(); 2], announce_at: None, error: None }
    }

    /// Takes bytes as they were read.
    pub(super) fn take(&mut self, stream: Stream, bytes: &[u8]) {
        let count = bytes.len() as u64;
        let total = match stream {
            Stream::Stdout => &mut self.totals[0],
            Stream::Stderr => &mut self.totals[1],
        };
        total.written += count;
        if let Err(error) = self.logs.write(stream, bytes, wall_clock()) {
            total.lost += count;
            self.fail(&error);
        }
        if self.announce_at.is_none() {
            self.announce_at = Some(Instant::now() + ANNOUNCE_AFTER);
        }
    }

    /// When [`Self::announce`] has something to say.
    pub(super) fn next(&self) -> Option<Instant> {
        self.announce_at
    }

    /// Bytes so far, if it is time to tell. Who is told reads the logs at once, so they are complete.
    pub(super) fn announce(&mut self, now: Instant) -> Option<u64> {
        if self.announce_at.is_none_or(|at| at > now) {
            return None;
        }
        self.announce_at = None;
        if let Err(error) = self.logs.flush() {
            self.fail(&error);
        }
        Some(self.totals.iter().map(|total| total.written).sum())
    }

    fn fail(&mut self, error: &io::Error) {
        if self.error.is_none() {
            self.error = Some(error.to_string());
        }
    }

    /// Closes the logs: what came through them, and the first error.
    pub(super) fn finish(self) -> ([StreamTotals; 2], Option<String>) {
        let closed = self.logs.finish().err().map(|error| error.to_string());
        (self.totals, self.error.or(closed))
    }
}
