//! Bytes on the socket of a real host: no request is a fault of ours, and none without a token gets more than the greeting.
//!
//! `{HOST}` and `{TOKEN}` in an input stand for what this host has, so that kept inputs stay good.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use prismq::host::ownership::Ownership;
use prismq::host::workspace::Workspace;
use prismq::host::{Host, HostMode, StartOptions};

use super::{Play, Target, way};

/// How long an answer may take. The host answers in milliseconds; requests that never end are its own to close.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);

/// How long it is waited for more before this side is closed. Answers to requests that are refused come at once.
const MOMENT: Duration = Duration::from_millis(25);

/// Most of an answer that is looked at.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What a status of 5xx may be: a host that is full or leaving says so.
const EXPECTED_5XX: [&str; 2] = ["503", "507"];

pub(crate) fn target() -> Target {
    Target {
        name: "http",
        words: &[
            "GET ",
            "POST ",
            "DELETE ",
            "HEAD ",
            "OPTIONS ",
            "PUT ",
            " HTTP/1.1\r\n",
            " HTTP/1.0\r\n",
            "\r\n\r\n",
            "Host: {HOST}\r\n",
            "Host: evil.example\r\n",
            "Authorization: Bearer {TOKEN}\r\n",
            "Authorization: Bearer x\r\n",
            "Origin: null\r\n",
            "Origin: http://{HOST}\r\n",
            "Sec-Fetch-Site: cross-site\r\n",
            "Content-Type: application/json\r\n",
            "Content-Type: text/plain\r\n",
            "Content-Length: ",
            "Transfer-Encoding: chunked\r\n",
            "Connection: close\r\n",
            "Range: bytes=0-",
            "Last-Event-ID: ",
            "Cookie: ",
            "Idempotency-Key: ",
            "/api/",
            "health",
            "modules/",
            "runs/",
            "/logs",
            "/stream?end=close",
            "local/",
            "config",
            "pipelines",
            "%2e%2e%2f",
            "%00",
            "%",
            "//",
            "..;/",
            "?limit=",
            "&offset=",
            "18446744073709551616",
            "{\"parameters\":",
            "{\"a\":1,\"a\":2}",
            "\\u0000",
            "\u{ff0e}",
        ],
        begin,
    }
}

/// A host with one module, in this process, for as long as it is kept.
pub(crate) struct Served {
    pub(crate) address: String,
    pub(crate) token: String,
    host: Host,
    _server: prismq::api::Server,
    _folder: tempfile::TempDir,
}

impl Served {
    pub(crate) fn start(manifest: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("manifests")).expect("a folder");
        std::fs::write(folder.path().join("manifests/m.yaml"), manifest).expect("a manifest");
        std::fs::write(folder.path().join("prismq.yaml"), "host: {max_queued: 50}\n").expect("settings");
        let workspace = Workspace::at(folder.path()).expect("a workspace");
        let ownership = Ownership::try_take(&workspace).expect("a lock").expect("nobody else is here");
        let host = Host::start(&workspace, ownership, StartOptions { mode: HostMode::Serve }).expect("a host");
        let token = prismq::host::tokens::Tokens::of(&workspace).expect("tokens").owner;
        let server = prismq::api::start(host.handle().clone(), &prismq::api::Options::default()).expect("a server");
        Self { address: format!("127.0.0.1:{}", server.port()), token, host, _server: server, _folder: folder }
    }

    /// Runs the module to its end; gives the run's id.
    pub(crate) fn finished_run(&self) -> String {
        let head = format!("Host: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n", self.address, self.token);
        let start = format!("POST /api/modules/m/run HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}");
        let started = String::from_utf8_lossy(&ask(&self.address, start.as_bytes(), ANSWER)).into_owned();
        let run = started
            .split("\"run_id\":\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap_or_else(|| panic!("it is not started: {started}"))
            .to_owned();
        // The stream of a run that goes on ends with it.
        let stream = format!("GET /api/runs/{run}/logs/stream?end=close HTTP/1.1\r\n{head}\r\n");
        let told = String::from_utf8_lossy(&ask(&self.address, stream.as_bytes(), ANSWER)).into_owned();
        assert!(told.contains("line 5"), "{told:.600}");
        run
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Nothing of it runs; it must not wait for anything.
        let _ = self.host.handle().leave(prismq::host::OnExit::Now, false);
    }
}

fn begin() -> Play {
    let served = Served::start("id: m\ncommand: [prismq-has-no-such-program]\nparams: {properties: {a: {type: integer}}}\n");
    Box::new(move |input| {
        let known = String::from_utf8_lossy(input).contains("{TOKEN}");
        let request = replaced(&replaced(input, b"{HOST}", served.address.as_bytes()), b"{TOKEN}", served.token.as_bytes());
        let answer = ask(&served.address, &request, MOMENT);
        if answer.is_empty() {
            return 1;
        }
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1."), "no answer of HTTP: {text:.200}");
        let status = text.split(' ').nth(1).unwrap_or_default();
        assert!(!status.starts_with('5') || EXPECTED_5XX.contains(&status), "{text:.400}");
        if status.starts_with('2') && !known {
            let open = request.starts_with(b"GET /api/health") || request.starts_with(b"HEAD /api/health");
            assert!(open, "an answer without a token: {text:.400}");
        }
        let code = text.split("\"error_code\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        way(code) ^ crate::dice::hash(status.as_bytes())
    })
}

/// Sends a request and gives what comes back. Where nothing more comes for a moment, this side is closed: whoever waits for the rest of a
/// request, or for the next one, ends then, and so does a stream.
pub(crate) fn ask(address: &str, request: &[u8], moment: Duration) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).expect("the host listens");
    // Whoever refuses a request early closes before all of it was sent.
    let _ = socket.write_all(request);
    let mut answer = Vec::new();
    let mut buffer = [0; 16 << 10];
    let mut closed = false;
    loop {
        socket.set_read_timeout(Some(if closed { ANSWER } else { moment })).expect("a limit");
        match socket.read(&mut buffer) {
            Ok(0) => return answer,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                assert!(!closed, "the connection stays open");
                closed = true;
                let _ = socket.shutdown(Shutdown::Write);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A reset after the answer is the same as an end.
            Err(_) => return answer,
        }
        if answer.len() > ANSWER_BYTES_MAX {
            return answer;
        }
    }
}

fn replaced(input: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.windows(from.len()).position(|part| part == from) {
        output.extend_from_slice(&rest[..at]);
        output.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    output.extend_from_slice(rest);
    output
}
