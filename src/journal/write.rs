//! Writing: producers encode under a mutex into the gathering batch; one thread writes and syncs batch after batch.
//!
//! The thread sleeps when there is nothing to do, and without a time limit unless written records wait for their sync. A batch with
//! an urgent record is synced at once, and everything that came meanwhile is the next batch: the slower the disk, the larger the
//! batches. After the first error nothing is tried again on the same descriptor (the kernel reports a failed sync once and then
//! forgets it): the failure is reported, and every later append is refused until the journal is [healed](Writer::heal).

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, mem, thread};

use super::record::{Link, encode};
use super::segment::{MakeMedium, Medium};
use super::snapshot::Upto;
use super::thread::Worker;
use super::{AppendError, Entry, JournalFailure, Limits, Options, Urgency, boot_id, files, snapshot};
use crate::ids::Seq;

/// What the writer thread reports.
#[derive(Debug, Clone)]
pub enum Progress {
    /// All records up to this one are durable.
    Synced(Seq),
    /// Nothing more is taken until the journal is [healed](Writer::heal). Said once for each failure.
    Failed(JournalFailure),
    /// A new segment was begun after a failure, and everything that was ever taken is durable.
    Healed {
        /// Up to this record.
        upto: Seq,
        /// It took the ballast: the disk is as full as before.
        reserve_spent: bool,
    },
    /// Healing failed, and can be tried again.
    HealFailed(JournalFailure),
    /// Whether the ballast could be made [anew](Writer::restore_reserve).
    Reserve(bool),
    /// A snapshot includes everything up to this record, and a new segment was begun.
    Snapshot(Seq),
    /// A snapshot could not be written; the journal goes on without it.
    SnapshotFailed(JournalFailure),
}

/// What a writer starts with.
pub(super) struct Begin {
    pub(super) folder: PathBuf,
    pub(super) medium: Box<dyn Medium>,
    /// Makes the media of later segments.
    pub(super) make: MakeMedium,
    /// Number of the segment.
    pub(super) number: u32,
    /// Its length.
    pub(super) length: u64,
    /// The last record in it.
    pub(super) last: Link,
    /// Bytes and records since the last snapshot.
    pub(super) since_snapshot: (u64, u64),
    pub(super) retained: Retained,
}

/// What lies in the folder, as far as it matters for deleting what is no longer needed.
#[derive(Debug, Default)]
pub(super) struct Retained {
    /// Number and first record of each segment, ascending.
    pub(super) segments: Vec<(u32, u64)>,
    /// Number and last record of the newest snapshot.
    pub(super) snapshot: Option<(u32, u64)>,
}

/// Records that were encoded and not yet written.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) lines: Vec<u8>,
    /// Data that must be durable before the lines: hash and bytes.
    pub(super) blobs: Vec<(String, Box<[u8]>)>,
    /// The last record in it.
    pub(super) last: u64,
    pub(super) urgent: bool,
}

/// A snapshot that has its name, waiting for its segment.
#[derive(Debug)]
pub(super) struct Rotation {
    pub(super) number: u32,
    pub(super) upto: u64,
}

/// What producers and the thread share.
#[derive(Debug)]
pub(super) struct State {
    /// The last record taken.
    pub(super) last: Link,
    pub(super) gathering: Batch,
    /// Everything up to this record is durable.
    pub(super) synced: u64,
    /// Somebody waits for the sync of what was written.
    pub(super) sync_wanted: bool,
    /// The thread sleeps and must be woken.
    pub(super) idle: bool,
    pub(super) closing: bool,
    pub(super) failure: Option<JournalFailure>,
    /// Number of the current segment.
    pub(super) number: u32,
    pub(super) since_snapshot: (u64, u64),
    pub(super) snapshot_running: bool,
    /// How the writing of a snapshot ended.
    pub(super) snapshot_done: Option<Result<Rotation, JournalFailure>>,
    /// The host's state at the failure, kept until it is on the disk.
    pub(super) heal_lines: Option<Arc<[String]>>,
    /// Healing is to be tried now.
    pub(super) heal_wanted: bool,
    /// The ballast is to be made anew.
    pub(super) reserve_wanted: bool,
}

/// The state with its two conditions.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// The thread has something to do.
    pub(super) work: Condvar,
    /// `synced` grew, or the thread ended.
    pub(super) progress: Condvar,
    pub(super) folder: PathBuf,
}

