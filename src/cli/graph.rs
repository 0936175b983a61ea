//! `prismq graph`: the graph of a pipeline file or of what a run was submitted with.

use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::records::Records;
use super::validate::{definition_of, workspace_of};
use crate::host::offline;
use crate::host::views::{Definition, export};

/// Arguments of `graph`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A pipeline file, or a run: id, a unique head or tail of it, `last`, `@~N`
    target: String,

    /// For Graphviz, for Markdown, for programs
    #[arg(long, default_value = "dot")]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Dot,
    Mermaid,
    Json,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let definition = definition(&arguments.target, context)?;
    let format = match arguments.format {
        Format::Dot => export::Format::Dot,
        Format::Mermaid => export::Format::Mermaid,
        Format::Json => export::Format::Json,
    };
    context.output.text(&export::export(&definition, format));
    Ok(Exit::Ok)
}

/// A file wins over a run of the same name: run ids do not look like files.
fn definition(target: &str, context: &Context) -> Result<Arc<Definition>, Failure> {
    let path = Path::new(target);
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    if path.is_file() || ["yaml", "yml", "json"].contains(&extension) {
        let workspace = workspace_of(path, context)?;
        return definition_of(&workspace, path, context);
    }
    let workspace = context.workspace()?;
    let run = Records::of(&workspace).find(target)?.row.run_id;
    offline::definition(&workspace, &run).map_err(|reason| Failure::ours(format!("run {run} cannot be read: {reason}")))
}
