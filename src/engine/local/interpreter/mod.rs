//! Finding what runs a script: Python in its many homes, Node.js, a shell, or the script itself.
//!
//! Everything becomes an absolute path here, before a node starts: so the start stays on the fast path, and "not installed" is told
//! with what to do about it. Found programs are remembered; a remembered one that vanished is looked for again. Knows no manifest: the
//! words of `python:` and `runtime:` come in. Used by the host when it plans a start, and by `doctor`.

mod conda;
mod python;
mod search;
mod version;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::attempt::HostEnvironment;
use crate::event::{SpawnFailure, SpawnFailureKind};
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

impl Unavailable {
    fn new(kind: SpawnFailureKind, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { failure: SpawnFailure { message: message.into(), transient: false, kind }, help: Some(help.into()) }
    }

    fn missing(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(SpawnFailureKind::NotFound, message, help)
    }
}

/// An interpreter without its script.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interpreter {
    program: PathBuf,
    leading: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Interpreter {
    fn plain(program: PathBuf) -> Self {
        Self { program, leading: Vec::new(), environment: Vec::new() }
    }

    fn with(program: PathBuf, leading: &[&str]) -> Self {
        Self { program, leading: leading.iter().map(OsString::from).collect(), environment: Vec::new() }
    }

    fn launch(mut self, script: &Path) -> Launch {
        self.leading.push(script.into());
        Launch { program: self.program, leading: self.leading, environment: self.environment }
    }
}

/// Finds programs, and remembers what it found. One for each host.
#[derive(Debug)]
pub struct Resolver {
    host: Arc<HostEnvironment>,
    programs: Mutex<HashMap<String, PathBuf>>,
    versions: version::Versions,
}

impl Resolver {
    /// A resolver over the host's PATH.
    #[must_use]
    pub fn new(host: Arc<HostEnvironment>) -> Self {
        Self { host, programs: Mutex::default(), versions: version::Versions::default() }
    }

    /// How to start a script. `manifest_folder` is where `venv:DIR` and relative interpreters start from.
    ///
    /// # Errors
    /// When the script or what should run it is not there.
    pub fn script(&self, script: &Path, runtime: Runtime, python: &PythonChoice, manifest_folder: &Path) -> Result<Launch, Unavailable> {
        check_script(script)?;
        match runtime {
            Runtime::Python => Ok(self.python(script, python, manifest_folder)?.launch(script)),
            Runtime::Node => {
                let help = "install Node.js from https://nodejs.org and start the host anew, so that it sees the new PATH";
                let node = self.on_path("node").ok_or_else(|| Unavailable::missing("Node.js (`node`) is not on PATH", help))?;
                Ok(Interpreter::plain(node).launch(script))
            }
            Runtime::Shell => Ok(self.shell(script)?.launch(script)),
            Runtime::Executable => Ok(Launch { program: script.to_owned(), leading: Vec::new(), environment: Vec::new() }),
        }
    }

    /// The program of a `command:`: a bare name is looked up on PATH, anything with a separator starts from `folder`.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn command(&self, name: &str, folder: &Path) -> Result<PathBuf, Unavailable> {
        if name.contains('/') || (cfg!(windows) && name.contains('\\')) {
            let path = search::from_folder(folder, name);
            return search::executable_at(&path, &self.host).ok_or_else(|| {
                let kind = if path.exists() { SpawnFailureKind::NotExecutable } else { SpawnFailureKind::NotFound };
                let reason = if path.exists() { "is not executable" } else { "does not exist" };
                Unavailable::new(kind, format!("{} {reason}", path.display()), "a relative program starts from the manifest's folder")
            });
        }
        self.on_path(name).ok_or_else(|| {
            let help = format!("install it, or write its absolute path; PATH of the host is {}", search::shown_path(&self.host));
            Unavailable::missing(format!("`{name}` is not on PATH"), help)
        })
    }

    /// Checks `requires:`: programs on PATH and the version of Python (`>=3.10`, parts joined by commas) of the interpreter in `launch`.
    /// Asks an interpreter for its version once.
    ///
    /// # Errors
    /// One for each thing that is missing.
    pub fn check_requires(&self, commands: &[String], python: Option<(&str, &Launch)>) -> Result<(), Vec<Unavailable>> {
        let absent = commands.iter().filter(|name| self.on_path(name).is_none());
        let mut missing: Vec<_> = absent
            .map(|name| Unavailable::missing(format!("the module needs `{name}`, which is not on PATH"), format!("install `{name}`")))
            .collect();
        if let Some((wanted, launch)) = python
            && let Err(wrong) = self.versions.check(wanted, launch)
        {
            missing.push(wrong);
        }
        if missing.is_empty() { Ok(()) } else { Err(missing) }
    }

    /// A program on PATH, absolute. Remembered until it vanishes.
    fn on_path(&self, name: &str) -> Option<PathBuf> {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = programs.get(name).filter(|path| path.is_file()) {
            return Some(path.clone());
        }
        let found = search::on_path(name, &self.host);
        match &found {
            Some(path) => programs.insert(name.to_owned(), path.clone()),
            None => programs.remove(name),
        };
        found
    }

    fn shell(&self, script: &Path) -> Result<Interpreter, Unavailable> {
        if has_extension(script, "ps1") {
            let found = self.on_path("pwsh").or_else(|| self.on_path("powershell"));
            let help = "install PowerShell: https://aka.ms/powershell";
            let program = found.ok_or_else(|| Unavailable::missing("PowerShell (`pwsh`) is not on PATH", help))?;
            return Ok(Interpreter::with(program, &["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File"]));
        }
        let bash = has_extension(script, "bash");
        let found = if bash { self.on_path("bash") } else { self.on_path("sh").or_else(|| self.on_path("bash")) };
        let help = if cfg!(windows) { "install Git for Windows, or write the script for PowerShell (.ps1)" } else { "install a shell" };
        found.map(Interpreter::plain).ok_or_else(|| Unavailable::missing("a shell (`sh`) is not on PATH", help))
    }
}

fn has_extension(script: &Path, wanted: &str) -> bool {
    script.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}

fn check_script(script: &Path) -> Result<(), Unavailable> {
    let name = script.display();
    if has_extension(script, "bat") || has_extension(script, "cmd") {
        // The command interpreter takes arguments apart by rules of its own; there is no safe way to quote for it.
        let help = "use PowerShell (.ps1), or start the program itself with `command:`";
        return Err(Unavailable::new(SpawnFailureKind::NotExecutable, format!("{name}: batch files cannot take arguments safely"), help));
    }
    match script.metadata() {
        Ok(data) if data.is_file() => Ok(()),
        Ok(_) => {
            Err(Unavailable::new(SpawnFailureKind::NotExecutable, format!("the script {name} is not a file"), "`script:` names a file"))
        }
        Err(error) => {
            Err(Unavailable::missing(format!("the script {name} cannot be read: {error}"), "`script:` is relative to the manifest"))
        }
    }
}

// Programs in these tests are files with the right to execute.
#[cfg(test)]
#[cfg(unix)]
mod tests;
