//! `prismq show`: a run with its nodes.

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Style};
use super::records::Records;
use super::summary::status_style;
use crate::host::runfile::RunFile;
use crate::host::views::{NodeRow, NodeStatus, printable};
use crate::ids::RunId;

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The run: id, a unique head or tail of it, `last`, `@~N`; with `/NODE` one of its nodes
    #[arg(default_value = "last", value_name = "RUN[/NODE]")]
    run: String,

    /// As JSON
    #[arg(long)]
    json: bool,

    /// List every node, however many
    #[arg(long)]
    all: bool,
}

/// Nodes listed where `--all` is not said.
const LISTED_MAX: usize = 200;

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let (selector, node) = split(&arguments.run);
    let mut records = Records::of(&context.workspace()?);
    let found = records.find(selector)?;
    records.warn(&found.unreadable, &context.output);
    let run = found.row.run_id;
    let file = records.file(&run)?;
    if let Some(path) = node {
        let row = file.nodes.iter().find(|row| row.node == path).ok_or_else(|| no_node(&run, path, &file))?;
        if arguments.json {
            context.output.json(row);
        } else {
            one_node(row, &context.output);
        }
        return Ok(Exit::Ok);
    }
    if arguments.json {
        context.output.json(&file);
    } else {
        head(&file, &context.output);
        nodes(&file, if arguments.all { usize::MAX } else { LISTED_MAX }, &context.output);
    }
    Ok(Exit::Ok)
}

/// `RUN/NODE` in its parts.
pub(super) fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((run, node)) => (run, Some(node)),
        None => (text, None),
    }
}

pub(super) fn no_node(run: &RunId, path: &str, file: &RunFile) -> Failure {
    let help = crate::diagnostics::suggest(path, file.nodes.iter().map(|row| row.node.as_str()));
    let mut failure = Failure::not_found(format!("run {run} has no node `{path}`"));
    failure.help = help;
    failure
}

fn head(file: &RunFile, output: &Output) {
    let row = &file.run;
    let status = if row.held { "held" } else { row.status.as_str() };
    output.line(format!("{}  {}  {}", row.run_id, output.styled(status, status_style(row.status)), row.name()));
    output.line(format!("  submitted  {}", row.created_at.local()));
    if let Some(started) = row.started_at {
        let took = row.duration_seconds.map(|seconds| format!(", took {seconds:.2} s")).unwrap_or_default();
        output.line(format!("  started    {}{took}", started.local()));
    }
    if let Some(left) = file.time_left_ms {
        output.line(format!("  left       about {left}, by what its modules took before"));
    }
    if let Some(earlier) = &row.retry_of {
        output.line(format!("  repeats    {earlier}"));
    }
    if row.held {
        output.line(format!("  {}", output.styled(&format!("its host is gone: `prismq resume {}` goes on", row.run_id), Style::Warn)));
    }
    if row.unkillable > 0 {
        let reason = row.reason.clone().unwrap_or_else(|| format!("{} of its nodes were killed and do not go", row.unkillable));
        output.line(format!("  {}", output.styled(&printable(&reason), Style::Bad)));
    }
    if row.mixed_code {
        output.line(format!("  {}", output.styled("a script changed while it ran (mixed code)", Style::Warn)));
    }
    if let Some(error) = &row.error_message {
        output.line(format!("  error      {}", output.styled(&printable(error), Style::Bad)));
    }
    if file.parameters.as_object().is_some_and(|map| !map.is_empty()) {
        output.line(format!("  parameters {}", printable(&file.parameters.to_string())));
    }
    if let Some(outputs) = &file.outputs {
        output.line(format!("  outputs    {}", printable(&outputs.to_string())));
    }
}

