//! Logs of a run: lines by their numbers or from the end, as a stream, and by a text in them.
//!
//! Every line of a run has a number that never changes: what one route says can be used with every other. The first who looks at a long
//! log waits until it is ordered, which is as fast as it can be read.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::input::{Query, Run};
use super::server::Shared;
use super::streams::batch::LineReply;
use super::streams::client::{self, Asked};
use super::streams::{Hub, sse};
use crate::host::order::{Extent, Order, Page, Wanted};
use crate::host::views::{Needle, Stream};
use crate::ids::RunId;
use crate::units::Timestamp;

/// Lines in an answer, where nothing is said.
const LINES_DEFAULT: usize = 500;
/// Bytes of lines in an answer, about.
const BYTES_MAX: u64 = 4 << 20;
/// Bytes searched for one answer, about; the next one goes on.
const SEARCHED_MAX: u64 = 256 << 20;
/// Lines found for one answer, where nothing is said.
const FOUND_DEFAULT: usize = 100;

/// Parameters of `logs`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LinesQuery {
    /// Only of this node, its instances and the nodes in it.
    node: Option<String>,
    /// Only of this stream.
    stream: Option<StreamName>,
    /// Only lines read at this time or later (RFC 3339).
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// The last so many; 500 where neither this nor `from` is given. With `from` it does not count.
    #[schemars(range(min = 1, max = 10_000))]
    tail: Option<usize>,
    /// Lines from this number on.
    #[schemars(range(min = 0))]
    from: Option<u64>,
    /// With `from`: at most so many.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// Parameters of `logs/stream`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StreamQuery {
    /// Only of this node, its instances and the nodes in it.
    node: Option<String>,
    /// Only of this stream.
    stream: Option<StreamName>,
    /// Only lines read at this time or later (RFC 3339).
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// Lines from this number on, where there is no `Last-Event-ID`.
    #[schemars(range(min = 0))]
    from: Option<u64>,
    /// `1`: arrays of lines instead of a line for each event.
    batch: Option<Switch>,
    /// What becomes of the stream when the run has ended.
    end: Option<End>,
}

/// Parameters of `logs/search`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["text"]))]
pub(super) struct SearchQuery {
    /// A part of a line.
    #[schemars(length(min = 1, max = 4096))]
    text: String,
    /// `1`: also where capitals differ.
    ignore_case: Option<Switch>,
    /// Only of this node, its instances and the nodes in it.
    node: Option<String>,
    /// Only of this stream.
    stream: Option<StreamName>,
    /// Only lines read at this time or later (RFC 3339).
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// Lines from this number on: where the last answer said to go on.
    #[schemars(range(min = 0))]
    from: Option<u64>,
    /// At most so many; 100 where nothing is said.
    #[schemars(range(min = 1, max = 1_000))]
    limit: Option<usize>,
}

/// Standard output or standard error.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum StreamName {
    Stdout,
    Stderr,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(inline)]
pub(super) enum Switch {
    #[serde(rename = "0")]
    Off,
    #[serde(rename = "1")]
    On,
}

/// What becomes of a stream at the end of its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum End {
    /// Comments keep it open.
    Open,
    /// It is closed.
    Close,
}

