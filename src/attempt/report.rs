//! The short way between a host and its wrappers, beside the folder: what a wrapper reports through a pipe, and what a host sends to the
//! nursery that starts wrappers. Nothing depends on it: a host that was started anew has neither, and learns everything from the folders.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

use super::flat::invalid;

/// Length of a report. Shorter than what a pipe takes whole, so that reports of many wrappers never mix.
pub const REPORT_BYTES: usize = 24;

/// Longest frame. More than what a system takes as arguments and environment of a program.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportKind {
    /// The module runs; the value is its process.
    Started,
    /// It wrote something; the value is the number of bytes so far. May be left out when nobody reads.
    Output,
    /// The module went well, and everything below it is gone; its end is about to be written down. May be left out.
    Vacated,
    /// `exit.json` is there. The value is the place at which its wrapper waits for another order, see [`Report::place`].
    Ended,
    /// The wrapper refuses the attempt, since another one has claimed it.
    Refused,
    /// A wrapper is gone, whatever it said before; from the nursery, its parent. The attempt is the one that it was made for; it has had
    /// others since if the value is a place, see [`Report::place`].
    Gone,
    /// The nursery could not make a wrapper; the value is the number of the error. Nothing was touched: it may be asked again.
    NotHatched,
}

/// A report of a wrapper, or of the nursery about one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// What.
    pub kind: ReportKind,
    /// The number that the host gave to the attempt.
    pub id: u64,
    /// See [`ReportKind`].
    pub value: u64,
}

/// What a host asks of the nursery, or of a wrapper that is free: a wrapper for this folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hatch {
    /// The number under which it reports.
    pub id: u64,
    /// The attempt's folder, absolute.
    pub folder: PathBuf,
    /// The module's environment, whole.
    pub environment: Vec<(OsString, OsString)>,
}

impl Report {
    /// As bytes.
    #[must_use]
    pub fn encode(self) -> [u8; REPORT_BYTES] {
        let mut bytes = [0; REPORT_BYTES];
        bytes[0] = match self.kind {
            ReportKind::Started => 1,
            ReportKind::Output => 2,
            ReportKind::Ended => 3,
            ReportKind::Refused => 4,
            ReportKind::Gone => 5,
            ReportKind::NotHatched => 6,
            ReportKind::Vacated => 7,
        };
        bytes[8..16].copy_from_slice(&self.id.to_le_bytes());
        bytes[16..].copy_from_slice(&self.value.to_le_bytes());
        bytes
    }

    /// A place as a value: its number plus one, and 0 for none.
    #[must_use]
    pub fn place(place: Option<usize>) -> u64 {
        place.and_then(|place| u64::try_from(place).ok()).map_or(0, |place| place.saturating_add(1))
    }

    /// The reverse.
    #[must_use]
    pub fn place_of(value: u64) -> Option<usize> {
        value.checked_sub(1).and_then(|place| usize::try_from(place).ok())
    }

    /// From bytes; `None` for a kind that this version does not know.
    #[must_use]
    pub fn decode(bytes: [u8; REPORT_BYTES]) -> Option<Self> {
        let kind = match bytes[0] {
            1 => ReportKind::Started,
            2 => ReportKind::Output,
            3 => ReportKind::Ended,
            4 => ReportKind::Refused,
            5 => ReportKind::Gone,
            6 => ReportKind::NotHatched,
            7 => ReportKind::Vacated,
            _ => return None,
        };
        let number = |at: usize| bytes[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        Some(Self { kind, id: number(8), value: number(16) })
    }
}

impl Hatch {
    /// As a frame: its length (4 bytes, little endian), then its fields. At `place`, the number of a pipe, a new wrapper may wait for
    /// another order.
    #[must_use]
    pub fn encode(&self, place: Option<usize>) -> Vec<u8> {
        let mut frame = Vec::with_capacity(2048);
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&self.id.to_le_bytes());
        frame.extend_from_slice(&Report::place(place).to_le_bytes());
        push(&mut frame, self.folder.as_os_str());
        for (name, value) in &self.environment {
            push(&mut frame, name);
            push(&mut frame, value);
        }
        let length = short(frame.len() - 4);
        frame[..4].copy_from_slice(&length);
        frame
    }

    /// Reads one; `None` at the end of the stream.
    ///
    /// # Errors
    /// What the system said; [`io::ErrorKind::InvalidData`] for a frame that is too long or makes no sense, [`io::ErrorKind::UnexpectedEof`] for
    /// one that is cut.
    pub fn read(from: &mut impl io::Read) -> io::Result<Option<Self>> {
        read_frame(from)?.map(|frame| Self::of_frame(&frame).ok_or_else(senseless)).transpose()
    }

    /// From a frame.
    pub(crate) fn of_frame(frame: &[u8]) -> Option<Self> {
        Self::decode(frame.get(4..)?)
    }

