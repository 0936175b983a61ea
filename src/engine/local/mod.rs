//! The local engine: attempts as processes of this machine.

pub(super) mod claims;
pub(super) mod interpreter;
pub(super) mod strangers;

use super::{Engine, Sink, Spec, StopHow};
use crate::ids::AttemptId;

/// Starts programs on this machine, one thread for each running attempt.
pub struct LocalEngine {
    sink: Sink,
}

impl LocalEngine {
    /// An engine whose facts go to `sink`.
    #[must_use]
    pub fn new(sink: Sink) -> Self {
        Self { sink }
    }
}

impl Engine for LocalEngine {
    fn start(&self, spec: Spec) {
        let _ = spec;
        todo!()
    }

    fn stop(&self, id: &AttemptId, how: StopHow) {
        let _ = (id, how);
        todo!()
    }

    fn join(&self) {
        todo!()
    }
}
