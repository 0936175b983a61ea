//! stub
use super::Effect;
use crate::event::Event;
use crate::ids::RunId;
use crate::run::RunState;
use crate::units::{Mono, Now};
/// Deadlines by the monotonic clock: timeouts, grace periods, pauses before retries.
#[derive(Debug, Default)]
pub struct Timers {}
impl Timers {
    /// Looks at an event just applied to `run` (live only; on replay use `recover` afterwards).
    pub fn observe(&mut self, _run: &RunState, _event: &Event, _now: Now) { todo!() }
    /// Sets the deadlines of a run read from the journal.
    pub fn recover(&mut self, _run: &RunState, _now: Now) { todo!() }
    /// Forgets a run.
    pub fn forget(&mut self, _run: &RunId) { todo!() }
    /// Call for each effect carried out, so that a kill is asked for once.
    pub fn carried_out(&mut self, _effect: &Effect) { todo!() }
    /// The earliest deadline after `after`; those before were in the hands of `decide`.
    #[must_use]
    pub fn next(&self, _after: Mono) -> Option<Mono> { todo!() }
}
