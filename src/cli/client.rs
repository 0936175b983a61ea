//! Speaking to a host in another process, over its loopback port.

use std::io;
use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exit::Exit;
use super::failure::Failure;
use super::follow::Input;
use crate::api::{Accepted, CancelRequest, ErrorReply, FindRequest, Health, Link, ResumeReply, ResumeRequest};
use crate::host::look::{RunFound, RunsAsked, RunsSeen};
use crate::host::modules::{ModuleList, ModuleShown};
use crate::host::prune::{Keep, Report};
use crate::host::resources_view::ResourcesView;
use crate::host::runfile::RunFile;
use crate::host::submission::{Retry, Submit};
use crate::host::update::Update;
use crate::host::why::{WhyAsked, WhyView};
use crate::ids::{ModuleId, RunId};

/// A host that does not take a connection on this machine and say that it is well within this time is not there.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Who looks waits no longer than this: what is written down can be read without the host.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// Talks to one host.
#[derive(Debug, Clone)]
pub(super) struct Client {
    port: u16,
    token: String,
    leaving: bool,
}

impl Client {
    /// A client of the host on this port, if one answers there.
    pub(super) fn connect(port: u16, token: String) -> io::Result<Self> {
        let mut client = Self { port, token, leaving: false };
        let ask = async {
            let response = client.send(Method::GET, "/api/health", Bytes::new()).await?;
            let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
            serde_json::from_slice::<Health>(&body).map_err(io::Error::other)
        };
        // The system takes connections for a process that hangs.
        let health = client
            .block(async { tokio::time::timeout(CONNECT_LIMIT, ask).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) })?;
        client.leaving = health.leaving;
        Ok(client)
    }

    /// Where the host listens.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether the host was about to leave when it was found.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Submits a run.
    pub(super) fn submit(&self, submit: &Submit) -> Result<Accepted, Failure> {
        self.call(Method::POST, "/api/local/runs", submit)
    }

    /// Repeats a run.
    pub(super) fn retry(&self, retry: &Retry) -> Result<Accepted, Failure> {
        self.call(Method::POST, "/api/local/retry", retry)
    }

    /// The modules as the host knows them.
    pub(super) fn modules(&self) -> Result<ModuleList, Failure> {
        self.look(Method::GET, "/api/local/modules", &())
    }

    /// One of them, with what was learned of it.
    pub(super) fn module(&self, id: &ModuleId) -> Result<ModuleShown, Failure> {
        self.look(Method::GET, &format!("/api/local/modules/{id}"), &())
    }

    /// The runs that are asked for.
    pub(super) fn runs(&self, asked: &RunsAsked) -> Result<RunsSeen, Failure> {
        self.look(Method::POST, "/api/local/runs/list", asked)
    }

    /// The run that a selector names.
    pub(super) fn find(&self, selector: &str) -> Result<RunFound, Failure> {
        self.look(Method::POST, "/api/local/runs/find", &FindRequest { selector: selector.to_owned() })
    }

    /// A run with all its nodes.
    pub(super) fn file(&self, run: &RunId) -> Result<RunFile, Failure> {
        self.look(Method::GET, &format!("/api/local/runs/{run}/file"), &())
    }

    /// Why nodes do not run.
    pub(super) fn why(&self, asked: &WhyAsked) -> Result<WhyView, Failure> {
        self.call(Method::POST, "/api/local/why", asked)
    }

    /// How the machine stands.
    pub(super) fn resources(&self) -> Result<ResourcesView, Failure> {
        self.call(Method::POST, "/api/local/resources", &())
    }

    /// Ends a run.
    pub(super) fn cancel(&self, run: &RunId, kill: bool) -> Result<(), Failure> {
        self.call_for(Method::POST, &format!("/api/local/runs/{run}/cancel"), &CancelRequest { kill }).map(drop)
    }

    /// Goes on with held runs.
    pub(super) fn resume(&self, run: Option<&RunId>) -> Result<Vec<RunId>, Failure> {
        let reply: ResumeReply = self.call(Method::POST, "/api/local/resume", &ResumeRequest { run_id: run.cloned() })?;
        Ok(reply.resumed)
    }

    /// A link that lets a browser in.
    pub(super) fn link(&self) -> Result<String, Failure> {
        self.call::<Link>(Method::POST, "/api/local/link", &()).map(|link| link.url)
    }

    /// New tokens. This client's own is worth nothing afterwards.
    pub(super) fn rotate(&self) -> Result<(), Failure> {
        self.call_for(Method::POST, "/api/local/token/rotate", &()).map(drop)
    }

    /// Removes finished runs.
    pub(super) fn prune(&self, keep: Keep) -> Result<Report, Failure> {
        self.call(Method::POST, "/api/local/prune", &keep)
    }

    /// What that would remove.
    pub(super) fn would_prune(&self, keep: Keep) -> Result<Report, Failure> {
        self.call(Method::POST, "/api/local/prune/plan", &keep)
    }

    /// Follows a run: updates go to `inputs` from a thread of its own, and [`Input::Lost`] when the connection breaks.
    pub(super) fn follow(&self, run: &RunId, inputs: mpsc::Sender<Input>) -> Result<(), Failure> {
        let path = format!("/api/local/runs/{run}/follow");
        let client = self.clone();
        let (opened, answer) = mpsc::sync_channel::<Result<(), Failure>>(1);
        let reader = move || {
            let lost = inputs.clone();
            client.block(async {
                match client.open(Method::GET, &path, Bytes::new()).await {
                    Ok(response) => {
                        // Whoever asked waits for this answer.
                        let _ = opened.send(Ok(()));
                        if !read_updates(response.into_body(), &inputs).await {
                            // Nobody may listen any more.
                            let _ = lost.send(Input::Lost);
                        }
                    }
                    Err(failure) => drop(opened.send(Err(failure))),
                }
            });
        };
        let spawned = std::thread::Builder::new().name("follow".into()).spawn(reader);
        spawned.map_err(|error| Failure::ours(format!("no thread could be started: {error}")))?;
        answer.recv().unwrap_or_else(|_| Err(unreachable("it closed the connection")))
    }

    fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        understood(&self.call_for(method, path, body)?)
    }

    fn call_for(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Bytes, Failure> {
        self.block(self.exchange(method, path, body))
    }

    /// The same as `call`, for what can be had without the host.
    fn look<T: DeserializeOwned>(&self, method: Method, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let limited = async {
            let answer = tokio::time::timeout(LOOK_LIMIT, self.exchange(method, path, body));
            answer.await.unwrap_or_else(|_| Err(unreachable("it takes too long")))
        };
        understood(&self.block(limited)?)
    }

    async fn exchange(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Bytes, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::ours(format!("the request cannot be written: {error}")))?;
        let response = self.open(method, path, body.into()).await?;
        let bytes = response.into_body().collect().await.map_err(|error| unreachable(&error.to_string()))?;
        Ok(bytes.to_bytes())
    }

    /// Sends a request and turns an error's answer into a failure.
    async fn open(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Failure> {
        let response = self.send(method, path, body).await.map_err(|error| unreachable(&error.to_string()))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let bytes = response.into_body().collect().await.map_err(|error| unreachable(&error.to_string()))?.to_bytes();
        Err(serde_json::from_slice::<ErrorReply>(&bytes).map_or_else(|_| unreachable("its answer is not understood"), failure_of))
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> io::Result<Response<Incoming>> {
        let connected = tokio::time::timeout(CONNECT_LIMIT, tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))).await;
        let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("127.0.0.1:{}", self.port))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        sender.send_request(request).await.map_err(io::Error::other)
    }

    /// Runs a conversation on this thread.
    #[expect(clippy::unused_self, reason = "reads as the client's own")]
    fn block<T>(&self, conversation: impl Future<Output = T>) -> T
    where
        T: FromNoRuntime,
    {
        match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
            Ok(runtime) => runtime.block_on(conversation),
            Err(error) => T::from_error(error),
        }
    }
}

