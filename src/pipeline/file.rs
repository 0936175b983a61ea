//! The format of a pipeline file as types, from which its JSON Schema is made: what editors show and complete.
//!
//! Only the shape stands here, with the words of the documentation. Files are read by `compile`, which says more than a schema can;
//! a test holds the two lists of keys together.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::manifest::schema::{
    AffinityKey, Alternatives, FormatVersion, LogCap, ParameterSchema, PriorityWord, Resources, Retry, Timeout, file_schema,
};
use crate::request::{ArgumentStyle, Capture, Isolation, Leaks, OnFailure, Reuse, WorkDir};
use crate::units::DurationMs;

/// A pipeline: a graph of nodes, each running a module or another pipeline.
#[derive(Debug, JsonSchema)]
#[schemars(title = "prismq pipeline", deny_unknown_fields)]
pub struct PipelineFile {
    /// Version of this format.
    pub format: Option<FormatVersion>,
    /// Name for people; otherwise the file's name.
    pub name: Option<String>,
    /// What the pipeline can be given: a JSON Schema (2020-12) of an object. Expressions see the values as `params.NAME`.
    pub params: Option<ParameterSchema>,
    /// What happens to the rest when a node has finally failed: `continue` (branches that do not need it go on) or `stop`.
    pub on_failure: Option<OnFailure>,
    /// What the run, or the node that calls this pipeline, reports: names with expressions.
    pub outputs: Option<BTreeMap<String, Value>>,
    /// The nodes by id. `nodes.ID.outputs` in an expression is what a node reported, and makes it a dependency.
    #[schemars(schema_with = "nodes")]
    pub nodes: BTreeMap<String, NodeFile>,
}

/// A node: what it runs, with which parameters, when, and how often.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, extend("oneOf" = [{"required": ["module"]}, {"required": ["pipeline"]}]))]
pub struct NodeFile {
    /// Id of the module that it runs.
    pub module: Option<String>,
    /// Path of the pipeline file that it runs, relative to this file.
    pub pipeline: Option<String>,
    /// Parameters of the module or pipeline. Values may hold `${{ expressions }}`; a whole-value expression keeps its type.
    pub with: Option<With>,
    /// Ids of nodes that must have completed, besides those that expressions refer to.
    pub needs: Option<Needs>,
    /// The node runs only if this is true, and is skipped otherwise. Evaluated once all dependencies have ended; one whose `status` it
    /// reads may also have failed.
    pub when: Option<ExpressionText>,
    /// One instance for each combination of these values, the last name changing fastest: `matrix.NAME`, `index`.
    pub matrix: Option<BTreeMap<String, Vec<Value>>>,
    /// One instance for each item of a list, mostly one that an earlier node reports: `item`, `index`.
    pub foreach: Option<ForEach>,
    /// Instances at once.
    pub max_parallel: Option<NonZeroU32>,
    /// A failure does not fail the run.
    pub allow_failure: Option<bool>,
    /// What each attempt needs; overrides the manifest name by name.
    pub resources: Option<Resources>,
    /// Longest run time of an attempt; `null` for no limit.
    pub timeout: Option<Timeout>,
    /// Time between the polite stop and the kill.
    pub grace: Option<DurationMs>,
    /// When a failed attempt is followed by another one.
    pub retry: Option<Retry>,
    /// Environment variables.
    pub environment: Option<BTreeMap<String, String>>,
    /// Where it runs: `script` (the script's folder) or `fresh` (a new folder of the attempt).
    pub workdir: Option<WorkDir>,
    /// `wrapped`: outlives the host. `direct`: cheaper, and lost with it.
    pub isolation: Option<Isolation>,
    /// Whether it is left out where an earlier attempt had the same manifest, script, parameters and input files.
    #[schemars(extend("default" = "never"))]
    pub reuse: Option<Reuse>,
    /// Before or after the nodes of others: `high`, `normal` or `low`; `null` leaves it to what is run.
    pub priority: Option<PriorityWord>,
    /// A name, such as that of a model: where nothing else decides, nodes of the same name run one after another, and on the same GPU.
    pub affinity: Option<AffinityKey>,
    /// Alternatives of `resources` in the order of preference, each laid over it; the first that fits is taken.
    pub any_of: Option<Alternatives>,
    /// How the program gets its parameters.
    pub arguments: Option<ArgumentStyle>,
    /// Who writes the log files: `pump` (the wrapper, with times and order) or `raw` (the module itself, faster).
    pub capture: Option<Capture>,
    /// What happens to processes that it leaves behind: `end` them, or `allow` them to live on.
    pub leaks: Option<Leaks>,
    /// Most bytes of output of an attempt that are kept; `null` for all.
    pub log_cap: Option<LogCap>,
    /// Names of secrets that it gets as environment variables, besides those of its module.
    pub secrets: Option<Vec<String>>,
    /// How long an attempt is expected to take; `null` for what was learned.
    pub duration: Option<Timeout>,
}

