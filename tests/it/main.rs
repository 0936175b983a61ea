//! Tests of whole parts: real programs, real files.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests start programs, read files and look at the clock")]
#![expect(clippy::panic, reason = "helpers of tests fail the test")]

mod adopt;
mod again;
#[cfg(target_os = "linux")]
mod api;
#[cfg(target_os = "linux")]
mod attacks;
mod causes;
mod crash;
mod damage;
mod descriptors;
mod disk;
mod engine;
#[cfg(unix)]
mod events;
mod exec;
#[cfg(unix)]
mod free_disk;
#[cfg(target_os = "linux")]
mod gpus;
mod history;
mod hosts;
mod kills;
mod ladder;
mod learn;
mod logs;
mod look;
mod module;
mod nodes;
mod order;
#[cfg(unix)]
mod ordinary;
mod prune;
#[cfg(unix)]
mod reattach;
mod reload;
mod resources;
mod reuse;
mod run;
mod secrets;
mod serve;
#[cfg(target_os = "linux")]
mod shared;
mod stop;
#[cfg(unix)]
mod streams;
#[cfg_attr(windows, expect(dead_code, reason = "most tests here need Unix or Python; `tests/windows` uses more of it"))]
mod support;
mod validate;
mod wrapper;
