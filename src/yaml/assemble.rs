//! What both readers share: budgets, duplicate keys, and the building of the tree.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::diagnostics::{Diagnostic, Diagnostics, Place, Source, Span};
use crate::tree::{Kind, ScalarText, TreeBuilder};

use super::{Limits, Reading};

/// Reading cannot go on; the reason has been pushed.
#[derive(Debug)]
pub(super) struct Stop;

/// Most mistakes shown of one text. A program that writes broken files breaks every line of them.
const MISTAKES_MAX: usize = 50;

/// Keys of a map up to which comparing each with each is cheaper than hashing.
const SCANNED_KEYS_MAX: usize = 24;

/// A list or map that is open.
struct Level {
    is_map: bool,
    /// In a map: the next scalar is a key.
    at_key: bool,
    /// Where its keys begin in `Assembler::keys`.
    first_key: usize,
    /// Hashes of its keys, once there are many.
    hashes: Option<HashSet<u64>>,
    start: usize,
}

/// Builds the tree and refuses what breaks a rule of both languages.
pub(super) struct Assembler {
    source: Arc<Source>,
    limits: Limits,
    builder: TreeBuilder,
    levels: Vec<Level>,
    /// Cells of the keys of all open maps, the innermost map's last.
    keys: Vec<u32>,
    hasher: RandomState,
    diagnostics: Diagnostics,
    aliases: usize,
    copied_cells: usize,
    copied_bytes: usize,
}

impl Assembler {
    pub(super) fn new(source: Arc<Source>, limits: Limits) -> Self {
        Self {
            builder: TreeBuilder::new(source.clone()),
            source,
            limits,
            levels: Vec::new(),
            keys: Vec::new(),
            hasher: RandomState::new(),
            diagnostics: Diagnostics::new(),
            aliases: 0,
            copied_cells: 0,
            copied_bytes: 0,
        }
    }

    /// The tree and the mistakes; no tree where reading stopped early.
    pub(super) fn finish(self, complete: bool) -> Reading {
        Reading { tree: complete.then(|| self.builder.finish()), diagnostics: self.diagnostics }
    }

    pub(super) fn place(&self, start: usize, end: usize) -> Place {
        Place { source: self.source.clone(), span: Span::new(start, end) }
    }

    /// Notes a mistake behind which reading goes on.
    pub(super) fn mistake(&mut self, diagnostic: Diagnostic) -> Result<(), Stop> {
        self.diagnostics.push(diagnostic);
        if self.diagnostics.len() < MISTAKES_MAX {
            return Ok(());
        }
        self.diagnostics.push(Diagnostic::note(format!("reading stopped after {MISTAKES_MAX} mistakes")));
        Err(Stop)
    }

