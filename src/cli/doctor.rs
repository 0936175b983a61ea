//! `prismq doctor`: what of this machine and workspace would keep modules from running well.

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::output::Style;
use crate::host::doctor::{Level, examine};
use crate::host::views::printable;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace_or_here()?;
    let checks = examine(&workspace);
    if arguments.json {
        context.output.json(&checks);
    } else {
        for check in &checks {
            let (word, style) = match check.level {
                Level::Ok => ("ok     ", Style::Good),
                Level::Warning => ("warning", Style::Warn),
                Level::Problem => ("problem", Style::Bad),
            };
            context.output.line(format!("{}  {:<9}  {}", context.output.styled(word, style), check.about, printable(&check.found)));
            if let Some(help) = &check.help {
                context.output.line(format!("{:20}  {}", "", printable(help)));
            }
        }
    }
    let problem = checks.iter().any(|check| check.level == Level::Problem);
    Ok(if problem { Exit::RunFailed } else { Exit::Ok })
}
