//! The format of `prismq.yaml` for editors; see `manifest::schema`.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::manifest::schema::{FormatVersion, LogCap, PinWord, RequiresFile, Resources, Retry, Timeout, by_hand, file_schema};
use crate::request::{ArgumentStyle, Capture, Isolation, Leaks, Reuse, WorkDir};
use crate::units::{Amount, Bytes, CpuMillis, DurationMs};

/// Settings of a workspace. All of them may be left out.
#[derive(Debug, JsonSchema)]
#[schemars(title = "prismq settings", deny_unknown_fields)]
pub struct SettingsFile {
    /// Version of the file format.
    pub format: Option<FormatVersion>,
    /// What the host may use.
    pub host: Option<HostFile>,
    /// Folders outside the workspace whose scripts may run. Relative paths start at this file.
    pub roots: Option<Vec<String>>,
    /// Which files are pipelines that can be listed and started by name: patterns relative to this file.
    #[schemars(extend("default" = ["pipelines/**/*.yaml", "examples/*/pipeline.yaml"]))]
    pub pipelines: Option<Vec<String>>,
    /// What modules get that do not say it in their manifests.
    pub defaults: Option<DefaultsFile>,
    /// How long finished runs are kept; without it until `prismq prune`.
    pub retention: Option<RetentionFile>,
    /// Where the values of secrets come from, by name. One that is not named here comes from `prismq secret set`, or from the variable of
    /// its name in the host's environment.
    pub secrets: Option<BTreeMap<String, SecretSourceFile>>,
}

/// Where a secret's value comes from: exactly one of the keys.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1, "maxProperties" = 1))]
pub struct SecretSourceFile {
    /// A variable of the host's environment.
    pub env: Option<String>,
    /// A file that only its owner can read; relative paths start at this file.
    pub file: Option<String>,
    /// A program and its arguments, without a shell. What it prints is the value, without the last line end.
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
}

/// What of finished runs stays. What one of the two lets go goes.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RetentionFile {
    /// Runs that ended so many days ago go.
    pub keep_days: Option<KeepDays>,
    /// The oldest runs go until the folders of the others take at most so much.
    pub keep_size: Option<KeepSize>,
}

/// What the host may use.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HostFile {
    /// Attempts at once, whatever they need.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 10))]
    pub max_concurrent: Option<u32>,
    /// Runs that may wait; one more is refused.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 10_000))]
    pub max_queued: Option<u32>,
    /// Clients of streams at once; one more is refused. Each holds a descriptor.
    #[schemars(range(min = 1, max = 100_000), extend("default" = 256))]
    pub sse_clients: Option<u32>,
    /// What may be handed out to attempts.
    pub capacity: Option<CapacityFile>,
    /// What is kept for the person at the machine.
    pub reserve: Option<ReserveFile>,
    /// Where the folders of runs lie, on shared storage perhaps. Lock and journal stay in the state folder.
    #[schemars(extend("default" = ".prismq/runs"))]
    pub runs_dir: Option<String>,
    /// Whether the state may lie on storage that other machines share (NFS, SMB), although its locks and renames may not hold.
    #[schemars(extend("default" = false))]
    pub shared_state: Option<bool>,
    /// How long a killed process may take to go before it is shown as unkillable. What it holds stays held in any case.
    #[schemars(extend("default" = "1m"))]
    pub unkillable_after: Option<DurationMs>,
    /// How changes of manifests, settings and pipelines are noticed: `auto`, by events of the system and by looking every two seconds where
    /// they do not come; `native`, by events only; `poll`, by looking; `off`, only when something is submitted or shown.
    #[schemars(extend("default" = "auto"))]
    pub watch: Option<WatchWord>,
}

/// How changes are noticed.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum WatchWord {
    /// By events, else by looking.
    Auto,
    /// By events.
    Native,
    /// By looking every two seconds.
    Poll,
    /// Not at all.
    Off,
}

/// What may be handed out. Besides these keys, any counted resource with its amount, such as `youtube-api: 4`.
#[derive(Debug, JsonSchema)]
pub struct CapacityFile {
    /// Processors; `auto`: all that the machine has.
    #[schemars(extend("default" = "auto"))]
    pub cpus: Option<Detected<CpuMillis>>,
    /// Memory; `auto`: all that the machine has.
    #[schemars(extend("default" = "auto"))]
    pub memory: Option<Detected<Bytes>>,
    /// GPUs that may be handed out; `auto`: all that are detected. An empty list: none.
    #[schemars(extend("default" = "auto"))]
    pub gpus: Option<Detected<Vec<GpuFile>>>,
    /// Counted resources by name.
    #[schemars(flatten)]
    pub custom: BTreeMap<String, Amount>,
}

/// A GPU that may be handed out.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct GpuFile {
    /// Its UUID, as `prismq resources` or `nvidia-smi -L` show it.
    pub uuid: String,
    /// Its memory. Needed for one that cannot be detected; of others it is the most that is handed out.
    pub vram: Option<Bytes>,
    /// Its name, for people.
    pub name: Option<String>,
}

/// What is kept back.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ReserveFile {
    /// Memory; 1GiB or 5 % of the machine's, whichever is more, where it is left out.
    pub memory: Option<Bytes>,
    /// VRAM of each GPU; 1GiB where it is left out.
    #[schemars(extend("default" = "1GiB"))]
    pub vram: Option<Bytes>,
    /// Space on the disks of the state and of the runs; where it is left out, 1GiB or 2 % of the disk, whichever is less. Below it nothing
    /// new starts.
    pub disk: Option<Bytes>,
}

