//! Conda environments, found on disk. `conda run` itself is slow (a Python of its own), swallows signals and buffers output, so that
//! the environment's interpreter is started directly, with the PATH that an activation would give it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Interpreter, Unavailable};
use crate::attempt::HostEnvironment;

/// Folders under the user's home in which the usual installers put conda.
const HOMES: [&str; 8] =
    ["miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba", ".conda", "AppData/Local/miniconda3", "AppData/Local/miniforge3"];

/// Folders of installations for the whole machine.
const SYSTEM: [&str; 4] = ["/opt/conda", "/opt/miniconda3", "/opt/miniforge3", "C:/ProgramData/miniconda3"];

/// The Python of the environment `name`, which may also be the environment's path, or `base`.
pub(super) fn interpreter(name: &str, host: &HostEnvironment) -> Result<Interpreter, Unavailable> {
    let roots = roots(host);
    let prefixes = candidates(name, &roots, host);
    let found = prefixes.iter().find_map(|prefix| Some((prefix, python_of(prefix)?)));
    let Some((prefix, program)) = found else {
        let known = known_names(&roots);
        let help = match known.is_empty() {
            true => format!("no conda was found; make it: conda create -n {name} python"),
            false => format!("known environments: {}; or make it: conda create -n {name} python", known.join(", ")),
        };
        return Err(Unavailable::missing(format!("the conda environment `{name}` was not found"), help));
    };
    let environment = activation(name, prefix, host);
    Ok(Interpreter { program, leading: Vec::new(), environment })
}

fn python_of(prefix: &Path) -> Option<PathBuf> {
    let program = if cfg!(windows) { prefix.join("python.exe") } else { prefix.join("bin").join("python") };
    program.is_file().then_some(program)
}

/// Installations of conda that may exist here.
fn roots(host: &HostEnvironment) -> Vec<PathBuf> {
    let mut roots = Vec::new();
    // bin/conda or Scripts/conda.exe lies in the installation.
    let executable = host.get("CONDA_EXE").map(PathBuf::from);
    roots.extend(executable.as_deref().and_then(Path::parent).and_then(Path::parent).map(Path::to_owned));
    roots.extend(["CONDA_ROOT", "MAMBA_ROOT_PREFIX", "CONDA_PREFIX"].iter().filter_map(|name| host.get(name)).map(PathBuf::from));
    if let Some(home) = home(host) {
        roots.extend(HOMES.iter().map(|folder| home.join(folder)));
    }
    roots.extend(SYSTEM.iter().map(PathBuf::from));
    roots
}

fn home(host: &HostEnvironment) -> Option<PathBuf> {
    host.get(if cfg!(windows) { "USERPROFILE" } else { "HOME" }).map(PathBuf::from)
}

fn candidates(name: &str, roots: &[PathBuf], host: &HostEnvironment) -> Vec<PathBuf> {
    let mut prefixes = Vec::new();
    if Path::new(name).is_absolute() {
        prefixes.push(PathBuf::from(name));
        return prefixes;
    }
    if name == "base" || name == "root" {
        prefixes.extend(roots.iter().filter(|root| root.join("conda-meta").is_dir()).cloned());
    }
    prefixes.extend(listed(host).into_iter().filter(|prefix| prefix.file_name().is_some_and(|last| last == name)));
    prefixes.extend(roots.iter().map(|root| root.join("envs").join(name)));
    // The active environment lies beside the wanted one.
    let active = host.get("CONDA_PREFIX").map(PathBuf::from);
    prefixes.extend(active.as_deref().and_then(Path::parent).map(|envs| envs.join(name)));
    prefixes
}

/// Environments that conda itself wrote down, wherever they lie.
fn listed(host: &HostEnvironment) -> Vec<PathBuf> {
    let file = home(host).map(|home| home.join(".conda").join("environments.txt"));
    let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(PathBuf::from).collect()
}

fn known_names(roots: &[PathBuf]) -> Vec<String> {
    let folders = roots.iter().filter_map(|root| std::fs::read_dir(root.join("envs")).ok()).flatten().flatten();
    let mut names: Vec<_> = folders.filter(|entry| python_of(&entry.path()).is_some()).collect::<Vec<_>>();
    names.sort_by_key(std::fs::DirEntry::file_name);
    let mut names: Vec<String> = names.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.dedup();
    names
}

/// What `conda activate` would set, as far as programs look at it.
fn activation(name: &str, prefix: &Path, host: &HostEnvironment) -> Vec<(OsString, OsString)> {
    let folders: &[&str] =
        if cfg!(windows) { &["", "Library/mingw-w64/bin", "Library/usr/bin", "Library/bin", "Scripts", "bin"] } else { &["bin"] };
    let own = folders.iter().map(|folder| if folder.is_empty() { prefix.to_owned() } else { prefix.join(folder) });
    let path = host.get("PATH").unwrap_or_default();
    let mut environment = vec![("CONDA_PREFIX".into(), prefix.into()), ("CONDA_DEFAULT_ENV".into(), name.into())];
    // A folder whose name holds the separator of PATH cannot stand in it.
    if let Ok(path) = std::env::join_paths(own.chain(std::env::split_paths(path))) {
        environment.push(("PATH".into(), path));
    }
    environment
}
