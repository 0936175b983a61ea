//! The program, run to its end or in the background.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use serde_json::Value;

use super::{LIMIT, until};

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code; 128 + n after signal n.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "the exit code\n{}", self.both());
        self
    }

    /// Asserts that standard output holds a text.
    #[track_caller]
    pub(crate) fn says(self, part: &str) -> Self {
        assert!(self.stdout.contains(part), "{part:?} is not in standard output\n{}", self.both());
        self
    }

    /// Asserts that standard error holds a text.
    #[track_caller]
    pub(crate) fn complains(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "{part:?} is not in standard error\n{}", self.both());
        self
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("standard output is not JSON: {error}\n{}", self.both()),
        }
    }

    fn both(&self) -> String {
        format!("exit code: {}\n--- standard output\n{}\n--- standard error\n{}", self.code, self.stdout, self.stderr)
    }
}

/// What a stream has said so far.
#[derive(Debug, Default)]
struct Heard {
    bytes: Mutex<(Vec<u8>, bool)>,
    news: Condvar,
}

impl Heard {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("no test thread panicked").0).into_owned()
    }

    /// Waits until the text satisfies a condition or the stream ends. Gives the text, and whether it does.
    fn wait(&self, condition: impl Fn(&str) -> bool) -> (String, bool) {
        let end = Instant::now() + LIMIT;
        let mut held = self.bytes.lock().expect("no test thread panicked");
        loop {
            let text = String::from_utf8_lossy(&held.0).into_owned();
            let good = condition(&text);
            if good || held.1 || Instant::now() >= end {
                return (text, good);
            }
            held = self.news.wait_timeout(held, end.saturating_duration_since(Instant::now())).expect("no test thread panicked").0;
        }
    }
}

/// A program in the background. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    out: Arc<Heard>,
    err: Arc<Heard>,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts a command in a process group of its own.
    pub(crate) fn start(mut command: Command, input: Option<&str>) -> Self {
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().expect("the program starts");
        if let Some(input) = input {
            let mut stdin = child.stdin.take().expect("it is piped");
            // The program may refuse before it has read everything.
            let _ = stdin.write_all(input.as_bytes());
        }
        let (out, err) = (Arc::default(), Arc::default());
        let readers = vec![read(child.stdout.take().expect("it is piped"), &out), read(child.stderr.take().expect("it is piped"), &err)];
        Self { child, out, err, readers }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has used so far, in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }

    /// What standard output has said so far.
    pub(crate) fn stdout(&self) -> String {
        self.out.text()
    }

    /// Waits until standard output holds a text.
    #[track_caller]
    pub(crate) fn wait_for(&self, part: &str) -> &Self {
        let (text, good) = self.out.wait(|text| text.contains(part));
        assert!(good, "{part:?} did not come\n--- standard output\n{text}\n--- standard error\n{}", self.err.text());
        self
    }

    /// Waits until standard error holds a text.
    #[track_caller]
    pub(crate) fn wait_for_note(&self, part: &str) -> &Self {
        let (text, good) = self.err.wait(|text| text.contains(part));
        assert!(good, "{part:?} did not come\n--- standard error\n{text}\n--- standard output\n{}", self.out.text());
        self
    }

    /// Waits until it names a run in either stream: then its host has looked at it.
    #[track_caller]
    pub(crate) fn wait_for_note_or_out(&self, part: &str) {
        let seen = until(|| (self.out.text().contains(part) || self.err.text().contains(part)).then_some(()));
        assert!(seen.is_some(), "{part:?} did not come\n--- standard output\n{}\n--- standard error\n{}", self.out.text(), self.err.text());
    }

    /// The id of the run that it begins with `run ID of ...`.
    #[track_caller]
    pub(crate) fn run_id(&self) -> String {
        self.wait_for(" of ");
        let text = self.out.text();
        let id = text.split_whitespace().nth(1).unwrap_or_default().to_owned();
        assert_eq!(id.len(), 21, "a run's id is expected in the first line of\n{text}");
        id
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it at once, with nothing but itself: what it started lives on.
    pub(crate) fn kill(mut self) -> Ran {
        self.child.kill().expect("it can be killed");
        self.end()
    }

    /// Kills it at once with everything in its process group, as a closed terminal or a supervisor does it.
    #[cfg(unix)]
    pub(crate) fn kill_all(mut self) -> Ran {
        self.kill_group();
        self.end()
    }

    /// Tells a host to end, which it does.
    #[cfg(unix)]
    #[track_caller]
    pub(crate) fn stop(self) {
        self.signal(rustix::process::Signal::TERM);
        self.end().ends(0);
    }

    /// Sends a signal to it, and to nothing else.
    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it takes the signal");
    }

    /// Waits for its end. Kills its whole group and fails when that does not come.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ran {
        let status = until(|| self.child.try_wait().expect("a child can be waited for"));
        let Some(status) = status else {
            self.kill_group();
            let pid = self.pid();
            panic!(
                "process {pid} did not end within {LIMIT:?}\n--- standard output\n{}\n--- standard error\n{}",
                self.out.text(),
                self.err.text()
            );
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader ends");
        }
        Ran { code: code_of(status), stdout: self.out.text(), stderr: self.err.text() }
    }

    fn kill_group(&mut self) {
        #[cfg(unix)]
        let _ = rustix::process::kill_process_group(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill_group();
        }
    }
}

fn read(mut stream: impl Read + Send + 'static, heard: &Arc<Heard>) -> JoinHandle<()> {
    let heard = Arc::clone(heard);
    std::thread::spawn(move || {
        let mut piece = [0_u8; 8192];
        loop {
            let count = stream.read(&mut piece).unwrap_or(0);
            let mut held = heard.bytes.lock().expect("no test thread panicked");
            held.0.extend_from_slice(&piece[..count]);
            held.1 = count == 0;
            heard.news.notify_all();
            if count == 0 {
                return;
            }
        }
    })
}

fn code_of(status: ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128 + signal;
    }
    status.code().unwrap_or(-1)
}
