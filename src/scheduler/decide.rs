//! stub
use super::{Effect, Timers, World};
use crate::units::Now;
/// What to do now.
pub fn decide(_world: &World, _timers: &Timers, _now: Now) -> Vec<Effect> { todo!() }
