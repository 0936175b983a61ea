//! Pipelines that the settings name. A client names them as the list does, never by a path of its own.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::ApiError;
use super::input::Body;
use super::modules::{idempotency, submission, submitted};
use super::server::Shared;
use crate::host::catalog::Catalog;
use crate::host::submission::{Submit, Target};
use crate::request::Priority;
use std::path::PathBuf;

/// The pipelines of the workspace.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PipelineList {
    pipelines: Vec<PipelineView>,
    total: usize,
}

/// A pipeline file.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Pipeline")]
struct PipelineView {
    /// Its file, relative to the workspace: by this it is started.
    file: String,
    /// Its name; left out where the file is broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    valid: bool,
    /// JSON Schema of its parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Value>,
    /// Number of its nodes, without those of sub-pipelines and expansions.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<usize>,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Value>,
}

/// What a pipeline is started with.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PipelineRequest {
    /// Its file as the list names it, or its name where no other has the same.
    #[schemars(regex(pattern = r"^[^\x00]*$"))]
    pipeline: String,
    /// Its parameters.
    #[serde(default)]
    parameters: Map<String, Value>,
    /// Whether its nodes come before or after those of other runs. Nothing said: what nodes and manifests say, else `normal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Priority")]
    priority: Option<Priority>,
}

/// `GET /api/pipelines`
pub(super) async fn list(State(shared): State<Shared>) -> Result<Json<PipelineList>, ApiError> {
    shared
        .work(|handle| {
            let catalog = handle.catalog();
            let files = catalog.pipeline_files();
            let pipelines: Vec<PipelineView> = files.iter().map(|file| view(&catalog, file)).collect();
            Ok::<_, ApiError>(Json(PipelineList { total: pipelines.len(), pipelines }))
        })
        .await
}

/// `POST /api/pipelines/run`
pub(super) async fn run(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Body(request): Body<PipelineRequest>,
) -> Result<Response, ApiError> {
    let idempotency = idempotency(&headers, "pipelines", &request)?;
    shared
        .work(move |handle| {
            let catalog = handle.catalog();
            let path = find(&catalog, &request.pipeline)?;
            let submit = submission(Target::Pipeline { path }, &request.parameters, false, idempotency, handle.workspace());
            let submit = Submit { priority: request.priority, ..submit };
            submitted(handle, &submit)
        })
        .await
}

/// The file that a client means, out of the list.
fn find(catalog: &Catalog, wanted: &str) -> Result<PathBuf, ApiError> {
    let files = catalog.pipeline_files();
    if let Some(file) = files.iter().find(|file| catalog.workspace.display(file) == wanted) {
        return Ok(file.clone());
    }
    let named = |file: &&PathBuf| catalog.pipeline_once(file).is_ok_and(|(definition, _)| definition.name == wanted);
    let mut named = files.iter().filter(named);
    match (named.next(), named.next()) {
        (Some(file), None) => Ok(file.clone()),
        (Some(_), Some(_)) => {
            let detail = format!("several pipelines are called `{wanted}`: name the file");
            Err(ApiError::new(StatusCode::CONFLICT, "ambiguous", detail))
        }
        (None, _) => Err(ApiError::not_found(format!("there is no pipeline `{wanted}` among those of `pipelines:` in prismq.yaml"))),
    }
}

fn view(catalog: &Catalog, file: &std::path::Path) -> PipelineView {
    let shown = catalog.workspace.display(file);
    match catalog.pipeline_once(file) {
        Ok((definition, _)) => PipelineView {
            file: shown,
            name: Some(definition.name.clone()),
            valid: true,
            params: Some(definition.params.schema().clone()),
            nodes: Some(definition.nodes.len()),
            errors: Vec::new(),
        },
        Err(mistakes) => PipelineView {
            file: shown,
            name: None,
            valid: false,
            params: None,
            nodes: None,
            errors: mistakes.iter().filter_map(|item| serde_json::to_value(item).ok()).collect(),
        },
    }
}
