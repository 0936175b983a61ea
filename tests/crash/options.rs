//! The command line of the harness. Words of Rust's own test harness are passed over, so that `cargo test -- --nocapture` works.

use std::path::PathBuf;

use crate::fault::Kind;

/// Cycles of a plain `cargo test`: a few seconds.
const CYCLES_DEFAULT: u64 = 12;

pub(crate) const HELP: &str = "\
cargo test --test crash -- [options]

  --cycles N      how many cycles (12)
  --seed S        what the cycles are chosen by (the clock)
  --first I       number of the first cycle (0); a cycle depends on the seed and its number only
  --only KIND     faults of this kind only; may be repeated (kill-write, eio-sync ...: --kinds lists them)
  --parallel N    cycles at once (2)
  --cuts WHICH    cuts and flipped bits of a journal: all, some (the default) or none
  --keep          keep the folders of cycles in which nothing was wrong too
  --kinds         list the kinds of faults";

/// What to do.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) cycles: u64,
    pub(crate) seed: u64,
    pub(crate) first: u64,
    pub(crate) only: Vec<Kind>,
    pub(crate) parallel: usize,
    pub(crate) cuts: Cuts,
    pub(crate) keep: bool,
}

/// How much of the cuts and flipped bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cuts {
    All,
    Some,
    None,
}

/// What the command line asks for.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Cycles(Options),
    /// To be the writer of a journal in this folder: the harness starts itself so.
    Writer(PathBuf),
    Help,
    Kinds,
    /// `cargo test FILTER` means other tests.
    Nothing,
}

/// Reads the command line.
pub(crate) fn read(words: impl Iterator<Item = String>) -> Result<Asked, String> {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut options =
        Options { cycles: CYCLES_DEFAULT, seed: clock.as_secs(), first: 0, only: Vec::new(), parallel: 2, cuts: Cuts::Some, keep: false };
    let mut words = words;
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--cycles" => options.cycles = number(&value()?)?,
            "--seed" => options.seed = number(&value()?)?,
            "--first" => options.first = number(&value()?)?,
            "--only" => options.only.push(Kind::named(&value()?)?),
            "--parallel" => options.parallel = usize::try_from(number(&value()?)?.max(1)).unwrap_or(1),
            "--cuts" => {
                options.cuts = match value()?.as_str() {
                    "all" => Cuts::All,
                    "some" => Cuts::Some,
                    "none" => Cuts::None,
                    other => return Err(format!("--cuts is all, some or none, not {other:?}")),
                }
            }
            "--keep" => options.keep = true,
            "--kinds" => return Ok(Asked::Kinds),
            "--help" | "-h" => return Ok(Asked::Help),
            "--writer" => return Ok(Asked::Writer(value()?.into())),
            // Rust's own harness.
            "--list" => return Ok(Asked::Nothing),
            "--test-threads" | "--skip" | "--color" | "--format" | "-Z" => drop(value()?),
            "--nocapture" | "--no-capture" | "--show-output" | "--exact" | "--ignored" | "--include-ignored" | "-q" | "--quiet" => {}
            _ if word.starts_with("--test-threads=") || word.starts_with("--color=") || word.starts_with("--format=") => {}
            _ if word.starts_with('-') => return Err(format!("unknown option {word}\n{HELP}")),
            filter if "crash".contains(filter) => {}
            _ => return Ok(Asked::Nothing),
        }
    }
    Ok(Asked::Cycles(options))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}
