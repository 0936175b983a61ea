//! `prismq resume`: goes on with runs whose host died.

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::progress::Show;
use super::run::follow_to_end;
use super::session::Session;
use super::show::select;

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
    let run = match &arguments.run {
        Some(selector) => select(&workspace, selector)?.1,
        None => {
            let snapshot = crate::host::offline::Snapshot::read(&workspace).map_err(|error| super::session::journal_failure(&error))?;
            let held = snapshot.rows(1, |row| row.held && !row.status.is_terminal()).into_iter().next();
            let Some(held) = held else {
                context.output.note("no run is held: there is nothing to resume");
                return Ok(Exit::Ok);
            };
            held.run_id
        }
    };
    let (session, _) = Session::begin(&workspace, &context.output, |session| session.resume(Some(&run), &context.output))?;
    let show = Show::of_flags(arguments.json, arguments.logs);
    if show != Show::Quiet {
        context.output.line(format!("run {run} goes on"));
    }
    follow_to_end(session, &run, &workspace, context, show, arguments.json)
}
