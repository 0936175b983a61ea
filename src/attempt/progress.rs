//! Reading `progress.jsonl` while a module appends to it.
//!
//! Only the latest complete line that makes sense counts. Lines that are no JSON, half lines and floods cost nothing but themselves:
//! a look reads at most [`LOOK_BYTES_MAX`] and skips what lies before. Used by the engine about once a second.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Most bytes that one look reads. Progress is a few dozen bytes a line; whoever writes more in a second is only read at the end.
const LOOK_BYTES_MAX: u64 = 64 << 10;

/// Longest message that is kept, in characters: it stands in one line of a view.
const MESSAGE_CHARS_MAX: usize = 500;

/// What a module said about its progress.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Units done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<f64>,
    /// Units in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    /// What it is doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Progress {
    /// Per cent done, from 0 to 100, where both numbers are known and sensible.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        let (done, total) = (self.done?, self.total?);
        if total > 0.0 { Some((done / total * 100.0).clamp(0.0, 100.0)) } else { None }
    }

    fn parse(line: &[u8]) -> Option<Self> {
        // A derived reader would take a list for an object's values in order.
        if !line.trim_ascii_start().starts_with(b"{") {
            return None;
        }
        let mut progress: Self = serde_json::from_slice(line).ok()?;
        if let Some(message) = &mut progress.message
            && let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARS_MAX)
        {
            message.truncate(end);
        }
        let says_something = progress.done.is_some() || progress.total.is_some() || progress.message.is_some();
        says_something.then_some(progress)
    }
}

/// Follows a progress file.
#[derive(Debug)]
pub struct ProgressReader {
    path: PathBuf,
    file: Option<File>,
    /// Where the next look begins: after the last complete line that was seen.
    offset: u64,
}

impl ProgressReader {
    /// A reader of a file that need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, offset: 0 }
    }

    /// The latest progress that was appended since the last call; `None` if there is nothing new or nothing sensible.
    pub fn latest(&mut self) -> Option<Progress> {
        let bytes = self.read_new().ok()?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n')? + 1;
        self.offset += end as u64;
        bytes[..end].split(|byte| *byte == b'\n').rev().find_map(Progress::parse)
    }

    /// The last part of what is new, at most [`LOOK_BYTES_MAX`] of it.
    fn read_new(&mut self) -> io::Result<Vec<u8>> {
        if self.file.is_none() {
            self.file = Some(open(&self.path)?);
        }
        let Some(file) = self.file.as_mut() else { return Ok(Vec::new()) };
        let length = file.metadata()?.len();
        if length < self.offset {
            // It was written anew instead of appended to.
            self.offset = 0;
        }
        self.offset = self.offset.max(length.saturating_sub(LOOK_BYTES_MAX));
        let mut bytes = Vec::new();
        if length > self.offset {
            file.seek(SeekFrom::Start(self.offset))?;
            file.by_ref().take(LOOK_BYTES_MAX).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }
}

fn open(path: &std::path::Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
    }
    let file = options.open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::from(io::ErrorKind::InvalidInput)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn half_lines_garbage_and_floods() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("progress.jsonl");
        let mut reader = ProgressReader::new(path.clone());
        assert_eq!(reader.latest(), None, "no file yet");
        let mut file = File::create(&path).unwrap();
        let done = |progress: Option<Progress>| progress.and_then(|progress| progress.done);
        file.write_all(b"{\"done\": 1, \"total\": 4}\n{\"done\": 2").unwrap();
        let first = reader.latest();
        assert_eq!(first.as_ref().and_then(Progress::percent), Some(25.0));
        assert_eq!(reader.latest(), None, "half a line is not there yet");
        file.write_all(b", \"total\": 4}\n\xff\xfe not json\n[1]\n{\"done\": \"x\"}\n{}\n").unwrap();
        assert_eq!(done(reader.latest()), Some(2.0), "garbage after it does not hide it");
        let line = format!("{{\"message\": \"{}\"}}\n", "x".repeat(1000));
        for _ in 0..1000 {
            file.write_all(line.as_bytes()).unwrap();
        }
        file.write_all(b"{\"done\": 3}\n").unwrap();
        assert_eq!(done(reader.latest()), Some(3.0));
        std::fs::write(&path, "{\"done\": 0, \"total\": 0}\n").unwrap();
        let again = reader.latest();
        assert_eq!(done(again.clone()), Some(0.0), "written anew");
        assert_eq!(again.and_then(|progress| progress.percent()), None);
    }
}
