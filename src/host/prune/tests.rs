//! What the journal says of pruned runs, before and after a snapshot.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::index::Finished;
use super::super::replay::{Replayed, replay, snapshot_lines};
use super::super::{record, workspace::Workspace};
use crate::event::RunStatus;
use crate::ids::{RunId, Seq};
use crate::journal::{self, Entry, Options, Urgency, Writer};
use crate::resources::Capacity;
use crate::scheduler::{Durations, World};
use crate::units::{Bytes, CpuMillis, Timestamp};

fn id(number: u32) -> RunId {
    RunId::new(Timestamp::from_micros(0), number)
}

fn open(folder: &Path) -> Writer {
    journal::open(folder, Options::new(|_| ())).expect("a journal").writer
}

fn append(writer: &Writer, kind: &str, run: &RunId, data: Option<&str>) -> Seq {
    let data = data.map(|text| serde_json::value::RawValue::from_string(text.to_owned()).expect("JSON"));
    let at = Timestamp::from_micros(9);
    let entry = Entry { kind, run: Some(run), node: None, attempt: None, data: data.as_deref(), at, urgency: Urgency::Now };
    writer.append(entry).expect("taken")
}

fn end(writer: &Writer, run: &RunId) {
    let row = format!(r#"{{"run_id":"{run}","status":"completed","created_at":"2026-01-01T00:00:00Z"}}"#);
    let status = RunStatus::Completed.as_str();
    append(writer, "run.end", run, Some(&format!(r#"{{"status":"{status}","row":{row},"learned":{{}}}}"#)));
}

fn told(folder: &Path, workspace: &Workspace, missing: bool) -> Replayed {
    replay(workspace, &journal::open_read_only(folder).expect("a journal"), |_| missing).expect("whole")
}

fn world() -> World {
    let capacity = Capacity {
        cpus: CpuMillis(1000),
        memory: Bytes(0),
        gpus: Vec::new(),
        custom: std::collections::BTreeMap::new(),
        max_concurrent: 1,
    };
    World::new(capacity, Durations::default())
}

fn ids(finished: &Finished) -> BTreeSet<String> {
    finished.ids().map(str::to_owned).collect()
}

#[test]
fn a_pruned_run_is_not_told_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let workspace = Workspace::at(folder.path()).expect("a workspace");
    let writer = open(folder.path());
    for number in 1..=3 {
        // Its pinned submission is gone with its folder: telling it again would fail.
        append(&writer, "run.submit", &id(number), Some(r#"{"pinned":"00"}"#));
        end(&writer, &id(number));
    }
    append(&writer, record::RUN_PRUNE, &id(2), None);
    writer.close().expect("synced");
    let replayed = told(folder.path(), &workspace, false);
    assert_eq!(ids(&replayed.finished), BTreeSet::from([id(1).to_string(), id(3).to_string()]));
    assert_eq!(replayed.pruned.into_iter().collect::<Vec<_>>(), [(id(2), Timestamp::from_micros(9))]);
    assert!(replayed.unreadable.is_empty(), "{:?}", replayed.unreadable);
    // A host asks whether `run.json` is there, and tells a run again where it is not.
    let replayed = told(folder.path(), &workspace, true);
    assert!(!replayed.unreadable.contains_key(&id(2)) && replayed.unreadable.contains_key(&id(1)), "{:?}", replayed.unreadable);
}

#[test]
fn a_snapshot_forgets_pruned_runs_but_not_their_folders() {
    let folder = tempfile::tempdir().expect("a folder");
    let workspace = Workspace::at(folder.path()).expect("a workspace");
    let writer = open(folder.path());
    for number in 1..=3 {
        append(&writer, "run.submit", &id(number), Some(r#"{"pinned":"00"}"#));
        end(&writer, &id(number));
    }
    let upto = append(&writer, record::RUN_PRUNE, &id(1), None);
    assert!(writer.flush_and_wait(std::time::Duration::from_secs(60)).expect("the journal works"));
    let mut finished = told(folder.path(), &workspace, false).finished;
    finished.remove(&BTreeSet::from([id(1)]));
    writer.snapshot(snapshot_lines(&finished, &BTreeSet::from([id(1)]), &world(), std::iter::empty()), upto);
    // After the snapshot another one goes, whose row is in it.
    append(&writer, record::RUN_PRUNE, &id(3), None);
    writer.close().expect("synced");
    let replayed = told(folder.path(), &workspace, false);
    assert_eq!(ids(&replayed.finished), BTreeSet::from([id(2).to_string()]));
    assert_eq!(replayed.pruning, BTreeSet::from([id(1)]), "its folder was still there");
    assert_eq!(replayed.pruned.into_keys().collect::<Vec<_>>(), [id(3)]);
    assert!(replayed.unreadable.is_empty(), "{:?}", replayed.unreadable);
}
