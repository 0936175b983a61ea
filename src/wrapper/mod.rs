//! The wrapper: a small process that stands between a host and a module, and outlives the host.
//!
//! It claims an attempt, holds its lock for life, starts the module, pumps its output into the log files, keeps it within its limits, stops
//! it when it is told to, ends what it leaves behind, and writes down how it ended. The attempt's folder is its only protocol; the pipe
//! to the host is a shortcut that may break at any time.
//!
//! The program `prismq-attempt` is [`main`]; `prismq` has it too behind a hidden verb, for where the program is not beside it. It must
//! stay small: no runtime, no argument parser, no JSON library, no thread, nothing that a thousand of them at once would be felt by. It
//! knows nothing of runs, graphs, the journal or the host. `engine` starts it and reads its folder.
//!
//! `life` is the order in which things happen, the same on every system; `claim`, `ending`, `pump`, `ladder` and `reporter` are its parts;
//! `system` is what differs.

#[cfg(unix)]
mod brood;
mod claim;
mod ending;
mod ladder;
mod life;
mod mask;
#[cfg(unix)]
mod nursery;
mod pump;
mod reporter;
#[cfg(unix)]
mod sys;
#[cfg(unix)]
#[path = "unix/mod.rs"]
mod system;
#[cfg(windows)]
#[path = "windows.rs"]
mod system;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::attempt::{Machine, ProcessIdentity};
use crate::units::Timestamp;
use life::Order;
use reporter::Reporter;

/// Argument by which `prismq` becomes the wrapper.
pub const HIDDEN_VERB: &str = "__attempt";

/// Exit codes of the wrapper itself. Nobody has to look at them: the folder says more.
const DONE: u8 = 0;
const MISUSED: u8 = 2;
const REFUSED: u8 = 3;
const NOT_RECORDED: u8 = 4;

/// The program. Without further arguments than `--nursery` it hatches a wrapper for each [`Hatch`](crate::attempt::Hatch) that it reads
/// from standard input (Unix); with a folder it is the wrapper of that attempt, its environment being the module's. `--report ID`: reports
/// go to standard output under this number.
#[must_use]
pub fn main(args: std::env::ArgsOs) -> ExitCode {
    let mut args: Vec<OsString> = args.skip(1).collect();
    if args.first().is_some_and(|word| word == HIDDEN_VERB) {
        args.remove(0);
    }
    let code = match args.as_slice() {
        #[cfg(unix)]
        [only] if only == "--nursery" => nursery::run(),
        [folder] => alone(Path::new(folder), Reporter::silent()),
        [folder, flag, id] if flag == "--report" => match id.to_str().and_then(|id| id.parse().ok()) {
            Some(id) => alone(Path::new(folder), Reporter::new(id)),
            None => misused(),
        },
        _ => misused(),
    };
    ExitCode::from(code)
}

fn misused() -> u8 {
    eprintln!(
        "prismq-attempt: the wrapper of an attempt; prismq starts it by itself\n  usage: prismq-attempt FOLDER [--report ID]\n         \
         prismq-attempt --nursery"
    );
    MISUSED
}

/// The wrapper of one attempt, as a program of its own.
fn alone(folder: &Path, reporter: Reporter) -> u8 {
    let machine = Machine::this();
    let wrapper = ProcessIdentity::of(std::process::id());
    life::run(Order { folder, environment: None, input_is_empty: false, machine: &machine, wrapper, reporter, place: None, signals: None })
        .code
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
