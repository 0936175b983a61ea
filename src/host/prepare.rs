//! From a submission to a run that can be accepted: files read, graph built, parameters checked, everything pinned on disk.
//!
//! Runs on the caller's thread, never in the host's loop: reading a pipeline of a million nodes takes a second.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::{Map, Value};

use crate::diagnostics::{Diagnostic, Diagnostics, Source};
use crate::ids::RunId;
use crate::manifest::registry::Registry;
use crate::manifest::{EXEC_SOURCE, Module, Program, arguments};
use crate::params::{Completed, ParamSchema, Violation};
use crate::pipeline::bind;
use crate::pipeline::definition::{Definition, Work};
use crate::pipeline::expr::Scope;
use crate::pipeline::single::single;
use crate::resources::{Capacity, Unmet, none_fits};
use crate::run::Precedence;
use crate::tree::Tree;
use crate::yaml::{self, Format, Limits};

use super::catalog::{self, Catalog, NoModule};
use super::clock;
use super::machine::Machine;
use super::saved;
use super::secrets::Store;
use super::submission::{Idempotency, NamedText, PINNED_FORMAT, Pinned, PinnedFile, RetryScope, Submit, Target};
use super::workspace::{Workspace, create_new_private_folder, write_first};

/// Why a submission is refused. Nothing was started, and no run was made.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Mistakes in files or parameters.
    #[error("{0}")]
    Invalid(Diagnostics),
    /// The module's manifest is broken, whatever was asked.
    #[error("{0}")]
    Broken(Diagnostics),
    /// No such module or file.
    #[error("{}", .0.message)]
    NotFound(Box<Diagnostic>),
    /// It needs more than the machine has.
    #[error("{}", never_fits_text(.0))]
    NeverFits(Vec<(String, Unmet)>),
    /// The queue is full, or the host is leaving.
    #[error("{0}")]
    Busy(String),
    /// The disk said no.
    #[error("the run could not be written down: {0}")]
    Disk(#[from] std::io::Error),
}

impl Refused {
    /// What a person can do about it, where that is not plain.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NotFound(diagnostic) => diagnostic.help.clone(),
            Self::NeverFits(lacking) => {
                let help = lacking.first().and_then(|(_, unmet)| unmet.help());
                help.map(|help| format!("ask for less in `resources:`; {help}"))
            }
            Self::Invalid(_) | Self::Broken(_) | Self::Busy(_) | Self::Disk(_) => None,
        }
    }
}

impl From<Diagnostics> for Refused {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Invalid(diagnostics)
    }
}

fn never_fits_text(lacking: &[(String, Unmet)]) -> String {
    let said: Vec<String> = lacking.iter().map(|(node, unmet)| format!("node `{node}` can never run here: it {unmet}")).collect();
    said.join("; ")
}

/// A run ready to be accepted.
#[derive(Debug)]
pub struct Prepared {
    /// Its id.
    pub run: RunId,
    /// Its graph.
    pub definition: Arc<Definition>,
    /// Its parameters, checked and completed.
    pub params: Arc<Value>,
    /// What it was submitted with.
    pub head: RunHead,
    /// BLAKE3 of the pinned file.
    pub pinned_hash: String,
    /// The order in which its nodes start; none: the longest way to the end first.
    pub order: Option<Arc<[u64]>>,
    /// Where its nodes stand among those of other runs.
    pub precedence: Precedence,
    /// Warnings for the submitter.
    pub notes: Diagnostics,
    /// Whether the journal was given it, so that it may be there also where no answer comes.
    pub(super) recorded: Arc<AtomicBool>,
}

/// What a list shows of a run beyond its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunHead {
    /// The module, for a run of a single one.
    pub module: Option<String>,
    /// The pipeline's name.
    pub pipeline: Option<String>,
    /// The run that it repeats.
    pub retry_of: Option<RunId>,
    /// Which of its nodes it repeats.
    pub retry_scope: Option<RetryScope>,
    /// By what a repeated submission is known.
    pub idempotency: Option<Idempotency>,
}

impl RunHead {
    /// Of a pinned submission.
    #[must_use]
    pub fn of(pinned: &Pinned, definition: &Definition) -> Self {
        let (module, pipeline) = match &pinned.target {
            Target::Pipeline { .. } => (None, Some(definition.name.clone())),
            Target::Module { id, .. } => (Some(id.to_string()), None),
            Target::Exec { script, .. } => (script.file_name().map(|name| name.to_string_lossy().into_owned()), None),
        };
        Self {
            module,
            pipeline,
            retry_of: pinned.retry_of.clone(),
            retry_scope: pinned.retry_scope.clone(),
            idempotency: pinned.idempotency.clone(),
        }
    }
}

