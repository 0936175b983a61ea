//! A disk that is full, fails, is slow, or whose files somebody touches, under a live host: nothing acknowledged is lost, modules go on,
//! and the host goes on by itself where that is possible.
#![cfg(unix)]

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::faults::{FaultyHost, Mount, ask, health, is_root, no_strace, skip, wait_for_health};
use crate::support::sse::{Events, lines};
use crate::support::{Ran, TestSpace};

/// The first two segments: the one that fails, and the one that is begun after it.
const SEGMENT_1: &str = ".prismq/journal/000001.jsonl";
const SEGMENT_2: &str = ".prismq/journal/000002.jsonl";

fn space() -> TestSpace {
    let space = TestSpace::new();
    // What the journal does when there is no room at all is looked at here: nothing shall wait before that.
    space.write("prismq.yaml", "host: {reserve: {disk: 0}}\n");
    space.module("quick", "", "mark('quick', os.environ['PRISMQ_RUN_ID'])");
    // Direct, so that its end goes into the journal and nowhere else.
    space.module("gated", "resources: {cpus: 0}\nisolation: direct", "mark('began')\ngate('go')\nmark('through')");
    space
}

fn submit(space: &TestSpace, module: &str) -> Ran {
    space.prismq(&["run", module, "--detach"])
}

/// The id that a submission was acknowledged with.
#[track_caller]
fn acked(ran: Ran) -> String {
    ran.ends(0).stdout.trim().to_owned()
}

fn runs(space: &TestSpace) -> Vec<String> {
    let rows = space.prismq(&["runs", "--json", "-n", "1000"]).ends(0).json();
    rows.as_array().expect("rows").iter().map(|row| row["run_id"].as_str().expect("an id").to_owned()).collect()
}

#[track_caller]
fn wait_completed(space: &TestSpace, run: &str) {
    space.wait_until(&format!("{run} is completed"), || space.show(run)["run"]["status"] == "completed");
}

fn records(space: &TestSpace, kind: &str) -> Vec<serde_json::Value> {
    let all = space.prismq(&["journal", "export"]).ends(0).stdout;
    crate::support::json_lines(&all).into_iter().filter(|record| record["kind"] == kind).collect()
}

#[test]
fn f11_one_failed_sync_is_a_hiccup_and_nothing_is_acknowledged_during_it() {
    let Some(why) = no_strace() else {
        // The submission itself, and records that nobody waits for.
        for fault in ["fdatasync:error=EIO:when=1", "fdatasync:error=EIO:when=3", "write:error=EIO:when=2"] {
            let space = space();
            let host = FaultyHost::start(&space, &[fault], &[SEGMENT_1]).up();
            let mut known = Vec::new();
            for _ in 0..5 {
                let ran = submit(&space, "quick");
                match ran.code {
                    0 => known.push(acked(ran)),
                    _ => drop(ran.ends(5).complains("read-only").complains("Input/output error")),
                }
            }
            assert!(known.len() >= 4, "{fault}: at most one was refused");
            for run in &known {
                wait_completed(&space, run);
            }
            wait_for_health(&space, "ok");
            host.stop().ends(0);
            let mut found = runs(&space);
            found.reverse();
            assert_eq!(found, known, "{fault}: every one that was acknowledged, and no other");
            assert_eq!(space.marks("quick").len(), known.len(), "{fault}");
            let folders = fs::read_dir(space.at(".prismq/runs")).expect("a folder").count();
            assert_eq!(folders, known.len(), "{fault}: nothing is left of what was refused");
            assert_eq!(records(&space, "journal.heal").len(), 1, "{fault}");
            space.prismq(&["journal", "verify"]).ends(0).says("made after a failure of the disk");
            space.prismq(&["run", "quick"]).ends(0);
        }
        return;
    };
    skip("f11_one_failed_sync_is_a_hiccup_and_nothing_is_acknowledged_during_it", why);
}

