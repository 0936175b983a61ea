//! What an expression refers to, read off its tokens: exact to the byte, and complete, also inside slices, filters and conditions.
//!
//! Works on the notation alone and is therefore indifferent to how minijinja shapes its tree. Only a text that minijinja accepted (or
//! a plain path, see [`is_plain_path`]) comes here.

use crate::diagnostics::{Diagnostic, Diagnostics, Place, Span, suggest};
use crate::ids::NodeId;

use super::scan::string_end;

/// A step of a path: `.key`, `['key']`, `[3]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A key of a map.
    Key(Box<str>),
    /// A position in a list; from its end if negative.
    Index(i64),
}

/// What of a node an expression reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeField {
    /// `outputs`.
    Outputs,
    /// `status`.
    Status,
    /// `count`.
    Count,
    /// `exit_code`.
    ExitCode,
}

/// One reference of an expression to a node.
#[derive(Debug, Clone)]
pub struct NodeUse<'e> {
    /// The node.
    pub id: &'e NodeId,
    /// What of it.
    pub field: NodeField,
    /// The constant steps that follow.
    pub path: &'e [Step],
    /// Where the reference stands.
    pub place: Place,
}

/// One reference of an expression to a parameter of the pipeline.
#[derive(Debug, Clone)]
pub struct ParamUse<'e> {
    /// The constant steps after `params`.
    pub path: &'e [Step],
    /// Where the reference stands.
    pub place: Place,
}

/// Which names exist at a place, besides `run` and `workspace`, which exist everywhere, and `params`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Names {
    /// `nodes`.
    pub nodes: bool,
    /// `item`.
    pub item: bool,
    /// `index`.
    pub index: bool,
    /// `matrix`.
    pub matrix: bool,
}

/// Where a reference starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Root {
    Params,
    Node(NodeId, NodeField),
    Item,
    Index,
    Matrix,
    RunId,
    Workspace,
}

/// A name with the constant steps after it.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) root: Root,
    pub(super) steps: Box<[Step]>,
    pub(super) span: Span,
}

const ROOTS: [&str; 7] = ["params", "nodes", "item", "index", "matrix", "run", "workspace"];
const FIELDS: [(&str, NodeField); 4] =
    [("outputs", NodeField::Outputs), ("status", NodeField::Status), ("count", NodeField::Count), ("exit_code", NodeField::ExitCode)];
const FIELDS_HELP: &str = "write `nodes.ID.outputs`, `nodes.ID.status`, `nodes.ID.count` or `nodes.ID.exit_code`";
const KEYWORDS: [&str; 12] = ["if", "else", "and", "or", "not", "in", "is", "true", "false", "none", "True", "False"];
/// Functions of the language that are left to expressions.
pub(super) const FUNCTIONS: [&str; 2] = ["range", "dict"];
/// Filters of the language, for checking before a run. A test holds it to what minijinja has.
pub(super) const FILTERS: [&str; 48] = [
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "zip",
];
/// Tests of the language (`is NAME`).
pub(super) const TESTS: [&str; 36] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "safe",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'t> {
    Name(&'t str),
    /// A string without escapes.
    Text(&'t str),
    Index(i64),
    /// Numbers and strings that no step can be.
    Other,
    Symbol(&'t str),
}

#[derive(Debug, Clone, Copy)]
struct Placed<'t> {
    token: Token<'t>,
    start: usize,
    end: usize,
}

fn tokens(code: &str) -> Vec<Placed<'_>> {
    let bytes = code.as_bytes();
    let mut found: Vec<Placed<'_>> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if code[at..].starts_with(char::is_whitespace) {
            at += code[at..].chars().next().map_or(1, char::len_utf8);
            continue;
        }
        let after_dot = found.last().is_some_and(|last| last.token == Token::Symbol("."));
        let (token, end) = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let end = end_of(bytes, at, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
                (Token::Name(&code[at..end]), end)
            }
            b'0'..=b'9' => number(code, at, after_dot),
            b'\'' | b'"' => {
                let end = string_end(bytes, at).unwrap_or(bytes.len());
                let inner = code.get(at + 1..end - 1).unwrap_or_default();
                (if inner.contains('\\') { Token::Other } else { Token::Text(inner) }, end)
            }
            _ => {
                let double = code.get(at..at + 2).is_some_and(|two| ["==", "!=", "<=", ">=", "//", "**"].contains(&two));
                let end = at + if double { 2 } else { code[at..].chars().next().map_or(1, char::len_utf8) };
                (Token::Symbol(&code[at..end]), end)
            }
        };
        found.push(Placed { token, start: at, end });
        at = end;
    }
    found
}

fn end_of(bytes: &[u8], from: usize, belongs: impl Fn(u8) -> bool) -> usize {
    bytes[from..].iter().position(|byte| !belongs(*byte)).map_or(bytes.len(), |length| from + length)
}

