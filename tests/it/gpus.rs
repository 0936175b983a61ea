//! GPUs that a driver shows. The driver is a library of ours in the place of NVIDIA's: what it shows stands in a file, and everything above it is
//! the real thing. Needs a C compiler.

use std::process::Command;

use crate::support::{Running, TestSpace};

/// Stays until it is let go, and says who it is.
const LOADS: &str = "mark('began', NODE)\nmark('pid-' + NODE, str(os.getpid()))\ngate('go-' + NODE)\nmark('ended', NODE)";

/// A workspace with a driver; none where there is no compiler.
struct Rig(TestSpace);

impl Rig {
    fn new(test: &str) -> Option<Self> {
        let space = TestSpace::new();
        let library = space.at("driver/libnvidia-ml.so.1");
        std::fs::create_dir_all(space.at("driver")).expect("a folder");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fake/nvml.c");
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
        if !built.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED {test}: there is no C compiler");
            return None;
        }
        space.module("load", "resources: {cpus: 0, vram: 10GiB}", LOADS);
        Some(Self(space))
    }

    /// What the driver shows from now on: UUID, all and used MiB, and what processes use.
    fn shows(&self, lines: &[&str]) {
        // A reader never sees half of it.
        self.0.write("driver/state.new", lines.join("\n") + "\n");
        std::fs::rename(self.0.at("driver/state.new"), self.0.at("driver/state")).expect("renamed");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.0.command(args);
        command.env("LD_LIBRARY_PATH", self.0.at("driver")).env("FAKE_NVML", self.0.at("driver/state"));
        command
    }

    fn start(&self, args: &[&str]) -> Running {
        Running::start(self.command(args), None)
    }

    fn why(&self, node: &str) -> String {
        self.0.prismq(&["why", node]).stdout
    }

    fn wait_for_reason(&self, node: &str, part: &str) {
        self.0.wait_until(&format!("{node} waits since {part:?}"), || self.why(node).contains(part));
    }

    fn pid(&self, node: &str) -> String {
        let name = format!("pid-{node}");
        self.0.wait_for_marks(&name, 1);
        self.0.marks(&name).remove(0)
    }
}

#[test]
fn f64_vram_of_others_and_of_a_model_that_loads_keeps_a_second_one_waiting() {
    let Some(rig) = Rig::new("f64_vram_of_others_and_of_a_model_that_loads_keeps_a_second_one_waiting") else { return };
    // A game takes 6 GiB. Both would fit by what they ask for, and each by what is free.
    rig.shows(&["GPU-one 24576 6144 1:6144"]);
    rig.0.write("p.yaml", "nodes:\n  a: {module: load}\n  b: {module: load}\n");
    let running = rig.start(&["run", "p.yaml"]);
    let a = rig.pid("a");
    rig.wait_for_reason(
        "last/b",
        "needs 10 GiB of VRAM, 8 GiB are free on Fake Card: other programs use 6 GiB, running nodes may still take 10 GiB",
    );
    // It has loaded its model: nothing more is kept for it, and nothing more is free.
    rig.shows(&[&format!("GPU-one 24576 16384 1:6144 {a}:10240")]);
    rig.0.wait_until("its use is known", || {
        let shown = rig.0.prismq(&["resources", "--json"]).ends(0).json();
        shown["gpus"][0]["vram"]["used_by_nodes"] == 10_u64 << 30 && shown["gpus"][0]["vram"]["used_by_others"] == 6_u64 << 30
    });
    rig.wait_for_reason("last/b", "8 GiB are free on Fake Card: other programs use 6 GiB");
    assert_eq!(rig.0.marks("began"), ["a"]);
    // The game ends: the second starts beside the first.
    rig.shows(&[&format!("GPU-one 24576 10240 {a}:10240")]);
    rig.pid("b");
    rig.0.open("go-a");
    rig.0.open("go-b");
    running.end().ends(0);
}

/// What a process keeps that outlives its module is not free, as long as the driver says so: nobody starts on top of it.
#[test]
fn f43_vram_that_a_left_process_keeps_is_not_handed_out() {
    a_left_process_keeps_vram("f43_vram_that_a_left_process_keeps_is_not_handed_out", true);
}

