//! Wrapped attempts: each has a wrapper of its own, which outlives us, and a folder, which says everything.
//!
//! Two threads for all of them, however many run. One prepares: folders, `spec.json`, stops; it hands attempts to whatever starts wrappers
//! (`system`). The other one, the monitor, hears what wrappers report and sees adopted ones end. A report is only a hint to look into
//! the folder; the folder alone would do.
//!
//! ```text
//!   start ──▶ orders ──▶ preparer ── folder, spec.json ──▶ nursery ── fork ──▶ wrapper ──▶ module
//!                                                             └──── reports ◀────┘
//!   host  ◀── facts ◀── monitor ◀── exit.json ◀───────────────────────┘
//! ```

mod ahead;
mod book;
pub(super) mod ending;
#[cfg(target_os = "linux")]
mod homes;
mod outcome;
mod preparer;
pub(super) mod program;
mod secrets;
#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "portable.rs")]
mod system;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::super::{Exit, Fact, Left, Sink, Spec, StopHow};
use super::claims::Runs;
use super::control::Stops;
use super::{failure, supervise};
use crate::attempt::AttemptFolder;
use crate::ids::AttemptId;
use book::{Book, Order, Phase};
use program::Program;
use system::Waker;

pub(super) use system::wake;

/// Stack of a thread: what they call is shallow, but for the reader of outputs, which is bounded.
const STACK_BYTES: usize = 256 << 10;

/// Folders that wait for being made ahead. One more is made when it is needed.
const EXPECTED_MAX: usize = 256;

/// How long a host that leaves waits until what it just handed over has found its wrapper.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// And until the threads have left, and with them the nursery.
const LEAVE_LIMIT: Duration = Duration::from_millis(500);

/// The wrapped attempts of an engine.
pub(super) struct Wrapped {
    shared: Arc<Shared>,
}

/// What the threads have in common.
struct Shared {
    sink: Sink,
    runs: Arc<Runs>,
    program: Result<Program, String>,
    book: Mutex<Book>,
    /// Rung when there is an order.
    work: Condvar,
    /// Rung when the book may have become quiet or settled.
    quiet: Condvar,
    waker: Waker,
}

impl Wrapped {
    pub(super) fn new(sink: Sink, runs: Arc<Runs>) -> Self {
        let shared = Shared {
            sink,
            runs,
            program: program::find(),
            book: Mutex::default(),
            work: Condvar::new(),
            quiet: Condvar::new(),
            waker: Waker::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes an attempt to be started.
    pub(super) fn start(&self, spec: Spec) {
        let left = Left {
            id: spec.id.clone(),
            node: spec.node.clone(),
            run_folder: spec.run_folder.clone(),
            token: spec.token.clone(),
            grace: spec.grace,
        };
        self.take(left, Phase::Queued(Box::new(spec)), Order::Start);
    }

    /// Has the folder of an attempt made when there is nothing else to do.
    pub(super) fn expect(&self, folder: AttemptFolder, fresh: bool) {
        let mut book = self.shared.lock();
        if book.expected.len() < EXPECTED_MAX {
            book.expected.push_back((folder, fresh));
            drop(book);
            self.shared.work.notify_one();
        }
    }

    /// Makes no more folders ahead in that of a run.
    pub(super) fn forget(&self, run_folder: &Path) {
        self.shared.lock().expected.retain(|(folder, _)| folder.path().parent() != Some(run_folder));
    }

    /// Takes an attempt that another host started.
    pub(super) fn adopt(&self, left: Left) {
        self.take(left, Phase::Found, Order::Adopt);
    }

    fn take(&self, left: Left, phase: Phase, order: impl FnOnce(u64) -> Order) {
        let mut book = self.shared.lock();
        let number = book.insert(left, phase);
        book.orders.push_back(order(number));
        let threads = self.add_threads(&mut book);
        drop(book);
        match threads {
            Ok(()) => self.shared.work.notify_one(),
            Err(error) => {
                let exit = Exit::SpawnFailed(failure::preparing("no thread can be started for it", &error));
                self.shared.finish(number, supervise::never_started(exit, Stops::default()));
            }
        }
    }

    /// The two threads, started with the first attempt. A host without wrapped ones has none.
    fn add_threads(&self, book: &mut Book) -> io::Result<()> {
        let builder = |name: &str| thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
        if !book.monitored {
            let sleeper = self.shared.waker.arm()?;
            let shared = Arc::clone(&self.shared);
            builder("wrappers").spawn(move || system::monitor(&shared, &sleeper))?;
            book.monitored = true;
        }
        if !book.served {
            let shared = Arc::clone(&self.shared);
            builder("wrapped").spawn(move || preparer::serve(&shared))?;
            book.served = true;
        }
        Ok(())
    }

    /// Asks for a stop; gives whether it knows the attempt.
    pub(super) fn stop(&self, id: &AttemptId, how: StopHow) -> bool {
        let mut book = self.shared.lock();
        let Some(number) = book.number(id) else { return false };
        if let Some(entry) = book.entries.get_mut(&number)
            && entry.stops.strongest < Some(how)
        {
            entry.stops.add(how);
            book.orders.push_back(Order::Stop(number));
            self.shared.work.notify_one();
        }
        true
    }

    /// Waits until nothing is open.
    pub(super) fn join(&self) {
        let busy = |book: &mut Book| !book.entries.is_empty() || book.reporting > 0;
        let book = self.shared.quiet.wait_while(self.shared.lock(), busy).unwrap_or_else(PoisonError::into_inner);
        drop(book);
    }

    /// Lets go of all attempts, once they are on their own feet.
    pub(super) fn release(&self) {
        self.wait(SETTLE_LIMIT, Book::is_settled);
        self.close();
        self.wait(LEAVE_LIMIT, |book| !book.served);
    }

    fn wait(&self, limit: Duration, done: impl Fn(&Book) -> bool) {
        let waited = self.shared.quiet.wait_timeout_while(self.shared.lock(), limit, |book| !done(book));
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets the threads leave. What runs goes on without us.
    pub(super) fn close(&self) {
        let mut book = self.shared.lock();
        book.closed = true;
        // Before the nursery is told: it waits for those that go now.
        book.homes.close();
        drop(book);
        self.shared.work.notify_all();
        self.shared.waker.wake();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the host. A sink that fails must not take the monitor with it: it has other attempts to look after.
    fn tell(&self, fact: Fact) {
        let _ = catch_unwind(AssertUnwindSafe(|| (self.sink)(fact)));
    }

    fn order(&self, order: Order) {
        self.lock().orders.push_back(order);
        self.work.notify_one();
    }
}
