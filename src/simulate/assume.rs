//! A pipeline as it can be played before it runs: what only running nodes could tell is assumed.
//!
//! Conditions are true, parameters fit, and a `foreach` over what a node will report has one instance. What decides the schedule stays:
//! nodes, edges, sub-pipelines, `matrix`, written lists, requests, limits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::manifest::Module;
use crate::params::ParamSchema;
use crate::pipeline::definition::{Control, Definition, Expansion, Matrix, NodeDef, Work};
use crate::pipeline::expr::Template;
use crate::request::NodeSettings;
use crate::units::DurationMs;

/// The pipeline with assumptions in the place of expressions. `duration` replaces what a node says of its duration.
#[must_use]
pub fn assumed(definition: &Definition, duration: &dyn Fn(&NodeDef) -> Option<DurationMs>) -> Arc<Definition> {
    Assumer { duration, modules: BTreeMap::new(), pipelines: BTreeMap::new(), last: None }.definition(definition)
}

/// By address: each module and each sub-pipeline is made once.
struct Assumer<'a> {
    duration: &'a dyn Fn(&NodeDef) -> Option<DurationMs>,
    modules: BTreeMap<*const Module, Arc<Module>>,
    pipelines: BTreeMap<*const Definition, Arc<Definition>>,
    last: Option<(*const Module, Arc<Module>)>,
}

impl Assumer<'_> {
    /// As deep as pipelines are nested in files, which the reader bounds.
    fn definition(&mut self, of: &Definition) -> Arc<Definition> {
        let address = std::ptr::from_ref(of);
        if let Some(known) = self.pipelines.get(&address) {
            return known.clone();
        }
        let made = Arc::new(Definition {
            name: of.name.clone(),
            source: of.source.clone(),
            folder: of.folder.clone(),
            on_failure: of.on_failure,
            params: ParamSchema::empty(),
            outputs: None,
            nodes: of.nodes.iter().map(|node| self.node(node)).collect(),
            graph: of.graph.clone(),
        });
        self.pipelines.insert(address, made.clone());
        made
    }

    fn node(&mut self, of: &NodeDef) -> NodeDef {
        NodeDef {
            id: of.id.clone(),
            work: match &of.work {
                Work::Module(module) => Work::Module(self.module(module)),
                Work::Pipeline(inner) => Work::Pipeline(self.definition(inner)),
            },
            with: Template::empty_map(),
            settings: match (self.duration)(of) {
                Some(duration) => Arc::new(NodeSettings { duration: Some(duration), ..NodeSettings::clone(&of.settings) }),
                None => of.settings.clone(),
            },
            control: of.control.as_ref().map(|control| Box::new(assumed_control(control))),
            span: of.span,
        }
    }

    fn module(&mut self, of: &Arc<Module>) -> Arc<Module> {
        let address = Arc::as_ptr(of);
        if let Some((last, made)) = &self.last
            && *last == address
        {
            return made.clone();
        }
        let make = || Arc::new(Module { params: ParamSchema::empty(), outputs: None, ..Module::clone(of) });
        let made = self.modules.entry(address).or_insert_with(make).clone();
        self.last = Some((address, made.clone()));
        made
    }
}

fn assumed_control(of: &Control) -> Control {
    let count = match &of.expansion {
        None => None,
        Some(Expansion::Matrix(matrix)) => matrix.count(),
        Some(Expansion::ForEach(list)) => Some(list.known_length().map_or(1, |length| length as u64)),
    };
    Control {
        when: None,
        observed: Vec::new(),
        expansion: count.map(|count| {
            let items = (0..count).map(Value::from).collect();
            Expansion::Matrix(Matrix { axes: vec![("item".to_owned(), items)] })
        }),
        max_parallel: of.max_parallel,
        allow_failure: of.allow_failure,
    }
}

/// Nodes of a pipeline that run a module and for which `known` says no, at every call of a sub-pipeline.
#[must_use]
pub fn unknown_durations(definition: &Definition, known: &dyn Fn(&NodeDef, &Module) -> bool) -> u64 {
    let count = |node: &NodeDef| match &node.work {
        Work::Module(module) => u64::from(!known(node, module)),
        Work::Pipeline(inner) => unknown_durations(inner, known),
    };
    definition.nodes.iter().map(count).sum()
}

/// Whether a pipeline runs anything that `is` so. A node counts once, however many instances it has: whoever compares such an answer with
/// the number of nodes of a run compares what is not alike.
#[must_use]
pub fn runs_any(definition: &Definition, is: &dyn Fn(&NodeDef, &Module) -> bool) -> bool {
    fn look(definition: &Definition, is: &dyn Fn(&NodeDef, &Module) -> bool, seen: &mut BTreeSet<*const Definition>) -> bool {
        definition.nodes.iter().any(|node| match &node.work {
            Work::Module(module) => is(node, module),
            Work::Pipeline(inner) => seen.insert(Arc::as_ptr(inner)) && look(inner, is, seen),
        })
    }
    look(definition, is, &mut BTreeSet::new())
}

/// Whether a pipeline runs anything that may ask for a GPU or memory of one, or that has several requests to choose from. The model knows
/// nothing of either.
#[must_use]
pub fn wants_gpu(definition: &Definition) -> bool {
    runs_any(definition, &|node, _| node.settings.may_want_gpu() || !node.settings.any_of.is_empty())
}
