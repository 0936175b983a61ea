//! Routes for the owner's own terminals: they may name files by path, which no browser may.

use std::convert::Infallible;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::backlog::{WAITING_MAX, backlog};
use super::dto::{Accepted, CancelRequest, ResumeReply, ResumeRequest};
use super::error::ApiError;
use super::server::Shared;
use crate::host::prune::Keep;
use crate::host::submission::{Retry, Submit};
use crate::host::update::Update;
use crate::host::why::WhyAsked;
use crate::host::{Handle, render};
use crate::ids::RunId;

/// `POST /api/local/runs`
pub(super) async fn submit(State(shared): State<Shared>, Json(submit): Json<Submit>) -> Result<Response, ApiError> {
    let handle = shared.handle.clone();
    // Reads files and may take a second for a large pipeline: not on the thread that answers others.
    let accepted = blocking(move || handle.submit(&submit)).await??;
    let notes = render::diagnostics(&accepted.notes, false);
    Ok((StatusCode::ACCEPTED, Json(Accepted { run_id: accepted.run, notes })).into_response())
}

/// `POST /api/local/retry`
pub(super) async fn retry(State(shared): State<Shared>, Json(retry): Json<Retry>) -> Result<Response, ApiError> {
    let handle = shared.handle.clone();
    let accepted = blocking(move || handle.retry(&retry)).await??;
    Ok((StatusCode::ACCEPTED, Json(Accepted { run_id: accepted.run, notes: String::new() })).into_response())
}

/// `POST /api/local/runs/{run}/cancel`
pub(super) async fn cancel(
    State(shared): State<Shared>,
    Path(run): Path<String>,
    Json(request): Json<CancelRequest>,
) -> Result<Response, ApiError> {
    let run = parse(&run)?;
    let handle = shared.handle.clone();
    blocking(move || handle.cancel(&run, request.kill)).await??;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// `POST /api/local/resume`
pub(super) async fn resume(State(shared): State<Shared>, Json(request): Json<ResumeRequest>) -> Result<Response, ApiError> {
    let handle = shared.handle.clone();
    let resumed = blocking(move || handle.resume(request.run_id.as_ref())).await??;
    Ok(Json(ResumeReply { resumed }).into_response())
}

/// `POST /api/local/why`
pub(super) async fn why(State(shared): State<Shared>, Json(asked): Json<WhyAsked>) -> Result<Response, ApiError> {
    let handle = shared.handle.clone();
    let view = blocking(move || handle.why(asked)).await??;
    Ok(Json(view).into_response())
}

/// `POST /api/local/resources`: looks at the machine before it answers.
pub(super) async fn resources(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let handle = shared.handle.clone();
    let view = blocking(move || handle.resources()).await??;
    Ok(Json(view).into_response())
}

/// `POST /api/local/prune`: answers when the folders are gone.
pub(super) async fn prune(State(shared): State<Shared>, Json(keep): Json<Keep>) -> Result<Response, ApiError> {
    let handle = shared.handle.clone();
    let report = blocking(move || handle.prune(keep)).await??;
    Ok(Json(report).into_response())
}

/// `GET /api/local/runs/{run}/follow`: a line of JSON for each [`Update`], until the run has ended or the host leaves.
pub(super) async fn follow(State(shared): State<Shared>, Path(run): Path<String>) -> Result<Response, ApiError> {
    let run = parse(&run)?;
    let (sink, receiver) = backlog(WAITING_MAX);
    let handle: Handle = shared.handle.clone();
    blocking(move || handle.follow(&run, sink)).await??;
    let lines = stream::unfold(receiver, |mut receiver| async move {
        let first = receiver.recv().await?;
        let mut text = line(&first);
        // What has gathered meanwhile goes in the same packet.
        while let Ok(update) = receiver.try_recv() {
            text.push_str(&line(&update));
        }
        Some((Ok::<Bytes, Infallible>(Bytes::from(text)), receiver))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

fn line(update: &Update) -> String {
    // Strings, numbers and maps with string keys: this cannot fail.
    serde_json::to_string(update).map(|text| text + "\n").unwrap_or_default()
}

pub(super) fn parse(run: &str) -> Result<RunId, ApiError> {
    RunId::parse(run).map_err(|error| ApiError::new(StatusCode::NOT_FOUND, "not_found", error.to_string()))
}

/// Does what may wait for the disk, on a thread of its own. Tokio's own way panics where there is no room for another thread.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let (send, answer) = tokio::sync::oneshot::channel();
    // Whoever asked may have gone away meanwhile.
    let started = std::thread::Builder::new().name("request".to_owned()).spawn(move || drop(send.send(work())));
    started.map_err(|error| {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", format!("the host has no room for another thread: {error}"))
    })?;
    let failed = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request was not carried out: its thread panicked");
    answer.await.map_err(failed)
}
