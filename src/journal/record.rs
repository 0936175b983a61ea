//! The line that a record is, in both directions.
//!
//! ```text
//! {"c":"9f1c02ab","p":"77d0e4c1","s":4182,"t":1763626312123456,"b":"1c0ffee0","k":"att.exit","run":"..","node":"..","att":1,"d":{..}}
//! ```
//!
//! `c` is the CRC-32 of the bytes from offset 16 to the line end (not included), `p` the `c` of the record before, `s` the number
//! without gaps, `t` the wall clock in microseconds, `b` the boot. ASCII only, so that no cut and no flipped bit can be an encoding
//! error. Fields may be added: a reader passes over what it does not know.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Entry, FORMAT, blob};
use crate::ids::{AttemptNumber, Seq};
use crate::units::Timestamp;

/// Longest line, with its end. Longer data goes to a blob.
pub(super) const LINE_MAX: usize = 64 << 10;
/// Where the checked part of a line begins.
pub(super) const CHECKED_FROM: usize = 16;
/// Kind of the first record of every segment.
pub(super) const KIND_SEGMENT: &str = "seg.open";
/// Kind of the record that recovery leaves where it cut.
pub(super) const KIND_TRIM: &str = "journal.trim";
/// Kind of the record that proves a new segment after a failure.
pub(super) const KIND_HEAL: &str = "journal.heal";
/// Kinds that begin so are the journal's own and not shown.
const OWN_PREFIX: &str = "journal.";

/// Where a record stands in the chain: what the next one is chained to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Link {
    /// Number of the last record; 0 before the first.
    pub(super) seq: u64,
    /// Its checksum.
    pub(super) crc: u32,
}

/// A record as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number.
    pub seq: Seq,
    /// Wall clock at its writing.
    pub at: Timestamp,
    /// Boot of the machine that wrote it, shortened: see [`boot_id`](super::boot_id).
    pub boot: Cow<'a, str>,
    /// What happened.
    pub kind: Cow<'a, str>,
    /// The run concerned.
    pub run: Option<Cow<'a, str>>,
    /// Path of the node.
    pub node: Option<Cow<'a, str>>,
    /// The attempt.
    pub attempt: Option<AttemptNumber>,
    /// JSON text of the rest, fetched from `blobs/` where it lies there.
    pub data: Option<Cow<'a, str>>,
}

/// A string that is borrowed where the line holds it unescaped, also inside an `Option`.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The line as serde sees it. One flat struct with borrowed fields: several times faster than a generic value.
#[derive(Deserialize)]
struct Wire<'a> {
    s: u64,
    #[serde(default)]
    t: i64,
    #[serde(borrow, default)]
    b: Cow<'a, str>,
    #[serde(borrow)]
    k: Cow<'a, str>,
    #[serde(borrow, default)]
    run: Option<Text<'a>>,
    #[serde(borrow, default)]
    node: Option<Text<'a>>,
    #[serde(default)]
    att: Option<AttemptNumber>,
    #[serde(borrow, default)]
    d: Option<&'a RawValue>,
}

impl<'a> Record<'a> {
    /// Reads a line whose checksum was verified. Data that lies in a blob is still the reference to it.
    pub(super) fn parse(line: &'a str) -> Result<Self, String> {
        let wire: Wire<'a> = serde_json::from_str(line).map_err(|error| format!("its checksum holds, but it is no record: {error}"))?;
        Ok(Self {
            seq: Seq(wire.s),
            at: Timestamp::from_micros(wire.t),
            boot: wire.b,
            kind: wire.k,
            run: wire.run.map(|text| text.0),
            node: wire.node.map(|text| text.0),
            attempt: wire.att,
            data: wire.d.map(|raw| Cow::Borrowed(raw.get())),
        })
    }

    /// Whether it is for the journal's own use and none of the host's records.
    pub(super) fn is_own(&self) -> bool {
        self.kind == KIND_SEGMENT || self.kind.starts_with(OWN_PREFIX)
    }
}

/// Kind and run of a verified line without parsing it; `None` where they are not found that easily.
pub(super) fn names(line: &str) -> Option<(&str, Option<&str>)> {
    // Both stand before everything that users name, and a quote inside a name is escaped: the first match is the field. The data may
    // be long, and holds neither.
    let head = &line[..line.find(",\"d\":").unwrap_or(line.len())];
    let field = |name: &str| head[head.find(name)? + name.len()..].split('"').next();
    Some((field(",\"k\":\"")?, field(",\"run\":\"")))
}

/// What encoding a record gave beside the line.
#[derive(Debug)]
pub(super) struct Encoded {
    /// What the next record is chained to.
    pub(super) link: Link,
    /// Data that did not fit and must be durable before the line: its hash and bytes.
    pub(super) spilled: Option<(String, Box<[u8]>)>,
}

