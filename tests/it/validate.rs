//! `validate` and everything else that refuses bad files: all mistakes at once, each with its place.

use crate::support::{TestSpace, steady};

#[test]
fn eight_mistakes_are_told_in_one_go() {
    let space = TestSpace::new();
    space.module("known", "params: {properties: {n: {type: integer}}}\noutputs: {properties: {file: {type: string}}}", "");
    let file = "\
name: eight
on_failure: sometimes
nodes:
  a:
    modul: known
  b:
    module: knwon
  c:
    module: known
    with: {n: many, m: 1}
  d:
    module: known
    with: {n: \"${{ nodes.c.outputs.fiel }}\"}
  e-f:
    module: known
  g:
    module: known
    needs: [h]
    timeout: soon
";
    space.write("eight.yaml", file);
    let ran = space.prismq(&["validate", "eight.yaml"]).ends(3);
    insta::assert_snapshot!(steady(&ran.stderr, &space));
    let located = ran.stderr.lines().filter(|line| line.contains("eight.yaml:")).count();
    assert!(located >= 8, "{located} places in\n{}", ran.stderr);
    let report = space.prismq(&["validate", "eight.yaml", "--json"]).ends(3).json();
    assert_eq!(report["valid"], false);
    assert!(report["diagnostics"].as_array().is_some_and(|found| found.len() >= 8));
}

#[test]
fn a_good_workspace_gives_no_word() {
    let space = TestSpace::awkward();
    space.module("fine", "", "");
    space.write("p.yaml", "nodes:\n  a: {module: fine}\n");
    for args in [&["validate"][..], &["validate", "p.yaml"], &["validate", "manifests"], &["validate", "manifests/fine.yaml", "p.yaml"]] {
        let ran = space.prismq(args).ends(0);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""), "{args:?}");
    }
    space.prismq(&["validate", "nothing.yaml"]).ends(4);
}

/// Writes one manifest and asserts that it is refused with these words, while a good one beside it still runs.
#[track_caller]
fn refused(space: &TestSpace, text: impl AsRef<[u8]>, words: &[&str]) {
    space.write("manifests/bad.yaml", text);
    let mut ran = space.prismq(&["validate", "manifests/bad.yaml"]).ends(3);
    for word in words {
        ran = ran.complains(word);
    }
}

fn with_a_good_one() -> TestSpace {
    let space = TestSpace::new();
    space.module("good", "", "print('well')");
    space
}

#[test]
fn a09_ids_that_are_no_names() {
    let space = with_a_good_one();
    for id in ["-rf", "..", ".git", "CON", "a/b", "A", "аpple", &"x".repeat(300)] {
        refused(&space, format!("id: {id:?}\nscript: ../modules/good.py\n"), &["manifests/bad.yaml:1:5", "id"]);
    }
    space.prismq(&["run", "good"]).ends(0).says("well");
    space.prismq(&["run", ".."]).ends(2);
}

#[cfg(unix)]
#[test]
fn a12_scripts_outside_the_workspace() {
    let space = TestSpace::new();
    let outside = tempfile::tempdir().expect("a folder");
    let allowed = outside.path().join("data");
    let similar = outside.path().join("data-secret");
    for folder in [&allowed, &similar] {
        std::fs::create_dir(folder).expect("a folder");
        std::fs::write(folder.join("x.py"), "print('ran')").expect("a file");
    }
    space.write("prismq.yaml", format!("roots: [{:?}]\n", allowed.display().to_string()));
    std::os::unix::fs::symlink(similar.join("x.py"), space.at("modules/link.py")).expect("a link");
    let script =
        |id: &str, path: &str| space.write(&format!("manifests/{id}.yaml"), format!("id: {id}\nscript: {path:?}\nruntime: python\n"));
    script("fine", &allowed.join("x.py").display().to_string());
    space.prismq(&["run", "fine"]).ends(0).says("ran");
    let out = outside.path().display().to_string();
    let cases = [
        ("up", "../../../../../../../../bin/sh".to_owned()),
        ("absolute", "/bin/sh".to_owned()),
        ("link", "../modules/link.py".to_owned()),
        ("similar", similar.join("x.py").display().to_string()),
        ("dots", format!("{out}/data/../data-secret/x.py")),
    ];
    for (id, path) in &cases {
        script(id, path);
        space.prismq(&["run", id]).ends(3).complains(&format!("manifests/{id}.yaml:2:"));
        space.prismq(&["validate", &format!("manifests/{id}.yaml")]).ends(3).complains(&format!("manifests/{id}.yaml:2:"));
    }
}

