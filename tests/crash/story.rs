//! What the journal tells: runs and attempts, and what in it contradicts itself.
//!
//! Records are collected after each act, since snapshots let go of old segments. A journal that failed and was healed may hold in its
//! snapshot what stands in no segment; then what is missing here is no contradiction, and `runs` and `show` have the last word.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prismq::journal::open_read_only;
use serde_json::Value;

/// Records by their number, as they stand in the segments.
#[derive(Debug, Default)]
pub(crate) struct Records(BTreeMap<u64, Value>);

impl Records {
    /// Adds what the segments hold now. A number that was used twice was cut off in between: the later one counts.
    pub(crate) fn collect(&mut self, journal: &Path) {
        let entries = std::fs::read_dir(journal).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.path()).collect();
        names.sort();
        let is_segment = |path: &&std::path::PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.ends_with(".jsonl") && !name.starts_with("snapshot")
        };
        for path in names.iter().filter(is_segment) {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            self.0.extend(records.filter_map(|record| Some((record["s"].as_u64()?, record))));
        }
    }
}

/// A run by the journal.
#[derive(Debug, Default)]
pub(crate) struct RunStory {
    /// How it ended.
    pub(crate) status: Option<String>,
    /// The record of its cancel.
    pub(crate) cancel: Option<u64>,
}

/// An attempt by the journal.
#[derive(Debug, Default, Clone)]
pub(crate) struct Attempt {
    starts: u32,
    ends: u32,
    /// Its exit code.
    pub(crate) code: Option<i64>,
    /// Nobody knows how it ended.
    pub(crate) lost: bool,
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) runs: BTreeMap<String, RunStory>,
    /// By `run/node/attempt`.
    pub(crate) attempts: BTreeMap<String, Attempt>,
    /// Every number is there.
    pub(crate) is_complete: bool,
    /// Nodes that came through, by `run/node`, with the record that says so.
    done: BTreeMap<String, u64>,
    /// What must not be.
    pub(crate) contradictions: BTreeSet<String>,
}

/// Verifies a journal: nothing damaged, nothing torn, every record readable.
pub(crate) fn verify(journal: &Path) -> Result<(), String> {
    let history = open_read_only(journal).map_err(|error| error.to_string())?;
    if let Some(damage) = history.damage() {
        return Err(damage.to_string());
    }
    if let Some(torn) = history.trimmed() {
        return Err(format!("a torn end of {} bytes was left", torn.bytes));
    }
    history.records().find_map(Result::err).map_or(Ok(()), |damage| Err(damage.to_string()))
}

impl Story {
    /// Tells the records again.
    pub(crate) fn tell(records: &Records) -> Self {
        let last = records.0.last_key_value().map_or(0, |(seq, _)| *seq);
        let mut story = Self { is_complete: records.0.len() as u64 == last, ..Self::default() };
        for (seq, record) in &records.0 {
            story.take(*seq, record);
        }
        if story.is_complete {
            let open = story.attempts.iter().filter(|(_, attempt)| attempt.starts > attempt.ends);
            story.contradictions.extend(open.map(|(id, _)| format!("I4: {id} has no end")).collect::<Vec<_>>());
        }
        story
    }

    fn take(&mut self, seq: u64, record: &Value) {
        let kind = record["k"].as_str().unwrap_or_default();
        let Some(run) = record["run"].as_str() else { return };
        let known = self.runs.contains_key(run);
        let story = self.runs.entry(run.to_owned()).or_default();
        if self.is_complete && known == (kind == "run.submit") {
            self.contradictions.insert(format!("I2: record {seq}: {kind} of run {run}, known before: {known}"));
        }
        if story.status.is_some() {
            self.contradictions.insert(format!("I2: record {seq}: {kind} after the end of run {run}"));
        }
        match kind {
            "run.end" => story.status = record["d"]["status"].as_str().map(str::to_owned),
            "run.cancel" => story.cancel = story.cancel.or(Some(seq)),
            _ => {}
        }
        if let (Some(node), Some(number)) = (record["node"].as_str(), record["att"].as_u64()) {
            self.attempt(kind, &format!("{run}/{node}"), number, &record["d"], seq);
        }
    }

    fn attempt(&mut self, kind: &str, node: &str, number: u64, data: &Value, seq: u64) {
        let id = format!("{node}/{number}");
        let attempt = self.attempts.entry(id.clone()).or_default();
        match kind {
            "att.start" => {
                attempt.starts += 1;
                if let Some(before) = self.done.get(node) {
                    self.contradictions.insert(format!("I2: record {seq}: {id} starts after the node came through in record {before}"));
                }
            }
            "att.exit" => {
                attempt.ends += 1;
                attempt.code = data["code"].as_i64();
                attempt.lost = data["failure"]["cause"] == "lost";
                if data["failure"].is_null() && attempt.code == Some(0) {
                    self.done.insert(node.to_owned(), seq);
                }
            }
            _ => {}
        }
        if attempt.starts > 1 || attempt.ends > 1 {
            self.contradictions.insert(format!("I2: record {seq}: {kind} of {id} for the second time"));
        }
    }
}
