//! `prismq simulate`: a pipeline played through the scheduler, with durations that somebody made up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::forecast::{self, ForecastView, Machine};
use super::output::Style;
use super::validate::{definition_of, workspace_of};
use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::host::forecast::{Ask, Policy, learned};
use crate::units::DurationMs;

/// Arguments of `simulate`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The pipeline file (.yaml, .yml, .json)
    pipeline: PathBuf,

    #[command(flatten)]
    machine: Machine,

    /// A JSON or YAML file with the durations of nodes by their ids: `{"fetch": "3s"}`
    #[arg(long, value_name = "FILE")]
    durations: Option<PathBuf>,

    /// How long every other node takes, instead of what is declared or was learned
    #[arg(long, value_name = "TIME", value_parser = DurationMs::parse)]
    duration: Option<DurationMs>,

    /// The order in which ready nodes start; by default the best that is found
    #[arg(long)]
    order: Option<Order>,

    /// Let real durations differ from the expected ones by up to so many percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=100))]
    spread: u64,

    /// Which of the many plays that `--spread` allows
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// List every node, however many
    #[arg(long)]
    all: bool,

    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    /// The longest way to the end first (also `longest-path`)
    #[value(alias = "longest-path")]
    CriticalPath,
    /// The longest node first
    LongestFirst,
    /// As in the file: first come, first served (also `fifo`)
    #[value(alias = "fifo")]
    Declared,
    /// The best that is found
    Portfolio,
}

#[derive(Serialize)]
struct View<'a> {
    name: &'a str,
    critical_path: Vec<&'a str>,
    #[serde(flatten)]
    forecast: ForecastView<'a>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = workspace_of(&arguments.pipeline, context)?;
    let definition = definition_of(&workspace, &arguments.pipeline, context)?;
    let ask = Ask {
        policy: arguments.order.and_then(|order| match order {
            Order::CriticalPath => Some(Policy::CriticalPath),
            Order::LongestFirst => Some(Policy::LongestFirst),
            Order::Declared => Some(Policy::Declared),
            Order::Portfolio => None,
        }),
        durations: arguments.durations.as_deref().map(read_durations).transpose()?.unwrap_or_default(),
        duration: arguments.duration,
        spread: arguments.spread * 10,
        seed: arguments.seed,
    };
    let found = crate::host::forecast::forecast(&definition, arguments.machine.capacity(&workspace)?, &learned(&workspace), &ask);
    if arguments.json {
        let view = ForecastView::of(&found);
        context.output.json(&View { name: &definition.name, critical_path: forecast::own_nodes(&found.critical_path), forecast: view });
    } else {
        context.output.line(context.output.styled(&definition.name, Style::Bold));
        forecast::summary(&found, context);
        forecast::timeline(&found, context, if arguments.all { usize::MAX } else { super::plan::LISTED_MAX });
    }
    Ok(if found.never_fits.is_empty() { Exit::Ok } else { Exit::NeverFits })
}

/// Durations by node; all mistakes at once.
fn read_durations(file: &Path) -> Result<BTreeMap<String, DurationMs>, Failure> {
    let tree = crate::host::import::read_tree(file)?;
    let mut mistakes = Diagnostics::new();
    let mut durations = BTreeMap::new();
    let root = tree.root();
    if root.kind() != crate::tree::Kind::Map {
        mistakes.push(Diagnostic::error("durations must be a map such as `{fetch: 3s}`").at(root.place()));
    }
    for (key, value) in root.entries() {
        match value.as_str().map(DurationMs::parse) {
            Some(Ok(duration)) => drop(durations.insert(key.scalar_text().unwrap_or_default().to_owned(), duration)),
            Some(Err(error)) => mistakes.push(Diagnostic::error(error.to_string()).at(value.place())),
            None => mistakes.push(Diagnostic::error("a duration is a text such as `3s`").at(value.place())),
        }
    }
    if mistakes.has_errors() { Err(mistakes.into()) } else { Ok(durations) }
}
