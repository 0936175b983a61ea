//! Modules as people are shown them: what can be run, with what is broken beside it.
//!
//! Owned and plain, so that a host can tell a terminal of them. Knows nothing of how they are printed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::catalog::{Catalog, NoModule};
use super::learned::Learned;
use super::workspace::Workspace;
use crate::ids::ModuleId;
use crate::manifest::registry::Broken;
use crate::manifest::{Module, Program};
use crate::request::NodeSettings;

/// The modules of a workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModuleList {
    /// Good ones, by id.
    pub modules: Vec<ModuleShown>,
    /// Manifests that are refused.
    pub broken: Vec<BrokenShown>,
}

/// A module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModuleShown {
    /// Its id.
    pub id: ModuleId,
    /// Name for people.
    pub name: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its author's number for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where it stands in the tree of modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Off: nothing can start it.
    pub enabled: bool,
    /// Its manifest is broken now: this is its last good version, which its host goes on with.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last_good: bool,
    /// Its manifest.
    pub file: String,
    /// What it runs.
    pub runs: String,
    /// JSON Schema of its parameters.
    pub params: Value,
    /// JSON Schema of what it reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Value>,
    /// Modules that run before it when that is asked for.
    pub dependencies: Vec<ModuleId>,
    /// What an attempt needs and how it runs.
    pub settings: Arc<NodeSettings>,
    /// Attempts of it at once; none: as many as there is room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// What its last attempts used; only where one module is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<Learned>,
}

/// A manifest that is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BrokenShown {
    /// The file.
    pub file: String,
    /// The module's id, where that much could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ModuleId>,
    /// The module whose last good version stays in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<ModuleId>,
    /// Why.
    pub diagnostics: Vec<Value>,
    /// The same, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

impl ModuleList {
    /// All modules, without what was learned of them.
    #[must_use]
    pub fn of(catalog: &Catalog) -> Self {
        let modules = catalog.registry.iter().map(|module| ModuleShown::of(module, catalog));
        let broken = catalog.registry.broken().iter().map(|broken| BrokenShown::of(broken, &catalog.workspace));
        Self { modules: modules.collect(), broken: broken.collect() }
    }
}

impl ModuleShown {
    /// A module by its id, without what was learned of it.
    ///
    /// # Errors
    /// When there is none, or its manifest is broken and no good version of it is known.
    pub fn find(catalog: &Catalog, id: &str) -> Result<Self, NoModule> {
        let module = catalog.registry.get(id).map_or_else(|| catalog.module(id), Ok)?;
        Ok(Self::of(module, catalog))
    }

    fn of(module: &Module, catalog: &Catalog) -> Self {
        Self {
            id: module.id.clone(),
            name: module.name.clone(),
            description: module.description.clone(),
            version: module.version.clone(),
            category: module.category.clone(),
            tags: module.tags.clone(),
            enabled: module.enabled,
            last_good: catalog.registry.kept_despite(&module.id).is_some(),
            file: module.source.name.clone(),
            runs: match &module.program {
                Program::Script { path, .. } => catalog.workspace.display(path),
                Program::Command(_) => module.program_name(),
            },
            params: module.params.schema().clone(),
            outputs: module.outputs.as_ref().map(|outputs| outputs.schema().clone()),
            dependencies: module.dependencies.iter().map(|(id, _)| id.clone()).collect(),
            settings: module.settings.clone(),
            concurrency: module.concurrency,
            learned: None,
        }
    }
}

impl BrokenShown {
    fn of(broken: &Broken, workspace: &Workspace) -> Self {
        Self {
            file: workspace.display(&broken.file),
            id: broken.id.clone(),
            last_good: broken.last_good.clone(),
            diagnostics: broken.diagnostics.iter().filter_map(|found| serde_json::to_value(found).ok()).collect(),
            lines: broken.diagnostics.iter().map(ToString::to_string).collect(),
        }
    }
}
