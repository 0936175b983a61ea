//! `prismq secret`: values that modules get in their environment and nobody else gets to see.

use std::io::{IsTerminal, Read};

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::output::Style;
use crate::host::catalog::Catalog;
use crate::host::secrets::{Listed, Store};
use crate::host::views::{HiddenInput, SecretValue, is_secret_name, printable};

/// Most that is read of a value; more is refused.
const INPUT_BYTES_MAX: u64 = 1 << 20;

/// Arguments of `secret`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Keep a value in this workspace, in a file that only you can read; it is asked for, or read from standard input
    Set {
        /// The name, which is that of the environment variable that modules get
        name: String,
    },
    /// List secrets: where each comes from, which modules ask for it, and what is wrong with it; never a value
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch secrets as a start would, programs included, and say whether that works
    Check {
        /// Which; all that modules ask for where none is named
        names: Vec<String>,
    },
    /// Forget a value that is kept in this workspace
    Remove {
        /// Its name
        name: String,
    },
}

impl Arguments {
    /// Whether what is kept changes.
    pub(super) fn changes(&self) -> bool {
        match self.what {
            What::Set { .. } | What::Remove { .. } => true,
            What::List { .. } | What::Check { .. } => false,
        }
    }
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace()?;
    let catalog = Catalog::load(&workspace)?;
    let store = Store::new(&workspace, catalog.settings.secrets.clone());
    match &arguments.what {
        What::Set { name } => set(&store, name, context),
        What::List { json } => Ok(list(&store.list(&catalog), *json, context)),
        What::Check { names } => check(&store, &catalog, names, context),
        What::Remove { name } => remove(&store, name, context),
    }
}

fn set(store: &Store, name: &str, context: &Context) -> Result<Exit, Failure> {
    if let Err(reason) = is_secret_name(name) {
        return Err(Failure::usage(reason));
    }
    if store.is_named(name) {
        let failure = Failure::usage(format!("prismq.yaml says where `{name}` comes from: a value kept here would never be used"));
        return Err(failure.with_help("change it there, or take it out of `secrets:`"));
    }
    let value = SecretValue::new(read_value(name, context)?).map_err(|error| Failure::usage(format!("`{name}`: {error}")))?;
    store.keep(name, &value).map_err(|error| Failure::ours(format!("`{name}` cannot be kept: {error}")))?;
    context.output.note(&format!("`{name}` is kept; attempts that start from now on get it"));
    Ok(Exit::Ok)
}

fn read_value(name: &str, context: &Context) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: std::io::Error| Failure::ours(format!("the value cannot be read: {error}"));
    let input = std::io::stdin();
    if !input.is_terminal() {
        let mut bytes = Vec::new();
        input.lock().take(INPUT_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
        return Ok(bytes);
    }
    context.output.note(&format!("value of `{name}` (it is not shown; Enter ends it):"));
    let hidden = HiddenInput::begin().map_err(unreadable)?;
    let mut line = String::new();
    let read = input.read_line(&mut line);
    drop(hidden);
    read.map_err(unreadable)?;
    Ok(line.into_bytes())
}

fn list(listed: &[Listed], json: bool, context: &Context) -> Exit {
    if json {
        context.output.json(&listed);
        return Exit::Ok;
    }
    if listed.is_empty() {
        context.output.note("no secrets: none is kept or named here, and no module asks for one");
    }
    let width = listed.iter().map(|secret| secret.name.len()).max().unwrap_or(0);
    for secret in listed {
        let source = secret.source.as_deref().unwrap_or("nowhere");
        let modules = if secret.modules.is_empty() { String::new() } else { format!("  for {}", secret.modules.join(", ")) };
        context.output.line(format!("{:<width$}  {}{modules}", secret.name, printable(source)));
        if let Some(problem) = &secret.problem {
            context.output.line(format!("{:width$}  {}", "", context.output.styled(&printable(problem), Style::Bad)));
        }
    }
    Exit::Ok
}

fn check(store: &Store, catalog: &Catalog, names: &[String], context: &Context) -> Result<Exit, Failure> {
    let asked: Vec<String> = if names.is_empty() {
        store.list(catalog).into_iter().filter(|secret| !secret.modules.is_empty()).map(|secret| secret.name).collect()
    } else {
        names.to_vec()
    };
    let mut failed = 0;
    for name in &asked {
        match store.value(name) {
            Ok(_) => context.output.line(format!("{}  {name}", context.output.styled("ok     ", Style::Good))),
            Err(reason) => {
                failed += 1;
                context.output.line(format!("{}  {}", context.output.styled("problem", Style::Bad), printable(&reason)));
            }
        }
    }
    if asked.is_empty() {
        context.output.note("no module asks for a secret");
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::RunFailed })
}

fn remove(store: &Store, name: &str, context: &Context) -> Result<Exit, Failure> {
    if let Err(reason) = is_secret_name(name) {
        return Err(Failure::usage(reason));
    }
    match store.forget(name) {
        Ok(true) => context.output.note(&format!("`{name}` is forgotten")),
        Ok(false) => return Err(Failure::not_found(format!("no value of `{name}` is kept in this workspace"))),
        Err(error) => return Err(Failure::ours(format!("`{name}` cannot be removed: {error}"))),
    }
    Ok(Exit::Ok)
}
