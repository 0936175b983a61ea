//! How soon a host knows that files have changed, and what it costs it to look.
//!
//! `cargo bench --bench reload [-- MANIFESTS]` (default 10,000 in the burst). A host of the library in this process, in a folder of the build's
//! target, so that files are on a disk. Times are from the end of a save to the catalogue that has it.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "it writes files and looks at the clock")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use prismq::host::ownership::Ownership;
use prismq::host::workspace::Workspace;
use prismq::host::{Handle, Host, HostMode, OnExit, StartOptions};

/// Saves of each kind.
const SAVES: usize = 20;
/// Manifests of the host that has nothing to do.
const IDLE_MANIFESTS: usize = 1_000;
/// How long it is watched.
const IDLE: Duration = Duration::from_secs(60);
/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(120);

fn main() {
    let burst: usize = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(10_000);
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let folder = tempfile::Builder::new().prefix("bench-reload-").tempdir_in(target).expect("a temporary folder");
    let manifests = folder.path().join("manifests");
    fs::create_dir(&manifests).expect("a folder");
    for n in 0..IDLE_MANIFESTS {
        write(&manifests, n, 0);
    }
    let workspace = Workspace::at(folder.path()).expect("a workspace");
    let ownership = Ownership::try_take(&workspace).expect("a lock").expect("it is free");
    let began = Instant::now();
    let host = Host::start(&workspace, ownership, StartOptions { mode: HostMode::Serve }).expect("a host");
    let up = began.elapsed();
    let handle = host.handle().clone();
    wait(&handle, |handle| modules(handle) == IDLE_MANIFESTS);
    println!("start with {IDLE_MANIFESTS} manifests: up after {} ms, all read after {} ms", up.as_millis(), began.elapsed().as_millis());
    saves(&handle, &manifests);
    let (cpu, since) = (cpu(), Instant::now());
    std::thread::sleep(IDLE);
    println!("idle with {IDLE_MANIFESTS} manifests: {:.1} ms of processor in {} s", self::cpu() - cpu, since.elapsed().as_secs());
    storm(&handle, &manifests, burst);
    handle.leave(OnExit::Leave, false).expect("it leaves");
    host.join();
}

/// Saves of one file: closed, renamed over the old one, and held open by the writer.
fn saves(handle: &Handle, manifests: &Path) {
    let mut version = 0;
    let file = manifests.join("m0.yaml");
    let mut times = |name: &str, save: &dyn Fn(&str) -> Option<fs::File>| {
        let mut times = Vec::new();
        for _ in 0..SAVES {
            version += 1;
            let held = save(&text(0, version));
            let saved = Instant::now();
            wait(handle, |handle| handle.catalog().registry.get("m0").and_then(|m| m.version.clone()) == Some(version.to_string()));
            times.push(saved.elapsed());
            drop(held);
        }
        times.sort();
        println!("{name}: median {} ms, longest {} ms", times[SAVES / 2].as_millis(), times[SAVES - 1].as_millis());
    };
    times("written and closed", &|text| {
        fs::write(&file, text).expect("written");
        None
    });
    times("renamed over the old one", &|text| {
        let aside = manifests.join(".aside");
        fs::write(&aside, text).expect("written");
        fs::rename(&aside, &file).expect("renamed");
        None
    });
}

/// Many files at once: written, then changed, then removed.
fn storm(handle: &Handle, manifests: &Path, count: usize) {
    let (first, last) = (IDLE_MANIFESTS, IDLE_MANIFESTS + count);
    let began = Instant::now();
    (first..last).for_each(|n| write(manifests, n, 0));
    let written = began.elapsed();
    let ended = Instant::now();
    wait(handle, |handle| modules(handle) == last);
    println!("{count} new files within {} ms: all known {} ms after the last", written.as_millis(), ended.elapsed().as_millis());
    (first..last).for_each(|n| write(manifests, n, 7));
    let ended = Instant::now();
    wait(handle, |handle| handle.catalog().registry.iter().filter(|module| module.version.as_deref() == Some("7")).count() == count);
    println!("{count} changed files: all known {} ms after the last", ended.elapsed().as_millis());
    (first..last).for_each(|n| fs::remove_file(manifests.join(format!("m{n}.yaml"))).expect("removed"));
    let ended = Instant::now();
    wait(handle, |handle| modules(handle) == first);
    println!("{count} removed files: all known {} ms after the last", ended.elapsed().as_millis());
}

fn text(n: usize, version: usize) -> String {
    format!(
        "id: m{n}\nversion: '{version}'\ncommand: ['true']\nparams: {{properties: {{count: {{type: integer, minimum: 1, default: 3}}}}}}\n"
    )
}

fn write(manifests: &Path, n: usize, version: usize) {
    let mut file = fs::File::create(manifests.join(format!("m{n}.yaml"))).expect("a file");
    file.write_all(text(n, version).as_bytes()).expect("written");
}

fn modules(handle: &Handle) -> usize {
    handle.catalog().registry.iter().len()
}

fn wait(handle: &Handle, condition: impl Fn(&Handle) -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition(handle) {
        assert!(Instant::now() < end, "it does not come true");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Time of this process on a processor, in milliseconds; 0 where the system does not tell.
fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let main: f64 = stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0.0);
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let all = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    let nanos: f64 = all.filter_map(|stat| stat.split(' ').next()?.parse::<f64>().ok()).sum();
    nanos.max(main) / 1e6
}
