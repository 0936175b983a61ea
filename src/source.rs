//! Reading the texts of users from the disk: the manifests folder, single files, and where a script really lies.
//!
//! A folder of users holds everything: links in circles, pipes, devices, files of a gigabyte, names that are no text. Nothing here waits
//! for any of them, and whatever is not read is listed with the reason. Knows nothing of YAML or manifests. Called by `host`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostics::{Diagnostic, Place, Source, Span};
use crate::units::Bytes;

/// Longest manifest, as the reader's own limit.
pub const MANIFEST_BYTES_MAX: u64 = 256 * 1024;

/// Longest pipeline file: a million generated nodes take some 70 MB as JSON.
pub const PIPELINE_BYTES_MAX: u64 = 1 << 30;

/// Most folders inside each other below the manifests folder.
const FOLDER_DEPTH_MAX: usize = 32;

/// Most entries of the manifests folder that are looked at. A folder with more is not a folder of manifests.
const ENTRIES_MAX: usize = 100_000;

/// A manifest file, read or refused.
#[derive(Debug)]
pub struct Found {
    /// The file, absolute if the folder was.
    pub path: PathBuf,
    /// Its text, or why there is none.
    pub source: Result<Arc<Source>, Diagnostic>,
}

/// A manifest file, before it is read.
#[derive(Debug)]
pub struct Entry {
    /// The file, absolute if the folder was.
    pub path: PathBuf,
    /// Why it is not read, where that is known without opening it.
    pub refused: Option<Diagnostic>,
}

/// What a folder of manifests holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// Files, sorted by path.
    pub entries: Vec<Entry>,
    /// The folder and all folders below it, in no order; nothing where there is no folder.
    pub folders: Vec<PathBuf>,
}

/// All `*.yaml`, `*.yml` and `*.json` below `folder`, and what is refused without being opened. Links are not followed; hidden entries are
/// left out. A folder that does not exist holds nothing.
#[must_use]
pub fn list_manifests(folder: &Path, workspace: &Path) -> Listing {
    let mut walk = Walk { workspace, found: Listing::default(), entries: 0 };
    walk.folder(folder, 0);
    let mut found = walk.found;
    found.entries.sort_by(|a, b| a.path.cmp(&b.path));
    refuse_case_clashes(&mut found.entries, workspace);
    found
}

/// Reads one of them. Its text is called by its path below `workspace`.
///
/// # Errors
/// Why there is none.
pub fn read_manifest(entry: &Entry, workspace: &Path) -> Result<Arc<Source>, Diagnostic> {
    match &entry.refused {
        Some(refused) => Err(refused.clone()),
        None => read_text(open_plain(&entry.path), &shown(&entry.path, workspace), MANIFEST_BYTES_MAX),
    }
}

/// Reads all manifests below `folder`; see [`list_manifests`].
#[must_use]
pub fn read_manifests(folder: &Path, workspace: &Path) -> Vec<Found> {
    let entries = list_manifests(folder, workspace).entries.into_iter();
    entries
        .map(|entry| {
            let source = read_manifest(&entry, workspace);
            Found { path: entry.path, source }
        })
        .collect()
}

/// Reads one text file of at most `bytes_max` bytes. `name` is what messages call it.
///
/// # Errors
/// Why it cannot be read: missing, no regular file, too long, not UTF-8. The diagnostic names the file.
pub fn read_file(path: &Path, name: &str, bytes_max: u64) -> Result<Arc<Source>, Diagnostic> {
    read_text(open_following(path), name, bytes_max)
}

/// Files below `folder` that are wanted, sorted, by path. Links are not followed, hidden entries are left out, and so is what cannot be read:
/// this is for looking around, not for loading.
#[must_use]
pub fn files_below(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    files_within(folder, FOLDER_DEPTH_MAX, wanted).files
}

/// What [`files_within`] found.
#[derive(Debug, Default)]
pub struct FilesFound {
    /// Files, sorted.
    pub files: Vec<PathBuf>,
    /// Folders that were looked into; nothing where there is no folder.
    pub folders: Vec<PathBuf>,
}

/// The same, at most `depth` folders down, with the folders that were looked into.
#[must_use]
pub fn files_within(folder: &Path, depth_max: usize, wanted: &dyn Fn(&Path) -> bool) -> FilesFound {
    let mut found = Vec::new();
    let mut folders = Vec::new();
    let mut open = vec![(folder.to_owned(), 0)];
    let mut entries = 0;
    while let Some((folder, depth)) = open.pop() {
        let Ok(listed) = fs::read_dir(&folder) else { continue };
        folders.push(folder);
        for entry in listed.flatten() {
            entries += 1;
            if entries > ENTRIES_MAX {
                break;
            }
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !hidden && depth < depth_max.min(FOLDER_DEPTH_MAX) => open.push((entry.path(), depth + 1)),
                Ok(kind) if kind.is_file() && !hidden && wanted(&entry.path()) => found.push(entry.path()),
                Ok(_) | Err(_) => {}
            }
        }
    }
    found.sort();
    FilesFound { files: found, folders }
}

