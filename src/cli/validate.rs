//! `prismq validate`: checks files without running anything. Silent when all is well.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::exit::Exit;
use super::failure::Failure;
use super::{Context, current_folder};
use crate::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::host::catalog::{self, Catalog, FileKind};
use crate::host::render;
use crate::host::views::Definition;
use crate::host::workspace::Workspace;

/// Arguments of `validate`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Manifests, pipelines, settings, or folders of them; by default everything in the workspace
    paths: Vec<PathBuf>,

    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    valid: bool,
    diagnostics: Vec<&'a Diagnostic>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let first = arguments.paths.first().cloned().unwrap_or_else(|| PathBuf::from("."));
    let workspace = workspace_of(&first, context)?;
    let mut found = Diagnostics::new();
    let paths = absolute(&arguments.paths)?;
    match Catalog::load(&workspace) {
        Ok(catalog) => check(&catalog, &paths, &mut found)?,
        Err(mistakes) => found.extend(mistakes),
    }
    let found = found.sorted();
    let valid = !found.has_errors();
    if arguments.json {
        context.output.json(&Report { valid, diagnostics: found.iter().collect() });
    } else if !found.is_empty() {
        context.output.note(&render::diagnostics(&found, context.output.color_err()));
    }
    if valid {
        return Ok(Exit::Ok);
    }
    let count = found.iter().filter(|item| item.severity == Severity::Error).count();
    if !arguments.json {
        context.output.note(&format!("\n{count} error{}", if count == 1 { "" } else { "s" }));
    }
    Ok(Exit::Invalid)
}

fn check(catalog: &Catalog, paths: &[PathBuf], found: &mut Diagnostics) -> Result<(), Failure> {
    if paths.is_empty() {
        found.extend(catalog.diagnostics());
        for file in catalog.pipeline_files() {
            check_pipeline(catalog, &file, found);
        }
        return Ok(());
    }
    for path in paths {
        if path.is_dir() {
            for file in catalog::files_below(path) {
                check_file(catalog, &file, false, found);
            }
        } else if path.is_file() {
            check_file(catalog, path, true, found);
        } else {
            return Err(Failure::not_found(format!("there is no file {}", catalog.workspace.display(path))));
        }
    }
    Ok(())
}

/// Checks one file as what it is. Files in a folder that are nothing of ours are passed over, a file that was named is not.
fn check_file(catalog: &Catalog, file: &Path, named: bool, found: &mut Diagnostics) {
    match catalog.kind_of(file) {
        Ok(FileKind::Manifest) => found.extend(catalog.check_manifest(file)),
        Ok(FileKind::Pipeline) => check_pipeline(catalog, file, found),
        // The settings were read already, without mistakes.
        Ok(FileKind::Settings) => {}
        Ok(FileKind::Other) if named => {
            let message = format!("{} is no manifest, pipeline or settings file", catalog.workspace.display(file));
            found.push(Diagnostic::error(message).with_help("a manifest has `script:` or `command:`, a pipeline has `nodes:`"));
        }
        Ok(FileKind::Other) => {}
        Err(mistakes) => found.extend(mistakes),
    }
}

fn check_pipeline(catalog: &Catalog, file: &Path, found: &mut Diagnostics) {
    match catalog.pipeline(file) {
        Ok((_, notes, _)) => found.extend(notes.into_iter().filter(|note| note.severity > Severity::Note)),
        Err(mistakes) => found.extend(mistakes),
    }
}

fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let folder = current_folder()?;
    let canonical = |path: &PathBuf| {
        let joined = folder.join(path);
        std::fs::canonicalize(&joined).map(catalog::plain_path).unwrap_or(joined)
    };
    Ok(paths.iter().map(canonical).collect())
}

/// The workspace of the current folder, else of the file.
pub(super) fn workspace_of(file: &Path, context: &Context) -> Result<Workspace, Failure> {
    if let Some(found) = context.find_workspace()? {
        return Ok(found);
    }
    let file = current_folder()?.join(file);
    let folder = if file.is_dir() { Some(file.as_path()) } else { file.parent() };
    match folder.and_then(Workspace::find).map(Workspace::located) {
        Some(found) => Ok(found),
        None => context.workspace(),
    }
}

/// The checked graph of a pipeline file; warnings are shown.
pub(super) fn definition_of(workspace: &Workspace, file: &Path, context: &Context) -> Result<Arc<Definition>, Failure> {
    let path = absolute(&[file.to_owned()])?.remove(0);
    if !path.is_file() {
        return Err(Failure::not_found(format!("there is no pipeline file {}", file.display())));
    }
    let catalog = Catalog::load(workspace)?;
    let (definition, notes) = catalog.pipeline_once(&path)?;
    if !notes.is_empty() {
        context.output.note(&render::diagnostics(&notes, context.output.color_err()));
    }
    Ok(definition)
}
