//! What a long history costs: a workspace with many finished runs is made as the host would have left it, then `runs`, `show` and the
//! start of a host are timed as whole programs.
//!
//! `cargo bench --bench history [-- RUNS]` (default 100,000). The state is made by the library's own journal; only the modules did
//! not run. Limits of the design: start below 1 s, `runs` below 100 ms, memory below 100 MiB.
//!
//! Then a journal of 1,000,000 records without any snapshot is told again, once as records of runs that ended, once of runs that go on,
//! each of which is applied. Limit: 3 s.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "it starts programs, writes files and looks at the clock")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use prismq::event::RunStatus;
use prismq::host::index::{Finished, RunRow};
use prismq::host::prepare;
use prismq::host::submission::{Submit, Target};
use prismq::host::workspace::Workspace;
use prismq::ids::{AttemptNumber, RunId};
use prismq::journal::{self, Entry, Limits, Options, Urgency};
use prismq::resources::Capacity;
use prismq::units::{Bytes, CpuMillis, Timestamp};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

const RUNS_DEFAULT: u64 = 100_000;
const ROUNDS: usize = 9;
/// 2026-01-01, and a run every five minutes since.
const FIRST_RUN_MICROS: i64 = 1_767_225_600_000_000;
const EVERY_MICROS: i64 = 300_000_000;

fn main() {
    let runs = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(RUNS_DEFAULT);
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("manifests")).expect("a folder");
    std::fs::write(folder.path().join("manifests/noop.yaml"), "id: noop\ncommand: [/bin/true]\nisolation: direct\n").expect("a manifest");
    let made = Instant::now();
    make_history(folder.path(), runs);
    println!("{runs} finished runs made in {:.1} s", made.elapsed().as_secs_f64());
    report("runs", &measure(folder.path(), &["runs"]));
    report("runs --json -n 500", &measure(folder.path(), &["runs", "--json", "-n", "500"]));
    report("show last", &measure(folder.path(), &["show", "last"]));
    report("run noop (start, one run, end)", &measure(folder.path(), &["run", "noop"]));
    drop(folder);
    for (what, ended) in [("runs, all ended", true), ("runs, all going on", false)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let records = make_long_journal(folder.path(), ended);
        report(&format!("{what}: {records} records"), &measure(folder.path(), &["runs"]));
        if ended {
            report("start on them (run noop)", &measure(folder.path(), &["run", "noop"]));
        }
    }
}

/// Runs of the long journal, and nodes of each.
const LONG_RUNS: u32 = 1_000;
const LONG_NODES: u32 = 250;

/// A journal of a million records without a snapshot, of runs that ended or of runs whose last node is still to come. Gives their number.
fn make_long_journal(root: &Path, ended: bool) -> u64 {
    std::fs::create_dir(root.join("manifests")).expect("a folder");
    std::fs::write(root.join("manifests/noop.yaml"), "id: noop\ncommand: [/bin/true]\nisolation: direct\n").expect("a manifest");
    let nodes: serde_json::Map<String, serde_json::Value> =
        (0..=LONG_NODES).map(|node| (format!("n{node}"), json!({"module": "noop"}))).collect();
    std::fs::write(root.join("p.json"), json!({"name": "long", "nodes": nodes}).to_string()).expect("a pipeline");
    let workspace = Workspace::at(root).expect("a workspace");
    workspace.create_state().expect("a state folder");
    let catalog = prismq::host::catalog::Catalog::load(&workspace).expect("no settings");
    let submit = Submit {
        target: Target::Pipeline { path: root.join("p.json") },
        assignments: Vec::new(),
        params_file: None,
        caller_folder: root.to_owned(),
        reuse: false,
        saved: false,
        idempotency: None,
        priority: None,
    };
    let capacity =
        Capacity { max_concurrent: 10, cpus: CpuMillis(8_000), memory: Bytes(1 << 30), gpus: Vec::new(), custom: BTreeMap::new() };
    let limits = Limits { bytes: u64::MAX, records: u64::MAX };
    let opened = journal::open(&workspace.journal(), Options { on_progress: Box::new(|_| {}), limits }).expect("a new journal");
    for number in 0..LONG_RUNS {
        let prepared = prepare::check(&catalog, &submit, &|_| capacity.clone()).expect("it is a good pipeline");
        let prepared = prepare::pin(&workspace, prepared, None).expect("there is room");
        let run = &prepared.run;
        let append = |kind: &str, node: Option<&str>, data: serde_json::Value| {
            let data: Box<RawValue> = to_raw_value(&data).expect("JSON");
            let attempt = node.filter(|_| kind != "node.ready").map(|_| AttemptNumber::FIRST);
            let at = Timestamp::from_micros(FIRST_RUN_MICROS);
            let entry = Entry { kind, run: Some(run), node, attempt, data: Some(&data), at, urgency: Urgency::Soon };
            opened.writer.append(entry).expect("a record");
        };
        append("run.submit", None, json!({"pinned": prepared.pinned_hash}));
        for node in 0..LONG_NODES {
            let node = format!("n{node}");
            append("node.ready", Some(&node), json!({}));
            append("att.intent", Some(&node), json!({}));
            append("att.start", Some(&node), json!({"grant": {"cpus": 1000}, "isolation": "direct", "params": {}}));
            append("att.exit", Some(&node), json!({"code": 0, "duration_ms": 125}));
        }
        if ended {
            let row = RunRow { run_id: run.clone(), ..row(u64::from(number)) };
            let file = json!({"format": 1, "run": row, "parameters": {}, "nodes": []});
            std::fs::write(workspace.run(run).join("run.json"), file.to_string()).expect("a run's file");
            append("run.end", None, json!({"status": "completed", "row": row, "learned": {}}));
        }
    }
    let records = opened.writer.last_seq().0;
    opened.writer.close().expect("closed");
    records
}

