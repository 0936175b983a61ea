//! The folder of one cycle: a workspace, what was acknowledged, what was done. And the processes that belong to it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fault::Fault;
use crate::plan::{Pipeline, SCRIPT};
use crate::process::{Ran, Running};

/// Everything of a space carries its path in the environment under this name, or in another variable or on the command line.
pub(crate) const MARK: &str = "CRASH_SPACE";

/// Where one cycle takes place.
#[derive(Debug)]
pub(crate) struct Space {
    folder: PathBuf,
}

impl Space {
    /// Makes the folder with an empty workspace in it.
    pub(crate) fn make(folder: PathBuf) -> std::io::Result<Self> {
        let space = Self { folder };
        fs::create_dir_all(space.root().join("manifests"))?;
        fs::write(space.root().join("prismq.yaml"), "host: {capacity: {cpus: 2, slot: 1}, reserve: {disk: 0B}, max_concurrent: 3}\n")?;
        fs::write(space.script(), SCRIPT)?;
        let (script, marks) = (space.script(), space.marks_file());
        let manifest = serde_json::json!({
            "id": "step",
            "command": ["/bin/sh", script, "${{ params.lines }}", "${{ params.sleep }}", "${{ params.fails }}"],
            "params": {"properties": {
                "lines": {"type": "integer", "default": 1},
                "sleep": {"type": "string", "default": "0"},
                "fails": {"type": "integer", "default": 0},
            }},
            "environment": {"CRASH_MARKS": marks},
        });
        fs::write(space.root().join("manifests/step.yaml"), manifest.to_string())?;
        // The whole of everything: starts only where nothing is held any more.
        let probe = serde_json::json!({"nodes": {"probe": {"module": "step", "isolation": "direct", "resources": {"cpus": 2, "slot": 1}}}});
        fs::write(space.root().join("probe.json"), probe.to_string())?;
        Ok(space)
    }