/// What was seen before the end says nothing of what was left there.
#[test]
fn f43_vram_that_was_taken_just_before_the_end_is_not_handed_out() {
    a_left_process_keeps_vram("f43_vram_that_was_taken_just_before_the_end_is_not_handed_out", false);
}

fn a_left_process_keeps_vram(test: &str, seen_before: bool) {
    let Some(rig) = Rig::new(test) else { return };
    rig.0.module(
        "leaves",
        "resources: {cpus: 0, vram: 10GiB}\nleaks: allow",
        "import subprocess\n\
         left = subprocess.Popen([sys.executable, __file__.replace('leaves', 'left')], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n\
         mark('pid-left', str(left.pid))\nmark('began', NODE)\ngate('go-a')",
    );
    rig.0.write(
        "modules/left.py",
        "import os, time\nend = time.monotonic() + 60\ngate = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'gates', 'go-left')\nwhile not os.path.exists(gate) and time.monotonic() < end: time.sleep(0.005)\n",
    );
    rig.0.module("light", "resources: {cpus: 0}", "mark('light')");
    rig.shows(&["GPU-one 24576 100"]);
    rig.0.write("p.yaml", "nodes:\n  a: {module: leaves}\n  b: {module: load, needs: [a]}\n  c: {module: light, needs: [a]}\n");
    let running = rig.start(&["run", "p.yaml"]);
    let left = rig.pid("left");
    let held = format!("GPU-one 24576 16384 {left}:16384");
    let gpu = || rig.0.prismq(&["resources", "--json"]).ends(0).json()["gpus"][0].clone();
    rig.0.wait_until("a look came", || gpu()["vram"]["used_by_others"] == 100_u64 << 20);
    rig.shows(&[&held]);
    if seen_before {
        // What it takes beyond what it asked for is counted with that of others.
        rig.0.wait_until("its use is known", || {
            gpu()["vram"]["used_by_nodes"] == 10_u64 << 30 && gpu()["vram"]["used_by_others"] == 6_u64 << 30
        });
    }
    rig.0.open("go-a");
    // It is over, nothing is held for it any more, and what its child has is that of others.
    rig.0.wait_for_marks("light", 1);
    assert_eq!(rig.0.node("last", "a")["status"], "completed");
    rig.0.wait_until("it is seen as that of others", || gpu()["vram"]["used_by_others"] == 16_u64 << 30);
    assert_eq!((&gpu()["vram"]["held"], &gpu()["vram"]["used_by_nodes"]), (&0.into(), &0.into()), "{}", gpu());
    rig.wait_for_reason("last/b", "needs 10 GiB of VRAM, 8 GiB are free on Fake Card: other programs use 16 GiB");
    assert_eq!(rig.0.marks("began"), ["a"]);
    // The process has ended and the driver has not tidied up: what it shows counts, and not who lives.
    rig.0.open("go-left");
    rig.0.wait_until("it is gone", || !std::path::Path::new(&format!("/proc/{left}")).exists());
    rig.wait_for_reason("last/b", "8 GiB are free on Fake Card");
    assert_eq!(rig.0.marks("began"), ["a"]);
    rig.shows(&["GPU-one 24576 100"]);
    rig.pid("b");
    rig.0.open("go-b");
    running.end().ends(0);
}

#[test]
fn a_driver_that_does_not_tell_whose_vram_it_is_is_read_as_a_whole() {
    let Some(rig) = Rig::new("a_driver_that_does_not_tell_whose_vram_it_is_is_read_as_a_whole") else { return };
    rig.shows(&["GPU-one 24576 2048 1:-1"]);
    rig.0.write("p.yaml", "nodes:\n  a: {module: load}\n  b: {module: load, needs: [g]}\n  g: {module: gate}\n");
    rig.0.module("gate", "resources: {cpus: 0}", "gate('loaded')");
    let running = rig.start(&["run", "p.yaml"]);
    let a = rig.pid("a");
    rig.shows(&[&format!("GPU-one 24576 12288 1:-1 {a}:-1")]);
    rig.0.wait_until("its use is known", || {
        rig.0.prismq(&["resources", "--json"]).ends(0).json()["gpus"][0]["vram"]["used_by_nodes"] == 10_u64 << 30
    });
    // 12 GiB are free, and none of them is kept for the first.
    rig.0.open("loaded");
    rig.pid("b");
    rig.0.open("go-a");
    rig.0.open("go-b");
    running.end().ends(0);
}

