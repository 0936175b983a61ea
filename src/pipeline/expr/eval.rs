//! Computes expressions. Plain paths are walked in the JSON values themselves; everything else runs in minijinja over views of the
//! same values, so that no list of an earlier node is ever copied to read one item of it.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use minijinja::value::{DynObject, Enumerator, Object, ObjectRepr, ValueKind};
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value as Dynamic};
use serde_json::{Map, Value};

use crate::diagnostics::{Diagnostic, Diagnostics, Place, suggest};

use super::names::{NodeField, Reference, Root, Step};
use super::{Expression, NodeView, Scope};

/// Instructions that one expression may execute. A long one has some hundreds; only a mistake comes near.
const FUEL: u64 = 100_000;

/// Most values that an expression may produce anew; whole outputs of nodes handed on do not count.
const RESULT_MAX: usize = 2_000_000;

/// The language: minijinja's own filters and tests, and nothing that loads, prints or keeps state.
static LANGUAGE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut language = Environment::new();
    language.set_undefined_behavior(UndefinedBehavior::Strict);
    language.set_fuel(Some(FUEL));
    language.remove_global("namespace");
    language.remove_global("debug");
    language
});

/// Compiles what is more than a path.
pub(super) fn compile(code: &str, place: &Place, diagnostics: &mut Diagnostics) -> Option<minijinja::Expression<'static, 'static>> {
    match LANGUAGE.compile_expression_owned(code.to_owned()) {
        Ok(program) => Some(program),
        Err(error) => {
            let detail = error.detail().unwrap_or("it cannot be read");
            diagnostics.push(Diagnostic::error(format!("`{code}` is not an expression: {detail}")).at(place.clone()));
            None
        }
    }
}

/// Runs a compiled expression.
pub(super) fn run(
    expression: &Expression,
    program: &minijinja::Expression<'static, 'static>,
    scope: &Scope<'_>,
) -> Result<Dynamic, Diagnostic> {
    program.eval(context(expression, scope)?).map_err(|error| failure(expression, &error, scope))
}

fn failure(expression: &Expression, error: &minijinja::Error, scope: &Scope<'_>) -> Diagnostic {
    let place = expression.place().clone();
    // Operators report an undefined operand as an invalid operation.
    if error.kind() == ErrorKind::UndefinedError || error.detail().is_some_and(|detail| detail.contains("undefined")) {
        return undefined(expression, scope);
    }
    if error.kind() == ErrorKind::OutOfFuel {
        return Diagnostic::error("the expression takes too many steps").at(place).with_help("compute it in a module");
    }
    let message = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    Diagnostic::error(format!("`{}` failed: {message}", expression.text())).at(place)
}

/// Says which reference of the expression leads nowhere.
fn undefined(expression: &Expression, scope: &Scope<'_>) -> Diagnostic {
    let missing = expression.0.references.iter().find_map(|reference| resolve(reference, scope).err().map(|error| (reference, error)));
    match missing {
        Some((reference, diagnostic)) => diagnostic.at(reference.place(expression.place())),
        None => Diagnostic::error(format!("`{}` has no value: something in it is not defined", expression.text()))
            .at(expression.place().clone())
            .with_help("`x is defined` asks for it, `x | default(...)` fills it in"),
    }
}

/// What a reference leads to.
pub(super) enum Resolved<'s> {
    Borrowed(&'s Value),
    /// A part of shared outputs.
    Shared(View),
    Owned(Value),
}

impl Resolved<'_> {
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Borrowed(value) => value.clone(),
            Self::Shared(view) => view.value().clone(),
            Self::Owned(value) => value,
        }
    }
}

