//! The raw bytes of a run's log, as its modules wrote them and in the order in which they were read.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::error::ApiError;
use super::input::{Query, Run};
use super::logs::{StreamName, caught_up, wanted};
use super::server::Shared;
use super::streams::Slot;
use crate::host::order::{Order, Wanted};

/// Bytes of an answer to a request for a range, at most.
const RANGE_MAX: u64 = 1 << 20;
/// Bytes that are sent in a piece.
const PIECE: usize = 256 << 10;
/// Pieces that wait for a client.
const PIECES_WAITING: usize = 2;

/// Parameters of `logs/download`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DownloadQuery {
    /// Only of this node, its instances and the nodes in it.
    node: Option<String>,
    /// Only of this stream.
    stream: Option<StreamName>,
}

/// `GET /api/runs/{run}/logs/download`
pub(super) async fn download(
    State(shared): State<Shared>,
    Run(run): Run,
    headers: HeaderMap,
    Query(query): Query<DownloadQuery>,
) -> Result<Response, ApiError> {
    let wanted = wanted(query.node, query.stream, None)?;
    let slot = shared.streams.slot()?;
    let (hub, order, _) = caught_up(&shared, &run).await?;
    let (sized, of) = (order.clone(), wanted.clone());
    let total = shared.streams.reading(move || sized.raw(&of, u64::MAX..u64::MAX, |_| true)).await??;
    let range = match range(&headers, total) {
        Ok(range) => range,
        Err(()) => return Ok(unsatisfiable(total)),
    };
    let whole = range.is_none();
    let part = range.unwrap_or(0..total);
    let mut ends = shared.ends();
    let pieces = pieces(order, wanted, part.clone(), (slot, hub))?;
    // Cut off it has not the length that it said, so that nobody takes a part for the whole.
    let pieces = pieces.take_until(async move { ends.come().await });
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    if !whole {
        let of = format!("bytes {}-{}/{total}", part.start, part.end - 1);
        headers.extend(HeaderValue::try_from(of).ok().map(|of| (header::CONTENT_RANGE, of)));
    }
    // A run's id is letters, digits and dashes.
    let name = HeaderValue::try_from(format!("attachment; filename=\"{run}.log\"")).ok();
    headers.extend(name.map(|name| (header::CONTENT_DISPOSITION, name)));
    headers.insert(header::CONTENT_LENGTH, (part.end - part.start).into());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.status_mut() = if whole { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT };
    Ok(response)
}

fn unsatisfiable(total: u64) -> Response {
    let detail = format!("there are {total} bytes: ask for one range of them, `bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-COUNT`");
    let mut response = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "range", detail).into_response();
    let of = HeaderValue::try_from(format!("bytes */{total}")).ok();
    response.headers_mut().extend(of.map(|of| (header::CONTENT_RANGE, of)));
    response
}

/// The one range that is asked for, cut to what an answer may have; none where nothing is asked for.
fn range(headers: &HeaderMap, total: u64) -> Result<Option<Range<u64>>, ()> {
    let mut given = headers.get_all(header::RANGE).iter();
    let Some(first) = given.next() else { return Ok(None) };
    let text = first.to_str().ok().filter(|_| given.next().is_none()).ok_or(())?;
    let (begin, end) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or(())?;
    let number = |text: &str| if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse::<u64>().map_err(drop) } else { Err(()) };
    let (begin, end) = match (begin, end) {
        ("", count) => (total.saturating_sub(number(count)?), total),
        (begin, "") => (number(begin)?, total),
        (begin, last) => {
            let (begin, last) = (number(begin)?, number(last)?);
            (begin, if last < begin { 0 } else { last.saturating_add(1).min(total) })
        }
    };
    if begin < end { Ok(Some(begin..end.min(begin.saturating_add(RANGE_MAX)))) } else { Err(()) }
}

type Piece = io::Result<Bytes>;

/// Reads a range on a thread of its own, which waits where the client is slower.
fn pieces<K: Send + 'static>(
    order: Arc<Order>,
    wanted: Wanted,
    range: Range<u64>,
    kept: (Slot, K),
) -> Result<impl futures_util::Stream<Item = Piece> + Send, ApiError> {
    let (sender, receiver) = mpsc::channel::<Piece>(PIECES_WAITING);
    let read = move || {
        let mut held = Vec::with_capacity(PIECE);
        let send = |bytes: Vec<u8>| sender.blocking_send(Ok(bytes.into())).is_ok();
        let read = order.raw(&wanted, range, |bytes| {
            held.extend_from_slice(bytes);
            held.len() < PIECE || send(std::mem::replace(&mut held, Vec::with_capacity(PIECE)))
        });
        match read {
            Ok(_) => drop(held.is_empty() || send(held)),
            // The connection is broken off, so that nobody takes a part for the whole.
            Err(error) => drop(sender.blocking_send(Err(error))),
        }
    };
    let spawned = std::thread::Builder::new().name("download".into()).spawn(read);
    spawned.map_err(|error| {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", format!("the host has no room for another thread: {error}"))
    })?;
    Ok(stream::unfold((receiver, kept), |(mut receiver, kept)| async move {
        let piece = receiver.recv().await?;
        Some((piece, (receiver, kept)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str, total: u64) -> Result<Option<Range<u64>>, ()> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_str(text).expect("a header"));
        range(&headers, total)
    }

    #[test]
    fn a27_one_range_within_the_log_and_at_most_a_mebibyte() {
        assert_eq!(range(&HeaderMap::new(), 10), Ok(None));
        assert_eq!(asked("bytes=0-3", 10), Ok(Some(0..4)));
        assert_eq!(asked("bytes=4-", 10), Ok(Some(4..10)));
        assert_eq!(asked("bytes=-3", 10), Ok(Some(7..10)));
        assert_eq!(asked("bytes=-30", 10), Ok(Some(0..10)));
        assert_eq!(asked("bytes=0-18446744073709551615", 10), Ok(Some(0..10)));
        assert_eq!(asked("bytes=0-", 1 << 30), Ok(Some(0..RANGE_MAX)));
        assert_eq!(asked("bytes=5-", 1 << 30), Ok(Some(5..RANGE_MAX + 5)));
        for bad in [
            "bytes=10-",
            "bytes=10-20",
            "bytes=3-2",
            "bytes=-0",
            "bytes=-",
            "bytes=--1",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=0-1,3-4",
            "bytes=9223372036854775808-",
            "bytes=18446744073709551616-",
            "lines=0-1",
            "bytes",
            "",
            "bytes= 0-1",
        ] {
            assert_eq!(asked(bad, 10), Err(()), "{bad}");
        }
        assert_eq!(asked("bytes=0-", 0), Err(()), "there is nothing");
    }
}
