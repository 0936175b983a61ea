//! An engine, what it reported, and a run's folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use prismq::attempt::{AttemptFolder, Environment, HostEnvironment, ParamsFile};
use prismq::engine::{Ending, Engine, Fact, Left, LocalEngine, Spec, Stdin, WorkIn};
use prismq::ids::{AttemptId, AttemptNumber, NodeIndex, RunId};
use prismq::request::{Capture, Isolation, Leaks};
use prismq::units::{Bytes, CpuMillis, DurationMs};
use serde_json::json;

use crate::support::{LIMIT, stub};

pub(crate) struct Bench {
    pub(crate) engine: LocalEngine,
    facts: Receiver<Fact>,
    pub(crate) folder: Arc<tempfile::TempDir>,
    /// Where the run's folder lies.
    runs: PathBuf,
    isolation: Isolation,
}

impl Bench {
    pub(crate) fn of(isolation: Isolation) -> Self {
        Self::below(Path::new("runs"), isolation)
    }

    /// The same, with the run's folder in one of this name.
    pub(crate) fn below(runs: &Path, isolation: Isolation) -> Self {
        let folder = tempfile::Builder::new().prefix("prismq é ").tempdir().expect("a temporary folder");
        let runs = folder.path().join(runs);
        Self::within(Arc::new(folder), runs, isolation)
    }

    fn within(folder: Arc<tempfile::TempDir>, runs: PathBuf, isolation: Isolation) -> Self {
        let (send, facts) = channel();
        let engine = LocalEngine::new(Arc::new(move |fact| {
            // The test may be over.
            let _ = send.send(fact);
        }));
        Self { engine, facts, folder, runs, isolation }
    }

    /// Another engine on the same folder.
    pub(crate) fn next(&self) -> Self {
        Self::within(Arc::clone(&self.folder), self.runs.clone(), self.isolation)
    }

    fn run_folder(&self) -> PathBuf {
        self.runs.join("r")
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn spec(&self, node: u32, args: &[&str]) -> Spec {
        Spec {
            id: id(node),
            node: format!("n[{node}]"),
            program: stub(),
            args: args.iter().map(Into::into).collect(),
            environment: Environment { base: HostEnvironment::new(std::env::vars_os()).share(&[]), own: Vec::new() },
            secrets: prismq::engine::Secrets::None,
            work: WorkIn::Folder(self.folder.path().to_owned()),
            run_folder: self.run_folder(),
            params: Arc::new(ParamsFile::new(&self.run_folder(), &json!({"topic": "größe"}))),
            stdin: Stdin::Nothing,
            cpus: CpuMillis(1000),
            memory: Bytes(0),
            set_aside: Bytes(0),
            alternative: None,
            gpus: Vec::new(),
            isolation: self.isolation,
            grace: DurationMs(10_000),
            capture: Capture::Pump,
            leaks: Leaks::End,
            log_cap: None,
            token: format!("{}-{node}-{}", std::process::id(), self.folder.path().display()),
        }
    }

    pub(crate) fn left(&self, node: u32) -> Left {
        let spec = self.spec(node, &[]);
        Left { id: spec.id, node: spec.node, run_folder: spec.run_folder, token: spec.token, grace: spec.grace }
    }

    /// The next fact that fits; others before it are dropped.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, mut fits: impl FnMut(Fact) -> Option<T>) -> T {
        let until = Instant::now() + LIMIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let fact = self.facts.recv_timeout(left).unwrap_or_else(|_| panic!("waited in vain for {what}"));
            if let Some(found) = fits(fact) {
                return found;
            }
        }
    }

    /// The process of an attempt that has just begun.
    #[track_caller]
    pub(crate) fn started(&self) -> u32 {
        self.until("a start", |fact| if let Fact::Started { pid, .. } = fact { Some(pid) } else { None })
    }

    #[track_caller]
    pub(crate) fn ending(&self) -> Ending {
        self.until("an ending", |fact| if let Fact::Ended { ending, .. } = fact { Some(ending) } else { None })
    }

    #[track_caller]
    pub(crate) fn run(&self, node: u32, args: &[&str]) -> Ending {
        self.engine.start(self.spec(node, args));
        self.ending()
    }

    pub(crate) fn log(&self, node: u32) -> String {
        let folder = AttemptFolder::new(&self.run_folder(), &format!("n[{node}]"), AttemptNumber::FIRST);
        String::from_utf8_lossy(&std::fs::read(folder.path().join("stdout.log")).unwrap_or_default()).into_owned()
    }
}

pub(crate) fn id(node: u32) -> AttemptId {
    let run = RunId::parse("20251120-081152-zzzzz").expect("a run id");
    AttemptId { run, node: NodeIndex(node), attempt: AttemptNumber::FIRST }
}
