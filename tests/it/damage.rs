//! Journals that are damaged, torn or written by other versions: refused and named, looked at, cut, written out.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{TestSpace, json_lines};

const SEGMENT: &str = ".prismq/journal/000001.jsonl";

/// A workspace with three finished runs, the oldest first.
fn with_runs() -> (TestSpace, Vec<String>) {
    let space = TestSpace::new();
    space.module("quick", "", "print('said', NODE)\nout(v=1)");
    for _ in 0..3 {
        space.prismq(&["run", "quick"]).ends(0);
    }
    let rows = space.prismq(&["runs", "--json"]).ends(0).json();
    let mut ids: Vec<String> = rows.as_array().expect("rows").iter().map(|row| row["run_id"].as_str().expect("an id").to_owned()).collect();
    ids.reverse();
    (space, ids)
}

/// Where each line of the segment begins.
fn begins(space: &TestSpace) -> Vec<usize> {
    let text = space.read(SEGMENT);
    text.split_inclusive('\n')
        .scan(0, |at, line| {
            let begin = *at;
            *at += line.len();
            Some(begin)
        })
        .collect()
}

/// Flips a bit of the record that submitted a run. Gives where that record begins, and its number.
fn damage(space: &TestSpace, run: &str) -> (usize, u64) {
    let text = space.read(SEGMENT);
    let at = text.lines().position(|line| line.contains("run.submit") && line.contains(run)).expect("it was submitted");
    let begin = begins(space)[at];
    let mut bytes = text.into_bytes();
    bytes[begin + 60] ^= 4;
    fs::write(space.at(SEGMENT), bytes).expect("it is written");
    (begin, at as u64 + 1)
}

/// All files of the journal with their content.
fn contents(space: &TestSpace) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(space.at(".prismq/journal")).expect("a folder");
    let mut all: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).expect("a file")))
        .collect();
    all.sort();
    all
}

#[test]
fn f06_a_damaged_journal_is_refused_with_its_place_and_the_three_choices() {
    let (space, ids) = with_runs();
    let (offset, seq) = damage(&space, &ids[1]);
    let before = contents(&space);
    for args in [
        &["run", "quick"][..],
        &["runs"],
        &["show", &ids[0]],
        &["logs", &ids[0]],
        &["wait", &ids[0]],
        &["serve"],
        &["run", "quick", "--detach"],
    ] {
        let ran = space.prismq(args).ends(78).complains("000001.jsonl").complains(&format!("byte {offset} (record {seq})"));
        for choice in ["journal verify", "--read-only", &format!("journal repair --cut-at {offset}")] {
            assert!(ran.stderr.contains(choice), "{args:?}: {choice} is not in\n{}", ran.stderr);
        }
    }
    assert_eq!(contents(&space), before, "nothing was changed");
}

#[test]
fn f06_read_only_shows_what_stands_before_the_damage() {
    let (space, ids) = with_runs();
    damage(&space, &ids[1]);
    let before = contents(&space);
    let rows = space.prismq(&["--read-only", "runs", "--json"]).ends(0).complains("damaged");
    let rows = rows.json();
    assert_eq!((rows.as_array().map(Vec::len), &rows[0]["run_id"]), (Some(1), &json!(ids[0])));
    space.prismq(&["show", &ids[0], "--read-only"]).ends(0).says("completed");
    space.prismq(&["logs", &ids[0], "--read-only"]).ends(0).says("said quick");
    space.prismq(&["--read-only", "show", &ids[1]]).ends(4);
    for args in [&["--read-only", "run", "quick"][..], &["--read-only", "serve"], &["--read-only", "journal", "repair", "--cut-at", "0"]] {
        space.prismq(args).ends(2).complains("looking");
    }
    assert_eq!(contents(&space), before, "nothing was changed");
}

