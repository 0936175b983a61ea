//! Which nodes of a pipeline would take an earlier result, if it were run now: for `plan`. Reads the same files as the host, and changes
//! nothing.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::key::Hasher;
use super::{Asked, search};
use crate::event::NotReused;
use crate::host::workspace::Workspace;
use crate::ids::RunId;
use crate::pipeline::bind;
use crate::pipeline::definition::{Definition, Work};
use crate::pipeline::expr::{NodeView, Scope};
use crate::request::Reuse;

/// What would become of a node that says `reuse: inputs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReuseForecast {
    /// Its result would be taken from this run.
    Reused {
        /// The run.
        from: RunId,
    },
    /// It would run.
    NotReused {
        /// Why.
        why: NotReused,
    },
    /// It is decided when it is ready: what it depends on runs before, it is expanded, or there are too many nodes to look at each.
    Later,
}

/// Above so many nodes each is told to be decided later: every forecast reads files, and nobody waits for so many. As many as are played.
const NODES_MAX: usize = crate::simulate::NODES_MAX;

/// A forecast for each node of a pipeline that says `reuse: inputs`, by its position. `params` are those of the run; what is left out
/// has its default.
#[must_use]
pub fn reuse_forecast(workspace: &Workspace, definition: &Definition, params: Map<String, Value>) -> Vec<(u32, ReuseForecast)> {
    let wants = |at: u32| definition.nodes.get(at as usize).is_some_and(|node| node.settings.reuse == Reuse::Inputs);
    let wanted = || definition.graph.order.iter().copied().filter(|at| wants(*at));
    if definition.nodes.len() > NODES_MAX || wanted().next().is_none() {
        return wanted().map(|at| (at, ReuseForecast::Later)).collect();
    }
    let params = bind::complete(&definition.params, params, &definition.folder).map(|completed| completed.value);
    let mut hasher = Hasher::default();
    // Results of nodes that would not run, by id.
    let mut known: HashMap<&str, Arc<Value>> = HashMap::new();
    let mut found = Vec::new();
    for at in wanted() {
        let Some(node) = definition.nodes.get(at as usize) else { continue };
        let Work::Module(module) = &node.work else { continue };
        let before = definition.graph.dependencies.of(at);
        let settled =
            before.iter().all(|before| definition.nodes.get(*before as usize).is_some_and(|node| known.contains_key(node.id.as_str())));
        let plain = node.control.as_ref().is_none_or(|control| control.expansion.is_none() && control.when.is_none());
        let own = params.as_ref().ok().filter(|_| settled && plain && !module.is_made_up()).and_then(|params| {
            let root = workspace.root().to_string_lossy();
            let look_up = |id: &str| known.get(id).map(view);
            let scope = Scope { params, node: &look_up, item: None, index: None, matrix: None, run_id: "", workspace: &root };
            bind::node_params(node, &definition.folder, &scope).ok()
        });
        let Some(own) = own else {
            found.push((at, ReuseForecast::Later));
            continue;
        };
        found.push(match search(workspace, &mut hasher, Asked { module, settings: &node.settings, params: &own.value }) {
            Ok(result) => {
                known.insert(node.id.as_str(), result.outputs.unwrap_or_default());
                (at, ReuseForecast::Reused { from: result.from })
            }
            Err(check) => (at, ReuseForecast::NotReused { why: check.why }),
        });
    }
    found
}

fn view(outputs: &Arc<Value>) -> NodeView {
    NodeView { outputs: outputs.clone(), status: "reused", count: 1, exit_code: None }
}