#[test]
fn f12_a_disk_that_goes_on_failing_makes_the_host_read_only() {
    if let Some(why) = no_strace() {
        return skip("f12_a_disk_that_goes_on_failing_makes_the_host_read_only", why);
    }
    let space = space();
    // The submission, its intent and its start come through.
    let host = FaultyHost::start(&space, &["fdatasync:error=EIO:when=4+"], &[SEGMENT_1, SEGMENT_2]).up();
    let first = acked(submit(&space, "gated"));
    space.wait_for_marks("began", 1);
    let mut refused = 0;
    while refused < 2 {
        let ran = submit(&space, "quick");
        if ran.code != 0 {
            ran.ends(5).complains("read-only").complains("help");
            refused += 1;
        }
    }
    wait_for_health(&space, "read_only");
    let known = runs(&space);
    assert!(known.contains(&first));
    let (status, body) = ask(&space, "POST", "/api/local/resume", "{}").expect("an answer");
    assert_eq!((status, &body["error_code"]), (503, &json!("read_only")));
    space.prismq(&["cancel", &first]).ends(5);
    assert_eq!(space.show(&first)["run"]["status"], "running", "looking works");
    space.open("go");
    space.wait_for_marks("through", 1);
    assert_eq!(runs(&space), known, "nothing was acknowledged");
    host.stop().ends(1).complains("could not write down");
    let next = space.start(&["serve", "--until-idle"]);
    next.end().ends(0);
    assert!(runs(&space).contains(&first));
    space.prismq(&["journal", "verify"]).ends(0);
}

#[test]
fn f09_a_full_disk_refuses_what_is_new_and_goes_on_when_there_is_room() {
    let test = "f09_a_full_disk_refuses_what_is_new_and_goes_on_when_there_is_room";
    if !is_root() {
        return skip(test, "only root may mount a file system");
    }
    let space = space();
    let Some(mount) = Mount::new(&["-t", "tmpfs", "-o", "size=6m", "tmpfs"], space.at(".prismq")) else {
        return skip(test, "no tmpfs can be mounted");
    };
    let host = FaultyHost::start_by(&space, "env", &[]).up();
    let going: Vec<String> = (0..10).map(|_| acked(submit(&space, "gated"))).collect();
    space.wait_for_marks("began", going.len());
    let filler = mount.path().join("filler");
    fill(&filler);
    // What ends now does not fit into the last page of the segment: the ballast has to give way.
    space.open("go");
    wait_for_health(&space, "disk_full");
    for run in &going {
        wait_completed(&space, run);
    }
    fill(&filler);
    submit(&space, "quick").ends(1).complains("the disk is full").complains("make room");
    let body = json!({"target": {"kind": "module", "id": "quick", "with_dependencies": false}, "caller_folder": space.root()}).to_string();
    let (status, answer) = ask(&space, "POST", "/api/local/runs", &body).expect("an answer");
    assert_eq!((status, &answer["error_code"]), (507, &json!("disk_full")));
    assert_eq!(health(&space).as_deref(), Some("disk_full"));
    fs::remove_file(&filler).expect("it is removed");
    wait_for_health(&space, "ok");
    wait_completed(&space, &acked(submit(&space, "quick")));
    assert_eq!(fs::metadata(space.at(".prismq/journal/ballast")).expect("it is there again").len(), 1 << 20);
    host.stop().ends(0);
    assert_eq!(runs(&space).len(), going.len() + 1);
    for run in &going {
        assert!(space.at(format!(".prismq/runs/{run}/run.json")).is_file());
    }
    space.prismq(&["journal", "verify"]).ends(0);
}