/// Lines of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LinesReply {
    /// The run.
    run_id: String,
    /// The lines.
    logs: Vec<LineReply>,
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
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SearchReply {
    /// The run.
    run_id: String,
    /// Lines in which the text is.
    matches: Vec<LineReply>,
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

pub(super) fn wanted(node: Option<String>, stream: Option<StreamName>, since: Option<&str>) -> Result<Wanted, ApiError> {
    let stream = stream.map(|stream| match stream {
        StreamName::Stdout => Stream::Stdout,
        StreamName::Stderr => Stream::Stderr,
    });
    let time = |text| Timestamp::parse_rfc3339(text).map_err(|_| ApiError::invalid("/since", "a time like 2026-11-26T14:02:00Z is wanted"));
    Ok(Wanted { node: node.filter(|node| !node.is_empty()), stream, since: since.map(time).transpose()? })
}

/// A hub whose order has caught up with what was there.
pub(super) async fn caught_up(shared: &Shared, run: &RunId) -> Result<(Arc<Hub>, Arc<Order>, Extent), ApiError> {
    let hub = shared.streams.hub(run).await?;
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
    Run(run): Run,
    Query(query): Query<LinesQuery>,
) -> Result<Json<LinesReply>, ApiError> {
    let wanted = wanted(query.node, query.stream, query.since.as_deref())?;
    let (tail, count) = (query.tail.unwrap_or(LINES_DEFAULT), query.limit.unwrap_or(LINES_DEFAULT));
    let (_hub, order, extent) = caught_up(&shared, &run).await?;
    let (from, total) = (query.from, extent.last);
    let (page, truncated) = shared.streams.reading(move || page(&order, from, &wanted, (count, tail), total)).await??;
    Ok(Json(LinesReply {
        run_id: run.to_string(),
        logs: page.lines.into_iter().map(LineReply::of).collect(),
        total_lines: total,
        truncated,
        next: page.next,
        complete: extent.ended.is_some(),
    }))
}

fn page(order: &Order, from: Option<u64>, wanted: &Wanted, (count, tail): (usize, usize), total: u64) -> std::io::Result<(Page, bool)> {
    if let Some(from) = from {
        let page = order.lines(from.max(1), wanted, count, BYTES_MAX)?;
        let more = page.next <= total;
        return Ok((page, more));
    }
    // One more than wanted tells whether there is one.
    let mut page = order.tail(tail + 1, wanted)?;
    let more = page.lines.len() > tail;
    page.lines.drain(..usize::from(more));
    Ok((page, more))
}

/// `GET /api/runs/{run}/logs/stream`: everything from the begin, or behind `Last-Event-ID`, and then what comes.
pub(super) async fn stream(
    State(shared): State<Shared>,
    Run(run): Run,
    headers: HeaderMap,
    Query(query): Query<StreamQuery>,
) -> Result<Response, ApiError> {
    let seen = sse::last_event_id(&headers)?;
    let wanted = wanted(query.node, query.stream, query.since.as_deref())?;
    let slot = shared.streams.slot()?;
    let hub = shared.streams.hub(&run).await?;
    // The header is what a browser adds by itself when it comes again: it knows more than the address that it was given.
    let from = seen.map(|seen| seen.saturating_add(1)).or(query.from).unwrap_or(1);
    let asked = Asked { from, wanted, batch: query.batch == Some(Switch::On), close: query.end == Some(End::Close) };
    Ok(sse::response(client::events(shared.streams.clone(), hub, asked, slot), shared.ends()))
}

/// `GET /api/runs/{run}/logs/search`: lines in which a text is.
pub(super) async fn search(
    State(shared): State<Shared>,
    Run(run): Run,
    Query(query): Query<SearchQuery>,
) -> Result<Json<SearchReply>, ApiError> {
    let wanted = wanted(query.node, query.stream, query.since.as_deref())?;
    let needle = Needle::new(&query.text, query.ignore_case == Some(Switch::On));
    let needle = needle.ok_or_else(|| ApiError::invalid("/text", "a part of one line is wanted, and not an empty one"))?;
    let (_hub, order, extent) = caught_up(&shared, &run).await?;
    let (from, count) = (query.from.unwrap_or(1).max(1), query.limit.unwrap_or(FOUND_DEFAULT));
    let page = shared.streams.reading(move || order.search(&needle, from, &wanted, count, SEARCHED_MAX)).await??;
    let complete = page.next > extent.last;
    Ok(Json(SearchReply {
        run_id: run.to_string(),
        matches: page.lines.into_iter().map(LineReply::of).collect(),
        position: (page.next - 1).min(extent.last),
        total: extent.last,
        next: (!complete).then_some(page.next),
        complete,
    }))
}
