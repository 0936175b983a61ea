//! The environment of a module: an allow-list of the host's, what the manifest says, and the `PRISMQ_` variables.
//!
//! Pure: the host's variables come in as an argument. Everything that is not listed stays outside, so that a module does not depend
//! on the shell that happened to start the host, and a secret in that shell does not reach it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use super::folder::{AttemptFolder, ParamsFile};
use crate::ids::AttemptId;
use crate::units::{Bytes, CpuMillis};

/// The variable by which processes of an attempt are known again.
pub const TOKEN_VARIABLE: &str = "PRISMQ_TOKEN";

/// What a module finds in its environment beside the `PRISMQ_` variables.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The host's share, see [`HostEnvironment::share`]; the same for all attempts of a module.
    pub base: Arc<Vec<(OsString, OsString)>>,
    /// What the manifest, the node or the interpreter adds; wins over `base`, later over earlier.
    pub own: Vec<(OsString, OsString)>,
}

/// The host's variables, read once.
#[derive(Debug, Clone, Default)]
pub struct HostEnvironment {
    all: BTreeMap<OsString, OsString>,
}

/// What distinguishes an attempt from others.
#[derive(Debug, Clone, Copy)]
pub struct Marks<'a> {
    /// The attempt.
    pub id: &'a AttemptId,
    /// Path of its node.
    pub node: &'a str,
    /// Its folder.
    pub folder: &'a AttemptFolder,
    /// Its parameters.
    pub params: &'a ParamsFile,
    /// Its token.
    pub token: &'a str,
    /// Processors granted.
    pub cpus: CpuMillis,
    /// Memory granted; 0: none declared.
    pub memory: Bytes,
}

impl HostEnvironment {
    /// From the variables of a process, usually `std::env::vars_os()`.
    #[must_use]
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self { all: variables.into_iter().collect() }
    }

    /// A variable of the host.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        if !cfg!(windows) {
            return self.all.get(OsStr::new(name)).map(OsString::as_os_str);
        }
        self.all.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_os_str())
    }

    /// The share of a module: the allow-list and the names in `pass`.
    #[must_use]
    pub fn share(&self, pass: &[String]) -> Arc<Vec<(OsString, OsString)>> {
        todo!()
    }
}

impl Environment {
    /// The complete environment of an attempt, each name once.
    #[must_use]
    pub fn complete(&self, marks: Marks<'_>) -> Vec<(OsString, OsString)> {
        todo!()
    }
}
