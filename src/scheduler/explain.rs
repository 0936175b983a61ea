//! stub
use super::World;
use crate::ids::{NodeIndex, RunId};
use crate::resources::Unmet;
use crate::units::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
/// One thing that keeps a node from starting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "blocker")]
pub enum Blocker {
    /// Nodes that are not terminal; at most [`LISTED_MAX`] are named.
    Dependencies {
        /// Paths.
        nodes: Vec<String>,
        /// How many in all.
        count: u32,
    },
    /// What it lacks, and who has it.
    Resource {
        /// What.
        unmet: Unmet,
        /// The capacity is too small even when all is free.
        missing: bool,
        /// Who holds it.
        holders: Vec<Holder>,
    },
    /// The module's `concurrency`.
    Concurrency {
        /// The module.
        module: String,
        /// Its limit.
        limit: u32,
        /// Who runs it.
        holders: Vec<Holder>,
    },
    /// The group's `max_parallel`.
    MaxParallel {
        /// The group.
        group: String,
        /// Its limit.
        limit: u32,
    },
    /// It pauses before its next attempt.
    Backoff {
        /// Until then.
        until: Timestamp,
        /// Why the last attempt failed.
        cause: String,
    },
    /// The run is held until somebody says `resume`.
    RunHeld,
    /// The run is being cancelled or stopped.
    Stopping,
    /// The host starts nothing new.
    NotAccepting,
    /// Its start is being written to the journal.
    Journal,
    /// Nodes before it in the order take what is free.
    Order {
        /// How many nodes are ready before it.
        before: u32,
    },
}
/// Who holds something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Holder {
    /// The run.
    pub run_id: String,
    /// The node.
    pub node: String,
    /// How much, in words.
    pub amount: String,
    /// Since when.
    pub since: Timestamp,
}
/// Why a node does not run.
pub fn explain(_world: &World, _run: &RunId, _node: NodeIndex) -> Vec<Blocker> { todo!() }
