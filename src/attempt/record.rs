//! What the wrapper writes down: `start.json`, which it holds a lock on for life, and `exit.json`; and `stop.json`, by which it is told to stop.

use std::io;
use std::path::Path;

use crate::units::{Bytes, DurationMs, Timestamp};

/// A process that cannot be mistaken for another one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Its number.
    pub pid: u32,
    /// When it was started: ticks since the boot on Linux, 100 ns since 1601 on Windows; 0: not known.
    pub started: u64,
}

/// What keeps an attempt within its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryGuard {
    /// A control group of version 2.
    CgroupV2,
    /// A control group of version 1.
    CgroupV1,
    /// A job object.
    JobObject,
    /// The wrapper looks at the sum of its processes a few times a second.
    Polling,
}

/// `start.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartRecord {
    /// The wrapper.
    pub wrapper: ProcessIdentity,
    /// The module; none while it is just being started.
    pub child: Option<ProcessIdentity>,
    /// The boot of the machine.
    pub boot: String,
    /// Name of the machine.
    pub machine: String,
    /// Wall clock.
    pub at: Timestamp,
    /// What holds it to its memory limit, where it has one.
    pub memory_guard: Option<MemoryGuard>,
}

/// How the program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitHow {
    /// With a code.
    Code(i64),
    /// By a signal.
    Signal {
        /// Its number.
        number: i32,
        /// It left a memory image.
        core: bool,
    },
    /// The system refused to start it, with this number of an error (`errno`, or that of Windows).
    SpawnFailed {
        /// The number; 0: not the system but we.
        errno: i32,
        /// In words.
        message: String,
    },
    /// It was stopped before it had been started.
    Prevented,
}

/// Bytes of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamTotals {
    /// Written by the module.
    pub written: u64,
    /// Dropped because of the cap.
    pub dropped: u64,
    /// Lost because the disk did not take them.
    pub lost: u64,
}

/// `exit.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitRecord {
    /// How.
    pub how: ExitHow,
    /// Wall clock of its start and end.
    pub started: Timestamp,
    /// The same.
    pub ended: Timestamp,
    /// By a monotonic clock.
    pub duration: DurationMs,
    /// Time on processors in user mode, of all its processes that were waited for, in microseconds.
    pub user_us: u64,
    /// The same in the kernel.
    pub system_us: u64,
    /// Most memory: of all processes together where a guard knows, else of the largest one.
    pub peak_memory: Option<Bytes>,
    /// Its memory limit and what held it.
    pub memory: Option<(Bytes, MemoryGuard)>,
    /// It was killed for using more memory than its limit.
    pub oom: bool,
    /// Signals that were sent to stop it, in order: `TERM`, `KILL`.
    pub signals: Vec<String>,
    /// The kill was needed after the polite stop.
    pub escalated: bool,
    /// Processes that it left behind and that were ended (or live on, with `leaks: allow`).
    pub leaked: Vec<u32>,
    /// Standard output and standard error.
    pub streams: [StreamTotals; 2],
    /// The first error in writing the logs.
    pub log_error: Option<String>,
}

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopAs {
    /// Politely, and by force when the grace is over.
    Polite,
    /// At once.
    Kill,
}

/// `stop.json`: written aside and renamed by whoever wants the attempt to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopRequest {
    /// How.
    pub how: StopAs,
    /// Between the polite stop and the kill.
    pub grace: DurationMs,
}

/// How an attempt stands, as far as its folder tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// No wrapper has claimed it: it may still be started.
    Unclaimed,
    /// Its wrapper lives. `None`: it is just starting the module.
    Alive(Option<StartRecord>),
    /// It is over, and this is how.
    Ended(Box<ExitRecord>),
    /// Its wrapper died without a word. `None`: before it had started the module, which now nobody will.
    Dead(Option<StartRecord>),
}

impl StartRecord {
    /// As JSON, one line.
    #[must_use]
    pub fn encode(&self) -> String {
        todo!()
    }

    /// From JSON.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`].
    pub fn decode(text: &str) -> io::Result<Self> {
        let _ = text;
        todo!()
    }
}

impl ExitRecord {
    /// As JSON, one line.
    #[must_use]
    pub fn encode(&self) -> String {
        todo!()
    }

    /// From JSON.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`].
    pub fn decode(text: &str) -> io::Result<Self> {
        let _ = text;
        todo!()
    }
}

impl StopRequest {
    /// Writes it into an attempt's folder, durable.
    ///
    /// # Errors
    /// What the system said.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let _ = folder;
        todo!()
    }

    /// Reads it; `None` where nobody asks for a stop.
    ///
    /// # Errors
    /// What the system said, or what is wrong with it.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        let _ = folder;
        todo!()
    }
}

/// Looks at a folder. Where the wrapper is dead this also makes sure that none will ever start the attempt: it takes the lock itself for
/// a moment, and a wrapper that comes late refuses to start without it.
///
/// # Errors
/// What the system said.
pub fn standing(folder: &Path) -> io::Result<Standing> {
    let _ = folder;
    todo!()
}
