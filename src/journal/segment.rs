//! The file that records are written to, behind a trait so that tests can let it fail.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::files;

/// What the writer thread does with a segment.
pub(super) trait Medium: Send {
    /// Writes some of the bytes at the end.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Makes everything written durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file.
    fn cut(&mut self, length: u64) -> io::Result<()>;
    /// Fails when the file is no longer the one that the next program would read, or has not this length.
    fn check(&self, length: Option<u64>) -> Result<(), Unfit>;
}

/// Why a segment must not be written.
#[derive(Debug)]
pub(super) enum Unfit {
    /// Somebody deleted, replaced or changed it. In words.
    Tampered(String),
    /// It could not be looked at.
    Io(io::Error),
}

/// Makes the medium of a new segment that begins with these bytes; durable, with its name, before it is returned.
pub(super) type MakeMedium = Box<dyn Fn(&Path, &[u8]) -> io::Result<Box<dyn Medium>> + Send>;

/// A segment on disk.
#[derive(Debug)]
pub(super) struct DiskSegment {
    file: File,
    path: PathBuf,
}

impl DiskSegment {
    /// Makes a segment that begins with this line; durable, with its name, before it is returned.
    pub(super) fn create(path: &Path, head: &[u8]) -> io::Result<Self> {
        files::replace(path, |file| file.write_all(head))?;
        Self::open(path, head.len() as u64)
    }

    /// Opens a segment to go on after `length` bytes.
    pub(super) fn open(path: &Path, length: u64) -> io::Result<Self> {
        // Not in append mode: on Windows such a handle could not cut the file.
        let mut file = files::private().read(true).open(path)?;
        file.seek(SeekFrom::Start(length))?;
        Ok(Self { file, path: path.to_owned() })
    }
}

impl Medium for DiskSegment {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.seek(SeekFrom::Start(length)).map(drop)
    }

    fn check(&self, length: Option<u64>) -> Result<(), Unfit> {
        let ours = self.file.metadata().map_err(Unfit::Io)?;
        let named = match fs::metadata(&self.path) {
            Ok(named) => named,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unfit::Tampered("somebody deleted it".to_owned())),
            Err(error) => return Err(Unfit::Io(error)),
        };
        #[cfg(unix)]
        let same = {
            use std::os::unix::fs::MetadataExt;
            (ours.dev(), ours.ino()) == (named.dev(), named.ino())
        };
        #[cfg(not(unix))]
        let same = named.is_file();
        if !same {
            return Err(Unfit::Tampered("somebody put another file in its place".to_owned()));
        }
        match length {
            Some(length) if ours.len() != length => {
                Err(Unfit::Tampered(format!("somebody changed its length from {length} to {} bytes", ours.len())))
            }
            Some(_) | None => Ok(()),
        }
    }
}
