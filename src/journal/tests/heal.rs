//! A disk that fails, and the journal that goes on after it.

use std::io;
use std::sync::Mutex;

use super::super::segment::{DiskSegment, Medium, Unfit};
use super::super::write::{Begin, Retained};
use super::*;

/// How a disk is.
#[derive(Debug)]
struct Disk {
    /// Bytes that it still takes.
    room: usize,
    /// Syncs that still work.
    syncs: usize,
    /// What becomes of the next segment that is to be made, where that is not a segment.
    unmade: Option<Unmade>,
    /// What was asked of it since somebody looked last, with the segment.
    calls: Vec<(&'static str, u32)>,
}

/// How a new segment fails.
#[derive(Debug, Clone, Copy)]
enum Unmade {
    /// Nothing is there.
    Nothing,
    /// The file is there, and whether it stays nobody knows.
    Unsynced,
}

/// A segment on such a disk.
struct Faulty {
    inner: DiskSegment,
    number: u32,
    disk: Arc<Mutex<Disk>>,
}

impl Faulty {
    fn call(&self, what: &'static str) -> std::sync::MutexGuard<'_, Disk> {
        let mut disk = self.disk.lock().expect("no panic");
        disk.calls.push((what, self.number));
        disk
    }
}

impl Medium for Faulty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.call("write");
        let count = bytes.len().min(disk.room);
        if count == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.room -= count;
        drop(disk);
        self.inner.write(&bytes[..count])
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.call("sync");
        disk.syncs = disk.syncs.checked_sub(1).ok_or_else(|| io::Error::other("input/output error"))?;
        drop(disk);
        self.inner.sync()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        drop(self.call("cut"));
        self.inner.cut(length)
    }

    fn check(&self, length: Option<u64>) -> Result<(), Unfit> {
        self.inner.check(length)
    }
}

fn number_of(path: &Path) -> u32 {
    path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).expect("a segment's name")
}

/// A new journal on a disk with so much room and so many good syncs.
struct Ward {
    dir: TempDir,
    writer: Writer,
    progress: Receiver<Progress>,
    disk: Arc<Mutex<Disk>>,
}

impl Ward {
    fn new(room: usize, syncs: usize) -> Self {
        let dir = TempDir::new().expect("a folder");
        let disk = Arc::new(Mutex::new(Disk { room, syncs, unmade: None, calls: Vec::new() }));
        let mut head = Vec::new();
        let last = encode_segment_head(&mut head, Link::default(), "id", None);
        let of = disk.clone();
        let make = move |path: &Path, head: &[u8]| {
            let unmade = of.lock().expect("no panic").unmade.take();
            if matches!(unmade, Some(Unmade::Nothing)) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let medium = Faulty { inner: DiskSegment::create(path, head)?, number: number_of(path), disk: of.clone() };
            if unmade.is_some() {
                return Err(io::Error::other("input/output error"));
            }
            Ok(Box::new(medium) as Box<dyn Medium>)
        };
        let begin = Begin {
            folder: dir.path().to_owned(),
            medium: make(&segment(dir.path(), 1), &head).expect("it is made"),
            make: Box::new(make),
            number: 1,
            length: head.len() as u64,
            last,
            since_snapshot: (0, 0),
            retained: Retained { segments: vec![(1, 1)], snapshot: None },
        };
        let (send, progress) = channel();
        let writer = Writer::start(begin, Options::new(move |progress| drop(send.send(progress)))).expect("it starts");
        Self { dir, writer, progress, disk }
    }

    fn mend(&self, room: usize, syncs: usize) {
        let mut disk = self.disk.lock().expect("no panic");
        (disk.room, disk.syncs) = (room, syncs);
    }

    fn calls(&self) -> Vec<(&'static str, u32)> {
        std::mem::take(&mut self.disk.lock().expect("no panic").calls)
    }

    fn take(&self, kind: &str) -> Result<Seq, AppendError> {
        self.writer.append(entry(kind, None, Urgency::Now))
    }

