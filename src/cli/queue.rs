//! `prismq queue`: nodes that wait for room, of all runs, each with its reasons.

use super::exit::Exit;
use super::failure::Failure;
use super::{Context, why};

/// Arguments of `queue`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    why::queue(arguments.json, &context.workspace()?, &context.output)
}