/// A submission in which nothing is wrong.
#[derive(Debug)]
pub struct Checked {
    /// What is written down of it.
    pub(super) pinned: Pinned,
    /// Its graph.
    pub(super) definition: Arc<Definition>,
    /// Warnings for the submitter.
    pub(super) notes: Diagnostics,
}

/// Resolves a submission against a catalogue. `capacity` tells what there is for a graph. Writes nothing.
///
/// # Errors
/// See [`Refused`].
pub fn check(catalog: &Catalog, submit: &Submit, capacity: &dyn Fn(&Definition) -> Capacity) -> Result<Checked, Refused> {
    let (pinned, definition, notes) = resolve_in(catalog, submit)?;
    admit(&definition, &capacity(&definition))?;
    Ok(Checked { pinned, definition, notes })
}

/// Everything but the pinning: what `run --dry-run` needs.
///
/// # Errors
/// See [`Refused`].
pub fn resolve(workspace: &Workspace, submit: &Submit) -> Result<(Pinned, Arc<Definition>, Diagnostics), Refused> {
    let catalog = if submit.reuse { Catalog::load_reusing(workspace)? } else { Catalog::load(workspace)? };
    resolve_in(&catalog, submit)
}

fn resolve_in(catalog: &Catalog, submit: &Submit) -> Result<(Pinned, Arc<Definition>, Diagnostics), Refused> {
    let workspace = &catalog.workspace;
    let mut pipelines = Vec::new();
    let mut target = submit.target.clone();
    let (definition, params, mut notes) = match &mut target {
        Target::Pipeline { path } => {
            if !path.is_file() {
                return Err(missing_file(workspace, path));
            }
            *path = super::workspace::real(path)?;
            let (definition, notes, files) = catalog.pipeline(path)?;
            pipelines = files;
            let params = run_params(&definition.params, Map::new(), submit, &definition.folder)?;
            (definition, params, notes)
        }
        Target::Module { id, with_dependencies } => {
            let module = find_module(catalog, id.as_str())?;
            let params = module_params(&catalog.workspace, &module, submit)?;
            let definition = module_definition(module, &params.value, *with_dependencies, &catalog.registry)?;
            let (definition, notes) = check_modules(catalog, &definition).into_result(definition)?;
            (definition, params, notes)
        }
        Target::Exec { script, arguments } => {
            let module = exec_module(script, &submit.caller_folder)?;
            let value = serde_json::json!({ "arguments": arguments });
            let registry = Registry::build(Vec::new());
            let definition = module_definition(module, &value, false, &registry)?;
            (definition, Completed { value, defaulted: Vec::new() }, Diagnostics::new())
        }
    };
    let modules = used_modules(&definition);
    if !matches!(target, Target::Exec { .. }) {
        let mut refused = Diagnostics::new();
        refused.extend(modules.iter().filter_map(|module| catalog.check_script(module)));
        refused.extend(Store::new(&catalog.workspace, catalog.settings.secrets.clone()).missing(&definition));
        refused.into_result(())?;
    }
    notes.extend(modules.iter().filter_map(|module| outdated(catalog, module)));
    let pinned = Pinned {
        format: PINNED_FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        target,
        params: params.value,
        defaulted: params.defaulted,
        manifests: modules.iter().map(|module| catalog::pinned_manifest(module)).collect(),
        pipelines,
        settings: catalog.settings_source.as_ref().map(|source| PinnedFile {
            path: workspace.settings(),
            name: source.name.clone(),
            text: source.text.clone(),
        }),
        idempotency: submit.idempotency.clone(),
        retry_of: None,
        retry_scope: None,
        reuse: submit.reuse,
        priority: submit.priority,
    };
    Ok((pinned, definition, notes))
}

/// That a module is not what its file says now.
fn outdated(catalog: &Catalog, module: &Module) -> Option<Diagnostic> {
    let broken = catalog.registry.kept_despite(&module.id)?;
    let message = format!("the manifest of `{}` is broken; its last good version is used", module.id);
    let warning = Diagnostic::warning(message).with_help("`prismq validate` shows what is wrong");
    Some(match broken.diagnostics.iter().find_map(|found| found.place.clone()) {
        Some(place) => warning.at(place),
        None => warning,
    })
}

/// Whether a pipeline could run on this machine, where no host is asked: what `run --dry-run` needs besides.
///
/// # Errors
/// Mistakes of the settings, or what can never fit.
pub fn admit_here(workspace: &Workspace, definition: &Definition) -> Result<(), Refused> {
    let settings = catalog::settings_of(workspace)?;
    admit(definition, &Machine::detect(&settings).capacity())
}

