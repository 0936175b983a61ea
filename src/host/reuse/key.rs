//! What decides over the result of an attempt, as hashes: the only part of reuse that reads what people write.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::Asked;
use crate::event::ReuseKey;
use crate::manifest::Program;

/// Hexadecimal digits that are kept of a hash: 128 bits.
const DIGITS: usize = 32;

/// A file that changed so lately may change again without a new time.
const SETTLED: Duration = Duration::from_secs(2);

/// Files whose hashes are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// Hashes files, and remembers them as long as they look the same.
#[derive(Default)]
pub(super) struct Hasher {
    known: HashMap<PathBuf, (Look, blake3::Hash)>,
}

/// What tells that a file is still the one that was read. The time of the last change can be set back; on Unix that shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    modified: SystemTime,
    length: u64,
    /// Inode, and when it was changed last.
    #[cfg(unix)]
    inode: (u64, i64, i64),
}

impl Look {
    fn of(metadata: &fs::Metadata) -> io::Result<Self> {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Ok(Self {
            modified: metadata.modified()?,
            length: metadata.len(),
            #[cfg(unix)]
            inode: (metadata.ino(), metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Hasher {
    /// The key of an attempt.
    ///
    /// # Errors
    /// Which file cannot be read, and why.
    pub(super) fn key(&mut self, asked: Asked<'_>, files: &[String]) -> Result<ReuseKey, String> {
        let Asked { module, settings, params } = asked;
        let unreadable = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
        let script = match &module.program {
            Program::Script { path, .. } => hex(self.file(path).map_err(|error| unreadable(path, error))?),
            Program::Command(_) => String::new(),
        };
        let called = json!([settings.environment, settings.arguments, settings.workdir, module.pass_env]);
        let mut inputs = blake3::Hasher::new();
        for file in files {
            inputs.update(file.as_bytes());
            self.add(Path::new(file), &mut inputs).map_err(|error| unreadable(Path::new(file), error))?;
        }
        Ok(ReuseKey {
            module: hex(blake3::hash(format!("{}\0{called}", module.source.text).as_bytes())),
            script,
            params: hex(blake3::hash(sorted(params).to_string().as_bytes())),
            inputs: hex(inputs.finalize()),
        })
    }

    /// Adds a file, a folder with all that is in it, or that there is nothing.
    fn add(&mut self, path: &Path, inputs: &mut blake3::Hasher) -> io::Result<()> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                inputs.update(b"-");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if !metadata.is_dir() {
            inputs.update(b"f").update(self.file(path)?.as_bytes());
            return Ok(());
        }
        inputs.update(b"d");
        let mut names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        for name in names {
            let inner = path.join(&name);
            inputs.update(name.as_encoded_bytes()).update(b"\0");
            // A link to a folder may lead back to it: where it points to is what it says.
            if fs::symlink_metadata(&inner)?.is_symlink() && inner.is_dir() {
                inputs.update(b"l").update(fs::read_link(&inner)?.as_os_str().as_encoded_bytes());
            } else {
                self.add(&inner, inputs)?;
            }
        }
        inputs.update(b"e");
        Ok(())
    }

    fn file(&mut self, path: &Path) -> io::Result<blake3::Hash> {
        // A pipe or a device has no content that could be compared, and may be read for ever. Opening one may wait for ever too, or do
        // something; and it may have come in the place of a file since.
        check_is_file(&fs::metadata(path)?)?;
        let file = open(path)?;
        let metadata = file.metadata()?;
        check_is_file(&metadata)?;
        let look = Look::of(&metadata)?;
        if let Some((known, hash)) = self.known.get(path)
            && *known == look
        {
            return Ok(*hash);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file)?;
        let hash = hasher.finalize();
        if look.modified.elapsed().is_ok_and(|age| age > SETTLED) {
            if self.known.len() >= REMEMBERED_MAX {
                self.known.clear();
            }
            self.known.insert(path.to_owned(), (look, hash));
        }
        Ok(hash)
    }
}

fn check_is_file(metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.is_file() { Ok(()) } else { Err(io::Error::other("it is neither a file nor a folder")) }
}

/// Opens a file without waiting for whoever may be at the other end of it.
fn open(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    options.open(path)
}

/// When the newest of these files and of what lies in these folders was changed. `None`: one of them cannot be looked at, or is not there.
pub(super) fn newest(files: &[String]) -> Option<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    walk(files.iter().map(PathBuf::from).collect(), |_, _, modified| newest = newest.max(modified))?;
    Some(newest)
}

/// Shows files, folders and what lies in them, each with the time of its last change. `None` where one of them cannot be looked at.
pub(super) fn walk(mut open: Vec<PathBuf>, mut visit: impl FnMut(&Path, &fs::Metadata, SystemTime)) -> Option<()> {
    while let Some(path) = open.pop() {
        let metadata = fs::metadata(&path).ok()?;
        visit(&path, &metadata, metadata.modified().ok()?);
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).ok()? {
                let entry = entry.ok()?;
                if !(entry.file_type().ok()?.is_symlink() && entry.path().is_dir()) {
                    open.push(entry.path());
                }
            }
        }
    }
    Some(())
}

pub(super) fn hex(hash: blake3::Hash) -> String {
    hash.to_hex()[..DIGITS].to_owned()
}

/// The start of a script's hash, as keys have it.
pub(super) fn is_of_script(key: &ReuseKey, script_hash: Option<&str>) -> bool {
    script_hash.map_or(key.script.is_empty(), |hash| !key.script.is_empty() && hash.starts_with(&key.script))
}

/// The value with the keys of all objects in order: how they were written down does not matter.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(path: &Path) -> String {
        let mut inputs = blake3::Hasher::new();
        Hasher::default().add(path, &mut inputs).expect("it can be read");
        hex(inputs.finalize())
    }

    #[test]
    fn a_folder_is_what_lies_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("inner")).expect("a folder");
        fs::write(at("inner/a"), "1").expect("a file");
        let first = hash_of(folder.path());
        assert_eq!(first, hash_of(folder.path()));
        fs::rename(at("inner/a"), at("inner/b")).expect("renamed");
        let renamed = hash_of(folder.path());
        fs::write(at("inner/b"), "2").expect("a file");
        let changed = hash_of(folder.path());
        fs::rename(at("inner/b"), at("b")).expect("renamed");
        let moved = hash_of(folder.path());
        let all = [first, renamed, changed, moved, hash_of(&at("missing")), hash_of(&at("inner"))];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len(), "{all:?}");
    }

    #[test]
    #[cfg(unix)]
    fn a_link_that_leads_back_ends_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink(folder.path(), folder.path().join("back")).expect("a link");
        hash_of(folder.path());
        assert!(newest(&[folder.path().to_string_lossy().into_owned()]).is_some());
        assert!(Hasher::default().file(Path::new("/dev/zero")).is_err());
    }

    /// Nobody writes into it: whoever opens it waits for ever.
    #[test]
    #[cfg(unix)]
    fn a_pipe_is_no_input_and_holds_nobody_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o644.into(), 0).expect("a pipe");
        let (sender, receiver) = std::sync::mpsc::channel();
        let inner = folder.path().to_owned();
        std::thread::spawn(move || {
            let mut hasher = Hasher::default();
            let alone = hasher.file(&pipe).map_err(|error| error.to_string());
            let inside = hasher.add(&inner, &mut blake3::Hasher::new()).map_err(|error| error.to_string());
            // Also where it came after the look.
            sender.send((alone.err(), inside.err(), open(&pipe).is_ok()))
        });
        let found = receiver.recv_timeout(Duration::from_secs(60)).expect("nobody waits for the other end");
        let why = Some("it is neither a file nor a folder".to_owned());
        assert_eq!(found, (why.clone(), why, true));
    }

    #[test]
    fn a_file_that_just_changed_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a");
        let mut hasher = Hasher::default();
        fs::write(&file, "1").expect("a file");
        let first = hasher.file(&file).expect("a hash");
        fs::write(&file, "2").expect("a file");
        assert_ne!(first, hasher.file(&file).expect("a hash"));
        fs::File::options().write(true).open(&file).and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH)).expect("an old file");
        hasher.file(&file).expect("a hash");
        assert_eq!(hasher.known.len(), 1);
    }

    #[test]
    #[cfg(unix)]
    fn a_file_in_the_place_of_another_is_read_though_it_has_its_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let old = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::write(&file, text).expect("a file");
            fs::File::options().write(true).open(&file).and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH)).expect("an old file");
            file
        };
        let (file, other) = (old("a", "1"), old("b", "2"));
        let mut hasher = Hasher::default();
        let first = hasher.file(&file).expect("a hash");
        fs::rename(other, &file).expect("renamed");
        assert_ne!(first, hasher.file(&file).expect("a hash"));
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let of = |text: &str| sorted(&serde_json::from_str(text).expect("JSON")).to_string();
        assert_eq!(of(r#"{"b": [{"d": 1, "c": 2}], "a": null}"#), of(r#"{"a": null, "b": [{"c": 2, "d": 1}]}"#));
        assert_ne!(of("[1, 2]"), of("[2, 1]"));
    }
}
