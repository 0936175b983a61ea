//! `logs` and what it stands on: following, asking for parts, and output that is huge, broken or does not fit the disk.

use serde_json::{Value, json};

#[cfg(target_os = "linux")]
use crate::support::until;
use crate::support::{TestSpace, json_lines};

/// A run of one module that wrote a hundred lines, every tenth to standard error.
fn hundred_lines() -> TestSpace {
    let space = TestSpace::awkward();
    space.module(
        "count",
        "",
        "for n in range(1, 101):\n    print(f'Line {n}', file=sys.stderr if n % 10 == 0 else sys.stdout, flush=True)",
    );
    space.prismq(&["run", "count"]).ends(0);
    space
}

fn numbers(space: &TestSpace, options: &[&str]) -> Vec<u64> {
    let arguments: Vec<&str> = ["logs", "last/count", "--json"].iter().chain(options).copied().collect();
    let lines = json_lines(&space.prismq(&arguments).ends(0).stdout);
    let number = |line: &Value| line["line"].as_u64().expect("a number");
    lines.iter().map(number).collect()
}

#[test]
fn parts_of_a_log() {
    let space = hundred_lines();
    // Two pipes may be read in another order than they were written to: what is asked for is told by the whole log.
    let whole = json_lines(&space.prismq(&["logs", "--json"]).ends(0).stdout);
    let all = |holds: &dyn Fn(&Value) -> bool| {
        let chosen = whole.iter().filter(|line| holds(line)).map(|line| line["line"].as_u64().expect("a number"));
        chosen.collect::<Vec<_>>()
    };
    assert_eq!(all(&|_| true), (1..=100).collect::<Vec<_>>());
    let text = |line: &Value| line["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!(numbers(&space, &["--lines", "12-15"]), [12, 13, 14, 15]);
    assert_eq!(numbers(&space, &["--lines", "99-"]), [99, 100]);
    assert_eq!(numbers(&space, &["--lines", "-2"]), [1, 2]);
    assert_eq!(numbers(&space, &["--tail", "2"]), [99, 100]);
    assert_eq!(numbers(&space, &["--stream", "stderr"]), all(&|line| line["stream"] == "stderr"));
    assert_eq!(numbers(&space, &["--stderr", "--tail", "3"]).len(), 3);
    assert_eq!(numbers(&space, &["--search", "Line 7"]), all(&|line| text(line).contains("Line 7")));
    assert_eq!(numbers(&space, &["--search", "line 7"]), [0; 0]);
    let last = all(&|line| text(line).contains("Line 7")).last().copied();
    assert_eq!(numbers(&space, &["--search", "line 7", "-i", "--tail", "1"]).last().copied(), last);
    assert_eq!(numbers(&space, &["--since", "1h"]).len(), 100);
    assert_eq!(numbers(&space, &["--since", "2020-01-01"]).len(), 100);
    assert_eq!(numbers(&space, &["--since", "2999-01-01T00:00:00Z"]), [0; 0]);
    let found = space.prismq(&["logs", "last", "--search", "Line 100"]).ends(0).stdout;
    let place = all(&|line| text(line) == "Line 100")[0];
    assert_eq!(found, format!("{place:>6}: Line 100\n"));
    let line = whole.iter().find(|line| text(line) == "Line 10").expect("it is there");
    assert_eq!((&line["node"], &line["attempt"], &line["stream"]), (&json!("count"), &json!(1), &json!("stderr")));
}

#[test]
fn what_logs_cannot_give_is_told() {
    let space = hundred_lines();
    space.prismq(&["logs", "--lines", "0-3"]).ends(2).complains("counted from 1");
    space.prismq(&["logs", "--lines", "9-3"]).ends(2).complains("line 9 comes after line 3");
    space.prismq(&["logs", "--since", "soon"]).ends(2).complains("14:02");
    space.prismq(&["logs", "--search", ""]).ends(2).complains("a part of one line");
    space.prismq(&["logs", "--stream", "both"]).ends(2).complains("stderr");
    space.prismq(&["logs", "-f", "--lines", "1-2"]).ends(2);
    space.prismq(&["logs", "last/count", "--attempt", "2"]).ends(4).complains("it had 1");
    space.write("p.yaml", "nodes:\n  a: {module: count}\n  b: {module: count}\n");
    space.prismq(&["run", "p.yaml"]).ends(0);
    space.prismq(&["logs", "--lines", "1-2"]).ends(2).complains("/a`");
}

#[test]
fn follow_goes_over_nodes_and_retries_until_the_run_ends() {
    let space = TestSpace::awkward();
    space.module("one", "", "print('one begins', flush=True)\ngate('one')\nprint('one ends')");
    space.module(
        "two",
        "retry: {attempts: 2, on: [exit], backoff: 10ms}",
        "print('two begins', ATTEMPT, flush=True)\ngate('two' + str(ATTEMPT))\nprint('two ends')\nsys.exit(3 if ATTEMPT == 1 else 0)",
    );
    space.write("p.yaml", "nodes:\n  a: {module: one}\n  b: {module: two, needs: [a]}\n");
    let run = space.prismq(&["run", "p.yaml", "--detach"]).ends(0).stdout.trim().to_owned();
    let all = space.start(&["logs", &run, "-f"]);
    all.wait_for("a | one begins");
    let second = space.start(&["logs", &format!("{run}/b"), "--follow", "--json"]);
    space.open("one");
    all.wait_for("b | two begins 1");
    let late = space.start(&["logs", &format!("{run}/b"), "-f", "--tail", "0"]);
    space.open("two1");
    all.wait_for("b | two begins 2");
    space.open("two2");
    let told = all.end().ends(0);
    assert_eq!(told.stdout, "a | one begins\na | one ends\nb | two begins 1\nb | two ends\nb | two begins 2\nb | two ends\n");
    assert!(told.stderr.contains("b: attempt 2"), "{told:?}");
    let lines = json_lines(&second.end().ends(0).stdout);
    let short: Vec<_> = lines.iter().map(|line| (line["attempt"].clone(), line["message"].clone())).collect();
    let expected = [(1, "two begins 1"), (1, "two ends"), (2, "two begins 2"), (2, "two ends")];
    assert_eq!(short, expected.map(|(attempt, text)| (json!(attempt), json!(text))));
    let late = late.end().ends(0).stdout;
    assert!(late.ends_with("two begins 2\ntwo ends\n"), "{late}");
    let again = space.prismq(&["logs", &run, "-f"]).ends(0).stdout;
    assert_eq!(again, "a | one begins\na | one ends\nb | two begins 2\nb | two ends\n", "of an ended run: as without -f");
}

#[test]
fn follow_takes_instances_as_they_come() {
    let space = TestSpace::new();
    space.module("list", "outputs: {properties: {items: {type: array}}}", "mark('began')\ngate('list')\nout(items=['x', 'y'])");
    space.module("each", "params: {properties: {item: {type: string}}}", "print('has', P['item'])");
    space.write(
        "p.yaml",
        "nodes:\n  l: {module: list}\n  e: {module: each, foreach: \"${{ nodes.l.outputs.items }}\", with: {item: \"${{ item }}\"}}\n",
    );
    let run = space.prismq(&["run", "p.yaml", "--detach"]).ends(0).stdout.trim().to_owned();
    space.wait_for_marks("began", 1);
    space.prismq(&["logs", &format!("{run}/f[1]"), "-f"]).ends(4);
    let all = space.start(&["logs", &format!("{run}/e"), "-f"]);
    let one = space.start(&["logs", &format!("{run}/e[1]"), "-f"]);
    space.open("list");
    let told = all.end().ends(0).stdout;
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["e[0] | has x", "e[1] | has y"]);
    assert_eq!(one.end().ends(0).stdout, "has y\n");
}