#[test]
fn f06_verify_names_the_first_damage() {
    let (space, ids) = with_runs();
    let whole = space.prismq(&["journal", "verify", "--json"]).ends(0).json();
    assert_eq!((&whole["whole"], whole.get("damage")), (&json!(true), None));
    assert_eq!(whole["segments"][0]["bytes"], fs::metadata(space.at(SEGMENT)).expect("it is there").len());
    let (offset, seq) = damage(&space, &ids[1]);
    let found = space.prismq(&["journal", "verify", "--json"]).ends(78).json();
    let expected = json!({"file": SEGMENT, "offset": offset, "seq": seq, "reason": "its checksum does not hold"});
    assert_eq!((&found["whole"], &found["damage"]), (&json!(false), &expected));
    assert_eq!((&found["segments"][0]["records"], &found["segments"][0]["verdict"]), (&json!(seq - 1), &json!("damaged")));
    space.prismq(&["journal", "verify"]).ends(78).says("damaged behind record").complains("journal repair --cut-at");
}

#[test]
fn f06_repair_copies_cuts_and_tells_what_was_given_up() {
    let (space, ids) = with_runs();
    space.prismq(&["journal", "repair", "--cut-at", "0"]).ends(2).complains("whole");
    let (offset, seq) = damage(&space, &ids[1]);
    let before = contents(&space);
    let nearest = begins(&space).into_iter().rfind(|begin| *begin < offset - 1).expect("one").to_string();
    space.prismq(&["journal", "repair", "--cut-at", &(offset + 1).to_string()]).ends(2).complains("leave that in");
    space.prismq(&["journal", "repair", "--cut-at", &(offset - 1).to_string()]).ends(2).complains(&format!("--cut-at {nearest}"));
    assert_eq!(contents(&space), before, "nothing was changed");

    let told = space.prismq(&["journal", "repair", "--cut-at", &offset.to_string(), "--json"]).ends(0).json();
    // Runs of one second stand in the order of their random ends.
    let mut given_up = [&ids[1], &ids[2]];
    given_up.sort();
    assert_eq!((&told["last"], &told["runs"]), (&json!(seq - 1), &json!(given_up)));
    let copy = space.at(told["copy"].as_str().expect("a path"));
    assert_eq!(
        &fs::read(copy.join("000001.jsonl")).expect("the copy"),
        &before.iter().find(|(path, _)| path.ends_with("000001.jsonl")).expect("it was there").1
    );
    let rows = space.prismq(&["runs", "--json"]).ends(0).json();
    assert_eq!((rows.as_array().map(Vec::len), &rows[0]["run_id"]), (Some(1), &json!(ids[0])));
    space.prismq(&["run", "quick"]).ends(0);
    space.prismq(&["journal", "verify"]).ends(0);
}

#[cfg(unix)]
#[test]
fn repair_needs_the_workspace_for_itself() {
    let (space, ids) = with_runs();
    space.module("gated", "", "mark('began')\ngate('go')");
    let host = space.start(&["run", "gated"]);
    space.wait_for_marks("began", 1);
    damage(&space, &ids[1]);
    space.prismq(&["journal", "repair", "--cut-at", "0"]).ends(75).complains(&host.pid().to_string());
    space.open("go");
    host.end();
}

#[test]
fn export_writes_all_records_as_plain_json() {
    let (space, ids) = with_runs();
    let lines = json_lines(&space.prismq(&["journal", "export"]).ends(0).stdout);
    let of = |run: &str| -> Vec<&str> { lines.iter().filter(|line| line["run"] == run).filter_map(|line| line["kind"].as_str()).collect() };
    for run in &ids {
        assert_eq!(of(run), ["run.submit", "att.intent", "att.start", "att.exit", "run.end"]);
    }
    let numbers: Vec<u64> = lines.iter().filter_map(|line| line["seq"].as_u64()).collect();
    assert!(numbers.is_sorted() && numbers.len() == lines.len());
    let exit = lines.iter().find(|line| line["kind"] == "att.exit").expect("an exit");
    assert_eq!((&exit["node"], &exit["attempt"], &exit["data"]["outputs"]), (&json!("quick"), &json!(1), &json!({"v": 1})));

    space.prismq(&["journal", "export", "--output", "all.jsonl"]).ends(0).complains("15 records");
    assert_eq!(json_lines(&space.read("all.jsonl")), lines);
    space.prismq(&["journal", "export", "--output", "all.jsonl"]).ends(2).complains("all.jsonl");

    damage(&space, &ids[2]);
    let ran = space.prismq(&["journal", "export"]).ends(78);
    assert_eq!(json_lines(&ran.stdout), lines[..10], "what stands before the damage");
}

