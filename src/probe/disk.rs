//! Free space of the file system of a folder.

use std::io;
use std::path::Path;

use crate::units::Bytes;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// What this user can still write.
    pub free: Bytes,
    /// Its size; 0 where it does not tell one.
    pub total: Bytes,
    /// Tells file systems apart.
    pub device: String,
}

/// Looks at the file system of a folder that exists. May take long where that is a server that does not answer.
///
/// # Errors
/// What the system says.
#[cfg(unix)]
pub fn space(folder: &Path) -> io::Result<Space> {
    use std::os::unix::fs::MetadataExt;
    let found = rustix::fs::statvfs(folder)?;
    let device = std::fs::metadata(folder)?.dev().to_string();
    let bytes = |blocks: u64| Bytes(blocks.saturating_mul(found.f_frsize));
    Ok(Space { free: bytes(found.f_bavail), total: bytes(found.f_blocks), device })
}

/// Looks at the file system of a folder that exists. May take long where that is a server that does not answer.
///
/// # Errors
/// What the system says, or that no drive holds the folder.
#[cfg(not(unix))]
pub fn space(folder: &Path) -> io::Result<Space> {
    let folder = match std::fs::canonicalize(folder) {
        // Not every drive can say where a folder really is; then its name tells the drive.
        Err(_) if folder.exists() => std::path::absolute(folder)?,
        found => found?,
    };
    let shown = folder.to_string_lossy();
    let plain = Path::new(shown.strip_prefix(r"\\?\").unwrap_or(&shown));
    let refresh = sysinfo::DiskRefreshKind::nothing().with_storage();
    let disks = sysinfo::Disks::new_with_refreshed_list_specifics(refresh).map_err(io::Error::other)?;
    // A drive may be mounted in a folder of another one: the longest name is the nearest.
    let holders = disks.iter().filter(|disk| plain.starts_with(disk.mount_point()));
    let disk = holders.max_by_key(|disk| disk.mount_point().as_os_str().len()).ok_or(io::ErrorKind::NotFound)?;
    Ok(Space {
        free: Bytes(disk.available_space()),
        total: Bytes(disk.total_space()),
        device: disk.mount_point().to_string_lossy().into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_of_a_folder_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let found = space(folder.path()).expect("a file system");
        assert!(found.total.0 > 0 && found.free <= found.total, "{found:?}");
        assert_eq!(space(folder.path()).expect("the same").device, found.device);
        assert!(space(&folder.path().join("missing")).is_err());
    }
}
