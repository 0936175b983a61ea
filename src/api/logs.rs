//! Logs of a run: lines by their numbers or from the end, as a stream, and by a text in them.
//!
//! Every line of a run has a number that never changes: what one route says can be used with every other. The first who looks at a long
//! log waits until it is ordered, which is as fast as it can be read.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::local::parse;
use super::server::Shared;
use super::streams::batch::LineReply;
use super::streams::client::{self, Asked};
use super::streams::{Hub, sse};
use crate::host::order::{Extent, Order, Page, Wanted};
use crate::host::views::{Needle, Stream};
use crate::units::Timestamp;

/// Lines in an answer, where nothing is said, and at most.
const LINES_DEFAULT: usize = 500;
const LINES_MAX: usize = 10_000;
/// Bytes of lines in an answer, about.
const BYTES_MAX: u64 = 4 << 20;
/// Bytes searched for one answer, about; the next one goes on.
const SEARCHED_MAX: u64 = 256 << 20;
/// Lines found for one answer, where nothing is said, and at most.
const FOUND_DEFAULT: usize = 100;
const FOUND_MAX: usize = 1_000;

/// Which lines: of a node, of a stream, since a time.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LinesQuery {
    node: Option<String>,
    stream: Option<String>,
    since: Option<String>,
    tail: Option<usize>,
    from: Option<u64>,
    limit: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StreamQuery {
    node: Option<String>,
    stream: Option<String>,
    since: Option<String>,
    from: Option<u64>,
    batch: Option<String>,
    end: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SearchQuery {
    text: Option<String>,
    ignore_case: Option<String>,
    node: Option<String>,
    stream: Option<String>,
    since: Option<String>,
    from: Option<u64>,
    limit: Option<usize>,
}

/// Lines of a run.
#[derive(Debug, Serialize)]
struct LinesReply<'a> {
    run_id: &'a str,
    logs: Vec<LineReply<'a>>,
    /// Number of the last line of the run, which is how many it has, of all nodes.
    total_lines: u64,
    /// There are wanted lines before these (`tail`), or behind them (`from`).
    truncated: bool,
    /// Where to go on.
    next: u64,
    /// The run has ended: nothing will be added.
    complete: bool,
}

/// What a search found.
#[derive(Debug, Serialize)]
struct SearchReply<'a> {
    run_id: &'a str,
    matches: Vec<LineReply<'a>>,
    /// Number of the last line that was looked at.
    position: u64,
    /// Number of the last line of the run.
    total: u64,
    /// Where to go on; left out where everything was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
    /// Everything that there is was looked at.
    complete: bool,
}

pub(super) fn invalid(name: &str, what: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", format!("`{name}` {what}"))
}

/// A switch: `1` or `true`, `0` or `false`.
fn switch(name: &str, text: Option<&str>) -> Result<bool, ApiError> {
    match text {
        None | Some("0" | "false") => Ok(false),
        Some("1" | "true") => Ok(true),
        Some(_) => Err(invalid(name, "is 1 or 0")),
    }
}

pub(super) fn wanted(node: Option<String>, stream: Option<&str>, since: Option<&str>) -> Result<Wanted, ApiError> {
    let stream = stream.map(|text| {
        Stream::ALL.into_iter().find(|stream| stream.as_str() == text).ok_or_else(|| invalid("stream", "is `stdout` or `stderr`"))
    });
    let since = since.map(|text| Timestamp::parse_rfc3339(text).map_err(|_| invalid("since", "is a time like 2026-11-26T14:02:00Z")));
    Ok(Wanted { node: node.filter(|node| !node.is_empty()), stream: stream.transpose()?, since: since.transpose()? })
}

fn limit(name: &str, given: Option<usize>, default: usize, max: usize) -> Result<usize, ApiError> {
    match given {
        None => Ok(default),
        Some(count) if (1..=max).contains(&count) => Ok(count),
        Some(_) => Err(invalid(name, &format!("is a number from 1 to {max}"))),
    }
}

/// A hub whose order has caught up with what was there.
pub(super) async fn caught_up(shared: &Shared, run: &str) -> Result<(Arc<Hub>, Arc<Order>, Extent), ApiError> {
    let run = parse(run)?;
    let hub = shared.streams.hub(&run).await?;
    let extent = hub.caught_up().await;
    if let Some(trouble) = extent.trouble.filter(|_| !extent.caught_up) {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unreadable", format!("the log cannot be ordered now: {trouble}")));
    }
    let order = hub.order().cloned();
    let left = || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "leaving", "the host is leaving");
    let extent = hub.extent();
    Ok((hub, order.ok_or_else(left)?, extent))
}