/// The wrapper keeps the end of its module until it can write it down; the host need not even notice.
#[test]
fn f09_the_end_of_a_module_waits_for_room() {
    let test = "f09_the_end_of_a_module_waits_for_room";
    if !is_root() {
        return skip(test, "only root may mount a file system");
    }
    let space = space();
    space.module("wrapped", "", "mark('began')\ngate('go')\nmark('through')");
    let Some(mount) = Mount::new(&["-t", "tmpfs", "-o", "size=6m", "tmpfs"], space.at(".prismq")) else {
        return skip(test, "no tmpfs can be mounted");
    };
    let host = FaultyHost::start_by(&space, "env", &[]).up();
    let going = acked(submit(&space, "wrapped"));
    space.wait_for_marks("began", 1);
    let filler = mount.path().join("filler");
    fill(&filler);
    submit(&space, "quick").ends(1).complains("the disk is full");
    space.open("go");
    space.wait_for_marks("through", 1);
    assert_eq!(space.show(&going)["run"]["status"], "running", "nobody can know of its end");
    fs::remove_file(&filler).expect("it is removed");
    wait_completed(&space, &going);
    wait_for_health(&space, "ok");
    wait_completed(&space, &acked(submit(&space, "quick")));
    host.stop().ends(0);
    assert_eq!(runs(&space).len(), 2);
}

/// Takes all the room there is.
fn fill(path: &std::path::Path) {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).expect("a file");
    for size in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

#[test]
fn f09_a_follower_is_told_of_the_full_disk_and_of_its_end() {
    let test = "f09_a_follower_is_told_of_the_full_disk_and_of_its_end";
    if !is_root() {
        return skip(test, "only root may mount a file system");
    }
    let space = space();
    space.module("many", "", "");
    let nodes: String = (0..40).map(|at| format!("  n{at}: {{module: many, needs: [g]}}\n")).collect();
    space.write("p.yaml", format!("nodes:\n  g: {{module: gated}}\n{nodes}"));
    let Some(mount) = Mount::new(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"], space.at(".prismq")) else {
        return skip(test, "no tmpfs can be mounted");
    };
    let running = space.start(&["run", "p.yaml"]);
    space.wait_for_marks("began", 1);
    let filler = mount.path().join("filler");
    fill(&filler);
    fs::remove_file(space.at(".prismq/journal/ballast")).expect("it is removed");
    fill(&filler);
    space.open("go");
    running.wait_for_note("the disk is full");
    fs::remove_file(&filler).expect("it is removed");
    running.wait_for_note("everything goes on");
    let ran = running.end();
    // Nodes whose folder could not be made have failed; the others, and the run's end, are recorded.
    assert!(ran.code <= 1, "{ran:?}");
    assert_eq!(space.node("last", "g")["status"], "completed");
    space.prismq(&["journal", "verify"]).ends(0);
}

#[test]
fn f15_a_limit_on_the_size_of_files_does_not_end_the_host() {
    let limit = ["--fsize=12050".to_owned()];
    if std::process::Command::new("prlimit").arg("--version").output().is_err() {
        return skip("f15_a_limit_on_the_size_of_files_does_not_end_the_host", "prlimit is not installed");
    }
    let space = space();
    let host = FaultyHost::start_by(&space, "prlimit", &limit).up();
    let mut known = Vec::new();
    let mut refused = 0;
    while known.len() < 20 {
        let ran = submit(&space, "quick");
        match ran.code {
            0 => known.push(acked(ran)),
            _ => {
                ran.ends(1).complains("the disk is full");
                refused += 1;
                assert!(refused < 200, "nothing is accepted any more");
                wait_for_health(&space, "ok");
            }
        }
    }
    for run in &known {
        wait_completed(&space, run);
    }
    wait_for_health(&space, "ok");
    host.stop().ends(0);
    assert!(!records(&space, "journal.heal").is_empty(), "the limit was reached");
    let mut found = runs(&space);
    found.reverse();
    assert_eq!((found, space.marks("quick").len()), (known.clone(), known.len()));
    space.prismq(&["journal", "verify"]).ends(0);
}

