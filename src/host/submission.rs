//! What people submit, and the pinned copy of it that a run keeps.
//!
//! A [`Submit`] travels from a verb to the host, in the same process or over the channel. The host resolves it against the files of
//! this moment and pins everything it read into `runs/<run>/pinned.json`, so that the run means the same for ever.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{ModuleId, RunId};
use crate::request::Priority;
use crate::run::Precedence;

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Target {
    /// A pipeline file.
    Pipeline {
        /// Absolute path.
        path: PathBuf,
    },
    /// A module of the catalogue.
    Module {
        /// Its id.
        id: ModuleId,
        /// With the modules that it depends on, before it.
        with_dependencies: bool,
    },
    /// A script without a manifest.
    Exec {
        /// Absolute path.
        script: PathBuf,
        /// Its arguments, as given.
        arguments: Vec<String>,
    },
}

/// A request to run something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submit {
    /// What.
    pub target: Target,
    /// `key=value` of the command line, in order.
    #[serde(default)]
    pub assignments: Vec<String>,
    /// The text of `--params FILE`, with its name.
    #[serde(default)]
    pub params_file: Option<NamedText>,
    /// Where relative paths of the command line start.
    pub caller_folder: PathBuf,
    /// Modules that do not say otherwise take earlier results, as by `reuse: inputs`: for whoever runs the same again and again while it is
    /// written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reuse: bool,
    /// Begin with what is saved of the module's parameters.
    #[serde(default)]
    pub saved: bool,
    /// Take it only once.
    #[serde(default)]
    pub idempotency: Option<Idempotency>,
    /// Priority of all its nodes, whatever they say; none: what they say, else what is usual for what is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
}

/// By what a repeated submission is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Idempotency {
    /// What the client calls it.
    pub key: String,
    /// Hash of what it asked for, so that another request with the same key is noticed.
    pub request: String,
}

/// A request to run a finished run's submission again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// The run.
    pub run: RunId,
    /// Which of its nodes.
    pub scope: RetryScope,
}

/// Which nodes a retry runs again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryScope {
    /// Those that did not complete.
    Unfinished,
    /// This one and everything that depends on it.
    From(String),
    /// Just this one.
    Only(String),
}

/// A text with the name by which messages call it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedText {
    /// Name.
    pub name: String,
    /// Text.
    pub text: String,
}

/// A file as it was when the run was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedFile {
    /// Absolute path.
    pub path: PathBuf,
    /// Name in messages.
    pub name: String,
    /// Text.
    pub text: String,
}

/// Version of the form of `pinned.json`.
pub const PINNED_FORMAT: u32 = 1;

/// Everything that a run was submitted with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pinned {
    /// [`PINNED_FORMAT`].
    pub format: u32,
    /// Version of the program that wrote it.
    pub version: String,
    /// What is run.
    pub target: Target,
    /// The run's parameters, checked and completed.
    pub params: Value,
    /// JSON Pointers of those that came from defaults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub defaulted: Vec<String>,
    /// Manifests of the modules that it uses.
    pub manifests: Vec<PinnedFile>,
    /// Its pipeline file first, then sub-pipelines.
    pub pipelines: Vec<PinnedFile>,
    /// The settings, which hold defaults for nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<PinnedFile>,
    /// By what a repeated submission is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// The run that this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<RunId>,
    /// Which of its nodes it repeats. Earlier versions did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_scope: Option<RetryScope>,
    /// See [`Submit::reuse`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reuse: bool,
    /// The priority that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
}

impl Pinned {
    /// Where its nodes stand among those of other runs. Somebody waits for a module that is run by itself.
    #[must_use]
    pub fn precedence(&self) -> Precedence {
        let usual = match self.target {
            Target::Pipeline { .. } => Priority::Normal,
            Target::Module { .. } | Target::Exec { .. } => Priority::High,
        };
        Precedence { forced: self.priority, usual }
    }
}
