//! The wrappers of a nursery: which of them live, and what is to be said about the dead.
//!
//! A wrapper whose module was short and left nothing behind does not go: it says with its end that it comes home, and gets the next order
//! through a pipe of its own, from the host itself. That saves a fork, and the pages that a new copy has to touch before it has done
//! anything; beside `true` this is a third of what a wrapper costs. One that has served a long module goes, since nothing is to be gained
//! there. Who is free is the host's to know: here only the places are kept at which there may be one.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, PipeReader, Read};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, wait};
use rustix::stdio::stdin;

use super::reporter::Reporter;
use super::sys;
use super::system::Signals;
use crate::attempt::{Hatch, Report, ReportKind};

/// How often dead wrappers are looked for while there are any. They have told their end themselves; this is for those that could not.
const LOOK: Duration = Duration::from_millis(500);

/// How long those at home are waited for in the end, and how long after the last one went nobody else is expected to.
const DISMISS_LIMIT: Duration = Duration::from_millis(200);
const DISMISS_QUIET: Duration = Duration::from_millis(50);

/// The wrappers of a nursery.
#[derive(Debug)]
pub(super) struct Brood {
    alive: BTreeMap<i32, Wrapper>,
    /// What the pipe to the host had no room for. None of it may be lost: it is the last word about a wrapper that could say nothing itself.
    unsaid: VecDeque<Report>,
    /// The pipes of those that come home, by place.
    homes: Vec<PipeReader>,
}

#[derive(Debug, Clone, Copy)]
struct Wrapper {
    /// The attempt that it was made for, by the number that the host gave.
    attempt: u64,
    place: Option<usize>,
}

/// What a new copy gets to know.
#[derive(Debug)]
pub(super) struct Newborn {
    pub(super) home: Option<Home>,
}

/// The way home of a wrapper.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) place: usize,
    orders: PipeReader,
}

impl Brood {
    pub(super) fn new(homes: Vec<PipeReader>) -> Self {
        Self { alive: BTreeMap::new(), unsaid: VecDeque::new(), homes }
    }

    /// Makes a wrapper. `Some` in the new copy and nowhere else.
    pub(super) fn give(&mut self, id: u64, place: Option<usize>) -> Option<Newborn> {
        match sys::fork() {
            Ok(Some(pid)) => {
                self.alive.insert(Pid::as_raw(Some(pid)), Wrapper { attempt: id, place });
                None
            }
            Ok(None) => {
                // The pipes of the others are none of its business.
                let orders = place.and_then(|place| std::mem::take(&mut self.homes).into_iter().nth(place));
                let home = place.zip(orders).map(|(place, orders)| Home { place, orders });
                self.homes.clear();
                Some(Newborn { home })
            }
            Err(error) => {
                let errno = error.raw_os_error().and_then(|errno| u64::try_from(errno).ok());
                self.unsaid.push_back(Report { kind: ReportKind::NotHatched, id, value: errno.unwrap_or(0) });
                None
            }
        }
    }

    /// Says what is to be said, as far as there is room. Who is dead is only waited for when it can be said.
    pub(super) fn look_after(&mut self) {
        loop {
            while let Some(report) = self.unsaid.front() {
                if !Reporter::try_tell(*report) {
                    return;
                }
                self.unsaid.pop_front();
            }
            let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) else { return };
            if let Some(Wrapper { attempt, place }) = self.alive.remove(&Pid::as_raw(Some(pid))) {
                if let Some(orders) = place.and_then(|place| self.homes.get_mut(place)) {
                    empty(orders);
                }
                self.unsaid.push_back(Report { kind: ReportKind::Gone, id: attempt, value: Report::place(place) });
            }
        }
    }

    /// Waits until there is something to read; `false`: not yet, but there is something to look after.
    pub(super) fn wait_for_order(&self) -> bool {
        let looks = !self.alive.is_empty() || !self.unsaid.is_empty();
        let limit = if looks { Timespec::try_from(LOOK).ok() } else { None };
        let mut fds = [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)];
        matches!(poll(&mut fds, limit.as_ref()), Ok(count) if count > 0)
    }

    /// There will be no more orders: those at home go, and are waited for a moment, so that nothing of an idle host outlives it. The others
    /// go when their modules do.
    pub(super) fn dismiss(mut self) {
        self.homes.clear();
        let until = Instant::now() + DISMISS_LIMIT;
        let mut quiet = Instant::now() + DISMISS_QUIET;
        while !self.alive.is_empty() && Instant::now() < until.min(quiet) {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, _))) => {
                    self.alive.remove(&Pid::as_raw(Some(pid)));
                    quiet = Instant::now() + DISMISS_QUIET;
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                Err(_) => return,
            }
        }
    }
}

/// Throws away the order that a dead wrapper did not take: the host is told of its end, and gives it to another one. Should an order come
/// after this, another wrapper of the place takes it too, and finds the attempt claimed.
fn empty(orders: &mut PipeReader) {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut taken = [0; 4096];
    while matches!(poll(&mut [PollFd::new(&*orders, PollFlags::IN)], Some(&now)), Ok(1)) {
        if !orders.read(&mut taken).is_ok_and(|count| count > 0) {
            return;
        }
    }
}

impl Home {
    /// Waits for the next order. `None`: it is time to go.
    pub(super) fn next(&self, signals: &Signals) -> Option<Hatch> {
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
