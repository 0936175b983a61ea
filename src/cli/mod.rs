//! The command line: one file per verb.
//!
//! Verbs that only look read files and the journal through `host::offline`; verbs that change something talk to the workspace's host,
//! and become it where there is none. Inner layers return typed errors; `failure` is the one place that turns them into exit codes.

mod cancel;
mod client;
mod doctor;
mod ending;
mod exec;
mod exit;
mod failure;
mod follow;
mod forecast;
mod graph;
mod import;
mod journal;
mod logs;
mod modules;
mod output;
mod plan;
mod progress;
mod prune;
mod queue;
mod records;
mod resources;
mod resume;
mod retry;
mod run;
mod runs;
mod schema;
mod secret;
mod serve;
mod service;
mod session;
mod show;
mod signals;
mod simulate;
mod summary;
mod token;
mod validate;
mod wait;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::Exit;
use failure::Failure;
use output::Output;

use crate::host::workspace::Workspace;

const AFTER_HELP: &str = "\
Exit codes:
  0 ok                        5 host unreachable              78 journal damaged
  1 run failed                6 timed out while waiting      130 interrupted by own Ctrl-C
  2 usage                     7 cancelled by someone else
  3 validation failed         8 can never fit
  4 not found                75 another host owns the workspace

A run is named by its id, a unique head or tail of it, `last`, or `@~N` (the N-th before the last).";

/// A host for modules: scripts with a YAML manifest, run from here or as nodes of a pipeline.
#[derive(Debug, Parser)]
#[command(name = "prismq", version, after_help = AFTER_HELP, max_term_width = 100, disable_help_subcommand = true)]
struct Arguments {
    /// The workspace's folder; by default the nearest one upward that holds prismq.yaml, .prismq or manifests
    #[arg(long, global = true, env = "PRISMQ_WORKSPACE", value_name = "FOLDER")]
    workspace: Option<PathBuf>,

    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: output::ColorChoice,

    /// Only look, also at a damaged journal: what stands before the damage is shown
    #[arg(long, global = true)]
    read_only: bool,

    /// Keep the state on shared storage (NFS, SMB, sshfs), although its locks and renames may not hold
    #[arg(long, global = true, hide_short_help = true)]
    i_know: bool,

    /// Use manifests, scripts and settings that other users of this machine may write to
    #[arg(long, global = true, hide_short_help = true)]
    insecure_perms: bool,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a module or a pipeline file and follow it to its end
    Run(run::Arguments),
    /// Run a script that has no manifest, and end with its code
    Exec(exec::Arguments),
    /// Check manifests, pipelines and settings; says nothing when all is well
    Validate(validate::Arguments),
    /// Show what a pipeline would do: order, times, critical path, what it needs
    Plan(plan::Arguments),
    /// Play a pipeline through the scheduler with given durations, without running anything
    Simulate(simulate::Arguments),
    /// Take over a pipeline of another tool
    Import(import::Arguments),
    /// Print the graph of a pipeline or of a run
    Graph(graph::Arguments),
    /// List the modules, with broken manifests, or show one
    Modules(modules::Arguments),
    /// List runs, newest first
    Runs(runs::Arguments),
    /// Show a run: its nodes, why they failed or wait, their outputs
    Show(show::Arguments),
    /// Say what keeps the nodes of a run from running
    Why(why::Arguments),
    /// List the nodes of all runs that wait for room, and what for
    Queue(queue::Arguments),
    /// Show what the machine has, what is held, used by others and free
    Resources(resources::Arguments),
    /// Print what a run's modules wrote
    Logs(logs::Arguments),
    /// End runs
    Cancel(cancel::Arguments),
    /// Run again what did not complete
    Retry(retry::Arguments),
    /// Go on with runs whose host died
    Resume(resume::Arguments),
    /// Wait for a run's end
    Wait(wait::Arguments),
    /// Check the journal, write it out, or give up its damaged end
    Journal(journal::Arguments),
    /// Remove finished runs, the oldest first
    Prune(prune::Arguments),
    /// Look for what would keep modules from running here
    Doctor(doctor::Arguments),
    /// Keep, list, check and forget secrets: values that modules get in their environment
    Secret(secret::Arguments),
    /// Print a JSON Schema for editors
    Schema(schema::Arguments),
    /// Be the host of a workspace until Ctrl-C
    Serve(serve::Arguments),
    /// Show the workspace's tokens, make new ones, or let a browser in
    Token(token::Arguments),
    /// Print what makes `serve` a service of the system
    Service(service::Arguments),
}

/// What every verb gets.
struct Context {
    workspace: Option<PathBuf>,
    read_only: bool,
    i_know: bool,
    insecure_perms: bool,
    output: Output,
}

impl Context {
    /// The workspace named by the user, or the nearest one upward.
    fn workspace(&self) -> Result<Workspace, Failure> {
        if let Some(found) = self.find_workspace()? {
            return Ok(found);
        }
        Err(Failure::not_found("no workspace here: neither prismq.yaml nor .prismq nor manifests in this folder or above it")
            .with_help("go to your workspace, or name it by --workspace FOLDER; a folder becomes one by `mkdir manifests`"))
    }

