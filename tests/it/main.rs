//! Tests of whole parts: real programs, real files.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests start programs, read files and look at the clock")]
#![expect(clippy::panic, reason = "helpers of tests fail the test")]

mod again;
mod crash;
mod engine;
mod exec;
mod hosts;
mod logs;
mod look;
mod module;
mod nodes;
mod run;
mod stop;
mod support;
mod validate;
