//! `spec.json`: everything that the wrapper needs to execute an attempt, written by the host before the wrapper starts.
//!
//! Values of environment variables are not in it, only their names: a value may be a secret, and a file lives longer than a process. They
//! reach the wrapper as its own environment.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::request::{Capture, Leaks};
use crate::units::{Bytes, DurationMs};

/// Version of the attempt folder's files that this program writes. It reads this one and all earlier ones.
pub const FOLDER_FORMAT: u32 = 1;

/// What is to be executed, and within which limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptSpec {
    /// `<run>/<node>/<attempt>`, for people.
    pub name: String,
    /// Its mark, see [`TOKEN_VARIABLE`](super::TOKEN_VARIABLE).
    pub token: String,
    /// The program, absolute.
    pub program: PathBuf,
    /// Arguments after the program's name.
    pub args: Vec<OsString>,
    /// Names of the variables that the module gets.
    pub environment: Vec<OsString>,
    /// Where it runs.
    pub work: PathBuf,
    /// The file that it reads from standard input; none: end of file at once.
    pub stdin: Option<PathBuf>,
    /// Who writes the log files.
    pub capture: Capture,
    /// What happens to processes that are left at its end.
    pub leaks: Leaks,
    /// Most bytes of output that are kept.
    pub log_cap: Option<Bytes>,
    /// Most memory that all its processes together may use; none: no limit.
    pub memory: Option<Bytes>,
    /// Between the polite stop and the kill, where the request to stop does not say.
    pub grace: DurationMs,
    /// Soft limit of open files that the module gets, since the host may have raised its own.
    pub open_files: Option<u64>,
}

impl AttemptSpec {
    /// As JSON. Arguments and paths that are no Unicode are kept exactly, see `flat`.
    #[must_use]
    pub fn encode(&self) -> String {
        todo!()
    }

    /// From JSON.
    ///
    /// # Errors
    /// What is wrong with it: [`io::ErrorKind::InvalidData`], also for a newer format.
    pub fn decode(text: &str) -> io::Result<Self> {
        let _ = text;
        todo!()
    }

    /// Reads the spec in a folder.
    ///
    /// # Errors
    /// What the system said, or what is wrong with it.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let _ = folder;
        todo!()
    }
}
