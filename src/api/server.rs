//! The server: one thread, its sockets, and what every route gets.
//!
//! Listens on loopback, and elsewhere only where that was asked for. What a request must be like before a route sees it is in
//! [`gate`](super::gate).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, oneshot, watch};

use super::credentials::Credentials;
use super::gate::{Peer, Rules};
use super::routes;
use super::streams::Streams;
use super::tally::Tally;
use super::workers::Workers;
use crate::host::Handle;
use crate::host::tokens::Tokens;

/// How long connections may take to end when the host leaves.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);
/// How long a client may take to send the head of a request.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// Largest head of a request. Its longest part is a token.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Connections at once; further ones wait until one ends. Each is a descriptor, of which a process has a thousand or more.
const CONNECTIONS_MAX: u32 = 16_384;
/// Requests that are worked on at once, each on a thread of its own; further ones wait.
const WORKING_MAX: usize = 64;
/// Pause after a connection could not be taken, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Any free one.
    Free,
    /// This one, or any free one if it is taken.
    Preferred(u16),
    /// This one.
    Exactly(u16),
}

/// How a server is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its port.
    pub port: Port,
    /// A further address to listen on.
    pub bind: Option<IpAddr>,
    /// No token is needed for what a browser may do.
    pub open: bool,
    /// Other pages that may use it, as `http://localhost:5173`.
    pub origins: Vec<String>,
    /// Further names by which it is called.
    pub hosts: Vec<String>,
    /// Clients of streams at once.
    pub clients_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { port: Port::Free, bind: None, open: false, origins: Vec::new(), hosts: Vec::new(), clients_max: 256 }
    }
}

/// What is counted for `metrics`.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) unauthorized: AtomicU64,
    pub(super) connections: AtomicU64,
}

/// What every route gets.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) handle: Handle,
    pub(super) streams: Arc<Streams>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) rules: Arc<Rules>,
    pub(super) counters: Arc<Counters>,
    /// What was counted of finished runs.
    pub(super) tally: Arc<Tally>,
    /// Places for requests that may wait for the disk.
    pub(super) working: Arc<Semaphore>,
    /// Who works on them.
    pub(super) workers: Workers,
    pub(super) started: Instant,
    pub(super) port: u16,
    leaving: watch::Receiver<bool>,
}

impl Shared {
    /// The name of the browser's cookie. Cookies do not know ports, and several workspaces may be open.
    pub(super) fn cookie_name(&self) -> String {
        format!("prismq-{}", self.port)
    }

    pub(super) fn count(&self, which: impl Fn(&Counters) -> &AtomicU64) {
        which(&self.counters).fetch_add(1, Ordering::Relaxed);
    }

    /// Tells a stream when it has to end.
    pub(super) fn ends(&self) -> Ends {
        Ends { leaving: self.leaving.clone() }
    }
}

/// When a stream has to end: the server leaves. That tokens are made anew is the gate's to see.
pub(super) struct Ends {
    leaving: watch::Receiver<bool>,
}

impl Ends {
    /// Comes when the stream has to end.
    pub(super) async fn come(&mut self) {
        // An error means that the other side is gone.
        let _ = self.leaving.wait_for(|leaving| *leaving).await;
    }
}

/// A running server. Dropping it ends it.
pub struct Server {
    port: u16,
    credentials: Arc<Credentials>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// An address that lets a browser in, once.
    ///
    /// # Errors
    /// When the system has no random bits.
    pub fn link(&self) -> io::Result<String> {
        self.credentials.link().map(|code| link_of(self.port, &code))
    }
}

/// The address of a link.
pub(super) fn link_of(port: u16, code: &str) -> String {
    format!("http://127.0.0.1:{port}/auth?once={code}")
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}

