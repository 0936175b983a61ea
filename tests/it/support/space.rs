//! A workspace in a temporary folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Ran, Running, until};

/// Every process that the program starts in a space carries the space's folder in its environment under this name, or in another
/// variable: so strays are found.
const MARK: &str = "PRISMQ_TEST_SPACE";

/// What every Python module of the tests begins with. `mark` notes that something happened, once a line; `gate` waits until the test
/// opens it, and gives up so that a failed test leaves nothing behind for long.
const PRELUDE: &str = r#"import json, os, sys, time
SPACE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
with open(os.environ["PRISMQ_PARAMS"], encoding="utf-8") as file:
    P = json.load(file)
NODE, ATTEMPT = os.environ["PRISMQ_NODE"], int(os.environ["PRISMQ_ATTEMPT"])
def out(**values):
    with open(os.environ["PRISMQ_OUTPUT"], "w", encoding="utf-8") as file:
        json.dump(values, file)
def mark(name, text="x"):
    with open(os.path.join(SPACE, "marks", name), "ab", buffering=0) as file:
        file.write((text + "\n").encode())
def gate(name):
    end = time.monotonic() + 60
    while not os.path.exists(os.path.join(SPACE, "gates", name)) and time.monotonic() < end:
        time.sleep(0.005)
"#;

/// A workspace that goes away at its end, and looks whether anything of it still runs.
#[derive(Debug)]
pub(crate) struct TestSpace {
    _folder: tempfile::TempDir,
    root: PathBuf,
}

impl TestSpace {
    /// A workspace.
    pub(crate) fn new() -> Self {
        Self::named("space")
    }

    /// A workspace whose path has spaces, quotes and letters outside ASCII in it.
    pub(crate) fn awkward() -> Self {
        Self::named("Můj 'první' prostor – 工作")
    }

    /// A workspace in a folder of this name, or several in one another.
    pub(crate) fn named(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("prismq-it-").tempdir().expect("a temporary folder");
        // What Windows makes of it, `\\?\C:\...`, is not understood by everybody.
        let root = if cfg!(windows) { folder.path().to_owned() } else { std::fs::canonicalize(folder.path()).expect("it exists") };
        let root = root.join(name);
        for inner in ["manifests", "modules", "marks", "gates"] {
            std::fs::create_dir_all(root.join(inner)).expect("a folder");
        }
        Self { _folder: folder, root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path in the workspace.
    pub(crate) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// Writes a file, with its folders.
    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let file = self.at(path);
        std::fs::create_dir_all(file.parent().expect("it lies in the workspace")).expect("a folder");
        std::fs::write(&file, text).expect("a file");
        file
    }

    /// The text of a file.
    #[track_caller]
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> String {
        let file = self.at(path);
        std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// Makes a module: a manifest with these further keys, and a Python script.
    pub(crate) fn module(&self, id: &str, keys: &str, python: &str) {
        self.write(&format!("manifests/{id}.yaml"), format!("id: {id}\nscript: ../modules/{id}.py\n{keys}\n"));
        self.write(&format!("modules/{id}.py"), format!("{PRELUDE}{python}\n"));
    }

    /// How often `mark(name)` was called.
    pub(crate) fn marks(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.at("marks").join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until `mark(name)` was called so often.
    #[track_caller]
    pub(crate) fn wait_for_marks(&self, name: &str, count: usize) {
        self.wait_until(&format!("{count} marks {name:?}"), || self.marks(name).len() >= count);
    }

    /// Lets everybody pass who waits at `gate(name)`.
    pub(crate) fn open(&self, gate: &str) {
        self.write(&format!("gates/{gate}"), "");
    }

    /// Waits until a condition holds.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        assert!(until(|| condition().then_some(())).is_some(), "this did not come true: {what}");
    }

    /// The program with these arguments, in this workspace.
    pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prismq"));
        command
            .args(args)
            .current_dir(&self.root)
            .env_remove("PRISMQ_WORKSPACE")
            .env(MARK, &self.root)
            // Many hosts at once: each has a free port unless a test says otherwise.
            .env("PRISMQ_PORT", "0")
            .env("NO_COLOR", "1")
            .env("TZ", "UTC");
        command
    }

    /// Runs the program to its end.
    #[track_caller]
    pub(crate) fn prismq(&self, args: &[&str]) -> Ran {
        Running::start(self.command(args), None).end()
    }

    /// The same with something on standard input.
    #[track_caller]
    pub(crate) fn prismq_reading(&self, args: &[&str], input: &str) -> Ran {
        Running::start(self.command(args), Some(input)).end()
    }

    /// Starts the program in the background.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::start(self.command(args), None)
    }

    /// A host in the background, once it is up.
    #[track_caller]
    pub(crate) fn serve(&self) -> Running {
        let serve = self.start(&["serve"]);
        serve.wait_for_note("hosting");
        serve
    }

    /// `show RUN --json`.
    #[track_caller]
    pub(crate) fn show(&self, run: &str) -> Value {
        self.prismq(&["show", run, "--json"]).ends(0).json()
    }

    /// A node of a run as `show` gives it.
    #[track_caller]
    pub(crate) fn node(&self, run: &str, node: &str) -> Value {
        self.prismq(&["show", &format!("{run}/{node}"), "--json"]).ends(0).json()
    }

    /// Status of all nodes of a run, in order, `node=status`.
    #[track_caller]
    pub(crate) fn statuses(&self, run: &str) -> Vec<String> {
        let file = self.show(run);
        let nodes = file["nodes"].as_array().expect("a run has nodes");
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        nodes.iter().map(|node| format!("{}={}", text(&node["node"]), text(&node["status"]))).collect()
    }

    /// Processes that carry this space in their environment or on their command line. Only Linux tells.
    pub(crate) fn processes(&self) -> Vec<(u32, String)> {
        let root = self.root.as_os_str().as_encoded_bytes().to_vec();
        let holds = |file: PathBuf| std::fs::read(file).is_ok_and(|bytes| bytes.windows(root.len()).any(|part| part == root));
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        pids.filter(|pid| *pid != std::process::id())
            .filter(|pid| holds(format!("/proc/{pid}/environ").into()) || holds(format!("/proc/{pid}/cmdline").into()))
            .map(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                (pid, String::from_utf8_lossy(&line).replace('\0', " "))
            })
            .collect()
    }
}

impl Drop for TestSpace {
    /// Everything of a test must be over at its end. A host in the background needs a moment to see that it has nothing to do.
    fn drop(&mut self) {
        // A test that failed has said so already: what is left of it is ended without further words.
        let left = if std::thread::panicking() {
            self.processes()
        } else {
            match until(|| self.processes().is_empty().then_some(())) {
                Some(()) => return,
                None => self.processes(),
            }
        };
        #[cfg(unix)]
        for (pid, _) in &left {
            if let Some(pid) = i32::try_from(*pid).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        assert!(left.is_empty() || std::thread::panicking(), "processes were left behind: {left:#?}");
    }
}
