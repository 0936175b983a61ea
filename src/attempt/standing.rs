//! How an attempt stands, as far as its folder tells; and the names by which a wrapper makes that so.
//!
//! ```text
//! claim            made by the wrapper, with O_EXCL: whoever comes second refuses itself
//! start.json.tmp   made with O_EXCL and locked next, for life; before the module starts, a first record is written into it
//! start.json       the same file with the whole record, renamed when the module runs
//! exit.json        written aside, synced, renamed, before the lock is let go
//! ```
//!
//! The lock is the proof of life: it is gone with the process however that died, whatever became of its number, and after a reboot.
//! A looker tests it with a shared lock, so that lookers do not take each other for wrappers.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

use super::files::look_at_lock;
use super::folder::open_private;
use super::record::{ExitRecord, StartRecord};

/// File by which a wrapper takes an attempt for itself.
pub const CLAIM: &str = "claim";
/// Name of the start record while the module is being started.
pub const START_ASIDE: &str = "start.json.tmp";
/// Name of the start record.
pub const START: &str = "start.json";
/// Name of the exit record.
pub const EXIT: &str = "exit.json";
/// Name of the exit record while it is written.
pub const EXIT_ASIDE: &str = "exit.json.tmp";

/// What a looker leaves in the start record of a dead wrapper that had written nothing: one that still comes finds it and refuses.
const SEAL: &[u8] = b"sealed\n";

/// How often the names are looked at again when one changed into another meanwhile. Each change happens once in an attempt's life.
const LOOKS_MAX: usize = 8;

/// How an attempt stands, as far as its folder tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// No wrapper has claimed it: it may still be started.
    Unclaimed,
    /// Its wrapper lives. `None`: it has not yet come to starting the module; a record without a child: it is just starting it.
    Alive(Option<StartRecord>),
    /// It is over, and this is how.
    Ended(Box<ExitRecord>),
    /// Its wrapper died before it came to starting the module, which now nobody will: it may be started in another folder.
    NeverStarted,
    /// Its wrapper died without a word, and the module may live or have done its work. A record without a child: the wrapper died in
    /// the very moment of the start. `None`: the record cannot be read, as after a power cut. Also where there is an exit record that is
    /// none: it was whole when it got its name, and nobody will write another one.
    Dead(Option<StartRecord>),
}

/// Looks at a folder. Where the wrapper is dead this also makes sure that none will ever start the attempt: it takes the lock itself for
/// a moment and leaves a mark, so that a wrapper that comes late refuses to start. So it is for attempts that the caller did not start
/// itself, or whose wrapper he knows to be gone: one that is caught between its claim and its lock, a matter of microseconds, ends here.
/// To learn whom to signal, [`StartRecord::read`] is enough.
///
/// # Errors
/// What the system said; [`io::ErrorKind::Unsupported`] for an exit record of a newer format, and [`io::ErrorKind::InvalidData`] for one that
/// is none, where nothing else tells that the attempt was started.
pub fn standing(folder: &Path) -> io::Result<Standing> {
    for _ in 0..LOOKS_MAX {
        if let Some(standing) = look(folder)? {
            return Ok(standing);
        }
    }
    Err(io::Error::other("the files in the attempt's folder change all the time"))
}

