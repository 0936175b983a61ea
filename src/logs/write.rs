//! Writing, by whoever reads the streams of a program.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::Stream;
use super::index::{self, Entry};
use crate::units::{DurationMs, Timestamp};

/// Index entries wait at most about so long for company, so that a flood of small chunks costs one small write and not two each.
const HOLD: DurationMs = DurationMs(5);
/// And at most so many bytes of them.
const HOLD_BYTES: usize = 4096;

/// Writes the output of one attempt. Each chunk is one write to its stream's file; its index entry follows, never precedes it.
///
/// Nothing is synced: what a program prints is not worth a sync for each line, and the bytes survive the end of this process.
#[derive(Debug)]
pub struct LogWriter {
    folder: PathBuf,
    streams: [Option<StreamFile>; 2],
    index: Option<File>,
    held: Vec<u8>,
    held_since: Option<Timestamp>,
}

#[derive(Debug)]
struct StreamFile {
    file: File,
    end: u64,
}

impl LogWriter {
    /// A writer into `folder`, which must exist by the first byte. Creates nothing yet; goes on behind what is there.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), streams: [None, None], index: None, held: Vec::new(), held_since: None }
    }

    /// Appends what was read from a stream at a time. The index entry may be held back for a few milliseconds: see [`Self::flush`].
    ///
    /// # Errors
    /// What the system said. The next call may work again (a disk that was full); what was lost in between is lost.
    pub fn write(&mut self, stream: Stream, bytes: &[u8], at: Timestamp) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let target = match &mut self.streams[stream.at()] {
            Some(target) => target,
            vacant @ None => {
                let (file, end) = open_at_end(&self.folder.join(stream.file_name()))?;
                vacant.insert(StreamFile { file, end })
            }
        };
        if let Err(error) = target.file.write_all(bytes) {
            // A part may have been written; the next entry covers it.
            target.end = target.file.stream_position().unwrap_or(target.end);
            return Err(error);
        }
        target.end += bytes.len() as u64;
        let entry = Entry { at, stream, end: target.end };
        self.held.extend_from_slice(&entry.encode());
        match self.held_since {
            Some(since) if since <= at && at.since(since) < HOLD && self.held.len() < HOLD_BYTES => Ok(()),
            Some(_) | None => {
                self.held_since = Some(at);
                self.flush()
            }
        }
    }

    /// Writes the index entries that are held back. Call it when there is nothing to read for the moment, so that a reader sees the
    /// time of the last lines.
    ///
    /// # Errors
    /// What the system said.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let index = match &mut self.index {
            Some(index) => index,
            vacant @ None => vacant.insert(open_index(&self.folder.join(index::FILE_NAME))?),
        };
        let written = index.write_all(&self.held);
        if written.is_err() {
            // Half an entry would shift all later ones: go on at a whole one, from a fresh handle.
            self.index = None;
        }
        self.held.clear();
        written
    }

    /// Ends the log.
    ///
    /// # Errors
    /// What the system said.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        // `finish` reports errors; here the bytes are on disk, and only the times of the last ones are at stake.
        drop(self.flush());
    }
}

fn open_at_end(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
        // A link planted under the name must not lead the output elsewhere.
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    }
    let mut file = options.open(path)?;
    let end = file.seek(SeekFrom::End(0))?;
    Ok((file, end))
}

/// Opens the index behind its last whole entry, beginning it where there is none.
fn open_index(path: &Path) -> io::Result<File> {
    let (mut file, end) = open_at_end(path)?;
    let head = index::HEAD.len() as u64;
    if end < head {
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&index::HEAD)?;
    } else {
        let whole = end - (end - head) % index::ENTRY as u64;
        file.set_len(whole)?;
        file.seek(SeekFrom::Start(whole))?;
    }
    Ok(file)
}
