//! Threads for requests, kept a while for the next ones.
//!
//! A request may wait for the disk and for the host's loop, so that each has a thread of its own; to make one for each costs as much as many
//! a request itself. There are as many as are worked on at once: nothing waits here for another request. Knows nothing of HTTP.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a thread waits for the next request before it leaves.
const IDLE_LIMIT: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

#[derive(Clone, Default)]
pub(super) struct Workers(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    /// Rung when there is a job in the queue.
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// Jobs on their way to threads that wait; never more than there are such threads.
    queue: VecDeque<Job>,
    idle: usize,
}

impl Workers {
    /// Does something on a thread that waits, or on a new one. What panics has said so on standard error, and ends alone.
    ///
    /// # Errors
    /// When there is no room for another thread; nothing is done then.
    pub(super) fn start(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.queue.len() < state.idle {
            state.queue.push_back(Box::new(job));
            drop(state);
            self.0.work.notify_one();
            return Ok(());
        }
        drop(state);
        let inner = self.0.clone();
        let work = move || inner.work(Box::new(job));
        thread::Builder::new().name("request".to_owned()).spawn(work).map(drop)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, first: Job) {
        let mut next = Some(first);
        while let Some(job) = next {
            // Whoever waits for its answer sees that none comes.
            drop(catch_unwind(AssertUnwindSafe(job)));
            next = self.next();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        state.idle += 1;
        let waited = self.work.wait_timeout_while(state, IDLE_LIMIT, |state| state.queue.is_empty());
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.idle -= 1;
        state.queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn wait_for_idle(workers: &Workers, count: usize) {
        let begin = std::time::Instant::now();
        while workers.0.lock().idle < count {
            assert!(begin.elapsed() < LIMIT, "no thread waits");
            thread::yield_now();
        }
    }

    #[test]
    fn one_after_another_needs_one_thread() {
        let workers = Workers::default();
        let (send, seen) = mpsc::channel();
        let mut threads = BTreeSet::new();
        for _ in 0..20 {
            let send = send.clone();
            workers.start(move || drop(send.send(format!("{:?}", thread::current().id())))).expect("room");
            threads.insert(seen.recv_timeout(LIMIT).expect("it is done"));
            wait_for_idle(&workers, 1);
        }
        assert_eq!(threads.len(), 1);
    }

    #[test]
    fn nothing_waits_for_another() {
        let workers = Workers::default();
        let meeting = Arc::new(std::sync::Barrier::new(50));
        let (send, seen) = mpsc::channel();
        // Twice: with new threads, and with those that waited.
        for _ in 0..2 {
            for _ in 0..50 {
                let (meeting, send) = (meeting.clone(), send.clone());
                workers
                    .start(move || {
                        meeting.wait();
                        let _ = send.send(());
                    })
                    .expect("room");
            }
            for _ in 0..50 {
                seen.recv_timeout(LIMIT).expect("all of them came together");
            }
            wait_for_idle(&workers, 50);
        }
    }

    #[test]
    fn a_panic_ends_alone() {
        let workers = Workers::default();
        let (send, seen) = mpsc::channel::<()>();
        workers
            .start(move || {
                let _send = send;
                panic!("a fault of ours");
            })
            .expect("room");
        assert!(matches!(seen.recv_timeout(LIMIT), Err(mpsc::RecvTimeoutError::Disconnected)));
        wait_for_idle(&workers, 1);
        let (send, seen) = mpsc::channel();
        workers.start(move || send.send(1).expect("somebody waits")).expect("room");
        assert_eq!(seen.recv_timeout(LIMIT), Ok(1));
    }
}