#[test]
fn a_script_that_is_not_there_is_refused_before_anything_starts() {
    let space = TestSpace::new();
    space.module("first", "", "mark('ran')");
    space.write("manifests/gone.yaml", "id: gone\nscript: ../modules/gone.py\n");
    space.write("p.yaml", "nodes:\n  a: {module: first}\n  b: {module: gone, needs: a}\n");
    space.prismq(&["run", "p.yaml"]).ends(3).complains("manifests/gone.yaml:2:").complains("gone.py");
    assert_eq!(space.prismq(&["runs", "--json"]).ends(0).stdout.trim(), "[]");
}

#[test]
fn a16_parameters_that_are_no_json() {
    let space = TestSpace::new();
    space.module("any", "params: {properties: {n: {type: number}, t: {type: string}, v: {}}}", "print(json.dumps(P))");
    for value in ["n=NaN", "n=1e400", "n=Infinity", "n=true", "n="] {
        space.prismq(&["run", "any", "-p", value]).ends(3).complains("n");
    }
    for text in [r#"{"n": NaN}"#, r#"{"n": 1e400}"#, r#"{"n": 1, "n": 2}"#, r#"{"t": "\ud800"}"#, r#"{"t": "a\u0000b"}"#, "[1]", "{", ""] {
        let ran = space.prismq_reading(&["run", "any", "--params", "-"], text);
        // An empty text is no parameters.
        assert_eq!(ran.code, if text.is_empty() { 0 } else { 3 }, "{text:?}: {ran:?}");
    }
    let deep = format!("{{\"v\": {}{}}}", "[".repeat(200), "]".repeat(200));
    space.prismq_reading(&["run", "any", "--params", "-"], &deep).ends(3).complains("64 lists and maps");
    // Longer than a single argument may be for the system.
    let long = format!("{{\"t\": \"{}\"}}", "x".repeat(200_000));
    space.prismq_reading(&["run", "any", "--params", "-"], &long).ends(3).complains("t");
    // A run that stands in the journal can be shown.
    space.prismq(&["runs"]).ends(0);
}

#[test]
fn a17_a_whole_number_is_an_integer_however_it_is_written() {
    let space = TestSpace::new();
    space.module("int", "params: {properties: {n: {type: integer}}}", "print(repr(P['n']), sys.argv[1])");
    space.prismq_reading(&["run", "int", "--params", "-"], r#"{"n": 1.0}"#).ends(0).says("1 --n=1\n");
    for text in [r#"{"n": "1"}"#, r#"{"n": true}"#, r#"{"n": 1.5}"#] {
        space.prismq_reading(&["run", "int", "--params", "-"], text).ends(3).complains("`n` must be a whole number");
    }
}

#[test]
fn a18_unknown_parameters_and_variables_of_the_loader() {
    let space = with_a_good_one();
    space.prismq(&["run", "good", "-p", "x=1"]).ends(3).complains("x");
    for name in ["LD_PRELOAD", "PYTHONPATH", "PATH", "DYLD_INSERT_LIBRARIES", "_JAVA_OPTIONS", "git_ssh_command", "PRISMQ_RUN_ID", "A=B"] {
        refused(
            &space,
            format!("id: bad\nscript: ../modules/good.py\nenvironment: {{{name:?}: \"1\"}}\n"),
            &["manifests/bad.yaml:3:", name],
        );
    }
}

#[test]
fn a19_a20_alias_bombs() {
    let space = with_a_good_one();
    let mut exponential = "id: bad\nscript: ../modules/good.py\ntags: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        exponential.push_str(&format!("k{level}: &a{level} [{list}]\n"));
    }
    refused(&space, exponential, &["manifests/bad.yaml:7:", "aliases"]);
    let quadratic = format!(
        "id: bad\nscript: ../modules/good.py\nname: &long {:?}\ntags: [{}]\n",
        "x".repeat(100_000),
        vec!["*long"; 10_000].join(", ")
    );
    refused(&space, quadratic, &["manifests/bad.yaml:4:", "aliases"]);
}

