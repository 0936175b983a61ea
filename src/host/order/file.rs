//! The order file of a run: `runs/<run>/order`, with the names of its attempts in `runs/<run>/order.attempts`.
//!
//! ```text
//! order            records of 48 bytes, little endian; the first is the head: "pqorder", version (1), zeros
//!                  kind: u8 (1 lines, 2 a gap, 3 the run's end), stream: u8 (0 standard output, 1 standard error), two zeros
//!                  attempt: u32 (line of order.attempts, from 0)   first: u64 (number of its first line in the run, from 1)
//!                  from: u64   to: u64 (bytes of the stream)       time: i64 (microseconds; of the end of its last line)
//!                  lines: u32                                      checksum: u32 (CRC-32 of the 44 bytes before)
//! order.attempts   a line of JSON for each attempt: {"node":"score[3]","attempt":1}
//! ```
//!
//! Written by the host alone, appended only, not synced: what a power cut takes is cut off at the first record that is none, and ordered
//! anew. A host that was killed leaves whole records, since each is written in one call with others.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Attempt;
use crate::attempt::AttemptFolder;
use crate::event::RunStatus;
use crate::ids::AttemptNumber;
use crate::logs::{Span, Stream};
use crate::units::Timestamp;

/// Length of a record, and of the head.
pub(super) const RECORD: u64 = 48;
const MAGIC: [u8; 8] = *b"pqorder\x01";
/// Records read at a time.
const BLOCK: u64 = 1024;

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// Lines, or the gap in which they were.
    Span { attempt: u32, first: u64, span: Span },
    /// The run ended so; behind it nothing comes.
    End { first: u64, status: RunStatus, at: Timestamp },
}

impl Record {
    /// Number of the line that the record begins with.
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::Span { first, .. } | Self::End { first, .. } => *first,
        }
    }

    /// Number of the line behind it.
    pub(super) fn next(&self) -> u64 {
        match self {
            Self::Span { first, span, .. } => first + u64::from(span.lines),
            Self::End { first, .. } => *first,
        }
    }

    fn encode(self) -> [u8; 48] {
        let mut bytes = [0; 48];
        let (kind, stream, attempt, first, from, to, at, lines) = match self {
            Self::Span { attempt, first, span } => {
                let stream = u8::from(span.stream == Stream::Stderr);
                (1 + u8::from(span.gap), stream, attempt, first, span.from, span.to, span.at, span.lines)
            }
            Self::End { first, status, at } => (3, status_code(status), 0, first, 0, 0, at, 0),
        };
        bytes[0] = kind;
        bytes[1] = stream;
        bytes[4..8].copy_from_slice(&attempt.to_le_bytes());
        for (field, number) in [first, from, to, at.micros().cast_unsigned()].into_iter().enumerate() {
            bytes[8 + field * 8..16 + field * 8].copy_from_slice(&number.to_le_bytes());
        }
        bytes[40..44].copy_from_slice(&lines.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..44]);
        bytes[44..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; 48]) -> Option<Self> {
        let four = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let eight = |at: usize| u64::from(four(at)) | u64::from(four(at + 4)) << 32;
        if crc32fast::hash(&bytes[..44]) != four(44) {
            return None;
        }
        let (first, at, lines) = (eight(8), Timestamp::from_micros(eight(32).cast_signed()), four(40));
        match (bytes[0], bytes[1]) {
            (kind @ (1 | 2), stream @ (0 | 1)) => {
                let stream = if stream == 0 { Stream::Stdout } else { Stream::Stderr };
                let span = Span { stream, from: eight(16), to: eight(24), at, lines, gap: kind == 2 };
                (span.from < span.to && lines > 0).then_some(Self::Span { attempt: four(4), first, span })
            }
            (3, code) => Some(Self::End { first, status: status_of(code)?, at }),
            _ => None,
        }
    }
}

fn status_code(status: RunStatus) -> u8 {
    match status {
        RunStatus::Queued => 0,
        RunStatus::Running => 1,
        RunStatus::Completed => 2,
        RunStatus::Failed => 3,
        RunStatus::Cancelled => 4,
    }
}

