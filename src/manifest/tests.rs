use std::path::Path;

use serde_json::json;

use super::arguments::{argv, command};
use super::registry::{ManifestResult, Registry};
use super::*;
use crate::diagnostics::Diagnostics;
use crate::pipeline::expr::Scope;
use crate::request::{ArgumentStyle, Capture, Isolation, Leaks, Priority, RetryOn, WorkDir};
use crate::tree::Tree;
use crate::units::{Amount, Bytes, CpuMillis, DurationMs};
use crate::yaml::{Format, Limits, read};

const FILE: &str = if cfg!(windows) { "C:\\w\\manifests\\Video\\m.yaml" } else { "/w/manifests/Video/m.yaml" };

fn tree(name: &str, text: &str) -> Tree {
    read(Source::new(name, text), Format::Yaml, &Limits::MANIFEST).expect("valid YAML")
}

fn module(text: &str) -> Module {
    let (module, warnings) = read_module(&tree("m.yaml", text), Path::new(FILE)).unwrap_or_else(|found| panic!("{found}"));
    assert!(warnings.is_empty(), "{warnings}");
    module
}

fn mistakes(text: &str) -> Vec<String> {
    match read_module(&tree("m.yaml", text), Path::new(FILE)) {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(ToString::to_string).collect(),
    }
}

/// The only mistake of a manifest made of `id`, `script` and these lines, which start at line 3.
#[track_caller]
fn refused(lines: &str, place: &str, words: &[&str]) {
    let text = format!("id: m\nscript: m.py\n{lines}\n");
    let found = mistakes(&text);
    assert!(found.len() == 1 && found[0].starts_with(&format!("m.yaml:{place}: ")), "{lines}: {found:#?}");
    for word in words {
        assert!(found[0].contains(word), "{lines} lacks {word:?}: {}", found[0]);
    }
}

fn script_path(parts: &[&str]) -> PathBuf {
    let root = if cfg!(windows) { "C:\\" } else { "/" };
    parts.iter().fold(PathBuf::from(root), |path, part| path.join(part))
}

const WHOLE: &str = r#"
format: 1
id: thumbnails
name: Thumbnails
description: Picks the sharpest frames
version: 1.2.0
category: Video/Preparation
tags: [video, images]
script: ../../modules/./thumbnails.py
runtime: python
python: py:3.11
params:
  required: [input]
  properties: {input: {type: string, format: file}, count: {type: integer, default: 12}}
outputs: {properties: {files: {type: array}}}
arguments: flags-spaced
resources: {cpus: 500m, memory: 2GiB, youtube-api: 1}
dependencies: [fetch-video]
environment: {PYTHONUTF8: "1"}
pass_env: [HF_TOKEN]
secrets: []
timeout: 30m
grace: 20s
retry: {attempts: 3, on: [75, exit, lost], backoff: 1s, factor: 1.5, max_backoff: 1m, grow: {memory: 1.5, vram: 2}}
priority: low
affinity: sdxl
any_of: [{vram: 8GiB}, {cpus: 8, youtube-api: 0}]
concurrency: 2
workdir: fresh
isolation: direct
capture: pump
leaks: end
duration: 3m
log_cap: 1GiB
reuse: inputs
pin: strict
requires: {commands: [ffmpeg], python: ">=3.10,<3.14"}
enabled: false
"#;

