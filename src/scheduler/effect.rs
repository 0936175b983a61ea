//! What the scheduler wants done, as data.

use std::sync::Arc;

use serde_json::Value;

use crate::event::Event;
use crate::ids::{AttemptId, NodeIndex, RunId};
use crate::manifest::Module;
use crate::request::{NodeSettings, Request};

/// One thing to do. The host carries them out in order.
#[derive(Debug)]
#[must_use]
#[expect(clippy::large_enum_variant, reason = "most effects are records, and none lives longer than its turn: a box would only cost")]
pub enum Effect {
    /// Write the event to the journal and apply it.
    Record {
        /// The run it is about.
        run: RunId,
        /// The event.
        event: Event,
    },
    /// Record and apply `AttemptStarted`, then hand the attempt to the engine. Its intent is durable already.
    Start(Box<StartOrder>),
    /// Look for an earlier result of a node and answer with `NodeReused` or `NodeChecked`. It is asked again until the host says that it
    /// looks ([`World::set_checking`](super::World::set_checking)).
    CheckReuse(Box<ReuseOrder>),
    /// Ask the engine to end an attempt. May be repeated when the host was restarted meanwhile.
    Stop {
        /// Which.
        id: AttemptId,
        /// Politely or not.
        how: StopHow,
    },
}

/// How an attempt is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopHow {
    /// By the polite signal: it may still clean up.
    Polite,
    /// At once.
    Kill,
}

/// A node for which an earlier result is to be looked for.
#[derive(Debug, Clone)]
pub struct ReuseOrder {
    /// The run.
    pub run: RunId,
    /// The node.
    pub node: NodeIndex,
    /// What it would run.
    pub module: Arc<Module>,
    /// How.
    pub settings: Arc<NodeSettings>,
    /// With which parameters, checked and completed.
    pub params: Arc<Value>,
}

/// An attempt to be started.
#[derive(Debug, Clone)]
pub struct StartOrder {
    /// Run, node and number.
    pub id: AttemptId,
    /// Path of the node, `clips[2].cut`.
    pub path: String,
    /// What it runs.
    pub module: Arc<Module>,
    /// How.
    pub settings: Arc<NodeSettings>,
    /// Its parameters, checked and completed.
    pub params: Arc<Value>,
    /// JSON Pointers of those that came from defaults.
    pub defaulted: Vec<String>,
    /// What it holds until it ends.
    pub grant: Request,
}
