//! One attempt under the wrapper, driven by its folder alone, and what a module writes and ends with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use prismq::attempt::{
    AttemptSpec, ExitHow, ExitRecord, MemoryGuard, ProcessIdentity, Standing, StartRecord, StopAs, StopRequest, standing,
};
use prismq::logs::{LogReader, Query, Stream};
use prismq::request::{Capture, Leaks};
use prismq::units::{Bytes, DurationMs};

use crate::support::{stub, until};

/// The folder of an attempt, and its wrapper once it was started.
pub(crate) struct Attempt {
    _base: tempfile::TempDir,
    pub(crate) folder: PathBuf,
    pub(crate) wrapper: Option<Child>,
}

impl Attempt {
    /// An attempt of the stub.
    pub(crate) fn of(args: &[&str]) -> Self {
        Self::with(args, |_| {})
    }

    /// The same, with something else in its spec.
    pub(crate) fn with(args: &[&str], change: impl FnOnce(&mut AttemptSpec)) -> Self {
        Self::within(Path::new("attempt é 1"), args, change)
    }

    /// The same, in a folder of this name below a temporary one.
    pub(crate) fn within(name: &Path, args: &[&str], change: impl FnOnce(&mut AttemptSpec)) -> Self {
        let base = tempfile::Builder::new().prefix("prismq wrapper ").tempdir().expect("a temporary folder");
        let folder = base.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut spec = AttemptSpec {
            name: "20251120-081152-zzzzz/n/1".to_owned(),
            token: folder.display().to_string(),
            program: stub(),
            args: args.iter().map(OsString::from).collect(),
            environment: ["SystemRoot", "TEMP", "PATH"].map(OsString::from).into(),
            secrets: Vec::new(),
            work: folder.clone(),
            stdin: None,
            capture: Capture::Pump,
            leaks: Leaks::End,
            log_cap: None,
            memory: None,
            set_aside: None,
            gpus: Vec::new(),
            alternative: None,
            grace: DurationMs(60_000),
            open_files: None,
        };
        change(&mut spec);
        spec.write(&folder, true).expect("a spec");
        Self { _base: base, folder, wrapper: None }
    }

    /// Starts its wrapper.
    pub(crate) fn start(mut self) -> Self {
        self.wrapper = Some(wrapper(&self.folder).spawn().expect("the wrapper starts"));
        self
    }

    pub(crate) fn standing(&self) -> Standing {
        standing(&self.folder).expect("a folder that can be read")
    }

    /// The record of its start, once the module runs. Its standing is looked at only then: a look before would forestall the start.
    #[track_caller]
    pub(crate) fn started(&self) -> StartRecord {
        assert!(until(|| self.folder.join("start.json").exists().then_some(())).is_some(), "the module did not start");
        match self.standing() {
            Standing::Alive(Some(record)) if record.child.is_some() => record,
            other => panic!("the module does not run: {other:?}"),
        }
    }

    /// The record of its end, and the wrapper gone.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitRecord {
        let wrapper = self.wrapper.as_mut().expect("it was started");
        let code = until(|| wrapper.try_wait().expect("it can be waited for")).map(|status| status.code());
        match self.standing() {
            Standing::Ended(record) => {
                assert_eq!(code, Some(Some(0)), "{record:?}");
                *record
            }
            other => panic!("it did not end, its wrapper with {code:?}: {other:?}"),
        }
    }

    /// Starts it and waits for its end.
    #[track_caller]
    pub(crate) fn run(args: &[&str]) -> (Self, ExitRecord) {
        let mut attempt = Self::of(args).start();
        let record = attempt.ended();
        (attempt, record)
    }

    /// What a file of it holds.
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.join(name)).unwrap_or_default()
    }

    /// Whole lines that it wrote so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.bytes("stdout.log")).into_owned();
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Waits until it has written so many lines.
    #[track_caller]
    pub(crate) fn wait_for_lines(&self, count: usize) -> Vec<String> {
        let lines = until(|| Some(self.lines()).filter(|lines| lines.len() >= count));
        lines.unwrap_or_else(|| panic!("{count} lines did not come: {:?}", self.lines()))
    }

    pub(crate) fn stop(&self, how: StopAs, grace_ms: u64) {
        StopRequest { how, grace: DurationMs(grace_ms) }.write(&self.folder).expect("a request");
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(wrapper) = &mut self.wrapper {
            let _ = wrapper.kill();
            let _ = wrapper.wait();
        }
    }
}

