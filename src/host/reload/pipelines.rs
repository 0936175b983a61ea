//! The pipelines of the catalogue (`pipelines:` of the settings), and which of them are broken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::catalog::Catalog;
use super::super::workspace::Workspace;
use super::update::{Change, Mistake, PipelineNews, mistakes};
use crate::diagnostics::Diagnostics;

/// Longer files are listed and not checked: generated ones take seconds.
const CHECKED_BYTES_MAX: u64 = 1 << 20;

/// Pipelines by file, with what is wrong with them.
#[derive(Debug)]
pub(super) struct Pipelines {
    on: bool,
    known: BTreeMap<PathBuf, Diagnostics>,
}

/// A pipeline of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PipelineEntry {
    /// Its file, relative to the workspace.
    pub file: String,
    /// What is wrong with it. Empty for a good one, and for one that is too large to be looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Mistake>,
}

impl Pipelines {
    pub(super) fn new(on: bool) -> Self {
        Self { on, known: BTreeMap::new() }
    }

    /// Whether they are looked at.
    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    pub(super) fn knows_any(&self, files: &[PathBuf]) -> bool {
        files.iter().any(|file| self.known.contains_key(file))
    }

    /// All of them.
    pub(super) fn entries(&self, workspace: &Workspace) -> Vec<PipelineEntry> {
        let entry = |(file, found): (&PathBuf, &Diagnostics)| PipelineEntry { file: workspace.display(file), errors: mistakes(found) };
        self.known.iter().map(entry).collect()
    }

    /// Checks those that are there now against the modules of now, and tells what has become of them. One that is missing at this moment,
    /// or being written stays as it was.
    pub(super) fn check(
        &mut self,
        catalog: &Catalog,
        files: &[PathBuf],
        changed: &[PathBuf],
        is_unsettled: impl Fn(&Path) -> bool,
    ) -> Vec<PipelineNews> {
        let mut next: BTreeMap<PathBuf, Diagnostics> = BTreeMap::new();
        let mut news = Vec::new();
        for file in files.iter().filter(|file| !is_unsettled(file)) {
            let found = check_one(catalog, file);
            let before = self.known.get(file);
            let change = match before {
                None if found.has_errors() => Some(Change::Broken),
                None => Some(Change::Added),
                Some(before) if found.has_errors() => (*before != found).then_some(Change::Broken),
                Some(before) if before.has_errors() => Some(Change::Repaired),
                Some(_) => changed.contains(file).then_some(Change::Changed),
            };
            let file_name = catalog.workspace.display(file);
            news.extend(change.map(|change| PipelineNews { change, file: file_name, errors: mistakes(&found) }));
            next.insert(file.clone(), found);
        }
        for (file, found) in std::mem::take(&mut self.known) {
            if next.contains_key(&file) {
                continue;
            }
            if is_unsettled(&file) {
                next.insert(file, found);
            } else {
                news.push(PipelineNews { change: Change::Removed, file: catalog.workspace.display(&file), errors: Vec::new() });
            }
        }
        self.known = next;
        news
    }
}

fn check_one(catalog: &Catalog, file: &Path) -> Diagnostics {
    // One that cannot be looked at is read for the reason.
    if std::fs::metadata(file).is_ok_and(|facts| facts.len() > CHECKED_BYTES_MAX) {
        return Diagnostics::new();
    }
    catalog.pipeline_once(file).err().unwrap_or_default()
}
