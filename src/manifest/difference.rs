//! What became of the modules of a workspace between two moments: a reload is told as the difference of two registries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::registry::{Broken, Registry};
use super::{Module, Program};
use crate::diagnostics::Diagnostics;
use crate::ids::ModuleId;

/// What happened to a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleChangeKind {
    /// It is new.
    Added,
    /// Its manifest says something else, or lies elsewhere.
    Changed,
    /// It is gone.
    Removed,
    /// Its manifest is refused, or refused for other reasons than before.
    Broken,
    /// Its manifest was refused and is good.
    Repaired,
}

/// A change of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleChange {
    /// What happened.
    pub kind: ModuleChangeKind,
    /// Its manifest.
    pub file: PathBuf,
    /// Its id, where that is known.
    pub id: Option<ModuleId>,
    /// What is different, in the words of manifests; of changed and repaired ones. Empty where only comments or the order differ.
    pub what: Vec<&'static str>,
    /// Why it is refused, of broken ones.
    pub diagnostics: Diagnostics,
    /// Whether the module can be used: of a broken one, that its last good version stays in use.
    pub usable: bool,
}

/// All changes from one registry to the next: modules by id, then broken manifests by file. Equal registries have none.
#[must_use]
pub fn difference(before: &Registry, after: &Registry) -> Vec<ModuleChange> {
    let was_broken: BTreeMap<&Path, &Broken> = by_file(before);
    let is_broken: BTreeMap<&Path, &Broken> = by_file(after);
    let mut changes = Vec::new();
    for module in after.iter().filter(|module| after.kept_despite(&module.id).is_none()) {
        changes.extend(of_good(module, before, &was_broken));
    }
    for module in before.iter().filter(|module| after.get(module.id.as_str()).is_none()) {
        let file = module.file();
        if !is_broken.contains_key(file.as_path()) {
            changes.push(plain(ModuleChangeKind::Removed, file, Some(module.id.clone()), false));
        }
    }
    for (file, broken) in &is_broken {
        let same = was_broken.get(file).is_some_and(|was| was.diagnostics == broken.diagnostics && was.last_good == broken.last_good);
        if !same {
            let id = broken.last_good.clone().or_else(|| broken.id.clone());
            let change = plain(ModuleChangeKind::Broken, broken.file.clone(), id, broken.last_good.is_some());
            changes.push(ModuleChange { diagnostics: broken.diagnostics.clone(), ..change });
        }
    }
    let good_files: Vec<PathBuf> = if was_broken.is_empty() { Vec::new() } else { after.iter().map(|module| module.file()).collect() };
    for (file, broken) in was_broken.iter().filter(|(file, _)| !is_broken.contains_key(*file)) {
        // One whose last good version was in use is told as a module above.
        if broken.last_good.is_none() && !good_files.iter().any(|good| good == file) {
            changes.push(plain(ModuleChangeKind::Removed, broken.file.clone(), broken.id.clone(), false));
        }
    }
    changes
}

fn by_file(registry: &Registry) -> BTreeMap<&Path, &Broken> {
    registry.broken().iter().map(|broken| (broken.file.as_path(), broken)).collect()
}

fn plain(kind: ModuleChangeKind, file: PathBuf, id: Option<ModuleId>, usable: bool) -> ModuleChange {
    ModuleChange { kind, file, id, what: Vec::new(), diagnostics: Diagnostics::new(), usable }
}

/// What happened to a module that is good now.
fn of_good(module: &Module, before: &Registry, was_broken: &BTreeMap<&Path, &Broken>) -> Option<ModuleChange> {
    let file = module.file();
    let repaired = was_broken.contains_key(file.as_path());
    let (kind, what) = match before.get(module.id.as_str()) {
        None if repaired => (ModuleChangeKind::Repaired, Vec::new()),
        None => (ModuleChangeKind::Added, Vec::new()),
        Some(was) if repaired => (ModuleChangeKind::Repaired, changed_keys(was, module)),
        Some(was) if was.source == module.source && was.folder == module.folder => return None,
        Some(was) => (ModuleChangeKind::Changed, changed_keys(was, module)),
    };
    Some(ModuleChange { what, ..plain(kind, file, Some(module.id.clone()), true) })
}

/// In which keys two versions of a module differ.
fn changed_keys(was: &Module, is: &Module) -> Vec<&'static str> {
    let ids = |module: &Module| -> Vec<ModuleId> { module.dependencies.iter().map(|(id, _)| id.clone()).collect() };
    let schema = |schema: &Option<crate::params::ParamSchema>| schema.as_ref().map(|schema| schema.schema().clone());
    let (a, b) = (was.settings.as_ref(), is.settings.as_ref());
    let differs: [(&'static str, bool); 27] = [
        ("file", was.file() != is.file()),
        ("name", was.name != is.name),
        ("description", was.description != is.description),
        ("version", was.version != is.version),
        ("category", was.category != is.category),
        ("tags", was.tags != is.tags),
        (program_key(is), program(was) != program(is)),
        ("params", was.params.schema() != is.params.schema()),
        ("outputs", schema(&was.outputs) != schema(&is.outputs)),
        ("dependencies", ids(was) != ids(is)),
        ("concurrency", was.concurrency != is.concurrency),
        ("requires", was.requires != is.requires),
        ("pass_env", was.pass_env != is.pass_env),
        ("pin", was.pin != is.pin),
        ("enabled", was.enabled != is.enabled),
        ("resources", a.request != b.request),
        ("timeout", a.timeout != b.timeout),
        ("grace", a.grace != b.grace),
        ("retry", a.retry != b.retry),
        ("environment", a.environment != b.environment),
        ("workdir", a.workdir != b.workdir),
        ("isolation", a.isolation != b.isolation),
        ("arguments", a.arguments != b.arguments),
        ("capture", a.capture != b.capture || a.log_cap != b.log_cap),
        ("leaks", a.leaks != b.leaks),
        ("duration", a.duration != b.duration),
        ("reuse", a.reuse != b.reuse),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

fn program_key(module: &Module) -> &'static str {
    match module.program {
        Program::Script { .. } => "script",
        Program::Command(_) => "command",
    }
}

/// Templates have no equality of their own; what they were read from has.
fn program(module: &Module) -> Value {
    match &module.program {
        Program::Script { path, runtime, python } => {
            serde_json::json!([path.to_string_lossy(), format!("{runtime:?}"), format!("{python:?}")])
        }
        Program::Command(parts) => Value::Array(parts.iter().map(|part| Value::String(format!("{part:?}"))).collect()),
    }
}

#[cfg(test)]
#[path = "difference/tests.rs"]
mod tests;
