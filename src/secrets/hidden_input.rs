//! A terminal that does not show what is typed, for as long as a value lives.

use std::io;

/// Echo is off until this is dropped.
#[derive(Debug)]
pub struct HiddenInput {
    #[cfg(unix)]
    before: rustix::termios::Termios,
    #[cfg(windows)]
    before: u32,
}

#[cfg(unix)]
impl HiddenInput {
    /// Turns the echo of standard input off; the line end is still shown.
    ///
    /// # Errors
    /// When it is no terminal.
    pub fn begin() -> io::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        quiet.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self { before })
    }
}

#[cfg(unix)]
impl Drop for HiddenInput {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), rustix::termios::OptionalActions::Flush, &self.before);
    }
}

#[cfg(windows)]
impl HiddenInput {
    /// Turns the echo of the console off.
    ///
    /// # Errors
    /// When it is no terminal.
    pub fn begin() -> io::Result<Self> {
        Ok(Self { before: crate::win32::echo_off()? })
    }
}

#[cfg(windows)]
impl Drop for HiddenInput {
    fn drop(&mut self) {
        crate::win32::set_console_mode(self.before);
    }
}
