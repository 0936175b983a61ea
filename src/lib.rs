//! prismq: a host for modules.
// L0 words
pub mod diagnostics;
pub mod event;
pub mod ids;
pub mod request;
pub mod tree;
pub mod units;
// L1 decisions
pub mod fields;
pub mod manifest;
pub mod params;
pub mod pipeline;
pub mod resources;
pub mod run;
pub mod scheduler;
pub mod schemas;
pub mod settings;
// L2 input and output
pub mod attempt;
pub mod engine;
pub mod journal;
pub mod logs;
pub mod probe;
pub mod source;
pub mod yaml;
// L3
pub mod host;
// L4
pub mod api;
pub mod cli;