impl Shared {
    /// The state. A panic of another holder leaves it consistent: nothing is changed half.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Releases the state and wakes the thread if it sleeps. Waking costs a system call, so a busy thread is left alone.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let asleep = mem::take(&mut state.idle);
        drop(state);
        if asleep {
            self.work.notify_one();
        }
    }

    /// Waits until record `upto` is durable. False when `limit` passed first.
    fn wait_synced(&self, upto: u64, limit: Duration) -> Result<bool, AppendError> {
        let begin = Instant::now();
        let mut state = self.lock();
        if state.synced < upto {
            state.sync_wanted = true;
            self.wake(state);
            state = self.lock();
        }
        loop {
            if state.synced >= upto {
                return Ok(true);
            }
            if let Some(failure) = &state.failure {
                return Err(AppendError::Failed(failure.clone()));
            }
            let left = limit.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            state = self.progress.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Appends records. All methods take `&self`; share it in an `Arc` where several threads write. Dropping it closes the journal.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    limits: Limits,
    thread: Option<JoinHandle<()>>,
    snapshot: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(begin: Begin, options: Options) -> io::Result<Self> {
        let state = State {
            last: begin.last,
            gathering: Batch::default(),
            synced: begin.last.seq,
            sync_wanted: false,
            idle: false,
            closing: false,
            failure: None,
            number: begin.number,
            since_snapshot: begin.since_snapshot,
            snapshot_running: false,
            snapshot_done: None,
            heal_lines: None,
            heal_wanted: false,
            reserve_wanted: false,
        };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), progress: Condvar::new(), folder: begin.folder.clone() });
        let worker = Worker::new(shared.clone(), begin, options.on_progress);
        let thread = thread::Builder::new().name("journal".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, limits: options.limits, thread: Some(thread), snapshot: Mutex::new(None) })
    }

    /// Takes a record and gives it its number. Never waits for the disk.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(&self, entry: Entry<'_>) -> Result<Seq, AppendError> {
        let taken = self.append_if(entry, |_| true).map(|taken| taken.unwrap_or_default());
        self.hand_over();
        taken
    }

    /// The same, but asks with the record's number whether it is to be taken; `None` if not. So a caller can change its state under
    /// exactly that number, or refuse and leave no trace. `accept` is called under the writer's lock and must be short.
    ///
    /// A record that nobody waits for does not wake the thread by itself: whoever appends several ends with [`Self::hand_over`].
    ///
    /// # Errors
    /// See [`AppendError`]; `accept` was not called then.
    pub fn append_if(&self, entry: Entry<'_>, accept: impl FnOnce(Seq) -> bool) -> Result<Option<Seq>, AppendError> {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        if let Some(failure) = &state.failure {
            return Err(AppendError::Failed(failure.clone()));
        }
        if state.closing {
            return Err(AppendError::Closed);
        }
        let batch = &mut state.gathering;
        let before = batch.lines.len();
        let encoded = encode(&mut batch.lines, state.last, boot_id(), &entry).map_err(|length| AppendError::TooLong { length })?;
        if !accept(Seq(encoded.link.seq)) {
            batch.lines.truncate(before);
            return Ok(None);
        }
        state.last = encoded.link;
        batch.last = encoded.link.seq;
        batch.blobs.extend(encoded.spilled);
        batch.urgent |= entry.urgency == Urgency::Now;
        state.since_snapshot.0 += (batch.lines.len() - before) as u64;
        state.since_snapshot.1 += 1;
        if entry.urgency == Urgency::Now {
            self.shared.wake(guard);
        }
        Ok(Some(Seq(encoded.link.seq)))
    }

    /// Has everything written that was appended. Waking the thread costs a system call and on an idle processor much more, so it is done
    /// once for several records.
    pub fn hand_over(&self) {
        let guard = self.shared.lock();
        if !guard.gathering.lines.is_empty() {
            self.shared.wake(guard);
        }
    }

    /// Waits until everything taken so far is durable; false when `limit` passed first.
    ///
    /// # Errors
    /// When the journal failed.
    pub fn flush_and_wait(&self, limit: Duration) -> Result<bool, AppendError> {
        let upto = self.last_seq().0;
        self.shared.wait_synced(upto, limit)
    }

    /// Whether so much was written since the last snapshot that it is time for the next.
    #[must_use]
    pub fn needs_snapshot(&self) -> bool {
        let state = self.shared.lock();
        let (bytes, records) = state.since_snapshot;
        !state.snapshot_running && state.failure.is_none() && (bytes >= self.limits.bytes || records >= self.limits.records)
    }

    /// Number of records since the last snapshot.
    #[must_use]
    pub fn records_since_snapshot(&self) -> u64 {
        self.shared.lock().since_snapshot.1
    }

    /// Writes the host's state after record `upto` as a snapshot, one line each (without line ends, of whatever only the host
    /// understands), and begins a new segment. Returns at once: a thread of its own writes the file, and records go on being
    /// taken and synced. The end is reported as [`Progress::Snapshot`] or [`Progress::SnapshotFailed`]. Does nothing while another
    /// snapshot is being written.
    pub fn snapshot(&self, lines: Vec<String>, upto: Seq) {
        let mut state = self.shared.lock();
        if state.snapshot_running || state.closing || state.failure.is_some() {
            return;
        }
        state.snapshot_running = true;
        // Counted from here on, so that a snapshot that fails is tried again after as much as usual and not at once.
        state.since_snapshot = (0, 0);
        let number = state.number + 1;
        let last = state.last.seq;
        drop(state);
        if upto.0 > last {
            let error = io::Error::new(io::ErrorKind::InvalidInput, format!("record {} was never taken", upto.0));
            return report(&self.shared, Err(JournalFailure::new("cannot write a snapshot in", &self.shared.folder, error)));
        }
        let shared = self.shared.clone();
        let spawned = thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            let done = write_snapshot(&shared, &lines, upto, number);
            report(&shared, done);
        });
        match spawned {
            Ok(handle) => *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle),
            Err(error) => {
                report(&self.shared, Err(JournalFailure::new("cannot start a thread for a snapshot in", &self.shared.folder, error)))
            }
        }
    }

    /// Puts a failed journal on its feet: writes the host's state after the last record taken as a snapshot, and begins a new segment.
    /// Returns at once; the end is reported as [`Progress::Healed`] or [`Progress::HealFailed`]. On a full disk the ballast is freed
    /// for it. `state` is asked once for each failure, however often this is tried: between, nothing is taken that could change it.
    /// Does nothing while the journal is well.
    pub fn heal(&self, state: impl FnOnce() -> Vec<String>) {
        let known = {
            let state = self.shared.lock();
            if state.failure.is_none() || state.closing {
                return;
            }
            state.heal_lines.clone()
        };
        let lines = known.unwrap_or_else(|| state().into());
        let mut guard = self.shared.lock();
        guard.heal_lines = Some(lines);
        guard.heal_wanted = true;
        self.shared.wake(guard);
    }

    /// Makes the ballast anew that a full disk took. The end is reported as [`Progress::Reserve`].
    pub fn restore_reserve(&self) {
        let mut state = self.shared.lock();
        state.reserve_wanted = true;
        self.shared.wake(state);
    }

    /// Number of the last record taken.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        Seq(self.shared.lock().last.seq)
    }

    /// Number of the last record that is durable.
    #[must_use]
    pub fn synced_seq(&self) -> Seq {
        Seq(self.shared.lock().synced)
    }

    /// Syncs what is left and ends the thread. A snapshot that is being written is finished first.
    ///
    /// # Errors
    /// When the journal failed, now or before.
    pub fn close(mut self) -> Result<(), AppendError> {
        self.shut();
        let failure = self.shared.lock().failure.clone();
        failure.map_or(Ok(()), |failure| Err(AppendError::Failed(failure)))
    }

    fn shut(&mut self) {
        let snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A thread that panicked has said so on standard error; there is nothing left to do about it here.
        drop(snapshot.map(JoinHandle::join));
        let mut state = self.shared.lock();
        state.closing = true;
        self.shared.wake(state);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shut();
    }
}

/// Writes the file aside, waits until what it includes is durable in the journal too, and gives it its name.
fn write_snapshot(shared: &Shared, lines: &[String], upto: Seq, number: u32) -> Result<Rotation, JournalFailure> {
    /// A disk that takes longer for a sync has failed for our purpose; the next snapshot may do better.
    const SYNC_LIMIT: Duration = Duration::from_secs(600);
    let path = shared.folder.join(files::snapshot_name(number));
    let failed = |source| JournalFailure::new("cannot write the snapshot", &path, source);
    let temporary = snapshot::write_aside(&path, lines, Upto::Record(upto)).map_err(failed)?;
    match shared.wait_synced(upto.0, SYNC_LIMIT) {
        Ok(true) => {}
        Ok(false) => return Err(failed(io::ErrorKind::TimedOut.into())),
        Err(_) => return Err(failed(io::Error::other("the journal failed meanwhile"))),
    }
    files::put_in_place(&temporary, &path).map_err(failed)?;
    Ok(Rotation { number, upto: upto.0 })
}

fn report(shared: &Shared, done: Result<Rotation, JournalFailure>) {
    let mut state = shared.lock();
    state.snapshot_done = Some(done);
    shared.wake(state);
}
