//! `prismq schema`: JSON Schemas for editors.

use clap::ValueEnum;

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::host::schemas;

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Of what
    what: What,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// A manifest
    Module,
    /// A pipeline file
    Pipeline,
    /// prismq.yaml
    Settings,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let schema = match arguments.what {
        What::Module => schemas::module(),
        What::Pipeline => schemas::pipeline(),
        What::Settings => schemas::settings(),
    };
    context.output.json(&schema);
    Ok(Exit::Ok)
}
