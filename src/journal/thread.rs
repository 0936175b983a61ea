//! The one thread that touches the segment: batch after batch, each written whole, synced when somebody waits.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::mem;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::record::encode_segment_head;
use super::recover::segment_id;
use super::scan::line_end;
use super::segment::{MakeMedium, Medium, Unfit};
use super::write::{Batch, Begin, Progress, Retained, Rotation, Shared, State};
use super::{FailureKind, JournalFailure, SOON, blob, files, reserve};
use crate::ids::Seq;

/// Largest empty buffer that is kept for the next batch; a burst must not hold its memory for ever.
const SPARE_MAX: usize = 1 << 20;

/// State of the thread.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) on_progress: Box<dyn Fn(Progress) + Send>,
    pub(super) make: MakeMedium,
    pub(super) medium: Box<dyn Medium>,
    pub(super) number: u32,
    /// Length of the segment, all of it whole records, and of what is durable of it.
    pub(super) length: u64,
    pub(super) synced_length: u64,
    /// The last record written, and the last one known to be durable.
    pub(super) written: u64,
    pub(super) synced: u64,
    /// Since when written records have been waiting for their sync.
    pub(super) unsynced_since: Option<Instant>,
    /// Writing or syncing failed: nothing goes to this segment any more.
    pub(super) poisoned: bool,
    /// The ballast was used up since it was made last.
    pub(super) reserve_spent: bool,
    pub(super) retained: Retained,
    /// The buffer that is filled next, empty: batches take turns with two.
    spare: Vec<u8>,
}

