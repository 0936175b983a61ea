//! stub
use super::state::RunState;
impl RunState {
    /// Compares what is kept with what follows from the states.
    pub fn sanity_check(&self) -> Result<(), String> { todo!() }
}
