//! The checker: what must hold after any fault. Looks at what the program says, at its journal, at what the modules did, at the disk and
//! at the processes, and compares.
//!
//! * I1: what was acknowledged is there, and the same.
//! * I2: an attempt has at most one start and one end; nothing happens to a run after its end; a node that came through is not run again.
//! * I3: no attempt is executed twice, by what the modules themselves have noted.
//! * I4: nothing is held at the end; what can be held once was never held twice.
//! * I5: the journal verifies from end to end.
//! * I6: no process and no temporary file is left.
//! * I7: a log on disk is what the module wrote.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde_json::Value;

use crate::cycle::Cycle;
use crate::fault::Kind;
use crate::plan::{Pipeline, output_of};
use crate::story::{Attempt, Story, verify};

/// What the program itself shows at the end.
struct Shown {
    /// By run: `show RUN --json`.
    runs: BTreeMap<String, Value>,
}

impl Shown {
    fn status(&self, run: &str) -> Option<&str> {
        self.runs.get(run)?["run"]["status"].as_str()
    }

    fn node(&self, run: &str, node: &str) -> Option<&Value> {
        self.runs.get(run)?["nodes"].as_array()?.iter().find(|row| row["node"] == node)
    }
}

/// Checks everything, and counts.
pub(crate) fn check(cycle: &mut Cycle) {
    let journal = cycle.space.journal();
    if let Err(damage) = verify(&journal) {
        return cycle.violated(format!("I5: {damage}"));
    }
    let verified = cycle.space.start(&["journal", "verify"]).end();
    if verified.code != 0 {
        cycle.violated(format!("I5: `journal verify` ends with {}: {}{}", verified.code, verified.stdout, verified.stderr));
    }
    cycle.records.collect(&journal);
    let story = Story::tell(&cycle.records);
    let shown = match show(cycle) {
        Ok(shown) => shown,
        Err(reason) => return cycle.violated(reason),
    };
    cycle.found.acks = cycle.acks.count();
    cycle.found.attempts = cycle.space.marks().iter().filter(|mark| mark.starts_with("begin ")).count();
    let mut wrong: Vec<String> = story.contradictions.iter().cloned().collect();
    acknowledged(cycle, &story, &shown, &mut wrong);
    executed_once(cycle, &story, &shown, &mut wrong);
    held_once(cycle, &mut wrong);
    nothing_left(cycle, &shown, &mut wrong);
    logs(cycle, &story, &mut wrong);
    for run in shown.runs.keys() {
        as_planned(cycle, run, &shown, &mut wrong);
    }
    for what in wrong {
        cycle.violated(what);
    }
}

fn show(cycle: &Cycle) -> Result<Shown, String> {
    let listed = cycle.space.start(&["runs", "--json", "-n", "1000"]).end();
    let rows: Vec<Value> = serde_json::from_str(&listed.stdout).map_err(|error| format!("I5: `runs --json`: {error}"))?;
    let mut runs = BTreeMap::new();
    for run in rows.iter().filter_map(|row| row["run_id"].as_str()) {
        let ran = cycle.space.start(&["show", run, "--json"]).end();
        let value = serde_json::from_str(&ran.stdout);
        let value = value.map_err(|_| format!("I1: `show {run}` ends with {}: {}", ran.code, ran.stderr.trim()))?;
        runs.insert(run.to_owned(), value);
    }
    Ok(Shown { runs })
}

