//! The pipe to the host. Best effort: the folder says everything that stands here, and the host may be gone.

use crate::attempt::{REPORT_BYTES, Report, ReportKind};

/// How long the last report waits for room in the pipe: a host that lives takes reports all the time, one that is stopped may never.
const PATIENCE_MS: u64 = 1_000;

/// Sends reports, if anybody wants them.
#[derive(Debug)]
pub(super) struct Reporter {
    id: Option<u64>,
    /// The start, held back: nobody acts on it, and with the end of a short module it is one write and one wake-up of the host instead
    /// of two.
    started: Option<u32>,
}

impl Reporter {
    /// Nobody listens.
    pub(super) fn silent() -> Self {
        Self { id: None, started: None }
    }

    /// Standard output is a pipe to the host, which gave the attempt this number.
    pub(super) fn new(id: u64) -> Self {
        Self::prepare();
        Self::inherited(id)
    }

    /// Makes standard output a pipe that never blocks.
    pub(super) fn prepare() {
        system::never_block();
    }

    /// The same, where the parent has already prepared it.
    pub(super) fn inherited(id: u64) -> Self {
        Self { id: Some(id), started: None }
    }

    /// The module runs. It is said with the next report, or by [`Self::settle`].
    pub(super) fn started(&mut self, pid: u32) {
        self.started = Some(pid);
    }

    /// Says what was held back.
    pub(super) fn settle(&mut self) {
        let _ = self.send(None, 0);
    }

    /// So many bytes of output so far. May be lost.
    pub(super) fn output(&mut self, bytes: u64) {
        let _ = self.send(Some((ReportKind::Output, bytes)), 0);
    }

    /// Nothing of the module runs any more; the record is still to be written. May be lost: the next report says more.
    pub(super) fn vacated(&mut self) {
        let _ = self.send(Some((ReportKind::Vacated, 0)), 0);
    }

    /// The exit record is there, and another order is waited for at this place. Tells whether a host will hear of it.
    pub(super) fn ended(&mut self, place: Option<usize>) -> bool {
        self.send(Some((ReportKind::Ended, Report::place(place))), PATIENCE_MS) == Sent::Told
    }

    /// Another wrapper has the attempt.
    pub(super) fn refused(&mut self) {
        let _ = self.send(Some((ReportKind::Refused, 0)), PATIENCE_MS);
    }

    /// A report of the nursery. `false`: there is no room for it now.
    #[cfg(unix)]
    pub(super) fn try_tell(report: Report) -> bool {
        system::write(&report.encode(), 0) != Sent::Full
    }

    fn send(&mut self, news: Option<(ReportKind, u64)>, patience_ms: u64) -> Sent {
        let Some(id) = self.id else { return Sent::ToNobody };
        let started = self.started.take().map(|pid| (ReportKind::Started, u64::from(pid)));
        let mut bytes = [0; 2 * REPORT_BYTES];
        let mut length = 0;
        for (kind, value) in started.into_iter().chain(news) {
            bytes[length..length + REPORT_BYTES].copy_from_slice(&Report { kind, id, value }.encode());
            length += REPORT_BYTES;
        }
        if length == 0 { Sent::Told } else { system::write(&bytes[..length], patience_ms) }
    }
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// It is in the pipe of a host that lives.
    Told,
    /// The pipe is full, and somebody is there who could read it.
    #[cfg_attr(windows, expect(dead_code, reason = "a pipe is waited for there"))]
    Full,
    /// There is no host, or there never was one.
    ToNobody,
}

#[cfg(unix)]
mod system {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    use rustix::io::Errno;
    use rustix::stdio::stdout;

    use super::Sent;

    /// A full pipe must not stop a module. The other end, the host's, is not touched by this.
    pub(super) fn never_block() {
        if let Ok(flags) = fcntl_getfl(stdout()) {
            let _ = fcntl_setfl(stdout(), flags | OFlags::NONBLOCK);
        }
    }

    /// Writes all or nothing: a pipe takes so little whole.
    pub(super) fn write(bytes: &[u8], patience_ms: u64) -> Sent {
        let patience = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut patience = Timespec { tv_sec: i64::try_from(patience_ms / 1000).unwrap_or(0), ..patience };
        loop {
            match rustix::io::write(stdout(), bytes) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if patience.tv_sec > 0 => {
                    let _ = poll(&mut [PollFd::from_borrowed_fd(stdout(), PollFlags::OUT)], Some(&patience));
                    patience.tv_sec = 0;
                }
                Err(Errno::AGAIN) => return Sent::Full,
                Ok(_) => return Sent::Told,
                Err(_) => return Sent::ToNobody,
            }
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::io::Write;

    use super::Sent;

    pub(super) fn never_block() {}

    pub(super) fn write(bytes: &[u8], _: u64) -> Sent {
        let mut out = std::io::stdout().lock();
        if out.write_all(bytes).and_then(|()| out.flush()).is_ok() { Sent::Told } else { Sent::ToNobody }
    }
}