/// What there is to do next.
enum Work {
    /// Write, and sync if it is urgent.
    Write(Batch),
    /// Sync what was written.
    Sync,
    /// Go over to a new segment.
    Rotate(Rotation),
    /// Tell of a snapshot that failed.
    SnapshotFailed(JournalFailure),
    /// Begin a new segment after a failure, with this state of the host.
    Heal(Arc<[String]>),
    /// Make the ballast anew.
    Reserve,
    /// End.
    Stop,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, begin: Begin, on_progress: Box<dyn Fn(Progress) + Send>) -> Self {
        Self {
            shared,
            on_progress,
            make: begin.make,
            medium: begin.medium,
            number: begin.number,
            length: begin.length,
            synced_length: begin.length,
            written: begin.last.seq,
            synced: begin.last.seq,
            unsynced_since: None,
            poisoned: false,
            reserve_spent: false,
            retained: begin.retained,
            spare: Vec::new(),
        }
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        loop {
            let done = match self.next() {
                Work::Write(batch) => self.write(batch),
                Work::Sync => self.sync(),
                Work::Rotate(rotation) => self.rotate(&rotation),
                Work::SnapshotFailed(failure) => {
                    (self.on_progress)(Progress::SnapshotFailed(failure));
                    Ok(())
                }
                Work::Heal(lines) => {
                    self.heal(&lines);
                    Ok(())
                }
                Work::Reserve => {
                    let made = reserve::make(&self.shared.folder).is_ok();
                    self.reserve_spent &= !made;
                    (self.on_progress)(Progress::Reserve(made));
                    Ok(())
                }
                Work::Stop => return,
            };
            if let Err(failure) = done {
                self.poison(failure);
            }
        }
    }

    /// Waits for something to do. There is a time limit only while written records wait for their sync.
    fn next(&mut self) -> Work {
        let shared = self.shared.clone();
        let mut state = shared.lock();
        loop {
            if let Some(work) = self.due(&mut state) {
                state.idle = false;
                return work;
            }
            state.idle = true;
            state = match self.unsynced_since {
                Some(since) => {
                    let left = SOON.saturating_sub(since.elapsed());
                    shared.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => shared.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn due(&mut self, state: &mut State) -> Option<Work> {
        if self.poisoned {
            return due_after_failure(state);
        }
        if mem::take(&mut state.reserve_wanted) {
            return Some(Work::Reserve);
        }
        if !state.gathering.lines.is_empty() {
            let empty = Batch { lines: mem::take(&mut self.spare), ..Batch::default() };
            let mut batch = mem::replace(&mut state.gathering, empty);
            batch.urgent |= mem::take(&mut state.sync_wanted) || state.closing;
            return Some(Work::Write(batch));
        }
        match state.snapshot_done.take() {
            Some(Ok(rotation)) => return Some(Work::Rotate(rotation)),
            Some(Err(failure)) => {
                state.snapshot_running = false;
                return Some(Work::SnapshotFailed(failure));
            }
            None => {}
        }
        let wanted = mem::take(&mut state.sync_wanted) || state.closing;
        match self.unsynced_since {
            Some(since) if wanted || since.elapsed() >= SOON => Some(Work::Sync),
            Some(_) => None,
            None if state.closing => Some(Work::Stop),
            None => None,
        }
    }

    fn failure(&self, doing: &'static str) -> impl FnOnce(io::Error) -> JournalFailure + use<> {
        let path = self.shared.folder.join(files::segment_name(self.number));
        move |source| JournalFailure::new(doing, &path, source)
    }

    fn write(&mut self, batch: Batch) -> Result<(), JournalFailure> {
        for (hash, data) in &batch.blobs {
            blob::write(&self.shared.folder, hash, data).map_err(self.failure("cannot write a blob for"))?;
        }
        // Before the write as well as before the sync: writing into an emptied file would bring it to the length expected.
        self.check()?;
        let done = self.write_lines(&batch.lines);
        let since = *self.unsynced_since.get_or_insert_with(Instant::now);
        if let Err(error) = done {
            return Err(self.failure("cannot write")(error));
        }
        self.written = batch.last;
        if batch.urgent || since.elapsed() >= SOON {
            self.sync()?;
        }
        self.spare = batch.lines;
        self.spare.clear();
        self.spare.shrink_to(SPARE_MAX);
        Ok(())
    }

    /// Writes whole records. When the disk takes only a part (full, quota), cuts back to the last whole one and keeps those.
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut done = 0;
        let error = loop {
            if done == lines.len() {
                self.length += done as u64;
                return Ok(());
            }
            match self.medium.write(&lines[done..]) {
                Ok(0) => break io::ErrorKind::WriteZero.into(),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
        };
        let mut whole = 0;
        while let Some(length) = line_end(&lines[whole..done]) {
            whole += length + 1;
            self.written += 1;
        }
        self.length += whole as u64;
        // What cannot be cut now is trimmed by the next start. On a full disk the whole records are kept if a sync says so, since
        // nothing went wrong with them; the first error counts.
        if self.medium.cut(self.length).is_ok() && FailureKind::of(&error) == FailureKind::DiskFull {
            drop(self.sync());
        }
        Err(error)
    }

    /// Fails when somebody deleted, replaced or changed the segment.
    fn check(&self) -> Result<(), JournalFailure> {
        self.check_length(Some(self.length))
    }

    /// The same, where `None` says that its length is not known.
    pub(super) fn check_length(&self, length: Option<u64>) -> Result<(), JournalFailure> {
        self.medium.check(length).map_err(|unfit| match unfit {
            Unfit::Tampered(what) => JournalFailure::tampered(&self.shared.folder.join(files::segment_name(self.number)), what),
            Unfit::Io(error) => self.failure("cannot look at")(error),
        })
    }

    /// Makes everything written durable and says so.
    fn sync(&mut self) -> Result<(), JournalFailure> {
        self.check()?;
        self.medium.sync().map_err(self.failure("cannot sync"))?;
        self.unsynced_since = None;
        self.synced_length = self.length;
        self.advance(self.written);
        Ok(())
    }

    fn advance(&mut self, synced: u64) {
        if synced > self.synced {
            self.synced = synced;
            self.shared.lock().synced = synced;
            self.shared.progress.notify_all();
            (self.on_progress)(Progress::Synced(Seq(synced)));
        }
    }

    /// Goes over to the segment that a snapshot begins, and lets the next snapshot come: also where it failed, since that one heals.
    fn rotate(&mut self, rotation: &Rotation) -> Result<(), JournalFailure> {
        let done = self.go_over(rotation);
        self.shared.lock().snapshot_running = false;
        done?;
        (self.on_progress)(Progress::Snapshot(Seq(rotation.upto)));
        Ok(())
    }

    /// Everything before the new segment is durable by then. Until it is there the old one is the last, so that what heals takes its number.
    fn go_over(&mut self, rotation: &Rotation) -> Result<(), JournalFailure> {
        if self.unsynced_since.is_some() {
            self.sync()?;
        }
        let mut head = Vec::new();
        let (first, rest) = {
            let mut state = self.shared.lock();
            // What gathered since belongs before the new segment: its numbers are given.
            let rest = mem::take(&mut state.gathering);
            state.last = encode_segment_head(&mut head, state.last, &segment_id(), Some(&files::snapshot_name(rotation.number)));
            state.number = rotation.number;
            (state.last.seq, rest)
        };
        if !rest.lines.is_empty() {
            self.write(Batch { urgent: true, ..rest })?;
        }
        let path = self.shared.folder.join(files::segment_name(rotation.number));
        self.medium = (self.make)(&path, &head).map_err(|source| JournalFailure::new("cannot make", &path, source))?;
        self.number = rotation.number;
        self.length = head.len() as u64;
        self.synced_length = self.length;
        self.written = first;
        self.retained.segments.push((rotation.number, first));
        self.advance(first);
        self.prune(rotation);
        // A larger state needs more. Where there is no room for it what is there has to do.
        if !self.reserve_spent {
            drop(reserve::make(&self.shared.folder));
        }
        Ok(())
    }

    /// Deletes what neither the new snapshot nor the one before it needs. What cannot be deleted is left for the next time.
    pub(super) fn prune(&mut self, rotation: &Rotation) {
        let folder = &self.shared.folder;
        let previous = self.retained.snapshot.replace((rotation.number, rotation.upto));
        let Some((number, upto)) = previous else { return };
        let segments = &mut self.retained.segments;
        let covered = segments.windows(2).take_while(|pair| pair[1].1 <= upto + 1).count();
        let gone: Vec<(u32, u64)> = segments.drain(..covered).collect();
        prune_blobs(folder, &gone, segments);
        for (segment, _) in gone {
            drop(fs::remove_file(folder.join(files::segment_name(segment))));
        }
        for snapshot in files::list(folder).map(|listing| listing.snapshots).unwrap_or_default() {
            if snapshot < number {
                drop(fs::remove_file(folder.join(files::snapshot_name(snapshot))));
            }
        }
    }

    /// Records that were taken and not written are gone from here; nobody was told that they were durable.
    pub(super) fn refuse_more(&self, failure: JournalFailure) {
        let mut state = self.shared.lock();
        state.failure = Some(failure);
        state.gathering = Batch::default();
        drop(state);
        self.shared.progress.notify_all();
    }
}

impl Drop for Worker {
    /// A panic of the receiver of progress must not leave producers who believe that their records are being written.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.refuse_more(JournalFailure::ended(&self.shared.folder.join(files::segment_name(self.number))));
        }
    }
}

/// What can be done while nothing can be written.
fn due_after_failure(state: &mut State) -> Option<Work> {
    if state.closing {
        return Some(Work::Stop);
    }
    // A snapshot that was under way is of no use any more, but has to be out of the way: the next one may have its name.
    if state.snapshot_done.take().is_some() {
        state.snapshot_running = false;
    }
    if state.snapshot_running || !mem::take(&mut state.heal_wanted) {
        return None;
    }
    state.heal_lines.clone().map(Work::Heal)
}

/// Deletes the blobs that only the segments about to be deleted refer to. Blobs of records not yet written are made when they are.
fn prune_blobs(folder: &Path, gone: &[(u32, u64)], kept: &[(u32, u64)]) {
    let Ok(candidates) = referenced(folder, gone) else { return };
    if candidates.is_empty() {
        return;
    }
    if let Ok(still) = referenced(folder, kept) {
        blob::remove(folder, candidates.difference(&still));
    }
}

/// Hashes of the blobs that segments refer to.
fn referenced(folder: &Path, segments: &[(u32, u64)]) -> io::Result<BTreeSet<String>> {
    let mut hashes = BTreeSet::new();
    for (number, _) in segments {
        let file = File::open(folder.join(files::segment_name(*number)))?;
        for line in BufReader::new(file).lines() {
            hashes.extend(blob::referenced_by_line(&line?).map(str::to_owned));
        }
    }
    Ok(hashes)
}
