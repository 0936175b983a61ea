//! Appending to a file that may fail for a while: what could not be written is told, never repeated, and the next try is not at once.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Pause before a failed file is tried again; doubled each time up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);
/// A module is not asked how long its disk stays full: this is how late its output may come back.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// When something that failed may be tried again.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    failed: Option<(Instant, Duration)>,
}

impl BackOff {
    /// Whether it is time for a try.
    pub(super) fn is_over(&self) -> bool {
        self.failed.is_none_or(|(when, pause)| when.elapsed() >= pause)
    }

    /// It failed once more.
    pub(super) fn failed(&mut self) {
        let pause = self.failed.map_or(PAUSE, |(_, pause)| (pause * 2).min(PAUSE_MAX));
        self.failed = Some((Instant::now(), pause));
    }

    /// It has worked for long enough.
    pub(super) fn worked(&mut self) {
        self.failed = None;
    }
}

/// Makes a file for the owner alone. One that is there is none of ours: an attempt has one writer, and a link planted under the name must
/// not lead the output elsewhere.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

/// Writes what can be written; how much that was, and why not the rest.
pub(super) fn write_some(file: &mut File, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}