/// Follows a reference to its end.
///
/// # Errors
/// Says at which step it leads nowhere and what there is instead. The place is the caller's to set.
pub(super) fn resolve<'s>(reference: &Reference, scope: &Scope<'s>) -> Result<Resolved<'s>, Diagnostic> {
    let walk = |value| follow(reference, value).map(Resolved::Borrowed);
    let owned = |value: Value| match follow(reference, &value) {
        Ok(part) => Ok(Resolved::Owned(part.clone())),
        Err(diagnostic) => Err(diagnostic),
    };
    match &reference.root {
        Root::Params => walk(scope.params),
        Root::Item => walk(scope.item.ok_or_else(|| absent("item"))?),
        Root::Matrix => walk(scope.matrix.ok_or_else(|| absent("matrix"))?),
        Root::Index => owned(scope.index.ok_or_else(|| absent("index"))?.into()),
        Root::RunId => owned(scope.run_id.into()),
        Root::Workspace => owned(scope.workspace.into()),
        Root::Node(id, field) => {
            let view = (scope.node)(id.as_str()).ok_or_else(|| absent(&format!("nodes.{id}")))?;
            match field {
                NodeField::Outputs => {
                    follow(reference, &view.outputs)?;
                    Ok(Resolved::Shared(View { root: view.outputs, steps: reference.steps.to_vec() }))
                }
                NodeField::Status | NodeField::Count | NodeField::ExitCode => owned(field_value(&view, *field)),
            }
        }
    }
}

fn field_value(view: &NodeView, field: NodeField) -> Value {
    match field {
        NodeField::Outputs => (*view.outputs).clone(),
        NodeField::Status => view.status.into(),
        NodeField::Count => view.count.into(),
        NodeField::ExitCode => view.exit_code.map_or(Value::Null, Value::from),
    }
}

fn absent(name: &str) -> Diagnostic {
    Diagnostic::error(format!("`{name}` does not exist here"))
}

fn follow<'v>(reference: &Reference, root: &'v Value) -> Result<&'v Value, Diagnostic> {
    let mut value = root;
    for (at, taken) in reference.steps.iter().enumerate() {
        value = step(value, taken).ok_or_else(|| nothing_there(reference, at, value))?;
    }
    Ok(value)
}

fn step<'v>(value: &'v Value, taken: &Step) -> Option<&'v Value> {
    match (value, taken) {
        (Value::Object(entries), Step::Key(key)) => entries.get(&**key),
        (Value::Array(items), Step::Index(index)) => items.get(position(*index, items.len())?),
        _ => None,
    }
}

fn position(index: i64, length: usize) -> Option<usize> {
    if index < 0 { length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?) } else { usize::try_from(index).ok() }
}

fn nothing_there(reference: &Reference, at: usize, value: &Value) -> Diagnostic {
    let (whole, before) = (reference.shown(at + 1), reference.shown(at));
    let wanted = &reference.steps[at];
    let (what, help) = match (value, wanted) {
        (Value::Object(entries), Step::Key(key)) if entries.is_empty() => (format!("`{before}` is empty, it has no `{key}`"), None),
        (Value::Object(entries), Step::Key(key)) => {
            (format!("`{before}` has no `{key}`"), suggest(key, entries.keys().map(String::as_str)))
        }
        (Value::Array(items), Step::Index(_)) => (format!("`{before}` has {} items, counted from 0", items.len()), None),
        (Value::Array(items), Step::Key(key)) => {
            let help = format!("take one of its {} items, or `{before} | map(attribute='{key}') | list`", items.len());
            (format!("`{before}` is a list"), Some(help))
        }
        (Value::Null, _) => (format!("`{before}` is null"), None),
        (Value::Object(_), Step::Index(_)) => (format!("`{before}` is an object, not a list"), None),
        (Value::Bool(_), _) => (format!("`{before}` is a boolean"), None),
        (Value::Number(_), _) => (format!("`{before}` is a number"), None),
        (Value::String(_), _) => (format!("`{before}` is a string"), None),
    };
    Diagnostic::error(format!("`{whole}` is not defined: {what}")).with_help_of(help)
}

/// A part of a JSON value, shown to minijinja without copying it.
#[derive(Debug, Clone)]
pub(super) struct View {
    root: Arc<Value>,
    steps: Vec<Step>,
}

