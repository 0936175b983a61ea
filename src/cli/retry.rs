//! `prismq retry`: runs again what did not complete, as a new run.

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::progress::Show;
use super::records::Records;
use super::run::follow_to_end;
use super::session::Session;
use crate::host::submission::{Retry, RetryScope};

/// Arguments of `retry`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The run: id, a unique head or tail of it, `last`, `@~N`
    run: String,

    /// Repeat this node and everything that depends on it
    #[arg(long, value_name = "NODE", conflicts_with = "only")]
    from: Option<String>,

    /// Repeat just this node
    #[arg(long, value_name = "NODE")]
    only: Option<String>,

    /// Also print what the modules write, each line with its node
    #[arg(long)]
    logs: bool,

    /// Print nothing but the run as JSON at its end
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace()?;
    let earlier = Records::of(&workspace).find(&arguments.run)?.row.run_id;
    let scope = match (&arguments.from, &arguments.only) {
        (Some(node), _) => RetryScope::From(node.clone()),
        (None, Some(node)) => RetryScope::Only(node.clone()),
        (None, None) => RetryScope::Unfinished,
    };
    let retry = Retry { run: earlier.clone(), scope };
    let (session, run) = Session::begin(&workspace, &context.output, |session| session.retry(&retry, &context.output))?;
    let show = Show::of_flags(arguments.json, arguments.logs);
    if show != Show::Quiet {
        context.output.line(format!("run {run} repeats {earlier}"));
    }
    follow_to_end(session, &run, &workspace, context, show, arguments.json)
}
