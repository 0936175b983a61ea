//! Words about the reuse of earlier results (`reuse: inputs`): what decides whether a node would only do again what was done.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::RunId;
use crate::units::Timestamp;

/// All that decides over a result, as hashes (BLAKE3, the first 32 hexadecimal digits). Two attempts with the same are expected to give
/// the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ReuseKey {
    /// The manifest, and what settings and node say of how the module is called.
    pub module: String,
    /// The script; empty for a `command:`.
    pub script: String,
    /// The parameters, completed.
    pub params: String,
    /// The contents of the files and folders that the parameters name.
    pub inputs: String,
}

impl ReuseKey {
    /// What differs from another one, in words.
    #[must_use]
    pub fn changes_since(&self, earlier: &Self) -> Vec<ReusePart> {
        let parts = [
            (self.module != earlier.module, ReusePart::Module),
            (self.script != earlier.script, ReusePart::Script),
            (self.params != earlier.params, ReusePart::Parameters),
            (self.inputs != earlier.inputs, ReusePart::Inputs),
        ];
        parts.into_iter().filter(|(changed, _)| *changed).map(|(_, part)| part).collect()
    }
}

/// A part of a [`ReuseKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReusePart {
    /// The manifest or how it is called.
    Module,
    /// The script.
    Script,
    /// The parameters.
    Parameters,
    /// The files that they name.
    Inputs,
}

impl std::fmt::Display for ReusePart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Module => "the manifest",
            Self::Script => "the script",
            Self::Parameters => "the parameters",
            Self::Inputs => "the input files",
        })
    }
}

/// Why no earlier result was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum NotReused {
    /// No completed attempt of this module is known.
    First,
    /// Something is different from every known one; these parts from the last.
    Changed {
        /// The run of the last one.
        since: RunId,
        /// What.
        parts: Vec<ReusePart>,
    },
    /// The run that had the result was pruned.
    Pruned {
        /// That run.
        run: RunId,
    },
    /// A file that the result names is not there any more.
    OutputGone {
        /// The run that had it.
        run: RunId,
        /// The file.
        path: String,
    },
    /// A file that the result names is not the one that its attempt left, or that is not known.
    OutputChanged {
        /// The run that had it.
        run: RunId,
        /// The file.
        path: String,
    },
    /// A file that decides over the result cannot be read.
    Unreadable {
        /// Which, and what the system said.
        message: String,
    },
    /// The run is a retry: what it does not take over it does again.
    Retry,
}

impl std::fmt::Display for NotReused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::First => f.write_str("no completed attempt of it is known"),
            Self::Changed { since, parts } => {
                let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
                write!(f, "{} changed since run {since}", parts.join(" and "))
            }
            Self::Pruned { run } => write!(f, "run {run}, which had the result, was pruned"),
            Self::OutputGone { run, path } => write!(f, "{path}, a result of run {run}, is not there any more"),
            Self::OutputChanged { run, path } => write!(f, "{path}, a result of run {run}, may have changed since"),
            Self::Unreadable { message } => f.write_str(message),
            Self::Retry => f.write_str("a retry repeats what it does not take over"),
        }
    }
}

/// What came of the search for an earlier result that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReuseCheck {
    /// Why not.
    #[serde(flatten)]
    pub why: NotReused,
    /// Under what the result can be found later; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<ReuseKey>,
    /// When the files were looked at: what changes later is not what the key tells of.
    pub at: Timestamp,
    /// Files and folders that the parameters name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}
