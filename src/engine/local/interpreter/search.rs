//! Looking up programs on a PATH, as the system would, but to an absolute path.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use crate::attempt::HostEnvironment;

/// What Windows adds to a name without extension, where `PATHEXT` says nothing. Batch files are left out: they cannot take arguments
/// safely, and the real program mostly lies beside them.
const WINDOWS_EXTENSIONS: [&str; 2] = [".EXE", ".COM"];

/// The program of that name in the host's PATH, absolute. Relative entries of PATH are passed over: what they find depends on where
/// the host was started.
pub(super) fn on_path(name: &str, host: &HostEnvironment) -> Option<PathBuf> {
    on_path_after(name, host, |_| true)
}

/// Like [`on_path`], but the first one that `fits`.
pub(super) fn on_path_after(name: &str, host: &HostEnvironment, fits: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    if name.is_empty() {
        return None;
    }
    let path = host.get("PATH")?;
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    let mut found = folders.filter_map(|folder| executable_at(&folder.join(name), host));
    found.find(|program| fits(program))
}

/// The program at this place, with the extension that Windows would add.
pub(super) fn executable_at(path: &Path, host: &HostEnvironment) -> Option<PathBuf> {
    if is_executable(path) {
        return Some(path.to_owned());
    }
    if !cfg!(windows) {
        return None;
    }
    with_extensions(path, host).into_iter().find(|candidate| is_executable(candidate))
}

fn with_extensions(path: &Path, host: &HostEnvironment) -> Vec<PathBuf> {
    let listed = host.get("PATHEXT").and_then(OsStr::to_str).map(|list| list.split(';').map(str::to_owned).collect::<Vec<_>>());
    let listed = listed.unwrap_or_else(|| WINDOWS_EXTENSIONS.map(str::to_owned).to_vec());
    let usable = listed.into_iter().filter(|extension| WINDOWS_EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension)));
    let add = |extension: String| {
        let mut name = OsString::from(path);
        name.push(extension);
        PathBuf::from(name)
    };
    usable.map(add).collect()
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    let known = path
        .extension()
        .is_some_and(|extension| WINDOWS_EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known.trim_start_matches('.'))));
    // The alias of the Microsoft Store is a link that cannot be followed: it counts as there, so that it can be named.
    known && path.symlink_metadata().is_ok_and(|data| !data.is_dir())
}

/// A path of the manifest from its folder, `.` and `..` resolved by name, so that messages show where it leads.
pub(super) fn from_folder(folder: &Path, path: &str) -> PathBuf {
    let mut full = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                full.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => full.push(part),
        }
    }
    full
}

/// Whether this is the alias that opens the Microsoft Store instead of running Python.
pub(super) fn is_store_alias(path: &Path) -> bool {
    let in_folder = path.components().any(|part| part.as_os_str().eq_ignore_ascii_case("WindowsApps"));
    in_folder && path.symlink_metadata().is_ok_and(|data| data.len() == 0)
}

/// PATH for a message.
pub(super) fn shown_path(host: &HostEnvironment) -> String {
    host.get("PATH").map_or_else(|| "empty".to_owned(), |path| path.to_string_lossy().into_owned())
}
