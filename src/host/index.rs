//! One row for each run: what `runs` lists. Rows of finished runs are all that is kept of them in memory and in snapshots.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::submission::Idempotency;
use crate::event::RunStatus;
use crate::ids::RunId;
use crate::units::Timestamp;

/// A run in a list. The names of the fields are those of the HTTP API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunRow {
    /// Its id.
    pub run_id: RunId,
    /// The module, for a run of a single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_id: Option<String>,
    /// The pipeline's name, for a run of a pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// Where it stands.
    pub status: RunStatus,
    /// Its host is gone; it waits for `resume`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Number of its nodes that were killed and do not go.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unkillable: u32,
    /// Why it waits, where that says more than its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When its first attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// From start to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<f64>,
    /// Exit code, of a run of a single module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// The first failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// The run that it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<RunId>,
    /// Runs whose results it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results_of: Vec<RunId>,
    /// By what a repeated submission is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// A script changed while it ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mixed_code: bool,
    /// Nodes by state; states with none are left out.
    #[serde(default)]
    pub nodes: BTreeMap<String, u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl RunRow {
    /// Name of what ran.
    #[must_use]
    pub fn name(&self) -> &str {
        self.pipeline.as_deref().or(self.module_id.as_deref()).unwrap_or("-")
    }

    /// The same run at its end.
    #[must_use]
    pub fn ended(mut self, status: RunStatus, at: Timestamp) -> Self {
        self.status = status;
        // One whose attempts all ended by themselves may never have been resumed.
        self.held = false;
        self.reason = None;
        self.completed_at = Some(at);
        self.duration_seconds = self.started_at.map(|started| at.since(started).to_std().as_secs_f64());
        self
    }

    /// Number of nodes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.nodes.values().sum()
    }
}

/// How every row begins, so that rows can be put in order without being parsed.
const ROW_HEAD: &str = r#"{"run_id":""#;

/// Rows of finished runs, as JSON text: a hundred thousand of them take some 30 MB and need no parsing until somebody looks.
#[derive(Debug, Clone, Default)]
pub struct Finished {
    rows: Vec<Arc<str>>,
}

impl Finished {
    /// Adds a row.
    pub fn push(&mut self, row: &RunRow) {
        // Strings, numbers and maps with string keys: this cannot fail.
        if let Ok(text) = serde_json::to_string(row) {
            self.push_text(&text);
        }
    }

    /// Adds a row as it stands in a snapshot or a record.
    pub fn push_text(&mut self, row: &str) {
        self.rows.push(row.into());
    }

    /// Forgets runs.
    pub fn remove(&mut self, runs: &BTreeSet<RunId>) {
        if !runs.is_empty() {
            let ids: BTreeSet<&str> = runs.iter().map(RunId::as_str).collect();
            self.rows.retain(|row| !ids.contains(id_of(row)));
        }
    }

    /// Those of these runs that are here.
    #[must_use]
    pub fn among(&self, runs: &BTreeSet<RunId>) -> Vec<RunId> {
        let ids: BTreeMap<&str, &RunId> = runs.iter().map(|run| (run.as_str(), run)).collect();
        self.ids().filter_map(|id| ids.get(id)).map(|run| RunId::clone(run)).collect()
    }

    /// All rows, in the order in which the runs ended. Takes some microseconds for each.
    pub fn rows(&self) -> impl Iterator<Item = RunRow> {
        self.texts().filter_map(read)
    }

    /// All rows as text, in the order in which the runs ended.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = &str> {
        self.rows.iter().map(AsRef::as_ref)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Ids of all runs, unsorted.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.texts().map(id_of)
    }

    /// The row of a run.
    #[must_use]
    pub fn get(&self, run: &RunId) -> Option<RunRow> {
        // From the end: people ask for what ran lately.
        let text = self.rows.iter().rev().find(|row| id_of(row) == run.as_str())?;
        read(text)
    }

    /// The newest rows by the time of submission, at most `limit`.
    #[must_use]
    pub fn newest(&self, limit: usize) -> Vec<RunRow> {
        let mut order: Vec<(Submitted<'_>, ())> = self.submitted().map(|submitted| (submitted, ())).collect();
        newest_first(&mut order, 0..limit);
        order.into_iter().take(limit).filter_map(|(submitted, ())| submitted.row()).collect()
    }

    /// Runs by the idempotency keys that they were submitted with.
    pub fn keys(&self) -> impl Iterator<Item = (String, RunId)> {
        // Few have one, and only those are parsed.
        let keyed = self.texts().filter(|text| text.contains(r#""idempotency":{"#));
        let rows = keyed.filter_map(read);
        rows.filter_map(|row| row.idempotency.map(|idempotency| (idempotency.key, row.run_id)))
    }

    /// All runs, to be put in the order of their submission.
    pub fn submitted(&self) -> impl Iterator<Item = Submitted<'_>> {
        self.texts().map(|text| Submitted { id: id_of(text), at: At::InRow(text) })
    }
}

/// A run and when it was submitted: to the second by its id, and exactly by its row, which has to be read for that.
#[derive(Debug, Clone, Copy)]
pub struct Submitted<'a> {
    /// The run's id.
    pub id: &'a str,
    at: At<'a>,
}

#[derive(Debug, Clone, Copy)]
enum At<'a> {
    Known(Timestamp),
    InRow(&'a str),
}

