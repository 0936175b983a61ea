//! A client of the channel for tests: requests over a plain socket, and streams of events that are read in the background.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use serde_json::Value;

use super::{LIMIT, TestSpace, until};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Its body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Asserts the status and the error's word.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        let reply = self.json();
        assert_eq!(reply["error_code"], code, "{reply}");
        assert!(reply["detail"].is_string() && reply["timestamp"].is_string(), "{reply}");
    }
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: Option<String>,
    pub(crate) id: Option<u64>,
    pub(crate) data: Value,
}

/// Sends a request and gives the connection. HTTP/1.0, so that bodies come as they are.
#[track_caller]
pub(crate) fn send(space: &TestSpace, path: &str, headers: &[(&str, &str)]) -> TcpStream {
    let port = until(|| {
        let text = std::fs::read_to_string(space.at(".prismq/host.json")).ok()?;
        serde_json::from_str::<Value>(&text).ok()?["port"].as_u64()
    });
    let port = u16::try_from(port.expect("a host says where it listens")).expect("a port");
    let token = space.read(".prismq/token");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a host");
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).expect("it takes a request");
    stream
}

/// Asks and waits for the whole answer.
#[track_caller]
pub(crate) fn get(space: &TestSpace, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut stream = send(space, path, headers);
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}

#[derive(Debug, Default)]
struct Heard {
    bytes: Mutex<(Vec<u8>, bool)>,
    news: Condvar,
}

/// A stream of events. It is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Events {
    stream: TcpStream,
    heard: Arc<Heard>,
}

impl Events {
    #[track_caller]
    pub(crate) fn open(space: &TestSpace, path: &str, headers: &[(&str, &str)]) -> Self {
        let stream = send(space, path, headers);
        let heard = Arc::<Heard>::default();
        let (mut reader, hears) = (stream.try_clone().expect("a second handle"), heard.clone());
        std::thread::spawn(move || {
            let mut piece = [0_u8; 65536];
            loop {
                let count = reader.read(&mut piece).unwrap_or(0);
                let mut held = hears.bytes.lock().expect("no test thread panicked");
                held.0.extend_from_slice(&piece[..count]);
                held.1 = count == 0;
                hears.news.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Self { stream, heard }
    }

    /// Waits until the events so far satisfy a condition, and gives them.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, condition: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let (events, _, good) = self.look(|events, _| condition(events));
        assert!(good, "this did not come: {what}\n{:#?}", &events[events.len().saturating_sub(20)..]);
        events
    }

    /// Waits until the server closes it, and gives everything.
    #[track_caller]
    pub(crate) fn to_end(&self) -> Vec<Event> {
        let (events, ended, _) = self.look(|_, ended| ended);
        assert!(ended, "the stream did not end\n{:#?}", &events[events.len().saturating_sub(20)..]);
        events
    }

    fn look(&self, condition: impl Fn(&[Event], bool) -> bool) -> (Vec<Event>, bool, bool) {
        let end = Instant::now() + LIMIT;
        let mut held = self.heard.bytes.lock().expect("no test thread panicked");
        loop {
            let events = parse(&held.0);
            let good = condition(&events, held.1);
            if good || held.1 || Instant::now() >= end {
                return (events, held.1, good);
            }
            held = self.heard.news.wait_timeout(held, end.saturating_duration_since(Instant::now())).expect("no test thread panicked").0;
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // It may be closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// The whole events in what was read.
fn parse(bytes: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Vec::new() };
    assert!(head.starts_with("HTTP/1.0 200") && head.to_lowercase().contains("text/event-stream"), "{head}\n{body}");
    let Some((whole, _)) = body.rsplit_once("\n\n") else { return Vec::new() };
    whole.split("\n\n").filter_map(parse_event).collect()
}

fn parse_event(text: &str) -> Option<Event> {
    let (mut name, mut id, mut data) = (None, None, None);
    for line in text.lines() {
        match line.split_once(": ") {
            Some(("event", value)) => name = Some(value.to_owned()),
            Some(("id", value)) => id = Some(value.parse().expect("ids are numbers")),
            Some(("data", value)) => data = Some(serde_json::from_str(value).expect("data is JSON in one line")),
            Some(("retry", _)) | None => {}
            Some((field, _)) => panic!("the field {field:?} is none of ours: {text:?}"),
        }
    }
    data.map(|data| Event { name, id, data })
}

/// Number and text of every line among events.
pub(crate) fn lines(events: &[Event]) -> Vec<(u64, String)> {
    let unnamed = events.iter().filter(|event| event.name.is_none());
    let line = |event: &Event| (event.id.expect("a line has a number"), event.data["message"].as_str().expect("a text").to_owned());
    unnamed.map(line).collect()
}
