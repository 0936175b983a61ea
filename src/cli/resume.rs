//! `prismq resume`: goes on with runs whose host died.

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::follow;
use super::progress::Show;
use super::records::Records;
use super::run::follow_to_end;
use super::session::Session;
use super::summary;
use crate::host::look::RunsAsked;

/// Arguments of `resume`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The run: id, a unique head or tail of it, `last`, `@~N`; none: the newest one that is held
    run: Option<String>,

    /// Also print what the modules write, each line with its node
    #[arg(long)]
    logs: bool,

    /// Print nothing but the run as JSON at its end
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace()?;
    let mut records = Records::of(&workspace);
    let row = match &arguments.run {
        Some(selector) => records.find(selector)?.row,
        None => {
            let Some(held) = records.runs(&RunsAsked { held: true, limit: 1, ..RunsAsked::default() })?.rows.pop() else {
                context.output.note("no run is held: there is nothing to resume");
                return Ok(Exit::Ok);
            };
            held
        }
    };
    let (run, was_open) = (row.run_id, !row.status.is_terminal());
    let show = Show::of_flags(arguments.json, arguments.logs);
    let session = match Session::begin(&workspace, &context.output, |session| session.resume(Some(&run), &context.output)) {
        Ok((session, _)) => session,
        Err(failure) => {
            // All its modules had ended by themselves: then nothing was left to resume once their results were read.
            let Some(row) = follow::ended_meanwhile(&workspace, &run).filter(|_| was_open) else { return Err(failure) };
            summary::print(&row, &workspace, context, show, arguments.json);
            return Ok(Exit::of_status(row.status));
        }
    };
    if show != Show::Quiet {
        context.output.line(format!("run {run} goes on"));
    }
    follow_to_end(session, &run, &workspace, context, show, arguments.json)
}
