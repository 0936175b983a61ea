//! From a report, or from a look into the folder, to facts.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::super::{Ending, Exit, Fact, StopHow, prevent, reap_strangers};
use super::super::control::Stops;
use super::super::supervise::LOOK_EVERY;
use super::super::{failure, supervise};
use super::book::{Book, Entry, Order, Phase};
use super::ending::{ending, logged};
use super::system::Watch;
use super::{STACK_BYTES, Shared};
use crate::attempt::{EXIT, ExitRecord, ProgressReader, Report, ReportKind, Standing, standing};
use crate::event::LostReason;
use crate::ids::AttemptId;
use crate::logs::Stream;

/// How long processes that a dead wrapper left are waited for, before they are looked for again.
const SWEEP_LIMIT: Duration = Duration::from_secs(5);

/// How often a wrapper is sent for before the attempt counts as one that cannot be started.
const TRIES_MAX: u32 = 3;

impl Shared {
    /// Takes a report of a wrapper or of a nursery.
    pub(super) fn report(self: &Arc<Self>, nest: u64, report: Report) {
        let Report { kind, id: number, value } = report;
        match kind {
            ReportKind::Started => self.started(number, value),
            ReportKind::Output => self.output(number, value),
            ReportKind::Vacated => self.vacated(number),
            ReportKind::Ended => {
                if let Some(place) = Report::place_of(value) {
                    self.lock().homes.came_home(nest, place, number);
                }
                self.resolve(number);
            }
            ReportKind::Refused => self.resolve(number),
            ReportKind::Gone => match Report::place_of(value) {
                Some(place) => {
                    let had = self.lock().homes.gone(nest, place);
                    had.into_iter().for_each(|number| self.gone(number));
                }
                None => self.gone(number),
            },
            ReportKind::NotHatched => {
                self.lock().homes.not_hatched(nest, number);
                self.not_hatched(number, value);
            }
        }
    }

    fn started(&self, number: u64, value: u64) {
        let mut book = self.lock();
        let Some(entry) = book.entries.get_mut(&number) else { return };
        if let Phase::Hatched { nest, .. } = entry.phase {
            entry.phase = Phase::Running { nest };
        }
        let id = entry.left.id.clone();
        drop(book);
        self.quiet.notify_all();
        self.tell(Fact::Started { id, pid: u32::try_from(value).unwrap_or(0) });
    }

    fn output(&self, number: u64, bytes: u64) {
        let mut book = self.lock();
        let Some(entry) = book.entries.get_mut(&number).filter(|entry| entry.announced < bytes) else { return };
        entry.announced = bytes;
        let id = entry.left.id.clone();
        drop(book);
        self.tell(Fact::Output { id, bytes });
    }

    fn vacated(&self, number: u64) {
        let id = self.lock().entries.get(&number).map(|entry| entry.left.id.clone());
        if let Some(id) = id {
            self.tell(Fact::Vacated { id });
        }
    }

    /// A wrapper of our nursery is gone, which is as it should be once it has written down how its module ended.
    pub(super) fn gone(self: &Arc<Self>, number: u64) {
        let book = self.lock();
        // One that refused, since another one looks after the attempt, goes as well.
        let ours = book.entries.get(&number).is_some_and(|entry| matches!(entry.phase, Phase::Hatched { .. } | Phase::Running { .. }));
        drop(book);
        if ours {
            self.resolve(number);
        }
    }

    fn not_hatched(self: &Arc<Self>, number: u64, errno: u64) {
        let error = std::io::Error::from_raw_os_error(i32::try_from(errno).unwrap_or(0));
        let exit = Exit::SpawnFailed(failure::preparing("the wrapper cannot be started", &error));
        self.finish(number, supervise::never_started(exit, Stops::default()));
    }

    /// Looks into an attempt's folder and does what follows from it.
    pub(super) fn resolve(self: &Arc<Self>, number: u64) {
        let (folder, killed) = match self.lock().entries.get(&number) {
            Some(Entry { phase: Phase::Ending, .. }) | None => return,
            Some(entry) => (entry.folder.clone(), entry.stops.strongest == Some(StopHow::Kill)),
        };
        match standing(folder.path()) {
            Ok(Standing::Ended(record)) => self.ended(number, &record),
            Ok(Standing::Alive(_)) => self.watch(number),
            Ok(Standing::NeverStarted) => self.never_started(number),
            Ok(Standing::Dead(_)) => self.lose(number),
            Ok(Standing::Unclaimed) => self.again(number),
            // What cannot be read now may be readable later. Until then nobody can say that it is over, unless somebody has it killed.
            Err(_) if killed => self.lose(number),
            Err(_) => self.set_watch(number, Watch::default()),
        }
    }