struct Walk<'w> {
    workspace: &'w Path,
    found: Listing,
    entries: usize,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, depth: usize) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && depth == 0 => return,
            Err(error) => return self.refuse(folder.to_owned(), &format!("the folder cannot be read: {error}"), None),
        };
        self.found.folders.push(folder.to_owned());
        if depth > FOLDER_DEPTH_MAX {
            return self.refuse(folder.to_owned(), &format!("more than {FOLDER_DEPTH_MAX} folders inside each other"), None);
        }
        for entry in entries {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return self.refuse(folder.to_owned(), &format!("more than {ENTRIES_MAX} files and folders; the rest is not read"), None);
            }
            match entry {
                Ok(entry) => self.entry(&entry, depth),
                Err(error) => self.refuse(folder.to_owned(), &format!("the folder cannot be read to its end: {error}"), None),
            }
        }
    }

    fn entry(&mut self, entry: &fs::DirEntry, depth: usize) {
        let path = entry.path();
        let Some(file_name) = entry.file_name().to_str().map(str::to_owned) else {
            if looks_like_manifest(&path) {
                self.refuse(path, "the file's name is not UTF-8", Some("rename it"));
            }
            return;
        };
        if file_name.starts_with('.') {
            return;
        }
        match entry.file_type() {
            Err(error) => self.refuse(path, &format!("it cannot be looked at: {error}"), None),
            Ok(kind) if kind.is_dir() => self.folder(&path, depth + 1),
            Ok(kind) if kind.is_symlink() => self.link(path),
            Ok(_) if !looks_like_manifest(&path) => {}
            Ok(kind) if !kind.is_file() => self.refuse(path, "this is no regular file", None),
            Ok(_) if is_device_name(&file_name) => {
                self.refuse(path, "on Windows this is the name of a device", Some("rename it"));
            }
            Ok(_) => self.found.entries.push(Entry { path, refused: None }),
        }
    }

    fn link(&mut self, path: PathBuf) {
        let is_folder = fs::metadata(&path).is_ok_and(|target| target.is_dir());
        if is_folder || looks_like_manifest(&path) {
            self.refuse(path, "symbolic links are not followed", Some("put the manifest itself into the folder"));
        }
    }

    fn refuse(&mut self, path: PathBuf, reason: &str, help: Option<&str>) {
        let refused = Some(refusal(&shown(&path, self.workspace), reason).with_help_of(help.map(str::to_owned)));
        self.found.entries.push(Entry { path, refused });
    }
}

/// A refusal at the head of a file that has no text for us.
fn refusal(name: &str, reason: &str) -> Diagnostic {
    Diagnostic::error(reason.to_owned()).at(Place { source: Source::new(name, ""), span: Span::default() })
}

/// The path in messages: below the workspace, with `/` on every system.
fn shown(path: &Path, workspace: &Path) -> String {
    let text = path.strip_prefix(workspace).unwrap_or(path).to_string_lossy().into_owned();
    if cfg!(windows) { text.replace('\\', "/") } else { text }
}

fn looks_like_manifest(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    matches!(extension.as_deref(), Some("yaml" | "yml" | "json"))
}

/// `CON.yaml` opens the console on Windows, in any folder.
fn is_device_name(file_name: &str) -> bool {
    let stem = file_name.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let numbered = |prefix: &str| stem.strip_prefix(prefix).is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit());
    matches!(stem.as_str(), "con" | "prn" | "aux" | "nul") || numbered("com") || numbered("lpt")
}

/// Names that differ in case only are one file on Windows and macOS: a workspace that has both cannot be copied there.
fn refuse_case_clashes(found: &mut [Entry], workspace: &Path) {
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, one) in found.iter().enumerate() {
        by_name.entry(one.path.to_string_lossy().to_lowercase()).or_default().push(at);
    }
    for group in by_name.values().filter(|group| group.len() > 1) {
        let names: Vec<String> = group.iter().map(|at| shown(&found[*at].path, workspace)).collect();
        for at in group {
            let own = shown(&found[*at].path, workspace);
            let others: Vec<&str> = names.iter().filter(|name| **name != own).map(String::as_str).collect();
            let reason = format!("its name differs from `{}` in case only", others.join("`, `"));
            found[*at].refused = Some(refusal(&own, &reason).with_help("rename one of them: they are one file on Windows and macOS"));
        }
    }
}