/// One look; `None` when a name was gone that had been there.
fn look(folder: &Path) -> io::Result<Option<Standing>> {
    let spoiled = match read_exit(folder)? {
        Some(Ok(exit)) => return Ok(Some(Standing::Ended(exit))),
        Some(Err(spoiled)) => Some(spoiled),
        None => None,
    };
    let Some((mut file, name)) = open_start(folder)? else {
        if let Some(spoiled) = spoiled {
            return Err(spoiled);
        }
        return if folder.join(CLAIM).try_exists()? { seal_claim(folder) } else { Ok(Some(Standing::Unclaimed)) };
    };
    match look_at_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            return Ok(Some(Standing::Alive(parse_start(&text))));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // The lock is free: the wrapper is dead, or has not taken it yet. Only now the exit record is looked for, since a wrapper writes it
    // before it lets go; and a wrapper that has not taken the lock yet finds it taken, or finds the mark.
    if let Some(Ok(exit)) = read_exit(folder)? {
        return Ok(Some(Standing::Ended(exit)));
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    if text.is_empty() && name == START_ASIDE {
        file.write_all(SEAL)?;
    } else if text != SEAL {
        // Whatever it was writing last, nobody will finish it.
        let _ = std::fs::remove_file(folder.join(EXIT_ASIDE));
        if name == START_ASIDE {
            // Nobody else can have made it: this is what the attempt's one wrapper got to write. Twice, since an error may be one of the
            // moment, and after this nobody looks again.
            let rename = || std::fs::rename(folder.join(START_ASIDE), folder.join(START));
            let _ = rename().or_else(|_| rename());
        }
        return Ok(Some(Standing::Dead(parse_start(&text))));
    }
    Ok(Some(Standing::NeverStarted))
}

/// The wrapper has claimed the attempt and not come further: takes the next step in its place.
fn seal_claim(folder: &Path) -> io::Result<Option<Standing>> {
    match open_private(OpenOptions::new().write(true).create_new(true), &folder.join(START_ASIDE)) {
        Ok(mut file) => {
            file.write_all(SEAL)?;
            Ok(Some(Standing::NeverStarted))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

/// The start record under either of its names.
fn open_start(folder: &Path) -> io::Result<Option<(File, &'static str)>> {
    // The final name last: whoever renames meanwhile is found there.
    for name in [START_ASIDE, START] {
        match OpenOptions::new().read(true).write(true).open(folder.join(name)) {
            Ok(file) => return Ok(Some((file, name))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

impl StartRecord {
    /// Reads the record of a module that was started; `None` where there is none yet. Says nothing about whether it still runs.
    ///
    /// # Errors
    /// What the system said, or what is wrong with the record.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        match std::fs::read_to_string(folder.join(START)) {
            Ok(text) => Self::decode(&text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn parse_start(text: &[u8]) -> Option<StartRecord> {
    StartRecord::decode(std::str::from_utf8(text).ok()?).ok()
}

/// The exit record, or what is wrong with it where it will never be a good one.
fn read_exit(folder: &Path) -> io::Result<Option<io::Result<Box<ExitRecord>>>> {
    match std::fs::read_to_string(folder.join(EXIT)).and_then(|text| ExitRecord::decode(&text)) {
        Ok(exit) => Ok(Some(Ok(Box::new(exit)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(spoiled) if spoiled.kind() == io::ErrorKind::InvalidData => Ok(Some(Err(spoiled))),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::lock_for_life;
    use super::super::record::tests::{exit, start};
    use super::*;

    fn put(folder: &Path, name: &str, text: &str) -> File {
        std::fs::write(folder.join(name), text).unwrap();
        OpenOptions::new().read(true).write(true).open(folder.join(name)).unwrap()
    }

    #[test]
    fn a_life_as_it_is_seen_from_outside() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(standing(folder).unwrap(), Standing::Unclaimed);
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "looking at what may still start leaves no trace");
        put(folder, CLAIM, "");
        let file = put(folder, START_ASIDE, "");
        lock_for_life(&file).unwrap();
        assert_eq!(standing(folder).unwrap(), Standing::Alive(None));
        let before = StartRecord { child: None, ..start() };
        put(folder, START_ASIDE, &before.encode());
        assert_eq!(standing(folder).unwrap(), Standing::Alive(Some(before)));
        assert_eq!(StartRecord::read(folder).unwrap(), None);
        put(folder, START_ASIDE, &start().encode());
        std::fs::rename(folder.join(START_ASIDE), folder.join(START)).unwrap();
        assert_eq!(standing(folder).unwrap(), Standing::Alive(Some(start())));
        assert_eq!(StartRecord::read(folder).unwrap(), Some(start()));
        put(folder, EXIT, &exit().encode());
        assert_eq!(standing(folder).unwrap(), Standing::Ended(Box::new(exit())), "the record counts while the wrapper still syncs");
        drop(file);
        assert_eq!(standing(folder).unwrap(), Standing::Ended(Box::new(exit())));
    }

    #[test]
    fn f39_a_dead_wrapper_is_known_by_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), CLAIM, "");
        put(folder.path(), START, &start().encode());
        for _ in 0..2 {
            put(folder.path(), EXIT_ASIDE, "half");
            assert_eq!(standing(folder.path()).unwrap(), Standing::Dead(Some(start())));
            assert!(!folder.path().join(EXIT_ASIDE).exists(), "what it was writing is of no use");
        }
    }

    #[test]
    fn f13_an_exit_record_that_is_none_proves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        put(folder, CLAIM, "");
        let spoiled = ["", "\0\0\0", "{\"half", "{\"format\":1}"];
        for text in spoiled {
            put(folder, EXIT, text);
            assert_eq!(standing(folder).unwrap_err().kind(), io::ErrorKind::InvalidData, "{text:?}: nothing tells of a start");
        }
        assert!(!folder.join(START_ASIDE).exists(), "and it is not taken for one that never started");
        let file = put(folder, START, &start().encode());
        lock_for_life(&file).unwrap();
        for text in spoiled {
            put(folder, EXIT, text);
            assert_eq!(standing(folder).unwrap(), Standing::Alive(Some(start())), "{text:?}");
        }
        drop(file);
        for text in spoiled {
            put(folder, EXIT, text);
            assert_eq!(standing(folder).unwrap(), Standing::Dead(Some(start())), "{text:?}");
        }
        put(folder, EXIT, &exit().encode().replace("\"format\":1", "\"format\":2"));
        assert_eq!(standing(folder).unwrap_err().kind(), io::ErrorKind::Unsupported, "somebody can read it");
    }

    #[test]
    fn f42_a_wrapper_that_died_before_the_start_is_sealed() {
        // Dead after its claim, and dead after it made the start record.
        for made in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            put(folder.path(), CLAIM, "");
            if made {
                put(folder.path(), START_ASIDE, "");
            }
            for _ in 0..2 {
                assert_eq!(standing(folder.path()).unwrap(), Standing::NeverStarted);
            }
            assert!(folder.path().join(START_ASIDE).metadata().unwrap().len() > 0, "a late wrapper would start it");
        }
    }

    #[test]
    fn f42_a_wrapper_that_died_in_the_start_is_doubted() {
        let folder = tempfile::tempdir().unwrap();
        let before = StartRecord { child: None, ..start() };
        put(folder.path(), CLAIM, "");
        put(folder.path(), START_ASIDE, &before.encode());
        assert_eq!(standing(folder.path()).unwrap(), Standing::Dead(Some(before)));
    }

    #[test]
    fn f13_a_start_record_that_a_power_cut_emptied_is_no_proof_of_anything() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), CLAIM, "");
        for left in ["", "\0\0\0", "{\"format\":1"] {
            put(folder.path(), START, left);
            assert_eq!(standing(folder.path()).unwrap(), Standing::Dead(None), "{left:?}");
        }
    }

    #[test]
    fn lookers_do_not_take_each_other_for_a_wrapper() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), CLAIM, "");
        let other = put(folder.path(), START, &start().encode());
        look_at_lock(&other).unwrap();
        assert_eq!(standing(folder.path()).unwrap(), Standing::Dead(Some(start())));
    }
}
