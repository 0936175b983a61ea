//! The keys that a manifest, a node and the settings share: how an attempt is run.

use std::collections::BTreeSet;

use crate::diagnostics::{Diagnostic, Diagnostics, nearest};
use crate::fields::{Fields, amount_of, bytes_of, cpus_of, word_of};
use crate::ids::ResourceName;
use crate::request::{ArgumentStyle, Isolation, NodeSettings, Request, RetryOn, RetryPolicy, Reuse, WHOLE_GPU, WorkDir};
use crate::tree::{Kind, NodeRef};
use crate::units::{Amount, DurationMs};

use super::{Defaults, Pin, Requires, environment, order_keys, output_keys, program, secret_keys};

/// Keys that [`read_settings_keys`] reads.
pub const NODE_SETTINGS_KEYS: [&str; 17] = [
    "resources",
    "timeout",
    "grace",
    "retry",
    "environment",
    "workdir",
    "isolation",
    "arguments",
    "capture",
    "leaks",
    "log_cap",
    "duration",
    "reuse",
    "secrets",
    "priority",
    "affinity",
    "any_of",
];

/// Keys that [`read_defaults_keys`] reads besides.
pub const DEFAULTS_SHARED_KEYS: [&str; 6] = ["concurrency", "requires", "python", "pass_env", "pin", "enabled"];

/// Keys of a manifest that are known and not built yet, each with what brings it.
pub const LATER_KEYS: &[(&str, &str)] = &[
    ("schedule", "Patterns"),
    ("on_change", "Patterns"),
    ("on_finish", "Patterns"),
    ("resident", "Patterns"),
    ("warm", "Patterns"),
    ("engine", "Slurm"),
];

/// Longest grace: a host that shuts down waits for it.
const GRACE_MAX: DurationMs = DurationMs(600_000);

/// Most attempts of a node. A module that fails a hundred times is broken.
const ATTEMPTS_MAX: u64 = 100;

/// Largest exit code: those of Windows have 32 bits.
const EXIT_CODE_MAX: u64 = 0xFFFF_FFFF;

/// Largest growth factor of waits and memory, in thousandths.
const FACTOR_MAX: u64 = 100_000;

/// Most attempts of one module at once: above every limit of a machine, below every overflow.
const CONCURRENCY_MAX: u64 = 100_000;

const ISOLATIONS: [(&str, Isolation); 2] = [("wrapped", Isolation::Wrapped), ("direct", Isolation::Direct)];
const WORKDIRS: [(&str, WorkDir); 2] = [("script", WorkDir::Script), ("fresh", WorkDir::Fresh)];
const ARGUMENTS: [(&str, ArgumentStyle); 5] = [
    ("flags", ArgumentStyle::Flags),
    ("flags-spaced", ArgumentStyle::FlagsSpaced),
    ("json-file", ArgumentStyle::JsonFile),
    ("json-stdin", ArgumentStyle::JsonStdin),
    ("env", ArgumentStyle::Env),
];
const CAUSES: [(&str, RetryOn); 4] =
    [("exit", RetryOn::Exit), ("timeout", RetryOn::Timeout), ("oom", RetryOn::Oom), ("lost", RetryOn::Lost)];
const REUSES: [(&str, Reuse); 2] = [("never", Reuse::Never), ("inputs", Reuse::Inputs)];
const PINS: [(&str, Pin); 2] = [("record", Pin::Record), ("strict", Pin::Strict)];

