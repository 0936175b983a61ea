//! Checking without starting anything: parameters of a module, and texts of files that are being written.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::ApiError;
use super::input::Body;
use super::modules::{no_module, submission};
use super::server::Shared;
use crate::diagnostics::Diagnostics;
use crate::host::Handle;
use crate::host::catalog::{Catalog, TextKind};
use crate::host::prepare::{self, Refused};
use crate::host::submission::Target;
use crate::host::workspace::Workspace;
use crate::ids::ModuleId;

/// What is to be checked: `module` with `parameters`, or `kind` with `text`; nothing: all files of the workspace.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "not" = {"required": ["module", "kind"]},
    "dependentRequired" = {"parameters": ["module"], "kind": ["text"], "text": ["kind"]},
))]
pub(super) struct ValidateRequest {
    /// A module of the catalogue.
    #[serde(default)]
    #[schemars(with = "String")]
    module: Option<String>,
    /// Parameters for it.
    #[serde(default)]
    #[schemars(with = "Map<String, Value>")]
    parameters: Option<Map<String, Value>>,
    /// What kind of file `text` is.
    #[serde(default)]
    #[schemars(with = "TextKind")]
    kind: Option<TextKind>,
    /// The text of a file, in YAML.
    #[serde(default)]
    #[schemars(with = "String")]
    text: Option<String>,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Validated {
    valid: bool,
    /// Each with `severity`, `message`, `pointer`, and for files `file`, `line`, `column`.
    errors: Vec<Value>,
}

/// `POST /api/validate`
pub(super) async fn validate(State(shared): State<Shared>, Body(request): Body<ValidateRequest>) -> Result<Json<Validated>, ApiError> {
    shared
        .work(move |handle| {
            let workspace = handle.workspace();
            let found = match request {
                ValidateRequest { module: Some(module), parameters, kind: None, text: None } => {
                    check_parameters(handle, &module, &parameters.unwrap_or_default())?
                }
                ValidateRequest { module: None, parameters: None, kind: Some(kind), text: Some(text) } => {
                    handle.catalog().check_text(kind, text)
                }
                ValidateRequest { module: None, parameters: None, kind: None, text: None } => check_all(workspace),
                ValidateRequest { .. } => return Err(ApiError::invalid("", "give `module` with `parameters`, or `kind` with `text`")),
            };
            let found = found.sorted();
            let errors = found.iter().filter_map(|item| serde_json::to_value(item).ok()).collect();
            Ok(Json(Validated { valid: !found.has_errors(), errors }))
        })
        .await
}

fn check_parameters(handle: &Handle, module: &str, parameters: &Map<String, Value>) -> Result<Diagnostics, ApiError> {
    let id = ModuleId::parse(module).map_err(|error| ApiError::not_found(error.to_string()))?;
    handle.catalog().module(id.as_str()).map_err(no_module)?;
    let submit = submission(Target::Module { id, with_dependencies: false }, parameters, false, None, handle.workspace());
    match prepare::resolve(handle.workspace(), &submit) {
        Ok((_, _, notes)) => Ok(notes),
        Err(Refused::Invalid(mistakes) | Refused::Broken(mistakes)) => Ok(mistakes),
        Err(refused) => Err(refused.into()),
    }
}

fn check_all(workspace: &Workspace) -> Diagnostics {
    match Catalog::load(workspace) {
        Ok(catalog) => {
            let mut found = catalog.diagnostics();
            for file in catalog.pipeline_files() {
                match catalog.pipeline_once(&file) {
                    Ok((_, notes)) => found.extend(notes),
                    Err(mistakes) => found.extend(mistakes),
                }
            }
            found
        }
        Err(mistakes) => mistakes,
    }
}