/// I1.
fn acknowledged(cycle: &Cycle, story: &Story, shown: &Shown, wrong: &mut Vec<String>) {
    let acks = &cycle.acks;
    wrong.extend(acks.contradictions.iter().map(|what| format!("I1: {what}")));
    for run in acks.submitted.keys().filter(|run| !shown.runs.contains_key(*run)) {
        wrong.push(format!("I1: run {run} was accepted and is gone"));
    }
    for (run, told) in &acks.ended {
        let now = shown.status(run).unwrap_or("not there");
        if now != told {
            wrong.push(format!("I1: run {run} was told as {told} and is {now}"));
        }
    }
    // A cancel that came after the end changes nothing; one that was recorded before it decides.
    for run in acks.cancelled.iter().filter(|run| shown.status(run) != Some("cancelled")) {
        let recorded = story.runs.get(run).is_some_and(|run| run.cancel.is_some());
        if recorded || !matches!(shown.status(run), Some("completed" | "failed")) {
            wrong.push(format!("I1: the cancel of run {run} was answered, and it is {:?}", shown.status(run)));
        }
    }
    for (run, recorded) in story.runs.iter().filter_map(|(run, story)| Some((run, story.status.as_deref()?))) {
        if shown.status(run) != Some(recorded) {
            wrong.push(format!("I1: run {run} is {recorded} by the journal and shown as {:?}", shown.status(run)));
        }
    }
}

/// I3, by what the modules noted themselves.
fn executed_once(cycle: &Cycle, story: &Story, shown: &Shown, wrong: &mut Vec<String>) {
    let mut seen = HashSet::new();
    let marks = cycle.space.marks();
    for mark in &marks {
        if !seen.insert(mark.as_str()) {
            wrong.push(format!("I3: executed twice: {mark}"));
        }
        let known = mark.split_once(' ').is_some_and(|(_, id)| is_counted(shown, id));
        if !known {
            wrong.push(format!("I3: executed, and not among the attempts of its node: {mark}"));
        }
    }
    for (id, attempt) in &story.attempts {
        let (begun, ended) = (seen.contains(format!("begin {id}").as_str()), seen.contains(format!("end {id}").as_str()));
        // Codes of the script itself: it came to its end.
        if matches!(attempt.code, Some(0 | 3)) && !(begun && ended) {
            wrong.push(format!("I3: {id} has exit code {:?} by the journal and was not executed to its end", attempt.code));
        }
    }
}

fn is_counted(shown: &Shown, id: &str) -> bool {
    let mut parts = id.split('/');
    let (Some(run), Some(node), Some(number)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let attempts = shown.node(run, node).and_then(|row| row["attempts"].as_u64()).unwrap_or(0);
    number.parse::<u64>().is_ok_and(|number| number <= attempts)
}

/// I4: who holds the slot begins after all earlier holders have ended, for good.
fn held_once(cycle: &Cycle, wrong: &mut Vec<String>) {
    let marks = cycle.space.marks();
    let mut holder: Option<&str> = None;
    for (at, mark) in marks.iter().enumerate() {
        let Some((what, id)) = mark.split_once(' ') else { continue };
        if !holds_slot(cycle, id) {
            continue;
        }
        if what == "end" {
            holder = holder.filter(|holder| *holder != id);
            continue;
        }
        // One that never ended was killed, and may be followed.
        if let Some(before) = holder.filter(|before| marks[at..].iter().any(|later| later.strip_prefix("end ") == Some(before))) {
            wrong.push(format!("I4: {id} began while {before} held the only slot"));
        }
        holder = Some(id);
    }
}

fn holds_slot(cycle: &Cycle, id: &str) -> bool {
    let mut parts = id.split('/');
    let (Some(run), Some(node)) = (parts.next(), parts.next()) else { return false };
    node == "probe" || pipeline_of(cycle, run).and_then(|pipeline| pipeline.node(node)).is_some_and(|node| node.slot)
}

/// The pipeline of a run, by what was submitted.
fn pipeline_of<'a>(cycle: &'a Cycle, run: &str) -> Option<&'a Pipeline> {
    let pinned = std::fs::read(cycle.space.root().join(".prismq/runs").join(run).join("pinned.json")).ok()?;
    let text = String::from_utf8_lossy(&pinned).into_owned();
    cycle.pipelines.iter().find(|pipeline| text.contains(&format!("{}.json", pipeline.name)))
}

