//! The parameters of a node, once everything they refer to is known: evaluated, made absolute, completed with defaults, checked.
//!
//! Called by the scheduler when a node is about to start, and by the compiler for constants. Knows nothing of the disk: paths are
//! joined by name only.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::params::{Completed, ParamSchema, Violation};

use super::definition::{NodeDef, Work};
use super::expr::Scope;

/// The parameters of an attempt of `node`. `folder` is that of the pipeline's file: relative paths in `format: file` values start there.
///
/// # Errors
/// All mistakes: expressions that have no value, each at its place, or else all that the schema refuses, each with its pointer and the
/// node's id.
pub fn node_params(node: &NodeDef, folder: &Path, scope: &Scope<'_>) -> Result<Completed, Diagnostics> {
    match node.with.evaluate(scope)? {
        Value::Object(values) => complete(schema_of(&node.work), values, folder).map_err(|violations| {
            violations.into_iter().map(|violation| diagnostic(node.id.as_str(), violation)).fold(Diagnostics::new(), pushed)
        }),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            let message = format!("`with` of `{}` must be an object, and is {other}", node.id);
            Err(Diagnostic::error(message).with_pointer("").into())
        }
    }
}

fn pushed(mut all: Diagnostics, one: Diagnostic) -> Diagnostics {
    all.push(one);
    all
}

/// The parameter schema of what a node runs.
#[must_use]
pub fn schema_of(work: &Work) -> &ParamSchema {
    match work {
        Work::Module(module) => &module.params,
        Work::Pipeline(definition) => &definition.params,
    }
}

/// Values with defaults filled in and `format: file|directory` values joined to `folder`, checked.
///
/// # Errors
/// All that the schema refuses.
pub fn complete(schema: &ParamSchema, values: Map<String, Value>, folder: &Path) -> Result<Completed, Vec<Violation>> {
    let mut completed = schema.complete(values).map_err(|refusal| vec![refusal])?;
    make_absolute(schema, &mut completed.value, folder);
    let violations = schema.check(&completed.value);
    if violations.is_empty() { Ok(completed) } else { Err(violations) }
}

/// Joins every relative `format: file|directory` value to `folder`.
pub fn make_absolute(schema: &ParamSchema, value: &mut Value, folder: &Path) {
    for pointer in schema.path_pointers(value) {
        if let Some(Value::String(path)) = value.pointer_mut(&pointer) {
            // An empty text is a path not given.
            if path.is_empty() {
                continue;
            }
            *path = joined(folder, Path::new(path.as_str())).to_string_lossy().into_owned();
        }
    }
}

/// `path` seen from `folder`, with `.` and `..` resolved by name only.
#[must_use]
pub fn joined(folder: &Path, path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for component in folder.join(path).components() {
        match component {
            Component::CurDir => {}
            // `pop` stops at the root, and so does the file system.
            Component::ParentDir => {
                whole.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => whole.push(component),
        }
    }
    whole
}

/// A violation as a finding about a node's parameters.
#[must_use]
pub fn diagnostic(node: &str, violation: Violation) -> Diagnostic {
    let message = format!("`{node}`: {}", violation.message);
    Diagnostic::error(message).with_pointer(violation.pointer).with_help_of(violation.help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_by_name() {
        let of = |path: &str| joined(Path::new("/w/pipes"), Path::new(path)).to_string_lossy().replace('\\', "/");
        assert_eq!(of("a/./b.mp4"), "/w/pipes/a/b.mp4");
        assert_eq!(of("../in put/é.txt"), "/w/in put/é.txt");
        assert_eq!(of("../../../../etc"), "/etc");
        assert_eq!(of("/abs/x"), "/abs/x");
    }
}
