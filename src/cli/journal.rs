//! `prismq journal`: how the journal's files are, what they hold, and what to give up where they are damaged.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Style};
use super::session::{journal_failure, lock_failure, owned_failure};
use crate::host::offline::OpenError;
use crate::host::offline::journal::{
    self, Damage, ExportError, RepairError, Repaired, SegmentEnd, SegmentReport, SnapshotReport, Verified,
};
use crate::host::ownership::Ownership;
use crate::host::workspace::Workspace;

/// Arguments of `journal`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check every file of the journal; ends with 78 where one is damaged
    Verify {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give up what stands behind a damage, after a copy of the whole journal
    Repair {
        /// Where to cut the damaged segment: the byte that `journal verify` names, or the begin of an earlier record
        #[arg(long, value_name = "OFFSET")]
        cut_at: u64,

        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Write all records as JSON, one a line
    Export {
        /// Into this file, which must not be there yet; else to standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

impl Arguments {
    /// Whether it changes anything.
    pub(super) fn changes(&self) -> bool {
        match &self.verb {
            Verb::Repair { .. } => true,
            Verb::Verify { .. } | Verb::Export { .. } => false,
        }
    }
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace()?;
    match &arguments.verb {
        Verb::Verify { json } => verify(&workspace, *json, &context.output),
        Verb::Repair { cut_at, json } => repair(&workspace, *cut_at, *json, &context.output),
        Verb::Export { output } => export(&workspace, output.as_deref(), &context.output),
    }
}

fn verify(workspace: &Workspace, as_json: bool, output: &Output) -> Result<Exit, Failure> {
    let verified = journal::verify(workspace).map_err(|error| journal_failure(&error))?;
    if as_json {
        output.json(&verified_json(&verified, workspace));
    } else {
        table(&verified, workspace, output);
    }
    match &verified.damage {
        None => Ok(Exit::Ok),
        Some(damage) => Err(damage_failure(damage)),
    }
}

fn damage_failure(damage: &Damage) -> Failure {
    journal_failure(&OpenError::Damaged(Box::new(damage.clone())))
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn table(verified: &Verified, workspace: &Workspace, output: &Output) {
    output.line(workspace.display(&workspace.journal()));
    for segment in &verified.segments {
        let verdict = verdict(segment);
        let style = if verdict == "whole" { Style::Good } else { Style::Warn };
        let note = if segment.needed { "" } else { "  (covered by a snapshot)" };
        output.line(format!(
            "  {:<22} {:>9} records {:>11} bytes  {}{note}",
            name(&segment.path),
            segment.records,
            segment.bytes,
            output.styled(&verdict, style)
        ));
    }
    for snapshot in &verified.snapshots {
        let upto = snapshot.upto.map_or_else(|| "?".to_owned(), |upto| upto.0.to_string());
        let (verdict, style) = snapshot_verdict(snapshot);
        output.line(format!(
            "  {:<22} up to {upto:>11} {:>11} bytes  {}",
            name(&snapshot.path),
            snapshot.bytes,
            output.styled(verdict, style)
        ));
    }
    if verified.damage.is_none() {
        output.line(format!("whole up to record {}", verified.last.0));
        if let Some(torn) = &verified.torn {
            let file = name(&torn.path);
            output.line(format!(
                "{file} has a torn end of {} bytes at byte {}: the next host keeps it aside and goes on",
                torn.bytes, torn.offset
            ));
        }
    }
}

fn verdict(segment: &SegmentReport) -> String {
    match &segment.end {
        SegmentEnd::Whole => "whole".to_owned(),
        SegmentEnd::Torn(bytes) => format!("torn: {bytes} bytes behind the last record"),
        SegmentEnd::Damaged(reason) => format!("damaged behind record {}: {reason}", segment.last.map_or(0, |last| last.0)),
    }
}

fn snapshot_verdict(snapshot: &SnapshotReport) -> (&'static str, Style) {
    match (snapshot.upto, snapshot.heals) {
        (None, _) => ("broken: its checksum does not hold", Style::Warn),
        (Some(_), true) => ("whole, made after a failure of the disk", Style::Good),
        (Some(_), false) => ("whole", Style::Good),
    }
}

fn damage_json(damage: &Damage, workspace: &Workspace) -> Value {
    json!({"file": workspace.display(&damage.path), "offset": damage.offset, "seq": damage.seq, "reason": damage.reason})
}

fn verified_json(verified: &Verified, workspace: &Workspace) -> Value {
    let segments = verified.segments.iter().map(|segment| {
        let verdict = match &segment.end {
            SegmentEnd::Whole => "whole",
            SegmentEnd::Torn(_) => "torn",
            SegmentEnd::Damaged(_) => "damaged",
        };
        json!({
            "file": name(&segment.path), "records": segment.records, "bytes": segment.bytes, "last": segment.last, "verdict": verdict,
            "needed": segment.needed,
        })
    });
    let snapshots = verified.snapshots.iter().map(|snapshot| {
        let verdict = if snapshot.upto.is_some() { "whole" } else { "broken" };
        json!({"file": name(&snapshot.path), "bytes": snapshot.bytes, "upto": snapshot.upto, "verdict": verdict, "heals": snapshot.heals})
    });
    let torn = verified.torn.as_ref().map(|torn| json!({"file": name(&torn.path), "offset": torn.offset, "bytes": torn.bytes}));
    let mut all = json!({
        "whole": verified.damage.is_none(),
        "last": verified.last,
        "segments": segments.collect::<Vec<_>>(),
        "snapshots": snapshots.collect::<Vec<_>>(),
    });
    if let Some(damage) = &verified.damage {
        all["damage"] = damage_json(damage, workspace);
    }
    if let Some(torn) = torn {
        all["torn"] = torn;
    }
    all
}

fn repair(workspace: &Workspace, offset: u64, as_json: bool, output: &Output) -> Result<Exit, Failure> {
    let taken = Ownership::try_take(workspace).map_err(|error| lock_failure(workspace, &error))?;
    let owner = taken.ok_or_else(|| owned_failure(workspace).with_help("a host writes this journal: end it first"))?;
    let repaired = journal::repair(workspace, &owner, offset).map_err(|error| repair_failure(&error))?;
    if as_json {
        output.json(&json!({
            "segment": workspace.display(&repaired.segment), "offset": repaired.offset, "last": repaired.last, "bytes": repaired.bytes,
            "records": repaired.records, "runs": repaired.runs, "copy": workspace.display(&repaired.copy),
            "removed": repaired.removed.iter().map(|path| name(path)).collect::<Vec<_>>(),
        }));
    } else {
        report(&repaired, workspace, output);
    }
    match &repaired.damage {
        None => Ok(Exit::Ok),
        Some(damage) => Err(damage_failure(damage)),
    }
}

fn report(repaired: &Repaired, workspace: &Workspace, output: &Output) {
    output.line(format!(
        "{} was cut at byte {}; the last record is {}",
        workspace.display(&repaired.segment),
        repaired.offset,
        repaired.last.0
    ));
    output.line(format!("given up: {} bytes, of them {} records that could be read", repaired.bytes, repaired.records));
    for path in &repaired.removed {
        output.line(format!("removed: {}", workspace.display(path)));
    }
    if !repaired.runs.is_empty() {
        let runs: Vec<&str> = repaired.runs.iter().map(String::as_str).collect();
        output.line(format!("records were lost of: {}", runs.join(", ")));
    }
    output.line(format!("the journal as it was: {}", workspace.display(&repaired.copy)));
}

fn repair_failure(error: &RepairError) -> Failure {
    match error {
        RepairError::Open(error) => journal_failure(error),
        RepairError::Whole => Failure::usage(error.to_string()),
        RepairError::Behind(damage, _) => Failure::usage(error.to_string()).with_help(format!("cut at {} or before", damage.offset)),
        RepairError::Between { nearest, .. } => Failure::usage(error.to_string()).with_help(format!("--cut-at {nearest}")),
        RepairError::NothingLeft(_) => Failure::new(Exit::JournalDamaged, error.to_string())
            .with_help("`prismq --read-only runs` shows what can be read, `prismq journal export` writes it down"),
    }
}

fn export(workspace: &Workspace, file: Option<&Path>, output: &Output) -> Result<Exit, Failure> {
    let exported = match file {
        Some(path) => {
            let made = OpenOptions::new().write(true).create_new(true).open(path);
            let made = made.map_err(|error| Failure::ours(format!("{} cannot be made: {error}", path.display())))?;
            journal::export(workspace, &mut BufWriter::new(made))
        }
        None => journal::export(workspace, &mut BufWriter::new(io::stdout().lock())),
    };
    let exported = match exported {
        Ok(exported) => exported,
        // Whoever reads has seen enough.
        Err(ExportError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Ok),
        Err(ExportError::Write(error)) => return Err(Failure::ours(format!("the export cannot be written: {error}"))),
        Err(ExportError::Open(error)) => return Err(journal_failure(&error)),
    };
    let before = exported.snapshot.map(|upto| format!(", after the rows of a snapshot for what is older (up to record {})", upto.0));
    output.note(&format!("{} records{}", exported.records, before.unwrap_or_default()));
    // Nothing can be done when standard output is gone.
    let _ = io::stdout().flush();
    exported.damage.as_ref().map_or(Ok(Exit::Ok), |damage| Err(damage_failure(damage)))
}
