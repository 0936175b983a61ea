//! Words about how a node is run: what it needs, how long it may take, when it is tried again.
//!
//! They stand in manifests, are overridden by nodes, and travel to engines and records. Only data with its defaults: checking is
//! done where the YAML is read (`manifest`), deciding in `resources` and `scheduler`.

mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::ResourceName;
use crate::units::{Amount, Bytes, CpuMillis, DurationMs};

pub use order::{Alternative, Priority};

/// What an attempt needs, and while it runs, what it holds (its grant).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Request {
    /// Processors. 1 where nothing is declared; 0 may be declared.
    pub cpus: CpuMillis,
    /// Memory.
    #[serde(default, skip_serializing_if = "is_no_memory")]
    pub memory: Bytes,
    /// GPUs in thousandths: whole ones, for nobody else, or less than 1000 of one.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub gpus: Amount,
    /// Memory of one GPU; with whole GPUs, that each must have.
    #[serde(default, skip_serializing_if = "is_no_memory")]
    pub vram: Bytes,
    /// Counted resources that the settings define.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom: BTreeMap<ResourceName, Amount>,
    /// Of a grant: which GPUs, and how much of each. Empty in what is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<GpuShare>,
    /// Which of the alternatives of `any_of` it is, counted from 0; none where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternative: Option<u32>,
}

/// What an attempt holds of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct GpuShare {
    /// UUID of the GPU, as its driver tells it. Numbers change with the order in which the driver finds the cards.
    pub gpu: String,
    /// Thousandths of it; 1000: all of it, for nobody else. 0: only memory is counted.
    #[serde(default)]
    pub share: Amount,
    /// Its memory.
    #[serde(default)]
    pub vram: Bytes,
}

/// A whole GPU, in thousandths.
pub const WHOLE_GPU: u64 = 1000;

fn is_no_memory(memory: &Bytes) -> bool {
    memory.0 == 0
}

fn is_nothing(amount: &Amount) -> bool {
    amount.0 == 0
}

impl Request {
    /// Whether it asks for a GPU or memory of one.
    #[must_use]
    pub fn wants_gpu(&self) -> bool {
        self.gpus.0 > 0 || self.vram.0 > 0
    }

    /// Whether it asks for something of which others on the machine may take more than was handed out.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.memory.0 > 0 || self.wants_gpu()
    }
}

impl Default for Request {
    fn default() -> Self {
        Self {
            cpus: CpuMillis(1000),
            memory: Bytes(0),
            gpus: Amount(0),
            vram: Bytes(0),
            custom: BTreeMap::new(),
            devices: Vec::new(),
            alternative: None,
        }
    }
}

/// Causes after which a failed attempt may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RetryOn {
    /// The program ended with a code other than 0, or by a signal that was not ours.
    Exit,
    /// It ran longer than its `timeout`.
    Timeout,
    /// It was killed for using more memory than it had, or said that a graphics card had no more.
    Oom,
    /// Nobody knows how it ended: the host or the machine died. Must be named, since the work may have been done.
    Lost,
}

/// When a failed node is tried again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; 1 means no retry.
    pub attempts: u32,
    /// Causes that are tried again.
    pub on: BTreeSet<RetryOn>,
    /// Exit codes that are tried again, whatever the causes are.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exit_codes: BTreeSet<i64>,
    /// Wait before the second attempt.
    pub backoff: DurationMs,
    /// Each further wait is this many thousandths of the one before (2000 doubles it).
    pub factor_millis: u64,
    /// Longest wait.
    pub max_backoff: DurationMs,
    /// Memory of each further attempt in thousandths of the one before, after the cause `oom`; 1000 leaves it.
    pub grow_memory_millis: u64,
    /// The same of VRAM, after an attempt that said that its graphics card had no more.
    #[serde(default = "unchanged")]
    pub grow_vram_millis: u64,
}

/// A factor that leaves what it is applied to.
fn unchanged() -> u64 {
    1_000
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 1,
            on: BTreeSet::from([RetryOn::Exit, RetryOn::Timeout, RetryOn::Oom]),
            exit_codes: BTreeSet::new(),
            backoff: DurationMs(2_000),
            factor_millis: 2_000,
            max_backoff: DurationMs(60_000),
            grow_memory_millis: 1_000,
            grow_vram_millis: unchanged(),
        }
    }
}

/// Whether an attempt runs under the wrapper that survives the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Under the wrapper: it outlives the host, and its exit code is kept.
    #[default]
    Wrapped,
    /// Started by the host itself: cheaper, but lost when the host dies.
    Direct,
}

/// Who writes the output of a wrapped attempt to its log files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Capture {
    /// The wrapper reads two pipes and writes what it reads, with the time and the order of each chunk.
    #[default]
    Pump,
    /// The module writes the two files itself: faster, without times, order or a cap.
    Raw,
}

/// Whether an earlier result may stand for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reuse {
    /// It always runs.
    #[default]
    Never,
    /// It does not run where manifest, script, parameters and the files that they name are those of an attempt that completed.
    Inputs,
}

/// What happens to processes that a module leaves behind at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Leaks {
    /// They are ended, which is verified.
    #[default]
    End,
    /// They live on and are reported.
    Allow,
}

/// What keeps a wrapped attempt within its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
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

impl MemoryGuard {
    /// As in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CgroupV2 => "cgroup-v2",
            Self::CgroupV1 => "cgroup-v1",
            Self::JobObject => "job-object",
            Self::Polling => "polling",
        }
    }
}

