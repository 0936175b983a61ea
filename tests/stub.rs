//! A program that behaves badly on purpose, for the tests of everything that starts programs.
//!
//! `stub MODE [ARGUMENTS]`. It is an example of the package so that `cargo test` builds it and `cargo install` does not ship it.
//! Whatever waits in here gives up after [`LIFE`], so that a failed test leaves nothing behind for long.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "it starts processes, writes files and waits")]

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Longest life of anything that waits.
const LIFE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((mode, rest)) = args.split_first() else { return usage("no mode") };
    let number = |at: usize| rest.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let text = |at: usize| rest.get(at).map_or("", String::as_str);
    match mode.as_str() {
        "exit" => return ExitCode::from(u8::try_from(number(0)).unwrap_or(255)),
        "exit-code" => std::process::exit(u32::try_from(number(0)).unwrap_or(255).cast_signed()),
        "say" => print!("{}", text(0)),
        "say-both" => say_both(),
        "count-until" => count_until(text(0), number(1), text(2)),
        "sleep" => wait_for(|| false),
        "wait-for" => {
            say_there(text(0));
            wait_for(|| Path::new(text(1)).exists());
        }
        "ignore-stop" => ignore_stop(),
        "leak-child" => leak(&[], Stdio::inherit()),
        "leak-quiet-child" => leak(&[], Stdio::null()),
        "daemonize" => leak(&["in-a-session"], Stdio::null()),
        "in-a-session" => in_a_session(),
        "many-children" => many_children(number(0)),
        "fork-bomb" => fork_bomb(),
        "eat-memory" => eat_memory(number(0), text(1)),
        "reserve-memory" => drop(std::hint::black_box(Vec::<u8>::with_capacity(mebibytes(number(0))))),
        "family" => family(number(0)),
        "allocate" => allocate(number(0)),
        "flood" => flood(number(0), text(1)),
        "half-line" => print!("first\nno end"),
        "invalid-utf8" => put(&[0xff, 0xfe, b'\n', 0, 0x1b, b'[', b'3', b'1', b'm', b'\r', b'x', 0xc3]),
        "close-streams" => close_streams(rest),
        "signal" => signal(number(0)),
        "outputs" => write_to("PRISMQ_OUTPUT", text(0).as_bytes()),
        "progress" => {
            write_to("PRISMQ_PROGRESS", text(0).replace(';', "\n").as_bytes());
            wait_for(|| text(1).is_empty() || Path::new(text(1)).exists());
        }
        "environment" => environment(),
        "echo-input" => echo_input(),
        "where" => print!("{}", std::env::current_dir().unwrap_or_default().display()),
        other => return usage(other),
    }
    ExitCode::SUCCESS
}

fn usage(mode: &str) -> ExitCode {
    eprintln!("stub: unknown mode {mode:?}; the modes stand in tests/stub.rs");
    ExitCode::from(2)
}

fn put(bytes: &[u8]) {
    // The reader may be gone on purpose.
    let _ = io::stdout().write_all(bytes).and_then(|()| io::stdout().flush());
}

