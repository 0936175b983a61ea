//! Start, output, end.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;

use prismq::attempt::{ExitHow, ProcessIdentity, Standing};
use prismq::logs::{LogReader, Query};
use prismq::request::Capture;
use rustix::process::Signal;

use super::{Attempt, ended_by, lives, signal};
use crate::support::stub;

#[test]
fn a_life_in_full() {
    let attempt = Attempt::shell("echo out; echo err >&2; exec sleep 0.1; ");
    let mut wrapper = attempt.start();
    let start = attempt.alive();
    assert_eq!(start.wrapper, ProcessIdentity::of(wrapper.pid()));
    let child = start.child.expect("it runs");
    assert!(child.is_alive() && child.started > 0 && start.boot.len() == 36 && !start.machine.is_empty());
    assert_eq!(wrapper.end(), 0);
    let record = attempt.record();
    assert_eq!(record.how, ExitHow::Code(0));
    assert!(record.duration.0 >= 100 && record.ended > record.started && record.started == start.at, "{record:?}");
    assert!(record.peak_memory.is_some_and(|peak| peak.0 > 100_000), "{record:?}");
    assert!(record.signals.is_empty() && record.leaked.is_empty() && !record.oom && !record.escalated && record.memory.is_none());
    assert_eq!(record.streams.map(|stream| (stream.written, stream.dropped, stream.lost)), [(4, 0, 0); 2]);
    assert_eq!((attempt.out().as_str(), attempt.log("stderr.log").as_slice()), ("out\n", b"err\n".as_slice()));
    for name in ["claim", "start.json", "exit.json", "stdout.log", "index"] {
        assert_eq!(attempt.at(name).metadata().expect(name).mode() & 0o777, 0o600, "{name}");
    }
    let aside =
        std::fs::read_dir(attempt.path()).expect("a folder").flatten().filter(|entry| entry.path().extension() == Some("tmp".as_ref()));
    assert_eq!(aside.count(), 0);
    attempt.nothing_is_left();
}

#[test]
fn order_and_times_of_both_streams_are_kept() {
    let attempt = Attempt::shell("for i in 1 2 3; do echo o$i; sleep 0.02; echo e$i >&2; sleep 0.02; done");
    attempt.run();
    let lines = LogReader::open(attempt.path()).lines(Query::default()).expect("logs");
    let text: Vec<String> = lines.map(|line| line.expect("a line").text).collect();
    assert_eq!(text, ["o1", "e1", "o2", "e2", "o3", "e3"]);
}

#[test]
fn how_it_ended_is_told_exactly() {
    for code in [0, 1, 3, 125, 255] {
        assert_eq!(Attempt::shell(&format!("exit {code}")).run().how, ExitHow::Code(code));
    }
    assert_eq!(Attempt::shell("kill -KILL $$").run().how, ended_by(9));
    assert_eq!(Attempt::shell("ulimit -c 0; kill -SEGV $$").run().how, ended_by(11));
}

#[test]
fn what_a_module_gets() {
    let attempt = Attempt::shell("ulimit -n; cat; env | sort; pwd; cat /proc/$$/oom_score_adj");
    std::fs::write(attempt.at("input"), "from the file\n").expect("a file");
    let input = attempt.at("input");
    let attempt = attempt.with(|spec| {
        (spec.open_files, spec.stdin, spec.work) = (Some(77), Some(input), "/usr".into());
        spec.environment.push("ABSENT".into());
    });
    attempt.command().env("UNLISTED", "x").status().expect("it runs");
    let out = attempt.out();
    let wanted = format!(
        "77\nfrom the file\nPATH={}\nPRISMQ_ARTIFACTS={}\nPRISMQ_TOKEN={}\nPWD=/usr\n/usr\n500\n",
        std::env::var("PATH").expect("a path"),
        attempt.path().display(),
        attempt.spec.token
    );
    assert_eq!(out, wanted);
    assert_eq!(Attempt::of(&["echo-input"]).run().how, ExitHow::Code(0), "without input there is an end of file");
}

