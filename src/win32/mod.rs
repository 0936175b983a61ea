//! The calls of Windows that neither the standard library nor a small crate offers: job objects, a lock that leaves a file readable, who a
//! process is. Everything unsafe that Windows needs stands in this folder, each call behind a function that cannot be misused.
//!
//! Knows nothing of attempts or modules. `attempt`, `journal`, `engine` and `wrapper` use it; on other systems it is not there.

mod console;
mod job;
mod lock;
mod process;

pub(crate) use console::{echo_off, set_console_mode};
pub(crate) use job::Job;
pub(crate) use lock::{try_lock, try_lock_shared};
pub(crate) use process::{SpawnFlags, boot, break_group, computer_name, keep_streams_private, started, usage_of, wait_for_end};

use std::io;

/// What processes have used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    /// Processor time in user mode, microseconds.
    pub(crate) user_us: u64,
    /// The same in the kernel.
    pub(crate) system_us: u64,
    /// Most memory at once, in bytes; 0: not known.
    pub(crate) peak_memory: u64,
}

/// What a call said that gives 0 when it fails.
fn done(result: i32) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Size of a structure as the calls want it.
fn size_of<T>() -> u32 {
    u32::try_from(std::mem::size_of::<T>()).unwrap_or(u32::MAX)
}
