//! The local engine with programs that misbehave (`tests/stub.rs`). Linux and other Unix; what Windows does differently has no test here.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use prismq::attempt::StartRecord;
use prismq::attempt::{AttemptFolder, Environment, HostEnvironment, ParamsFile};
use prismq::engine::{Ending, Engine, Exit, Fact, LocalEngine, Spec, Stdin, StopHow, WorkIn, read_claims, reap_strangers};
#[cfg(target_os = "linux")]
use prismq::engine::{Found, Left, look, prevent};
#[cfg(target_os = "linux")]
use prismq::event::LostReason;
use prismq::event::{SpawnFailure, SpawnFailureKind};
use prismq::ids::{AttemptId, AttemptNumber, NodeIndex, RunId};
use prismq::request::{Capture, Isolation, Leaks};
use prismq::units::{Bytes, CpuMillis, DurationMs};
use serde_json::json;

/// Longest time that a test waits for anything.
const LIMIT: Duration = Duration::from_secs(30);

/// The misbehaving program. `cargo test --test it` alone does not build examples.
fn stub() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own program");
    let profile = own.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
    let stub = profile.join("examples").join(format!("stub{}", std::env::consts::EXE_SUFFIX));
    assert!(stub.is_file(), "{} is not built: run `cargo build --example stub` (plain `cargo test` does it)", stub.display());
    stub
}

/// An engine, what it reported, and a run's folder.
struct Bench {
    isolation: Isolation,
    engine: LocalEngine,
    facts: Receiver<Fact>,
    folder: tempfile::TempDir,
}

impl Bench {
    /// Of direct attempts.
    fn new() -> Self {
        Self::of(Isolation::Direct)
    }

    fn of(isolation: Isolation) -> Self {
        let (send, facts) = channel();
        let engine = LocalEngine::new(Arc::new(move |fact| {
            // The test may be over.
            let _ = send.send(fact);
        }));
        Self { isolation, engine, facts, folder: tempfile::Builder::new().prefix("prismq é ").tempdir().expect("a temporary folder") }
    }

    fn run_folder(&self) -> PathBuf {
        self.folder.path().join("runs/r")
    }

    fn attempt(&self, node: u32) -> AttemptFolder {
        AttemptFolder::new(&self.run_folder(), &format!("n[{node}]"), AttemptNumber::FIRST)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A spec; what an earlier attempt of this number left is forgotten, since no attempt runs twice.
    fn spec(&self, node: u32, args: &[&str]) -> Spec {
        let folder = self.attempt(node);
        if folder.path().join("claim").exists() {
            std::fs::remove_dir_all(folder.path()).expect("an old folder");
        }
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
            gpus: Vec::new(),
            alternative: None,
            isolation: self.isolation,
            grace: DurationMs(10_000),
            capture: Capture::Pump,
            leaks: Leaks::End,
            log_cap: None,
            token: format!("{}-{node}-{}", std::process::id(), self.folder.path().display()),
        }
    }

    fn start(&self, node: u32, args: &[&str]) {
        self.engine.start(self.spec(node, args));
    }

    /// The next fact that fits; others before it are dropped.
    #[expect(clippy::panic, reason = "how a test helper says what is missing")]
    fn until<T>(&self, what: &str, mut fits: impl FnMut(Fact) -> Option<T>) -> T {
        let until = Instant::now() + LIMIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let fact = self.facts.recv_timeout(left).unwrap_or_else(|_| panic!("waited in vain for {what}"));
            if let Some(found) = fits(fact) {
                return found;
            }
        }
    }

    fn ending(&self) -> Ending {
        self.until("an ending", |fact| if let Fact::Ended { ending, .. } = fact { Some(ending) } else { None })
    }

    fn run(&self, args: &[&str]) -> Ending {
        self.start(0, args);
        self.ending()
    }

    /// Waits until the attempt wrote this many bytes.
    fn bytes(&self, wanted: u64) {
        self.until("output", |fact| matches!(fact, Fact::Output { bytes, .. } if bytes >= wanted).then_some(()));
    }

    fn log(&self, node: u32, name: &str) -> Vec<u8> {
        std::fs::read(self.attempt(node).path().join(name)).unwrap_or_default()
    }
}

