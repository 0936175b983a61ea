//! Secrets: from each source into a module's environment, and nowhere else.

use std::path::Path;

use crate::support::TestSpace;

/// A value that is looked for in everything that a run leaves behind.
const CANARY: &str = "c4nary-Value_93715";

const PRINTS: &str = "import time\n\
                      v = os.environ['API_KEY']\n\
                      print('key=' + v + ';')\n\
                      sys.stdout.write('cut ' + v[:7]); sys.stdout.flush()\n\
                      sys.stdout.write(v[7:] + ' end\\n'); sys.stdout.flush()\n\
                      print(v * 2, file=sys.stderr)\n\
                      out(length=len(v))";

/// Files below a folder that hold a text, but for those in `.prismq/secrets`.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.ends_with(".prismq/secrets") {
            continue;
        }
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if std::fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes())) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a31_a32_a_kept_secret_reaches_the_module_and_nobody_else() {
    let space = TestSpace::new();
    space.module("prints", "secrets: [API_KEY]", PRINTS);
    space.prismq_reading(&["secret", "set", "API_KEY"], CANARY).ends(0);
    space.prismq(&["run", "prints"]).ends(0);
    assert_eq!(space.node("last", "prints")["outputs"], serde_json::json!({"length": CANARY.len()}));
    let stars = "*".repeat(CANARY.len());
    let logs = space.prismq(&["logs", "last"]).ends(0);
    for line in [format!("key={stars};"), format!("cut {stars} end"), format!("{stars}{stars}")] {
        assert!(logs.stdout.contains(&line), "{line} is missing in {}", logs.stdout);
    }
    assert_eq!(holding(space.root(), CANARY), Vec::<String>::new());
    for verb in
        [&["show", "last", "--json"][..], &["modules", "show", "prints", "--json"], &["secret", "list"], &["secret", "list", "--json"]]
    {
        let ran = space.prismq(verb).ends(0);
        assert!(!ran.stdout.contains(CANARY) && !ran.stderr.contains(CANARY), "{verb:?}");
    }
    space.prismq(&["secret", "list"]).says("API_KEY  kept here  for prints");
    space.prismq(&["secret", "check"]).ends(0).says("ok");
}

#[test]
#[cfg(unix)]
fn the_kept_file_is_its_owners_alone_and_can_be_forgotten() {
    use std::os::unix::fs::PermissionsExt;
    let space = TestSpace::new();
    space.module("prints", "secrets: [API_KEY]", PRINTS);
    space.prismq_reading(&["secret", "set", "API_KEY"], "a-first-value\n").ends(0);
    let file = space.root().join(".prismq/secrets/secret.API_KEY");
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().expect("a folder"))), (0o600, 0o700));
    // Whoever made it readable for others is told, before anything starts.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("its mode is changed");
    space.prismq(&["secret", "list"]).says("is not private");
    space.prismq(&["run", "prints"]).ends(1);
    space.prismq(&["show", "last"]).says("is not private");
    space.prismq(&["secret", "remove", "API_KEY"]).ends(0);
    space.prismq(&["secret", "remove", "API_KEY"]).ends(4);
    space.prismq(&["doctor"]).ends(1).says("API_KEY (for prints): it has no value here");
    space.prismq(&["run", "prints"]).ends(3).complains("needs the secret `API_KEY`, which has no value here");
}

#[test]
#[cfg(unix)]
fn settings_say_where_secrets_come_from() {
    use std::os::unix::fs::PermissionsExt;
    let space = TestSpace::new();
    space.module("tells", "secrets: [A, B, C]", "out(a=os.environ['A'], b=os.environ['B'], c=os.environ['C'])");
    space.write("token", "from-a-file\n");
    std::fs::set_permissions(space.root().join("token"), std::fs::Permissions::from_mode(0o600)).expect("its mode is changed");
    space.write("prismq.yaml", "secrets:\n  A: {env: PATH_OF_A}\n  B: {file: token}\n  C: {command: [sh, -c, 'echo from-a-program']}\n");
    let mut command = space.command(&["run", "tells"]);
    command.env("PATH_OF_A", "from-a-variable");
    crate::support::Running::start(command, None).end().ends(0);
    let outputs = serde_json::json!({"a": "from-a-variable", "b": "from-a-file", "c": "from-a-program"});
    assert_eq!(space.node("last", "tells")["outputs"], outputs);
    space.prismq_reading(&["secret", "set", "C"], "another").ends(2).complains("prismq.yaml says where `C` comes from");
}

#[test]
#[cfg(unix)]
fn a_program_that_fails_fails_the_node_and_a_slow_one_can_be_cancelled() {
    let space = TestSpace::new();
    space.module("needs", "secrets: [KEY]", "out(ok=True)");
    space.write("prismq.yaml", "secrets:\n  KEY: {command: [sh, -c, 'echo the store is locked >&2; exit 2']}\n");
    space.prismq(&["run", "needs"]).ends(1);
    space.prismq(&["show", "last"]).says("the secret `KEY`: `sh` failed").says("the store is locked");
    space.prismq(&["secret", "check"]).ends(1).says("the store is locked");
    space.write("prismq.yaml", "secrets:\n  KEY: {command: [sh, -c, 'echo x > marks/asked; sleep 9']}\n");
    let running = space.start(&["run", "needs"]);
    space.wait_for_marks("asked", 1);
    running.signal(rustix::process::Signal::INT);
    running.end().ends(130);
    assert_eq!(space.statuses("last"), ["needs=cancelled"]);
}

#[test]
fn mistakes_about_secrets_are_found_early() {
    let space = TestSpace::new();
    space.module("raw", "secrets: [API_KEY]\ncapture: raw", "");
    space.module("direct", "secrets: [API_KEY]\nisolation: direct", "");
    space.module("twice", "secrets: [API_KEY]\nenvironment: {API_KEY: x}", "");
    space.module("loads", "secrets: [LD_PRELOAD, 'no-name', PRISMQ_TOKEN]", "");
    let refused = space.prismq(&["validate"]).ends(3);
    let said = refused.stdout.clone() + &refused.stderr;
    for part in [
        "`capture: raw` cannot have `secrets:`",
        "`secrets:` need the wrapper",
        "`API_KEY` stands under `environment:` and under `secrets:`",
        "`LD_PRELOAD` is refused",
        "\"no-name\" is not the name of an environment variable",
        "`PRISMQ_TOKEN` is set by prismq",
    ] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    space.write("prismq.yaml", "secrets: {A: hunter2hunter2, B: {}, C: {env: X, file: y}, D: {command: []}}\n");
    let settings = space.prismq(&["modules"]).ends(3).stderr.clone();
    assert!(settings.contains("a secret's value does not stand in this file"), "{settings}");
    assert_eq!(settings.matches("a secret comes from one source").count(), 2, "{settings}");
    assert!(settings.contains("`command` must name a program"), "{settings}");
    space.write("prismq.yaml", "");
    space.prismq_reading(&["secret", "set", "LD_PRELOAD"], "x").ends(2);
    space.prismq_reading(&["secret", "set", "API_KEY"], "").ends(2).complains("it is empty");
}
