//! `${{ }}`: minijinja expressions (strict, with fuel) inside values.
//!
//! A value with exactly one expression and nothing around it keeps the expression's type; with text around it becomes text. An
//! undefined name is an error with its place. No function here reads files, environment, clock or network.
//!
//! One file for each step: `read` builds templates from a file's values, `scan` finds the expressions in a text, `names` reads off what an expression refers to (minijinja's
//! own list of undeclared names overlooks slices and says nothing of places), `eval` computes. Plain paths such as
//! `nodes.cut.outputs.file`, which is what nearly all expressions are, never meet minijinja: they keep the exact JSON value, and a
//! million of them cost nothing but their steps.

mod eval;
mod names;
mod read;
mod scan;

use std::fmt;
use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};

use crate::diagnostics::{Diagnostic, Diagnostics, Place};
use crate::ids::NodeId;
use crate::tree::{Kind, NodeRef};

pub use names::{Names, NodeField, NodeUse, ParamUse, Step};

/// One expression, compiled.
#[derive(Debug, Clone)]
pub struct Expression(pub(crate) Arc<ExpressionInner>);

pub(crate) struct ExpressionInner {
    /// What stands between `${{` and `}}`, without the blanks around it.
    pub(crate) text: Box<str>,
    /// Where `${{ ... }}` stands; the whole value where its text is escaped in the source.
    pub(crate) place: Place,
    references: Box<[names::Reference]>,
    code: Code,
}

/// How an expression is computed.
enum Code {
    /// It is its only reference: no operator, no filter.
    Path,
    /// A list written out (for `foreach`), with or without expressions in it.
    List(Template),
    /// Everything else.
    Program(Box<minijinja::Expression<'static, 'static>>),
}

impl fmt::Debug for ExpressionInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expression").field("text", &self.text).field("place", &self.place.span).finish_non_exhaustive()
    }
}

/// A value that may hold expressions.
#[derive(Debug, Clone)]
pub enum Template {
    /// No expression in it.
    Constant(Arc<Value>),
    /// A whole-value expression: keeps its type.
    Expression(Expression),
    /// Text with expressions in it.
    Text(Arc<[Piece]>),
    /// A list with expressions somewhere in it.
    List(Arc<[Template]>),
    /// A map with expressions somewhere in it, keys in order.
    Map(Arc<[(String, Template)]>),
}

/// A part of a text with expressions.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Text as it stands.
    Literal(String),
    /// An expression, rendered into it.
    Expression(Expression),
}

/// What a node has to show to expressions.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// Outputs: an object; of an expanded node the list; null where there are none.
    pub outputs: Arc<Value>,
    /// `completed`, `failed`, `skipped`, `cancelled`, `reused`, or what it is at the moment.
    pub status: &'static str,
    /// Instances of an expanded node; 1 of a plain one.
    pub count: u64,
    /// Exit code of its last attempt.
    pub exit_code: Option<i64>,
}

/// What expressions can see.
pub struct Scope<'a> {
    /// The pipeline's (or, in a `command:`, the module's) parameters.
    pub params: &'a Value,
    /// Looks a node of the same pipeline up by its id.
    pub node: &'a dyn Fn(&str) -> Option<NodeView>,
    /// The item of a `foreach` instance.
    pub item: Option<&'a Value>,
    /// Its number, from 0 (also of a `matrix` instance).
    pub index: Option<u64>,
    /// The combination of a `matrix` instance.
    pub matrix: Option<&'a Value>,
    /// `run.id`.
    pub run_id: &'a str,
    /// `workspace`: the workspace's folder.
    pub workspace: &'a str,
}

/// The constant `{}`, shared by all nodes without parameters.
static EMPTY_MAP: LazyLock<Arc<Value>> = LazyLock::new(|| Arc::new(Value::Object(Map::new())));

impl Template {
    /// The constant `{}`.
    #[must_use]
    pub fn empty_map() -> Self {
        Self::Constant(EMPTY_MAP.clone())
    }

    /// Reads a value of a file; mistakes in expressions go to `diagnostics`. Which of the names of [`Scope`] exist at this place is
    /// not looked at: see [`Template::check_names`].
    pub fn compile(node: NodeRef<'_>, diagnostics: &mut Diagnostics) -> Self {
        read::compile_part(node, diagnostics).unwrap_or_else(|| read::constant(node))
    }

