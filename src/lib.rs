//! prismq is a host for modules: scripts with a YAML manifest, run alone or as the nodes of a pipeline.
//!
//! It checks parameters by JSON Schema, builds the graph, starts each node when its resources are free, keeps every line of output, and
//! records every run so that it survives `kill -9` and a power cut. The program `prismq` is [`cli::main`]; all of it is usable as a
//! library. `ARCHITECTURE.md` in the repository says why it is built as it is.
//!
//! # Four layers
//!
//! A module of this crate uses what stands above it, and only what its row in `tests/layering/rules.rs` names.
//!
//! | layer | modules | knows |
//! |---|---|---|
//! | words | [`units`] [`ids`] [`diagnostics`] [`tree`] [`json`] [`request`] [`event`] | values and their notation |
//! | decisions | [`fields`] [`params`] [`resources`] [`pipeline::expr`] [`manifest`] [`settings`] [`pipeline`] [`schemas`] [`run`] [`scheduler`] [`simulate`] [`import`] | words. Pure: no clock, no files, no processes, no threads, no randomness; time and ids come in as arguments |
//! | input and output | `win32` [`probe`] [`yaml`] [`source`] [`watch`] [`secrets`] [`journal`] [`logs`] [`attempt`] [`engine`] [`wrapper`] | words, never a decision and hardly each other |
//! | host | [`host`] | all of the above: the only place where they meet |
//! | surfaces | [`api`] [`cli`] | the host's handle and views |
//!
//! # Three rules that carry the rest
//!
//! 1. **One writer, one transition function.** Only [`run::RunState::apply`] changes a run, live and when the journal is read again, so
//!    the two cannot differ. Grants of resources are taken and given back by it, so they cannot leak.
//! 2. **Decisions are data.** [`scheduler::decide`] looks at the state and the time and returns effects. The host makes the record of an
//!    effect durable before it acts on it.
//! 3. **Facts come back as events**, keyed by attempt. A late fact of an old attempt is dropped.
//!
//! # Use as a library
//!
//! A host owns a workspace, takes submissions by its [`host::Handle`], and tells followers how a run goes:
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::mpsc;
//!
//! use prismq::host::ownership::Ownership;
//! use prismq::host::submission::{Submit, Target};
//! use prismq::host::update::Update;
//! use prismq::host::workspace::Workspace;
//! use prismq::host::{Host, HostMode, OnExit, StartOptions};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let workspace = Workspace::at(Path::new("."))?;
//!     let ownership = Ownership::try_take(&workspace)?.ok_or("another host owns this workspace")?;
//!     let host = Host::start(&workspace, ownership, StartOptions { mode: HostMode::Run })?;
//!
//!     let accepted = host.handle().submit(&Submit {
//!         target: Target::Pipeline { path: workspace.root().join("examples/quickstart/pipeline.yaml") },
//!         assignments: vec!["title=My notes".to_owned()],
//!         params_file: None,
//!         caller_folder: workspace.root().to_owned(),
//!         reuse: false,
//!         saved: false,
//!         idempotency: None,
//!         priority: None,
//!     })?; // it is on the disk now
//!
//!     let (sender, updates) = mpsc::channel();
//!     host.handle().follow(&accepted.run, Box::new(move |update| sender.send(update).is_ok()))?;
//!     for update in updates {
//!         match update {
//!             Update::Node(change) => println!("{} {}", change.node, change.status),
//!             Update::Ended(row) => {
//!                 println!("{} {}", row.run_id, row.status.as_str());
//!                 break;
//!             }
//!             Update::Failed { reason } => return Err(reason.into()),
//!             Update::Run(_) | Update::Output { .. } | Update::Progress { .. } | Update::Host(_) | Update::Disk(_) | Update::Leaving => {}
//!         }
//!     }
//!     host.handle().leave(OnExit::Drain, false)?; // starts nothing new, and waits for what runs
//!     host.join();
//!     Ok(())
//! }
//! ```
//!
//! To look at runs no host is needed: [`host::offline`] reads the journal and the runs' folders, whether a host is alive or not.

// Words.
pub mod diagnostics;
pub mod event;
pub mod ids;
pub mod json;
pub mod request;
pub mod tree;
pub mod units;

// Decisions. `clippy.toml` keeps clocks, files, processes, threads and randomness out of them.
pub mod fields;
pub mod import;
pub mod manifest;
pub mod params;
pub mod pipeline;
pub mod resources;
pub mod run;
pub mod scheduler;
pub mod schemas;
pub mod settings;
pub mod simulate;

// Input and output.
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "makes and reads the folders of attempts")]
pub mod attempt;
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "starts processes and waits for them")]
pub mod engine;
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "writes its files on a thread of its own")]
pub mod journal;
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "writes and reads the output of attempts")]
pub mod logs;
#[expect(clippy::disallowed_methods, reason = "asks for the disk of a folder")]
pub mod probe;
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "asks files and programs for values")]
pub mod secrets;
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "reads the files that people write")]
pub mod source;
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "looks at files and waits on a thread of its own")]
pub mod watch;
#[cfg(windows)]
#[expect(unsafe_code, reason = "what Windows offers to nobody but C")]
#[expect(clippy::disallowed_types, reason = "starts programs and locks files")]
#[cfg_attr(test, expect(clippy::disallowed_methods, reason = "its tests start programs and make files"))]
mod win32;
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a process that starts a program and waits for it")]
pub mod wrapper;
#[expect(clippy::disallowed_types, reason = "keys of untrusted mappings are hashed with a random seed; no order depends on it")]
pub mod yaml;

#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the place where decisions meet clocks, files and threads")]
pub mod host;

// Surfaces.
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "listens on a thread of its own")]
pub mod api;
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "knows the terminal, its folder and its own process")]
pub mod cli;
