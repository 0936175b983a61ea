//! The host's own log: `.prismq/log/host.log`, by `tracing`, rotated by size.
//!
//! For whoever has to find out what the host did. Output of modules never goes there, nor do parameters or secrets.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

use super::workspace::{Workspace, create_private_folder};

/// A file of the log is put aside at this size: large enough for weeks, small enough for an editor.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Files kept, the current one included.
const FILES_KEPT: u32 = 5;

/// Starts the log of this process. `PRISMQ_LOG` chooses what is logged (`prismq=debug`, say); default is `info`.
///
/// # Errors
/// When the folder or file cannot be made.
pub fn start(workspace: &Workspace) -> io::Result<()> {
    let folder = workspace.state().join("log");
    create_private_folder(&folder)?;
    let writer = Mutex::new(Rotating::open(&folder)?);
    let filter = EnvFilter::try_from_env("PRISMQ_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A second host of the same process (tests) keeps the first one's log.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(writer).try_init();
    Ok(())
}

struct Rotating {
    folder: PathBuf,
    file: File,
    written: u64,
}

impl Rotating {
    fn open(folder: &Path) -> io::Result<Self> {
        let file = open_log(folder)?;
        let written = file.metadata()?.len();
        Ok(Self { folder: folder.to_owned(), file, written })
    }

    fn rotate(&mut self) -> io::Result<()> {
        let name = |number: u32| self.folder.join(format!("host.{number}.log"));
        for number in (1..FILES_KEPT - 1).rev() {
            if name(number).exists() {
                std::fs::rename(name(number), name(number + 1))?;
            }
        }
        std::fs::rename(self.folder.join("host.log"), name(1))?;
        self.file = open_log(&self.folder)?;
        self.written = 0;
        Ok(())
    }
}

fn open_log(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(folder.join("host.log"))
}

impl Write for Rotating {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written >= FILE_BYTES_MAX && self.rotate().is_err() {
            // On Windows somebody may have the file open: the log then grows, which is better than losing it.
            self.written = 0;
        }
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_put_aside_and_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = Rotating::open(folder.path()).expect("a log");
        for _ in 0..FILES_KEPT + 3 {
            log.written = FILE_BYTES_MAX;
            log.write_all(b"line\n").expect("written");
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("a list").count(), FILES_KEPT as usize);
    }
}
