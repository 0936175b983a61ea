//! Processes on Unix: a process group for each attempt, two pipes and a process descriptor in one `poll`.
//!
//! `std::process::Command` with an absolute program, a cleared environment and a process group takes the `posix_spawn` path, whose cost
//! does not grow with the memory of the host. A `pre_exec`, a user id or a bare name would silently leave that path: do not add one.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid};

use super::super::{Exit, StopHow};
use super::strangers;
use super::supervise::Life;
use crate::logs::Stream;
use crate::units::Bytes;

/// How long output is still read after the program's end while a process that it left behind holds the pipes open. Also the time that
/// such a process has to leave by itself, as the helpers of Python's `multiprocessing` do.
const DRAIN_LIMIT: Duration = Duration::from_millis(200);

/// How long the end of left processes is waited for. After a kill it is a matter of milliseconds unless the kernel is stuck.
const SWEEP_LIMIT: Duration = Duration::from_secs(5);

/// How often the end is looked for where the system has no process descriptors.
const LOOK_FOR_END: Duration = Duration::from_millis(20);

/// Size of a pipe once its module turns out to write a lot: at 64 KiB reader and writer wait for each other all the time.
#[cfg(target_os = "linux")]
const LARGE_PIPE: usize = 1 << 20;

/// A program and its pipes.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pid: Pid,
    reaped: bool,
    /// Becomes readable at the end. `None` on systems without, or when descriptors ran out.
    end: Option<OwnedFd>,
    pipes: [Option<Pipe>; 2],
}

#[derive(Debug)]
struct Pipe {
    stream: Stream,
    /// Standard output and standard error of a child are different types; both are a descriptor.
    file: std::fs::File,
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux lets a pipe grow"))]
    large: bool,
}

/// What a stop is sent to. Valid until the process is reaped.
#[derive(Debug)]
pub(super) struct Handle(Pid);

impl Handle {
    /// Sends a stop to the whole group. A process that may not be signalled stays; the host shows it.
    pub(super) fn signal(&self, how: StopHow) {
        match how {
            StopHow::Polite => {
                let _ = kill_process_group(self.0, Signal::TERM);
                // A stopped process could not see the signal.
                let _ = kill_process_group(self.0, Signal::CONT);
            }
            StopHow::Kill => {
                let _ = kill_process_group(self.0, Signal::KILL);
            }
        }
    }
}

