//! All modules of a workspace: the good ones by id, the broken ones with their mistakes beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostics::{Diagnostic, Diagnostics, Place, suggest};
use crate::ids::ModuleId;

use super::Module;

/// What came of one manifest file.
#[derive(Debug, Clone)]
pub struct ManifestResult {
    /// The file.
    pub file: PathBuf,
    /// Its id, where that much could be read; see [`readable_id`](super::readable_id).
    pub id: Option<(ModuleId, Place)>,
    /// The module with its warnings, or the mistakes.
    pub outcome: Result<(Arc<Module>, Diagnostics), Diagnostics>,
}

/// A manifest that is refused.
#[derive(Debug, Clone)]
pub struct Broken {
    /// The file.
    pub file: PathBuf,
    /// Its id, where that much could be read.
    pub id: Option<ModuleId>,
    /// Why.
    pub diagnostics: Diagnostics,
    /// The module whose last good version, from this file, is still in use.
    pub last_good: Option<ModuleId>,
}

/// A module as a file described it before.
#[derive(Debug, Clone)]
pub struct LastGood {
    /// The file.
    pub file: PathBuf,
    /// The module.
    pub module: Arc<Module>,
}

/// The modules of a workspace at one moment. Immutable: a reload builds a new one.
#[derive(Debug, Default)]
pub struct Registry {
    modules: BTreeMap<ModuleId, Arc<Module>>,
    broken: Vec<Broken>,
    findings: Diagnostics,
}

impl Registry {
    /// Builds it from what came of every file, in the order given. Where two files claim an id, both are refused, since nobody can
    /// know which one is meant.
    #[must_use]
    pub fn build(results: Vec<ManifestResult>) -> Self {
        Self::build_keeping(results, Vec::new())
    }

    /// The same; what `last_good` holds of files that are broken now, or missing for a moment, stays in use. It gives way to any other
    /// file that claims its id.
    #[must_use]
    pub fn build_keeping(results: Vec<ManifestResult>, last_good: Vec<LastGood>) -> Self {
        let claims = claims_of(&results);
        let mut registry = Self::default();
        for result in results {
            let id = result.id.map(|(id, _)| id).or_else(|| result.outcome.as_ref().ok().map(|(module, _)| module.id.clone()));
            let rival = id.as_ref().and_then(|id| refuse_rival(id, &result.file, claims.get(id)?));
            match (result.outcome, rival) {
                (Ok((module, warnings)), None) => {
                    registry.findings.extend(warnings);
                    registry.modules.insert(module.id.clone(), module);
                }
                (Ok((_, mut found)), Some(rival)) | (Err(mut found), Some(rival)) => {
                    found.push(rival);
                    registry.broken.push(Broken { file: result.file, id, diagnostics: found, last_good: None });
                }
                (Err(diagnostics), None) => registry.broken.push(Broken { file: result.file, id, diagnostics, last_good: None }),
            }
        }
        for kept in last_good {
            registry.keep(kept, &claims);
        }
        registry.check_dependencies();
        registry
    }

    fn keep(&mut self, kept: LastGood, claims: &BTreeMap<ModuleId, Vec<(PathBuf, Place)>>) {
        let id = kept.module.id.clone();
        let rivals = claims.get(&id).into_iter().flatten().any(|(file, _)| *file != kept.file);
        if rivals || self.modules.contains_key(&id) {
            return;
        }
        if let Some(broken) = self.broken.iter_mut().find(|broken| broken.file == kept.file) {
            broken.last_good = Some(id.clone());
        }
        self.modules.insert(id, kept.module);
    }

