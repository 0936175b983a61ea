//! From the scheduler's order to the engine's spec: program, arguments, environment, folders.
//!
//! The one place that looks at the disk on behalf of a start: finds the interpreter, checks that the script lies where it may, and
//! hashes it. What it finds is remembered, since a pipeline starts the same module many times.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::attempt::{Environment, HostEnvironment, ParamsFile};
use crate::engine::{self, Launch, Resolver, Spec, Stdin, Unavailable, WorkIn};
use crate::event::{FailureCause, SpawnFailure, SpawnFailureKind};
use crate::ids::ModuleId;
use crate::manifest::{Module, Program, arguments};
use crate::pipeline::expr::Scope;
use crate::request::{ArgumentStyle, SecretSource, WorkDir};
use crate::scheduler::StartOrder;
use crate::source;
use crate::units::Bytes;

use super::permissions;
use super::secrets::Store;
use super::workspace::Workspace;

/// Makes specs. One for each host.
pub(super) struct Launcher {
    workspace: Workspace,
    roots: Vec<PathBuf>,
    secrets: Store,
    environment: Arc<HostEnvironment>,
    resolver: Resolver,
    shares: HashMap<Vec<String>, Arc<Vec<(OsString, OsString)>>>,
    hashes: HashMap<PathBuf, Hashed>,
    required: HashMap<ModuleId, Arc<Module>>,
}

struct Hashed {
    modified: Option<SystemTime>,
    length: u64,
    hash: String,
}

/// What a start needs, or why it cannot be.
pub(super) struct Prepared {
    /// For the engine.
    pub(super) spec: Spec,
    /// Hash of the script, for the record.
    pub(super) script_hash: Option<String>,
}

impl Launcher {
    pub(super) fn new(workspace: Workspace, roots: Vec<PathBuf>, secrets: BTreeMap<String, SecretSource>) -> Self {
        let environment = Arc::new(HostEnvironment::new(std::env::vars_os()));
        Self {
            secrets: Store::with(&workspace, secrets, environment.clone()),
            workspace,
            roots,
            resolver: Resolver::new(environment.clone()),
            environment,
            shares: HashMap::new(),
            hashes: HashMap::new(),
            required: HashMap::new(),
        }
    }

    /// Changes the folders in which scripts may lie.
    pub(super) fn set_roots(&mut self, roots: Vec<PathBuf>) {
        self.roots = roots;
    }

    /// Secrets come from there from now on, also those of attempts of runs that go on.
    pub(super) fn set_secrets(&mut self, named: BTreeMap<String, SecretSource>) {
        self.secrets = Store::with(&self.workspace, named, self.environment.clone());
    }

    /// Makes the spec of a start.
    ///
    /// # Errors
    /// The failure that the node then has.
    pub(super) fn prepare(&mut self, order: &StartOrder) -> Result<Prepared, FailureCause> {
        let module = &order.module;
        let run_folder = self.workspace.run(&order.id.run);
        let params = Arc::new(ParamsFile::new(&run_folder, &order.params));
        let (launch, mut args, script_hash) = match &module.program {
            Program::Script { path, .. } => self.script(module, path)?,
            Program::Command(_) => {
                let mut words = self.command_words(order)?;
                if words.is_empty() {
                    return Err(not_found("the `command:` is empty".to_owned()));
                }
                let name = words.remove(0);
                let program = self.resolver.command(&name, &module.folder).map_err(unavailable)?;
                let launch = Launch { program, leading: Vec::new(), environment: Vec::new() };
                (launch, words.into_iter().map(OsString::from).collect(), None)
            }
        };
        self.check_requires(module, &launch)?;
        args.extend(argument_words(order, params.path())?.into_iter().map(OsString::from));
        let mut own = launch.environment;
        own.extend(order.settings.environment.iter().map(|(name, value)| (name.into(), value.into())));
        let mut all_args = launch.leading;
        all_args.append(&mut args);
        let spec = Spec {
            id: order.id.clone(),
            node: order.path.clone(),
            program: launch.program,
            args: all_args,
            environment: Environment { base: self.share(&module.pass_env), own },
            secrets: self.secrets.of_attempt(&order.settings),
            work: self.work_in(order),
            run_folder,
            params,
            stdin: if order.settings.arguments == ArgumentStyle::JsonStdin { Stdin::Params } else { Stdin::Nothing },
            cpus: order.grant.cpus,
            memory: limit(order),
            set_aside: Bytes(order.grant.memory.0 - limit(order).0),
            gpus: order.grant.devices.clone(),
            alternative: order.grant.alternative,
            isolation: order.settings.isolation,
            grace: order.settings.grace,
            capture: order.settings.capture,
            leaks: order.settings.leaks,
            log_cap: order.settings.log_cap,
            token: token(&order.id.run, &order.path, order.id.attempt.0),
        };
        Ok(Prepared { spec, script_hash })
    }

    /// The `command:` with its expressions evaluated over the parameters.
    fn command_words(&self, order: &StartOrder) -> Result<Vec<String>, FailureCause> {
        let Program::Command(parts) = &order.module.program else { return Ok(Vec::new()) };
        let workspace = self.workspace.root().to_string_lossy();
        let scope = Scope {
            params: &order.params,
            node: &|_| None,
            item: None,
            index: None,
            matrix: None,
            run_id: order.id.run.as_str(),
            workspace: &workspace,
        };
        arguments::command(parts, &scope)
            .map_err(|mistakes| FailureCause::Parameters { messages: mistakes.iter().map(ToString::to_string).collect() })
    }

