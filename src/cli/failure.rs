//! What a verb could not do, with the exit code that says so: the only place where inner errors become exit codes.

use super::exit::Exit;
use crate::diagnostics::Diagnostics;

/// Why a verb failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What went wrong, a lower-case fragment. Empty where the diagnostics say everything.
    pub(crate) message: String,
    /// What to do.
    pub(crate) help: Option<String>,
    /// Findings in files or parameters.
    pub(crate) diagnostics: Diagnostics,
    /// Findings already rendered by a host that has the files.
    pub(crate) rendered: Option<String>,
    /// The host was just leaving and did nothing: the next one can be asked.
    pub(crate) leaving: bool,
    /// The host cannot write anything down: what was asked for may come to pass later, or not.
    pub(crate) unwritable: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            help: None,
            diagnostics: Diagnostics::new(),
            rendered: None,
            leaving: false,
            unwritable: false,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Something on our side: a file that cannot be read, a system call that failed.
    pub(crate) fn ours(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, message)
    }

    pub(crate) fn invalid(diagnostics: Diagnostics) -> Self {
        Self { diagnostics, ..Self::new(Exit::Invalid, "") }
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::invalid(diagnostics)
    }
}
