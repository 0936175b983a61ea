//! What is fed. A target plays an input: it panics where a promise is broken, and gives a number for the way in which the input went.

mod attempt;
mod event_id;
mod http;
mod journal;
mod manifest;
mod params;

use crate::dice;

/// Plays an input.
pub(crate) type Play = Box<dyn FnMut(&[u8]) -> u64>;

/// A target.
pub(crate) struct Target {
    /// Its name, and that of its folder in the corpus.
    pub(crate) name: &'static str,
    /// Words that mean something to it.
    pub(crate) words: &'static [&'static str],
    /// Makes what is needed to play, once.
    pub(crate) begin: fn() -> Play,
}

/// All of them.
pub(crate) fn all() -> Vec<Target> {
    vec![journal::target(), manifest::target(), params::target(), http::target(), event_id::target(), attempt::target()]
}

/// A number for a text: what differs only in digits and quoted parts went the same way.
fn way(text: &str) -> u64 {
    let mut kept = String::with_capacity(text.len());
    let mut quoted = false;
    for c in text.chars() {
        if c == '`' || c == '"' {
            quoted = !quoted;
        } else if !quoted && !c.is_ascii_digit() {
            kept.push(c);
        }
    }
    dice::hash(kept.as_bytes())
}