#[test]
fn a_module_has_its_own_group_in_the_wrappers_session() {
    let attempt = Attempt::shell("cat /proc/self/stat; cat /proc/$PPID/stat; sleep 0.01");
    attempt.run();
    let out = attempt.out();
    let fields = |line: &str| -> Vec<i64> {
        let rest = line.rsplit_once(") ").expect("a stat line").1;
        rest.split(' ').skip(1).take(3).map(|field| field.parse().expect("a number")).collect()
    };
    let lines: Vec<_> = out.lines().map(fields).collect();
    let ([_, module_group, module_session], [_, wrapper_group, wrapper_session]) =
        (<[i64; 3]>::try_from(lines[0].clone()).unwrap(), <[i64; 3]>::try_from(lines[1].clone()).unwrap());
    assert_eq!(module_session, wrapper_session);
    assert_eq!(wrapper_group, wrapper_session, "the wrapper leads its own session");
    assert_ne!(module_group, wrapper_group);
}

#[test]
fn f27_closed_streams_are_not_the_end() {
    let attempt = Attempt::of(&[]);
    let (there, go) = (attempt.at("there"), attempt.at("go"));
    let attempt = attempt.with(|spec| spec.args = vec!["close-streams".into(), there.clone().into(), go.clone().into()]);
    let mut wrapper = attempt.start();
    crate::support::until(|| there.exists().then_some(())).expect("it goes on without streams");
    assert!(matches!(attempt.standing(), Standing::Alive(Some(_))));
    std::fs::write(&go, "").expect("a file");
    assert_eq!(wrapper.end(), 0);
    let record = attempt.record();
    assert_eq!((record.how, record.leaked), (ExitHow::Code(0), vec![]));
}

#[test]
fn f29_starts_that_fail_are_typed() {
    let bench = tempfile::tempdir().expect("a folder");
    let program = |name: &str, text: &str, mode: u32| {
        let path = bench.path().join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        path
    };
    let busy = bench.path().join("busy");
    std::fs::copy("/bin/true", &busy).expect("a copy");
    let _writer = std::fs::OpenOptions::new().append(true).open(&busy).expect("it can be written");
    let cases = [
        (bench.path().join("missing"), 2),
        (program("plain", "#!/bin/sh\n", 0o644), 13),
        (program("bad interpreter", "#!/no/such/python3\n", 0o755), 2),
        (program("text", "hello\n", 0o755), 8),
        (bench.path().to_owned(), 13),
        (busy, 26),
    ];
    for (program, errno) in cases {
        let attempt = Attempt::running(&program, &[]);
        let ExitHow::SpawnFailed { errno: found, message } = attempt.run().how else { panic!("{} ran", program.display()) };
        assert_eq!(found, errno, "{}: {message}", program.display());
    }
    let long = "x".repeat(131_072);
    for (length, wanted) in [(131_071, ExitHow::Code(0)), (131_072, ExitHow::SpawnFailed { errno: 7, message: String::new() })] {
        let how = Attempt::running("/bin/true".as_ref(), &[&long[..length]]).run().how;
        match (how, wanted) {
            (ExitHow::SpawnFailed { errno, .. }, ExitHow::SpawnFailed { errno: wanted, .. }) => assert_eq!(errno, wanted),
            (how, wanted) => assert_eq!(how, wanted),
        }
    }
    let gone = Attempt::shell("exit 0").with(|spec| spec.work = "/no/such/folder".into()).run();
    assert!(matches!(gone.how, ExitHow::SpawnFailed { errno: 2, .. }), "{gone:?}");
    let unreadable = Attempt::shell("exit 0").with(|spec| spec.stdin = Some("/no/such/input".into())).run();
    let ExitHow::SpawnFailed { errno: 2, message } = unreadable.how else { panic!("{unreadable:?}") };
    assert!(message.contains("input"), "{message}");
}

#[test]
fn a_spec_that_cannot_be_read_is_an_end_that_says_so() {
    let attempt = Attempt::shell("exit 0");
    let mut command = attempt.command();
    for (text, wanted) in [("{\"format\":9}", "format 9"), ("", "spec.json")] {
        std::fs::write(attempt.at("spec.json"), text).expect("a file");
        command.status().expect("it runs");
        let ExitHow::SpawnFailed { errno: 0, message } = attempt.record().how else { panic!("it ran") };
        assert!(message.contains(wanted), "{message}");
        for name in ["claim", "exit.json"] {
            std::fs::remove_file(attempt.at(name)).expect(name);
        }
    }
}

