//! The two calls of the system that no crate offers without `unsafe`.
#![expect(unsafe_code, reason = "fork and getrusage have no safe form in std or rustix")]

use std::io;

use rustix::process::Pid;

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

/// What the children used that were waited for, theirs included.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) user_us: u64,
    pub(super) system_us: u64,
    /// Memory of the largest one, in bytes.
    pub(super) peak_memory: u64,
}

impl Usage {
    pub(super) fn of_children() -> Self {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointer is to memory of the right size and alignment, which the call fills or leaves; zeros are a valid value.
        let usage = unsafe {
            libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
            usage.assume_init()
        };
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
}
