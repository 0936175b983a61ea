//! `requires: {python: ">=3.10"}`: asking an interpreter once and comparing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::{Launch, Unavailable};
use crate::event::SpawnFailureKind;

/// What an interpreter is: where it lies, how it is called, when it was installed.
type Key = (PathBuf, Vec<std::ffi::OsString>, Option<SystemTime>);

/// Versions of interpreters that were asked.
#[derive(Debug, Default)]
pub(super) struct Versions {
    known: Mutex<HashMap<Key, Version>>,
}

/// Major, minor, micro.
type Version = [u32; 3];

impl Versions {
    /// Checks the interpreter of `launch` against a specification such as `>=3.10,<3.13`.
    pub(super) fn check(&self, wanted: &str, launch: &Launch) -> Result<(), Unavailable> {
        // uv chooses the interpreter itself, by the header of the script.
        if launch.program.file_stem().is_some_and(|name| name == "uv") {
            return Ok(());
        }
        let version = self.of(launch)?;
        if fits(wanted, version)? {
            return Ok(());
        }
        let [major, minor, micro] = version;
        let message = format!("the module needs Python {wanted}, and {} is {major}.{minor}.{micro}", launch.program.display());
        Err(Unavailable::missing(message, "choose another one with `python:` in the manifest, for example `python: uv` or `py:3.12`"))
    }

    fn of(&self, launch: &Launch) -> Result<Version, Unavailable> {
        let options: Vec<_> = launch.leading.iter().take(launch.leading.len().saturating_sub(1)).cloned().collect();
        let installed = launch.program.metadata().and_then(|data| data.modified()).ok();
        let key = (launch.program.clone(), options, installed);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some(version) = known {
            return Ok(version);
        }
        let version = ask(launch, &key.1)?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, version);
        Ok(version)
    }
}

fn ask(launch: &Launch, options: &[std::ffi::OsString]) -> Result<Version, Unavailable> {
    let program = launch.program.display();
    let help = "start it by hand to see what is wrong, or choose another one with `python:`";
    let mut command = Command::new(&launch.program);
    command.args(options).args(["-I", "-c", "import sys; print(*sys.version_info[:3])"]);
    command.envs(launch.environment.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    let output = command
        .output()
        .map_err(|error| Unavailable::new(SpawnFailureKind::NotExecutable, format!("{program} cannot be started: {error}"), help))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<u32> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    numbers.try_into().map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or("it printed no version").trim().to_owned();
        Unavailable::new(SpawnFailureKind::Other, format!("{program} does not work ({}): {said}", output.status), help)
    })
}

/// Whether a version fits all parts of a specification. `==3.11` means any 3.11, as people mean it.
fn fits(wanted: &str, version: Version) -> Result<bool, Unavailable> {
    for part in wanted.split(',').map(str::trim) {
        if !part_fits(part, version).ok_or_else(|| not_understood(wanted))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn not_understood(wanted: &str) -> Unavailable {
    let message = format!("`{wanted}` is not a version of Python");
    Unavailable::new(SpawnFailureKind::Other, message, "write `>=3.10`, `==3.11` or `>=3.10,<3.13` under `requires:`")
}

/// `None`: not understood.
fn part_fits(part: &str, version: Version) -> Option<bool> {
    let at = part.find(|c: char| c.is_ascii_digit())?;
    let (operator, number) = part.split_at(at);
    let number = number.trim().trim_end_matches(".*");
    let numbers: Vec<u32> = number.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    if numbers.len() > version.len() {
        return None;
    }
    let head = &version[..numbers.len()];
    let mut full = [0; 3];
    full[..numbers.len()].copy_from_slice(&numbers);
    match operator.trim() {
        ">=" => Some(version >= full),
        ">" => Some(head > numbers.as_slice()),
        "<=" => Some(head <= numbers.as_slice()),
        "<" => Some(version < full),
        "==" | "=" | "" => Some(head == numbers.as_slice()),
        "!=" => Some(head != numbers.as_slice()),
        "~=" => Some(version >= full && head[..numbers.len() - 1] == numbers[..numbers.len() - 1]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications() {
        let cases = [
            (">=3.10", [3, 10, 0], true),
            (">=3.10", [3, 9, 18], false),
            (">=3.9", [3, 10, 1], true),
            (">=3.10,<3.13", [3, 13, 0], false),
            (">= 3.10, < 3.13", [3, 12, 9], true),
            ("==3.11", [3, 11, 7], true),
            ("3.11.*", [3, 11, 7], true),
            ("!=3.11", [3, 11, 7], false),
            (">3.10", [3, 10, 5], false),
            ("<=3.10", [3, 10, 5], true),
            ("~=3.10", [3, 12, 0], true),
            ("~=3.10.2", [3, 11, 0], false),
            (">=3", [3, 0, 0], true),
        ];
        for (wanted, version, fit) in cases {
            assert_eq!(fits(wanted, version), Ok(fit), "{wanted} {version:?}");
        }
        for bad in ["", "new", ">=", "=>3.10", ">=3.x", ">=3.10.1.2"] {
            assert!(fits(bad, [3, 12, 0]).is_err(), "{bad}");
        }
    }
}
