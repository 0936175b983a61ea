//! Modules: what a manifest describes, checked, and the registry of them.
//!
//! Built from the tree of a file (`tree`), never from text; every mistake is a diagnostic and all of them come at once. Knows nothing
//! of the disk: whoever reads the folder brings trees and asks the disk about scripts. Used by `pipeline`, `host` and the surfaces.

pub mod arguments;
pub mod difference;
mod environment;
mod order_keys;
mod output_keys;
mod program;
mod read;
pub mod registry;
pub mod schema;
mod secret_keys;
mod settings_keys;

use std::path::PathBuf;
use std::sync::Arc;

use crate::diagnostics::{Place, Source};
use crate::ids::ModuleId;
use crate::params::ParamSchema;
use crate::pipeline::expr::Template;
use crate::request::{NodeSettings, PythonChoice, Runtime};

pub use environment::{is_secret_name, secret_name};
pub(crate) use program::rooted_python;
pub use program::{lexically_joined, read_python};
pub(crate) use read::read_format;
pub use read::{MANIFEST_KEYS, read_module, read_module_with, readable_id};
pub(crate) use settings_keys::meant_resource;
pub use settings_keys::{DEFAULTS_SHARED_KEYS, LATER_KEYS, NODE_SETTINGS_KEYS, read_defaults_keys, read_settings_keys};

/// What the settings say for modules that do not say it themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// What a node may override too.
    pub settings: NodeSettings,
    /// Attempts of one module at once.
    pub concurrency: Option<u32>,
    /// What must be there for any module.
    pub requires: Requires,
    /// The interpreter of Python scripts; paths in it absolute.
    pub python: PythonChoice,
    /// Names of the host's environment variables that every module gets.
    pub pass_env: Vec<String>,
    /// What a changed script means.
    pub pin: Pin,
    /// Whether modules are on.
    pub enabled: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            settings: NodeSettings::default(),
            concurrency: None,
            requires: Requires::default(),
            python: PythonChoice::Auto,
            pass_env: Vec::new(),
            pin: Pin::default(),
            enabled: true,
        }
    }
}

/// Name of the manifest that is made up for a script that has none.
pub const EXEC_SOURCE: &str = "(exec)";

/// What a module runs.
#[derive(Debug, Clone)]
pub enum Program {
    /// A script.
    Script {
        /// Absolute path: the manifest's `script:` joined to the manifest's folder, `.` and `..` resolved by name only.
        path: PathBuf,
        /// What runs it.
        runtime: Runtime,
        /// Which Python, if `runtime` is Python. Paths in it are absolute, as the script's.
        python: PythonChoice,
    },
    /// A program with arguments, each a template over `params`. The first, the program, is a constant: found on PATH or absolute.
    Command(Vec<Template>),
}

/// Whether a script may change while a run uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pin {
    /// It may; the run is then marked `mixed code`.
    #[default]
    Record,
    /// A node whose script changed since the run's first use of it fails.
    Strict,
}

/// `requires:`: checked before a start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requires {
    /// Programs that must be on PATH.
    pub commands: Vec<String>,
    /// Version of Python, such as `>=3.10`.
    pub python: Option<String>,
}

/// A module.
#[derive(Debug, Clone)]
pub struct Module {
    /// Its id.
    pub id: ModuleId,
    /// Name for people.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// Its version, free text.
    pub version: Option<String>,
    /// `Video/Preparation`: a path in the tree of modules.
    pub category: Option<String>,
    /// Free words.
    pub tags: Vec<String>,
    /// What it runs.
    pub program: Program,
    /// Its parameters.
    pub params: ParamSchema,
    /// What it reports, if it says so.
    pub outputs: Option<ParamSchema>,
    /// What a node may override.
    pub settings: Arc<NodeSettings>,
    /// Modules that run before it, with the place of each name.
    pub dependencies: Vec<(ModuleId, Place)>,
    /// Attempts of it at once, across all runs.
    pub concurrency: Option<u32>,
    /// What must be there.
    pub requires: Requires,
    /// Names of the host's environment variables that it gets besides the allow-list.
    pub pass_env: Vec<String>,
    /// What a changed script means.
    pub pin: Pin,
    /// Off: listed, but nothing can start it.
    pub enabled: bool,
    /// The manifest's folder, absolute.
    pub folder: PathBuf,
    /// The manifest's text, pinned at submit.
    pub source: Arc<Source>,
    /// Where its id stands.
    pub id_place: Place,
}

#[cfg(test)]
mod tests;
