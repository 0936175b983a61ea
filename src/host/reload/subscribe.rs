//! Those who want to know of changes of a workspace. One that does not read is told later that it missed some; nobody waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::update::WorkspaceUpdate;

/// Where updates go. Must not block; returns whether it wants more.
pub type WorkspaceSink = Box<dyn Fn(&Arc<WorkspaceUpdate>) -> bool + Send>;

#[derive(Default)]
pub(super) struct Subscribers(Mutex<Vec<WorkspaceSink>>);

impl Subscribers {
    pub(super) fn add(&self, sink: WorkspaceSink) {
        self.lock().push(sink);
    }

    pub(super) fn tell(&self, update: &WorkspaceUpdate) {
        let mut sinks = self.lock();
        if !sinks.is_empty() {
            let update = Arc::new(update.clone());
            sinks.retain(|sink| sink(&update));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<WorkspaceSink>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Updates for one reader, in order. Dropping it ends them.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    waiting: Mutex<VecDeque<Arc<WorkspaceUpdate>>>,
    news: Condvar,
    most: usize,
}

impl Subscription {
    /// One of which at most `most` updates wait. When there are more, all of them give way to [`WorkspaceUpdate::Missed`].
    pub(super) fn new(most: usize) -> (Self, WorkspaceSink) {
        let queue = Arc::new(Queue { waiting: Mutex::default(), news: Condvar::new(), most });
        let reader = Arc::downgrade(&queue);
        let sink = move |update: &Arc<WorkspaceUpdate>| {
            let Some(queue) = reader.upgrade() else { return false };
            let mut waiting = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= queue.most {
                waiting.clear();
                waiting.push_back(Arc::new(WorkspaceUpdate::Missed));
            } else {
                waiting.push_back(update.clone());
            }
            queue.news.notify_all();
            true
        };
        (Self { queue }, Box::new(sink))
    }

    /// The next update; none if there is none within that time.
    #[must_use]
    pub fn next(&self, limit: Duration) -> Option<Arc<WorkspaceUpdate>> {
        let end = Instant::now() + limit;
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(update) = waiting.pop_front() {
                return Some(update);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            waiting = self.queue.news.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
