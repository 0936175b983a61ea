//! Output of one attempt on disk, and the lines that people see of it.
//!
//! ```text
//! stdout.log  stderr.log      the bytes, exactly as the program wrote them
//! index                       for each chunk, in the order in which they were read: its time, and how far both streams had come
//! stdout.log.<byte>  ...      what follows a gap: the tail of a capped log, or what came after the disk had been full
//! ```
//!
//! The bytes are the truth. What is made of them for a view (lines, a split at 64 KiB, replaced bytes that are no UTF-8, a line for what
//! is missing) is made by the reader and never written. The index adds time, order and numbers of lines; bytes that it does not name (a
//! crash, or a program that writes the files itself) are shown after those that it does. Places are those of what the program wrote, kept
//! or not: the name of a file says where it begins.
//!
//! `write`, `append`, `hold`, `cap` and `layout` are all that a writer needs, and a wrapper of one mebibyte can hold them. `walk` gives the
//! chunks in their order, `place` finds where to begin, `read` and `search` make lines, and `spans` gives pieces of whole lines that can be
//! remembered and read again.
//!
//! Knows nothing of runs, nodes or processes: a folder is all it is told. `engine` and `attempt` write, `host` reads.

mod append;
mod cap;
mod hold;
mod index;
mod layout;
mod lines;
mod place;
mod printable;
mod read;
mod search;
mod skim;
mod spans;
mod stream;
#[cfg(test)]
mod tests;
mod walk;
mod write;

pub use lines::{LINE_MAX, Line};
pub use printable::printable;
pub use read::{Cursor, Lines, LogReader, Query};
pub use search::{Matches, Needle};
pub use spans::{Span, SpanReader, Spans};
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
}
