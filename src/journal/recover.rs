//! Opening a journal: refuse damage, cut off a torn tail and keep it aside, and go on after the last whole record.
//!
//! Every step can be interrupted and done again: the tail is copied before it is cut, and a new segment gets its name only when
//! its first line is durable.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::value::to_raw_value;

use super::boot::random_hex;
use super::history::{Base, Head, Loaded, load, load_while_written};
use super::record::{KIND_TRIM, encode_segment_head};
use super::segment::{DiskSegment, Medium};
use super::write::{Begin, Retained};
use super::{Entry, History, OpenError, Options, Trimmed, Urgency, Writer, files, reserve};
use crate::units::Timestamp;

/// Folder of the tails that were cut off.
const QUARANTINE: &str = "quarantine";

/// A journal that was opened for writing.
#[derive(Debug)]
pub struct Opened {
    /// What it holds, with what was trimmed.
    pub history: History,
    /// Where new records go.
    pub writer: Writer,
    /// Whether there is ballast for a full disk.
    pub reserve: bool,
}

/// Opens the journal in `dir` for writing, making it where there is none. The caller holds the lock of the state folder.
///
/// # Errors
/// See [`OpenError`]. After a damage or a newer format nothing on disk was changed.
pub fn open(dir: &Path, options: Options) -> Result<Opened, OpenError> {
    files::make_folder(dir).map_err(OpenError::io("cannot make", dir))?;
    let mut loaded = load(dir, Base::Newest)?;
    if let Some(damage) = loaded.history.damage.take() {
        return Err(damage.into());
    }
    remove_leftovers(dir)?;
    if let Some(trimmed) = &mut loaded.history.trimmed {
        keep_and_cut(dir, trimmed)?;
    }
    drop_empty_segment(&mut loaded)?;
    let begin = begin(dir, &mut loaded)?;
    let reserve = reserve::make(dir).is_ok();
    let writer = Writer::start(begin, options).map_err(OpenError::io("cannot start the writer of", dir))?;
    if let Some(trimmed) = &loaded.history.trimmed {
        record_trim(&writer, trimmed);
    }
    Ok(Opened { history: loaded.history, writer, reserve })
}

/// Looks at the journal in `dir`, which a host may be writing at this moment. Changes nothing and takes no lock. Of a damaged journal
/// it gives what stands before the damage, and the [damage](History::damage).
///
/// # Errors
/// See [`OpenError`]; never [`OpenError::Damaged`].
pub fn open_read_only(dir: &Path) -> Result<History, OpenError> {
    load_while_written(dir, Base::Newest).map(|loaded| loaded.history)
}

/// The same, but with as many records as there are: from the begin, or from the oldest snapshot where segments were deleted.
///
/// # Errors
/// See [`OpenError`]; never [`OpenError::Damaged`].
pub fn open_from_oldest(dir: &Path) -> Result<History, OpenError> {
    load_while_written(dir, Base::Oldest).map(|loaded| loaded.history)
}

/// Removes what a crash left half written. None of it was ever part of the journal.
fn remove_leftovers(dir: &Path) -> Result<(), OpenError> {
    let listing = files::list(dir).map_err(OpenError::io("cannot list", dir))?;
    for path in listing.aside {
        fs::remove_file(&path).map_err(OpenError::io("cannot remove", &path))?;
    }
    Ok(())
}

/// Copies the tail to the quarantine, durably, and cuts it off.
fn keep_and_cut(dir: &Path, trimmed: &mut Trimmed) -> Result<(), OpenError> {
    let quarantine = dir.join(QUARANTINE);
    files::make_folder(&quarantine).map_err(OpenError::io("cannot make", &quarantine))?;
    let bytes = fs::read(&trimmed.path).map_err(OpenError::io("cannot read", &trimmed.path))?;
    let offset = usize::try_from(trimmed.offset).unwrap_or(bytes.len()).min(bytes.len());
    let name = trimmed.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let kept = free_name(&quarantine, &format!("{name}-{offset}"), &bytes[offset..]);
    files::replace(&kept, |file| file.write_all(&bytes[offset..])).map_err(OpenError::io("cannot write", &kept))?;
    files::sync_folder(dir).map_err(OpenError::io("cannot sync", dir))?;
    let file = files::private().open(&trimmed.path).map_err(OpenError::io("cannot open", &trimmed.path))?;
    file.set_len(trimmed.offset).and_then(|()| file.sync_all()).map_err(OpenError::io("cannot cut", &trimmed.path))?;
    trimmed.kept = Some(kept);
    Ok(())
}