impl<'a> Submitted<'a> {
    /// A run that is not a row yet.
    #[must_use]
    pub fn new(id: &'a str, at: Timestamp) -> Self {
        Self { id, at: At::Known(at) }
    }

    /// The whole row, where it is one.
    #[must_use]
    pub fn row(&self) -> Option<RunRow> {
        match self.at {
            At::InRow(text) => read(text),
            At::Known(_) => None,
        }
    }

    fn second(&self) -> Option<&'a str> {
        /// Length of `YYYYMMDD-HHMMSS`.
        const SECOND: usize = 15;
        self.id.get(..SECOND)
    }

    fn time(&self) -> Timestamp {
        match self.at {
            At::Known(at) => at,
            At::InRow(text) => {
                let head = r#""created_at":""#;
                let value = text.find(head).and_then(|at| text[at + head.len()..].split('"').next());
                value.and_then(|value| Timestamp::parse_rfc3339(value).ok()).unwrap_or_default()
            }
        }
    }
}

/// Puts runs in order, the newest first, those that come to stand in `exact` exactly. All others only by the second: hosts start a
/// thousand runs in one, and to read ten thousand rows takes longer than all the rest of a look at the newest twenty.
pub fn newest_first<T>(runs: &mut [(Submitted<'_>, T)], exact: Range<usize>) {
    runs.sort_unstable_by(|(a, _), (b, _)| b.second().cmp(&a.second()));
    let mut begin = 0;
    for group in runs.chunk_by_mut(|(a, _), (b, _)| a.second() == b.second()) {
        let end = begin + group.len();
        if group.len() > 1 && begin < exact.end && exact.start < end {
            group.sort_by_cached_key(|(run, _)| Reverse((run.time(), run.id)));
        }
        begin = end;
    }
}

/// A row of a finished run.
fn read(text: &str) -> Option<RunRow> {
    let row: RunRow = serde_json::from_str(text).ok()?;
    Some(RunRow { held: row.held && !row.status.is_terminal(), ..row })
}

/// The run id of a row's text; empty for a text that is no row.
fn id_of(row: &str) -> &str {
    row.strip_prefix(ROW_HEAD).and_then(|rest| rest.split('"').next()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str) -> RunRow {
        RunRow {
            run_id: RunId::parse(id).expect("an id"),
            module_id: Some("m".into()),
            pipeline: None,
            status: RunStatus::Completed,
            held: false,
            unkillable: 0,
            reason: None,
            created_at: Timestamp::from_micros(1),
            started_at: None,
            completed_at: None,
            duration_seconds: Some(0.5),
            exit_code: Some(0),
            error_message: None,
            retry_of: None,
            results_of: Vec::new(),
            idempotency: None,
            mixed_code: false,
            nodes: BTreeMap::from([("completed".to_owned(), 1)]),
        }
    }

    #[test]
    fn the_newest_come_first() {
        let mut finished = Finished::default();
        let ids = ["20251120-081152-00001", "20251121-081152-00001", "20251120-081152-00000"];
        for (at, id) in ids.into_iter().enumerate() {
            // The last two were submitted in one second, the one with the smaller id later.
            finished.push(&RunRow { created_at: Timestamp::from_micros(i64::try_from(at).expect("few")), ..row(id) });
        }
        let newest: Vec<String> = finished.newest(2).iter().map(|row| row.run_id.to_string()).collect();
        assert_eq!(newest, [ids[1], ids[2]]);
        assert_eq!(finished.get(&row(ids[0]).run_id).map(|row| row.run_id.to_string()).as_deref(), Some(ids[0]));
        assert_eq!(finished.ids().collect::<Vec<_>>(), ids);
    }

    #[test]
    fn what_has_ended_waits_for_nobody() {
        let held = RunRow { held: true, status: RunStatus::Running, ..row("20251120-081152-00000") };
        assert!(!held.clone().ended(RunStatus::Completed, Timestamp::from_micros(2)).held);
        // Rows of hosts that did not know that.
        let mut finished = Finished::default();
        finished.push(&RunRow { status: RunStatus::Completed, ..held.clone() });
        assert!(!finished.get(&held.run_id).expect("it is there").held);
        assert!(finished.newest(1).iter().chain(&finished.rows().collect::<Vec<_>>()).all(|row| !row.held));
    }

    #[test]
    fn only_what_is_shown_is_put_in_order_within_a_second() {
        let ids: Vec<String> = (0..60).map(|at| format!("20251120-08115{}-{at:05}", at / 20)).collect();
        let at = |id: &str| Timestamp::from_micros(id[16..].parse::<i64>().expect("a number") * 7 % 60);
        let order = |exact: Range<usize>| -> Vec<&str> {
            let mut runs: Vec<_> = ids.iter().map(|id| (Submitted::new(id, at(id)), ())).collect();
            newest_first(&mut runs, exact);
            runs.into_iter().map(|(run, ())| run.id).collect()
        };
        let whole = order(0..60);
        assert!(whole.is_sorted_by_key(|id| Reverse((&id[..15], at(id)))), "{whole:?}");
        for exact in [0..0, 0..5, 18..22, 30..31, 45..60] {
            assert_eq!(order(exact.clone())[exact.clone()], whole[exact]);
        }
    }
}
