//! How a run ended, in a few lines.

use serde_json::Value;

use super::Context;
use super::output::Style;
use super::progress::Show;
use crate::event::RunStatus;
use crate::host::index::RunRow;
use crate::host::runfile::RunFile;
use crate::host::views::printable;
use crate::host::workspace::Workspace;

/// Failed nodes that are named at the end.
const FAILED_SHOWN_MAX: usize = 10;
/// Nodes that left processes and are named at the end.
const LEAKS_SHOWN_MAX: usize = 5;
/// Longest value of an output that is shown whole.
const VALUE_SHOWN_MAX: usize = 200;

pub(super) fn print(row: &RunRow, workspace: &Workspace, context: &Context, show: Show, json: bool) {
    let file = RunFile::read(workspace, &row.run_id).ok().flatten();
    if json {
        match &file {
            Some(file) => context.output.json(file),
            None => context.output.json(row),
        }
        return;
    }
    if show == Show::Output {
        single(row, context);
        return;
    }
    let output = &context.output;
    let style = status_style(row.status);
    let counts: Vec<String> = row.nodes.iter().map(|(status, count)| format!("{count} {status}")).collect();
    let took = row.duration_seconds.map(|seconds| format!(" in {seconds:.2} s")).unwrap_or_default();
    output.line(format!("run {} {}{took}: {}", row.run_id, output.styled(row.status.as_str(), style), counts.join(", ")));
    if let Some(file) = &file {
        outputs(file, context);
        failures(file, context);
        leaks(file, context);
    }
    if row.status == RunStatus::Failed {
        output.line(format!("  see    prismq logs {}/NODE, prismq show {}", row.run_id, row.run_id));
        output.line(format!("  again  prismq retry {}", row.run_id));
    }
}

/// A single module's own output was shown; only its failure needs words.
fn single(row: &RunRow, context: &Context) {
    if row.status != RunStatus::Completed {
        let reason = row.error_message.as_deref().map(|reason| format!(": {}", printable(reason))).unwrap_or_default();
        context.output.note(&format!("run {} {}{reason}", row.run_id, row.status.as_str()));
    }
}

fn outputs(file: &RunFile, context: &Context) {
    let Some(Value::Object(outputs)) = file.outputs.as_deref() else { return };
    for (name, value) in outputs {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
        };
        let shown: String = text.chars().take(VALUE_SHOWN_MAX).collect();
        let more = if shown.len() < text.len() { "..." } else { "" };
        context.output.line(format!("  {name}: {}{more}", printable(&shown)));
    }
}

fn failures(file: &RunFile, context: &Context) {
    // What failed only because something inside it failed is named by that.
    let failed: Vec<_> = file.nodes.iter().filter(|node| node.status.as_str() == "failed" && node.module.is_some()).collect();
    // A run that completed in spite of them was told to bear them.
    let (word, style) = if file.run.status == RunStatus::Completed { ("tolerated", Style::Warn) } else { ("failed", Style::Bad) };
    for node in failed.iter().take(FAILED_SHOWN_MAX) {
        let reason = node.reason.as_deref().unwrap_or("failed");
        context.output.line(format!("  {} {}: {}", context.output.styled(word, style), node.node, printable(reason)));
    }
    if let Some(more) = failed.len().checked_sub(FAILED_SHOWN_MAX).filter(|more| *more > 0) {
        context.output.line(format!("  and {more} more"));
    }
}

/// What modules left behind: somebody may want to know, even of nodes that went well.
fn leaks(file: &RunFile, context: &Context) {
    let left: Vec<_> = file.nodes.iter().filter_map(|node| node.leaked.as_ref().map(|leaked| (node, leaked))).collect();
    for (node, leaked) in left.iter().take(LEAKS_SHOWN_MAX) {
        context.output.line(format!("  {} {} left {leaked}", context.output.styled("note", Style::Warn), node.node));
    }
    if let Some(more) = left.len().checked_sub(LEAKS_SHOWN_MAX).filter(|more| *more > 0) {
        context.output.line(format!("  and {more} more that left processes"));
    }
}

/// The colour of a run's status.
pub(super) fn status_style(status: RunStatus) -> Style {
    match status {
        RunStatus::Queued => Style::Dim,
        RunStatus::Running => Style::Busy,
        RunStatus::Completed => Style::Good,
        RunStatus::Failed => Style::Bad,
        RunStatus::Cancelled => Style::Warn,
    }
}
