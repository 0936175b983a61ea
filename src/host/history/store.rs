//! `.prismq/resources/`: samples as lines of JSON in a few files of bounded size, the oldest of which go. See `docs/resources.md`.
//!
//! One host writes, on the thread that looks at the machine. Nothing is synced: a power cut costs some seconds of a curve. A line that is
//! cut off or damaged is passed over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::workspace::{Workspace, create_private_folder};
use super::recorder::EVERY;
use super::sample::{History, Sample};
use crate::units::{DurationMs, Timestamp};

/// Size at which a new file is begun.
const FILE_MAX: u64 = 4 << 20;
/// Files that are kept.
const FILES_MAX: usize = 8;
/// Files that nobody wrote to for so long go, too.
const KEPT_FOR: Duration = Duration::from_secs(14 * 24 * 3600);
/// A longer line is none of ours.
const LINE_MAX: u64 = 64 << 10;
/// Samples that are shown at most: neighbours are joined where there are more than twice as many.
const SHOWN_MAX: usize = 1_000;

/// Where the files lie.
pub(in crate::host) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.state().join("resources")
}

/// Writes samples.
#[derive(Debug)]
pub(in crate::host) struct Store {
    folder: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
}

impl Store {
    /// Touches nothing before the first sample.
    pub(in crate::host) fn new(folder: PathBuf) -> Self {
        Self { folder, open: None }
    }

    /// Adds a sample.
    ///
    /// # Errors
    /// What the system says. The next one begins anew.
    pub(in crate::host) fn append(&mut self, sample: &Sample) -> io::Result<()> {
        let mut line = serde_json::to_vec(sample)?;
        line.push(b'\n');
        let mut open = match self.open.take().filter(|open| open.length < FILE_MAX) {
            Some(open) => open,
            None => self.next_file()?,
        };
        open.file.write_all(&line)?;
        open.length += line.len() as u64;
        self.open = Some(open);
        Ok(())
    }

    /// The last file while it has room, else a new one; old ones go.
    fn next_file(&self) -> io::Result<Open> {
        create_private_folder(&self.folder)?;
        let files = files(&self.folder);
        let last = files.last().map_or(0, |(number, _)| *number);
        let length = fs::metadata(path(&self.folder, last)).map_or(FILE_MAX, |metadata| metadata.len());
        let number = if length < FILE_MAX { last } else { last + 1 };
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true);
        let mut file = crate::attempt::open_private(&mut options, &path(&self.folder, number))?;
        let length = file.metadata()?.len();
        if length > 0 && !ends_with_newline(&mut file, length)? {
            // What a crash cut off is a line of its own, and no part of the next.
            file.write_all(b"\n")?;
        }
        remove_old(&files, number);
        Ok(Open { file, length })
    }
}

