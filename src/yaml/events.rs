//! YAML: from the parser's events to the tree, without recursion and without a tree of the parser's own in between.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span as Marks, StrInput, Tag};

use crate::diagnostics::{Diagnostic, Span};
use crate::tree::{Kind, ScalarText};

use super::BYTE_ORDER_MARK;
use super::assemble::{Assembler, Stop};
use super::positions::Positions;
use super::scalar::{Plain, resolve};

/// Reads YAML into `assembler`.
pub(super) fn read(text: &str, assembler: &mut Assembler) -> Result<(), Stop> {
    let body = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let reader = Reader {
        text,
        positions: Positions::new(body),
        offset: text.len() - body.len(),
        assembler,
        anchors: HashMap::new(),
        open_anchors: Vec::new(),
        documents: 0,
        last_end: 0,
    };
    reader.run(Parser::new_from_str(body))
}

struct Reader<'t, 'a> {
    text: &'t str,
    positions: Positions<'t>,
    /// Bytes of the byte order mark before what the parser sees.
    offset: usize,
    assembler: &'a mut Assembler,
    /// The cell that each finished or open anchor names.
    anchors: HashMap<usize, u32>,
    /// For each open list and map its anchor, 0 for none.
    open_anchors: Vec<usize>,
    documents: usize,
    /// Where the last thing that stands in the text ended: lists and maps in block style end there, and nothing begins there.
    last_end: usize,
}