/// What modules get that do not say it in their manifests.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct DefaultsFile {
    /// What an attempt needs while it runs.
    pub resources: Option<Resources>,
    /// Longest run time of an attempt.
    pub timeout: Option<Timeout>,
    /// Time between the polite stop and the kill.
    pub grace: Option<DurationMs>,
    /// When a failed attempt is repeated.
    pub retry: Option<Retry>,
    /// Environment variables for every module.
    pub environment: Option<BTreeMap<String, String>>,
    /// The folder in which modules run.
    pub workdir: Option<WorkDir>,
    /// Whether attempts outlive the host.
    pub isolation: Option<Isolation>,
    /// Whether it is left out where an earlier attempt had the same manifest, script, parameters and input files.
    #[schemars(extend("default" = "never"))]
    pub reuse: Option<Reuse>,
    /// How parameters reach the program.
    pub arguments: Option<ArgumentStyle>,
    /// Who writes the log files.
    pub capture: Option<Capture>,
    /// What happens to processes that modules leave behind.
    pub leaks: Option<Leaks>,
    /// Most bytes of output of an attempt that are kept; `null` for all.
    pub log_cap: Option<LogCap>,
    /// Attempts of one module at once.
    #[schemars(range(min = 1))]
    pub concurrency: Option<u32>,
    /// What must be on the machine for every module.
    pub requires: Option<RequiresFile>,
    /// The interpreter of Python scripts. Relative paths start at this file.
    pub python: Option<String>,
    /// Names of variables of the host's own environment that every module gets.
    pub pass_env: Option<Vec<String>>,
    /// What happens if a script changes during a run.
    pub pin: Option<PinWord>,
    /// Whether modules can be started that do not say it.
    pub enabled: Option<bool>,
}

/// An amount, or `auto` for what is detected.
#[derive(Debug)]
pub struct Detected<T>(std::marker::PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Detected<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("{}OrAuto", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let amount = generator.subschema_for::<T>();
        json_schema!({"anyOf": [{"const": "auto"}, amount]})
    }
}

by_hand!(
    /// A number of days, or no limit.
    KeepDays, "KeepDays", {
        "description": "A number of days, or null for no limit.",
        "oneOf": [{"type": "integer", "minimum": 1, "maximum": 36500}, {"type": "null"}]
    }
);

by_hand!(
    /// A size, or no limit.
    KeepSize, "KeepSize", {
        "description": "A size such as 100GiB, or null for no limit.",
        "oneOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(B|[kKMGT]B|[KMGT]iB|[KMG])?$"}, {"type": "null"}]
    }
);

/// The JSON Schema of `prismq.yaml`.
#[must_use]
pub fn settings_schema() -> Value {
    file_schema::<SettingsFile>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::NODE_SETTINGS_KEYS;
    use crate::settings::{DEFAULTS_KEYS, GPU_KEYS, HOST_KEYS, RETENTION_KEYS, SECRET_SOURCE_KEYS, SETTINGS_KEYS};

    #[test]
    fn the_schema_has_the_keys_of_the_reader() {
        let schema = settings_schema();
        let keys = |pointer: &str| {
            let properties = schema.pointer(pointer).and_then(Value::as_object).unwrap_or_else(|| panic!("{pointer} is missing"));
            assert!(properties.values().all(|property| property.get("description").is_some()), "{pointer}");
            let mut keys: Vec<&str> = properties.keys().map(String::as_str).collect();
            keys.sort_unstable();
            keys.join(" ")
        };
        let sorted = |mut keys: Vec<&str>| {
            keys.sort_unstable();
            keys.join(" ")
        };
        assert_eq!(keys("/properties"), sorted(SETTINGS_KEYS.to_vec()));
        assert_eq!(keys("/$defs/HostFile/properties"), sorted(HOST_KEYS.to_vec()));
        let with_default = NODE_SETTINGS_KEYS.iter().filter(|key| !["duration", "secrets", "priority", "affinity", "any_of"].contains(key));
        assert_eq!(keys("/$defs/DefaultsFile/properties"), sorted(with_default.chain(&DEFAULTS_KEYS).copied().collect()));
        assert_eq!(keys("/$defs/ReserveFile/properties"), "disk memory vram");
        assert_eq!(keys("/$defs/GpuFile/properties"), sorted(GPU_KEYS.to_vec()));
        assert_eq!(keys("/$defs/SecretSourceFile/properties"), sorted(SECRET_SOURCE_KEYS.to_vec()));
        assert_eq!(keys("/$defs/RetentionFile/properties"), sorted(RETENTION_KEYS.to_vec()));
    }

    #[test]
    fn the_example_of_the_design_is_valid() {
        let validator = jsonschema::validator_for(&settings_schema()).expect("a schema");
        let example = serde_json::json!({
            "host": {"max_concurrent": 10, "capacity": {"cpus": "auto", "memory": "8GiB", "gpus": [{"uuid": "GPU-1", "vram": "24GiB"}], "youtube-api": 4}, "reserve": {"memory": "1GiB", "vram": "1GiB", "disk": "10GiB"}, "runs_dir": ".prismq/runs"},
            "roots": [], "pipelines": ["pipelines/**/*.yaml"], "defaults": {"timeout": "1h"}, "retention": {"keep_days": null, "keep_size": "100GiB"}
        });
        let errors: Vec<String> = validator.iter_errors(&example).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        assert!(!validator.is_valid(&serde_json::json!({"hots": {}})));
    }
}
