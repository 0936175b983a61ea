//! Finding the program that runs a script.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::attempt::HostEnvironment;
use crate::event::SpawnFailure;
use crate::request::{PythonChoice, Runtime};

/// How to start a script: `program leading... script arguments...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program, absolute.
    pub program: PathBuf,
    /// Arguments before the module's own; the script is among them where an interpreter runs it.
    pub leading: Vec<OsString>,
    /// Variables that the interpreter needs (a conda environment's PATH).
    pub environment: Vec<(OsString, OsString)>,
}

/// Why a module cannot be started here, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", failure.message)]
pub struct Unavailable {
    /// As the record holds it.
    pub failure: SpawnFailure,
    /// What to do.
    pub help: Option<String>,
}

/// Finds programs, and remembers what it found. One for each host.
#[derive(Debug)]
pub struct Resolver {
    host: Arc<HostEnvironment>,
}

impl Resolver {
    /// A resolver over the host's PATH.
    #[must_use]
    pub fn new(host: Arc<HostEnvironment>) -> Self {
        Self { host }
    }

    /// How to start a script. `manifest_folder` is where `venv:DIR` starts from.
    ///
    /// # Errors
    /// When the script or what should run it is not there.
    pub fn script(&self, script: &Path, runtime: Runtime, python: &PythonChoice, manifest_folder: &Path) -> Result<Launch, Unavailable> {
        let _ = (script, runtime, python, manifest_folder);
        todo!()
    }

    /// The program of a `command:`: a bare name is looked up on PATH, anything with a separator starts from `folder`.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn command(&self, name: &str, folder: &Path) -> Result<PathBuf, Unavailable> {
        let _ = (name, folder);
        todo!()
    }

    /// Checks `requires:`: programs on PATH and the version of Python (`>=3.10`) of the interpreter in `launch`.
    ///
    /// # Errors
    /// One for each thing that is missing.
    pub fn check_requires(&self, commands: &[String], python: Option<(&str, &Launch)>) -> Result<(), Vec<Unavailable>> {
        let _ = (commands, python);
        todo!()
    }
}
