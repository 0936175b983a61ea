//! `prismq schema`: JSON Schemas for editors.

use clap::ValueEnum;

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::host::catalog::schema;

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
    /// The HTTP API, as OpenAPI 3.1
    Openapi,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let file = match arguments.what {
        What::Module => "module.schema.json",
        What::Pipeline => "pipeline.schema.json",
        What::Settings => "settings.schema.json",
        What::Openapi => {
            context.output.json(&crate::api::document());
            return Ok(Exit::Ok);
        }
    };
    let found = schema(file).ok_or_else(|| Failure::ours(format!("{file} is not among the schemas of this program")))?;
    context.output.json(&found);
    Ok(Exit::Ok)
}