    /// A module.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Module>> {
        self.modules.get(id)
    }

    /// All good modules, by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Module>> {
        self.modules.values()
    }

    /// The refused manifests.
    #[must_use]
    pub fn broken(&self) -> &[Broken] {
        &self.broken
    }

    /// The refused manifest that claims an id, so that "no such module" can say why.
    #[must_use]
    pub fn broken_named(&self, id: &str) -> Option<&Broken> {
        self.broken.iter().find(|broken| broken.id.as_ref().is_some_and(|known| known.as_str() == id))
    }

    /// The broken manifest of whose last good version a module is, if it is one.
    #[must_use]
    pub fn kept_despite(&self, id: &ModuleId) -> Option<&Broken> {
        self.broken.iter().find(|broken| broken.last_good.as_ref() == Some(id))
    }

    /// Warnings of good manifests, dependencies that no module provides, and circles of dependencies.
    #[must_use]
    pub fn findings(&self) -> &Diagnostics {
        &self.findings
    }

    /// Help for a name that no module has.
    #[must_use]
    pub fn suggest(&self, name: &str) -> Option<String> {
        let names: Vec<&str> = self.modules.keys().map(ModuleId::as_str).collect();
        suggest(name, names)
    }

    fn check_dependencies(&mut self) {
        let mut found = Diagnostics::new();
        for module in self.modules.values() {
            for (id, place) in module.dependencies.iter().filter(|(id, _)| !self.modules.contains_key(id)) {
                let warning = Diagnostic::warning(format!("`{}` depends on the module `{id}`, which is not there", module.id));
                let help = match self.broken_named(id.as_str()) {
                    Some(broken) => Some(format!("its manifest {} is broken", broken.file.display())),
                    None => self.suggest(id.as_str()),
                };
                found.push(warning.at(place.clone()).with_help_of(help));
            }
        }
        found.extend(self.circles());
        self.findings.extend(found);
    }

    /// One error for each circle, named in full with the place of every edge.
    fn circles(&self) -> Vec<Diagnostic> {
        let mut state: BTreeMap<&ModuleId, bool> = BTreeMap::new(); // false: on the path, true: done
        let mut found = Vec::new();
        for start in self.modules.keys() {
            if state.contains_key(start) {
                continue;
            }
            // A stack of its own instead of recursion: (module, next dependency).
            let mut path: Vec<(&Module, usize)> = Vec::new();
            if let Some(module) = self.modules.get(start) {
                state.insert(&module.id, false);
                path.push((module, 0));
            }
            while let Some((module, next)) = path.last_mut() {
                let module: &Module = module;
                let Some((id, _)) = module.dependencies.get(*next) else {
                    state.insert(&module.id, true);
                    path.pop();
                    continue;
                };
                *next += 1;
                match (self.modules.get(id), state.get(id)) {
                    (Some(dependency), None) => {
                        state.insert(&dependency.id, false);
                        path.push((dependency, 0));
                    }
                    (Some(_), Some(false)) => found.extend(circle(&path, id)),
                    (Some(_), Some(true)) | (None, _) => {}
                }
            }
        }
        found
    }
}

/// The circle that closes at `id`, which stands on the path.
fn circle(path: &[(&Module, usize)], id: &ModuleId) -> Option<Diagnostic> {
    let start = path.iter().position(|(module, _)| module.id == *id)?;
    let ring = &path[start..];
    let names: Vec<&str> = ring.iter().map(|(module, _)| module.id.as_str()).chain([id.as_str()]).collect();
    let mut edges = ring.iter().filter_map(|(module, next)| module.dependencies.get(next.checked_sub(1)?));
    let (_, first) = edges.next()?;
    let error = Diagnostic::error(format!("these modules depend on each other in a circle: {}", names.join(" -> "))).at(first.clone());
    Some(edges.fold(error, |error, (target, place)| error.with_related(format!("needs `{target}`"), place.clone())))
}

/// Which files claim each id.
fn claims_of(results: &[ManifestResult]) -> BTreeMap<ModuleId, Vec<(PathBuf, Place)>> {
    let mut claims: BTreeMap<ModuleId, Vec<(PathBuf, Place)>> = BTreeMap::new();
    for result in results {
        let claimed = match (&result.id, &result.outcome) {
            (Some((id, place)), _) => Some((id.clone(), place.clone())),
            (None, Ok((module, _))) => Some((module.id.clone(), module.id_place.clone())),
            (None, Err(_)) => None,
        };
        if let Some((id, place)) = claimed {
            claims.entry(id).or_default().push((result.file.clone(), place));
        }
    }
    claims
}

fn refuse_rival(id: &ModuleId, file: &Path, claims: &[(PathBuf, Place)]) -> Option<Diagnostic> {
    let (_, own) = claims.iter().find(|(known, _)| known == file)?;
    let mut rivals = claims.iter().filter(|(known, _)| known != file).peekable();
    rivals.peek()?;
    let refusal =
        Diagnostic::error(format!("the id `{id}` is claimed by more than one manifest, and none of them is used")).at(own.clone());
    let refusal = refusal.with_help("give each module an id of its own");
    Some(rivals.fold(refusal, |refusal, (file, place)| refusal.with_related(format!("also in {}", file.display()), place.clone())))
}
