//! Signals to the wrapper, as something that a `poll` sees.
//!
//! Handlers and never `SIG_IGN`: what is ignored stays ignored in the module.

use std::io::{self, PipeReader, Read, pipe};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{OFlags, fcntl_setfl};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};

/// The signals that came.
#[derive(Debug)]
pub(in crate::wrapper) struct Signals {
    wake: PipeReader,
    term: Arc<AtomicBool>,
    look: Arc<AtomicBool>,
}

impl Signals {
    /// Takes over the signals of this process.
    pub(in crate::wrapper) fn install() -> io::Result<Self> {
        let (wake, waker) = pipe()?;
        fcntl_setfl(&wake, OFlags::NONBLOCK)?;
        let signals = Self { wake, term: Arc::default(), look: Arc::default() };
        // The flag before the waker: whoever is woken finds it.
        signal_hook::flag::register(SIGTERM, Arc::clone(&signals.term))?;
        signal_hook::flag::register(SIGUSR1, Arc::clone(&signals.look))?;
        // A log that may grow no more (`ulimit -f`) is an error of its write, as on a full disk, and not the end of the wrapper.
        for ignored in [SIGHUP, SIGINT, SIGXFSZ] {
            signal_hook::flag::register(ignored, Arc::default())?;
        }
        for signal in [SIGTERM, SIGUSR1] {
            signal_hook::low_level::pipe::register(signal, waker.try_clone()?)?;
        }
        signal_hook::low_level::pipe::register(SIGCHLD, waker)?;
        Ok(signals)
    }

    /// What becomes readable when one comes.
    pub(in crate::wrapper) fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Takes note of what made it readable.
    pub(in crate::wrapper) fn clear(&self) {
        // Signals of the same kind come together; more than a pipe of them at once does not happen.
        let _ = (&self.wake).read(&mut [0; 64]);
    }

    /// Whether the wrapper was asked to end since the last question.
    pub(in crate::wrapper) fn take_term(&self) -> bool {
        self.term.swap(false, Ordering::SeqCst)
    }

    /// Whether it was told to look at its folder since the last question.
    pub(in crate::wrapper) fn take_look(&self) -> bool {
        self.look.swap(false, Ordering::SeqCst)
    }
}