fn id(node: u32) -> AttemptId {
    let run = RunId::parse("20251120-081152-zzzzz").expect("a run id");
    AttemptId { run, node: NodeIndex(node), attempt: AttemptNumber::FIRST }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a process is there and not merely waiting to be noticed.
#[cfg(target_os = "linux")]
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Each of these once for direct attempts and once for wrapped ones: who looks at the outside sees no difference.
macro_rules! both {
    ($($(#[$attribute:meta])* $name:ident,)*) => {
        mod direct {
            $($(#[$attribute])* #[test] fn $name() { super::$name(super::Isolation::Direct) })*
        }
        mod wrapped {
            $($(#[$attribute])* #[test] fn $name() { super::$name(super::Isolation::Wrapped) })*
        }
    };
}

both! {
    codes_signals_and_outputs,
    facts_come_in_order,
    what_a_module_sees,
    f23_a_module_that_ignores_the_polite_stop,
    f27_closed_streams_are_not_the_end,
    f28_a_module_that_stopped_itself_can_be_stopped_politely,
    a_stop_before_or_during_the_start_is_not_lost,
    f29_starts_that_fail_say_why,
    a_folder_that_cannot_be_made_is_a_failed_start,
    f44_f45_every_byte_is_kept,
    f10_a_log_that_cannot_be_written_does_not_hinder_the_module,
    #[cfg(target_os = "linux")] f26_a_child_that_is_left_behind_holding_the_pipes,
    #[cfg(target_os = "linux")] a_quiet_child_that_is_left_behind,
    #[cfg(target_os = "linux")] f24_a_kill_reaches_the_whole_family,
    #[cfg(target_os = "linux")] f30_a_thousand_ends_leave_no_zombie,
    #[cfg(target_os = "linux")] progress_and_memory_of_an_attempt_that_lives_longer_than_a_second,
}

fn codes_signals_and_outputs(isolation: Isolation) {
    let bench = Bench::of(isolation);
    assert_eq!(bench.run(&["exit", "0"]).exit, Exit::Exited(0));
    let ending = bench.run(&["exit", "7"]);
    assert_eq!((ending.exit, ending.outputs, ending.leaked, ending.escalated), (Exit::Exited(7), Ok(None), false, false));
    assert_eq!(bench.run(&["signal", "6"]).exit, Exit::Signaled(6));
    let ending = bench.run(&["outputs", r#"{"files": ["a"]}"#]);
    assert_eq!(ending.outputs, Ok(Some(json!({"files": ["a"]}))));
    let ending = bench.run(&["outputs", "[1]"]);
    assert!(ending.outputs.is_err_and(|reason| reason.contains("not a JSON object")));
}

fn facts_come_in_order(isolation: Isolation) {
    let bench = Bench::of(isolation);
    bench.start(5, &["progress", r#"{"done":1,"total":3};{"done":3,"total":3,"message":"fin"};{"done":"#]);
    let mut seen = Vec::new();
    bench.until("the end", |fact| {
        let (of, name) = match &fact {
            Fact::Started { id, .. } => (id, "started"),
            Fact::Output { id, .. } => (id, "output"),
            Fact::Progress { id, progress } => {
                assert_eq!((progress.percent(), progress.message.as_deref()), (Some(100.0), Some("fin")));
                (id, "progress")
            }
            Fact::Vacated { id } => (id, "vacated"),
            Fact::Ended { id, .. } => (id, "ended"),
        };
        assert_eq!(*of, id(5));
        seen.push(name);
        (name == "ended").then_some(())
    });
    match isolation {
        Isolation::Direct => assert_eq!(seen, ["started", "progress", "ended"]),
        Isolation::Wrapped => assert_eq!(seen, ["started", "vacated", "progress", "ended"]),
    }
    bench.engine.join();
    match isolation {
        Isolation::Direct => assert_eq!(read_claims(&bench.run_folder()).expect("claims"), [("n[5]".to_owned(), AttemptNumber(1))].into()),
        Isolation::Wrapped => assert!(bench.attempt(5).path().join("claim").exists()),
    }
}

fn what_a_module_sees(isolation: Isolation) {
    let bench = Bench::of(isolation);
    bench.run(&["environment"]);
    let text = String::from_utf8(bench.log(0, "stdout.log")).expect("text");
    let seen: BTreeMap<_, _> = text.lines().filter_map(|line| line.split_once('=')).collect();
    assert_eq!(seen["PRISMQ_NODE"], "n[0]");
    assert_eq!(std::fs::read_to_string(seen["PRISMQ_PARAMS"]).expect("parameters"), r#"{"topic":"größe"}"#);
    assert!(Path::new(seen["PRISMQ_ARTIFACTS"]).is_dir());
    assert!(!seen.keys().any(|name| name.starts_with("CARGO")), "the host's own variables stay outside");

    let fresh = Spec { work: WorkIn::Fresh, ..bench.spec(1, &["where"]) };
    bench.engine.start(fresh);
    bench.ending();
    assert_eq!(String::from_utf8(bench.log(1, "stdout.log")).expect("text"), bench.attempt(1).work().display().to_string());
    bench.engine.start(Spec { stdin: Stdin::Params, ..bench.spec(2, &["echo-input"]) });
    bench.ending();
    assert_eq!(bench.log(2, "stdout.log"), r#"{"topic":"größe"}"#.as_bytes());
    bench.start(3, &["echo-input"]);
    assert_eq!(bench.ending().exit, Exit::Exited(0), "without input there is an end of file");
    assert!(!bench.attempt(3).path().join("stdout.log").exists(), "no file for a stream that said nothing");
}

fn f23_a_module_that_ignores_the_polite_stop(isolation: Isolation) {
    let bench = Bench::of(isolation);
    bench.start(0, &["ignore-stop"]);
    bench.bytes(6);
    bench.engine.stop(&id(0), StopHow::Polite);
    bench.bytes(19);
    bench.engine.stop(&id(0), StopHow::Kill);
    let ending = bench.ending();
    assert_eq!((ending.exit, ending.escalated, ending.stop_sent), (Exit::Signaled(9), true, Some(StopHow::Kill)));
    assert_eq!(bench.log(0, "stdout.log"), b"ready\nstop ignored\n");
    bench.engine.stop(&id(0), StopHow::Kill);
}

#[cfg(target_os = "linux")]
fn f26_a_child_that_is_left_behind_holding_the_pipes(isolation: Isolation) {
    let bench = Bench::of(isolation);
    let told = |node: u32| {
        bench.start(node, &["leak-child"]);
        bench.until("its start", |fact| matches!(fact, Fact::Started { .. }).then_some(()));
        let begun = Instant::now();
        let ending = bench.ending();
        let told = begun.elapsed();
        assert_eq!((ending.exit, ending.leaked), (Exit::Exited(0), true));
        assert!(ending.duration < Duration::from_millis(500), "{:?}: it ended when the program ended", ending.duration);
        let pid = String::from_utf8(bench.log(node, "stdout.log")).expect("its number");
        assert!(!lives(&pid), "{pid} is still there");
        told
    };
    // The child is waited for no longer than it takes to drain the pipes, 200 ms. A busy machine may be late once, and not each time.
    let times = [told(0), told(1), told(2)];
    assert!(times.iter().any(|time| *time < Duration::from_millis(500)), "{times:?} until the ends were told");
}

#[cfg(target_os = "linux")]
fn a_quiet_child_that_is_left_behind(isolation: Isolation) {
    let bench = Bench::of(isolation);
    let ending = bench.run(&["leak-quiet-child"]);
    assert_eq!((ending.exit, ending.leaked), (Exit::Exited(0), true));
    let pid = String::from_utf8(bench.log(0, "stdout.log")).expect("its number");
    assert!(!lives(&pid), "{pid} is still there");
}

#[cfg(target_os = "linux")]
#[test]
fn f25_a_daemon_is_found_by_its_token() {
    let bench = Bench::new();
    let daemon = bench.attempt(0).artifacts().join("daemon");
    bench.run(&["daemonize"]);
    wait_until("the daemon is there", || daemon.exists());
    let pid = std::fs::read_to_string(&daemon).expect("its number");
    let token = bench.spec(0, &[]).token;
    assert_eq!(reap_strangers(&format!("{token}x"), LIMIT).count, 0, "only the whole token counts");
    let reaped = reap_strangers(&token, LIMIT);
    assert!(!lives(&pid), "{pid} is still there");
    assert_eq!(reaped.left, 0);
    assert_eq!(reap_strangers("", LIMIT).count, 0);
}

#[cfg(target_os = "linux")]
fn f24_a_kill_reaches_the_whole_family(isolation: Isolation) {
    let bench = Bench::of(isolation);
    bench.start(0, &["many-children", "20"]);
    bench.bytes(6);
    bench.engine.stop(&id(0), StopHow::Kill);
    assert_eq!(bench.ending().exit, Exit::Signaled(9));
    assert_eq!(reap_strangers(&bench.spec(0, &[]).token, LIMIT).count, 0, "nothing was left to find");
}

fn f27_closed_streams_are_not_the_end(isolation: Isolation) {
    let bench = Bench::of(isolation);
    let (there, go) = (bench.at("there"), bench.at("go"));
    bench.start(0, &["close-streams", &there.display().to_string(), &go.display().to_string()]);
    wait_until("it goes on without streams", || there.exists());
    let early = bench.facts.try_iter().find(|fact| matches!(fact, Fact::Ended { .. }));
    assert_eq!(early, None);
    std::fs::write(&go, "").expect("a file");
    let ending = bench.ending();
    assert_eq!((ending.exit, ending.leaked), (Exit::Exited(0), false));
}

fn f28_a_module_that_stopped_itself_can_be_stopped_politely(isolation: Isolation) {
    let bench = Bench::of(isolation);
    bench.start(0, &["signal", "19"]);
    bench.bytes(6);
    bench.engine.stop(&id(0), StopHow::Polite);
    let ending = bench.ending();
    assert_eq!((ending.exit, ending.escalated), (Exit::Signaled(15), false));
}

fn a_stop_before_or_during_the_start_is_not_lost(isolation: Isolation) {
    let bench = Bench::of(isolation);
    for node in 0..50 {
        bench.start(node, &["sleep"]);
        bench.engine.stop(&id(node), if node % 2 == 0 { StopHow::Kill } else { StopHow::Polite });
    }
    for _ in 0..50 {
        let ending = bench.ending();
        assert!(matches!(ending.exit, Exit::Prevented | Exit::Signaled(9 | 15)), "{ending:?}");
        assert!(ending.stop_sent.is_some());
    }
    bench.engine.join();
}

#[cfg(target_os = "linux")]
#[test]
fn a_sink_that_fails_leaves_neither_a_process_nor_an_attempt_without_an_end() {
    let (send, facts) = channel();
    let engine = LocalEngine::new(Arc::new(move |fact| match fact {
        Fact::Started { pid, .. } => std::panic::resume_unwind(Box::new(pid)),
        other => drop(send.send(other)),
    }));
    let bench = Bench { engine, facts, ..Bench::new() };
    let ending = bench.run(&["sleep"]);
    assert!(matches!(ending.exit, Exit::SpawnFailed(_)), "{ending:?}");
    assert_eq!(reap_strangers(&bench.spec(0, &[]).token, LIMIT).count, 0);
    assert_eq!(bench.run(&["sleep"]).stop_sent, None, "the engine goes on");
    bench.engine.join();
}

fn f29_starts_that_fail_say_why(isolation: Isolation) {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::of(isolation);
    let program = |name: &str, text: &str, mode: u32| {
        let path = bench.at(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        path
    };
    let cases = [
        (bench.at("missing"), SpawnFailureKind::NotFound, "No such file"),
        (program("plain", "#!/bin/sh\n", 0o644), SpawnFailureKind::NotExecutable, "is not executable"),
        (program("bad", "#!/no/such/python3\n", 0o755), SpawnFailureKind::NotExecutable, "interpreter `/no/such/python3`"),
        (program("dos", "#!/bin/sh\r\necho\r\n", 0o755), SpawnFailureKind::NotExecutable, "Windows line ends"),
        (program("text", "hello\n", 0o755), SpawnFailureKind::NotExecutable, "first line"),
        (bench.folder.path().to_owned(), SpawnFailureKind::NotExecutable, "is a folder"),
    ];
    for (program, kind, wanted) in cases {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        bench.engine.start(Spec { program, ..bench.spec(0, &[]) });
        let Exit::SpawnFailed(failure) = bench.ending().exit else { panic!("{name} started") };
        assert_eq!((failure.kind, failure.transient), (kind, false), "{failure:?}");
        assert!(failure.message.contains(wanted) && failure.message.contains(&name), "{}", failure.message);
    }
    let failure = |spec: Spec| -> SpawnFailure {
        bench.engine.start(spec);
        match bench.ending().exit {
            Exit::SpawnFailed(failure) => failure,
            other => panic!("it started: {other:?}"),
        }
    };
    let gone = failure(Spec { work: WorkIn::Folder(bench.at("gone")), ..bench.spec(0, &["exit", "0"]) });
    assert!(gone.message.contains("working directory") && gone.kind == SpawnFailureKind::Other, "{gone:?}");
    let long = failure(bench.spec(0, &["say", &"x".repeat(131_072)]));
    assert!(long.message.contains("argument 2 has 131072 bytes") && !long.transient, "{long:?}");
    let nul = failure(bench.spec(0, &["say", "a\0b"]));
    assert!(nul.message.contains("nul byte"), "{nul:?}");
    assert_eq!(bench.run(&["say", &"x".repeat(131_071)]).exit, Exit::Exited(0));
}

fn a_folder_that_cannot_be_made_is_a_failed_start(isolation: Isolation) {
    let bench = Bench::of(isolation);
    std::fs::write(bench.at("runs"), "in the way").expect("a file");
    let ending = bench.run(&["exit", "0"]);
    assert!(matches!(ending.exit, Exit::SpawnFailed(SpawnFailure { kind: SpawnFailureKind::Other, .. })), "{ending:?}");
}

#[cfg(target_os = "linux")]
fn f30_a_thousand_ends_leave_no_zombie(isolation: Isolation) {
    let bench = Bench::of(isolation);
    // A name of its own: other tests of this program, which run beside this one, leave a dead process for a moment too.
    let program = bench.at(if isolation == Isolation::Direct { "f30-direct" } else { "f30-wrapped" });
    std::os::unix::fs::symlink(stub(), &program).expect("a link");
    let name = format!("({})", program.file_name().expect("it has one").display());
    for node in 0..1000 {
        bench.engine.start(Spec { program: program.clone(), ..bench.spec(node, &["exit", "0"]) });
    }
    for _ in 0..1000 {
        let ending = bench.ending();
        assert_eq!((ending.exit, ending.leaked), (Exit::Exited(0), false));
    }
    let ended = Instant::now();
    // Dead or alive.
    let left = || {
        let stats = std::fs::read_dir("/proc").expect("/proc").flatten().map(|entry| std::fs::read_to_string(entry.path().join("stat")));
        stats.flatten().filter(|stat| stat.contains(&name)).count()
    };
    wait_until("none of them is left", || left() == 0);
    assert!(ended.elapsed() < Duration::from_secs(1), "{:?} until all were reaped", ended.elapsed());
    bench.engine.join();
    let claims = read_claims(&bench.run_folder()).expect("claims").len();
    assert_eq!(claims, if isolation == Isolation::Direct { 1000 } else { 0 });
}

fn f44_f45_every_byte_is_kept(isolation: Isolation) {
    let bench = Bench::of(isolation);
    bench.run(&["invalid-utf8"]);
    assert_eq!(bench.log(0, "stdout.log"), [0xff, 0xfe, b'\n', 0, 0x1b, b'[', b'3', b'1', b'm', b'\r', b'x', 0xc3]);
    bench.run(&["half-line"]);
    bench.start(1, &["half-line"]);
    bench.ending();
    assert_eq!(bench.log(1, "stdout.log"), b"first\nno end");
    for (node, stream) in [(2, "stdout"), (3, "stderr")] {
        bench.start(node, &["flood", "5000003", stream]);
        let mut last = 0;
        let ending = bench.until("the end", |fact| match fact {
            Fact::Output { bytes, .. } => {
                assert!(bytes > last, "each announcement tells of something new");
                last = bytes;
                None
            }
            Fact::Ended { ending, .. } => Some(ending),
            Fact::Started { .. } | Fact::Vacated { .. } | Fact::Progress { .. } => None,
        });
        assert_eq!((ending.exit, last, ending.log_lost), (Exit::Exited(0), 5_000_003, None));
        let log = bench.log(node, &format!("{stream}.log"));
        let piece: Vec<u8> = (0..9973_u32).map(|at| b'a' + u8::try_from(at % 26).unwrap_or(0)).collect();
        assert_eq!(log.len(), 5_000_003);
        assert!(log.chunks(piece.len()).all(|chunk| *chunk == piece[..chunk.len()]), "{stream} differs");
    }
}

fn f10_a_log_that_cannot_be_written_does_not_hinder_the_module(isolation: Isolation) {
    let bench = Bench::of(isolation);
    std::fs::create_dir_all(bench.attempt(0).path().join("stdout.log")).expect("a folder in the way of the log");
    let ending = bench.run(&["flood", "300000"]);
    assert_eq!(ending.exit, Exit::Exited(0));
    assert_eq!(ending.log_lost.map(|lost| lost.bytes), Some(300_000));
}

#[cfg(target_os = "linux")]
fn progress_and_memory_of_an_attempt_that_lives_longer_than_a_second(isolation: Isolation) {
    let bench = Bench::of(isolation);
    let go = bench.at("go");
    bench.start(0, &["progress", r#"{"done":1,"total":4};"#, &go.display().to_string()]);
    let progress = bench.until("progress", |fact| if let Fact::Progress { progress, .. } = fact { Some(progress) } else { None });
    assert_eq!(progress.percent(), Some(25.0));
    std::fs::write(&go, "").expect("a file");
    let ending = bench.ending();
    assert!(ending.peak_memory.is_some_and(|peak| peak.0 > 100 << 10), "{ending:?}");
}

/// Another engine that looks after an attempt of this bench, as the next host would.
#[cfg(target_os = "linux")]
fn successor(bench: Bench) -> Bench {
    let Bench { engine, folder, .. } = bench;
    engine.release();
    drop(engine);
    Bench { folder, ..Bench::of(Isolation::Wrapped) }
}

#[cfg(target_os = "linux")]
fn left(bench: &Bench, node: u32) -> Left {
    let spec = bench.spec(99, &[]);
    let token = format!("{}-{node}-{}", std::process::id(), bench.folder.path().display());
    Left { id: id(node), node: format!("n[{node}]"), run_folder: spec.run_folder, token, grace: spec.grace }
}

#[cfg(target_os = "linux")]
#[test]
fn f38_the_next_engine_adopts_what_runs_and_hears_its_end() {
    let bench = Bench::of(Isolation::Wrapped);
    let go = bench.at("go");
    let starts = bench.at("starts").display().to_string();
    bench.start(1, &["count-until", &go.display().to_string(), "5", &starts]);
    bench.bytes(1);
    let next = successor(bench);
    assert!(matches!(look(&left(&next, 1)).expect("readable"), Found::Alive { .. }));
    next.engine.adopt(left(&next, 1));
    let seen = next.until("output", |fact| if let Fact::Output { bytes, .. } = fact { Some(bytes) } else { None });
    next.bytes(seen + 1);
    std::fs::write(&go, "").expect("a file");
    let ending = next.ending();
    assert_eq!((ending.exit, ending.leaked), (Exit::Exited(5), false));
    assert_eq!(std::fs::read_to_string(&starts).expect("starts").lines().count(), 1);
    next.engine.join();
    let Found::Ended(found) = look(&left(&next, 1)).expect("readable") else { panic!("it has ended") };
    assert_eq!(found.exit, Exit::Exited(5), "and it can be read once more");
}

#[cfg(target_os = "linux")]
#[test]
fn an_adopted_attempt_is_stopped_like_any_other() {
    let bench = Bench::of(Isolation::Wrapped);
    bench.start(1, &["ignore-stop"]);
    bench.bytes(6);
    let next = successor(bench);
    next.engine.adopt(left(&next, 1));
    next.engine.stop(&id(1), StopHow::Polite);
    next.bytes(19);
    next.engine.stop(&id(1), StopHow::Kill);
    let ending = next.ending();
    assert_eq!((ending.exit, ending.escalated, ending.stop_sent), (Exit::Signaled(9), true, Some(StopHow::Kill)));
}

/// A second start of the same attempt does not execute it twice: it looks after the first one.
#[cfg(target_os = "linux")]
#[test]
fn f42_who_comes_second_adopts() {
    let bench = Bench::of(Isolation::Wrapped);
    let (go, starts) = (bench.at("go").display().to_string(), bench.at("starts").display().to_string());
    let args = ["count-until", go.as_str(), "6", starts.as_str()];
    bench.start(1, &args);
    bench.bytes(1);
    let again = Spec { id: id(1), node: "n[1]".to_owned(), token: left(&bench, 1).token, ..bench.spec(98, &args) };
    let next = successor(bench);
    next.engine.start(again);
    std::fs::write(&go, "").expect("a file");
    assert_eq!(next.ending().exit, Exit::Exited(6));
    assert_eq!(std::fs::read_to_string(&starts).expect("starts").lines().count(), 1);
}

/// An attempt that was given up before any wrapper claimed it is not executed by one that comes late.
#[cfg(target_os = "linux")]
#[test]
fn f42_a_wrapper_that_comes_too_late_does_nothing() {
    let bench = Bench::of(Isolation::Wrapped);
    let spec = bench.spec(1, &["count-until", "/", "0", &bench.at("starts").display().to_string()]);
    assert_eq!(look(&left(&bench, 1)).expect("readable"), Found::Unclaimed);
    assert!(prevent(&left(&bench, 1)).expect("it can be"));
    assert!(!prevent(&left(&bench, 1)).expect("it can be"), "somebody was faster");
    bench.engine.start(spec);
    assert_eq!(bench.ending().exit, Exit::Lost(LostReason::NeverStarted));
    assert!(!bench.at("starts").exists());
}

/// What an attempt of a dead host has left is ended, wrapper and all.
#[cfg(target_os = "linux")]
#[test]
fn what_nobody_wants_any_more_is_ended() {
    let bench = Bench::of(Isolation::Wrapped);
    bench.start(1, &["ignore-stop"]);
    bench.bytes(6);
    let next = successor(bench);
    assert_eq!(prismq::engine::end(&left(&next, 1), LIMIT).left, 0);
    assert!(matches!(look(&left(&next, 1)).expect("readable"), Found::Ended(_)));
}

/// A host that leaves while attempts are on their way sees them on their feet first.
#[cfg(target_os = "linux")]
#[test]
fn nobody_is_left_half_started() {
    let bench = Bench::of(Isolation::Wrapped);
    let go = bench.at("go").display().to_string();
    for node in 0..20 {
        bench.start(node, &["wait-for", "", &go]);
    }
    let next = successor(bench);
    for node in 0..20 {
        assert!(matches!(look(&left(&next, node)).expect("readable"), Found::Alive { .. }), "{node}");
        next.engine.adopt(left(&next, node));
    }
    std::fs::write(&go, "").expect("a file");
    for _ in 0..20 {
        assert_eq!(next.ending().exit, Exit::Exited(0));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn short_modules_share_a_wrapper_which_is_sent_away_in_the_end() {
    let bench = Bench::of(Isolation::Wrapped);
    let wrapper = |node| {
        bench.start(node, &["exit", "0"]);
        assert_eq!(bench.ending().exit, Exit::Exited(0));
        StartRecord::read(bench.attempt(node).path()).expect("a record").expect("it was started").wrapper
    };
    // Where the machine is busy, a module is not short at times, and the next one gets another wrapper.
    let wrappers: Vec<_> = (0..50).map(wrapper).collect();
    let pids: std::collections::BTreeSet<u32> = wrappers.iter().map(|wrapper| wrapper.pid).collect();
    assert!(pids.len() < wrappers.len(), "each had its own: {pids:?}");
    let lives = || wrappers.iter().any(|wrapper| wrapper.is_alive());
    assert!(crate::support::until(|| (!lives()).then_some(())).is_some(), "an engine that has nothing to do keeps them");
    // And the next one gets a new one.
    wrapper(50);
}
