//! Parameters: the JSON Schema of a module, compiled once, and values checked against it.
//!
//! Fills in defaults (and records which), reports every mistake with its JSON Pointer, and turns the command line's `key=value` into
//! a value of the schema's type. Never touches a file or the network: `$ref` outside the schema is refused when it is compiled. Used
//! by `manifest` and `pipeline` for their files, by `host` and the surfaces for values.

mod assign;
mod bucket;
mod compile;
mod complete;
mod cost;
mod messages;
mod walk;

use std::sync::Arc;

use jsonschema::Validator;
use serde_json::{Map, Value};

use crate::diagnostics::Diagnostics;
use crate::tree::NodeRef;

pub use compile::SCHEMA_BYTES_MAX;

/// A parameter schema, compiled. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ParamSchema(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The schema as compiled (`type: object` and `additionalProperties: false` filled in).
    schema: Value,
    validator: Validator,
    /// Whether `complete` can change anything, so that the many schemas without defaults cost nothing.
    has_defaults: bool,
}

/// A mistake in a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON Pointer of the value concerned (`/count`; for a missing key the pointer of the object that lacks it).
    pub pointer: String,
    /// What is wrong, naming the key.
    pub message: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " (help: {help})"),
            None => Ok(()),
        }
    }
}

/// Values after the defaults were filled in and whole numbers written as integers.
#[derive(Debug, Clone, PartialEq)]
pub struct Completed {
    /// The complete object.
    pub value: Value,
    /// JSON Pointers of what came from a `default`, in order.
    pub defaulted: Vec<String>,
}

impl ParamSchema {
    /// A schema of no parameters at all.
    #[must_use]
    pub fn empty() -> Self {
        compile::empty()
    }

    /// Compiles the `params:` part of a file: an object that has no other keys than the declared ones, unless it says so itself. All
    /// mistakes of the schema go to `diagnostics`, each at its place.
    pub fn compile(node: NodeRef<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        compile::compile(node, compile::Others::Refused, diagnostics)
    }

    /// Compiles the `outputs:` part of a file. The same, but an object may hold more than what is declared unless it says otherwise:
    /// a module that reports one thing more than its author wrote down has not failed.
    pub fn compile_outputs(node: NodeRef<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        compile::compile(node, compile::Others::Allowed, diagnostics)
    }

    /// The schema as JSON, for forms and `modules show`.
    #[must_use]
    pub fn schema(&self) -> &Value {
        &self.0.schema
    }

    /// Fills in defaults and canonicalises whole numbers (`1.0` becomes `1` where the schema says integer).
    ///
    /// # Errors
    /// When that would take too long, or more defaults are missing than are filled in.
    pub fn complete(&self, values: Map<String, Value>) -> Result<Completed, Violation> {
        complete::complete(&self.0.schema, self.0.has_defaults, values)
    }

    /// All mistakes of values, with the defaults filled in.
    #[must_use]
    pub fn check_with_defaults(&self, values: Map<String, Value>) -> Vec<Violation> {
        self.complete(values).map_or_else(|refusal| vec![refusal], |completed| self.check(&completed.value))
    }

    /// All mistakes of a completed value; only the first one of a value that takes long to check.
    #[must_use]
    pub fn check(&self, value: &Value) -> Vec<Violation> {
        messages::check(&self.0.validator, &self.0.schema, value)
    }

    /// Checks what is known before a run: mistakes in the values given, ignoring everything at or under one of the `open` pointers
    /// (parameters that are expressions; what stands there in `value` does not matter), missing keys that an open pointer provides,
    /// and all that depends on a condition which an open value may decide.
    #[must_use]
    pub fn check_partial(&self, value: &Value, open: &[String]) -> Vec<Violation> {
        messages::check_partial(&self.0.validator, &self.0.schema, value, open)
    }

    /// Sets `key=value` of the command line in `values`: the text is parsed by the schema's type at that key, `a.b=1` goes into the
    /// object `a` (unless the schema has a key of that very name), arrays take JSON or are appended to by repetition.
    ///
    /// # Errors
    /// When the key is not in the schema or the text is not of its type.
    pub fn assign(&self, values: &mut Map<String, Value>, assignment: &str) -> Result<(), Violation> {
        assign::assign(&self.0.schema, values, assignment)
    }

    /// JSON Pointers of all values present in `value` whose schema says `format: file` or `format: directory`, for making them absolute.
    /// None of a value that would take too long to check: it is refused anyway.
    #[must_use]
    pub fn path_pointers(&self, value: &Value) -> Vec<String> {
        walk::path_pointers(&self.0.schema, value)
    }

    /// Which attempts are alike to one with these complete parameters: a short word for their kinds and sizes. See `bucket.rs`.
    #[must_use]
    pub fn bucket(&self, value: &Value) -> String {
        bucket::bucket(&self.0.schema, value)
    }

    /// Names of the top-level properties, in declared order.
    #[must_use]
    pub fn property_names(&self) -> Vec<&str> {
        walk::property_names(&self.0.schema)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a limit on how long a hostile input may take")]
mod tests;
