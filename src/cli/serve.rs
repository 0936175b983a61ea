//! `prismq serve`: a host without a run of its own. For now only the one that takes over from a `run` is offered.

use std::sync::mpsc;
use std::time::Duration;

use super::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::follow::Input;
use super::session::{Hosting, lock_failure, owned_failure};
use super::signals::{self, Signal};
use crate::host::HostMode;
use crate::host::ownership::{self, HostKind, Ownership};

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// End when no run goes on any more
    #[arg(long)]
    until_idle: bool,

    /// Port on 127.0.0.1; 0: any free one
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// How often an idle host looks whether it is still idle; twice in a row ends it.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// How long the lock of a host that is just leaving is waited for.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let workspace = context.workspace_or_here()?;
    leave_session();
    let Some(ownership) = take_lock(&workspace)? else {
        return Err(owned_failure(&workspace));
    };
    let mode = if arguments.until_idle { HostMode::UntilIdle } else { HostMode::Serve };
    let hosting = Hosting::start(&workspace, ownership, mode, arguments.port, HostKind::Serve)?;
    let (inputs, receiver) = mpsc::channel();
    signals::listen(inputs);
    let mut idle_looks = 0;
    let idle = loop {
        match receiver.recv_timeout(IDLE_LOOK) {
            Ok(Input::Signal(Signal::Interrupt)) => break false,
            // Its own session has no terminal that could go away.
            Ok(Input::Signal(Signal::Hangup) | Input::Update(_) | Input::Lost) => {}
            Err(mpsc::RecvTimeoutError::Timeout | mpsc::RecvTimeoutError::Disconnected) => {
                let busy = hosting.host().handle().remaining().unwrap_or(0) > 0;
                idle_looks = if busy { 0 } else { idle_looks + 1 };
                // Where old runs are being removed, that is waited for: nobody else may do it for long.
                if arguments.until_idle && idle_looks >= 2 && hosting.host().handle().tidy(IDLE_LOOK).unwrap_or(true) {
                    break true;
                }
            }
        }
    };
    // A run that comes in the very last moment is not left alone.
    hosting.drain(idle)?;
    Ok(Exit::Ok)
}

/// The lock, waiting a little for a host that is leaving.
fn take_lock(workspace: &crate::host::workspace::Workspace) -> Result<Option<Ownership>, Failure> {
    let deadline = std::time::Instant::now() + LOCK_LIMIT;
    loop {
        let taken = Ownership::try_take(workspace).map_err(|error| lock_failure(workspace, &error))?;
        if taken.is_some() || std::time::Instant::now() >= deadline || ownership::owner(workspace).is_some() {
            return Ok(taken);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lives on when the terminal that started it goes away.
fn leave_session() {
    // Fails only for a process that leads a group already: then it was started so on purpose.
    #[cfg(unix)]
    let _ = rustix::process::setsid();
}
