//! The thread that waits for hints and time, and has somebody look.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::hints::Hints;
use super::native::Native;
use super::pace::Pace;

/// How changes are to be noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// By events of the system; by looking every few seconds where there are none.
    #[default]
    Auto,
    /// By events of the system, come what may.
    Native,
    /// By looking every few seconds.
    Poll,
}

/// What a look says about the next one.
#[derive(Debug, Default)]
pub struct Outlook {
    /// Folders in which something may happen.
    pub folders: BTreeSet<PathBuf>,
    /// Something has changed and not settled yet.
    pub again: Option<Duration>,
    /// How changes are to be noticed from now on.
    pub mode: Mode,
    /// Why no events are to be expected, such as the name of a network file system.
    pub deaf: Option<String>,
}

/// How changes are noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// By events.
    Events,
    /// By looking every few seconds, and why.
    Polling(String),
    /// By a slow look at everything only: events were asked for and cannot be had.
    Slow(String),
}

/// Watches folders on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    news: Condvar,
}

#[derive(Debug)]
struct Waiting {
    hints: Hints,
    pace: Pace,
    stop: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by the library, on its thread.
    fn event(&self, event: notify::Result<notify::Event>) {
        let mut waiting = self.lock();
        let worth = match event {
            Ok(event) => waiting.hints.take(&event),
            // Events were lost, or a watch died.
            Err(_) => {
                waiting.hints.take_unknown();
                true
            }
        };
        if worth {
            waiting.pace.hint(Instant::now());
            self.news.notify_one();
        }
    }

    /// Waits until a look is due; none where there shall be none any more.
    fn wait(&self) -> Option<Hints> {
        let mut waiting = self.lock();
        loop {
            if waiting.stop {
                return None;
            }
            let left = waiting.pace.due().saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(waiting.hints.hand_over());
            }
            waiting = self.news.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Watcher {
    /// Starts with a look at once. `look` is called after hints and after some time; `tell` when the way in which changes are noticed is
    /// another one than before. Both on the thread.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn start(look: impl FnMut(&Hints) -> Outlook + Send + 'static, tell: impl FnMut(&State) + Send + 'static) -> io::Result<Self> {
        let now = Instant::now();
        let waiting = Waiting { hints: Hints::default(), pace: Pace::new(now), stop: false };
        let shared = Arc::new(Shared { waiting: Mutex::new(waiting), news: Condvar::new() });
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name("watch".into()).spawn(move || work(&of_thread, look, tell))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has it look now.
    pub fn hurry(&self) {
        self.shared.lock().pace.hurry(Instant::now());
        self.shared.news.notify_one();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.news.notify_one();
        // Whoever looked may have been the last one to hold it: a thread cannot wait for itself.
        let own = std::thread::current().id();
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != own) {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}

fn work(shared: &Arc<Shared>, mut look: impl FnMut(&Hints) -> Outlook, mut tell: impl FnMut(&State)) {
    let mut native: Option<Result<Native, String>> = None;
    let mut told = None;
    while let Some(hints) = shared.wait() {
        let began = Instant::now();
        let outlook = look(&hints);
        let (state, new) = notice(shared, &mut native, &outlook, &hints);
        let ended = Instant::now();
        let polls = matches!(state, State::Polling(_));
        {
            let mut waiting = shared.lock();
            let hinted = !waiting.hints.is_empty();
            waiting.pace.looked(began, ended, outlook.again, polls);
            if hinted {
                waiting.pace.hint(ended);
            }
            if new {
                // What happened in a folder before its watch was there is not known.
                waiting.pace.hint(ended);
            }
        }
        if told.as_ref() != Some(&state) {
            tell(&state);
            told = Some(state);
        }
    }
}

/// Has the folders watched as it was wished. Gives how changes are noticed now, and whether there are new watches.
fn notice(shared: &Arc<Shared>, native: &mut Option<Result<Native, String>>, outlook: &Outlook, hints: &Hints) -> (State, bool) {
    if outlook.mode == Mode::Poll {
        *native = None;
        return (State::Polling("`watch: poll`".into()), false);
    }
    let started = native.get_or_insert_with(|| {
        let sink = shared.clone();
        Native::start(move |event| sink.event(event))
    });
    let (lacking, new) = match started {
        Ok(native) => {
            let armed = native.arm(&outlook.folders, hints);
            (armed.lacking, armed.new)
        }
        Err(reason) => (Some(reason.clone()), false),
    };
    let state = match (lacking.or_else(|| outlook.deaf.clone()), outlook.mode) {
        (None, _) => State::Events,
        (Some(reason), Mode::Native) => State::Slow(reason),
        (Some(reason), Mode::Auto | Mode::Poll) => State::Polling(reason),
    };
    (state, new)
}