    /// Reports every use of a name that does not exist at this place, such as `item` outside `foreach`.
    pub fn check_names(&self, names: Names, diagnostics: &mut Diagnostics) {
        self.visit(&mut |expression| expression.check_names(names, diagnostics));
    }

    /// Calls `each` for every expression in it, in the order of the text.
    pub fn visit<'t>(&'t self, each: &mut dyn FnMut(&'t Expression)) {
        match self {
            Self::Constant(_) => {}
            Self::Expression(expression) => each(expression),
            Self::Text(pieces) => pieces.iter().filter_map(Piece::expression).for_each(each),
            Self::List(items) => items.iter().for_each(|item| item.visit(each)),
            Self::Map(entries) => entries.iter().for_each(|(_, value)| value.visit(each)),
        }
    }

    /// Ids of the nodes that it refers to, each once, in order of appearance.
    #[must_use]
    pub fn references(&self) -> Vec<NodeId> {
        let mut found = Vec::new();
        self.visit(&mut |expression| found.extend(expression.node_uses().map(|used| used.id.clone())));
        distinct(found)
    }

    /// What is known of it before a run, for checks: the value with `null` for every expression, and the JSON Pointers of those.
    #[must_use]
    pub fn known(&self) -> (Value, Vec<String>) {
        let mut open = Vec::new();
        let value = self.known_at(&mut String::new(), &mut open);
        (value, open)
    }

    fn known_at(&self, pointer: &mut String, open: &mut Vec<String>) -> Value {
        let length = pointer.len();
        match self {
            Self::Constant(value) => (**value).clone(),
            Self::Expression(_) | Self::Text(_) => {
                open.push(pointer.clone());
                Value::Null
            }
            Self::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| {
                    pointer.push('/');
                    pointer.push_str(&index.to_string());
                    let value = item.known_at(pointer, open);
                    pointer.truncate(length);
                    value
                })
                .collect(),
            Self::Map(entries) => {
                let known = entries.iter().map(|(key, item)| {
                    pointer.push('/');
                    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                    let value = item.known_at(pointer, open);
                    pointer.truncate(length);
                    (key.clone(), value)
                });
                Value::Object(known.collect::<Map<_, _>>())
            }
        }
    }

    /// Its value.
    ///
    /// # Errors
    /// All mistakes, each with the place of its expression.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, Diagnostics> {
        let mut diagnostics = Diagnostics::new();
        let value = self.evaluate_into(scope, &mut diagnostics);
        diagnostics.into_result(value).map(|(value, _)| value)
    }

    fn evaluate_into(&self, scope: &Scope<'_>, diagnostics: &mut Diagnostics) -> Value {
        match self {
            Self::Constant(value) => (**value).clone(),
            Self::Expression(expression) => or_report(expression.evaluate(scope), diagnostics),
            Self::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces.iter() {
                    match piece {
                        Piece::Literal(literal) => text.push_str(literal),
                        Piece::Expression(expression) => match or_report(expression.evaluate(scope), diagnostics) {
                            Value::String(part) => text.push_str(&part),
                            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                                text.push_str(&other.to_string());
                            }
                        },
                    }
                }
                Value::String(text)
            }
            Self::List(items) => items.iter().map(|item| item.evaluate_into(scope, diagnostics)).collect(),
            Self::Map(entries) => {
                let values = entries.iter().map(|(key, value)| (key.clone(), value.evaluate_into(scope, diagnostics)));
                Value::Object(values.collect::<Map<_, _>>())
            }
        }
    }
}

fn or_report(result: Result<Value, Diagnostic>, diagnostics: &mut Diagnostics) -> Value {
    result.unwrap_or_else(|diagnostic| {
        diagnostics.push(diagnostic);
        Value::Null
    })
}

fn distinct(ids: Vec<NodeId>) -> Vec<NodeId> {
    let mut seen = std::collections::HashSet::with_capacity(ids.len());
    ids.into_iter().filter(|id| seen.insert(id.clone())).collect()
}

impl Piece {
    fn expression(&self) -> Option<&Expression> {
        match self {
            Self::Literal(_) => None,
            Self::Expression(expression) => Some(expression),
        }
    }
}

