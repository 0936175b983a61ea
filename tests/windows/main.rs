//! The wrapper, the engine and the whole program on Windows. Run under Wine in CI (`.ci/run windows`); elsewhere there is nothing here.
//!
//! No Python: the modules are `tests/stub.rs` and `cmd`. What Wine does otherwise than Windows is ignored with the reason;
//! `cargo test --test windows -- --include-ignored` runs it on Windows. `docs/windows.md` lists what only Windows itself can show.
#![cfg(windows)]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests start programs, read files and look at the clock")]
#![expect(clippy::panic, reason = "helpers of tests fail the test")]

mod attempt;
mod bench;
mod engine;
mod host;
mod open_files;
mod paths;
mod reload;
#[path = "../it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with `tests/it`, which uses all of it")]
mod support;
mod trees;
