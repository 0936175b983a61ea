//! The local engine: attempts as processes of this machine.
//!
//! A direct attempt has a thread that does everything for it, from the folder to the outputs ([`supervise`]); a pool keeps the threads
//! ([`pool`]). A wrapped one has a process that does so, and all of them together have two threads ([`wrapped`]). What Unix and Windows
//! do differently is the small set of functions in `system`. Nothing here knows why an attempt is started or stopped.

mod capture;
pub(super) mod claims;
mod control;
pub(super) mod failure;
pub(super) mod found;
pub(super) mod interpreter;
mod pool;
mod prepare;
pub(super) mod strangers;
mod supervise;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod system;
mod wrapped;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Engine, Left, Sink, Spec, StopHow};
use crate::attempt::AttemptFolder;
use crate::ids::AttemptId;
use crate::request::Isolation;

/// The program that wraps attempts, and whether it is the small one made for that.
///
/// # Errors
/// Says what is missing where.
pub fn wrapper_program() -> Result<(PathBuf, bool), String> {
    wrapped::program::find().map(|found| (found.path, found.verb.is_none()))
}

/// Starts programs on this machine.
///
/// Dropping it lets running attempts go on. The threads of direct ones still report to the sink; of wrapped ones nothing is heard any
/// more, and an engine to come may adopt them. Stop them and [`Engine::join`] first to leave nothing behind.
pub struct LocalEngine {
    pool: Arc<pool::Pool>,
    wrapped: wrapped::Wrapped,
}

impl std::fmt::Debug for LocalEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalEngine").finish_non_exhaustive()
    }
}

impl LocalEngine {
    /// An engine whose facts go to `sink`.
    #[must_use]
    pub fn new(sink: Sink) -> Self {
        let runs = Arc::new(claims::Runs::default());
        Self { wrapped: wrapped::Wrapped::new(Arc::clone(&sink), Arc::clone(&runs)), pool: Arc::new(pool::Pool::new(sink, runs)) }
    }
}

impl Engine for LocalEngine {
    fn start(&self, spec: Spec) {
        match spec.isolation {
            Isolation::Direct => self.pool.start(spec),
            Isolation::Wrapped => self.wrapped.start(spec),
        }
    }

    fn expect(&self, folder: AttemptFolder, fresh: bool) {
        self.wrapped.expect(folder, fresh);
    }

    fn forget(&self, run_folder: &Path) {
        self.wrapped.forget(run_folder);
    }

    fn stop(&self, id: &AttemptId, how: StopHow) {
        if !self.wrapped.stop(id, how) {
            self.pool.stop(id, how);
        }
    }

    fn adopt(&self, left: Left) {
        self.wrapped.adopt(left);
    }

    fn release(&self) {
        self.wrapped.release();
    }

    fn join(&self) {
        self.pool.join();
        self.wrapped.join();
    }
}

impl Drop for LocalEngine {
    fn drop(&mut self) {
        self.pool.close();
        self.wrapped.close();
    }
}
