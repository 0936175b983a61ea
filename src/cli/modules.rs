//! `prismq modules`: what the workspace can run, with what is broken beside it.

use clap::Subcommand;
use serde::Serialize;
use serde_json::Value;

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Style};
use crate::diagnostics::Diagnostic;
use crate::host::catalog::{Catalog, NoModule};
use crate::host::offline::Snapshot;
use crate::host::ownership;
use crate::host::views::{Learned, Module, Program, printable};
use crate::host::workspace::Workspace;
use crate::request::{NodeSettings, Request};

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

#[derive(Serialize)]
struct List<'a> {
    modules: Vec<ModuleView<'a>>,
    broken: Vec<BrokenView<'a>>,
}

#[derive(Serialize)]
struct ModuleView<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    enabled: bool,
    file: String,
    runs: String,
    params: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<&'a Value>,
    dependencies: Vec<&'a str>,
    settings: &'a NodeSettings,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    /// What its last attempts used; only where one module is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    learned: Option<Learned>,
}

#[derive(Serialize)]
struct BrokenView<'a> {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    diagnostics: Vec<&'a Diagnostic>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace()?;
    let catalog = Catalog::load(&workspace)?;
    match &arguments.what {
        None => list(&catalog, arguments.json, context),
        Some(What::Show { id, json }) => return show(&catalog, id, *json, context),
    }
    Ok(Exit::Ok)
}

fn list(catalog: &Catalog, json: bool, context: &Context) {
    let output = &context.output;
    let modules: Vec<&Module> = catalog.registry.iter().map(AsRef::as_ref).collect();
    if json {
        let modules = modules.iter().map(|module| view(module, &catalog.workspace)).collect();
        let broken = catalog.registry.broken().iter().map(|broken| BrokenView {
            file: catalog.workspace.display(&broken.file),
            id: broken.id.as_ref().map(crate::ids::ModuleId::as_str),
            diagnostics: broken.diagnostics.iter().collect(),
        });
        return output.json(&List { modules, broken: broken.collect() });
    }
    if modules.is_empty() && catalog.registry.broken().is_empty() {
        return output.note(&format!("no modules: {} holds no manifest", catalog.workspace.manifests().display()));
    }
    let width = modules.iter().map(|module| module.id.as_str().len()).max().unwrap_or(0);
    for module in modules {
        let about = module.description.as_deref().unwrap_or(&module.name);
        let first_line = printable(about.lines().next().unwrap_or_default()).into_owned();
        let off = if module.enabled { "" } else { " (off)" };
        output.line(format!("{:<width$}  {first_line}{}", module.id, output.styled(off, Style::Dim)));
    }
    for broken in catalog.registry.broken() {
        let file = catalog.workspace.display(&broken.file);
        let count = broken.diagnostics.len();
        output.line(format!("{}  {file}: {count} error{}", output.styled("broken", Style::Bad), if count == 1 { "" } else { "s" }));
        broken.diagnostics.iter().for_each(|found| output.line(format!("  {}", printable(&found.to_string()))));
    }
    if !catalog.registry.broken().is_empty() {
        let kept =
            if ownership::is_owned(&catalog.workspace) { "; the host goes on with the last good version where it knows one" } else { "" };
        output.note(&format!("`prismq validate` shows what is wrong{kept}"));
    }
}

fn show(catalog: &Catalog, id: &str, json: bool, context: &Context) -> Result<Exit, Failure> {
    let module = match catalog.registry.get(id).map_or_else(|| catalog.module(id), Ok) {
        Ok(module) => module,
        Err(NoModule::Broken(mistakes)) => return Err(Failure::invalid(mistakes)),
        Err(NoModule::Unknown(reason)) => {
            let mut failure = Failure::not_found(reason.message);
            failure.help = reason.help;
            return Err(failure);
        }
    };
    let learned = learned(module, catalog, &context.output);
    if json {
        context.output.json(&ModuleView { learned, ..view(module, &catalog.workspace) });
        return Ok(Exit::Ok);
    }
    head(module, &catalog.workspace, &context.output);
    if let Some(learned) = &learned {
        used(module, learned, &context.output);
    }
    parameters(module, &context.output);
    Ok(Exit::Ok)
}

/// What is known of earlier attempts. A journal that cannot be read hides the manifest from nobody.
fn learned(module: &Module, catalog: &Catalog, output: &Output) -> Option<Learned> {
    match Snapshot::read(&catalog.workspace) {
        Ok(snapshot) => snapshot.learned(&module.id),
        Err(error) => {
            output.note(&format!("what it used before cannot be told: {error}"));
            None
        }
    }
}

fn used(module: &Module, learned: &Learned, output: &Output) {
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

fn view<'a>(module: &'a Module, workspace: &Workspace) -> ModuleView<'a> {
    ModuleView {
        id: module.id.as_str(),
        name: &module.name,
        description: module.description.as_deref(),
        version: module.version.as_deref(),
        category: module.category.as_deref(),
        tags: &module.tags,
        enabled: module.enabled,
        file: module.source.name.clone(),
        runs: program(module, workspace),
        params: module.params.schema(),
        outputs: module.outputs.as_ref().map(|outputs| outputs.schema()),
        dependencies: module.dependencies.iter().map(|(id, _)| id.as_str()).collect(),
        settings: &module.settings,
        concurrency: module.concurrency,
        learned: None,
    }
}

fn program(module: &Module, workspace: &Workspace) -> String {
    match &module.program {
        Program::Script { path, .. } => workspace.display(path),
        Program::Command(_) => module.program_name(),
    }
}

fn head(module: &Module, workspace: &Workspace, output: &Output) {
    output.line(format!("{}  {}", output.styled(module.id.as_str(), Style::Bold), printable(&module.name)));
    if let Some(description) = &module.description {
        for line in description.lines() {
            output.line(format!("  {}", printable(line)));
        }
    }
    let fact = |name: &str, value: &str| output.line(format!("  {name:<10} {}", printable(value)));
    fact("manifest", &module.source.name);
    fact("runs", &program(module, workspace));
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
        let names: Vec<&str> = module.dependencies.iter().map(|(id, _)| id.as_str()).collect();
        fact("after", &names.join(", "));
    }
}

fn parameters(module: &Module, output: &Output) {
    let schema = module.params.schema();
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
