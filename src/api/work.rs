//! Work that may wait for the disk or for the host's loop: on a thread of its own, and not too much at once.

use std::io;

use axum::http::StatusCode;

use super::error::ApiError;
use super::server::Shared;
use crate::host::Handle;

/// Does something on a thread of its own, whatever else is being done.
pub(super) async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let (send, answer) = tokio::sync::oneshot::channel();
    // Whoever asked may have gone away meanwhile.
    let started = std::thread::Builder::new().name("request".to_owned()).spawn(move || drop(send.send(work())));
    started.map_err(no_room)?;
    let failed = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request was not carried out: its thread panicked");
    answer.await.map_err(failed)
}

impl Shared {
    /// Does something on a thread of its own. Tokio's own way panics where there is no room for another thread. Further requests wait while
    /// many are worked on.
    pub(super) async fn work<T, E>(&self, work: impl FnOnce(&Handle) -> Result<T, E> + Send + 'static) -> Result<T, ApiError>
    where
        T: Send + 'static,
        E: Send + 'static,
        ApiError: From<E>,
    {
        let failed =
            || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request was not carried out: its thread panicked");
        let place = self.working.clone().acquire_owned().await.map_err(|_| failed())?;
        let (send, answer) = tokio::sync::oneshot::channel();
        let handle = self.handle.clone();
        let started = self.workers.start(move || {
            let done = work(&handle);
            drop(place);
            // Whoever asked may have gone away meanwhile.
            drop(send.send(done));
        });
        started.map_err(no_room)?;
        Ok(answer.await.map_err(|_| failed())??)
    }
}

fn no_room(error: io::Error) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", format!("the host has no room for another thread: {error}"))
}
