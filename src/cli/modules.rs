//! `prismq modules`: what the workspace can run, with what is broken beside it.

use clap::Subcommand;
use serde_json::Value;

use super::Context;
use super::client::Client;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Style};
use super::records::Records;
use crate::host::catalog::{Catalog, NoModule};
use crate::host::modules::{ModuleList, ModuleShown};
use crate::host::views::{Learned, printable};
use crate::host::workspace::Workspace;
use crate::ids::ModuleId;
use crate::request::Request;

/// Arguments of `modules`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,

    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show one module: parameters, what it needs, how it runs
    Show {
        /// Its id
        id: String,

        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace()?;
    match &arguments.what {
        None => list(&workspace, arguments.json, &context.output),
        Some(What::Show { id, json }) => show(&workspace, id, *json, &context.output),
    }
}

/// As the host has them, where one lives: a broken manifest's last good version is among them.
fn list(workspace: &Workspace, json: bool, output: &Output) -> Result<Exit, Failure> {
    let list = match Records::of(workspace).hosted(Client::modules) {
        Some(answered) => answered?,
        None => ModuleList::of(&Catalog::load(workspace)?),
    };
    if json {
        output.json(&without_lines(list));
    } else if list.modules.is_empty() && list.broken.is_empty() {
        output.note(&format!("no modules: {} holds no manifest", workspace.manifests().display()));
    } else {
        print(&list, output);
    }
    Ok(Exit::Ok)
}

/// Programs read the diagnostics themselves.
fn without_lines(mut list: ModuleList) -> ModuleList {
    list.broken.iter_mut().for_each(|broken| broken.lines.clear());
    list
}

fn print(list: &ModuleList, output: &Output) {
    let width = list.modules.iter().map(|module| module.id.as_str().len()).max().unwrap_or(0);
    for module in &list.modules {
        let about = module.description.as_deref().unwrap_or(&module.name);
        let first_line = printable(about.lines().next().unwrap_or_default()).into_owned();
        let off = if module.enabled { "" } else { " (off)" };
        output.line(format!("{:<width$}  {first_line}{}", module.id, output.styled(off, Style::Dim)));
    }
    for broken in &list.broken {
        let (count, kept) = (broken.lines.len(), kept(broken.last_good.as_ref()));
        let plural = if count == 1 { "" } else { "s" };
        output.line(format!("{}  {}: {count} error{plural}{kept}", output.styled("broken", Style::Bad), broken.file));
        broken.lines.iter().for_each(|line| output.line(format!("  {}", printable(line))));
    }
    if !list.broken.is_empty() {
        output.note("`prismq validate` shows what is wrong");
    }
}

fn kept(last_good: Option<&ModuleId>) -> String {
    last_good.map(|id| format!("; the host goes on with the last good version of {id}")).unwrap_or_default()
}

fn show(workspace: &Workspace, id: &str, json: bool, output: &Output) -> Result<Exit, Failure> {
    let mut records = Records::of(workspace);
    // What is no id is no module's, and the files say so as well as the host.
    let hosted = ModuleId::parse(id).ok().and_then(|id| records.hosted(|client| client.module(&id)));
    let module = match hosted {
        Some(answered) => answered?,
        None => {
            let module = ModuleShown::find(&Catalog::load(workspace)?, id).map_err(no_module)?;
            ModuleShown { learned: learned(&mut records, &module.id, output), ..module }
        }
    };
    if json {
        output.json(&module);
        return Ok(Exit::Ok);
    }
    head(&module, output);
    if let Some(learned) = &module.learned {
        used(&module, learned, output);
    }
    parameters(&module, output);
    Ok(Exit::Ok)
}

fn no_module(why: NoModule) -> Failure {
    match why {
        NoModule::Broken(mistakes) => Failure::invalid(mistakes),
        NoModule::Unknown(reason) => Failure { help: reason.help, ..Failure::not_found(reason.message) },
    }
}

/// What is known of earlier attempts. A journal that cannot be read hides the manifest from nobody.
fn learned(records: &mut Records, module: &ModuleId, output: &Output) -> Option<Learned> {
    match records.files() {
        Ok(files) => files.learned(module),
        Err(failure) => {
            output.note(&format!("what it used before cannot be told: {}", failure.message));
            None
        }
    }
}