/// What the settings do not define of what the modules of a run ask for.
fn check_modules(catalog: &Catalog, definition: &Definition) -> Diagnostics {
    let mut found = Diagnostics::new();
    for node in &definition.nodes {
        match &node.work {
            Work::Module(module) => found.extend(catalog.check_resources(module)),
            Work::Pipeline(_) => {}
        }
    }
    found
}

/// Refuses what can never run on this machine.
fn admit(definition: &Definition, capacity: &Capacity) -> Result<(), Refused> {
    let mut lacking = Vec::new();
    let mut seen = BTreeSet::new();
    collect_never_fitting(definition, capacity, &mut seen, &mut lacking);
    if lacking.is_empty() { Ok(()) } else { Err(Refused::NeverFits(lacking)) }
}

fn collect_never_fitting(
    definition: &Definition,
    capacity: &Capacity,
    seen: &mut BTreeSet<*const crate::request::NodeSettings>,
    lacking: &mut Vec<(String, Unmet)>,
) {
    for node in &definition.nodes {
        match &node.work {
            Work::Module(_) if seen.insert(Arc::as_ptr(&node.settings)) => {
                let unmet = none_fits(&node.settings.requests(), capacity);
                lacking.extend(unmet.into_iter().map(|unmet| (node.id.to_string(), unmet)));
            }
            Work::Module(_) => {}
            Work::Pipeline(inner) => collect_never_fitting(inner, capacity, seen, lacking),
        }
    }
}

/// Writes `pinned.json` into the new run's folder. Its nodes start in this order; none: the longest way to the end first.
///
/// # Errors
/// When the disk does not take it; nothing is left of it then.
pub fn pin(workspace: &Workspace, checked: Checked, order: Option<Arc<[u64]>>) -> Result<Prepared, Refused> {
    let Checked { pinned, definition, notes } = checked;
    let head = RunHead::of(&pinned, &definition);
    let text = serde_json::to_vec(&pinned).map_err(std::io::Error::from)?;
    let run = new_run_id(workspace)?;
    let folder = workspace.run(&run);
    write_first(&folder.join("pinned.json"), &text).inspect_err(|_| {
        // A folder that no record names; if it stays it is only in the way.
        let _ = std::fs::remove_dir_all(&folder);
    })?;
    let pinned_hash = blake3::hash(&text).to_hex().to_string();
    let precedence = pinned.precedence();
    let params = Arc::new(pinned.params);
    Ok(Prepared { run, definition, params, head, pinned_hash, order, precedence, notes, recorded: Arc::default() })
}

/// A run id whose folder did not exist; the folder then does.
fn new_run_id(workspace: &Workspace) -> std::io::Result<RunId> {
    let mut has_state = false;
    loop {
        let random = getrandom::u32().map_err(std::io::Error::other)?;
        let run = RunId::new(clock::wall(), random);
        match create_new_private_folder(&workspace.run(&run)) {
            Ok(()) => return Ok(run),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            // Mostly they are there.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !has_state => {
                workspace.create_state()?;
                has_state = true;
            }
            Err(error) => return Err(error),
        }
    }
}

fn missing_file(workspace: &Workspace, path: &Path) -> Refused {
    Refused::NotFound(Box::new(Diagnostic::error(format!("there is no pipeline file {}", workspace.display(path)))))
}

fn find_module(catalog: &Catalog, id: &str) -> Result<Arc<Module>, Refused> {
    match catalog.module(id) {
        Ok(module) => Ok(module.clone()),
        Err(NoModule::Broken(mistakes)) => Err(Refused::Broken(mistakes)),
        Err(NoModule::Unknown(reason)) => Err(Refused::NotFound(Box::new(reason))),
    }
}

/// The graph of a run of one module.
pub(super) fn module_definition(
    module: Arc<Module>,
    params: &Value,
    with_dependencies: bool,
    registry: &Registry,
) -> Result<Arc<Definition>, Diagnostics> {
    let with = params.as_object().cloned().unwrap_or_default();
    single(&module, with, with_dependencies, registry).map(Arc::new)
}

/// A module for a script that has no manifest: runs where the caller is, with its arguments as they are.
fn exec_module(script: &Path, folder: &Path) -> Result<Arc<Module>, Refused> {
    let text = serde_json::json!({
        "id": "exec",
        "name": script.file_name().map(|name| name.to_string_lossy()),
        "script": script,
        "params": {"properties": {"arguments": {"type": "array", "items": {"type": "string"}}}},
    });
    let source = Source::new(EXEC_SOURCE, text.to_string());
    let tree = yaml::read(source, Format::Json, &Limits::MANIFEST)?;
    let (module, _) = crate::manifest::read_module(&tree, &folder.join(EXEC_SOURCE))?;
    Ok(Arc::new(module))
}

