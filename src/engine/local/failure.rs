//! Why a program could not be started, in words: the system's answer to a failed start names neither the file nor the reason.
//!
//! `ENOENT` alone may mean that the program, its working directory, the interpreter of its first line or its loader is missing.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::event::{SpawnFailure, SpawnFailureKind};

/// What was to be started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    pub(super) program: &'a Path,
    pub(super) args: &'a [OsString],
    /// Name and length of the longest variable of its environment.
    pub(super) longest_variable: Option<(&'a OsStr, usize)>,
    pub(super) folder: &'a Path,
}

/// Numbers of errors that have no [`ErrorKind`] of their own.
const ENOEXEC: i32 = 8;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const WINDOWS_BAD_EXE_FORMAT: i32 = 193;

/// Characters that Windows takes for the folder that a program runs in, and for the program itself, whatever its policy for long paths.
const WINDOWS_FOLDER_MAX: usize = 258;
const WINDOWS_PROGRAM_MAX: usize = 259;

/// A failure with this kind and message, for good.
pub(super) fn lasting(kind: SpawnFailureKind, message: String) -> SpawnFailure {
    SpawnFailure { message, transient: false, kind }
}

/// A failure before the program was touched: its folder or claim could not be written.
pub(super) fn preparing(what: &str, error: &io::Error) -> SpawnFailure {
    let message = format!("{what}: {error}");
    SpawnFailure { message, transient: is_transient(error), kind: SpawnFailureKind::Other }
}

/// Whether what failed may work a moment later: no process, memory or descriptor was free, or the file was just being written.
#[must_use]
pub fn is_transient(error: &io::Error) -> bool {
    let kinds = [ErrorKind::WouldBlock, ErrorKind::OutOfMemory, ErrorKind::ExecutableFileBusy, ErrorKind::Interrupted];
    kinds.contains(&error.kind()) || (cfg!(unix) && matches!(error.raw_os_error(), Some(EMFILE | ENFILE)))
}

/// Explains why the system refused to start a program.
pub(super) fn explain(error: &io::Error, start: Start<'_>) -> SpawnFailure {
    let program = start.program.display();
    if is_transient(error) {
        let message = format!("{program}: {error}");
        return SpawnFailure { message, transient: true, kind: SpawnFailureKind::Other };
    }
    if let Err(error) = std::fs::read_dir(start.folder)
        && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
    {
        let folder = start.folder.display();
        return lasting(SpawnFailureKind::Other, format!("the working directory {folder} of {program} is not there: {error}"));
    }
    if cfg!(windows)
        && start.program.exists()
        && let Some(reason) = too_long_for_windows("the program", start.program, WINDOWS_PROGRAM_MAX)
    {
        return lasting(SpawnFailureKind::Other, format!("{reason}: {error}"));
    }
    match (error.kind(), error.raw_os_error()) {
        (ErrorKind::NotFound | ErrorKind::NotADirectory, _) => missing(error, start.program),
        (ErrorKind::PermissionDenied, _) => denied(error, start.program),
        (ErrorKind::ArgumentListTooLong, _) => too_long(error, start),
        (_, Some(ENOEXEC)) if cfg!(unix) => lasting(
            SpawnFailureKind::NotExecutable,
            format!("{program} is not a program that this system can run: a script needs a first line such as `#!/bin/sh`, or `runtime:`"),
        ),
        (_, Some(WINDOWS_BAD_EXE_FORMAT)) if cfg!(windows) => {
            lasting(SpawnFailureKind::NotExecutable, format!("{program} is not a program that this system can run"))
        }
        _ => lasting(SpawnFailureKind::Other, format!("{program}: {error}")),
    }
}

/// Refuses a working directory that no program can be given here: Windows has a fixed room for its name, and says something else about one
/// that does not fit.
///
/// # Errors
/// Says how long it is and how long it may be.
pub(super) fn fits(folder: &Path) -> Result<(), SpawnFailure> {
    let reason = cfg!(windows).then(|| too_long_for_windows("the working directory", folder, WINDOWS_FOLDER_MAX)).flatten();
    reason.map_or(Ok(()), |reason| Err(lasting(SpawnFailureKind::Other, reason)))
}

fn too_long_for_windows(what: &str, path: &Path, most: usize) -> Option<String> {
    let shown = path.display();
    let length = path.to_string_lossy().encode_utf16().count();
    (length > most).then(|| format!("{what} {shown} has {length} characters, and may have {most}: move the workspace to a shorter path"))
}

fn missing(error: &io::Error, program: &Path) -> SpawnFailure {
    if !program.exists() {
        return lasting(SpawnFailureKind::NotFound, format!("{}: {error}", program.display()));
    }
    // It is there, and yet the system misses something: what is to read it.
    let reason = match shebang(program) {
        Some(line) => {
            let carriage = if line.ends_with('\r') { " (the file has Windows line ends: save it with LF)" } else { "" };
            format!("the interpreter `{}` named in the first line of {} is not there{carriage}", line.trim(), program.display())
        }
        None => format!("{} is there, but what loads it is not: was it built for another system?", program.display()),
    };
    lasting(SpawnFailureKind::NotExecutable, reason)
}

fn denied(error: &io::Error, program: &Path) -> SpawnFailure {
    let name = program.display();
    let message = if program.is_dir() {
        format!("{name} is a folder, not a program")
    } else if cfg!(unix) && !is_marked_executable(program) {
        format!("{name} is not executable: `chmod +x` it, or let `runtime:` name what runs it")
    } else if let Some(line) = shebang(program) {
        format!("{name}: {error} (its first line names `{}`)", line.trim())
    } else {
        format!("{name}: {error}")
    };
    lasting(SpawnFailureKind::NotExecutable, message)
}

fn too_long(error: &io::Error, start: Start<'_>) -> SpawnFailure {
    let longest = start.args.iter().enumerate().max_by_key(|(_, arg)| arg.len());
    let longest = longest.map_or((0, 0), |(at, arg)| (at + 1, arg.len()));
    let place = match start.longest_variable {
        Some((name, length)) if length > longest.1 => format!("the variable {} has {length} bytes", name.display()),
        Some(_) | None => format!("argument {} has {} bytes", longest.0, longest.1),
    };
    let help = "pass large values with `arguments: json-file`";
    lasting(SpawnFailureKind::Other, format!("{}: {error}: {place}; {help}", start.program.display()))
}

#[cfg(unix)]
fn is_marked_executable(program: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    program.metadata().is_ok_and(|data| data.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_marked_executable(_: &Path) -> bool {
    true
}

/// What stands after `#!` in the first line, if the file has one.
fn shebang(program: &Path) -> Option<String> {
    let mut head = [0; 256];
    let count = File::open(program).ok()?.read(&mut head).ok()?;
    let line = head[..count].strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    Some(String::from_utf8_lossy(line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_for_windows_is_named() {
        let long = "ö".repeat(258);
        assert_eq!(too_long_for_windows("the folder", Path::new(&long), 258), None);
        let long = format!("{long}x");
        let reason = too_long_for_windows("the folder", Path::new(&long), 258).expect("a reason");
        assert!(reason.starts_with(&format!("the folder {long} has 259 characters, and may have 258: ")), "{reason}");
        assert_eq!(fits(Path::new(&long)).is_err(), cfg!(windows));
    }
}
