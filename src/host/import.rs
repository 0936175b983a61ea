//! Pipelines of other tools, written into a workspace with what they need to run.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::workspace::Workspace;
use crate::diagnostics::{Diagnostic, Diagnostics};
pub use crate::import::Decimal;
use crate::import::wfformat;
pub use crate::import::wfformat::Options;
use crate::source;
use crate::yaml::{self, Format, Limits};

/// What was written.
#[derive(Debug, Serialize)]
pub struct Written {
    /// The pipeline's file.
    pub pipeline: PathBuf,
    /// The manifest of the module that its nodes run.
    pub manifest: PathBuf,
    /// The workspace that both are in.
    pub workspace: PathBuf,
    /// Nodes.
    pub nodes: usize,
    /// Edges.
    pub edges: usize,
    /// Nodes without a run time, which count as none at all.
    pub timeless: usize,
    /// What was left out.
    #[serde(skip)]
    pub notes: Diagnostics,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Mistakes in the file.
    #[error("{0}")]
    Invalid(Diagnostics),
    /// The pipeline would take the place of the file that it is made from.
    #[error("{} would be overwritten by what is made from it", .0.display())]
    OwnInput(PathBuf),
    /// There is such a file already, and nobody said that it may go.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// The disk said no.
    #[error("{} cannot be written: {error}", .path.display())]
    Disk {
        /// What was to be written.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
}

/// Sleeps as long as a task ran. `sleep` costs nothing beside it; where there is none, Python does it.
#[cfg(not(windows))]
const MANIFEST: &str = r#"# Written by `prismq import wfformat`: stands for the programs of a workflow that was measured elsewhere.
id: wfformat-sleep
name: Measured task
description: Sleeps as long as a task of an imported workflow ran
category: Imported
command: [sleep, "${{ params.seconds }}"]
params:
  required: [seconds]
  properties:
    seconds: {type: number, minimum: 0, description: How long}
"#;
#[cfg(windows)]
const MANIFEST: &str = r#"# Written by `prismq import wfformat`: stands for the programs of a workflow that was measured elsewhere.
id: wfformat-sleep
name: Measured task
description: Sleeps as long as a task of an imported workflow ran
category: Imported
command: [python, -c, "import sys, time; time.sleep(float(sys.argv[1]))", "${{ params.seconds }}"]
params:
  required: [seconds]
  properties:
    seconds: {type: number, minimum: 0, description: How long}
"#;

/// Reads a WfFormat file and writes it as a pipeline. `output` is the pipeline's file (`.json`), or a folder for it. The workspace is the one
/// around it; where there is none, that folder becomes one. A file that is there already is replaced only if `force` says so, and never the
/// one that is read.
///
/// # Errors
/// See [`ImportError`].
pub fn wfformat(file: &Path, name: &str, output: &Path, options: &Options, force: bool) -> Result<Written, ImportError> {
    let source = source::read_file(file, name, source::PIPELINE_BYTES_MAX).map_err(|refused| ImportError::Invalid(one(refused)))?;
    let tree = yaml::read(source, Format::Json, &Limits::PIPELINE).map_err(ImportError::Invalid)?;
    let (workflow, notes) = wfformat::read(&tree, options).map_err(ImportError::Invalid)?;
    drop(tree);
    let stem = file.file_stem().map_or_else(|| "workflow".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let is_file = output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let pipeline = if is_file { output.to_owned() } else { output.join(format!("{stem}.json")) };
    refuse_to_overwrite(file, &pipeline, force)?;
    let folder = pipeline.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(folder)?;
    let root = Workspace::find(folder).map_or_else(|| folder.to_owned(), |found| found.root().to_owned());
    let manifests = root.join("manifests");
    make_folder(&manifests)?;
    let manifest = manifests.join(format!("{}.yaml", wfformat::MODULE));
    // One that somebody changed stays: that is what it is for.
    if !manifest.exists() {
        write(&manifest, MANIFEST)?;
    }
    write(&pipeline, &wfformat::pipeline_text(&workflow, &stem))?;
    let edges = workflow.tasks.iter().map(|task| task.needs.len()).sum();
    Ok(Written { pipeline, manifest, workspace: root, nodes: workflow.tasks.len(), edges, timeless: workflow.timeless, notes })
}

/// A measured workflow is often the only copy: what replaces it could not be undone. Both are compared as the disk knows them, so that
/// links and other spellings of a name do not matter.
fn refuse_to_overwrite(input: &Path, output: &Path, force: bool) -> Result<(), ImportError> {
    if std::fs::symlink_metadata(output).is_err() {
        return Ok(());
    }
    if is_same_file(input, output) {
        return Err(ImportError::OwnInput(output.to_owned()));
    }
    if force { Ok(()) } else { Err(ImportError::Exists(output.to_owned())) }
}

/// Two names of one file; hard links count where the system tells them.
fn is_same_file(one: &Path, other: &Path) -> bool {
    #[cfg(unix)]
    if let (Ok(one), Ok(other)) = (std::fs::metadata(one), std::fs::metadata(other)) {
        use std::os::unix::fs::MetadataExt;
        return (one.dev(), one.ino()) == (other.dev(), other.ino());
    }
    matches!((std::fs::canonicalize(one), std::fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

/// A small file of somebody's own as a tree, YAML or JSON by its name.
///
/// # Errors
/// All mistakes in it.
pub fn read_tree(file: &Path) -> Result<crate::tree::Tree, Diagnostics> {
    let source = source::read_file(file, &file.display().to_string(), source::PIPELINE_BYTES_MAX).map_err(one)?;
    yaml::read(source, Format::of_path(file), &Limits::PIPELINE)
}

fn one(diagnostic: Diagnostic) -> Diagnostics {
    let mut diagnostics = Diagnostics::new();
    diagnostics.push(diagnostic);
    diagnostics
}

fn make_folder(folder: &Path) -> Result<(), ImportError> {
    std::fs::create_dir_all(folder).map_err(|error| ImportError::Disk { path: folder.to_owned(), error })
}

fn write(path: &Path, text: &str) -> Result<(), ImportError> {
    std::fs::write(path, text).map_err(|error| ImportError::Disk { path: path.to_owned(), error })
}
