//! From the journal back to the state: the same `apply` as live, used by the host at its start and by verbs that only look.
//!
//! Runs that have ended are not replayed: their `run.end` carries the row of the index. A run whose records cannot be applied is set
//! aside with the reason; all others load.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::catalog;
use super::filing::Unfiled;
use super::index::Finished;
use super::prepare::RunHead;
use super::record::{self, RunEnd};
use super::submission::{PINNED_FORMAT, Pinned};
use super::workspace::Workspace;
use crate::event::{Event, Stamp};
use crate::ids::{RunId, Seq};
use crate::journal::{Damage, History, Record};
use crate::run::{Frozen, RunState};
use crate::scheduler::{Durations, World};
use crate::units::Timestamp;

/// What the journal tells.
#[derive(Default)]
pub(super) struct Replayed {
    /// Runs that have not ended.
    pub(super) runs: BTreeMap<RunId, (RunState, RunHead)>,
    /// Runs that have ended, but whose `run.json` was not written.
    pub(super) unfiled: BTreeMap<RunId, (RunState, RunHead)>,
    /// Rows of runs that have ended.
    pub(super) finished: Finished,
    /// Runs that were pruned since the snapshot, and when.
    pub(super) pruned: BTreeMap<RunId, Timestamp>,
    /// Runs that were pruned before it, and whose folders were still there.
    pub(super) pruning: BTreeSet<RunId>,
    /// What was learned of durations.
    pub(super) durations: Durations,
    /// Runs that cannot be read, with the reason.
    pub(super) unreadable: BTreeMap<RunId, String>,
    /// Boot of the machine on which the last attempt of each live run was intended, to tell a crash from a restart. Of what a later boot
    /// wrote about the run, its recovery may be a part that was cut short.
    pub(super) boots: HashMap<RunId, String>,
}

/// Kind of the record after which an attempt may start.
const INTENT: &str = "att.intent";

/// A line of a snapshot that is no row of a finished run.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SnapshotLine<'a> {
    Durations(Durations),
    Pruning(BTreeSet<RunId>),
    #[serde(borrow)]
    Live(LiveLine<'a>),
}

#[derive(Serialize, Deserialize)]
struct LiveLine<'a> {
    run: RunId,
    /// Boot of the machine on which its attempts are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
    #[serde(borrow)]
    state: &'a RawValue,
}

/// The state as lines of a snapshot. Runs whose file is not written yet are in it whole: it can only be made of them.
pub(super) fn snapshot_lines<'a>(
    finished: &Finished,
    pruning: &BTreeSet<RunId>,
    world: &'a World,
    unfiled: impl Iterator<Item = &'a Unfiled>,
) -> Vec<String> {
    let mut lines: Vec<String> = Vec::with_capacity(finished.len() + 8);
    lines.extend(finished.texts().map(str::to_owned));
    // Our own words with string keys: writing them cannot fail.
    lines.extend(serde_json::to_string(&SnapshotLine::Durations(Durations::clone(world.durations()))).ok());
    if !pruning.is_empty() {
        lines.extend(serde_json::to_string(&SnapshotLine::Pruning(pruning.clone())).ok());
    }
    // What another boot had left was dealt with before this one went on.
    let boot = Some(crate::journal::boot_id().to_owned());
    for state in world.runs().chain(unfiled.map(Unfiled::state)) {
        let Ok(frozen) = serde_json::value::to_raw_value(&state.freeze()) else { continue };
        lines.extend(
            serde_json::to_string(&SnapshotLine::Live(LiveLine { run: state.id().clone(), boot: boot.clone(), state: &frozen })).ok(),
        );
    }
    lines
}

/// Tells the journal again. `file_missing` asks whether the `run.json` of an ended run is not there.
///
/// # Errors
/// A record that cannot be read.
pub(super) fn replay(workspace: &Workspace, history: &History, file_missing: impl Fn(&RunId) -> bool) -> Result<Replayed, Damage> {
    let (replayed, damage) = replay_to_damage(workspace, history, file_missing);
    damage.map_or(Ok(replayed), Err)
}