/// Parameters by name, or one expression that gives them all.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum With {
    /// By name.
    Map(BTreeMap<String, Value>),
    /// An expression that gives an object.
    Expression(ExpressionText),
}

/// One id or several.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum Needs {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// A list written out, or an expression that gives one.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum ForEach {
    /// An expression that gives a list.
    Expression(ExpressionText),
    /// The items.
    Items(Vec<Value>),
}

/// One `${{ expression }}` and nothing around it.
#[derive(Debug, JsonSchema)]
#[schemars(transparent)]
pub struct ExpressionText(#[schemars(regex(pattern = r"^\$\{\{[\s\S]*\}\}$"))] pub String);

/// Ids must be names that an expression can hold.
fn nodes(generator: &mut SchemaGenerator) -> Schema {
    let node = generator.subschema_for::<NodeFile>();
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$"},
        "additionalProperties": node,
    })
}

/// The JSON Schema of a pipeline file.
#[must_use]
pub fn pipeline_schema() -> Value {
    file_schema::<PipelineFile>()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{compile, node};
    use super::*;

    fn keys(schema: &Value) -> Vec<String> {
        let mut keys: Vec<String> = schema["properties"].as_object().expect("properties").keys().cloned().collect();
        keys.sort();
        keys
    }

    fn sorted<'a>(keys: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let mut keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
        keys.sort();
        keys
    }

    #[test]
    fn the_schema_has_the_keys_that_are_read() {
        let schema = pipeline_schema();
        assert_eq!(keys(&schema), sorted(compile::KEYS));
        assert_eq!(keys(&schema["$defs"]["NodeFile"]), sorted(node::KEYS.into_iter().chain(crate::manifest::NODE_SETTINGS_KEYS)));
    }

    #[test]
    fn the_schema_accepts_what_the_compiler_accepts() {
        let validator = jsonschema::validator_for(&pipeline_schema()).expect("a schema");
        let fine = json!({"name": "x", "params": {"properties": {}}, "outputs": {"r": "${{ nodes.a.outputs.x }}"}, "nodes": {
            "a": {"module": "m", "with": {"x": 1}, "needs": "b", "timeout": "30s", "resources": {"cpus": 2, "memory": "2GiB", "api": 1}},
            "b": {"pipeline": "p.yaml", "with": "${{ params }}", "foreach": "${{ params.l }}", "max_parallel": 2},
            "c": {"module": "m", "foreach": [1, 2], "when": "${{ nodes.a.count > 0 }}", "needs": ["a"], "retry": {"attempts": 2, "on": ["lost"]}},
            "d": {"module": "m", "matrix": {"x": [1, "a"]}, "allow_failure": true}
        }});
        let errors: Vec<String> = validator.iter_errors(&fine).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:?}");
        for bad in [
            json!({}),
            json!({"nodes": {}}),
            json!({"nodes": {"a-b": {"module": "m"}}}),
            json!({"nodes": {"a": {"module": "m", "pipeline": "p"}}}),
            json!({"nodes": {"a": {"module": "m", "wiht": {}}}}),
            json!({"nodes": {"a": {"module": "m", "when": "true"}}}),
            json!({"nodes": {"a": {"module": "m", "needs": null}}}),
            json!({"nodes": {"a": {"module": "m", "retry": {"atempts": 2}}}}),
        ] {
            assert!(!validator.is_valid(&bad), "{bad} was accepted");
        }
    }
}
