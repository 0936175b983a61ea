//! What a journal holds, read and verified: the lines of its newest snapshot, and the records after it.
//!
//! Reading changes nothing on disk. It starts at the newest snapshot whose checksum holds, finds the segments that continue it, and
//! verifies them record by record ([`super::scan`]). What to do about a torn tail is left to `recover`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::record::{self, KIND_SEGMENT, LINE_MAX, Link};
use super::scan::{self, End};
use super::snapshot::{Snapshot, Unusable};
use super::{Damage, FORMAT, OpenError, Record, blob, files};
use crate::ids::Seq;

/// What recovery cut off the end of the last segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trimmed {
    /// The segment.
    pub path: PathBuf,
    /// Where it was cut.
    pub offset: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
    /// Where they are kept; none for a look that changes nothing.
    pub kept: Option<PathBuf>,
}

/// Everything to be told again, verified. Drop it after the replay: it holds the text of the files in memory.
#[derive(Debug, Default)]
pub struct History {
    pub(super) folder: PathBuf,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) segments: Vec<Segment>,
    pub(super) last: Link,
    pub(super) damage: Option<Damage>,
    pub(super) trimmed: Option<Trimmed>,
    pub(super) broken_snapshots: Vec<PathBuf>,
}

/// The whole part of a segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) number: u32,
    pub(super) text: String,
}

impl History {
    /// Number of the last record that the snapshot includes; 0 without one.
    #[must_use]
    pub fn snapshot_seq(&self) -> Seq {
        Seq(self.snapshot.as_ref().map_or(0, |snapshot| snapshot.seq))
    }

    /// What the next record follows on, if the snapshot heals a failed journal.
    pub(super) fn heals(&self) -> Option<Link> {
        self.snapshot.as_ref().and_then(|snapshot| snapshot.heals)
    }

    /// Number of the first record that is left in the segments; none in an empty journal.
    #[must_use]
    pub fn first_seq(&self) -> Option<Seq> {
        self.segments.iter().find_map(|segment| scan::frame_seq(segment.text.split('\n').next()?)).map(Seq)
    }

    /// Lines of the snapshot, as they were given to [`Writer::snapshot`](super::Writer::snapshot).
    pub fn snapshot_lines(&self) -> impl Iterator<Item = &str> {
        self.snapshot.iter().flat_map(Snapshot::lines)
    }

    /// Records after the snapshot, in order, without the journal's own.
    ///
    /// # Errors
    /// A record whose checksum holds and that is yet no record, or whose blob is gone or changed.
    pub fn records(&self) -> impl Iterator<Item = Result<Record<'_>, Damage>> {
        self.records_where(|_, _| true)
    }

    /// The same with the journal's own records, but for the heads of segments.
    ///
    /// # Errors
    /// As above.
    pub fn all_records(&self) -> impl Iterator<Item = Result<Record<'_>, Damage>> {
        self.read_where(|kind, _| kind != KIND_SEGMENT)
    }

    /// The same, but only records whose kind and run are wanted. The others are not even parsed, which is most of the cost.
    ///
    /// # Errors
    /// As above, of the wanted records.
    pub fn records_where<'a>(
        &'a self,
        wanted: impl Fn(&str, Option<&str>) -> bool + Copy + 'a,
    ) -> impl Iterator<Item = Result<Record<'a>, Damage>> {
        self.read_where(wanted).filter(|record| !record.as_ref().is_ok_and(Record::is_own))
    }

    fn read_where<'a>(
        &'a self,
        wanted: impl Fn(&str, Option<&str>) -> bool + Copy + 'a,
    ) -> impl Iterator<Item = Result<Record<'a>, Damage>> {
        let snapshot = self.snapshot_seq().0;
        self.segments.iter().flat_map(move |segment| {
            let mut offset = 0;
            segment.text.split_inclusive('\n').filter_map(move |line| {
                let at = offset;
                offset += line.len();
                let seq = scan::frame_seq(line);
                if seq.is_some_and(|seq| seq <= snapshot) || !record::names(line).is_none_or(|(kind, run)| wanted(kind, run)) {
                    return None;
                }
                let record = self.read(line.trim_end_matches('\n'));
                Some(record.map_err(|reason| segment.damage(at, seq.unwrap_or_default(), reason)))
            })
        })
    }

    fn read<'a>(&self, line: &'a str) -> Result<Record<'a>, String> {
        let mut record = Record::parse(line)?;
        if let Some(hash) = record.data.as_deref().and_then(blob::referenced) {
            record.data = Some(Cow::Owned(blob::read(&self.folder, hash)?));
        }
        Ok(record)
    }

    /// Number of the last record; 0 in an empty journal.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        Seq(self.last.seq)
    }

    /// Where the journal is damaged; only after `open_read_only`, which shows what stands before it.
    #[must_use]
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// What was cut off, or with `open_read_only`: what would be.
    #[must_use]
    pub fn trimmed(&self) -> Option<&Trimmed> {
        self.trimmed.as_ref()
    }

    /// Snapshots newer than the one used, whose checksum does not hold. Nothing is lost by that, but the disk deserves a look.
    #[must_use]
    pub fn broken_snapshots(&self) -> &[PathBuf] {
        &self.broken_snapshots
    }
}

