//! Typed values out of a map of a tree, with every mistake collected instead of the first one only.
//!
//! [`Fields::open`] looks at the keys of a map once (unknown ones, ones of later versions); the getters then take one key each. A
//! getter returns `None` both where the key is absent and where its value was refused; in the second case it has left a located
//! diagnostic. Callers go on with a default and ask the diagnostics at the end. Knows nothing of YAML, of files, or of what the keys
//! mean. Used by `manifest`, `pipeline` and `settings`.

use crate::diagnostics::{Diagnostic, Diagnostics, Place, suggest};
use crate::tree::{Kind, NodeRef};
use crate::units::{Amount, Bytes, CpuMillis, DurationMs, InvalidAmount};

/// The fields of one map. Cheap: it holds the node only.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'t> {
    node: NodeRef<'t>,
}

impl<'t> Fields<'t> {
    /// Looks at the keys of `node`. `what` names the thing in messages, with its article (`a manifest`, `node `fetch``). A node that
    /// is no map is refused (`None`); keys that are neither in `known` nor in `later` are errors, those of `later` (key, and the part
    /// of prismq that brings it) are refused by that word. The getters work in any case.
    pub fn open(node: NodeRef<'t>, what: &str, known: &[&str], later: &[(&str, &str)], diagnostics: &mut Diagnostics) -> Option<Self> {
        let fields = Self::open_any(node, what, diagnostics)?;
        for (key, _) in node.entries() {
            let name = key.as_str().unwrap_or_default();
            if known.contains(&name) {
                continue;
            }
            diagnostics.push(match later.iter().find(|(later, _)| *later == name) {
                Some((_, comes_with)) => not_built_yet(key, comes_with),
                None => {
                    Diagnostic::error(format!("unknown field `{name}`")).at(key.place()).with_help_of(suggest(name, known.iter().copied()))
                }
            });
        }
        Some(fields)
    }

