//! Linux: one nursery for all wrappers of a host, reports through its standard output, process descriptors for adopted ones.
//!
//! The nursery is a small process that forks a wrapper for each attempt: the cost of a fork grows with the memory of who forks, and the
//! host may be large. When it is gone its wrappers go on, and the next attempt gets a new nursery.

use std::io::{self, PipeWriter, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{SendFlags, send};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

pub(super) use super::homes::Homes;

use super::Shared;
use super::book::{Book, Order, Phase};
use super::outcome::Ticks;
use super::program::Program;
use crate::attempt::{Hatch, REPORT_BYTES, Report, Standing, StartRecord, hand_over_homes, standing};

/// How long a nursery may take nothing from its pipe. It does nothing but fork: one that takes longer hangs or was stopped.
const FEED_LIMIT: Duration = Duration::from_secs(10);

/// How long the end of a nursery is waited for after its input was closed.
const END_LIMIT: Duration = Duration::from_millis(500);

/// Bytes of reports read at once, the size of a pipe.
const BUFFER_BYTES: usize = 64 << 10;

/// Wakes the monitor.
#[derive(Debug, Default)]
pub(super) struct Waker(Mutex<Option<OwnedFd>>);

impl Waker {
    /// Makes the pipe on which the monitor sleeps.
    pub(super) fn arm(&self) -> io::Result<OwnedFd> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(write);
        Ok(read)
    }

    pub(super) fn wake(&self) {
        if let Some(pipe) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // A full pipe wakes as well as one byte.
            let _ = rustix::io::write(pipe, &[0]);
        }
    }
}

/// What the monitor needs of a nursery.
#[derive(Debug)]
pub(super) struct Nest {
    number: u64,
    reports: OwnedFd,
    /// Readable when it is gone.
    end: OwnedFd,
}

/// What starts wrappers.
#[derive(Debug, Default)]
pub(super) struct Hatchery {
    current: Option<Nursery>,
    last: u64,
}

#[derive(Debug)]
struct Nursery {
    number: u64,
    child: Child,
    feed: UnixStream,
    end: OwnedFd,
}

impl Hatchery {
    /// The number of the nest that the next wrapper comes from; starts a nursery if need be.
    pub(super) fn nest(&mut self, shared: &Shared, program: &Program) -> io::Result<u64> {
        if self.current.as_ref().is_some_and(Nursery::is_gone) {
            self.retire(shared);
        }
        if let Some(nursery) = &self.current {
            return Ok(nursery.number);
        }
        self.last += 1;
        let (nursery, nest, feeds) = Nursery::start(self.last, program)?;
        self.current = Some(nursery);
        let mut book = shared.lock();
        book.homes.open(self.last, feeds);
        book.nests.push(nest);
        drop(book);
        shared.waker.wake();
        Ok(self.last)
    }

    /// Sends for a wrapper, out of the nest that was asked for just before.
    pub(super) fn hatch(&mut self, shared: &Shared, hatch: &Hatch) -> io::Result<()> {
        let nursery = self.current.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let place = shared.lock().homes.take(hatch.id);
        let sent = nursery.send(&hatch.encode(place));
        if sent.is_err() {
            // What it did not take, its end makes the monitor look after.
            self.retire(shared);
        }
        sent
    }

    /// Takes note of the end of a nursery that died, so that no zombie is left of it.
    pub(super) fn bury(&mut self, shared: &Shared) {
        if self.current.as_ref().is_some_and(Nursery::is_gone) {
            self.retire(shared);
        }
    }

    fn retire(&mut self, shared: &Shared) {
        if let Some(mut nursery) = self.current.take() {
            // What its wrappers report from now on says nothing of the places of the next one.
            shared.lock().homes.close();
            let _ = nursery.child.kill();
            let _ = nursery.child.wait();
        }
    }

    /// No more wrappers are sent for. Those that are there go on.
    pub(super) fn close(&mut self) {
        let Some(Nursery { mut child, feed, end, .. }) = self.current.take() else { return };
        drop(feed);
        if wait_for(&end, PollFlags::IN, END_LIMIT) {
            let _ = child.wait();
        }
    }
}

