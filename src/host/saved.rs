//! Saved parameters of modules: `.prismq/saved/<module>.json`.
//!
//! They only prefill forms and `run --saved`; nothing takes them without being asked. Checked against the schema before they are kept,
//! and never a secret among them: what the schema marks as `format: password` or `writeOnly` is left out. The file's name is made of a
//! [`ModuleId`], never of a text that came from outside.

use std::io;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::clock;
use super::workspace::{Workspace, create_private_folder, write_synced};
use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::ids::ModuleId;
use crate::manifest::Module;
use crate::units::Timestamp;

/// What is saved of a module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Saved {
    /// The module.
    pub module_id: ModuleId,
    /// Values by name.
    pub parameters: Map<String, Value>,
    /// When they were saved.
    pub updated_at: Timestamp,
}

/// Why parameters were not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// They are refused by the schema.
    #[error("{0}")]
    Invalid(Diagnostics),
    /// The disk said no.
    #[error("the parameters could not be saved: {0}")]
    Disk(#[from] io::Error),
}

fn file(workspace: &Workspace, module: &ModuleId) -> PathBuf {
    workspace.state().join("saved").join(format!("{module}.json"))
}

/// What is saved of a module; `None` where nothing is.
///
/// # Errors
/// When the file cannot be read or is no such file.
pub fn read(workspace: &Workspace, module: &ModuleId) -> io::Result<Option<Saved>> {
    match std::fs::read(file(workspace, module)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Checks parameters and saves them. They need not be all that the module requires.
///
/// # Errors
/// See [`SaveError`].
pub fn write(workspace: &Workspace, module: &Module, mut parameters: Map<String, Value>) -> Result<Saved, SaveError> {
    for name in secret_names(module) {
        parameters.remove(&name);
    }
    let value = Value::Object(parameters);
    // What is required and not there may come from somewhere else.
    let missing = module.params.schema().get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let open: Vec<String> = missing.filter(|name| value.get(name).is_none()).map(pointer_to).collect();
    let mut mistakes = Diagnostics::new();
    mistakes.extend(module.params.check_partial(&value, &open).into_iter().map(|violation| {
        Diagnostic::error(format!("parameters: {}", violation.message)).with_pointer(violation.pointer).with_help_of(violation.help)
    }));
    if mistakes.has_errors() {
        return Err(SaveError::Invalid(mistakes));
    }
    let Value::Object(parameters) = value else { return Err(SaveError::Invalid(mistakes)) };
    let saved = Saved { module_id: module.id.clone(), parameters, updated_at: clock::wall() };
    create_private_folder(&workspace.state().join("saved"))?;
    let text = serde_json::to_vec_pretty(&saved).map_err(io::Error::from)?;
    write_synced(&file(workspace, &module.id), &text)?;
    Ok(saved)
}

/// Forgets what is saved of a module; whether there was anything.
///
/// # Errors
/// What the disk says.
pub fn remove(workspace: &Workspace, module: &ModuleId) -> io::Result<bool> {
    match std::fs::remove_file(file(workspace, module)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Parameters that are not kept.
#[must_use]
pub fn secret_names(module: &Module) -> Vec<String> {
    let properties = module.params.schema().get("properties").and_then(Value::as_object);
    let is_secret = |schema: &Value| schema.get("format") == Some(&"password".into()) || schema.get("writeOnly") == Some(&true.into());
    properties.into_iter().flatten().filter(|(_, schema)| is_secret(schema)).map(|(name, _)| name.clone()).collect()
}

fn pointer_to(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}