#[test]
fn f62_f63_a_gpu_that_falls_off_the_bus_lets_its_nodes_wait_and_the_others_run() {
    let Some(rig) = Rig::new("f62_f63_a_gpu_that_falls_off_the_bus_lets_its_nodes_wait_and_the_others_run") else { return };
    rig.shows(&["GPU-one 24576 100", "GPU-two 8192 100"]);
    rig.0.module("light", "resources: {cpus: 0}", "mark('light')");
    rig.0.write("p.yaml", "nodes:\n  a: {module: load}\n  b: {module: load, needs: [a]}\n  c: {module: light, needs: [a]}\n");
    let running = rig.start(&["run", "p.yaml"]);
    rig.pid("a");
    // The order of the cards changes too: names count, not numbers.
    rig.shows(&["GPU-two 8192 100", "GPU-one 0 0"]);
    rig.0.wait_until("the loss is seen", || rig.0.prismq(&["resources", "--json"]).ends(0).json()["gpus"][0]["lost"] == true);
    rig.0.open("go-a");
    rig.wait_for_reason("last/b", "(a GPU does not answer); this machine has not enough of it now");
    rig.0.wait_for_marks("light", 1);
    assert_eq!(rig.0.marks("began"), ["a"]);
    // A request that fits it is still accepted, and one that never did is not.
    rig.shows(&["GPU-two 8192 100", "GPU-one 24576 100"]);
    rig.pid("b");
    rig.0.open("go-b");
    running.end().ends(0);
    let doctor = Running::start(rig.command(&["doctor"]), None).end().ends(0);
    doctor.says("Fake Card GPU-one, 24 GiB of VRAM, 23 GiB may be held");
    rig.0.write("q.yaml", "nodes:\n  a: {module: load, resources: {vram: 64GiB}}\n");
    Running::start(rig.command(&["run", "q.yaml"]), None)
        .end()
        .ends(8)
        .complains("needs 64 GiB of VRAM on one GPU, 23 GiB of 23 GiB are free");
}

/// What a driver costs is spent by whoever wants a GPU, and not by a host that nobody asked for one.
#[cfg(target_os = "linux")]
#[test]
fn a_driver_is_loaded_when_somebody_wants_a_gpu() {
    let Some(rig) = Rig::new("a_driver_is_loaded_when_somebody_wants_a_gpu") else { return };
    rig.shows(&["GPU-one 24576 100"]);
    let host = rig.start(&["serve"]);
    rig.0.wait_until("a host", || rig.0.at(".prismq/host.json").exists());
    let is_loaded = || std::fs::read_to_string(format!("/proc/{}/maps", host.pid())).expect("its maps").contains("libnvidia-ml");
    assert!(!is_loaded(), "by a host that nobody asked for a GPU");
    rig.0.prismq(&["run", "load", "--detach"]).ends(0);
    assert!(is_loaded());
    rig.pid("load");
    rig.0.open("go-load");
    rig.0.prismq(&["wait", "last"]).ends(0);
    host.signal(rustix::process::Signal::INT);
    host.end();
    // Nobody has a run here; whoever looks asks the driver.
    let host = rig.start(&["serve"]);
    rig.0.wait_until("a host", || rig.0.prismq(&["resources", "--json"]).stdout.contains("GPU-one"));
    host.signal(rustix::process::Signal::INT);
    host.end();
}