impl Segment {
    fn damage(&self, offset: usize, seq: u64, reason: String) -> Damage {
        Damage { path: self.path.clone(), offset: offset as u64, seq: Seq(seq), reason }
    }
}

/// What reading found, with what a writer must know to go on.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) history: History,
    /// All segments with the number of their first record, ascending, also those that the snapshot covers.
    pub(super) heads: Vec<Head>,
    /// Number of the snapshot used.
    pub(super) snapshot_number: Option<u32>,
}

/// A segment's number and that of its first record; `None` where its first line is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) number: u32,
    pub(super) first: Option<u64>,
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// At the newest snapshot: the quickest way to the state.
    Newest,
    /// As early as possible.
    Oldest,
}

/// Reads the journal in `folder`. Damage is noted in the history, not an error here.
pub(super) fn load(folder: &Path, base: Base) -> Result<Loaded, OpenError> {
    let listing = files::list(folder).map_err(OpenError::io("cannot list", folder))?;
    let mut loaded = Loaded::default();
    loaded.history.folder = folder.to_owned();
    for number in listing.segments {
        loaded.heads.push(Head { number, first: first_record(&folder.join(files::segment_name(number)))? });
    }
    match base {
        Base::Newest => choose_snapshot(&mut loaded, listing.snapshots.iter().rev())?,
        Base::Oldest if loaded.heads.first().is_some_and(|head| head.first == Some(1)) => {}
        Base::Oldest => choose_snapshot(&mut loaded, listing.snapshots.iter())?,
    }
    let healed = match base {
        // The one that is in use stands on its own, and none comes after it.
        Base::Newest => BTreeMap::new(),
        Base::Oldest => healings(folder, &listing.snapshots)?,
    };
    read_segments(&mut loaded, &healed)?;
    let history = &mut loaded.history;
    let included = history.snapshot_seq();
    // A healing snapshot whose segment was not begun any more: the next program begins it.
    if let Some(link) = history.heals().filter(|_| history.segments.is_empty()) {
        history.last = link;
    }
    if history.damage.is_none() && history.last.seq < included.0 {
        let path = history.segments.last().map_or_else(|| folder.join(files::segment_name(1)), |segment| segment.path.clone());
        let offset = history.segments.last().map_or(0, |segment| segment.text.len() as u64);
        let reason = format!("records up to {} were there when the snapshot was made, and are missing", included.0);
        history.damage = Some(Damage { path, offset, seq: Seq(history.last.seq + 1), reason });
    }
    Ok(loaded)
}

/// The first of these snapshots that can be read.
fn choose_snapshot<'a>(loaded: &mut Loaded, numbers: impl Iterator<Item = &'a u32>) -> Result<(), OpenError> {
    for number in numbers {
        let path = loaded.history.folder.join(files::snapshot_name(*number));
        match Snapshot::read(fs::read(&path).map_err(OpenError::io("cannot read", &path))?) {
            Ok(snapshot) => {
                loaded.history.snapshot = Some(snapshot);
                loaded.snapshot_number = Some(*number);
                return Ok(());
            }
            Err(Unusable::Newer(found)) => return Err(OpenError::NewerFormat { path, found }),
            Err(Unusable::Broken) => loaded.history.broken_snapshots.push(path),
        }
    }
    Ok(())
}

/// Segments that were begun by healing, with what their first record follows on.
fn healings(folder: &Path, numbers: &[u32]) -> Result<BTreeMap<u32, Link>, OpenError> {
    let mut healed = BTreeMap::new();
    for number in numbers {
        let path = folder.join(files::snapshot_name(*number));
        let read = Snapshot::read(fs::read(&path).map_err(OpenError::io("cannot read", &path))?);
        healed.extend(read.ok().and_then(|snapshot| snapshot.heals).map(|link| (*number, link)));
    }
    Ok(healed)
}