#[test]
fn every_key_of_a_manifest_is_read() {
    let module = module(WHOLE);
    assert_eq!((module.id.as_str(), module.name.as_str(), module.version.as_deref()), ("thumbnails", "Thumbnails", Some("1.2.0")));
    assert_eq!(
        (module.category.as_deref(), module.tags.len(), module.id_place.to_string().as_str()),
        (Some("Video/Preparation"), 2, "m.yaml:3:5")
    );
    let Program::Script { path, runtime, python } = &module.program else { panic!("{:?}", module.program) };
    assert_eq!(path, &script_path(&["w", "modules", "thumbnails.py"]));
    assert_eq!((*runtime, python), (Runtime::Python, &PythonChoice::Version("3.11".into())));
    let settings = &module.settings;
    assert_eq!((settings.request.cpus, settings.request.memory), (CpuMillis(500), Bytes(2 << 30)));
    let custom: Vec<_> = settings.request.custom.iter().map(|(name, amount)| (name.as_str(), *amount)).collect();
    assert_eq!(custom, [("youtube-api", Amount(1_000))]);
    assert_eq!((settings.timeout, settings.grace), (Some(DurationMs(1_800_000)), DurationMs(20_000)));
    assert_eq!((settings.workdir, settings.isolation, settings.arguments), (WorkDir::Fresh, Isolation::Direct, ArgumentStyle::FlagsSpaced));
    assert_eq!((settings.capture, settings.leaks, settings.log_cap), (Capture::Pump, Leaks::End, Some(Bytes(1 << 30))));
    assert_eq!(settings.duration, Some(DurationMs(180_000)));
    assert_eq!(settings.reuse, crate::request::Reuse::Inputs);
    assert_eq!((settings.priority, settings.affinity.as_deref()), (Some(Priority::Low), Some("sdxl")));
    let requests = settings.requests();
    assert_eq!((requests[0].vram, requests[0].cpus, requests[0].custom.len()), (Bytes(8 << 30), CpuMillis(500), 1));
    assert_eq!((requests[1].vram, requests[1].cpus, requests[1].custom.len()), (Bytes(0), CpuMillis(8_000), 0));
    assert_eq!(settings.retry.grow_vram_millis, 2_000);
    let retry = &settings.retry;
    assert_eq!((retry.attempts, retry.backoff, retry.factor_millis, retry.grow_memory_millis), (3, DurationMs(1_000), 1_500, 1_500));
    assert_eq!(retry.exit_codes.iter().copied().collect::<Vec<_>>(), [75]);
    assert!(retry.on.contains(&RetryOn::Lost) && !retry.on.contains(&RetryOn::Oom));
    assert_eq!(settings.environment.get("PYTHONUTF8").map(String::as_str), Some("1"));
    assert_eq!(
        (module.pass_env.as_slice(), module.concurrency, module.pin, module.enabled),
        (["HF_TOKEN".to_owned()].as_slice(), Some(2), Pin::Strict, false)
    );
    assert_eq!((module.requires.commands.len(), module.requires.python.as_deref()), (1, Some(">=3.10,<3.14")));
    assert_eq!((module.dependencies[0].0.as_str(), module.dependencies[0].1.to_string().as_str()), ("fetch-video", "m.yaml:18:16"));
    assert_eq!(module.outputs.as_ref().map(|outputs| outputs.property_names().len()), Some(1));
    for key in MANIFEST_KEYS {
        assert!(key == "command" || WHOLE.contains(&format!("\n{key}:")), "the example lacks `{key}`");
    }
}

#[test]
fn who_comes_first_and_alternatives_are_checked() {
    refused("priority: urgent", "3:11", &["`priority` cannot be \"urgent\"", "`high`"]);
    refused("affinity: ''", "3:11", &["`affinity` cannot be empty"]);
    refused("affinity: 7", "3:11", &["`affinity` must be a text, not `7`"]);
    refused("affinity: \"${{ matrix.model }}\"", "3:11", &["`affinity` holds no expressions"]);
    refused(&format!("affinity: {}", "a".repeat(65)), "3:11", &["at most 64 bytes"]);
    refused("any_of: {vram: 1GiB}", "3:9", &["`any_of` must be a list of alternatives"]);
    refused("any_of: []", "3:9", &["2 to 8 alternatives, not 0"]);
    refused("any_of: [{cpus: 1}]", "3:9", &["2 to 8 alternatives, not 1", "`resources`"]);
    refused("any_of: [{vram: 1GiB}, gpu]", "3:24", &["an alternative must be a map"]);
    refused("any_of: [{vram: 1GiB}, {cpu: 2}]", "3:25", &["unknown resource `cpu`", "`cpus`"]);
    refused("any_of: [{gpus: 1.5}, {cpus: 0}]", "3:17", &["`gpus` must be a whole number"]);
    refused("retry: {grow: {gpus: 2}}", "3:16", &["unknown field `gpus`"]);
    let never = mistakes("id: m\nscript: m.py\nany_of: [{cpus: 2}, {cpus: 4, vram: 1GiB}]\nparms: {}\n");
    assert!(never.iter().any(|line| line.contains("3:21: alternative 1 is never chosen: 0 asks for no more")), "{never:?}");
    let taken_back = module("id: m\nscript: m.py\npriority: null\naffinity: null\nany_of: null\n");
    assert_eq!(*taken_back.settings, NodeSettings::default());
}

