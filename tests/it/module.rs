//! What a module sees, and what it may do.

use serde_json::{Value, json};

use crate::support::{Running, TestSpace};

const ENVIRONMENT: &str = "print(json.dumps(dict(os.environ)))";

#[test]
fn the_environment_is_an_allow_list() {
    let space = TestSpace::awkward();
    space.module("env", "pass_env: [MY_CACHE]\nenvironment: {GREETING: \"dobrý den\"}\nresources: {cpus: 2, memory: 64MiB}", ENVIRONMENT);
    space.write("prismq.yaml", "host: {capacity: {cpus: 4, memory: 1GiB}}\n");
    let mut command = space.command(&["run", "env"]);
    command.env("AWS_SECRET_ACCESS_KEY", "hunter2").env("MY_TOKEN", "hunter2").env("MY_CACHE", "/c").env("HTTPS_PROXY", "http://p:1");
    command.env("LD_PRELOAD", "").env("PYTHONPATH", "/evil");
    let seen: Value = Running::start(command, None).end().ends(0).json();
    assert!(!seen.to_string().contains("hunter2"), "{seen}");
    for absent in ["MY_TOKEN", "LD_PRELOAD", "PYTHONPATH", "PRISMQ_TEST_SPACE", "PRISMQ_WORKSPACE"] {
        assert_eq!(seen[absent], Value::Null, "{absent}");
    }
    for (name, value) in [("MY_CACHE", "/c"), ("GREETING", "dobrý den"), ("HTTPS_PROXY", "http://p:1"), ("PYTHONUNBUFFERED", "1")] {
        assert_eq!(seen[name], value, "{name}");
    }
    for (name, value) in [
        ("PRISMQ_NODE", "env"),
        ("PRISMQ_ATTEMPT", "1"),
        ("PRISMQ_CPUS", "2"),
        ("OMP_NUM_THREADS", "2"),
        ("PRISMQ_MEMORY_BYTES", "67108864"),
    ] {
        assert_eq!(seen[name], value, "{name}");
    }
    for path in ["PRISMQ_PARAMS", "PRISMQ_OUTPUT", "PRISMQ_PROGRESS", "PRISMQ_ARTIFACTS"] {
        assert!(seen[path].as_str().is_some_and(|path| std::path::Path::new(path).is_absolute()), "{path}: {}", seen[path]);
    }
    assert!(seen["PATH"].is_string() && seen["PRISMQ_RUN_ID"].is_string());
}

#[test]
fn where_it_works() {
    let space = TestSpace::awkward();
    let here = "print(os.getcwd())\nopen('left.txt', 'w').write('x')";
    space.module("script", "", here);
    space.module("fresh", "workdir: fresh", here);
    assert_eq!(space.prismq(&["run", "script"]).ends(0).stdout.trim(), space.at("modules").display().to_string());
    let first = space.prismq(&["run", "fresh"]).ends(0).stdout;
    let second = space.prismq(&["run", "fresh"]).ends(0).stdout;
    assert_ne!(first, second);
    let runs = space.at(".prismq/runs").display().to_string();
    assert!(first.starts_with(&runs) && first.trim().ends_with("work"), "{first}");
}

#[test]
fn artifacts_are_kept_with_the_run() {
    let space = TestSpace::awkward();
    space.module("art", "", "path = os.path.join(os.environ['PRISMQ_ARTIFACTS'], 'ž.txt')\nopen(path, 'w').write('kept')\nout(file=path)");
    let file = space.prismq(&["run", "art", "--json"]).ends(0).json();
    let path = file["nodes"][0]["outputs"]["file"].as_str().expect("a path");
    assert_eq!(std::fs::read_to_string(path).expect("it is there"), "kept");
}

#[test]
fn progress_is_shown() {
    let space = TestSpace::new();
    let line =
        "open(os.environ['PRISMQ_PROGRESS'], 'a').write(json.dumps({'done': 3, 'total': 10, 'message': 'třetí'}) + '\\n' + 'no json\\n')";
    space.module("steps", "", &format!("{line}\ngate('go')"));
    space.write("p.yaml", "nodes:\n  a: {module: steps}\n");
    let running = space.start(&["run", "p.yaml"]);
    running.wait_for("a: 3/10 třetí");
    space.open("go");
    running.end().ends(0);
}

#[test]
fn output_is_seen_while_it_is_written() {
    let space = TestSpace::new();
    space.module("talk", "", "print('first')\ngate('go')\nprint('second')");
    let running = space.start(&["run", "talk"]);
    running.wait_for("first\n");
    assert!(!running.stdout().contains("second"));
    space.open("go");
    assert_eq!(running.end().ends(0).stdout, "first\nsecond\n");
}

