//! What to do next: pure decisions over all runs of a host.
//!
//! [`decide`](decide()) looks at a [`World`] and says what to record, start and stop. The host applies each recorded event through
//! [`World::apply`] and asks again until the answer is empty; then it sleeps until an event comes or [`Timers::next`] is due. Knows no
//! clock (the host brings [`Now`](crate::units::Now)), no files and no engines.
//!
//! ```text
//!   engine, submit, cancel --events--> World::apply --+--> Timers::observe
//!                                                     v
//!                 host: journal, engine <--effects-- decide(&World, &Timers, now)
//! ```

mod admit;
mod decide;
mod durations;
mod effect;
mod explain;
#[cfg(test)]
mod ladder;
mod left;
#[cfg(test)]
mod measured;
#[cfg(test)]
mod order;
mod precedence;
#[cfg(test)]
mod property;
mod reserve;
mod reuse;
mod room;
mod samples;
mod settle;
mod starts;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod timers;
mod usage;
#[cfg(test)]
mod vacated;
mod warm;
mod world;

pub use admit::impossible;
pub use decide::{decide, records_of};
pub use durations::Durations;
pub use effect::{Effect, ReuseOrder, StartOrder, StopHow};
pub use explain::{Blocker, Holder, LISTED_MAX, Survey};
pub use left::time_left;
pub use precedence::patience;
pub use samples::{ENOUGH, Sample, Samples, Spread, Usage, advised};
pub use timers::Timers;
pub use world::World;
