//! Everything but logs as one stream: how the workspace is, with a number, then every change with the next one.
//!
//! ```text
//! event: snapshot   {seq, runs, queue, host, disks, resources}: how things are; the first one, and after every `reset`
//! event: run        a run is new, or its status changed       event: node       a node of a run changed
//! event: progress   what a node says of itself                event: removed    {runs}: these were pruned
//! event: queue      {queued, running}                         event: resources  the machine, while it is looked at
//! event: host       what the host can do                      event: disks      how the disks stand
//! event: modules, pipelines   {changes}: files were added, changed, removed, broken, repaired
//! event: settings   keys that count from now on, and those that wait for a restart
//! event: watch      how changes of files are noticed
//! event: reset      what was seen is too long ago: a snapshot follows
//! ```

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::error::ApiError;
use super::server::Shared;
use super::streams::{feed, sse};

/// `GET /api/events`
pub(super) async fn events(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, ApiError> {
    let seen = sse::last_event_id(&headers)?;
    let slot = shared.streams.slot()?;
    Ok(sse::response(feed::events(&shared.streams, seen, slot).await?, shared.ends()))
}
