//! `prismq token`: the workspace's tokens, and the way in for a browser.

use clap::Subcommand;

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::session::Session;
use crate::host::tokens::Tokens;

/// Arguments of `token`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the owner's token, with which everything can be done
    Show {
        /// The other one, with which one can only look
        #[arg(long)]
        read_only: bool,
    },
    /// Print an address that lets a browser in, once, within the hour
    Link,
    /// Make new tokens: cookies of browsers, links and open streams end at once
    Rotate,
}

impl Arguments {
    /// Whether it may change the state of a workspace.
    pub(super) fn changes(&self) -> bool {
        match self.what {
            What::Show { .. } => false,
            What::Link | What::Rotate => true,
        }
    }
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace()?;
    let failed = |error: std::io::Error| Failure::ours(format!("the tokens: {error}"));
    match arguments.what {
        What::Show { read_only } => {
            let tokens = Tokens::of(&workspace).map_err(failed)?;
            context.output.line(if read_only { tokens.reader } else { tokens.owner });
        }
        What::Link => {
            let client = Session::attach(&workspace)?.ok_or_else(|| {
                Failure::new(Exit::HostUnreachable, "no host runs here that a browser could open").with_help("`prismq serve` starts one")
            })?;
            context.output.line(client.link()?);
        }
        What::Rotate => {
            match Session::attach(&workspace)? {
                Some(client) => client.rotate()?,
                None => drop(Tokens::rotate(&workspace).map_err(failed)?),
            }
            context.output.note("new tokens are in .prismq/token and .prismq/token-read; whoever had the old ones is locked out");
        }
    }
    Ok(Exit::Ok)
}
