//! What was found by looking ahead, shown: for `plan` and `simulate`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::Context;
use super::failure::Failure;
use super::output::Style;
use crate::host::forecast::{BoundBy, Forecast, Policy, capacity_of};
use crate::host::views::{Capacity, Held, Span};
use crate::host::workspace::Workspace;
use crate::units::{Bytes, CpuMillis, DurationMs};

/// A machine other than this one.
#[derive(Debug, clap::Args)]
pub(super) struct Machine {
    /// Processors, instead of what the settings and this machine have
    #[arg(long, value_name = "N", value_parser = CpuMillis::parse)]
    cpus: Option<CpuMillis>,

    /// Memory, instead of what the settings and this machine have
    #[arg(long, value_name = "SIZE", value_parser = Bytes::parse)]
    memory: Option<Bytes>,

    /// Nodes at once, instead of what the settings say
    #[arg(long, value_name = "N")]
    max_concurrent: Option<u32>,
}

impl Machine {
    pub(super) fn capacity(&self, workspace: &Workspace) -> Result<Capacity, Failure> {
        let found = capacity_of(workspace)?;
        Ok(Capacity {
            cpus: self.cpus.unwrap_or(found.cpus),
            memory: self.memory.unwrap_or(found.memory),
            max_concurrent: self.max_concurrent.unwrap_or(found.max_concurrent),
            ..found
        })
    }
}

/// A forecast as JSON.
#[derive(Serialize)]
pub(super) struct ForecastView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    makespan_seconds: Option<f64>,
    lower_bound_seconds: f64,
    lower_bound_by: &'a BoundBy,
    critical_path_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    critical_path_first_seconds: Option<f64>,
    policy: Policy,
    orders_tried: u32,
    /// Nodes whose duration nobody knows; each counts as a second.
    unknown_durations: u64,
    /// GPUs are asked for: no order was looked for, and the bound knows none.
    gpus_unmodelled: bool,
    capacity: Resources,
    peak: Resources,
    never_fits: Vec<NeverFits<'a>>,
    schedule: Vec<SpanView<'a>>,
}

#[derive(Serialize)]
struct Resources {
    cpus: f64,
    memory_bytes: u64,
    nodes: u32,
    #[serde(flatten)]
    custom: BTreeMap<String, f64>,
}

#[derive(Serialize)]
struct NeverFits<'a> {
    node: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct SpanView<'a> {
    node: &'a str,
    start_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_seconds: Option<f64>,
}

impl<'a> ForecastView<'a> {
    pub(super) fn of(found: &'a Forecast) -> Self {
        let (capacity, peak) = (&found.capacity, &found.peak);
        let view = |span: &'a Span| SpanView { node: &span.path, start_seconds: seconds(span.start), end_seconds: span.end.map(seconds) };
        Self {
            makespan_seconds: found.makespan.map(seconds),
            lower_bound_seconds: seconds(found.bound),
            lower_bound_by: &found.bound_by,
            critical_path_seconds: seconds(found.path),
            critical_path_first_seconds: found.critical_path_first.map(seconds),
            policy: found.policy,
            orders_tried: found.tried,
            unknown_durations: found.unknown,
            gpus_unmodelled: found.gpus_unmodelled,
            capacity: Resources {
                cpus: thousandths(capacity.cpus.0),
                memory_bytes: capacity.memory.0,
                nodes: capacity.max_concurrent,
                custom: capacity.custom.iter().map(|(name, amount)| (name.to_string(), thousandths(amount.0))).collect(),
            },
            peak: Resources {
                cpus: thousandths(peak.cpus.0),
                memory_bytes: peak.memory.0,
                nodes: peak.attempts,
                custom: peak.custom.iter().map(|(name, amount)| (name.to_string(), thousandths(amount.0))).collect(),
            },
            never_fits: found.never_fits.iter().map(|(node, reason)| NeverFits { node, reason }).collect(),
            schedule: found.spans.iter().map(view).collect(),
        }
    }
}

