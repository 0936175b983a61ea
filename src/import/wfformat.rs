//! WfFormat, the JSON in which the WfCommons project publishes executions of real workflows: versions 1.5, and 1.4 and older, which kept
//! graph and execution in one list.
//!
//! Of each task its name, what comes before it, how long it ran, and where asked for its cores and memory. What a file says of its files,
//! programs and machines is passed over.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::ids::NodeId;
use crate::pipeline::definition::{Graph, NODES_MAX};
use crate::pipeline::graph::Edge;
use crate::tree::{Kind, NodeRef, Tree};
use crate::units::{Bytes, CpuMillis, DurationMs};

use super::decimal::Decimal;
use super::name::node_ids;

/// Id of the module that the nodes run.
pub const MODULE: &str = "wfformat-sleep";

/// What to take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Every run time times this.
    pub scale: Decimal,
    /// Cores as measured; else one a node.
    pub cores: bool,
    /// Memory as measured; else none.
    pub memory: bool,
}

/// A workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workflow {
    /// Its name.
    pub name: Option<String>,
    /// Its tasks in the order of the file.
    pub tasks: Vec<Task>,
    /// How many of them have no run time, which counts as none at all.
    pub timeless: usize,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its name as an id.
    pub id: NodeId,
    /// Positions of those that come before it, ascending.
    pub needs: Vec<u32>,
    /// Its run time, scaled.
    pub duration: DurationMs,
    /// Its cores, where asked for and known.
    pub cpus: Option<CpuMillis>,
    /// Its memory, where asked for and known.
    pub memory: Option<Bytes>,
}

/// Reads a workflow.
///
/// # Errors
/// All mistakes, each with its place.
pub fn read(tree: &Tree, options: &Options) -> Result<(Workflow, Diagnostics), Diagnostics> {
    let mut diagnostics = Diagnostics::new();
    let found = Reader { options, diagnostics: &mut diagnostics }.workflow(tree.root());
    match found {
        Some(workflow) => diagnostics.into_result(workflow),
        None => Err(diagnostics),
    }
}

/// The pipeline's text: JSON, a node a line.
#[must_use]
pub fn pipeline_text(workflow: &Workflow, fallback_name: &str) -> String {
    let name = workflow.name.as_deref().unwrap_or(fallback_name);
    let mut text = format!("{{\n\"name\": {},\n\"nodes\": {{\n", Value::from(name));
    for (at, task) in workflow.tasks.iter().enumerate() {
        let ending = if at + 1 == workflow.tasks.len() { "\n" } else { ",\n" };
        text.push_str(&format!("\"{}\": {}{ending}", task.id, node(workflow, task)));
    }
    text.push_str("}\n}\n");
    text
}

fn node(workflow: &Workflow, task: &Task) -> Value {
    let millis = task.duration.0;
    // A number with three decimals, which serde would write as a float of its own.
    let seconds: Value = serde_json::from_str(&format!("{}.{:03}", millis / 1000, millis % 1000)).unwrap_or(Value::Null);
    let mut node = Map::new();
    node.insert("module".into(), MODULE.into());
    node.insert("with".into(), json!({ "seconds": seconds }));
    if !task.needs.is_empty() {
        let ids = task.needs.iter().map(|before| Value::from(workflow.tasks[*before as usize].id.as_str()));
        node.insert("needs".into(), ids.collect());
    }
    node.insert("duration".into(), format!("{millis}ms").into());
    let mut resources = Map::new();
    resources.extend(task.cpus.map(|cpus| ("cpus".to_owned(), format!("{}m", cpus.0).into())));
    resources.extend(task.memory.map(|memory| ("memory".to_owned(), memory.0.into())));
    if !resources.is_empty() {
        node.insert("resources".into(), resources.into());
    }
    node.into()
}

/// A task as it stands in the file.
struct Raw<'t> {
    name: &'t str,
    task: NodeRef<'t>,
    /// Where its measurements stand: in 1.5 a list of its own.
    execution: Option<NodeRef<'t>>,
}

struct Reader<'a> {
    options: &'a Options,
    diagnostics: &'a mut Diagnostics,
}