/// Promise 2 for those who look: the host dies, the module goes on, its output is shown, and the follower stays for the next host.
#[cfg(target_os = "linux")]
#[test]
fn follow_outlives_the_host_as_the_module_does() {
    let space = TestSpace::new();
    space.module("quick", "", "print('quick', flush=True)");
    space.module(
        "slow",
        "isolation: wrapped",
        "print('slow begins', flush=True)\nmark('began')\ngate('alone')\nprint('nobody is my host', flush=True)\ngate('go')\nprint('slow ends', flush=True)",
    );
    space.write("p.yaml", "nodes:\n  a: {module: quick}\n  b: {module: slow, needs: [a]}\n");
    let host = space.start(&["run", "p.yaml"]);
    let run = host.run_id();
    space.wait_for_marks("began", 1);
    let follower = space.start(&["logs", &run, "-f"]);
    follower.wait_for("b | slow begins");
    host.kill().ends(137);
    follower.wait_for_note("prismq resume");
    space.open("alone");
    follower.wait_for("b | nobody is my host");
    let next = space.start(&["resume", &run]);
    next.wait_for_note_or_out(&run);
    space.open("go");
    next.end().ends(0);
    assert_eq!(follower.end().ends(0).stdout, "a | quick\nb | slow begins\nb | nobody is my host\nb | slow ends\n");
}