fn used(module: &ModuleShown, learned: &Learned, output: &Output) {
    output.line(format!("  {:<10} {}", "took", learned.usage.text()));
    if let Some(advice) = learned.advice(module.settings.request.memory) {
        output.line(format!("  {:<10} {advice}", "memory"));
    }
    if let Some(advice) = learned.vram_advice(module.settings.request.vram) {
        output.line(format!("  {:<10} {advice}", "vram"));
    }
    for bucket in &learned.buckets {
        let name = if bucket.bucket.is_empty() { "other parameters" } else { &bucket.bucket };
        output.line(format!("    {}  {}", printable(name), bucket.usage.text()));
    }
}

fn head(module: &ModuleShown, output: &Output) {
    output.line(format!("{}  {}", output.styled(module.id.as_str(), Style::Bold), printable(&module.name)));
    if let Some(description) = &module.description {
        for line in description.lines() {
            output.line(format!("  {}", printable(line)));
        }
    }
    let fact = |name: &str, value: &str| output.line(format!("  {name:<10} {}", printable(value)));
    let broken = if module.last_good { " (broken now: this is its last good version)" } else { "" };
    fact("manifest", &format!("{}{broken}", module.file));
    fact("runs", &module.runs);
    if let Some(version) = &module.version {
        fact("version", version);
    }
    if let Some(category) = &module.category {
        fact("category", category);
    }
    let needs: Vec<String> = module.settings.requests().iter().map(needs).collect();
    fact("needs", &needs.join(", or "));
    if let Some(priority) = module.settings.priority {
        fact("priority", priority.as_str());
    }
    if let Some(affinity) = &module.settings.affinity {
        fact("affinity", affinity);
    }
    if let Some(timeout) = module.settings.timeout {
        fact("timeout", &timeout.to_string());
    }
    if module.settings.retry.attempts > 1 {
        fact("attempts", &module.settings.retry.attempts.to_string());
    }
    if !module.dependencies.is_empty() {
        let names: Vec<&str> = module.dependencies.iter().map(ModuleId::as_str).collect();
        fact("after", &names.join(", "));
    }
}

fn parameters(module: &ModuleShown, output: &Output) {
    let schema = &module.params;
    let Some(Value::Object(properties)) = schema.get("properties") else { return };
    if properties.is_empty() {
        return;
    }
    let required: Vec<&str> = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let width = properties.keys().map(String::len).max().unwrap_or(0);
    output.line("parameters");
    for (name, property) in properties {
        let mut facts = vec![kind_of(property)];
        match property.get("default") {
            Some(default) => facts.push(format!("default {default}")),
            None if required.contains(&name.as_str()) => facts.push("required".to_owned()),
            None => {}
        }
        let about = property.get("description").and_then(Value::as_str).unwrap_or_default();
        output.line(format!("  {name:<width$}  {}  {}", facts.join(", "), printable(about)).trim_end());
    }
}

/// What may stand there, in a word or the list of words.
fn kind_of(property: &Value) -> String {
    if let Some(Value::Array(words)) = property.get("enum") {
        return words.iter().map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect::<Vec<_>>().join("|");
    }
    let kind = property.get("type").and_then(Value::as_str).unwrap_or("any");
    match property.get("format").and_then(Value::as_str) {
        Some(format) => format!("{kind} ({format})"),
        None => kind.to_owned(),
    }
}

/// What a request asks for, in words.
fn needs(request: &Request) -> String {
    let mut needs = format!("{} CPU", request.cpus);
    if request.memory.0 > 0 {
        needs.push_str(&format!(", {} memory", request.memory));
    }
    if request.gpus.0 > 0 {
        needs.push_str(&format!(", {} GPU", request.gpus));
    }
    if request.vram.0 > 0 {
        needs.push_str(&format!(", {} VRAM", request.vram));
    }
    for (name, amount) in &request.custom {
        needs.push_str(&format!(", {amount} {name}"));
    }
    needs
}
