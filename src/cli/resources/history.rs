//! `prismq resources --since`: how the machine stood while something ran, as curves of one line each.

use std::collections::BTreeMap;

use super::super::Context;
use super::super::exit::Exit;
use super::super::failure::Failure;
use super::super::output::{Output, Style};
use crate::host::clock;
use crate::host::history::{self, History, Level, RunUse, Sample};
use crate::host::views::printable;
use crate::host::workspace::Workspace;
use crate::units::{Amount, Bytes, CpuMillis, DurationMs, Timestamp};

/// Characters of a curve.
const WIDTH: usize = 48;
/// Heights of a curve, from next to nothing to all of it.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Runs that are listed.
const RUNS_MAX: usize = 10;

pub(super) fn run(workspace: &Workspace, since: Timestamp, json: bool, context: &Context) -> Result<Exit, Failure> {
    let history = history::read(workspace, since)
        .map_err(|error| Failure::ours(format!("{}: {error}", workspace.display(&workspace.state().join("resources")))))?;
    if json {
        context.output.json(&history);
    } else {
        print(&history, clock::wall(), &context.output);
    }
    Ok(Exit::Ok)
}

fn print(history: &History, now: Timestamp, output: &Output) {
    let Some(first) = history.samples.first() else {
        return output.note(&format!("nothing was measured since {}: nothing ran for a second", history.since.local()));
    };
    let curves = Curves { from: first.at, to: now.max(first.at) };
    let samples = &history.samples;
    output.line(format!(
        "from {} to {}: {} samples, one in {} while something ran",
        first.at.local(),
        curves.to.local(),
        samples.len(),
        history.every_ms
    ));
    resource(&curves, "cpus", samples, |sample| Some(sample.cpus), |value| CpuMillis(value).to_string(), output);
    resource(&curves, "memory", samples, |sample| Some(sample.memory), |value| Bytes(value).to_string(), output);
    for (at, uuid) in names(samples, |sample| &sample.vram).enumerate() {
        let of = |sample: &Sample| sample.vram.get(uuid).copied();
        resource(&curves, &format!("vram {at}"), samples, of, |value| Bytes(value).to_string(), output);
    }
    for name in names(samples, |sample| &sample.custom) {
        let of = |sample: &Sample| sample.custom.get(name).copied();
        resource(&curves, &printable(name), samples, of, |value| Amount(value).to_string(), output);
    }
    runs(samples, output);
}

fn names<'a>(samples: &'a [Sample], of: impl Fn(&'a Sample) -> &'a BTreeMap<String, Level>) -> impl Iterator<Item = &'a str> {
    let names: std::collections::BTreeSet<&str> = samples.iter().flat_map(|sample| of(sample).keys().map(String::as_str)).collect();
    names.into_iter()
}

/// The curves of a resource: what was held, what was used, and what others used, each with its most.
fn resource(
    curves: &Curves,
    name: &str,
    samples: &[Sample],
    of: impl Fn(&Sample) -> Option<Level>,
    text: impl Fn(u64) -> String,
    output: &Output,
) {
    let total = samples.iter().filter_map(|sample| of(sample).map(|level| level.total)).max().unwrap_or(0);
    if total == 0 {
        return;
    }
    let reserved = samples.iter().filter_map(|sample| of(sample).map(|level| level.reserved)).max().unwrap_or(0);
    let kept = if reserved > 0 { format!(", {} reserved", text(reserved)) } else { String::new() };
    let least = samples.iter().filter_map(|sample| of(sample).map(|level| level.free)).min().unwrap_or(0);
    output.line(output.styled(&format!("{name}: {}{kept}, {} free at least", text(total), text(least)), Style::Bold));
    for (kind, at) in [("held", 0), ("used", 1), ("others", 2)] {
        let value = |level: Level| [Some(level.held), level.used, level.others][at];
        let values: Vec<(Timestamp, u64)> = samples.iter().filter_map(|sample| Some((sample.at, of(sample).and_then(value)?))).collect();
        let Some(most) = values.iter().map(|(_, value)| *value).max() else { continue };
        output.line(format!("  {kind:<7} {} {:>10} at most", curves.line(&values, total), text(most)));
    }
}

/// The time that curves cover.
#[derive(Debug, Clone, Copy)]
struct Curves {
    from: Timestamp,
    to: Timestamp,
}

impl Curves {
    /// One character for each piece of the time: the most of it; a blank where nothing was measured.
    fn line(self, values: &[(Timestamp, u64)], total: u64) -> String {
        let mut most: [Option<u64>; WIDTH] = [None; WIDTH];
        let DurationMs(all) = self.to.since(self.from);
        for (at, value) in values {
            let place = u128::from(at.since(self.from).0) * WIDTH as u128 / u128::from(all.max(1));
            let slot = &mut most[usize::try_from(place).unwrap_or(WIDTH).min(WIDTH - 1)];
            *slot = (*slot).max(Some(*value));
        }
        most.iter().map(|value| value.map_or(' ', |value| height(value, total))).collect()
    }
}

fn height(value: u64, total: u64) -> char {
    let place = u128::from(value) * HEIGHTS.len() as u128 / u128::from(total.max(1));
    HEIGHTS[usize::try_from(place).unwrap_or(HEIGHTS.len()).min(HEIGHTS.len() - 1)]
}

/// What each run had at most.
fn runs(samples: &[Sample], output: &Output) {
    let mut runs: BTreeMap<&str, RunUse> = BTreeMap::new();
    for run in samples.iter().flat_map(|sample| &sample.runs) {
        runs.entry(run.run_id.as_str()).and_modify(|known| known.join(run)).or_insert_with(|| run.clone());
    }
    if runs.is_empty() {
        return;
    }
    let head = format!("{:<22} {:>6} {:>8} {:>10} {:>10} {:>10}", "RUN (AT MOST)", "NODES", "CPUS", "MEMORY", "HELD", "VRAM");
    output.line(output.styled(&head, Style::Dim));
    let count = runs.len();
    for run in runs.into_values().rev().take(RUNS_MAX) {
        output.line(format!(
            "{:<22} {:>6} {:>8} {:>10} {:>10} {:>10}",
            run.run_id.as_str(),
            run.nodes,
            run.cpus_used.map_or_else(|| "?".to_owned(), |cpus| CpuMillis(cpus).to_string()),
            Bytes(run.memory_used).to_string(),
            Bytes(run.memory).to_string(),
            Bytes(run.vram_used.max(run.vram)).to_string(),
        ));
    }
    if count > RUNS_MAX {
        output.line(format!("... and {} more (--json has them all)", count - RUNS_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_shows_the_most_of_each_piece_and_gaps() {
        let at = |second: i64| Timestamp::from_micros(second * 1_000_000);
        let curves = Curves { from: at(0), to: at(480) };
        let line = curves.line(&[(at(0), 0), (at(3), 100), (at(11), 50), (at(480), 13)], 100);
        assert_eq!(line.chars().count(), WIDTH);
        assert_eq!(line.trim_end(), format!("█▅{}▂", " ".repeat(WIDTH - 3)));
        assert_eq!(Curves { from: at(5), to: at(5) }.line(&[(at(5), 1)], 0).chars().next(), Some('█'));
    }
}