/// I6: on the disk.
fn nothing_left(cycle: &Cycle, shown: &Shown, wrong: &mut Vec<String>) {
    let state = cycle.space.root().join(".prismq");
    for path in cycle.space.state() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let inside = path.strip_prefix(&state).unwrap_or(&path).display();
        // A looker seals an attempt that never began, so that a late wrapper refuses itself.
        let is_seal = name == "start.json.tmp" && std::fs::read(&path).is_ok_and(|text| text == b"sealed\n");
        if (name.ends_with(".tmp") || name.contains("aside")) && !is_seal {
            wrong.push(format!("I6: a temporary file is left: {inside}"));
        }
        if path.parent() == Some(&state.join("runs")) && !shown.runs.contains_key(&name) {
            wrong.push(format!("I6: the folder of a run that was never accepted is left: {inside}"));
        }
        if name == "host.json" {
            wrong.push("I6: `host.json` is left where nobody hosts".to_owned());
        }
    }
}

/// I7.
fn logs(cycle: &Cycle, story: &Story, wrong: &mut Vec<String>) {
    for (id, attempt) in &story.attempts {
        let mut parts = id.split('/');
        let (Some(run), Some(node), Some(number)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let Some(lines) = pipeline_of(cycle, run).and_then(|pipeline| pipeline.node(node)).map(|node| node.lines) else { continue };
        let folder = cycle.space.root().join(".prismq/runs").join(run).join(format!("{node}.{number}"));
        for (wrote, file) in output_of(id, lines).iter().zip(["stdout.log", "stderr.log"]) {
            compare(cycle, attempt, wrote, &folder.join(file), wrong);
        }
    }
}

fn compare(cycle: &Cycle, attempt: &Attempt, wrote: &str, file: &Path, wrong: &mut Vec<String>) {
    let kept = std::fs::read(file).unwrap_or_default();
    let whole = matches!(attempt.code, Some(0 | 3));
    let is_right = if whole { kept == wrote.as_bytes() } else { wrote.as_bytes().starts_with(&kept) };
    // A log that could not be written hinders no module, and the host's log says so.
    let excused = cycle.errors.contains(&Kind::NoDescriptor) && {
        let log = std::fs::read_to_string(cycle.space.root().join(".prismq/log/host.log")).unwrap_or_default();
        log.contains("output was lost")
    };
    if !is_right && !excused {
        let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..8].to_owned();
        let (wanted, found) = (hash(wrote.as_bytes()), hash(&kept));
        let lengths = format!("{} bytes ({found}) for {} ({wanted})", kept.len(), wrote.len());
        wrong.push(format!("I7: {} holds {lengths}, exit code {:?}", file.display(), attempt.code));
    }
}

/// How the run and its nodes ended, against what was acknowledged and what was planned.
fn as_planned(cycle: &Cycle, run: &str, shown: &Shown, wrong: &mut Vec<String>) {
    let status_of = |node: &str| shown.node(run, node).map_or("not there", |row| text(row, "status"));
    for ((_, node), told) in cycle.acks.nodes.iter().filter(|((of, _), _)| of == run) {
        let now = status_of(node);
        if now != told {
            wrong.push(format!("I1: {run}/{node} was told as {told} and is {now}"));
        }
    }
    let Some(pipeline) = pipeline_of(cycle, run) else { return };
    let status = shown.status(run).unwrap_or("unknown");
    let outputs = &shown.runs[run]["outputs"];
    let free = !cycle.errors.is_empty() || pipeline.endless;
    if !free && status != pipeline.status() {
        wrong.push(format!("I1: run {run} must be {} and is {status}", pipeline.status()));
    }
    if status == "completed" && !pipeline.endless && *outputs != pipeline.outputs() {
        wrong.push(format!("I1: run {run} reports {outputs}"));
    }
    let planned: BTreeMap<&str, &str> = pipeline.nodes.iter().map(|node| (node.name.as_str(), pipeline.must(node).status())).collect();
    for (node, must) in planned {
        let now = status_of(node);
        if !free && now != must {
            wrong.push(format!("I1: {run}/{node} must be {must} and is {now}"));
        }
    }
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}