/// Reads [`NODE_SETTINGS_KEYS`] of a map over `base`: what is not said stays as it is there. `resources`, `retry` and `environment` are
/// merged key by key.
pub fn read_settings_keys(fields: &Fields<'_>, base: &NodeSettings, diagnostics: &mut Diagnostics) -> NodeSettings {
    let mut settings = base.clone();
    read_resources(fields, &mut settings.request, diagnostics);
    order_keys::read(fields, &mut settings, diagnostics);
    read_timeout(fields, &mut settings.timeout, diagnostics);
    read_grace(fields, &mut settings.grace, diagnostics);
    read_retry(fields, &mut settings.retry, diagnostics);
    let variables = environment::read(fields, diagnostics);
    settings.environment.extend(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    settings.workdir = fields.word("workdir", &WORKDIRS, diagnostics).unwrap_or(settings.workdir);
    settings.isolation = fields.word("isolation", &ISOLATIONS, diagnostics).unwrap_or(settings.isolation);
    settings.arguments = fields.word("arguments", &ARGUMENTS, diagnostics).unwrap_or(settings.arguments);
    settings.reuse = fields.word("reuse", &REUSES, diagnostics).unwrap_or(settings.reuse);
    secret_keys::read(fields, &mut settings, diagnostics);
    output_keys::read(fields, &mut settings, diagnostics);
    read_expected(fields, &mut settings.duration, diagnostics);
    settings
}

/// Reads the keys that a manifest and `defaults:` of the settings share, over `base`.
pub fn read_defaults_keys(fields: &Fields<'_>, base: &Defaults, diagnostics: &mut Diagnostics) -> Defaults {
    let concurrency = fields.whole("concurrency", 1, CONCURRENCY_MAX, diagnostics).and_then(|count| u32::try_from(count).ok());
    let mut pass_env = base.pass_env.clone();
    pass_env.extend(environment::read_passed(fields, diagnostics).unwrap_or_default());
    pass_env.sort();
    pass_env.dedup();
    Defaults {
        settings: read_settings_keys(fields, &base.settings, diagnostics),
        concurrency: concurrency.or(base.concurrency),
        requires: read_requires(fields, &base.requires, diagnostics),
        python: program::read_python(fields, diagnostics).unwrap_or_else(|| base.python.clone()),
        pass_env,
        pin: fields.word("pin", &PINS, diagnostics).unwrap_or(base.pin),
        enabled: fields.boolean("enabled", diagnostics).unwrap_or(base.enabled),
    }
}

fn read_resources(fields: &Fields<'_>, request: &mut Request, diagnostics: &mut Diagnostics) {
    let Some(map) = fields.map("resources", "a map such as `{cpus: 2, memory: 2GiB, vram: 6GiB}`", diagnostics) else { return };
    read_request(map, request, diagnostics);
}

/// The keys of `resources`, over what is there.
pub(super) fn read_request(map: NodeRef<'_>, request: &mut Request, diagnostics: &mut Diagnostics) {
    for (key, value) in map.entries() {
        match key.as_str().unwrap_or_default() {
            "cpus" => request.cpus = cpus_of(value, "cpus", diagnostics).unwrap_or(request.cpus),
            "memory" => request.memory = bytes_of(value, "memory", diagnostics).unwrap_or(request.memory),
            "gpus" => request.gpus = gpus_of(value, diagnostics).unwrap_or(request.gpus),
            "vram" => request.vram = bytes_of(value, "vram", diagnostics).unwrap_or(request.vram),
            name => read_custom(name, key, value, request, diagnostics),
        }
    }
}

/// Whole GPUs, or a share of one.
fn gpus_of(value: NodeRef<'_>, diagnostics: &mut Diagnostics) -> Option<Amount> {
    let amount = amount_of(value, "gpus", diagnostics)?;
    if amount.0 <= WHOLE_GPU || amount.0.is_multiple_of(WHOLE_GPU) {
        return Some(amount);
    }
    let refusal = Diagnostic::error(format!("`gpus` must be a whole number, or less than 1, not `{amount}`")).at(value.place());
    diagnostics.push(refusal.with_help("several GPUs are given whole; `gpus: 0.25` is a share of one, `vram: 8GiB` memory of one"));
    None
}

/// The resource of the machine that a name stands for in other tools, or misspells. Anything else may be somebody's counted resource.
pub(crate) fn meant_resource(name: &str) -> Option<&'static str> {
    match name {
        "cpu" | "core" | "cores" | "processors" => Some("cpus"),
        "mem" | "ram" => Some("memory"),
        "gpu" => Some("gpus"),
        "gpu_memory" | "gpu-memory" => Some("vram"),
        other => nearest(other, ["memory"]),
    }
}