impl<'t> Reader<'t, '_> {
    fn run(mut self, mut parser: Parser<'t, StrInput<'t>>) -> Result<(), Stop> {
        while let Some(event) = parser.next_event() {
            match event {
                Ok((event, marks)) => {
                    let (start, end) = (self.byte(marks.start.index()), self.byte(marks.end.index()));
                    self.event(event, marks, start, end.max(start))?;
                }
                Err(error) => return Err(self.broken(&error)),
            }
        }
        Ok(())
    }

    fn byte(&self, character: usize) -> usize {
        self.positions.byte(character) + self.offset
    }

    fn event(&mut self, event: Event<'t>, marks: Marks, start: usize, end: usize) -> Result<(), Stop> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.document(start, end),
            Event::Alias(anchor) => self.alias(anchor, start, end),
            Event::Scalar(value, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), start)?;
                self.anchor(anchor, start)?;
                self.scalar(&value, style, start, end)
            }
            Event::SequenceStart(anchor, tag) => self.open(Kind::List, anchor, tag.as_deref(), start, end),
            Event::MappingStart(anchor, tag) => self.open(Kind::Map, anchor, tag.as_deref(), start, end),
            Event::SequenceEnd | Event::MappingEnd => {
                // A bracket has a length; the end of a block is the place of whatever follows it, perhaps pages below.
                if !marks.is_empty() {
                    self.last_end = end;
                }
                self.open_anchors.pop();
                self.assembler.close(self.last_end);
                Ok(())
            }
        }
    }

    fn document(&mut self, start: usize, end: usize) -> Result<(), Stop> {
        self.documents += 1;
        if self.documents < 2 {
            return Ok(());
        }
        let refusal = Diagnostic::error("a second document begins here").at(self.assembler.place(start, end.max(start + 1)));
        Err(self.assembler.fatal(refusal.with_help("write one document in a file: split it, or remove the `---`")))
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, start: usize) -> Result<(), Stop> {
        if tag.is_none() {
            return Ok(());
        }
        let end = start + self.text[start..].find(char::is_whitespace).unwrap_or(self.text.len() - start);
        let refusal = Diagnostic::error(format!("the tag `{}` is refused: tags have no meaning here", &self.text[start..end]))
            .at(self.assembler.place(start, end));
        self.assembler.mistake(refusal.with_help("remove the tag, or quote the whole as a text"))
    }

    fn anchor(&mut self, anchor: usize, start: usize) -> Result<(), Stop> {
        if anchor == 0 {
            return Ok(());
        }
        self.anchors.insert(anchor, self.assembler.next_cell());
        if self.assembler.limits().aliases > 0 {
            return Ok(());
        }
        let refusal = Diagnostic::error("anchors (`&name`) and aliases (`*name`) are refused in this file");
        let refusal = refusal.at(self.assembler.place(start, start + 1)).with_help("write the value out where it is used");
        self.assembler.mistake(refusal)
    }

    fn alias(&mut self, anchor: usize, start: usize, end: usize) -> Result<(), Stop> {
        self.last_end = end;
        if self.assembler.at_key() {
            return self.complex_key(start, end, "an alias");
        }
        if self.open_anchors.contains(&anchor) {
            let refusal = Diagnostic::error("an alias inside the very thing that its anchor names").at(self.assembler.place(start, end));
            return Err(self.assembler.fatal(refusal.with_help("a value cannot hold itself")));
        }
        match self.anchors.get(&anchor) {
            // The refusal of the anchor is enough where there may be none.
            Some(_) if self.assembler.limits().aliases == 0 => self.null(start, end),
            Some(cell) => self.assembler.alias(*cell, Span::new(start, end)),
            None => self.null(start, end),
        }
    }

    fn open(&mut self, kind: Kind, anchor: usize, tag: Option<&Tag>, start: usize, end: usize) -> Result<(), Stop> {
        if self.assembler.at_key() {
            return self.complex_key(start, end.max(start + 1), kind.described());
        }
        self.refuse_tag(tag, start)?;
        self.anchor(anchor, start)?;
        self.open_anchors.push(anchor);
        self.last_end = end;
        self.assembler.open(kind, self.opening(kind, start))
    }

    /// Where a list or map begins. The parser places a list that is not indented behind its first dash.
    fn opening(&self, kind: Kind, start: usize) -> usize {
        let (before, after) = self.text.split_at(start);
        let head = before.trim_end();
        let passed_dash = kind == Kind::List && !after.starts_with(['-', '[', '&', '!']) && head.ends_with('-');
        if passed_dash { head.len() - 1 } else { start }
    }

    fn complex_key(&mut self, start: usize, end: usize, what: &str) -> Result<(), Stop> {
        let mut refusal = Diagnostic::error(format!("{what} cannot be a key")).at(self.assembler.place(start, end));
        if self.text[start..].starts_with('{') {
            refusal = refusal.with_help("a value that begins with `{{` or `${{` has to be quoted");
        }
        Err(self.assembler.fatal(refusal))
    }

    fn null(&mut self, start: usize, end: usize) -> Result<(), Stop> {
        self.assembler.scalar(Kind::Null, Span::new(start, end), ScalarText::InSource { start, end: start })
    }

    fn scalar(&mut self, value: &str, style: ScalarStyle, start: usize, end: usize) -> Result<(), Stop> {
        let shape = Shape::find(self.text, value, style, start, end);
        // A value that is not there comes as an empty text at the place of what follows it.
        if style == ScalarStyle::Plain && value.is_empty() {
            return self.absent();
        }
        self.last_end = shape.span.end as usize;
        let kind = match style {
            ScalarStyle::Plain => return self.plain(value, &shape),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted | ScalarStyle::Literal | ScalarStyle::Folded => Kind::String,
        };
        self.assembler.scalar(kind, shape.span, shape.text(value))
    }

    fn absent(&mut self) -> Result<(), Stop> {
        let at = self.last_end;
        if self.assembler.at_key() {
            let refusal = Diagnostic::error("a key is missing before the `:`").at(self.assembler.place(at, at + 1));
            return Err(self.assembler.fatal(refusal));
        }
        self.null(at, at)
    }

    fn plain(&mut self, value: &str, shape: &Shape) -> Result<(), Stop> {
        let place = self.assembler.place(shape.span.start as usize, shape.span.end as usize);
        if self.assembler.at_key() {
            if value == "<<" {
                let refusal = Diagnostic::error("the merge key `<<` is refused: what a map holds should stand in it").at(place);
                self.assembler.mistake(refusal.with_help("write the keys out, or move them into the manifest's or settings' defaults"))?;
            } else if resolve(value) != Plain::As(Kind::String) {
                let refusal = Diagnostic::error(format!("the key `{value}` is no text")).at(place);
                self.assembler.mistake(refusal.with_help(format!("quote it: \"{value}\"")))?;
            }
            return self.assembler.scalar(Kind::String, shape.span, shape.text(value));
        }
        match resolve(value) {
            Plain::As(kind) => self.assembler.scalar(kind, shape.span, shape.text(value)),
            Plain::Number(json) => self.assembler.scalar(Kind::Number, shape.span, ScalarText::Owned(json.into())),
            Plain::Refused(reason, help) => {
                self.assembler.mistake(Diagnostic::error(reason).at(place).with_help(help))?;
                self.assembler.scalar(Kind::String, shape.span, shape.text(value))
            }
        }
    }

    /// The parser's refusal in words for the author of the file.
    fn broken(&mut self, error: &ScanError) -> Stop {
        let at = self.byte(error.marker().index()).min(self.text.len());
        let end = self.text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
        let refusal = Diagnostic::error(format!("this is not valid YAML: {}", in_plain_words(error.info())));
        let refusal = refusal.at(self.assembler.place(at, end)).with_help_of(self.help_for(at, error.info()));
        self.assembler.fatal(refusal)
    }

    fn help_for(&self, at: usize, info: &str) -> Option<String> {
        let line_start = self.text[..at].rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        let indent = &line[..line.len() - line.trim_start().len()];
        if indent.contains('\t') || info.contains("tab") {
            return Some("indent with spaces: YAML does not allow tabs there".into());
        }
        if line.contains("${{") {
            return Some("quote a value that holds `${{ }}`, or put the whole in a `>-` block".into());
        }
        if at >= self.text.trim_end().len() || info.ends_with("unexpected end of stream") {
            return Some("the text breaks off here: is the file complete?".into());
        }
        match info {
            "mapping values are not allowed in this context" => Some("quote a value that holds `: `, and check the indentation".into()),
            _ if info.starts_with("unexpected character") => Some("quote a value that begins with `%`, `@` or a backtick".into()),
            _ => None,
        }
    }
}