fn nodes(file: &RunFile, limit: usize, output: &Output) {
    let width = file.nodes.iter().take(limit).map(|row| row.node.chars().count()).max().unwrap_or(4).clamp(4, 48);
    output.line("");
    output.line(format!("{:<width$}  {:<10}  {:>8}  {:>9}  REASON", "NODE", "STATUS", "ATTEMPTS", "TOOK"));
    for row in file.nodes.iter().take(limit) {
        let took = row.duration_ms.map_or_else(|| "-".to_owned(), |took| took.to_string());
        let status = output.styled(&format!("{:<10}", status_word(row)), style(row));
        let reason = row.reason.as_deref().map(|reason| printable(reason).into_owned());
        let leaked = row.leaked.as_ref().map(|leaked| format!("left {leaked}"));
        let reason = [reason, leaked].into_iter().flatten().collect::<Vec<_>>().join("; ");
        output.line(format!("{:<width$}  {status}  {:>8}  {took:>9}  {reason}", row.node, row.attempts).trim_end());
    }
    if file.nodes.len() > limit {
        output.note(&format!("{limit} of {} nodes; --all shows the rest", file.nodes.len()));
    }
}

/// Its state, or the word for one that people have to do something about.
fn status_word(row: &NodeRow) -> &'static str {
    if row.unkillable { "unkillable" } else { row.status.as_str() }
}

fn style(row: &NodeRow) -> Style {
    match row.status {
        NodeStatus::Running if row.unkillable => Style::Bad,
        NodeStatus::Completed | NodeStatus::Reused => Style::Good,
        NodeStatus::Failed => Style::Bad,
        NodeStatus::Cancelled | NodeStatus::Retrying => Style::Warn,
        NodeStatus::Running => Style::Busy,
        NodeStatus::Waiting | NodeStatus::Queued | NodeStatus::Skipped => Style::Dim,
    }
}

fn one_node(row: &NodeRow, output: &Output) {
    output.line(format!("{}  {}", row.node, output.styled(status_word(row), style(row))));
    let fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            output.line(format!("  {name:<11} {}", printable(&value)));
        }
    };
    fact("module", row.module.clone());
    fact("pipeline", row.pipeline.clone());
    fact("reason", row.reason.clone());
    fact("attempts", (row.attempts > 0).then(|| row.attempts.to_string()));
    fact("exit code", row.exit_code.map(crate::event::exit_code_text));
    let signals = row.signals.iter().map(|signal| signal.as_str()).collect::<Vec<_>>().join(", ");
    let escalated = if row.escalated { " (it did not go within its grace)" } else { "" };
    fact("signals", (!signals.is_empty()).then(|| format!("{signals}{escalated}")));
    let pids = |pids: &[u32]| pids.iter().map(|pid| format!(" {pid}")).collect::<String>();
    fact(
        "left",
        row.leaked
            .as_ref()
            .map(|leaked| if leaked.pids.is_empty() { leaked.to_string() } else { format!("{leaked}:{}", pids(&leaked.pids)) }),
    );
    fact("started", row.started_at.map(crate::units::Timestamp::local));
    fact("ended", row.ended_at.map(crate::units::Timestamp::local));
    fact("took", row.duration_ms.map(|took| took.to_string()));
    let raised = |times: u32| match times {
        0 => String::new(),
        1 => " (raised once after it ran out)".to_owned(),
        times => format!(" (raised {times} times after it ran out)"),
    };
    fact("granted", row.granted_memory.map(|memory| format!("{memory} of memory{}", raised(row.raised))));
    fact("granted", row.granted_vram.map(|vram| format!("{vram} of VRAM{}", raised(row.raised_vram))));
    fact("any_of", row.alternative.map(|at| format!("alternative {at}")));
    fact("cpu time", row.cpu_ms.map(|cpu| cpu.to_string()));
    fact("peak memory", row.peak_memory.map(|peak| peak.to_string()));
    fact("peak vram", row.peak_vram.map(|peak| peak.to_string()));
    fact("memory", row.memory.map(|memory| format!("at most {}, held by {}", memory.limit, memory.guard.as_str())));
    fact("script", row.script_hash.clone());
    fact("isolation", row.isolation.map(|isolation| format!("{isolation:?}").to_lowercase()));
    fact("parameters", row.parameters.as_ref().map(|value| value.to_string()));
    fact("outputs", row.outputs.as_ref().map(|value| value.to_string()));
}
