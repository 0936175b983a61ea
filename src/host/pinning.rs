//! Submissions between the writing of their file and the host's answer.
//!
//! They are on threads of whoever submits, which nobody waits for where a process ends. A host that leaves waits for these: each of them
//! hears that the host is gone, and takes its folder away. Knows nothing of runs.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug, Clone, Default)]
pub(super) struct Pinning(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    inside: usize,
    closed: bool,
}

/// As long as it lives its submission is waited for.
#[derive(Debug)]
pub(super) struct Inside(Arc<Shared>);

impl Pinning {
    /// Before anything is written; `None` where the host has ended.
    pub(super) fn enter(&self) -> Option<Inside> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return None;
        }
        state.inside += 1;
        Some(Inside(self.0.clone()))
    }

    /// Lets nobody in any more, and waits for those who are inside, at most so long: a disk may hang. Whether all have left.
    pub(super) fn close(&self, limit: Duration) -> bool {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        let waited = self.0.left.wait_timeout_while(state, limit, |state| state.inside > 0);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).inside -= 1;
        self.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_inside_is_waited_for_and_nobody_follows() {
        let pinning = Pinning::default();
        let inside = pinning.enter().expect("it is open");
        assert!(!pinning.close(Duration::ZERO), "one is inside");
        assert!(pinning.enter().is_none());
        let leaving = std::thread::spawn(move || drop(inside));
        assert!(pinning.close(Duration::from_secs(60)));
        leaving.join().expect("it ends");
    }
}