    /// Notes the mistake that ends reading.
    pub(super) fn fatal(&mut self, diagnostic: Diagnostic) -> Stop {
        self.diagnostics.push(diagnostic);
        Stop
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether the innermost open thing is a map; `None` outside of all.
    pub(super) fn in_map(&self) -> Option<bool> {
        self.levels.last().map(|level| level.is_map)
    }

    /// Whether what comes next is a key.
    pub(super) fn at_key(&self) -> bool {
        self.levels.last().is_some_and(|level| level.is_map && level.at_key)
    }

    /// Where the innermost open list or map begins.
    pub(super) fn open_start(&self) -> Option<usize> {
        self.levels.last().map(|level| level.start)
    }

    /// Number of the cell that comes next.
    pub(super) fn next_cell(&self) -> u32 {
        u32::try_from(self.builder.cells()).unwrap_or(u32::MAX)
    }

    /// Adds a scalar, as a key where one is due.
    pub(super) fn scalar(&mut self, kind: Kind, span: Span, text: ScalarText) -> Result<(), Stop> {
        self.count_cells(1, span.start as usize)?;
        let index = self.next_cell();
        let is_key = self.begin_node();
        self.builder.scalar(kind, span, text);
        if is_key { self.check_key(index) } else { Ok(()) }
    }

    pub(super) fn open(&mut self, kind: Kind, start: usize) -> Result<(), Stop> {
        self.count_cells(1, start)?;
        if self.levels.len() >= self.limits.depth {
            let place = self.place(start, start + 1);
            let refusal = Diagnostic::error(format!("more than {} lists and maps inside each other", self.limits.depth)).at(place);
            return Err(self.fatal(refusal));
        }
        self.begin_node();
        self.builder.open(kind, start);
        self.levels.push(Level { is_map: kind == Kind::Map, at_key: true, first_key: self.keys.len(), hashes: None, start });
        Ok(())
    }

    pub(super) fn close(&mut self, end: usize) {
        if let Some(level) = self.levels.pop() {
            self.keys.truncate(level.first_key);
            self.builder.close(end);
        }
    }

    /// Adds what an alias at `span` stands for: a copy of the finished cells from `anchor` on.
    pub(super) fn alias(&mut self, anchor: u32, span: Span) -> Result<(), Stop> {
        let end = self.builder.subtree_end(anchor);
        let cells = (end - anchor) as usize;
        self.aliases += 1;
        self.copied_cells += cells;
        if self.aliases > self.limits.aliases || self.copied_cells > self.limits.copied_cells {
            return Err(self.alias_budget(anchor, span));
        }
        // The cells are within their budget here, so that this sum is cheap.
        self.copied_bytes += (anchor..end).filter_map(|at| self.builder.node(at).scalar_text()).map(str::len).sum::<usize>();
        if self.copied_bytes > self.limits.copied_bytes {
            return Err(self.alias_budget(anchor, span));
        }
        self.count_cells(cells, span.start as usize)?;
        self.begin_node();
        self.builder.copy(anchor);
        Ok(())
    }

    fn alias_budget(&mut self, anchor: u32, span: Span) -> Stop {
        let Limits { aliases, copied_cells, copied_bytes, .. } = self.limits;
        let defined = self.builder.node(anchor).place();
        let refusal = Diagnostic::error("the aliases of this file stand for too much")
            .at(Place { source: self.source.clone(), span })
            .with_related("the anchor is here", defined)
            .with_help(format!("at most {aliases} aliases, together {copied_cells} values and {copied_bytes} bytes of text"));
        self.fatal(refusal)
    }

    /// A key or value begins; whether it is a key.
    fn begin_node(&mut self) -> bool {
        let Some(level) = self.levels.last_mut().filter(|level| level.is_map) else { return false };
        level.at_key = !level.at_key;
        !level.at_key
    }

    fn count_cells(&mut self, more: usize, at: usize) -> Result<(), Stop> {
        if self.builder.cells() + more <= self.limits.cells {
            return Ok(());
        }
        let refusal = Diagnostic::error(format!("more than {} values and keys", self.limits.cells)).at(self.place(at, at + 1));
        Err(self.fatal(refusal))
    }

    /// Refuses a key that its map already has. Linear in the number of keys: small maps are scanned, large ones hashed.
    fn check_key(&mut self, index: u32) -> Result<(), Stop> {
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        let text = |cell: u32| self.builder.node(cell).scalar_text().unwrap_or_default();
        let name = text(index);
        let earlier = &self.keys[level.first_key..];
        let is_new = if earlier.len() < SCANNED_KEYS_MAX {
            !earlier.iter().any(|cell| text(*cell) == name)
        } else {
            let hashes = level.hashes.get_or_insert_with(|| earlier.iter().map(|cell| self.hasher.hash_one(text(*cell))).collect());
            hashes.insert(self.hasher.hash_one(name))
        };
        // Equal hashes of different keys are possible: only equal texts are a mistake.
        let first = if is_new { None } else { earlier.iter().copied().find(|cell| text(*cell) == name) };
        let refusal = first.map(|first| {
            Diagnostic::error(format!("the key `{name}` stands twice in this map"))
                .at(self.builder.node(index).place())
                .with_related("first here", self.builder.node(first).place())
                .with_help("keep one of the two")
        });
        self.keys.push(index);
        refusal.map_or(Ok(()), |refusal| self.mistake(refusal))
    }
}
