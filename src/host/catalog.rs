//! What the workspace's files say at this moment: settings, modules, pipelines.
//!
//! Reads files and hands their trees to the decisions. A catalogue is immutable; whoever wants to see newer files loads another. The
//! same code builds a run's definition from its pinned texts instead of files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::diagnostics::{Diagnostic, Diagnostics, Place, Source};
use crate::manifest::registry::{ManifestResult, Registry};
use crate::manifest::{Defaults, Module, read_module_with, readable_id};
use crate::pipeline::compile::{Sources, compile};
use crate::pipeline::definition::Definition;
use crate::request::Reuse;
use crate::settings::{Pattern, Settings};
use crate::source::{self, FilesFound};
use crate::tree::Tree;
use crate::yaml::{self, Format, Limits};

use super::defined;
use super::permissions;
use super::submission::{Pinned, PinnedFile, Target};
use super::workspace::{self, Workspace};

/// Settings and modules of a workspace.
#[derive(Debug)]
pub struct Catalog {
    /// The workspace.
    pub workspace: Workspace,
    /// Its settings.
    pub settings: Settings,
    /// The settings' text, if there is a file.
    pub settings_source: Option<Arc<Source>>,
    /// Its modules.
    pub registry: Registry,
}

/// What a file is, by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A module's manifest.
    Manifest,
    /// A pipeline.
    Pipeline,
    /// The workspace's settings.
    Settings,
    /// Nothing of ours.
    Other,
}

/// What kind of file a text is to be checked as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TextKind {
    /// A module's manifest.
    Manifest,
    /// A pipeline.
    Pipeline,
    /// The workspace's settings.
    Settings,
}

impl Catalog {
    /// Reads settings and manifests. Broken manifests are in the registry beside the good ones; broken settings are an error.
    ///
    /// # Errors
    /// All mistakes in the settings.
    pub fn load(workspace: &Workspace) -> Result<Self, Diagnostics> {
        load_settings(workspace).map(|(settings, source)| Self::read(workspace, settings, source))
    }

    /// The same; modules that do not say otherwise take earlier results.
    ///
    /// # Errors
    /// All mistakes in the settings.
    pub fn load_reusing(workspace: &Workspace) -> Result<Self, Diagnostics> {
        load_settings(workspace).map(|(settings, source)| Self::read(workspace, reusing(settings), source))
    }

    fn read(workspace: &Workspace, settings: Settings, settings_source: Option<Arc<Source>>) -> Self {
        let found = source::read_manifests(&workspace.manifests(), workspace.root());
        let results = found.into_iter().map(|found| {
            let source = permissions::vouched(workspace, &found.path, found.source);
            read_manifest(found.path, source, &settings.defaults)
        });
        let registry = Registry::build(results.collect());
        Self { workspace: workspace.clone(), settings, settings_source, registry }
    }

    /// Every finding of the manifests: mistakes of broken ones, warnings of good ones, scripts that lie where they may not.
    #[must_use]
    pub fn diagnostics(&self) -> Diagnostics {
        let mut found = Diagnostics::new();
        for broken in self.registry.broken() {
            found.extend(broken.diagnostics.clone());
        }
        found.extend(self.registry.findings().clone());
        for module in self.registry.iter() {
            found.extend(self.check_script(module));
            found.extend(self.check_resources(module));
        }
        found
    }

    /// Checks one manifest, which may lie outside `manifests/`.
    #[must_use]
    pub fn check_manifest(&self, file: &Path) -> Diagnostics {
        if let Some(broken) = self.registry.broken().iter().find(|broken| broken.file == file) {
            return broken.diagnostics.clone();
        }
        let text = source::read_file(file, &self.workspace.display(file), source::MANIFEST_BYTES_MAX);
        let text = permissions::vouched(&self.workspace, file, text);
        match read_manifest(file.to_owned(), text, &self.settings.defaults).outcome {
            Ok((module, mut notes)) => {
                notes.extend(self.check_script(&module));
                notes.extend(self.check_resources(&module));
                notes
            }
            Err(mistakes) => mistakes,
        }
    }

