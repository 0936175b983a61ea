//! The tree that a YAML or JSON text is read into: values with the span where each stands.
//!
//! One flat array of cells in the order of the text, and strings that point into the source wherever they stand there unescaped: a
//! million nodes of a generated pipeline cost about 200 MB this way, and four times that as a tree of boxes. The readers (`yaml`)
//! build it through [`TreeBuilder`]; the decisions read it through [`NodeRef`] and never see the text's syntax.

use std::sync::Arc;

use serde_json::{Map, Number, Value};

use crate::diagnostics::{Place, Source, Span};

/// What a node of the tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number; its text is a JSON number.
    Number,
    /// A string.
    String,
    /// A list.
    List,
    /// A map with string keys.
    Map,
}

impl Kind {
    /// With its article, for messages: `a list`.
    #[must_use]
    pub fn described(self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }
}

/// Text of a scalar: a part of the source, or owned because the source holds it escaped, folded or in another notation.
#[derive(Debug, Clone)]
pub enum ScalarText {
    /// The source from `start` to `end` is the text itself.
    InSource {
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
    },
    /// The text, spelled out.
    Owned(Box<str>),
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    /// Span in the source, with quotes.
    span: Span,
    /// For a list or map: one past the last cell of the subtree. For a scalar: where its text begins, or [`OWNED`] and an index.
    a: u32,
    /// For a list or map: the number of items or entries. For a scalar: where its text ends, or the index of an owned text.
    b: u32,
    kind: Kind,
}

/// In `Cell::a`: the text is `texts[b]`.
const OWNED: u32 = u32::MAX;

/// A read text. Its root is always there: an empty text has a null root.
#[derive(Debug, Clone)]
pub struct Tree {
    source: Arc<Source>,
    cells: Vec<Cell>,
    texts: Vec<Box<str>>,
}

impl Tree {
    /// The root.
    #[must_use]
    pub fn root(&self) -> NodeRef<'_> {
        NodeRef { tree: self, index: 0 }
    }

    /// The text it was read from.
    #[must_use]
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }
}

/// A node of a tree. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct NodeRef<'t> {
    tree: &'t Tree,
    index: u32,
}

