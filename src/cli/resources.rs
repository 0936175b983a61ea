//! `prismq resources`: what the machine has, what is handed out of it, what others use, and what is free.

mod history;

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Style};
use super::session::Session;
use crate::host::offline;
use crate::host::resources_view::{GpuView, MemoryView, ResourcesView};
use crate::host::views::printable;
use crate::units::{Bytes, Timestamp};

/// Arguments of `resources`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How it was since then, while something ran: 14:02 (the latest such time), a date, RFC 3339, or 1h for an hour ago
    #[arg(long, value_name = "TIME", value_parser = super::logs::parse_since)]
    since: Option<Timestamp>,

    /// As JSON, in bytes and thousandths
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace_or_here()?;
    if let Some(since) = arguments.since {
        return history::run(&workspace, since, arguments.json, context);
    }
    let view = match Session::attach(&workspace)? {
        Some(client) => client.resources()?,
        None => offline::resources(&workspace)?,
    };
    if arguments.json {
        context.output.json(&view);
    } else {
        print(&view, &context.output);
    }
    Ok(Exit::Ok)
}

fn print(view: &ResourcesView, output: &Output) {
    let head =
        format!("{:<12} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}", "", "DETECTED", "RESERVED", "CAPACITY", "HELD", "OTHERS", "FREE");
    output.line(output.styled(&head, Style::Dim));
    let row = |name: &str, cells: [String; 6]| {
        let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>10}")).collect();
        output.line(format!("{:<12} {}", printable(name), cells.join(" ")).trim_end());
    };
    let none = || "-".to_owned();
    let cpus = &view.cpus;
    row("cpus", [cpus.detected.to_string(), none(), cpus.capacity.to_string(), cpus.held.to_string(), none(), cpus.free.to_string()]);
    row("memory", memory(&view.memory));
    for (at, gpu) in view.gpus.iter().enumerate() {
        row(&format!("vram {at}"), memory(&gpu.vram));
    }
    for (name, custom) in &view.custom {
        row(name, [none(), none(), custom.capacity.to_string(), custom.held.to_string(), none(), custom.free.to_string()]);
    }
    let places = &view.places;
    let free = places.capacity.saturating_sub(places.held);
    row("places", [none(), none(), places.capacity.to_string(), places.held.to_string(), none(), free.to_string()]);
    for (at, gpu) in view.gpus.iter().enumerate() {
        output.line(printable(&gpu_line(at, gpu)));
    }
    if let (true, Some(reason)) = (view.gpus.is_empty(), &view.no_gpus) {
        output.line(format!("no GPU: {}", printable(reason)));
    }
    for disk in &view.disks {
        output.line(printable(&disk.to_string()));
    }
    if !view.hosted {
        output.note("no host runs here: nothing is held");
    }
}

fn memory(view: &MemoryView) -> [String; 6] {
    let size = |bytes: Bytes| if bytes.0 == u64::MAX { "?".to_owned() } else { bytes.to_string() };
    let others = view.used_by_others.map_or_else(|| "?".to_owned(), size);
    [size(view.detected), size(view.reserved), size(view.capacity), size(view.held), others, size(view.free)]
}

fn gpu_line(at: usize, gpu: &GpuView) -> String {
    let state = match (gpu.lost, gpu.whole, gpu.nodes) {
        (true, _, _) => "does not answer".to_owned(),
        (false, true, _) => "held as a whole by a node".to_owned(),
        (false, false, 0) => "idle".to_owned(),
        (false, false, 1) => "shared by 1 node".to_owned(),
        (false, false, nodes) => format!("shared by {nodes} nodes"),
    };
    let unmeasured = if gpu.measured || gpu.lost { "" } else { ", not measured: as the settings say" };
    format!("gpu {at}: {} {}, {state}{unmeasured}", gpu.name, gpu.uuid)
}