    /// Checks a text that lies in no file, as one in the workspace's folder. Files that it names are not read.
    #[must_use]
    pub fn check_text(&self, kind: TextKind, text: String) -> Diagnostics {
        let source = Source::new("text", text);
        let root = self.workspace.root();
        match kind {
            TextKind::Manifest => {
                let file = self.workspace.manifests().join("text.yaml");
                match read_manifest(file, Ok(source), &self.settings.defaults).outcome {
                    Ok((module, mut notes)) => {
                        notes.extend(self.check_resources(&module));
                        notes
                    }
                    Err(mistakes) => mistakes,
                }
            }
            TextKind::Pipeline => {
                let file = root.join("text.yaml");
                let compiled = parse_pipeline(&file, &source).and_then(|tree| compile(&tree, &file, &self.registry, &NoFiles));
                match compiled {
                    Ok((definition, mut notes)) => {
                        notes.extend(defined::check_nodes(&definition, &self.settings));
                        notes
                    }
                    Err(mistakes) => mistakes,
                }
            }
            TextKind::Settings => read_settings(&source, root).err().unwrap_or_default(),
        }
    }

    /// Counted resources that a module asks for and the settings do not define.
    #[must_use]
    pub fn check_resources(&self, module: &Module) -> Diagnostics {
        let mut found = Diagnostics::new();
        for request in module.settings.requests() {
            if !request.custom.keys().all(|name| self.settings.capacity.custom.contains_key(name)) {
                let key = if request.alternative.is_some() { "any_of" } else { "resources" };
                found.extend(defined::check_request(&request, &self.settings, &place_of(module, key)));
            }
        }
        found
    }

    /// Whether the script of a module lies where scripts may lie, and is there.
    pub(super) fn check_script(&self, module: &Module) -> Option<Diagnostic> {
        let crate::manifest::Program::Script { path, .. } = &module.program else { return None };
        let place = place_of(module, "script");
        let roots = self.script_roots();
        let refused = match source::script_inside(path, &roots) {
            Ok(real) => permissions::refusal(&self.workspace, &real, &roots),
            Err(refused) => Some(*refused.diagnostic),
        };
        refused.map(|refused| refused.at(place))
    }

    /// Folders in which scripts may lie.
    #[must_use]
    pub fn script_roots(&self) -> Vec<PathBuf> {
        script_roots(&self.workspace, &self.settings)
    }

    /// Pipeline files that the settings name, sorted.
    #[must_use]
    pub fn pipeline_files(&self) -> Vec<PathBuf> {
        pipelines_of(&self.workspace, &self.settings).files
    }

    /// What a file is.
    ///
    /// # Errors
    /// When it is YAML or JSON by its name and cannot be read.
    pub fn kind_of(&self, file: &Path) -> Result<FileKind, Diagnostics> {
        if file == self.workspace.settings() {
            return Ok(FileKind::Settings);
        }
        let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or("");
        if !["yaml", "yml", "json"].contains(&extension) {
            return Ok(FileKind::Other);
        }
        let source = source::read_file(file, &self.workspace.display(file), source::PIPELINE_BYTES_MAX)?;
        let tree = parse_pipeline(file, &source)?;
        let root = tree.root();
        let has = |key: &str| root.get(key).is_some();
        Ok(if has("nodes") {
            FileKind::Pipeline
        } else if has("script") || has("command") || file.starts_with(self.workspace.manifests()) {
            FileKind::Manifest
        } else {
            FileKind::Other
        })
    }

    /// Compiles a pipeline file of the disk; with it come the texts that were read, for pinning.
    ///
    /// # Errors
    /// All mistakes of it and of the sub-pipelines that it calls.
    pub fn pipeline(&self, file: &Path) -> Result<(Arc<Definition>, Diagnostics, Vec<PinnedFile>), Diagnostics> {
        let files = Disk { workspace: &self.workspace, read: std::cell::RefCell::new(Vec::new()) };
        let tree = files.pipeline(file)?;
        let (definition, notes) = self.compile(&tree, file, &files)?;
        drop(tree);
        let read = files.read.into_inner().into_iter().map(|(path, source)| pinned_text(path, &source));
        Ok((definition, notes, read.collect()))
    }

    /// The same for somebody who only looks: nothing is copied.
    ///
    /// # Errors
    /// All mistakes of it and of the sub-pipelines that it calls.
    pub fn pipeline_once(&self, file: &Path) -> Result<(Arc<Definition>, Diagnostics), Diagnostics> {
        let files = Disk { workspace: &self.workspace, read: std::cell::RefCell::new(Vec::new()) };
        let tree = files.pipeline(file)?;
        self.compile(&tree, file, &files)
    }

    fn compile(&self, tree: &Arc<Tree>, file: &Path, files: &Disk<'_>) -> Result<(Arc<Definition>, Diagnostics), Diagnostics> {
        let (definition, mut notes) = compile(tree, file, &self.registry, files)?;
        notes.extend(defined::check_nodes(&definition, &self.settings));
        notes.into_result(definition)
    }

