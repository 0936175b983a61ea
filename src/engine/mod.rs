//! Engines: where attempts execute, and the words in which the host speaks with one.
//!
//! The host hands over a [`Spec`] and gets [`Fact`]s back, keyed by attempt; it may ask for a stop at any time. An engine never
//! decides anything: no retry, no timeout, no escalation from the polite stop to the kill. It does not know the journal, the run's
//! state or the scheduler. [`LocalEngine`] is the one that starts programs on this machine.

mod local;
mod secrets;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::attempt::{AttemptFolder, Environment, MemoryGuard, ParamsFile};
use crate::event::{LostReason, SpawnFailure};
use crate::ids::AttemptId;
use crate::request::{Capture, GpuShare, Isolation, Leaks};
use crate::units::{Bytes, CpuMillis, DurationMs};

pub use local::LocalEngine;
pub use local::claims::read_claims;
pub use local::failure::is_transient;
pub use local::found::{Found, end, look, prevent};
pub use local::interpreter::{Launch, Resolver, Unavailable};
pub use local::strangers::{Reaped, reap_strangers};
pub use local::wrapper_program;
pub use secrets::{Secrets, Unlock, Values};

/// Everything that is needed to execute one attempt.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The key of all facts about it.
    pub id: AttemptId,
    /// Path of the node in the run (`clips[2].cut`).
    pub node: String,
    /// The program, absolute (see [`Resolver`]): a bare name would leave the fast way of starting a process.
    pub program: PathBuf,
    /// Arguments after the program's name.
    pub args: Vec<OsString>,
    /// What the module finds in its environment beside the `PRISMQ_` variables, which the engine adds.
    pub environment: Environment,
    /// Secrets that it finds there too. Only a wrapped attempt has any.
    pub secrets: Secrets,
    /// Where it runs.
    pub work: WorkIn,
    /// `.prismq/runs/<run>`, absolute. The attempt's folder lies in it, see [`crate::attempt::AttemptFolder`].
    pub run_folder: PathBuf,
    /// The checked parameters and the file that will hold them.
    pub params: Arc<ParamsFile>,
    /// What it reads from standard input.
    pub stdin: Stdin,
    /// Processors granted; tells numeric libraries how many threads to start.
    pub cpus: CpuMillis,
    /// Memory granted; 0: none declared. A wrapped attempt is held to it.
    pub memory: Bytes,
    /// Memory that was set aside for it without a promise of its author, so that it is no limit; 0: none.
    pub set_aside: Bytes,
    /// GPUs granted; the module sees no others.
    pub gpus: Vec<GpuShare>,
    /// Which of the alternatives of its requests it got, if there are some; the module learns it.
    pub alternative: Option<u32>,
    /// Under the wrapper, or started by the host itself.
    pub isolation: Isolation,
    /// Between the polite stop and the kill. The wrapper keeps to it by itself, so that a stop survives the host.
    pub grace: DurationMs,
    /// Who writes the logs of a wrapped attempt.
    pub capture: Capture,
    /// What happens to processes that a wrapped attempt leaves behind.
    pub leaks: Leaks,
    /// Most bytes of output that are kept of an attempt.
    pub log_cap: Option<Bytes>,
    /// Random text by which its processes are known again after a crash of the host. Must not occur in another attempt.
    pub token: String,
}

/// A wrapped attempt that another host started: what is needed to look after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The key of all facts about it.
    pub id: AttemptId,
    /// Path of the node in the run.
    pub node: String,
    /// `.prismq/runs/<run>`, absolute.
    pub run_folder: PathBuf,
    /// Its token.
    pub token: String,
    /// Between the polite stop and the kill.
    pub grace: DurationMs,
}

/// The working directory of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkIn {
    /// An existing folder.
    Folder(PathBuf),
    /// `work/` in the attempt's folder, made for it.
    Fresh,
}

/// What an attempt reads from standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stdin {
    /// Nothing: end of file at once.
    #[default]
    Nothing,
    /// The parameters as JSON.
    Params,
}

/// How to stop an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopHow {
    /// `SIGTERM` to its process group, and after the grace the kill if its wrapper lives. On Windows, where there is no polite way that
    /// works without a console, this is the kill.
    Polite,
    /// `SIGKILL` to its process group; its job on Windows.
    Kill,
}

