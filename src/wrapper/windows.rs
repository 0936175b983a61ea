//! What the wrapper needs of Windows: a job object that nothing of the module leaves, and a thread for each thing to wait for.
//!
//! Two jobs, one in the other. The outer one holds this process too, so that whatever it starts is in a job from its birth; the inner one
//! holds the module alone: it is limited, counted and ended. Both end with this process, and with them the module, but not with the host.
//!
//! Threads, because a pipe cannot be waited for together with a process: one reads each stream, one waits for the end, and all tell the
//! wrapper's own thread, which alone decides. Nothing tells of a request to stop: it is looked for ten times a second.

use std::io::{self, Read};
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::process::{Child, Command};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::pump::Pump;
use crate::attempt::{ExitHow, MemoryGuard};
use crate::logs::Stream;
use crate::units::Bytes;
use crate::win32::{self, Job, SpawnFlags};

pub(super) use crate::win32::Usage;

/// How often a request to stop is looked for.
const LOOK_FOR_STOP: Duration = Duration::from_millis(100);

/// How often what the module left behind is looked at after its end.
const LOOK_AT_LEFT: Duration = Duration::from_millis(5);

/// Bytes that a reader takes at once, and pieces that may wait: what a module can be ahead of the disk.
const PIECE_BYTES: usize = 64 << 10;
const PIECES_MAX: usize = 4;

/// Stack of a thread that only waits.
const STACK_BYTES: usize = 64 << 10;

/// Makes this process one that stands on its own. There is no limit of open files here.
pub(super) fn settle_in(_open_files: Option<u64>) {
    win32::keep_streams_private();
}

/// Nobody is chosen to be killed for memory here.
pub(super) fn offer_to_oom(_: u32) {}

/// Nothing here is told to a process by a signal.
#[derive(Debug)]
pub(super) struct Signals;

impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self)
    }
}

/// What a wait brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Woken {
    /// The wrapper was asked to end.
    pub(super) term: bool,
    /// It is time to look at the folder.
    pub(super) look: bool,
}

/// How and when the module ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) how: ExitHow,
    pub(super) at: Instant,
}

/// What holds a module to its memory limit, and everything else that it starts: the jobs.
#[derive(Debug)]
pub(super) struct Guard {
    jobs: Option<Rc<Jobs>>,
    limited: bool,
    error: Option<io::Error>,
}

#[derive(Debug)]
struct Jobs {
    /// Holds this process; none where the system does not let it in.
    outer: Option<Job>,
    inner: Job,
}

impl Jobs {
    fn make(memory: Option<Bytes>) -> io::Result<Self> {
        let outer = Job::new(None)?;
        // Without it a module could be left, not yet running, if this process died in the very moment of the start.
        let entered = outer.enter().is_ok();
        Ok(Self { outer: entered.then_some(outer), inner: Job::new(memory.map(|memory| memory.0))? })
    }

    /// What is still there outlives this process.
    fn release(&self) {
        for job in self.outer.iter().chain([&self.inner]) {
            let _ = job.release();
        }
    }
}

impl Drop for Jobs {
    /// The outer job holds this very process and would end it before it could write down why the start failed. A killed wrapper drops
    /// nothing, so that its processes still end with it.
    fn drop(&mut self) {
        if let Some(outer) = &self.outer {
            let _ = outer.release();
        }
    }
}

impl Guard {
    pub(super) fn set_up(memory: Option<Bytes>) -> Self {
        match Jobs::make(memory) {
            Ok(jobs) => Self { jobs: Some(Rc::new(jobs)), limited: memory.is_some(), error: None },
            Err(error) => Self { jobs: None, limited: false, error: Some(error) },
        }
    }

    pub(super) fn leave(&self) {}

    pub(super) fn kind(&self) -> Option<MemoryGuard> {
        self.limited.then_some(MemoryGuard::JobObject)
    }

    /// The job holds the limit by itself.
    pub(super) fn next(&self) -> Option<Instant> {
        None
    }

    pub(super) fn is_passed(&mut self, _: Instant) -> bool {
        false
    }

    /// Whether memory was refused to the module because of its limit, and the most that it used.
    pub(super) fn finish(self) -> (bool, Option<Bytes>) {
        let Some(jobs) = self.jobs else { return (false, None) };
        let peak = jobs.inner.usage().peak_memory;
        (self.limited && jobs.inner.was_refused_memory(), (peak > 0).then_some(Bytes(peak)))
    }
}

/// A started module and its descendants.
#[derive(Debug)]
pub(super) struct Process {
    jobs: Rc<Jobs>,
    child: Child,
    news: Receiver<News>,
    /// Streams that are not at their end.
    open: usize,
    end: Option<End>,
    look_at: Instant,
}

/// What the threads tell.
enum News {
    Output(Stream, Vec<u8>),
    /// There will be no more of a stream.
    Closed,
    /// The module has ended.
    Ended(Instant),
}

