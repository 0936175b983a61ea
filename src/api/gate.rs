//! The gate before every route: where a request was sent to, where it comes from, who sends it, and in which form.
//!
//! One layer around everything, so that no route can be without it: what the table does not name is refused too, to strangers as 401 and
//! to others as 404. The order is that of the refusals: 421, 403, 401, 403, 415. Attacks are in docs/attacks.md.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use tokio::sync::watch;

use super::credentials::Identity;
use super::error::ApiError;
use super::route::{Scope, Verb};
use super::routes::scope_of;
use super::server::Shared;

/// A request that a cookie lets change something must carry this header: a form of another page cannot.
pub(super) const CUSTOM_HEADER: &str = "x-prismq";
/// What pages from here may load: only what lies here.
pub(super) const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; \
    connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Where the other end of the connection is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// What is let through.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// Values of `Host` in lower case.
    pub(super) hosts: Vec<String>,
    /// The port, for addresses in `Host` where others than loopback are listened on.
    pub(super) any_address_on: Option<u16>,
    /// Origins of other pages.
    pub(super) origins: Vec<String>,
    /// Everybody may use what a browser's cookie may.
    pub(super) open: bool,
}

impl Rules {
    /// A page on another name that resolves to this address (DNS rebinding) sends that name. An address cannot be rebound.
    fn knows_host(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let is_address = |port: u16| host.parse::<SocketAddr>().is_ok_and(|address| address.port() == port);
        self.hosts.contains(&host) || self.any_address_on.is_some_and(is_address)
    }

    fn allows_origin(&self, origin: &str) -> bool {
        self.origins.iter().any(|known| known == origin)
    }

    /// An origin of ours: a page that came from where the request went.
    fn is_own(&self, origin: &str, host: &str) -> bool {
        origin.strip_prefix("http://").is_some_and(|from| from.eq_ignore_ascii_case(host) && self.knows_host(from))
    }
}

/// Headers on every answer, whatever it is.
pub(super) async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        // An artifact has a stricter policy of its own.
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, CSP);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CACHE_CONTROL, "no-store");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    response
}

/// The tokens as they were when a request was let in. Once they are others, nothing more is carried out for it or told to it.
#[derive(Debug, Clone)]
pub(super) struct Admission(watch::Receiver<u64>);

impl Admission {
    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.0.has_changed().unwrap_or(true)
    }

    /// Whoever sent a request is not known any more.
    pub(super) fn refusal() -> ApiError {
        unauthorized(StatusCode::UNAUTHORIZED, "unauthorized", "the tokens were made anew meanwhile")
    }

    async fn end(mut self) {
        // An error means that the server is gone.
        let _ = self.0.changed().await;
    }

    /// Ends an answer that is still being made: a log that is followed, events, a download. What is whole is sent.
    fn ends(self, response: Response) -> Response {
        if response.body().size_hint().exact().is_some() {
            return response;
        }
        response.map(|body| Body::from_stream(body.into_data_stream().take_until(Box::pin(self.end()))))
    }
}

/// The gate.
pub(super) async fn gate(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    // From before anybody is recognised: a token that is replaced while its request is looked at counts no more.
    let admission = Admission(shared.credentials.epoch());
    let allowed = match pass(&shared, &request) {
        Ok(Passed::On { origin }) => origin,
        Ok(Passed::Preflight { origin }) => return preflight(&origin),
        Err(Refusal::Now(refused)) => return refused.into_response(),
        Err(Refusal::Wrong { peer }) => return wrong(&shared, peer).await.into_response(),
    };
    request.extensions_mut().insert(admission.clone());
    let mut response = admission.ends(next.run(request).await);
    if let Some(origin) = allowed {
        allow_origin(response.headers_mut(), &origin);
    }
    response
}

/// Why a request does not go on.
enum Refusal {
    Now(ApiError),
    /// Wrong credentials, whose answer may have to wait.
    Wrong {
        peer: IpAddr,
    },
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Now(error)
    }
}

enum Passed {
    /// It goes on; a page of this other origin may read the answer.
    On { origin: Option<HeaderValue> },
    /// A browser asks what a page of this origin may do.
    Preflight { origin: HeaderValue },
}

fn pass(shared: &Shared, request: &Request) -> Result<Passed, Refusal> {
    let rules: &Arc<Rules> = &shared.rules;
    let headers = request.headers();
    check_host(rules, request)?;
    let verb = Verb::of(request.method());
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let route = path.zip(verb).and_then(|(path, verb)| scope_of(verb, path));
    let origin = check_origin(rules, headers, request.method(), route == Some(Scope::Public))?;
    if let Some(origin) = &origin
        && request.method() == Method::OPTIONS
    {
        return Ok(Passed::Preflight { origin: origin.clone() });
    }
    // What no route is known for is told to nobody but those who may look.
    let wanted = route.unwrap_or(Scope::Read);
    if wanted != Scope::Public {
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let who = identify(shared, request)?;
        authorise(who, wanted, changes, headers)?;
    }
    // A method that the path does not know is told so, whatever its form.
    if verb == Some(Verb::Post) && route.is_some() {
        check_form(headers)?;
    }
    Ok(Passed::On { origin })
}