#[test]
fn f16_a_journal_that_was_touched_under_a_live_host_is_left_alone() {
    type Change = fn(&std::path::Path);
    let changes: [(&str, Change); 3] = [
        ("deleted", |path| fs::remove_file(path).expect("it is removed")),
        ("replaced", |path| {
            let copy = path.with_extension("copy");
            fs::copy(path, &copy).and_then(|_| fs::rename(&copy, path)).expect("it is replaced");
        }),
        ("emptied", |path| fs::write(path, "").expect("it is emptied")),
    ];
    for (what, change) in changes {
        let space = space();
        let host = FaultyHost::start_by(&space, "env", &[]).up();
        acked(submit(&space, "gated"));
        space.wait_for_marks("began", 1);
        change(&space.at(SEGMENT_1));
        submit(&space, "quick").ends(5).complains("tampered");
        wait_for_health(&space, "read_only");
        submit(&space, "quick").ends(5).complains("read-only");
        space.open("go");
        space.wait_for_marks("through", 1);
        host.stop().ends(1);
        assert!(!space.at(SEGMENT_2).exists(), "{what}: no new file hides it");
        let length = fs::metadata(space.at(SEGMENT_1)).map(|there| there.len()).ok();
        assert_eq!(length.is_none(), what == "deleted", "{what}");
        assert_eq!(length == Some(0), what == "emptied", "{what}: nothing was written to it any more");
    }
}

/// The processes of a node are gone: what they used is free, whatever the disk takes for the record of their end.
#[test]
fn f14_a_slow_disk_does_not_keep_what_a_node_was_given() {
    if let Some(why) = no_strace() {
        return skip("f14_a_slow_disk_does_not_keep_what_a_node_was_given", why);
    }
    const DELAY: Duration = Duration::from_secs(3);
    let space = TestSpace::new();
    space.write("prismq.yaml", "host: {max_concurrent: 1}\n");
    space.module("first", "resources: {cpus: 0}", "mark('began')\ngate('go')");
    space.module("second", "resources: {cpus: 0}", "mark('second')");
    space.write("p.yaml", "nodes:\n  a: {module: first}\n  b: {module: second}\n");
    // The second one of each thread and process: a wrapper syncs that its module runs, and then how it ended.
    let host = FaultyHost::start(&space, &["fdatasync:delay_enter=3000000:when=2"], &[]).up();
    let run = acked(space.prismq(&["run", "p.yaml", "--detach"]));
    space.wait_for_marks("began", 1);
    // Answered when it is on the disk, and with it all that was written before: that `b` is to come.
    let other = acked(space.prismq(&["run", "first", "--priority", "low", "--detach"]));
    assert_eq!(space.marks("second").len(), 0, "there is room for one");
    let begun = Instant::now();
    space.open("go");
    space.wait_for_marks("second", 1);
    let took = begun.elapsed();
    assert!(took < DELAY, "`b` waited for the record of `a`: {took:?}");
    let status = space.node(&run, "a")["status"].clone();
    assert!(status == "running" || begun.elapsed() >= DELAY, "`a` is {status} without a record");
    wait_completed(&space, &run);
    assert!(begun.elapsed() >= DELAY, "the run ended without a record");
    wait_completed(&space, &other);
    host.stop().ends(0);
}