    /// What may be meant by a name that no module has.
    fn suggest(&self, id: &str) -> Option<String> {
        let nameless = self.registry.broken().iter().find(|broken| broken.id.is_none());
        let broken = nameless.map(|broken| format!("{} is broken, see `prismq validate`", self.workspace.display(&broken.file)));
        let said: Vec<String> = self.registry.suggest(id).into_iter().chain(broken).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// A module that can be run.
    ///
    /// # Errors
    /// Why there is none of that name.
    pub fn module(&self, id: &str) -> Result<&Arc<Module>, NoModule> {
        match self.registry.get(id) {
            Some(module) if module.enabled => Ok(module),
            Some(_) => Err(NoModule::Unknown(Diagnostic::error(format!("module `{id}` is off (`enabled: false` in its manifest)")))),
            None => Err(match self.registry.broken_named(id) {
                Some(broken) => NoModule::Broken(broken.diagnostics.clone()),
                None => NoModule::Unknown(Diagnostic::error(format!("there is no module `{id}`")).with_help_of(self.suggest(id))),
            }),
        }
    }
}

/// Where the value of a key of the manifest stands; its id's place where it has no such key.
pub(super) fn place_of(module: &Module, key: &str) -> Place {
    let tree = yaml::read(module.source.clone(), Format::Yaml, &Limits::MANIFEST).ok();
    let found = tree.and_then(|tree| tree.root().get(key).map(crate::tree::NodeRef::place));
    found.unwrap_or_else(|| module.id_place.clone())
}

/// Why a module cannot be run.
#[derive(Debug)]
pub enum NoModule {
    /// Its manifest is refused.
    Broken(Diagnostics),
    /// There is none, or it is off.
    Unknown(Diagnostic),
}

/// Pipeline files that the settings name, sorted, and the folders in which they were looked for.
pub(super) fn pipelines_of(workspace: &Workspace, settings: &Settings) -> FilesFound {
    let root = workspace.root();
    let matches = |file: &Path, pattern: &Pattern| {
        file.strip_prefix(root).is_ok_and(|inner| pattern.matches(&inner.to_string_lossy().replace('\\', "/")))
    };
    let mut found = FilesFound::default();
    for pattern in &settings.pipelines {
        let depth = pattern.depth().unwrap_or(usize::MAX);
        let more = source::files_within(&root.join(pattern.base()), depth, &|file| matches(file, pattern));
        found.files.extend(more.files);
        found.folders.extend(more.folders);
    }
    found.files.sort();
    found.files.dedup();
    found
}

/// Settings by which modules that do not say otherwise take earlier results.
fn reusing(mut settings: Settings) -> Settings {
    settings.defaults.settings.reuse = Reuse::Inputs;
    settings
}

/// Folders in which scripts may lie: the workspace, and what the settings add.
#[must_use]
pub fn script_roots(workspace: &Workspace, settings: &Settings) -> Vec<PathBuf> {
    let mut roots = vec![workspace.root().to_owned()];
    roots.extend(settings.roots.iter().cloned());
    roots
}

/// The workspace's settings.
///
/// # Errors
/// All mistakes in them.
pub fn settings_of(workspace: &Workspace) -> Result<Settings, Diagnostics> {
    load_settings(workspace).map(|(settings, _)| settings)
}

/// The JSON Schema of a kind of file, by the schema's file name.
#[must_use]
pub fn schema(file: &str) -> Option<serde_json::Value> {
    crate::schemas::schemas().into_iter().find(|(name, _)| *name == file).map(|(_, schema)| schema)
}

/// All files below a folder.
#[must_use]
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    source::files_below(folder, &|_| true)
}

/// Where a file or folder really is.
///
/// # Errors
/// What the system says, above all that there is nothing.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    workspace::real(path)
}

pub(super) fn load_settings(workspace: &Workspace) -> Result<(Settings, Option<Arc<Source>>), Diagnostics> {
    let file = workspace.settings();
    if !file.exists() {
        return Ok((Settings::default(), None));
    }
    let text = source::read_file(&file, &workspace.display(&file), source::MANIFEST_BYTES_MAX);
    let source = permissions::vouched(workspace, &file, text)?;
    Ok((read_settings(&source, workspace.root())?, Some(source)))
}