/// Starts a server.
///
/// # Errors
/// When the port is taken, the tokens cannot be read or are open to others, or no thread can be had.
pub fn start(handle: Handle, options: &Options) -> io::Result<Server> {
    let workspace = handle.workspace().clone();
    let credentials = Arc::new(Credentials::new(workspace.clone(), Tokens::of(&workspace)?));
    let (listeners, port) = listen(options)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (leave, leaving) = watch::channel(false);
    let shared = Shared {
        streams: Streams::new(handle.clone(), options.clients_max),
        handle,
        credentials: credentials.clone(),
        rules: Arc::new(rules(options, port)),
        counters: Arc::default(),
        tally: Arc::default(),
        working: Arc::new(Semaphore::new(WORKING_MAX)),
        workers: Workers::default(),
        started: Instant::now(),
        port,
        leaving,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let thread = std::thread::Builder::new().name("api".into()).spawn(move || {
        runtime.block_on(async move {
            let most = connections_max();
            let places = Arc::new(Semaphore::new(most as usize));
            let router = routes::router(&shared);
            for listener in listeners {
                tokio::spawn(accept(listener, router.clone(), shared.clone(), places.clone()));
            }
            // Also when the other end was dropped.
            let _ = stopped.await;
            leave.send_replace(true);
            // Followers were told that the host leaves, and their streams end: this is time for the last packets.
            let _ = tokio::time::timeout(FLUSH_LIMIT, places.acquire_many(most)).await;
        });
        // Requests that are being carried out on other threads end by themselves when the host's loop is gone.
        runtime.shutdown_background();
    })?;
    Ok(Server { port, credentials, stop: Some(stop), thread: Some(thread) })
}

fn rules(options: &Options, port: u16) -> Rules {
    let names = ["127.0.0.1", "localhost", "[::1]"].into_iter().map(str::to_owned).chain(options.hosts.iter().cloned());
    let beyond = options.bind.filter(|address| !address.is_loopback());
    Rules {
        hosts: names.map(|name| format!("{}:{port}", name.to_ascii_lowercase())).collect(),
        any_address_on: beyond.map(|_| port),
        origins: options.origins.clone(),
        open: options.open,
    }
}

/// The sockets. Both kinds of loopback where there are both; other addresses in addition, or instead where they include these.
fn listen(options: &Options) -> io::Result<(Vec<TcpListener>, u16)> {
    let first = options.bind.filter(IpAddr::is_unspecified).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let listener = match options.port {
        Port::Free => TcpListener::bind((first, 0)),
        Port::Exactly(port) => TcpListener::bind((first, port)),
        Port::Preferred(port) => TcpListener::bind((first, port)).or_else(|_| TcpListener::bind((first, 0))),
    }?;
    let port = listener.local_addr()?.port();
    let mut listeners = vec![listener];
    if first.is_loopback() {
        // A machine may have no such address, and somebody else may have this port there.
        listeners.extend(TcpListener::bind((Ipv6Addr::LOCALHOST, port)));
    }
    if let Some(address) = options.bind.filter(|address| !address.is_unspecified() && !address.is_loopback()) {
        listeners.push(TcpListener::bind((address, port))?);
    }
    for listener in &listeners {
        listener.set_nonblocking(true)?;
    }
    Ok((listeners, port))
}

/// As many as this process may open files, less what journal, logs and new attempts need, whoever connects.
#[cfg(unix)]
fn connections_max() -> u32 {
    /// Files that are kept free of connections, and the share of all of them where that is more.
    const KEPT_FREE: u64 = 256;
    const KEPT_FREE_SHARE: u64 = 8;
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let left = files.saturating_sub(KEPT_FREE.max(files / KEPT_FREE_SHARE));
    u32::try_from(left).unwrap_or(CONNECTIONS_MAX).clamp(16, CONNECTIONS_MAX)
}

#[cfg(not(unix))]
fn connections_max() -> u32 {
    CONNECTIONS_MAX
}

async fn accept(listener: TcpListener, router: Router, shared: Shared, places: Arc<Semaphore>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the server could not take its socket"),
    };
    let mut leaving = shared.leaving.clone();
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = leaving.wait_for(|leaving| *leaving) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                shared.count(|counters| &counters.connections);
                let (router, leaving) = (router.clone(), leaving.clone());
                tokio::spawn(async move {
                    serve(stream, peer, router, leaving).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: tokio::net::TcpStream, peer: SocketAddr, router: Router, mut leaving: watch::Receiver<bool>) {
    // Answers are small and written whole: waiting for more of them only costs time.
    let _ = stream.set_nodelay(true);
    let service = WithPeer { inner: TowerToHyperService::new(router), peer };
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_buf_size(HEAD_BYTES_MAX);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    // What goes wrong with a connection is the client's business: it sees that it broke.
    tokio::select! {
        ended = connection.as_mut() => return drop(ended),
        _ = leaving.wait_for(|leaving| *leaving) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Puts the other end's address into each request.
struct WithPeer {
    inner: TowerToHyperService<Router>,
    peer: SocketAddr,
}

impl hyper::service::Service<Request<Incoming>> for WithPeer {
    type Response = Response<axum::body::Body>;
    type Error = std::convert::Infallible;
    type Future = <TowerToHyperService<Router> as hyper::service::Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(Peer(self.peer));
        self.inner.call(request)
    }
}