fn row(number: u64) -> RunRow {
    let at = Timestamp::from_micros(FIRST_RUN_MICROS + i64::try_from(number).unwrap_or(0) * EVERY_MICROS);
    RunRow {
        run_id: RunId::new(at, u32::try_from(number % (1 << 25)).unwrap_or(0)),
        module_id: Some("noop".to_owned()),
        pipeline: None,
        status: RunStatus::Completed,
        held: false,
        unkillable: 0,
        reason: None,
        created_at: at,
        started_at: Some(at),
        completed_at: Some(at),
        duration_seconds: Some(0.125),
        exit_code: Some(0),
        error_message: None,
        retry_of: None,
        results_of: Vec::new(),
        idempotency: None,
        mixed_code: false,
        nodes: BTreeMap::from([("completed".to_owned(), 1)]),
    }
}

fn make_history(root: &Path, runs: u64) {
    let workspace = Workspace::at(root).expect("a workspace");
    workspace.create_state().expect("a state folder");
    let opened = journal::open(&workspace.journal(), Options::new(|_| {})).expect("a new journal");
    let mut finished = Finished::default();
    for number in 0..runs {
        let row = row(number);
        let end = json!({"status": "completed", "row": row, "learned": {"noop": {"count": 1, "total_ms": 125}}});
        let records = [
            ("run.submit", None, json!({"pinned": "0".repeat(64)})),
            ("att.intent", Some("noop"), json!({})),
            ("att.start", Some("noop"), json!({"grant": {"cpus": 1000}, "isolation": "direct"})),
            ("att.exit", Some("noop"), json!({"code": 0, "duration_ms": 125})),
            ("run.end", None, end),
        ];
        for (kind, node, data) in records {
            let data: Box<RawValue> = to_raw_value(&data).expect("JSON");
            let entry = Entry {
                kind,
                run: Some(&row.run_id),
                node,
                attempt: node.map(|_| AttemptNumber::FIRST),
                data: Some(&data),
                at: row.created_at,
                urgency: Urgency::Soon,
            };
            opened.writer.append(entry).expect("a record");
        }
        let folder = workspace.run(&row.run_id);
        std::fs::create_dir(&folder).expect("a run's folder");
        let file = json!({"format": 1, "run": row, "parameters": {}, "nodes": [{"node": "noop", "module": "noop", "status": "completed", "attempts": 1}]});
        std::fs::write(folder.join("run.json"), file.to_string()).expect("a run's file");
        finished.push(&row);
        if opened.writer.needs_snapshot() {
            opened.writer.snapshot(finished.texts().map(str::to_owned).collect(), opened.writer.last_seq());
        }
    }
    opened.writer.close().expect("closed");
}

struct Measured {
    wall: Vec<Duration>,
    peak_kib: Option<u64>,
}

/// Runs the program several times; the peak comes from GNU time where that is installed.
fn measure(root: &Path, arguments: &[&str]) -> Measured {
    let program = env!("CARGO_BIN_EXE_prismq");
    let mut wall = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let status = Command::new(program).args(arguments).current_dir(root).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.is_ok_and(|status| status.success()), "{arguments:?} failed");
        wall.push(start.elapsed());
    }
    let timed = Command::new("/usr/bin/time").args(["-f", "%M", program]).args(arguments).current_dir(root).stdout(Stdio::null()).output();
    let peak_kib = timed.ok().and_then(|output| String::from_utf8_lossy(&output.stderr).lines().last()?.trim().parse().ok());
    Measured { wall, peak_kib }
}

fn report(what: &str, measured: &Measured) {
    let mut wall = measured.wall.clone();
    wall.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let peak = measured.peak_kib.map_or_else(|| "?".to_owned(), |kib| format!("{:.0} MiB", kib as f64 / 1024.0));
    println!("{what:<40} median {:>7.1} ms   least {:>7.1} ms   peak {peak}", ms(wall[wall.len() / 2]), ms(wall[0]));
}
