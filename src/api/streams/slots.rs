//! How many clients may stay connected: each has a descriptor, and the host needs some for its modules.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;

use crate::api::error::ApiError;

/// Places for clients.
#[derive(Debug)]
pub(super) struct Slots {
    taken: Arc<AtomicUsize>,
    max: usize,
}

/// A place; free again when dropped.
#[derive(Debug)]
pub(in crate::api) struct Slot(Arc<AtomicUsize>);

impl Slots {
    pub(super) fn new(max: usize) -> Self {
        Self { taken: Arc::default(), max }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// When all are taken.
    pub(super) fn take(&self) -> Result<Slot, ApiError> {
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < self.max).then_some(taken + 1));
        taken.map(|_| Slot(self.taken.clone())).map_err(|taken| {
            let detail = format!("{taken} clients are connected already (host.sse_clients in prismq.yaml)");
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", detail).retry_after(5)
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f49_there_are_so_many_places_and_no_more() {
        let slots = Slots::new(2);
        let (one, two) = (slots.take(), slots.take());
        assert!(one.is_ok() && two.is_ok() && slots.take().is_err());
        drop(one);
        assert!(slots.take().is_ok(), "a place that was left can be taken");
    }
}