#[cfg(unix)]
#[test]
fn follow_goes_on_with_the_next_attempt_after_the_host_died() {
    let space = TestSpace::new();
    space.module("slow", "isolation: direct", "print('begins', ATTEMPT, flush=True)\nmark('began')\ngate('go')\nprint('ends', flush=True)");
    space.write("p.yaml", "nodes:\n  b: {module: slow, retry: {attempts: 2, on: [lost]}}\n");
    let host = space.start(&["run", "p.yaml"]);
    let run = host.run_id();
    space.wait_for_marks("began", 1);
    let follower = space.start(&["logs", &run, "-f"]);
    follower.wait_for("begins 1");
    host.kill().ends(137);
    follower.wait_for_note("prismq resume");
    let next = space.start(&["resume", &run]);
    space.wait_for_marks("began", 2);
    space.open("go");
    next.end().ends(0);
    assert_eq!(follower.end().ends(0).stdout, "begins 1\nbegins 2\nends\n");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_only_the_look() {
    let space = TestSpace::new();
    space.module("slow", "", "print('begins', flush=True)\ngate('go')");
    let run = space.prismq(&["run", "slow", "--detach"]).ends(0).stdout.trim().to_owned();
    let follower = space.start(&["logs", &run, "-f"]);
    follower.wait_for("begins");
    follower.signal(rustix::process::Signal::INT);
    follower.end().ends(130);
    space.open("go");
    space.prismq(&["wait", &run]).ends(0);
}

/// F-45: what is no UTF-8 is kept as it is and does not stop the reader.
#[test]
fn f45_bytes_that_are_no_text_are_kept() {
    let space = TestSpace::new();
    space.module("raw", "", "sys.stdout.buffer.write(b'ok\\n\\xff\\xfe\\n\\xe2\\x82\\n\\x00end')");
    space.prismq(&["run", "raw"]).ends(0);
    let run = space.show("last")["run"]["run_id"].as_str().expect("an id").to_owned();
    let kept = std::fs::read(space.at(format!(".prismq/runs/{run}/raw.1/stdout.log"))).expect("it is there");
    assert_eq!(kept, b"ok\n\xff\xfe\n\xe2\x82\n\0end");
    assert_eq!(space.prismq(&["logs", "--raw"]).ends(0).stdout, "ok\n\u{fffd}\u{fffd}\n\u{fffd}\n\0end\n");
}

/// F-51: it may be a stranger's text, and whoever looks at it has a terminal that obeys.
#[test]
fn f51_a_terminal_does_not_obey_what_a_module_prints() {
    let space = TestSpace::new();
    let printed = "\x1b[2J\x1b]0;title\x07red\x1b[31m\\n10 %\\r100 %\\nnul\\0\\n\x1b]8;;http://evil\x07link\x1b]8;;\x07</script>\\n";
    space.module("paints", "", &format!("sys.stdout.buffer.write(b'{printed}')").replace('\x1b', "\\x1b").replace('\x07', "\\x07"));
    space.prismq(&["run", "paints"]).ends(0);
    let run = space.show("last")["run"]["run_id"].as_str().expect("an id").to_owned();
    let kept = std::fs::read(space.at(format!(".prismq/runs/{run}/paints.1/stdout.log"))).expect("it is there");
    assert_eq!(String::from_utf8_lossy(&kept), printed.replace("\\n", "\n").replace("\\r", "\r").replace("\\0", "\0"), "byte for byte");
    let shown = space.prismq(&["logs"]).ends(0).stdout;
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
    assert!(["red", "100 %", "nul", "link", "</script>"].into_iter().all(|part| shown.contains(part)), "{shown:?}");
    let json = space.prismq(&["logs", "--json"]).ends(0).stdout;
    assert!(!json.contains(|c: char| c.is_control() && c != '\n') && json.contains("\\u001b[31m"), "{json:?}");
}

/// F-44: a line of many megabytes costs neither the host nor a reader its memory.
#[cfg(target_os = "linux")]
#[test]
fn f44_a_huge_line_is_held_by_nobody() {
    let space = TestSpace::new();
    space.module(
        "flood",
        "",
        "print('begins', flush=True)\nmark('began')\ngate('go')\nfor _ in range(40):\n    sys.stdout.write('x' * 1000000)\nsys.stdout.flush()\nmark('wrote')\ngate('end')",
    );
    let host = space.start(&["run", "flood", "--json"]);
    space.wait_for_marks("began", 1);
    let run = space.show("last")["run"]["run_id"].as_str().expect("an id").to_owned();
    let before = host.peak_memory();
    space.open("go");
    space.wait_for_marks("wrote", 1);
    let grown = host.peak_memory().saturating_sub(before);
    space.open("end");
    host.end().ends(0);
    assert!(grown < 8 << 20, "the host grew by {grown} bytes");
    let log = space.at(format!(".prismq/runs/{run}/flood.1/stdout.log"));
    assert_eq!(log.metadata().expect("it is there").len(), 40_000_007);
    let pieces = json_lines(&space.prismq(&["logs", "--json", "--tail", "3"]).ends(0).stdout);
    assert!(pieces.iter().all(|piece| piece["line"] == 2 && piece["partial"] == true), "{pieces:?}");
    let longest = pieces.iter().filter_map(|piece| piece["message"].as_str()).map(str::len).max();
    assert!(longest.is_some_and(|longest| longest <= 65_536), "{longest:?}");
    assert_eq!(space.prismq(&["logs", "--lines", "1"]).ends(0).stdout, "begins\n");
}

/// F-10: the disk of the logs is full for a while. The module is not hindered; what is missing is told, and what comes after is kept.
#[cfg(target_os = "linux")]
#[test]
fn f10_a_full_disk_costs_log_lines_and_nothing_else() {
    let space = TestSpace::new();
    std::fs::create_dir_all(space.at("small")).expect("a folder");
    space.write("prismq.yaml", "host: {runs_dir: small/runs}\n");
    space.module(
        "flood",
        "",
        "ballast = os.path.join(SPACE, 'small', 'ballast')\nfor n in range(4000):\n    print(f'line {n} ' + 'x' * 80)\nsys.stdout.flush()\nos.unlink(ballast)\nend = time.monotonic() + 60\nn = 0\nwhile time.monotonic() < end and not [f for f in os.listdir(os.path.dirname(os.environ['PRISMQ_OUTPUT'])) if f.startswith('stdout.log.')]:\n    print(f'after {n}', flush=True)\n    n += 1\n    time.sleep(0.01)\nprint('the end', flush=True)\nout(done=True)",
    );
    let program = env!("CARGO_BIN_EXE_prismq");
    let script = format!(
        "mount -t tmpfs -o size=256k none small && head -c 65536 /dev/zero > small/ballast && {program} run flood --json > run.json; code=$?; {program} logs --json > log.jsonl; cp small/runs/*/flood.1/stdout.log head.log; exit $code"
    );
    let mut command = space.command(&[""; 0]);
    let environment: Vec<_> = command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    command = std::process::Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script]).current_dir(space.root()).envs(environment);
    let probe = std::process::Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no mount namespace can be made here");
        return;
    }
    let ran = crate::support::Running::start(command, None).end();
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines = json_lines(&space.read("log.jsonl"));
    let missing: u64 = lines.iter().filter_map(|line| line["missing_bytes"].as_u64()).sum();
    assert!(missing > 50_000, "{missing}");
    let marker = lines.iter().find(|line| line["missing_bytes"].is_u64()).expect("it is told");
    assert!(marker["message"].as_str().is_some_and(|text| text.ends_with("bytes not kept (the disk was full or failed) ...]")), "{marker}");
    let last = lines.last().expect("a line");
    assert_eq!(last["message"], "the end");
    let head = space.read("head.log");
    assert!(head.starts_with("line 0 xxx"), "{}", &head[..head.len().min(100)]);
    let texts: Vec<&str> = lines.iter().filter_map(|line| line["message"].as_str()).collect();
    let first_after = texts.iter().find_map(|text| text.strip_prefix("after ")).and_then(|number| number.parse::<u64>().ok());
    let count = lines.iter().filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with("after "))).count() as u64;
    let first_after = first_after.expect("what came after is kept");
    assert_eq!(last["line"], 4000 + first_after + count + 1, "numbers are those of what the module wrote");
}

