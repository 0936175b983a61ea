//! The server: one thread, loopback only, closed to everyone without the token.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::sync::oneshot;

use super::dto::Health;
use super::error::ApiError;
use super::streams::Streams;
use super::{download, events, local, logs};
use crate::host::Handle;

/// Largest body of a request: parameters come by this way, files by path.
const BODY_BYTES_MAX: usize = 1 << 20;

/// How long connections may take to end when the host leaves.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// What every route gets.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) handle: Handle,
    pub(super) streams: Arc<Streams>,
    token: Arc<str>,
    port: u16,
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}

/// Starts a server on 127.0.0.1, on `port` or (0) a free one.
///
/// # Errors
/// When the port is taken or no thread can be had.
pub fn start(handle: Handle, token: &str, port: u16, clients_max: usize) -> io::Result<Server> {
    let listener = std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let (stop, stopped) = oneshot::channel::<()>();
    let shared = Shared { streams: Streams::new(handle.clone(), clients_max), handle, token: token.into(), port };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let thread = std::thread::Builder::new().name("api".into()).spawn(move || {
        runtime.block_on(async move {
            let listener = match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(error) => return tracing::error!(%error, "the server could not take its socket"),
            };
            let (leave, leaving) = oneshot::channel::<()>();
            let graceful = axum::serve(listener, router(shared)).with_graceful_shutdown(async {
                // Also when the other end was dropped.
                let _ = leaving.await;
            });
            let stop = async {
                let _ = stopped.await;
                drop(leave);
                // Followers were told that the host leaves, and their streams end: this is time for the last packets.
                tokio::time::sleep(FLUSH_LIMIT).await;
            };
            tokio::select! {
                ended = graceful.into_future() => if let Err(error) = ended {
                    tracing::error!(%error, "the server ended");
                },
                () = stop => {}
            }
        });
        // Requests that are being carried out on other threads end by themselves when the host's loop is gone.
        runtime.shutdown_background();
    })?;
    Ok(Server { port, stop: Some(stop), thread: Some(thread) })
}

fn router(shared: Shared) -> Router {
    let owner = Router::new()
        .route("/api/local/runs", post(local::submit))
        .route("/api/local/retry", post(local::retry))
        .route("/api/local/resume", post(local::resume))
        .route("/api/local/why", post(local::why))
        .route("/api/local/resources", post(local::resources))
        .route("/api/local/prune", post(local::prune))
        .route("/api/local/runs/{run}/cancel", post(local::cancel))
        .route("/api/local/runs/{run}/follow", get(local::follow))
        .route("/api/events", get(events::events))
        .route("/api/runs/{run}/logs", get(logs::lines))
        .route("/api/runs/{run}/logs/stream", get(logs::stream))
        .route("/api/runs/{run}/logs/search", get(logs::search))
        .route("/api/runs/{run}/logs/download", get(download::download))
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is no such route") })
        .layer(middleware::from_fn_with_state(shared.clone(), only_owner));
    Router::new()
        .route("/api/health", get(health))
        .merge(owner)
        .layer(middleware::from_fn_with_state(shared.clone(), only_loopback_names))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

async fn health(State(shared): State<Shared>) -> Json<Health> {
    Json(Health {
        health: shared.handle.health(),
        disk: shared.handle.disk_level(),
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        leaving: shared.handle.is_leaving(),
    })
}

/// A page on another name that resolves to this address (DNS rebinding) sends that name.
async fn only_loopback_names(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|value| value.to_str().ok()).unwrap_or("");
    let known = ["127.0.0.1", "localhost"].iter().any(|name| host == format!("{name}:{}", shared.port));
    if known && hosts.next().is_none() && !request.headers().contains_key(header::ORIGIN) {
        next.run(request).await
    } else {
        ApiError::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", "this server answers its own address only").into_response()
    }
}

async fn only_owner(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let mut given = request.headers().get_all(header::AUTHORIZATION).iter();
    let token = given.next().and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if token.is_some_and(|token| same(token, shared.token.as_bytes())) && given.next().is_none() {
        next.run(request).await
    } else {
        ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "the token of the workspace is needed (.prismq/token)").into_response()
    }
}

/// Compares in a time that does not depend on where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    #[test]
    fn tokens_are_compared_whole() {
        assert!(super::same(b"abc", b"abc"));
        assert!(!super::same(b"abc", b"abd"));
        assert!(!super::same(b"abc", b"ab"));
    }
}