impl Process {
    /// Starts a module, in its job before its first instruction and in a process group of its own.
    pub(super) fn spawn(mut command: Command, _: Signals, guard: &Guard) -> io::Result<Self> {
        let Some(jobs) = guard.jobs.clone() else {
            let number = guard.error.as_ref().and_then(io::Error::raw_os_error);
            return Err(number.map_or_else(|| io::Error::other("its job could not be made"), io::Error::from_raw_os_error));
        };
        let mut child = jobs.inner.spawn(&mut command, SpawnFlags::OwnGroup)?;
        let (send, news) = sync_channel(PIECES_MAX);
        let listening = listen(&mut child, &send);
        match listening {
            Ok(open) => Ok(Self { jobs, child, news, open, end: None, look_at: Instant::now() + LOOK_FOR_STOP }),
            Err(error) => {
                let _ = jobs.inner.kill();
                Err(error)
            }
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How the module ended, if it has.
    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// No descendant is left.
    pub(super) fn is_alone(&self) -> bool {
        self.end.is_some() && self.jobs.inner.count().is_ok_and(|count| count == 0)
    }

    /// Nobody can write output any more, and all of it was read.
    pub(super) fn is_silent(&self) -> bool {
        self.open == 0
    }

    /// Waits until something happens or it is that late. Output goes to the pump.
    pub(super) fn wait(&mut self, until: Option<Instant>, pump: &mut Pump) -> Woken {
        let now = Instant::now();
        let patience = self.look_at.saturating_duration_since(now);
        let patience = until.map_or(patience, |until| patience.min(until.saturating_duration_since(now)));
        // Nobody tells when the last one of those that were left ends.
        let patience = if self.end.is_some() { patience.min(LOOK_AT_LEFT) } else { patience };
        match self.news.recv_timeout(patience) {
            Ok(news) => self.take(news, pump),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(patience),
        }
        // What has come meanwhile, but not for ever: a flood must not keep a stop from being seen.
        for news in self.news.try_iter().take(PIECES_MAX).collect::<Vec<_>>() {
            self.take(news, pump);
        }
        let now = Instant::now();
        let look = self.look_at <= now;
        if look {
            self.look_at = now + LOOK_FOR_STOP;
        }
        Woken { term: false, look }
    }

    fn take(&mut self, news: News, pump: &mut Pump) {
        match news {
            News::Output(stream, bytes) => pump.take(stream, &bytes),
            News::Closed => self.open = self.open.saturating_sub(1),
            News::Ended(at) => {
                // Codes like 0xC0000005 are errors of the system, known by their unsigned number.
                let code = self.child.try_wait().ok().flatten().and_then(|status| status.code());
                self.end = Some(End { how: ExitHow::Code(code.map_or(-1, |code| i64::from(code.cast_unsigned()))), at });
            }
        }
    }

    /// Asks the module and its group to stop. `false`: there is no console, and so no way to ask.
    pub(super) fn ask(&self) -> bool {
        // Once it has ended, its number is no group's any more.
        self.end.is_some() || win32::break_group(self.child.id()).is_ok()
    }

    /// Ends everything that is there by force. What is not gone after it needs another round.
    pub(super) fn kill(&mut self) {
        let _ = self.jobs.inner.kill();
    }

    /// Living descendants.
    pub(super) fn descendants(&self) -> Vec<u32> {
        let module = self.end.is_none().then(|| self.child.id());
        let mut pids = self.jobs.inner.processes().unwrap_or_default();
        pids.retain(|pid| Some(*pid) != module);
        pids
    }

    /// Nothing was taken over for it.
    #[expect(clippy::unused_self, reason = "elsewhere it has them")]
    pub(super) fn into_signals(self) -> Signals {
        Signals
    }

    /// What the module and its descendants used. Some systems do not count for a job; then what the module itself used is known.
    pub(super) fn usage(&self) -> Usage {
        let all = self.jobs.inner.usage();
        let own = win32::usage_of(self.child.as_handle());
        Usage {
            user_us: all.user_us.max(own.user_us),
            system_us: all.system_us.max(own.system_us),
            peak_memory: if all.peak_memory > 0 { all.peak_memory } else { own.peak_memory },
        }
    }
}

impl Drop for Process {
    /// What lives now is allowed to, or this process is failing: then its jobs end it.
    fn drop(&mut self) {
        if self.end.is_some() {
            self.jobs.release();
        }
    }
}

/// Starts the threads that wait. Gives the number of streams that are read.
fn listen(child: &mut Child, send: &SyncSender<News>) -> io::Result<usize> {
    let mut open = 0;
    if let Some(pipe) = child.stdout.take() {
        read(Stream::Stdout, pipe, send.clone())?;
        open += 1;
    }
    if let Some(pipe) = child.stderr.take() {
        read(Stream::Stderr, pipe, send.clone())?;
        open += 1;
    }
    let process: OwnedHandle = child.as_handle().try_clone_to_owned()?;
    let send = send.clone();
    start("end", move || {
        // Fails only for a handle that is none.
        let _ = win32::wait_for_end(process.as_handle(), None);
        let _ = send.send(News::Ended(Instant::now()));
    })?;
    Ok(open)
}

fn read(stream: Stream, mut pipe: impl Read + Send + 'static, send: SyncSender<News>) -> io::Result<()> {
    start("output", move || {
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let count = match pipe.read(&mut piece) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => 0,
            };
            piece.truncate(count);
            let news = if count == 0 { News::Closed } else { News::Output(stream, piece) };
            if send.send(news).is_err() || count == 0 {
                return;
            }
        }
    })
}

fn start(name: &str, life: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(life).map(drop)
}
