//! `prismq validate`: checks files without running anything. Silent when all is well.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::exit::Exit;
use super::failure::Failure;
use super::{Context, current_folder};
use crate::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::host::catalog::{self, Catalog, FileKind};
use crate::host::fits::Fits;
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
    let mut findings = Findings::default();
    let paths = absolute(&arguments.paths)?;
    match Catalog::load(&workspace) {
        Ok(catalog) => check(&catalog, &paths, &mut findings)?,
        Err(mistakes) => findings.mistakes.extend(mistakes),
    }
    // A mistake comes before a machine that is too small.
    let exit = if findings.mistakes.has_errors() { Exit::Invalid } else { Exit::NeverFits };
    let mut found = findings.mistakes;
    found.extend(findings.never_fit);
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
    Ok(exit)
}

/// What was found.
#[derive(Default)]
struct Findings {
    mistakes: Diagnostics,
    /// What can never run on this machine.
    never_fit: Diagnostics,
}

fn check(catalog: &Catalog, paths: &[PathBuf], found: &mut Findings) -> Result<(), Failure> {
    let fits = Fits::here(catalog);
    if paths.is_empty() {
        found.mistakes.extend(catalog.diagnostics());
        catalog.registry.iter().for_each(|module| found.never_fit.extend(fits.module(module)));
        for file in catalog.pipeline_files() {
            check_pipeline(catalog, &fits, &file, found);
        }
        return Ok(());
    }
    for path in paths {
        if path.is_dir() {
            for file in catalog::files_below(path) {
                check_file(catalog, &fits, &file, false, found);
            }
        } else if path.is_file() {
            check_file(catalog, &fits, path, true, found);
        } else {
            return Err(Failure::not_found(format!("there is no file {}", catalog.workspace.display(path))));
        }
    }
    Ok(())
}

/// Checks one file as what it is. Files in a folder that are nothing of ours are passed over, a file that was named is not.
fn check_file(catalog: &Catalog, fits: &Fits, file: &Path, named: bool, found: &mut Findings) {
    match catalog.kind_of(file) {
        Ok(FileKind::Manifest) => {
            found.mistakes.extend(catalog.check_manifest(file));
            let name = catalog.workspace.display(file);
            let module = catalog.registry.iter().find(|module| module.source.name == name);
            found.never_fit.extend(module.map(|module| fits.module(module)).unwrap_or_default());
        }
        Ok(FileKind::Pipeline) => check_pipeline(catalog, fits, file, found),
        // The settings were read already, without mistakes.
        Ok(FileKind::Settings) => {}
        Ok(FileKind::Other) if named => {
            let message = format!("{} is no manifest, pipeline or settings file", catalog.workspace.display(file));
            found.mistakes.push(Diagnostic::error(message).with_help("a manifest has `script:` or `command:`, a pipeline has `nodes:`"));
        }
        Ok(FileKind::Other) => {}
        Err(mistakes) => found.mistakes.extend(mistakes),
    }
}

fn check_pipeline(catalog: &Catalog, fits: &Fits, file: &Path, found: &mut Findings) {
    match catalog.pipeline(file) {
        Ok((definition, notes, _)) => {
            found.mistakes.extend(notes.into_iter().filter(|note| note.severity > Severity::Note));
            found.never_fit.extend(fits.pipeline(&definition));
        }
        Err(mistakes) => found.mistakes.extend(mistakes),
    }
}

fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let folder = current_folder()?;
    let canonical = |path: &PathBuf| {
        let joined = folder.join(path);
        catalog::real_path(&joined).unwrap_or(joined)
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
