//! A JSON reader for the tests of this folder: trees with spans out of texts, without the readers of the lower layer.

use crate::diagnostics::{Source, Span};
use crate::tree::{Kind, ScalarText, Tree, TreeBuilder};

/// The tree of a JSON text under a file name. Panics on anything that is not JSON.
pub(crate) fn tree_named(name: &str, text: &str) -> Tree {
    let source = Source::new(name, text);
    let mut builder = TreeBuilder::new(source.clone());
    let end = value(source.text.as_bytes(), skip(source.text.as_bytes(), 0), &source.text, &mut builder);
    assert_eq!(skip(source.text.as_bytes(), end), source.text.len(), "more after the value");
    builder.finish()
}

/// The tree of a JSON text called `p.json`.
pub(crate) fn tree(text: &str) -> Tree {
    tree_named("p.json", text)
}

fn skip(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

fn value(bytes: &[u8], start: usize, text: &str, builder: &mut TreeBuilder) -> usize {
    match bytes[start] {
        open @ (b'{' | b'[') => {
            let (kind, close) = if open == b'{' { (Kind::Map, b'}') } else { (Kind::List, b']') };
            builder.open(kind, start);
            let mut at = skip(bytes, start + 1);
            while bytes[at] != close {
                if kind == Kind::Map {
                    at = skip(bytes, value(bytes, at, text, builder));
                    assert_eq!(bytes[at], b':', "at {at}");
                    at = skip(bytes, at + 1);
                }
                at = skip(bytes, value(bytes, at, text, builder));
                if bytes[at] == b',' {
                    at = skip(bytes, at + 1);
                }
            }
            builder.close(at + 1);
            at + 1
        }
        b'"' => {
            let mut end = start + 1;
            while bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            let written = &text[start..=end];
            let content = if written.contains('\\') {
                ScalarText::Owned(serde_json::from_str::<String>(written).expect("a JSON string").into())
            } else {
                ScalarText::InSource { start: start + 1, end }
            };
            builder.scalar(Kind::String, Span::new(start, end + 1), content);
            end + 1
        }
        first => {
            let length = bytes[start..].iter().position(|byte| b",]} \n".contains(byte)).unwrap_or(bytes.len() - start);
            let kind = match first {
                b'n' => Kind::Null,
                b't' | b'f' => Kind::Bool,
                _ => Kind::Number,
            };
            builder.scalar(kind, Span::new(start, start + length), ScalarText::InSource { start, end: start + length });
            start + length
        }
    }
}
