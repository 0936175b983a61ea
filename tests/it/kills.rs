//! `kill -9` and power cuts at chosen steps of the journal: what was acknowledged is there again, and nothing runs twice. A few of each;
//! the crash harness does thousands.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use prismq::ids::RunId;
use prismq::journal::{self, Entry, Options, Urgency};
use prismq::units::Timestamp;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use crate::support::faults::{FaultyHost, Mount, ask, ask_with, host_pid, is_root, no_strace, skip};
use crate::support::{TestSpace, until};

const SEGMENT_1: &str = ".prismq/journal/000001.jsonl";

fn space() -> TestSpace {
    let space = TestSpace::new();
    space.module(
        "quick",
        "resources: {cpus: 0}\nretry: {attempts: 20, on: [lost], backoff: 10ms}",
        "mark('quick', os.environ['PRISMQ_RUN_ID'] + '/' + str(ATTEMPT))",
    );
    space
}

/// Submits over the channel: unlike the command line this never makes a host of itself. The id, if it was acknowledged.
fn submit(space: &TestSpace) -> Option<String> {
    let body = json!({"target": {"kind": "module", "id": "quick", "with_dependencies": false}, "caller_folder": space.root()});
    let (status, answer) = ask(space, "POST", "/api/local/runs", &body.to_string())?;
    (status == 202).then(|| answer["run_id"].as_str().expect("an id").to_owned())
}

fn rows(space: &TestSpace) -> Vec<Value> {
    space.prismq(&["runs", "--json", "-n", "10000"]).ends(0).json().as_array().expect("rows").clone()
}

#[track_caller]
fn assert_all_there(space: &TestSpace, acked: &[String], when: &str) {
    space.prismq(&["journal", "verify"]).ends(0);
    let rows = rows(space);
    for run in acked {
        assert!(rows.iter().any(|row| row["run_id"] == run.as_str()), "{when}: {run} was acknowledged and is lost");
    }
}

/// A host without faults brings everything to its end; then everything acknowledged is completed, and no attempt ran twice.
#[track_caller]
fn assert_all_completed(space: &TestSpace, acked: &[String]) {
    let host = FaultyHost::start_by(space, "env", &[]).up();
    space.wait_until("everything is over", || rows(space).iter().all(|row| row["completed_at"].is_string()));
    host.stop().ends(0);
    for row in rows(space) {
        assert_eq!(row["status"], "completed", "{row}");
    }
    assert_all_there(space, acked, "at the end");
    let mut marks = space.marks("quick");
    let count = marks.len();
    marks.sort();
    marks.dedup();
    assert_eq!(marks.len(), count, "an attempt ran twice");
}

/// Submits to a host until it is dead. What was acknowledged goes to `acked`.
#[track_caller]
fn submit_until_dead(space: &TestSpace, host: &mut FaultyHost<'_>, acked: &mut Vec<String>, when: &str) {
    /// More than any of the tests needs, and few enough for a busy machine to bring to their end.
    const SUBMITTED_MAX: usize = 12;
    for _ in 0..SUBMITTED_MAX {
        if host.is_running() {
            acked.extend(submit(space));
        }
    }
    assert!(until(|| (!host.is_running()).then_some(())).is_some(), "{when}: the fault did not come");
}

/// Runs hosts that are killed at the first, second ... such call, and submits to each until it is dead.
fn killed_at_each(call: &str, times: u32) {
    let space = space();
    let mut acked = Vec::new();
    for at in 1..=times {
        let when = format!("killed at {call} {at}");
        let mut host = FaultyHost::start(&space, &[&format!("{call}:signal=KILL:when={at}")], &[SEGMENT_1]);
        if host.is_up() {
            submit_until_dead(&space, &mut host, &mut acked, &when);
        }
        host.end();
        assert_all_there(&space, &acked, &when);
    }
    assert!(!acked.is_empty());
    assert_all_completed(&space, &acked);
}

#[test]
fn f01_killed_at_each_write_of_the_journal() {
    match no_strace() {
        Some(why) => skip("f01_killed_at_each_write_of_the_journal", why),
        None => killed_at_each("write", 8),
    }
}

#[test]
fn f02_killed_at_each_sync_of_the_journal() {
    match no_strace() {
        Some(why) => skip("f02_killed_at_each_sync_of_the_journal", why),
        None => killed_at_each("fdatasync", 8),
    }
}