/// A number; after a dot it is a position and has no fraction.
fn number(code: &str, at: usize, after_dot: bool) -> (Token<'_>, usize) {
    let bytes = code.as_bytes();
    let mut end = end_of(bytes, at, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let fraction = bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
    if fraction && !after_dot {
        end = end_of(bytes, end + 1, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
    }
    (code[at..end].parse().map_or(Token::Other, Token::Index), end)
}

/// A name at position `first` of the tokens with its constant steps.
struct Chain<'t> {
    name: &'t str,
    steps: Vec<Step>,
    start: usize,
    end: usize,
    /// Position of the first token that is not part of it.
    next: usize,
}

fn chain<'t>(tokens: &[Placed<'t>], first: usize, name: &'t str) -> Chain<'t> {
    let token = |at: usize| tokens.get(at).map(|placed| placed.token);
    let symbol = |at: usize, text: &str| token(at) == Some(Token::Symbol(text));
    let mut steps = Vec::new();
    let mut next = first + 1;
    loop {
        let (step, length) = if symbol(next, ".") {
            match token(next + 1) {
                Some(Token::Name(key)) => (Step::Key(key.into()), 2),
                Some(Token::Index(index)) => (Step::Index(index), 2),
                _ => break,
            }
        } else if symbol(next, "[") && symbol(next + 2, "]") {
            match token(next + 1) {
                Some(Token::Text(key)) => (Step::Key(key.into()), 3),
                Some(Token::Index(index)) => (Step::Index(index), 3),
                _ => break,
            }
        } else if symbol(next, "[") && symbol(next + 1, "-") && symbol(next + 3, "]") {
            match token(next + 2) {
                Some(Token::Index(index)) => (Step::Index(-index), 4),
                _ => break,
            }
        } else {
            break;
        };
        steps.push(step);
        next += length;
    }
    Chain { name, steps, start: tokens[first].start, end: tokens[next - 1].end, next }
}

/// Whether the whole code is a name with constant steps: `nodes.cut.outputs.files[0]`.
pub(super) fn is_plain_path(code: &str) -> bool {
    let tokens = tokens(code);
    match tokens.first().map(|placed| placed.token) {
        Some(Token::Name(name)) if !KEYWORDS.contains(&name) && name != "None" => chain(&tokens, 0, name).next == tokens.len(),
        _ => false,
    }
}

/// All references of an expression; unknown names, filters and tests go to `diagnostics`. `place_of` turns positions of the code into
/// places of the file.
pub(super) fn references(code: &str, place_of: &dyn Fn(usize, usize) -> Place, diagnostics: &mut Diagnostics) -> Box<[Reference]> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(Placed { token, start, end }) = tokens.get(at).copied() {
        at += 1;
        let Token::Name(name) = token else { continue };
        let role = role(&tokens, at - 1, name);
        match role {
            Role::None => {}
            Role::Filter => check_word("filter", name, &FILTERS, place_of(start, end), diagnostics),
            Role::Test => check_word("test", name, &TESTS, place_of(start, end), diagnostics),
            Role::Function => check_word("function", name, &FUNCTIONS, place_of(start, end), diagnostics),
            Role::Variable => {
                let chain = chain(&tokens, at - 1, name);
                at = chain.next;
                let place = place_of(chain.start, chain.end);
                match reference(chain, place.span) {
                    Ok(reference) => found.push(reference),
                    Err(diagnostic) => diagnostics.push(diagnostic.at(place)),
                }
            }
        }
    }
    found.into()
}

/// What a name in an expression is.
#[derive(Debug, Clone, Copy)]
enum Role {
    Variable,
    Filter,
    Test,
    Function,
    /// A keyword, an attribute, the name of an argument.
    None,
}

fn role(tokens: &[Placed<'_>], at: usize, name: &str) -> Role {
    let token = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at)).map(|placed| placed.token);
    let next = tokens.get(at + 1).map(|placed| placed.token);
    match (token(1), token(2)) {
        (Some(Token::Symbol(".")), _) => Role::None,
        (Some(Token::Symbol("|")), _) => Role::Filter,
        (Some(Token::Name("is")), _) if name == "not" => Role::None,
        (Some(Token::Name("is")), _) => Role::Test,
        (Some(Token::Name("not")), Some(Token::Name("is"))) => Role::Test,
        _ if KEYWORDS.contains(&name) || name == "None" => Role::None,
        _ if next == Some(Token::Symbol("=")) => Role::None,
        _ if next == Some(Token::Symbol("(")) && !ROOTS.contains(&name) => Role::Function,
        _ => Role::Variable,
    }
}

