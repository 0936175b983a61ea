//! Tests of whole parts: real programs, real files.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests start programs, read files and look at the clock")]
#![expect(clippy::panic, reason = "helpers of tests fail the test")]

mod adopt;
mod again;
mod crash;
mod damage;
mod disk;
mod engine;
mod exec;
mod hosts;
mod kills;
mod logs;
mod look;
mod module;
mod nodes;
mod prune;
mod run;
mod stop;
mod support;
mod validate;