#[derive(Deserialize)]
struct SegmentHead<'a> {
    k: &'a str,
    fmt: u64,
}

/// Number of a segment's first record, if that is whole and opens the segment. A newer format is refused here, before anything else.
fn first_record(path: &Path) -> Result<Option<u64>, OpenError> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(OpenError::io("cannot read", path))?;
    file.take(LINE_MAX as u64).read_to_end(&mut bytes).map_err(OpenError::io("cannot read", path))?;
    let Some(length) = scan::line_end(&bytes) else { return Ok(None) };
    let head = serde_json::from_slice::<SegmentHead<'_>>(&bytes[..length]).ok().filter(|head| head.k == KIND_SEGMENT);
    match head {
        Some(head) if head.fmt > u64::from(FORMAT) => Err(OpenError::NewerFormat { path: path.to_owned(), found: head.fmt }),
        Some(_) => Ok(scan::frame(&bytes[..length]).map(|frame| frame.link.seq)),
        None => Ok(None),
    }
}

/// The segments that continue the snapshot, and what the first record of them must follow on; none where that is not known any more.
fn needed(loaded: &Loaded) -> (Vec<Head>, Option<Link>) {
    if let (Some(link), Some(number)) = (loaded.history.heals(), loaded.snapshot_number) {
        return (loaded.heads.iter().filter(|head| head.number >= number).copied().collect(), Some(link));
    }
    let wanted = loaded.history.snapshot_seq().0 + 1;
    let base = loaded.heads.iter().rposition(|head| head.first.is_some_and(|first| first <= wanted));
    let after = match base.and_then(|at| loaded.heads[at].first) {
        // What came before it was deleted, being covered by a snapshot: its first record is taken on trust.
        Some(first) if first > 1 => None,
        Some(_) | None => Some(Link::default()),
    };
    (loaded.heads[base.unwrap_or(0)..].to_vec(), after)
}

/// Reads and verifies the segments from the one that continues the snapshot.
fn read_segments(loaded: &mut Loaded, healed: &BTreeMap<u32, Link>) -> Result<(), OpenError> {
    let (heads, mut after) = needed(loaded);
    for (at, head) in heads.iter().enumerate() {
        let path = loaded.history.folder.join(files::segment_name(head.number));
        let mut bytes = fs::read(&path).map_err(OpenError::io("cannot read", &path))?;
        after = healed.get(&head.number).copied().or(after);
        let scanned = scan::scan(&bytes, after);
        let behind = (bytes.len() - scanned.whole) as u64;
        bytes.truncate(scanned.whole);
        let (text, end) = match String::from_utf8(bytes) {
            Ok(text) => (text, scanned.end),
            Err(_) => (String::new(), End::Damaged("the segment is no text".to_owned())),
        };
        let segment = Segment { path, number: head.number, text };
        let history = &mut loaded.history;
        history.last = scanned.last;
        match end {
            End::Clean | End::Torn if head.first.is_none() && scanned.records > 0 => {
                history.damage = Some(segment.damage(0, 0, "the segment does not begin with its opening record".to_owned()));
            }
            End::Clean => {}
            // Given up when the disk failed; the snapshot of the next one has what was lost with it.
            End::Torn | End::Damaged(_) if heads.get(at + 1).is_some_and(|next| healed.contains_key(&next.number)) => {}
            End::Torn if at + 1 == heads.len() => {
                history.trimmed = Some(Trimmed { path: segment.path.clone(), offset: scanned.whole as u64, bytes: behind, kept: None });
            }
            End::Torn => history.damage = Some(segment.damage(scanned.whole, scanned.last.seq + 1, "the segment has no end".to_owned())),
            End::Damaged(reason) => history.damage = Some(segment.damage(scanned.whole, scanned.last.seq + 1, reason)),
        }
        history.segments.push(segment);
        if history.damage.is_some() {
            break;
        }
        after = Some(scanned.last);
    }
    Ok(())
}

/// [`load`] for a journal that a host is writing: a file that vanished between listing and reading was deleted by a rotation, and a
/// new listing names what replaced it.
pub(super) fn load_while_written(folder: &Path, base: Base) -> Result<Loaded, OpenError> {
    /// Each round needs another rotation in between; so many in a row do not happen.
    const ROUNDS: usize = 5;
    for _ in 1..ROUNDS {
        match load(folder, base) {
            Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    load(folder, base)
}