/// The same up to the first record that cannot be read, and that.
pub(super) fn replay_to_damage(
    workspace: &Workspace,
    history: &History,
    file_missing: impl Fn(&RunId) -> bool,
) -> (Replayed, Option<Damage>) {
    let mut replayed = Replayed::default();
    let mut damage = None;
    read_snapshot(workspace, history, &mut replayed);
    let ended = read_ends(history, &file_missing, &mut replayed, &mut damage);
    for record in history.records_where(|_, run| run.is_some_and(|run| !ended.contains(run))) {
        let Some(record) = whole(record, &mut damage) else { break };
        let Some(run) = record.run.as_deref().and_then(|run| RunId::parse(run).ok()) else { continue };
        if !replayed.unreadable.contains_key(&run) {
            if record.kind == INTENT || !replayed.boots.contains_key(&run) {
                replayed.boots.insert(run.clone(), record.boot.clone().into_owned());
            }
            if let Err(reason) = tell(workspace, &record, &run, &mut replayed.runs) {
                replayed.runs.remove(&run);
                replayed.unreadable.insert(run, reason);
            }
        }
    }
    let over: Vec<RunId> =
        replayed.runs.iter().filter(|(_, (state, _))| state.status().is_terminal()).map(|(run, _)| run.clone()).collect();
    for run in over {
        replayed.unfiled.extend(replayed.runs.remove_entry(&run));
    }
    (replayed, damage)
}

/// A record, or the end of what can be told.
fn whole<'a>(record: Result<Record<'a>, Damage>, damage: &mut Option<Damage>) -> Option<Record<'a>> {
    record.map_err(|found| *damage = damage.take().filter(|known| known.seq <= found.seq).or(Some(found))).ok()
}

fn read_snapshot(workspace: &Workspace, history: &History, replayed: &mut Replayed) {
    for line in history.snapshot_lines() {
        if line.starts_with(r#"{"run_id":"#) {
            replayed.finished.push_text(line);
            continue;
        }
        match serde_json::from_str::<SnapshotLine<'_>>(line) {
            Ok(SnapshotLine::Durations(durations)) => replayed.durations = durations,
            Ok(SnapshotLine::Pruning(runs)) => replayed.pruning = runs,
            Ok(SnapshotLine::Live(live)) => match thaw(workspace, &live) {
                Ok(found) => {
                    replayed.boots.extend(live.boot.map(|boot| (live.run.clone(), boot)));
                    replayed.runs.insert(live.run, found);
                }
                Err(reason) => drop(replayed.unreadable.insert(live.run, reason)),
            },
            Err(error) => tracing::error!(%error, "a line of the snapshot is not understood"),
        }
    }
}

fn thaw(workspace: &Workspace, live: &LiveLine<'_>) -> Result<(RunState, RunHead), String> {
    let (pinned, definition) = load_pinned(workspace, &live.run, None)?;
    let head = RunHead::of(&pinned, &definition);
    let frozen: Frozen = serde_json::from_str(live.state.get()).map_err(|error| error.to_string())?;
    let root = workspace.root().to_string_lossy().into_owned();
    let precedence = pinned.precedence();
    let thawed = RunState::thaw(live.run.clone(), definition, Arc::new(pinned.params), root, frozen);
    let mut state = thawed.map_err(|error| error.to_string())?;
    state.set_precedence(precedence);
    Ok((state, head))
}