/// Submits what is to be done once. The run's id, if it was acknowledged.
fn submit_once(space: &TestSpace, key: &str) -> Option<String> {
    let body = json!({"parameters": {"key": key}}).to_string();
    let (status, answer) = ask_with(space, "POST", "/api/modules/once/run", &format!("Idempotency-Key: {key}\r\n"), &body)?;
    assert_eq!(status, 202, "{answer}");
    Some(answer["run_id"].as_str().expect("an id").to_owned())
}

/// Whoever got no answer asks again with the same key: whether the record came onto the disk or not, there is one run.
#[test]
fn f02_what_is_asked_for_again_with_its_key_is_done_once() {
    if let Some(why) = no_strace() {
        return skip("f02_what_is_asked_for_again_with_its_key_is_done_once", why);
    }
    const KILLS: u32 = 7;
    let space = space();
    space.module("once", "resources: {cpus: 0}\nparams: {properties: {key: {type: string}}}", "mark('once', P['key'])");
    let runs = || rows(&space).iter().map(|row| row["run_id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>();
    let (mut told, mut untold) = (Vec::new(), 0);
    for at in 1..=KILLS {
        let key = format!("killed-at-sync-{at}");
        let before = runs();
        let mut host = FaultyHost::start(&space, &[&format!("fdatasync:signal=KILL:when={at}")], &[SEGMENT_1]);
        let mut acked = None;
        if host.is_up() {
            // As often as it takes for the fault to come.
            for _ in 0..12 {
                if host.is_running() {
                    acked = acked.or(submit_once(&space, &key));
                    submit(&space);
                }
            }
            assert!(until(|| (!host.is_running()).then_some(())).is_some(), "{key}: the fault did not come");
        }
        host.end();
        space.prismq(&["journal", "verify"]).ends(0);
        untold += u32::from(acked.is_none() && runs().len() > before.len());

        let host = FaultyHost::start_by(&space, "env", &[]).up();
        let run = submit_once(&space, &key).expect("it is acknowledged");
        assert!(acked.is_none_or(|acked| acked == run), "{key}: it was acknowledged as another run");
        assert_eq!(submit_once(&space, &key).as_ref(), Some(&run), "{key}");
        space.wait_until("everything is over", || rows(&space).iter().all(|row| row["completed_at"].is_string()));
        host.stop().ends(0);
        told.push(run);
    }
    assert!(untold > 0, "no record that nobody was told of came onto the disk");
    let mut found: Vec<Value> = rows(&space).into_iter().filter(|row| row["module_id"] == "once").collect();
    found.reverse();
    let ids: Vec<&str> = found.iter().map(|row| row["run_id"].as_str().expect("an id")).collect();
    assert_eq!(ids, told, "one run of each key");
    assert!(found.iter().all(|row| row["status"] == "completed"), "{found:?}");
    let wanted: Vec<String> = (1..=KILLS).map(|at| format!("killed-at-sync-{at}")).collect();
    assert_eq!(space.marks("once"), wanted, "each was done once");
}

/// A journal with one finished run and so many records that the next snapshot is due at once.
fn almost_full_journal(space: &TestSpace) {
    const RECORDS: u32 = 49_990;
    let run = RunId::new(Timestamp::from_micros(1_767_225_600_000_000), 1);
    let row = json!({"run_id": run, "module_id": "quick", "status": "completed", "created_at": "2026-01-01T00:00:00Z", "completed_at": "2026-01-01T00:00:01Z", "nodes": {"completed": 1}});
    let folder = space.at(format!(".prismq/runs/{run}"));
    prismq::host::workspace::create_private_folder(&folder).expect("a folder");
    fs::write(folder.join("run.json"), json!({"format": 1, "run": row, "parameters": {}, "nodes": []}).to_string()).expect("a file");
    let opened = journal::open(&space.at(".prismq/journal"), Options::new(|_| {})).expect("a new journal");
    let append = |kind: &str, data: Value| {
        let data = to_raw_value(&data).expect("JSON");
        let at = Timestamp::from_micros(1_767_225_600_000_000);
        let entry = Entry { kind, run: Some(&run), node: None, attempt: None, data: Some(&data), at, urgency: Urgency::Soon };
        opened.writer.append(entry).expect("it is taken");
    };
    for _ in 0..RECORDS {
        append("run.hold", json!({}));
    }
    append("run.end", json!({"status": "completed", "row": row, "learned": {}}));
    opened.writer.close().expect("it closes");
}

#[test]
fn f03_killed_at_each_step_of_a_snapshot_and_of_a_new_segment() {
    if let Some(why) = no_strace() {
        return skip("f03_killed_at_each_step_of_a_snapshot_and_of_a_new_segment", why);
    }
    let snapshot = [".prismq/journal/snapshot-000002.jsonl", ".prismq/journal/snapshot-000002.jsonl.tmp"];
    let segment = [".prismq/journal/000002.jsonl", ".prismq/journal/000002.jsonl.tmp"];
    let folder = ".prismq/journal";
    // Each file is synced, renamed, and its folder synced; each thread counts each call.
    let steps: [(&[&str], &str); 6] = [
        (&snapshot, "fsync:signal=KILL:when=1"),
        (&snapshot, "rename:signal=KILL:when=1"),
        (&[snapshot[0], snapshot[1], folder], "fsync:signal=KILL:when=2"),
        (&segment, "fsync:signal=KILL:when=1"),
        (&segment, "rename:signal=KILL:when=1"),
        (&[segment[0], segment[1], folder], "fsync:signal=KILL:when=2"),
    ];
    for (paths, fault) in steps {
        let when = format!("{fault} of {paths:?}");
        let space = space();
        almost_full_journal(&space);
        let mut host = FaultyHost::start(&space, &[fault], paths).up();
        let mut acked = Vec::new();
        submit_until_dead(&space, &mut host, &mut acked, &when);
        host.end();
        assert_all_there(&space, &acked, &when);
        assert_all_completed(&space, &acked);
    }
}

/// Every run with all that is told of it and of its nodes.
fn states(space: &TestSpace) -> BTreeMap<String, Value> {
    let state = |row: Value| {
        let run = row["run_id"].as_str().expect("an id").to_owned();
        let shown = space.show(&run);
        (run, json!({"row": row, "shown": shown}))
    };
    rows(space).into_iter().map(state).collect()
}

#[test]
fn f04_killed_again_and_again_while_it_recovers() {
    let space = space();
    for (id, isolation) in [("lives", "wrapped"), ("dies", "direct")] {
        let keys = format!("resources: {{cpus: 0}}\nisolation: {isolation}\nretry: {{attempts: 3, on: [lost]}}");
        space.module(id, &keys, &format!("mark('{id}', str(ATTEMPT))\ngate('go')"));
    }
    let host = FaultyHost::start_by(&space, "env", &[]).up();
    let mut acked: Vec<String> = (0..3).filter_map(|_| submit(&space)).collect();
    for id in ["lives", "dies"] {
        acked.push(space.prismq(&["run", id, "--detach"]).ends(0).stdout.trim().to_owned());
        space.wait_for_marks(id, 1);
    }
    space.wait_until("the quick ones are over", || rows(&space).iter().filter(|row| row["completed_at"].is_string()).count() == 3);
    host.kill();
    let killed = |after: u64| {
        let mut running = space.start(&["serve", "--until-idle"]);
        let end = Instant::now() + Duration::from_millis(after);
        while running.is_running() && Instant::now() < end {
            std::thread::yield_now();
        }
        running.kill();
        assert_all_there(&space, &acked, &format!("killed after {after} ms"));
        states(&space)
    };
    const AFTER: [u64; 12] = [1, 2, 3, 5, 8, 12, 16, 20, 30, 50, 80, 120];
    let before = states(&space);
    let between = AFTER.map(killed);
    // A recovery that comes to its end.
    let recovered = space.start(&["serve", "--until-idle"]);
    let dies = || states(&space).into_values().find(|state| state["row"]["module_id"] == "dies").expect("it is there");
    space.wait_until("it has judged what died", || dies()["shown"]["nodes"][0]["status"] == "queued");
    recovered.kill();
    let after = states(&space);
    let run_of = |id: &str| after.iter().find(|(_, state)| state["row"]["module_id"] == id).expect("it is there").0.clone();
    for (run, state) in &after {
        // Each run is as it was until the one step that recovery takes, and as that left it ever after.
        let mut seen: Vec<&Value> = [&before].into_iter().chain(&between).map(|states| &states[run]).collect();
        seen.push(state);
        seen.dedup();
        let steps = usize::from(*run == run_of("dies"));
        assert_eq!(seen.len(), 1 + steps, "recovery changed {run}: {seen:#?}");
    }
    for millis in [1, 3, 8, 16, 30, 80] {
        assert_eq!(killed(millis), after, "a recovery that had come to its end was changed by one that was killed after {millis} ms");
    }
    space.open("go");
    space.prismq(&["serve", "--until-idle"]).ends(0);
    let row = |id: &str| rows(&space).into_iter().find(|row| row["module_id"] == id).expect("it is there");
    assert_eq!(row("lives")["status"], "completed");
    assert_eq!(row("dies")["held"], true, "it waits for a person");
    assert_eq!((space.marks("lives").len(), space.marks("dies").len()), (1, 1), "nothing was repeated");
    space.prismq(&["resume"]).ends(0);
    assert_all_completed(&space, &acked);
}

/// The file system on which a power cut is played.
struct Disk<'a> {
    space: &'a TestSpace,
    image: std::path::PathBuf,
    kind: &'static str,
}

impl Disk<'_> {
    fn make(&self) -> bool {
        let file = fs::File::create(&self.image).expect("an image");
        file.set_len(32 << 20).expect("its size");
        let made = Command::new(format!("mkfs.{}", self.kind)).args(["-q", "-F"]).arg(&self.image).status();
        made.is_ok_and(|status| status.success())
    }

    fn mount(&self, image: &Path, place: &Path) -> Option<Mount> {
        Mount::new(&["-o", "loop", image.to_str().expect("a plain path")], place.to_owned())
    }

    /// The disk as it is at this moment, without what the kernel has not written: the power fails now.
    fn cut(&self) -> std::path::PathBuf {
        let copy = self.image.with_extension("cut");
        let pid = host_pid(self.space).expect("a host");
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it takes the signal");
        // A cut is one moment for the whole disk: a copy during which wrappers or the kernel wrote would be of no moment at all, and its file
        // system broken in a way that no power cut leaves. Two that are equal had nothing written between them.
        let read = || fs::read(&self.image).expect("the image");
        let mut image = read();
        let rests = until(|| {
            let before = std::mem::replace(&mut image, read());
            (before == image).then_some(())
        });
        assert!(rests.is_some(), "the disk did not come to rest");
        fs::write(&copy, &image).expect("a copy");
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("it takes the signal");
        if self.kind == "ext2" {
            // Without a journal of its own it is checked after a crash, as every system does at its start.
            let checked = Command::new("e2fsck").args(["-fy"]).arg(&copy).output();
            assert!(checked.is_ok_and(|done| done.status.code().is_some_and(|code| code < 4)), "the image cannot be mended");
        }
        copy
    }
}

