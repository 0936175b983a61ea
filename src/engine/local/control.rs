//! Stopping an attempt from another thread, without ever signalling a stranger.
//!
//! A process number may be given to somebody else as soon as the process was reaped. Signals and the reaping therefore happen under
//! one lock, and after the reaping there is nothing left to signal.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::StopHow;
use super::system::Handle;

/// Shared between an attempt's thread and whoever stops it.
#[derive(Debug, Default)]
pub(super) struct Control {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    phase: Phase,
    stops: Stops,
}

#[derive(Debug, Default)]
enum Phase {
    /// Not started; a stop now prevents the start.
    #[default]
    Early,
    /// On its way: the stop is delivered as soon as there is something to stop.
    Starting,
    /// Running, or dead and not yet reaped.
    Live(Handle),
    /// Reaped, or never started.
    Over,
}

/// The stops that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stops {
    pub(super) strongest: Option<StopHow>,
    pub(super) escalated: bool,
}

impl Stops {
    /// One more was sent.
    pub(super) fn add(&mut self, how: StopHow) {
        self.escalated |= self.strongest == Some(StopHow::Polite) && how == StopHow::Kill;
        self.strongest = self.strongest.max(Some(how));
    }
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a stop, at once where the process is there.
    pub(super) fn stop(&self, how: StopHow) {
        let mut inner = self.lock();
        match &inner.phase {
            Phase::Early | Phase::Starting => {}
            Phase::Live(handle) => handle.signal(how),
            Phase::Over => return,
        }
        inner.stops.add(how);
    }

    /// Whether the attempt may start. `false`: somebody stopped it already.
    pub(super) fn begin(&self) -> bool {
        let mut inner = self.lock();
        let free = inner.stops.strongest.is_none();
        inner.phase = if free { Phase::Starting } else { Phase::Over };
        free
    }

    /// The process is there. Delivers what was asked for meanwhile.
    pub(super) fn live(&self, handle: Handle) {
        let mut inner = self.lock();
        if let Some(how) = inner.stops.strongest {
            handle.signal(how);
        }
        inner.phase = Phase::Live(handle);
    }

    /// Runs `reap`, after which the process may no longer be signalled, and tells what was sent to it.
    pub(super) fn over<T>(&self, reap: impl FnOnce() -> T) -> (T, Stops) {
        let mut inner = self.lock();
        let result = reap();
        inner.phase = Phase::Over;
        (result, inner.stops)
    }
}