    /// Number and place in a frame, without looking at the rest.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] where there are none.
    #[cfg_attr(windows, expect(dead_code, reason = "only a nursery passes frames on"))]
    pub(crate) fn head_of(frame: &[u8]) -> io::Result<(u64, Option<usize>)> {
        let (id, place, _) = frame.get(4..).and_then(split_head).ok_or_else(senseless)?;
        Ok((id, place))
    }

    fn decode(frame: &[u8]) -> Option<Self> {
        let (id, _, mut rest) = split_head(frame)?;
        let folder = pull(&mut rest)?.into();
        let mut environment = Vec::with_capacity(64);
        while !rest.is_empty() {
            environment.push((pull(&mut rest)?, pull(&mut rest)?));
        }
        Some(Self { id, folder, environment })
    }
}

/// Reads a frame, its length included; `None` at the end of the stream.
///
/// # Errors
/// What the system said; [`io::ErrorKind::InvalidData`] for one that is too long, [`io::ErrorKind::UnexpectedEof`] for one that is cut.
pub(crate) fn read_frame(from: &mut impl io::Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    // The first byte by itself: an end before it is the end of the stream, an end behind it is a cut.
    loop {
        match from.read(&mut length[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    from.read_exact(&mut length[1..])?;
    let long = u32::from_le_bytes(length) as usize;
    if long > FRAME_BYTES_MAX {
        return Err(invalid("a frame is too long"));
    }
    let mut frame = vec![0; 4 + long];
    frame[..4].copy_from_slice(&length);
    from.read_exact(&mut frame[4..])?;
    Ok(Some(frame))
}

fn split_head(frame: &[u8]) -> Option<(u64, Option<usize>, &[u8])> {
    let (id, rest) = frame.split_first_chunk()?;
    let (place, rest) = rest.split_first_chunk()?;
    Some((u64::from_le_bytes(*id), Report::place_of(u64::from_le_bytes(*place)), rest))
}

fn senseless() -> io::Error {
    invalid("a frame makes no sense")
}

fn push(frame: &mut Vec<u8>, text: &OsStr) {
    let bytes = text.as_encoded_bytes();
    frame.extend_from_slice(&short(bytes.len()));
    frame.extend_from_slice(bytes);
}

/// A length. One that does not fit makes a frame that the reader refuses as too long.
fn short(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

fn pull(rest: &mut &[u8]) -> Option<OsString> {
    let (length, tail) = rest.split_first_chunk()?;
    let (text, tail) = tail.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = tail;
    system_text(text)
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere not every text is one of the system")]
fn system_text(bytes: &[u8]) -> Option<OsString> {
    use std::os::unix::ffi::OsStrExt;
    Some(OsStr::from_bytes(bytes).to_owned())
}

/// There is no nursery on such a system.
#[cfg(not(unix))]
fn system_text(bytes: &[u8]) -> Option<OsString> {
    std::str::from_utf8(bytes).ok().map(OsString::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [ReportKind; 7] = [
        ReportKind::Started,
        ReportKind::Output,
        ReportKind::Vacated,
        ReportKind::Ended,
        ReportKind::Refused,
        ReportKind::Gone,
        ReportKind::NotHatched,
    ];

    fn hatch() -> Hatch {
        Hatch { id: 7, folder: "/w/größe".into(), environment: vec![("A".into(), "1".into()), ("EMPTY".into(), OsString::new())] }
    }

    #[test]
    fn the_stream_ends_between_frames_and_nowhere_else() {
        let frame = hatch().encode(Some(3));
        let two = [frame.as_slice(), frame.as_slice()].concat();
        let mut stream = two.as_slice();
        for wanted in [Some(hatch()), Some(hatch()), None] {
            assert_eq!(Hatch::read(&mut stream).unwrap(), wanted);
        }
        for cut in 1..frame.len() {
            let error = Hatch::read(&mut &frame[..cut]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
    }

    #[test]
    fn a_frame_that_claims_too_much_takes_no_memory() {
        assert_eq!(Hatch::read(&mut [0xff; 64].as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_no_unicode_comes_through() {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(vec![0xff, 0xfe]);
        let wanted = Hatch { environment: vec![("ODD".into(), odd)], ..hatch() };
        assert_eq!(Hatch::read(&mut wanted.encode(None).as_slice()).unwrap(), Some(wanted));
    }

    proptest! {
        #[test]
        fn any_report_comes_back(kind in 0..KINDS.len(), id in any::<u64>(), value in any::<u64>()) {
            let report = Report { kind: KINDS[kind], id, value };
            prop_assert_eq!(Report::decode(report.encode()), Some(report));
        }

        #[test]
        fn garbage_is_refused_without_a_panic(report in any::<[u8; REPORT_BYTES]>(), mut frame in prop::collection::vec(any::<u8>(), 4..200)) {
            let _ = Report::decode(report);
            let length = short(frame.len() - 4);
            frame[..4].copy_from_slice(&length);
            let _ = Hatch::read(&mut frame.as_slice());
        }
    }
}
