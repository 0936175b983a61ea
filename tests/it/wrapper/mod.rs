//! The wrapper by itself: the real `prismq-attempt` on folders, with programs that misbehave (`tests/stub.rs`).
//!
//! What needs a tool or a right that is not there says so by name and passes.
#![cfg(target_os = "linux")]

mod faults;
mod leaks;
mod life;
mod memory;
mod nursery;
mod stop;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use prismq::attempt::{AttemptSpec, ExitHow, ExitRecord, Standing, StartRecord, StopAs, StopRequest, standing};
use prismq::request::{Capture, Leaks};
use prismq::units::DurationMs;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{stub, until};

const WRAPPER: &str = env!("CARGO_BIN_EXE_prismq-attempt");

/// An attempt in a folder of its own. Whatever of it still lives at the end of the test is killed.
struct Attempt {
    folder: tempfile::TempDir,
    spec: AttemptSpec,
}

impl Attempt {
    /// Of a mode of the misbehaving program.
    fn of(args: &[&str]) -> Self {
        Self::running(&stub(), args)
    }

    /// Of a line for the shell.
    fn shell(line: &str) -> Self {
        Self::running(Path::new("/bin/sh"), &["-c", line])
    }

    fn running(program: &Path, args: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::Builder::new().prefix("prismq é ").tempdir().expect("a temporary folder");
        let spec = AttemptSpec {
            name: "r/n/1".to_owned(),
            token: format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)),
            program: program.to_owned(),
            args: args.iter().map(OsString::from).collect(),
            environment: ["PATH", "PRISMQ_TOKEN", "PRISMQ_ARTIFACTS"].map(OsString::from).to_vec(),
            secrets: Vec::new(),
            work: "/".into(),
            stdin: None,
            capture: Capture::Pump,
            leaks: Leaks::End,
            log_cap: None,
            memory: None,
            set_aside: None,
            gpus: Vec::new(),
            alternative: None,
            grace: DurationMs(10_000),
            open_files: None,
        };
        Self { folder, spec }
    }

    fn with(mut self, change: impl FnOnce(&mut AttemptSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn environment(&self) -> Vec<(OsString, OsString)> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        vec![
            ("PATH".into(), path),
            ("PRISMQ_TOKEN".into(), self.spec.token.clone().into()),
            ("PRISMQ_ARTIFACTS".into(), self.path().into()),
        ]
    }

    /// The command that wraps it, with its spec in place.
    fn command(&self) -> Command {
        self.spec.write(self.path(), false).expect("the spec is written");
        let mut command = Command::new(WRAPPER);
        command.arg(self.path()).stdin(Stdio::null()).stdout(Stdio::null()).env_clear().envs(self.environment());
        command
    }

    fn start(&self) -> Wrapper {
        Wrapper(self.command().spawn().expect("the wrapper starts"))
    }

    /// Runs it to its end.
    fn run(&self) -> ExitRecord {
        self.start().end();
        self.record()
    }

    fn standing(&self) -> Standing {
        standing(self.path()).expect("the folder can be read")
    }

    /// How it ended, once the wrapper is gone.
    #[track_caller]
    fn record(&self) -> ExitRecord {
        match self.standing() {
            Standing::Ended(record) => *record,
            other => panic!("it has not ended: {other:?}"),
        }
    }

    /// Waits for its end.
    #[track_caller]
    fn ended(&self) -> ExitRecord {
        let ended = until(|| self.at("exit.json").exists().then(|| self.record()));
        ended.unwrap_or_else(|| panic!("no end came: {:?}", self.standing()))
    }

    /// Waits until the module was started.
    #[track_caller]
    fn alive(&self) -> StartRecord {
        until(|| StartRecord::read(self.path()).expect("a record")).unwrap_or_else(|| panic!("it does not start: {:?}", self.standing()))
    }

    fn log(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.at(name)).unwrap_or_default()
    }

    fn out(&self) -> String {
        String::from_utf8_lossy(&self.log("stdout.log")).into_owned()
    }

    /// Waits until the module has said this.
    #[track_caller]
    fn says(&self, part: &str) {
        let said = until(|| self.out().contains(part).then_some(()));
        assert!(said.is_some(), "{part:?} is not said: {:?}", self.out());
    }

    /// As a host does: the request into the folder, then a signal to whom it finds there.
    fn stop(&self, how: StopAs, grace_ms: u64) {
        StopRequest { how, grace: DurationMs(grace_ms) }.write(self.path()).expect("the request is written");
        if let Some(record) = StartRecord::read(self.path()).expect("a record") {
            signal(record.wrapper.pid, Signal::USR1);
        }
    }

    /// Processes that carry its token.
    fn processes(&self) -> Vec<u32> {
        processes_of(&self.spec.token)
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        assert_eq!(self.processes(), Vec::<u32>::new(), "processes of the attempt live");
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        for pid in self.processes() {
            signal(pid, Signal::KILL);
        }
    }
}

/// A wrapper as a child of the test.
struct Wrapper(Child);

impl Wrapper {
    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end; its exit code, 128 + n after signal n.
    #[track_caller]
    fn end(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let status = until(|| self.0.try_wait().expect("a child can be waited for"));
        let status = status.expect("the wrapper ends");
        status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Wrapper {
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

fn processes_of(token: &str) -> Vec<u32> {
    let mark = format!("PRISMQ_TOKEN={token}");
    let numbers = std::fs::read_dir("/proc").expect("/proc").flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let carries = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    numbers.filter(carries).collect()
}

/// Whether a process lives, and is not only waiting for somebody to notice its death.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a program can be found.
fn has(tool: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(tool).is_file()))
}

/// Says by name what cannot be tested here.
fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}

fn ended_by(number: i32) -> ExitHow {
    ExitHow::Signal { number, core: false }
}

/// A control group of version 1 that allows so many processes; removed when this is dropped.
struct FewProcesses(PathBuf);

impl FewProcesses {
    fn new(name: &str, limit: u32) -> Option<Self> {
        let path = PathBuf::from(format!("/sys/fs/cgroup/pids/prismq-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        let group = Self(path);
        std::fs::write(group.0.join("pids.max"), limit.to_string()).ok()?;
        Some(group)
    }

    /// The command, in the group.
    fn inside(&self, command: &Command) -> Command {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "echo 0 > \"$0\" && exec \"$@\""]).arg(self.0.join("cgroup.procs"));
        shell.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::null());
        shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell
    }
}

impl Drop for FewProcesses {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}