/// The memory limit that an attempt ran under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct MemoryLimit {
    /// How much.
    pub limit: Bytes,
    /// What held it to that.
    pub guard: MemoryGuard,
}

/// The folder in which a module runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkDir {
    /// The script's folder (the manifest's folder for a `command:`).
    #[default]
    Script,
    /// A new empty folder of the attempt.
    Fresh,
}

/// How the checked parameters reach the program, besides the file named by `PRISMQ_PARAMS`, which is always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ArgumentStyle {
    /// `--count=12`; repeated for arrays; `--flag` and `--no-flag` for booleans.
    #[default]
    Flags,
    /// `--count 12`.
    FlagsSpaced,
    /// The path of the JSON file as the only argument.
    JsonFile,
    /// The JSON on standard input.
    JsonStdin,
    /// Nothing on the command line: the program reads `PRISMQ_PARAMS`.
    Env,
}

/// What happens to a run when a node has finally failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Branches that do not depend on it go on.
    #[default]
    Continue,
    /// Everything else is stopped.
    Stop,
}

/// The interpreter of a Python script, as written in `python:`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PythonChoice {
    /// Nothing said: a venv beside the script, then the launcher, then `python3`.
    Auto,
    /// An interpreter's path.
    Path(String),
    /// `venv:DIR`, relative to the manifest.
    Venv(String),
    /// `conda:NAME`.
    Conda(String),
    /// `uv`: dependencies from the script's PEP 723 header.
    Uv,
    /// `py:3.11`: that version, by the Windows launcher or `python3.11`.
    Version(String),
}

/// The program that runs a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// A Python interpreter (see `python:`).
    Python,
    /// Node.js.
    Node,
    /// `sh`, or PowerShell for `.ps1`.
    Shell,
    /// The script is a program itself.
    Executable,
}

/// What a manifest says and a node of a pipeline may override.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeSettings {
    /// What an attempt needs.
    pub request: Request,
    /// Longest run time of an attempt; none: no limit.
    pub timeout: Option<DurationMs>,
    /// Between the polite stop and the kill.
    pub grace: DurationMs,
    /// When it is tried again.
    pub retry: RetryPolicy,
    /// Environment variables beyond the host's allow-list.
    pub environment: BTreeMap<String, String>,
    /// Where it runs.
    pub workdir: WorkDir,
    /// Wrapped or direct, as asked for (the record says what was done).
    pub isolation: Isolation,
    /// How parameters are passed.
    pub arguments: ArgumentStyle,
    /// Who writes the log files.
    #[serde(default)]
    pub capture: Capture,
    /// What happens to left processes.
    #[serde(default)]
    pub leaks: Leaks,
    /// Most bytes of output of an attempt that are kept; none: all.
    #[serde(default)]
    pub log_cap: Option<Bytes>,
    /// How long an attempt is expected to take, by its author. It orders and predicts; it limits nothing.
    #[serde(default)]
    pub duration: Option<DurationMs>,
    /// Whether an earlier result is taken.
    #[serde(default)]
    pub reuse: Reuse,
    /// Names of the secrets that it gets in its environment. Their values are nowhere but there.
    #[serde(default)]
    pub secrets: BTreeSet<String>,
    /// Before or after others; none: by what is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Nodes of the same key run one after another where nothing else decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Arc<str>>,
    /// Alternatives of what it needs, in the order of preference, each laid over `request`. Empty: `request` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any_of: Vec<Alternative>,
}

impl NodeSettings {
    /// What an attempt may ask for, the preferred first. Never empty.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        if self.any_of.is_empty() {
            return vec![self.request.clone()];
        }
        (0..).zip(&self.any_of).map(|(at, alternative)| alternative.over(&self.request, at)).collect()
    }

    /// What the author says of an alternative; the request alone where there are none.
    #[must_use]
    pub fn asked(&self, alternative: Option<u32>) -> Request {
        let chosen = alternative.and_then(|at| Some((at, self.any_of.get(at as usize)?)));
        chosen.map_or_else(|| self.request.clone(), |(at, chosen)| chosen.over(&self.request, at))
    }

    /// Whether an attempt may come to ask for a GPU or memory of one.
    #[must_use]
    pub fn may_want_gpu(&self) -> bool {
        if self.any_of.is_empty() { self.request.wants_gpu() } else { self.requests().iter().any(Request::wants_gpu) }
    }
}

/// Where the value of a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretSource {
    /// A variable of the host's environment.
    Variable(String),
    /// A file that only its owner can read, absolute.
    File(PathBuf),
    /// A program and its arguments, without a shell: what it prints is the value.
    Command(Vec<String>),
}

/// Grace where nothing else is said: long enough for a Python program to write a checkpoint.
pub const GRACE_DEFAULT: DurationMs = DurationMs(10_000);

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            request: Request::default(),
            timeout: None,
            grace: GRACE_DEFAULT,
            retry: RetryPolicy::default(),
            environment: BTreeMap::new(),
            workdir: WorkDir::default(),
            isolation: Isolation::default(),
            arguments: ArgumentStyle::default(),
            capture: Capture::default(),
            leaks: Leaks::default(),
            log_cap: None,
            duration: None,
            reuse: Reuse::default(),
            secrets: BTreeSet::new(),
            priority: None,
            affinity: None,
            any_of: Vec::new(),
        }
    }
}
