//! Reads what people and programs write, YAML or JSON, into the tree of values with places.
//!
//! The only module that names the YAML parser, so that it can be exchanged here. Both readers are strict where tolerance has cost
//! somebody a night: duplicate keys, tags, merge keys, `010`, a second document are errors with their place, and `no` is a text. The
//! budgets of [`Limits`] bound time and memory before anything is allocated for them. Knows nothing of manifests and pipelines: what a
//! tree means is decided by `manifest`, `pipeline` and `settings`. Called by `host` and `cli`.

mod assemble;
mod events;
mod json;
mod positions;
mod scalar;

use std::path::Path;
use std::sync::Arc;

use crate::diagnostics::{Diagnostic, Diagnostics, Place, Source, Span};
use crate::tree::Tree;
use assemble::Assembler;

/// The language of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2, core schema.
    Yaml,
    /// JSON, RFC 8259.
    Json,
}

impl Format {
    /// By the file's extension: `.json` is JSON, everything else YAML.
    #[must_use]
    pub fn of_path(path: &Path) -> Self {
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) { Self::Json } else { Self::Yaml }
    }
}

/// What a text may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest text in bytes.
    pub bytes: usize,
    /// Most lists and maps inside each other.
    pub depth: usize,
    /// Most values and keys.
    pub cells: usize,
    /// Most aliases (`*name`). 0 refuses anchors too.
    pub aliases: usize,
    /// Most values and keys that all aliases together may stand for.
    pub copied_cells: usize,
    /// Most bytes of text that all aliases together may stand for.
    pub copied_bytes: usize,
}

/// Deep enough for any schema that a person can follow, shallow enough for every recursive walk over a value.
pub const DEPTH_MAX: usize = 64;

impl Limits {
    /// A manifest or settings file: written by hand, so 256 KiB is a hundred times the longest seen, and nothing in it needs aliases.
    pub const MANIFEST: Self = Self { bytes: 256 * 1024, depth: DEPTH_MAX, cells: 100_000, aliases: 0, copied_cells: 0, copied_bytes: 0 };

    /// A pipeline, perhaps made by a program: a million nodes are about 70 MB of JSON and 15 million cells of 20 bytes. A file written
    /// by hand may use aliases for its common parts; 100,000 copied cells and 1 MiB of copied text are far above such use and far
    /// below a bomb.
    pub const PIPELINE: Self = Self {
        bytes: 512 * 1024 * 1024,
        depth: DEPTH_MAX,
        cells: 64_000_000,
        aliases: 1_000,
        copied_cells: 100_000,
        copied_bytes: 1024 * 1024,
    };
}

/// What came of a text: the tree as far as it could be understood, and every mistake found on the way.
#[derive(Debug)]
pub struct Reading {
    /// The tree. None where the text breaks off or breaks the language's grammar, so that nothing after the place is known.
    pub tree: Option<Tree>,
    /// Mistakes. With a tree: those behind which reading went on (a duplicate key, a tag, a number that is none), so that the mistakes
    /// of meaning can be shown together with them. Nothing may be started from a tree that has errors.
    pub diagnostics: Diagnostics,
}

/// Reads a text.
///
/// # Errors
/// Every mistake of the text; see [`read_on`] for a reader that gives the tree in spite of them.
pub fn read(source: Arc<Source>, format: Format, limits: &Limits) -> Result<Tree, Diagnostics> {
    let Reading { tree, diagnostics } = read_on(source, format, limits);
    match tree {
        Some(tree) if !diagnostics.has_errors() => Ok(tree),
        Some(_) | None => Err(diagnostics),
    }
}

/// Reads a text and goes on behind the mistakes that allow it.
#[must_use]
pub fn read_on(source: Arc<Source>, format: Format, limits: &Limits) -> Reading {
    if let Some(refusal) = refuse_unread(&source, limits) {
        return Reading { tree: None, diagnostics: refusal.into() };
    }
    let mut assembler = Assembler::new(source.clone(), *limits);
    let end = match format {
        Format::Yaml => events::read(&source.text, &mut assembler),
        Format::Json => json::read(&source.text, &mut assembler),
    };
    assembler.finish(end.is_ok())
}

/// Byte order mark: tolerated at the head of a text, since editors on Windows write it.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// What can be said before the first byte is parsed.
fn refuse_unread(source: &Arc<Source>, limits: &Limits) -> Option<Diagnostic> {
    let place = |at: usize| Place { source: source.clone(), span: Span::new(at, at + 1) };
    let length = source.text.len();
    if length > limits.bytes {
        return Some(Diagnostic::error(format!("the file has {length} bytes, at most {} are read", limits.bytes)).at(place(0)));
    }
    let nul = source.text.bytes().position(|byte| byte == 0)?;
    let refusal = Diagnostic::error("a NUL byte stands in the text").at(place(nul));
    Some(refusal.with_help("the file is damaged, or saved as UTF-16: save it as UTF-8"))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests measure, and read the files of the repository")]
mod tests;
