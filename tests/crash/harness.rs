// The harness, for Linux. See `main.rs`, which this is a part of.

mod acks;
mod check;
mod cuts;
mod cycle;
mod dice;
mod fault;
mod options;
mod plan;
#[expect(dead_code, clippy::panic, reason = "shared with the tests of the whole program; what ends a test there fails a cycle here")]
#[path = "../it/support/process.rs"]
mod process;
mod report;
mod settle;
mod space;
mod story;
mod writer;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cycle::Found;
use options::{Asked, Cuts, Options};
use report::Totals;

/// Longest time that a program may take to end. Generous: it is only spent when something hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// Pause between two looks at a condition.
const LOOK: Duration = Duration::from_millis(2);

/// Looks at a condition until it gives something. `None` after [`LIMIT`].
fn until<T>(mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        let found = condition();
        if found.is_some() || begun.elapsed() >= LIMIT {
            return found;
        }
        std::thread::sleep(LOOK);
    }
}

fn main() -> ExitCode {
    match options::read(std::env::args().skip(1)) {
        Ok(Asked::Cycles(options)) => play(&options),
        Ok(Asked::Writer(folder)) => match writer::write(&folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => {
                // Also this may be refused, under a fault.
                let _ = writeln!(std::io::stderr(), "{reason}");
                ExitCode::FAILURE
            }
        },
        Ok(Asked::Help) => {
            println!("{}", options::HELP);
            ExitCode::SUCCESS
        }
        Ok(Asked::Kinds) => {
            fault::KINDS.iter().for_each(|kind| println!("{}", kind.name()));
            ExitCode::SUCCESS
        }
        Ok(Asked::Nothing) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("crash: {message}");
            ExitCode::from(2)
        }
    }
}

fn play(options: &Options) -> ExitCode {
    let Ok(base) = tempfile::Builder::new().prefix("prismq-crash-").tempdir() else {
        eprintln!("crash: no temporary folder can be made");
        return ExitCode::from(2);
    };
    let base = base.keep();
    end_all_on_ctrl_c(base.clone());
    println!("crash: {} cycles, seed {}, folder {}", options.cycles, options.seed, base.display());
    let strace = fault::strace_works();
    if !strace {
        println!("!!! without strace (not installed, or not allowed here): only kill -9 at random moments");
    }
    let mut good = options.cuts == Cuts::None || cuts(options.cuts, &base.join("cuts"));
    let begun = Instant::now();
    let totals = Mutex::new(Totals::default());
    let next = AtomicU64::new(options.first);
    std::thread::scope(|scope| {
        for _ in 0..options.parallel {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= options.first + options.cycles {
                        return;
                    }
                    let found = one(options, number, &base, strace);
                    totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(number, found);
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    println!("{}\n{:.0} s", totals.text(), begun.elapsed().as_secs_f64());
    good &= totals.failed.is_empty();
    space::end_all(&base);
    if good && !options.keep {
        // What cannot be removed lies in the temporary folder.
        let _ = std::fs::remove_dir_all(&base);
    }
    println!("crash: {}", if good { "ok" } else { "FAILED" });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays one cycle, and says what was wrong and how to see it again.
fn one(options: &Options, number: u64, base: &Path, strace: bool) -> Found {
    let folder = base.join(number.to_string());
    let played = catch_unwind(AssertUnwindSafe(|| cycle::play(options, number, folder.clone(), strace)));
    let found = match played {
        Ok(Ok(found)) => found,
        Ok(Err(reason)) => Found { violations: vec![reason], ..Found::default() },
        Err(_) => Found { violations: vec!["it does not end, or the harness is wrong: see above".to_owned()], ..Found::default() },
    };
    if found.violations.is_empty() {
        if !options.keep {
            let _ = std::fs::remove_dir_all(&folder);
        }
        return found;
    }
    space::end_all(&folder);
    println!("--- cycle {number} of seed {} failed; its folder is {}", options.seed, folder.display());
    found.violations.iter().for_each(|what| println!("    {what}"));
    let only: String = options.only.iter().map(|kind| format!(" --only {}", kind.name())).collect();
    println!("    again: cargo test --test crash -- --seed {} --first {number} --cycles 1 --cuts none{only}", options.seed);
    found
}

fn cuts(which: Cuts, folder: &Path) -> bool {
    let begun = Instant::now();
    match cuts::try_all(which, folder) {
        Ok(verdicts) => {
            println!(
                "a journal of {} records, {} bytes: {} cuts judged, {} mended, {} flipped bits ({} of the last line end read as torn), {} wrong verdicts, {:.0} s",
                verdicts.records,
                verdicts.bytes,
                verdicts.cuts,
                verdicts.mended,
                verdicts.flips,
                verdicts.torn_by_flip,
                verdicts.wrong.len(),
                begun.elapsed().as_secs_f64()
            );
            verdicts.wrong.iter().take(20).for_each(|what| println!("    {what}"));
            verdicts.wrong.is_empty()
        }
        Err(reason) => {
            println!("--- cuts and flipped bits: {reason}");
            false
        }
    }
}

/// Nothing of ours may live on when somebody has enough of it.
fn end_all_on_ctrl_c(base: PathBuf) {
    // Without a handler Ctrl-C ends only the harness; hosts and modules end by themselves within half a minute.
    let _ = ctrlc::set_handler(move || {
        space::end_all(&base);
        let _ = std::fs::remove_dir_all(&base);
        std::process::exit(130);
    });
}