/// What it wrote since it was looked at last is more than is read at a time.
#[test]
fn a_flood_is_printed_to_its_last_line() {
    let space = TestSpace::new();
    space.module("flood", "", "print(''.join(f'{number:06} {\"x\" * 80}\\n' for number in range(60000)), end='')");
    space.write("p.yaml", "nodes:\n  a: {module: flood}\n");
    let numbers: Vec<String> = (0..60_000).map(|number| format!("{number:06}")).collect();
    let printed = space.prismq(&["run", "flood"]).ends(0).stdout;
    let seen: Vec<&str> = printed.lines().map(|line| &line[..6]).collect();
    assert_eq!((seen.len(), seen.last()), (60_000, Some(&"059999")));
    assert_eq!(seen, numbers);
    let printed = space.prismq(&["run", "p.yaml", "--logs"]).ends(0).stdout;
    let seen: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix("a | ")?.get(..6)).collect();
    assert_eq!(seen, numbers);
}

/// A long node is seen running before anything else happens.
#[test]
fn a_start_is_told_when_it_happens() {
    let space = TestSpace::new();
    space.module("gated", "", "mark('began')\ngate('go')");
    space.write("p.yaml", "nodes:\n  a: {module: gated}\n");
    let running = space.start(&["run", "p.yaml"]);
    running.wait_for("running    a");
    space.open("go");
    let told = running.end().ends(0).stdout;
    assert_eq!(told.matches("running    a").count(), 1, "{told}");
    assert_eq!(told.matches("completed  a").count(), 1, "{told}");
}

#[test]
fn a_script_that_changes_during_a_run_is_told() {
    let space = TestSpace::new();
    let keys = "params: {properties: {first: {type: boolean}}}";
    let code = "if P.get('first'): mark('began'); gate('go')";
    space.module("loose", keys, code);
    space.module("strict", &format!("pin: strict\n{keys}"), code);
    for (id, code, statuses) in [("loose", 0, ["a=completed", "b=completed"]), ("strict", 1, ["a=completed", "b=failed"])] {
        let before = space.marks("began").len();
        let _ = std::fs::remove_file(space.at("gates/go"));
        space.write("p.yaml", format!("nodes:\n  a: {{module: {id}, with: {{first: true}}}}\n  b: {{module: {id}, needs: [a]}}\n"));
        let running = space.start(&["run", "p.yaml"]);
        space.wait_for_marks("began", before + 1);
        let script = format!("modules/{id}.py");
        space.write(&script, format!("{}\n# changed\n", space.read(&script)));
        space.open("go");
        running.end().ends(code);
        assert_eq!(space.statuses("last"), statuses);
        assert_eq!(space.show("last")["run"]["mixed_code"], json!(true), "{id}");
    }
    space.prismq(&["show", "last"]).ends(0).says("mixed code");
}

#[test]
fn commands_take_expressions_as_one_argument_each() {
    let space = TestSpace::new();
    space.write(
        "manifests/cmd.yaml",
        "id: cmd\ncommand: [python3, -c, 'import sys, json; print(json.dumps(sys.argv[1:]))', \"${{ params.a }}\", \"x=${{ params.a }}\", \"$HOME\"]\nparams: {properties: {a: {type: string}}}\n",
    );
    let ran = space.prismq(&["run", "cmd", "-p", "a=two words; $(id)"]).ends(0);
    assert_eq!(ran.json(), json!(["two words; $(id)", "x=two words; $(id)", "$HOME"]));
    space.write("manifests/gone.yaml", "id: gone\ncommand: [no-such-program-here]\n");
    space.prismq(&["run", "gone"]).ends(1).complains("no-such-program-here");
    space.write("manifests/needs.yaml", "id: needs\nscript: ../modules/x.py\nrequires: {commands: [no-such-program-here]}\n");
    space.write("modules/x.py", "print('ran')");
    let ran = space.prismq(&["run", "needs"]).ends(1).complains("no-such-program-here");
    assert!(!ran.stdout.contains("ran"));
}

#[test]
fn a_disabled_module_does_not_start() {
    let space = TestSpace::new();
    space.module("off", "enabled: false", "");
    space.prismq(&["run", "off"]).ends(4).complains("off");
    space.write("p.yaml", "nodes:\n  a: {module: off}\n");
    space.prismq(&["validate", "p.yaml"]).ends(3).complains("p.yaml:2:");
}

/// Nothing of a module lives on after its end.
#[cfg(unix)]
#[test]
fn what_a_module_leaves_behind_is_ended() {
    let space = TestSpace::new();
    let stub = crate::support::stub().display().to_string();
    for mode in ["leak-child", "leak-quiet-child"] {
        space.prismq(&["exec", &stub, "--", mode]);
        assert_eq!(space.processes(), [], "{mode}");
    }
}

#[cfg(unix)]
#[test]
fn a_daemon_of_a_module_is_ended() {
    let space = TestSpace::new();
    space.prismq(&["exec", &crate::support::stub().display().to_string(), "--", "daemonize"]);
    assert_eq!(space.processes(), []);
}
