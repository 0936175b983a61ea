//! `${{ }}`: minijinja expressions (strict, with fuel) inside values.
//!
//! A value with exactly one expression and nothing around it keeps the expression's type; with text around it becomes text. An
//! undefined name is an error with its place. No function here reads files, environment, clock or network.

use std::sync::Arc;

use serde_json::Value;

use crate::diagnostics::{Diagnostic, Diagnostics, Place};
use crate::ids::NodeId;
use crate::tree::NodeRef;

/// One expression, compiled.
#[derive(Debug, Clone)]
pub struct Expression(pub(crate) Arc<ExpressionInner>);

#[derive(Debug)]
pub(crate) struct ExpressionInner {
    pub(crate) text: String,
    pub(crate) place: Place,
    // + the compiled minijinja expression, the nodes it refers to and which of them it reads `status` of
}

/// A value that may hold expressions.
#[derive(Debug, Clone)]
pub enum Template {
    /// No expression in it.
    Constant(Arc<Value>),
    /// A whole-value expression: keeps its type.
    Expression(Expression),
    /// Text with expressions in it.
    Text(Arc<[Piece]>),
    /// A list with expressions somewhere in it.
    List(Arc<[Template]>),
    /// A map with expressions somewhere in it, keys in order.
    Map(Arc<[(String, Template)]>),
}

/// A part of a text with expressions.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Text as it stands.
    Literal(String),
    /// An expression, rendered into it.
    Expression(Expression),
}

/// What a node has to show to expressions.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// Outputs: an object; of an expanded node the list; null where there are none.
    pub outputs: Arc<Value>,
    /// `completed`, `failed`, `skipped`, `cancelled`, `reused`, or what it is at the moment.
    pub status: &'static str,
    /// Instances of an expanded node; 1 of a plain one.
    pub count: u64,
    /// Exit code of its last attempt.
    pub exit_code: Option<i64>,
}

/// What expressions can see.
pub struct Scope<'a> {
    /// The pipeline's (or, in a `command:`, the module's) parameters.
    pub params: &'a Value,
    /// Looks a node of the same pipeline up by its id.
    pub node: &'a dyn Fn(&str) -> Option<NodeView>,
    /// The item of a `foreach` instance.
    pub item: Option<&'a Value>,
    /// Its number, from 0 (also of a `matrix` instance).
    pub index: Option<u64>,
    /// The combination of a `matrix` instance.
    pub matrix: Option<&'a Value>,
    /// `run.id`.
    pub run_id: &'a str,
    /// `workspace`: the workspace's folder.
    pub workspace: &'a str,
}

impl Template {
    /// Reads a value of a file; mistakes in expressions go to `diagnostics`.
    pub fn compile(_node: NodeRef<'_>, _diagnostics: &mut Diagnostics) -> Self {
        todo!()
    }

    /// Ids of the nodes that it refers to.
    #[must_use]
    pub fn references(&self) -> Vec<NodeId> {
        todo!()
    }

    /// Its value.
    ///
    /// # Errors
    /// All mistakes, each with the place of its expression.
    pub fn evaluate(&self, _scope: &Scope<'_>) -> Result<Value, Diagnostics> {
        todo!()
    }
}

impl Expression {
    /// Compiles `${{ ... }}` that must be the whole of a string.
    pub fn compile(_node: NodeRef<'_>, _diagnostics: &mut Diagnostics) -> Option<Self> {
        todo!()
    }

    /// Its value, with its type.
    ///
    /// # Errors
    /// What went wrong, at its place.
    pub fn evaluate(&self, _scope: &Scope<'_>) -> Result<Value, Diagnostic> {
        todo!()
    }

    /// Whether its value counts as true (for `when`).
    ///
    /// # Errors
    /// What went wrong, at its place.
    pub fn is_true(&self, _scope: &Scope<'_>) -> Result<bool, Diagnostic> {
        todo!()
    }

    /// Ids of the nodes that it refers to.
    #[must_use]
    pub fn references(&self) -> Vec<NodeId> {
        todo!()
    }

    /// Ids of the nodes whose `status` it reads.
    #[must_use]
    pub fn reads_status_of(&self) -> Vec<NodeId> {
        todo!()
    }
}
