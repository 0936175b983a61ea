use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;

/// A world of its own: a folder with spaces and letters beyond ASCII, its own PATH and home.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("mé mo ").tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn program(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.file(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn resolver(&self) -> Resolver {
        self.resolver_with(&[])
    }

    fn resolver_with(&self, more: &[(&str, PathBuf)]) -> Resolver {
        let mut variables = vec![("PATH".into(), self.path("bin").into()), ("HOME".into(), self.path("home").into())];
        variables.extend(more.iter().map(|(name, value)| ((*name).into(), value.into())));
        Resolver::new(Arc::new(HostEnvironment::new(variables)))
    }

    fn python(&self, script: &Path, choice: &PythonChoice) -> Result<Launch, Unavailable> {
        self.resolver().script(script, Runtime::Python, choice, &self.path("manifests"))
    }
}

fn message(wrong: &Unavailable) -> String {
    format!("{wrong}; help: {}", wrong.help.as_deref().unwrap_or_default())
}

#[test]
fn a_python_is_found_in_the_order_of_the_documentation() {
    let world = World::new();
    let script = world.file("modules/größe.py", "");
    let none = world.python(&script, &PythonChoice::Auto).unwrap_err();
    assert!(message(&none).contains("install Python"), "{}", message(&none));

    let python = world.program("bin/python", "");
    assert_eq!(world.python(&script, &PythonChoice::Auto).unwrap().program, python);
    let python3 = world.program("bin/python3", "");
    assert_eq!(world.python(&script, &PythonChoice::Auto).unwrap().program, python3);
    let beside_manifest = world.program("manifests/.venv/bin/python", "");
    assert_eq!(world.python(&script, &PythonChoice::Auto).unwrap().program, beside_manifest);
    let beside_script = world.program("modules/venv/bin/python", "");
    let launch = world.python(&script, &PythonChoice::Auto).unwrap();
    assert_eq!((launch.program, launch.leading), (beside_script, vec![script.into_os_string()]));
}

#[test]
fn named_pythons_and_what_is_said_when_they_are_missing() {
    let world = World::new();
    let script = world.file("modules/a.py", "");
    let missing = [
        (PythonChoice::Venv("../env".into()), "-m venv"),
        (PythonChoice::Conda("ml".into()), "conda create -n ml"),
        (PythonChoice::Uv, "install uv"),
        (PythonChoice::Version("3.11".into()), "install Python 3.11"),
        (PythonChoice::Path("python9".into()), "`venv:DIR`"),
    ];
    for (choice, help) in missing {
        let wrong = world.python(&script, &choice).unwrap_err();
        assert!(message(&wrong).contains(help), "{}", message(&wrong));
        assert_eq!(wrong.failure.kind, SpawnFailureKind::NotFound);
    }
    let venv = world.program("env/bin/python", "");
    let found = world.python(&script, &PythonChoice::Venv("../env".into())).unwrap();
    assert_eq!(found.program, venv);
    let uv = world.program("bin/uv", "");
    let found = world.python(&script, &PythonChoice::Uv).unwrap();
    assert_eq!((found.program, found.leading.len()), (uv, 4));
    let versioned = world.program("bin/python3.11", "");
    assert_eq!(world.python(&script, &PythonChoice::Version("3.11".into())).unwrap().program, versioned);
}

#[test]
fn conda_environments_are_found_without_conda() {
    let world = World::new();
    let script = world.file("modules/a.py", "");
    let in_home = world.program("home/miniforge3/envs/ml/bin/python", "");
    let found = world.python(&script, &PythonChoice::Conda("ml".into())).unwrap();
    assert_eq!(found.program, in_home);
    let value = |name: &str| found.environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap();
    assert_eq!(value("CONDA_PREFIX"), world.path("home/miniforge3/envs/ml").into_os_string());
    assert!(std::env::split_paths(&value("PATH")).next().unwrap().ends_with("envs/ml/bin"));

    let elsewhere = world.program("data/big/bin/python", "");
    world.file("home/.conda/environments.txt", &format!("\n{}\n", world.path("data/big").display()));
    assert_eq!(world.python(&script, &PythonChoice::Conda("big".into())).unwrap().program, elsewhere);
    let wrong = world.python(&script, &PythonChoice::Conda("mll".into())).unwrap_err();
    assert!(message(&wrong).contains("known environments: ml"), "{}", message(&wrong));
}