fn check_word(kind: &str, name: &str, known: &[&str], place: Place, diagnostics: &mut Diagnostics) {
    if !known.contains(&name) {
        let help = suggest(name, known.iter().copied());
        diagnostics.push(Diagnostic::error(format!("unknown {kind} `{name}`")).at(place).with_help_of(help));
    }
}

fn reference(chain: Chain<'_>, span: Span) -> Result<Reference, Diagnostic> {
    let mut steps = chain.steps;
    let root = match chain.name {
        "params" => Root::Params,
        "item" => Root::Item,
        "index" => Root::Index,
        "matrix" => Root::Matrix,
        "workspace" => Root::Workspace,
        "run" => {
            match steps.first() {
                Some(Step::Key(key)) if &**key == "id" => steps.remove(0),
                _ => return Err(Diagnostic::error("of `run`, expressions see only its id").with_help("write `run.id`")),
            };
            Root::RunId
        }
        "nodes" => node_root(&mut steps)?,
        other => {
            let help = suggest(other, ROOTS);
            return Err(Diagnostic::error(format!("unknown name `{other}`")).with_help_of(help));
        }
    };
    Ok(Reference { root, steps: steps.into(), span })
}

fn node_root(steps: &mut Vec<Step>) -> Result<Root, Diagnostic> {
    let Some(Step::Key(id)) = steps.first() else {
        let message = "`nodes` must be followed by the id of a node, written out";
        return Err(Diagnostic::error(message)
            .with_help("which nodes an expression refers to must be known before the run: write `nodes.ID.outputs`"));
    };
    let id = NodeId::parse(id).map_err(|refused| Diagnostic::error(refused.reason).with_help_of(refused.help))?;
    let Some(Step::Key(field)) = steps.get(1) else {
        return Err(Diagnostic::error(format!("`nodes.{id}` is not a value by itself")).with_help(FIELDS_HELP));
    };
    let Some((_, field)) = FIELDS.iter().find(|(name, _)| *name == &**field) else {
        let help = suggest(field, FIELDS.map(|(name, _)| name));
        return Err(Diagnostic::error(format!("a node has no `{field}`: `nodes.{id}.{field}`")).with_help_of(help));
    };
    steps.drain(..2);
    Ok(Root::Node(id, *field))
}

/// Reports a reference whose name does not exist at its place.
pub(super) fn check(reference: &Reference, names: Names, place: &Place, diagnostics: &mut Diagnostics) {
    let (name, exists, help) = match reference.root {
        Root::Params | Root::RunId | Root::Workspace => return,
        Root::Node(..) => ("nodes", names.nodes, "only the values of a pipeline's nodes and its `outputs` see other nodes"),
        Root::Item => ("item", names.item, "`item` exists in a node with `foreach`, outside its own list"),
        Root::Index => ("index", names.index, "`index` exists in a node with `foreach` or `matrix`"),
        Root::Matrix => ("matrix", names.matrix, "`matrix` exists in a node with `matrix`"),
    };
    if !exists {
        let place = Place { source: place.source.clone(), span: reference.span };
        diagnostics.push(Diagnostic::error(format!("`{name}` does not exist here")).at(place).with_help(help));
    }
}

impl Reference {
    pub(super) fn node_use(&self, place: &Place) -> Option<NodeUse<'_>> {
        match &self.root {
            Root::Node(id, field) => Some(NodeUse { id, field: *field, path: &self.steps, place: self.place(place) }),
            Root::Params | Root::Item | Root::Index | Root::Matrix | Root::RunId | Root::Workspace => None,
        }
    }

    pub(super) fn param_use(&self, place: &Place) -> Option<ParamUse<'_>> {
        (self.root == Root::Params).then(|| ParamUse { path: &self.steps, place: self.place(place) })
    }

    pub(super) fn place(&self, place: &Place) -> Place {
        Place { source: place.source.clone(), span: self.span }
    }

    /// As it is written, up to and without step `steps`.
    pub(super) fn shown(&self, steps: usize) -> String {
        let mut text = match &self.root {
            Root::Params => "params".to_owned(),
            Root::Node(id, field) => {
                let name = FIELDS.iter().find(|(_, of)| of == field).map_or("outputs", |(name, _)| name);
                format!("nodes.{id}.{name}")
            }
            Root::Item => "item".to_owned(),
            Root::Index => "index".to_owned(),
            Root::Matrix => "matrix".to_owned(),
            Root::RunId => "run.id".to_owned(),
            Root::Workspace => "workspace".to_owned(),
        };
        self.steps.iter().take(steps).for_each(|step| text.push_str(&step.to_string()));
        text
    }
}

impl std::fmt::Display for Step {
    /// `.key`, `['a key']`, `[3]`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(key) if NodeId::parse(key).is_ok() => write!(f, ".{key}"),
            Self::Key(key) => write!(f, "['{key}']"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}