fn ends_with_newline(file: &mut File, length: u64) -> io::Result<bool> {
    use std::io::{Seek, SeekFrom};
    file.seek(SeekFrom::Start(length - 1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn remove_old(files: &[(u64, PathBuf)], current: u64) {
    let many = files.len().saturating_sub(FILES_MAX - 1);
    for (at, (number, path)) in files.iter().enumerate() {
        let is_old = || modified(path).and_then(|time| time.elapsed().ok()).is_some_and(|age| age > KEPT_FOR);
        if *number != current && (at < many || is_old()) {
            // One that cannot be removed costs nothing but space.
            let _ = fs::remove_file(path);
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:06}.jsonl"))
}

/// All files with their numbers, the oldest first.
fn files(folder: &Path) -> Vec<(u64, PathBuf)> {
    let number = |path: &Path| path.file_name()?.to_str()?.strip_suffix(".jsonl")?.parse::<u64>().ok();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect();
    files.sort_unstable();
    files
}

/// Samples since then. Of a workspace in which nothing was ever sampled there are none.
///
/// # Errors
/// When a file cannot be read.
pub fn read(workspace: &Workspace, since: Timestamp) -> io::Result<History> {
    read_folder(&folder(workspace), since)
}

fn read_folder(folder: &Path, since: Timestamp) -> io::Result<History> {
    let mut history = Joined { history: History { since, every_ms: EVERY, samples: Vec::new() }, each: 1, pending: 0 };
    let begun = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(since.micros()).unwrap_or(0));
    for (_, path) in files(folder) {
        if modified(&path).is_some_and(|time| time < begun) {
            continue;
        }
        match File::open(&path) {
            Ok(file) => read_lines(BufReader::new(file), |sample| history.take(sample))?,
            // It was the oldest, and has just gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(history.history)
}

fn read_lines(mut reader: impl BufRead, mut take: impl FnMut(Sample)) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        // What is none, or only half of one, is passed over.
        if let Ok(sample) = serde_json::from_slice(&line) {
            take(sample);
        }
    }
}

/// Samples, joined as they come, so that memory stays bounded however many there are.
struct Joined {
    history: History,
    /// So many samples are one.
    each: usize,
    /// So many are in the last one.
    pending: usize,
}

impl Joined {
    fn take(&mut self, sample: Sample) {
        if sample.at < self.history.since {
            return;
        }
        let samples = &mut self.history.samples;
        match samples.last_mut().filter(|_| self.pending < self.each) {
            Some(last) => last.join(sample),
            None => {
                samples.push(sample);
                self.pending = 0;
            }
        }
        self.pending += 1;
        if samples.len() >= 2 * SHOWN_MAX && self.pending == self.each {
            let mut halved: Vec<Sample> = Vec::with_capacity(SHOWN_MAX);
            for (at, sample) in samples.drain(..).enumerate() {
                match halved.last_mut().filter(|_| at % 2 == 1) {
                    Some(first) => first.join(sample),
                    None => halved.push(sample),
                }
            }
            *samples = halved;
            self.each *= 2;
            self.pending = self.each;
            self.history.every_ms = DurationMs(EVERY.0 * self.each as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::Level;
    use super::*;

    fn sample(second: i64, held: u64) -> Sample {
        Sample { at: Timestamp::from_micros(second * 1_000_000), memory: Level { held, ..Level::default() }, ..Sample::default() }
    }

    fn held(folder: &Path, since: i64) -> Vec<u64> {
        let history = read_folder(folder, Timestamp::from_micros(since * 1_000_000)).expect("it can be read");
        history.samples.iter().map(|sample| sample.memory.held).collect()
    }

    #[test]
    fn samples_come_back_from_when_somebody_asks_for_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().join("resources");
        assert_eq!(held(&at, 0), [0; 0]);
        let mut store = Store::new(at.clone());
        (1..=4).for_each(|second| store.append(&sample(second, second.unsigned_abs())).expect("written"));
        drop(store);
        Store::new(at.clone()).append(&sample(5, 5)).expect("by the next host");
        assert_eq!((held(&at, 0), held(&at, 4)), (vec![1, 2, 3, 4, 5], vec![4, 5]));
        assert_eq!(files(&at).len(), 1);
    }

    #[test]
    fn what_is_cut_off_or_damaged_costs_only_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::new(folder.path().to_owned());
        (1..=2).for_each(|second| store.append(&sample(second, second.unsigned_abs())).expect("written"));
        let file = path(folder.path(), 1);
        let text = fs::read(&file).expect("text");
        // Cut within the second, as by a power cut; then zeros.
        fs::write(&file, &text[..text.len() - 9]).expect("cut");
        Store::new(folder.path().to_owned()).append(&sample(3, 3)).expect("written");
        assert_eq!(held(folder.path(), 0), [1, 3]);
        let mut damaged = fs::read(&file).expect("text");
        damaged.extend([0; 100]);
        damaged.extend(b"\n{\"at\":7}\n");
        damaged.extend(vec![b'x'; 200_000]);
        fs::write(&file, &damaged).expect("damaged");
        Store::new(folder.path().to_owned()).append(&sample(4, 4)).expect("written");
        assert_eq!(held(folder.path(), 0), [1, 3, 4]);
    }

    #[test]
    fn files_are_few_and_small() {
        let folder = tempfile::tempdir().expect("a folder");
        for number in 1..=12 {
            let file = path(folder.path(), number);
            fs::write(&file, "").expect("a file");
            fs::File::options().write(true).open(&file).and_then(|file| file.set_len(FILE_MAX)).expect("a full one");
        }
        let mut store = Store::new(folder.path().to_owned());
        store.append(&sample(1, 1)).expect("written");
        let numbers: Vec<u64> = files(folder.path()).into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, [6, 7, 8, 9, 10, 11, 12, 13]);
        assert!(fs::metadata(path(folder.path(), 13)).expect("the new one").len() < 1000);
        let old = SystemTime::now() - KEPT_FOR - Duration::from_secs(60);
        fs::File::options().write(true).open(path(folder.path(), 12)).and_then(|file| file.set_modified(old)).expect("an old one");
        drop(store);
        Store::new(folder.path().to_owned()).append(&sample(2, 2)).expect("written");
        assert!(!path(folder.path(), 12).exists() && path(folder.path(), 11).exists());
    }

    #[test]
    fn many_samples_become_few_and_no_peak_is_lost() {
        let mut joined = Joined { history: History { every_ms: EVERY, ..History::default() }, each: 1, pending: 0 };
        for second in 0..50_000 {
            joined.take(sample(second, if second == 33_333 { 99 } else { 1 }));
        }
        let samples = &joined.history.samples;
        assert!((SHOWN_MAX..=2 * SHOWN_MAX).contains(&samples.len()), "{}", samples.len());
        assert_eq!(samples.iter().map(|sample| sample.memory.held).max(), Some(99));
        assert!(samples.windows(2).all(|two| two[0].at < two[1].at));
        assert_eq!(joined.history.every_ms, DurationMs(EVERY.0 * joined.each as u64));
    }
}
