//! The files that a result names: whether they are still as its attempt left them.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key;
use crate::event::NotReused;
use crate::ids::RunId;
use crate::manifest::Module;
use crate::units::Timestamp;

/// A file, or a folder with all that lies in it, as far as can be told without reading it: results may be large.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Made(String);

impl Made {
    /// What there is, and when the newest of it was changed, in nanoseconds since 1970.
    fn of(path: &Path) -> Option<(Self, u128)> {
        let (mut found, mut newest) = (Vec::new(), 0);
        key::walk(vec![path.to_owned()], |path, metadata, modified| {
            let modified = nanos(modified);
            let (inode, changed) = inode(metadata);
            newest = newest.max(modified).max(changed);
            let length = if metadata.is_dir() { 0 } else { metadata.len() };
            found.push((path.as_os_str().as_encoded_bytes().to_vec(), format!("{length} {modified} {inode} {changed}")));
        })?;
        found.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for (path, look) in found {
            hasher.update(&path).update(b"\0").update(look.as_bytes()).update(b"\0");
        }
        Some((Self(key::hex(hasher.finalize())), newest))
    }
}

fn nanos(time: SystemTime) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos()
}

/// Which file it is, and when that was changed in any way, in nanoseconds since 1970: whoever puts another file in its place, or sets its time
/// back, is found by that. Windows has nothing like it that could be asked for without opening every file.
#[cfg(unix)]
fn inode(metadata: &Metadata) -> (u64, u128) {
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;
    let seconds = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
    let nanos = Duration::from_nanos(u64::try_from(metadata.ctime_nsec()).unwrap_or(0));
    (metadata.ino(), (seconds + nanos).as_nanos())
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> (u64, u128) {
    (0, 0)
}

/// The files and folders that outputs name.
fn named(module: &Module, outputs: Option<&Value>) -> Vec<String> {
    let Some((schema, outputs)) = module.outputs.as_ref().zip(outputs) else { return Vec::new() };
    let pointers = schema.path_pointers(outputs);
    pointers.iter().filter_map(|pointer| outputs.pointer(pointer)?.as_str()).map(str::to_owned).collect()
}

/// What the files of a result are. `None` where one was changed after the end of its node: by another node, say, and then nobody knows what
/// the result was.
pub(super) fn made(module: &Module, outputs: Option<&Value>, ended: Timestamp) -> Option<BTreeMap<String, Made>> {
    let ended = u128::try_from(ended.micros()).unwrap_or(0) * 1000;
    let found = named(module, outputs).into_iter().filter_map(|path| Some((Made::of(Path::new(&path))?, path)));
    found.map(|((made, newest), path)| (newest <= ended).then_some((path, made))).collect()
}

/// Why the files of a result are not what they were, if so.
pub(super) fn lost(module: &Module, outputs: Option<&Value>, made: &BTreeMap<String, Made>, run: &RunId) -> Option<NotReused> {
    named(module, outputs).into_iter().find_map(|path| {
        let run = run.clone();
        if !Path::new(&path).exists() {
            return Some(NotReused::OutputGone { run, path });
        }
        let now = Made::of(Path::new(&path)).map(|(now, _)| now);
        (now.is_none() || now.as_ref() != made.get(&path)).then_some(NotReused::OutputChanged { run, path })
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_overwritten_is_another_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a");
        let old = |file: &Path, seconds| {
            let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 7);
            fs::File::options().append(true).open(file).and_then(|file| file.set_modified(time)).expect("an old file");
        };
        let of = |path: &Path| Made::of(path).expect("it is there").0;
        fs::write(&file, "1").expect("a file");
        old(&file, 10);
        let first = of(&file);
        assert_eq!(first, of(&file));
        fs::write(&file, "2").expect("a file");
        old(&file, 11);
        assert_ne!(first, of(&file));
        let whole = of(folder.path());
        assert_eq!(whole, of(folder.path()));
        fs::write(folder.path().join("b"), "3").expect("a file");
        old(&folder.path().join("b"), 5);
        assert_ne!(whole, of(folder.path()));
        assert_eq!(None, Made::of(&folder.path().join("missing")));
    }

    /// Of the same length, and with the time of the old one.
    #[test]
    #[cfg(unix)]
    fn a_file_in_the_place_of_another_is_found_by_more_than_its_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let old = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::write(&file, text).expect("a file");
            fs::File::options().append(true).open(&file).and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH)).expect("an old file");
            file
        };
        let (file, other) = (old("a", "1"), old("b", "2"));
        let (first, newest) = Made::of(&file).expect("it is there");
        assert!(newest > 1_000_000_000_000_000_000, "when it was really changed: {newest}");
        fs::rename(other, &file).expect("renamed");
        assert_ne!(first, Made::of(&file).expect("it is there").0);
    }
}
