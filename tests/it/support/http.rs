//! A host that is spoken to over raw sockets: what no client library would send can be sent.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::{LIMIT, Running, TestSpace};

/// `serve` in a workspace.
pub(crate) struct Served<'a> {
    space: &'a TestSpace,
    running: Running,
    pub(crate) port: u16,
    pub(crate) token: String,
    pub(crate) reader: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON: {error}\n{}\n{}", self.head, self.body))
    }

    /// Asserts the status.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "\n{}\n{}", self.head, self.body);
        self
    }

    /// Asserts an error in the documented form.
    #[track_caller]
    pub(crate) fn fails(self, status: u16, code: &str) -> Self {
        let answer = self.is(status);
        let body = answer.json();
        assert_eq!(body["error_code"], code, "{body}");
        assert!(body["detail"].is_string() && body["timestamp"].is_string(), "{body}");
        for mistake in body["errors"].as_array().into_iter().flatten() {
            assert!(mistake["pointer"].is_string() && mistake["message"].is_string(), "{body}");
        }
        answer
    }
}

impl<'a> Served<'a> {
    pub(crate) fn start(space: &'a TestSpace) -> Self {
        Self::with(space, &[])
    }

    pub(crate) fn with(space: &'a TestSpace, args: &[&str]) -> Self {
        let running = space.start(&[&["serve", "--port", "0"], args].concat());
        running.wait_for_note("Ctrl-C ends it");
        let address: Value = serde_json::from_str(&space.read(".prismq/host.json")).expect("JSON");
        let port = address["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
        let mut served = Self { space, running, port, token: String::new(), reader: String::new() };
        served.read_tokens();
        served
    }

    pub(crate) fn read_tokens(&mut self) {
        self.token = self.space.read(".prismq/token");
        self.reader = self.space.read(".prismq/token-read");
    }

    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// A connection.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        stream.set_write_timeout(Some(LIMIT)).expect("a limit");
        stream
    }

    /// Sends bytes as they are, and reads until the other side closes.
    #[track_caller]
    pub(crate) fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        // Whoever refuses early may close before everything is sent.
        let _ = stream.write_all(bytes);
        read_answer(&mut stream)
    }

    /// A request with these headers and no others but `Host`, `Connection` and `Content-Length`.
    #[track_caller]
    pub(crate) fn bare(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n", self.port);
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if method == "POST" || !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        self.raw(format!("{text}\r\n{body}").as_bytes())
    }

    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.bare("GET", path, &[("Authorization", &self.bearer())], "")
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.bare("DELETE", path, &[("Authorization", &self.bearer())], "")
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        self.post_with(path, &[], body)
    }

    #[track_caller]
    pub(crate) fn post_with(&self, path: &str, more: &[(&str, &str)], body: &str) -> Answer {
        let bearer = self.bearer();
        let own = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        self.bare("POST", path, &[&own, more].concat(), body)
    }

    /// The cookie that a browser gets for a link, as it sends it back.
    #[track_caller]
    pub(crate) fn cookie(&self) -> String {
        let link = self.space.prismq(&["token", "link"]).ends(0).stdout;
        let path = link.trim().split_once(&format!(":{}", self.port)).expect("an address of this host").1.to_owned();
        let answer = self.bare("GET", &path, &[], "").is(303);
        answer.header("set-cookie").expect("a cookie").split(';').next().expect("a pair").to_owned()
    }

    /// Waits until a run has ended; gives it.
    #[track_caller]
    pub(crate) fn ended(&self, run: &str) -> Value {
        let path = format!("/api/runs/{run}");
        self.space.wait_until("the run has ended", || {
            let status = self.get(&path).is(200).json()["status"].clone();
            status != "queued" && status != "running"
        });
        self.get(&path).json()
    }

    /// Ends it as Ctrl-C does.
    #[cfg(unix)]
    #[track_caller]
    pub(crate) fn stop(self) -> super::Ran {
        self.running.signal(rustix::process::Signal::INT);
        self.running.end()
    }
}

/// Reads an answer to the end of the connection; of a stream of events, which has none, its head and what came with that.
pub(crate) fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    let is_endless = |bytes: &[u8]| {
        let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4 << 10)]).to_ascii_lowercase();
        head.split_once("\r\n\r\n").is_some_and(|(head, _)| head.contains("content-type: text/event-stream"))
    };
    // A reset after the answer is the same as an end.
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..count]);
        if is_endless(&bytes) {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let (head, body) = text.split_once("\r\n\r\n").map_or((text.clone(), String::new()), |(head, body)| (head.to_owned(), body.to_owned()));
    Answer { status, head, body }
}

/// Whether the other side closes within a time.
pub(crate) fn closes_within(stream: &mut TcpStream, limit: Duration) -> bool {
    stream.set_read_timeout(Some(limit)).expect("a limit");
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    }
}