/// A file for a tail in the quarantine: one that is free, or that has this tail already. The record that says that a tail was cut off may be
/// torn itself, and then stands at the same place.
fn free_name(quarantine: &Path, stem: &str, tail: &[u8]) -> PathBuf {
    let mut path = quarantine.join(format!("{stem}.tail"));
    let mut number = 2;
    while fs::read(&path).is_ok_and(|there| there != tail) {
        path = quarantine.join(format!("{stem}-{number}.tail"));
        number += 1;
    }
    path
}

/// A last segment without a whole record goes: the one before it, or a new one, takes what follows.
fn drop_empty_segment(loaded: &mut Loaded) -> Result<(), OpenError> {
    let Some(segment) = loaded.history.segments.pop_if(|segment| segment.text.is_empty()) else { return Ok(()) };
    loaded.heads.retain(|head| head.number != segment.number);
    fs::remove_file(&segment.path).map_err(OpenError::io("cannot remove", &segment.path))?;
    files::sync_folder(&loaded.history.folder).map_err(OpenError::io("cannot sync", &loaded.history.folder))
}

/// What the writer starts with: the last segment, or a new first one.
fn begin(dir: &Path, loaded: &mut Loaded) -> Result<Begin, OpenError> {
    let history = &loaded.history;
    let snapshot_seq = history.snapshot_seq().0;
    let (number, length, last, medium) = match history.segments.last() {
        Some(segment) => {
            let length = segment.text.len() as u64;
            let medium = DiskSegment::open(&segment.path, length).map_err(OpenError::io("cannot open", &segment.path))?;
            let medium = synced(medium).map_err(OpenError::io("cannot sync", &segment.path))?;
            (segment.number, length, history.last, medium)
        }
        None => {
            // The first one of all, or the one that a healing snapshot was to begin.
            let begun = loaded.snapshot_number.filter(|_| history.heals().is_some());
            let number = begun.unwrap_or(1);
            let snapshot = begun.map(files::snapshot_name);
            let path = dir.join(files::segment_name(number));
            let mut head = Vec::new();
            let last = encode_segment_head(&mut head, history.last, &segment_id(), snapshot.as_deref());
            let medium = DiskSegment::create(&path, &head).map_err(OpenError::io("cannot make", &path))?;
            loaded.heads.push(Head { number, first: Some(last.seq) });
            (number, head.len() as u64, last, medium)
        }
    };
    Ok(Begin {
        folder: dir.to_owned(),
        medium: Box::new(medium),
        make: Box::new(|path, head| DiskSegment::create(path, head).map(|medium| Box::new(medium) as Box<dyn Medium>)),
        number,
        length,
        last,
        since_snapshot: (length, last.seq.saturating_sub(snapshot_seq)),
        retained: Retained {
            segments: loaded.heads.iter().filter_map(|head| Some((head.number, head.first?))).collect(),
            snapshot: loaded.snapshot_number.map(|number| (number, snapshot_seq)),
        },
    })
}

/// What a killed host wrote and did not sync was read all the same, and is taken for durable from here on.
fn synced(mut medium: DiskSegment) -> io::Result<DiskSegment> {
    medium.sync().map(|()| medium)
}

/// A random id in the shape of a UUID (version 4).
pub(super) fn segment_id() -> String {
    let hex = random_hex(16);
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

/// The wall clock, for the journal's own records.
pub(super) fn wall_now() -> Timestamp {
    let micros = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |passed| passed.as_micros());
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

fn record_trim(writer: &Writer, trimmed: &Trimmed) {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let facts = serde_json::json!({
        "segment": name(&trimmed.path),
        "offset": trimmed.offset,
        "bytes": trimmed.bytes,
        "kept": trimmed.kept.as_deref().and_then(name),
    });
    let entry = Entry { kind: KIND_TRIM, run: None, node: None, attempt: None, data: None, at: wall_now(), urgency: Urgency::Now };
    let data = to_raw_value(&facts).ok();
    // A journal that fails here says so to everybody who appends next.
    drop(writer.append(Entry { data: data.as_deref(), ..entry }));
}
