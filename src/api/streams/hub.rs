//! One run's log for all who look at it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::batch::Batch;
use super::ring::{At, Ring};
use crate::host::order::{Extent, News, Order};

/// Bytes of the newest lines that are kept encoded.
const RING_BYTES: usize = 1 << 20;
/// A hub that nobody used for so long is forgotten. A page that scrolls asks again and again.
const IDLE: Duration = Duration::from_secs(10);

/// The lines of a run.
#[derive(Debug)]
pub(in crate::api) struct Hub {
    order: OnceLock<Arc<Order>>,
    ring: Mutex<Ring<Batch>>,
    /// Rings when there is something new.
    bell: watch::Sender<()>,
    left: AtomicBool,
    used: Mutex<Instant>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            order: OnceLock::new(),
            ring: Mutex::new(Ring::new(RING_BYTES)),
            bell: watch::Sender::new(()),
            left: AtomicBool::new(false),
            used: Mutex::new(Instant::now()),
        }
    }
}

impl Hub {
    pub(super) fn opened(&self, order: Arc<Order>) {
        self.ring().skip_to(order.extent().last);
        // It is opened once.
        let _ = self.order.set(order);
        self.bell.send_replace(());
    }

    /// Takes news; whether they were the last ones.
    pub(super) fn feed(&self, news: Option<News>) -> bool {
        match news {
            None => return false,
            Some(News::Lines(lines)) if lines.is_empty() => self.catch_up(),
            Some(News::Lines(lines)) => {
                let mut ring = self.ring();
                // Should the order have been opened between two batches: then the ring knows these already as come.
                Batch::of(lines).into_iter().for_each(|batch| ring.push(batch));
            }
            Some(News::Changed) => self.catch_up(),
            Some(News::Left) => self.left.store(true, Ordering::Relaxed),
        }
        self.bell.send_replace(());
        self.left.load(Ordering::Relaxed)
    }

    fn catch_up(&self) {
        if let Some(order) = self.order.get() {
            self.ring().skip_to(order.extent().last);
        }
    }

    /// The order, once it is opened.
    pub(in crate::api) fn order(&self) -> Option<&Arc<Order>> {
        self.order.get()
    }

    /// How far it has come.
    pub(in crate::api) fn extent(&self) -> Extent {
        self.order.get().map(|order| order.extent()).unwrap_or_default()
    }

    /// Where a line is.
    pub(super) fn at(&self, line: u64) -> At<Batch> {
        self.ring().at(line)
    }

    /// Number of the last line that clients may see.
    pub(super) fn last(&self) -> u64 {
        self.ring().last()
    }

    /// Whether the host has let go of the run.
    pub(in crate::api) fn has_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// Is told when there is something new.
    pub(in crate::api) fn listen(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    /// Waits until everything that was there is in the order, or it is in trouble.
    pub(in crate::api) async fn caught_up(&self) -> Extent {
        let mut bell = self.listen();
        loop {
            bell.borrow_and_update();
            let extent = self.extent();
            if extent.caught_up || extent.trouble.is_some() || self.has_left() || bell.changed().await.is_err() {
                return extent;
            }
        }
    }

    pub(super) fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= IDLE
    }

    fn ring(&self) -> MutexGuard<'_, Ring<Batch>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