/// `GET /api/runs/{run}/logs`: the last lines, or those from a number on.
pub(super) async fn lines(
    State(shared): State<Shared>,
    Path(run): Path<String>,
    query: Result<Query<LinesQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| invalid("query", &error.body_text()))?;
    let wanted = wanted(query.node, query.stream.as_deref(), query.since.as_deref())?;
    let tail = limit("tail", query.tail, LINES_DEFAULT, LINES_MAX)?;
    let count = limit("limit", query.limit, LINES_DEFAULT, LINES_MAX)?;
    if query.from.is_some() && query.tail.is_some() {
        return Err(invalid("tail", "and `from` exclude each other"));
    }
    let (_hub, order, extent) = caught_up(&shared, &run).await?;
    let (from, total) = (query.from, extent.last);
    let page = shared.streams.reading(move || page(&order, from, &wanted, (count, tail), total)).await??;
    let (page, truncated) = page;
    let logs = page.lines.iter().map(LineReply::of).collect();
    let complete = extent.ended.is_some();
    let reply = LinesReply { run_id: &run, logs, total_lines: total, truncated, next: page.next, complete };
    Ok(Json(reply).into_response())
}

fn page(order: &Order, from: Option<u64>, wanted: &Wanted, (count, tail): (usize, usize), total: u64) -> std::io::Result<(Page, bool)> {
    match from {
        Some(from) => {
            let page = order.lines(from.max(1), wanted, count, BYTES_MAX)?;
            let more = page.next <= total;
            Ok((page, more))
        }
        None => {
            // One more than wanted tells whether there is one.
            let mut page = order.tail(tail + 1, wanted)?;
            let more = page.lines.len() > tail;
            page.lines.drain(..usize::from(more));
            Ok((page, more))
        }
    }
}

/// `GET /api/runs/{run}/logs/stream`: everything from the begin, or behind `Last-Event-ID`, and then what comes.
pub(super) async fn stream(
    State(shared): State<Shared>,
    Path(run): Path<String>,
    headers: HeaderMap,
    query: Result<Query<StreamQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| invalid("query", &error.body_text()))?;
    let seen = sse::last_event_id(&headers)?;
    let wanted = wanted(query.node, query.stream.as_deref(), query.since.as_deref())?;
    let close = match query.end.as_deref() {
        None | Some("open") => false,
        Some("close") => true,
        Some(_) => return Err(invalid("end", "is `open` or `close`")),
    };
    let batch = switch("batch", query.batch.as_deref())?;
    let run = parse(&run)?;
    let slot = shared.streams.slot()?;
    let hub = shared.streams.hub(&run).await?;
    // The header is what a browser adds by itself when it comes again: it knows more than the address that it was given.
    let from = seen.map(|seen| seen.saturating_add(1)).or(query.from).unwrap_or(1);
    Ok(sse::response(client::body(shared.streams.clone(), hub, Asked { from, wanted, batch, close }, slot)))
}

/// `GET /api/runs/{run}/logs/search`: lines in which a text is.
pub(super) async fn search(
    State(shared): State<Shared>,
    Path(run): Path<String>,
    query: Result<Query<SearchQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| invalid("query", &error.body_text()))?;
    let wanted = wanted(query.node, query.stream.as_deref(), query.since.as_deref())?;
    let any_case = switch("ignore_case", query.ignore_case.as_deref())?;
    let needle = Needle::new(query.text.as_deref().unwrap_or(""), any_case);
    let needle = needle.ok_or_else(|| invalid("text", "is a part of one line to look for, and not empty"))?;
    let count = limit("limit", query.limit, FOUND_DEFAULT, FOUND_MAX)?;
    let (_hub, order, extent) = caught_up(&shared, &run).await?;
    let from = query.from.unwrap_or(1).max(1);
    let page = shared.streams.reading(move || order.search(&needle, from, &wanted, count, SEARCHED_MAX)).await??;
    let complete = page.next > extent.last;
    let reply = SearchReply {
        run_id: &run,
        matches: page.lines.iter().map(LineReply::of).collect(),
        position: (page.next - 1).min(extent.last),
        total: extent.last,
        next: (!complete).then_some(page.next),
        complete,
    };
    Ok(Json(reply).into_response())
}
