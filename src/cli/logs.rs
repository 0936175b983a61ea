//! `prismq logs`: what a run's modules wrote.

mod follow;
mod print;

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::records::Records;
use super::show::{no_node, split};
use crate::host::clock;
use crate::host::runfile::RunFile;
use crate::host::views::{AttemptFolder, Line, LogReader, Needle, NodeRow, NodeStatus, Query, Stream};
use crate::host::workspace::Workspace;
use crate::ids::{AttemptNumber, RunId};
use crate::units::Timestamp;
use print::Printer;

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The run: id, a unique head or tail of it, `last`, `@~N`; with `/NODE` one of its nodes
    #[arg(default_value = "last", value_name = "RUN[/NODE]")]
    run: String,

    /// Go on with what comes, over retries and changes of the host, until the run ends
    #[arg(short, long, conflicts_with_all = ["lines", "attempt"])]
    follow: bool,

    /// Only the last lines of each node
    #[arg(long, value_name = "COUNT")]
    tail: Option<usize>,

    /// Only what came since then: 14:02 (the latest such time), a date, RFC 3339, or 10m for ten minutes ago
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Timestamp>,

    /// Only what was written to this stream
    #[arg(long, value_name = "STREAM", value_parser = parse_stream)]
    stream: Option<Stream>,

    /// The same as --stream stderr
    #[arg(long, conflicts_with = "stream")]
    stderr: bool,

    /// Only lines with these numbers: 120-180, 120-, -180 or 120
    #[arg(long, value_name = "FROM-TO", value_parser = parse_lines, allow_hyphen_values = true)]
    lines: Option<(u64, u64)>,

    /// Only lines in which this text is, with their numbers
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,

    /// Also where capitals differ
    #[arg(short, long, requires = "search")]
    ignore_case: bool,

    /// An earlier attempt than the last
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,

    /// With the time of each line
    #[arg(short, long)]
    timestamps: bool,

    /// With the number of each line
    #[arg(short, long)]
    numbers: bool,

    /// As it was written: control characters and all
    #[arg(long)]
    raw: bool,

    /// A JSON object for each line
    #[arg(long)]
    json: bool,
}

pub(super) fn parse_since(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_past(text, clock::wall()).map_err(|error| error.to_string())
}

fn parse_stream(text: &str) -> Result<Stream, String> {
    Stream::ALL.into_iter().find(|stream| stream.as_str() == text).ok_or_else(|| "write `stdout` or `stderr`".to_owned())
}

/// `120-180`, `120-`, `-180`, `120`.
fn parse_lines(text: &str) -> Result<(u64, u64), String> {
    let number = |text: &str| match text.trim().parse::<u64>() {
        Ok(0) => Err("lines are counted from 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("`{text}` is no number of a line: write `120-180`, `120-`, `-180` or `120`")),
    };
    let (first, last) = match text.split_once('-') {
        None => (number(text)?, number(text)?),
        Some(("", last)) => (1, number(last)?),
        Some((first, "")) => (number(first)?, u64::MAX),
        Some((first, last)) => (number(first)?, number(last)?),
    };
    if first > last { Err(format!("line {first} comes after line {last}")) } else { Ok((first, last)) }
}

impl Arguments {
    fn query(&self) -> Query {
        let stream = self.stream.or(self.stderr.then_some(Stream::Stderr));
        Query { tail: self.tail, stream, since: self.since, lines: self.lines, growing: false }
    }

    fn needle(&self) -> Result<Option<Needle>, Failure> {
        let Some(text) = &self.search else { return Ok(None) };
        let needle = Needle::new(text, self.ignore_case);
        needle.map(Some).ok_or_else(|| {
            Failure::usage("the text to search for is empty or has a line break in it")
                .with_help("give a part of one line: `--search error`")
        })
    }
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace()?;
    let needle = arguments.needle()?;
    let (selector, node) = split(&arguments.run);
    let mut records = Records::of(&workspace);
    let run = records.find(selector)?.row.run_id;
    let file = records.file(&run)?;
    let follows = arguments.follow && !file.run.status.is_terminal();
    let rows = chosen(&file, &run, node, follows)?;
    // A group or a sub-pipeline may yet become several.
    let printer = Printer::new(arguments, context, rows.len() > 1 || rows.iter().any(|row| is_container(row)));
    if follows {
        let wanted = follow::Wanted { node, query: arguments.query(), needle };
        return follow::follow(&run, &workspace, wanted, &rows, &printer);
    }
    let started: Vec<&NodeRow> = rows.into_iter().filter(|row| row.attempts > 0).collect();
    if let (Some(_), [first, second, ..]) = (arguments.lines, started.as_slice()) {
        return Err(Failure::usage(format!("lines are counted in each node, and run {run} has several"))
            .with_help(format!("name one of them: `{run}/{}`, `{run}/{}`", first.node, second.node)));
    }
    for row in started {
        print_node(row, &run, &workspace, (arguments, needle.as_ref()), &printer)?;
    }
    Ok(Exit::Ok)
}

/// The nodes that are meant, started or not. Instances and inner nodes that are not there yet may be followed.
fn chosen<'a>(file: &'a RunFile, run: &RunId, node: Option<&str>, follows: bool) -> Result<Vec<&'a NodeRow>, Failure> {
    let rows: Vec<&NodeRow> = file.nodes.iter().filter(|row| is_meant(&row.node, node)).collect();
    let may_come = |path: &str| follows && file.nodes.iter().any(|row| is_container(row) && is_meant(path, Some(&row.node)));
    match node {
        Some(path) if rows.is_empty() && !may_come(path) => Err(no_node(run, path, file)),
        Some(_) | None => Ok(rows),
    }
}

