//! stub
use super::state::RunState;
use crate::event::{Event, Stamp};
/// An event that does not fit the state: nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event} of {subject} is not possible: {why}")]
pub struct IllegalEvent {
    /// Name of the event.
    pub event: &'static str,
    /// The node's path, or `the run`.
    pub subject: String,
    /// Why not.
    pub why: String,
}
impl RunState {
    /// Makes the transition.
    pub fn apply(&mut self, _event: &Event, _stamp: Stamp) -> Result<(), IllegalEvent> { todo!() }
}
