//! Files that modules left for people. A module may write anything into them, so that a browser shows them in a sandbox that runs no
//! script and reaches nothing, or not at all.

use std::io::Read;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::input::{Query, Run, step};
use super::runs::Node;
use super::server::{Ends, Shared};
use crate::host::artifacts::{self, Artifact};
use crate::ids::AttemptNumber;

/// What an artifact may do in a browser: be looked at.
const SANDBOX: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; media-src data:; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// Read at once.
const CHUNK: usize = 64 << 10;
/// Chunks that wait for a slow reader.
const CHUNKS_MAX: usize = 4;

/// Files of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ArtifactList {
    run_id: String,
    artifacts: Vec<ArtifactView>,
    /// There are more than are listed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ArtifactLink")]
struct ArtifactView {
    #[serde(flatten)]
    artifact: Artifact,
    /// Where it is.
    href: String,
}

/// How it is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ArtifactQuery {
    /// As a file to keep, whatever it is.
    #[serde(default)]
    download: bool,
}

/// The file that is meant.
pub(super) struct Named {
    attempt: AttemptNumber,
    path: String,
}

impl FromRequestParts<Shared> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, ApiError> {
        let attempt = step(parts, shared, "attempt").await?;
        let attempt = attempt.parse().map_err(|_| ApiError::not_found(format!("{attempt:?} is no number of an attempt")))?;
        Ok(Self { attempt: AttemptNumber(attempt), path: step(parts, shared, "path").await? })
    }
}

/// `GET /api/runs/{run}/artifacts`
pub(super) async fn list(State(shared): State<Shared>, Run(run): Run) -> Result<Json<ArtifactList>, ApiError> {
    shared
        .work(move |handle| {
            let found = artifacts::list(handle.workspace(), &handle.run_file(&run)?);
            let truncated = found.len() >= artifacts::LISTED_MAX;
            let link = |artifact: Artifact| {
                let place = format!("{}/{}/{}", encoded(&artifact.node), artifact.attempt, encoded(&artifact.path));
                ArtifactView { href: format!("/api/runs/{run}/artifacts/{place}"), artifact }
            };
            Ok::<_, ApiError>(Json(ArtifactList { run_id: run.to_string(), artifacts: found.into_iter().map(link).collect(), truncated }))
        })
        .await
}

/// `GET /api/runs/{run}/artifacts/{node}/{attempt}/{path}`
pub(super) async fn show(
    State(shared): State<Shared>,
    Run(run): Run,
    Node(node): Node,
    named: Named,
    Query(query): Query<ArtifactQuery>,
) -> Result<Response, ApiError> {
    let Named { attempt, path } = named;
    let (wanted, missing) = (path.clone(), format!("run {run} has no artifact {path:?} of this attempt"));
    let (file, length) = shared
        .work(move |handle| {
            let row = handle.node(&run, &node)?;
            if attempt.0 == 0 || attempt.0 > row.attempts {
                return Err(ApiError::not_found(format!("node `{node}` of run {run} has no attempt {attempt}")));
            }
            artifacts::open(handle.workspace(), &run, &node, attempt, &wanted).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => ApiError::not_found(missing),
                _ => error.into(),
            })
        })
        .await?;
    let name = path.rsplit('/').next().unwrap_or_default();
    let (media, shown) = media_of(name);
    let disposition = if shown && !query.download { "inline" } else { "attachment" };
    let disposition = format!("{disposition}; filename*=UTF-8''{}", encoded(name).replace('/', "%2F"));
    let mut response = contents(file, shared.ends()).into_response();
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, media);
    set(header::CONTENT_LENGTH, &length.to_string());
    set(header::CONTENT_DISPOSITION, &disposition);
    set(header::CONTENT_SECURITY_POLICY, SANDBOX);
    Ok(response)
}

/// A file, read by a thread of its own as fast as the client takes it.
fn contents(file: std::fs::File, ends: Ends) -> Body {
    let (send, receive) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(CHUNKS_MAX);
    let failed = send.clone();
    let read = move || {
        let mut file = file;
        loop {
            let mut chunk = vec![0; CHUNK];
            let piece = file.read(&mut chunk).map(|count| {
                chunk.truncate(count);
                Bytes::from(chunk)
            });
            let last = piece.as_ref().map_or(true, Bytes::is_empty);
            // The client may have gone away.
            if piece.as_ref().is_ok_and(Bytes::is_empty) || send.blocking_send(piece).is_err() || last {
                return;
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("artifact".into()).spawn(read) {
        let _ = failed.try_send(Err(error));
    }
    Body::from_stream(stream::unfold((receive, ends), |(mut receive, mut ends)| async move {
        tokio::select! {
            piece = receive.recv() => Some((piece?, (receive, ends))),
            () = ends.come() => None,
        }
    }))
}

/// The media type of a file by its name, and whether a browser may show it.
fn media_of(name: &str) -> (&'static str, bool) {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
    match extension.as_str() {
        "html" | "htm" => ("text/html; charset=utf-8", true),
        "svg" => ("image/svg+xml", true),
        "txt" | "log" | "md" | "csv" | "yaml" | "yml" => ("text/plain; charset=utf-8", true),
        "json" => ("application/json", true),
        "png" => ("image/png", true),
        "jpg" | "jpeg" => ("image/jpeg", true),
        "gif" => ("image/gif", true),
        "webp" => ("image/webp", true),
        _ => ("application/octet-stream", false),
    }
}

/// A text in a path of an address; `/` stays.
fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            // Writing to a string cannot fail.
            other => drop(write!(out, "%{other:02X}")),
        }
    }
    out
}