    /// The same, with the current folder where there is none: for verbs that need no manifests.
    fn workspace_or_here(&self) -> Result<Workspace, Failure> {
        match self.find_workspace()? {
            Some(found) => Ok(found),
            None => Workspace::at(&current_folder()?)
                .map(|here| self.opened(here))
                .map_err(|error| Failure::ours(format!("the current folder: {error}"))),
        }
    }

    fn find_workspace(&self) -> Result<Option<Workspace>, Failure> {
        let found = match &self.workspace {
            Some(folder) => Workspace::at(folder)
                .map(Some)
                .map_err(|error| Failure::not_found(format!("the workspace {} cannot be used: {error}", folder.display())))?,
            None => Workspace::find(&current_folder()?),
        };
        Ok(found.map(|found| self.opened(found)))
    }

    /// A workspace as the options want it.
    fn opened(&self, found: Workspace) -> Workspace {
        // Before the settings are read, which are refused where others may write to them.
        let found = if self.insecure_perms { found.with_any_permissions() } else { found };
        let found = found.located();
        let found = if self.i_know { found.on_any_file_system() } else { found };
        if self.read_only { found.looked_at() } else { found }
    }
}

fn current_folder() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| Failure::ours(format!("the current folder cannot be read: {error}")))
}

/// Runs the program: parses the arguments, carries the verb out, reports what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let context = Context {
        workspace: arguments.workspace,
        read_only: arguments.read_only,
        i_know: arguments.i_know,
        insecure_perms: arguments.insecure_perms,
        output: Output::new(arguments.color),
    };
    let ended = dispatch(arguments.verb, &context);
    let code = match ended {
        Ok(code) => code,
        Err(failure) => {
            context.output.failure(&failure);
            failure.exit
        }
    };
    context.output.flush();
    code.into()
}

fn dispatch(verb: Verb, context: &Context) -> Result<Exit, Failure> {
    if context.read_only && changes(&verb) {
        return Err(Failure::usage("`--read-only` is for looking, and this verb changes something"));
    }
    match verb {
        Verb::Run(arguments) => run::run(&arguments, context),
        Verb::Exec(arguments) => exec::run(&arguments, context),
        Verb::Validate(arguments) => validate::run(&arguments, context),
        Verb::Plan(arguments) => plan::run(&arguments, context),
        Verb::Simulate(arguments) => simulate::run(&arguments, context),
        Verb::Import(arguments) => import::run(&arguments, context),
        Verb::Graph(arguments) => graph::run(&arguments, context),
        Verb::Modules(arguments) => modules::run(&arguments, context),
        Verb::Runs(arguments) => runs::run(&arguments, context),
        Verb::Show(arguments) => show::run(&arguments, context),
        Verb::Why(arguments) => why::run(&arguments, context),
        Verb::Queue(arguments) => queue::run(&arguments, context),
        Verb::Resources(arguments) => resources::run(&arguments, context),
        Verb::Doctor(arguments) => doctor::run(&arguments, context),
        Verb::Logs(arguments) => logs::run(&arguments, context),
        Verb::Cancel(arguments) => cancel::run(&arguments, context),
        Verb::Retry(arguments) => retry::run(&arguments, context),
        Verb::Resume(arguments) => resume::run(&arguments, context),
        Verb::Wait(arguments) => wait::run(&arguments, context),
        Verb::Journal(arguments) => journal::run(&arguments, context),
        Verb::Prune(arguments) => prune::run(&arguments, context),
        Verb::Secret(arguments) => secret::run(&arguments, context),
        Verb::Schema(arguments) => schema::run(&arguments, context),
        Verb::Serve(arguments) => serve::run(&arguments, context),
        Verb::Token(arguments) => token::run(&arguments, context),
        Verb::Service(arguments) => service::run(&arguments, context),
    }
}

/// Whether a verb may change the state of a workspace.
fn changes(verb: &Verb) -> bool {
    match verb {
        Verb::Run(_)
        | Verb::Exec(_)
        | Verb::Import(_)
        | Verb::Cancel(_)
        | Verb::Retry(_)
        | Verb::Resume(_)
        | Verb::Prune(_)
        | Verb::Serve(_) => true,
        Verb::Journal(arguments) => arguments.changes(),
        Verb::Secret(arguments) => arguments.changes(),
        Verb::Token(arguments) => arguments.changes(),
        Verb::Validate(_)
        | Verb::Plan(_)
        | Verb::Simulate(_)
        | Verb::Graph(_)
        | Verb::Modules(_)
        | Verb::Runs(_)
        | Verb::Show(_)
        | Verb::Logs(_)
        | Verb::Why(_)
        | Verb::Queue(_)
        | Verb::Resources(_)
        | Verb::Doctor(_)
        | Verb::Wait(_)
        | Verb::Service(_)
        | Verb::Schema(_) => false,
    }
}