/// The command that starts a wrapper for a folder.
pub(crate) fn wrapper(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prismq-attempt"));
    command.arg(folder).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Waits until a process is gone.
#[track_caller]
pub(crate) fn gone(process: ProcessIdentity) {
    assert!(until(|| (!process.is_alive()).then_some(())).is_some(), "{process:?} is still there");
}

#[test]
fn exit_codes_are_whole_and_unsigned() {
    for code in [0_u32, 1, 3, 255, 256, 0xC000_0005, 0xFFFF_FFFF] {
        let (_, record) = Attempt::run(&["exit-code", &code.to_string()]);
        assert_eq!((record.how, record.leaked, record.oom), (ExitHow::Code(code.into()), vec![], false));
    }
}

#[test]
fn the_first_line_is_there_while_the_module_runs() {
    let base = tempfile::tempdir().expect("a folder");
    let (go, starts) = (base.path().join("go"), base.path().join("starts"));
    let mut attempt = Attempt::of(&["count-until", &go.display().to_string(), "7", &starts.display().to_string()]).start();
    assert_eq!(attempt.wait_for_lines(2)[..2], ["line 0", "line 1"]);
    let started = attempt.started();
    assert!(started.child.is_some_and(ProcessIdentity::is_alive) && started.wrapper.is_alive());
    assert!(!started.machine.is_empty() && !started.boot.is_empty());
    std::fs::write(&go, "").expect("a file");
    let record = attempt.ended();
    assert_eq!(record.how, ExitHow::Code(7));
    let lines = attempt.lines();
    assert_eq!(lines.last().map(String::as_str), Some("end"));
    assert!(lines[..lines.len() - 1].iter().enumerate().all(|(at, line)| *line == format!("line {at}")), "{lines:?}");
    assert_eq!(std::fs::read_to_string(&starts).expect("the note of its start").lines().count(), 1);
    assert!(record.duration.0 > 0 && record.duration.0 < 60_000 && record.started <= record.ended);
}

#[test]
fn f45_every_byte_is_kept_with_time_and_order() {
    let (attempt, _) = Attempt::run(&["invalid-utf8"]);
    assert_eq!(attempt.bytes("stdout.log"), [0xff, 0xfe, b'\n', 0, 0x1b, b'[', b'3', b'1', b'm', b'\r', b'x', 0xc3]);
    let (attempt, record) = Attempt::run(&["flood", "5000003", "stderr"]);
    let piece: Vec<u8> = (0..9973_u32).map(|at| b'a' + u8::try_from(at % 26).unwrap_or(0)).collect();
    let log = attempt.bytes("stderr.log");
    assert_eq!((log.len(), record.streams[1].written, record.streams[1].lost), (5_000_003, 5_000_003, 0));
    assert!(log.chunks(piece.len()).all(|chunk| *chunk == piece[..chunk.len()]));
    let (attempt, record) = Attempt::run(&["say-both"]);
    let lines: Vec<_> =
        LogReader::open(&attempt.folder).lines(Query::default()).expect("a log").map(|line| line.expect("a line")).collect();
    let of = |stream: Stream| lines.iter().filter(|line| line.stream == stream).count();
    assert_eq!((of(Stream::Stdout), of(Stream::Stderr)), (3, 3));
    assert!(lines.iter().all(|line| line.at >= record.started), "each line has its time: {lines:?}");
}

#[test]
fn a_module_may_write_its_logs_itself() {
    let mut attempt = Attempt::with(&["flood", "300000"], |spec| spec.capture = Capture::Raw).start();
    let record = attempt.ended();
    assert_eq!((record.how, record.streams[0].written), (ExitHow::Code(0), 300_000));
    assert_eq!(attempt.bytes("stdout.log").len(), 300_000);
    assert!(!attempt.folder.join("index").exists());
}

#[test]
fn input_environment_and_folder_are_those_of_the_spec() {
    let mut attempt = Attempt::with(&["echo-input"], |spec| {
        let input = spec.work.join("input");
        std::fs::write(&input, "größe\r\n").expect("a file");
        spec.stdin = Some(input);
    })
    .start();
    attempt.ended();
    assert_eq!(attempt.bytes("stdout.log"), "größe\r\n".as_bytes(), "line ends stay as they are");
    let (_, record) = Attempt::run(&["echo-input"]);
    assert_eq!(record.how, ExitHow::Code(0), "without input there is an end of file");
    let (attempt, _) = Attempt::run(&["where"]);
    assert_eq!(String::from_utf8_lossy(&attempt.bytes("stdout.log")), attempt.folder.display().to_string());
    let (attempt, _) = Attempt::run(&["environment"]);
    let text = String::from_utf8_lossy(&attempt.bytes("stdout.log")).to_ascii_uppercase();
    assert!(text.contains("SYSTEMROOT=") && !text.contains("CARGO_"), "{text}");
}

#[test]
fn a_shell_and_its_words() {
    let mut attempt = Attempt::with(&[], |spec| {
        let root = std::env::var_os("SystemRoot").expect("Windows has a folder");
        spec.program = Path::new(&root).join("system32").join("cmd.exe");
        spec.args = ["/c", "echo out& echo err 1>&2& exit 5"].map(OsString::from).into();
    })
    .start();
    let record = attempt.ended();
    assert_eq!(record.how, ExitHow::Code(5));
    assert_eq!(attempt.lines(), ["out"]);
    assert!(String::from_utf8_lossy(&attempt.bytes("stderr.log")).starts_with("err"));
}

#[test]
fn f29_a_program_that_is_not_there_is_said_with_its_number() {
    let mut attempt = Attempt::with(&[], |spec| spec.program = spec.work.join("missing.exe")).start();
    let record = attempt.ended();
    assert!(matches!(record.how, ExitHow::SpawnFailed { errno: 2, .. }), "{:?}", record.how);
    let mut attempt = Attempt::with(&["exit", "0"], |spec| spec.work = spec.work.join("gone")).start();
    assert!(matches!(attempt.ended().how, ExitHow::SpawnFailed { errno: 1.., .. }));
}

#[test]
fn f42_a_second_wrapper_refuses_and_the_record_can_be_read_while_it_is_locked() {
    let mut attempt = Attempt::of(&["sleep"]).start();
    let record = attempt.started();
    let second = wrapper(&attempt.folder).status().expect("it runs");
    assert_eq!(second.code(), Some(3));
    for _ in 0..20 {
        assert_eq!(attempt.standing(), Standing::Alive(Some(record.clone())));
        assert_eq!(StartRecord::decode(&String::from_utf8_lossy(&attempt.bytes("start.json"))).expect("a record"), record);
    }
    attempt.stop(StopAs::Kill, 0);
    assert_eq!(attempt.ended().signals, ["KILL"]);
}

#[test]
fn a_stop_before_the_start_prevents_it() {
    let attempt = Attempt::of(&["sleep"]);
    attempt.stop(StopAs::Polite, 0);
    assert_eq!(attempt.start().ended().how, ExitHow::Prevented);
}

/// With a console the module is asked by Ctrl-Break; without one nobody waits for an answer that cannot come. Either is over long before
/// the grace.
#[test]
fn a_polite_stop_does_not_wait_for_nothing() {
    let mut attempt = Attempt::of(&["sleep"]).start();
    attempt.started();
    let begun = Instant::now();
    attempt.stop(StopAs::Polite, 50_000);
    let record = attempt.ended();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(record.how, ExitHow::Code(0xC000_013A), "ended by Ctrl-Break, or by force, which looks the same");
    assert!(record.signals == ["TERM"] || record.signals == ["KILL"], "{:?}", record.signals);
    assert!(!record.escalated);
}

#[test]
#[ignore = "ignored under Wine: there is no console to send Ctrl-Break to"]
fn f23_a_module_that_ignores_the_polite_stop_is_killed_after_the_grace() {
    let mut attempt = Attempt::of(&["ignore-stop"]).start();
    attempt.wait_for_lines(1);
    attempt.stop(StopAs::Polite, 500);
    let record = attempt.ended();
    assert_eq!((record.signals, record.escalated), (vec!["TERM".to_owned(), "KILL".to_owned()], true));
    assert_eq!(attempt.lines(), ["ready", "stop ignored"]);
}

#[test]
fn a_memory_limit_is_taken_by_the_job() {
    let mut attempt = Attempt::with(&["allocate", "48"], |spec| spec.memory = Some(Bytes(256 << 20))).start();
    let record = attempt.ended();
    assert_eq!((record.how, record.oom, record.memory), (ExitHow::Code(0), false, Some((Bytes(256 << 20), MemoryGuard::JobObject))));
}

#[test]
#[ignore = "ignored under Wine: its jobs have no peak, and a process that has ended has none either"]
fn the_most_memory_that_a_module_used_is_told() {
    let (_, record) = Attempt::run(&["allocate", "48"]);
    assert!(record.peak_memory.is_some_and(|peak| peak.0 >= 48 << 20), "{:?}", record.peak_memory);
}

#[test]
#[ignore = "ignored under Wine: its jobs take a memory limit and do not hold it"]
fn f34_memory_beyond_the_limit_is_refused_and_told() {
    let mut attempt = Attempt::with(&["allocate", "512"], |spec| spec.memory = Some(Bytes(128 << 20))).start();
    let record = attempt.ended();
    assert_eq!((record.how, record.oom), (ExitHow::Code(9), true));
    assert!(record.peak_memory.is_some_and(|peak| peak.0 <= 128 << 20), "{:?}", record.peak_memory);
}
