//! Processes: how one is started, who it is, whether it lives, and what this one hands on.

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::time::Duration;

use windows_sys::Wdk::System::SystemInformation::NtQuerySystemInformation;
use windows_sys::Win32::Foundation::{
    FILETIME, HANDLE_FLAG_INHERIT, INVALID_HANDLE_VALUE, SetHandleInformation, WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent, GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE,
};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::SystemInformation::{ComputerNamePhysicalDnsHostname, GetComputerNameExW};
use windows_sys::Win32::System::Threading::{
    CREATE_BREAKAWAY_FROM_JOB, CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW, GetProcessTimes, INFINITE, OpenProcess,
    PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, WaitForSingleObject,
};

use super::{Usage, size_of};

/// How a program is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpawnFlags {
    /// In a process group of its own, so that the terminal's Ctrl-C is not for it; with our console.
    OwnGroup,
    /// The same with a console of its own that nobody sees: it outlives our terminal.
    Apart,
    /// The same, and out of a job that we are in, if that job allows it.
    ApartFromJob,
}

impl SpawnFlags {
    /// As the system wants them.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::OwnGroup => CREATE_NEW_PROCESS_GROUP,
            Self::Apart => CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW,
            Self::ApartFromJob => CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW | CREATE_BREAKAWAY_FROM_JOB,
        }
    }
}

/// Keeps our standard streams out of the programs that we start from now on. What is inherited once is inherited on and on, and whoever
/// reads the other end of such a pipe waits for its last holder.
pub(crate) fn keep_streams_private() {
    for stream in [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: no pointers; a stream that is not there is no handle, and is left alone.
        unsafe {
            let handle = GetStdHandle(stream);
            if !handle.is_null() && handle != INVALID_HANDLE_VALUE {
                // A console of old has handles that do not take it; they are not inherited like others.
                let _ = SetHandleInformation(handle, HANDLE_FLAG_INHERIT, 0);
            }
        }
    }
}

/// Sends Ctrl-Break to the group of a process that was started in one of its own. Fails where there is no console.
///
/// The caller makes sure that the process still lives: a number that is no group's any more may mean somebody else.
pub(crate) fn break_group(pid: u32) -> io::Result<()> {
    // SAFETY: no pointers.
    super::done(unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, pid) })
}

/// Waits for the end of a process, at most so long. `true`: it has ended.
pub(crate) fn wait_for_end(process: BorrowedHandle<'_>, limit: Option<Duration>) -> io::Result<bool> {
    let limit = limit.map_or(INFINITE, |limit| u32::try_from(limit.as_millis()).unwrap_or(INFINITE - 1));
    // SAFETY: the handle is open as long as it is borrowed.
    match unsafe { WaitForSingleObject(process.as_raw_handle(), limit) } {
        WAIT_OBJECT_0 => Ok(true),
        WAIT_TIMEOUT => Ok(false),
        _ => Err(io::Error::last_os_error()),
    }
}

/// When the process with this number was started, in 100 ns since 1601; `None` where there is none that runs.
pub(crate) fn started(pid: u32) -> Option<u64> {
    // SAFETY: no pointers; the result is checked.
    let handle = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE, 0, pid) };
    if handle.is_null() {
        return None;
    }
    // SAFETY: it was just opened, and nobody else closes it.
    let process = unsafe { OwnedHandle::from_raw_handle(handle) };
    // One that has ended keeps its number as long as somebody holds a handle to it.
    let ended = wait_for_end(process.as_handle(), Some(Duration::ZERO)).unwrap_or(false);
    if ended { None } else { times(process.as_handle()).map(|times| times.created) }
}

/// What one process has used, its children not included. Memory is that which it really held.
pub(crate) fn usage_of(process: BorrowedHandle<'_>) -> Usage {
    let times = times(process).unwrap_or_default();
    let mut memory = PROCESS_MEMORY_COUNTERS::default();
    // SAFETY: the handle is open as long as it is borrowed; the pointer and the size are those of a living structure.
    let known = unsafe { K32GetProcessMemoryInfo(process.as_raw_handle(), &raw mut memory, size_of::<PROCESS_MEMORY_COUNTERS>()) } != 0;
    let peak_memory = if known { memory.PeakWorkingSetSize as u64 } else { 0 };
    Usage { user_us: times.user / 10, system_us: times.kernel / 10, peak_memory }
}

/// Times of a process, in 100 ns.
#[derive(Default)]
struct Times {
    created: u64,
    kernel: u64,
    user: u64,
}

fn times(process: BorrowedHandle<'_>) -> Option<Times> {
    let (mut created, mut ended, mut kernel, mut user) = Default::default();
    // SAFETY: the handle is open as long as it is borrowed; the pointers are to living variables.
    let known = unsafe { GetProcessTimes(process.as_raw_handle(), &raw mut created, &raw mut ended, &raw mut kernel, &raw mut user) } != 0;
    let whole = |time: FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    known.then(|| Times { created: whole(created), kernel: whole(kernel), user: whole(user) })
}

/// When the system was started, in 100 ns since 1601 by the clock of that time: the same until the next start, whatever is done to the
/// clock. A fast start, which wakes a kernel that slept, counts as none.
pub(crate) fn boot() -> Option<u64> {
    const TIME_OF_DAY: i32 = 3;
    // Boot, now, bias of the time zone, its number, how far the clock was set since the boot, and for how long the system slept.
    let mut words = [0_u64; 6];
    let size = size_of::<[u64; 6]>();
    // SAFETY: the buffer is as long as said, and any bytes are valid words.
    let status = unsafe { NtQuerySystemInformation(TIME_OF_DAY, words.as_mut_ptr().cast(), size, std::ptr::null_mut()) };
    let [boot, _, _, _, set_by, _] = words;
    (status >= 0 && boot != 0).then(|| boot.wrapping_sub(set_by))
}

/// Name of this machine in the network.
pub(crate) fn computer_name() -> Option<String> {
    let mut name = [0_u16; 256];
    let mut length = u32::try_from(name.len()).ok()?;
    // SAFETY: the buffer is so long; the call says how much of it holds the name.
    let known = unsafe { GetComputerNameExW(ComputerNamePhysicalDnsHostname, name.as_mut_ptr(), &raw mut length) } != 0;
    let name = name.get(..usize::try_from(length).ok()?)?;
    known.then(|| String::from_utf16_lossy(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_start_until_it_ends() {
        let me = std::process::id();
        let mine = started(me).unwrap();
        assert_eq!(started(me), Some(mine));
        let mut child = std::process::Command::new("cmd").args(["/c", "exit 3"]).spawn().unwrap();
        let pid = child.id();
        assert!(wait_for_end(child.as_handle(), None).unwrap());
        assert_eq!(started(pid), None, "it is known as dead although its number is still held");
        assert_eq!(child.wait().unwrap().code(), Some(3));
    }

    #[test]
    fn the_machine_says_who_it_is() {
        assert!(boot().is_some() && boot() == boot());
        assert!(computer_name().is_some_and(|name| !name.is_empty()));
    }
}