    /// The cycle's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The workspace, at a path with a space in it.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("work space")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.root().join(".prismq/journal")
    }

    fn script(&self) -> PathBuf {
        self.root().join("step.sh")
    }

    fn marks_file(&self) -> PathBuf {
        self.root().join("marks")
    }

    /// The side effects of all attempts, in order.
    pub(crate) fn marks(&self) -> Vec<String> {
        let bytes = fs::read(self.marks_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }

    /// Writes a pipeline's file; gives its name.
    pub(crate) fn add(&self, pipeline: &Pipeline) -> std::io::Result<String> {
        let name = format!("{}.json", pipeline.name);
        fs::write(self.root().join(&name), pipeline.text())?;
        Ok(name)
    }

    /// The segment of the journal that is being written.
    pub(crate) fn segment(&self) -> PathBuf {
        let entries = fs::read_dir(self.journal()).into_iter().flatten().flatten();
        let is_segment = |name: &str| name.ends_with(".jsonl") && !name.starts_with("snapshot");
        let last = entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_segment(name)).max();
        self.journal().join(last.unwrap_or_else(|| "000001.jsonl".to_owned()))
    }

    /// Where the host says it can be reached.
    pub(crate) fn host(&self) -> Option<u32> {
        let text = fs::read(self.root().join(".prismq/host.json")).ok()?;
        let value: serde_json::Value = serde_json::from_slice(&text).ok()?;
        u32::try_from(value["pid"].as_u64()?).ok()
    }

    /// Prepares a program to run in the workspace.
    pub(crate) fn prepare(&self, mut command: Command) -> Command {
        command.current_dir(self.root()).env_remove("PRISMQ_WORKSPACE").env(MARK, self.root()).env("NO_COLOR", "1").env("TZ", "UTC");
        command
    }

    /// Starts the program in the background.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut command = Command::new(program());
        command.args(args);
        Running::start(self.prepare(command), None)
    }

    /// Notes what a program did, for whoever looks into a failed cycle.
    pub(crate) fn note(&self, line: &str, ran: &Ran) {
        self.write_down("story", &format!("$ prismq {line}\n{}{}-> {}\n\n", ran.stdout, ran.stderr, ran.code));
    }

    /// A copy of the program that has a wrapper under a fault beside it.
    pub(crate) fn with_wrapper(&self, fault: &Fault, trace: &Path) -> Result<PathBuf, String> {
        let failed = |error: std::io::Error| format!("the program cannot be copied: {error}");
        let act = trace.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = self.copies().join(act);
        fs::create_dir_all(&folder).map_err(failed)?;
        let copy = folder.join("prismq");
        // Another name of the same file where that is possible: it is large.
        fs::hard_link(program(), &copy).or_else(|_| copy_elsewhere(program(), &copy)).map_err(failed)?;
        let script = folder.join("prismq-attempt");
        let real = program().with_file_name("prismq-attempt");
        fs::write(&script, fault.wrapper_script(&real, trace)).map_err(failed)?;
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(failed)?;
        Ok(copy)
    }

    fn copies(&self) -> PathBuf {
        self.folder.join("copies")
    }

    /// Kills hosts that run from such a copy. What they started lives on.
    pub(crate) fn end_copies(&self) {
        let copies = self.copies().to_string_lossy().into_owned();
        for (pid, _) in self.processes().into_iter().filter(|(_, line)| line.starts_with(&copies)) {
            signal(pid, rustix::process::Signal::KILL);
        }
    }

    /// What `strace` saw in an act, in all its files.
    pub(crate) fn trace(&self, act: usize) -> String {
        let head = format!("trace.{act}");
        let is_of_act = |name: &str| name.strip_prefix(&head).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let files = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_of_act)).map(|entry| entry.path());
        files.filter_map(|file| fs::read_to_string(file).ok()).collect()
    }

    /// Appends to a file in the cycle's folder. Only for people: that it cannot be written is no failure of the cycle.
    pub(crate) fn write_down(&self, file: &str, text: &str) {
        write_down(&self.folder.join(file), text);
    }

    /// Processes of this cycle.
    pub(crate) fn processes(&self) -> Vec<(u32, String)> {
        processes_of(&self.root())
    }

    /// Every file and folder of the workspace's state.
    pub(crate) fn state(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.root().join(".prismq")];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    open.push(entry.path());
                }
                found.push(entry.path());
            }
        }
        found
    }
}

/// Appends to a file.
pub(crate) fn write_down(file: &Path, text: &str) {
    let opened = fs::OpenOptions::new().append(true).create(true).open(file);
    let _ = opened.and_then(|mut file| file.write_all(text.as_bytes()));
}

/// The program under test.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_prismq"))
}

/// By a program of its own: what another thread starts in this moment would hold the new file open for writing, and nobody can execute it.
fn copy_elsewhere(from: &Path, to: &Path) -> std::io::Result<()> {
    let status = Command::new("cp").arg(from).arg(to).status()?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(format!("cp: {status}"))) }
}

/// Processes with this path in their environment or on their command line, and what they are called.
pub(crate) fn processes_of(path: &Path) -> Vec<(u32, String)> {
    let path = path.as_os_str().as_encoded_bytes();
    let holds = |file: String| fs::read(file).is_ok_and(|bytes| bytes.windows(path.len()).any(|part| part == path));
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    pids.filter(|pid| *pid != std::process::id())
        .filter(|pid| holds(format!("/proc/{pid}/environ")) || holds(format!("/proc/{pid}/cmdline")))
        .map(|pid| (pid, String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ")))
        .collect()
}

/// Ends every process with this path in its environment, whoever started it, until none is left.
pub(crate) fn end_all(path: &Path) {
    for _ in 0..100 {
        let left = processes_of(path);
        if left.is_empty() {
            return;
        }
        for (pid, _) in left {
            signal(pid, rustix::process::Signal::KILL);
        }
        std::thread::sleep(crate::LOOK);
    }
}

/// Sends a signal to a process that carries our mark. One that is gone already is no failure.
pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}
