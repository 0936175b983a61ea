//! stub
use super::*;
/// Arguments of `graph`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}
pub(super) fn run(_: &Arguments, _: &Context) -> Result<Exit, Failure> { todo!() }
