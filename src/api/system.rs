//! The host itself: how it is, what waits, what the machine has, and the same in numbers.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dto::Health;
use super::error::ApiError;
use super::input::Query;
use super::server::Shared;
use super::tally::{Counts, percent};
use crate::host::clock;
use crate::host::history::History;
use crate::host::resources_view::ResourcesView;
use crate::host::why::{WhyAsked, WhyView};
use crate::units::Timestamp;

/// An hour, in microseconds.
const HISTORY_DEFAULT_US: i64 = 3_600_000_000;

/// Runs, modules and the machine in a few numbers.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Stats {
    runs: RunStats,
    modules: ModuleStats,
    system: SystemStats,
    /// How long this host has been there.
    uptime_seconds: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct RunStats {
    total: u64,
    queued: u64,
    running: u64,
    successful: u64,
    failed: u64,
    cancelled: u64,
    /// Of those that completed or failed, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    success_rate: Option<f64>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ModuleStats {
    total: usize,
    /// Those with a run that has not ended.
    active: usize,
    idle: usize,
    /// Manifests that are refused.
    broken: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct SystemStats {
    /// Processors that running nodes hold, of those that may be handed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_held_percent: Option<f64>,
    /// Memory that is used by anybody, of what the machine has; left out where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_percent: Option<f64>,
    /// Free bytes of the disk with the least.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_free_bytes: Option<u64>,
}

/// Schedules of modules.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Schedules {
    /// None: manifests cannot have a schedule yet.
    #[schemars(with = "Vec<serde_json::Value>")]
    schedules: [(); 0],
}

/// `GET /api/health`
pub(super) async fn health(State(shared): State<Shared>) -> Json<Health> {
    Json(Health {
        health: shared.handle.health(),
        disk: shared.handle.disk_level(),
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_seconds: shared.started.elapsed().as_secs(),
        leaving: shared.handle.is_leaving(),
    })
}

/// `GET /api/queue`
pub(super) async fn queue(State(shared): State<Shared>) -> Result<Json<WhyView>, ApiError> {
    shared.work(|handle| handle.why(WhyAsked { run: None, node: None, ready: true })).await.map(Json)
}

/// `GET /api/resources`
pub(super) async fn resources(State(shared): State<Shared>) -> Result<Json<ResourcesView>, ApiError> {
    shared.work(|handle| handle.resources()).await.map(Json)
}

/// `GET /api/schedules`
pub(super) async fn schedules() -> Json<Schedules> {
    Json(Schedules { schedules: [] })
}

/// `GET /api/system/stats`
pub(super) async fn stats(State(shared): State<Shared>) -> Result<Json<Stats>, ApiError> {
    let (tally, uptime) = (shared.tally.clone(), shared.started.elapsed());
    shared
        .work(move |handle| {
            let all = handle.runs()?;
            let counts = tally.counts(&all);
            let by_module = tally.modules(&all);
            let catalog = handle.catalog();
            let total = catalog.registry.iter().len();
            let active = |id: &str| by_module.get(id).is_some_and(|module| module.active > 0);
            let active = catalog.registry.iter().filter(|module| active(module.id.as_str())).count();
            Ok::<_, ApiError>(Json(Stats {
                runs: RunStats {
                    total: counts.total(),
                    queued: counts.queued,
                    running: counts.running,
                    successful: counts.completed,
                    failed: counts.failed,
                    cancelled: counts.cancelled,
                    success_rate: percent(counts.completed, counts.completed + counts.failed),
                },
                modules: ModuleStats { total, active, idle: total - active, broken: catalog.registry.broken().len() },
                system: system_stats(&handle.resources()?),
                uptime_seconds: uptime.as_secs(),
            }))
        })
        .await
}

fn system_stats(machine: &ResourcesView) -> SystemStats {
    let memory = &machine.memory;
    let used = memory.used_by_others.map(|others| others.0 + memory.used_by_nodes.0);
    SystemStats {
        cpu_held_percent: percent(machine.cpus.held.0, machine.cpus.capacity.0),
        memory_percent: used.and_then(|used| percent(used.min(memory.detected.0), memory.detected.0)),
        disk_free_bytes: machine.disks.iter().map(|disk| disk.free.0).min(),
    }
}