#[test]
fn other_runtimes_and_commands() {
    let world = World::new();
    let resolver = world.resolver();
    let folder = world.path("manifests");
    let auto = PythonChoice::Auto;
    let script = world.file("a.js", "");
    assert!(resolver.script(&script, Runtime::Node, &auto, &folder).is_err());
    let node = world.program("bin/node", "");
    assert_eq!(resolver.script(&script, Runtime::Node, &auto, &folder).unwrap().program, node, "a miss is not remembered");
    let sh = world.program("bin/sh", "");
    assert_eq!(resolver.script(&script, Runtime::Shell, &auto, &folder).unwrap().program, sh);
    let powershell = world.program("bin/pwsh", "");
    let ps1 = world.file("a.ps1", "");
    assert_eq!(resolver.script(&ps1, Runtime::Shell, &auto, &folder).unwrap().program, powershell);
    assert_eq!(resolver.script(&script, Runtime::Executable, &auto, &folder).unwrap().program, script);
    assert!(resolver.script(&world.path("gone.js"), Runtime::Node, &auto, &folder).is_err());
    assert!(resolver.script(&folder, Runtime::Node, &auto, &folder).is_err(), "a folder or nothing is no script");
    // batch files are refused.
    assert!(resolver.script(&world.file("a.bat", ""), Runtime::Executable, &auto, &folder).is_err());

    let tool = world.program("tools/t", "");
    assert_eq!(resolver.command(tool.to_str().unwrap(), &folder).unwrap(), tool);
    assert_eq!(resolver.command("../tools/t", &folder).unwrap(), tool);
    let plain = world.file("tools/plain", "");
    let wrong = resolver.command(plain.to_str().unwrap(), &folder).unwrap_err();
    assert_eq!(wrong.failure.kind, SpawnFailureKind::NotExecutable);
    fs::remove_file(&node).unwrap();
    assert!(resolver.command("node", &folder).is_err(), "what vanished is forgotten");
}

#[test]
fn relative_entries_of_path_are_passed_over() {
    let host = HostEnvironment::new([("PATH".into(), ".:bin::/nowhere".into())]);
    let resolver = Resolver::new(Arc::new(host));
    assert!(resolver.command("sh", Path::new("/")).is_err());
}

#[test]
fn requirements_are_checked_once_for_an_interpreter() {
    let world = World::new();
    let script = world.file("a.py", "");
    let shim = world.program("bin/python3", &format!("#!/bin/sh\necho asked >> '{}'\necho 3 9 18\n", world.path("asked").display()));
    let resolver = world.resolver();
    let launch = resolver.script(&script, Runtime::Python, &PythonChoice::Auto, Path::new("/")).unwrap();
    assert_eq!(launch.program, shim, "a script that stands for a Python is one");
    assert_eq!(resolver.check_requires(&[], Some((">=3.8", &launch))), Ok(()));
    let missing = resolver.check_requires(&["ffmpeg".into(), "python3".into()], Some((">=3.10", &launch))).unwrap_err();
    let all = missing.iter().map(message).collect::<Vec<_>>().join("\n");
    assert_eq!(missing.len(), 2, "{all}");
    assert!(all.contains("`ffmpeg`") && all.contains("is 3.9.18"), "{all}");
    assert_eq!(fs::read_to_string(world.path("asked")).unwrap().lines().count(), 1);
    let broken = world.program("bin/python3.7", "#!/bin/sh\necho 'no module named encodings' >&2\nexit 1\n");
    let launch = Launch { program: broken, leading: vec!["a.py".into()], environment: Vec::new() };
    let wrong = resolver.check_requires(&[], Some((">=3.8", &launch))).unwrap_err();
    assert!(message(&wrong[0]).contains("encodings"), "{}", message(&wrong[0]));
}
