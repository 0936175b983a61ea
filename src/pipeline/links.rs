//! What nodes have to do with each other: references as edges, the outputs that they name, and the modules that must come first.

use std::collections::HashMap;

use crate::diagnostics::{Diagnostic, Place, Span, suggest};
use crate::params::{ParamSchema, Violation};

use super::compile::FileReader;
use super::definition::{Definition, NodeDef, Work};
use super::expr::{Expression, NodeField, Step, Template};
use super::graph::{Edge, rows};
use super::schema_path::{Missing, find};

/// What the schema says of parameters of which some are expressions.
pub(super) fn violations(schema: &ParamSchema, template: &Template) -> Vec<Violation> {
    let (value, open) = template.known();
    match value {
        serde_json::Value::Object(values) if !open.iter().any(String::is_empty) => {
            let completed = schema.complete(values);
            completed.map_or_else(|refusal| vec![refusal], |completed| schema.check_partial(&completed.value, &open))
        }
        _ => Vec::new(),
    }
}

/// Adds the edges of all references of all nodes, and checks what they name.
pub(super) fn follow_references(reader: &mut FileReader<'_, '_, '_>) {
    let mut nodes = std::mem::take(&mut reader.nodes);
    let mut found: Vec<(u32, Span)> = Vec::new();
    for (at, node) in (0_u32..).zip(&nodes) {
        let constant = matches!(node.with, Template::Constant(_));
        if constant && node.control.is_none() {
            continue;
        }
        for_each_expression(node, &mut |expression| check(reader, &nodes, expression, &mut found));
        reader.edges.extend(found.drain(..).map(|(from, span)| Edge { from, to: at, span }));
    }
    for control in nodes.iter_mut().filter_map(|node| node.control.as_mut()) {
        let observed = control.when.iter().flat_map(Expression::reads_status_of);
        control.observed = observed.filter_map(|id| reader.ids.get(id.as_str()).copied()).collect();
    }
    reader.nodes = nodes;
}

fn for_each_expression<'n>(node: &'n NodeDef, each: &mut dyn FnMut(&'n Expression)) {
    node.with.visit(each);
    if let Some(control) = &node.control {
        control.when.iter().for_each(&mut *each);
        if let Some(super::definition::Expansion::ForEach(list)) = &control.expansion {
            each(list);
        }
    }
}

/// Checks what the pipeline's `outputs` name.
pub(super) fn check_template(reader: &mut FileReader<'_, '_, '_>, template: &Template) {
    let nodes = std::mem::take(&mut reader.nodes);
    template.visit(&mut |expression| check(reader, &nodes, expression, &mut Vec::new()));
    reader.nodes = nodes;
}

/// Checks the references of one expression and gathers the nodes among them.
fn check(reader: &mut FileReader<'_, '_, '_>, nodes: &[NodeDef], expression: &Expression, found: &mut Vec<(u32, Span)>) {
    for used in expression.node_uses() {
        let Some(position) = reader.ids.get(used.id.as_str()).copied() else {
            let diagnostic = reader.unknown_node(used.id.as_str(), used.place);
            reader.report(diagnostic);
            continue;
        };
        found.push((position, used.place.span));
        if used.field == NodeField::Outputs
            && !reader.unknown.contains(&position)
            && let Err(problem) = outputs_of(nodes, position, used.path)
        {
            reader.report(problem.at(used.place));
        }
    }
    let Some(params) = reader.params else { return };
    for used in expression.param_uses() {
        if let Err(missing) = find(params.schema(), used.path, false) {
            let path = shown("params", &used.path[..missing.at]);
            let step = &used.path[missing.at];
            let message =
                if missing.at == 0 { format!("the pipeline has no parameter `{}`", bare(step)) } else { missing.message(&path, step) };
            let none = missing.known.is_empty() && missing.at == 0;
            let help = if none { Some("declare it under `params`".to_owned()) } else { missing.help(step) };
            reader.report(Diagnostic::error(message).at(used.place).with_help_of(help));
        }
    }
}

fn shown(root: &str, steps: &[Step]) -> String {
    steps.iter().fold(root.to_owned(), |text, step| text + &step.to_string())
}

fn bare(step: &Step) -> String {
    match step {
        Step::Key(key) => key.to_string(),
        Step::Index(index) => index.to_string(),
    }
}

/// Whether the outputs of a node can have something at `path`.
fn outputs_of(nodes: &[NodeDef], position: u32, path: &[Step]) -> Result<(), Diagnostic> {
    let node = &nodes[position as usize];
    let id = &node.id;
    let expanded = node.control.as_ref().is_some_and(|control| control.expansion.is_some());
    match (expanded, path.first()) {
        (_, None) => Ok(()),
        (false, Some(Step::Key(_))) => outputs_of_work(id.as_str(), &node.work, path),
        (true, Some(Step::Index(_))) => outputs_of_work(id.as_str(), &node.work, &path[1..]),
        (true, Some(Step::Key(key))) => {
            let help = format!("write `nodes.{id}.outputs[0].{key}`, or `nodes.{id}.outputs | map(attribute='{key}') | list`");
            Err(Diagnostic::error(format!("the outputs of `{id}` are a list, one entry for each instance")).with_help(help))
        }
        (false, Some(Step::Index(_))) => Err(Diagnostic::error(format!("the outputs of `{id}` are an object, not a list"))),
    }
}