/// A path by the ids of the pipeline's own nodes: an instance stands for its node, a sub-pipeline for what is inside it.
pub(super) fn own_nodes(path: &[String]) -> Vec<&str> {
    let mut ids: Vec<&str> = path.iter().map(|node| node.split(['.', '[']).next().unwrap_or_default()).collect();
    ids.dedup();
    ids
}

#[expect(clippy::cast_precision_loss, reason = "for people and programs that draw; exact up to 2^53")]
fn thousandths(value: u64) -> f64 {
    value as f64 / 1000.0
}

fn seconds(time: DurationMs) -> f64 {
    thousandths(time.0)
}

/// The lines about time and resources.
pub(super) fn summary(found: &Forecast, context: &Context) {
    let output = &context.output;
    let by = match &found.bound_by {
        BoundBy::Path => "the critical path".to_owned(),
        BoundBy::Area { limit } => format!("all that is needed of {limit}"),
        BoundBy::Interval { limit } => format!("what is needed of {limit} at its tightest"),
    };
    match found.makespan {
        Some(makespan) => {
            output.line(format!("time: {makespan}; no order needs less than {} ({by})", found.bound));
            let order = match found.policy {
                Policy::CriticalPath => "the longest way to the end first",
                Policy::LongestFirst => "the longest node first",
                Policy::Declared => "as declared",
                Policy::Perturbed => "a variant of the longest way to the end first",
            };
            match found.tried {
                0 => output.line(format!("order: {order}")),
                tried => output.line(format!("order: {order}, of {tried} that were compared")),
            }
        }
        None => output.line(format!("time: at least {} ({by})", found.bound)),
    }
    if found.unknown > 0 {
        output.line(format!("of {} nodes nobody knows how long they take: each counts as 1 s (`duration:` says more)", found.unknown));
    }
    if found.gpus_unmodelled {
        output.line("GPUs are no part of the model, nor is the choice among alternatives: no order is looked for, and the least time does not count them");
    }
    if !found.spans.is_empty() {
        output.line(format!("most at once: {}", peaks(&found.peak, &found.capacity)));
    }
    for (node, reason) in &found.never_fits {
        output.line(output.styled(&format!("{node} can never run here: it {reason}"), Style::Bad));
    }
}

fn peaks(peak: &Held, capacity: &Capacity) -> String {
    let mut text = format!("{} of {} nodes, {} of {} CPUs", peak.attempts, capacity.max_concurrent, peak.cpus, capacity.cpus);
    if peak.memory.0 > 0 {
        // Writing to a string cannot fail.
        let _ = write!(text, ", {} of {} memory", peak.memory, capacity.memory);
    }
    for (name, most) in peak.custom.iter().filter(|(_, most)| most.0 > 0) {
        let all = capacity.custom.get(name).copied().unwrap_or_default();
        let _ = write!(text, ", {most} of {all} {name}");
    }
    text
}

/// Columns of a bar in the text.
const BAR: u64 = 40;

/// The attempts in the order of their starts, each with a bar.
pub(super) fn timeline(found: &Forecast, context: &Context, limit: usize) {
    let output = &context.output;
    if found.spans.is_empty() {
        return;
    }
    output.line(output.styled("timeline", Style::Dim));
    let whole = found.spans.iter().filter_map(|span| span.end).max().unwrap_or_default().0.max(1);
    let width = found.spans.iter().take(limit).map(|span| span.path.chars().count()).max().unwrap_or(0).min(40);
    let column = |time: DurationMs| usize::try_from(u128::from(time.0) * u128::from(BAR) / u128::from(whole)).unwrap_or(0);
    for span in found.spans.iter().take(limit) {
        let end = span.end.unwrap_or(DurationMs(whole));
        let (from, to) = (column(span.start), column(end).max(column(span.start) + 1));
        let bar = format!("{}{}", " ".repeat(from), "#".repeat(to - from));
        output.line(format!("  {:>8} {:>8}  {:<width$}  {bar}", span.start.to_string(), end.to_string(), span.path).trim_end());
    }
    if found.spans.len() > limit {
        output.line(format!("... and {} more (--all lists them)", found.spans.len() - limit));
    }
}