/// A counted resource. Whether the settings define it is asked where both are known.
fn read_custom(name: &str, key: NodeRef<'_>, value: NodeRef<'_>, request: &mut Request, diagnostics: &mut Diagnostics) {
    if let Some(meant) = meant_resource(name) {
        let refusal = Diagnostic::error(format!("unknown resource `{name}`")).at(key.place());
        return diagnostics.push(refusal.with_help(format!("did you mean `{meant}`?")));
    }
    match ResourceName::parse(name) {
        Err(error) => diagnostics.push(Diagnostic::error(error.reason).at(key.place()).with_help_of(error.help)),
        Ok(resource) => match amount_of(value, name, diagnostics) {
            // A node takes back what its module asks for.
            Some(Amount(0)) => {
                request.custom.remove(&resource);
            }
            Some(amount) => {
                request.custom.insert(resource, amount);
            }
            None => {}
        },
    }
}

fn read_timeout(fields: &Fields<'_>, timeout: &mut Option<DurationMs>, diagnostics: &mut Diagnostics) {
    match fields.raw("timeout") {
        None => {}
        // `timeout: null` takes a limit back that the manifest or the settings set.
        Some(node) if node.kind() == Kind::Null => *timeout = None,
        Some(node) => match fields.duration("timeout", diagnostics) {
            Some(DurationMs(0)) => {
                let refusal = Diagnostic::error("`timeout` must be longer than nothing").at(node.place());
                diagnostics.push(refusal.with_help("write `timeout: null` for no limit"));
            }
            Some(limit) => *timeout = Some(limit),
            None => {}
        },
    }
}

fn read_expected(fields: &Fields<'_>, expected: &mut Option<DurationMs>, diagnostics: &mut Diagnostics) {
    match fields.raw("duration") {
        None => {}
        // `duration: null` leaves it to what was learned.
        Some(node) if node.kind() == crate::tree::Kind::Null => *expected = None,
        Some(_) => *expected = fields.duration("duration", diagnostics).or(*expected),
    }
}

fn read_grace(fields: &Fields<'_>, grace: &mut DurationMs, diagnostics: &mut Diagnostics) {
    let Some(value) = fields.duration("grace", diagnostics) else { return };
    if value <= GRACE_MAX {
        *grace = value;
    } else if let Some(node) = fields.raw("grace") {
        let refusal = Diagnostic::error("`grace` is at most 10 minutes").at(node.place());
        diagnostics.push(
            refusal.with_help(
                "it is the time between the polite stop and the kill: a module that needs longer should save its work as it goes",
            ),
        );
    }
}

