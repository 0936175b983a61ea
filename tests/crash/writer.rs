//! The journal alone: a program that does nothing but append, with a snapshot every few records, so that faults meet rotation too. It is
//! this harness itself, started with `--writer`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use prismq::journal::{self, Entry, History, Limits, Options, Progress, Urgency};
use prismq::units::Timestamp;
use serde_json::value::to_raw_value;

use crate::cycle::{Act, Found};
use crate::dice::Dice;
use crate::fault::{Fault, Kind};
use crate::process::{Ran, Running};

/// Records of one program.
const RECORDS: u64 = 40;
/// Records between two snapshots.
const SNAPSHOT_EVERY: u64 = 12;
/// Every so many records one is too long for a line and becomes a blob.
const BLOB_EVERY: u64 = 15;
/// Longest wait for a sync.
const SYNCED_WITHIN: Duration = Duration::from_secs(20);

/// The program: goes on counting where the journal ends, and says which number has which record, and which records are durable.
pub(crate) fn write(folder: &Path) -> Result<(), String> {
    let on_progress = |said| {
        if let Progress::Synced(seq) = said {
            say(&format!("synced {}\n", seq.0));
        }
    };
    let options = Options { limits: Limits { bytes: u64::MAX, records: SNAPSHOT_EVERY }, ..Options::new(on_progress) };
    let opened = journal::open(folder, options).map_err(|error| error.to_string())?;
    let mut numbers = numbers_of(&opened.history)?;
    let begin = numbers.last().map_or(1, |last| last + 1);
    for number in begin..begin + RECORDS {
        let padding = if number.is_multiple_of(BLOB_EVERY) { "x".repeat(70_000) } else { String::new() };
        let data = to_raw_value(&(number, padding)).map_err(|error| error.to_string())?;
        let urgency = if number.is_multiple_of(3) { Urgency::Now } else { Urgency::Soon };
        let at = Timestamp::from_micros(0);
        let entry = Entry { kind: "run.cancel", run: None, node: None, attempt: None, data: Some(&data), at, urgency };
        let seq = opened.writer.append(entry).map_err(|error| error.to_string())?;
        numbers.push(number);
        say(&format!("record {number} {}\n", seq.0));
        if opened.writer.needs_snapshot() {
            opened.writer.snapshot(numbers.iter().map(u64::to_string).collect(), seq);
        }
        if urgency == Urgency::Now {
            opened.writer.flush_and_wait(SYNCED_WITHIN).map_err(|error| error.to_string())?;
        }
    }
    opened.writer.close().map_err(|error| error.to_string())
}

/// One write for each line. What cannot be said was not acknowledged.
fn say(line: &str) {
    let _ = std::io::stdout().write_all(line.as_bytes());
}

/// What a journal holds: numbers of its snapshot and of the records after it.
fn numbers_of(history: &History) -> Result<Vec<u64>, String> {
    let mut numbers: Vec<u64> = history.snapshot_lines().filter_map(|line| line.parse().ok()).collect();
    for record in history.records() {
        let record = record.map_err(|damage| damage.to_string())?;
        let data: (u64, String) = serde_json::from_str(record.data.as_deref().unwrap_or_default()).map_err(|error| error.to_string())?;
        numbers.push(data.0);
    }
    Ok(numbers)
}

/// A cycle of the writer: some programs one after another on the same journal, each under a fault; then one without.
pub(crate) fn play(mut dice: Dice, folder: &Path) -> Result<Found, String> {
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let journal = folder.join("journal");
    let mut found = Found::default();
    let mut acked = 0;
    for generation in 0..dice.within(1..=4) {
        let fault = Fault::draw(Kind::Writer, &mut dice, &journal);
        let trace = folder.join(format!("trace.{generation}"));
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let args = ["--writer".as_ref(), journal.as_os_str()];
        let ran = run(fault.command(&own, &args, &trace), folder, &fault.describe());
        crate::cycle::wait_for_strace(&trace);
        let hit = fault.was_hit(&std::fs::read_to_string(&trace).unwrap_or_default(), ran.code);
        found.acts.push(Act { kind: Kind::Writer, calls: fault.calls, hit });
        acked = acked.max(acknowledged(&ran));
        if ran.code == 101 {
            found.violations.push(format!("it panicked: {}", ran.stderr));
        }
    }
    let mut last = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
    last.arg("--writer").arg(&journal);
    let ran = run(last, folder, "no fault");
    if ran.code != 0 {
        found.violations.push(format!("I5: the journal cannot be gone on with: {}", ran.stderr.trim()));
        return Ok(found);
    }
    acked = acked.max(acknowledged(&ran));
    found.acks = usize::try_from(acked).unwrap_or(usize::MAX);
    found.violations.extend(check(&journal, acked));
    Ok(found)
}

fn run(mut command: Command, folder: &Path, about: &str) -> Ran {
    command.env(crate::space::MARK, folder);
    let ran = Running::start(command, None).end();
    crate::space::write_down(&folder.join("story"), &format!("--- {about}\n{}{}-> {}\n", ran.stdout, ran.stderr, ran.code));
    ran
}

/// The highest number that was durable by what the program said.
fn acknowledged(ran: &Ran) -> u64 {
    let lines = || ran.stdout.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let synced = lines().filter_map(|line| line.strip_prefix("synced ")?.parse::<u64>().ok()).max().unwrap_or(0);
    let numbers: BTreeMap<u64, u64> = lines()
        .filter_map(|line| {
            let (number, seq) = line.strip_prefix("record ")?.split_once(' ')?;
            Some((seq.parse().ok()?, number.parse().ok()?))
        })
        .collect();
    numbers.range(..=synced).next_back().map_or(0, |(_, number)| *number)
}

fn check(journal: &Path, acked: u64) -> Vec<String> {
    let history = match journal::open_read_only(journal) {
        Ok(history) => history,
        Err(error) => return vec![format!("I5: {error}")],
    };
    let mut wrong: Vec<String> = history.damage().map(|damage| format!("I5: {damage}")).into_iter().collect();
    match numbers_of(&history) {
        Ok(numbers) => {
            let count = numbers.len() as u64;
            if !numbers.iter().copied().eq(1..=count) {
                wrong.push(format!("I2: numbers are missing, doubled or in another order: {numbers:?}"));
            }
            if count < acked {
                wrong.push(format!("I1: number {acked} was acknowledged, and {count} are there"));
            }
        }
        Err(reason) => wrong.push(format!("I5: {reason}")),
    }
    let entries = std::fs::read_dir(journal).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    wrong.extend(names.filter(|name| name.ends_with(".tmp")).map(|name| format!("I6: {name} is left")));
    wrong
}
