//! `retention:` of the settings: the host prunes by itself, when nothing runs, a few runs at a time.
//!
//! Deleting many files makes creating others dear for a while on some file systems, so it never happens beside a run: a run that comes
//! stops it between two files, and it goes on when the host is idle again.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::super::handle::{Command, CommandError, Handle, Reply};
use super::super::turn::Turn;
use super::super::workspace::Workspace;
use super::{Keep, Pace};
use crate::units::{DurationMs, Mono};

/// How long nothing must have run: the next run of a script that starts one after another does not meet a deletion.
const IDLE_BEFORE: DurationMs = DurationMs(5_000);
/// Time between two looks, over all hosts of the workspace.
const LOOK_EVERY: DurationMs = DurationMs(3_600_000);
/// Runs that go at once.
const BATCH: usize = 16;
/// Pause between two batches.
const REST: Duration = Duration::from_millis(200);

/// What a host does about retention.
pub(in super::super) struct Tidying {
    keep: Keep,
    handle: Handle,
    /// Its time is that of the last look.
    stamp: PathBuf,
    /// No look before this.
    next: Mono,
    /// What an earlier prune left was tried in this host: what cannot be removed waits for the next look.
    tried: bool,
    idle_since: Option<Mono>,
    working: Option<Arc<Stop>>,
    waiting: Vec<Reply<bool>>,
}

/// Tells the thread to stop, also in its pauses.
#[derive(Default)]
struct Stop {
    told: Mutex<bool>,
    news: Condvar,
}

impl Stop {
    fn tell(&self) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.news.notify_all();
    }

    fn is_told(&self) -> bool {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rest(&self) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether it was told is asked afterwards.
        drop(self.news.wait_timeout_while(told, REST, |told| !*told));
    }
}

impl Tidying {
    pub(in super::super) fn new(keep: Keep, handle: Handle) -> Self {
        let stamp = stamp(handle.workspace());
        // A time in the future is that of a clock that was wrong.
        let ago = std::fs::metadata(&stamp).and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
        let ago = ago.map_or(LOOK_EVERY.0, |ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX));
        // The monotonic clock of a host begins at 0 with it.
        let next = Mono(LOOK_EVERY.0.saturating_sub(ago));
        Self { keep, handle, stamp, next, tried: false, idle_since: None, working: None, waiting: Vec::new() }
    }
}

impl Tidying {
    /// Keeps something else from now on; looked for when the host is idle next.
    pub(in super::super) fn set_keep(&mut self, keep: Keep) {
        if self.keep != keep {
            self.keep = keep;
            self.next = Mono(0);
        }
    }
}

fn stamp(workspace: &Workspace) -> PathBuf {
    workspace.state().join("retention")
}

impl Turn {
    /// When there is something to do that waits for nothing but time.
    pub(in super::super) fn tidy_due(&self) -> Option<Mono> {
        let idle_since = self.tidying.idle_since.filter(|_| self.may_tidy())?;
        Some(idle_since.plus(IDLE_BEFORE).max(self.tidy_next()))
    }

    fn may_tidy(&self) -> bool {
        let wanted = self.tidying.keep != Keep::default() || !self.pruning.is_empty();
        wanted && self.tidying.working.is_none() && self.on_exit.is_none() && self.health.records()
    }

    /// What an earlier prune left does not wait for the hour.
    fn tidy_next(&self) -> Mono {
        if self.pruning.is_empty() || self.tidying.tried { self.tidying.next } else { Mono(0) }
    }

    fn is_idle(&self) -> bool {
        self.world.held().attempts == 0 && self.filing_runs.is_empty() && self.remaining() == 0
    }

    /// Called after each turn of the loop.
    pub(in super::super) fn tidy(&mut self) {
        if !self.may_tidy() && self.tidying.working.is_none() {
            return;
        }
        let now = self.clock.now().mono;
        if !self.is_idle() || self.on_exit.is_some() {
            self.tidying.idle_since = None;
            if let Some(working) = &self.tidying.working {
                working.tell();
            }
            return;
        }
        self.tidying.idle_since.get_or_insert(now);
        if self.tidy_due().is_some_and(|due| due <= now) {
            self.start_tidying();
        }
    }

    /// Somebody wants it done now, as far as the hour allows, and waits for the end: whether it came to it.
    pub(in super::super) fn tidy_now(&mut self, reply: Reply<bool>) {
        if self.may_tidy() && self.is_idle() && self.tidy_next() <= self.clock.now().mono {
            self.start_tidying();
        }
        if self.tidying.working.is_some() {
            self.tidying.waiting.push(reply);
        } else {
            drop(reply.send(Ok(true)));
        }
    }

    fn start_tidying(&mut self) {
        let stop = Arc::new(Stop::default());
        let (told, keep, handle, stamp) = (stop.clone(), self.tidying.keep, self.tidying.handle.clone(), self.tidying.stamp.clone());
        let work = move || {
            let done = handle.prune_at(keep, Pace { batch: BATCH, stop: &|| told.is_told(), rest: &|| told.rest() });
            let finished = match done {
                Ok((report, finished)) => {
                    if !report.pruned.is_empty() {
                        tracing::info!(runs = report.pruned.len(), freed = %report.bytes, "retention");
                    }
                    finished
                }
                Err(error) => {
                    tracing::warn!(%error, "retention");
                    true
                }
            };
            if finished && let Err(error) = std::fs::write(&stamp, "") {
                tracing::warn!(%error, "the time of the last look of retention could not be kept");
            }
            handle.tell(Command::Tidied { finished });
        };
        match std::thread::Builder::new().name("retention".into()).spawn(work) {
            Ok(_) => self.tidying.working = Some(stop),
            Err(error) => {
                tracing::warn!(%error, "no thread for retention");
                self.tidying.next = self.clock.now().mono.plus(LOOK_EVERY);
            }
        }
    }

    /// The thread has ended.
    pub(in super::super) fn tidied(&mut self, finished: bool) {
        self.tidying.working = None;
        self.tidying.tried = finished;
        if finished {
            self.tidying.next = self.clock.now().mono.plus(LOOK_EVERY);
        }
        for reply in self.tidying.waiting.drain(..) {
            // Whoever asked may have gone away meanwhile.
            drop(reply.send(Ok(finished)));
        }
    }
}

impl Handle {
    /// Has finished runs that the settings do not keep removed now, if nothing runs and the last look was long enough ago. Waits for it at most
    /// so long; `false` if there is more to do.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn tidy(&self, limit: Duration) -> Result<bool, CommandError> {
        self.ask_within(limit, |reply| Command::Tidy { reply }).map(|answer| answer.unwrap_or(false))
    }
}