#[test]
fn f14_a_slow_disk_holds_up_nothing_but_who_waits_for_it() {
    if let Some(why) = no_strace() {
        return skip("f14_a_slow_disk_holds_up_nothing_but_who_waits_for_it", why);
    }
    const DELAY: Duration = Duration::from_secs(2);
    let space = space();
    space.module("talks", "resources: {cpus: 0}", "for number in range(3000):\n    print(number, flush=True)\n    time.sleep(0.02)\n    if os.path.exists(os.path.join(SPACE, 'gates', 'enough')): break");
    space.write("p.yaml", "nodes:\n  g: {module: gated}\n  t: {module: talks}\n");
    space.module("still", "resources: {cpus: 0}\nisolation: direct", "mark('still')\ngate('enough')");
    let host = FaultyHost::start(&space, &["fdatasync:delay_enter=2000000"], &[SEGMENT_1]).up();
    let going = acked(space.prismq(&["run", "p.yaml", "--detach"]));
    let still = acked(submit(&space, "still"));
    space.wait_for_marks("began", 1);
    space.wait_for_marks("still", 1);
    // Answered when its start is on the disk: from then on nothing happens to it.
    let node_of_still = format!("/api/runs/{still}/nodes/still");
    assert_eq!(ask(&space, "GET", &node_of_still, "").expect("an answer").1["status"], "running");
    let follower = Events::open(&space, &format!("/api/runs/{going}/logs/stream"), &[]);
    let heard = follower.wait("it talks", |events| !lines(events).is_empty()).len();

    let begun = Instant::now();
    let waiting: Vec<_> = (0..6).map(|_| space.start(&["run", "quick", "--detach"])).collect();
    space.open("go");
    let mut took = Vec::new();
    while begun.elapsed() < DELAY {
        for path in ["/api/health", "/api/runs", &node_of_still] {
            let asked = Instant::now();
            let (status, answer) = ask(&space, "GET", path, "").expect("an answer");
            took.push(asked.elapsed());
            assert_eq!(status, 200);
            assert!(path != "/api/runs" || answer["total"] == 2, "none is told before it is on the disk: {answer}");
        }
    }
    // Fifty lines a second are printed. They came while nobody was told of the end of a sync.
    let more = follower.wait("it is followed", |events| lines(events).len() > heard + 10).len() - heard;
    let until_heard = begun.elapsed();
    took.sort_unstable();
    let (median, most) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!("{} answers: half within {median:?}, 99 of 100 within {most:?}; {more} lines within {until_heard:?}", took.len());
    // By itself the host waits 40 ms for the disk, and an answer of it takes 1 ms. Here `strace` stops it at each call of the system and
    // programs start on every CPU meanwhile: the half of the answers that was lucky keeps to what is promised, 100 ms, and none of the
    // others may have waited for a sync.
    assert!(median < Duration::from_millis(100), "half of the answers waited: {took:?}");
    assert!(most < DELAY / 4, "answers waited for the disk: {took:?}");
    assert!(until_heard < DELAY * 5 / 4, "the lines waited for the disk: {until_heard:?}");
    let looked = Instant::now();
    space.prismq(&["runs"]).ends(0);
    assert!(looked.elapsed() < DELAY, "looking took {:?}", looked.elapsed());
    space.wait_until("the end of what ran is seen", || space.node(&going, "g")["status"] == "completed");
    assert!(begun.elapsed() < DELAY * 5, "it took {:?}", begun.elapsed());
    let known: Vec<String> = waiting.into_iter().map(|running| acked(running.end())).collect();
    let took = begun.elapsed();
    assert!(took >= DELAY, "an answer came before its record was on the disk");
    // One after the other they would take a sync each: those who wait share one.
    assert!(took < DELAY * 5, "six submissions took {took:?}");
    space.open("enough");
    for run in known.iter().chain([&going, &still]) {
        wait_completed(&space, run);
    }
    host.stop().ends(0);
    assert_eq!(space.marks("quick").len(), known.len());
}

/// The wrapper writes the log of its module, and its limit is the host's.
#[test]
fn f15_a_limit_on_the_size_of_files_costs_lines_and_not_the_module() {
    if std::process::Command::new("prlimit").arg("--version").output().is_err() {
        return skip("f15_a_limit_on_the_size_of_files_costs_lines_and_not_the_module", "prlimit is not installed");
    }
    let space = space();
    for isolation in ["wrapped", "direct"] {
        space.module(
            isolation,
            &format!("isolation: {isolation}"),
            "for number in range(3000):\n    print(number, 'x' * 90)\nsys.stdout.flush()\nmark('through', NODE)",
        );
        let host = FaultyHost::start_by(&space, "prlimit", &["--fsize=200000".to_owned()]).up();
        let run = acked(submit(&space, isolation));
        wait_completed(&space, &run);
        let lines = crate::support::json_lines(&space.prismq(&["logs", &run, "--json"]).ends(0).stdout);
        let missing: u64 = lines.iter().filter_map(|line| line["missing_bytes"].as_u64()).sum();
        assert!(missing > 50_000, "{isolation}: {missing} bytes are said to be missing");
        host.stop().ends(0);
    }
    assert_eq!(space.marks("through").len(), 2);
}
