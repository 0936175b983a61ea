//! What a pipeline file is once it has been checked: nodes, edges, templates. Immutable and shared by all runs of it.
//!
//! Arrays, not an object with lists for every node: a pipeline may have a million nodes.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::diagnostics::{Source, Span};
use crate::ids::NodeId;
use crate::manifest::Module;
use crate::params::ParamSchema;
use crate::pipeline::expr::{Expression, Template};
use crate::request::{NodeSettings, OnFailure};

/// Most nodes of a run, instances of `matrix` and `foreach` and nodes of sub-pipelines included.
pub const NODES_MAX: u64 = 1_000_000;

/// A pipeline, checked.
#[derive(Debug)]
pub struct Definition {
    /// Its name: `name:`, else the file's stem.
    pub name: String,
    /// Its text.
    pub source: Arc<Source>,
    /// The file's folder, absolute: relative paths in `format: file` values start here.
    pub folder: PathBuf,
    /// What a failed node does to the others.
    pub on_failure: OnFailure,
    /// Its parameters.
    pub params: ParamSchema,
    /// What it reports: a map template.
    pub outputs: Option<Template>,
    /// Its nodes in declared order.
    pub nodes: Vec<NodeDef>,
    /// Its edges, between positions in `nodes`.
    pub graph: Graph,
}

/// A node of a pipeline file.
#[derive(Debug)]
pub struct NodeDef {
    /// Its id.
    pub id: NodeId,
    /// What it runs.
    pub work: Work,
    /// Its parameters: a map template.
    pub with: Template,
    /// Its module's settings with the node's overrides.
    pub settings: Arc<NodeSettings>,
    /// What most nodes do not have.
    pub control: Option<Box<Control>>,
    /// Where its id stands.
    pub span: Span,
}

/// What a node runs.
#[derive(Debug, Clone)]
pub enum Work {
    /// A module.
    Module(Arc<Module>),
    /// A sub-pipeline.
    Pipeline(Arc<Definition>),
}

/// The rarer keys of a node.
#[derive(Debug, Default)]
pub struct Control {
    /// Runs only if this is true.
    pub when: Option<Expression>,
    /// Positions of the dependencies whose status `when` reads: they need not have completed.
    pub observed: Vec<u32>,
    /// `matrix` or `foreach`.
    pub expansion: Option<Expansion>,
    /// Instances at once.
    pub max_parallel: Option<u32>,
    /// A failure of it (or of its instances) fails neither the run nor the sub-pipeline around it. Dependents are still skipped
    /// unless their `when` reads its status; of an expanded node the list has `null` for the failed ones and dependents run.
    pub allow_failure: bool,
}

/// How one node becomes many.
#[derive(Debug)]
pub enum Expansion {
    /// Every combination of some values, known before the run.
    Matrix(Matrix),
    /// One instance for each item of a list that earlier nodes report.
    ForEach(Expression),
}

/// The axes of a `matrix`, in declared order.
#[derive(Debug)]
pub struct Matrix {
    /// Name and values of each.
    pub axes: Vec<(String, Vec<Value>)>,
}

impl Matrix {
    /// Number of combinations, `None` where it does not fit 64 bits.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        self.axes.iter().try_fold(1_u64, |product, (_, values)| product.checked_mul(values.len() as u64))
    }

    /// Combination number `index`, the last axis changing fastest.
    #[must_use]
    pub fn combination(&self, index: u64) -> Value {
        let mut rest = index;
        let mut chosen = Vec::with_capacity(self.axes.len());
        for (name, values) in self.axes.iter().rev() {
            let count = values.len().max(1) as u64;
            let value = usize::try_from(rest % count).ok().and_then(|at| values.get(at)).cloned().unwrap_or(Value::Null);
            chosen.push((name.clone(), value));
            rest /= count;
        }
        Value::Object(chosen.into_iter().rev().collect::<Map<_, _>>())
    }
}

/// Edges in compressed rows: the neighbours of node `i` are `targets[starts[i]..starts[i + 1]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// Where each node's neighbours begin; one more than there are nodes.
    pub starts: Vec<u32>,
    /// The neighbours.
    pub targets: Vec<u32>,
}

impl Rows {
    /// Neighbours of a node.
    #[must_use]
    pub fn of(&self, node: u32) -> &[u32] {
        let at = node as usize;
        match (self.starts.get(at), self.starts.get(at + 1)) {
            (Some(start), Some(end)) => &self.targets[*start as usize..*end as usize],
            _ => &[],
        }
    }
}

/// A graph without cycles over positions in `Definition::nodes`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    /// What each node waits for.
    pub dependencies: Rows,
    /// What waits for each node.
    pub dependents: Rows,
    /// A topological order; among equals the declared order.
    pub order: Vec<u32>,
}