#[test]
fn a_manifest_of_two_lines_has_defaults() {
    let module = module("id: fetch-feed\nscript: fetch.py\n");
    assert_eq!((module.name.as_str(), module.enabled, module.pin), ("Fetch feed", true, Pin::Record));
    assert_eq!(*module.settings, NodeSettings::default());
    assert!(module.params.property_names().is_empty());
    let defaults = Defaults {
        settings: NodeSettings { timeout: Some(DurationMs(5_000)), ..NodeSettings::default() },
        python: PythonChoice::Uv,
        pass_env: vec!["HF_TOKEN".into()],
        ..Defaults::default()
    };
    let text = "id: m\nscript: m.py\npass_env: [A]\ntimeout: null\n";
    let (module, _) = read_module_with(&tree("m", text), Path::new(FILE), &defaults).expect("good");
    assert_eq!((module.pass_env.len(), module.settings.timeout), (2, None));
    assert!(matches!(module.program, Program::Script { python: PythonChoice::Uv, .. }));
}

#[test]
fn eight_mistakes_come_at_once() {
    let found = mistakes(
        "id: Thumbs\nscritp: x.py\nversion: 1.10\ntimeout: 30\nresources: {cpu: 2}\nretry: {atempts: 3}\npriority: 1\nparams: {properties: {a: {type: strng}}}\nscript: x.rb\n",
    );
    let places: Vec<&str> = found.iter().map(|line| line.split(": ").next().expect("a place")).collect();
    for place in
        ["m.yaml:1:5", "m.yaml:2:1", "m.yaml:3:10", "m.yaml:4:10", "m.yaml:5:13", "m.yaml:6:9", "m.yaml:7:11", "m.yaml:8:33", "m.yaml:9:9"]
    {
        assert!(places.contains(&place), "{place} is missing: {found:#?}");
    }
    assert_eq!(found.len(), 9, "{found:#?}");
}

#[test]
fn a_09_ids_that_attack_a_path() {
    for id in ["-rf", "..", ".git", "CON", "a/b", "A", "а", "nul"] {
        let found = mistakes(&format!("id: \"{id}\"\nscript: m.py\n"));
        assert!(found.len() == 1 && found[0].starts_with("m.yaml:1:5: "), "{id}: {found:?}");
    }
    assert!(mistakes(&format!("id: {}\nscript: m.py\n", "a".repeat(300)))[0].contains("at most 64"));
    assert!(mistakes("id: 12\nscript: m.py\n")[0].contains("quote it"));
    assert!(mistakes("script: m.py\n")[0].contains("needs `id`"));
}

#[test]
fn keys_of_other_places_and_times_are_refused_by_name() {
    for (key, comes_with) in LATER_KEYS {
        refused(&format!("{key}: x"), "3:1", &[&format!("`{key}` is not built yet: it comes with {comes_with}")]);
    }
    refused(
        "resources: {gpus: 1.5}",
        "3:19",
        &["`gpus` must be a whole number, or less than 1, not `1.5`", "several GPUs are given whole"],
    );
    refused("resources: {gpus: -1}", "3:19", &["gpus"]);
    refused("resources: {vram: 6 gigs}", "3:19", &["vram"]);
    refused("resources: {gpu: 1}", "3:13", &["did you mean `gpus`?"]);
    refused("when: x", "3:1", &["stands in a node of a pipeline"]);
    refused("format: 2", "3:9", &["format: 1"]);
}

