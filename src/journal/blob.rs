//! Data too long for a line, in files named by their hash. A blob is durable before the line that refers to it, so a missing one is
//! damage and no accident of timing.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::files;

/// Folder of the blobs within the journal's folder.
const FOLDER: &str = "blobs";
const HEAD: &str = "{\"blob\":\"";
const TAIL: &str = "\"}";
const HASH_LENGTH: usize = 64;

/// BLAKE3, hexadecimal.
pub(super) fn hash_of(data: &[u8]) -> String {
    blake3::hash(data).to_hex().to_string()
}

/// What stands in the line instead of the data.
pub(super) fn reference(hash: &str) -> String {
    format!("{HEAD}{hash}{TAIL}")
}

/// The hash that such a text refers to.
pub(super) fn referenced(data: &str) -> Option<&str> {
    let hash = data.strip_prefix(HEAD)?.strip_suffix(TAIL)?;
    let fits = hash.len() == HASH_LENGTH && hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    fits.then_some(hash)
}

/// The hash that a line refers to. Data stands last in a line, so this needs no parsing.
pub(super) fn referenced_by_line(line: &str) -> Option<&str> {
    let data = line.strip_suffix('}')?;
    let start = data.len().checked_sub(HEAD.len() + HASH_LENGTH + TAIL.len())?;
    let before = data.get(..start)?;
    if before.ends_with(",\"d\":") { referenced(&data[start..]) } else { None }
}

fn path_of(journal: &Path, hash: &str) -> PathBuf {
    journal.join(FOLDER).join(hash)
}

/// Makes a blob durable.
pub(super) fn write(journal: &Path, hash: &str, data: &[u8]) -> io::Result<()> {
    let path = path_of(journal, hash);
    if fs::metadata(&path).is_ok_and(|there| there.len() == data.len() as u64) {
        return Ok(());
    }
    files::make_folder(&journal.join(FOLDER))?;
    files::replace(&path, |file| file.write_all(data))
}

/// Reads a blob and checks that it is what was written. The error is a reason for people.
pub(super) fn read(journal: &Path, hash: &str) -> Result<String, String> {
    let path = path_of(journal, hash);
    let data = fs::read(&path).map_err(|error| format!("its data lies in {}, which cannot be read: {error}", path.display()))?;
    if hash_of(&data) != hash {
        return Err(format!("its data lies in {}, which was changed", path.display()));
    }
    String::from_utf8(data).map_err(|_| format!("its data lies in {}, which is no text", path.display()))
}

/// Removes blobs; what cannot be removed stays, and costs nothing but space.
pub(super) fn remove<'a>(journal: &Path, hashes: impl Iterator<Item = &'a String>) {
    for hash in hashes {
        drop(fs::remove_file(path_of(journal, hash)));
    }
}
