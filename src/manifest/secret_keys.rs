//! `secrets:`: names of secrets that a module gets in its environment.

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::request::{Isolation, NodeSettings};

use super::environment::{refuse_loader, refuse_name};

/// Most secrets of one attempt: each is looked for in every byte of its output.
const SECRETS_MAX: usize = 64;

/// Reads `secrets` over what `settings` says, whose `environment` and `isolation` must have been read. A node's are added to its module's.
pub(super) fn read(fields: &Fields<'_>, settings: &mut NodeSettings, diagnostics: &mut Diagnostics) {
    for (name, node) in fields.texts("secrets", diagnostics).unwrap_or_default() {
        if let Some(refusal) = refuse_name(name, node).or_else(|| refuse_loader(name, node)) {
            diagnostics.push(refusal);
        } else {
            settings.secrets.insert(name.to_owned());
        }
    }
    let both = |name: &&String| settings.environment.keys().any(|set| set.eq_ignore_ascii_case(name));
    if let (Some(name), Some(key)) =
        (settings.secrets.iter().find(both), ["environment", "secrets"].into_iter().find(|key| fields.has(key)))
    {
        let refusal = Diagnostic::error(format!("`{name}` stands under `environment:` and under `secrets:`")).at(fields.key_place(key));
        diagnostics.push(refusal.with_help("a secret's value comes from the store, never from YAML: keep it under `secrets:`"));
    }
    if let (true, Some(node)) = (settings.secrets.len() > SECRETS_MAX, fields.raw("secrets")) {
        diagnostics.push(Diagnostic::error(format!("a module gets at most {SECRETS_MAX} secrets")).at(node.place()));
    }
    require_wrapper(fields, settings, diagnostics);
}

/// Only the wrapper masks what is printed. Whoever asks for secrets gets it; whoever asks for both is told.
fn require_wrapper(fields: &Fields<'_>, settings: &mut NodeSettings, diagnostics: &mut Diagnostics) {
    if settings.secrets.is_empty() || settings.isolation == Isolation::Wrapped {
        return;
    }
    if fields.has("isolation") {
        let refusal = Diagnostic::error("`secrets:` need the wrapper, which masks them in the output: `isolation: direct` goes without it");
        diagnostics.push(refusal.at(fields.key_place("isolation")).with_help("write `isolation: wrapped`"));
    }
    settings.isolation = Isolation::Wrapped;
}