fn status_of(code: u8) -> Option<RunStatus> {
    [RunStatus::Queued, RunStatus::Running, RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled].get(usize::from(code)).copied()
}

#[derive(Serialize, Deserialize)]
struct Name<'a> {
    node: std::borrow::Cow<'a, str>,
    attempt: AttemptNumber,
}

/// The file as its only writer has it.
#[derive(Debug)]
pub(super) struct Writing {
    records: File,
    names: File,
    run: PathBuf,
    pub(super) attempts: Vec<Arc<Attempt>>,
    pub(super) count: u64,
    /// Number of the next line.
    pub(super) next: u64,
    pub(super) ended: Option<RunStatus>,
}

/// What a file says of each attempt: behind which bytes of its two streams it goes on.
pub(super) type Ends = Vec<[u64; 2]>;

impl Writing {
    /// Opens the file of a run, or makes it; what is no record any more is cut off. Gives how far each attempt has come.
    ///
    /// # Errors
    /// What the system said; that there is nothing, where the run's folder is gone.
    pub(super) fn open(run: &Path) -> io::Result<(Self, Ends)> {
        let mut records = open_private(&run.join("order"))?;
        let mut names = open_private(&run.join("order.attempts"))?;
        let mut attempts = read_names(&mut names, run)?;
        let (count, last, mut ends) = scan(&mut records, &attempts)?;
        records.set_len(RECORD * (count + 1))?;
        if count == 0 {
            records.seek(SeekFrom::Start(0))?;
            records.write_all(&head())?;
        }
        records.seek(SeekFrom::End(0))?;
        // Names without a record are no harm, but those of another order would be: a cut file begins anew with its own.
        ends.resize(attempts.len(), [0, 0]);
        attempts.shrink_to_fit();
        let ended = match last {
            Some(Record::End { status, .. }) => Some(status),
            Some(Record::Span { .. }) | None => None,
        };
        let next = last.map_or(1, |last| last.next());
        Ok((Self { records, names, run: run.to_owned(), attempts, count, next, ended }, ends))
    }

    /// Adds an attempt; its place in the list.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn add(&mut self, node: &str, attempt: AttemptNumber) -> io::Result<u32> {
        let mut text = serde_json::to_vec(&Name { node: node.into(), attempt })?;
        text.push(b'\n');
        append(&mut self.names, &text)?;
        let place = u32::try_from(self.attempts.len()).map_err(io::Error::other)?;
        let folder = AttemptFolder::new(&self.run, node, attempt).path().to_owned();
        self.attempts.push(Arc::new(Attempt { node: node.to_owned(), attempt, folder }));
        Ok(place)
    }

    /// Appends spans of attempts. Neighbours that belong together share a record.
    ///
    /// # Errors
    /// What the system said; then none of them is in the file.
    pub(super) fn append(&mut self, spans: &[(u32, Span)]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(spans.len() * 48);
        let mut next = self.next;
        let mut held: Option<(u32, Span)> = None;
        let mut count = 0;
        let mut put = |(attempt, span): (u32, Span)| {
            bytes.extend_from_slice(&Record::Span { attempt, first: next, span }.encode());
            next += u64::from(span.lines);
            count += 1;
        };
        for (attempt, span) in spans {
            match &mut held {
                Some((of, last)) if of == attempt && joins(last, span) => {
                    *last = Span { to: span.to, at: span.at, lines: last.lines + span.lines, ..*last };
                }
                other => {
                    if let Some(done) = other.replace((*attempt, *span)) {
                        put(done);
                    }
                }
            }
        }
        held.into_iter().for_each(&mut put);
        append(&mut self.records, &bytes)?;
        (self.next, self.count) = (next, self.count + count);
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn end(&mut self, status: RunStatus, at: Timestamp) -> io::Result<()> {
        append(&mut self.records, &Record::End { first: self.next, status, at }.encode())?;
        self.count += 1;
        self.ended = Some(status);
        // Whoever looks at it in a year finds the same numbers.
        self.names.sync_data()?;
        self.records.sync_data()
    }
}

