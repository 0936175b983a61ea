//! Expressions and parameters of a run's nodes, evaluated against what the run knows.
//!
//! The only place of this layer that calls `pipeline::expr` and `pipeline::bind` for a run. Every failure comes back as the
//! [`FailureCause`] that the node's record will name.

use serde_json::Value;

use crate::diagnostics::Diagnostics;
use crate::event::FailureCause;
use crate::ids::NodeIndex;
use crate::params::Completed;
use crate::pipeline::bind;
use crate::pipeline::definition::Expansion;
use crate::pipeline::expr::{self, NodeView, Template};

use super::state::{Body, RunState};

/// Whether a node's `when` is true; a node without one runs.
///
/// # Errors
/// When the expression has no value.
pub fn condition(run: &RunState, node: NodeIndex) -> Result<bool, FailureCause> {
    match run.control(node).and_then(|control| control.when.as_ref()) {
        None => Ok(true),
        Some(when) => in_scope(run, node, |scope| when.is_true(scope)).map_err(|mistake| cause(mistake.into())),
    }
}

/// The list of a `foreach` node.
///
/// # Errors
/// When the expression has no value, is no list, or makes the run too big.
pub fn items(run: &RunState, node: NodeIndex) -> Result<Vec<Value>, FailureCause> {
    let expression = match run.control(node).and_then(|control| control.expansion.as_ref()) {
        Some(Expansion::ForEach(expression)) => expression,
        Some(Expansion::Matrix(_)) | None => return Ok(Vec::new()),
    };
    let value = in_scope(run, node, |scope| expression.evaluate(scope)).map_err(|mistake| cause(mistake.into()))?;
    match value {
        Value::Array(items) if run.is_too_many(run.nodes_added(node, items.len())) => {
            let limit = crate::pipeline::definition::NODES_MAX;
            Err(message(format!("`foreach` has {} items, and the run would have more than {limit} nodes", items.len())))
        }
        Value::Array(items) => Ok(items),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Err(message(format!("`foreach` must give a list, and gives {}", kind(&value))))
        }
    }
}

/// Parameters of the next attempt of a node, or of the sub-pipeline that it calls: complete and checked.
///
/// # Errors
/// When a value cannot be computed or does not fit the schema.
pub fn params(run: &RunState, node: NodeIndex) -> Result<Completed, FailureCause> {
    let scope = run.node(node).scope;
    let folder = &run.scope_definition(scope).folder;
    in_scope(run, node, |scope| bind::node_params(run.node_def(node), folder, scope)).map_err(cause)
}

/// What the pipeline around its nodes reports: that of a sub-pipeline's node, or (`None`) of the run. Null without `outputs`.
///
/// # Errors
/// When a value cannot be computed.
pub fn outputs(run: &RunState, owner: Option<NodeIndex>) -> Result<Value, FailureCause> {
    let scope = match owner.map(|owner| run.node(owner).body) {
        Some(Body::Scope(scope)) => scope,
        Some(Body::Leaf | Body::Group(_)) => return Ok(Value::Null),
        None => 0,
    };
    match &run.scope_definition(scope).outputs {
        None => Ok(Value::Null),
        Some(Template::Constant(value)) => Ok(Value::clone(value)),
        Some(template) => with_names(run, scope, None, |names| template.evaluate(names)).map_err(cause),
    }
}

/// Runs `use_it` with what the expressions of a node can see.
fn in_scope<T>(run: &RunState, node: NodeIndex, use_it: impl FnOnce(&expr::Scope<'_>) -> T) -> T {
    with_names(run, run.node(node).scope, Some(node), use_it)
}

fn with_names<T>(run: &RunState, scope: u32, node: Option<NodeIndex>, use_it: impl FnOnce(&expr::Scope<'_>) -> T) -> T {
    let nothing = Value::Null;
    let params = run.scopes[scope as usize].params.as_deref().unwrap_or(&nothing);
    let combination = node.and_then(|node| combination(run, node));
    let look_up = |id: &str| run.find_in(scope, id).map(|node| shown(run, node));
    use_it(&expr::Scope {
        params,
        node: &look_up,
        item: node.and_then(|node| item(run, node)),
        index: node.and_then(|node| run.node(node).ordinal()).map(u64::from),
        matrix: combination.as_ref(),
        run_id: run.id().as_str(),
        workspace: run.workspace(),
    })
}

/// What a node shows to expressions.
fn shown(run: &RunState, node: NodeIndex) -> NodeView {
    let at = run.node(node);
    NodeView {
        outputs: at.outputs().cloned().unwrap_or_default(),
        status: at.state().status().as_str(),
        count: match at.body {
            Body::Group(group) => u64::from(run.groups[group as usize].count),
            Body::Leaf | Body::Scope(_) => 1,
        },
        exit_code: at.record().and_then(super::Record::exit_code),
    }
}

/// The item of a `foreach` instance.
fn item(run: &RunState, node: NodeIndex) -> Option<&Value> {
    let ordinal = run.node(node).ordinal()? as usize;
    let group = run.group_of(node)?;
    run.groups[group as usize].items.as_ref()?.get(ordinal)
}

/// The combination of a `matrix` instance.
fn combination(run: &RunState, node: NodeIndex) -> Option<Value> {
    let ordinal = run.node(node).ordinal()?;
    match run.control(node)?.expansion.as_ref()? {
        Expansion::Matrix(matrix) => Some(matrix.combination(u64::from(ordinal))),
        Expansion::ForEach(_) => None,
    }
}

fn cause(mistakes: Diagnostics) -> FailureCause {
    FailureCause::Parameters { messages: mistakes.iter().map(ToString::to_string).collect() }
}

fn message(text: String) -> FailureCause {
    FailureCause::Parameters { messages: vec![text] }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
