//! The three calls of the system that no crate offers without `unsafe`.
#![expect(unsafe_code, reason = "fork, _exit and wait4 have no safe form in std or rustix")]

use std::io;

use rustix::process::Pid;

use crate::attempt::ExitHow;

/// Makes a copy of this process: `None` in the copy, its number in the original.
///
/// Only for a process without further threads. That is checked by nobody: the nursery never starts one.
///
/// # Errors
/// `EAGAIN` where there are too many processes, `ENOMEM`.
pub(super) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: this process has one thread (see above), so that the copy finds no lock held by a thread that it does not have, and may
    // go on as if it were the original.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        number => Ok(Pid::from_raw(number)),
    }
}

/// Ends this process without tidying up: a copy that tidied up would touch, and so copy, page after page that it shares with its original,
/// only to have all of them thrown away. Nothing of ours is kept in buffers.
pub(super) fn exit_at_once(code: u8) -> ! {
    // SAFETY: the call has no preconditions and does not return.
    unsafe { libc::_exit(code.into()) }
}

/// What a process used, and those of its descendants that were waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Usage {
    pub(super) user_us: u64,
    pub(super) system_us: u64,
    /// Memory of the largest one, in bytes.
    pub(super) peak_memory: u64,
}

impl Usage {
    fn of(usage: &libc::rusage) -> Self {
        let micros = |time: libc::timeval| {
            let (seconds, micros) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_usec).unwrap_or(0));
            seconds.saturating_mul(1_000_000).saturating_add(micros)
        };
        let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
        Self {
            user_us: micros(usage.ru_utime),
            system_us: micros(usage.ru_stime),
            peak_memory: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(unit),
        }
    }

    /// Adds that of another process.
    pub(super) fn add(&mut self, other: Self) {
        self.user_us = self.user_us.saturating_add(other.user_us);
        self.system_us = self.system_us.saturating_add(other.system_us);
        self.peak_memory = self.peak_memory.max(other.peak_memory);
    }
}

/// A child that was waited for.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) pid: Pid,
    pub(super) how: ExitHow,
    pub(super) usage: Usage,
}

/// Waits for a child that is dead by now; `None`: none of them is. By itself and not by the sum over all children, since a wrapper may have
/// more than one module in its life.
///
/// # Errors
/// `ECHILD` where there are no children, `EINTR`.
pub(super) fn wait_any() -> io::Result<Option<Dead>> {
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to memory of the right size and alignment, which the call fills or leaves; zeros are a valid value.
    let (number, usage) = unsafe { (libc::wait4(-1, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()), usage.assume_init()) };
    match number {
        -1 => Err(io::Error::last_os_error()),
        number => Ok(Pid::from_raw(number).map(|pid| Dead { pid, how: how(status), usage: Usage::of(&usage) })),
    }
}

fn how(status: i32) -> ExitHow {
    if libc::WIFEXITED(status) {
        ExitHow::Code(libc::WEXITSTATUS(status).into())
    } else if libc::WIFSIGNALED(status) {
        ExitHow::Signal { number: libc::WTERMSIG(status), core: libc::WCOREDUMP(status) }
    } else {
        // Neither ended nor killed is not reported without being asked for.
        ExitHow::Code(-1)
    }
}
