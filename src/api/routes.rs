//! The table of routes: the only list of what this server answers.
//!
//! The router, the OpenAPI document and the tests of security are made from it. A new route is a line here, and has its scope.

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post};

use super::error::ApiError;
use super::gate::{gate, harden};
use super::openapi::{any_object, document, nested_shape};
use super::route::{Answer, Content, Route, RouteInfo, Scope, Verb, inline, shape};
use super::server::Shared;
use super::{access, artifacts, config, download, dto, events, local, logs, modules, pipelines, runs, system, validate};
use crate::host::resources_view::ResourcesView;
use crate::host::views::NodeRow;
use crate::host::why::WhyView;

use Scope::{Owner, Public, Read, Write};
use Verb::{Delete, Get, Post};

const fn json(status: u16, about: &'static str, shape: super::route::Shape) -> Answer {
    Answer { status, about, content: Content::Json(shape) }
}

const fn other(media: &'static str, about: &'static str) -> Answer {
    Answer { status: 200, about, content: Content::Other(media) }
}

const fn nothing(status: u16, about: &'static str) -> Answer {
    Answer { status, about, content: Content::Nothing }
}

/// A header by which a repeated submission is known.
const IDEMPOTENCY: &[(&str, &str, &str)] = &[(
    "Idempotency-Key",
    "A name that the client makes up: the same request with the same key makes one run, however often it is sent, as long as the run is kept.",
    "^[A-Za-z0-9_-]{8,64}$",
)];

/// Where a stream goes on.
const LAST_EVENT_ID: &[(&str, &str, &str)] =
    &[("Last-Event-ID", "The id of the last event that was seen: the stream goes on behind it.", "^[0-9]{0,20}$")];

