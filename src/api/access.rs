//! Letting a browser in, and locking everybody out.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::credentials::COOKIE_LIFE;
use super::error::ApiError;
use super::input::Query;
use super::server::{Shared, link_of};

/// The code of a link.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkQuery {
    /// As `prismq serve` or `prismq token link` printed it. It works once.
    #[schemars(regex(pattern = r"^[0-9a-f]*$"))]
    once: String,
}

/// An address that lets a browser in, once.
#[derive(Debug, Serialize, Deserialize)]
pub struct Link {
    /// The address.
    pub url: String,
}

/// `GET /auth?once=CODE`: exchanges the code of a link for a cookie.
pub(super) async fn enter(State(shared): State<Shared>, method: Method, Query(query): Query<LinkQuery>) -> Result<Response, ApiError> {
    // A program that only looks where a link leads, as messengers do, must not use it up.
    if method != Method::GET {
        return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "a link is opened by GET"));
    }
    if !shared.credentials.redeem(&query.once) {
        let detail = "this link was used before, or is too old: `prismq token link` makes another";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "link_used", detail));
    }
    let cookie = format!(
        "{}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}",
        shared.cookie_name(),
        shared.credentials.cookie()?,
        COOKIE_LIFE.as_secs()
    );
    let cookie =
        HeaderValue::from_str(&cookie).map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()))?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, HeaderValue::from_static("/")), (header::SET_COOKIE, cookie)]).into_response())
}

/// `POST /api/local/link`
pub(super) async fn link(State(shared): State<Shared>) -> Result<Json<Link>, ApiError> {
    let code = shared.credentials.link()?;
    Ok(Json(Link { url: link_of(shared.port, &code) }))
}

/// `POST /api/local/token/rotate`: new tokens; cookies, links and open streams end.
pub(super) async fn rotate(State(shared): State<Shared>) -> Result<StatusCode, ApiError> {
    let credentials = shared.credentials.clone();
    shared.work(move |_| credentials.rotate()).await?;
    Ok(StatusCode::NO_CONTENT)
}
