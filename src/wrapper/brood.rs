//! The wrappers of a nursery: which of them live, which are free, and what is to be said about the dead.
//!
//! A wrapper whose module was short and left nothing behind does not go: it comes home, says so, and gets the next order. That saves a
//! fork, and the pages that a new copy has to touch before it has done anything; beside `true` this is a third of what a wrapper costs. One
//! that has served a long module goes, since nothing is to be gained there.
//!
//! Two kinds of pipes. Each wrapper that may come home has one of its own: orders come through it, and its end means that the nursery is
//! gone, or that there is nothing to do. Through one that they all share they say that they are free.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, WaitOptions, wait};
use rustix::stdio::stdin;

use super::reporter::Reporter;
use super::sys;
use super::system::Signals;
use crate::attempt::{Hatch, Report, ReportKind};

/// How often dead wrappers are looked for while there are any. They have told their end themselves; this is for those that could not.
const LOOK: Duration = Duration::from_millis(500);

/// How long a wrapper waits at home: longer than the pause between two nodes of a busy run, too short to be found beside an idle host.
const FREE_MAX: Duration = Duration::from_secs(2);

/// Wrappers that may come home. Each costs the nursery a descriptor, and more short modules than that at once are rare.
const HOMES_MAX: usize = 16;

/// Longest order that goes through a pipe of a wrapper: it is written at once and never waited for.
const FRAME_BYTES_MAX: usize = 32 << 10;

/// How long those at home are waited for in the end.
const DISMISS_LIMIT: Duration = Duration::from_millis(200);

/// The wrappers of a nursery.
#[derive(Debug)]
pub(super) struct Brood {
    alive: BTreeMap<i32, Wrapper>,
    /// Those at home, the latest last.
    free: Vec<i32>,
    /// What the pipe to the host had no room for. None of it may be lost: it is the last word about a wrapper that could say nothing itself.
    unsaid: VecDeque<Report>,
    /// Where they say that they are free; none: nobody comes home here.
    homecoming: Option<(PipeReader, Rc<PipeWriter>)>,
}

#[derive(Debug)]
struct Wrapper {
    /// The attempt that it has, by the number that the host gave.
    attempt: Option<u64>,
    feed: Option<PipeWriter>,
    free_since: Instant,
}

/// What a new copy gets to know.
#[derive(Debug)]
pub(super) struct Newborn {
    pub(super) home: Option<Home>,
}

/// The way home of a wrapper.
#[derive(Debug)]
pub(super) struct Home {
    orders: PipeReader,
    door: Rc<PipeWriter>,
}

impl Brood {
    pub(super) fn new() -> Self {
        let homecoming = pipe().and_then(|(read, write)| {
            fcntl_setfl(&read, OFlags::NONBLOCK)?;
            Ok((read, Rc::new(write)))
        });
        Self { alive: BTreeMap::new(), free: Vec::new(), unsaid: VecDeque::new(), homecoming: homecoming.ok() }
    }

    /// Gives an order to a wrapper that is free, or makes one. `Some` in the new copy and nowhere else.
    pub(super) fn give(&mut self, id: u64, frame: &[u8]) -> Option<Newborn> {
        self.let_in();
        if frame.len() <= FRAME_BYTES_MAX && self.feed(id, frame) {
            return None;
        }
        let way = self.way_home();
        match sys::fork() {
            Ok(Some(pid)) => {
                let feed = way.map(|(_, feed)| feed);
                self.alive.insert(Pid::as_raw(Some(pid)), Wrapper { attempt: Some(id), feed, free_since: Instant::now() });
                None
            }
            Ok(None) => {
                // Held open here, the pipes of the others would never end for them.
                self.alive.clear();
                Some(Newborn { home: way.map(|(home, _)| home) })
            }
            Err(error) => {
                let errno = error.raw_os_error().and_then(|errno| u64::try_from(errno).ok());
                self.unsaid.push_back(Report { kind: ReportKind::NotHatched, id, value: errno.unwrap_or(0) });
                None
            }
        }
    }

    fn feed(&mut self, id: u64, frame: &[u8]) -> bool {
        while let Some(pid) = self.free.pop() {
            let Some(wrapper) = self.alive.get_mut(&pid) else { continue };
            if wrapper.feed.as_mut().is_some_and(|feed| feed.write(frame).is_ok_and(|count| count == frame.len())) {
                wrapper.attempt = Some(id);
                return true;
            }
            // It has died, or has got a part of an order: with the end behind that it goes.
            wrapper.feed = None;
        }
        false
    }

