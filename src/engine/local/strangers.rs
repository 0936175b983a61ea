//! Ending processes of an attempt that are not our children: what it left behind, and what a dead host left behind.
//!
//! They are known by the token in their environment (or by the process group of an attempt that just ended), signalled through
//! process descriptors opened before their identity is checked once more, and waited for. Linux only; elsewhere nothing is found.

use std::time::Duration;

/// What [`reap_strangers`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reaped {
    /// Processes that were found and told to end.
    pub count: usize,
    /// Processes that are still there after the limit.
    pub left: usize,
}

/// Ends every process that carries this token in its environment, and waits until they are gone, at most for `limit`.
///
/// The caller itself is never among them. Processes of other users cannot be looked into and are not found.
#[must_use]
pub fn reap_strangers(token: &str, limit: Duration) -> Reaped {
    if token.is_empty() {
        return Reaped::default();
    }
    system::end_all(None, token, limit)
}

/// Like [`reap_strangers`], and also ends the members of a process group whose leader has just been reaped.
#[cfg(unix)]
pub(super) fn end_group(group: i32, token: &str, limit: Duration) -> Reaped {
    system::end_all(Some(group), token, limit)
}

#[cfg(target_os = "linux")]
mod system {
    use std::collections::HashSet;
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

    use super::Reaped;
    use crate::attempt::TOKEN_VARIABLE;

    /// A living process.
    struct Found {
        pid: i32,
        /// In ticks since the boot; with the number it is an identity.
        started: u64,
        handle: OwnedFd,
    }

    pub(super) fn end_all(group: Option<i32>, token: &str, limit: Duration) -> Reaped {
        let mark = format!("{TOKEN_VARIABLE}={token}");
        let until = Instant::now() + limit;
        let mut seen = HashSet::new();
        loop {
            let found = find(group, &mark);
            seen.extend(found.iter().map(|process| (process.pid, process.started)));
            if let Some(group) = group.and_then(Pid::from_raw) {
                // All at once, so that none of them has time to start another one.
                let _ = kill_process_group(group, Signal::KILL);
            }
            for process in &found {
                let _ = pidfd_send_signal(&process.handle, Signal::KILL);
            }
            // Again and again, since one of them may have started another one before it died.
            let left = wait_for_end(&found, until);
            if found.is_empty() || left > 0 {
                return Reaped { count: seen.len(), left };
            }
        }
    }

    /// Waits until these are gone; how many are not at the end of the time. A dying process has lost its environment long before it has
    /// given back what it held, so that not finding it any more would prove nothing.
    fn wait_for_end(found: &[Found], until: Instant) -> usize {
        found.iter().filter(|process| !has_ended(process, until)).count()
    }

    fn has_ended(process: &Found, until: Instant) -> bool {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap_or_default();
            match poll(&mut [PollFd::new(&process.handle, PollFlags::IN)], Some(&timeout)) {
                Ok(0) | Err(_) if left.is_zero() => return false,
                Ok(0) | Err(_) => {}
                Ok(_) => return true,
            }
        }
    }

    fn find(group: Option<i32>, mark: &str) -> Vec<Found> {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        numbers.filter(|pid| *pid != own).filter_map(|pid| identify(pid, group, mark)).collect()
    }

    /// The process, if it is one of those. Its descriptor is opened first: what is read afterwards belongs to that very process as
    /// long as its start time is the same before and after, and a signal through the descriptor cannot reach another one.
    fn identify(pid: i32, group: Option<i32>, mark: &str) -> Option<Found> {
        let before = Stat::read(pid)?;
        if !(group == Some(before.group) || carries(pid, mark)) {
            return None;
        }
        let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let after = Stat::read(pid)?;
        let is_same = after.started == before.started && (group == Some(after.group) || carries(pid, mark));
        is_same.then_some(Found { pid, started: after.started, handle })
    }

    fn carries(pid: i32, mark: &str) -> bool {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    }

    struct Stat {
        group: i32,
        started: u64,
    }

    impl Stat {
        /// `None` for a process that is gone or only waits for its parent to notice its death.
        fn read(pid: i32) -> Option<Self> {
            let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
            // The name in parentheses may hold anything, also parentheses and spaces.
            let end = text.iter().rposition(|byte| *byte == b')')?;
            let rest = std::str::from_utf8(&text[end + 1..]).ok()?;
            let mut fields = rest.split_ascii_whitespace();
            let state = fields.next()?;
            let group = fields.nth(1)?.parse().ok()?;
            let started = fields.nth(16)?.parse().ok()?;
            (!matches!(state, "Z" | "X" | "x")).then_some(Self { group, started })
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::time::Duration;

    use super::Reaped;

    #[cfg(unix)]
    pub(super) fn end_all(group: Option<i32>, _: &str, _: Duration) -> Reaped {
        use rustix::process::{Pid, Signal, kill_process_group};
        let killed = group.and_then(Pid::from_raw).is_some_and(|group| kill_process_group(group, Signal::KILL).is_ok());
        Reaped { count: usize::from(killed), left: 0 }
    }

    #[cfg(not(unix))]
    pub(super) fn end_all(_: Option<i32>, _: &str, _: Duration) -> Reaped {
        Reaped::default()
    }
}