/// Which part of the history.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    /// Since when (RFC 3339); where it is left out, an hour ago.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
}

/// `GET /api/resources/history`
pub(super) async fn resource_history(State(shared): State<Shared>, Query(query): Query<HistoryQuery>) -> Result<Json<History>, ApiError> {
    let since = match query.since {
        Some(text) => {
            Timestamp::parse_rfc3339(&text).map_err(|_| ApiError::invalid("/since", "a time like 2026-11-26T14:02:00Z is wanted"))?
        }
        None => Timestamp::from_micros(clock::wall().micros().saturating_sub(HISTORY_DEFAULT_US)),
    };
    Ok(Json(shared.work(move |handle| handle.resource_history(since)).await?))
}

/// `GET /api/metrics`
pub(super) async fn metrics(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let tally = shared.tally.clone();
    let (counts, machine) = shared.work(move |handle| Ok::<_, ApiError>((tally.counts(&handle.runs()?), handle.resources()?))).await?;
    let text = exposition(&shared, counts, &machine);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// Prometheus' text form.
fn exposition(shared: &Shared, counts: Counts, machine: &ResourcesView) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, values: &[(String, u64)]| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP prismq_{name} {help}\n# TYPE prismq_{name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(text, "prismq_{name}{labels} {value}");
        }
    };
    let plain = |value: u64| vec![(String::new(), value)];
    let counters = &shared.counters;
    family("info", "gauge", "Version of the host.", &[(format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1)]);
    family("uptime_seconds", "counter", "How long the host has been there.", &plain(shared.started.elapsed().as_secs()));
    let by_state = [
        ("queued", counts.queued),
        ("running", counts.running),
        ("completed", counts.completed),
        ("failed", counts.failed),
        ("cancelled", counts.cancelled),
    ];
    family("runs", "gauge", "Runs that are kept, by state.", &by_state.map(|(state, count)| (format!("{{status=\"{state}\"}}"), count)));
    family("attempts_running", "gauge", "Attempts that run.", &plain(machine.places.held.into()));
    family("attempts_max", "gauge", "Attempts that may run at once.", &plain(machine.places.capacity.into()));
    family("cpu_millis_held", "gauge", "Thousandths of processors that are held.", &plain(machine.cpus.held.0));
    family("cpu_millis_capacity", "gauge", "Thousandths of processors that may be held.", &plain(machine.cpus.capacity.0));
    family("memory_bytes_held", "gauge", "Memory that is held.", &plain(machine.memory.held.0));
    family("memory_bytes_free", "gauge", "Memory that a new node can have.", &plain(machine.memory.free.0));
    let gpus = |value: fn(&crate::host::resources_view::GpuView) -> u64| -> Vec<(String, u64)> {
        machine.gpus.iter().map(|gpu| (format!("{{gpu=\"{}\"}}", label(&gpu.uuid)), value(gpu))).collect()
    };
    family("vram_bytes_held", "gauge", "Memory of a GPU that is held.", &gpus(|gpu| gpu.vram.held.0));
    family("vram_bytes_free", "gauge", "Memory of a GPU that a new node can have.", &gpus(|gpu| gpu.vram.free.0));
    let disks: Vec<_> = machine.disks.iter().map(|disk| (format!("{{folder=\"{}\"}}", label(&disk.folder)), disk.free.0)).collect();
    family("disk_bytes_free", "gauge", "Free bytes of the disks that runs write to.", &disks);
    family("http_requests_total", "counter", "Requests.", &plain(counters.requests.load(Ordering::Relaxed)));
    family("http_connections_total", "counter", "Connections.", &plain(counters.connections.load(Ordering::Relaxed)));
    family(
        "http_unauthorized_total",
        "counter",
        "Requests with a wrong token or cookie.",
        &plain(counters.unauthorized.load(Ordering::Relaxed)),
    );
    text
}

/// A text as the value of a label.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
