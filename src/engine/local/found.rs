//! How a wrapped attempt of an earlier host stands, as its folder tells.

use std::fs::OpenOptions;
use std::io;
use std::time::{Duration, Instant};

use super::super::{Ending, Left};
use super::strangers::{Reaped, reap_strangers};
use super::wrapped::{ending::ending, wake};
use crate::attempt::{
    AttemptFolder, CLAIM, Machine, Standing, StartRecord, StopAs, StopRequest, create_private_all, open_private, standing,
};

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// No wrapper has claimed it. One that is on its way may still do so.
    Unclaimed,
    /// Its wrapper lives.
    Alive {
        /// How long it has run at least, by a clock that never jumps; 0 where there is none to ask.
        ran: Duration,
    },
    /// It is over.
    Ended(Box<Ending>),
    /// Its wrapper died before it came to starting the module, and nobody will start it any more.
    NeverStarted,
    /// Its wrapper died without a word, or the machine did; what the module left may live.
    Dead {
        /// It was started on another boot of the machine; none where that cannot be told.
        rebooted: Option<bool>,
    },
}

/// Looks at an attempt that an earlier host may have started.
///
/// # Errors
/// When the folder cannot be read, or was written by a later version.
pub fn look(left: &Left) -> io::Result<Found> {
    let folder = left.folder();
    Ok(match standing(folder.path())? {
        Standing::Unclaimed => Found::Unclaimed,
        Standing::Alive(record) => Found::Alive { ran: record.as_ref().and_then(ran).unwrap_or_default() },
        Standing::Ended(record) => Found::Ended(Box::new(ending(&record, &folder, None)?)),
        Standing::NeverStarted => Found::NeverStarted,
        Standing::Dead(record) => {
            let then = record.map(|record| record.boot).filter(|boot| !boot.is_empty());
            Found::Dead { rebooted: then.map(|boot| boot != Machine::this().boot) }
        }
    })
}

/// Makes sure that an unclaimed attempt is never started: a wrapper that is still on its way to it will refuse. `false`: one was faster.
///
/// # Errors
/// What the system said.
pub fn prevent(left: &Left) -> io::Result<bool> {
    let folder = left.folder();
    create_private_all(folder.path())?;
    match open_private(OpenOptions::new().write(true).create_new(true), &folder.path().join(CLAIM)) {
        Ok(_) => Ok(standing(folder.path())? == Standing::NeverStarted),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Ends an attempt whose result nobody will ask for: its wrapper is told to kill it, then every process with its token is ended. Waits
/// until they are gone, at most for `limit` each.
#[must_use]
pub fn end(left: &Left, limit: Duration) -> Reaped {
    let folder = left.folder();
    let request = StopRequest { how: StopAs::Kill, grace: left.grace };
    // A wrapper that cannot be told finds its module dead, and ends as well.
    let _ = request.write(folder.path()).and_then(|()| wake(folder.path()));
    let until = Instant::now() + limit;
    while matches!(standing(folder.path()), Ok(Standing::Alive(_))) && Instant::now() < until {
        // Rare, and short: nothing tells of the end of somebody else's child everywhere.
        std::thread::sleep(Duration::from_millis(5));
    }
    reap_strangers(&left.token, limit)
}

impl Left {
    /// Its folder.
    pub(super) fn folder(&self) -> AttemptFolder {
        AttemptFolder::new(&self.run_folder, &self.node, self.id.attempt)
    }
}

/// For how long at least the module has run; nothing for one that was just being started. Its wrapper may be older: it may have had others. Its start is known in ticks since the boot, sleep of the machine included; the clock that
/// it is compared with leaves sleep out, so that the result may be too small and is never too large.
#[cfg(target_os = "linux")]
fn ran(record: &StartRecord) -> Option<Duration> {
    let ticks = rustix::param::clock_ticks_per_second();
    let started = record.child?.started;
    let since_boot = Duration::from_secs(started / ticks) + Duration::from_millis(started % ticks * 1000 / ticks);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = Duration::new(u64::try_from(now.tv_sec).ok()?, u32::try_from(now.tv_nsec).ok()?);
    (started > 0).then(|| now.saturating_sub(since_boot))
}

#[cfg(not(target_os = "linux"))]
fn ran(_: &StartRecord) -> Option<Duration> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::attempt::ProcessIdentity;

    #[test]
    fn the_time_of_a_module_is_not_that_of_its_wrapper() {
        let me = ProcessIdentity::of(std::process::id());
        let record = |wrapper: u64, child: Option<u64>| StartRecord {
            wrapper: ProcessIdentity { pid: me.pid, started: wrapper },
            child: child.map(|started| ProcessIdentity { pid: me.pid, started }),
            boot: String::new(),
            machine: String::new(),
            at: crate::units::Timestamp::default(),
            memory_guard: None,
        };
        // A wrapper as old as the machine, which has had other modules before.
        let old = ran(&record(1, Some(1))).expect("it is known");
        let young = ran(&record(1, Some(me.started))).expect("it is known");
        assert!(young < old, "{young:?} {old:?}");
        assert_eq!(ran(&record(1, None)), None);
    }
}
