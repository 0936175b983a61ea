//! The manifest's format for editors: types whose documentation becomes the JSON Schema that completes and explains keys.
//!
//! Reading goes by `read`, which finds every mistake; a test holds both to the same keys. The types are never filled in.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::ids::ModuleId;
use crate::request::{ArgumentStyle, Capture, Isolation, Leaks, RetryOn, Reuse, Runtime, WorkDir};
use crate::units::{Amount, Bytes, CpuMillis, DurationMs};

/// A module: what to run, which parameters it takes, what it needs.
#[derive(Debug, JsonSchema)]
#[schemars(title = "prismq module", deny_unknown_fields)]
pub struct ManifestFile {
    /// Version of the file format.
    pub format: Option<FormatVersion>,
    /// Name by which the module is called: `prismq run ID`, `module: ID` in a pipeline. Letters a-z, digits, `_` and `-`.
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9_-]{0,63}$"))]
    pub id: String,
    /// Name for people. Made from the id where it is left out.
    pub name: Option<String>,
    /// What the module does, in a sentence.
    pub description: Option<String>,
    /// Version of the module, free text. Quote it: `version: "1.10"`.
    pub version: Option<String>,
    /// Place in the tree of modules; `/` separates levels, as in `Video/Preparation`.
    pub category: Option<String>,
    /// Words to search by.
    pub tags: Option<Vec<String>>,
    /// The script, relative to this file. It must lie in the workspace or in one of the `roots` of the settings.
    pub script: Option<String>,
    /// Instead of `script`: a program and its arguments. An argument may hold `${{ params.NAME }}`; a list becomes several arguments.
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// What runs the script. By its extension where it is left out.
    pub runtime: Option<Runtime>,
    /// Which Python runs the script: a path, `venv:DIR`, `conda:NAME`, `uv` (dependencies from the script's header) or `py:3.11`. Where it is
    /// left out: a `.venv` beside the script, then `py` or `python3`.
    pub python: Option<String>,
    /// Parameters, as JSON Schema (draft 2020-12) of an object. Other keys are refused unless `additionalProperties` says otherwise. A path
    /// has `format: file` or `format: directory`.
    pub params: Option<ParameterSchema>,
    /// What the module reports in the file named by PRISMQ_OUTPUT, as JSON Schema of an object.
    pub outputs: Option<ParameterSchema>,
    /// How parameters reach the program. In any case they are in the JSON file named by PRISMQ_PARAMS.
    #[schemars(extend("default" = "flags"))]
    pub arguments: Option<ArgumentStyle>,
    /// What an attempt needs while it runs.
    pub resources: Option<Resources>,
    /// Modules that run before this one.
    pub dependencies: Option<Vec<ModuleId>>,
    /// Environment variables for the module. Variables that load other code, such as PATH or LD_PRELOAD, are refused.
    pub environment: Option<BTreeMap<String, String>>,
    /// Names of variables of the host's own environment that the module gets besides the usual ones.
    pub pass_env: Option<Vec<String>>,
    /// Longest run time of an attempt; `null` for no limit.
    pub timeout: Option<Timeout>,
    /// Time between the polite stop and the kill, at most 10m.
    #[schemars(extend("default" = "10s"))]
    pub grace: Option<DurationMs>,
    /// When a failed attempt is repeated.
    pub retry: Option<Retry>,
    /// Attempts of this module at once, over all runs.
    #[schemars(range(min = 1))]
    pub concurrency: Option<u32>,
    /// The folder in which the module runs.
    #[schemars(extend("default" = "script"))]
    pub workdir: Option<WorkDir>,
    /// Whether an attempt outlives the host.
    #[schemars(extend("default" = "wrapped"))]
    pub isolation: Option<Isolation>,
    /// Whether it is left out where an earlier attempt had the same manifest, script, parameters and input files.
    #[schemars(extend("default" = "never"))]
    pub reuse: Option<Reuse>,
    /// Before or after the nodes of others. Where it is left out: `high` for a module that is run by itself, `normal` in a pipeline.
    pub priority: Option<PriorityWord>,
    /// A name, such as that of a model: where nothing else decides, nodes of the same name run one after another, and on the same GPU.
    pub affinity: Option<AffinityKey>,
    /// Alternatives of `resources` in the order of preference, each laid over it. The first that fits is taken; PRISMQ_ALTERNATIVE tells
    /// which, counted from 0.
    pub any_of: Option<Alternatives>,
    /// Who writes the log files: the wrapper, with the time and order of what it reads, or the module itself, which is faster.
    #[schemars(extend("default" = "pump"))]
    pub capture: Option<Capture>,
    /// What happens to processes that the module leaves behind: they are ended, or live on and are reported.
    #[schemars(extend("default" = "end"))]
    pub leaks: Option<Leaks>,
    /// Most bytes of output of an attempt that are kept, beginning and end; `null` for all.
    pub log_cap: Option<LogCap>,
    /// Names of secrets that it gets as environment variables. Their values never stand in a file of prismq's but the store's.
    pub secrets: Option<Vec<String>>,
    /// How long an attempt is expected to take; `null` for what was learned. It orders and predicts, and limits nothing.
    pub duration: Option<Timeout>,
    /// What happens if the script changes during a run: `record` marks the run, `strict` fails the node.
    #[schemars(extend("default" = "record"))]
    pub pin: Option<PinWord>,
    /// What must be on the machine; checked before a start.
    pub requires: Option<RequiresFile>,
    /// `false`: listed, but it cannot be started.
    #[schemars(extend("default" = true))]
    pub enabled: Option<bool>,
}