/// What an engine reports. Facts of one attempt come in order, `Started` first and `Ended` last; `Ended` comes exactly once for each
/// accepted [`Spec`], also when nothing could be started (then without `Started`), and for each adopted attempt (also without).
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// The program runs. Nobody has to act on it: a sink that merely keeps it until something else wakes the host saves a thread switch
    /// for each cheap node.
    Started {
        /// The attempt.
        id: AttemptId,
        /// Its process, for people.
        pid: u32,
    },
    /// It wrote something; wakes those who follow the log. At most about twenty a second for each attempt.
    Output {
        /// The attempt.
        id: AttemptId,
        /// Bytes of both streams so far.
        bytes: u64,
    },
    /// It reported progress. At most one a second for each attempt, the latest one.
    Progress {
        /// The attempt.
        id: AttemptId,
        /// What it said.
        progress: crate::attempt::Progress,
    },
    /// Nothing of it runs any more, and it went well: its grant may be free before its end is told, which the disk has to take first. Only of
    /// wrapped attempts, and not of all.
    Vacated {
        /// The attempt.
        id: AttemptId,
    },
    /// It is over: the program was reaped, its logs and what is known of its end are written.
    Ended {
        /// The attempt.
        id: AttemptId,
        /// How.
        ending: Ending,
    },
}

/// How an attempt ended, before anybody judges it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// Exit code, signal or why there is neither.
    pub exit: Exit,
    /// From the start of the program to its end, by a monotonic clock; zero if it never started.
    pub duration: Duration,
    /// Time of its processes on processors, of those that were waited for; known of wrapped attempts.
    pub cpu: Option<Duration>,
    /// Most memory that it used: of a wrapped attempt what the wrapper knows, of a direct one that of its first process, known for
    /// attempts that lived longer than a second.
    pub peak_memory: Option<Bytes>,
    /// Its memory limit and what held it to that.
    pub memory: Option<(Bytes, MemoryGuard)>,
    /// It was killed for using more memory than its limit.
    pub oom: bool,
    /// The strongest stop that was sent to it.
    pub stop_sent: Option<StopHow>,
    /// The kill was sent after the polite stop.
    pub escalated: bool,
    /// Processes of it were left after its end. They were ended, unless they were allowed to stay.
    pub leaked: bool,
    /// Those processes, where they are known by number.
    pub leaked_pids: Vec<u32>,
    /// What it wrote to `PRISMQ_OUTPUT`: nothing, a JSON object, or why that is refused.
    pub outputs: Result<Option<Value>, String>,
    /// Bytes of output that could not be stored, with the first reason. The module was not hindered by it.
    pub log_lost: Option<LogLost>,
}

/// Output that a module wrote and that is not on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLost {
    /// How much.
    pub bytes: u64,
    /// The first error.
    pub reason: String,
}

/// How the program ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Exit {
    /// With this code. On Windows codes like 0xC0000005 are errors of the system.
    Exited(i64),
    /// By this signal.
    Signaled(i32),
    /// It could not be started.
    SpawnFailed(SpawnFailure),
    /// It was stopped before it had been started.
    Prevented,
    /// Nobody knows: its wrapper is gone without a word. What it had started was ended.
    Lost(LostReason),
}

/// Where the facts go. Called from the engine's threads; must not block.
pub type Sink = Arc<dyn Fn(Fact) + Send + Sync>;

/// What the host needs of an engine.
pub trait Engine: Send + Sync {
    /// Executes an attempt. Returns at once; everything else comes as facts.
    fn start(&self, spec: Spec);

    /// A wrapped attempt will probably be started before long, with a working directory of its own if `fresh`: its folder may be made in an
    /// idle moment. Nothing depends on it.
    fn expect(&self, folder: AttemptFolder, fresh: bool);

    /// No attempt of the run with this folder will come any more.
    fn forget(&self, run_folder: &Path);

    /// Asks for a stop. Nothing happens when the attempt is unknown or over. May be called again, with the kill after the polite stop.
    fn stop(&self, id: &AttemptId, how: StopHow);

    /// Looks after an attempt that another host started, from now on as if it were one's own.
    fn adopt(&self, left: Left);

    /// Lets go of the wrapped attempts: they go on by themselves, and the next host adopts them. Waits a moment until those that were
    /// just handed over are on their own feet. Nothing may be started afterwards.
    fn release(&self);

    /// Waits until no attempt is left. The host stops them first if it wants that.
    fn join(&self);
}