/// Whether two spans can be one record: so many bytes are read to find one of its lines.
fn joins(last: &Span, next: &Span) -> bool {
    /// Bytes of a record about.
    const BYTES_MAX: u64 = 128 << 10;
    last.stream == next.stream && last.to == next.from && !last.gap && !next.gap && next.to - last.from <= BYTES_MAX
}

/// Appends all or nothing: what was written of it before an error is cut off again.
fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let length = file.stream_position()?;
    file.write_all(bytes).inspect_err(|_| {
        // Should that fail too, the next opening cuts it off.
        let _ = file.set_len(length).and_then(|()| file.seek(SeekFrom::Start(length)));
    })
}

fn head() -> [u8; 48] {
    let mut head = [0; 48];
    head[..8].copy_from_slice(&MAGIC);
    head
}

fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The attempts; a last line without an end is cut off.
fn read_names(file: &mut File, run: &Path) -> io::Result<Vec<Arc<Attempt>>> {
    let mut attempts = Vec::new();
    let mut length = 0;
    let mut reader = BufReader::new(&*file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        let Ok(name) = serde_json::from_slice::<Name<'_>>(&line) else { break };
        if !line.ends_with(b"\n") {
            break;
        }
        length += line.len() as u64;
        let folder = AttemptFolder::new(run, &name.node, name.attempt).path().to_owned();
        attempts.push(Arc::new(Attempt { node: name.node.into_owned(), attempt: name.attempt, folder }));
        line.clear();
    }
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    Ok(attempts)
}

/// How many records there are, the last one, and how far each attempt has come.
fn scan(file: &mut File, attempts: &[Arc<Attempt>]) -> io::Result<(u64, Option<Record>, Ends)> {
    let mut ends: Ends = vec![[0, 0]; attempts.len()];
    let mut reader = BufReader::with_capacity(64 << 10, &*file);
    let mut bytes = [0; 48];
    if !fill(&mut reader, &mut bytes)? || bytes != head() {
        return Ok((0, None, vec![[0, 0]; attempts.len()]));
    }
    let (mut count, mut last, mut next) = (0, None, 1);
    while fill(&mut reader, &mut bytes)? {
        let Some(record) = Record::decode(&bytes).filter(|record| record.first() == next) else { break };
        if let Record::Span { attempt, span, .. } = &record {
            let place = usize::try_from(*attempt).unwrap_or(usize::MAX);
            let Some(end) = ends.get_mut(place) else { break };
            end[usize::from(span.stream == Stream::Stderr)] = span.to;
        }
        next = record.next();
        count += 1;
        last = Some(record);
        if matches!(record, Record::End { .. }) {
            break;
        }
    }
    Ok((count, last, ends))
}

/// Reads a whole record; false at the end.
fn fill(reader: &mut impl Read, bytes: &mut [u8; 48]) -> io::Result<bool> {
    match reader.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The file as its readers have it, many at once.
#[derive(Debug)]
pub(super) struct Reading(File);

impl Reading {
    /// Opens the file of a run.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn open(run: &Path) -> io::Result<Self> {
        File::open(run.join("order")).map(Self)
    }

    /// Number of the record among the first `count` that holds the line, or would.
    ///
    /// # Errors
    /// What the system said, or that a record is damaged.
    pub(super) fn find(&self, line: u64, count: u64) -> io::Result<u64> {
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            let [record] = self.block(middle, 1)?.try_into().map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            if record.next() <= line { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// Some records from one on, of the first `count`.
    ///
    /// # Errors
    /// What the system said, or that a record is damaged.
    pub(super) fn some(&self, from: u64, count: u64) -> io::Result<Vec<Record>> {
        self.block(from, (count.saturating_sub(from)).min(BLOCK))
    }

    fn block(&self, from: u64, count: u64) -> io::Result<Vec<Record>> {
        let mut bytes = vec![0; usize::try_from(count * RECORD).map_err(io::Error::other)?];
        read_at(&self.0, &mut bytes, (from + 1) * RECORD)?;
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a record of the order file is damaged");
        bytes.as_chunks().0.iter().map(|record| Record::decode(record).ok_or_else(damaged)).collect()
    }
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, bytes, at)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[count..];
        at += count as u64;
    }
    Ok(())
}
