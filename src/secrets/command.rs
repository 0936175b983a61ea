//! A secret that a program prints: a password manager, a credential helper.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::SecretError;

/// How long a program may take. A keyring that asks for a password has to be opened before.
const LIMIT: Duration = Duration::from_secs(10);

/// Pause between two looks at whether it has ended, after its output has.
const LOOK: Duration = Duration::from_millis(5);

/// Most of its standard error that is kept; of that only the last line is shown.
const STDERR_MAX: u64 = 4 << 10;

/// Runs the program in the host's environment, without a shell and without input; at most so many bytes of what it prints.
pub(super) fn read(words: &[String], most: usize) -> Result<Vec<u8>, SecretError> {
    read_within(words, most, LIMIT)
}

pub(super) fn read_within(words: &[String], most: usize, limit: Duration) -> Result<Vec<u8>, SecretError> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(SecretError::NotStarted { program: String::new(), error: io::ErrorKind::InvalidInput.into() });
    };
    let not_started = |error| SecretError::NotStarted { program: program.clone(), error };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that what it starts can be ended with it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(not_started)?;
    let until = Instant::now() + limit;
    let stdout = child.stdout.take().map(|pipe| gather(pipe, most as u64));
    let stderr = child.stderr.take().map(|pipe| gather(pipe, STDERR_MAX));
    let printed = stdout.map(|pipe| pipe.recv_timeout(until.saturating_duration_since(Instant::now())));
    let Some(Ok(printed)) = printed else {
        end(&mut child);
        return Err(SecretError::TimedOut { program: program.clone(), limit });
    };
    let Some(status) = wait(&mut child, until).map_err(not_started)? else {
        end(&mut child);
        return Err(SecretError::TimedOut { program: program.clone(), limit });
    };
    if status.success() {
        return Ok(printed);
    }
    let said = stderr.and_then(|pipe| pipe.recv_timeout(LIMIT / 10).ok()).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned();
    Err(SecretError::Failed { program: program.clone(), status: status.to_string(), stderr: said })
}

/// Reads a pipe to its end on a thread of its own, and keeps the first bytes. Somebody who holds the pipe open hinders nobody but it.
fn gather(mut pipe: impl Read + Send + 'static, most: u64) -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    let reader = std::thread::Builder::new().name("secret".to_owned()).spawn(move || {
        let mut bytes = Vec::new();
        if (&mut pipe).take(most).read_to_end(&mut bytes).is_ok() && io::copy(&mut pipe, &mut io::sink()).is_ok() {
            // Whoever asked may have given up.
            let _ = send.send(bytes);
        }
    });
    // Without a thread the sender is gone, and the receiver says so at once.
    drop(reader);
    receive
}

fn wait(child: &mut Child, until: Instant) -> io::Result<Option<std::process::ExitStatus>> {
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(status)),
            None if Instant::now() >= until => return Ok(None),
            None => std::thread::sleep(LOOK),
        }
    }
}

fn end(child: &mut Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // Not waited for yet, so that the number is still its own.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Whether there is such a program.
pub(super) fn look(words: &[String], path: &OsStr) -> Result<(), SecretError> {
    let program = words.first().map_or("", String::as_str);
    let is_there = if program.contains(['/', '\\']) {
        std::path::Path::new(program).is_file()
    } else {
        std::env::split_paths(path).any(|folder| {
            let file = folder.join(program);
            file.is_file() || (cfg!(windows) && file.with_extension("exe").is_file())
        })
    };
    if is_there {
        return Ok(());
    }
    Err(SecretError::NotStarted { program: program.to_owned(), error: io::ErrorKind::NotFound.into() })
}
