//! What the journal tells, read by its own interface: runs and attempts, and what in it contradicts itself.

use std::collections::BTreeMap;
use std::path::Path;

use prismq::journal::{Record, open_read_only};
use serde_json::Value;

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
    pub(crate) ends: u32,
    /// Its exit code.
    pub(crate) code: Option<i64>,
    /// Nobody knows how it ended.
    lost: bool,
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) runs: BTreeMap<String, RunStory>,
    /// By `run/node/attempt`.
    pub(crate) attempts: BTreeMap<String, Attempt>,
    /// Nodes that came through, by `run/node`.
    done: BTreeMap<String, u64>,
    /// What must not be.
    pub(crate) contradictions: Vec<String>,
}

impl Story {
    /// Reads and verifies a journal. The error says what is wrong with it.
    pub(crate) fn read(journal: &Path) -> Result<Self, String> {
        let history = open_read_only(journal).map_err(|error| error.to_string())?;
        if let Some(damage) = history.damage() {
            return Err(damage.to_string());
        }
        if let Some(torn) = history.trimmed() {
            return Err(format!("a torn end of {} bytes was left", torn.bytes));
        }
        let mut story = Self::default();
        for record in history.records() {
            story.tell(&record.map_err(|damage| damage.to_string())?);
        }
        let unfinished: Vec<String> = story.runs.iter().filter(|(_, run)| run.status.is_none()).map(|(id, _)| id.clone()).collect();
        story.contradictions.extend(unfinished.iter().map(|run| format!("I4: run {run} has no end")));
        let open = story.attempts.iter().filter(|(_, attempt)| attempt.starts > attempt.ends).map(|(id, _)| format!("I4: {id} has no end"));
        story.contradictions.extend(open.collect::<Vec<_>>());
        Ok(story)
    }

    /// Whether the attempt of a folder, `run/node.attempt`, counts as lost.
    pub(crate) fn is_lost(&self, folder: &Path) -> bool {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let run = folder.parent().map(name).unwrap_or_default();
        let attempt = name(folder).rsplit_once('.').map(|(node, number)| format!("{run}/{node}/{number}"));
        attempt.and_then(|id| self.attempts.get(&id)).is_some_and(|attempt| attempt.lost)
    }

    fn tell(&mut self, record: &Record<'_>) {
        let Some(run) = record.run.as_deref() else { return };
        let seq = record.seq.0;
        let data: Value = record.data.as_deref().and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
        let known = self.runs.contains_key(run);
        let story = self.runs.entry(run.to_owned()).or_default();
        if known == (record.kind == "run.submit") {
            self.contradictions.push(format!("I2: record {seq}: {} of run {run}, known before: {known}", record.kind));
        }
        if story.status.is_some() {
            self.contradictions.push(format!("I2: record {seq}: {} after the end of run {run}", record.kind));
        }
        match record.kind.as_ref() {
            "run.end" => story.status = data["status"].as_str().map(str::to_owned),
            "run.cancel" => story.cancel = story.cancel.or(Some(seq)),
            _ => {}
        }
        if let (Some(node), Some(attempt)) = (record.node.as_deref(), record.attempt) {
            self.attempt(record.kind.as_ref(), &format!("{run}/{node}"), attempt.0, &data, seq);
        }
    }

    fn attempt(&mut self, kind: &str, node: &str, number: u32, data: &Value, seq: u64) {
        let id = format!("{node}/{number}");
        let attempt = self.attempts.entry(id.clone()).or_default();
        match kind {
            "att.start" => {
                attempt.starts += 1;
                if let Some(before) = self.done.get(node) {
                    self.contradictions.push(format!("I2: record {seq}: {id} starts after the node came through in record {before}"));
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
            self.contradictions.push(format!("I2: record {seq}: {kind} of {id} for the second time"));
        }
    }
}