impl Nursery {
    fn start(number: u64, program: &Program) -> io::Result<(Self, Nest, Vec<PipeWriter>)> {
        let mut command = Command::new(&program.path);
        command.args(program.verb).arg("--nursery");
        // Not in a group of its own: the leader of one could not make a session of its own, which it does first of all. Its standard error
        // is nobody's, or it would hold open what the host's caller reads.
        let (feed, orders) = UnixStream::pair()?;
        command.stdin(OwnedFd::from(orders)).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        // With it goes our copy of the other end.
        drop(command);
        let made = child.stdout.take().ok_or_else(|| io::Error::other("it has no pipe")).and_then(|reports| {
            let pid = Pid::from_child(&child);
            set_nonblocking(&reports)?;
            // One that is gone already is found so by the first order.
            let feeds = hand_over_homes(&feed).unwrap_or_default();
            set_nonblocking(&feed)?;
            let end = pidfd_open(pid, PidfdFlags::empty())?;
            Ok((end.try_clone()?, Nest { number, reports: reports.into(), end }, feeds))
        });
        match made {
            Ok((end, nest, feeds)) => Ok((Self { number, child, feed, end }, nest, feeds)),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn is_gone(&self) -> bool {
        wait_for(&self.end, PollFlags::IN, Duration::ZERO)
    }

    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match send(&self.feed, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => bytes = &bytes[count..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) if wait_for(&self.feed, PollFlags::OUT, FEED_LIMIT) => {}
                Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(&fd)?;
    Ok(fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?)
}

/// Waits for an event on a descriptor; whether it came.
fn wait_for(fd: impl AsFd, event: PollFlags, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    loop {
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).unwrap_or_default();
        match poll(&mut [PollFd::new(&fd, event)], Some(&left)) {
            Ok(count) => return count > 0,
            Err(_) if Instant::now() >= until => return false,
            Err(_) => {}
        }
    }
}

/// What tells of the end of a wrapper that is not our nursery's.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Option<Arc<OwnedFd>>);

impl Watch {
    /// Watches the wrapper that holds the lock in this folder.
    pub(super) fn open(folder: &Path) -> Self {
        Self(holder(folder).ok().flatten().map(Arc::new))
    }

    /// Whether it will tell. Otherwise somebody has to look.
    pub(super) fn is_sure(&self) -> bool {
        self.0.is_some()
    }
}

/// The process that holds the lock of this folder, if it has told its name.
///
/// The descriptor is opened first. Then the process of that number has the right start time, and then the lock is still held by the
/// wrapper that wrote it: so it was alive all the time, and its number was nobody else's.
fn holder(folder: &Path) -> io::Result<Option<OwnedFd>> {
    let Some(record) = living(folder)? else { return Ok(None) };
    let Some(pid) = i32::try_from(record.wrapper.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    let alive = record.wrapper.is_alive();
    match living(folder)? {
        Some(still) if alive && still.wrapper == record.wrapper => Ok(Some(handle)),
        // Somebody holds the lock, and this process is not it: one of another name space of numbers, or a record that was tampered with.
        Some(_) => Err(io::ErrorKind::NotFound.into()),
        None => Ok(None),
    }
}

fn living(folder: &Path) -> io::Result<Option<StartRecord>> {
    match standing(folder)? {
        Standing::Alive(Some(record)) => Ok(Some(record)),
        Standing::Alive(None) => Err(io::ErrorKind::WouldBlock.into()),
        Standing::Unclaimed | Standing::Ended(_) | Standing::NeverStarted | Standing::Dead(_) => Ok(None),
    }
}

/// Has the wrapper in this folder look for a stop at once. No error where there is none: whoever comes looks by itself.
///
/// # Errors
/// When it could not be told: it is just beginning, or the folder cannot be read.
pub(in super::super) fn wake(folder: &Path) -> io::Result<()> {
    match holder(folder)? {
        Some(handle) => match pidfd_send_signal(&handle, Signal::USR1) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        },
        None => Ok(()),
    }
}

/// A nest as the monitor sees it.
struct Open {
    number: u64,
    reports: Option<std::fs::File>,
    end: Option<OwnedFd>,
    /// The beginning of a report whose rest has not come.
    cut: Vec<u8>,
}

/// The life of the monitor.
pub(super) fn monitor(shared: &Arc<Shared>, sleeper: &OwnedFd) {
    let mut nests: Vec<Open> = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut ticks = Ticks::new();
    loop {
        let mut book = shared.lock();
        if book.closed {
            return;
        }
        nests.extend(book.nests.drain(..).map(Open::new));
        book.homes.tidy(Instant::now());
        let watches = watches(&book);
        let patience = shared.patience(&book);
        drop(book);
        let idle = attend(shared, &mut nests, &watches, sleeper, patience, &mut buffer);
        nests.retain(|nest| nest.reports.is_some() || nest.end.is_some());
        ticks.look(shared, idle);
    }
}

fn watches(book: &Book) -> Vec<(u64, Arc<OwnedFd>)> {
    let watched = |(number, entry): (&u64, &super::book::Entry)| match &entry.phase {
        Phase::Adopted(Watch(Some(handle))) => Some((*number, Arc::clone(handle))),
        Phase::Adopted(Watch(None)) | Phase::Queued(_) | Phase::Hatched { .. } | Phase::Running { .. } | Phase::Found | Phase::Ending => {
            None
        }
    };
    book.entries.iter().filter_map(watched).collect()
}

/// Waits until something happens and deals with it. `true`: nothing happened.
fn attend(
    shared: &Arc<Shared>,
    nests: &mut [Open],
    watches: &[(u64, Arc<OwnedFd>)],
    sleeper: &OwnedFd,
    patience: Option<Duration>,
    buffer: &mut [u8],
) -> bool {
    let mut fds = vec![PollFd::new(sleeper, PollFlags::IN)];
    fds.extend(nests.iter().filter_map(|nest| nest.reports.as_ref()).map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    fds.extend(nests.iter().filter_map(|nest| nest.end.as_ref()).map(|end| PollFd::new(end, PollFlags::IN)));
    fds.extend(watches.iter().map(|(_, handle)| PollFd::new(handle, PollFlags::IN)));
    let timeout = patience.and_then(|patience| Timespec::try_from(patience).ok());
    let happened = poll(&mut fds, timeout.as_ref()).unwrap_or(0);
    let mut woken = fds.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>().into_iter();
    drop(fds);
    if happened == 0 {
        return true;
    }
    if woken.next().unwrap_or(false) {
        let _ = rustix::io::read(sleeper, &mut *buffer);
    }
    let readable: Vec<bool> = nests.iter().map(|nest| nest.reports.is_some() && woken.next().unwrap_or(false)).collect();
    let gone: Vec<bool> = nests.iter().map(|nest| nest.end.is_some() && woken.next().unwrap_or(false)).collect();
    for ((nest, readable), gone) in nests.iter_mut().zip(readable).zip(gone) {
        if readable || gone {
            nest.read(shared, buffer);
        }
        if gone {
            nest.end = None;
            orphaned(shared, nest.number);
            shared.order(Order::Bury);
        }
    }
    for ((number, _), ended) in watches.iter().zip(woken) {
        if ended {
            shared.resolve(*number);
        }
    }
    false
}

/// A nursery is gone. Those of its wrappers that live are adopted; what it had not hatched yet is sent for once more.
fn orphaned(shared: &Arc<Shared>, nest: u64) {
    let mut book = shared.lock();
    // What was given to its wrappers is among the attempts below, and nothing comes after.
    book.homes.abandon(nest);
    let of_it = |phase: &Phase| match phase {
        Phase::Hatched { nest: of, .. } | Phase::Running { nest: of } => *of == nest,
        Phase::Queued(_) | Phase::Adopted(_) | Phase::Found | Phase::Ending => false,
    };
    let numbers: Vec<u64> = book.entries.iter().filter(|(_, entry)| of_it(&entry.phase)).map(|(number, _)| *number).collect();
    drop(book);
    numbers.into_iter().for_each(|number| shared.resolve(number));
}

impl Open {
    fn new(nest: Nest) -> Self {
        Self { number: nest.number, reports: Some(nest.reports.into()), end: Some(nest.end), cut: Vec::new() }
    }

    /// Reads all reports that are there. The pipe stays open as long as one of its wrappers lives, also without the nursery.
    fn read(&mut self, shared: &Arc<Shared>, buffer: &mut [u8]) {
        loop {
            let Some(pipe) = &mut self.reports else { return };
            match pipe.read(buffer) {
                Ok(0) => self.reports = None,
                Ok(count) => self.take(shared, &buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.reports = None,
            }
        }
    }

    fn take(&mut self, shared: &Arc<Shared>, bytes: &[u8]) {
        self.cut.extend_from_slice(bytes);
        let (whole, rest) = self.cut.as_chunks::<REPORT_BYTES>();
        let reports: Vec<Report> = whole.iter().filter_map(|report| Report::decode(*report)).collect();
        self.cut = rest.to_vec();
        reports.into_iter().for_each(|report| shared.report(self.number, report));
    }
}
