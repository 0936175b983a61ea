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
/// around it; where there is none, that folder becomes one.
///
/// # Errors
/// See [`ImportError`].
pub fn wfformat(file: &Path, name: &str, output: &Path, options: &Options) -> Result<Written, ImportError> {
    let source = source::read_file(file, name, source::PIPELINE_BYTES_MAX).map_err(|refused| ImportError::Invalid(one(refused)))?;
    let tree = yaml::read(source, Format::Json, &Limits::PIPELINE).map_err(ImportError::Invalid)?;
    let (workflow, notes) = wfformat::read(&tree, options).map_err(ImportError::Invalid)?;
    drop(tree);
    let stem = file.file_stem().map_or_else(|| "workflow".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let is_file = output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let pipeline = if is_file { output.to_owned() } else { output.join(format!("{stem}.json")) };
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
