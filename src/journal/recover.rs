//! Opening.
use std::path::Path;

use super::{History, OpenError, Options, Writer};

/// A journal that was opened for writing.
#[derive(Debug)]
pub struct Opened {
    /// What it holds.
    pub history: History,
    /// Where new records go.
    pub writer: Writer,
}

/// Opens the journal in `dir` for writing, making it where there is none. The caller holds the lock of the state folder.
///
/// # Errors
/// See [`OpenError`].
pub fn open(_dir: &Path, _options: Options) -> Result<Opened, OpenError> {
    todo!()
}

/// Looks at the journal in `dir`, which a host may be writing at this moment. Changes nothing and takes no lock.
///
/// # Errors
/// See [`OpenError`].
pub fn open_read_only(_dir: &Path) -> Result<History, OpenError> {
    todo!()
}
