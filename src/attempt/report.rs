//! The short way between a host and its wrappers, beside the folder: what a wrapper reports through a pipe, and what a host sends to the
//! nursery that starts wrappers. Nothing depends on it: a host that was started anew has neither, and learns everything from the folders.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// Length of a report. Shorter than what a pipe takes whole, so that reports of many wrappers never mix.
pub const REPORT_BYTES: usize = 24;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportKind {
    /// The module runs; the value is its process.
    Started,
    /// It wrote something; the value is the number of bytes so far. May be left out when nobody reads.
    Output,
    /// `exit.json` is there.
    Ended,
    /// The wrapper refuses the attempt, since another one has claimed it.
    Refused,
    /// A wrapper is gone, whatever it said before; from the nursery, its parent. The value is its process.
    Gone,
}

/// A report of a wrapper, or of the nursery about one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// What.
    pub kind: ReportKind,
    /// The number that the host gave to the attempt.
    pub id: u64,
    /// See [`ReportKind`].
    pub value: u64,
}

impl Report {
    /// As bytes.
    #[must_use]
    pub fn encode(self) -> [u8; REPORT_BYTES] {
        todo!()
    }

    /// From bytes; `None` for a kind that this version does not know.
    #[must_use]
    pub fn decode(bytes: [u8; REPORT_BYTES]) -> Option<Self> {
        let _ = bytes;
        todo!()
    }
}

/// What a host asks of the nursery: a wrapper for this folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hatch {
    /// The number under which it reports.
    pub id: u64,
    /// The attempt's folder, absolute.
    pub folder: PathBuf,
    /// The module's environment, whole.
    pub environment: Vec<(OsString, OsString)>,
}

impl Hatch {
    /// As a frame: its length (4 bytes, little endian), then its fields.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }

    /// Reads a frame; `None` at the end of the stream.
    ///
    /// # Errors
    /// What the system said; [`io::ErrorKind::InvalidData`] for a frame that is none.
    pub fn read(from: &mut impl io::Read) -> io::Result<Option<Self>> {
        let _ = from;
        todo!()
    }
}
