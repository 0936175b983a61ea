//! Systems without a nursery: each wrapper is started by the host itself, and the folders are looked at to learn how they stand.
//!
//! A wrapper that was started here is seen to end; of an adopted one the lock tells. Stops are found by the wrapper, which looks for them
//! once a second.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Shared;
use super::book::Phase;
use super::outcome::Ticks;
use super::program::Program;
use crate::attempt::Hatch;

/// Shortest and longest pause between two looks at attempts that run.
const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_millis(100);

/// Wakes the monitor.
#[derive(Debug, Default)]
pub(super) struct Waker(Arc<(Mutex<bool>, Condvar)>);

/// What the monitor sleeps on.
#[derive(Debug)]
pub(super) struct Sleeper(Arc<(Mutex<bool>, Condvar)>);

impl Waker {
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(super) fn arm(&self) -> io::Result<Sleeper> {
        Ok(Sleeper(Arc::clone(&self.0)))
    }

    pub(super) fn wake(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }
}

impl Sleeper {
    /// Sleeps until somebody wakes it, at most so long. `true`: nobody did.
    fn sleep(&self, patience: Option<Duration>) -> bool {
        let woken = lock(&self.0.0);
        let limit = patience.unwrap_or(Duration::MAX);
        let waited = self.0.1.wait_timeout_while(woken, limit, |woken| !*woken);
        let (mut woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        *woken = false;
        timeout.timed_out()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A wrapper that the monitor does not know yet.
#[derive(Debug)]
pub(super) struct Nest {
    number: u64,
    child: Child,
}

/// What starts wrappers.
#[derive(Debug, Default)]
pub(super) struct Hatchery {
    program: Option<Program>,
}

impl Hatchery {
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(super) fn nest(&mut self, _shared: &Shared, program: &Program) -> io::Result<u64> {
        self.program = Some(program.clone());
        Ok(0)
    }

    /// Starts a wrapper.
    pub(super) fn hatch(&mut self, shared: &Shared, hatch: &Hatch) -> io::Result<()> {
        let program = self.program.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut command = Command::new(&program.path);
        command.args(program.verb).arg(&hatch.folder).arg("--report").arg(hatch.id.to_string());
        command.env_clear().envs(hatch.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        apart(&mut command);
        let child = command.spawn()?;
        shared.lock().nests.push(Nest { number: hatch.id, child });
        shared.waker.wake();
        Ok(())
    }

    pub(super) fn close(&mut self) {}
}

/// Outside the terminal's group, so that its Ctrl-C and its end do not reach the wrapper.
#[cfg(unix)]
fn apart(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(windows)]
fn apart(command: &mut Command) {
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
    const CREATE_NO_WINDOW: u32 = 0x0800_0000;
    std::os::windows::process::CommandExt::creation_flags(command, CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW);
}

/// Nothing here tells of the end of an adopted wrapper.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch;

impl Watch {
    pub(super) fn open(_: &Path) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "elsewhere it knows")]
    pub(super) fn is_sure(&self) -> bool {
        false
    }
}

/// The wrapper looks by itself.
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(in super::super) fn wake(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The life of the monitor.
pub(super) fn monitor(shared: &Arc<Shared>, sleeper: &Sleeper) {
    let mut children: Vec<Nest> = Vec::new();
    let mut ticks = Ticks::new();
    let mut pause = LOOK_MIN;
    loop {
        let mut book = shared.lock();
        if book.closed {
            return;
        }
        if !book.nests.is_empty() {
            pause = LOOK_MIN;
        }
        children.append(&mut book.nests);
        let patience = shared.patience(&book).map(|patience| if children.is_empty() { patience } else { patience.min(pause) });
        drop(book);
        let before = children.len();
        let begun = Instant::now();
        let idle = sleeper.sleep(patience);
        children.retain_mut(|nest| !has_ended(shared, nest));
        pause = if children.len() < before || begun.elapsed() < pause { LOOK_MIN } else { (pause * 2).min(LOOK_MAX) };
        ticks.look(shared, idle);
    }
}

/// Whether a wrapper has ended; the attempt is then looked after.
fn has_ended(shared: &Arc<Shared>, nest: &mut Nest) -> bool {
    if matches!(nest.child.try_wait(), Ok(None)) {
        return false;
    }
    let ours =
        shared.lock().entries.get(&nest.number).is_some_and(|entry| matches!(entry.phase, Phase::Hatched { .. } | Phase::Running { .. }));
    if ours {
        shared.resolve(nest.number);
    }
    true
}
