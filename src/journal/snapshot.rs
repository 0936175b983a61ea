//! Snapshots: the host's state at a record, as lines that only the host understands.
//!
//! ```text
//! {"k":"snap","fmt":1,"s":200017,"count":2}
//! (the host's lines)
//! {"k":"snap.end","crc":"0a1b2c3d"}        CRC-32 of everything before this line
//! ```
//!
//! A snapshot that heals a failed journal also says `"after":"9f1c02ab"`, the checksum of its last record. It stands on its own: of the
//! segments before it, the last may end early or in rubbish, and nothing of them is needed.

use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::record::{Link, hex, unhex};
use super::{FORMAT, files};
use crate::ids::Seq;

const FOOTER_HEAD: &[u8] = b"{\"k\":\"snap.end\",\"crc\":\"";
const FOOTER_TAIL: &[u8] = b"\"}\n";

/// A snapshot whose checksum holds.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The last record that it includes.
    pub(super) seq: u64,
    /// What the next record is chained to, of a snapshot that heals a failed journal: no segment before it is needed.
    pub(super) heals: Option<Link>,
    text: String,
    body: Range<usize>,
}

/// Why a file is no snapshot that we can use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// Its checksum does not hold, or it is no snapshot.
    Broken,
    /// It was written by a newer program.
    Newer(u64),
}

#[derive(Deserialize)]
struct Head {
    k: String,
    fmt: u64,
    s: u64,
    #[serde(default)]
    after: Option<String>,
}

impl Snapshot {
    /// The host's lines, without line ends.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.text[self.body.clone()].split_terminator('\n')
    }

    /// Verifies the bytes of a file.
    pub(super) fn read(bytes: Vec<u8>) -> Result<Self, Unusable> {
        let head_end = super::scan::line_end(&bytes).ok_or(Unusable::Broken)?;
        let head: Head = serde_json::from_slice(&bytes[..head_end]).map_err(|_| Unusable::Broken)?;
        if head.k != "snap" {
            return Err(Unusable::Broken);
        }
        if head.fmt > u64::from(FORMAT) {
            return Err(Unusable::Newer(head.fmt));
        }
        let footer_length = FOOTER_HEAD.len() + 8 + FOOTER_TAIL.len();
        let footer_at = bytes.len().checked_sub(footer_length).filter(|at| *at > head_end).ok_or(Unusable::Broken)?;
        let digits = bytes[footer_at..].strip_prefix(FOOTER_HEAD).and_then(|rest| rest.strip_suffix(FOOTER_TAIL));
        if digits.and_then(unhex) != Some(crc32fast::hash(&bytes[..footer_at])) {
            return Err(Unusable::Broken);
        }
        let heals = match head.after {
            Some(crc) => Some(Link { seq: head.s, crc: unhex(crc.as_bytes()).ok_or(Unusable::Broken)? }),
            None => None,
        };
        let text = String::from_utf8(bytes).map_err(|_| Unusable::Broken)?;
        Ok(Self { seq: head.s, heals, text, body: head_end + 1..footer_at })
    }
}

/// What a snapshot that is written includes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Upto {
    /// Everything up to this record, all of it durable in the segments too.
    Record(Seq),
    /// Everything up to this record, which the segments may not have.
    Healing(Link),
}

/// Writes a snapshot beside its place, synced. A line with a line end inside is refused.
pub(super) fn write_aside(path: &Path, lines: &[String], upto: Upto) -> io::Result<PathBuf> {
    if let Some(line) = lines.iter().find(|line| line.contains('\n')) {
        let shown: String = line.chars().take(40).collect();
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a line of the snapshot has a line end in it: {shown:?}")));
    }
    files::write_aside(path, |file| {
        let mut out = Checked { out: BufWriter::with_capacity(1 << 16, file), crc: crc32fast::Hasher::new() };
        let (seq, after) = match upto {
            Upto::Record(seq) => (seq.0, String::new()),
            Upto::Healing(link) => (link.seq, format!(",\"after\":\"{:08x}\"", link.crc)),
        };
        out.put(format!("{{\"k\":\"snap\",\"fmt\":{FORMAT},\"s\":{seq},\"count\":{}{after}}}\n", lines.len()).as_bytes())?;
        for line in lines {
            out.put(line.as_bytes())?;
            out.put(b"\n")?;
        }
        let Checked { mut out, crc } = out;
        out.write_all(FOOTER_HEAD)?;
        out.write_all(&hex(crc.finalize()))?;
        out.write_all(FOOTER_TAIL)?;
        out.flush()
    })
}

struct Checked<W> {
    out: W,
    crc: crc32fast::Hasher,
}

impl<W: Write> Checked<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.out.write_all(bytes)
    }
}
