//! Output of one attempt on disk, and the lines that people see of it.
//!
//! ```text
//! stdout.log  stderr.log    the bytes, exactly as the program wrote them
//! index                     for each chunk, in the order in which they were read: its time, its stream, where it ends
//! ```
//!
//! The bytes are the truth. What is made of them for a view (lines, a split at 64 KiB, replaced bytes that are no UTF-8) is made
//! by the reader and never written. The index adds time and order; bytes that it does not name (a crash, or a program that writes the
//! files itself) are shown after those that it does.
//!
//! Knows nothing of runs, nodes or processes: a folder is all it is told. `engine` and `attempt` write, `host` reads.

mod append;
mod cap;
mod hold;
mod index;
mod layout;
mod lines;
mod printable;
mod read;
mod tail;
#[cfg(test)]
mod tests;
mod write;

pub use lines::{LINE_MAX, Line};
pub use printable::printable;
pub use read::{Cursor, Lines, LogReader, Query};
pub use write::{Kept, LogWriter, Written};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One of the two streams of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// As in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// Name of its file in the attempt's folder.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout.log",
            Self::Stderr => "stderr.log",
        }
    }

    /// Position in an array of both.
    fn at(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
        }
    }
}
