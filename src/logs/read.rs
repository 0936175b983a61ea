//! Reading.
use std::io;
use std::path::Path;

use super::Stream;
use crate::units::Timestamp;

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Query {
    /// Only the last so many.
    pub tail: Option<usize>,
    /// Only this stream.
    pub stream: Option<Stream>,
    /// Only lines read at this time or later.
    pub since: Option<Timestamp>,
}

/// A line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When its end was read.
    pub at: Timestamp,
    /// Where it came from.
    pub stream: Stream,
    /// The text without its line end; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// It has no line end: cut at 64 KiB, or the output ended here.
    pub partial: bool,
}

/// Lines, read as they are asked for.
#[derive(Debug)]
pub struct Lines {}
impl Iterator for Lines {
    type Item = io::Result<Line>;
    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}

/// Where a follower stands.
#[derive(Debug, Clone, Default)]
pub struct Cursor {}

/// Reads the output of one attempt, which may be growing.
#[derive(Debug)]
pub struct LogReader {}

impl LogReader {
    /// A reader of `folder`. Files that are not there are empty.
    #[must_use]
    pub fn open(_folder: &Path) -> Self {
        todo!()
    }
    /// The lines that the query wants, merged in the order in which they were read.
    ///
    /// # Errors
    /// What the system said.
    pub fn lines(&self, _query: Query) -> io::Result<Lines> {
        todo!()
    }
    /// The lines that came since the cursor was last here. With `ended`, also the half lines and what no index names.
    ///
    /// # Errors
    /// What the system said.
    pub fn poll(&self, _cursor: &mut Cursor, _ended: bool) -> io::Result<Vec<Line>> {
        todo!()
    }
}
