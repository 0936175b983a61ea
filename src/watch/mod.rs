//! Noticing that files change, without trusting anybody who says so.
//!
//! The system's events are a *hint*: they get lost, come late, come twice, or do not come at all. They only make somebody look. What is
//! true is what a look at the disk finds: names, and a [`Stamp`] of each file. A file is taken when it has settled ([`Settler`]), so that
//! half of one is not read while an editor writes it, and one that is replaced is never missing in between.
//!
//! ```text
//!   notify ──hint──▶ Watcher (one thread) ──look──▶ the caller: list, stamp, settle, read
//!   time ──────────▶    ▲                              │
//!                       └── which folders, when again ─┘
//! ```
//!
//! Knows nothing of what the files mean. Used by `host`.

mod hints;
mod native;
mod pace;
mod settle;
mod stamp;
#[cfg(test)]
mod tests;
mod watcher;

pub use hints::Hints;
pub use settle::{QUIET, Settled, Settler};
pub use stamp::Stamp;
pub use watcher::{Mode, Outlook, State, Watcher};
