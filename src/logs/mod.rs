//! Output of one attempt on disk: `stdout.log`, `stderr.log` and an `index` of the chunks in the order in which they were read.

mod printable;
mod read;
mod write;

pub use printable::printable;
pub use read::{Cursor, Line, Lines, LogReader, Query};
pub use write::LogWriter;

use serde::{Deserialize, Serialize};

/// One of the two streams of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