#[test]
fn what_an_attempt_leaves_is_checked_as_a_whole() {
    let settings = module("id: m\nscript: m.py\ncapture: raw\nleaks: allow\nlog_cap: null\n").settings;
    assert_eq!((settings.capture, settings.leaks, settings.log_cap), (Capture::Raw, Leaks::Allow, None));
    assert_eq!(module("id: m\nscript: m.py\nisolation: direct\nlog_cap: 64KiB\n").settings.log_cap, Some(Bytes(64 << 10)));
    let found: Vec<String> = [
        "log_cap: 65535",
        "log_cap: much",
        "capture: pumped",
        "leaks: true",
        "capture: raw\nlog_cap: 1GiB",
        "isolation: direct\ncapture: raw",
        "isolation: direct\nleaks: allow",
    ]
    .into_iter()
    .map(|lines| mistakes(&format!("id: m\nscript: m.py\n{lines}\n")).join("\n"))
    .collect();
    insta::assert_snapshot!(found.join("\n"), @r#"
    m.yaml:3:10: `log_cap` is at least 64 KiB (help: write `log_cap: null` to keep everything)
    m.yaml:3:10: `log_cap`: `much` is not a size: write bytes, or a number with kB, MB, GB, KiB, MiB or GiB
    m.yaml:3:10: `capture` cannot be "pumped" (help: did you mean `pump`?)
    m.yaml:3:8: `leaks` must be one of `end`, `allow`, not `true`
    m.yaml:4:1: `capture: raw` cannot have a `log_cap`: the module writes its log files itself (help: write `log_cap: null` to keep everything, or `capture: pump`)
    m.yaml:4:1: `capture: raw` needs the wrapper, and `isolation: direct` goes without it (help: write `isolation: wrapped`, or `capture: pump`)
    m.yaml:4:1: `leaks: allow` needs the wrapper, which knows what was left: `isolation: direct` goes without it (help: write `isolation: wrapped`, or `leaks: end`)
    "#);
}

#[test]
fn a_module_can_take_back_what_the_settings_say_of_its_output() {
    let capped = NodeSettings { log_cap: Some(Bytes(1 << 30)), ..NodeSettings::default() };
    let defaults = Defaults { settings: capped, ..Defaults::default() };
    let read = |lines: &str| {
        let text = format!("id: m\nscript: m.py\n{lines}\n");
        read_module_with(&tree("m.yaml", &text), Path::new(FILE), &defaults).map(|(module, _)| module.settings.log_cap)
    };
    assert_eq!(read("leaks: end"), Ok(Some(Bytes(1 << 30))));
    assert_eq!(read("capture: raw\nlog_cap: null"), Ok(None));
    let refused = read("capture: raw").expect_err("the cap of the settings cannot be kept");
    assert!(refused.to_string().contains("m.yaml:3:1") && refused.to_string().contains("log_cap: null"), "{refused}");
}

#[test]
fn a_18_variables_that_load_other_code() {
    for name in ["LD_PRELOAD", "ld_library_path", "PYTHONPATH", "PATH", "Path", "DYLD_INSERT_LIBRARIES", "NODE_OPTIONS", "BASH_ENV"] {
        refused(&format!("environment: {{{name}: x}}"), "3:15", &["makes programs load other code"]);
    }
    refused("environment: {PRISMQ_NODE: x}", "3:15", &["is set by prismq"]);
    refused("environment: {\"A=B\": x}", "3:15", &["not the name"]);
    refused("environment: {A: 1}", "3:18", &["quote it: \"1\""]);
    refused("environment: {proxy: a, PROXY: b}", "3:25", &["same variable on Windows"]);
    refused("pass_env: [LD_PRELOAD]", "3:12", &["load other code"]);
    assert_eq!(module("id: m\nscript: m.py\npass_env: [LD_LIBRARY_PATH]\n").pass_env.len(), 1);
}

#[test]
fn values_out_of_range_are_refused() {
    refused("grace: 11m", "3:8", &["at most 10 minutes"]);
    refused("timeout: 0s", "3:10", &["timeout: null"]);
    refused("concurrency: 0", "3:14", &["from 1"]);
    refused("retry: {attempts: 0}", "3:19", &["from 1 to 100"]);
    refused("retry: {on: [0]}", "3:14", &["whole number", "0 is success"]);
    refused("retry: {on: [exti]}", "3:14", &["did you mean `exit`?"]);
    refused("retry: {factor: 0.5}", "3:17", &["from 1 to 100"]);
    refused("retry: {backoff: 10s, max_backoff: 1s}", "3:23", &["shorter"]);
    refused("resources: {memroy: 1GiB}", "3:13", &["did you mean `memory`?"]);
    assert!(module("id: m\nscript: m.py\nresources: {npus: 1}\n").settings.request.custom.len() == 1, "not every short word is a mistake");
    refused("resources: {Tokens: 1}", "3:13", &["cannot hold"]);
    refused("isolation: wraped", "3:12", &["did you mean `wrapped`?"]);
    refused("category: Video//x", "3:11", &["Video/Preparation"]);
    refused("requires: {python: 3.10}", "3:20", &["quote it"]);
    refused("requires: {python: \"3.10\"}", "3:20", &[">=3.10"]);
    refused("dependencies: [m]", "3:16", &["depend on itself"]);
    refused("dependencies: [a, a]", "3:19", &["twice"]);
    refused("enabled: yes", "3:10", &["write `true`"]);
}

#[test]
fn runtimes_and_interpreters() {
    for (script, expected) in [
        ("m.py", Runtime::Python),
        ("m.mjs", Runtime::Node),
        ("m.sh", Runtime::Shell),
        ("m.PS1", Runtime::Shell),
        ("tool", Runtime::Executable),
        ("tool.exe", Runtime::Executable),
    ] {
        let module = module(&format!("id: m\nscript: {script}\n"));
        assert!(matches!(module.program, Program::Script { runtime, .. } if runtime == expected), "{script}");
    }
    for (text, expected) in [
        ("uv", PythonChoice::Uv),
        ("venv:../.venv", PythonChoice::Venv(script_path(&["w", "manifests", ".venv"]).to_string_lossy().into_owned())),
        ("conda:film", PythonChoice::Conda("film".into())),
        ("python3.12", PythonChoice::Path("python3.12".into())),
        ("../bin/python", PythonChoice::Path(script_path(&["w", "manifests", "bin", "python"]).to_string_lossy().into_owned())),
        ("'C:\\Python\\python.exe'", PythonChoice::Path("C:\\Python\\python.exe".into())),
    ] {
        let module = module(&format!("id: m\nscript: m.py\npython: {text}\n"));
        assert!(matches!(&module.program, Program::Script { python, .. } if *python == expected), "{text}");
    }
    refused("python: vnev:x", "3:9", &["did you mean `venv`?"]);
    refused("python: py:three", "3:9", &["py:3.11"]);
    refused("python: \"venv:\"", "3:9", &["nothing after the colon"]);
    assert!(mistakes("id: m\nscript: m.js\npython: uv\n")[0].contains("for Python scripts"));
    assert!(mistakes("id: m\nscript: m.rb\n")[0].contains("runtime: python"));
    assert!(mistakes("id: m\n")[0].contains("needs `script` or `command`"));
    assert!(mistakes("id: m\nscript: m.py\ncommand: [x]\n")[0].contains("not both"));
}

#[test]
fn a_41_batch_files_are_refused() {
    for script in ["x.bat", "x.CMD", "'x.cmd '", "'x.bat.'", "'x.bat. .'"] {
        let found = mistakes(&format!("id: m\nscript: {script}\n"));
        assert!(found.len() == 1 && found[0].contains("batch file"), "{script}: {found:?}");
        let found = mistakes(&format!("id: m\nscript: {script}\nruntime: executable\n"));
        assert!(found[0].contains("batch file"), "{script}: {found:?}");
        let found = mistakes(&format!("id: m\ncommand: [{script}, a]\n"));
        assert!(found.len() == 1 && found[0].contains("batch file"), "{script}: {found:?}");
    }
}

const FFMPEG: &str = "id: cut\ncommand: [ffmpeg, -i, \"${{ params.input }}\", \"--title=${{ params.title }}\", \"${{ params.files }}\", \"${{ params.none }}\", \"n=${{ params.count }}\"]\nparams: {properties: {input: {type: string}, title: {}, files: {}, none: {}, count: {type: integer}}}\n";

fn evaluated(manifest: &str, params: serde_json::Value) -> Result<Vec<String>, String> {
    let module = module(manifest);
    let Program::Command(parts) = &module.program else { panic!("a command") };
    let scope = Scope { params: &params, node: &|_| None, item: None, index: None, matrix: None, run_id: "r", workspace: "/w" };
    command(parts, &scope).map_err(|found| found.to_string())
}

#[test]
fn a_command_is_filled_in() {
    let params = json!({"input": "a b.mp4", "title": "$(id);x", "files": ["x", 2], "none": null, "count": 3});
    assert_eq!(evaluated(FFMPEG, params), Ok(["ffmpeg", "-i", "a b.mp4", "--title=$(id);x", "x", "2", "n=3"].map(str::to_owned).to_vec()));
    assert_eq!(module(FFMPEG).settings.arguments, ArgumentStyle::Env, "nothing is added to a spelled-out command");
    assert_eq!(module(FFMPEG).program_name(), "ffmpeg");
    for (command, word) in [
        ("[\"${{ params.input }}\"]", "cannot be an expression"),
        ("[]", "names no program"),
        ("[ffmpeg, 3]", "quote it"),
        ("[./tool]", "is relative"),
        ("[ffmpeg, \"${{ nodes.a.outputs }}\"]", "nodes"),
        ("[ffmpeg, \"${{ params.inptu }}\"]", "did you mean `input`?"),
        ("[ffmpeg, \"${{ params. }}\"]", ""),
    ] {
        let found = mistakes(&format!("id: m\ncommand: {command}\nparams: {{properties: {{input: {{}}}}}}\n"));
        assert!(found.len() == 1 && found[0].contains(word), "{command}: {found:?}");
    }
    assert!(mistakes("id: m\ncommand: [x]\npython: uv\n")[0].contains("belongs to a `script`"));
}

#[test]
fn a_15_values_that_look_like_options() {
    for value in ["-y", "--config=/etc/x"] {
        let params = json!({"input": value, "title": "t", "files": [], "none": null, "count": 1});
        let refused = evaluated(FFMPEG, params).expect_err(value);
        assert!(refused.contains("taken for an option") && refused.starts_with("m.yaml:2:"), "{refused}");
    }
    let ended = "id: m\ncommand: [rm, --, \"${{ params.x }}\"]\nparams: {properties: {x: {}}}\n";
    assert_eq!(evaluated(ended, json!({"x": "-rf"})).map(|line| line.len()), Ok(3));
    assert_eq!(evaluated(ended, json!({"x": -5})).map(|line| line.len()), Ok(3));

    let spaced = |value: &str| argv(ArgumentStyle::FlagsSpaced, &json!({"x": value}), &["x"], "p");
    assert!(spaced("-rf").expect_err("an option").message.contains("taken for an option"));
    for value in ["@file", ";id", "$(id)", "a\nb", "a b", ""] {
        assert_eq!(spaced(value), Ok(vec!["--x".to_owned(), value.to_owned()]));
    }
    assert_eq!(argv(ArgumentStyle::Flags, &json!({"x": "-rf"}), &["x"], "p"), Ok(vec!["--x=-rf".to_owned()]));
    assert!(argv(ArgumentStyle::Flags, &json!({"x y": 1}), &[], "p").is_err());
}

#[test]
fn a_16_arguments_that_cannot_be_passed() {
    let nul = argv(ArgumentStyle::Flags, &json!({"x": "a\0b"}), &["x"], "p").expect_err("NUL");
    assert_eq!(nul.pointer, "/x");
    let long = argv(ArgumentStyle::Flags, &json!({"x": "a".repeat(131_072)}), &["x"], "p").expect_err("long");
    assert!(long.help.is_some_and(|help| help.contains("json-file")));
    assert!(evaluated("id: m\ncommand: [x, \"${{ params.x }}\"]\nparams: {properties: {x: {}}}\n", json!({"x": "\0"})).is_err());
}

#[test]
fn parameters_become_flags_in_the_order_of_the_schema() {
    let params = json!({"zoom": 1.5, "count": 12, "on": true, "off": false, "tags": ["a", "b"], "none": null, "deep": {"w": 1}, "text": "ü x", "list": []});
    let order = ["count", "tags", "missing"];
    let expected = ["--count=12", "--tags=a", "--tags=b", "--zoom=1.5", "--on", "--no-off", "--deep={\"w\":1}", "--text=ü x"];
    assert_eq!(argv(ArgumentStyle::Flags, &params, &order, "p"), Ok(expected.map(str::to_owned).to_vec()));
    assert_eq!(argv(ArgumentStyle::JsonFile, &params, &order, "/p.json"), Ok(vec!["/p.json".to_owned()]));
    assert_eq!(argv(ArgumentStyle::Env, &params, &order, "p"), Ok(Vec::new()));
    assert_eq!(argv(ArgumentStyle::JsonStdin, &params, &order, "p"), Ok(Vec::new()));
}

fn result(file: &str, text: &str) -> ManifestResult {
    let tree = tree(file, text);
    let outcome = read_module(&tree, Path::new(FILE)).map(|(module, notes)| (module.into(), notes));
    ManifestResult { file: file.into(), id: readable_id(&tree), outcome }
}

#[test]
fn f_61_an_id_claimed_twice_is_used_by_neither() {
    let registry = Registry::build(vec![
        result("a.yaml", "id: cut\nscript: a.py\n"),
        result("b.yaml", "id: fetch\nscript: b.py\n"),
        result("c.yaml", "id: cut\nscript: c.py\n"),
        result("d.yaml", "id: broken\nscript: c.rb\n"),
        result("e.yaml", "script: c.py\n"),
    ]);
    assert_eq!(registry.iter().map(|module| module.id.to_string()).collect::<Vec<_>>(), ["fetch"]);
    assert!(registry.get("cut").is_none() && registry.get("fetch").is_some());
    let broken: Vec<_> = registry.broken().iter().map(|broken| (broken.file.to_string_lossy().into_owned(), broken.id.is_some())).collect();
    assert_eq!(broken, [("a.yaml".into(), true), ("c.yaml".into(), true), ("d.yaml".into(), true), ("e.yaml".into(), false)]);
    let said = registry.broken()[0].diagnostics.iter().next().expect("one");
    assert!(said.message.contains("`cut` is claimed by more than one"), "{said}");
    assert_eq!((said.related[0].0.as_str(), said.related[0].1.to_string().as_str()), ("also in c.yaml", "c.yaml:1:5"));
    assert!(registry.broken_named("broken").is_some());
    assert_eq!(registry.suggest("fecth").as_deref(), Some("did you mean `fetch`?"));
}

#[test]
fn dependencies_that_are_missing_or_in_a_circle() {
    let registry = Registry::build(vec![
        result("a.yaml", "id: a\nscript: a.py\ndependencies: [b]\n"),
        result("b.yaml", "id: b\nscript: a.py\ndependencies: [fetcher, c]\n"),
        result("c.yaml", "id: c\nscript: a.py\ndependencies: [a]\n"),
        result("d.yaml", "id: d\nscript: a.py\ndependencies: [a]\n"),
        result("fetcher.yaml", "id: fetcher\nscript: a.rb\n"),
    ]);
    let said: Vec<String> = registry.findings().iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:#?}");
    assert_eq!(said[0], "b.yaml:3:16: `b` depends on the module `fetcher`, which is not there (help: its manifest fetcher.yaml is broken)");
    assert_eq!(said[1], "a.yaml:3:16: these modules depend on each other in a circle: a -> b -> c -> a");
    let circle = registry.findings().iter().last().expect("the circle");
    assert_eq!(
        circle.related.iter().map(|(what, place)| format!("{what} {place}")).collect::<Vec<_>>(),
        ["needs `c` b.yaml:3:25", "needs `a` c.yaml:3:16"]
    );
    assert!(registry.findings().has_errors());
}

#[test]
fn a_node_overrides_its_module_key_by_key() {
    let base = module(WHOLE);
    let node = tree("p.yaml", "resources: {memory: 4GiB, youtube-api: 0}\nretry: {attempts: 1}\nenvironment: {A: b}\n");
    let mut found = Diagnostics::new();
    let fields = crate::fields::Fields::open_any(node.root(), "a node", &mut found).expect("a map");
    let settings = read_settings_keys(&fields, &base.settings, &mut found);
    assert!(found.is_empty(), "{found}");
    assert_eq!((settings.request.cpus, settings.request.memory, settings.request.custom.len()), (CpuMillis(500), Bytes(4 << 30), 0));
    assert_eq!((settings.retry.attempts, settings.retry.factor_millis), (1, 1_500));
    assert_eq!(settings.environment.len(), 2);
}
