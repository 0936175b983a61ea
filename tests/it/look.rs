//! Verbs that look: `runs`, `show`, `logs`, `wait`, `graph`, `plan`, `modules`, `schema`, and the files under `.prismq`.

use serde_json::{Value, json};

use crate::support::{TestSpace, json_lines, steady};

fn with_runs() -> (TestSpace, Vec<String>) {
    let space = TestSpace::new();
    space.module(
        "say",
        "params: {properties: {text: {type: string, default: hi}}}",
        "print(P['text'])\nprint('oh', file=sys.stderr)\nif P['text'] == 'bad': sys.exit(2)",
    );
    space.write("p.yaml", "name: pair\nnodes:\n  a: {module: say, with: {text: one}}\n  b: {module: say, needs: [a], with: {text: two}}\n");
    space.prismq(&["run", "say"]).ends(0);
    space.prismq(&["run", "say", "-p", "text=bad"]).ends(1);
    space.prismq(&["run", "p.yaml"]).ends(0);
    let rows = space.prismq(&["runs", "--json"]).ends(0).json();
    let ids = rows.as_array().expect("rows").iter().map(|row| row["run_id"].as_str().expect("an id").to_owned()).collect();
    (space, ids)
}

#[test]
fn runs_are_listed_and_named() {
    let (space, ids) = with_runs();
    let listed = space.prismq(&["runs"]).ends(0);
    insta::assert_snapshot!(steady(&listed.stdout, &space));
    let run_of = |selector: &str| space.show(selector)["run"]["run_id"].as_str().expect("an id").to_owned();
    assert_eq!(run_of("last"), ids[0]);
    assert_eq!(run_of("@~0"), ids[0]);
    assert_eq!(run_of("@~2"), ids[2]);
    assert_eq!(run_of(&ids[1]), ids[1]);
    assert_eq!(run_of(&ids[1][16..]), ids[1], "the tail");
    space.prismq(&["show", "@~3"]).ends(4);
    space.prismq(&["show", "zzzzzz"]).ends(4);
    space.prismq(&["show", "20"]).ends(4).complains("several");
    space.prismq(&["show", "last/none"]).ends(4).complains("none");
    let names = |args: &[&str]| -> Vec<String> {
        let rows = space.prismq(args).ends(0).json();
        rows.as_array().expect("rows").iter().map(|row| row["run_id"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names(&["runs", "--json", "--status", "failed"]), [ids[1].clone()]);
    assert_eq!(names(&["runs", "--json", "--of", "pair"]), [ids[0].clone()]);
    assert_eq!(names(&["runs", "--json", "-n", "2"]), ids[..2]);
}

#[test]
fn show_tells_a_run_and_a_node() {
    let (space, _) = with_runs();
    insta::assert_snapshot!("show_a_run", steady(&space.prismq(&["show", "last"]).ends(0).stdout, &space));
    let failed = space.prismq(&["show", "@~1"]).ends(0).says("exit code 2");
    assert!(failed.stdout.contains("failed"), "{failed:?}");
    let node = space.prismq(&["show", "last/b"]).ends(0);
    for fact in ["completed", "module", "say", "attempts", "exit code", "script", "isolation", "wrapped", r#"{"text":"two"}"#] {
        assert!(node.stdout.contains(fact), "{fact} is not in\n{}", node.stdout);
    }
}

/// What a host answers out of its memory is what stands in the files; and it is asked, since here the files are out of its reach.
#[cfg(unix)]
#[test]
fn a_host_is_asked_and_says_what_the_files_say() {
    let (space, ids) = with_runs();
    space.write("manifests/torn.yaml", "id: torn\nname: Torn\nscript: modules/none.py\n");
    let id = ids[2].as_str();
    let asked: &[&[&str]] = &[
        &["runs"],
        &["runs", "--json"],
        &["runs", "--json", "--status", "failed"],
        &["runs", "--of", "pair"],
        &["runs", "-n", "1"],
        &["show"],
        &["show", "@~1", "--json"],
        &["show", "last/b"],
        &["show", id],
        &["show", &id[16..]],
        &["show", "20"],
        &["show", "zzzzzz"],
        &["show", "@~3"],
        &["show", "last/none"],
        &["logs", "last/a"],
        &["why"],
        &["wait", "@~1"],
        &["cancel", "last"],
        &["resume"],
        &["graph", "last"],
        &["prune", "--dry-run", "--keep-days", "0"],
        &["modules"],
        &["modules", "--json"],
        &["modules", "show", "say"],
        &["modules", "show", "say", "--json"],
        &["modules", "show", "torn"],
        &["modules", "show", "sai"],
    ];
    let said = || -> Vec<_> {
        let said = |args: &&[&str]| {
            let ran = space.prismq(args);
            (args.join(" "), ran.code, ran.stdout, ran.stderr)
        };
        asked.iter().map(said).collect()
    };
    let without = said();
    let serve = space.start(&["serve"]);
    serve.wait_for_note("Ctrl-C ends it");
    std::fs::rename(space.at(".prismq/journal"), space.at("aside")).expect("it can be moved");
    for (with, without) in said().into_iter().zip(without) {
        assert_eq!(with, without);
    }
    std::fs::rename(space.at("aside"), space.at(".prismq/journal")).expect("it can be moved");
    serve.signal(rustix::process::Signal::INT);
    serve.end().ends(0);
}

/// A file that is broken while a host lives: its last good version is what the host goes on with, and what it shows.
#[cfg(unix)]
#[test]
fn modules_of_a_host_are_those_that_it_runs() {
    let (space, _) = with_runs();
    let serve = space.start(&["serve"]);
    serve.wait_for_note("Ctrl-C ends it");
    // Only of what was good while it was watched is there a last good version.
    space.prismq(&["modules", "show", "say"]).ends(0);
    let good = space.read("manifests/say.yaml");
    space.write("manifests/say.yaml", format!("{good}timeout: never\n"));
    space.module("fresh", "", "");
    let list = space.prismq(&["modules"]).ends(0).says("fresh").says("; the host goes on with the last good version of say");
    assert!(list.stdout.lines().any(|line| line.starts_with("say ")), "{list:?}");
    space.prismq(&["modules", "show", "say"]).ends(0).says("(broken now: this is its last good version)");
    assert_eq!(space.prismq(&["modules", "show", "say", "--json"]).ends(0).json()["last_good"], true);
    serve.signal(rustix::process::Signal::INT);
    serve.end().ends(0);
    space.prismq(&["modules", "show", "say"]).ends(3).complains("never");
}

#[test]
fn logs_by_node_stream_and_count() {
    let (space, _) = with_runs();
    let all = space.prismq(&["logs"]).ends(0).stdout;
    let mut lines: Vec<&str> = all.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a | oh", "a | one", "b | oh", "b | two"]);
    assert_eq!(space.prismq(&["logs", "last/b", "--stderr"]).ends(0).stdout, "oh\n");
    assert_eq!(space.prismq(&["logs", "@~2", "--tail", "1"]).ends(0).stdout.lines().count(), 1);
    let entries = json_lines(&space.prismq(&["logs", "last/a", "--json"]).ends(0).stdout);
    assert_eq!(entries.len(), 2);
    let entry = entries.iter().find(|entry| entry["stream"] == "stdout").expect("the line");
    assert_eq!((&entry["node"], &entry["message"]), (&json!("a"), &json!("one")));
    assert!(entry["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
    let timed = space.prismq(&["logs", "last/a", "--timestamps", "--tail", "1"]).ends(0).stdout;
    assert!(timed.starts_with("20"), "{timed}");
    space.prismq(&["logs", "last/c"]).ends(4);
}

/// Words of files that somebody else may have written.
#[test]
fn a28_words_of_manifests_do_nothing_to_the_terminal() {
    let space = TestSpace::new();
    let evil = "\\e]0;title\\a\\e[2Jevil\\u202e";
    let params = format!("params: {{properties: {{n: {{enum: [\"{evil}\"], description: \"{evil}\"}}}}}}");
    space.module("a", &format!("name: \"{evil}\"\n{params}"), "");
    space.write("p.yaml", format!("name: \"{evil}\"\nnodes: {{a: {{module: a, with: {{n: \"{evil}\"}}}}}}\n"));
    space.write(
        "manifests/bad.yaml",
        format!("id: bad\nscript: ../modules/a.py\ntimeout: \"{evil}\"\nparams: {{properties: {{n: {{type: \"{evil}\"}}}}}}\n"),
    );
    for args in [
        &["modules"][..],
        &["modules", "show", "a"],
        &["validate"],
        &["run", "p.yaml"],
        &["runs"],
        &["show", "last"],
        &["--color", "always", "modules", "show", "a"],
        &["--color", "always", "validate"],
    ] {
        let ran = space.prismq(args);
        let said = ran.stdout + &ran.stderr;
        assert!(args[0] == "run" || said.contains("evil"), "{args:?}: {said}");
        for acts in ["\u{1b}]", "\u{7}", "\u{1b}[2J", "\u{202e}"] {
            assert!(!said.contains(acts), "{args:?}: {said:?}");
        }
    }
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let space = TestSpace::new();
    space.module("evil", "", "sys.stdout.buffer.write(b'a\\x1b]0;title\\x07b\\x1b[2Jc\\xff\\n')");
    let ran = space.prismq(&["run", "evil"]).ends(0);
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stdout.contains('\u{7}'), "{ran:?}");
    assert!(!space.prismq(&["logs"]).ends(0).stdout.contains('\u{1b}'));
    assert!(space.prismq(&["logs", "--raw"]).ends(0).stdout.contains('\u{1b}'));
}

#[test]
fn wait_ends_with_the_runs_code() {
    let space = TestSpace::new();
    space.module("gated", "params: {properties: {code: {type: integer}}}", "mark('began')\ngate('go')\nsys.exit(P['code'])");
    let run = space.prismq(&["run", "gated", "-p", "code=3", "--detach"]).ends(0).stdout.trim().to_owned();
    space.prismq(&["wait", &run, "--timeout", "50ms"]).ends(6);
    let waiting = space.start(&["wait", &run]);
    let default = space.start(&["wait"]);
    space.open("go");
    waiting.end().ends(1);
    default.end().ends(1);
    space.prismq(&["wait", &run]).ends(1);
    space.prismq(&["wait", "nothing"]).ends(4);
    space.prismq(&["wait", &run, "--timeout", "soon"]).ends(2);
}

#[test]
fn nothing_there_yet() {
    let space = TestSpace::new();
    assert_eq!(space.prismq(&["runs", "--json"]).ends(0).json(), json!([]));
    space.prismq(&["runs"]).ends(0);
    for verb in ["show", "logs", "wait"] {
        space.prismq(&[verb]).ends(4);
    }
    space.prismq(&["cancel", "last"]).ends(4);
    space.prismq(&["retry", "last"]).ends(4);
    space.prismq(&["resume"]).ends(0);
    assert!(!space.at(".prismq/journal").exists(), "looking makes nothing");
    let empty = tempfile::tempdir().expect("a folder");
    let mut command = space.command(&["runs"]);
    command.current_dir(empty.path());
    crate::support::Running::start(command, None).end().ends(4).complains("workspace");
}

#[test]
fn graphs_of_files_and_runs() {
    let (space, _) = with_runs();
    for format in ["dot", "mermaid", "json"] {
        let of_file = space.prismq(&["graph", "p.yaml", "--format", format]).ends(0).stdout;
        insta::assert_snapshot!(format!("graph_{format}"), of_file);
        assert_eq!(space.prismq(&["graph", "last", "--format", format]).ends(0).stdout, of_file, "what it was submitted with");
    }
    space.prismq(&["graph", "none.yaml"]).ends(4);
    space.prismq(&["graph", "p.yaml", "--format", "png"]).ends(2);
}

#[test]
fn a_plan_shows_waves_and_the_longest_path() {
    let (space, _) = with_runs();
    let file = "nodes:\n  a: {module: say, duration: 2s}\n  b: {module: say, needs: [a], duration: 3s}\n  c: {module: say, duration: 1s}\n  m: {module: say, matrix: {x: [1, 2, 3]}, needs: [b], duration: 4s}\n";
    space.write("q.yaml", file);
    insta::assert_snapshot!("plan", space.prismq(&["plan", "q.yaml", "--cpus", "2"]).ends(0).stdout);
    let plan = space.prismq(&["plan", "q.yaml", "--cpus", "2", "--json", "--svg", "q.svg"]).ends(0).json();
    assert_eq!(plan["totals"]["nodes"].as_u64(), Some(6), "{}", plan["totals"]);
    assert_eq!(plan["critical_path"], json!(["a", "b", "m"]));
    assert_eq!((plan["makespan_seconds"].as_f64(), plan["lower_bound_seconds"].as_f64()), (Some(13.0), Some(11.0)));
    assert_eq!((&plan["peak"]["cpus"], plan["schedule"].as_array().map(Vec::len)), (&json!(2.0), Some(6)));
    assert!(std::fs::read_to_string(space.at("q.svg")).expect("a drawing").contains("<title>m[2]: "));
    space.write("big.yaml", "nodes:\n  a: {module: say, resources: {cpus: 3}}\n");
    let never = space.prismq(&["plan", "big.yaml", "--cpus", "2", "--json"]).ends(8).json();
    assert_eq!(never["never_fits"][0]["node"], "a");
    let slow = space.prismq(&["simulate", "q.yaml", "--cpus", "2", "--duration", "1m", "--json"]).ends(0).json();
    assert_eq!(slow["makespan_seconds"].as_f64(), Some(240.0));
    space.write("durations.yaml", "a: soon\nb: 3\n");
    space
        .prismq(&["simulate", "q.yaml", "--durations", "durations.yaml"])
        .ends(3)
        .complains("durations.yaml:1:4")
        .complains("durations.yaml:2:4");
}

#[test]
fn a_measured_workflow_becomes_a_pipeline_that_runs() {
    let space = TestSpace::new();
    let tasks = r#"[{"id": "a b", "parents": [], "children": ["c"]}, {"id": "c", "parents": ["a b"], "children": []}]"#;
    let times = r#"[{"id": "a b", "runtimeInSeconds": 2, "coreCount": 4}, {"id": "c", "runtimeInSeconds": 1.5}]"#;
    let text = format!(r#"{{"name": "w", "workflow": {{"specification": {{"tasks": {tasks}}}, "execution": {{"tasks": {times}}}}}}}"#);
    space.write("w.json", text);
    space.prismq(&["import", "wfformat", "w.json", "--output", "p.json", "--scale", "0.01"]).ends(0).says("2 nodes, 1 edges");
    let plan = space.prismq(&["plan", "p.json", "--cpus", "2", "--json"]).ends(0).json();
    assert_eq!((plan["makespan_seconds"].as_f64(), plan["nodes"][0]["node"].as_str()), (Some(0.035), Some("a_b")));
    space.prismq(&["run", "p.json"]).ends(0);
    space.prismq(&["import", "wfformat", "w.json", "--output", "cores", "--with-cores"]).ends(0);
    space.prismq(&["plan", "cores/w.json", "--cpus", "2"]).ends(8);
    space.write("bad.json", r#"{"workflow": {"tasks": [{"id": "a", "runtime": -1}]}}"#);
    space.prismq(&["import", "wfformat", "bad.json"]).ends(3).complains("bad.json:1:48");
    space.prismq(&["import", "wfformat", "none.json"]).ends(4);
}

#[test]
fn an_import_overwrites_nothing() {
    let space = TestSpace::new();
    let workflow = |name: &str| format!(r#"{{"name": "{name}", "workflow": {{"tasks": [{{"id": "a", "runtime": 1}}]}}}}"#);
    space.write("w.json", workflow("w"));
    // The default is the workspace's folder, in which the file itself lies.
    space.prismq(&["import", "wfformat", "w.json"]).ends(3).complains("w.json would be overwritten").complains("--output");
    space.prismq(&["import", "wfformat", "w.json", "--force"]).ends(3).complains("would be overwritten");
    std::fs::hard_link(space.root().join("w.json"), space.root().join("same.json")).expect("a link");
    if cfg!(unix) {
        space.prismq(&["import", "wfformat", "w.json", "--output", "same.json", "--force"]).ends(3).complains("would be overwritten");
    }
    assert_eq!(space.read("w.json"), workflow("w"));
    assert!(!space.root().join("manifests/wfformat-sleep.yaml").exists(), "nothing is left of what was refused");
    space.write("p.json", "mine");
    space.prismq(&["import", "wfformat", "w.json", "--output", "p.json"]).ends(3).complains("p.json is there already").complains("--force");
    assert_eq!(space.read("p.json"), "mine");
    space.prismq(&["import", "wfformat", "w.json", "--output", "p.json", "--force"]).ends(0);
    space.prismq(&["plan", "p.json"]).ends(0);
}

#[test]
fn modules_are_listed_and_shown() {
    let (space, _) = with_runs();
    space.write("manifests/broken.yaml", "id: broken\nscrip: x\n");
    space.prismq(&["modules"]).ends(0).says("say").says("broken").says("manifests/broken.yaml");
    let all = space.prismq(&["modules", "--json"]).ends(0).json();
    assert_eq!(all["modules"][0]["id"], "say");
    assert_eq!(all["broken"][0]["file"], "manifests/broken.yaml");
    space.prismq(&["modules", "show", "say"]).ends(0).says("text").says("hi");
    assert_eq!(space.prismq(&["modules", "show", "say", "--json"]).ends(0).json()["params"]["properties"]["text"]["default"], "hi");
    space.prismq(&["modules", "show", "broken"]).ends(3).complains("manifests/broken.yaml:2:1");
    space.prismq(&["modules", "show", "sya"]).ends(4).complains("say");
}

#[test]
fn schemas_are_those_of_the_repository() {
    let space = TestSpace::new();
    for what in ["module", "pipeline", "settings"] {
        let printed = space.prismq(&["schema", what]).ends(0).json();
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{what}.schema.json"));
        let kept: Value = serde_json::from_str(&std::fs::read_to_string(&file).expect("the repository has it")).expect("JSON");
        assert_eq!(printed, kept, "{what}: generate it again");
    }
    space.prismq(&["schema", "nothing"]).ends(2);
}

#[test]
fn state_is_json_and_its_owners_alone() {
    let (space, ids) = with_runs();
    let journal = space.read(".prismq/journal/000001.jsonl");
    let records = json_lines(&journal);
    assert_eq!(records[0]["k"], "seg.open");
    let numbers: Vec<u64> = records.iter().map(|record| record["s"].as_u64().expect("a number")).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    for id in &ids {
        let file: Value = serde_json::from_str(&space.read(format!(".prismq/runs/{id}/run.json"))).expect("JSON");
        assert_eq!(file["run"]["run_id"], id.as_str());
        assert_eq!(file["format"], 1);
    }
    assert!(!space.at(".prismq/host.json").exists(), "nobody is the host any more");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &str| std::fs::metadata(space.at(path)).expect(path).permissions().mode() & 0o777;
        for folder in [".prismq", ".prismq/journal", ".prismq/runs", &format!(".prismq/runs/{}", ids[0])] {
            assert_eq!(mode(folder), 0o700, "{folder}");
        }
        for file in [".prismq/token", ".prismq/lock", ".prismq/journal/000001.jsonl", &format!(".prismq/runs/{}/run.json", ids[0])] {
            assert_eq!(mode(file), 0o600, "{file}");
        }
    }
}

#[test]
fn a_damaged_journal_is_left_alone() {
    let (space, _) = with_runs();
    let file = space.at(".prismq/journal/000001.jsonl");
    let mut bytes = std::fs::read(&file).expect("a journal");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    std::fs::write(&file, &bytes).expect("written");
    let before: Vec<_> = listing(&space);
    for args in [&["run", "say"][..], &["resume"], &["run", "say", "--detach"], &["retry", "last"]] {
        let ran = space.prismq(args);
        assert!(ran.code == 78, "{args:?}: {ran:?}");
        assert!(ran.stderr.contains("000001.jsonl"), "{args:?}: {ran:?}");
    }
    assert_eq!(std::fs::read(&file).expect("a journal"), bytes, "not a byte is changed");
    assert_eq!(listing(&space), before);
    // Looking still works, and says what is wrong.
    let ran = space.prismq(&["runs"]);
    assert!(matches!(ran.code, 0 | 78) && !ran.stderr.is_empty(), "{ran:?}");
}

fn listing(space: &TestSpace) -> Vec<String> {
    let entries = std::fs::read_dir(space.at(".prismq/journal")).expect("a folder");
    let mut names: Vec<String> = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_torn_end_is_cut_and_kept_aside() {
    let (space, ids) = with_runs();
    let file = space.at(".prismq/journal/000001.jsonl");
    let mut bytes = std::fs::read(&file).expect("a journal");
    bytes.extend_from_slice(b"{\"c\":\"12345678\",\"p\":");
    std::fs::write(&file, &bytes).expect("written");
    space.prismq(&["run", "say"]).ends(0);
    assert!(space.at(".prismq/journal/quarantine").is_dir());
    assert_eq!(space.prismq(&["runs", "--json"]).ends(0).json().as_array().map(Vec::len), Some(ids.len() + 1));
}
