//! `prismq import`: pipelines of other tools.

use std::path::PathBuf;

use super::exit::Exit;
use super::failure::Failure;
use super::{Context, current_folder};
use crate::host::import::{self, Decimal, ImportError, Options};
use crate::host::render;

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A measured workflow of the WfCommons project (WfFormat JSON), as a pipeline of nodes that sleep as long as its tasks ran
    Wfformat(Wfformat),
}

#[derive(Debug, clap::Args)]
struct Wfformat {
    /// The file
    file: PathBuf,

    /// The pipeline's file (.json), or a folder for it; by default the workspace's folder
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// Replace the pipeline's file where there is one already
    #[arg(long)]
    force: bool,

    /// Ask for the cores that were measured, instead of one for each node
    #[arg(long)]
    with_cores: bool,

    /// Ask for the memory that was measured
    #[arg(long)]
    with_memory: bool,

    /// Multiply run times by this, such as 0.01
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = factor)]
    scale: Decimal,

    /// What was written, as JSON
    #[arg(long)]
    json: bool,
}

fn factor(text: &str) -> Result<Decimal, String> {
    Decimal::parse(text).ok_or_else(|| "it must be a number from 0 on".to_owned())
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    match &arguments.what {
        What::Wfformat(arguments) => wfformat(arguments, context),
    }
}

fn wfformat(arguments: &Wfformat, context: &Context) -> Result<Exit, Failure> {
    if !arguments.file.is_file() {
        return Err(Failure::not_found(format!("there is no file {}", arguments.file.display())));
    }
    let output = match &arguments.output {
        Some(output) => current_folder()?.join(output),
        None => context.workspace_or_here()?.root().to_owned(),
    };
    let options = Options { scale: arguments.scale, cores: arguments.with_cores, memory: arguments.with_memory };
    let name = arguments.file.display().to_string();
    let written = import::wfformat(&arguments.file, &name, &output, &options, arguments.force).map_err(failure)?;
    if !written.notes.is_empty() {
        context.output.note(&render::diagnostics(&written.notes, context.output.color_err()));
    }
    if written.timeless > 0 {
        context.output.note(&format!("{} tasks have no run time: they take none", written.timeless));
    }
    if arguments.json {
        context.output.json(&written);
    } else {
        context.output.line(format!("{}: {} nodes, {} edges", written.pipeline.display(), written.nodes, written.edges));
    }
    Ok(Exit::Ok)
}

fn failure(error: ImportError) -> Failure {
    match error {
        ImportError::Invalid(mistakes) => mistakes.into(),
        ImportError::OwnInput(_) => {
            Failure::new(Exit::Invalid, error.to_string()).with_help("`--output` names another file, or a folder for it")
        }
        ImportError::Exists(_) => Failure::new(Exit::Invalid, error.to_string())
            .with_help("`--force` replaces it; `--output` names another file, or a folder for it"),
        ImportError::Disk { .. } => Failure::ours(error.to_string()),
    }
}
