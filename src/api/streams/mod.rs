//! Streams to many clients at once: one feed for each run that somebody looks at, shared by all who do, and a bounded number of them.
//!
//! Nothing is queued for a client. What is new lies once in a small ring, encoded once; who comes to it takes what is next, and who is
//! further back reads it from the run's order. So a client that does not read costs what is on its way to it, and delays nobody.

pub(super) mod batch;
pub(super) mod client;
pub(super) mod feed;
mod hub;
mod ring;
mod slots;
pub(super) mod sse;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::error::ApiError;
use super::work::on_thread;
use crate::host::Handle;
use crate::host::order::Order;
use crate::ids::RunId;
use feed::Feeds;

pub(super) use hub::Hub;
pub(super) use slots::Slot;

/// So many clients read from the disk at the same time; the others wait for their turn.
const READERS_MAX: usize = 4;

/// All streams of a server.
#[derive(Debug)]
pub(super) struct Streams {
    handle: Handle,
    pub(super) events: Feeds,
    hubs: Mutex<HashMap<RunId, Arc<Hub>>>,
    /// One hub is opened at a time, so that a run has one.
    opening: Mutex<()>,
    slots: slots::Slots,
    /// Places for clients, as long as no settings were looked at.
    clients_max: usize,
    readers: Semaphore,
}

impl Streams {
    /// Streams of a host, for at most so many clients.
    pub(super) fn new(handle: Handle, clients_max: usize) -> Arc<Self> {
        let (hubs, opening) = (Mutex::default(), Mutex::default());
        let events = Feeds::new(handle.clone());
        Arc::new(Self { handle, events, hubs, opening, slots: slots::Slots::default(), clients_max, readers: Semaphore::new(READERS_MAX) })
    }

    /// A place for a client that stays.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn slot(&self) -> Result<Slot, ApiError> {
        self.slots.take(self.handle.sse_clients().unwrap_or(self.clients_max))
    }

    /// The hub of a run.
    ///
    /// # Errors
    /// When there is no such run, or its log is gone or cannot be read.
    pub(super) async fn hub(self: &Arc<Self>, run: &RunId) -> Result<Arc<Hub>, ApiError> {
        if let Some(hub) = self.known(run) {
            return Ok(hub);
        }
        let (streams, run) = (self.clone(), run.clone());
        on_thread(move || streams.open(&run)).await?
    }

    fn known(&self, run: &RunId) -> Option<Arc<Hub>> {
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        let hub = hubs.get(run)?.clone();
        if hub.order().is_some_and(|order| !order.is_there()) {
            hubs.remove(run);
            return None;
        }
        hub.touch();
        Some(hub)
    }

    fn open(self: &Arc<Self>, run: &RunId) -> Result<Arc<Hub>, ApiError> {
        let _alone = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = self.known(run) {
            return Ok(hub);
        }
        let hub = Arc::new(Hub::default());
        self.hubs.lock().unwrap_or_else(PoisonError::into_inner).insert(run.clone(), hub.clone());
        let (streams, of, fed) = (Arc::downgrade(self), run.clone(), Arc::downgrade(&hub));
        let sink = move |news| {
            let (Some(streams), Some(hub)) = (streams.upgrade(), fed.upgrade()) else { return false };
            if hub.feed(news) {
                streams.remove(&of);
                return false;
            }
            !streams.forgets(&of, &hub)
        };
        let opened = Order::follow(&self.handle, run, Box::new(sink));
        match opened {
            Ok(order) => {
                hub.opened(order);
                Ok(hub)
            }
            Err(error) => {
                self.remove(run);
                Err(error.into())
            }
        }
    }

    fn remove(&self, run: &RunId) {
        self.hubs.lock().unwrap_or_else(PoisonError::into_inner).remove(run);
    }

    /// Forgets a hub that nobody uses.
    fn forgets(&self, run: &RunId, hub: &Arc<Hub>) -> bool {
        // Under the lock nobody else can get it from the map: its own place there and that of the caller are all.
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = Arc::strong_count(hub) <= 2 && hub.is_idle();
        if unused {
            hubs.remove(run);
        }
        unused
    }

    /// Does what reads from the disk, when it is its turn.
    pub(super) async fn reading<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
        // The semaphore is never closed; without a permit there would only be more at once.
        let _permit = self.readers.acquire().await.ok();
        on_thread(work).await
    }
}
