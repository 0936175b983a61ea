//! Writing the exit record, whatever it takes.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use crate::attempt::{EXIT, EXIT_ASIDE, ExitRecord, open_private, rename};

/// Pause before the record is tried again, growing to the second one.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Tries for an error that no time heals. A full disk is waited for without a limit: the result of hours must not be lost for it.
const TRIES: u32 = 10;

/// Writes the record durably: aside, synced, renamed. `false`: it could not be written.
pub(super) fn record(folder: &Path, record: &ExitRecord) -> bool {
    let text = record.encode();
    let mut pause = PAUSE;
    let mut tries = 0;
    loop {
        let Err(error) = write(folder, &text) else { return true };
        let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        tries += u32::from(!full);
        if tries == TRIES || error.kind() == ErrorKind::NotFound {
            eprintln!("prismq-attempt: the exit record cannot be written in {}: {error}", folder.display());
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn write(folder: &Path, text: &str) -> io::Result<()> {
    let aside = folder.join(EXIT_ASIDE);
    let mut file = open_private(OpenOptions::new().write(true).create(true).truncate(true), &aside)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
    if let Err(error) = written {
        // A failed sync must not be tried again on the same file: the system has forgotten what it could not write.
        let _ = std::fs::remove_file(&aside);
        return Err(error);
    }
    drop(file);
    rename(&aside, &folder.join(EXIT))
}

/// Makes the record's name durable. After the report: the host goes on meanwhile, and has a durable record of its own.
pub(super) fn sync_name(folder: &Path) {
    if cfg!(unix) {
        drop(File::open(folder).and_then(|folder| folder.sync_all()));
    }
}
