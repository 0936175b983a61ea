//! Server-sent events as bytes: comments, named events, and the headers of a stream.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use serde::Serialize;

use crate::api::error::ApiError;
use crate::api::server::Ends;

/// So long nothing is said at most: proxies and clients take a silent connection for a dead one.
pub(in crate::api) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a stream begins with: when to come again after it broke, in milliseconds.
pub(in crate::api) const GREETING: &str = "retry: 1000\n\n";

/// A comment.
pub(in crate::api) const COMMENT: &str = ":\n\n";

/// A named event with JSON, and a number where clients may resume behind it.
pub(in crate::api) fn event(name: &str, id: Option<u64>, data: &impl Serialize) -> Bytes {
    // Strings, numbers and maps with string keys: this cannot fail. JSON has no line breaks of its own, so that nothing in it can begin
    // another field.
    let json = serde_json::to_string(data).unwrap_or_default();
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: {name}\n{id}data: {json}\n\n").into()
}

/// The answer that a stream is. It ends at the latest when it has to.
pub(in crate::api) fn response(events: impl Stream<Item = Bytes> + Send + 'static, mut ends: Ends) -> Response {
    let events = events.map(Ok::<Bytes, std::convert::Infallible>).take_until(async move { ends.come().await });
    let body = Body::from_stream(events);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, body).into_response()
}

/// The number behind which a client wants to go on.
///
/// # Errors
/// When it is no number.
pub(in crate::api) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let mut given = headers.get_all("last-event-id").iter();
    let Some(first) = given.next() else { return Ok(None) };
    let text = first.to_str().unwrap_or("");
    // A browser that has seen no number yet may send an empty one.
    if text.is_empty() && first.is_empty() && given.next().is_none() {
        return Ok(None);
    }
    let digits = !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(id) if digits && given.next().is_none() => Ok(Some(id)),
        Ok(_) | Err(_) => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_last_event_id",
            "Last-Event-ID is no number that this stream gave: leave it out to begin anew",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(values: &[&[u8]]) -> Result<Option<u64>, ()> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("last-event-id", axum::http::HeaderValue::from_bytes(value).expect("a header"));
        }
        last_event_id(&headers).map_err(drop)
    }

    #[test]
    fn f50_only_a_number_is_a_place() {
        assert_eq!(parsed(&[]), Ok(None));
        assert_eq!(parsed(&[b""]), Ok(None));
        assert_eq!(parsed(&[b"0"]), Ok(Some(0)));
        assert_eq!(parsed(&[b"18446744073709551615"]), Ok(Some(u64::MAX)));
        let long = [b'1'; 10_240];
        for bad in [&b"-1"[..], b"+1", b"1.0", b" 1", b"abc", b"18446744073709551616", b"\xff", b"1\tx", &long] {
            assert_eq!(parsed(&[bad]), Err(()), "{bad:?}");
        }
        assert_eq!(parsed(&[b"1", b"2"]), Err(()));
        assert_eq!(parsed(&[b"", b"2"]), Err(()));
    }

    #[test]
    fn a29_nothing_in_the_data_begins_another_field() {
        let forged = event("x", Some(1), &"a\n\nevent: run_finished\r\rid: 7");
        assert_eq!(forged, "event: x\nid: 1\ndata: \"a\\n\\nevent: run_finished\\r\\rid: 7\"\n\n");
    }
}