    fn fails(&self) -> JournalFailure {
        match wait_for(&self.progress, |progress| matches!(progress, Progress::Failed(_) | Progress::HealFailed(_))) {
            Progress::Failed(failure) | Progress::HealFailed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    fn heals(&self, state: &str) -> Seq {
        self.writer.heal(|| vec![state.to_owned()]);
        match wait_for(&self.progress, |progress| !matches!(progress, Progress::Synced(_))) {
            Progress::Healed { upto, .. } => upto,
            other => panic!("{other:?}"),
        }
    }

    /// What the next program finds.
    fn told(&self) -> (Vec<String>, Vec<String>) {
        let history = open_read_only(self.dir.path()).expect("it opens");
        assert_eq!((history.damage(), history.trimmed()), (None, None));
        (history.snapshot_lines().map(str::to_owned).collect(), kinds(&history))
    }
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn f11_f12_a_failed_sync_is_never_tried_again_and_nothing_is_acknowledged_after_it() {
    let ward = Ward::new(usize::MAX, 1);
    let first = ward.take("r0").expect("it is taken");
    wait_for(&ward.progress, |progress| matches!(progress, Progress::Synced(seq) if *seq == first));
    ward.take("r1").expect("it is taken");
    assert_eq!(ward.fails().kind, FailureKind::Io);
    let refusal = ward.take("r2");
    assert!(matches!(&refusal, Err(AppendError::Failed(failure)) if failure.kind == FailureKind::Io), "{refusal:?}");
    assert!(matches!(ward.writer.flush_and_wait(LIMIT), Err(AppendError::Failed(_))));
    assert_eq!(ward.writer.synced_seq(), first);
    assert_eq!(ward.told(), (vec![], strings(&["r0"])), "what nobody was promised is not seen");
    let calls = ward.calls();
    let Ward { writer, progress, disk, .. } = ward;
    assert!(writer.close().is_err());
    assert_eq!(progress.try_iter().count(), 0, "said once");
    assert_eq!(calls, [("write", 1), ("sync", 1), ("write", 1), ("sync", 1), ("cut", 1)]);
    assert_eq!(disk.lock().expect("no panic").calls, [], "nor at the end");
}

#[test]
fn f11_a_new_segment_follows_on_the_failed_one_and_the_old_one_is_not_touched() {
    let ward = Ward::new(usize::MAX, 1);
    ward.take("r0").expect("it is taken");
    wait_for(&ward.progress, |progress| matches!(progress, Progress::Synced(_)));
    let lost = ward.take("r1").expect("it is taken");
    ward.fails();
    ward.calls();
    ward.mend(usize::MAX, usize::MAX);
    let healed = ward.heals("state with r1");
    assert_eq!(healed, Seq(lost.0 + 2), "the head of the segment and the record that proves it");
    assert_eq!(ward.writer.synced_seq(), healed);
    assert_eq!(ward.told(), (strings(&["state with r1"]), vec![]));
    ward.take("r2").expect("it is taken");
    wait_for(&ward.progress, |progress| matches!(progress, Progress::Synced(_)));
    assert_eq!(ward.told(), (strings(&["state with r1"]), strings(&["r2"])));
    assert!(ward.calls().iter().all(|(_, segment)| *segment == 2), "the failed segment is left alone");
    let dir = ward.dir.path().to_owned();
    let Ward { writer, dir: _folder, .. } = ward;
    writer.close().expect("it closes");
    let opened = open_plain(&dir);
    assert_eq!(kinds(&opened.history), ["r2"]);
    append_all(&opened.writer, 0..1);
    opened.writer.close().expect("it closes");
    assert_eq!(kinds(&open_plain(&dir).history), ["r2", "r0"]);
}

#[test]
fn f12_healing_counts_only_when_an_appended_record_could_be_synced() {
    let ward = Ward::new(usize::MAX, 0);
    ward.take("r0").expect("it is taken");
    ward.fails();
    let before = ward.writer.synced_seq();
    for _ in 0..3 {
        ward.writer.heal(|| vec!["state".to_owned()]);
        assert_eq!(ward.fails().kind, FailureKind::Io);
        assert_eq!(ward.writer.synced_seq(), before, "nothing is acknowledged");
        assert!(ward.take("r1").is_err());
    }
    ward.mend(usize::MAX, usize::MAX);
    ward.heals("not asked for again");
    ward.take("r1").expect("it is taken");
    wait_for(&ward.progress, |progress| matches!(progress, Progress::Synced(_)));
    assert_eq!(ward.told(), (strings(&["state"]), strings(&["r1"])));
    let listing = files::list(ward.dir.path()).expect("a listing");
    assert_eq!((listing.segments, listing.snapshots, listing.aside), (vec![1, 2], vec![2], vec![]), "failed tries leave nothing");
}

/// Everything between the steps of healing, as a crash would leave it.
#[test]
fn f03_f11_a_crash_during_the_healing_leaves_the_old_or_the_new() {
    let ward = Ward::new(usize::MAX, 1);
    ward.take("r0").expect("it is taken");
    wait_for(&ward.progress, |progress| matches!(progress, Progress::Synced(_)));
    ward.take("r1").expect("it is taken");
    ward.fails();
    let before = contents(ward.dir.path());
    ward.mend(usize::MAX, usize::MAX);
    ward.heals("state");
    let after = contents(ward.dir.path());
    let of = |files: &[(PathBuf, Vec<u8>)], number: u32, snapshot: bool| {
        let name = if snapshot { files::snapshot_name(number) } else { files::segment_name(number) };
        files.iter().find(|(path, _)| path.ends_with(&name)).map(|(_, bytes)| (name, bytes.clone())).expect("it is there")
    };
    let old = of(&before, 1, false);
    let rubbish = (old.0.clone(), [&old.1[..old.1.len() - 5], &[0; 300], b"\nrubbish\n"].concat());
    let (snapshot, new) = (of(&after, 2, true), of(&after, 2, false));
    let head = (new.0.clone(), lines_of(&new.1)[0].to_vec());
    let torn = (new.0.clone(), new.1[..new.1.len() - 7].to_vec());
    let half_written = (format!("{}.tmp", snapshot.0), snapshot.1[..30].to_vec());
    let healed = |files: Vec<(String, Vec<u8>)>| (files, strings(&["state"]), vec![]);
    let stages = [
        (vec![old.clone()], vec![], strings(&["r0"])),
        (vec![old.clone(), half_written], vec![], strings(&["r0"])),
        healed(vec![old.clone(), snapshot.clone()]),
        healed(vec![rubbish.clone(), snapshot.clone()]),
        healed(vec![snapshot.clone()]),
        healed(vec![rubbish.clone(), snapshot.clone(), (new.0.clone(), vec![])]),
        healed(vec![rubbish.clone(), snapshot.clone(), head]),
        healed(vec![rubbish.clone(), snapshot.clone(), torn]),
        healed(vec![rubbish, snapshot, new]),
    ];
    for (at, (files, lines, told)) in stages.into_iter().enumerate() {
        let dir = TempDir::new().expect("a folder");
        for (name, bytes) in files {
            fs::write(dir.path().join(name), bytes).expect("it is written");
        }
        let looked = open_read_only(dir.path()).expect("it opens");
        assert_eq!((looked.damage(), kinds(&looked)), (None, told.clone()), "stage {at}");
        let opened = open_plain(dir.path());
        assert_eq!(
            (opened.history.snapshot_lines().collect::<Vec<_>>(), kinds(&opened.history)),
            (lines.iter().map(String::as_str).collect(), told.clone()),
            "stage {at}"
        );
        append_all(&opened.writer, 7..8);
        opened.writer.close().expect("it closes");
        let again = open_plain(dir.path());
        assert_eq!(kinds(&again.history), [told, strings(&["r7"])].concat(), "stage {at}");
    }
}

/// Without the snapshot that heals, what was lost with the segment is missing: that is damage, and no history with a hole.
#[test]
fn f11_a_broken_healing_snapshot_is_damage() {
    let ward = Ward::new(usize::MAX, 0);
    ward.take("r0").expect("it is taken");
    ward.fails();
    ward.mend(usize::MAX, usize::MAX);
    ward.heals("state");
    let snapshot = ward.dir.path().join(files::snapshot_name(2));
    let mut bytes = fs::read(&snapshot).expect("the snapshot");
    let last = bytes.len() - 60;
    bytes[last] ^= 1;
    fs::write(&snapshot, bytes).expect("it is written");
    let OpenError::Damaged(damage) = refused(ward.dir.path()) else { panic!("it must be damage") };
    assert_eq!(damage.path, segment(ward.dir.path(), 2));
}

#[test]
fn a_snapshot_under_way_does_not_come_after_the_healing() {
    let ward = Ward::new(usize::MAX, 0);
    ward.take("r0").expect("it is taken");
    ward.writer.snapshot(vec!["old".to_owned()], ward.writer.last_seq());
    ward.fails();
    ward.mend(usize::MAX, usize::MAX);
    ward.heals("new");
    ward.take("r1").expect("it is taken");
    wait_for(&ward.progress, |progress| matches!(progress, Progress::Synced(_)));
    assert_eq!(ward.told(), (strings(&["new"]), strings(&["r1"])));
    snapshot_now(&ward.writer, &ward.progress, strings(&["newest"]));
    snapshot_now(&ward.writer, &ward.progress, strings(&["newest of all"]));
    assert_eq!(ward.told(), (strings(&["newest of all"]), vec![]));
    let listing = files::list(ward.dir.path()).expect("a listing");
    assert_eq!((listing.segments, listing.snapshots), (vec![3, 4], vec![3, 4]), "the failed segment went with the others");
}

#[test]
fn f09_f11_a_new_segment_that_cannot_be_made_is_healed_like_any_other_failure() {
    for unmade in [Unmade::Nothing, Unmade::Unsynced] {
        let ward = Ward::new(usize::MAX, usize::MAX);
        ward.take("r0").expect("it is taken");
        wait_for(&ward.progress, |progress| matches!(progress, Progress::Synced(_)));
        ward.disk.lock().expect("no panic").unmade = Some(unmade);
        ward.writer.snapshot(vec!["old".to_owned()], ward.writer.last_seq());
        let failure = ward.fails();
        assert!(failure.to_string().contains("000002.jsonl"), "{failure}");
        ward.heals("new");
        ward.take("r1").expect("it is taken");
        wait_for(&ward.progress, |progress| matches!(progress, Progress::Synced(_)));
        assert_eq!(ward.told(), (strings(&["new"]), strings(&["r1"])), "{unmade:?}");
        snapshot_now(&ward.writer, &ward.progress, strings(&["newest"]));
        snapshot_now(&ward.writer, &ward.progress, strings(&["newest of all"]));
        assert_eq!(ward.told(), (strings(&["newest of all"]), vec![]), "{unmade:?}");
        let listing = files::list(ward.dir.path()).expect("a listing");
        assert_eq!((listing.segments, listing.snapshots, listing.aside), (vec![3, 4], vec![3, 4], vec![]), "{unmade:?}");
    }
}

/// What is written between a snapshot and its segment may find the disk full too.
#[test]
fn f09_a_full_disk_on_the_way_to_a_new_segment_is_healed() {
    let mut between = 0;
    for room in (100..2000).step_by(37) {
        let ward = Ward::new(room, usize::MAX);
        ward.take("r0").ok();
        ward.writer.snapshot(vec!["old".to_owned()], ward.writer.last_seq());
        let taken = (0..30).take_while(|_| ward.take("r").is_ok()).count();
        let failed = wait_for(&ward.progress, |progress| match progress {
            Progress::Failed(_) => true,
            Progress::Synced(seq) => taken == 30 && *seq >= ward.writer.last_seq(),
            _ => false,
        });
        if !matches!(failed, Progress::Failed(_)) {
            continue;
        }
        between += 1;
        ward.mend(usize::MAX, usize::MAX);
        ward.heals("all");
        ward.take("r1").expect("it is taken");
        wait_for(&ward.progress, |progress| matches!(progress, Progress::Synced(_)));
        assert_eq!(ward.told(), (strings(&["all"]), strings(&["r1"])), "{room}");
    }
    assert!(between > 5, "{between} of them failed");
}

#[test]
fn f09_f15_a_full_disk_cuts_back_to_the_last_whole_record() {
    for room in (50..1200).step_by(61) {
        let ward = Ward::new(room, usize::MAX);
        let count = (0..).take_while(|_| ward.take("r").is_ok()).take(1000).count();
        assert_eq!(ward.fails().kind, FailureKind::DiskFull);
        let history = open_read_only(ward.dir.path()).expect("it opens");
        assert_eq!((history.trimmed(), history.damage()), (None, None), "no half record is left");
        assert_eq!(history.last_seq(), ward.writer.synced_seq(), "whole records stay, and {count} were taken");
        ward.mend(usize::MAX, usize::MAX);
        let taken = ward.writer.last_seq();
        assert_eq!(ward.heals("all"), Seq(taken.0 + 2));
    }
}

#[test]
fn f09_the_ballast_gives_way_to_the_healing_and_comes_back() {
    let dir = TempDir::new().expect("a folder");
    let opened = open_plain(dir.path());
    assert!(opened.reserve);
    let ballast = dir.path().join("ballast");
    let length = || fs::metadata(&ballast).map(|there| there.len()).ok();
    assert_eq!(length(), Some(1 << 20));
    drop(opened);
    let ward = Ward::new(0, usize::MAX);
    let ballast = ward.dir.path().join("ballast");
    fs::write(&ballast, "some").expect("it is written");
    ward.take("r0").expect("it is taken");
    assert_eq!(ward.fails().kind, FailureKind::DiskFull);
    assert!(ballast.exists(), "it stays until it helps");
    ward.mend(usize::MAX, usize::MAX);
    ward.heals("state");
    assert!(!ballast.exists());
    ward.writer.restore_reserve();
    wait_for(&ward.progress, |progress| matches!(progress, Progress::Reserve(true)));
    assert_eq!(fs::metadata(&ballast).expect("it is there").len(), 1 << 20);
}

#[test]
fn f16_no_new_file_takes_the_place_of_one_that_was_deleted() {
    let dir = TempDir::new().expect("a folder");
    let (opened, progress) = open_with(dir.path(), Limits::default());
    fs::remove_file(segment(dir.path(), 1)).expect("it is removed");
    opened.writer.append(entry("r0", None, Urgency::Now)).expect("it is taken");
    wait_for(&progress, |progress| matches!(progress, Progress::Failed(failure) if failure.kind == FailureKind::Tampered));
    drop(opened.writer);
    assert_eq!(files::list(dir.path()).expect("a listing").segments, Vec::<u32>::new());
}

/// While a failed segment waits to be healed nothing is written to it, so that nothing else would notice.
#[test]
fn f16_a_failed_segment_that_was_deleted_meanwhile_is_not_healed_over() {
    let ward = Ward::new(0, usize::MAX);
    ward.take("r0").expect("it is taken");
    assert_eq!(ward.fails().kind, FailureKind::DiskFull);
    ward.mend(usize::MAX, usize::MAX);
    fs::remove_file(segment(ward.dir.path(), 1)).expect("it is removed");
    ward.writer.heal(|| vec!["state".to_owned()]);
    assert_eq!(ward.fails().kind, FailureKind::Tampered);
    let listing = files::list(ward.dir.path()).expect("a listing");
    assert_eq!((listing.segments, listing.snapshots), (vec![], vec![]), "no new file takes its place");
}
