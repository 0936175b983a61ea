//! `prismq run`: a module or a pipeline file, followed to its end.

mod watch;

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::exit::Exit;
use super::failure::Failure;
use super::follow::{self, Ending, OnInterrupt};
use super::progress::{Progress, Show};
use super::session::{self, Session};
use super::{Context, current_folder, plan, summary};
use crate::host::prepare;
use crate::host::submission::{NamedText, Submit, Target};
use crate::host::views::{Priority, reuse_forecast};
use crate::host::workspace::Workspace;
use crate::ids::{ModuleId, RunId};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A module's id, or a pipeline file (.yaml, .yml, .json)
    target: String,

    /// A parameter; `a.b=1` goes into the object `a`, a repeated one makes a list
    #[arg(short, long = "param", value_name = "KEY=VALUE")]
    param: Vec<String>,

    /// A YAML or JSON file of parameters, `-` for standard input; -p wins over it
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,

    /// Give the run to a host in the background and print its id
    #[arg(long)]
    detach: bool,

    /// Run it again whenever its manifests, scripts, pipeline files or parameters change, until Ctrl-C; what is not affected is reused
    #[arg(long, conflicts_with_all = ["detach", "dry_run"])]
    watch: bool,

    /// Check everything, show the plan, start nothing
    #[arg(long)]
    dry_run: bool,

    /// Begin with the parameters that are saved for the module; --params and -p win over them
    #[arg(long)]
    saved: bool,

    /// Run the modules that the module depends on before it, with their defaults
    #[arg(long)]
    with_dependencies: bool,

    /// Before or after other runs, whatever the nodes say; without it a module comes before pipelines
    #[arg(long, value_name = "CLASS", value_parser = priorities())]
    priority: Option<Priority>,

    /// Also print what the modules write, each line with its node
    #[arg(long)]
    logs: bool,

    /// Print nothing but the run as JSON at its end
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let submit = submission(arguments)?;
    let workspace = workspace_of(&submit, context)?;
    if arguments.watch {
        return watch::run(arguments, submit, &workspace, context);
    }
    if arguments.dry_run {
        return dry_run(&workspace, &submit, arguments, context);
    }
    if arguments.detach {
        return detach(&workspace, &submit, arguments, context);
    }
    begin(arguments, &submit, &workspace, context).map(|(exit, _)| exit)
}

/// Submits it and follows it to its end. Gives how that was, and which run it was.
fn begin(arguments: &Arguments, submit: &Submit, workspace: &Workspace, context: &Context) -> Result<(Exit, RunId), Failure> {
    let show = match (&submit.target, Show::of_flags(arguments.json, arguments.logs)) {
        (Target::Module { with_dependencies: false, .. }, Show::Nodes) => Show::Output,
        (_, show) => show,
    };
    let (session, run) = Session::begin(workspace, &context.output, |session| session.submit(submit, &context.output))?;
    session.note_held(&context.output);
    if show != Show::Quiet && show != Show::Output {
        context.output.line(format!("run {run} of {}", arguments.target));
        context.output.flush();
    }
    let exit = follow_to_end(session, &run, workspace, context, show, arguments.json)?;
    Ok((exit, run))
}

/// Follows a run that was just begun, tells how it ended, and leaves the host.
pub(super) fn follow_to_end(
    mut session: Session,
    run: &RunId,
    workspace: &Workspace,
    context: &Context,
    show: Show,
    json: bool,
) -> Result<Exit, Failure> {
    let mut progress = Progress::new(&context.output, workspace, show);
    let ended = follow::follow(&mut session, run, workspace, context, &mut progress, OnInterrupt::Cancel);
    let exit = match ended {
        Ok(Ending::Run(followed)) => {
            summary::print(&followed.row, workspace, context, show, json);
            followed.exit()
        }
        Ok(Ending::Detached) => Exit::Interrupted,
        Err(failure) => {
            // What went wrong first is told.
            let _ = session.leave(&context.output);
            return Err(failure);
        }
    };
    context.output.flush();
    session.leave(&context.output)?;
    Ok(exit)
}

