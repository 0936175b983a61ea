//! The nursery: starts wrappers by copying itself, for as long as a host lives.
//!
//! A wrapper that is a fork of a small process costs a fraction of one that is executed: no loader, no start of a runtime. So a host
//! that starts many attempts keeps one nursery, and a nursery that dies is simply started again. At the end of its standard input, when
//! the host is gone, it goes too; the wrappers live on.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, setsid, wait};
use rustix::stdio::{dup2_stdin, stdin};

use super::life::{self, Order};
use super::reporter::Reporter;
use super::{DONE, MISUSED, sys};
use crate::attempt::{Hatch, Machine, Report, ReportKind};

/// How often dead wrappers are looked for while there are any. They have told their end themselves; this is for those that could not.
const LOOK: Duration = Duration::from_millis(500);

/// Reads orders until there are no more.
pub(super) fn run() -> u8 {
    // A signal from the terminal is for the host, which knows what to do about it.
    let _ = setsid();
    Reporter::prepare();
    let machine = Machine::this();
    let nothing = File::open("/dev/null").ok();
    let mut orders = BufReader::new(Standard);
    let mut wrappers = Wrappers::default();
    loop {
        wrappers.tell();
        if orders.buffer().is_empty() && !wait_for_order(wrappers.want_a_look()) {
            continue;
        }
        let hatch = match Hatch::read(&mut orders) {
            Ok(Some(hatch)) => hatch,
            Ok(None) => return DONE,
            Err(error) => {
                eprintln!("prismq-attempt: the host's orders cannot be read: {error}");
                return MISUSED;
            }
        };
        match sys::fork() {
            Ok(Some(pid)) => wrappers.born(pid, hatch.id),
            Ok(None) => return hatched(hatch, nothing.as_ref(), &machine),
            Err(error) => wrappers.not_born(hatch.id, &error),
        }
    }
}

/// The wrappers that live, and what is to be said about others.
#[derive(Debug, Default)]
struct Wrappers {
    /// Number of the process, and that which the host gave.
    alive: BTreeMap<i32, u64>,
    /// What the pipe had no room for. None of it may be lost: it is the last word about a wrapper that could say nothing itself.
    unsaid: VecDeque<Report>,
}

impl Wrappers {
    fn born(&mut self, pid: Pid, id: u64) {
        self.alive.insert(Pid::as_raw(Some(pid)), id);
    }

    fn not_born(&mut self, id: u64, error: &io::Error) {
        let errno = error.raw_os_error().and_then(|errno| u64::try_from(errno).ok());
        self.unsaid.push_back(Report { kind: ReportKind::NotHatched, id, value: errno.unwrap_or(0) });
    }

    /// Whether something may be to be said without an order coming in.
    fn want_a_look(&self) -> bool {
        !self.alive.is_empty() || !self.unsaid.is_empty()
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
            if let Some(id) = self.alive.remove(&pid) {
                self.unsaid.push_back(Report { kind: ReportKind::Gone, id, value: u64::from(pid.unsigned_abs()) });
            }
        }
    }
}

/// The life of a copy. The orders are for the original alone.
fn hatched(hatch: Hatch, nothing: Option<&File>, machine: &Machine) -> u8 {
    if let Some(nothing) = nothing {
        let _ = dup2_stdin(nothing);
    }
    let reporter = Reporter::inherited(hatch.id);
    life::run(Order { folder: &hatch.folder, environment: Some(hatch.environment), machine, reporter })
}

/// Waits until there is something to read; `false`: not yet.
fn wait_for_order(look: bool) -> bool {
    let limit = if look { Timespec::try_from(LOOK).ok() } else { None };
    let mut fds = [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)];
    matches!(poll(&mut fds, limit.as_ref()), Ok(count) if count > 0)
}

/// Standard input without the standard library's own buffer, whose content a `poll` would not see.
struct Standard;

impl Read for Standard {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(stdin().as_fd(), buffer)?)
    }
}
