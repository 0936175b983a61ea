//! Ballast: a file whose only purpose is to be deleted when the disk is full, so that what ends meanwhile can still be written down.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::files;

/// Its size: some thousands of records, or the snapshot of a workspace with as many finished runs.
pub(super) const BYTES: u64 = 1 << 20;
pub(super) const NAME: &str = "ballast";

fn path_of(journal: &Path) -> PathBuf {
    journal.join(NAME)
}

/// Makes the file if it is not there in full. Not synced: blocks promised to it are as good as written ones.
pub(super) fn make(journal: &Path) -> io::Result<()> {
    let path = path_of(journal);
    if fs::metadata(&path).is_ok_and(|there| there.len() == BYTES) {
        return Ok(());
    }
    let filled = files::private().create(true).truncate(true).open(&path).and_then(|mut file| file.write_all(&noise()));
    if filled.is_err() {
        // Half of it would keep the little room that there is from whoever needs it.
        free(journal);
    }
    filled
}

/// Deletes the file. Tells whether it was there.
pub(super) fn free(journal: &Path) -> bool {
    fs::remove_file(path_of(journal)).is_ok()
}

/// Bytes that no file system can compress or store as a hole.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}