fn read_text(file: io::Result<File>, name: &str, bytes_max: u64) -> Result<Arc<Source>, Diagnostic> {
    let refuse = |reason: String| refusal(name, &reason);
    let file = file.map_err(|error| refuse(opening_failed(&error)))?;
    let facts = file.metadata().map_err(|error| refuse(format!("the file cannot be looked at: {error}")))?;
    if !facts.is_file() {
        return Err(refuse("this is no regular file".into()));
    }
    let too_long =
        || refuse(format!("the file is longer than {}", Bytes(bytes_max))).with_help("large data belongs into a file of its own");
    if facts.len() > bytes_max {
        return Err(too_long());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(facts.len()).unwrap_or_default() + 1);
    // It may grow while it is read.
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| refuse(format!("the file cannot be read: {error}")))?;
    if bytes.len() as u64 > bytes_max {
        return Err(too_long());
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(name, text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))),
        Err(error) => Err(not_utf8(name, &error)),
    }
}

fn opening_failed(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "the file may not be read by this user".into(),
        _ => format!("the file cannot be opened: {error}"),
    }
}

/// Points at the first byte that is no text, in the text before it.
fn not_utf8(name: &str, error: &std::string::FromUtf8Error) -> Diagnostic {
    let valid = error.utf8_error().valid_up_to();
    let bytes = error.as_bytes();
    let byte = bytes.get(valid).copied().unwrap_or_default();
    let source = Source::new(name, String::from_utf8_lossy(&bytes[..valid]).into_owned());
    let refusal = Diagnostic::error(format!("the file is not UTF-8: byte 0x{byte:02x} is no character"));
    refusal.at(Place { source, span: Span::new(valid, valid) }).with_help("save it as UTF-8")
}

/// Opens without waiting for a writer of a pipe, without following a link, without becoming the terminal of a device.
#[cfg(unix)]
fn open_plain(path: &Path) -> io::Result<File> {
    use rustix::fs::OFlags;
    open_with(path, OFlags::NOFOLLOW)
}

/// The same, but a link is followed: the caller named the file.
#[cfg(unix)]
fn open_following(path: &Path) -> io::Result<File> {
    open_with(path, rustix::fs::OFlags::empty())
}

#[cfg(unix)]
fn open_with(path: &Path, more: rustix::fs::OFlags) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY | more;
    Ok(File::from(open(path, flags, Mode::empty())?))
}

#[cfg(not(unix))]
fn open_plain(path: &Path) -> io::Result<File> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("this is no regular file"));
    }
    File::open(path)
}

#[cfg(not(unix))]
fn open_following(path: &Path) -> io::Result<File> {
    // Devices have names in every folder there: ask before opening.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("this is no regular file"));
    }
    File::open(path)
}

/// Why a script may not run.
#[derive(Debug)]
pub struct ScriptRefused {
    /// In words.
    pub diagnostic: Box<Diagnostic>,
    /// What the system said, where it could not be looked at: it may be another matter a moment later.
    pub error: Option<io::Error>,
}

/// Checks that a script lies inside one of `roots`, by its real path: links resolved, on the file that was opened, part by part, so that
/// neither `..`, nor a link, nor `/srv/data-secret` beside `/srv/data` gets out.
///
/// # Errors
/// Why it may not run: missing, no regular file, or outside of all roots.
pub fn script_inside(script: &Path, roots: &[PathBuf]) -> Result<PathBuf, ScriptRefused> {
    let shown = script.display();
    let refuse = |reason: String| Diagnostic::error(format!("the script {shown} cannot run: {reason}"));
    let failed = |reason: String, error: io::Error| ScriptRefused { diagnostic: Box::new(refuse(reason)), error: Some(error) };
    let file = open_following(script).map_err(|error| failed(opening_failed(&error), error))?;
    let is_file = file.metadata().map_err(|error| failed(error.to_string(), error))?.is_file();
    if !is_file {
        return Err(ScriptRefused { diagnostic: Box::new(refuse("it is no regular file".into())), error: None });
    }
    let real = real_path(&file, script).map_err(|error| failed(error.to_string(), error))?;
    // A root that does not exist holds nothing.
    let inside = roots.iter().filter_map(|root| fs::canonicalize(root).ok()).any(|root| real.starts_with(root));
    if inside {
        return Ok(real);
    }
    let help = "scripts lie in the workspace, or in a folder that `roots:` in prismq.yaml names";
    let refusal = if real == script {
        refuse("it lies outside of the workspace".into())
    } else {
        refuse(format!("it really is {}, outside of the workspace", real.display()))
    };
    Err(ScriptRefused { diagnostic: Box::new(refusal.with_help(help)), error: None })
}

/// The path of an opened file. Asked of the file itself where the system can tell, so that nobody can exchange it in between.
#[cfg(target_os = "linux")]
fn real_path(file: &File, path: &Path) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    // Without /proc the path has to do.
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).or_else(|_| fs::canonicalize(path))
}

/// The path of an opened file, by its name.
#[cfg(not(target_os = "linux"))]
fn real_path(_: &File, path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}

#[cfg(test)]
mod tests;
