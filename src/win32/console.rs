//! The console: whether it shows what is typed.

use std::io;

use windows_sys::Win32::System::Console::{ENABLE_ECHO_INPUT, GetConsoleMode, GetStdHandle, STD_INPUT_HANDLE, SetConsoleMode};

use super::done;

/// Turns the echo of standard input off; gives how it was.
pub(crate) fn echo_off() -> io::Result<u32> {
    let mut mode = 0;
    // SAFETY: the place for the mode lives longer than the call; a handle that is no console is refused.
    unsafe {
        let input = GetStdHandle(STD_INPUT_HANDLE);
        done(GetConsoleMode(input, &raw mut mode))?;
        done(SetConsoleMode(input, mode & !ENABLE_ECHO_INPUT))?;
    }
    Ok(mode)
}

/// Makes standard input as it was.
pub(crate) fn set_console_mode(mode: u32) {
    // SAFETY: no pointers. A console that is gone needs no mode.
    let _ = unsafe { SetConsoleMode(GetStdHandle(STD_INPUT_HANDLE), mode) };
}
