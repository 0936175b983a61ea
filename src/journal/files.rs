//! Files of the journal's folder: their names, and the steps that make them durable. Everything is readable by its owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Ending of files that are being written aside; what is left of them after a crash is removed.
pub(super) const ASIDE: &str = ".tmp";
const SEGMENT_END: &str = ".jsonl";
const SNAPSHOT_HEAD: &str = "snapshot-";

/// `000001.jsonl`
pub(super) fn segment_name(number: u32) -> String {
    format!("{number:06}{SEGMENT_END}")
}

/// `snapshot-000001.jsonl`: the state at the begin of that segment.
pub(super) fn snapshot_name(number: u32) -> String {
    format!("{SNAPSHOT_HEAD}{number:06}{SEGMENT_END}")
}

/// Whether a file of the folder is a snapshot, by its name.
pub(super) fn is_snapshot(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(SNAPSHOT_HEAD))
}

/// Numbers of the segments and snapshots in a folder, each ascending.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    /// Segments.
    pub(super) segments: Vec<u32>,
    /// Snapshots.
    pub(super) snapshots: Vec<u32>,
    /// What a crash left half written.
    pub(super) aside: Vec<PathBuf>,
}

/// Lists a folder; one that does not exist is empty.
pub(super) fn list(folder: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.ends_with(ASIDE) {
            listing.aside.push(entry.path());
        } else if let Some(number) = name.strip_prefix(SNAPSHOT_HEAD).and_then(number_of) {
            listing.snapshots.push(number);
        } else if let Some(number) = number_of(name) {
            listing.segments.push(number);
        }
    }
    listing.segments.sort_unstable();
    listing.snapshots.sort_unstable();
    Ok(listing)
}

fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(SEGMENT_END)?;
    let fits = digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if fits { digits.parse().ok() } else { None }
}

/// Makes a folder (0700) and those above it.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Options that make a file for its owner only (0600) and follow no link to it.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    }
    options
}

/// Makes the names in a folder durable. Windows has no such call; NTFS journals them itself.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Path under which a file is written aside.
pub(super) fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ASIDE);
    PathBuf::from(name)
}

/// Writes a file aside, syncs it and gives it its name; then syncs the folder. Either the whole file is there afterwards or none.
pub(super) fn replace(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let temporary = write_aside(path, fill)?;
    put_in_place(&temporary, path)
}

/// First half of [`replace`]: the synced file beside its place.
pub(super) fn write_aside(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<PathBuf> {
    let temporary = aside(path);
    let mut file = private().create(true).truncate(true).open(&temporary)?;
    let filled = fill(&mut file).and_then(|()| file.sync_all());
    if filled.is_err() {
        drop(file);
        drop(fs::remove_file(&temporary));
    }
    filled.map(|()| temporary)
}

/// Second half of [`replace`].
pub(super) fn put_in_place(temporary: &Path, path: &Path) -> io::Result<()> {
    rename(temporary, path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Renames. On Windows a reader or a virus scanner may hold a file for a moment, which passes.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    const ACCESS_DENIED: i32 = 5;
    const SHARING_VIOLATION: i32 = 32;
    const ROUNDS: u32 = 10;
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
    for round in 1..=ROUNDS {
        match fs::rename(from, to) {
            Err(error) if cfg!(windows) && matches!(error.raw_os_error(), Some(ACCESS_DENIED | SHARING_VIOLATION)) => {
                std::thread::sleep(PAUSE * round)
            }
            other => return other,
        }
    }
    fs::rename(from, to)
}
