//! Modules: what can be run, with what is broken beside it, and starting one.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::dto::nested;
use super::error::ApiError;
use super::form::{Field, fields};
use super::input::{Body, Module};
use super::runs::{self, Run};
use super::server::Shared;
use super::tally::ModuleTally;
use crate::host::catalog::{Catalog, NoModule};
use crate::host::prepare::Refused;
use crate::host::submission::{Idempotency, NamedText, Submit, Target};
use crate::host::{CommandError, saved, views};
use crate::request::Priority;
use crate::units::Timestamp;

/// Name by which messages call what came with a request.
const PARAMETERS: &str = "parameters.json";

/// The modules of the workspace.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ModuleList {
    /// Good ones, by id.
    modules: Vec<ModuleView>,
    /// How many good ones there are.
    total: usize,
    /// Manifests that are refused.
    broken: Vec<BrokenView>,
}

/// A module.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Module")]
pub(super) struct ModuleView {
    id: String,
    /// Name for people.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// `Video/Preparation`: a path in the tree of modules.
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    tags: Vec<String>,
    /// Off: nothing can start it.
    enabled: bool,
    status: ModuleStatus,
    /// Its manifest.
    file: String,
    /// What it runs.
    runs: String,
    /// JSON Schema (2020-12) of its parameters.
    params: Value,
    /// The same as a list of form fields, as far as such fields go.
    parameters: Vec<Field>,
    /// JSON Schema of what it reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<Value>,
    /// Modules that run before it when that is asked for.
    dependencies: Vec<String>,
    /// What an attempt needs and how it runs.
    settings: Value,
    /// Attempts of it at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    /// When a run of it was last submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_run: Option<Timestamp>,
    /// Runs of it that are kept.
    total_runs: u64,
    /// Finished ones that completed, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    success_rate: Option<f64>,
}

/// Whether a module can be started.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ModuleStatus {
    Active,
    Inactive,
}

/// A manifest that is refused.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BrokenManifest")]
struct BrokenView {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Why: each with `message`, and mostly `file`, `line` and `column`.
    errors: Vec<Value>,
}

/// What a module is started with.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunRequest {
    /// Its parameters, checked by its schema.
    #[serde(default)]
    parameters: Map<String, Value>,
    /// Begin with the saved parameters; those given here win over them.
    #[serde(default)]
    saved: bool,
    /// Save the parameters when the run was accepted.
    #[serde(default)]
    save_config: bool,
    /// Run the modules that it depends on before it, with their defaults.
    #[serde(default)]
    with_dependencies: bool,
    /// Whether its nodes come before or after those of other runs. Nothing said: what the manifest says, else `high`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Priority")]
    priority: Option<Priority>,
}

/// `GET /api/modules`
pub(super) async fn list(State(shared): State<Shared>) -> Result<Json<ModuleList>, ApiError> {
    let tally = shared.tally.clone();
    shared
        .work(move |handle| {
            let catalog = handle.catalog();
            let counted = tally.modules(&handle.runs()?);
            let modules: Vec<ModuleView> = catalog.registry.iter().map(|module| view(module, &catalog, &counted)).collect();
            let broken = catalog.registry.broken().iter().map(|broken| BrokenView {
                file: handle.workspace().display(&broken.file),
                id: broken.id.as_ref().map(ToString::to_string),
                errors: broken.diagnostics.iter().filter_map(|item| serde_json::to_value(item).ok()).collect(),
            });
            Ok::<_, ApiError>(Json(ModuleList { total: modules.len(), broken: broken.collect(), modules }))
        })
        .await
}

/// `GET /api/modules/{module}`
pub(super) async fn show(State(shared): State<Shared>, Module(id): Module) -> Result<Json<Value>, ApiError> {
    let tally = shared.tally.clone();
    shared
        .work(move |handle| {
            let catalog = handle.catalog();
            let module = match catalog.registry.get(id.as_str()) {
                Some(module) => module,
                None => catalog.module(id.as_str()).map_err(no_module)?,
            };
            let counted = tally.modules(&handle.runs()?);
            Ok::<_, ApiError>(Json(nested("module", &view(module, &catalog, &counted))))
        })
        .await
}

