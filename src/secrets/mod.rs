//! Values of secrets: read from a variable, a file or a program at the moment when somebody needs them, and shown to nobody.
//!
//! Knows nothing of modules, settings or where a value goes. A [`Value`] prints as stars in every debug text; no error repeats one.
//! `host` says which source a name has and keeps the workspace's own files.

mod command;
mod file;
mod hidden_input;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::request::SecretSource;

pub use hidden_input::HiddenInput;

/// Longest value. A private key has a few thousand characters, and a whole environment must fit into the start of a process.
const VALUE_BYTES_MAX: usize = 32 << 10;

/// The value of a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(String);

impl Value {
    /// A value as it was given: without its last line end, which a file or a program's output has and nobody means.
    ///
    /// # Errors
    /// What it cannot be: empty, longer than 32 KiB, with a NUL character, or no UTF-8.
    pub fn new(bytes: Vec<u8>) -> Result<Self, BadValue> {
        let text = String::from_utf8(bytes).map_err(|_| BadValue::NotText)?;
        let value = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(&text);
        match value {
            "" => Err(BadValue::Empty),
            value if value.len() > VALUE_BYTES_MAX => Err(BadValue::TooLong),
            value if value.contains('\0') => Err(BadValue::Nul),
            value => Ok(Self(value.to_owned())),
        }
    }

    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Value(***)")
    }
}

/// Why something is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    /// Nothing, or only a line end.
    #[error("it is empty")]
    Empty,
    /// Longer than a variable should be.
    #[error("it is longer than {VALUE_BYTES_MAX} bytes")]
    TooLong,
    /// No variable can hold it.
    #[error("it holds a NUL character")]
    Nul,
    /// Not UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
}

/// Why there is no value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set.
    #[error("the host's environment has no variable `{0}`")]
    NoVariable(String),
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others can read it, or change it.
    #[error("{} is not private: {reason}", .path.display())]
    NotPrivate {
        /// Which.
        path: PathBuf,
        /// In whose way.
        reason: String,
    },
    /// The program could not be started.
    #[error("`{program}` cannot be started: {error}")]
    NotStarted {
        /// Its name.
        program: String,
        /// What the system said.
        error: io::Error,
    },
    /// The program failed. What it printed is not repeated: it may be half of a value.
    #[error("`{program}` failed ({status}){}", said(.stderr))]
    Failed {
        /// Its name.
        program: String,
        /// Its exit code or signal.
        status: String,
        /// The last line of its standard error.
        stderr: String,
    },
    /// The program did not end.
    #[error("`{program}` did not end within {} s, and was ended", .limit.as_secs())]
    TimedOut {
        /// Its name.
        program: String,
        /// How long it had.
        limit: Duration,
    },
    /// What came is no value.
    #[error("its value cannot be used: {0}")]
    Bad(#[from] BadValue),
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(": {stderr}") }
}

/// Gets a value from its source. A program may take its time: not for a thread that others wait for.
///
/// # Errors
/// See [`SecretError`].
pub fn read(source: &SecretSource, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Value, SecretError> {
    let bytes = match source {
        SecretSource::Variable(name) => {
            variable(name).ok_or_else(|| SecretError::NoVariable(name.clone())).map(OsString::into_encoded_bytes)?
        }
        SecretSource::File(path) => file::read(path, VALUE_BYTES_MAX + 2)?,
        SecretSource::Command(words) => command::read(words, VALUE_BYTES_MAX + 2)?,
    };
    Ok(Value::new(bytes)?)
}

/// Whether a source could have a value, without starting a program.
///
/// # Errors
/// See [`SecretError`].
pub fn look(source: &SecretSource, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<(), SecretError> {
    match source {
        SecretSource::Command(words) => command::look(words, variable("PATH").as_deref().unwrap_or(OsStr::new(""))),
        SecretSource::Variable(_) | SecretSource::File(_) => read(source, variable).map(drop),
    }
}

#[cfg(test)]
mod tests;
