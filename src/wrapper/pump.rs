//! What a module writes: into its logs, counted, and announced now and then.
//!
//! A log that cannot be written never hinders the module: its pipe is drained all the same, and what was lost is counted.

use std::path::Path;
use std::time::{Duration, Instant};

use super::mask::{Mask, Patterns};
use super::wall_clock;
use crate::attempt::StreamTotals;
use crate::logs::{Kept, LogWriter, Stream};
use crate::units::Bytes;

/// Time from the first byte that nobody was told of to telling it: about what a person can follow, and no load for those who listen. A
/// module that ends sooner is announced by its end alone.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(50);

/// Output of one attempt.
#[derive(Debug)]
pub(super) struct Pump {
    logs: LogWriter,
    written: u64,
    announce_at: Option<Instant>,
    /// What is hidden in standard output and standard error.
    hidden: Option<(Patterns, [Mask; 2])>,
}

impl Pump {
    /// A pump into the logs of a folder, which keep at most so many bytes.
    pub(super) fn new(folder: &Path, cap: Option<Bytes>) -> Self {
        Self { logs: LogWriter::new(folder).capped(cap.map(|cap| cap.0)), written: 0, announce_at: None, hidden: None }
    }

    /// The same, with stars for what must not be shown.
    pub(super) fn hiding(self, patterns: Option<Patterns>) -> Self {
        Self { hidden: patterns.map(|patterns| (patterns, Default::default())), ..self }
    }

    /// Takes bytes as they were read.
    pub(super) fn take(&mut self, stream: Stream, bytes: &[u8]) {
        let shown = match &mut self.hidden {
            None => bytes,
            Some((patterns, masks)) => masks[place(stream)].pass(patterns, bytes),
        };
        if shown.is_empty() {
            return;
        }
        self.written += shown.len() as u64;
        self.logs.write(stream, shown, wall_clock());
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
        self.logs.flush();
        Some(self.written)
    }

    /// Closes the logs: what came through them, and the first error.
    pub(super) fn finish(mut self) -> ([StreamTotals; 2], Option<String>) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let held_back = self.hidden.as_ref().map_or(&[][..], |(_, masks)| masks[place(stream)].rest());
            if !held_back.is_empty() {
                self.logs.write(stream, held_back, wall_clock());
            }
        }
        let totals = |kept: Kept| StreamTotals { written: kept.written, dropped: kept.capped, lost: kept.failed };
        let written = self.logs.finish();
        ([totals(written.stdout), totals(written.stderr)], written.error.map(|error| error.to_string()))
    }
}

fn place(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}