    /// The same without looking at the keys, for maps whose keys are names that people choose.
    pub fn open_any(node: NodeRef<'t>, what: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        if node.kind() == Kind::Map {
            return Some(Self { node });
        }
        diagnostics.push(Diagnostic::error(format!("{what} must be a map, not {}", found(node))).at(node.place()));
        None
    }

    /// The map itself.
    #[must_use]
    pub fn node(&self) -> NodeRef<'t> {
        self.node
    }

    /// Whether the key is there, with any value.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.node.get(key).is_some()
    }

    /// The value of a key as it stands, `null` included.
    #[must_use]
    pub fn raw(&self, key: &str) -> Option<NodeRef<'t>> {
        self.node.get(key)
    }

    /// Where a key stands (not its value); the head of the map where it is absent.
    #[must_use]
    pub fn key_place(&self, key: &str) -> Place {
        self.node.entries().find(|(name, _)| name.as_str() == Some(key)).map_or_else(|| self.head(), |(name, _)| name.place())
    }

    /// Where to show that something is missing from the map: its first key, or the map where it is empty.
    #[must_use]
    pub fn head(&self) -> Place {
        self.node.entries().next().map_or_else(|| self.node.place(), |(key, _)| key.place())
    }

    /// The value of a key that must be there; `what` as in [`Fields::open`].
    pub fn required(&self, key: &str, what: &str, diagnostics: &mut Diagnostics) -> Option<NodeRef<'t>> {
        let found = self.node.get(key);
        if found.is_none() {
            diagnostics.push(Diagnostic::error(format!("{what} needs `{key}`")).at(self.head()));
        }
        found
    }

    /// A text.
    pub fn text(&self, key: &str, diagnostics: &mut Diagnostics) -> Option<&'t str> {
        text_of(self.raw(key)?, key, diagnostics)
    }

    /// A text that is not empty.
    pub fn filled_text(&self, key: &str, diagnostics: &mut Diagnostics) -> Option<&'t str> {
        let node = self.raw(key)?;
        let text = text_of(node, key, diagnostics)?;
        if text.trim().is_empty() {
            diagnostics.push(Diagnostic::error(format!("`{key}` cannot be empty")).at(node.place()));
            return None;
        }
        Some(text)
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &str, diagnostics: &mut Diagnostics) -> Option<bool> {
        let node = self.raw(key)?;
        let value = node.as_bool();
        if value.is_none() {
            let mut refusal = mismatch(key, "`true` or `false`", node);
            if let Some(word) = node.as_str().and_then(boolean_meant) {
                refusal = refusal.with_help(format!("write `{word}`"));
            }
            diagnostics.push(refusal);
        }
        value
    }

    /// A whole number from `least` to `most`, both included.
    pub fn whole(&self, key: &str, least: u64, most: u64, diagnostics: &mut Diagnostics) -> Option<u64> {
        let node = self.raw(key)?;
        let value = node.as_u64().filter(|value| (least..=most).contains(value));
        if value.is_none() {
            let range =
                if most == u64::MAX { format!("a whole number from {least}") } else { format!("a whole number from {least} to {most}") };
            diagnostics.push(mismatch(key, &range, node));
        }
        value
    }

    /// A number from `least` to `most` in thousandths (`1.5` is 1500).
    pub fn thousandths(&self, key: &str, least: u64, most: u64, diagnostics: &mut Diagnostics) -> Option<u64> {
        let node = self.raw(key)?;
        let number = if node.kind() == Kind::Number { node.scalar_text() } else { None };
        let value = number.and_then(|text| Amount::parse(text).ok()).map(|amount| amount.0).filter(|v| (least..=most).contains(v));
        if value.is_none() {
            let range = format!("a number from {} to {} with at most three decimals", Amount(least), Amount(most));
            diagnostics.push(mismatch(key, &range, node));
        }
        value
    }

    /// A duration such as `30s`.
    pub fn duration(&self, key: &str, diagnostics: &mut Diagnostics) -> Option<DurationMs> {
        let node = self.raw(key)?;
        if node.kind() == Kind::Number {
            let number = node.scalar_text().unwrap_or_default();
            let refusal = Diagnostic::error(format!("`{key}` has no unit: `{number}` could be seconds or minutes"));
            diagnostics.push(refusal.at(node.place()).with_help(format!("write `{number}s` for seconds")));
            return None;
        }
        measured(node, key, "a duration such as `30s` or `1h30m`", DurationMs::parse, diagnostics)
    }

    /// A size such as `2GiB`.
    pub fn bytes(&self, key: &str, diagnostics: &mut Diagnostics) -> Option<Bytes> {
        bytes_of(self.raw(key)?, key, diagnostics)
    }

    /// A number of CPUs such as `2` or `500m`.
    pub fn cpus(&self, key: &str, diagnostics: &mut Diagnostics) -> Option<CpuMillis> {
        cpus_of(self.raw(key)?, key, diagnostics)
    }

    /// An amount of a counted resource.
    pub fn amount(&self, key: &str, diagnostics: &mut Diagnostics) -> Option<Amount> {
        amount_of(self.raw(key)?, key, diagnostics)
    }

    /// A list of texts, each with its node; an item of another kind is refused and left out.
    pub fn texts(&self, key: &str, diagnostics: &mut Diagnostics) -> Option<Vec<(&'t str, NodeRef<'t>)>> {
        let list = self.list(key, "a list of texts", diagnostics)?;
        let label = format!("an item of `{key}`");
        Some(list.items().filter_map(|item| Some((plain_text(item, &label, diagnostics)?, item))).collect())
    }

    /// A list; `expected` says what it should hold (`a list of texts`).
    pub fn list(&self, key: &str, expected: &str, diagnostics: &mut Diagnostics) -> Option<NodeRef<'t>> {
        self.of_kind(key, Kind::List, expected, diagnostics)
    }

    /// A map; `expected` says what it should hold (`a map of variables`).
    pub fn map(&self, key: &str, expected: &str, diagnostics: &mut Diagnostics) -> Option<NodeRef<'t>> {
        self.of_kind(key, Kind::Map, expected, diagnostics)
    }

    /// A map of texts in order: key node, then text. Numbers and booleans are refused with "quote it".
    pub fn text_map(&self, key: &str, diagnostics: &mut Diagnostics) -> Option<Vec<(NodeRef<'t>, &'t str)>> {
        let map = self.map(key, "a map of texts", diagnostics)?;
        let texts = map.entries().filter_map(|(name, value)| {
            let label = format!("`{}` in `{key}`", name.as_str().unwrap_or_default());
            Some((name, plain_text(value, &label, diagnostics)?))
        });
        Some(texts.collect())
    }

    /// One of a closed list of words.
    pub fn word<T: Copy>(&self, key: &str, words: &[(&str, T)], diagnostics: &mut Diagnostics) -> Option<T> {
        word_of(self.raw(key)?, key, words, diagnostics)
    }

    fn of_kind(&self, key: &str, kind: Kind, expected: &str, diagnostics: &mut Diagnostics) -> Option<NodeRef<'t>> {
        let node = self.raw(key)?;
        if node.kind() == kind {
            return Some(node);
        }
        diagnostics.push(mismatch(key, expected, node));
        None
    }
}

/// The refusal of a key that a later part of prismq brings.
#[must_use]
pub fn not_built_yet(key: NodeRef<'_>, comes_with: &str) -> Diagnostic {
    let name = key.as_str().unwrap_or_default();
    Diagnostic::error(format!("`{name}` is not built yet: it comes with {comes_with}"))
        .at(key.place())
        .with_help("leave it out; nothing is accepted and then ignored")
}

