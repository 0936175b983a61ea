//! What came of every manifest, file by file, so that a change of one does not cost the reading of all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::catalog;
use crate::diagnostics::{Diagnostic, Diagnostics, Source};
use crate::manifest::registry::{LastGood, ManifestResult, Registry};
use crate::manifest::{Defaults, Module};

/// Results of reading, and the last good version of each file.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    results: BTreeMap<PathBuf, ManifestResult>,
    last_good: BTreeMap<PathBuf, Arc<Module>>,
    /// Files that are not read at all, and why.
    refused: BTreeMap<PathBuf, Diagnostic>,
}

impl Manifests {
    /// What a file says now.
    pub(super) fn put(&mut self, file: &Path, source: Result<Arc<Source>, Diagnostic>, defaults: &Defaults) {
        let result = catalog::read_manifest(file.to_owned(), source, defaults);
        if let Ok((module, _)) = &result.outcome {
            self.last_good.insert(file.to_owned(), module.clone());
        }
        self.results.insert(file.to_owned(), result);
    }

    /// What came of a file, to be put back if its next state is none.
    pub(super) fn take(&mut self, file: &Path) -> (Option<ManifestResult>, Option<Arc<Module>>) {
        (self.results.remove(file), self.last_good.get(file).cloned())
    }

    /// Puts back what was taken.
    pub(super) fn put_back(&mut self, file: &Path, (result, last_good): (Option<ManifestResult>, Option<Arc<Module>>)) {
        self.results.remove(file);
        self.results.extend(result.map(|result| (file.to_owned(), result)));
        self.last_good.remove(file);
        self.last_good.extend(last_good.map(|module| (file.to_owned(), module)));
    }

    /// Whether a file is good in the state that was read last.
    pub(super) fn is_good(&self, file: &Path) -> bool {
        self.results.get(file).is_some_and(|result| result.outcome.is_ok())
    }

    /// A file is gone. Whether it was known.
    pub(super) fn remove(&mut self, file: &Path) -> bool {
        self.last_good.remove(file);
        self.results.remove(file).is_some()
    }

    /// Files that cannot be read by what they are. Whether that is news.
    pub(super) fn set_refused(&mut self, refused: BTreeMap<PathBuf, Diagnostic>) -> bool {
        let same = self.refused == refused;
        self.refused = refused;
        !same
    }

    /// Files that are known.
    pub(super) fn files(&self) -> BTreeSet<PathBuf> {
        self.results.keys().cloned().collect()
    }

    /// All modules. A file that is missing at this moment counts as it was, unless another one takes its place.
    pub(super) fn registry(&self, is_missing: impl Fn(&Path) -> bool) -> Registry {
        let read = self.results.values().filter(|result| !self.refused.contains_key(&result.file) && !is_missing(&result.file)).cloned();
        let refused = self.refused.iter().map(|(file, why)| {
            let outcome = Err(Diagnostics::from(why.clone()));
            ManifestResult { file: file.clone(), id: None, outcome }
        });
        let mut results: Vec<ManifestResult> = read.chain(refused).collect();
        results.sort_by(|a, b| a.file.cmp(&b.file));
        let kept = self.last_good.iter().filter(|(file, _)| !self.is_good(file) || self.refused.contains_key(*file) || is_missing(file));
        let kept = kept.map(|(file, module)| LastGood { file: file.clone(), module: module.clone() });
        Registry::build_keeping(results, kept.collect())
    }
}
