//! A lock on a file that others can still read.
//!
//! Locks are binding here: what one handle has locked, no other one can read, and under a shared lock nobody can write, its holder
//! included. The standard library locks the whole file. So one byte is locked instead that no file ever has.

use std::fs::{File, TryLockError};
use std::io;
use std::os::windows::io::AsRawHandle;

use windows_sys::Win32::Foundation::ERROR_LOCK_VIOLATION;
use windows_sys::Win32::Storage::FileSystem::{LOCK_FILE_FLAGS, LOCKFILE_EXCLUSIVE_LOCK, LOCKFILE_FAIL_IMMEDIATELY, LockFileEx};
use windows_sys::Win32::System::IO::{OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0};

/// Upper half of the byte's place: four exbibytes.
const FAR_HIGH: u32 = 0x4000_0000;

/// Locks for this handle alone, until it is closed or its process ends.
///
/// # Errors
/// Somebody else has it, or what the system said.
pub(crate) fn try_lock(file: &File) -> Result<(), TryLockError> {
    lock(file, LOCKFILE_EXCLUSIVE_LOCK)
}

/// Locks against those who want it alone.
///
/// # Errors
/// As [`try_lock`].
pub(crate) fn try_lock_shared(file: &File) -> Result<(), TryLockError> {
    lock(file, 0)
}

fn lock(file: &File, how: LOCK_FILE_FLAGS) -> Result<(), TryLockError> {
    let place = OVERLAPPED_0 { Anonymous: OVERLAPPED_0_0 { Offset: 0, OffsetHigh: FAR_HIGH } };
    let mut place = OVERLAPPED { Anonymous: place, ..OVERLAPPED::default() };
    // SAFETY: the handle is open, and the structure lives until the call returns: it does not wait, nor does a file that was opened without
    // the flag for it leave anything pending.
    let locked = unsafe { LockFileEx(file.as_raw_handle(), how | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &raw mut place) };
    super::done(locked).map_err(|error| {
        let taken = error.raw_os_error() == Some(ERROR_LOCK_VIOLATION.cast_signed()) || error.kind() == io::ErrorKind::WouldBlock;
        if taken { TryLockError::WouldBlock } else { TryLockError::Error(error) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_file_can_be_read_written_and_renamed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locked");
        let open = || File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        let (first, second) = (open(), open());
        try_lock(&first).unwrap();
        assert!(matches!(try_lock(&second), Err(TryLockError::WouldBlock)));
        assert!(matches!(try_lock_shared(&second), Err(TryLockError::WouldBlock)));
        std::fs::write(&path, "text").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
        std::fs::rename(&path, folder.path().join("renamed")).unwrap();
        drop(first);
        try_lock_shared(&second).unwrap();
        let third = File::open(folder.path().join("renamed")).unwrap();
        try_lock_shared(&third).unwrap();
        assert!(matches!(try_lock(&third), Err(TryLockError::WouldBlock)));
    }
}