/// `PRISMQ_TEST_CUTS` says how often (8 without it).
fn power_cuts(test: &str, kind: &'static str) {
    if !is_root() {
        return skip(test, "only root may mount a file system");
    }
    let cuts: u32 = std::env::var("PRISMQ_TEST_CUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let (space, after) = (space(), space());
    let images = tempfile::tempdir().expect("a folder");
    let disk = Disk { space: &space, image: images.path().join("disk"), kind };
    if !disk.make() {
        return skip(test, &format!("mkfs.{kind} is not installed"));
    }
    let Some(_mount) = disk.mount(&disk.image, &space.at(".prismq")) else {
        return skip(test, "no loop device can be mounted");
    };
    let host = FaultyHost::start_by(&space, "env", &[]).up();
    let mut acked = Vec::new();
    for cut in 1..=cuts {
        for _ in 0..=cut % 3 {
            acked.push(submit(&space).expect("it is acknowledged"));
        }
        // Some cuts come right after an answer, others some time after it.
        let pause = Instant::now() + Duration::from_millis(u64::from(cut * 7 % 23));
        while Instant::now() < pause {
            std::thread::yield_now();
        }
        let image = disk.cut();
        let mounted = disk.mount(&image, &after.at(".prismq")).expect("it can be mounted");
        assert_all_there(&after, &acked, &format!("{kind}, cut {cut}"));
        // A new host on what is left goes on from there.
        fs::remove_file(after.at(".prismq/host.json")).expect("it is removed");
        let mut next = after.start(&["serve", "--until-idle"]);
        if until(|| (!next.is_running()).then_some(())).is_none() {
            let open: Vec<Value> = rows(&after).into_iter().filter(|row| row["completed_at"].is_null()).collect();
            panic!("{kind}, cut {cut}: the next host does not get done with {open:#?}\n{}", after.read(".prismq/log/host.log"));
        }
        next.end().ends(0);
        assert_all_there(&after, &acked, &format!("{kind}, after cut {cut}"));
        drop(mounted);
    }
    space.wait_until("everything is over", || rows(&space).iter().all(|row| row["completed_at"].is_string()));
    host.stop().ends(0);
    println!("{kind}: {cuts} power cuts, {} acknowledged runs, none lost", acked.len());
}

#[test]
fn f13_a_power_cut_loses_nothing_acknowledged_on_ext4() {
    power_cuts("f13_a_power_cut_loses_nothing_acknowledged_on_ext4", "ext4");
}

#[test]
fn f13_a_power_cut_loses_nothing_acknowledged_on_ext2() {
    power_cuts("f13_a_power_cut_loses_nothing_acknowledged_on_ext2", "ext2");
}