/// Draws the timeline: a lane for each node that runs beside others.
pub(super) fn draw(found: &Forecast, name: &str, file: &Path) -> Result<(), Failure> {
    std::fs::write(file, svg(found, name)).map_err(|error| Failure::ours(format!("{} cannot be written: {error}", file.display())))
}

fn svg(found: &Forecast, name: &str) -> String {
    const WIDTH: f64 = 1000.0;
    const LANE: f64 = 22.0;
    const LEFT: f64 = 10.0;
    const TOP: f64 = 34.0;
    let whole = found.spans.iter().filter_map(|span| span.end).max().unwrap_or_default().0.max(1);
    let lanes = lanes(&found.spans);
    let count = lanes.iter().max().map_or(0, |most| most + 1);
    let x = |time: u64| LEFT + thousandths(time) / thousandths(whole) * WIDTH;
    let y = |lane: usize| TOP + LANE * f64::from(u32::try_from(lane).unwrap_or(u32::MAX));
    let critical: std::collections::BTreeSet<&str> = found.critical_path.iter().map(String::as_str).collect();
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0}\" height=\"{:.0}\" font-family=\"sans-serif\" font-size=\"11\">\n",
        WIDTH + 2.0 * LEFT,
        y(count) + 10.0
    );
    let title = format!("{name}: {}, at least {}", DurationMs(whole), found.bound);
    let _ = writeln!(text, "<text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>", escaped(&title));
    for (span, lane) in found.spans.iter().zip(lanes) {
        let end = span.end.map_or(whole, |end| end.0);
        let (from, width) = (x(span.start.0), (x(end) - x(span.start.0)).max(1.0));
        let fill = if critical.contains(span.path.as_str()) { "#d9822b" } else { "#4a7fb5" };
        let label = escaped(&span.path);
        let shown: String = if width > 30.0 {
            format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#fff\">{}</text>",
                from + 3.0,
                y(lane) + 14.0,
                escaped(&fitting(&span.path, width))
            )
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "<g><title>{label}: {} to {}</title><rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"2\" fill=\"{fill}\"/>{shown}</g>",
            span.start,
            DurationMs(end),
            y(lane),
            LANE - 3.0
        );
    }
    text.push_str("</svg>\n");
    text
}

/// As much of a name as fits a bar.
fn fitting(name: &str, width: f64) -> String {
    const LETTER: f64 = 6.5;
    let mut fits = String::new();
    let mut used = LETTER;
    for letter in name.chars() {
        used += LETTER;
        if used > width {
            break;
        }
        fits.push(letter);
    }
    fits
}

/// The lane of each attempt: the first that is free.
fn lanes(spans: &[Span]) -> Vec<usize> {
    let mut free_from: Vec<DurationMs> = Vec::new();
    spans
        .iter()
        .map(|span| {
            let end = span.end.unwrap_or(DurationMs(u64::MAX)).max(DurationMs(span.start.0 + 1));
            let lane = free_from.iter().position(|free| *free <= span.start).unwrap_or(free_from.len());
            if lane == free_from.len() {
                free_from.push(end);
            } else {
                free_from[lane] = end;
            }
            lane
        })
        .collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_leave_the_drawing() {
        assert_eq!(escaped("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
        assert_eq!(fitting("abcdefgh", 30.0), "abc");
        assert_eq!(own_nodes(&["a".into(), "clips[0].x".into(), "clips[0].y".into(), "m[2]".into()]), ["a", "clips", "m"]);
    }
}