/// F-46: more output than is wanted. The begin and the end are kept, the disk holds no more than the cap, and the module never waits.
#[cfg(unix)]
#[test]
fn f46_a_flood_is_capped() {
    let space = TestSpace::new();
    for isolation in ["direct", "wrapped"] {
        let flood = "echo begin; yes | head -c 60000000; echo end";
        space.write(
            &format!("manifests/{isolation}.yaml"),
            format!("id: {isolation}\ncommand: [sh, -c, {}]\nlog_cap: 1MiB\nisolation: {isolation}\n", json!(flood)),
        );
        space.prismq(&["run", isolation, "--json"]).ends(0);
        let run = space.show("last")["run"]["run_id"].as_str().expect("an id").to_owned();
        let files = std::fs::read_dir(space.at(format!(".prismq/runs/{run}/{isolation}.1"))).expect("a folder").flatten();
        let of_the_log = files.filter(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            ["stdout.log", "stderr.log", "index"].iter().any(|base| name.starts_with(base))
        });
        let disk: u64 = of_the_log.map(|file| file.metadata().expect("it is there").len()).sum();
        assert!((900_000..=1 << 20).contains(&disk), "{isolation}: {disk} bytes");
        assert_eq!(space.prismq(&["logs", "--lines", "-2"]).ends(0).stdout, "begin\ny\n");
        let last = json_lines(&space.prismq(&["logs", "--tail", "1", "--json"]).ends(0).stdout);
        assert_eq!((&last[0]["message"], &last[0]["line"]), (&json!("end"), &json!(30_000_002)));
        let all = space.prismq(&["logs", "--json"]).ends(0).stdout;
        let gaps: Vec<&str> = all.lines().filter(|line| line.contains("missing_bytes")).collect();
        assert!(gaps.len() == 1 && gaps[0].contains("bytes not kept (log_cap 1 MiB) ...]"), "{gaps:?}");
    }
}

