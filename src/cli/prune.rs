//! `prismq prune`: finished runs go, the oldest first.

use std::collections::BTreeMap;

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::output::Output;
use super::records::Records;
use super::session::Session;
use super::summary::status_style;
use crate::host::catalog;
use crate::host::prune::{Keep, Report};
use crate::host::workspace::Workspace;
use crate::units::{Bytes, Timestamp};

/// Arguments of `prune`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Keep what ended within so many days; 0 keeps no finished run
    #[arg(long, value_name = "N")]
    keep_days: Option<u32>,

    /// Keep the newest runs, as long as their folders together take at most so much (20GiB)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    keep_size: Option<Bytes>,

    /// Say what would go, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// As JSON
    #[arg(long)]
    json: bool,
}

fn size(text: &str) -> Result<Bytes, String> {
    Bytes::parse(text).map_err(|error| error.to_string())
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace()?;
    let keep = keep(arguments, &workspace)?;
    let report = if arguments.dry_run {
        let mut records = Records::of(&workspace);
        let report = records.would_prune(keep)?;
        records.warn(&BTreeMap::new(), &context.output);
        report
    } else {
        let (session, report) = Session::begin(&workspace, &context.output, |session| session.prune(keep, &context.output))?;
        session.leave(&context.output)?;
        report
    };
    if arguments.json {
        context.output.json(&report);
    } else {
        print(&report, &context.output);
    }
    let failed = report.failed.first();
    failed.map_or(Ok(Exit::Ok), |first| {
        let text = format!("{} folder(s) could not be removed, {} among them: {}", report.failed.len(), first.run_id, first.error);
        Err(Failure::ours(text).with_help("mend that and prune again: the runs are forgotten, and their folders go with the next prune"))
    })
}

/// What is asked for, else what the settings say.
fn keep(arguments: &Arguments, workspace: &Workspace) -> Result<Keep, Failure> {
    let asked = Keep { days: arguments.keep_days, size: arguments.keep_size };
    if asked != Keep::default() {
        return Ok(asked);
    }
    let settings = catalog::settings_of(workspace).map_err(Failure::invalid)?;
    if settings.retention.keeps_all() {
        return Err(Failure::usage("nothing says which runs to keep")
            .with_help("give --keep-days N or --keep-size SIZE, or set `retention:` in prismq.yaml; --dry-run shows what would go"));
    }
    Ok(settings.retention.into())
}

fn print(report: &Report, output: &Output) {
    let width = report.pruned.iter().map(|run| run.name.chars().count()).max().unwrap_or(4).clamp(4, 40);
    if !report.pruned.is_empty() {
        output.line(format!("{:<21}  {:<9}  {:<width$}  {:>19}  {:>10}  WHY", "RUN", "STATUS", "NAME", "ENDED", "SIZE"));
    }
    for run in &report.pruned {
        let name: String = run.name.chars().take(width).collect();
        let status = output.styled(&format!("{:<9}", run.status.as_str()), status_style(run.status));
        let ended = run.completed_at.map_or_else(|| "-".to_owned(), Timestamp::local);
        output.line(format!("{:<21}  {status}  {name:<width$}  {ended:>19}  {:>10}  {}", run.run_id, run.bytes, run.reason));
    }
    for kept in &report.kept {
        output.line(format!("{:<21}  stays: {}", kept.run_id, kept.reason));
    }
    let did = if report.dry_run { "would be removed" } else { "removed" };
    output.line(format!("{} ({}) {did}; {} left", runs(report.pruned.len()), report.bytes, runs(report.remaining)));
}

fn runs(count: impl TryInto<u64>) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    if count == 1 { "1 run".to_owned() } else { format!("{count} runs") }
}