fn read_settings(source: &Arc<Source>, folder: &Path) -> Result<Settings, Diagnostics> {
    let tree = yaml::read(source.clone(), Format::Yaml, &Limits::MANIFEST)?;
    Settings::read(&tree, folder).map(|(settings, _)| settings)
}

/// One manifest, good or broken.
pub(super) fn read_manifest(file: PathBuf, source: Result<Arc<Source>, Diagnostic>, defaults: &Defaults) -> ManifestResult {
    let read = source.map_err(Diagnostics::from).and_then(|source| yaml::read(source, Format::of_path(&file), &Limits::MANIFEST));
    let id = read.as_ref().ok().and_then(readable_id);
    let outcome = read.and_then(|tree| read_module_with(&tree, &file, defaults)).map(|(module, notes)| (Arc::new(module), notes));
    ManifestResult { file, id, outcome }
}

/// Pipeline files of the disk, remembered for pinning.
struct Disk<'a> {
    workspace: &'a Workspace,
    read: std::cell::RefCell<Vec<(PathBuf, Arc<Source>)>>,
}

impl Sources for Disk<'_> {
    fn pipeline(&self, path: &Path) -> Result<Arc<Tree>, Diagnostics> {
        let source = source::read_file(path, &self.workspace.display(path), source::PIPELINE_BYTES_MAX)?;
        let tree = parse_pipeline(path, &source)?;
        self.read.borrow_mut().push((path.to_owned(), source));
        Ok(tree)
    }
}

/// No files: a text from outside must not have any read.
struct NoFiles;

impl Sources for NoFiles {
    fn pipeline(&self, _: &Path) -> Result<Arc<Tree>, Diagnostics> {
        Err(Diagnostic::error("sub-pipelines are not read for a text that lies in no file").into())
    }
}

/// Pinned pipeline texts.
struct Texts<'a>(BTreeMap<&'a Path, &'a PinnedFile>);

impl Sources for Texts<'_> {
    fn pipeline(&self, path: &Path) -> Result<Arc<Tree>, Diagnostics> {
        let file = self.0.get(path).ok_or_else(|| Diagnostic::error(format!("{} was not pinned with the run", path.display())))?;
        parse_pipeline(path, &Source::new(file.name.clone(), file.text.clone()))
    }
}

fn parse_pipeline(path: &Path, source: &Arc<Source>) -> Result<Arc<Tree>, Diagnostics> {
    yaml::read(source.clone(), Format::of_path(path), &Limits::PIPELINE).map(Arc::new)
}

/// The definition of a run, from what was pinned at its submission.
///
/// # Errors
/// What the pinned texts do not say any more: only a newer program that refuses what an older one took gets here.
pub fn pinned_definition(pinned: &Pinned) -> Result<Arc<Definition>, Diagnostics> {
    let settings = match &pinned.settings {
        Some(file) => {
            let folder = file.path.parent().unwrap_or(Path::new("."));
            read_settings(&Source::new(file.name.clone(), file.text.clone()), folder)?
        }
        None => Settings::default(),
    };
    let settings = if pinned.reuse { reusing(settings) } else { settings };
    let results = pinned.manifests.iter().map(|file| {
        let source = Source::new(file.name.clone(), file.text.clone());
        read_manifest(file.path.clone(), Ok(source), &settings.defaults)
    });
    let registry = Registry::build(results.collect());
    match &pinned.target {
        Target::Pipeline { path } => {
            let texts = Texts(pinned.pipelines.iter().map(|file| (file.path.as_path(), file)).collect());
            let tree = texts.pipeline(path)?;
            compile(&tree, path, &registry, &texts).map(|(definition, _)| definition)
        }
        Target::Module { id, with_dependencies } => {
            let module = registry.get(id.as_str()).ok_or_else(|| Diagnostic::error(format!("module `{id}` was not pinned")))?;
            super::prepare::module_definition(module.clone(), &pinned.params, *with_dependencies, &registry)
        }
        Target::Exec { .. } => {
            let module = registry.iter().next().ok_or_else(|| Diagnostic::error("the script was not pinned"))?;
            super::prepare::module_definition(module.clone(), &pinned.params, false, &registry)
        }
    }
}

/// The manifest of a module as it is pinned.
pub(super) fn pinned_manifest(module: &Module) -> PinnedFile {
    pinned_text(module.file(), &module.source)
}

fn pinned_text(path: PathBuf, source: &Source) -> PinnedFile {
    PinnedFile { path, name: source.name.clone(), text: source.text.clone() }
}