/// `POST /api/modules/{module}/run`
pub(super) async fn run(
    State(shared): State<Shared>,
    Module(id): Module,
    headers: HeaderMap,
    Body(request): Body<RunRequest>,
) -> Result<Response, ApiError> {
    let idempotency = idempotency(&headers, id.as_str(), &request)?;
    shared
        .work(move |handle| {
            let target = Target::Module { id: id.clone(), with_dependencies: request.with_dependencies };
            let submit = submission(target, &request.parameters, request.saved, idempotency, handle.workspace());
            let submit = Submit { priority: request.priority, ..submit };
            let answer = submitted(handle, &submit)?;
            if request.save_config {
                let catalog = handle.catalog();
                let module = catalog.module(id.as_str()).map_err(no_module)?;
                saved::write(handle.workspace(), module, request.parameters)?;
            }
            Ok::<_, ApiError>(answer)
        })
        .await
}

/// A submission that came over HTTP: relative paths in its parameters start at the workspace.
pub(super) fn submission(
    target: Target,
    parameters: &Map<String, Value>,
    saved: bool,
    idempotency: Option<Idempotency>,
    workspace: &crate::host::workspace::Workspace,
) -> Submit {
    // A map of strings and values: this cannot fail.
    let text = serde_json::to_string(parameters).unwrap_or_default();
    Submit {
        target,
        assignments: Vec::new(),
        params_file: Some(NamedText { name: PARAMETERS.to_owned(), text }),
        caller_folder: workspace.root().to_owned(),
        reuse: false,
        saved,
        idempotency,
        priority: None,
    }
}

/// Submits, and answers with the run: the new one, or the one that the same request made before.
pub(super) fn submitted(handle: &crate::host::Handle, submit: &Submit) -> Result<Response, ApiError> {
    let seen = match handle.submit(submit) {
        Ok(accepted) => *accepted.seen,
        Err(CommandError::KeyUsed(row)) => {
            if row.idempotency.as_ref().map(|known| &known.request) != submit.idempotency.as_ref().map(|asked| &asked.request) {
                let detail = format!("the idempotency key was used for another request, of run {}", row.run_id);
                return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "key_reused", detail));
            }
            handle.run(&row.run_id)?
        }
        Err(error) => return Err(error.into()),
    };
    let run: Run = runs::view(seen);
    Ok((StatusCode::ACCEPTED, Json(run)).into_response())
}

/// The key of a request that is to be carried out once, with a hash of what it asks for.
pub(super) fn idempotency(headers: &HeaderMap, target: &str, request: &impl Serialize) -> Result<Option<Idempotency>, ApiError> {
    let mut given = headers.get_all("idempotency-key").iter();
    let Some(first) = given.next() else { return Ok(None) };
    let fits =
        |key: &&str| (8..=64).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let key = first.to_str().ok().filter(fits).filter(|_| given.next().is_none());
    let Some(key) = key else {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_key", "an idempotency key is one header of 8 to 64 of A-Z a-z 0-9 _ -"));
    };
    let text = serde_json::to_string(request).unwrap_or_default();
    let hash = blake3::hash(format!("{target}\n{text}").as_bytes()).to_hex();
    Ok(Some(Idempotency { key: key.to_owned(), request: hash[..32].to_owned() }))
}

fn view(module: &views::Module, catalog: &Catalog, counted: &BTreeMap<String, ModuleTally>) -> ModuleView {
    let tally = counted.get(module.id.as_str()).copied().unwrap_or_default();
    ModuleView {
        id: module.id.to_string(),
        name: module.name.clone(),
        description: module.description.clone(),
        version: module.version.clone(),
        category: module.category.clone(),
        tags: module.tags.clone(),
        enabled: module.enabled,
        status: if module.enabled { ModuleStatus::Active } else { ModuleStatus::Inactive },
        file: module.source.name.clone(),
        runs: match &module.program {
            views::Program::Script { path, .. } => catalog.workspace.display(path),
            views::Program::Command(_) => module.program_name(),
        },
        params: module.params.schema().clone(),
        parameters: fields(module.params.schema()),
        outputs: module.outputs.as_ref().map(|outputs| outputs.schema().clone()),
        dependencies: module.dependencies.iter().map(|(id, _)| id.to_string()).collect(),
        settings: serde_json::to_value(&module.settings).unwrap_or_default(),
        concurrency: module.concurrency,
        last_run: tally.last,
        total_runs: tally.total,
        success_rate: tally.success_rate(),
    }
}

/// Why there is no such module, as an answer.
pub(super) fn no_module(why: NoModule) -> ApiError {
    match why {
        NoModule::Broken(mistakes) => ApiError::broken(&mistakes),
        NoModule::Unknown(reason) => Refused::NotFound(Box::new(reason)).into(),
    }
}