/// Every route.
#[rustfmt::skip] // a table: one route is one thing
pub(super) const ROUTES: &[Route] = &[
    Route::new(Get, "/api/health", Public, "health", "How the host is. Needs no token.",
        &[json(200, "How it is.", shape::<dto::Health>)], || get(system::health)),
    Route::new(Get, "/auth", Public, "enter", "Exchange the code of a link for a browser's cookie, once.",
        &[nothing(303, "The cookie; goes on to the page.")], || get(access::enter)).query(inline::<access::LinkQuery>),
    Route::new(Get, "/api/openapi.json", Read, "openapi", "This document.",
        &[json(200, "The document.", any_object)], || get(openapi)),
    // Modules.
    Route::new(Get, "/api/modules", Read, "list_modules", "All modules, with broken manifests beside them.",
        &[json(200, "The modules.", shape::<modules::ModuleList>)], || get(modules::list)),
    Route::new(Get, "/api/modules/{module}", Read, "show_module", "One module. Its fields stand there a second time under `module`.",
        &[json(200, "The module.", nested_shape::<modules::ModuleView>)], || get(modules::show)),
    Route::new(Post, "/api/modules/{module}/run", Write, "run_module", "Start a module. The run is on the disk when this is answered.",
        &[json(202, "The run, which may have to wait for its turn.", shape::<runs::Run>)], || post(modules::run))
        .body(shape::<modules::RunRequest>).headers(IDEMPOTENCY),
    Route::new(Get, "/api/modules/{module}/config", Read, "show_config", "Saved parameters of a module, over its defaults.",
        &[json(200, "The parameters.", shape::<config::Config>)], || get(config::show)),
    Route::new(Post, "/api/modules/{module}/config", Write, "save_config", "Save parameters of a module, checked by its schema.",
        &[json(200, "What is saved now.", shape::<config::Config>)], || post(config::save)).body(shape::<config::SaveRequest>),
    Route::new(Delete, "/api/modules/{module}/config", Write, "remove_config", "Forget the saved parameters of a module.",
        &[json(200, "Whether there were any.", shape::<config::Removed>)], || delete(config::remove)),
    // Pipelines.
    Route::new(Get, "/api/pipelines", Read, "list_pipelines", "Pipelines that `pipelines:` in prismq.yaml names, with broken ones.",
        &[json(200, "The pipelines.", shape::<pipelines::PipelineList>)], || get(pipelines::list)),
    Route::new(Post, "/api/pipelines/run", Write, "run_pipeline", "Start one of them. The run is on the disk when this is answered.",
        &[json(202, "The run.", shape::<runs::Run>)], || post(pipelines::run))
        .body(shape::<pipelines::PipelineRequest>).headers(IDEMPOTENCY),
    // Runs.
    Route::new(Get, "/api/runs", Read, "list_runs", "Runs, the newest first. Filters combine.",
        &[json(200, "A page of runs.", shape::<runs::RunList>)], || get(runs::list)).query(inline::<runs::RunsQuery>),
    Route::new(Get, "/api/runs/{run}", Read, "show_run", "One run. Its fields stand there a second time under `run`.",
        &[json(200, "The run.", nested_shape::<runs::Run>)], || get(runs::show)),
    Route::new(Delete, "/api/runs/{run}", Write, "cancel_run", "End a run: politely, and by force after the grace of what runs.",
        &[json(202, "It is being ended.", shape::<runs::Run>), json(200, "It had ended already.", shape::<runs::Run>)],
        || delete(runs::cancel)),
    Route::new(Post, "/api/runs/{run}/retry", Write, "retry_run", "Run again what did not complete, as a new run.",
        &[json(202, "The new run.", shape::<runs::Run>)], || post(runs::retry)).body(shape::<runs::RetryRequest>),
    Route::new(Get, "/api/runs/{run}/graph", Read, "show_graph", "The graph that a run was submitted with, and where its nodes stand.",
        &[json(200, "The graph.", shape::<runs::RunGraph>)], || get(runs::graph)),
    Route::new(Get, "/api/runs/{run}/nodes/{node}", Read, "show_node", "One node of a run.",
        &[json(200, "The node.", shape::<NodeRow>)], || get(runs::node)),
    Route::new(Get, "/api/runs/{run}/why", Read, "explain_run", "What keeps the nodes of a run from running.",
        &[json(200, "Nodes and reasons.", shape::<WhyView>)], || get(runs::why)),
    Route::new(Get, "/api/runs/{run}/artifacts", Read, "list_artifacts", "Files that the modules of a run left for people.",
        &[json(200, "The files.", shape::<artifacts::ArtifactList>)], || get(artifacts::list)),
    Route::new(Get, "/api/runs/{run}/artifacts/{node}/{attempt}/{*path}", Read, "show_artifact",
        "One of them: shown in a sandbox that runs nothing, or with `download=true` as a file.",
        &[other("*/*", "The file.")], || get(artifacts::show)).query(inline::<artifacts::ArtifactQuery>),
    // Logs. Every line of a run has a number, the same in all of these.
    Route::new(Get, "/api/runs/{run}/logs", Read, "show_logs", "The last lines of a run, or those from a number on.",
        &[json(200, "The lines.", shape::<logs::LinesReply>)], || get(logs::lines)).query(inline::<logs::LinesQuery>),
    Route::new(Get, "/api/runs/{run}/logs/stream", Read, "stream_logs", "All lines of a run, then those that come: an event for each, or arrays.",
        &[other("text/event-stream", "Unnamed events with lines; their ids are the lines' numbers. `end` with the status of the run, `reset` where the place was not known.")], || get(logs::stream))
        .query(inline::<logs::StreamQuery>).headers(LAST_EVENT_ID),
    Route::new(Get, "/api/runs/{run}/logs/search", Read, "search_logs", "Lines in which a text is; how far it looked, and where to go on.",
        &[json(200, "What was found.", shape::<logs::SearchReply>)], || get(logs::search)).query(inline::<logs::SearchQuery>),
    Route::new(Get, "/api/runs/{run}/logs/download", Read, "download_logs", "The raw bytes of the log; a range of them is at most a mebibyte.",
        &[other("text/plain", "The bytes.")], || get(download::download)).query(inline::<download::DownloadQuery>),
    Route::new(Get, "/api/events", Read, "events", "Everything but logs: a snapshot with a number, then every change with the next one.",
        &[other("text/event-stream", "Named events: `snapshot`, then `run`, `node`, `progress`, `removed`, `queue`, `resources`, `host`, `disks`, `modules`, `pipelines`, `settings`, `watch`; `reset` and a snapshot where too much was missed.")], || get(events::events)).headers(LAST_EVENT_ID),
    // The host.
    Route::new(Post, "/api/validate", Read, "validate", "Check parameters, the text of a file, or all files of the workspace.",
        &[json(200, "What was found.", shape::<validate::Validated>)], || post(validate::validate)).body(shape::<validate::ValidateRequest>),
    Route::new(Get, "/api/queue", Read, "queue", "Nodes of all runs that wait for room, and what for.",
        &[json(200, "Nodes and reasons.", shape::<WhyView>)], || get(system::queue)),
    Route::new(Get, "/api/resources", Read, "resources", "What the machine has, what is held, used by others, and free.",
        &[json(200, "The machine.", shape::<ResourcesView>)], || get(system::resources)),
    Route::new(Get, "/api/resources/history", Read, "resource_history", "How the machine stood while something ran.",
        &[json(200, "The samples, the oldest first.", shape::<crate::host::history::History>)], || get(system::resource_history))
        .query(inline::<system::HistoryQuery>),
    Route::new(Get, "/api/schedules", Read, "schedules", "Schedules of modules.",
        &[json(200, "The schedules.", shape::<system::Schedules>)], || get(system::schedules)),
    Route::new(Get, "/api/system/stats", Read, "stats", "Runs, modules and the machine in a few numbers.",
        &[json(200, "The numbers.", shape::<system::Stats>)], || get(system::stats)),
    Route::new(Get, "/api/metrics", Read, "metrics", "The same for Prometheus.",
        &[other("text/plain", "The metrics.")], || get(system::metrics)),
    // What only the owner's own programs may do.
    Route::new(Post, "/api/local/runs", Owner, "local_submit", "Submit by path.", &[], || post(local::submit)).body(any_object),
    Route::new(Post, "/api/local/retry", Owner, "local_retry", "Repeat a run.", &[], || post(local::retry)).body(any_object),
    Route::new(Post, "/api/local/resume", Owner, "local_resume", "Go on with held runs.", &[], || post(local::resume)).body(any_object),
    Route::new(Post, "/api/local/why", Owner, "local_why", "Why nodes wait.", &[], || post(local::why)).body(any_object),
    Route::new(Post, "/api/local/resources", Owner, "local_resources", "The machine.", &[], || post(local::resources)),
    Route::new(Post, "/api/local/prune", Owner, "local_prune", "Remove finished runs.", &[], || post(local::prune)).body(any_object),
    Route::new(Post, "/api/local/prune/plan", Owner, "local_would_prune", "What that would remove.", &[], || post(local::would_prune)).body(any_object),
    Route::new(Post, "/api/local/link", Owner, "local_link", "A link for a browser.", &[], || post(access::link)),
    Route::new(Post, "/api/local/token/rotate", Owner, "local_rotate", "New tokens.", &[], || post(access::rotate)),
    Route::new(Get, "/api/local/modules", Owner, "local_modules", "Modules, for a terminal.", &[], || get(local::modules)),
    Route::new(Get, "/api/local/modules/{module}", Owner, "local_module", "A module.", &[], || get(local::module)),
    Route::new(Post, "/api/local/runs/list", Owner, "local_runs", "Runs, for a terminal.", &[], || post(local::list)).body(any_object),
    Route::new(Post, "/api/local/runs/find", Owner, "local_find", "A run by what was typed.", &[], || post(local::find)).body(any_object),
    Route::new(Get, "/api/local/runs/{run}/file", Owner, "local_file", "A run with its nodes.", &[], || get(local::file)),
    Route::new(Post, "/api/local/runs/{run}/cancel", Owner, "local_cancel", "End a run.", &[], || post(local::cancel)).body(any_object),
    Route::new(Get, "/api/local/runs/{run}/follow", Owner, "local_follow", "Follow a run.", &[], || get(local::follow)),
];

/// Every route, for tests and documents.
pub fn route_list() -> impl Iterator<Item = RouteInfo> {
    ROUTES.iter().map(|route| RouteInfo { verb: route.verb, path: route.path, scope: route.scope, body: route.body.is_some() })
}

/// Who may use a route; none where there is no such route.
pub(super) fn scope_of(verb: Verb, path: &str) -> Option<Scope> {
    ROUTES.iter().find(|route| route.verb == verb && route.path == path).map(|route| route.scope)
}

/// The router, with the gate around everything that it answers.
pub(super) fn router(shared: &Shared) -> Router {
    let routes = ROUTES.iter().fold(Router::new(), |router, route| router.route(route.path, (route.handler)()));
    routes
        .fallback(|| async { ApiError::not_found("there is no such route") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this route does not know that method")
        })
        .layer(middleware::from_fn_with_state(shared.clone(), gate))
        .layer(middleware::from_fn(harden))
        .layer(middleware::from_fn_with_state(shared.clone(), counted))
        .with_state(shared.clone())
}

async fn counted(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    shared.count(|counters| &counters.requests);
    next.run(request).await
}

async fn openapi() -> Json<serde_json::Value> {
    Json(document())
}
