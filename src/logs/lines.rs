//! From bytes to lines, however the bytes were cut into chunks.

use serde::Serialize;

use super::Stream;
use crate::units::Timestamp;

/// Longest line in a view, in bytes. A longer one is shown in pieces, all but the last marked as partial; the file keeps it whole.
pub const LINE_MAX: usize = 64 << 10;

/// So many bytes decide whether a line fits: the longest one with `\r\n`.
const DECIDING: usize = LINE_MAX + 2;

/// A line of output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its number, from 1, in the order in which the ends of lines of both streams were read: line ends before its own, and 1. Pieces of
    /// a long line have its number; what has no line end yet has the one that it would get now. None where telling it would mean
    /// reading everything before (no index, or one of the first version), and of a gap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// When its end was read.
    pub at: Timestamp,
    /// Where it came from.
    pub stream: Stream,
    /// The text without its line end (`\n` or `\r\n`). Bytes that are no UTF-8 are replaced; everything else is as it came: see
    /// [`printable`](super::printable()) before showing it on a terminal.
    pub text: String,
    /// It has no line end: it was cut at [`LINE_MAX`], or the output ended here.
    pub partial: bool,
    /// It stands for so many bytes that are not on the disk, as its text says; 0 for what the module wrote.
    pub missing: u64,
}

/// Gathers the bytes of one stream and gives its lines. Where it cuts depends on the bytes alone.
#[derive(Debug, Clone, Default)]
pub(super) struct Assembler {
    pending: Vec<u8>,
    /// So many pending bytes are known to hold no line end.
    searched: usize,
    /// When the last of them were read.
    at: Timestamp,
}

impl Assembler {
    /// Takes bytes that were read at a time; gives the text of each line that they complete, and whether it is partial.
    pub(super) fn feed(&mut self, bytes: &[u8], at: Timestamp, mut emit: impl FnMut(String, bool)) {
        self.feed_bytes(bytes, at, |line, partial| emit(text(line), partial));
    }

    /// The same, without making texts of them.
    pub(super) fn feed_bytes(&mut self, bytes: &[u8], at: Timestamp, mut emit: impl FnMut(&[u8], bool)) {
        self.at = at;
        self.pending.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(line) = next_line(&self.pending[from..], self.searched) {
            emit(&self.pending[from..from + line.content], line.partial);
            from += line.length;
            self.searched = 0;
        }
        self.pending.drain(..from);
        self.searched = self.pending.len();
    }

    /// The same, where only the number of lines is wanted: most are counted and never looked at.
    pub(super) fn count(&mut self, bytes: &[u8], at: Timestamp) -> u32 {
        let mut count = 0;
        // Between two line ends in so few bytes no line is too long to be one.
        let ends = memchr::memchr(b'\n', bytes).zip(memchr::memrchr(b'\n', bytes)).filter(|_| bytes.len() <= LINE_MAX);
        let Some((first, last)) = ends else {
            self.feed_bytes(bytes, at, |_, _| count += 1);
            return count;
        };
        self.feed_bytes(&bytes[..=first], at, |_, _| count += 1);
        let between = memchr::memchr_iter(b'\n', &bytes[first + 1..=last]).count();
        // The bytes are few enough.
        count += u32::try_from(between).unwrap_or(u32::MAX);
        self.feed_bytes(&bytes[last + 1..], at, |_, _| count += 1);
        count
    }

    /// How many bytes wait for the end of their line.
    pub(super) fn pending(&self) -> u64 {
        self.pending.len() as u64
    }

    /// Gives what is left at the end of the stream, or before a gap, with the time at which its last byte was read.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(Timestamp, String)) {
        let Self { pending: mut rest, at, .. } = std::mem::take(self);
        if rest.len() > LINE_MAX {
            let cut = character_end(&rest[..LINE_MAX]);
            emit(at, text(&rest[..cut]));
            rest.drain(..cut);
        }
        if !rest.is_empty() {
            emit(at, text(&rest));
        }
    }
}

struct Found {
    /// Length of the text.
    content: usize,
    /// Length with the line end.
    length: usize,
    partial: bool,
}

/// The line that the bytes begin with, if they decide it.
fn next_line(bytes: &[u8], searched: usize) -> Option<Found> {
    let deciding = &bytes[..bytes.len().min(DECIDING)];
    let from = searched.min(deciding.len());
    if let Some(end) = memchr::memchr(b'\n', &deciding[from..]) {
        let end = from + end;
        let content = if deciding[..end].ends_with(b"\r") { end - 1 } else { end };
        if content <= LINE_MAX {
            return Some(Found { content, length: end + 1, partial: false });
        }
    } else if bytes.len() < DECIDING {
        return None;
    }
    let cut = character_end(&bytes[..LINE_MAX]);
    Some(Found { content: cut, length: cut, partial: true })
}

/// Length of the bytes without a UTF-8 character that only begins at their end.
pub(super) fn character_end(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let length = match byte {
            0b1100_0000..=0b1101_1111 => 2,
            0b1110_0000..=0b1110_1111 => 3,
            0b1111_0000..=0b1111_0111 => 4,
            0b1000_0000..=0b1011_1111 => continue,
            _ => return bytes.len(),
        };
        return if length > back { bytes.len() - back } else { bytes.len() };
    }
    bytes.len()
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text and line ends, of lengths at which something changes too.
    fn part() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => (0_usize..40).prop_map(|count| vec![b'x'; count]),
            1 => (LINE_MAX - 4..LINE_MAX + 5).prop_map(|count| vec![b'x'; count]),
            4 => Just(b"\n".to_vec()),
            2 => Just(b"\r\n".to_vec()),
            1 => Just("é".as_bytes().to_vec()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn counting_lines_is_the_same_as_looking_at_each(
            parts in prop::collection::vec(part(), 0..12),
            pieces in prop::collection::vec(prop_oneof![1_usize..30, LINE_MAX - 9..LINE_MAX + 9], 1..8),
        ) {
            let bytes = parts.concat();
            let (mut looks, mut counts) = (Assembler::default(), Assembler::default());
            let mut rest = &bytes[..];
            for piece in pieces.iter().cycle() {
                let (now, later) = rest.split_at(rest.len().min(*piece));
                let mut lines = 0;
                looks.feed_bytes(now, Timestamp::default(), |_, _| lines += 1);
                prop_assert_eq!(counts.count(now, Timestamp::default()), lines);
                prop_assert_eq!(counts.pending(), looks.pending());
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
        }
    }
}
