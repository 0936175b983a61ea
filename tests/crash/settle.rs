//! After the last act: without any fault everything comes to its end, nothing is held any more, nobody is left.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::LOOK;
use crate::cycle::Cycle;
use crate::space::signal;

/// Each round ends a run or finds its host gone; more are not needed.
const ROUNDS: usize = 20;
/// Longest time until the processes of a workspace without live runs have ended.
const QUIET_WITHIN: Duration = Duration::from_secs(15);

/// Resumes, cancels and waits until no run is left; then asks for everything that there is; then ends the last host.
pub(crate) fn settle(cycle: &mut Cycle) -> Result<(), String> {
    for round in 0.. {
        let live = rows(cycle)?;
        if live.is_empty() {
            break;
        }
        if round == ROUNDS {
            return Err(format!("these runs do not come to an end: {live:?}"));
        }
        for row in live {
            finish(cycle, &row);
        }
    }
    let probe = ["run", "probe.json"];
    let ran = cycle.space.start(&probe).end();
    cycle.heard(&probe, &ran);
    if ran.code != 0 {
        cycle.violated(format!("I4: a run that needs everything does not come through: {}{}", ran.stdout, ran.stderr));
    }
    quieten(cycle);
    Ok(())
}

/// Runs that have not ended.
fn rows(cycle: &mut Cycle) -> Result<Vec<Value>, String> {
    let args = ["runs", "--json", "-n", "1000"];
    let ran = cycle.space.start(&args).end();
    // Warnings of other things, as of a disk that gets full, are none of ours.
    if ran.code != 0 || ran.stderr.contains("cannot be read") || ran.stderr.contains("damaged") {
        cycle.heard(&args, &ran);
        return Err(format!("I5: the runs cannot be listed: {}", ran.stderr));
    }
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).map_err(|error| format!("`runs --json`: {error}"))?;
    let ended = |row: &Value| matches!(row["status"].as_str(), Some("completed" | "failed" | "cancelled"));
    Ok(rows.into_iter().filter(|row| !ended(row)).collect())
}

fn finish(cycle: &mut Cycle, row: &Value) {
    let run = row["run_id"].as_str().unwrap_or_default();
    let name = row["pipeline"].as_str().unwrap_or_default();
    let endless = cycle.pipelines.iter().any(|pipeline| pipeline.name == name && pipeline.endless);
    let args = if endless {
        vec!["cancel", run]
    } else if row["held"] == true {
        vec!["resume", run]
    } else {
        vec!["wait", run, "--timeout", "30s"]
    };
    let ran = cycle.space.start(&args).end();
    cycle.heard(&args, &ran);
    cycle.acks.read(name, &ran);
    match (args[0], ran.code) {
        ("cancel", 0) => drop(cycle.acks.cancelled.insert(run.to_owned())),
        ("wait", 6) => cycle.violated(format!("run {run} has a host and does not end")),
        _ => {}
    }
}

/// Hosts in the background end when nothing is left to do; a signal only saves the time in which they make sure of that.
fn quieten(cycle: &mut Cycle) {
    let begun = Instant::now();
    let mut asked = None;
    loop {
        let left = cycle.space.processes();
        if left.is_empty() {
            return;
        }
        let host = cycle.space.host().filter(|host| left.iter().any(|(pid, _)| pid == host));
        if let Some(host) = host.filter(|host| asked != Some(*host)) {
            if let Some(children) = children_that_stay(host) {
                cycle.violated(format!("I6: an idle host has children: {children}"));
            }
            signal(host, Signal::TERM);
            asked = Some(host);
        }
        if begun.elapsed() > QUIET_WITHIN {
            cycle.violated(format!("I6: processes are left: {left:?}"));
            return crate::space::end_all(&cycle.space.root());
        }
        std::thread::sleep(LOOK);
    }
}

/// Children of a process, zombies too, that do not go away within a second. What hatches wrappers lives as long as its host.
fn children_that_stay(pid: u32) -> Option<String> {
    let begun = Instant::now();
    loop {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children: String = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok()).collect();
        let stay: Vec<String> = children.split_whitespace().map(line_of).filter(|line| !line.contains("--nursery")).collect();
        if stay.is_empty() {
            return None;
        }
        if begun.elapsed() > Duration::from_secs(1) {
            return Some(stay.join(", "));
        }
        std::thread::sleep(LOOK);
    }
}

/// A process with its command line; a zombie has none.
fn line_of(pid: &str) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!("{pid} {}", String::from_utf8_lossy(&line).replace('\0', " "))
}