fn outputs_of_work(id: &str, work: &Work, path: &[Step]) -> Result<(), Diagnostic> {
    let Some(first) = path.first() else { return Ok(()) };
    match work {
        Work::Module(module) => {
            let Some(schema) = &module.outputs else { return Ok(()) };
            find(schema.schema(), path, true).map_err(|missing| {
                let step = &path[missing.at];
                let message = if missing.at == 0 {
                    format!("module `{}` reports no `{}`", module.id, bare(step))
                } else {
                    missing.message(&shown(&format!("nodes.{id}.outputs"), &path[..missing.at]), step)
                };
                Diagnostic::error(message).with_help_of(missing.help(step))
            })
        }
        Work::Pipeline(called) => match &called.outputs {
            Some(outputs) => outputs_of_template(called, outputs, path),
            None => Err(Diagnostic::error(format!("pipeline `{}` has no `outputs`, so there is no `{}`", called.name, bare(first)))
                .with_help("say under `outputs` of its file what it reports")),
        },
    }
}

/// The same through the `outputs` map of a sub-pipeline, down to the module that reports the value.
fn outputs_of_template(called: &Definition, template: &Template, path: &[Step]) -> Result<(), Diagnostic> {
    let Some(step) = path.first() else { return Ok(()) };
    let absent = |known: Vec<&str>| {
        let message = format!("pipeline `{}` reports no `{}`", called.name, bare(step));
        Err(Diagnostic::error(message).with_help_of(suggest(&bare(step), known)))
    };
    match (template, step) {
        (Template::Map(entries), Step::Key(key)) => match entries.iter().find(|(name, _)| name == &**key) {
            Some((_, inner)) => outputs_of_template(called, inner, &path[1..]),
            None => absent(entries.iter().map(|(name, _)| name.as_str()).collect()),
        },
        (Template::Constant(value), Step::Key(key)) => match value.as_object() {
            Some(entries) if !entries.contains_key(&**key) => absent(entries.keys().map(String::as_str).collect()),
            Some(_) | None => Ok(()),
        },
        (Template::Expression(expression), _) => match expression.as_node_use() {
            Some(used) if used.field == NodeField::Outputs => {
                let position = called.nodes.iter().position(|node| &node.id == used.id).and_then(|at| u32::try_from(at).ok());
                let whole: Vec<Step> = used.path.iter().chain(path).cloned().collect();
                position.map_or(Ok(()), |position| outputs_of(&called.nodes, position, &whole))
            }
            Some(_) | None => Ok(()),
        },
        (Template::Map(_) | Template::Constant(_), Step::Index(_)) | (Template::Text(_) | Template::List(_), _) => Ok(()),
    }
}

impl Missing {
    fn message(&self, path: &str, step: &Step) -> String {
        match &self.found {
            Some(kind) => format!("`{path}` is of type {kind}, it has no `{}`", bare(step)),
            None => format!("`{path}` has no `{}`", bare(step)),
        }
    }

    fn help(&self, step: &Step) -> Option<String> {
        suggest(&bare(step), self.known.iter().map(String::as_str))
    }
}

/// Adds the edges that the `dependencies` of modules ask for: with exactly one node of that module in the pipeline. With none there is
/// a note, with several the author must say which.
pub(super) fn add_module_dependencies(reader: &mut FileReader<'_, '_, '_>) {
    let module = |node: &NodeDef| match &node.work {
        Work::Module(module) => Some(module.clone()),
        Work::Pipeline(_) => None,
    };
    let with_dependencies = |node: &NodeDef| module(node).is_some_and(|module| !module.dependencies.is_empty());
    if !reader.nodes.iter().any(with_dependencies) {
        return;
    }
    let nodes = std::mem::take(&mut reader.nodes);
    let mut by_module: HashMap<&str, (u32, u32)> = HashMap::new();
    for (at, node) in (0_u32..).zip(&nodes) {
        if let Work::Module(module) = &node.work {
            by_module.entry(module.id.as_str()).and_modify(|(_, count)| *count += 1).or_insert((at, 1));
        }
    }
    let count = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    let named = rows(count, reader.edges.iter().map(|edge| (edge.to, edge.from)));
    let mut noted = std::collections::HashSet::new();
    for (at, node) in (0_u32..).zip(&nodes) {
        let Work::Module(module) = &node.work else { continue };
        for (wanted, _) in &module.dependencies {
            let is_wanted = |other: &NodeDef| matches!(&other.work, Work::Module(other) if other.id == *wanted);
            match by_module.get(wanted.as_str()) {
                None => {
                    if noted.insert((module.id.clone(), wanted.clone())) {
                        let message = format!("module `{}` depends on `{wanted}`, which no node of this pipeline runs", module.id);
                        reader.report(Diagnostic::note(message).at(place(reader, node.span)));
                    }
                }
                Some(_) if named.of(at).iter().any(|from| is_wanted(&nodes[*from as usize])) => {}
                Some((from, 1)) => reader.edges.push(Edge { from: *from, to: at, span: node.span }),
                Some((_, several)) => {
                    let first = nodes.iter().find(|other| is_wanted(other)).map_or("ID", |other| other.id.as_str());
                    let message = format!("module `{}` depends on `{wanted}`, which {several} nodes run", module.id);
                    let help = format!("name the one that `{}` waits for, such as `needs: [{}]`", node.id, first);
                    reader.report(Diagnostic::error(message).at(place(reader, node.span)).with_help(help));
                }
            }
        }
    }
    reader.nodes = nodes;
}

fn place(reader: &FileReader<'_, '_, '_>, span: Span) -> Place {
    Place { source: reader.tree.source().clone(), span }
}
