//! `prismq cancel`: ends a run and waits until it has ended.

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::follow::{self, OnInterrupt};
use super::progress::{Progress, Show};
use super::session::Session;
use super::show::select;
use crate::host::HostMode;

/// Arguments of `cancel`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The run: id, a unique head or tail of it, `last`, `@~N`
    run: String,

    /// Kill at once, without the polite stop
    #[arg(long)]
    force: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace()?;
    let (snapshot, run) = select(&workspace, &arguments.run)?;
    if let Some(row) = snapshot.row(&run).filter(|row| row.status.is_terminal()) {
        context.output.note(&format!("run {run} has ended already: {}", row.status.as_str()));
        return Ok(Exit::Ok);
    }
    let mut session = Session::connect(&workspace, HostMode::Run)?;
    session.cancel(&run, arguments.force, &context.output)?;
    let mut progress = Progress::new(&context.output, &workspace, Show::Quiet);
    let ended = follow::follow(&mut session, &run, &workspace, context, &mut progress, OnInterrupt::Detach);
    if let Ok(follow::Ending::Run(followed)) = &ended {
        context.output.line(format!("run {run} {}", followed.row.status.as_str()));
    }
    session.leave(&context.output)?;
    ended.map(|_| Exit::Ok)
}
