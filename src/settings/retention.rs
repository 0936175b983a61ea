//! `retention:`: how long a host keeps finished runs by itself.

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::tree::Kind;
use crate::units::Bytes;

/// Keys under `retention:`.
pub const RETENTION_KEYS: [&str; 2] = ["keep_days", "keep_size"];

/// Longest time in days: a hundred years, below every overflow.
const KEEP_DAYS_MAX: u64 = 36_500;

/// What of finished runs stays. Nothing said: everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Runs that ended so many days ago, or longer, go.
    pub keep_days: Option<u32>,
    /// The oldest go until the folders of the others take at most so much.
    pub keep_size: Option<Bytes>,
}

impl Retention {
    /// Whether everything stays.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.keep_days.is_none() && self.keep_size.is_none()
    }

    pub(super) fn read(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Self {
        let Some(node) = fields.raw("retention") else { return Self::default() };
        let Some(inner) = Fields::open(node, "`retention`", &RETENTION_KEYS, &[], diagnostics) else { return Self::default() };
        let said = |key: &str| inner.raw(key).is_some_and(|node| node.kind() != Kind::Null);
        // No 0 days: with it a host would remove a run as soon as it has ended.
        let keep_days = if said("keep_days") { inner.whole("keep_days", 1, KEEP_DAYS_MAX, diagnostics) } else { None };
        let keep_size = if said("keep_size") { inner.bytes("keep_size", diagnostics) } else { None };
        if let (Some(Bytes(0)), Some(node)) = (keep_size, inner.raw("keep_size")) {
            let refusal = Diagnostic::error("`keep_size` must be more than nothing").at(node.place());
            diagnostics.push(refusal.with_help("`keep_size: null` keeps everything"));
        }
        Self { keep_days: keep_days.and_then(|days| u32::try_from(days).ok()), keep_size }
    }
}
