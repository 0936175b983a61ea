//! Writing, by whoever reads the streams of a program. Small enough for a wrapper that has one mebibyte: no buffers but a few entries of
//! the index, no thread, nothing that stays open but three files.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::Stream;
use super::append::{BackOff, create, write_some};
use super::cap::Cap;
use super::hold::IndexFile;
use super::layout::{self, Entry, SPAN_WRITTEN};
use crate::units::Timestamp;

/// A file that took so much since it was opened is well again.
const WELL_AFTER: u64 = 1 << 20;

/// Writes the output of one attempt. Each chunk is one write to its stream's file; its index entry follows, never precedes it.
///
/// Nothing here fails towards the module: what cannot be written is counted, and tried again a little later with what comes then
/// ([`Self::finish`] tells). Nothing is synced: what a program prints is not worth a sync for each line, and the bytes survive the end of
/// this process.
#[derive(Debug)]
pub struct LogWriter {
    folder: PathBuf,
    streams: [StreamFile; 2],
    index: IndexFile,
    cap: Option<Cap>,
    /// How far the module has come.
    now: Entry,
    error: Option<io::Error>,
}

/// What became of the bytes of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// What the module wrote.
    pub written: u64,
    /// What of it is not kept since the cap was reached.
    pub capped: u64,
    /// What of it could not be written.
    pub failed: u64,
}

impl Kept {
    /// What is on the disk.
    #[must_use]
    pub fn kept(self) -> u64 {
        self.written - self.capped - self.failed
    }
}

/// What became of an attempt's output.
#[derive(Debug, Default)]
pub struct Written {
    /// Standard output.
    pub stdout: Kept,
    /// Standard error.
    pub stderr: Kept,
    /// Why something could not be written, the first time that this was so. Also set where only times and order were lost.
    pub error: Option<io::Error>,
}

impl Written {
    /// Bytes of both streams that could not be written.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.stdout.failed + self.stderr.failed
    }
}

impl LogWriter {
    /// A writer into `folder`, which must exist by the first byte. Creates nothing before that. A folder has one writer ever: files that
    /// are there already are left as they are, and everything counts as failed.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            streams: Default::default(),
            index: IndexFile::default(),
            cap: None,
            now: Entry::default(),
            error: None,
        }
    }

    /// Keeps at most so many bytes on the disk, both streams and the index together: the first half, and the end (from seven to eight
    /// sixteenths of the cap). Less than 16 KiB counts as that. Call it before the first byte.
    #[must_use]
    pub fn capped(mut self, cap: Option<u64>) -> Self {
        self.cap = cap.map(Cap::new);
        self.index.cap = self.cap.as_ref().map(Cap::limit);
        self
    }

    /// Appends what was read from a stream at a time. The index entry may be held back for a few milliseconds: see [`Self::flush`].
    pub fn write(&mut self, stream: Stream, mut bytes: &[u8], at: Timestamp) {
        self.now.at = self.now.at.max(at);
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(self.fitting(bytes.len().min(SPAN_WRITTEN)));
            self.put(stream, part);
            bytes = rest;
        }
        if self.index.is_due(self.now.at) {
            self.flush();
        }
    }

    /// Writes the index entries that are held back. Call it when there is nothing to read for the moment, so that a reader sees the
    /// last lines.
    pub fn flush(&mut self) {
        if let Err(error) = self.index.flush(&self.folder, self.now.at) {
            self.error.get_or_insert(error);
        }
    }

    /// Why something could not be written, the first time that this was so.
    #[must_use]
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// Ends the log and tells what became of it.
    #[must_use]
    pub fn finish(mut self) -> Written {
        self.index.insist();
        self.flush();
        let capped = self.cap.as_ref().map_or([0, 0], Cap::dropped);
        let kept = |stream: usize| Kept { written: self.now.ends[stream], capped: capped[stream], failed: self.streams[stream].failed };
        Written { stdout: kept(0), stderr: kept(1), error: self.error.take() }
    }

    /// How many of so many bytes go into the files that are open now; goes on to the next ones where none does.
    fn fitting(&mut self, wanted: usize) -> usize {
        let Some(cap) = &mut self.cap else { return wanted };
        if let Some(fitting) = cap.fitting(wanted) {
            return fitting;
        }
        self.flush();
        let Some(cap) = &mut self.cap else { return wanted };
        match cap.turn(&self.folder, self.now.total()) {
            Ok(true) => {
                self.index.turn(self.now);
                self.streams.iter_mut().for_each(StreamFile::close);
            }
            Ok(false) => {}
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
        cap.fitting(wanted).unwrap_or(wanted)
    }

    fn put(&mut self, stream: Stream, bytes: &[u8]) {
        let at = layout::at(stream);
        let length = bytes.len() as u64;
        let may = self.cap.as_ref().is_none_or(|cap| cap.fitting(bytes.len()).is_some());
        let target = &mut self.streams[at];
        let kept = if may { target.append(&self.folder, stream, self.now.ends[at], bytes, &mut self.error) } else { 0 };
        target.failed += length - kept;
        self.now.ends[at] += length;
        self.now.newlines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        let entries = self.index.add(at, self.now);
        if let Some(cap) = &mut self.cap {
            cap.took(at, self.streams[at].name.take(), kept, entries);
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        // `finish` reports errors; here the bytes are on disk, and only the times of the last ones are at stake.
        self.flush();
    }
}

/// The file that a stream is written to.
#[derive(Debug, Default)]
struct StreamFile {
    /// Ends where the module is; none where the next byte needs a new file.
    file: Option<File>,
    /// Name of a file that was just made.
    name: Option<String>,
    took: u64,
    failed: u64,
    back_off: BackOff,
    /// There was a file of another writer.
    foreign: bool,
}

impl StreamFile {
    fn close(&mut self) {
        self.file = None;
    }

    /// Appends bytes that begin at `from`; how many of them are on the disk.
    fn append(&mut self, folder: &Path, stream: Stream, from: u64, bytes: &[u8], error: &mut Option<io::Error>) -> u64 {
        if self.file.is_none() && (self.foreign || !self.back_off.is_over()) {
            return 0;
        }
        let (written, failure) = match self.open(folder, stream, from) {
            Ok(file) => write_some(file, bytes),
            Err(failure) => {
                self.foreign = from == 0 && failure.kind() == io::ErrorKind::AlreadyExists;
                (0, Some(failure))
            }
        };
        self.took += written as u64;
        match failure {
            None if self.took >= WELL_AFTER => self.back_off.worked(),
            None => {}
            Some(failure) => {
                // From here on the file does not end where the module is: what comes next begins another one.
                if self.file.take().is_some() && self.took == 0 {
                    self.name = None;
                    // Should it stay: an empty file is no harm.
                    drop(fs::remove_file(folder.join(layout::name(stream.file_name(), from))));
                }
                self.back_off.failed();
                error.get_or_insert(failure);
            }
        }
        written as u64
    }

    fn open(&mut self, folder: &Path, stream: Stream, from: u64) -> io::Result<&mut File> {
        match &mut self.file {
            Some(_) => {}
            vacant @ None => {
                let name = layout::name(stream.file_name(), from);
                self.took = 0;
                *vacant = Some(create(&folder.join(&name))?);
                self.name = Some(name);
            }
        }
        // It was put there in the line above at the latest.
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
