//! What the command line asks for.

use std::path::PathBuf;
use std::time::Duration;

pub(crate) const HELP: &str = "\
Feeds every reader with inputs that were made of kept ones.

    cargo test --test fuzz -- [OPTIONS]

  --seconds N     for each target (without it: a few hundred inputs)
  --target NAME   only this one; may be repeated
  --seed N        of the random numbers (without it: the time)
  --replay FILE   plays one input; name its --target";

/// Inputs of each target in a plain `cargo test`.
const FEW: u64 = 300;

#[derive(Debug)]
pub(crate) enum Asked {
    Fuzz(Options),
    Help,
    /// `cargo test` lists tests, or filters by a name that is not ours.
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) replay: Option<PathBuf>,
    limit: Option<Duration>,
    targets: Vec<String>,
}

impl Options {
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|target| target == name)
    }

    pub(crate) fn goes_on(&self, played: u64, elapsed: Duration) -> bool {
        self.limit.map_or(played < FEW, |limit| elapsed < limit)
    }
}

pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut options = Options { seed: now(), replay: None, limit: None, targets: Vec::new() };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("`{argument}` needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("`{text}` is no number"));
        match argument.as_str() {
            "--seconds" => options.limit = Some(Duration::from_secs(number(value()?)?)),
            "--seed" => options.seed = number(value()?)?,
            "--target" => options.targets.push(value()?),
            "--replay" => options.replay = Some(value()?.into()),
            "--help" | "-h" => return Ok(Asked::Help),
            "--list" => return Ok(Asked::Nothing),
            // Options of the standard harness, which `cargo test -- ...` gives to every program.
            option if option.starts_with('-') => {}
            _ => return Ok(Asked::Nothing),
        }
    }
    let known: Vec<&str> = crate::targets::all().iter().map(|target| target.name).collect();
    match options.targets.iter().find(|target| !known.contains(&target.as_str())) {
        Some(unknown) => Err(format!("no target `{unknown}`; there are: {}", known.join(", "))),
        None if options.replay.is_some() && options.targets.len() != 1 => Err("`--replay` needs one `--target`".to_owned()),
        None => Ok(Asked::Fuzz(options)),
    }
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |time| time.as_secs())
}
