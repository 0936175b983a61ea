//! Routes for the owner's own terminals: they may name files by path, which no browser may.

use std::convert::Infallible;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::backlog::{WAITING_MAX, backlog};
use super::dto::{Accepted, CancelRequest, FindRequest, ResumeReply, ResumeRequest};
use super::error::ApiError;
use super::input::{Module, OwnBody, Run};
use super::modules::no_module;
use super::server::Shared;
use crate::host::look::RunsAsked;
use crate::host::modules::{ModuleList, ModuleShown};
use crate::host::prune::Keep;
use crate::host::render;
use crate::host::submission::{Retry, Submit};
use crate::host::update::Update;
use crate::host::why::WhyAsked;

/// `POST /api/local/runs`
pub(super) async fn submit(State(shared): State<Shared>, OwnBody(submit): OwnBody<Submit>) -> Result<Response, ApiError> {
    // Reads files and may take a second for a large pipeline: not on the thread that answers others.
    let accepted = shared.work(move |handle| handle.submit(&submit)).await?;
    let notes = render::diagnostics(&accepted.notes, false);
    Ok((StatusCode::ACCEPTED, Json(Accepted { run_id: accepted.run, notes })).into_response())
}

/// `POST /api/local/retry`
pub(super) async fn retry(State(shared): State<Shared>, OwnBody(retry): OwnBody<Retry>) -> Result<Response, ApiError> {
    let accepted = shared.work(move |handle| handle.retry(&retry)).await?;
    Ok((StatusCode::ACCEPTED, Json(Accepted { run_id: accepted.run, notes: String::new() })).into_response())
}

/// `POST /api/local/runs/{run}/cancel`
pub(super) async fn cancel(
    State(shared): State<Shared>,
    Run(run): Run,
    OwnBody(request): OwnBody<CancelRequest>,
) -> Result<Response, ApiError> {
    shared.work(move |handle| handle.cancel(&run, request.kill)).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// `POST /api/local/resume`
pub(super) async fn resume(State(shared): State<Shared>, OwnBody(request): OwnBody<ResumeRequest>) -> Result<Response, ApiError> {
    let resumed = shared.work(move |handle| handle.resume(request.run_id.as_ref())).await?;
    Ok(Json(ResumeReply { resumed }).into_response())
}

/// `POST /api/local/runs/list`
pub(super) async fn list(State(shared): State<Shared>, OwnBody(asked): OwnBody<RunsAsked>) -> Result<Response, ApiError> {
    let seen = shared.work(move |handle| handle.runs_seen(&asked)).await?;
    Ok(Json(seen).into_response())
}

/// `POST /api/local/runs/find`: by what people type.
pub(super) async fn find(State(shared): State<Shared>, OwnBody(request): OwnBody<FindRequest>) -> Result<Response, ApiError> {
    let found = shared.work(move |handle| handle.find(&request.selector)).await?;
    Ok(Json(found).into_response())
}

/// `GET /api/local/runs/{run}/file`: all that is known of it.
pub(super) async fn file(State(shared): State<Shared>, Run(run): Run) -> Result<Response, ApiError> {
    let file = shared.work(move |handle| handle.run_file(&run)).await?;
    Ok(Json(file).into_response())
}

/// `GET /api/local/modules`
pub(super) async fn modules(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let list = shared.work(|handle| Ok::<_, ApiError>(ModuleList::of(&handle.settled_catalog()))).await?;
    Ok(Json(list).into_response())
}

/// `GET /api/local/modules/{module}`: with what was learned of it.
pub(super) async fn module(State(shared): State<Shared>, Module(id): Module) -> Result<Response, ApiError> {
    let shown = shared
        .work(move |handle| {
            let shown = ModuleShown::find(&handle.settled_catalog(), id.as_str()).map_err(no_module)?;
            Ok::<_, ApiError>(ModuleShown { learned: handle.learned(&shown.id)?, ..shown })
        })
        .await?;
    Ok(Json(shown).into_response())
}

/// `POST /api/local/why`
pub(super) async fn why(State(shared): State<Shared>, OwnBody(asked): OwnBody<WhyAsked>) -> Result<Response, ApiError> {
    let view = shared.work(move |handle| handle.why(asked)).await?;
    Ok(Json(view).into_response())
}

/// `POST /api/local/resources`: looks at the machine before it answers.
pub(super) async fn resources(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let view = shared.work(move |handle| handle.resources()).await?;
    Ok(Json(view).into_response())
}

/// `POST /api/local/prune`: answers when the folders are gone.
pub(super) async fn prune(State(shared): State<Shared>, OwnBody(keep): OwnBody<Keep>) -> Result<Response, ApiError> {
    let report = shared.work(move |handle| handle.prune(keep)).await?;
    Ok(Json(report).into_response())
}

/// `POST /api/local/prune/plan`: what that would remove.
pub(super) async fn would_prune(State(shared): State<Shared>, OwnBody(keep): OwnBody<Keep>) -> Result<Response, ApiError> {
    let report = shared.work(move |handle| handle.would_prune(keep)).await?;
    Ok(Json(report).into_response())
}

/// `GET /api/local/runs/{run}/follow`: a line of JSON for each [`Update`], until the run has ended or the host leaves.
pub(super) async fn follow(State(shared): State<Shared>, Run(run): Run) -> Result<Response, ApiError> {
    let (sink, receiver) = backlog(WAITING_MAX);
    shared.work(move |handle| handle.follow(&run, sink)).await?;
    // Of a host that leaves the last word is still to come.
    let lines = stream::unfold(receiver, |mut receiver| async move {
        let mut text = line(&receiver.recv().await?);
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
