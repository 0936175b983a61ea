//! Runs played through without a process: predicted, ordered, bounded, tested.
//!
//! [`Simulation`] plays runs through the real scheduler with a clock that jumps. [`Model`] is what is left of one run as plain arrays, for
//! what has to be played thousands of times: [`choose`] looks for the best order, [`bounds`](bounds()) says what no order can beat. Pure: knows no
//! clock, no file and no process; seeds come in. Used by `host`, when a run is submitted and for the verbs that look ahead.

mod assume;
mod bound;
mod coarse;
mod dice;
mod list;
mod machine;
mod model;
mod portfolio;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod waits;

pub use assume::{assumed, runs_any, unknown_durations, wants_gpu};
pub use bound::{Bounds, INTERVAL_NODES_MAX, bounds};
pub use coarse::{Expected, coarse};
pub use dice::Dice;
pub use list::Player;
pub use machine::{Behaviour, Ending, Simulation, Span, Stalled};
pub use model::Model;
pub use portfolio::{Choice, NODES_MAX, Policy, UNITS, choose, priorities};
