//! Makes templates and expressions out of the values of a file.

use std::sync::Arc;

use serde_json::Value;

use crate::diagnostics::{Diagnostic, Diagnostics, Place, Span};
use crate::tree::{Kind, NodeRef};

use super::{Code, Expression, ExpressionInner, Piece, Template, eval, names, scan};

/// Longest expression, in bytes. Every operator is a level of minijinja's tree, which it walks by recursion.
const LENGTH_MAX: usize = 4096;

pub(super) fn constant(node: NodeRef<'_>) -> Template {
    if node.kind() == Kind::Map && node.is_empty() { Template::empty_map() } else { Template::Constant(Arc::new(node.to_json())) }
}

/// The template of a value, or `None` where nothing in it is an expression, so that constants are built once, from the top.
pub(super) fn compile_part(node: NodeRef<'_>, diagnostics: &mut Diagnostics) -> Option<Template> {
    match node.kind() {
        Kind::Null | Kind::Bool | Kind::Number => None,
        Kind::String => compile_text(node, diagnostics),
        Kind::List => {
            let parts: Vec<_> = node.items().map(|item| (item, compile_part(item, diagnostics))).collect();
            parts
                .iter()
                .any(|(_, part)| part.is_some())
                .then(|| Template::List(parts.into_iter().map(|(item, part)| part.unwrap_or_else(|| constant(item))).collect()))
        }
        Kind::Map => {
            let mut parts = Vec::with_capacity(node.len());
            for (key, value) in node.entries() {
                check_key(key, diagnostics);
                parts.push((key, value, compile_part(value, diagnostics)));
            }
            parts.iter().any(|(_, _, part)| part.is_some()).then(|| {
                let entries = parts
                    .into_iter()
                    .map(|(key, value, part)| (key.scalar_text().unwrap_or_default().to_owned(), part.unwrap_or_else(|| constant(value))));
                Template::Map(entries.collect())
            })
        }
    }
}

fn check_key(key: NodeRef<'_>, diagnostics: &mut Diagnostics) {
    if key.scalar_text().is_some_and(|text| text.contains(scan::OPEN)) {
        let message = format!("an expression cannot stand in a key, here `{}`", key.scalar_text().unwrap_or_default());
        diagnostics.push(Diagnostic::error(message).at(key.place()).with_help("expressions stand in values; a key is taken as it is"));
    }
}

fn compile_text(node: NodeRef<'_>, diagnostics: &mut Diagnostics) -> Option<Template> {
    let text = node.as_str().filter(|text| text.contains(scan::OPEN))?;
    let placing = Placing::of(node, text);
    let parts = match scan::split(text) {
        Ok(parts) => parts,
        Err(error) => {
            diagnostics.push(Diagnostic::error(error.message).at(placing.place(error.start, text.len())).with_help(error.help));
            return None;
        }
    };
    let whole = parts.len() == 1;
    let mut pieces = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            scan::Part::Literal(literal) => pieces.push(Piece::Literal(literal)),
            scan::Part::Code { start, end } => pieces.push(Piece::Expression(compile_code(text, start, end, &placing, diagnostics)?)),
        }
    }
    Some(match pieces.pop() {
        Some(Piece::Expression(expression)) if whole => Template::Expression(expression),
        Some(Piece::Literal(literal)) if whole => Template::Constant(Arc::new(Value::String(literal))),
        last => Template::Text(pieces.into_iter().chain(last).collect()),
    })
}

/// Compiles the expression whose `${{` begins at `start` and whose `}}` ends at `end` of `text`.
fn compile_code(text: &str, start: usize, end: usize, placing: &Placing<'_>, diagnostics: &mut Diagnostics) -> Option<Expression> {
    let place = placing.place(start, end);
    let inner = &text[start + scan::OPEN.len()..end - scan::CLOSE.len()];
    let code = inner.trim();
    let offset = start + scan::OPEN.len() + (inner.len() - inner.trim_start().len());
    if code.is_empty() {
        diagnostics.push(Diagnostic::error("an empty expression").at(place).with_help("write `$${{` for the characters themselves"));
        return None;
    }
    if code.len() > LENGTH_MAX {
        let message = format!("an expression has at most {LENGTH_MAX} bytes, this one has {}", code.len());
        diagnostics.push(Diagnostic::error(message).at(place).with_help("compute it in a module"));
        return None;
    }
    let place_of = |from: usize, to: usize| placing.place(offset + from, offset + to);
    // minijinja's word on the syntax comes first: what our own reading says of a text that is no expression would only confuse.
    let program = if names::is_plain_path(code) { None } else { Some(eval::compile(code, &place, diagnostics)?) };
    let before = diagnostics.len();
    let references = names::references(code, &place_of, diagnostics);
    if diagnostics.len() > before {
        return None;
    }
    let code_kind = match program {
        Some(program) => Code::Program(Box::new(program)),
        None => Code::Path,
    };
    Some(Expression(Arc::new(ExpressionInner { text: code.into(), place, references, code: code_kind })))
}

/// Turns positions in a scalar's text into places of the file.
struct Placing<'t> {
    node: NodeRef<'t>,
    /// Where the text begins in the source; none where the source holds it in another notation (escaped, folded).
    start: Option<usize>,
}

impl<'t> Placing<'t> {
    fn of(node: NodeRef<'t>, text: &str) -> Self {
        let (begin, end) = (node.span().start as usize, node.span().end as usize);
        let written = node.tree().source().text.get(begin..end).unwrap_or_default();
        // At most a quote stands before the text of a scalar that is written as it is.
        let start = (0..=1).find(|skip| written.get(*skip..).is_some_and(|rest| rest.starts_with(text))).map(|skip| begin + skip);
        Self { node, start }
    }

    fn place(&self, from: usize, to: usize) -> Place {
        let mut place = self.node.place();
        if let Some(start) = self.start {
            place.span = Span::new(start + from, start + to);
        }
        place
    }
}
