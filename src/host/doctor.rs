//! What `doctor` looks at: the machine, the wrapper, disks, and what modules say that they need. Changes nothing, starts no module.

use std::sync::Arc;

use serde::Serialize;

use super::catalog::Catalog;
use super::machine::Machine;
use super::secrets::Store;
use super::workspace::Workspace;
use super::{disk, ownership};
use crate::attempt::HostEnvironment;
use crate::engine::{self, Resolver};
use crate::manifest::{Module, Program};
use crate::resources::{DiskLevel, none_fits};
use crate::settings::Settings;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and not as well as it could.
    Warning,
    /// Something cannot run.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What: `cpus`, `memory`, `gpu`, `wrapper`, `disk`, `host`, `module`, `secret`, `settings`.
    pub about: &'static str,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

fn check(about: &'static str, level: Level, found: impl Into<String>) -> Check {
    Check { about, level, found: found.into(), help: None }
}

impl Check {
    fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// Looks at everything.
#[must_use]
pub fn examine(workspace: &Workspace) -> Vec<Check> {
    let catalog = Catalog::load(workspace);
    let settings = catalog.as_ref().map(|catalog| catalog.settings.clone()).unwrap_or_default();
    let machine = Machine::detect(&settings);
    let mut checks = machine_checks(&machine, &settings);
    checks.push(wrapper());
    checks.extend(disk::look(workspace, &settings).iter().map(|disk| {
        let level = match disk.level() {
            DiskLevel::Enough => Level::Ok,
            DiskLevel::Low => Level::Warning,
            DiskLevel::Short => Level::Problem,
        };
        check("disk", level, disk.to_string())
    }));
    checks.push(match ownership::owner(workspace).filter(|_| ownership::is_owned(workspace)) {
        Some(pid) => check("host", Level::Ok, format!("process {pid} is the host of this workspace")),
        None => check("host", Level::Ok, "no host runs; `run` and `serve` become it"),
    });
    match catalog {
        Ok(catalog) => checks.extend(module_checks(&catalog, &machine)),
        Err(mistakes) => {
            let found = format!("prismq.yaml has {} mistake(s)", mistakes.len());
            checks.push(check("settings", Level::Problem, found).with_help("`prismq validate` shows them"));
        }
    }
    checks
}

fn machine_checks(machine: &Machine, settings: &Settings) -> Vec<Check> {
    let capacity = machine.capacity();
    let found = machine.found();
    let mut checks = vec![
        check("cpus", Level::Ok, format!("{} detected, {} may be held", found.machine.cpus, capacity.cpus)),
        check("memory", Level::Ok, format!("{} detected, {} may be held", found.machine.memory, capacity.memory)),
    ];
    if let (Err(reason), true) = (&found.gpus, capacity.gpus.is_empty()) {
        let help = "without one, modules that ask for `gpus` or `vram` are refused; one that cannot be detected is named under `host.capacity.gpus` in prismq.yaml";
        checks.push(check("gpu", Level::Ok, format!("none: {reason}")).with_help(help));
    }
    for gpu in &capacity.gpus {
        let detected = found.gpus.iter().flatten().any(|device| device.uuid == gpu.uuid);
        let said = format!("{} {}, {} of VRAM, {} may be held", gpu.name, gpu.uuid, gpu.total, gpu.usable());
        checks.push(if detected {
            check("gpu", Level::Ok, said)
        } else {
            let help = "what is free of it cannot be measured: only what nodes asked for is counted";
            check("gpu", Level::Warning, format!("{said}; the settings name it, and no driver shows it")).with_help(help)
        });
    }
    let unknown = settings.capacity.gpus.iter().flatten().filter(|gpu| capacity.gpus.iter().all(|known| known.uuid != gpu.uuid));
    checks.extend(unknown.map(|gpu| {
        let found = format!("the settings name {}, which no driver shows, and not its memory", gpu.uuid);
        check("gpu", Level::Warning, found).with_help("write its `vram:` in `host.capacity.gpus`, or take it out")
    }));
    checks
}

fn wrapper() -> Check {
    match engine::wrapper_program() {
        Ok((path, true)) => check("wrapper", Level::Ok, path.display().to_string()),
        Ok((path, false)) => {
            let found = format!("`prismq-attempt` is not beside {}: this program is its own wrapper", path.display());
            check("wrapper", Level::Warning, found)
                .with_help("attempts start a little slower; `cargo build` or an installation puts it there")
        }
        Err(reason) => check("wrapper", Level::Problem, reason),
    }
}

/// Modules that could not run here; all others in one line.
fn module_checks(catalog: &Catalog, machine: &Machine) -> Vec<Check> {
    let capacity = machine.capacity();
    let resolver = Resolver::new(Arc::new(HostEnvironment::new(std::env::vars_os())));
    let mut checks = Vec::new();
    let mut good = 0;
    for module in catalog.registry.iter() {
        let mut wrong: Vec<(String, Option<String>)> = missing(&resolver, module);
        let lacks = none_fits(&module.settings.requests(), &capacity);
        wrong.extend(lacks.iter().map(|unmet| (format!("can never run here: it {unmet}"), unmet.help())));
        good += usize::from(wrong.is_empty());
        checks.extend(
            wrong.into_iter().map(|(found, help)| Check { help, ..check("module", Level::Problem, format!("{}: {found}", module.id)) }),
        );
    }
    let broken = catalog.registry.broken().len();
    if broken > 0 {
        checks.push(check("module", Level::Problem, format!("{broken} manifest(s) are refused")).with_help("`prismq validate` says why"));
    }
    checks.push(check("module", Level::Ok, format!("{good} module(s) have all that they need")));
    checks.extend(secret_checks(catalog));
    checks
}

/// Secrets that modules ask for and that have no value here. No program is started for it.
fn secret_checks(catalog: &Catalog) -> Vec<Check> {
    let listed = Store::new(&catalog.workspace, catalog.settings.secrets.clone()).list(catalog);
    let wanted: Vec<_> = listed.into_iter().filter(|secret| !secret.modules.is_empty()).collect();
    let mut checks: Vec<Check> = wanted
        .iter()
        .filter_map(|secret| {
            let found = format!("{} (for {}): {}", secret.name, secret.modules.join(", "), secret.problem.as_ref()?);
            Some(check("secret", Level::Problem, found))
        })
        .collect();
    let good = wanted.len() - checks.len();
    if good > 0 {
        checks.push(check("secret", Level::Ok, format!("{good} secret(s) have a source; `prismq secret check` fetches them")));
    }
    checks
}

fn missing(resolver: &Resolver, module: &Module) -> Vec<(String, Option<String>)> {
    let launch = match &module.program {
        Program::Script { path, runtime, python } => resolver.script(path, *runtime, python, &module.folder).map(Some),
        // Its program is known when its parameters are.
        Program::Command(_) => Ok(None),
    };
    let told = |missing: engine::Unavailable| (missing.failure.message, missing.help);
    let launch = match launch {
        Ok(launch) => launch,
        Err(unavailable) => return vec![told(unavailable)],
    };
    let python = module.requires.python.as_deref().zip(launch.as_ref());
    let checked = resolver.check_requires(&module.requires.commands, python);
    checked.err().into_iter().flatten().map(told).collect()
}
