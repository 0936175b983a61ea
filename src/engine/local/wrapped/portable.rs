//! Systems without a nursery: each wrapper is started by the host itself.
//!
//! One pipe takes the reports of all of them, and a thread reads it. A wrapper that was started here is also seen to end, since one that
//! was killed reports nothing; of an adopted one the lock tells. Stops are found by the wrapper, which looks for them by itself.

use std::io::{self, PipeWriter, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::outcome::Ticks;
use super::program::Program;
use super::{STACK_BYTES, Shared};
use crate::attempt::{Hatch, REPORT_BYTES, Report, ReportKind};

/// Shortest and longest pause between two looks whether a wrapper is gone. Its report comes at once, but not from one that was killed.
const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_millis(500);

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

/// Nobody is free here: each wrapper has one attempt.
#[derive(Debug, Default)]
pub(super) struct Homes;

#[expect(clippy::unused_self, reason = "what the other systems have")]
impl Homes {
    pub(super) fn close(&mut self) {}

    pub(super) fn give(&mut self, _: u64, _: &[u8]) -> Option<u64> {
        None
    }

    pub(super) fn came_home(&mut self, _: u64, _: usize, _: u64) {}

    pub(super) fn gone(&mut self, _: u64, _: usize) -> Option<u64> {
        None
    }

    pub(super) fn not_hatched(&mut self, _: u64, _: u64) {}

    pub(super) fn is_waited_at(&self) -> bool {
        false
    }
}

/// What starts wrappers.
#[derive(Debug, Default)]
pub(super) struct Hatchery {
    program: Option<Program>,
    reports: Option<PipeWriter>,
    /// A job that this process is in lets nobody go.
    is_bound: bool,
}

impl Hatchery {
    pub(super) fn nest(&mut self, shared: &Arc<Shared>, program: &Program) -> io::Result<u64> {
        if self.reports.is_none() {
            let (reader, writer) = io::pipe()?;
            let shared = Arc::clone(shared);
            thread::Builder::new().name("reports".to_owned()).stack_size(STACK_BYTES).spawn(move || listen(&shared, reader))?;
            self.reports = Some(writer);
            #[cfg(windows)]
            crate::win32::keep_streams_private();
        }
        self.program = Some(program.clone());
        Ok(0)
    }

    /// Starts a wrapper.
    pub(super) fn hatch(&mut self, shared: &Shared, hatch: &Hatch) -> io::Result<()> {
        let program = self.program.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let reports = self.reports.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut command = Command::new(&program.path);
        command.args(program.verb).arg(&hatch.folder).arg("--report").arg(hatch.id.to_string());
        command.env_clear().envs(hatch.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(reports.try_clone()?).stderr(Stdio::null());
        let child = apart(&mut command, &mut self.is_bound)?;
        shared.lock().nests.push(Nest { number: hatch.id, child });
        shared.waker.wake();
        Ok(())
    }

    /// Nobody but ourselves starts wrappers here.
    #[expect(clippy::unused_self, reason = "what the other systems have")]
    pub(super) fn bury(&mut self, _: &Shared) {}

    pub(super) fn close(&mut self) {
        if let Some(mut reports) = self.reports.take() {
            // Not a report, but something to read: the reader sees that the engine is closed. Wrappers that live on hold the pipe open.
            let _ = reports.write_all(&[0; REPORT_BYTES]);
        }
    }
}

/// Starts a wrapper outside the terminal's group, so that its Ctrl-C and its end are not for it.
#[cfg(unix)]
fn apart(command: &mut Command, _: &mut bool) -> io::Result<Child> {
    std::os::unix::process::CommandExt::process_group(command, 0).spawn()
}

/// The same, and where it may also outside of a job that would end it with this process.
#[cfg(windows)]
fn apart(command: &mut Command, is_bound: &mut bool) -> io::Result<Child> {
    use crate::win32::SpawnFlags;
    use std::os::windows::process::CommandExt;
    const ACCESS_DENIED: i32 = 5;
    if !*is_bound {
        match command.creation_flags(SpawnFlags::ApartFromJob.bits()).spawn() {
            Err(error) if error.raw_os_error() == Some(ACCESS_DENIED) => *is_bound = true,
            done => return done,
        }
    }
    command.creation_flags(SpawnFlags::Apart.bits()).spawn()
}

/// The life of the thread that reads reports. It ends with the engine, or with its last wrapper.
fn listen(shared: &Arc<Shared>, mut reports: impl Read) {
    let mut bytes = [0; REPORT_BYTES];
    while reports.read_exact(&mut bytes).is_ok() && !shared.lock().closed {
        let Some(report) = Report::decode(bytes) else { continue };
        shared.report(0, report);
        if report.kind == ReportKind::Ended {
            // It leaves in this moment.
            shared.waker.wake();
        }
    }
}

/// Nothing here tells of the end of an adopted wrapper.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {}

impl Watch {
    pub(super) fn open(_: &Path) -> Self {
        Self {}
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

/// Whether a wrapper has ended; its attempt is then looked after.
fn has_ended(shared: &Arc<Shared>, nest: &mut Nest) -> bool {
    if matches!(nest.child.try_wait(), Ok(None)) {
        return false;
    }
    shared.gone(nest.number);
    true
}
