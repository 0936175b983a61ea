//! `prismq plan`: what a pipeline would do.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Serialize;

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::forecast::{self, ForecastView, Machine};
use super::output::Style;
use super::validate::{definition_of, workspace_of};
use crate::host::forecast::{Ask, Forecast, learned};
use crate::host::views::analysis::{self, Sizes};
use crate::host::views::{Definition, Expansion, NodeDef, ReuseForecast, Work, reuse_forecast};
use crate::units::DurationMs;

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The pipeline file (.yaml, .yml, .json)
    pipeline: PathBuf,

    #[command(flatten)]
    machine: Machine,

    /// Also draw the timeline into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// List every node, however many
    #[arg(long)]
    all: bool,

    /// As JSON, every node in order
    #[arg(long)]
    json: bool,
}

/// Nodes listed where `--all` is not said.
pub(super) const LISTED_MAX: usize = 100;

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = workspace_of(&arguments.pipeline, context)?;
    let definition = definition_of(&workspace, &arguments.pipeline, context)?;
    let capacity = arguments.machine.capacity(&workspace)?;
    let found = crate::host::forecast::forecast(&definition, capacity, &learned(&workspace), &Ask::default());
    if let Some(file) = &arguments.svg {
        forecast::draw(&found, &definition.name, file)?;
    }
    let reuse = reuse_forecast(&workspace, &definition, serde_json::Map::new());
    print(&definition, Some(&found), &reuse, context, arguments.json, if arguments.all { usize::MAX } else { LISTED_MAX });
    // The graph of a million nodes is given back by the end of the process, and faster.
    std::mem::forget(definition);
    Ok(if found.never_fits.is_empty() { Exit::Ok } else { Exit::NeverFits })
}

#[derive(Serialize)]
struct PlanView<'a> {
    name: &'a str,
    totals: analysis::Totals,
    waves: u32,
    critical_path: Vec<&'a str>,
    #[serde(flatten)]
    forecast: Option<ForecastView<'a>>,
    nodes: Vec<NodeView<'a>>,
}

#[derive(Serialize)]
struct NodeView<'a> {
    node: &'a str,
    wave: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pipeline: Option<&'a str>,
    needs: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expansion: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reuse: Option<String>,
}

/// Prints a plan, with times where somebody looked ahead; without, every node counts as one.
pub(super) fn print(
    definition: &Definition,
    forecast: Option<&Forecast>,
    reuse: &[(u32, ReuseForecast)],
    context: &Context,
    json: bool,
    limit: usize,
) {
    let levels = analysis::levels(&definition.graph);
    let waves = levels.iter().copied().max().map_or(0, |deepest| deepest + 1);
    let path: Vec<&str> = match forecast {
        Some(found) => forecast::own_nodes(&found.critical_path),
        None => {
            let (path, _) = analysis::critical_path(definition, &|_: &NodeDef| DurationMs(1));
            path.into_iter().map(|node| id(definition, node)).collect()
        }
    };
    let reuse: HashMap<u32, &ReuseForecast> = reuse.iter().map(|(at, forecast)| (*at, forecast)).collect();
    let totals = Sizes::default().of(definition).unwrap_or_default();
    let mut order = definition.graph.order.clone();
    order.sort_by_key(|node| levels.get(*node as usize).copied().unwrap_or(0));
    if json {
        let nodes = order.iter().map(|node| NodeView { reuse: reuse_text(&reuse, *node), ..view(definition, *node, &levels) }).collect();
        let forecast = forecast.map(ForecastView::of);
        return context.output.json(&PlanView { name: &definition.name, totals, waves, critical_path: path, forecast, nodes });
    }
    let output = &context.output;
    let at_least = if totals.open { " or more" } else { "" };
    output.line(format!(
        "{}: {} nodes{at_least}, {} edges, {waves} waves",
        output.styled(&definition.name, Style::Bold),
        totals.nodes,
        totals.edges
    ));
    output.line(format!("critical path: {}", shortened(&path)));
    if let Some(found) = forecast {
        forecast::summary(found, context);
    }
    let mut wave = None;
    for node in order.iter().take(limit) {
        let level = levels.get(*node as usize).copied();
        if level != wave {
            wave = level;
            output.line(output.styled(&format!("wave {}", level.unwrap_or(0) + 1), Style::Dim));
        }
        output.line(node_line(definition, *node));
        if let Some(text) = reuse_text(&reuse, *node) {
            output.line(output.styled(&format!("      {text}"), Style::Dim));
        }
    }
    if order.len() > limit {
        output.line(format!("... and {} more (--all lists them)", order.len() - limit));
    }
    if let Some(found) = forecast {
        forecast::timeline(found, context, limit);
    }
}

fn id(definition: &Definition, node: u32) -> &str {
    definition.nodes.get(node as usize).map_or("?", |def| def.id.as_str())
}

fn node_line(definition: &Definition, node: u32) -> String {
    let Some(def) = definition.nodes.get(node as usize) else { return String::new() };
    let what = match &def.work {
        Work::Module(module) => module.id.to_string(),
        Work::Pipeline(called) => format!("pipeline {}", called.name),
    };
    let needs: Vec<&str> = definition.graph.dependencies.of(node).iter().map(|before| id(definition, *before)).collect();
    let mut line = format!("  {}  {what}", def.id);
    if let Some(times) = expansion(def) {
        line.push_str(&format!("  x {times}"));
    }
    if def.control.as_ref().is_some_and(|control| control.when.is_some()) {
        line.push_str("  (when)");
    }
    if !needs.is_empty() {
        line.push_str(&format!("  <- {}", needs.join(", ")));
    }
    line
}

fn expansion(def: &NodeDef) -> Option<String> {
    match def.control.as_ref()?.expansion.as_ref()? {
        Expansion::Matrix(matrix) => matrix.count().map(|count| count.to_string()),
        Expansion::ForEach(list) => Some(list.known_length().map_or_else(|| list.text().to_owned(), |count| count.to_string())),
    }
}

fn view<'a>(definition: &'a Definition, node: u32, levels: &[u32]) -> NodeView<'a> {
    let def = &definition.nodes[node as usize];
    let (module, pipeline) = match &def.work {
        Work::Module(module) => (Some(module.id.as_str()), None),
        Work::Pipeline(called) => (None, Some(called.name.as_str())),
    };
    NodeView {
        node: def.id.as_str(),
        wave: levels.get(node as usize).copied().unwrap_or(0) + 1,
        module,
        pipeline,
        needs: definition.graph.dependencies.of(node).iter().map(|before| id(definition, *before)).collect(),
        expansion: expansion(def),
        reuse: None,
    }
}

/// Whether an earlier result would be taken for a node that says `reuse: inputs`, in words.
fn reuse_text(reuse: &HashMap<u32, &ReuseForecast>, node: u32) -> Option<String> {
    reuse.get(&node).map(|forecast| match forecast {
        ReuseForecast::Reused { from } => format!("would be reused from run {from}"),
        ReuseForecast::NotReused { why } => format!("would run: {why}"),
        ReuseForecast::Later => "may be reused: decided when it is ready".to_owned(),
    })
}

/// Names of a path, the middle left out where it is long.
fn shortened(path: &[&str]) -> String {
    const SHOWN_MAX: usize = 12;
    if path.len() <= SHOWN_MAX {
        return path.join(" -> ");
    }
    let (head, tail) = (&path[..SHOWN_MAX / 2], &path[path.len() - SHOWN_MAX / 2..]);
    format!("{} -> ... ({} nodes) ... -> {}", head.join(" -> "), path.len(), tail.join(" -> "))
}
