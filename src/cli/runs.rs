//! `prismq runs`: the list of runs.

use clap::ValueEnum;

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Style};
use super::records::Records;
use super::summary::status_style;
use crate::event::RunStatus;
use crate::host::index::RunRow;
use crate::host::look::RunsAsked;
use crate::units::DurationMs;

/// Arguments of `runs`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only runs in this state
    #[arg(long, value_name = "STATUS")]
    status: Option<StatusFilter>,

    /// Only runs of this module or pipeline
    #[arg(long, value_name = "NAME")]
    of: Option<String>,

    /// At most so many, the newest
    #[arg(short = 'n', long, default_value_t = 20, value_name = "COUNT")]
    limit: usize,

    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StatusFilter {
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl StatusFilter {
    fn status(self) -> RunStatus {
        match self {
            Self::Queued => RunStatus::Queued,
            Self::Running => RunStatus::Running,
            Self::Completed => RunStatus::Completed,
            Self::Failed => RunStatus::Failed,
            Self::Cancelled => RunStatus::Cancelled,
        }
    }
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let mut records = Records::of(&context.workspace()?);
    let status = arguments.status.map(StatusFilter::status);
    let seen = records.runs(&RunsAsked { status, of: arguments.of.clone(), held: false, limit: arguments.limit })?;
    records.warn(&seen.unreadable, &context.output);
    let rows = seen.rows;
    if arguments.json {
        context.output.json(&rows);
    } else if rows.is_empty() {
        context.output.note("no runs yet: start one by `prismq run`");
    } else {
        table(&rows, &context.output);
        if seen.count > rows.len() && rows.len() == arguments.limit {
            context.output.note(&format!("{} of {} runs; -n shows more", rows.len(), seen.count));
        }
    }
    Ok(Exit::Ok)
}

fn table(rows: &[RunRow], output: &Output) {
    let width = rows.iter().map(|row| row.name().chars().count()).max().unwrap_or(4).clamp(4, 40);
    output.line(format!("{:<21}  {:<10}  {:<width$}  {:>19}  {:>9}  {:>6}", "RUN", "STATUS", "NAME", "SUBMITTED", "TOOK", "NODES"));
    for row in rows {
        let (shown, style) = match row.status {
            _ if row.unkillable > 0 => ("unkillable", Style::Bad),
            status if row.held => ("held", status_style(status)),
            status => (status.as_str(), status_style(status)),
        };
        let took = row.duration_seconds.map_or_else(|| "-".to_owned(), seconds_text);
        let name: String = row.name().chars().take(width).collect();
        let status = output.styled(&format!("{shown:<10}"), style);
        let line = format!("{:<21}  {status}  {name:<width$}  {:>19}  {took:>9}  {:>6}", row.run_id, row.created_at.local(), row.total());
        output.line(line);
    }
}

fn seconds_text(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a duration for people; negative ones do not occur")]
    DurationMs((seconds * 1000.0) as u64).to_string()
}
