//! Secrets of a workspace: which source a name has, and the values that the workspace keeps itself.
//!
//! A name is looked for in the settings (`secrets:`), then among the files of `.prismq/secrets/`, then in the host's environment. Values are
//! read at each start of an attempt, so that a changed one counts from then on; none is kept, recorded or shown.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use serde::Serialize;

use super::catalog::{Catalog, place_of};
use super::workspace::{Workspace, create_private_folder, sync_folder, write_synced};
use crate::attempt::HostEnvironment;
use crate::diagnostics::{Diagnostic, Diagnostics, Place};
use crate::engine::{Secrets, Unlock};
use crate::event::{SpawnFailure, SpawnFailureKind};
use crate::pipeline::definition::{Definition, Work};
use crate::request::{NodeSettings, SecretSource};
use crate::secrets::{self, Value};

/// What the file of a secret begins with: some names, such as `CON`, are none for a file on Windows.
const PREFIX: &str = "secret.";

/// Where secrets come from.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    named: BTreeMap<String, SecretSource>,
    /// Read when somebody asks for it: few modules have secrets.
    environment: OnceLock<Arc<HostEnvironment>>,
}

/// A secret as it may be shown: everything but its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Where it comes from, in words; none: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Modules that ask for it.
    pub modules: Vec<String>,
    /// Why it has no value, where that is known without starting a program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Store {
    /// Of a workspace, with the `secrets:` of its settings and the variables of this process.
    #[must_use]
    pub fn new(workspace: &Workspace, named: BTreeMap<String, SecretSource>) -> Self {
        Self { folder: workspace.state().join("secrets"), named, environment: OnceLock::new() }
    }

    pub(super) fn with(workspace: &Workspace, named: BTreeMap<String, SecretSource>, environment: Arc<HostEnvironment>) -> Self {
        Self { environment: environment.into(), ..Self::new(workspace, named) }
    }

    fn environment(&self) -> &HostEnvironment {
        self.environment.get_or_init(|| Arc::new(HostEnvironment::new(std::env::vars_os())))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{PREFIX}{name}"))
    }

    /// Where a secret of this name comes from.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<SecretSource> {
        if let Some(named) = self.named.get(name) {
            return Some(named.clone());
        }
        let file = self.file(name);
        if file.exists() {
            return Some(SecretSource::File(file));
        }
        self.environment().get(name).map(|_| SecretSource::Variable(name.to_owned()))
    }

    /// Whether the settings say where it comes from.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    /// Keeps a value in a file that only its owner can read.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep(&self, name: &str, value: &Value) -> io::Result<()> {
        create_private_folder(&self.folder)?;
        write_synced(&self.file(name), value.expose().as_bytes())
    }

    /// Forgets a value that is kept. `false`: there was none.
    ///
    /// # Errors
    /// What the system says.
    pub fn forget(&self, name: &str) -> io::Result<bool> {
        match std::fs::remove_file(self.file(name)) {
            Ok(()) => sync_folder(&self.folder).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The value of a secret. Starts a program where one is its source.
    ///
    /// # Errors
    /// Why there is none, in words that do not repeat it.
    pub fn value(&self, name: &str) -> Result<Value, String> {
        let source = self.source(name).ok_or_else(|| format!("the secret `{name}` has no value here: {}", advice(name)))?;
        self.read(name, &source)
    }

    fn read(&self, name: &str, source: &SecretSource) -> Result<Value, String> {
        let variable = |name: &str| self.environment().get(name).map(OsString::from);
        secrets::read(source, &variable).map_err(|error| format!("the secret `{name}`: {error}"))
    }

    /// All secrets that this workspace keeps, names or needs, by name.
    #[must_use]
    pub fn list(&self, catalog: &Catalog) -> Vec<Listed> {
        let mut modules: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for module in catalog.registry.iter() {
            for name in &module.settings.secrets {
                modules.entry(name.clone()).or_default().push(module.id.to_string());
            }
        }
        let kept = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let kept = kept.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)).map(str::to_owned));
        let names: BTreeSet<String> = kept.chain(self.named.keys().cloned()).chain(modules.keys().cloned()).collect();
        let variable = |name: &str| self.environment().get(name).map(OsString::from);
        let listed = names.into_iter().map(|name| {
            let source = self.source(&name);
            let problem = match &source {
                None => Some(format!("it has no value here: {}", advice(&name))),
                Some(source) => secrets::look(source, &variable).err().map(|error| error.to_string()),
            };
            Listed {
                modules: modules.remove(&name).unwrap_or_default(),
                source: source.map(|source| self.described(&name, &source)),
                problem,
                name,
            }
        });
        listed.collect()
    }

    fn described(&self, name: &str, source: &SecretSource) -> String {
        match source {
            SecretSource::Variable(variable) => format!("variable {variable}"),
            SecretSource::File(path) if *path == self.file(name) => "kept here".to_owned(),
            SecretSource::File(path) => format!("file {}", path.display()),
            // Its arguments may tell more than the name of an entry.
            SecretSource::Command(words) => format!("program {}", words.first().map_or("", String::as_str)),
        }
    }

    /// What the engine needs to fetch the secrets of an attempt.
    pub(super) fn of_attempt(&self, settings: &NodeSettings) -> Secrets {
        if settings.secrets.is_empty() {
            return Secrets::None;
        }
        let (store, names) = (self.clone(), settings.secrets.clone());
        let unlock: Unlock = Arc::new(move || {
            let values = names.iter().map(|name| store.value(name).map(|value| (name.into(), value.expose().into())));
            values.collect::<Result<_, String>>().map_err(|message| SpawnFailure {
                message,
                transient: false,
                kind: SpawnFailureKind::Other,
            })
        });
        Secrets::Locked(unlock)
    }

    /// Secrets of a graph that come from nowhere, each once, at the node or the module that asks for it.
    #[must_use]
    pub fn missing(&self, definition: &Definition) -> Diagnostics {
        let mut found = Diagnostics::new();
        self.collect_missing(definition, &mut BTreeSet::new(), &mut found);
        found
    }

    fn collect_missing(&self, definition: &Definition, seen: &mut BTreeSet<String>, found: &mut Diagnostics) {
        for node in &definition.nodes {
            match &node.work {
                Work::Pipeline(inner) => self.collect_missing(inner, seen, found),
                Work::Module(module) => {
                    for name in node.settings.secrets.iter().filter(|name| self.source(name).is_none()) {
                        if !seen.insert(name.clone()) {
                            continue;
                        }
                        let place = if module.settings.secrets.contains(name) {
                            place_of(module, "secrets")
                        } else {
                            Place { source: definition.source.clone(), span: node.span }
                        };
                        let message = format!("`{}` needs the secret `{name}`, which has no value here", module.id);
                        found.push(Diagnostic::error(message).at(place).with_help(advice(name)));
                    }
                }
            }
        }
    }
}

fn advice(name: &str) -> String {
    format!("`prismq secret set {name}` keeps one, or `secrets:` in prismq.yaml says where it comes from")
}