#[test]
fn a21_shapes_that_are_no_manifest() {
    let space = with_a_good_one();
    let head = "id: bad\nscript: ../modules/good.py\n";
    refused(&space, format!("{head}tags: {}\n", "[".repeat(100_000)), &["manifests/bad.yaml:3:"]);
    refused(&space, format!("{head}\ttags: [a]\n"), &["manifests/bad.yaml:2:", "tab"]);
    refused(&space, format!("{head}name: a\0b\n"), &["manifests/bad.yaml:3:"]);
    refused(&space, format!("{head}---\nid: other\n"), &["manifests/bad.yaml:3:", "document"]);
    refused(&space, format!("{head}id: other\n"), &["manifests/bad.yaml:3:1", "id"]);
    refused(&space, "- a\n- list\n", &["manifests/bad.yaml:1:1"]);
    refused(&space, "", &["manifests/bad.yaml"]);
    refused(&space, [0xff, 0xfe, b'i', 0], &["manifests/bad.yaml"]);
    refused(&space, format!("{head}name: {}\n", "x".repeat(300_000)), &["manifests/bad.yaml", "256 KiB"]);
    space.prismq(&["run", "good"]).ends(0);
}

#[test]
fn a22_tags() {
    let space = with_a_good_one();
    let head = "id: bad\nscript: ../modules/good.py\n";
    refused(&space, format!("{head}name: !!python/object/apply:os.system [\"touch pwned\"]\n"), &["manifests/bad.yaml:3:7", "tag"]);
    refused(&space, format!("{head}name: !secret x\n"), &["manifests/bad.yaml:3:7", "tag"]);
    assert!(!space.at("pwned").exists());
}

#[test]
fn a23_merge_keys_and_words_of_older_yaml() {
    let space = with_a_good_one();
    let head = "id: bad\nscript: ../modules/good.py\n";
    refused(&space, format!("{head}<<: {{name: x}}\n"), &["manifests/bad.yaml:3:1", "merge"]);
    refused(&space, format!("{head}name: 010\n"), &["manifests/bad.yaml:3:7", "quote"]);
    refused(&space, format!("{head}version: 1_000\n"), &["manifests/bad.yaml:3:10"]);
    refused(&space, format!("{head}name: ~\n"), &["manifests/bad.yaml:3:7"]);
    refused(&space, format!("{head}enabled: no\n"), &["manifests/bad.yaml:3:10", "false"]);
    refused(&space, format!("{head}concurrency: .nan\n"), &["manifests/bad.yaml:3:14"]);
}

#[test]
fn a24_references_out_of_the_schema() {
    let space = with_a_good_one();
    let head = "id: bad\nscript: ../modules/good.py\nparams:\n  properties:\n    x: ";
    for target in ["file:///etc/passwd", "http://169.254.169.254/latest/meta-data", "other.json#/a", "//host/x"] {
        refused(&space, format!("{head}{{$ref: {target:?}}}\n"), &["manifests/bad.yaml:5:", "$ref"]);
    }
}