/// First pass: rows of runs that ended. Those whose file is missing are told again, so that it can be written; those that were pruned are
/// not told at all.
fn read_ends(
    history: &History,
    file_missing: &impl Fn(&RunId) -> bool,
    replayed: &mut Replayed,
    damage: &mut Option<Damage>,
) -> HashSet<RunId> {
    let mut ended = HashSet::new();
    let mut ends = Vec::new();
    for record in history.records_where(|kind, _| kind == "run.end" || kind == record::RUN_PRUNE) {
        let Some(record) = whole(record, damage) else { break };
        let Some(run) = record.run.as_deref().and_then(|run| RunId::parse(run).ok()) else { continue };
        if record.kind == record::RUN_PRUNE {
            replayed.pruned.insert(run, record.at);
        } else {
            ends.push((run, record));
        }
    }
    ended.extend(replayed.pruned.keys().cloned());
    replayed.finished.remove(&replayed.pruned.keys().cloned().collect());
    // One that was live when the snapshot was made: its folder is gone, so that it could not even be read.
    replayed.runs.retain(|run, _| !ended.contains(run));
    replayed.unreadable.retain(|run, _| !ended.contains(run));
    for (run, record) in ends {
        let end: Option<RunEnd<'_>> = record.data.as_deref().and_then(|data| serde_json::from_str(data).ok());
        let Some((row, learned)) = end.and_then(|end| Some((end.row?, end.learned?))) else { continue };
        if let Ok(learned) = serde_json::from_str::<Durations>(learned.get()) {
            replayed.durations.merge(&learned);
        }
        if ended.contains(&run) || file_missing(&run) {
            continue;
        }
        replayed.finished.push_text(row.get());
        replayed.runs.remove(&run);
        replayed.unreadable.remove(&run);
        ended.insert(run);
    }
    ended
}

/// One record of a run that is told again.
fn tell(workspace: &Workspace, record: &Record<'_>, run: &RunId, runs: &mut BTreeMap<RunId, (RunState, RunHead)>) -> Result<(), String> {
    let data = record.data.as_deref().unwrap_or("");
    if record.kind == "run.submit" {
        let hash = match record::event(&record.kind, None, None, data, |_| None) {
            Ok(Event::RunSubmitted { pinned }) => pinned,
            Ok(_) => return Err("its first record is no submission".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let (pinned, definition) = load_pinned(workspace, run, Some(&hash))?;
        let head = RunHead::of(&pinned, &definition);
        let root = workspace.root().to_string_lossy().into_owned();
        let precedence = pinned.precedence();
        let mut state = RunState::new(run.clone(), definition, Arc::new(pinned.params), root);
        state.set_precedence(precedence);
        runs.insert(run.clone(), (state, head));
    }
    let Some((state, _)) = runs.get_mut(run) else {
        return Err("records of it are there, but not its submission".to_owned());
    };
    let event = record::event(&record.kind, record.node.as_deref(), record.attempt, data, |path| state.find(path))
        .map_err(|error| error.to_string())?;
    let stamp = Stamp { seq: Seq(record.seq.0), at: record.at };
    state.apply(&event, stamp).map_err(|error| format!("record {}: {error}", record.seq.0))
}

/// What a run was submitted with, and the graph made of it.
///
/// # Errors
/// Why it cannot be read, in words.
pub(super) fn load_pinned(
    workspace: &Workspace,
    run: &RunId,
    hash: Option<&str>,
) -> Result<(Pinned, Arc<crate::pipeline::definition::Definition>), String> {
    let file = workspace.run(run).join("pinned.json");
    let text = std::fs::read(&file).map_err(|error| format!("{}: {error}", workspace.display(&file)))?;
    if hash.is_some_and(|hash| blake3::hash(&text).to_hex().as_str() != hash) {
        return Err(format!("{} is not what was submitted: its hash differs", workspace.display(&file)));
    }
    let pinned: Pinned = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", workspace.display(&file)))?;
    if pinned.format > PINNED_FORMAT {
        return Err(format!("{} has format {}, this program reads up to {PINNED_FORMAT}", workspace.display(&file), pinned.format));
    }
    let definition = catalog::pinned_definition(&pinned).map_err(|diagnostics| diagnostics.to_string())?;
    Ok((pinned, definition))
}
