//! Parameters: the JSON Schema of a module, compiled once, and values checked against it.
//!
//! Fills in defaults (and records which), reports every mistake with its JSON Pointer, and turns the command line's `key=value` into
//! a value of the schema's type. Never touches a file or the network: `$ref` outside the schema is refused when it is compiled.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::diagnostics::Diagnostics;
use crate::tree::NodeRef;

/// A parameter schema, compiled. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ParamSchema(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The schema as compiled (`type: object` and `additionalProperties: false` filled in).
    schema: Value,
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
        todo!()
    }

    /// Compiles the `params:` (or `outputs:`) part of a file. All mistakes of the schema go to `diagnostics`, each at its place.
    pub fn compile(_node: NodeRef<'_>, _diagnostics: &mut Diagnostics) -> Option<Self> {
        todo!()
    }

    /// The schema as JSON, for forms and `modules show`.
    #[must_use]
    pub fn schema(&self) -> &Value {
        &self.0.schema
    }

    /// Fills in defaults and canonicalises whole numbers (`1.0` becomes `1` where the schema says integer).
    #[must_use]
    pub fn complete(&self, _values: Map<String, Value>) -> Completed {
        todo!()
    }

    /// All mistakes of a completed value.
    #[must_use]
    pub fn check(&self, _value: &Value) -> Vec<Violation> {
        todo!()
    }

    /// Checks what is known before a run: mistakes in the values given, ignoring everything at or under one of the `open` pointers
    /// (parameters that are expressions) and missing keys that an open pointer provides.
    #[must_use]
    pub fn check_partial(&self, _value: &Value, _open: &[String]) -> Vec<Violation> {
        todo!()
    }

    /// Sets `key=value` of the command line in `values`: the text is parsed by the schema's type at that key, `a.b=1` goes into the
    /// object `a` (unless the schema has a key of that very name), arrays take JSON or are appended to by repetition.
    ///
    /// # Errors
    /// When the key is not in the schema or the text is not of its type.
    pub fn assign(&self, _values: &mut Map<String, Value>, _assignment: &str) -> Result<(), Violation> {
        todo!()
    }

    /// JSON Pointers of all values present in `value` whose schema says `format: file` or `format: directory`, for making them absolute.
    #[must_use]
    pub fn path_pointers(&self, _value: &Value) -> Vec<String> {
        todo!()
    }

    /// Names of the top-level properties, in declared order.
    #[must_use]
    pub fn property_names(&self) -> Vec<&str> {
        todo!()
    }
}