    fn way_home(&self) -> Option<(Home, PipeWriter)> {
        let (_, door) = self.homecoming.as_ref()?;
        if self.alive.values().filter(|wrapper| wrapper.feed.is_some()).count() >= HOMES_MAX {
            return None;
        }
        let (orders, feed) = pipe().ok()?;
        fcntl_setfl(&feed, OFlags::NONBLOCK).ok()?;
        Some((Home { orders, door: Rc::clone(door) }, feed))
    }

    /// Lets in who comes home, sends away who has waited there long enough, and says what is to be said about the dead.
    pub(super) fn look_after(&mut self) {
        self.let_in();
        self.tell();
        let now = Instant::now();
        // Those that have waited longest stand first.
        while let Some(pid) = self.free.first().copied() {
            match self.alive.get_mut(&pid) {
                Some(wrapper) if now.saturating_duration_since(wrapper.free_since) < FREE_MAX => break,
                Some(wrapper) => wrapper.feed = None,
                None => {}
            }
            self.free.remove(0);
        }
    }

    fn let_in(&mut self) {
        let Some((homecoming, _)) = &mut self.homecoming else { return };
        let mut numbers = [0; 4 * HOMES_MAX];
        // Each is written, and so read, whole.
        let Ok(length) = homecoming.read(&mut numbers) else { return };
        let (numbers, _) = numbers[..length].as_chunks();
        for pid in numbers.iter().map(|number| i32::from_le_bytes(*number)) {
            if let Some(wrapper) = self.alive.get_mut(&pid) {
                wrapper.attempt = None;
                wrapper.free_since = Instant::now();
                self.free.push(pid);
            }
        }
    }

    /// Says what is to be said, as far as there is room. Who is dead is only waited for when it can be said.
    fn tell(&mut self) {
        loop {
            while let Some(report) = self.unsaid.front() {
                if !Reporter::try_tell(*report) {
                    return;
                }
                self.unsaid.pop_front();
            }
            let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) else { return };
            let pid = Pid::as_raw(Some(pid));
            self.free.retain(|free| *free != pid);
            if let Some(Wrapper { attempt: Some(id), .. }) = self.alive.remove(&pid) {
                self.unsaid.push_back(Report { kind: ReportKind::Gone, id, value: u64::from(pid.unsigned_abs()) });
            }
        }
    }

    /// Waits until there is something to read; `false`: not yet, but there is something to look after. Who comes home is let in with the
    /// next order or look: to be woken for it would cost more than it is worth.
    pub(super) fn wait_for_order(&self) -> bool {
        let looks = !self.alive.is_empty() || !self.unsaid.is_empty();
        let limit = if looks { Timespec::try_from(LOOK).ok() } else { None };
        let mut fds = [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)];
        matches!(poll(&mut fds, limit.as_ref()), Ok(count) if count > 0)
    }

    /// There will be no more orders: those at home go, and are waited for a moment, so that nothing of an idle host outlives it. The others
    /// go when their modules do.
    pub(super) fn dismiss(mut self) {
        let until = Instant::now() + DISMISS_LIMIT;
        self.let_in();
        self.alive.retain(|_, wrapper| wrapper.attempt.is_none());
        self.alive.values_mut().for_each(|wrapper| wrapper.feed = None);
        while !self.alive.is_empty() && Instant::now() < until {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, _))) => drop(self.alive.remove(&Pid::as_raw(Some(pid)))),
                Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                Err(_) => return,
            }
        }
    }
}

impl Home {
    /// Goes home and waits for the next order. `None`: it is time to go.
    pub(super) fn next(&self, signals: &Signals) -> Option<Hatch> {
        let pid = i32::try_from(std::process::id()).ok()?;
        (&*self.door).write_all(&pid.to_le_bytes()).ok()?;
        loop {
            let mut fds = [PollFd::new(&self.orders, PollFlags::IN), PollFd::from_borrowed_fd(signals.fd(), PollFlags::IN)];
            let woken = poll(&mut fds, None);
            let [orders, signalled] = fds.map(|fd| !fd.revents().is_empty());
            if signalled {
                signals.clear();
                // A late request to look was about the attempt that is over.
                signals.take_look();
                if signals.take_term() {
                    return None;
                }
            }
            if orders {
                return Hatch::read(&mut &self.orders).ok()?;
            }
            if woken.is_err_and(|error| io::Error::from(error).kind() != io::ErrorKind::Interrupted) {
                return None;
            }
        }
    }
}
