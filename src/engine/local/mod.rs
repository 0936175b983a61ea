//! The local engine: attempts as processes of this machine.
//!
//! One thread for each running attempt does everything for it, from the folder to the outputs ([`supervise`]); a pool keeps the threads
//! ([`pool`]). What Unix and Windows do differently is the small set of functions in `system`. Nothing here knows why an attempt is
//! started or stopped.

mod capture;
pub(super) mod claims;
mod control;
mod failure;
pub(super) mod interpreter;
mod pool;
pub(super) mod strangers;
mod supervise;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod system;

use std::sync::Arc;

use super::{Engine, Sink, Spec, StopHow};
use crate::ids::AttemptId;

/// Starts programs on this machine.
///
/// Dropping it lets running attempts go on: their threads still report to the sink. Stop them and [`Engine::join`] first to leave
/// nothing behind.
pub struct LocalEngine {
    pool: Arc<pool::Pool>,
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
        Self { pool: Arc::new(pool::Pool::new(sink)) }
    }
}

impl Engine for LocalEngine {
    fn start(&self, spec: Spec) {
        self.pool.start(spec);
    }

    fn stop(&self, id: &AttemptId, how: StopHow) {
        self.pool.stop(id, how);
    }

    fn join(&self) {
        self.pool.join();
    }
}

impl Drop for LocalEngine {
    fn drop(&mut self) {
        self.pool.close();
    }
}
