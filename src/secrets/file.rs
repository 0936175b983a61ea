//! A secret in a file, which must be its owner's alone.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::SecretError;

/// Reads at most so many bytes of a private file.
pub(super) fn read(path: &Path, most: usize) -> Result<Vec<u8>, SecretError> {
    let unreadable = |error: io::Error| SecretError::Unreadable { path: path.to_owned(), error };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::other("it is not a file")));
    }
    if let Err(reason) = check_private(&metadata) {
        return Err(SecretError::NotPrivate { path: path.to_owned(), reason });
    }
    let mut bytes = Vec::new();
    file.take(most as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// The opened file is asked, not its name: what is read is what was checked.
#[cfg(unix)]
fn check_private(metadata: &std::fs::Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    let me = rustix::process::geteuid().as_raw();
    if mode & 0o077 != 0 {
        return Err(format!("others have access to it (mode {mode:04o}): `chmod 600` it"));
    }
    if owner != me && owner != 0 {
        return Err(format!("it belongs to another user (number {owner})"));
    }
    Ok(())
}

/// Windows gives a file in a user's folder to that user, administrators and the system.
#[cfg(not(unix))]
fn check_private(_: &std::fs::Metadata) -> Result<(), String> {
    Ok(())
}