impl View {
    fn value(&self) -> &Value {
        // The steps were followed once when the view was made, and the value never changes.
        self.steps.iter().try_fold(&*self.root, step).unwrap_or(&Value::Null)
    }

    fn child(&self, taken: Step) -> Option<Dynamic> {
        let found = step(self.value(), &taken)?;
        Some(scalar(found).unwrap_or_else(|| {
            let steps = self.steps.iter().cloned().chain([taken]).collect();
            Dynamic::from_object(Self { root: self.root.clone(), steps })
        }))
    }

    fn into_dynamic(self) -> Dynamic {
        scalar(self.value()).unwrap_or_else(|| Dynamic::from_object(self))
    }
}

fn scalar(value: &Value) -> Option<Dynamic> {
    Some(match value {
        Value::Null => Dynamic::from(()),
        Value::Bool(truth) => Dynamic::from(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Dynamic::from(whole),
            (None, Some(whole)) => Dynamic::from(whole),
            (None, None) => Dynamic::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Dynamic::from(text.as_str()),
        Value::Array(_) | Value::Object(_) => return None,
    })
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.value().is_array() { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &Dynamic) -> Option<Dynamic> {
        match key.as_str() {
            Some(key) => self.child(Step::Key(key.into())),
            None => self.child(Step::Index(key.as_i64()?)),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.value() {
            Value::Array(items) => Enumerator::Seq(items.len()),
            Value::Object(entries) => Enumerator::Values(entries.keys().map(|key| Dynamic::from(key.as_str())).collect()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Enumerator::Empty,
        }
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        match self.value() {
            Value::Array(items) => Some(items.len()),
            Value::Object(entries) => Some(entries.len()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<std::cmp::Ordering> {
        // Equal parts are equal without a look inside; minijinja compares item by item otherwise.
        let other = other.downcast_ref::<Self>()?;
        (Arc::ptr_eq(&self.root, &other.root) && self.steps == other.steps).then_some(std::cmp::Ordering::Equal)
    }
}

fn shared(value: Value) -> Dynamic {
    View { root: Arc::new(value), steps: Vec::new() }.into_dynamic()
}

/// The names that the expression refers to, and no others.
fn context(expression: &Expression, scope: &Scope<'_>) -> Result<Dynamic, Diagnostic> {
    let mut names: BTreeMap<&str, Dynamic> = BTreeMap::new();
    let mut nodes: BTreeMap<&str, Dynamic> = BTreeMap::new();
    for reference in &expression.0.references {
        let here = |diagnostic: Diagnostic| diagnostic.at(reference.place(expression.place()));
        match &reference.root {
            Root::Params => {
                names.entry("params").or_insert_with(|| shared(params(expression, scope)));
            }
            Root::Item => {
                let item = scope.item.ok_or_else(|| here(absent("item")))?;
                names.entry("item").or_insert_with(|| shared(item.clone()));
            }
            Root::Matrix => {
                let matrix = scope.matrix.ok_or_else(|| here(absent("matrix")))?;
                names.entry("matrix").or_insert_with(|| shared(matrix.clone()));
            }
            Root::Index => {
                let index = scope.index.ok_or_else(|| here(absent("index")))?;
                names.insert("index", Dynamic::from(index));
            }
            Root::RunId => {
                names.insert("run", Dynamic::from_pairs([("id", scope.run_id)]));
            }
            Root::Workspace => {
                names.insert("workspace", Dynamic::from(scope.workspace));
            }
            Root::Node(id, _) if nodes.contains_key(id.as_str()) => {}
            Root::Node(id, _) => {
                let view = (scope.node)(id.as_str()).ok_or_else(|| here(absent(&format!("nodes.{id}"))))?;
                nodes.insert(id.as_str(), node(view));
            }
        }
    }
    if !nodes.is_empty() {
        names.insert("nodes", Dynamic::from_pairs(nodes));
    }
    Ok(Dynamic::from_pairs(names))
}

fn node(view: NodeView) -> Dynamic {
    let status = Dynamic::from(view.status);
    let exit_code = view.exit_code.map_or_else(|| Dynamic::from(()), Dynamic::from);
    let count = Dynamic::from(view.count);
    let outputs = View { root: view.outputs, steps: Vec::new() }.into_dynamic();
    Dynamic::from_pairs([("outputs", outputs), ("status", status), ("count", count), ("exit_code", exit_code)])
}

/// The parameters that the expression names, copied; all of them where it takes them as a whole.
fn params(expression: &Expression, scope: &Scope<'_>) -> Value {
    let mut chosen = Map::new();
    for used in expression.param_uses() {
        let Some(Step::Key(key)) = used.path.first() else { return scope.params.clone() };
        if let Some(value) = scope.params.get(&**key) {
            chosen.insert(key.to_string(), value.clone());
        }
    }
    Value::Object(chosen)
}

/// The JSON value of a result.
pub(super) fn to_json(expression: &Expression, value: &Dynamic, scope: &Scope<'_>) -> Result<Value, Diagnostic> {
    if value.is_undefined() {
        return Err(undefined(expression, scope));
    }
    let mut left = RESULT_MAX;
    convert(value, &mut left).map_err(|reason| {
        let message = format!("`{}` has no value that can be passed on: {reason}", expression.text());
        Diagnostic::error(message).at(expression.place().clone())
    })
}

fn convert(value: &Dynamic, left: &mut usize) -> Result<Value, String> {
    *left = left.checked_sub(1).ok_or_else(|| format!("it is made of more than {RESULT_MAX} values"))?;
    if let Some(view) = value.downcast_object_ref::<View>() {
        return Ok(view.value().clone());
    }
    match value.kind() {
        ValueKind::None => Ok(Value::Null),
        ValueKind::Bool => Ok(Value::Bool(value.is_true())),
        ValueKind::Number => match serde_json::to_value(value) {
            Ok(number @ Value::Number(_)) => Ok(number),
            Ok(_) | Err(_) => Err(format!("the number {value} does not fit JSON")),
        },
        ValueKind::String => Ok(Value::String(value.as_str().unwrap_or_default().to_owned())),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().map_err(|error| error.to_string())?;
            items.map(|item| convert(&item, left)).collect()
        }
        ValueKind::Map => {
            let keys = value.try_iter().map_err(|error| error.to_string())?;
            let entries = keys.map(|key| {
                let item = value.get_item(&key).map_err(|error| error.to_string())?;
                Ok((key.as_str().map_or_else(|| key.to_string(), str::to_owned), convert(&item, left)?))
            });
            entries.collect::<Result<Map<_, _>, String>>().map(Value::Object)
        }
        ValueKind::Undefined => Err("a part of it is not defined".to_owned()),
        ValueKind::Invalid => Err(value.to_string()),
        other => Err(format!("it is a {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::{FILTERS, FUNCTIONS, TESTS};
    use super::*;

    /// The lists by which unknown words are found before a run must be those of the language.
    #[test]
    fn the_known_words_are_those_of_the_language() {
        let has = |kind: &str, word: &str| {
            let code = format!("'{word}' is {kind}");
            LANGUAGE.compile_expression(Box::leak(code.into_boxed_str())).and_then(|code| code.eval(())).expect("a test").is_true()
        };
        for word in FILTERS {
            assert!(has("filter", word), "no filter {word}");
        }
        for word in TESTS {
            assert!(has("test", word), "no test {word}");
        }
        let globals: Vec<&str> = LANGUAGE.globals().map(|(name, _)| name).collect();
        assert_eq!(globals.len(), FUNCTIONS.len(), "{globals:?}");
        assert!(FUNCTIONS.iter().all(|name| globals.contains(name)), "{globals:?}");
    }

    #[test]
    fn positions_count_from_both_ends() {
        assert_eq!(position(-1, 3), Some(2));
        assert_eq!(position(-4, 3), None);
        assert_eq!(position(i64::MIN, 3), None);
    }
}