fn check_host(rules: &Rules, request: &Request) -> Result<(), ApiError> {
    let misdirected = || ApiError::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", "this server answers its own address only");
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|value| value.to_str().ok()).ok_or_else(misdirected)?;
    // A whole address in the request line names a host too.
    let named = request.uri().authority().is_none_or(|authority| rules.knows_host(authority.as_str()));
    if hosts.next().is_none() && rules.knows_host(host) && named { Ok(()) } else { Err(misdirected()) }
}

/// Refuses what pages of other origins have a browser send. Gives the origin where it was allowed by name.
fn check_origin(rules: &Rules, headers: &HeaderMap, method: &Method, is_public: bool) -> Result<Option<HeaderValue>, ApiError> {
    let foreign = || ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", "pages of other origins may not use this server");
    let mut origins = headers.get_all(header::ORIGIN).iter();
    if let Some(origin) = origins.next() {
        let text = origin.to_str().map_err(|_| foreign())?;
        if origins.next().is_some() {
            return Err(foreign());
        }
        if rules.allows_origin(text) {
            return Ok(Some(origin.clone()));
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !rules.is_own(text, host) {
            return Err(foreign());
        }
    }
    let fetch = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match fetch("sec-fetch-site") {
        // Every browser that sends one of the two sends both; pages of other origins ask without the server's leave in this mode.
        None if fetch("sec-fetch-mode") == Some("no-cors") => Err(foreign()),
        None | Some("same-origin" | "none") => Ok(None),
        // A link on another page to ours.
        Some(_) if is_public && method == Method::GET && fetch("sec-fetch-mode") == Some("navigate") => Ok(None),
        Some(_) => Err(foreign()),
    }
}

/// Who sends it; nobody who is known is an error.
fn identify(shared: &Shared, request: &Request) -> Result<Identity, Refusal> {
    let headers = request.headers();
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip());
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    if let Some(first) = given.next() {
        let token = first.as_bytes().strip_prefix(b"Bearer ").filter(|_| given.next().is_none());
        return token.and_then(|token| shared.credentials.by_token(token)).ok_or(Refusal::Wrong { peer });
    }
    let name = shared.cookie_name();
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(';'));
    let mut cookies = cookies.filter_map(|pair| pair.trim().split_once('=')).filter(|(known, _)| *known == name).map(|(_, value)| value);
    if let Some(cookie) = cookies.next() {
        if let Some(who) = shared.credentials.by_cookie(cookie) {
            return Ok(who);
        }
        if !shared.rules.open {
            return Err(Refusal::Wrong { peer });
        }
    }
    if shared.rules.open {
        return Ok(Identity { scope: Scope::Write, by_cookie: false });
    }
    Err(unauthorized(StatusCode::UNAUTHORIZED, "unauthorized", "the token of the workspace is needed (.prismq/token)").into())
}

/// The answer to wrong credentials, as slowly as a peer has earned it.
async fn wrong(shared: &Shared, peer: IpAddr) -> ApiError {
    shared.count(|counters| &counters.unauthorized);
    match shared.credentials.wrong(peer, Instant::now()) {
        None => return unauthorized(StatusCode::TOO_MANY_REQUESTS, "too_many_tries", "too many wrong tokens at once").retry_after(2),
        Some(Duration::ZERO) => {}
        Some(wait) => tokio::time::sleep(wait).await,
    }
    unauthorized(StatusCode::UNAUTHORIZED, "unauthorized", "this is not the token of the workspace (.prismq/token)")
}

fn unauthorized(status: StatusCode, code: &str, detail: &str) -> ApiError {
    ApiError::new(status, code, detail).header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"prismq\""))
}

fn authorise(who: Identity, wanted: Scope, changes: bool, headers: &HeaderMap) -> Result<(), ApiError> {
    if who.scope < wanted {
        let detail = match wanted {
            Scope::Owner => "this needs the owner's token, which a browser does not have",
            Scope::Public | Scope::Read | Scope::Write => "this token may only look",
        };
        return Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", detail));
    }
    if who.by_cookie && changes && !headers.contains_key(CUSTOM_HEADER) {
        let detail = format!("a browser must send the header `{CUSTOM_HEADER}: 1` to change something");
        return Err(ApiError::new(StatusCode::FORBIDDEN, "custom_header_missing", detail));
    }
    Ok(())
}

/// What changes something is JSON: a form of another page can send other types without asking the browser's leave.
fn check_form(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let given = types.next().and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let mut parts = given.split(';').map(str::trim);
    let is_json = parts.next() == Some("application/json") && parts.all(|part| matches!(part, "" | "charset=utf-8" | "charset=\"utf-8\""));
    if is_json && types.next().is_none() {
        return Ok(());
    }
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", "the body must be JSON: `Content-Type: application/json`"))
}

fn preflight(origin: &HeaderValue) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    allow_origin(headers, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    let allowed = "authorization, content-type, idempotency-key, last-event-id, x-prismq";
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

fn allow_origin(headers: &mut HeaderMap, origin: &HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"));
}
