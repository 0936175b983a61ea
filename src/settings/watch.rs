//! `host.watch`: how a host notices that files have changed.

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::fields::Fields;

/// How a host notices that manifests, settings and pipelines have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WatchSetting {
    /// By events of the system; by looking every two seconds where they do not come.
    #[default]
    Auto,
    /// By events only, and a slow look at everything.
    Native,
    /// By looking every two seconds.
    Poll,
    /// Not at all: files are looked at when something is submitted or shown.
    Off,
}

/// The words of the key.
pub const WATCH_WORDS: [&str; 4] = ["auto", "native", "poll", "off"];

impl WatchSetting {
    pub(super) fn read(host: &Fields<'_>, diagnostics: &mut Diagnostics) -> Self {
        // YAML 1.1 readers take `off` for a boolean; ours does not, but people write `false`.
        let Some(word) = host.filled_text("watch", diagnostics) else { return Self::default() };
        match word {
            "auto" => Self::Auto,
            "native" => Self::Native,
            "poll" => Self::Poll,
            "off" => Self::Off,
            _ => {
                let refusal = Diagnostic::error(format!("`watch` cannot be `{word}`")).at(host.key_place("watch"));
                diagnostics.push(refusal.with_help(format!("it is one of `{}`", WATCH_WORDS.join("`, `"))));
                Self::default()
            }
        }
    }
}