impl<'t> NodeRef<'t> {
    fn cell(self) -> &'t Cell {
        &self.tree.cells[self.index as usize]
    }

    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        self.cell().kind
    }

    /// Where it stands.
    #[must_use]
    pub fn span(self) -> Span {
        self.cell().span
    }

    /// Where it stands, with the source.
    #[must_use]
    pub fn place(self) -> Place {
        Place { source: self.tree.source.clone(), span: self.span() }
    }

    /// The tree it belongs to.
    #[must_use]
    pub fn tree(self) -> &'t Tree {
        self.tree
    }

    /// Text of a scalar: a string's content, a number's or boolean's notation. `None` for null, lists and maps.
    #[must_use]
    pub fn scalar_text(self) -> Option<&'t str> {
        let cell = self.cell();
        match cell.kind {
            Kind::Null | Kind::List | Kind::Map => None,
            Kind::Bool | Kind::Number | Kind::String if cell.a == OWNED => self.tree.texts.get(cell.b as usize).map(AsRef::as_ref),
            Kind::Bool | Kind::Number | Kind::String => self.tree.source.text.get(cell.a as usize..cell.b as usize),
        }
    }

    /// The content of a string; `None` for anything else.
    #[must_use]
    pub fn as_str(self) -> Option<&'t str> {
        if self.kind() == Kind::String { self.scalar_text() } else { None }
    }

    /// The value of a boolean.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        if self.kind() == Kind::Bool { self.scalar_text().map(|text| text.eq_ignore_ascii_case("true")) } else { None }
    }

    /// The value of a number that is a whole one from 0 to 2^64 - 1 (`3` and `3.0`, not `3.5`).
    #[must_use]
    pub fn as_u64(self) -> Option<u64> {
        if self.kind() != Kind::Number {
            return None;
        }
        let text = self.scalar_text()?;
        text.parse().ok().or_else(|| text.strip_suffix(".0")?.parse().ok())
    }

    /// Number of items of a list or entries of a map; 0 for scalars.
    #[must_use]
    pub fn len(self) -> usize {
        match self.kind() {
            Kind::List | Kind::Map => self.cell().b as usize,
            Kind::Null | Kind::Bool | Kind::Number | Kind::String => 0,
        }
    }

    /// Whether it is an empty list or map, or a scalar.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Items of a list; nothing for anything else.
    pub fn items(self) -> impl ExactSizeIterator<Item = Self> {
        let count = if self.kind() == Kind::List { self.len() } else { 0 };
        Walk { tree: self.tree, next: self.index + 1, left: count }
    }

    /// Entries of a map, key and value; nothing for anything else. Keys are strings.
    pub fn entries(self) -> impl ExactSizeIterator<Item = (Self, Self)> {
        let count = if self.kind() == Kind::Map { self.len() } else { 0 };
        let mut walk = Walk { tree: self.tree, next: self.index + 1, left: count * 2 };
        (0..count).map(move |_| {
            let key = walk.next().expect("a map has two cells for each entry");
            let value = walk.next().expect("a map has two cells for each entry");
            (key, value)
        })
    }

    /// The value of a key of a map.
    #[must_use]
    pub fn get(self, key: &str) -> Option<Self> {
        self.entries().find(|(name, _)| name.scalar_text() == Some(key)).map(|(_, value)| value)
    }

    /// The node that a JSON Pointer (RFC 6901) names, or the nearest ancestor that exists.
    #[must_use]
    pub fn nearest_at(self, pointer: &str) -> Self {
        let mut at = self;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            let next = match at.kind() {
                Kind::Map => at.get(&token),
                Kind::List => token.parse::<usize>().ok().and_then(|index| at.items().nth(index)),
                Kind::Null | Kind::Bool | Kind::Number | Kind::String => None,
            };
            match next {
                Some(next) => at = next,
                None => break,
            }
        }
        at
    }

    /// The same value without places.
    #[must_use]
    pub fn to_json(self) -> Value {
        match self.kind() {
            Kind::Null => Value::Null,
            Kind::Bool => Value::Bool(self.as_bool().unwrap_or(false)),
            Kind::Number => self.number().map_or(Value::Null, Value::Number),
            Kind::String => Value::String(self.scalar_text().unwrap_or_default().to_owned()),
            Kind::List => self.items().map(Self::to_json).collect(),
            Kind::Map => {
                let entries = self.entries().map(|(key, value)| (key.scalar_text().unwrap_or_default().to_owned(), value.to_json()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// The number, if it is one. Readers let only JSON numbers through, so that this succeeds for every [`Kind::Number`].
    #[must_use]
    pub fn number(self) -> Option<Number> {
        if self.kind() == Kind::Number { serde_json::from_str(self.scalar_text()?).ok() } else { None }
    }
}

/// Whether a number of JSON's grammar can be kept as it is: whole ones exactly in 64 bits, others as a finite double.
///
/// # Errors
/// Why not, as a fragment for a message.
pub fn check_number(text: &str) -> Result<(), String> {
    // Up to 18 digits fit in any case; most numbers end here.
    const DIGITS_SAFE: usize = 18;
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        if text.len() <= DIGITS_SAFE || text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
            return Ok(());
        }
        return Err(format!("`{text}` does not fit 64 bits, and rounding it would change it silently"));
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(()),
        Ok(_) | Err(_) => Err(format!("`{text}` is larger than any number of 64 bits")),
    }
}

struct Walk<'t> {
    tree: &'t Tree,
    next: u32,
    left: usize,
}

impl<'t> Iterator for Walk<'t> {
    type Item = NodeRef<'t>;

    fn next(&mut self) -> Option<NodeRef<'t>> {
        self.left = self.left.checked_sub(1)?;
        let node = NodeRef { tree: self.tree, index: self.next };
        self.next = match node.kind() {
            Kind::List | Kind::Map => node.cell().a,
            Kind::Null | Kind::Bool | Kind::Number | Kind::String => self.next + 1,
        };
        Some(node)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Walk<'_> {}

/// Builds a tree cell by cell, in the order of the text. A map's cells are key, value, key, value.
#[derive(Debug)]
pub struct TreeBuilder {
    tree: Tree,
    open: Vec<(u32, u32)>,
}

impl TreeBuilder {
    /// An empty tree over a source.
    #[must_use]
    pub fn new(source: Arc<Source>) -> Self {
        Self { tree: Tree { source, cells: Vec::new(), texts: Vec::new() }, open: Vec::new() }
    }

    /// How many lists and maps are open.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Number of cells so far.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.tree.cells.len()
    }

    /// A finished cell, by its number. Of a list or map that is still open neither items nor end are known yet.
    #[must_use]
    pub fn node(&self, index: u32) -> NodeRef<'_> {
        NodeRef { tree: &self.tree, index }
    }

    /// One past the last cell of the finished subtree at `index`.
    #[must_use]
    pub fn subtree_end(&self, index: u32) -> u32 {
        match self.node(index).kind() {
            Kind::List | Kind::Map => self.node(index).cell().a,
            Kind::Null | Kind::Bool | Kind::Number | Kind::String => index + 1,
        }
    }

    /// Adds a copy of the finished subtree at `index`, places included: what an alias stands for is read where it was written.
    pub fn copy(&mut self, index: u32) {
        let moved = u32::try_from(self.tree.cells.len()).unwrap_or(u32::MAX) - index;
        for at in index..self.subtree_end(index) {
            let mut cell = self.tree.cells[at as usize];
            if matches!(cell.kind, Kind::List | Kind::Map) {
                cell.a += moved;
            }
            if at == index { self.push(cell) } else { self.tree.cells.push(cell) }
        }
    }

    /// Adds a scalar (or a map's key).
    pub fn scalar(&mut self, kind: Kind, span: Span, text: ScalarText) {
        let (a, b) = match text {
            ScalarText::InSource { start, end } => {
                let span = Span::new(start, end);
                (span.start, span.end)
            }
            ScalarText::Owned(text) => {
                self.tree.texts.push(text);
                (OWNED, u32::try_from(self.tree.texts.len() - 1).unwrap_or(OWNED))
            }
        };
        self.push(Cell { span, a, b, kind });
    }

    /// Opens a list or a map that begins at byte `start`.
    pub fn open(&mut self, kind: Kind, start: usize) {
        let index = u32::try_from(self.tree.cells.len()).unwrap_or(u32::MAX);
        self.push(Cell { span: Span::new(start, start), a: 0, b: 0, kind });
        self.open.push((index, 0));
    }

    /// Closes the innermost list or map, which ends before byte `end`.
    ///
    /// # Panics
    /// When nothing is open: an error of the reader.
    pub fn close(&mut self, end: usize) {
        let (index, children) = self.open.pop().expect("a reader closes only what it opened");
        let next = u32::try_from(self.tree.cells.len()).unwrap_or(u32::MAX);
        let cell = &mut self.tree.cells[index as usize];
        cell.span = Span::new(cell.span.start as usize, end);
        cell.a = next;
        cell.b = if cell.kind == Kind::Map { children / 2 } else { children };
    }

    fn push(&mut self, cell: Cell) {
        if let Some((_, children)) = self.open.last_mut() {
            *children += 1;
        }
        self.tree.cells.push(cell);
    }

    /// The finished tree; a null root where nothing was added.
    #[must_use]
    pub fn finish(mut self) -> Tree {
        if self.tree.cells.is_empty() {
            let end = self.tree.source.text.len();
            self.push(Cell { span: Span::new(0, end.min(1)), a: OWNED, b: 0, kind: Kind::Null });
        }
        self.tree
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tree_is_walked_by_spans() {
        let source = Source::new("a", r#"{"a": [1, "x"], "b": {}}"#);
        let mut builder = TreeBuilder::new(source);
        let text = |start, end| ScalarText::InSource { start, end };
        builder.open(Kind::Map, 0);
        builder.scalar(Kind::String, Span::new(1, 4), text(2, 3));
        builder.open(Kind::List, 6);
        builder.scalar(Kind::Number, Span::new(7, 8), text(7, 8));
        builder.scalar(Kind::String, Span::new(10, 13), text(11, 12));
        builder.close(14);
        builder.scalar(Kind::String, Span::new(16, 19), ScalarText::Owned("b".into()));
        builder.open(Kind::Map, 21);
        builder.close(23);
        builder.close(24);
        let tree = builder.finish();
        assert_eq!(tree.root().to_json(), json!({"a": [1, "x"], "b": {}}));
        assert_eq!(tree.root().nearest_at("/a/1").as_str(), Some("x"));
        assert_eq!(tree.root().nearest_at("/a/9/z").span(), Span::new(6, 14));
        assert_eq!(tree.root().get("b").map(NodeRef::len), Some(0));
    }
}