impl Reader<'_> {
    fn error(&mut self, message: impl Into<String>, at: NodeRef<'_>) {
        self.diagnostics.push(Diagnostic::error(message).at(at.place()));
    }

    fn workflow(&mut self, root: NodeRef<'_>) -> Option<Workflow> {
        let help = "WfFormat is the JSON of WfCommons: `workflow` with `specification` and `execution`, or in older versions with `tasks`";
        let Some(workflow) = root.get("workflow").filter(|workflow| workflow.kind() == Kind::Map) else {
            self.diagnostics.push(Diagnostic::error("this is no WfFormat file: it has no `workflow`").at(root.place()).with_help(help));
            return None;
        };
        let part = |name: &str| workflow.get(name).and_then(|part| part.get("tasks"));
        let inline = workflow.get("tasks").or_else(|| workflow.get("jobs"));
        let Some(list) = part("specification").or(inline) else {
            self.diagnostics.push(Diagnostic::error("the workflow has no tasks").at(workflow.place()).with_help(help));
            return None;
        };
        let raw = self.tasks(list, part("execution"))?;
        let names: Vec<&str> = raw.iter().map(|task| task.name).collect();
        let needs = self.needs(&raw)?;
        let mut timeless = 0;
        let measured: Vec<_> = raw.iter().map(|task| self.measured(task, &mut timeless)).collect();
        let tasks = node_ids(&names).into_iter().zip(needs).zip(measured);
        let tasks = tasks.map(|((id, needs), (duration, cpus, memory))| Task { id, needs, duration, cpus, memory }).collect();
        let name = root.get("name").and_then(NodeRef::as_str).filter(|name| !name.trim().is_empty());
        Some(Workflow { name: name.map(str::to_owned), tasks, timeless })
    }

    fn tasks<'t>(&mut self, list: NodeRef<'t>, executions: Option<NodeRef<'t>>) -> Option<Vec<Raw<'t>>> {
        if list.kind() != Kind::List {
            self.error(format!("`tasks` must be a list, not {}", list.kind().described()), list);
            return None;
        }
        let mut measured = BTreeMap::new();
        if let Some(executions) = executions {
            for execution in executions.items() {
                match name_of(execution) {
                    Some(name) => drop(measured.insert(name, execution)),
                    None => self.error("an executed task needs an `id`", execution),
                }
            }
        }
        let mut seen: BTreeMap<&str, NodeRef<'t>> = BTreeMap::new();
        let mut raw = Vec::with_capacity(list.len());
        for task in list.items() {
            let Some(name) = name_of(task) else {
                self.error("a task needs an `id`", task);
                continue;
            };
            if let Some(first) = seen.insert(name, task) {
                let refusal = Diagnostic::error(format!("there are two tasks `{name}`")).at(place_of(task));
                self.diagnostics.push(refusal.with_related("the other one", place_of(first)));
                continue;
            }
            let execution = if executions.is_some() { measured.get(name).copied() } else { Some(task) };
            raw.push(Raw { name, task, execution });
        }
        if raw.is_empty() && !self.diagnostics.has_errors() {
            self.error("the workflow has no tasks", list);
        }
        if raw.len() as u64 > NODES_MAX {
            self.error(format!("the workflow has {} tasks, and a run has at most {NODES_MAX} nodes", raw.len()), list);
        }
        (!self.diagnostics.has_errors()).then_some(raw)
    }

    /// For each task the positions of those before it. Files say it from both ends, and either counts.
    fn needs(&mut self, raw: &[Raw<'_>]) -> Option<Vec<Vec<u32>>> {
        let positions = (0_u32..).zip(raw);
        let mut known: BTreeMap<&str, u32> = BTreeMap::new();
        // Older files name the tasks before one by their names, where they have an id beside it.
        known.extend(positions.clone().filter_map(|(at, task)| Some((task.task.get("name")?.as_str()?, at))));
        known.extend(positions.clone().map(|(at, task)| (task.name, at)));
        let mut edges = Vec::new();
        for (at, task) in positions {
            for (key, before) in [("parents", true), ("children", false)] {
                for other in self.names(task.task, key) {
                    let Some(found) = other.as_str().and_then(|name| known.get(name).copied()) else {
                        let message = format!("`{key}` of task `{}` names no task of the workflow", task.name);
                        self.diagnostics.push(Diagnostic::warning(message).at(other.place()).with_help("it is left out"));
                        continue;
                    };
                    let (from, to) = if before { (found, at) } else { (at, found) };
                    edges.push(Edge { from, to, span: other.span() });
                }
            }
        }
        let count = u32::try_from(raw.len()).unwrap_or(u32::MAX);
        match Graph::build(count, &edges) {
            Ok(graph) => Some((0..count).map(|at| graph.dependencies.of(at).to_vec()).collect()),
            Err(stuck) => {
                let circle = circle(&stuck.left, |at| stuck.dependencies.of(at));
                let names: Vec<&str> = circle.iter().rev().map(|at| raw[*at as usize].name).collect();
                if let Some(first) = circle.last() {
                    let at = place_of(raw[*first as usize].task);
                    let message = format!("these tasks wait for each other: {}", names.join(" -> "));
                    self.diagnostics.push(Diagnostic::error(message).at(at));
                }
                None
            }
        }
    }

    fn names<'t>(&mut self, task: NodeRef<'t>, key: &str) -> Vec<NodeRef<'t>> {
        match task.get(key) {
            None => Vec::new(),
            Some(list) if list.kind() == Kind::List => list.items().collect(),
            Some(list) if list.kind() == Kind::Null => Vec::new(),
            Some(other) => {
                self.error(format!("`{key}` must be a list of tasks, not {}", other.kind().described()), other);
                Vec::new()
            }
        }
    }

    fn measured(&mut self, raw: &Raw<'_>, timeless: &mut usize) -> (DurationMs, Option<CpuMillis>, Option<Bytes>) {
        let scale = self.options.scale;
        let runtime = self.number(raw, &[("runtimeInSeconds", -3), ("runtime", -3)], scale);
        *timeless += usize::from(runtime.is_none());
        let cores = if self.options.cores { self.number(raw, &[("coreCount", -3), ("cores", -3)], Decimal::ONE) } else { None };
        let memory = if self.options.memory {
            let bytes = self.number(raw, &[("memoryInBytes", 0)], Decimal::ONE);
            // Before 1.4 it was `memory`, in KiB.
            bytes.or_else(|| self.number(raw, &[("memory", 0)], Decimal::ONE).map(|kib| kib.saturating_mul(1024)))
        } else {
            None
        };
        let positive = |number: &u64| *number > 0;
        (DurationMs(runtime.unwrap_or(0)), cores.filter(positive).map(CpuMillis), memory.filter(positive).map(Bytes))
    }

    /// The first of some numbers that is there, in units of a power of ten.
    fn number(&mut self, raw: &Raw<'_>, keys: &[(&str, i32)], scale: Decimal) -> Option<u64> {
        let execution = raw.execution?;
        let (key, unit, node) = keys.iter().find_map(|(key, unit)| Some((key, unit, execution.get(key)?)))?;
        if node.kind() == Kind::Null {
            return None;
        }
        let text = if node.kind() == Kind::Number { node.scalar_text() } else { None };
        let value = text.and_then(Decimal::parse).and_then(|value| value.times(scale, *unit));
        if value.is_none() {
            let found = text.map_or_else(|| node.kind().described().to_owned(), |text| format!("`{text}`"));
            self.error(format!("`{key}` of task `{}` must be a number from 0 on, not {found}", raw.name), node);
        }
        value
    }
}

/// What a task is called: its id, or in older files its name.
fn name_of(task: NodeRef<'_>) -> Option<&str> {
    let text = |key: &str| task.get(key).and_then(NodeRef::as_str).filter(|name| !name.is_empty());
    if task.kind() == Kind::Map { text("id").or_else(|| text("name")) } else { None }
}

/// Where a task's name stands.
fn place_of(task: NodeRef<'_>) -> crate::diagnostics::Place {
    task.get("id").or_else(|| task.get("name")).unwrap_or(task).place()
}

/// A circle among what could not be ordered, its first node once more at the end. Each node that is left waits for another one.
fn circle<'d>(left: &[bool], before: impl Fn(u32) -> &'d [u32]) -> Vec<u32> {
    let mut at = (0_u32..).zip(left).find(|(_, left)| **left).map(|(at, _)| at);
    let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
    let mut path = Vec::new();
    while let Some(node) = at {
        let first = seen.insert(node, path.len());
        path.push(node);
        if let Some(first) = first {
            return path.split_off(first);
        }
        at = before(node).iter().copied().find(|other| left[*other as usize]);
    }
    path
}

#[cfg(test)]
mod tests;
