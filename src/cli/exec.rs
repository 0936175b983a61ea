//! `prismq exec`: a script without a manifest. Ends with the script's own code, as a shell would.

use std::path::PathBuf;

use super::exit::Exit;
use super::failure::Failure;
use super::follow::{self, Ending, OnInterrupt};
use super::progress::{Progress, Show};
use super::session::Session;
use super::{Context, current_folder};
use crate::event::{FailureCause, RunStatus, SpawnFailureKind};
use crate::host::runfile::RunFile;
use crate::host::submission::{Submit, Target};

/// Arguments of `exec`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The script or program
    script: PathBuf,

    /// Its arguments, after `--`
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,

    /// Print nothing but the run as JSON at its end
    #[arg(long)]
    json: bool,
}

/// Codes of our own, as `timeout` and `env` use them.
const TIMED_OUT: u8 = 124;
const OUR_FAILURE: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// A program ended by signal n ends the shell's way: 128 + n.
const SIGNAL_BASE: i32 = 128;

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let caller_folder = current_folder()?;
    let script = caller_folder.join(&arguments.script);
    if !script.exists() {
        let failure = Failure::new(Exit::Module(NOT_FOUND), format!("there is no script {}", arguments.script.display()));
        return Err(failure);
    }
    let workspace = context.workspace_or_here()?;
    let submit = Submit {
        target: Target::Exec { script, arguments: arguments.arguments.clone() },
        assignments: Vec::new(),
        params_file: None,
        caller_folder,
        reuse: false,
        saved: false,
        idempotency: None,
        priority: None,
    };
    let ours = |failure: Failure| Failure { exit: Exit::Module(OUR_FAILURE), ..failure };
    let begun = Session::begin(&workspace, &context.output, |session| session.submit(&submit, &context.output).map_err(ours));
    let (mut session, run) = begun?;
    let show = if arguments.json { Show::Quiet } else { Show::Output };
    let mut progress = Progress::new(&context.output, &workspace, show);
    let ended = follow::follow(&mut session, &run, &workspace, context, &mut progress, OnInterrupt::Cancel);
    context.output.flush();
    let exit = match ended.map_err(ours)? {
        Ending::Detached => Exit::Interrupted,
        Ending::Run(followed) if followed.interrupted => Exit::Interrupted,
        Ending::Run(followed) => {
            let file = RunFile::read(&workspace, &run).ok().flatten();
            if arguments.json {
                context.output.json(&file);
            }
            match (followed.row.status, file) {
                (RunStatus::Completed, _) => Exit::Ok,
                (RunStatus::Cancelled, _) => Exit::Cancelled,
                (RunStatus::Failed | RunStatus::Queued | RunStatus::Running, file) => of_cause(file.as_ref(), context),
            }
        }
    };
    session.leave(&context.output)?;
    Ok(exit)
}

/// The code of a failed script.
fn of_cause(file: Option<&RunFile>, context: &Context) -> Exit {
    let Some(cause) = file.and_then(|file| file.nodes.iter().rev().find_map(|node| node.cause.clone())) else {
        return Exit::Module(OUR_FAILURE);
    };
    let code = match &cause {
        FailureCause::Exit { code } => u8::try_from(code.rem_euclid(256)).unwrap_or(OUR_FAILURE),
        FailureCause::Signal { signal } => u8::try_from((SIGNAL_BASE + signal).clamp(0, 255)).unwrap_or(OUR_FAILURE),
        FailureCause::Timeout { .. } => TIMED_OUT,
        FailureCause::Spawn(failure) => match failure.kind {
            SpawnFailureKind::NotFound => NOT_FOUND,
            SpawnFailureKind::NotExecutable => NOT_EXECUTABLE,
            SpawnFailureKind::Other => OUR_FAILURE,
        },
        FailureCause::Oom { .. }
        | FailureCause::Lost { .. }
        | FailureCause::Parameters { .. }
        | FailureCause::Outputs { .. }
        | FailureCause::Inner { .. }
        | FailureCause::ScriptChanged => OUR_FAILURE,
    };
    if !matches!(cause, FailureCause::Exit { .. }) {
        context.output.note(&format!("prismq: {cause}"));
    }
    Exit::Module(code)
}