    fn ended(&self, number: u64, record: &ExitRecord) {
        let mut book = self.lock();
        let Some(entry) = book.entries.get_mut(&number) else { return };
        entry.phase = Phase::Ending;
        let (folder, longest) = (entry.folder.clone(), entry.longest_variable.take());
        drop(book);
        match ending(record, &folder, longest.as_ref().map(|(name, length)| (name.as_os_str(), *length))) {
            Ok(ending) => {
                self.output(number, logged(record));
                self.finish(number, ending);
            }
            // Looked at again soon.
            Err(_) => {
                if let Some(entry) = self.lock().entries.get_mut(&number) {
                    entry.longest_variable = longest;
                }
                self.set_watch(number, Watch::default());
            }
        }
    }

    /// Its wrapper lives and is not, or no longer, a child of our nursery.
    fn watch(&self, number: u64) {
        let Some(folder) = self.lock().entries.get(&number).map(|entry| entry.folder.clone()) else { return };
        let watch = Watch::open(folder.path());
        self.set_watch(number, watch);
    }

    fn set_watch(&self, number: u64, watch: Watch) {
        if let Some(entry) = self.lock().entries.get_mut(&number) {
            entry.phase = Phase::Adopted(watch);
        }
        self.quiet.notify_all();
        self.waker.wake();
    }

    /// No wrapper has claimed it: the one that was sent for never came. Another one is sent for, which is safe even if the first
    /// one comes late, since only one of them can claim the attempt.
    pub(super) fn again(self: &Arc<Self>, number: u64) {
        let mut book = self.lock();
        let Some(entry) = book.entries.get_mut(&number) else { return };
        match std::mem::replace(&mut entry.phase, Phase::Ending) {
            Phase::Hatched { spec, .. } if entry.tries < TRIES_MAX => {
                entry.phase = Phase::Queued(spec);
                drop(book);
                self.order(Order::Start(number));
            }
            Phase::Hatched { .. } => {
                drop(book);
                let error = std::io::Error::from(std::io::ErrorKind::Interrupted);
                let failure = failure::preparing("its wrapper died before it had begun", &error);
                self.call_off(number, Exit::SpawnFailed(failure));
            }
            // Another one saw it as well.
            phase @ (Phase::Queued(_) | Phase::Ending) => entry.phase = phase,
            // Without what is to be started nobody else can be sent for.
            Phase::Running { .. } | Phase::Adopted(_) | Phase::Found => {
                drop(book);
                self.never_started(number);
            }
        }
    }

    /// Gives up an attempt for which a wrapper was sent that never came: should it come late, it finds the attempt taken.
    pub(super) fn call_off(self: &Arc<Self>, number: u64, exit: Exit) {
        let (left, stops) = match self.lock().entries.get_mut(&number) {
            Some(entry) => {
                entry.phase = Phase::Ending;
                (entry.left.clone(), entry.stops)
            }
            None => return,
        };
        if prevent(&left).unwrap_or(true) {
            return self.finish(number, supervise::never_started(exit, stops));
        }
        // It has come, and will be told of the stop that it finds.
        if let Some(entry) = self.lock().entries.get_mut(&number) {
            entry.phase = Phase::Found;
        }
        self.order(Order::Adopt(number));
        self.order(Order::Stop(number));
    }

    fn never_started(&self, number: u64) {
        let Some(stops) = self.lock().entries.get(&number).map(|entry| entry.stops) else { return };
        let exit = if stops.strongest.is_some() { Exit::Prevented } else { Exit::Lost(LostReason::NeverStarted) };
        self.finish(number, supervise::never_started(exit, stops));
    }

    /// Its wrapper is dead and has not said how the module ended: what is left of it is ended, which may take a while, and only then it
    /// counts as lost.
    fn lose(self: &Arc<Self>, number: u64) {
        let mut book = self.lock();
        let Some(entry) = book.entries.get_mut(&number) else { return };
        entry.phase = Phase::Ending;
        let (token, stops) = (entry.left.token.clone(), entry.stops);
        drop(book);
        self.sweep(number, token, stops);
    }