/// Needs of an attempt. Besides these keys, any counted resource that the settings define under `host.capacity`.
#[derive(Debug, JsonSchema)]
pub struct Resources {
    /// Processors; 1 where it is left out.
    #[schemars(extend("default" = 1))]
    pub cpus: Option<CpuMillis>,
    /// Memory.
    pub memory: Option<Bytes>,
    /// GPUs: whole ones, for nobody else meanwhile (1, 2), or a share of one (0.25).
    pub gpus: Option<Amount>,
    /// Memory of one GPU, which others may share; with whole `gpus`, that each of them must have.
    pub vram: Option<Bytes>,
    /// Counted resources by name, such as `youtube-api: 1`.
    #[schemars(flatten)]
    pub custom: BTreeMap<String, Amount>,
}

/// When a failed attempt is repeated.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, the first included.
    #[schemars(range(min = 1, max = 100), extend("default" = 1))]
    pub attempts: Option<u32>,
    /// Causes that are repeated, and exit codes. `lost` must be named: the work may have been done.
    #[schemars(extend("default" = ["exit", "timeout", "oom"]))]
    pub on: Option<Vec<RetryCause>>,
    /// Wait before the second attempt.
    #[schemars(extend("default" = "2s"))]
    pub backoff: Option<DurationMs>,
    /// Each further wait is this many times the one before.
    #[schemars(range(min = 1, max = 100), extend("default" = 2))]
    pub factor: Option<f64>,
    /// Longest wait.
    #[schemars(extend("default" = "1m"))]
    pub max_backoff: Option<DurationMs>,
    /// How the needs grow after an attempt that had too little.
    pub grow: Option<Grow>,
}

/// A cause, or an exit code.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum RetryCause {
    /// A cause.
    Cause(RetryOn),
    /// An exit code: only attempts that end with it are repeated.
    Code(#[schemars(range(min = 1, max = 4_294_967_295_u64))] u64),
}

/// Growth of needs from attempt to attempt.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Grow {
    /// Memory of the next attempt as a multiple of the last one, after the cause `oom`.
    #[schemars(range(min = 1, max = 100))]
    pub memory: Option<f64>,
    /// VRAM of the next attempt as a multiple of the last one, after an attempt that said that the graphics card had no more.
    #[schemars(range(min = 1, max = 100))]
    pub vram: Option<f64>,
}

/// What must be on the machine.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RequiresFile {
    /// Programs that must be on PATH.
    pub commands: Option<Vec<String>>,
    /// Version of Python, such as ">=3.10,<3.14".
    pub python: Option<String>,
}

/// What a changed script means.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum PinWord {
    /// The run is marked as `mixed code`.
    Record,
    /// A node whose script changed since its first use fails.
    Strict,
}

