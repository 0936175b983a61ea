//! The journal's own files, for people: how they are, what they hold, and what to give up where they are damaged.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::host::clock;
use crate::host::ownership::Ownership;
use crate::host::workspace::{Workspace, create_private_folder};
use crate::ids::{AttemptNumber, Seq};
use crate::journal;
use crate::units::Timestamp;

pub use crate::journal::{Damage, OpenError, RepairError, Repaired, SegmentEnd, SegmentReport, SnapshotReport, Trimmed, Verified};

/// Verifies every file of the journal.
///
/// # Errors
/// When they cannot be read, or a newer program wrote them. Damage is part of the answer.
pub fn verify(workspace: &Workspace) -> Result<Verified, OpenError> {
    journal::verify(&workspace.journal())
}

/// Cuts the damaged segment at `offset`, after a copy of the journal into `.prismq/quarantine`. `_owner` shows that nobody else writes.
///
/// # Errors
/// See [`RepairError`].
pub fn repair(workspace: &Workspace, _owner: &Ownership, offset: u64) -> Result<Repaired, RepairError> {
    let quarantine = workspace.state().join("quarantine");
    create_private_folder(&quarantine).map_err(|source| OpenError::Io { doing: "cannot make", path: quarantine.clone(), source })?;
    journal::repair(&workspace.journal(), offset, &free_name(quarantine.join(format!("journal-{}", clock::wall().compact_utc()))))
}

/// A name that is not taken: two repairs may come in one second.
fn free_name(wanted: PathBuf) -> PathBuf {
    let numbered = (2..).map(|number| wanted.with_extension(number.to_string()));
    std::iter::once(wanted.clone()).chain(numbered).find(|name| !name.exists()).unwrap_or(wanted)
}

/// A line of the export.
#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    /// Where records were deleted, since a snapshot has what they said.
    Snapshot { kind: &'static str, upto: Seq, first_record: Option<Seq> },
    /// A line of that snapshot: a finished run, or something that is told again with the records.
    SnapshotRow { kind: &'static str, data: &'a RawValue },
    /// A record.
    Record {
        seq: Seq,
        at: Timestamp,
        boot: &'a str,
        kind: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        run: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        node: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        attempt: Option<AttemptNumber>,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a RawValue>,
    },
}

/// What an export wrote.
#[derive(Debug)]
pub struct Exported {
    /// Records.
    pub records: u64,
    /// What the snapshot includes whose rows stand first; none where every record is still there.
    pub snapshot: Option<Seq>,
    /// Where it ended early.
    pub damage: Option<Damage>,
}

/// Why an export was not made, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The journal cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its place cannot be written.
    #[error("the export cannot be written: {0}")]
    Write(#[from] io::Error),
}

/// Writes everything that the journal holds as plain JSON, one object a line.
///
/// # Errors
/// See [`ExportError`]. Damage is part of the answer.
pub fn export(workspace: &Workspace, out: &mut dyn Write) -> Result<Exported, ExportError> {
    let history = journal::open_from_oldest(&workspace.journal())?;
    let snapshot = Some(history.snapshot_seq()).filter(|seq| seq.0 > 0);
    if let Some(upto) = snapshot {
        write(out, &Line::Snapshot { kind: "snapshot", upto, first_record: history.first_seq() })?;
        for row in history.snapshot_lines() {
            write(out, &Line::SnapshotRow { kind: "snapshot.row", data: serde_json::from_str(row).map_err(io::Error::from)? })?;
        }
    }
    let mut exported = Exported { records: 0, snapshot, damage: history.damage().cloned() };
    for record in history.all_records() {
        let record = match record {
            Ok(record) => record,
            Err(damage) => {
                exported.damage = Some(damage);
                break;
            }
        };
        let data = record.data.as_deref().map(serde_json::from_str).transpose().map_err(io::Error::from)?;
        write(
            out,
            &Line::Record {
                seq: record.seq,
                at: record.at,
                boot: &record.boot,
                kind: &record.kind,
                run: record.run.as_deref(),
                node: record.node.as_deref(),
                attempt: record.attempt,
                data,
            },
        )?;
        exported.records += 1;
    }
    out.flush()?;
    Ok(exported)
}

fn write(out: &mut dyn Write, line: &Line<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