/// The modules of a pipeline and of the sub-pipelines that it calls, each once.
fn used_modules(definition: &Definition) -> Vec<Arc<Module>> {
    let mut seen: BTreeSet<*const Module> = BTreeSet::new();
    let mut modules = Vec::new();
    collect_modules(definition, &mut seen, &mut modules);
    modules
}

fn collect_modules(definition: &Definition, seen: &mut BTreeSet<*const Module>, modules: &mut Vec<Arc<Module>>) {
    let mut last: *const Module = std::ptr::null();
    for node in &definition.nodes {
        match &node.work {
            Work::Module(module) => {
                // A million nodes of one module: the set is asked only when the module changes.
                let this = Arc::as_ptr(module);
                if this != last && seen.insert(this) {
                    modules.push(module.clone());
                }
                last = this;
            }
            Work::Pipeline(inner) => collect_modules(inner, seen, modules),
        }
    }
}

/// The parameters of a run of one module: what is saved where that is wanted, then the rest.
fn module_params(workspace: &Workspace, module: &Module, submit: &Submit) -> Result<Completed, Refused> {
    let saved =
        if submit.saved { saved::read(workspace, &module.id)?.map(|saved| saved.parameters).unwrap_or_default() } else { Map::new() };
    let completed = run_params(&module.params, saved, submit, &module.folder)?;
    check_command_line(module, &completed.value, workspace)?;
    Ok(completed)
}

/// Values that fit the schema and no command line: known before anything is started, as everywhere else by the place of the value.
fn check_command_line(module: &Module, params: &Value, workspace: &Workspace) -> Result<(), Diagnostics> {
    match &module.program {
        Program::Script { .. } => {
            let names = module.params.property_names();
            let words = arguments::argv(module.settings.arguments, params, &names, "params.json");
            words.map(drop).map_err(|violation| described(violation, None).into())
        }
        Program::Command(parts) => {
            let workspace = workspace.root().to_string_lossy();
            let scope = Scope { params, node: &|_| None, item: None, index: None, matrix: None, run_id: "", workspace: &workspace };
            arguments::command(parts, &scope).map(drop)
        }
    }
}

/// The parameters of a run: what was saved, the file, then the command line, then defaults; all mistakes at once, each with its place where it has one.
fn run_params(schema: &ParamSchema, saved: Map<String, Value>, submit: &Submit, file_folder: &Path) -> Result<Completed, Diagnostics> {
    let mut diagnostics = Diagnostics::new();
    let mut values = saved;
    let tree = submit.params_file.as_ref().and_then(|file| match read_params_file(file) {
        Ok(tree) => Some(tree),
        Err(mistakes) => {
            diagnostics.extend(mistakes);
            None
        }
    });
    if let Some(tree) = &tree {
        match tree.root().to_json() {
            Value::Object(map) => values.extend(map),
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                diagnostics.push(Diagnostic::error("the parameters must be a map of names and values").at(tree.root().place()));
            }
        }
    }
    let from_file = values.clone();
    for assignment in &submit.assignments {
        if let Err(violation) = schema.assign(&mut values, assignment) {
            let message = format!("`-p {assignment}`: {}", violation.message);
            diagnostics.push(described(Violation { message, ..violation }, None));
        }
    }
    // What the caller gave starts at the caller's folder; what is left relative afterwards came from the schema's defaults, which
    // start at the file that holds them.
    let mut given = Value::Object(values);
    bind::make_absolute(schema, &mut given, &submit.caller_folder);
    let Value::Object(values) = given else { return Err(diagnostics) };
    let completed = schema.complete(values).map(|mut completed| {
        bind::make_absolute(schema, &mut completed.value, file_folder);
        completed
    });
    let violations = completed.as_ref().map_or_else(|refusal| vec![refusal.clone()], |completed| schema.check(&completed.value));
    diagnostics.extend(violations.into_iter().map(|violation| {
        let given = from_file.contains_key(violation.pointer.split('/').nth(1).unwrap_or_default());
        described(violation, tree.as_ref().filter(|_| given))
    }));
    match completed {
        Ok(completed) => diagnostics.into_result(completed).map(|(completed, _)| completed),
        Err(_) => Err(diagnostics),
    }
}

fn read_params_file(file: &NamedText) -> Result<Tree, Diagnostics> {
    let source = Source::new(file.name.clone(), file.text.clone());
    yaml::read(source, Format::of_path(&PathBuf::from(&file.name)), &Limits::MANIFEST)
}

fn described(violation: Violation, tree: Option<&Tree>) -> Diagnostic {
    let place = tree.map(|tree| tree.root().nearest_at(&violation.pointer).place());
    let diagnostic =
        Diagnostic::error(format!("parameters: {}", violation.message)).with_pointer(violation.pointer).with_help_of(violation.help);
    match place {
        Some(place) => diagnostic.at(place),
        None => diagnostic,
    }
}
