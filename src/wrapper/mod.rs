//! The wrapper: a small process that stands between a host and a module, and outlives the host.
//!
//! It claims an attempt, holds its lock for life, starts the module, pumps its output into the log files, keeps it within its limits, stops
//! it when it is told to, ends what it leaves behind, and writes down how it ended. The attempt's folder is its only protocol; the pipe
//! to the host is a shortcut that may break at any time.
//!
//! The program `prismq-attempt` is [`main`]; `prismq` has it too behind a hidden verb, for where the program is not beside it. It must
//! stay small: no runtime, no argument parser, no JSON library, nothing that a thousand of them at once would be felt by. It knows
//! nothing of runs, graphs, the journal or the host. `engine` starts it and reads its folder.

use std::process::ExitCode;

/// Argument by which `prismq` becomes the wrapper.
pub const HIDDEN_VERB: &str = "__attempt";

/// The program. Without further arguments than `--nursery` it hatches a wrapper for each [`Hatch`](crate::attempt::Hatch) that it reads
/// from standard input (Unix); with a folder it is the wrapper of that attempt, its environment being the module's. `--report ID`: reports
/// go to standard output under this number.
#[must_use]
pub fn main(args: std::env::ArgsOs) -> ExitCode {
    let _ = args;
    ExitCode::FAILURE
}
