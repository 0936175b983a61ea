//! Writing.
use std::io;
use std::path::Path;

use super::Stream;
use crate::units::Timestamp;

/// Writes the output of one attempt.
#[derive(Debug)]
pub struct LogWriter {}

impl LogWriter {
    /// A writer into `folder`, which must exist by the first byte. Creates nothing yet.
    #[must_use]
    pub fn new(_folder: &Path) -> Self {
        todo!()
    }
    /// Appends what was read from a stream at a time.
    ///
    /// # Errors
    /// What the system said.
    pub fn write(&mut self, _stream: Stream, _bytes: &[u8], _at: Timestamp) -> io::Result<()> {
        todo!()
    }
    /// Writes the index entries that are still held back. Call it when there is nothing to read for the moment.
    ///
    /// # Errors
    /// What the system said.
    pub fn flush(&mut self) -> io::Result<()> {
        todo!()
    }
    /// Ends the log.
    ///
    /// # Errors
    /// What the system said.
    pub fn finish(self) -> io::Result<()> {
        todo!()
    }
}