/// Whether a node may hold further ones.
fn is_container(row: &NodeRow) -> bool {
    row.instances.is_some() || row.pipeline.is_some()
}

/// Whether a node is the one that was named, an instance of it, or a node in it.
fn is_meant(path: &str, named: Option<&str>) -> bool {
    named.is_none_or(|named| path.strip_prefix(named).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.'])))
}

fn print_node(
    row: &NodeRow,
    run: &RunId,
    workspace: &Workspace,
    (arguments, needle): (&Arguments, Option<&Needle>),
    printer: &Printer<'_>,
) -> Result<(), Failure> {
    let attempt = AttemptNumber(arguments.attempt.unwrap_or(row.attempts));
    if attempt.0 > row.attempts {
        return Err(
            Failure::not_found(format!("{} of run {run} has no attempt {attempt}", row.node)).with_help(format!("it had {}", row.attempts))
        );
    }
    let folder = AttemptFolder::new(&workspace.run(run), &row.node, attempt);
    let reader = LogReader::open(folder.path());
    let query = Query { growing: row.status == NodeStatus::Running && attempt.0 == row.attempts, ..arguments.query() };
    let lines: Box<dyn Iterator<Item = std::io::Result<Line>>> = match needle {
        Some(needle) => Box::new(reader.search(needle.clone(), query).map_err(|error| unreadable(&row.node, &error))?),
        None => Box::new(reader.lines(query).map_err(|error| unreadable(&row.node, &error))?),
    };
    for line in lines {
        printer.line(&row.node, attempt, &line.map_err(|error| unreadable(&row.node, &error))?);
    }
    Ok(())
}

fn unreadable(node: &str, error: &std::io::Error) -> Failure {
    Failure::ours(format!("the log of {node} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_lines() {
        for (text, range) in [("120-180", (120, 180)), ("120-", (120, u64::MAX)), ("-180", (1, 180)), ("7", (7, 7)), ("7-7", (7, 7))] {
            assert_eq!(parse_lines(text), Ok(range), "{text}");
        }
        for bad in ["", "-", "0-3", "5-4", "a-b", "1-2-3", "1..3"] {
            assert!(parse_lines(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_named_node_means_its_instances_and_inner_nodes() {
        for meant in ["clips", "clips[2]", "clips.cut", "clips[2].cut"] {
            assert!(is_meant(meant, Some("clips")) && is_meant(meant, None), "{meant}");
        }
        assert!(!is_meant("clips2", Some("clips")) && !is_meant("clip", Some("clips")));
    }
}