/// What `stub flood` writes.
fn flooded(bytes: usize) -> Vec<u8> {
    let piece: Vec<u8> = (0..9973_u32).map(|at| b'a' + u8::try_from(at % 26).expect("a letter")).collect();
    piece.into_iter().cycle().take(bytes).collect()
}

#[test]
fn f44_a_flood_without_a_line_end_is_kept_byte_for_byte() {
    for (stream, at) in [("stdout", 0), ("stderr", 1)] {
        let attempt = Attempt::of(&["flood", "30000000", stream]);
        let record = attempt.run();
        assert_eq!((record.how, record.streams[at].written, record.log_error), (ExitHow::Code(0), 30_000_000, None));
        assert!(attempt.log(&format!("{stream}.log")) == flooded(30_000_000), "{stream} differs");
    }
}

#[test]
fn f44_both_streams_at_once() {
    let stub = stub();
    let attempt = Attempt::shell(&format!("'{0}' flood 8000000 stdout & '{0}' flood 8000000 stderr & wait", stub.display()));
    attempt.run();
    assert!(attempt.log("stdout.log") == flooded(8_000_000) && attempt.log("stderr.log") == flooded(8_000_000));
}

#[test]
fn f45_bytes_that_are_no_text_are_kept() {
    let attempt = Attempt::of(&["invalid-utf8"]);
    assert_eq!(attempt.run().how, ExitHow::Code(0));
    assert_eq!(attempt.log("stdout.log"), [0xff, 0xfe, b'\n', 0, 0x1b, b'[', b'3', b'1', b'm', b'\r', b'x', 0xc3]);
}

#[test]
fn raw_capture_leaves_the_files_to_the_module() {
    let stub = stub();
    let line = format!("'{0}' flood 3000000 stdout; echo err >&2", stub.display());
    let attempt = Attempt::shell(&line).with(|spec| spec.capture = Capture::Raw);
    let record = attempt.run();
    assert_eq!(record.streams.map(|stream| stream.written), [3_000_000, 4]);
    assert!(attempt.log("stdout.log") == flooded(3_000_000) && attempt.log("stderr.log") == b"err\n");
    assert!(!attempt.at("index").exists());
    // What is left behind holds files and no pipe, and is found all the same.
    let leaves = Attempt::of(&["leak-child"]).with(|spec| spec.capture = Capture::Raw);
    assert_eq!(leaves.run().leaked.len(), 1);
    leaves.nothing_is_left();
}

#[test]
fn a_log_that_cannot_be_written_does_not_hinder_the_module() {
    let attempt = Attempt::shell("echo lost; echo kept >&2; exit 3");
    std::fs::create_dir(attempt.at("stdout.log")).expect("a folder in the way");
    let record = attempt.run();
    assert_eq!((record.how, record.streams[0].written, record.streams[0].lost), (ExitHow::Code(3), 5, 5));
    assert_eq!((record.streams[1].lost, attempt.log("stderr.log").as_slice()), (0, b"kept\n".as_slice()));
    assert!(record.log_error.is_some());
}

#[test]
fn the_wrapper_outlives_what_a_terminal_does_to_its_processes() {
    let attempt = Attempt::shell("echo ready; read nothing; sleep 0.3");
    let mut wrapper = attempt.start();
    attempt.says("ready");
    for hard in [Signal::HUP, Signal::INT] {
        signal(wrapper.pid(), hard);
    }
    assert_eq!(wrapper.end(), 0);
    assert_eq!(attempt.record().how, ExitHow::Code(0));
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for args in [&[][..], &["--nursery", "x"], &["a", "--report", "x"], &["a", "b", "c"]] {
        let output = std::process::Command::new(super::WRAPPER).args(args).stdin(Stdio::null()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage"), "{args:?}");
    }
    let nowhere = std::process::Command::new(super::WRAPPER).arg("/no/such/folder").output().expect("it runs");
    assert_eq!(nowhere.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("/no/such/folder"));
    assert!(!lives(u32::MAX));
}
