//! Exit codes, documented in `--help` and `docs/cli.md`, and tested.

use std::process::ExitCode;

use crate::event::RunStatus;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything as asked.
    Ok,
    /// The run failed.
    RunFailed,
    /// The command line was not understood, or something on our side went wrong that no other code names.
    Usage,
    /// A file or a parameter was refused.
    Invalid,
    /// No such run, node, module or file.
    NotFound,
    /// There is a host and it does not answer, or there is none and one is needed.
    HostUnreachable,
    /// `wait --timeout` ran out.
    TimedOut,
    /// Somebody else cancelled the run.
    Cancelled,
    /// The request can never fit this machine.
    NeverFits,
    /// Another host owns the workspace.
    NotOwner,
    /// The journal is damaged.
    JournalDamaged,
    /// Our own Ctrl-C.
    Interrupted,
    /// The code of the module itself (`exec`).
    Module(u8),
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::RunFailed => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::NotFound => 4,
            Self::HostUnreachable => 5,
            Self::TimedOut => 6,
            Self::Cancelled => 7,
            Self::NeverFits => 8,
            Self::NotOwner => 75,
            Self::JournalDamaged => 78,
            Self::Interrupted => 130,
            Self::Module(code) => code,
        }
    }

    /// For a run that ended, seen by somebody who did not cancel it.
    #[must_use]
    pub fn of_status(status: RunStatus) -> Self {
        match status {
            RunStatus::Completed => Self::Ok,
            RunStatus::Failed | RunStatus::Queued | RunStatus::Running => Self::RunFailed,
            RunStatus::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
