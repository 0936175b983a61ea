//! `prismq why`: what keeps nodes from running.

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Style};
use super::records::Records;
use super::session::Session;
use super::show::{no_node, split};
use crate::host::index::RunRow;
use crate::host::runfile::RunFile;
use crate::host::views::{NodeRow, printable};
use crate::host::why::{NodeWhy, WhyAsked, WhyView, nothing};
use crate::host::workspace::Workspace;
use crate::ids::RunId;

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The run: id, a unique head or tail of it, `last`, `@~N`; with `/NODE` one of its nodes
    #[arg(default_value = "last", value_name = "RUN[/NODE]")]
    run: String,

    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace()?;
    let (selector, node) = split(&arguments.run);
    let mut records = Records::of(&workspace);
    let found = records.find(selector)?;
    records.warn(&found.unreadable, &context.output);
    let RunRow { run_id: run, status, .. } = found.row;
    let client = if status.is_terminal() { None } else { Session::attach(&workspace)? };
    let view = match client {
        Some(client) => client.why(&WhyAsked { run: Some(run.clone()), node: node.map(str::to_owned), ready: false })?,
        None => without_host(&records.file(&run)?, &run, node)?,
    };
    if arguments.json {
        context.output.json(&view);
    } else {
        print(&view, false, &context.output);
        if view.nodes.is_empty() {
            context.output.line(format!("nothing waits in run {run}: it is {}", status.as_str()));
        }
    }
    Ok(Exit::Ok)
}

/// `prismq queue`: the same for all nodes that wait for room.
pub(super) fn queue(json: bool, workspace: &Workspace, output: &Output) -> Result<Exit, Failure> {
    let asked = WhyAsked { run: None, node: None, ready: true };
    let view = Session::attach(workspace)?.map(|client| client.why(&asked)).transpose()?.unwrap_or_default();
    if json {
        output.json(&view);
    } else if view.nodes.is_empty() {
        output.line("nothing waits");
    } else {
        print(&view, true, output);
    }
    Ok(Exit::Ok)
}

/// Of a run that has ended, or whose host is gone: what is written down.
fn without_host(file: &RunFile, run: &RunId, node: Option<&str>) -> Result<WhyView, Failure> {
    let held = file.run.held;
    let told = |row: &NodeRow| {
        let reason = if held && !row.status.is_terminal() {
            "its host is gone: `prismq resume` goes on".to_owned()
        } else {
            row.reason.clone().unwrap_or_else(|| nothing(row.status).to_owned())
        };
        let (node, status) = (row.node.clone(), row.status.as_str().to_owned());
        NodeWhy { run_id: run.to_string(), node, status, blockers: Vec::new(), reasons: vec![reason] }
    };
    let nodes: Vec<NodeWhy> = match node {
        Some(path) => vec![told(file.nodes.iter().find(|row| row.node == path).ok_or_else(|| no_node(run, path, file))?)],
        None => file.nodes.iter().filter(|row| !row.status.is_terminal()).map(told).collect(),
    };
    Ok(WhyView { count: nodes.len(), running: 0, nodes })
}

fn print(view: &WhyView, with_run: bool, output: &Output) {
    for node in &view.nodes {
        let path = if with_run { format!("{}/{}", node.run_id, node.node) } else { node.node.clone() };
        output.line(format!("{}  {}", printable(&path), output.styled(&node.status, Style::Dim)));
        for reason in &node.reasons {
            output.line(format!("  {}", printable(reason)));
        }
    }
    if view.count > view.nodes.len() {
        output.note(&format!("{} of {} nodes", view.nodes.len(), view.count));
    }
}
