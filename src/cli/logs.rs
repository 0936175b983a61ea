//! `prismq logs`: what a run's modules wrote.

use serde::Serialize;

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::output::Style;
use super::show::{no_node, read, select, split};
use crate::host::views::{AttemptFolder, Line, LogReader, NodeRow, Query, Stream, printable};
use crate::host::workspace::Workspace;
use crate::ids::{AttemptNumber, RunId};

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The run: id, a unique head or tail of it, `last`, `@~N`; with `/NODE` one of its nodes
    #[arg(default_value = "last", value_name = "RUN[/NODE]")]
    run: String,

    /// Only the last lines of each node
    #[arg(long, value_name = "COUNT")]
    tail: Option<usize>,

    /// Only what was written to standard error
    #[arg(long)]
    stderr: bool,

    /// An earlier attempt than the last
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,

    /// With the time of each line
    #[arg(short, long)]
    timestamps: bool,

    /// As it was written: control characters and all
    #[arg(long)]
    raw: bool,

    /// A JSON object for each line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct JsonLine<'a> {
    timestamp: crate::units::Timestamp,
    node: &'a str,
    stream: &'static str,
    message: &'a str,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace()?;
    let (selector, node) = split(&arguments.run);
    let (snapshot, run) = select(&workspace, selector)?;
    let file = read(&snapshot, &run)?;
    let started: Vec<&NodeRow> = match node {
        Some(path) => {
            let inner = |row: &&NodeRow| row.node == path || is_inside(&row.node, path);
            let rows: Vec<&NodeRow> = file.nodes.iter().filter(inner).collect();
            if rows.is_empty() {
                return Err(no_node(&run, path, &file));
            }
            rows
        }
        None => file.nodes.iter().collect(),
    };
    let started: Vec<&NodeRow> = started.into_iter().filter(|row| row.attempts > 0).collect();
    let prefixed = started.len() > 1;
    for row in started {
        print(row, prefixed, &run, &workspace, arguments, context)?;
    }
    Ok(Exit::Ok)
}

/// Whether `path` is an instance or an inner node of `outer`.
fn is_inside(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.starts_with(['[', '.']))
}

fn print(
    row: &NodeRow,
    prefixed: bool,
    run: &RunId,
    workspace: &Workspace,
    arguments: &Arguments,
    context: &Context,
) -> Result<(), Failure> {
    let attempt = AttemptNumber(arguments.attempt.unwrap_or(row.attempts));
    let folder = AttemptFolder::new(&workspace.run(run), &row.node, attempt);
    let query = Query { tail: arguments.tail, stream: arguments.stderr.then_some(Stream::Stderr), ..Query::default() };
    let failed = |error: std::io::Error| Failure::ours(format!("the log of {} cannot be read: {error}", row.node));
    for line in LogReader::open(folder.path()).lines(query).map_err(failed)? {
        line_out(&line.map_err(failed)?, &row.node, prefixed, arguments, context);
    }
    Ok(())
}

fn line_out(line: &Line, node: &str, prefixed: bool, arguments: &Arguments, context: &Context) {
    let output = &context.output;
    if arguments.json {
        let stream = match line.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        return output.json_line(&JsonLine { timestamp: line.at, node, stream, message: &line.text });
    }
    let mut text = String::new();
    if arguments.timestamps {
        text.push_str(&output.styled(&format!("{} ", line.at.local()), Style::Dim));
    }
    if prefixed {
        text.push_str(&output.styled(&format!("{node} | "), Style::Dim));
    }
    if arguments.raw {
        text.push_str(&line.text);
    } else {
        text.push_str(&printable(&line.text));
    }
    output.line(text);
}
