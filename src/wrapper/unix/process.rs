//! The module: two pipes and the signals in one `poll`, its end, and what it leaves.
//!
//! `std::process::Command` with an absolute program, a cleared environment and a process group takes the `posix_spawn` path. Its errors
//! come back typed, and the wrapper's own memory is never copied. A `pre_exec` would silently leave that path: do not add one.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};

use super::memory::Guard;
use super::signals::Signals;
use super::tree;
use crate::attempt::ExitHow;
use crate::logs::Stream;
use crate::wrapper::pump::Pump;
use crate::wrapper::sys::{Usage, wait_any};

/// Bytes read at once: the size of a pipe as it is made, and of one that has turned out to be busy.
const BUFFER_BYTES: usize = 64 << 10;
const BUSY_BUFFER_BYTES: usize = 256 << 10;

/// Size of a busy pipe: at 64 KiB reader and writer wait for each other all the time.
#[cfg(target_os = "linux")]
const BUSY_PIPE_BYTES: usize = 1 << 20;

/// Reads in a row from a busy pipe before the other one and the signals get their turn.
const READS_IN_A_ROW: usize = 16;

/// A started module and its descendants.
#[derive(Debug)]
pub(in crate::wrapper) struct Process {
    pid: Pid,
    signals: Signals,
    pipes: [Option<Pipe>; 2],
    buffer: Vec<u8>,
    end: Option<End>,
    alone: bool,
    usage: Usage,
}

#[derive(Debug)]
struct Pipe {
    stream: Stream,
    file: File,
    busy: bool,
}

/// How and when the module ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::wrapper) struct End {
    pub(in crate::wrapper) how: ExitHow,
    pub(in crate::wrapper) at: Instant,
}

/// What a wait brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::wrapper) struct Woken {
    /// The wrapper was asked to end.
    pub(in crate::wrapper) term: bool,
    /// It was told to look at its folder.
    pub(in crate::wrapper) look: bool,
}

impl Process {
    /// Starts a module in a process group of its own.
    pub(in crate::wrapper) fn spawn(mut command: Command, signals: Signals, _: &Guard) -> io::Result<Self> {
        let mut child = command.process_group(0).spawn()?;
        let out = child.stdout.take().map(|pipe| Pipe::new(Stream::Stdout, pipe.into()));
        let err = child.stderr.take().map(|pipe| Pipe::new(Stream::Stderr, pipe.into()));
        let pid = Pid::from_child(&child);
        Ok(Self { pid, signals, pipes: [out, err], buffer: Vec::new(), end: None, alone: false, usage: Usage::default() })
    }

    pub(in crate::wrapper) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How the module ended, if it has.
    pub(in crate::wrapper) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// No descendant is left, and all were waited for.
    pub(in crate::wrapper) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Nobody can write output any more, and all of it was read.
    pub(in crate::wrapper) fn is_silent(&self) -> bool {
        self.pipes.iter().all(Option::is_none)
    }

    /// Waits until something happens or it is that late. Output goes to the pump.
    pub(in crate::wrapper) fn wait(&mut self, until: Option<Instant>, pump: &mut Pump) -> Woken {
        let [out, err, signalled] = self.poll(until);
        for (at, flags) in [out, err].into_iter().enumerate() {
            if flags.is_empty() {
                continue;
            }
            if let Some(pipe) = &mut self.pipes[at]
                && !pipe.read(flags, &mut self.buffer, pump)
            {
                self.pipes[at] = None;
            }
        }
        if signalled.is_empty() {
            return Woken::default();
        }
        self.signals.clear();
        self.reap();
        Woken { term: self.signals.take_term(), look: self.signals.take_look() }
    }

    fn poll(&self, until: Option<Instant>) -> [PollFlags; 3] {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let signals = self.signals.fd();
        let [out, err] = self.pipes.each_ref().map(|pipe| match pipe {
            Some(pipe) => PollFd::from_borrowed_fd(pipe.file.as_fd(), PollFlags::IN),
            // A closed one is stood in for by something that is not waited for.
            None => PollFd::from_borrowed_fd(signals, PollFlags::empty()),
        });
        let mut fds = [out, err, PollFd::from_borrowed_fd(signals, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => fds.map(|fd| fd.revents()),
            // Interrupted by a signal, which the next round sees in its pipe.
            Err(_) => [PollFlags::empty(); 3],
        }
    }

    /// Waits for all that are dead. The numbers of the dead are nobody's from here on.
    fn reap(&mut self) {
        loop {
            match wait_any() {
                Ok(Some(dead)) => {
                    self.usage.add(dead.usage);
                    if dead.pid == self.pid {
                        self.end = Some(End { how: dead.how, at: Instant::now() });
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(None) => return self.alone = false,
                Err(_) => return self.alone = tree::is_gone(self.pid),
            }
        }
    }

    /// Asks the module and its group to stop. `false`: there is no way to ask.
    pub(in crate::wrapper) fn ask(&self) -> bool {
        // Once it was waited for, the number may belong to a stranger.
        if self.end.is_none() {
            let _ = kill_process_group(self.pid, Signal::TERM);
            // A stopped process could not see the signal.
            let _ = kill_process_group(self.pid, Signal::CONT);
        }
        true
    }

    /// Ends everything that is there by force. What is not dead after it needs another round.
    pub(in crate::wrapper) fn kill(&mut self) {
        tree::kill(self.pid, self.end.is_some());
        self.reap();
    }

    /// Living descendants.
    pub(in crate::wrapper) fn descendants(&self) -> Vec<u32> {
        tree::living()
    }

    /// What the module and those of its descendants used that are dead and were waited for.
    pub(in crate::wrapper) fn usage(&self) -> Usage {
        self.usage
    }

    /// Gives back what was taken over for it.
    pub(in crate::wrapper) fn into_signals(self) -> Signals {
        self.signals
    }
}

impl Pipe {
    fn new(stream: Stream, fd: OwnedFd) -> Self {
        Self { stream, file: fd.into(), busy: false }
    }

    /// Reads what is there. `false`: there will be nothing more.
    fn read(&mut self, flags: PollFlags, buffer: &mut Vec<u8>, pump: &mut Pump) -> bool {
        if !flags.contains(PollFlags::IN) {
            // Hung up and empty: saves the read that would say so.
            return false;
        }
        if buffer.is_empty() {
            buffer.resize(BUFFER_BYTES, 0);
        }
        for _ in 0..READS_IN_A_ROW {
            match self.file.read(buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    pump.take(self.stream, &buffer[..count]);
                    if count == buffer.len() {
                        self.get_busy(buffer);
                    }
                }
                Err(error) => return matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock),
            }
            if !self.busy {
                break;
            }
        }
        true
    }

    /// A module that fills the buffer writes a lot: from now on it is read in large pieces, and without asking each time.
    fn get_busy(&mut self, buffer: &mut Vec<u8>) {
        if self.busy {
            return;
        }
        // Our end only: the module's stays as it is.
        self.busy = fcntl_setfl(&self.file, OFlags::NONBLOCK).is_ok();
        #[cfg(target_os = "linux")]
        {
            // The limit for all pipes of a user may be reached; then it stays as it is.
            let _ = rustix::pipe::fcntl_setpipe_size(&self.file, BUSY_PIPE_BYTES);
        }
        if buffer.len() < BUSY_BUFFER_BYTES {
            *buffer = vec![0; BUSY_BUFFER_BYTES];
        }
    }
}
