//! How the machine stood while something ran: reserved, held, used by our nodes, used by others, free; and by run.
//!
//! ```text
//!   measure ── a look ──▶ Recorder: is a sample due? ── Sample ──▶ thread of the machine ──▶ store: .prismq/resources/
//!   `resources --since`, Handle::resource_history ──▶ store ──▶ History
//! ```
//!
//! Nobody looks while nothing runs. Nothing here is part of a run's state: what is lost of it is missed on a curve and nowhere else. The files
//! alone are what is shown, so that it is the same with and without a host.

mod recorder;
mod sample;
mod store;

pub(super) use recorder::Recorder;
pub use sample::{History, Level, RunUse, Sample};
pub use store::read;
pub(super) use store::{Store, folder};
