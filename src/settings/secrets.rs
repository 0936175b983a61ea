//! `secrets:`: where the values of secrets come from. The values themselves never stand in this file.

use std::collections::BTreeMap;
use std::path::Path;

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::manifest::secret_name;
use crate::request::SecretSource;
use crate::tree::NodeRef;

use super::read_path;

/// Keys of a source, of which exactly one is given.
pub const SECRET_SOURCE_KEYS: [&str; 3] = ["env", "file", "command"];

/// Reads the map. A source that is refused is left out.
pub(super) fn read(fields: &Fields<'_>, folder: &Path, diagnostics: &mut Diagnostics) -> BTreeMap<String, SecretSource> {
    let wanted = "a map of names and sources such as `{HF_TOKEN: {command: [pass, show, hf]}}`";
    let Some(map) = fields.map("secrets", wanted, diagnostics) else { return BTreeMap::new() };
    let mut sources = BTreeMap::new();
    for (key, value) in map.entries() {
        match secret_name(key) {
            Ok(name) => sources.extend(read_source(value, folder, diagnostics).map(|source| (name.to_owned(), source))),
            Err(refusal) => diagnostics.push(*refusal),
        }
    }
    sources
}

fn read_source(value: NodeRef<'_>, folder: &Path, diagnostics: &mut Diagnostics) -> Option<SecretSource> {
    if value.as_str().is_some() {
        // The mistake that everybody makes once. The text is not repeated in the message: it may be the value.
        let refusal = Diagnostic::error("a secret's value does not stand in this file").at(value.place());
        let help = "keep it with `prismq secret set NAME`, or write where it comes from: `{env: NAME}`, `{file: PATH}` or `{command: [PROGRAM, ...]}`";
        diagnostics.push(refusal.with_help(help));
        return None;
    }
    let inner = Fields::open(value, "the source of a secret", &SECRET_SOURCE_KEYS, &[], diagnostics)?;
    if SECRET_SOURCE_KEYS.iter().filter(|key| inner.has(key)).count() != 1 {
        let refusal = Diagnostic::error("a secret comes from one source: `env`, `file` or `command`").at(value.place());
        diagnostics.push(refusal);
        return None;
    }
    if let Some(variable) = inner.filled_text("env", diagnostics) {
        return Some(SecretSource::Variable(variable.to_owned()));
    }
    if let (Some(path), Some(node)) = (inner.filled_text("file", diagnostics), inner.raw("file")) {
        return read_path(path, node, folder, diagnostics).map(SecretSource::File);
    }
    let words = inner.texts("command", diagnostics)?;
    let node = inner.raw("command")?;
    if words.is_empty() || words.iter().any(|(word, _)| word.contains('\0')) || words[0].0.trim().is_empty() {
        let refusal = Diagnostic::error("`command` must name a program").at(node.place());
        diagnostics.push(refusal.with_help("write it as a list, without a shell: `[pass, show, youtube]`"));
        return None;
    }
    Some(SecretSource::Command(words.into_iter().map(|(word, _)| word.to_owned()).collect()))
}
