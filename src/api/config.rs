//! Saved parameters of modules. They prefill forms and `run --saved`.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::ApiError;
use super::input::{Body, Module};
use super::modules::no_module;
use super::server::Shared;
use crate::host::workspace::Workspace;
use crate::host::{Handle, saved, views};
use crate::ids::ModuleId;
use crate::units::Timestamp;

/// What a form begins with.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Config {
    module_id: String,
    /// What is saved, and the defaults of what is not.
    parameters: Map<String, Value>,
    /// Parameters that are never saved: those that the schema marks as `format: password` or `writeOnly`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_saved: Vec<String>,
    /// When it was saved; left out where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<Timestamp>,
}

/// What is to be saved.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SaveRequest {
    /// Values by name; not all that are required need to be there.
    parameters: Map<String, Value>,
}

/// What was removed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Removed {
    /// There was something.
    removed: bool,
    message: String,
}

/// `GET /api/modules/{module}/config`
pub(super) async fn show(State(shared): State<Shared>, Module(id): Module) -> Result<Json<Config>, ApiError> {
    shared.work(move |handle| with_module(handle, &id, |module| config(handle.workspace(), module))).await
}

/// `POST /api/modules/{module}/config`
pub(super) async fn save(
    State(shared): State<Shared>,
    Module(id): Module,
    Body(request): Body<SaveRequest>,
) -> Result<Json<Config>, ApiError> {
    shared
        .work(move |handle| {
            with_module(handle, &id, |module| {
                saved::write(handle.workspace(), module, request.parameters)?;
                config(handle.workspace(), module)
            })
        })
        .await
}

/// `DELETE /api/modules/{module}/config`
pub(super) async fn remove(State(shared): State<Shared>, Module(id): Module) -> Result<Json<Removed>, ApiError> {
    shared
        .work(move |handle| {
            with_module(handle, &id, |module| {
                let removed = saved::remove(handle.workspace(), &module.id)?;
                let message = if removed { "the saved parameters are removed" } else { "nothing was saved" };
                Ok(Json(Removed { removed, message: message.to_owned() }))
            })
        })
        .await
}

/// Does something with a module of the catalogue, also with one that is off.
fn with_module<T>(handle: &Handle, id: &ModuleId, what: impl FnOnce(&views::Module) -> Result<T, ApiError>) -> Result<T, ApiError> {
    let catalog = handle.catalog();
    match catalog.registry.get(id.as_str()) {
        Some(module) => what(module),
        None => what(catalog.module(id.as_str()).map_err(no_module)?),
    }
}

fn config(workspace: &Workspace, module: &views::Module) -> Result<Json<Config>, ApiError> {
    let saved = saved::read(workspace, &module.id)?;
    let updated_at = saved.as_ref().map(|saved| saved.updated_at);
    let values = saved.map(|saved| saved.parameters).unwrap_or_default();
    let parameters = match module.params.complete(values.clone()).map(|completed| completed.value) {
        Ok(Value::Object(map)) => map,
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => Map::new(),
        // They were saved for another schema; a run of them is refused.
        Err(_) => values,
    };
    Ok(Json(Config { module_id: module.id.to_string(), parameters, not_saved: saved::secret_names(module), updated_at }))
}