fn wait_for(mut done: impl FnMut() -> bool) {
    let until = Instant::now() + LIFE;
    while !done() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Tells the test that this point was reached.
fn say_there(name: &str) {
    if !name.is_empty() {
        let _ = std::fs::write(name, std::process::id().to_string());
    }
}

fn write_to(variable: &str, bytes: &[u8]) {
    let path = std::env::var_os(variable).map(PathBuf::from).unwrap_or_default();
    if let Err(error) = std::fs::write(&path, bytes) {
        eprintln!("stub: {variable}={}: {error}", path.display());
        std::process::exit(3);
    }
}

fn say_both() {
    for round in 0..3 {
        put(format!("out {round}\n").as_bytes());
        eprintln!("err {round}");
    }
}

/// Writes a numbered line now and then until a file is there; then the last one, and ends with this code. Notes each start in another file.
fn count_until(name: &str, code: u64, starts: &str) {
    if let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(starts) {
        let who = std::env::var("PRISMQ_NODE").unwrap_or_default();
        let _ = file.write_all(format!("{who}\n").as_bytes());
    }
    let until = Instant::now() + LIFE * 3;
    let mut line = 0;
    while !Path::new(name).exists() && Instant::now() < until {
        put(format!("line {line}\n").as_bytes());
        line += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    put(format!("line {line}\nend\n").as_bytes());
    std::process::exit(u32::try_from(code).unwrap_or(255).cast_signed());
}

/// Takes note of every polite stop and goes on.
fn ignore_stop() {
    let installed = ctrlc::set_handler(|| put(b"stop ignored\n"));
    put(if installed.is_ok() { b"ready\n" } else { b"no handler\n" });
    wait_for(|| false);
}

fn itself() -> Command {
    Command::new(std::env::current_exe().unwrap_or_else(|_| "stub".into()))
}

/// Starts a process that stays, says its number, and leaves.
fn leak(mode: &[&str], streams: Stdio) {
    let quiet = !matches!(mode, []);
    let mut command = itself();
    command.args(if quiet { mode } else { &["sleep"] }).stdin(Stdio::null());
    command.stdout(streams).stderr(Stdio::null());
    match command.spawn() {
        Ok(child) => put(format!("{}\n", child.id()).as_bytes()),
        Err(error) => eprintln!("stub: {error}"),
    }
}

/// The second half of becoming a daemon: a session of its own, and another process in it.
fn in_a_session() {
    #[cfg(unix)]
    let _ = rustix::process::setsid();
    let child = itself().arg("sleep").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    if let (Ok(child), Some(folder)) = (child, std::env::var_os("PRISMQ_ARTIFACTS")) {
        let _ = std::fs::write(Path::new(&folder).join("daemon.tmp"), child.id().to_string());
        let _ = std::fs::rename(Path::new(&folder).join("daemon.tmp"), Path::new(&folder).join("daemon"));
    }
}

fn many_children(count: u64) {
    for _ in 0..count {
        let _ = itself().arg("sleep").stdin(Stdio::null()).spawn();
    }
    put(b"ready\n");
    wait_for(|| false);
}

/// Every one of them starts others as fast as it can, each in a session of its own, so that no signal to a group reaches two.
fn fork_bomb() {
    #[cfg(unix)]
    let _ = rustix::process::setsid();
    let mut born = Vec::new();
    wait_for(|| {
        born.extend(itself().arg("fork-bomb").stdin(Stdio::null()).spawn());
        false
    });
}

fn mebibytes(count: u64) -> usize {
    usize::try_from(count << 20).unwrap_or(0)
}

/// Uses memory, and holds it unless it is told to exit.
fn eat_memory(count: u64, then: &str) {
    let mut eaten = vec![0_u8; mebibytes(count)];
    for page in eaten.chunks_mut(4096) {
        page[0] = 1;
    }
    std::hint::black_box(&eaten);
    if then != "exit" {
        wait_for(|| false);
    }
}

/// A chain of so many processes, each of which says its number and stays.
fn family(count: u64) {
    put(format!("{}\n", std::process::id()).as_bytes());
    if count > 1 {
        let _ = itself().args(["family", &(count - 1).to_string()]).stdin(Stdio::null()).spawn();
    }
    wait_for(|| false);
}

/// Uses so many MiB of memory; ends with 9 if it is refused.
fn allocate(mib: u64) {
    let mut held: Vec<Vec<u8>> = Vec::new();
    for _ in 0..mib {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(1 << 20).is_err() {
            std::process::exit(9);
        }
        piece.resize(1 << 20, 1);
        held.push(piece);
    }
    put(format!("{}\n", held.len()).as_bytes());
}

/// Writes bytes without a line end, in pieces that no page or pipe size divides.
fn flood(bytes: u64, stream: &str) {
    let piece: Vec<u8> = (0..9973_u32).map(|at| b'a' + u8::try_from(at % 26).unwrap_or(0)).collect();
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    while left > 0 {
        let now = &piece[..left.min(piece.len())];
        let done = if stream == "stderr" { err.write_all(now) } else { out.write_all(now) };
        if done.is_err() {
            return;
        }
        left -= now.len();
    }
    let _ = out.flush();
}

/// Goes on as the same process with its streams leading nowhere: the reader sees their end.
#[cfg(unix)]
fn close_streams(rest: &[String]) {
    use std::os::unix::process::CommandExt;
    let error = itself().arg("wait-for").args(rest).stdout(Stdio::null()).stderr(Stdio::null()).exec();
    eprintln!("stub: {error}");
}

#[cfg(not(unix))]
fn close_streams(_: &[String]) {}

#[cfg(unix)]
fn signal(number: u64) {
    use rustix::process::{Signal, getpid, kill_process};
    let signal = i32::try_from(number).ok().and_then(Signal::from_named_raw);
    if let Some(signal) = signal {
        put(b"ready\n");
        let _ = kill_process(getpid(), signal);
    }
    wait_for(|| false);
}

#[cfg(not(unix))]
fn signal(_: u64) {}

fn environment() {
    let mut lines: Vec<String> =
        std::env::vars_os().map(|(name, value)| format!("{}={}\n", name.to_string_lossy(), value.to_string_lossy())).collect();
    lines.sort();
    put(lines.concat().as_bytes());
}

fn echo_input() {
    let mut bytes = Vec::new();
    let _ = io::stdin().read_to_end(&mut bytes);
    put(&bytes);
}
