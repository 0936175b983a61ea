//! One run as it goes on: nodes, their states, and the single function that changes them.
//!
//! [`RunState::apply`] takes an [`Event`](crate::event::Event) and either makes the transition or refuses it and changes nothing; it is
//! used live and when the journal is read again, so the two cannot differ. Grants are taken and given back by it. What follows from
//! the states (who is ready, what has to be decided, what is held) is kept beside them at the cost of a logarithm an event, and can
//! be computed afresh at any time: [`RunState::sanity_check`] compares the two.
//!
//! Knows nothing of clocks, files and engines. `scheduler` decides over it, `host` makes events durable and applies them, surfaces read
//! the structs of [`view`].
//!
//! Nodes lie in one array. The nodes of a pipeline are consecutive in it, so that edges need no copy: the neighbour at position `p` of a
//! scope is `first + p`. A `matrix` or `foreach` node is a *group*, its instances are consecutive nodes further down; a sub-pipeline
//! is a *scope*, its nodes likewise.

mod agenda;
mod apply;
mod attempts;
mod build;
mod check;
mod containers;
mod derived;
pub mod evaluate;
mod flow;
mod frozen;
mod path;
mod plan;
mod record;
mod retry;
mod state;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod view;

pub(crate) use agenda::Wanted;
pub use apply::IllegalEvent;
pub use derived::ClassId;
pub(crate) use derived::OrderKey;
pub use frozen::{Frozen, ThawError};
pub use plan::ExpectedUse;
pub use record::{AttemptEnd, AttemptRecord, Record, RunFacts};
pub use state::{Body, Node, NodeState, NodeStatus, Outcome, Precedence, RunState};