fn read_retry(fields: &Fields<'_>, retry: &mut RetryPolicy, diagnostics: &mut Diagnostics) {
    const KEYS: [&str; 6] = ["attempts", "on", "backoff", "factor", "max_backoff", "grow"];
    let Some(node) = fields.raw("retry") else { return };
    let Some(inner) = Fields::open(node, "`retry`", &KEYS, &[], diagnostics) else { return };
    if let Some(attempts) = inner.whole("attempts", 1, ATTEMPTS_MAX, diagnostics).and_then(|count| u32::try_from(count).ok()) {
        retry.attempts = attempts;
    }
    if let Some(list) = inner.list("on", "a list such as `[75, timeout, oom]`", diagnostics) {
        (retry.on, retry.exit_codes) = read_causes(list, diagnostics);
    }
    retry.backoff = inner.duration("backoff", diagnostics).unwrap_or(retry.backoff);
    retry.factor_millis = inner.thousandths("factor", 1_000, FACTOR_MAX, diagnostics).unwrap_or(retry.factor_millis);
    match inner.duration("max_backoff", diagnostics) {
        Some(most) if most < retry.backoff => {
            let refusal = Diagnostic::error("`max_backoff` is shorter than `backoff`").at(inner.key_place("max_backoff"));
            diagnostics.push(refusal.with_help("it is the longest of the growing waits"));
        }
        Some(most) => retry.max_backoff = most,
        // A wait longer than the default ceiling was asked for: the ceiling follows.
        None => retry.max_backoff = retry.max_backoff.max(retry.backoff),
    }
    if let Some(grow) = inner.raw("grow")
        && let Some(grow) = Fields::open(grow, "`grow`", &["memory", "vram"], &[], diagnostics)
    {
        retry.grow_vram_millis = grow.thousandths("vram", 1_000, FACTOR_MAX, diagnostics).unwrap_or(retry.grow_vram_millis);
        retry.grow_memory_millis = grow.thousandths("memory", 1_000, FACTOR_MAX, diagnostics).unwrap_or(retry.grow_memory_millis);
    }
}

/// Words for causes, and exit codes.
fn read_causes(list: NodeRef<'_>, diagnostics: &mut Diagnostics) -> (BTreeSet<RetryOn>, BTreeSet<i64>) {
    let (mut causes, mut codes) = (BTreeSet::new(), BTreeSet::new());
    for item in list.items() {
        if item.kind() != Kind::Number {
            causes.extend(word_of(item, "on", &CAUSES, diagnostics));
            continue;
        }
        match item.as_u64().filter(|code| (1..=EXIT_CODE_MAX).contains(code)).and_then(|code| i64::try_from(code).ok()) {
            Some(code) => drop(codes.insert(code)),
            None => {
                let refusal = Diagnostic::error("an exit code that is tried again is a whole number from 1 to 4294967295").at(item.place());
                diagnostics.push(refusal.with_help("0 is success; for a signal write `exit`"));
            }
        }
    }
    (causes, codes)
}

fn read_requires(fields: &Fields<'_>, base: &Requires, diagnostics: &mut Diagnostics) -> Requires {
    let mut requires = base.clone();
    let Some(node) = fields.raw("requires") else { return requires };
    let Some(inner) = Fields::open(node, "`requires`", &["commands", "python"], &[], diagnostics) else { return requires };
    for (command, item) in inner.texts("commands", diagnostics).unwrap_or_default() {
        if command.trim().is_empty() || command.contains(['/', '\\', '\0']) {
            let refusal = Diagnostic::error(format!("{command:?} is not the name of a program")).at(item.place());
            diagnostics.push(refusal.with_help("write the name by which PATH knows it, such as `ffmpeg`"));
        } else if !requires.commands.iter().any(|known| known == command) {
            requires.commands.push(command.to_owned());
        }
    }
    if let Some(versions) = inner.filled_text("python", diagnostics) {
        if versions.split(',').all(|part| is_version_demand(part.trim())) {
            requires.python = Some(versions.to_owned());
        } else if let Some(node) = inner.raw("python") {
            let refusal = Diagnostic::error(format!("{versions:?} is not a demand on a version")).at(node.place());
            diagnostics.push(refusal.with_help("write it like \">=3.10\" or \">=3.10,<3.13\""));
        }
    }
    requires
}

/// `>=3.10`, `==3.11.*`.
fn is_version_demand(part: &str) -> bool {
    let signs = [">=", "<=", "==", "!=", "~=", ">", "<"];
    let Some(version) = signs.iter().find_map(|sign| part.strip_prefix(sign)) else { return false };
    let version = version.trim();
    let version = version.strip_suffix(".*").unwrap_or(version);
    version.split('.').all(|number| !number.is_empty() && number.len() <= 4 && number.bytes().all(|byte| byte.is_ascii_digit()))
}
