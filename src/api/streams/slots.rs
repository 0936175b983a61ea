//! How many clients may stay connected: each has a descriptor, and the host needs some for its modules.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;

use crate::api::error::ApiError;

/// Places for clients.
#[derive(Debug, Default)]
pub(super) struct Slots {
    taken: Arc<AtomicUsize>,
}

/// A place; free again when dropped.
#[derive(Debug)]
pub(in crate::api) struct Slot(Arc<AtomicUsize>);

impl Slots {
    /// Takes one of `max` places. Where there are fewer than before, those who have one keep it.
    ///
    /// # Errors
    /// When all are taken.
    pub(super) fn take(&self, max: usize) -> Result<Slot, ApiError> {
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < max).then_some(taken + 1));
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
        let slots = Slots::default();
        let (one, two) = (slots.take(2), slots.take(2));
        assert!(one.is_ok() && two.is_ok() && slots.take(2).is_err());
        drop(one);
        let one = slots.take(2);
        assert!(one.is_ok(), "a place that was left can be taken");
        assert!(slots.take(1).is_err(), "there are fewer than are taken");
        assert!(slots.take(3).is_ok(), "there are more than before");
    }
}
