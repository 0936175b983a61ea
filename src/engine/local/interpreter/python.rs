//! Finding a Python: a virtual environment, conda, uv, a version, or whatever the machine has.

use std::path::{Path, PathBuf};

use super::{Interpreter, Resolver, Unavailable, conda, search};
use crate::event::SpawnFailureKind;
use crate::request::PythonChoice;

/// Names of virtual environments that are found by themselves, in this order.
const VENV_NAMES: [&str; 2] = [".venv", "venv"];

const INSTALL_PYTHON: &str = "install Python from https://www.python.org, or name an interpreter with `python:` in the manifest";

impl Resolver {
    pub(super) fn python(&self, script: &Path, choice: &PythonChoice, manifest_folder: &Path) -> Result<Interpreter, Unavailable> {
        match choice {
            PythonChoice::Auto => self.any_python(script, manifest_folder),
            PythonChoice::Path(path) => self.python_at(path, manifest_folder),
            PythonChoice::Venv(folder) => venv_named(&search::from_folder(manifest_folder, folder)),
            PythonChoice::Conda(name) => conda::interpreter(name, &self.host),
            PythonChoice::Uv => self.uv(),
            PythonChoice::Version(version) => self.python_version(version),
        }
    }

    fn any_python(&self, script: &Path, manifest_folder: &Path) -> Result<Interpreter, Unavailable> {
        let folders = script.parent().into_iter().chain([manifest_folder]);
        for folder in folders {
            for name in VENV_NAMES {
                if let Some(program) = venv_python(&folder.join(name)) {
                    return Ok(Interpreter::plain(program));
                }
            }
        }
        if cfg!(windows)
            && let Some(launcher) = self.on_path("py")
        {
            return Ok(Interpreter::with(launcher, &["-3"]));
        }
        let real = |name| search::on_path_after(name, &self.host, |path| !search::is_store_alias(path));
        if let Some(program) = real("python3").or_else(|| real("python")) {
            return Ok(Interpreter::plain(program));
        }
        let alias = self.on_path("python3").or_else(|| self.on_path("python"));
        Err(alias.map_or_else(
            || Unavailable::missing("no Python was found: no `.venv` beside the script, no `python3` on PATH", INSTALL_PYTHON),
            |alias| {
                let message = format!("{} is not a Python but a link to the Microsoft Store", alias.display());
                let help = format!("{INSTALL_PYTHON}; the alias is switched off under Settings, Apps, App execution aliases");
                Unavailable::new(SpawnFailureKind::NotExecutable, message, help)
            },
        ))
    }

    fn python_at(&self, path: &str, manifest_folder: &Path) -> Result<Interpreter, Unavailable> {
        // A folder is most probably an environment whose `venv:` was forgotten.
        if let Some(program) = venv_python(&search::from_folder(manifest_folder, path)) {
            return Ok(Interpreter::plain(program));
        }
        self.command(path, manifest_folder).map(Interpreter::plain).map_err(|wrong| {
            let help = "`python:` takes a path, `venv:DIR`, `conda:NAME`, `uv` or `py:3.11`";
            Unavailable { help: Some(help.to_owned()), ..wrong }
        })
    }

    fn uv(&self) -> Result<Interpreter, Unavailable> {
        let help = "install uv: https://docs.astral.sh/uv/getting-started/installation/";
        let uv = self.on_path("uv").ok_or_else(|| Unavailable::missing("the module says `python: uv`, and `uv` is not on PATH", help))?;
        Ok(Interpreter::with(uv, &["run", "--quiet", "--script"]))
    }

    fn python_version(&self, version: &str) -> Result<Interpreter, Unavailable> {
        if cfg!(windows)
            && let Some(launcher) = self.on_path("py")
        {
            return Ok(Interpreter::with(launcher, &[&format!("-{version}")]));
        }
        let name = format!("python{version}");
        let program = self.on_path(&name).ok_or_else(|| {
            let help = format!("install Python {version}, or use `venv:DIR` or `uv` in `python:`");
            Unavailable::missing(format!("Python {version} (`{name}`) is not on PATH"), help)
        })?;
        Ok(Interpreter::plain(program))
    }
}

fn venv_named(folder: &Path) -> Result<Interpreter, Unavailable> {
    venv_python(folder).map(Interpreter::plain).ok_or_else(|| {
        let name = folder.display();
        let message = if folder.is_dir() { format!("{name} is not a virtual environment") } else { format!("{name} does not exist") };
        let python = if cfg!(windows) { "py -3" } else { "python3" };
        Unavailable::missing(format!("the virtual environment {message}"), format!("make it: {python} -m venv \"{name}\""))
    })
}

/// The interpreter of a virtual environment. Not resolved further: by its own path it knows that it is one.
pub(super) fn venv_python(folder: &Path) -> Option<PathBuf> {
    let program = if cfg!(windows) { folder.join("Scripts").join("python.exe") } else { folder.join("bin").join("python") };
    program.is_file().then_some(program)
}
