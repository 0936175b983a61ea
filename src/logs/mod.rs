//! Logs (provisional until the log writer's branch is merged).
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::units::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug)]
pub struct LogWriter {
    folder: PathBuf,
    files: [Option<std::fs::File>; 2],
}

impl LogWriter {
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), files: [None, None] }
    }
    pub fn write(&mut self, stream: Stream, bytes: &[u8], _at: Timestamp) -> std::io::Result<()> {
        let (index, name) = match stream {
            Stream::Stdout => (0, "stdout.log"),
            Stream::Stderr => (1, "stderr.log"),
        };
        if self.files[index].is_none() {
            self.files[index] = Some(std::fs::File::create(self.folder.join(name))?);
        }
        self.files[index].as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }
    pub fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
    pub fn finish(self) -> std::io::Result<()> {
        Ok(())
    }
}
