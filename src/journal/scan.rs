//! Verification of a segment's bytes, and the verdict on what is not a record: a torn tail or damage.
//!
//! A crash can only cut the end off, or (on file systems that allocate late) leave zeros where the last bytes should be. Everything
//! else is damage. The known limit: a flipped bit in the very last line end of a segment reads as a torn tail.

use super::record::{CHECKED_FROM, Link, unhex};

/// What the checksums say about a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Length of the part that is whole.
    pub(super) whole: usize,
    /// The last whole record; what was expected before the first, if there is none.
    pub(super) last: Link,
    /// Number of whole records.
    pub(super) records: u64,
    /// What stands behind it.
    pub(super) end: End,
}

/// What stands behind the last whole record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing.
    Clean,
    /// The remains of a write that a crash interrupted.
    Torn,
    /// Something that no crash leaves.
    Damaged(String),
}

/// The fixed head of a line, its checksum verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// The record.
    pub(super) link: Link,
    /// Checksum of the record before it.
    pub(super) previous: u32,
}

/// Verifies a segment record by record. `after` is the record before the first; `None` takes the first on trust.
pub(super) fn scan(bytes: &[u8], after: Option<Link>) -> Scanned {
    let mut before = after;
    let mut scanned = Scanned { whole: 0, last: after.unwrap_or_default(), records: 0, end: End::Clean };
    while scanned.whole < bytes.len() {
        let rest = &bytes[scanned.whole..];
        match next(rest, before) {
            Ok((length, link)) => {
                scanned.whole += length;
                scanned.last = link;
                scanned.records += 1;
                before = Some(link);
            }
            Err(reason) => {
                scanned.end = verdict(rest, reason);
                break;
            }
        }
    }
    scanned
}

/// The record that `rest` begins with: its length with the line end, and its link. Else what is wrong with it.
fn next(rest: &[u8], before: Option<Link>) -> Result<(usize, Link), String> {
    let Some(length) = line_end(rest) else { return Err("it has no end".to_owned()) };
    let Some(frame) = frame(&rest[..length]) else { return Err("its checksum does not hold".to_owned()) };
    if let Some(before) = before {
        if frame.link.seq != before.seq + 1 {
            return Err(format!(
                "record {} follows on record {}: records are missing, doubled or in another order",
                frame.link.seq, before.seq
            ));
        }
        if frame.previous != before.crc {
            return Err("it belongs after another record than the one before it".to_owned());
        }
    }
    Ok((length + 1, frame.link))
}

/// Position of the first line end.
pub(super) fn line_end(bytes: &[u8]) -> Option<usize> {
    let mut at = bytes;
    // `skip_until` searches a word at a time; a plain loop over the bytes is several times slower.
    let skipped = std::io::BufRead::skip_until(&mut at, b'\n').ok()?;
    if skipped > 0 && bytes[skipped - 1] == b'\n' { Some(skipped - 1) } else { None }
}

/// The head of a line (without its end) whose checksum holds.
pub(super) fn frame(line: &[u8]) -> Option<Frame> {
    let crc = unhex(line.strip_prefix(b"{\"c\":\"")?.get(..8)?)?;
    let checked = line.get(CHECKED_FROM..)?;
    if line.get(14..CHECKED_FROM)? != b"\"," || crc32fast::hash(checked) != crc {
        return None;
    }
    let previous = unhex(checked.strip_prefix(b"\"p\":\"")?.get(..8)?)?;
    let digits = checked.get(13..)?.strip_prefix(b"\",\"s\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    let seq = std::str::from_utf8(&digits[..end]).ok()?.parse().ok()?;
    Some(Frame { link: Link { seq, crc }, previous })
}

/// Whether what begins with a bad record can be a torn tail.
fn verdict(rest: &[u8], reason: String) -> End {
    let mut at = 0;
    while let Some(length) = line_end(&rest[at..]) {
        let line = &rest[at..at + length];
        if !has_hole(line) || holds_record(line) {
            return End::Damaged(reason);
        }
        at += length + 1;
    }
    End::Torn
}

/// Whether a line has zeros where a block of the file was never written. A single one is a flipped bit of a space, say.
fn has_hole(line: &[u8]) -> bool {
    line.iter().filter(|byte| **byte == 0).take(2).count() == 2
}

/// Whether a whole record ends the line, wherever it begins.
fn holds_record(line: &[u8]) -> bool {
    (0..line.len()).any(|at| line[at..].starts_with(b"{\"c\":\"") && frame(&line[at..]).is_some())
}

/// The number in a line that was verified before.
pub(super) fn frame_seq(line: &str) -> Option<u64> {
    let digits = line.get(35..)?;
    digits[..digits.find(',')?].parse().ok()
}
