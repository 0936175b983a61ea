//! Runs: lists, single ones, their nodes and graph, why they wait; ending and repeating them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::dto::nested;
use super::error::ApiError;
use super::input::{self, Body, Query, step};
use super::server::Shared;
use super::tally::percent;
use crate::event::RunStatus;
use crate::host::index::RunRow;
use crate::host::look::RunSeen;
use crate::host::offline;
use crate::host::submission::{Retry, RetryScope};
use crate::host::views::{NodeRow, NodeStatus, export};
use crate::host::why::{WhyAsked, WhyView};

/// Rows of a page where nothing is said.
const LIMIT_DEFAULT: usize = 50;

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(super) struct Run {
    #[serde(flatten)]
    row: RunRow,
    /// Name of the module or pipeline.
    module_name: String,
    /// Its end was asked for and has not come.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stopping: bool,
    /// Its parameters, checked and completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
    /// What it reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<Value>,
    /// How much of it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress_percent: Option<f64>,
    /// Nodes that are over.
    #[serde(skip_serializing_if = "Option::is_none")]
    items_processed: Option<u64>,
    /// Nodes that are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    items_total: Option<u64>,
}

/// Which runs are listed. Filters combine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunsQuery {
    /// Only runs in this state.
    status: Option<RunStatus>,
    /// Only runs of this module.
    #[schemars(regex(pattern = r"^[^\x00]*$"))]
    module_id: Option<String>,
    /// Only runs of the pipeline of this name.
    #[schemars(regex(pattern = r"^[^\x00]*$"))]
    pipeline: Option<String>,
    /// At most so many, the newest first.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
    /// Leave out so many of the newest.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    offset: Option<usize>,
}

/// A page of runs.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RunList {
    /// Newest first.
    runs: Vec<Run>,
    /// How many there are on all pages.
    total: usize,
    limit: usize,
    offset: usize,
}

/// What a run was submitted with, as a graph.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RunGraph {
    run_id: String,
    /// Name, totals, nodes and edges, sub-pipelines inside; as `prismq graph --format json` prints it.
    graph: Value,
    /// All nodes of the run and where they stand.
    nodes: Vec<NodeState>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct NodeState {
    node: String,
    status: NodeStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Which nodes run again. Nothing said: those that did not complete.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("not" = {"required": ["from", "only"]}))]
pub(super) struct RetryRequest {
    /// This node and all that depends on it.
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = r"^[^\x00]*$"))]
    from: Option<String>,
    /// Only this node; not together with `from`.
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = r"^[^\x00]*$"))]
    only: Option<String>,
}

/// `GET /api/runs`
pub(super) async fn list(State(shared): State<Shared>, Query(query): Query<RunsQuery>) -> Result<Json<RunList>, ApiError> {
    shared
        .work(move |handle| {
            let (limit, offset) = (query.limit.unwrap_or(LIMIT_DEFAULT), query.offset.unwrap_or(0));
            let all = handle.runs()?;
            let passes = |row: &RunRow| {
                query.status.is_none_or(|status| row.status == status)
                    && query.module_id.as_ref().is_none_or(|module| row.module_id.as_ref() == Some(module))
                    && query.pipeline.as_ref().is_none_or(|pipeline| row.pipeline.as_ref() == Some(pipeline))
            };
            let filtered = query.status.is_some() || query.module_id.is_some() || query.pipeline.is_some();
            let page = all.page(offset, limit, filtered.then_some(&passes));
            Ok::<_, ApiError>(Json(RunList { runs: page.rows.into_iter().map(row_view).collect(), total: page.total, limit, offset }))
        })
        .await
}

/// `GET /api/runs/{run}`
pub(super) async fn show(State(shared): State<Shared>, input::Run(run): input::Run) -> Result<Json<Value>, ApiError> {
    let seen = shared.work(move |handle| handle.run(&run)).await?;
    Ok(Json(nested("run", &view(seen))))
}

/// `DELETE /api/runs/{run}`: asks for its end. As often as one likes.
pub(super) async fn cancel(State(shared): State<Shared>, input::Run(run): input::Run) -> Result<Response, ApiError> {
    let seen = shared
        .work(move |handle| {
            // One that has ended is left as it is.
            if !handle.run(&run)?.row.status.is_terminal() {
                handle.cancel(&run, false)?;
            }
            handle.run(&run)
        })
        .await?;
    let status = if seen.row.status.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(view(seen))).into_response())
}

/// `POST /api/runs/{run}/retry`
pub(super) async fn retry(
    State(shared): State<Shared>,
    input::Run(run): input::Run,
    Body(request): Body<RetryRequest>,
) -> Result<Response, ApiError> {
    let scope = match (request.from, request.only) {
        (None, None) => RetryScope::Unfinished,
        (Some(node), None) => RetryScope::From(node),
        (None, Some(node)) => RetryScope::Only(node),
        (Some(_), Some(_)) => return Err(ApiError::invalid("", "`from` and `only` exclude each other")),
    };
    let seen = shared
        .work(move |handle| {
            let accepted = handle.retry(&Retry { run, scope })?;
            handle.run(&accepted.run)
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(view(seen))).into_response())
}

/// `GET /api/runs/{run}/graph`
pub(super) async fn graph(State(shared): State<Shared>, input::Run(run): input::Run) -> Result<Json<RunGraph>, ApiError> {
    shared
        .work(move |handle| {
            let file = handle.run_file(&run)?;
            let unreadable = |reason| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unreadable", reason);
            let definition = offline::definition(handle.workspace(), &run).map_err(unreadable)?;
            let states = file.nodes.into_iter().map(|row| NodeState { node: row.node, status: row.status, reason: row.reason });
            Ok::<_, ApiError>(Json(RunGraph { run_id: run.to_string(), graph: export::json(&definition), nodes: states.collect() }))
        })
        .await
}

/// `GET /api/runs/{run}/nodes/{node}`
pub(super) async fn node(State(shared): State<Shared>, input::Run(run): input::Run, Node(node): Node) -> Result<Json<NodeRow>, ApiError> {
    shared.work(move |handle| handle.node(&run, &node)).await.map(Json)
}

/// `GET /api/runs/{run}/why`
pub(super) async fn why(State(shared): State<Shared>, input::Run(run): input::Run) -> Result<Json<WhyView>, ApiError> {
    shared.work(move |handle| handle.why(WhyAsked { run: Some(run), node: None, ready: false })).await.map(Json)
}

/// A node's path, looked up among those of the run.
pub(super) struct Node(pub(super) String);

impl axum::extract::FromRequestParts<Shared> for Node {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, ApiError> {
        step(parts, shared, "node").await.map(Self)
    }
}

/// A row without what is only in a run's file.
fn row_view(row: RunRow) -> Run {
    let over = |status: &str| row.nodes.get(status).copied().unwrap_or(0);
    let done = ["completed", "failed", "cancelled", "skipped", "reused"].into_iter().map(over).sum::<u64>();
    let total = row.total();
    // Of one node it is known that it is over, and no more.
    let shown = (total > 1 || row.status.is_terminal()).then_some(());
    Run {
        module_name: row.name().to_owned(),
        stopping: false,
        parameters: None,
        outputs: None,
        progress_percent: shown.and_then(|()| percent(done, total)),
        items_processed: shown.map(|()| done),
        items_total: shown.map(|()| total),
        row,
    }
}

pub(super) fn view(seen: RunSeen) -> Run {
    Run {
        stopping: seen.stopping,
        parameters: seen.parameters.map(|parameters| (*parameters).clone()),
        outputs: seen.outputs.map(|outputs| (*outputs).clone()),
        ..row_view(seen.row)
    }
}
