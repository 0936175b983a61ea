//! Lines as clients get them, encoded once for all.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

use super::ring::Numbered;
use crate::host::order::{Attempt, OrderedLine, Wanted};
use crate::host::views::Stream;
use crate::ids::AttemptNumber;
use crate::units::Timestamp;

/// Bytes of JSON in a batch, about: what a client that does not read holds back is a few of these.
const BYTES_MAX: usize = 32 << 10;

/// A line of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::api) struct LineReply {
    /// Its number in the run, from 1: the same always and everywhere.
    id: u64,
    /// When its end was read.
    timestamp: Timestamp,
    /// What it says of its own weight: `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`; `INFO` where it says nothing.
    level: &'static str,
    /// `stdout` or `stderr`.
    stream: &'static str,
    /// Path of the node.
    node: String,
    /// Attempt of the node, where it is not the first.
    #[serde(skip_serializing_if = "is_first")]
    #[schemars(with = "Option<u32>")]
    attempt: AttemptNumber,
    /// It has no line end: it was cut at 64 KiB, or the output ended here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    /// It stands for so many bytes that are not kept.
    #[serde(skip_serializing_if = "is_zero")]
    missing_bytes: u64,
    /// Its text. Bytes that are no UTF-8 are replaced; everything else is as the module wrote it, control characters too.
    message: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_first(attempt: &AttemptNumber) -> bool {
    attempt.0 == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl LineReply {
    pub(in crate::api) fn of(line: OrderedLine) -> Self {
        let OrderedLine { id, attempt, line } = line;
        Self {
            id,
            timestamp: line.at,
            level: level(&line.text),
            stream: line.stream.as_str(),
            node: attempt.node.clone(),
            attempt: attempt.attempt,
            partial: line.partial,
            missing_bytes: line.missing,
            message: line.text,
        }
    }
}

/// What a line says of its own weight near its begin, in capitals as loggers write it. Which stream it came by says nothing: progress
/// bars and notes go to standard error.
fn level(text: &str) -> &'static str {
    /// So many words may stand before it: times, names, brackets.
    const WORDS: usize = 9;
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).take(WORDS);
    let known = words.filter_map(|word| match word {
        "TRACE" | "DEBUG" => Some("DEBUG"),
        "INFO" | "NOTICE" => Some("INFO"),
        "WARN" | "WARNING" => Some("WARNING"),
        "ERROR" => Some("ERROR"),
        "CRITICAL" | "FATAL" => Some("CRITICAL"),
        _ => None,
    });
    let exception = || text.starts_with("Traceback (most recent call last)").then_some("ERROR");
    known.into_iter().next().or_else(exception).unwrap_or("INFO")
}

/// A line of a batch.
#[derive(Debug)]
struct Entry {
    id: u64,
    /// Where its JSON ends.
    end: usize,
    attempt: Arc<Attempt>,
    stream: Stream,
    at: Timestamp,
}

/// Some lines in a row.
#[derive(Debug, Default)]
pub(in crate::api) struct Batch {
    entries: Vec<Entry>,
    /// Of all lines, one after another.
    json: String,
    /// As an event for each line, and as one event.
    single: OnceLock<Bytes>,
    array: OnceLock<Bytes>,
}

impl Numbered for Batch {
    fn numbers(&self) -> (u64, u64) {
        (self.entries.first().map_or(0, |entry| entry.id), self.entries.last().map_or(0, |entry| entry.id))
    }

    fn bytes(&self) -> usize {
        // Encoded for both kinds of clients, at worst.
        3 * self.json.len() + 80 * self.entries.len()
    }
}

impl Batch {
    /// Lines in batches.
    pub(in crate::api) fn of(lines: Vec<OrderedLine>) -> Vec<Self> {
        let mut batches: Vec<Self> = Vec::new();
        for line in lines {
            let full = batches.last().is_none_or(|batch| batch.json.len() >= BYTES_MAX);
            if full {
                batches.push(Self::default());
            }
            if let Some(batch) = batches.last_mut() {
                batch.add(line);
            }
        }
        batches
    }

    fn add(&mut self, line: OrderedLine) {
        let (id, attempt, stream, at) = (line.id, line.attempt.clone(), line.line.stream, line.line.at);
        // Strings and numbers: this cannot fail.
        self.json.push_str(&serde_json::to_string(&LineReply::of(line)).unwrap_or_default());
        self.entries.push(Entry { id, end: self.json.len(), attempt, stream, at });
    }

    /// Number of its last line.
    pub(super) fn last(&self) -> u64 {
        self.numbers().1
    }

    /// As events: the wanted lines from a number on. None where there is no such line.
    pub(super) fn events(&self, from: u64, wanted: &Wanted, array: bool) -> Option<Bytes> {
        if from <= self.numbers().0 && *wanted == Wanted::default() {
            let whole = if array { &self.array } else { &self.single };
            return Some(whole.get_or_init(|| self.encode(array, |_| true).unwrap_or_default()).clone()).filter(|bytes| !bytes.is_empty());
        }
        self.encode(array, |entry| entry.id >= from && wanted.takes_line(&entry.attempt, entry.stream, entry.at))
    }

    fn encode(&self, array: bool, takes: impl Fn(&Entry) -> bool) -> Option<Bytes> {
        let mut text = String::with_capacity(self.json.len() + 24 * self.entries.len());
        let mut begin = 0;
        let mut last = None;
        if array {
            text.push_str("data: [");
        }
        for entry in &self.entries {
            let json = &self.json[std::mem::replace(&mut begin, entry.end)..entry.end];
            if !takes(entry) {
                continue;
            }
            if array {
                text.push_str(if last.is_some() { "," } else { "" });
                text.push_str(json);
            } else {
                // Writing into a string cannot fail.
                let _ = write!(text, "id: {}\ndata: {json}\n\n", entry.id);
            }
            last = Some(entry.id);
        }
        let last = last?;
        if array {
            let _ = write!(text, "]\nid: {last}\n\n");
        }
        Some(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_what_the_line_says_and_not_what_is_in_it() {
        for (text, expected) in [
            ("0 errors", "INFO"),
            ("information", "INFO"),
            ("2026-11-26 10:00:00,123 ERROR model: out of memory", "ERROR"),
            ("ERROR:root:x", "ERROR"),
            ("[WARNING] disk", "WARNING"),
            ("10:00:01 WARN x", "WARNING"),
            ("DEBUG x", "DEBUG"),
            ("FATAL: no", "CRITICAL"),
            ("Traceback (most recent call last):", "ERROR"),
            ("", "INFO"),
        ] {
            assert_eq!(level(text), expected, "{text:?}");
        }
    }
}