#[cfg(unix)]
#[test]
fn a14_files_that_others_may_write_to() {
    use std::os::unix::fs::PermissionsExt;
    let space = with_a_good_one();
    space.write("prismq.yaml", "pipelines: []\n");
    let set = |path: &str, mode: u32| {
        std::fs::set_permissions(space.at(path), std::fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let reason = "can be written to by everybody";
    for (path, wide, usual, code, said) in [
        ("manifests", 0o777, 0o755, 4, "manifests/good.yaml is broken"),
        ("manifests/good.yaml", 0o666, 0o644, 4, "manifests/good.yaml is broken"),
        ("modules", 0o777, 0o755, 3, reason),
        ("modules/good.py", 0o602, 0o644, 3, reason),
        ("prismq.yaml", 0o666, 0o644, 3, reason),
    ] {
        set(path, wide);
        space.prismq(&["validate"]).ends(3).complains(reason).complains("--insecure-perms");
        space.prismq(&["run", "good"]).ends(code).complains(said);
        space.prismq(&["--insecure-perms", "run", "good"]).ends(0);
        set(path, usual);
        space.prismq(&["run", "good"]).ends(0);
    }
    // Folders of runs hold what wrappers start.
    space.write("prismq.yaml", "host: {runs_dir: runs}\n");
    std::fs::create_dir(space.at("runs")).expect("a folder");
    set("runs", 0o777);
    space.prismq(&["run", "good"]).ends(2).complains("the folder of runs");
    set("runs", 0o755);
    space.prismq(&["run", "good"]).ends(0);
}

/// What a file may cost whoever checks it.
#[test]
fn a25_many_patterns_and_many_defaults() {
    let space = with_a_good_one();
    let schema = |property: &dyn Fn(usize) -> String| -> String {
        let properties: String = (0..4000).map(|at| format!("    p{at}: {}\n", property(at))).collect();
        format!("id: bad\nscript: ../modules/good.py\nparams:\n  properties:\n{properties}")
    };
    let large = |at: usize| format!("{{type: string, pattern: '\\p{{L}}{{{}}}$'}}", 15 + at % 5);
    refused(&space, schema(&large), &["manifests/bad.yaml:", "too large together"]);
    // Compiled once for each of them it took half a minute.
    let mistaken = |at: usize| if at == 3999 { "{type: integer, default: x}".to_owned() } else { "{type: integer, default: 7}".to_owned() };
    refused(&space, schema(&mistaken), &["manifests/bad.yaml:4004:", "the default does not fit its own schema"]);
}

#[test]
fn a25_patterns_and_loops() {
    let space = with_a_good_one();
    let head = "id: bad\nscript: ../modules/good.py\nparams:\n  properties:\n    x: ";
    for pattern in [r"(a)\1", "(?=a)b", "(?<!a)b"] {
        refused(&space, format!("{head}{{type: string, pattern: '{pattern}'}}\n"), &["manifests/bad.yaml:5:"]);
    }
    space.module("slow", "params: {properties: {x: {type: string, pattern: '^(a+)+$'}}}", "print('fine')");
    space.prismq(&["run", "slow", "-p", &format!("x={}!", "a".repeat(50_000))]).ends(3);
    space.prismq(&["run", "slow", "-p", "x=aaa"]).ends(0).says("fine");
}

#[test]
fn a44_too_many_nodes_are_refused_before_they_are_made() {
    let space = with_a_good_one();
    let list = |count: usize| format!("[{}]", vec!["0"; count].join(","));
    space.write("matrix.yaml", format!("nodes:\n  a:\n    module: good\n    matrix: {{x: {}, y: {}}}\n", list(1001), list(1000)));
    space.prismq(&["validate", "matrix.yaml"]).ends(3).complains("matrix.yaml:").complains("1000000");
    space.prismq(&["run", "matrix.yaml"]).ends(3);
    let six = list(11);
    space.write(
        "product.yaml",
        format!(
            "nodes:\n  a:\n    module: good\n    matrix: {{{}}}\n",
            (0..40).map(|at| format!("k{at}: {six}")).collect::<Vec<_>>().join(", ")
        ),
    );
    space.prismq(&["validate", "product.yaml"]).ends(3).complains("product.yaml:");
}

/// F-53: what a slow writer has written so far is no manifest, or one that is refused; it never stops the others.
#[test]
fn f53_half_written_files() {
    let space = with_a_good_one();
    refused(&space, "id: bad\nscript: ../modules/good.py\npar", &["manifests/bad.yaml:3:"]);
    refused(&space, "id: bad\nscript: ../modules/good.py\nname: \"half", &["manifests/bad.yaml:"]);
    refused(&space, "id: bad\nscript: ../modules/good.py\ntags: [a, b", &["manifests/bad.yaml:"]);
    space.prismq(&["run", "good"]).ends(0);
    space.prismq(&["run", "bad"]).ends(4).complains("manifests/bad.yaml");
    let listed = space.prismq(&["modules"]).ends(0);
    assert!(listed.stdout.contains("good") && listed.stdout.contains("manifests/bad.yaml"), "{listed:?}");
}

#[cfg(unix)]
#[test]
fn f59_things_that_are_no_files() {
    let space = with_a_good_one();
    std::os::unix::fs::symlink("../manifests", space.at("manifests/loop")).expect("a link");
    std::os::unix::fs::symlink("nowhere.yaml", space.at("manifests/dangling.yaml")).expect("a link");
    let fifo = std::process::Command::new("mkfifo").arg(space.at("manifests/pipe.yaml")).status();
    assert!(fifo.is_ok_and(|status| status.success()), "mkfifo is there");
    std::fs::create_dir(space.at("manifests/folder.yaml")).expect("a folder");
    let large = std::fs::File::create(space.at("manifests/large.yaml")).expect("a file");
    large.set_len(1 << 30).expect("a sparse file");
    use std::os::unix::ffi::OsStrExt;
    let odd = std::path::Path::new(std::ffi::OsStr::from_bytes(b"od\xffd.yaml"));
    std::fs::write(space.at("manifests").join(odd), "id: odd\nscript: ../modules/good.py\n").expect("a file");
    for (name, id) in [("CON.yaml", "con"), ("Twice.yaml", "twice"), ("twice.yaml", "twice_more")] {
        space.write(&format!("manifests/{name}"), format!("id: {id}\nscript: ../modules/good.py\n"));
    }
    // Devices can be made by root alone.
    let device = std::process::Command::new("mknod").arg(space.at("manifests/endless.yaml")).args(["c", "1", "5"]).output();
    let has_device = device.is_ok_and(|output| output.status.success());
    space.prismq(&["run", "good"]).ends(0).says("well");
    let listed = space.prismq(&["modules", "--json"]).ends(0).json();
    let broken = listed["broken"].as_array().expect("a list");
    let mut refused = vec![
        ("manifests/pipe.yaml", "no regular file"),
        ("manifests/large.yaml", "longer than"),
        ("manifests/loop", "symbolic links are not followed"),
        ("manifests/dangling.yaml", "symbolic links are not followed"),
        ("manifests/od\u{fffd}d.yaml", "not UTF-8"),
        ("manifests/CON.yaml", "name of a device"),
        ("manifests/Twice.yaml", "differs from `manifests/twice.yaml` in case only"),
        ("manifests/twice.yaml", "differs from `manifests/Twice.yaml` in case only"),
    ];
    if has_device {
        refused.push(("manifests/endless.yaml", "no regular file"));
    }
    for (file, reason) in &refused {
        let of_it = broken.iter().find(|broken| broken["file"] == *file);
        assert!(of_it.is_some_and(|broken| broken.to_string().contains(reason)), "{file} ({reason}): {broken:?}");
    }
    assert_eq!(broken.len(), refused.len(), "a folder is none, whatever its name: {broken:?}");
    space.prismq(&["validate"]).ends(3).complains("manifests/pipe.yaml").complains("manifests/large.yaml");
}

#[test]
fn f61_two_files_with_one_id() {
    let space = with_a_good_one();
    space.module("one", "", "print('one')");
    space.write("manifests/again/two.yaml", "id: one\nscript: ../../modules/one.py\n");
    space.prismq(&["validate"]).ends(3).complains("manifests/one.yaml:1:").complains("manifests/again/two.yaml:1:");
    let ran = space.prismq(&["run", "one"]).ends(3);
    assert!(ran.stderr.contains("manifests/one.yaml") && ran.stderr.contains("manifests/again/two.yaml"), "{ran:?}");
    #[cfg(unix)]
    {
        let served = crate::support::http::Served::start(&space);
        let refused = served.post("/api/modules/one/run", "{}").fails(409, "broken").json().to_string();
        assert!(refused.contains("manifests/one.yaml") && refused.contains("manifests/again/two.yaml"), "{refused}");
        served.stop().ends(0);
    }
    space.prismq(&["run", "good"]).ends(0);
}

#[test]
fn f67_circles_and_what_is_missing() {
    let space = with_a_good_one();
    space.write(
        "circle.yaml",
        "nodes:\n  a: {module: good, needs: [c]}\n  b: {module: good, needs: [a]}\n  c: {module: good, needs: [b]}\n",
    );
    let ran = space.prismq(&["validate", "circle.yaml"]).ends(3);
    insta::assert_snapshot!("a_circle", steady(&ran.stderr, &space));
    space.write("self.yaml", "nodes:\n  a: {module: good, needs: [a]}\n");
    space.prismq(&["run", "self.yaml"]).ends(3).complains("self.yaml:2:").complains("`a` needs itself");
    space.write("missing.yaml", "nodes:\n  start: {module: good}\n  b: {module: good, needs: [strat]}\n");
    space.prismq(&["run", "missing.yaml"]).ends(3).complains("missing.yaml:3:").complains("start");
}

/// F-67: a long circle is found without recursion.
#[test]
fn f67_a_circle_of_many_nodes() {
    let space = with_a_good_one();
    let count = 20_000;
    let nodes: Vec<String> =
        (0..count).map(|at| format!("\"n{at}\": {{\"module\": \"good\", \"needs\": [\"n{}\"]}}", (at + 1) % count)).collect();
    space.write("long.json", format!("{{\"nodes\": {{{}}}}}", nodes.join(",\n")));
    space.prismq(&["validate", "long.json"]).ends(3).complains("long.json:");
}

#[test]
fn keys_of_later_are_refused_by_name() {
    let space = with_a_good_one();
    for key in ["schedule: {cron: \"0 6 * * *\"}", "resident: true", "engine: slurm"] {
        refused(
            &space,
            format!("id: bad\nscript: ../modules/good.py\n{key}\n"),
            &["manifests/bad.yaml:3:", key.split(':').next().unwrap_or(key)],
        );
    }
}

#[test]
fn mistakes_in_the_settings_are_told_by_every_verb() {
    let space = with_a_good_one();
    space.write("prismq.yaml", "host: {max_concurent: 2}\nrots: []\n");
    for args in [&["validate"][..], &["run", "good"], &["modules"]] {
        space.prismq(args).ends(3).complains("prismq.yaml:1:8").complains("max_concurrent").complains("prismq.yaml:2:1");
    }
}
