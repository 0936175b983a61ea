//! The fuzzer: everything that reads what others wrote, fed with what nobody would write.
//!
//! ```text
//! cargo test --test fuzz -- --seconds 15            (--help has all options)
//! ```
//!
//! A plain `cargo test` plays the kept corpus and a few hundred changed inputs of each target. An input is changed at random ([`mutate`]) and
//! given to the target ([`targets`]), which panics where one of its promises is broken and else says by a number how it went; an input that
//! went as none before joins the pool that later ones are made of. So no special compiler is needed, and the tests' own build is used.
//!
//! An input that breaks something is written into a file, with the command that plays it again. Once mended it is added to the corpus.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "it reads files, starts threads and looks at the clock")]
#![expect(clippy::panic, reason = "a broken promise is a panic")]

mod dice;
mod mutate;
mod options;
mod targets;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use dice::Dice;
use options::{Asked, Options};
use targets::Target;

/// An input that takes longer than this is a finding: every reader is bounded.
const SLOW: Duration = Duration::from_secs(10);
/// Largest input: most readers have their limits above it, and small inputs are quick.
const INPUT_BYTES_MAX: usize = 16 << 10;
/// Inputs that later ones are made of; more would only make each rarer.
const POOL_MAX: usize = 4_000;

fn main() -> ExitCode {
    match options::read(std::env::args().skip(1)) {
        Ok(Asked::Fuzz(options)) => fuzz(&options),
        Ok(Asked::Help) => {
            println!("{}", options::HELP);
            ExitCode::SUCCESS
        }
        Ok(Asked::Nothing) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("fuzz: {message}");
            ExitCode::from(2)
        }
    }
}

fn fuzz(options: &Options) -> ExitCode {
    let mut good = true;
    for target in targets::all().iter().filter(|target| options.wants(target.name)) {
        match play(target, options) {
            Ok(report) => println!("{report}"),
            Err(finding) => {
                good = false;
                println!("{finding}");
            }
        }
    }
    println!("fuzz: {}", if good { "ok" } else { "FAILED" });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name)
}

/// The kept inputs of a target, by name.
fn kept(name: &str) -> Vec<Vec<u8>> {
    let folder = corpus(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry can be read").path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a kept input can be read")).collect()
}

/// Plays a target. An error says what was broken.
fn play(target: &Target, options: &Options) -> Result<String, String> {
    let runner = Runner::start(target);
    if let Some(file) = &options.replay {
        let input = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        runner.run(&input)?;
        return Ok(format!("{:<10} {} breaks nothing", target.name, file.display()));
    }
    let mut pool = kept(target.name);
    let mut seen = HashSet::new();
    for input in &pool {
        seen.insert(runner.run(input)?);
    }
    let begun = Instant::now();
    let mut dice = Dice::new(options.seed ^ dice::hash(target.name.as_bytes()));
    let mut played = 0_u64;
    while options.goes_on(played, begun.elapsed()) {
        let mut input = mutate::mutated(&pool, target.words, &mut dice);
        input.truncate(INPUT_BYTES_MAX);
        if seen.insert(runner.run(&input)?) && pool.len() < POOL_MAX {
            pool.push(input);
        }
        played += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(format!("{:<10} {played} inputs in {seconds:.1} s, {} ways in which they went, seed {}", target.name, seen.len(), options.seed))
}

/// Plays inputs on a thread of its own, so that one that never ends is seen.
struct Runner {
    name: &'static str,
    inputs: mpsc::Sender<Vec<u8>>,
    outcomes: mpsc::Receiver<Result<u64, String>>,
}

impl Runner {
    fn start(target: &Target) -> Self {
        let (inputs, orders) = mpsc::channel::<Vec<u8>>();
        let (answers, outcomes) = mpsc::channel();
        let begin = target.begin;
        let played = std::thread::Builder::new().name(target.name.to_owned()).spawn(move || {
            let mut play = begin();
            for input in orders {
                let outcome = catch_unwind(AssertUnwindSafe(|| play(&input)));
                if answers.send(outcome.map_err(|panic| said(panic.as_ref()))).is_err() {
                    return;
                }
            }
        });
        played.expect("a thread can be started");
        Self { name: target.name, inputs, outcomes }
    }

    fn run(&self, input: &[u8]) -> Result<u64, String> {
        // A thread that is gone gives no outcome either.
        let _ = self.inputs.send(input.to_vec());
        match self.outcomes.recv_timeout(SLOW) {
            Ok(Ok(way)) => Ok(way),
            Ok(Err(panic)) => Err(self.finding(input, &panic)),
            Err(_) => Err(self.finding(input, &format!("it did not end within {} s", SLOW.as_secs()))),
        }
    }

    fn finding(&self, input: &[u8], what: &str) -> String {
        let file = std::env::temp_dir().join(format!("prismq-fuzz-{}-{:016x}", self.name, dice::hash(input)));
        let place = match std::fs::write(&file, input) {
            Ok(()) => file.display().to_string(),
            Err(error) => format!("(the input cannot be kept: {error}) {input:?}"),
        };
        let name = self.name;
        format!("--- {name}: {what}\n    the input: {place}\n    again: cargo test --test fuzz -- --target {name} --replay {place}")
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic".to_owned())
}
