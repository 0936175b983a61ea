//! `prismq cancel`: ends runs and waits until they have ended.

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::follow::{self, Ending, OnInterrupt};
use super::progress::{Progress, Show};
use super::records::Records;
use super::session::Session;
use crate::host::index::RunRow;
use crate::host::workspace::Workspace;
use crate::ids::RunId;

/// Arguments of `cancel`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The runs: ids, unique heads or tails of them, `last`, `@~N`
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,

    /// Kill at once, without the polite stop
    #[arg(long, visible_alias = "force")]
    kill: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace()?;
    let runs = live_runs(arguments, &workspace, context)?;
    if runs.is_empty() {
        return Ok(Exit::Ok);
    }
    let cancel_all = |session: &Session| runs.iter().try_for_each(|run| session.cancel(run, arguments.kill, &context.output));
    let (mut session, ()) = Session::begin(&workspace, &context.output, cancel_all)?;
    let ended = wait_for_all(&runs, &mut session, &workspace, context);
    let left = session.leave(&context.output);
    ended.and_then(|exit| left.map(|()| exit))
}

/// The runs that were named and go on, each once. A name that is none is found before anything is cancelled.
fn live_runs(arguments: &Arguments, workspace: &Workspace, context: &Context) -> Result<Vec<RunId>, Failure> {
    let mut runs: Vec<RunId> = Vec::new();
    let mut records = Records::of(workspace);
    for selector in &arguments.runs {
        let RunRow { run_id: run, status, .. } = records.find(selector)?.row;
        if status.is_terminal() {
            context.output.note(&format!("run {run} has ended already: {}", status.as_str()));
        } else if !runs.contains(&run) {
            runs.push(run);
        }
    }
    Ok(runs)
}

fn wait_for_all(runs: &[RunId], session: &mut Session, workspace: &Workspace, context: &Context) -> Result<Exit, Failure> {
    for run in runs {
        let mut progress = Progress::new(&context.output, workspace, Show::Quiet);
        match follow::follow(session, run, workspace, context, &mut progress, OnInterrupt::Detach)? {
            Ending::Run(followed) => {
                context.output.line(format!("run {run} {}", followed.row.status.as_str()));
                context.output.flush();
            }
            Ending::Detached => return Ok(Exit::Interrupted),
        }
    }
    Ok(Exit::Ok)
}