#[test]
fn f05_a_torn_end_is_said_kept_and_cut() {
    let (space, ids) = with_runs();
    let mut bytes = fs::read(space.at(SEGMENT)).expect("the segment");
    bytes.extend_from_slice(br#"{"c":"0000"#);
    fs::write(space.at(SEGMENT), &bytes).expect("it is written");
    let found = space.prismq(&["journal", "verify", "--json"]).ends(0).json();
    assert_eq!((&found["torn"]["bytes"], &found["segments"][0]["verdict"]), (&json!(10), &json!("torn")));
    space.prismq(&["run", "quick"]).ends(0);
    let kept: Vec<_> = fs::read_dir(space.at(".prismq/journal/quarantine")).expect("a folder").collect();
    assert_eq!(kept.len(), 1);
    let rows = space.prismq(&["runs", "--json"]).ends(0).json();
    assert_eq!(rows.as_array().map(Vec::len), Some(ids.len() + 1));
    space.prismq(&["journal", "verify"]).ends(0);
}

#[test]
fn f07_a_dropped_line_is_damage() {
    let (space, _) = with_runs();
    let text = space.read(SEGMENT);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let dropped: String = [&lines[..4], &lines[5..]].concat().concat();
    fs::write(space.at(SEGMENT), dropped).expect("it is written");
    space.prismq(&["journal", "verify"]).ends(78).complains("(record 5)").complains("missing, doubled or in another order");
}

#[test]
fn f19_the_state_of_a_newer_version_is_refused_and_nothing_is_changed() {
    let (space, _) = with_runs();
    let text = space.read(SEGMENT);
    fs::write(space.at(SEGMENT), text.replace("\"fmt\":1", "\"fmt\":2")).expect("it is written");
    let before = contents(&space);
    for args in [
        &["run", "quick"][..],
        &["runs"],
        &["--read-only", "runs"],
        &["serve"],
        &["journal", "verify"],
        &["journal", "export"],
        &["journal", "repair", "--cut-at", "0"],
    ] {
        space.prismq(args).ends(78).complains("format 2").complains("newer program");
    }
    assert_eq!(contents(&space), before);
}

/// States as earlier versions left them. Fixtures are never written again; a new format gets a new folder.
#[test]
fn f19_states_of_all_earlier_versions_are_read_and_gone_on_with() {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/compat");
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut told = Vec::new();
    let mut versions: Vec<_> = fs::read_dir(&fixtures).expect("fixtures").map(|entry| entry.expect("an entry").path()).collect();
    versions.sort();
    for version in versions.iter().filter(|version| version.join("state").is_dir()) {
        let space = TestSpace::new();
        space.module("quick", "", "");
        copy(&version.join("state"), &space.at(".prismq"));
        let whole = space.prismq(&["journal", "verify", "--json"]).ends(0).json();
        assert_eq!(whole["whole"], true);
        let rows = space.prismq(&["runs", "--json"]).ends(0).json();
        for row in rows.as_array().expect("rows") {
            told.push(format!(
                "{} {} {} held={}",
                text(&row["run_id"]),
                text(&row["status"]),
                text(&row["module_id"]),
                row["held"] == true
            ));
        }
        let held = rows.as_array().expect("rows").iter().find(|row| row["held"] == true).expect("one is held");
        let held = held["run_id"].as_str().expect("an id");
        space.prismq(&["cancel", held]).ends(0);
        assert_eq!(space.show(held)["run"]["status"], "cancelled");
        space.prismq(&["run", "quick"]).ends(0);
        space.prismq(&["journal", "verify"]).ends(0);
    }
    insta::assert_snapshot!(told.join("\n"), @r"
    20261120-144019-x1emr running long held=true
    20261120-144019-0b5p1 failed bad held=false
    20261120-144018-qb3xm failed - held=false
    20261120-144018-dqxan completed good held=false
    ");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    prismq::host::workspace::create_private_folder(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
