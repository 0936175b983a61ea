//! Cutting a damaged journal where a person says, after everything was copied.
//!
//! Nothing is mended: what stands at the cut and behind it is given up, so that what stands before it can be told again. Every step can
//! be interrupted; the journal is then as damaged as before, and the copy is there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::history::{Base, Loaded, load};
use super::record::{self, Record};
use super::scan::{End, frame, line_end, scan};
use super::snapshot::Snapshot;
use super::{Damage, OpenError, files};
use crate::ids::Seq;

/// What was given up.
#[derive(Debug)]
pub struct Repaired {
    /// Where the journal lies as it was.
    pub copy: PathBuf,
    /// The segment that was cut.
    pub segment: PathBuf,
    /// Where.
    pub offset: u64,
    /// Number of the last record that is left.
    pub last: Seq,
    /// Bytes of records that were given up, whole or not.
    pub bytes: u64,
    /// Records given up that could still be read.
    pub records: u64,
    /// Runs that they were about.
    pub runs: BTreeSet<String>,
    /// Files that were removed as a whole.
    pub removed: Vec<PathBuf>,
    /// What is damaged all the same.
    pub damage: Option<Damage>,
}

/// Why nothing was cut.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// There is nothing to cut.
    #[error("the journal is whole: there is nothing to repair")]
    Whole,
    /// The cut leaves the damage in.
    #[error("{0}; a cut at {1} would leave that in")]
    Behind(Box<Damage>, u64),
    /// The cut goes through a record.
    #[error("no record begins at byte {offset} of {}: the nearest one before it begins at {nearest}", .segment.display())]
    Between {
        /// The segment.
        segment: PathBuf,
        /// Where the cut was to be.
        offset: u64,
        /// Where it can be.
        nearest: u64,
    },
    /// The segments that would be left do not reach back to the begin, nor to a snapshot.
    #[error("nothing could be told of what a cut at byte {0} leaves: the snapshot that it would need includes later records")]
    NothingLeft(u64),
    /// The journal cannot be read, or a newer program wrote it.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Cuts the damaged segment of the journal in `dir` at `offset`, after a copy of the whole to `copy`. The caller holds the lock of the
/// state folder.
///
/// # Errors
/// See [`RepairError`]. Nothing was changed then, unless the disk failed in between.
pub fn repair(dir: &Path, offset: u64, copy: &Path) -> Result<Repaired, RepairError> {
    let loaded = load(dir, Base::Newest)?;
    let unreadable = loaded.history.records().find_map(Result::err);
    let damage = loaded.history.damage().cloned().into_iter().chain(unreadable).min_by_key(|damage| damage.seq);
    let damage = damage.ok_or(RepairError::Whole)?;
    if offset > damage.offset {
        return Err(RepairError::Behind(Box::new(damage), offset));
    }
    let plan = plan(&loaded, &damage.path, offset)?;
    copy_folder(dir, copy).map_err(OpenError::io("cannot copy the journal to", copy))?;
    let mut repaired = Repaired {
        copy: copy.to_owned(),
        segment: damage.path.clone(),
        offset,
        last: plan.last,
        bytes: 0,
        records: 0,
        runs: BTreeSet::new(),
        removed: plan.removed,
        damage: None,
    };
    repaired.count(&damage.path, offset)?;
    for path in repaired.removed.clone() {
        if !files::is_snapshot(&path) {
            repaired.count(&path, 0)?;
        }
        fs::remove_file(&path).map_err(OpenError::io("cannot remove", &path))?;
    }
    cut(&damage.path, offset).map_err(OpenError::io("cannot cut", &damage.path))?;
    files::sync_folder(dir).map_err(OpenError::io("cannot sync", dir))?;
    repaired.damage = load(dir, Base::Newest)?.history.damage;
    Ok(repaired)
}

struct Plan {
    /// The last record that is left.
    last: Seq,
    removed: Vec<PathBuf>,
}

/// What goes with a cut, and whether what is left can be told.
fn plan(loaded: &Loaded, segment: &Path, offset: u64) -> Result<Plan, RepairError> {
    let dir = &loaded.history.folder;
    let bytes = fs::read(segment).map_err(OpenError::io("cannot read", segment))?;
    let kept = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let scanned = scan(&bytes[..kept], None);
    if scanned.end != End::Clean {
        return Err(RepairError::Between { segment: segment.to_owned(), offset, nearest: scanned.whole as u64 });
    }
    let listing = files::list(dir).map_err(OpenError::io("cannot list", dir))?;
    let number = listing.segments.iter().copied().find(|number| dir.join(files::segment_name(*number)) == segment).unwrap_or(0);
    let healed = loaded.history.heals().filter(|_| loaded.snapshot_number == Some(number));
    let last = match (scanned.records, healed) {
        (0, Some(link)) => link.seq,
        (0, None) => last_before(loaded, number)?,
        (_, _) => scanned.last.seq,
    };
    let mut removed = Vec::new();
    let mut told = last == 0 || loaded.heads.first().is_some_and(|head| head.first == Some(1));
    for snapshot in listing.snapshots {
        let path = dir.join(files::snapshot_name(snapshot));
        // One that cannot be read is passed over by every start.
        let Ok(read) = Snapshot::read(fs::read(&path).map_err(OpenError::io("cannot read", &path))?) else { continue };
        if read.seq > last {
            removed.push(path);
        } else {
            told |= read.heals.is_some() || loaded.heads.iter().any(|head| head.first.is_some_and(|first| first <= read.seq + 1));
        }
    }
    if !told {
        return Err(RepairError::NothingLeft(offset));
    }
    let later = listing.segments.iter().rev().filter(|later| **later > number);
    removed.extend(later.map(|later| dir.join(files::segment_name(*later))));
    Ok(Plan { last: Seq(last), removed })
}

/// The last record of the segment before one that is given up whole.
fn last_before(loaded: &Loaded, number: u32) -> Result<u64, OpenError> {
    let Some(head) = loaded.heads.iter().rev().find(|head| head.number < number) else { return Ok(0) };
    let path = loaded.history.folder.join(files::segment_name(head.number));
    let bytes = fs::read(&path).map_err(OpenError::io("cannot read", &path))?;
    Ok(scan(&bytes, None).last.seq)
}

/// Cuts a segment, durably. One without a record goes.
fn cut(path: &Path, offset: u64) -> io::Result<()> {
    if offset == 0 {
        return fs::remove_file(path);
    }
    let file = files::private().open(path)?;
    file.set_len(offset)?;
    file.sync_all()
}

impl Repaired {
    /// Adds up what is given up of a segment from a byte on.
    fn count(&mut self, path: &Path, from: u64) -> Result<(), OpenError> {
        let bytes = fs::read(path).map_err(OpenError::io("cannot read", path))?;
        let mut rest = bytes.get(usize::try_from(from).unwrap_or(usize::MAX)..).unwrap_or_default();
        self.bytes += rest.len() as u64;
        while let Some(length) = line_end(rest) {
            let line = &rest[..length];
            if frame(line).is_some()
                && let Some(record) = std::str::from_utf8(line).ok().and_then(|line| Record::parse(line).ok())
                && record.kind != record::KIND_SEGMENT
            {
                self.records += 1;
                self.runs.extend(record.run.map(std::borrow::Cow::into_owned));
            }
            rest = &rest[length + 1..];
        }
        Ok(())
    }
}

/// Copies a folder with all that is in it, durably. The ballast is left out: it holds nothing.
fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    files::make_folder(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if entry.file_name() != super::reserve::NAME {
            fs::copy(entry.path(), &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    files::sync_folder(to)
}
