//! The keys about what an attempt leaves: its output, and the processes that it started.
//!
//! What they ask for together must be possible: mistakes of combination are looked for after a node's, a manifest's and the settings'
//! keys were laid over each other, and shown at a key of the map that is being read.

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::request::{Capture, Isolation, Leaks, NodeSettings};
use crate::tree::Kind;
use crate::units::Bytes;

/// Smallest cap of an attempt's output: half of it is the beginning, half the end, and each should hold a traceback.
pub(super) const LOG_CAP_LEAST: Bytes = Bytes(64 << 10);

const CAPTURES: [(&str, Capture); 2] = [("pump", Capture::Pump), ("raw", Capture::Raw)];
const LEAKS: [(&str, Leaks); 2] = [("end", Leaks::End), ("allow", Leaks::Allow)];

/// Reads `capture`, `leaks` and `log_cap` over what `settings` says, whose `isolation` must have been read.
pub(super) fn read(fields: &Fields<'_>, settings: &mut NodeSettings, diagnostics: &mut Diagnostics) {
    settings.capture = fields.word("capture", &CAPTURES, diagnostics).unwrap_or(settings.capture);
    settings.leaks = fields.word("leaks", &LEAKS, diagnostics).unwrap_or(settings.leaks);
    read_log_cap(fields, &mut settings.log_cap, diagnostics);
    refuse_impossible(fields, settings, diagnostics);
}

fn read_log_cap(fields: &Fields<'_>, log_cap: &mut Option<Bytes>, diagnostics: &mut Diagnostics) {
    match fields.raw("log_cap") {
        None => {}
        // `log_cap: null` takes a cap back that the manifest or the settings set.
        Some(node) if node.kind() == Kind::Null => *log_cap = None,
        Some(node) => match fields.bytes("log_cap", diagnostics) {
            Some(cap) if cap < LOG_CAP_LEAST => {
                let refusal = Diagnostic::error(format!("`log_cap` is at least {LOG_CAP_LEAST}")).at(node.place());
                diagnostics.push(refusal.with_help("write `log_cap: null` to keep everything"));
            }
            Some(cap) => *log_cap = Some(cap),
            None => {}
        },
    }
}

/// Two keys that exclude each other. Shown at the first of them that stands in this map; where none does, somebody else's map has it
/// and was told.
fn refuse_impossible(fields: &Fields<'_>, settings: &NodeSettings, diagnostics: &mut Diagnostics) {
    let raw = settings.capture == Capture::Raw;
    let direct = settings.isolation == Isolation::Direct;
    let refusals = [
        (
            raw && settings.log_cap.is_some(),
            ["log_cap", "capture"],
            "`capture: raw` cannot have a `log_cap`: the module writes its log files itself",
            "write `log_cap: null` to keep everything, or `capture: pump`",
        ),
        (
            raw && direct,
            ["capture", "isolation"],
            "`capture: raw` needs the wrapper, and `isolation: direct` goes without it",
            "write `isolation: wrapped`, or `capture: pump`",
        ),
        (
            raw && !settings.secrets.is_empty(),
            ["capture", "secrets"],
            "`capture: raw` cannot have `secrets:`: nobody could mask what the module writes into its log files itself",
            "write `capture: pump`",
        ),
        (
            settings.leaks == Leaks::Allow && direct,
            ["leaks", "isolation"],
            "`leaks: allow` needs the wrapper, which knows what was left: `isolation: direct` goes without it",
            "write `isolation: wrapped`, or `leaks: end`",
        ),
    ];
    for (impossible, keys, message, help) in refusals {
        if impossible && let Some(key) = keys.into_iter().find(|key| fields.has(key)) {
            diagnostics.push(Diagnostic::error(message).at(fields.key_place(key)).with_help(help));
        }
    }
}