    fn script(&mut self, module: &Module, path: &Path) -> Result<(Launch, Vec<OsString>, Option<String>), FailureCause> {
        let Program::Script { runtime, python, .. } = &module.program else {
            return Err(not_found("the module has no script".to_owned()));
        };
        if !is_exec(module) {
            let real = source::script_inside(path, &self.roots).map_err(|refused| {
                let transient = refused.error.as_ref().is_some_and(engine::is_transient);
                refused_script(refused.diagnostic.to_string(), path, transient)
            })?;
            if let Some(refused) = permissions::refusal(&self.workspace, &real, &self.roots) {
                return Err(refused_script(refused.to_string(), path, false));
            }
        }
        let launch = self.resolver.script(path, *runtime, python, &module.folder).map_err(unavailable)?;
        let hash = self.hash(path).map_err(|error| refused_script(error.to_string(), path, engine::is_transient(&error)))?;
        Ok((launch, Vec::new(), Some(hash)))
    }

    /// BLAKE3 of a script; read again only when its time or length changed.
    fn hash(&mut self, path: &Path) -> std::io::Result<String> {
        let metadata = std::fs::metadata(path)?;
        let (modified, length) = (metadata.modified().ok(), metadata.len());
        if let Some(known) = self.hashes.get(path)
            && known.modified == modified
            && modified.is_some()
            && known.length == length
        {
            return Ok(known.hash.clone());
        }
        let hash = blake3::hash(&std::fs::read(path)?).to_hex().to_string();
        self.hashes.insert(path.to_owned(), Hashed { modified, length, hash: hash.clone() });
        Ok(hash)
    }

    /// `requires:` of a module, checked once for each version of its manifest.
    fn check_requires(&mut self, module: &Arc<Module>, launch: &Launch) -> Result<(), FailureCause> {
        let requires = &module.requires;
        if requires.commands.is_empty() && requires.python.is_none() {
            return Ok(());
        }
        if self.required.get(&module.id).is_some_and(|known| Arc::ptr_eq(known, module)) {
            return Ok(());
        }
        let python = requires.python.as_deref().map(|version| (version, launch));
        self.resolver.check_requires(&requires.commands, python).map_err(|missing| {
            let said: Vec<String> = missing.iter().map(with_help).collect();
            not_found(format!("`requires:` of {} is not met: {}", module.id, said.join("; ")))
        })?;
        self.required.insert(module.id.clone(), module.clone());
        Ok(())
    }

    fn share(&mut self, pass: &[String]) -> Arc<Vec<(OsString, OsString)>> {
        if let Some(known) = self.shares.get(pass) {
            return known.clone();
        }
        let share = self.environment.share(pass);
        self.shares.insert(pass.to_vec(), share.clone());
        share
    }

    fn work_in(&self, order: &StartOrder) -> WorkIn {
        match (&order.settings.workdir, &order.module.program) {
            (WorkDir::Fresh, _) => WorkIn::Fresh,
            (WorkDir::Script, _) if is_exec(&order.module) => WorkIn::Folder(order.module.folder.clone()),
            (WorkDir::Script, Program::Script { path, .. }) => {
                WorkIn::Folder(path.parent().map_or_else(|| self.workspace.root().to_owned(), Path::to_owned))
            }
            (WorkDir::Script, Program::Command(_)) => WorkIn::Folder(order.module.folder.clone()),
        }
    }
}

/// The memory that it is held to. What was only learned reserves room for it; to end it for what it never promised would be wrong.
fn limit(order: &StartOrder) -> Bytes {
    if order.settings.asked(order.grant.alternative).memory.0 == 0 { Bytes(0) } else { order.grant.memory }
}

/// What follows the program: the parameters in the module's style.
fn argument_words(order: &StartOrder, params_file: &Path) -> Result<Vec<String>, FailureCause> {
    if is_exec(&order.module) {
        let given = order.params.get("arguments").and_then(serde_json::Value::as_array).into_iter().flatten();
        return Ok(given.filter_map(|word| word.as_str().map(str::to_owned)).collect());
    }
    let style = order.settings.arguments;
    let names = order.module.params.property_names();
    arguments::argv(style, &order.params, &names, &params_file.to_string_lossy()).map_err(refused_parameter)
}

/// The text by which the processes of an attempt are known after the host died. A run id never comes twice in a workspace.
pub(super) fn token(run: &crate::ids::RunId, node: &str, attempt: u32) -> String {
    format!("{run}/{node}/{attempt}")
}

/// Whether the module stands for a script that was named on the command line: it may lie anywhere, and runs where the caller is.
fn is_exec(module: &Module) -> bool {
    module.is_made_up()
}

fn with_help(unavailable: &Unavailable) -> String {
    match &unavailable.help {
        Some(help) => format!("{} (help: {help})", unavailable.failure.message),
        None => unavailable.failure.message.clone(),
    }
}

fn unavailable(unavailable: Unavailable) -> FailureCause {
    let message = with_help(&unavailable);
    FailureCause::Spawn(SpawnFailure { message, ..unavailable.failure })
}

fn not_found(message: String) -> FailureCause {
    FailureCause::Spawn(SpawnFailure { message, transient: false, kind: SpawnFailureKind::NotFound })
}

fn refused_script(reason: String, path: &Path, transient: bool) -> FailureCause {
    let kind = if path.exists() { SpawnFailureKind::NotExecutable } else { SpawnFailureKind::NotFound };
    FailureCause::Spawn(SpawnFailure { message: reason, transient, kind })
}

fn refused_parameter(violation: crate::params::Violation) -> FailureCause {
    let help = violation.help.map(|help| format!(" (help: {help})")).unwrap_or_default();
    FailureCause::Parameters { messages: vec![format!("{}: {}{help}", violation.pointer, violation.message)] }
}