/// Appends the line of an entry to `out`. On an error (the length that its names take) `out` is as before.
pub(super) fn encode(out: &mut Vec<u8>, after: Link, boot: &str, entry: &Entry<'_>) -> Result<Encoded, usize> {
    let start = open_line(out, after);
    push(out, ",\"t\":");
    push_number(out, entry.at.micros());
    push_field(out, "b", boot);
    push_field(out, "k", entry.kind);
    if let Some(run) = entry.run {
        push_field(out, "run", run.as_str());
    }
    if let Some(node) = entry.node {
        push_field(out, "node", node);
    }
    if let Some(attempt) = entry.attempt {
        push(out, ",\"att\":");
        push_number(out, i64::from(attempt.0));
    }
    let spilled = entry.data.and_then(|data| push_data(out, start, data.get()));
    if out.len() - start + 2 > LINE_MAX {
        let length = out.len() - start;
        out.truncate(start);
        return Err(length);
    }
    Ok(Encoded { link: close_line(out, start, after), spilled })
}

/// Appends the first line of a segment.
pub(super) fn encode_segment_head(out: &mut Vec<u8>, after: Link, id: &str, snapshot: Option<&str>) -> Link {
    let start = open_line(out, after);
    push_field(out, "k", KIND_SEGMENT);
    push(out, ",\"fmt\":");
    push_number(out, i64::from(FORMAT));
    push_field(out, "id", id);
    match snapshot {
        Some(name) => push_field(out, "snap", name),
        None => push(out, ",\"snap\":null"),
    }
    close_line(out, start, after)
}

/// Begins a line up to its number; gives where it begins.
fn open_line(out: &mut Vec<u8>, after: Link) -> usize {
    let start = out.len();
    push(out, "{\"c\":\"00000000\",\"p\":\"");
    out.extend_from_slice(&hex(after.crc));
    push(out, "\",\"s\":");
    out.extend_from_slice((after.seq + 1).to_string().as_bytes());
    start
}

/// Ends a line and fills in its checksum.
fn close_line(out: &mut Vec<u8>, start: usize, after: Link) -> Link {
    out.push(b'}');
    let crc = crc32fast::hash(&out[start + CHECKED_FROM..]);
    out[start + 6..start + 14].copy_from_slice(&hex(crc));
    out.push(b'\n');
    Link { seq: after.seq + 1, crc }
}

/// Appends the data, or a reference to the blob that it becomes.
fn push_data(out: &mut Vec<u8>, start: usize, data: &str) -> Option<(String, Box<[u8]>)> {
    push(out, ",\"d\":");
    let at = out.len();
    // Data that looks like our own reference would be taken for one when it is read back.
    if data.len() < LINE_MAX && blob::referenced(data).is_none() {
        push_ascii_json(out, data);
        if out.len() - start + 2 <= LINE_MAX {
            return None;
        }
        out.truncate(at);
    }
    let hash = blob::hash_of(data.as_bytes());
    push(out, &blob::reference(&hash));
    Some((hash, data.as_bytes().into()))
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn push_number(out: &mut Vec<u8>, number: i64) {
    push(out, &number.to_string());
}

fn push_field(out: &mut Vec<u8>, name: &str, value: &str) {
    push(out, ",\"");
    push(out, name);
    push(out, "\":\"");
    for c in value.chars() {
        match c {
            '"' => push(out, "\\\""),
            '\\' => push(out, "\\\\"),
            ' '..='\u{7f}' => out.push(c as u8),
            _ => push_escaped(out, c),
        }
    }
    out.push(b'"');
}

/// Appends JSON text with everything beyond ASCII escaped. That can stand in strings only, as line breaks can stand outside only.
fn push_ascii_json(out: &mut Vec<u8>, json: &str) {
    if json.bytes().all(|byte| (b' '..=0x7f).contains(&byte)) {
        return push(out, json);
    }
    for c in json.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(b' '),
            ' '..='\u{7f}' => out.push(c as u8),
            _ => push_escaped(out, c),
        }
    }
}

fn push_escaped(out: &mut Vec<u8>, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        push(out, "\\u");
        out.extend_from_slice(&hex(u32::from(*unit))[4..]);
    }
}

/// Eight lower-case hexadecimal digits.
pub(super) fn hex(value: u32) -> [u8; 8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|at| DIGITS[(value >> (28 - 4 * at)) as usize & 15])
}

/// The value of eight lower-case hexadecimal digits, and of nothing else: a capital letter is a flipped bit.
pub(super) fn unhex(digits: &[u8]) -> Option<u32> {
    if digits.len() != 8 {
        return None;
    }
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u32::from(digit))
    })
}