/// What a conversation gives when not even its runtime could be made (no descriptors left).
trait FromNoRuntime {
    fn from_error(error: io::Error) -> Self;
}

impl FromNoRuntime for () {
    fn from_error(_: io::Error) -> Self {}
}

impl<T> FromNoRuntime for io::Result<T> {
    fn from_error(error: io::Error) -> Self {
        Err(error)
    }
}

impl<T> FromNoRuntime for Result<T, Failure> {
    fn from_error(error: io::Error) -> Self {
        Err(unreachable(&error.to_string()))
    }
}

/// Passes updates on; whether the last one was read.
async fn read_updates(mut body: Incoming, inputs: &mpsc::Sender<Input>) -> bool {
    let mut pending: Vec<u8> = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        pending.extend_from_slice(&data);
        let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') else { continue };
        for line in pending[..end].split(|byte| *byte == b'\n') {
            let Ok(update) = serde_json::from_slice::<Update>(line) else { continue };
            let last = matches!(update, Update::Ended(_) | Update::Failed { .. } | Update::Leaving);
            if inputs.send(Input::Update(update)).is_err() || last {
                return true;
            }
        }
        pending.drain(..=end);
    }
    false
}

fn understood<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer).map_err(|error| unreachable(&format!("its answer is not understood: {error}")))
}

fn unreachable(reason: &str) -> Failure {
    Failure::new(Exit::HostUnreachable, format!("the host of this workspace does not answer: {reason}"))
        .with_help("`.prismq/host.json` names its process; its log is `.prismq/log/host.log`")
}

fn failure_of(reply: ErrorReply) -> Failure {
    let exit = match reply.error_code.as_str() {
        "not_found" => Exit::NotFound,
        "invalid" | "broken" => Exit::Invalid,
        "never_fits" => Exit::NeverFits,
        "conflict" => Exit::Usage,
        "disk_full" => Exit::RunFailed,
        _ => Exit::HostUnreachable,
    };
    let rendered = reply.rendered;
    let message = if rendered.is_some() { String::new() } else { reply.detail };
    let leaving = reply.error_code == "leaving";
    let unwritable = matches!(reply.error_code.as_str(), "disk_full" | "read_only");
    Failure { rendered, leaving, unwritable, help: reply.help, ..Failure::new(exit, message) }
}