/// A module whose author says nothing of VRAM: what it used is shown, and from five runs on it is kept apart.
#[test]
fn vram_that_was_used_is_learned_to_5_percent_and_set_aside() {
    let Some(rig) = Rig::new("vram_that_was_used_is_learned_to_5_percent_and_set_aside") else { return };
    let python =
        "mark('pid-' + str(P['n']), str(os.getpid()))\nmark('gpu', str(os.environ.get('CUDA_VISIBLE_DEVICES')))\ngate('go-' + str(P['n']))";
    rig.0.module("eats", "resources: {cpus: 0}\nparams: {properties: {n: {type: integer}}}", python);
    rig.shows(&["GPU-one 24576 2048 1:2048"]);
    let host = rig.start(&["serve"]);
    rig.0.wait_until("a host looks at it", || rig.0.prismq(&["resources", "--json"]).stdout.contains("GPU-one"));
    let learned = || rig.0.prismq(&["modules", "show", "eats", "--json"]).ends(0).json()["learned"].clone();
    for n in 0..6 {
        rig.0.prismq(&["run", "eats", "-p", &format!("n={n}"), "--detach"]).ends(0);
        let pid = rig.pid(&n.to_string());
        for used in [4096, 10240, 6144] {
            rig.shows(&[&format!("GPU-one 24576 {} 1:2048 {pid}:{used}", 2048 + used)]);
            rig.0.prismq(&["resources"]).ends(0);
        }
        rig.0.open(&format!("go-{n}"));
        rig.0.prismq(&["wait", "last"]).ends(0);
        rig.shows(&["GPU-one 24576 2048 1:2048"]);
        let peak = rig.0.node("last", "eats")["peak_vram"].as_u64().expect("a peak");
        assert!(peak.abs_diff(10 << 30) <= (10 << 30) / 20, "{peak}");
        assert_eq!(learned()["vram_request"].is_u64(), n >= 4, "{}", learned());
    }
    assert_eq!(rig.0.marks("gpu"), ["None", "None", "None", "None", "None", "GPU-one"]);
    rig.0.prismq(&["show", "last/eats"]).ends(0).says("10 GiB");
    let shown = rig.0.prismq(&["modules", "show", "eats"]).ends(0);
    shown.says("declared none, used 10 GiB at most in the last 6 runs: 12 GiB are set aside for it");
    // One that asks for more than is left beside it waits.
    rig.0.prismq(&["run", "eats", "-p", "n=6", "--detach"]).ends(0);
    rig.pid("6");
    rig.0.prismq(&["run", "eats", "-p", "n=7", "--detach"]).ends(0);
    rig.wait_for_reason("last/eats", "needs 12 GiB of VRAM on one GPU, 11 GiB of 23 GiB are free");
    rig.0.open("go-6");
    rig.0.open("go-7");
    rig.0.prismq(&["wait", "last"]).ends(0);
    host.signal(rustix::process::Signal::INT);
    host.end();
}

/// Takes memory of a real GPU by the driver's own library, which needs no toolkit. It sees the GPU that it was granted as the first one.
const TAKES: &str = r#"import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
def ok(code):
    assert code == 0, "CUDA error %d" % code
device, context, pointer = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
ok(cuda.cuInit(0))
ok(cuda.cuDeviceGet(ctypes.byref(device), 0))
ok(cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device))
ok(cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(SIZE)))
"#;

