//! Names and formats of the files of a log, for whoever writes them and whoever reads them.
//!
//! ```text
//! index     "pqindex" version(2)   cap: u64, 0 for none   16 bytes of zeros
//!           then for each chunk    time: i64 microseconds   end of standard output: u64   end of standard error: u64
//!                                  newlines of both so far: u64                              (little endian, 32 bytes each)
//! ```
//!
//! An entry says how far both streams had come and not which of them came: so a time, a line and a byte of either stream are all found by
//! halving, and an entry that was lost costs order and no count. Where it covers bytes of both, those of standard output come first.

use crate::units::Timestamp;

use super::Stream;

/// Name of the index in the attempt's folder.
pub(super) const INDEX: &str = "index";
/// What every version of the index begins with.
pub(super) const MAGIC: [u8; 7] = *b"pqindex";
/// The version that is written.
pub(super) const VERSION: u8 = 2;
/// Length of the head.
pub(super) const HEAD: usize = 32;
/// Length of an entry.
pub(super) const ENTRY: usize = 32;
/// So many bytes at most are covered by an entry of any index, so that a place in the middle of one is near its begin.
pub(super) const SPAN: usize = 256 << 10;
/// So many at most by one that is written now: between two line ends in it no line is too long to be one in a view, so that its lines can be
/// counted without reading them.
pub(super) const SPAN_WRITTEN: usize = super::lines::LINE_MAX;

/// How far the output had come at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// When the last of it was read. Never earlier than that of the entry before.
    pub(super) at: Timestamp,
    /// So many bytes the program had written to each stream, kept or not.
    pub(super) ends: [u64; 2],
    /// So many line ends were in them.
    pub(super) newlines: u64,
}

impl Entry {
    pub(super) fn encode(self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..8].copy_from_slice(&self.at.micros().to_le_bytes());
        for (field, number) in [self.ends[0], self.ends[1], self.newlines].into_iter().enumerate() {
            bytes[8 + field * 8..16 + field * 8].copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// The entry, if it can be one.
    pub(super) fn decode(bytes: [u8; ENTRY]) -> Option<Self> {
        let number = |field: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[field * 8..field * 8 + 8]);
            u64::from_le_bytes(eight)
        };
        let entry = Self { at: Timestamp::from_micros(number(0).cast_signed()), ends: [number(1), number(2)], newlines: number(3) };
        // Nobody wrote in 1970, and no output has 2^56 bytes or more line ends than bytes.
        let possible = entry.at.micros() > 0 && entry.ends.iter().all(|end| end >> 56 == 0) && entry.newlines <= entry.total();
        possible.then_some(entry)
    }

    /// Bytes of both streams.
    pub(super) fn total(self) -> u64 {
        self.ends[0] + self.ends[1]
    }
}

/// The head of an index whose log is kept up to `cap` bytes.
pub(super) fn head(cap: Option<u64>) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    bytes[..7].copy_from_slice(&MAGIC);
    bytes[7] = VERSION;
    bytes[8..16].copy_from_slice(&cap.unwrap_or(0).to_le_bytes());
    bytes
}

/// Name of the file that begins at a byte of a stream, or of both for the index. The digits are of one width, so that names sort by it.
pub(super) fn name(base: &str, from: u64) -> String {
    if from == 0 { base.to_owned() } else { format!("{base}.{from:016}") }
}

/// Where a file of this name begins, if it is one of `base`.
pub(super) fn begin(base: &str, name: &str) -> Option<u64> {
    let rest = name.strip_prefix(base)?;
    if rest.is_empty() {
        return Some(0);
    }
    let digits = rest.strip_prefix('.').filter(|digits| digits.len() >= 16 && digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().filter(|from| *from > 0)
}

/// Position of a stream in an array of both.
pub(super) fn at(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}