impl Process {
    /// Starts a program whose standard output and error are pipes, in a process group of its own.
    pub(super) fn spawn(mut command: Command) -> io::Result<Self> {
        let mut child = command.process_group(0).spawn()?;
        let pid = Pid::from_child(&child);
        let out = child.stdout.take().map(|pipe| Pipe::new(Stream::Stdout, OwnedFd::from(pipe)));
        let err = child.stderr.take().map(|pipe| Pipe::new(Stream::Stderr, OwnedFd::from(pipe)));
        Ok(Self { child, pid, reaped: false, end: open_end(pid), pipes: [out, err] })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn handle(&self) -> Handle {
        Handle(self.pid)
    }

    /// Reads output until the program has ended and its output was read, but no longer than [`DRAIN_LIMIT`] after its end. Returns
    /// when it ended. The program is not reaped.
    pub(super) fn watch(&mut self, buffer: &mut [u8], life: &mut Life<'_>) -> Instant {
        loop {
            let patience = if self.end.is_some() { life.patience() } else { life.patience().min(LOOK_FOR_END) };
            let happened = self.step(Some(patience), true, buffer, life);
            life.tick(happened == Happened::Nothing);
            if happened == Happened::Ended || (self.end.is_none() && self.has_ended()) {
                let ended = Instant::now();
                self.drain(ended + DRAIN_LIMIT, buffer, life);
                return ended;
            }
        }
    }

    /// Takes the exit status; from here on the process number is no longer ours.
    pub(super) fn reap(&mut self) -> io::Result<ExitStatus> {
        self.reaped = true;
        self.child.wait()
    }

    /// After the reaping: ends what the program left behind. Tells whether there was anything.
    ///
    /// The number of the group cannot be given to somebody else while the group has a member, so that asking for it and signalling it
    /// is safe here.
    pub(super) fn sweep(&mut self, token: &str, buffer: &mut [u8], life: &mut Life<'_>) -> bool {
        let held = self.pipes.iter().any(Option::is_some);
        if !held && !self.group_outlives(DRAIN_LIMIT) {
            return false;
        }
        let reaped = strangers::end_group(self.pid.as_raw_nonzero().get(), token, SWEEP_LIMIT);
        self.drain(Instant::now() + DRAIN_LIMIT / 4, buffer, life);
        held || reaped.count > 0
    }

    /// Whether the group still has members after this time.
    fn group_outlives(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut pause = Duration::from_millis(1);
        while test_kill_process_group(self.pid).is_ok() {
            if Instant::now() >= until {
                return true;
            }
            // Nothing tells of the end of somebody else's child; this is rare and short.
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        false
    }

    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.pid), options), Ok(None))
    }

    fn drain(&mut self, until: Instant, buffer: &mut [u8], life: &mut Life<'_>) {
        while self.pipes.iter().any(Option::is_some) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.step(Some(left), false, buffer, life) == Happened::Nothing {
                return;
            }
        }
    }

    /// Waits for something to happen and reads what there is to read.
    fn step(&mut self, patience: Option<Duration>, end: bool, buffer: &mut [u8], life: &mut Life<'_>) -> Happened {
        let flags = self.wait(patience, end);
        let mut happened = Happened::Nothing;
        for (slot, flags) in self.pipes.iter_mut().zip(flags.pipes) {
            if flags.is_empty() {
                continue;
            }
            happened = Happened::Output;
            if let Some(pipe) = slot
                && !pipe.read(flags, buffer, life)
            {
                *slot = None;
            }
        }
        if flags.ended { Happened::Ended } else { happened }
    }

    fn wait(&self, patience: Option<Duration>, end: bool) -> Woken {
        let nothing = PollFlags::empty();
        let [out, err] = &self.pipes;
        let end = if end { self.end.as_ref() } else { None };
        let mut fds = Vec::with_capacity(3);
        fds.extend(out.as_ref().map(|pipe| PollFd::new(&pipe.file, PollFlags::IN)));
        fds.extend(err.as_ref().map(|pipe| PollFd::new(&pipe.file, PollFlags::IN)));
        fds.extend(end.map(|end| PollFd::new(end, PollFlags::IN)));
        let timeout = patience.and_then(|patience| Timespec::try_from(patience).ok());
        // An interrupted wait is one in which nothing happened.
        if poll(&mut fds, timeout.as_ref()).is_err() {
            return Woken { pipes: [nothing; 2], ended: false };
        }
        let mut flags = fds.iter().map(PollFd::revents);
        let mut next = |there: bool| if there { flags.next().unwrap_or(nothing) } else { nothing };
        let pipes = [next(out.is_some()), next(err.is_some())];
        Woken { pipes, ended: !next(end.is_some()).is_empty() }
    }
}

impl Drop for Process {
    /// Only where its attempt was given up half-way: leaves neither a process nor a zombie.
    fn drop(&mut self) {
        if !self.reaped {
            let _ = kill_process_group(self.pid, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// What a wait brought.
struct Woken {
    pipes: [PollFlags; 2],
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happened {
    Nothing,
    Output,
    Ended,
}

impl Pipe {
    fn new(stream: Stream, fd: OwnedFd) -> Self {
        Self { stream, file: fd.into(), large: false }
    }

    /// Reads once, which does not block when `flags` promise something. `false`: there will be nothing more.
    fn read(&mut self, flags: PollFlags, buffer: &mut [u8], life: &mut Life<'_>) -> bool {
        if !flags.contains(PollFlags::IN) {
            // Hung up and empty: saves the read that would say so.
            return false;
        }
        match self.file.read(buffer) {
            Ok(0) => false,
            Ok(count) => {
                life.output(self.stream, &buffer[..count]);
                self.grow(count == buffer.len());
                true
            }
            Err(error) => error.kind() == io::ErrorKind::Interrupted,
        }
    }

    #[cfg(target_os = "linux")]
    fn grow(&mut self, full: bool) {
        if full && !self.large {
            self.large = true;
            // The limit for all pipes of a user may be reached; then it stays as it is.
            let _ = rustix::pipe::fcntl_setpipe_size(self.file.as_fd(), LARGE_PIPE);
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn grow(&mut self, _full: bool) {}
}

#[cfg(target_os = "linux")]
fn open_end(pid: Pid) -> Option<OwnedFd> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn open_end(_: Pid) -> Option<OwnedFd> {
    None
}

/// Exit code or signal.
pub(super) fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Exited(code.into()),
        (None, Some(signal)) => Exit::Signaled(signal),
        (None, None) => Exit::Signaled(0),
    }
}

/// Most memory that a living process has used so far.
#[cfg(target_os = "linux")]
pub(super) fn peak_memory(pid: u32) -> Option<Bytes> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(Bytes(kib << 10))
}

/// Not known on this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn peak_memory(_: u32) -> Option<Bytes> {
    None
}