/// A text; `key` is what it is the value of.
pub fn text_of<'t>(node: NodeRef<'t>, key: &str, diagnostics: &mut Diagnostics) -> Option<&'t str> {
    plain_text(node, &format!("`{key}`"), diagnostics)
}

/// A size: an integer of bytes or a text with a unit.
pub fn bytes_of(node: NodeRef<'_>, key: &str, diagnostics: &mut Diagnostics) -> Option<Bytes> {
    measured(node, key, "a size such as `2GiB`", Bytes::parse, diagnostics)
}

/// A number of CPUs.
pub fn cpus_of(node: NodeRef<'_>, key: &str, diagnostics: &mut Diagnostics) -> Option<CpuMillis> {
    measured(node, key, "a number of CPUs such as `2`, `0.5` or `500m`", CpuMillis::parse, diagnostics)
}

/// An amount of a counted resource.
pub fn amount_of(node: NodeRef<'_>, key: &str, diagnostics: &mut Diagnostics) -> Option<Amount> {
    measured(node, key, "a number such as `1` or `0.25`", Amount::parse, diagnostics)
}

/// One of a closed list of words.
pub fn word_of<T: Copy>(node: NodeRef<'_>, key: &str, words: &[(&str, T)], diagnostics: &mut Diagnostics) -> Option<T> {
    let names = words.iter().map(|(name, _)| *name);
    let Some(given) = node.as_str() else {
        let all: Vec<&str> = names.collect();
        diagnostics.push(mismatch(key, &format!("one of `{}`", all.join("`, `")), node));
        return None;
    };
    let value = words.iter().find(|(name, _)| *name == given).map(|(_, value)| *value);
    if value.is_none() {
        let refusal = Diagnostic::error(format!("`{key}` cannot be {given:?}")).at(node.place());
        diagnostics.push(refusal.with_help_of(suggest(given, names)));
    }
    value
}

/// `` `timeout` must be a duration, not a list `` at the value's place.
#[must_use]
pub fn mismatch(key: &str, expected: &str, node: NodeRef<'_>) -> Diagnostic {
    refused(&format!("`{key}`"), expected, node)
}

fn refused(label: &str, expected: &str, node: NodeRef<'_>) -> Diagnostic {
    let refusal = Diagnostic::error(format!("{label} must be {expected}, not {}", found(node))).at(node.place());
    if node.kind() == Kind::Null { refusal.with_help("write a value, or leave the key out") } else { refusal }
}

fn plain_text<'t>(node: NodeRef<'t>, label: &str, diagnostics: &mut Diagnostics) -> Option<&'t str> {
    let text = node.as_str();
    if text.is_none() {
        let mut refusal = refused(label, "a text", node);
        if let (Kind::Number | Kind::Bool, Some(scalar)) = (node.kind(), written(node)) {
            refusal = refusal.with_help(format!("quote it: \"{scalar}\""));
        }
        diagnostics.push(refusal);
    }
    text
}

fn measured<T>(
    node: NodeRef<'_>,
    key: &str,
    expected: &str,
    parse: impl FnOnce(&str) -> Result<T, InvalidAmount>,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let text = match node.kind() {
        Kind::Number | Kind::String => node.scalar_text()?,
        Kind::Null | Kind::Bool | Kind::List | Kind::Map => {
            diagnostics.push(mismatch(key, expected, node));
            return None;
        }
    };
    match parse(text) {
        Ok(value) => Some(value),
        Err(error) => {
            diagnostics.push(Diagnostic::error(format!("`{key}`: {error}")).at(node.place()));
            None
        }
    }
}

/// A value in messages: scalars as they are written, the rest by kind.
fn found(node: NodeRef<'_>) -> String {
    const SHOWN_MAX: usize = 40;
    match (node.kind(), written(node)) {
        (Kind::Number | Kind::Bool, Some(text)) if text.len() <= SHOWN_MAX => format!("`{text}`"),
        (Kind::String, _) => match node.as_str() {
            Some(text) if text.len() <= SHOWN_MAX => format!("the text {text:?}"),
            Some(_) | None => "a text".to_owned(),
        },
        (kind, _) => kind.described().to_owned(),
    }
}

/// A scalar as it stands in the source.
fn written(node: NodeRef<'_>) -> Option<&str> {
    let span = node.span();
    node.tree().source().text.get(span.start as usize..span.end as usize)
}

/// What YAML 1.1 would have made of a word that is a text today.
fn boolean_meant(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "yes" | "y" | "on" | "true" => Some("true"),
        "no" | "n" | "off" | "false" => Some("false"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