impl Expression {
    /// Compiles `${{ ... }}` that must be the whole of a string.
    pub fn compile(node: NodeRef<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let before = diagnostics.len();
        match read::compile_part(node, diagnostics) {
            Some(Template::Expression(expression)) => return Some(expression),
            Some(Template::Constant(_) | Template::Text(_) | Template::List(_) | Template::Map(_)) | None => {}
        }
        if diagnostics.len() == before {
            let help = match node.as_str() {
                Some(text) if !text.contains(scan::OPEN) && !text.is_empty() => format!("write `${{{{ {} }}}}`", text.trim()),
                _ => "write one `${{ ... }}` with nothing around it".to_owned(),
            };
            let found = if node.kind() == Kind::String { "text" } else { node.kind().described() };
            diagnostics.push(Diagnostic::error(format!("an expression is expected here, not {found}")).at(node.place()).with_help(help));
        }
        None
    }

    /// Compiles what gives a list: one `${{ ... }}`, or a list written out.
    pub fn compile_list(node: NodeRef<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        if node.kind() != Kind::List {
            return Self::compile(node, diagnostics);
        }
        let before = diagnostics.len();
        let template = Template::compile(node, diagnostics);
        if diagnostics.len() > before {
            return None;
        }
        let mut references = Vec::new();
        template.visit(&mut |expression| references.extend_from_slice(&expression.0.references));
        let (text, code) = ("a list".into(), Code::List(template));
        Some(Self(Arc::new(ExpressionInner { text, place: node.place(), references: references.into(), code })))
    }

    /// Length of a list that is written out.
    #[must_use]
    pub fn known_length(&self) -> Option<usize> {
        match &self.0.code {
            Code::List(Template::Constant(list)) => list.as_array().map(Vec::len),
            Code::List(Template::List(items)) => Some(items.len()),
            Code::List(Template::Expression(_) | Template::Text(_) | Template::Map(_)) | Code::Path | Code::Program(_) => None,
        }
    }

    /// The reference that the whole expression is, if it is nothing but one to a node.
    #[must_use]
    pub fn as_node_use(&self) -> Option<NodeUse<'_>> {
        match &self.0.code {
            Code::Path => self.node_uses().next(),
            Code::List(_) | Code::Program(_) => None,
        }
    }

    /// What stands between `${{` and `}}`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// Its value, with its type.
    ///
    /// # Errors
    /// What went wrong, at its place.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, Diagnostic> {
        match &self.0.code {
            Code::Path => {
                let reference = self.0.references.first().expect("a path is its one reference");
                eval::resolve(reference, scope).map(eval::Resolved::into_value).map_err(|diagnostic| diagnostic.at(self.0.place.clone()))
            }
            Code::List(template) => template.evaluate(scope).map_err(|found| {
                found.into_iter().next().unwrap_or_else(|| Diagnostic::error("the list has no value").at(self.0.place.clone()))
            }),
            Code::Program(program) => eval::run(self, program, scope).and_then(|value| eval::to_json(self, &value, scope)),
        }
    }

    /// Whether its value counts as true (for `when`): neither `false`, nor `0`, nor empty, nor null.
    ///
    /// # Errors
    /// What went wrong, at its place.
    pub fn is_true(&self, scope: &Scope<'_>) -> Result<bool, Diagnostic> {
        self.evaluate(scope).map(|value| match value {
            Value::Null => false,
            Value::Bool(truth) => truth,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(entries) => !entries.is_empty(),
        })
    }

    /// Reports every use of a name that does not exist at this place.
    pub fn check_names(&self, available: Names, diagnostics: &mut Diagnostics) {
        for reference in &self.0.references {
            names::check(reference, available, &self.0.place, diagnostics);
        }
    }

    /// Every place where it refers to a node, in order.
    pub fn node_uses(&self) -> impl Iterator<Item = NodeUse<'_>> {
        self.0.references.iter().filter_map(|reference| reference.node_use(&self.0.place))
    }

    /// Every place where it refers to a parameter, in order.
    pub fn param_uses(&self) -> impl Iterator<Item = ParamUse<'_>> {
        self.0.references.iter().filter_map(|reference| reference.param_use(&self.0.place))
    }

    /// Ids of the nodes that it refers to, each once.
    #[must_use]
    pub fn references(&self) -> Vec<NodeId> {
        distinct(self.node_uses().map(|used| used.id.clone()).collect())
    }

    /// Ids of the nodes whose `status` it reads, each once.
    #[must_use]
    pub fn reads_status_of(&self) -> Vec<NodeId> {
        distinct(self.node_uses().filter(|used| used.field == NodeField::Status).map(|used| used.id.clone()).collect())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a limit on how long a hostile input may take")]
mod tests;