/// Where a scalar stands.
struct Shape {
    /// With quotes, without anchor and trailing white space.
    span: Span,
    /// The part of the source that is the value, byte for byte.
    in_source: Option<(usize, usize)>,
}

impl Shape {
    fn find(text: &str, value: &str, style: ScalarStyle, start: usize, end: usize) -> Self {
        let end = start + text[start..end].trim_end().len();
        let quote = usize::from(matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted));
        // An anchor or tag stands before it, so that it is looked for from its end.
        let value_end = end.saturating_sub(quote);
        let value_start = value_end.saturating_sub(value.len());
        let fits = value_start >= start + quote && text.get(value_start..value_end) == Some(value);
        match fits {
            true => Self { span: Span::new(value_start - quote, end), in_source: Some((value_start, value_end)) },
            false => Self { span: Span::new(start, end), in_source: None },
        }
    }

    fn text(&self, value: &str) -> ScalarText {
        match self.in_source {
            Some((start, end)) => ScalarText::InSource { start, end },
            None => ScalarText::Owned(value.into()),
        }
    }
}

/// The parser's message without its own vocabulary.
fn in_plain_words(info: &str) -> &str {
    match info {
        "simple key expected" | "simple key expect ':'" => "a `:` was expected after the key",
        "mapping values are not allowed in this context" => "a `:` cannot stand here",
        "while parsing a block mapping, did not find expected key" => "a key was expected at this indentation",
        "while parsing a block collection, did not find expected '-' indicator" => "a `-` was expected at this indentation",
        "while parsing a flow mapping, did not find expected ',' or '}'" => "`,` or `}` was expected",
        "while parsing a flow sequence, expected ',' or ']'" => "`,` or `]` was expected",
        "while scanning a quoted scalar, found unexpected end of stream" => "a quoted text does not end",
        "invalid indentation in quoted scalar" => "a quoted text does not end, or goes on without indentation",
        "while scanning a plain scalar, found a tab" => "a line that continues this text begins with a tab",
        "while parsing node, found unknown anchor" => "this alias names no anchor above it",
        "while parsing a node, did not find expected node content" => "a value was expected",
        "recursion limit exceeded" => "too many brackets inside each other",
        "unexpected eof" => "the text breaks off",
        other => other,
    }
}