/// F-47: the disk takes one node's output slowly. Its module waits, the others do not, and nothing is lost.
#[cfg(target_os = "linux")]
#[test]
fn f47_a_slow_disk_slows_only_the_module_that_writes() {
    let space = TestSpace::new();
    space.module(
        "flood",
        "",
        "mark('began', NODE)\ngate('go')\nfor n in range(40000):\n    print(f'{n:>99}')\nsys.stdout.flush()\nmark('wrote')",
    );
    space.module("quick", "", "mark('began', NODE)\ngate('go')\nprint('quick')");
    space.write("p.yaml", "nodes:\n  a: {module: flood}\n  b: {module: quick}\n  c: {module: quick, needs: [b]}\n");
    let run = space.prismq(&["run", "p.yaml", "--detach"]).ends(0).stdout.trim().to_owned();
    space.wait_for_marks("began", 2);
    let log = space.at(format!(".prismq/runs/{run}/a.1/stdout.log"));
    let mut command = std::process::Command::new("strace");
    command.args(["-f", "-q", "-e", "trace=write", "-e", "inject=write:delay_enter=200000", "-P"]).arg(&log);
    let processes = space.processes();
    for (pid, _) in &processes {
        command.args(["-p", &pid.to_string()]);
    }
    let mut slowed = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn();
    let traced = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    };
    let looks = until(|| {
        let ended = slowed.as_mut().map_or(true, |strace| !matches!(strace.try_wait(), Ok(None)));
        let looks = processes.iter().all(|(pid, _)| traced(*pid));
        (ended || looks).then_some(looks && !ended)
    });
    let Some((true, Ok(mut strace))) = looks.map(|looks| (looks, slowed)) else {
        eprintln!("skipped: there is no strace here, or it may not look at other processes");
        space.open("go");
        space.prismq(&["wait", &run]).ends(0);
        return;
    };
    space.open("go");
    space.wait_until("the others are through", || {
        let statuses = space.statuses(&run);
        statuses.contains(&"b=completed".to_owned()) && statuses.contains(&"c=completed".to_owned())
    });
    assert_eq!(space.marks("wrote").len(), 0, "its pipe is full, and it waits");
    strace.kill().and_then(|()| strace.wait()).expect("it ends");
    space.prismq(&["wait", &run]).ends(0);
    let expected: String = (0..40_000).map(|n| format!("{n:>99}\n")).collect();
    assert!(std::fs::read_to_string(&log).is_ok_and(|kept| kept == expected), "every byte is there");
}