/// The same cases on a machine with an NVIDIA GPU of which at least half is free:
///
/// ```sh
/// cargo test --test it -- --ignored real_cuda
/// ```
#[test]
#[ignore = "needs an NVIDIA GPU: cargo test --test it -- --ignored real_cuda"]
fn real_cuda_processes_share_a_gpu() {
    const MIB: u64 = 1 << 20;
    let space = TestSpace::new();
    let vram = || space.prismq(&["resources", "--json"]).ends(0).json()["gpus"][0].clone();
    let uuid = vram()["uuid"].as_str().expect("a GPU that the driver shows").to_owned();
    // One GPU is enough, and others would only give more room.
    space.write("prismq.yaml", format!("host: {{capacity: {{gpus: [{{uuid: {uuid}}}]}}}}\n"));
    let free = vram()["vram"]["free"].as_u64().expect("its free memory") / MIB;
    let module = |id: &str, share: u64| {
        let take = free * share / 100;
        // Beside what a module takes, the driver takes some for each process.
        let keys = format!("resources: {{cpus: 0, vram: {}MiB}}", take + 600);
        let takes = format!("SIZE = {}\n{TAKES}", take * MIB);
        space.module(
            id,
            &keys,
            &format!("{takes}mark('began', NODE)\nmark('gpu', os.environ['CUDA_VISIBLE_DEVICES'])\ngate('go')\nmark('ended', NODE)"),
        );
        take
    };
    let light = module("light", 30);
    module("heavy", 60);

    // Two that fit run together, and what they take is seen.
    space.write("fit.yaml", "nodes:\n  a: {module: light}\n  b: {module: light}\n");
    let running = space.start(&["run", "fit.yaml"]);
    space.wait_for_marks("began", 2);
    space.wait_until("what they take is seen, to 5 % and what the driver takes", || {
        let seen = vram()["vram"]["used_by_nodes"].as_u64().unwrap_or(0) / MIB;
        (2 * light * 95 / 100..=2 * (light + 600)).contains(&seen)
    });
    space.open("go");
    running.end().ends(0);
    assert_eq!(space.marks("gpu"), [uuid.as_str(), uuid.as_str()]);
    std::fs::remove_file(space.at("gates/go")).expect("closed again");

    // Two that do not fit run one after the other.
    space.write("two.yaml", "nodes:\n  c: {module: heavy}\n  d: {module: heavy}\n");
    let running = space.start(&["run", "two.yaml"]);
    space.wait_for_marks("began", 3);
    space.wait_until("the other waits", || space.prismq(&["why", "last"]).stdout.contains("of VRAM"));
    assert_eq!(space.marks("began").len(), 3);
    space.open("go");
    running.end().ends(0);
    std::fs::remove_file(space.at("gates/go")).expect("closed again");

    // A third program's memory is respected.
    let script = format!("import sys\nSIZE = {}\n{TAKES}print('taken', flush=True)\nsys.stdin.read()\n", free * 60 / 100 * MIB);
    let mut other = Command::new("python3");
    other.args(["-c", &script]).env("CUDA_VISIBLE_DEVICES", &uuid).env("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
    other.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut other = other.spawn().expect("Python");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(other.stdout.take().expect("a pipe")), &mut line).expect("a line");
    assert_eq!(line, "taken\n");
    let running = space.start(&["run", "heavy"]);
    space.wait_until("it waits for the other program", || space.prismq(&["why", "last"]).stdout.contains("other programs use"));
    drop(other.stdin.take());
    other.wait().expect("its end");
    space.wait_for_marks("began", 5);
    space.open("go");
    running.end().ends(0);
    std::fs::remove_file(space.at("gates/go")).expect("closed again");

    what_a_real_process_took_is_learned(&space, &uuid, free * 20 / 100);
}

/// Runs a module that asks for no VRAM until something is learned of it, beside what `nvidia-smi` says meanwhile.
fn what_a_real_process_took_is_learned(space: &TestSpace, uuid: &str, take: u64) {
    const MIB: u64 = 1 << 20;
    let used = || {
        let args = ["--id", uuid, "--query-gpu=memory.used", "--format=csv,noheader,nounits"];
        let shown = Command::new("nvidia-smi").args(args).output().expect("nvidia-smi").stdout;
        String::from_utf8_lossy(&shown).trim().parse::<u64>().expect("a number of MiB")
    };
    let python =
        format!("SIZE = {}\n{TAKES}mark('eats', str(os.environ.get('CUDA_VISIBLE_DEVICES')))\ngate('go-' + str(P['n']))", take * MIB);
    space.module("eats", "resources: {cpus: 0}\nparams: {properties: {n: {type: integer}}}", &python);
    let host = space.start(&["serve"]);
    space.wait_until("a host looks at it", || space.prismq(&["resources", "--json"]).stdout.contains(uuid));
    let learned = || space.prismq(&["modules", "show", "eats", "--json"]).ends(0).json()["learned"].clone();
    for n in 0..6 {
        let before = used();
        space.prismq(&["run", "eats", "-p", &format!("n={n}"), "--detach"]).ends(0);
        space.wait_for_marks("eats", n + 1);
        let took = used() - before;
        assert!(took >= take, "{took} MiB of {take}");
        space.prismq(&["resources"]).ends(0);
        space.open(&format!("go-{n}"));
        space.prismq(&["wait", "last"]).ends(0);
        space.wait_until("its memory is given back", || used() <= before + 64);
        let peak = space.node("last", "eats")["peak_vram"].as_u64().expect("a peak") / MIB;
        println!("run {n}: nvidia-smi {took} MiB, prismq {peak} MiB");
        assert!(peak.abs_diff(took) <= took / 20, "{peak} MiB, where nvidia-smi says {took}");
        assert_eq!(learned()["vram_request"].is_u64(), n >= 4, "{}", learned());
    }
    // What was learned is asked for from then on, and with it comes a GPU of one's own.
    assert_eq!(space.marks("eats"), ["None", "None", "None", "None", "None", uuid]);
    println!("learned: {}", learned());
    host.signal(rustix::process::Signal::INT);
    host.end();
}