/// A schema that is written by hand.
macro_rules! by_hand {
    ($(#[$meta:meta])* $type:ident, $name:literal, $schema:tt) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $type;

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}
pub(crate) use by_hand;

by_hand!(
    /// The version of the file format.
    FormatVersion, "FormatVersion", {"const": 1}
);

by_hand!(
    /// A length of time, or none.
    Timeout, "Timeout", {
        "description": "A length of time such as 30m, or null for none.",
        "oneOf": [{"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d) ?)+$"}, {"type": "null"}]
    }
);

by_hand!(
    /// A size, or no limit.
    LogCap, "LogCap", {
        "description": "A size of at least 64KiB such as 200MiB, or null to keep everything.",
        "oneOf": [{"type": "integer", "minimum": 65536}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(B|[kKMGT]B|[KMGT]iB|[KMG])?$"}, {"type": "null"}]
    }
);

by_hand!(
    /// A class of priority, or none.
    PriorityWord, "Priority", {
        "description": "high comes before normal, normal before low; what has waited long comes first for once. null leaves it to what is run.",
        "enum": ["high", "normal", "low", null]
    }
);

by_hand!(
    /// A name that nodes share, or none.
    AffinityKey, "Affinity", {
        "description": "A name of at most 64 bytes, or null for none.",
        "oneOf": [{"type": "string", "minLength": 1, "maxLength": 64}, {"type": "null"}]
    }
);

/// Alternatives of what an attempt needs, or none.
#[derive(Debug)]
pub struct Alternatives;

impl JsonSchema for Alternatives {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Alternatives".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<Resources>();
        json_schema!({
            "description": "2 to 8 alternatives, the preferred first, or null for none.",
            "oneOf": [{"type": "array", "minItems": 2, "maxItems": 8, "items": item}, {"type": "null"}]
        })
    }
}

by_hand!(
    /// A JSON Schema of an object.
    ParameterSchema, "ParameterSchema", {
        "description": "JSON Schema (draft 2020-12) of an object.",
        "type": "object",
        "properties": {
            "type": {"const": "object"},
            "properties": {"description": "The parameters by name, each with its own schema.", "type": "object", "additionalProperties": {"type": ["object", "boolean"]}},
            "required": {"description": "Parameters that must be given.", "type": "array", "items": {"type": "string"}, "uniqueItems": true},
            "additionalProperties": {"description": "Whether, or of which kind, other keys are let through.", "type": ["object", "boolean"]},
            "$defs": {"description": "Schemas used in several places, by `$ref: \"#/$defs/NAME\"`.", "type": "object"}
        }
    }
);

/// The JSON Schema of manifests.
#[must_use]
pub fn manifest_schema() -> Value {
    let mut schema = file_schema::<ManifestFile>();
    // Exactly one of the two says what runs.
    if let Value::Object(map) = &mut schema {
        map.insert("oneOf".into(), serde_json::json!([{"required": ["script"]}, {"required": ["command"]}]));
    }
    schema
}

/// The JSON Schema of a file's type. What a file may leave out it may not set to `null`, so that the `null` of optional fields goes.
#[must_use]
pub fn file_schema<T: JsonSchema>() -> Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value();
    without_null(&mut schema);
    schema
}

fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get_mut("properties") {
                properties.values_mut().for_each(without_optional_null);
            }
            map.values_mut().for_each(without_null);
        }
        Value::Array(list) => list.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn without_optional_null(property: &mut Value) {
    let Value::Object(map) = property else { return };
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            map.insert("type".into(), only);
        }
    }
    let Some(Value::Array(forms)) = map.get_mut("anyOf") else { return };
    let before = forms.len();
    forms.retain(|form| form.get("type").is_none_or(|name| name != "null"));
    if before == 2
        && let [Value::Object(only)] = forms.as_slice()
    {
        let only = only.clone();
        map.remove("anyOf");
        map.extend(only);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{DEFAULTS_SHARED_KEYS, MANIFEST_KEYS, NODE_SETTINGS_KEYS};

    fn keys(schema: &Value, pointer: &str) -> Vec<String> {
        let properties = schema.pointer(pointer).and_then(Value::as_object).unwrap_or_else(|| panic!("{pointer} is missing"));
        let mut keys: Vec<String> = properties.keys().cloned().collect();
        keys.sort();
        keys
    }

    fn sorted(keys: &[&str]) -> Vec<String> {
        let mut keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        keys.sort();
        keys
    }

    #[test]
    fn the_schema_has_the_keys_of_the_reader() {
        let schema = manifest_schema();
        assert_eq!(keys(&schema, "/properties"), sorted(&MANIFEST_KEYS));
        assert_eq!(keys(&schema, "/$defs/Retry/properties"), sorted(&["attempts", "on", "backoff", "factor", "max_backoff", "grow"]));
        assert_eq!(keys(&schema, "/$defs/RequiresFile/properties"), ["commands", "python"]);
        for key in NODE_SETTINGS_KEYS.iter().chain(&DEFAULTS_SHARED_KEYS) {
            assert!(MANIFEST_KEYS.contains(key), "{key}");
        }
        for (key, property) in schema["properties"].as_object().expect("a map") {
            assert!(property.get("description").is_some(), "`{key}` is not explained");
            assert!(!property.to_string().contains("\"null\""), "`{key}`: {property}");
        }
        assert_eq!(schema["additionalProperties"], Value::Bool(false));
    }

    #[test]
    fn the_schema_accepts_and_refuses_what_the_reader_does() {
        let validator = jsonschema::options().should_validate_formats(true).build(&manifest_schema()).expect("a schema");
        let whole = serde_json::json!({
            "format": 1, "id": "m", "script": "m.py", "timeout": null, "grace": "10s", "resources": {"cpus": "500m", "memory": "2GiB", "api": 1},
            "retry": {"attempts": 3, "on": ["exit"], "factor": 1.5, "grow": {"memory": 1.5, "vram": 2}}, "priority": "low", "affinity": "sdxl", "any_of": [{"vram": "8GiB"}, {"cpus": 8}], "arguments": "flags-spaced", "workdir": "fresh", "capture": "pump", "leaks": "allow", "log_cap": "200MiB",
            "params": {"properties": {"a": {"type": "integer"}}}, "environment": {"A": "b"}, "requires": {"python": ">=3.10"}
        });
        let errors: Vec<String> = validator.iter_errors(&whole).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        for bad in [
            serde_json::json!({"id": "m"}),
            serde_json::json!({"id": "m", "script": "a", "command": ["b"]}),
            serde_json::json!({"id": "M", "script": "a"}),
            serde_json::json!({"id": "m", "script": "a", "name": null}),
            serde_json::json!({"id": "m", "script": "a", "log_cap": 100}),
            serde_json::json!({"id": "m", "script": "a", "capture": null}),
            serde_json::json!({"id": "m", "script": "a", "parms": {}}),
            serde_json::json!({"id": "m", "script": "a", "retry": {"atempts": 3}}),
        ] {
            assert!(!validator.is_valid(&bad), "{bad}");
        }
    }
}
