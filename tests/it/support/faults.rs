//! Faults of the disk, put between the program and the kernel by `strace`, or by file systems of its own. What a machine cannot do is
//! skipped by name, with the reason on standard error.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::{Ran, Running, TestSpace, until};

/// Says that a test was not done.
pub(crate) fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}

/// Why `strace` cannot inject faults here; none if it can.
pub(crate) fn no_strace() -> Option<&'static str> {
    static WHY: OnceLock<Option<&'static str>> = OnceLock::new();
    *WHY.get_or_init(|| {
        let tried = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO", "true"]).status();
        match tried {
            Ok(status) if status.success() => None,
            Ok(_) => Some("strace may not trace here"),
            Err(_) => Some("strace is not installed"),
        }
    })
}

/// Whether this process may mount file systems.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A host (`serve`) with faults.
pub(crate) struct FaultyHost<'a> {
    space: &'a TestSpace,
    running: Running,
}

impl<'a> FaultyHost<'a> {
    /// Starts `serve` under `strace`, with faults in its words (`fdatasync:error=EIO:when=3`; each thread and each call counts by itself).
    /// Only calls that touch one of `paths` (in the workspace) are looked at.
    pub(crate) fn start(space: &'a TestSpace, inject: &[&str], paths: &[&str]) -> Self {
        let mut words: Vec<String> = ["-f", "-qq", "-o", "/dev/null"].map(str::to_owned).into();
        for path in paths {
            words.extend(["-P".to_owned(), space.at(path).to_string_lossy().into_owned()]);
        }
        let calls: Vec<&str> = inject.iter().filter_map(|fault| fault.split(':').next()).collect();
        words.extend(["-e".to_owned(), format!("trace={}", calls.join(","))]);
        words.extend(inject.iter().flat_map(|fault| ["-e".to_owned(), format!("inject={fault}")]));
        Self::start_by(space, "strace", &words)
    }

    /// Starts `serve` by another program.
    pub(crate) fn start_by(space: &'a TestSpace, program: &str, words: &[String]) -> Self {
        let serve = space.command(&["serve"]);
        let mut command = Command::new(program);
        command.args(words).arg(serve.get_program()).args(serve.get_args()).current_dir(space.root());
        for (name, value) in serve.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self { space, running: Running::start(command, None) }
    }

    /// Waits until it can be asked. False if it ended before.
    pub(crate) fn is_up(&mut self) -> bool {
        let (space, running) = (self.space, &mut self.running);
        until(|| if health(space).is_some() { Some(true) } else { (!running.is_running()).then_some(false) }).unwrap_or(false)
    }

    /// The same, and fails if it ended.
    #[track_caller]
    pub(crate) fn up(mut self) -> Self {
        assert!(self.is_up(), "the host ended at once");
        self
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.running.is_running()
    }

    /// Asks it to stop, and waits for its end.
    #[track_caller]
    pub(crate) fn stop(self) -> Ran {
        let pid = host_pid(self.space).expect("a host");
        rustix::process::kill_process(pid, Signal::INT).expect("it takes the signal");
        self.running.end()
    }

    /// Waits for its end, which somebody else brings about.
    #[track_caller]
    pub(crate) fn end(self) -> Ran {
        self.running.end()
    }

    /// Kills it, but not what it started.
    pub(crate) fn kill(self) -> Ran {
        if let Some(pid) = host_pid(self.space) {
            // It may be gone already.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        self.running.end()
    }
}

fn address(space: &TestSpace) -> Option<Value> {
    serde_json::from_str(&std::fs::read_to_string(space.at(".prismq/host.json")).ok()?).ok()
}

/// The process that is the host of a workspace.
pub(crate) fn host_pid(space: &TestSpace) -> Option<Pid> {
    Pid::from_raw(i32::try_from(address(space)?["pid"].as_i64()?).ok()?)
}

/// What the host answers, status line and body.
pub(crate) fn ask(space: &TestSpace, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
    ask_with(space, method, path, "", body)
}

/// The same with further lines in the head of the request.
pub(crate) fn ask_with(space: &TestSpace, method: &str, path: &str, headers: &str, body: &str) -> Option<(u16, Value)> {
    use std::io::{Read, Write};
    let port = u16::try_from(address(space)?["port"].as_u64()?).ok()?;
    let token = std::fs::read_to_string(space.at(".prismq/token")).unwrap_or_default();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {}\r\n", token.trim());
    let rest = format!("{headers}Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    stream.write_all(format!("{head}{rest}").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n")?.1;
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// What the host says of itself.
pub(crate) fn health(space: &TestSpace) -> Option<String> {
    ask(space, "GET", "/api/health", "")?.1["status"].as_str().map(str::to_owned)
}

/// Waits until the host says this of itself.
#[track_caller]
pub(crate) fn wait_for_health(space: &TestSpace, wanted: &str) {
    space.wait_until(&format!("health is {wanted}"), || health(space).as_deref() == Some(wanted));
}

/// A file system of its own on a folder of the workspace; unmounted at the end.
#[derive(Debug)]
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// Mounts something. None where that is not possible.
    pub(crate) fn new(words: &[&str], place: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&place).expect("a folder");
        let mounted = Command::new("mount").args(words).arg(&place).stderr(std::process::Stdio::null()).status();
        let mount = mounted.is_ok_and(|status| status.success()).then_some(Self(place))?;
        // A new file system is open to all, and a state that is so is refused.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&mount.0, mode).expect("it is ours");
        Some(mount)
    }

    /// What somebody else has mounted.
    pub(crate) fn of(place: PathBuf) -> Self {
        Self(place)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = until(|| Command::new("umount").arg(&self.0).status().is_ok_and(|status| status.success()).then_some(()));
        assert!(unmounted.is_some() || std::thread::panicking(), "{} cannot be unmounted", self.0.display());
    }
}
