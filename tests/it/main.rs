//! Tests of whole parts: real programs, real files.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests start programs, read files and look at the clock")]
#![expect(clippy::panic, reason = "helpers of tests fail the test")]

mod adopt;
mod again;
mod crash;
mod engine;
mod exec;
mod hosts;
mod ladder;
mod look;
mod module;
mod nodes;
mod run;
mod serve;
mod stop;
mod support;
mod validate;
