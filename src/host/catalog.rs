//! What the workspace's files say at this moment: settings, modules, pipelines.
//!
//! Reads files and hands their trees to the decisions. A catalogue is immutable; whoever wants to see newer files loads another. The
//! same code builds a run's definition from its pinned texts instead of files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostics::{Diagnostic, Diagnostics, Source};
use crate::manifest::registry::{Broken, ManifestResult, Registry};
use crate::manifest::{Module, read_module};
use crate::pipeline::compile::{Sources, compile};
use crate::pipeline::definition::Definition;
use crate::settings::Settings;
use crate::source;
use crate::tree::Tree;
use crate::yaml::{self, Format, Limits};

use super::submission::{Pinned, PinnedFile, Target};
use super::workspace::Workspace;

/// Name of the made-up manifest of `exec`.
pub const EXEC_SOURCE: &str = "(exec)";

/// Settings and modules of a workspace.
#[derive(Debug)]
pub struct Catalog {
    /// The workspace.
    pub workspace: Workspace,
    /// Its settings.
    pub settings: Arc<Settings>,
    /// The settings' text, if there is a file.
    pub settings_source: Option<Arc<Source>>,
    /// Its modules.
    pub registry: Registry,
}

impl Catalog {
    /// Reads settings and manifests. Broken manifests are in the registry beside the good ones; broken settings are an error.
    ///
    /// # Errors
    /// All mistakes in the settings.
    pub fn load(workspace: &Workspace) -> Result<Self, Diagnostics> {
        let (settings, settings_source) = load_settings(workspace)?;
        let found = source::read_manifests(&workspace.manifests());
        let results = found.into_iter().map(|found| {
            let name = workspace.display(&found.path);
            read_manifest(found.path, found.text.map(|text| Source::new(name, text.text.clone())))
        });
        let registry = Registry::build(results.collect());
        Ok(Self { workspace: workspace.clone(), settings: Arc::new(settings), settings_source, registry })
    }

    /// Compiles a pipeline file of the disk.
    ///
    /// # Errors
    /// All mistakes of it and of the sub-pipelines that it calls.
    pub fn pipeline(&self, file: &Path) -> Result<(Arc<Definition>, Diagnostics, Vec<PinnedFile>), Diagnostics> {
        let files = Disk { workspace: &self.workspace, read: std::cell::RefCell::new(Vec::new()) };
        let tree = files.pipeline(file).map_err(Diagnostics::from)?;
        let (definition, notes) = compile(&tree, file, &self.registry, &files)?;
        drop(tree);
        Ok((definition, notes, files.read.into_inner()))
    }
}

fn load_settings(workspace: &Workspace) -> Result<(Settings, Option<Arc<Source>>), Diagnostics> {
    let file = workspace.settings();
    if !file.exists() {
        return Ok((Settings::default(), None));
    }
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Diagnostics::from(Diagnostic::error(format!("{} cannot be read: {error}", workspace.display(&file)))))?;
    let source = Source::new(workspace.display(&file), text);
    Ok((read_settings(&source)?, Some(source)))
}

/// Settings from their text.
///
/// # Errors
/// All mistakes.
pub fn read_settings(source: &Arc<Source>) -> Result<Settings, Diagnostics> {
    let tree = yaml::read(source.clone(), Format::Yaml, &Limits::MANIFEST)?;
    Settings::read(&tree).map(|(settings, _)| settings)
}

/// One manifest, good or broken.
pub fn read_manifest(file: PathBuf, source: Result<Arc<Source>, Diagnostic>) -> ManifestResult {
    let format = Format::of_path(&file);
    let read = source.map_err(Diagnostics::from).and_then(|source| {
        let tree = yaml::read(source, format, &Limits::MANIFEST)?;
        read_module(&tree, &file)
    });
    match read {
        Ok((module, notes)) => ManifestResult::Good { module: Arc::new(module), notes, file },
        Err(diagnostics) => ManifestResult::Broken(Broken { id: None, diagnostics, file }),
    }
}

/// Pipeline files of the disk, remembered for pinning.
struct Disk<'a> {
    workspace: &'a Workspace,
    read: std::cell::RefCell<Vec<PinnedFile>>,
}

impl Sources for Disk<'_> {
    fn pipeline(&self, path: &Path) -> Result<Arc<Tree>, Diagnostic> {
        let name = self.workspace.display(path);
        let text = source::read_text(path, source::PIPELINE_BYTES_MAX).map_err(|reason| Diagnostic::error(format!("{name}: {reason}")))?;
        let source = Source::new(name, text);
        let tree = parse_pipeline(path, &source).map_err(first)?;
        self.read.borrow_mut().push(PinnedFile { path: path.to_owned(), name: source.name.clone(), text: source.text.clone() });
        Ok(tree)
    }
}

/// Pinned pipeline texts.
struct Texts<'a>(BTreeMap<&'a Path, &'a PinnedFile>);

impl Sources for Texts<'_> {
    fn pipeline(&self, path: &Path) -> Result<Arc<Tree>, Diagnostic> {
        let file = self.0.get(path).ok_or_else(|| Diagnostic::error(format!("{} was not pinned with the run", path.display())))?;
        parse_pipeline(path, &Source::new(file.name.clone(), file.text.clone())).map_err(first)
    }
}

fn parse_pipeline(path: &Path, source: &Arc<Source>) -> Result<Arc<Tree>, Diagnostics> {
    yaml::read(source.clone(), Format::of_path(path), &Limits::PIPELINE).map(Arc::new)
}

/// A file that cannot be read as YAML or JSON has one mistake; what follows from it is of no use.
fn first(diagnostics: Diagnostics) -> Diagnostic {
    diagnostics.into_iter().next().unwrap_or_else(|| Diagnostic::error("the file cannot be read"))
}

/// The definition of a run, from what was pinned at its submission.
///
/// # Errors
/// What the pinned texts do not say any more: only a newer program that refuses what an older one took gets here.
pub fn pinned_definition(pinned: &Pinned) -> Result<Arc<Definition>, Diagnostics> {
    let results = pinned.manifests.iter().map(|file| {
        let source = Source::new(file.name.clone(), file.text.clone());
        read_manifest(file.path.clone(), Ok(source))
    });
    let registry = Registry::build(results.collect());
    match &pinned.target {
        Target::Pipeline { path } => {
            let texts = Texts(pinned.pipelines.iter().map(|file| (file.path.as_path(), file)).collect());
            let tree = texts.pipeline(path).map_err(Diagnostics::from)?;
            compile(&tree, path, &registry, &texts).map(|(definition, _)| definition)
        }
        Target::Module { id, with_dependencies } => {
            let module = registry.get(id).ok_or_else(|| Diagnostics::from(Diagnostic::error(format!("module `{id}` was not pinned"))))?;
            super::prepare::module_definition(module.clone(), &pinned.params, *with_dependencies, &registry)
        }
        Target::Exec { .. } => {
            let module = registry.iter().next().ok_or_else(|| Diagnostics::from(Diagnostic::error("the script was not pinned")))?;
            super::prepare::module_definition(module.clone(), &pinned.params, false, &registry)
        }
    }
}

/// The manifest of a module as it is pinned.
pub(super) fn pinned_manifest(module: &Module) -> PinnedFile {
    PinnedFile { path: module.file.clone(), name: module.source.name.clone(), text: module.source.text.clone() }
}
