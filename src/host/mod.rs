//! The host: the only place where decisions, disk and processes meet.
//!
//! ```text
//!   Handle ──command──▶ ┌──────────────── turn (one thread) ────────────────┐
//!   engine ──fact─────▶ │ inbox → event → commit (journal + World::apply)   │ ──update──▶ followers
//!   journal ─synced───▶ │       → decide(&World) → act on each effect        │ ──RunState─▶ filing thread → run.json
//!                       └────────────────────────────────────────────────────┘
//! ```
//!
//! One thread owns the state and never waits for the disk, a process or a client. It sleeps until a message comes or a deadline is
//! due. Files are read on the callers' threads ([`prepare`]); surfaces hold a [`Handle`].

mod act;
pub mod artifacts;
pub mod catalog;
pub mod clock;
mod defined;
mod devices;
pub mod disk;
pub mod doctor;
mod fanout;
mod filesystem;
mod filing;
pub mod fits;
mod follow;
pub mod forecast;
mod handle;
mod heal;
mod health;
pub mod history;
pub mod hostlog;
pub mod import;
pub mod index;
mod judge;
mod launch;
mod learned;
mod leave;
mod limits;
pub mod look;
mod machine;
mod measure;
pub mod modules;
pub mod offline;
mod oom;
pub mod order;
pub mod ownership;
mod patience;
mod permissions;
mod pinning;
pub mod prepare;
pub mod prune;
mod record;
mod recover;
pub mod reload;
pub mod render;
mod replay;
pub mod resources_view;
mod retry;
pub mod reuse;
pub mod runfile;
pub mod saved;
pub mod secrets;
pub mod select;
mod start;
pub mod submission;
mod sweep;
pub mod tokens;
mod turn;
pub mod update;
pub mod views;
mod vram;
pub mod watch;
pub mod why;
pub mod workspace;

pub use handle::{Accepted, CommandError, FollowSink, Handle};
pub use health::{HealthStatus, HostHealth};
pub use leave::{Attempts, OnExit};
pub use prepare::Refused;
pub use start::{Host, HostMode, StartError, StartOptions};
pub use turn::Ended;