    fn sweep(self: &Arc<Self>, number: u64, token: String, stops: Stops) {
        let shared = Arc::clone(self);
        let sweep = move || {
            let mut count = 0;
            // The grant is kept until nothing is left: somebody else would start on top of it.
            loop {
                let reaped = reap_strangers(&token, SWEEP_LIMIT);
                count += reaped.count;
                if reaped.left == 0 {
                    break;
                }
            }
            let ending = supervise::never_started(Exit::Lost(LostReason::WrapperKilled), stops);
            shared.finish(number, Ending { leaked: count > 0, ..ending });
        };
        let sweeping = std::thread::Builder::new().name("sweep".to_owned()).stack_size(STACK_BYTES).spawn(sweep);
        if sweeping.is_err() {
            // Tried again when the attempt is looked at next.
            self.set_watch(number, Watch::default());
        }
    }

    /// It is over.
    pub(super) fn finish(&self, number: u64, ending: Ending) {
        let mut book = self.lock();
        let Some(entry) = book.remove(number) else { return };
        book.reporting += 1;
        drop(book);
        self.look_at_progress(&entry.left.id, &entry.progress);
        let ending = Ending { stop_sent: ending.stop_sent.max(entry.stops.strongest), ..ending };
        self.tell(Fact::Ended { id: entry.left.id, ending });
        self.lock().reporting -= 1;
        self.quiet.notify_all();
    }

    fn look_at_progress(&self, id: &AttemptId, progress: &Mutex<ProgressReader>) {
        let latest = progress.lock().unwrap_or_else(PoisonError::into_inner).latest();
        if let Some(progress) = latest {
            self.tell(Fact::Progress { id: id.clone(), progress });
        }
    }

    /// What nobody reports: progress, output of adopted attempts, and the end of those that cannot be watched. `all`: once a second.
    pub(super) fn look_around(self: &Arc<Self>, all: bool) {
        let mut adopted = Vec::new();
        let mut old = Vec::new();
        let mut book = self.lock();
        let Book { entries, orders, .. } = &mut *book;
        for (number, entry) in entries {
            if let Phase::Adopted(watch) = &entry.phase {
                adopted.push((*number, entry.folder.path().to_owned(), watch.is_sure()));
            }
            if all && entry.since.elapsed() >= LOOK_EVERY {
                old.push((entry.left.id.clone(), Arc::clone(&entry.progress)));
                if entry.undelivered {
                    orders.push_back(Order::Stop(*number));
                }
            }
        }
        drop(book);
        self.work.notify_one();
        old.iter().for_each(|(id, progress)| self.look_at_progress(id, progress));
        for (number, folder, sure) in adopted {
            self.output(number, logged_so_far(&folder));
            // The process that a watch is on may have another attempt by now, and live on.
            if !sure || (all && folder.join(EXIT).exists()) {
                self.resolve(number);
            }
        }
    }

    /// How long the monitor may sleep if nobody reports anything.
    pub(super) fn patience(&self, book: &Book) -> Option<Duration> {
        if book.entries.is_empty() {
            return book.homes.is_waited_at().then_some(LOOK_EVERY);
        }
        let adopted = book.entries.values().any(|entry| matches!(entry.phase, Phase::Adopted(_)));
        Some(if adopted { LOOK_EVERY / 5 } else { LOOK_EVERY })
    }
}

/// What the logs of an attempt hold.
fn logged_so_far(folder: &Path) -> u64 {
    [Stream::Stdout, Stream::Stderr]
        .iter()
        .map(|stream| std::fs::metadata(folder.join(stream.file_name())).map_or(0, |data| data.len()))
        .sum()
}

/// Ticks of the monitor.
pub(super) struct Ticks {
    last: Instant,
}

impl Ticks {
    pub(super) fn new() -> Self {
        Self { last: Instant::now() }
    }

    /// Looks around if the time has come for it.
    pub(super) fn look(&mut self, shared: &Arc<Shared>, idle: bool) {
        let all = self.last.elapsed() >= LOOK_EVERY;
        if all {
            self.last = Instant::now();
        }
        if all || idle {
            shared.look_around(all);
        }
    }
}
