//! Ballast: a file whose only purpose is to be deleted when the disk is full, so that what ends meanwhile can still be written down.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::files;

/// Its size at least: some thousands of records, or the snapshot of a workspace with as many finished runs.
pub(super) const BYTES: u64 = 1 << 20;
pub(super) const NAME: &str = "ballast";

/// Bytes that are made at a time.
const PIECE: u64 = 64 << 10;

fn path_of(journal: &Path) -> PathBuf {
    journal.join(NAME)
}

/// What has to be written on a full disk begins with a snapshot. One as large as the newest has to fit, and what was added since.
fn wanted(journal: &Path) -> u64 {
    let newest = files::list(journal).ok().and_then(|listing| listing.snapshots.last().copied());
    let length = newest.and_then(|number| fs::metadata(journal.join(files::snapshot_name(number))).ok()).map_or(0, |there| there.len());
    // In steps, so that it is not made anew for each.
    length.saturating_mul(2).max(BYTES).next_power_of_two()
}

/// Makes the file if it is not there in full. Not synced: blocks promised to it are as good as written ones.
pub(super) fn make(journal: &Path) -> io::Result<()> {
    let (path, wanted) = (path_of(journal), wanted(journal));
    let there = fs::metadata(&path).map_or(0, |there| there.len());
    if there >= wanted {
        return Ok(());
    }
    let file = files::private().create(true).truncate(false).open(&path)?;
    let filled = fill(&file, there / PIECE * PIECE, wanted);
    if filled.is_err() && (there < BYTES || file.set_len(there).is_err()) {
        // Half of it would keep the little room that there is from whoever needs it.
        free(journal);
    }
    filled
}

/// Deletes the file. Tells whether it was there.
pub(super) fn free(journal: &Path) -> bool {
    fs::remove_file(path_of(journal)).is_ok()
}

/// Lengthens the file with bytes that no file system can compress or store as a hole.
fn fill(mut file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ from;
    file.seek(SeekFrom::Start(from))?;
    for _ in 0..(to - from) / PIECE {
        let mut piece = Vec::new();
        while (piece.len() as u64) < PIECE {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            piece.extend_from_slice(&state.to_le_bytes());
        }
        file.write_all(&piece)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f09_the_ballast_is_as_large_as_what_it_is_for() {
        let journal = tempfile::tempdir().unwrap();
        let length = || fs::metadata(path_of(journal.path())).unwrap().len();
        make(journal.path()).unwrap();
        assert_eq!(length(), 1 << 20);
        fs::write(journal.path().join(files::snapshot_name(7)), vec![b'x'; 1 << 20]).unwrap();
        fs::write(journal.path().join(files::snapshot_name(8)), vec![b'x'; 3 << 20]).unwrap();
        make(journal.path()).unwrap();
        assert_eq!(length(), 8 << 20, "the newest counts");
        fs::write(journal.path().join(files::snapshot_name(9)), "x").unwrap();
        make(journal.path()).unwrap();
        assert_eq!(length(), 8 << 20, "what is there is enough");
        assert!(free(journal.path()) && !free(journal.path()));
    }
}