/// The workspace: of the current folder, else of the pipeline file's.
fn workspace_of(submit: &Submit, context: &Context) -> Result<Workspace, Failure> {
    if let Some(found) = context.find_workspace()? {
        return Ok(found);
    }
    if let Target::Pipeline { path } = &submit.target
        && let Some(found) = path.parent().and_then(Workspace::find).map(|found| context.opened(found))
    {
        return Ok(found);
    }
    context.workspace()
}

fn submission(arguments: &Arguments) -> Result<Submit, Failure> {
    let caller_folder = current_folder()?;
    let params_file = arguments.params.as_deref().map(read_params).transpose()?;
    let target = target(arguments, &caller_folder)?;
    Ok(Submit {
        target,
        assignments: arguments.param.clone(),
        params_file,
        caller_folder,
        reuse: arguments.watch,
        saved: arguments.saved,
        idempotency: None,
        priority: arguments.priority,
    })
}

/// The words for classes of priority.
pub(super) fn priorities() -> impl TypedValueParser<Value = Priority> {
    let word = |text: String| Priority::ALL.into_iter().find(|priority| priority.as_str() == text).unwrap_or(Priority::Normal);
    PossibleValuesParser::new(Priority::ALL.map(Priority::as_str)).map(word)
}

/// A file is what has a path's separator or a pipeline's extension; everything else is a module's id.
fn target(arguments: &Arguments, folder: &Path) -> Result<Target, Failure> {
    let name = arguments.target.as_str();
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str()).unwrap_or("");
    let is_file = name.contains(['/', '\\']) || ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known));
    if is_file {
        return Ok(Target::Pipeline { path: folder.join(name) });
    }
    let id = ModuleId::parse(name).map_err(|error| {
        let help = error.help.clone().unwrap_or_else(|| "name a module (`prismq modules` lists them) or a pipeline file".to_owned());
        Failure::usage(error.to_string()).with_help(help)
    })?;
    Ok(Target::Module { id, with_dependencies: arguments.with_dependencies })
}

fn read_params(path: &Path) -> Result<NamedText, Failure> {
    let failed = |error: std::io::Error| Failure::not_found(format!("the parameters in {} cannot be read: {error}", path.display()));
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        return Ok(NamedText { name: "standard input".to_owned(), text });
    }
    std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)).map_err(failed)?;
    Ok(NamedText { name: path.display().to_string(), text })
}

fn dry_run(workspace: &Workspace, submit: &Submit, arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let (pinned, definition, notes) = prepare::resolve(workspace, submit).map_err(session::refused_failure)?;
    if !notes.is_empty() {
        context.output.note(&crate::host::render::diagnostics(&notes, context.output.color_err()));
    }
    // Those of a single module stand in its node.
    let params = match &pinned.target {
        Target::Pipeline { .. } => pinned.params.as_object().cloned().unwrap_or_default(),
        Target::Module { .. } | Target::Exec { .. } => serde_json::Map::new(),
    };
    let reuse = reuse_forecast(workspace, &definition, params);
    plan::print(&definition, None, &reuse, context, arguments.json, plan::LISTED_MAX);
    if !arguments.json {
        context.output.line(format!("parameters: {}", pinned.params));
    }
    prepare::admit_here(workspace, &definition).map_err(session::refused_failure)?;
    Ok(Exit::Ok)
}

fn detach(workspace: &Workspace, submit: &Submit, arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    // Mistakes are shown here and now, before anything is started in the background.
    prepare::resolve(workspace, submit).map_err(session::refused_failure)?;
    let accepted = loop {
        match session::attach_or_start(workspace)?.submit(submit) {
            Err(failure) if failure.leaving => {}
            answered => break answered?,
        }
    };
    if arguments.json {
        context.output.json(&accepted);
    } else {
        context.output.line(&accepted.run_id);
    }
    Ok(Exit::Ok)
}
