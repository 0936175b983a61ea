//! `.prismq/reuse/`: of each module its results by key, and which was the last, with these
//! parameters and at all. One small file for each, written aside and renamed; one that
//! a crash left incomplete is none.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key;
use super::made::{Made, made};
use crate::event::{NotReused, ReuseKey};
use crate::host::workspace::{Workspace, create_private_folder};
use crate::ids::{ModuleId, RunId};
use crate::manifest::Module;
use crate::run::NodeStatus;
use crate::run::view::NodeRow;

/// Steps of the clock by which file systems tell when a file was changed, at most.
const TICK: Duration = Duration::from_millis(20);

/// Name of the entry of the last result.
const LAST: &str = "last";

/// A result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) key: ReuseKey,
    pub(super) run: RunId,
    node: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) outputs: Option<Arc<Value>>,
    /// The files that they name, as they were. Earlier versions did not say: such a result is taken only where it names none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) made: BTreeMap<String, Made>,
}

pub(super) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.state().join("reuse")
}

/// With something before the name: some are devices of Windows.
fn file(workspace: &Workspace, module: &ModuleId, name: &str) -> PathBuf {
    folder(workspace).join(format!("m-{module}")).join(format!("{name}.json"))
}

fn name(key: &ReuseKey) -> String {
    let all = [&key.module, &key.script, &key.params, &key.inputs].map(String::as_str).join("-");
    blake3::hash(all.as_bytes()).to_hex()[..32].to_owned()
}

/// Name of the entry of the last result with the same parameters.
fn like(key: &ReuseKey) -> String {
    format!("p-{}", key.params)
}

fn read(file: &PathBuf) -> Option<Entry> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// The result of an attempt with this key.
///
/// # Errors
/// Why there is none.
pub(super) fn find(workspace: &Workspace, module: &ModuleId, key: &ReuseKey) -> Result<Entry, NotReused> {
    if let Some(entry) = read(&file(workspace, module, &name(key))).filter(|entry| entry.key == *key) {
        let is_there = workspace.run(&entry.run).join("run.json").exists();
        return if is_there { Ok(entry) } else { Err(NotReused::Pruned { run: entry.run }) };
    }
    // What had the same parameters tells more than what was last.
    match [like(key).as_str(), LAST].iter().find_map(|name| read(&file(workspace, module, name))) {
        Some(last) => Err(NotReused::Changed { since: last.run, parts: key.changes_since(&last.key) }),
        None => Err(NotReused::First),
    }
}

/// Notes the result of a node, if it completed and its inputs are still those that were looked at.
///
/// # Errors
/// What the disk says.
pub(super) fn remember(workspace: &Workspace, run: &RunId, row: &NodeRow, module: &Module) -> io::Result<()> {
    let Some((check, key)) = row.reuse.as_ref().and_then(|check| Some((check, check.key.as_ref()?))) else { return Ok(()) };
    if row.status != NodeStatus::Completed || !key::is_of_script(key, row.script_hash.as_deref()) {
        return Ok(());
    }
    let looked = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(check.at.micros()).unwrap_or(0));
    let unchanged = check.files.is_empty() || key::newest(&check.files).is_some_and(|newest| newest + TICK < looked);
    if !unchanged {
        tracing::debug!(%run, node = row.node, "an input changed while it ran");
        return Ok(());
    }
    let Some(made) = made(module, row.outputs.as_deref(), row.ended_at.unwrap_or_default()) else {
        tracing::debug!(%run, node = row.node, "a file that it made was written after its end");
        return Ok(());
    };
    let entry = Entry { key: key.clone(), run: run.clone(), node: row.node.clone(), outputs: row.outputs.clone(), made };
    let text = serde_json::to_vec(&entry)?;
    for name in [name(key).as_str(), like(key).as_str(), LAST] {
        let file = file(workspace, &module.id, name);
        if let Some(folder) = file.parent().filter(|folder| !folder.exists()) {
            create_private_folder(folder)?;
        }
        // One host, and in it one thread, writes here.
        let aside = file.with_extension("tmp");
        fs::write(&aside, &text)?;
        fs::rename(&aside, &file)?;
    }
    Ok(())
}
