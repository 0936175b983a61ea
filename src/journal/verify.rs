//! Looking at every file of a journal and saying how it is. Changes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use super::history::{Base, Loaded, load_while_written};
use super::scan::{End, scan};
use super::snapshot::{Snapshot, Unusable};
use super::{Damage, OpenError, Trimmed, files};
use crate::ids::Seq;

/// How a journal is.
#[derive(Debug)]
pub struct Verified {
    /// All segments, ascending.
    pub segments: Vec<SegmentReport>,
    /// All snapshots, ascending.
    pub snapshots: Vec<SnapshotReport>,
    /// Number of the last record before any damage.
    pub last: Seq,
    /// The first damage for which a host refuses the journal.
    pub damage: Option<Damage>,
    /// The torn end that the next host cuts off, which is no damage.
    pub torn: Option<Trimmed>,
}

/// A segment, judged by itself.
#[derive(Debug)]
pub struct SegmentReport {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Whole records from its begin.
    pub records: u64,
    /// Number of the last of them.
    pub last: Option<Seq>,
    /// What stands behind them.
    pub end: SegmentEnd,
    /// A start reads it. Others are covered by a snapshot and kept in case that cannot be read.
    pub needed: bool,
}

/// What stands behind the last whole record of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentEnd {
    /// Nothing.
    Whole,
    /// So many bytes of a write that was interrupted.
    Torn(u64),
    /// Something that no interrupted write leaves.
    Damaged(String),
}

/// A snapshot.
#[derive(Debug)]
pub struct SnapshotReport {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// The last record that it includes; none where its checksum does not hold.
    pub upto: Option<Seq>,
    /// It was made after a failure of the disk and stands on its own.
    pub heals: bool,
}

/// Verifies the journal in `dir`, which a host may be writing.
///
/// # Errors
/// See [`OpenError`]; never [`OpenError::Damaged`].
pub fn verify(dir: &Path) -> Result<Verified, OpenError> {
    let loaded = load_while_written(dir, Base::Newest)?;
    let listing = files::list(dir).map_err(OpenError::io("cannot list", dir))?;
    let mut segments = Vec::new();
    for number in listing.segments {
        let path = dir.join(files::segment_name(number));
        segments.extend(read(&path)?.map(|bytes| judge(path, &bytes, is_needed(&loaded, number))));
    }
    let mut snapshots = Vec::new();
    for number in listing.snapshots {
        let path = dir.join(files::snapshot_name(number));
        if let Some(bytes) = read(&path)? {
            snapshots.push(snapshot(path, bytes)?);
        }
    }
    let history = loaded.history;
    // Records are whole by their checksums; their blobs are only seen by reading them.
    let unreadable = history.records().find_map(Result::err);
    let damage = match (history.damage().cloned(), unreadable) {
        (Some(scanned), Some(read)) => Some(if read.seq < scanned.seq { read } else { scanned }),
        (scanned, read) => scanned.or(read),
    };
    Ok(Verified { segments, snapshots, last: history.last_seq(), damage, torn: history.trimmed().cloned() })
}

/// The bytes of a file; none where a rotation deleted it just now.
fn read(path: &Path) -> Result<Option<Vec<u8>>, OpenError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OpenError::io("cannot read", path)(error)),
    }
}

fn judge(path: PathBuf, bytes: &[u8], needed: bool) -> SegmentReport {
    let scanned = scan(bytes, None);
    let end = match scanned.end {
        End::Clean => SegmentEnd::Whole,
        End::Torn => SegmentEnd::Torn((bytes.len() - scanned.whole) as u64),
        End::Damaged(reason) => SegmentEnd::Damaged(reason),
    };
    let last = (scanned.records > 0).then_some(Seq(scanned.last.seq));
    SegmentReport { path, bytes: bytes.len() as u64, records: scanned.records, last, end, needed }
}

fn is_needed(loaded: &Loaded, number: u32) -> bool {
    loaded.history.segments.first().is_none_or(|first| number >= first.number)
}

fn snapshot(path: PathBuf, bytes: Vec<u8>) -> Result<SnapshotReport, OpenError> {
    let length = bytes.len() as u64;
    match Snapshot::read(bytes) {
        Ok(snapshot) => Ok(SnapshotReport { path, bytes: length, upto: Some(Seq(snapshot.seq)), heals: snapshot.heals.is_some() }),
        Err(Unusable::Broken) => Ok(SnapshotReport { path, bytes: length, upto: None, heals: false }),
        Err(Unusable::Newer(found)) => Err(OpenError::NewerFormat { path, found }),
    }
}
