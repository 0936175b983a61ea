use std::time::{Duration, Instant};

use super::*;

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(&path, text).expect("written");
    path
}

/// Each found file by its shown name, with its text or the refusal.
fn listed(workspace: &Path) -> BTreeMap<String, Result<String, String>> {
    let found = read_manifests(&workspace.join("manifests"), workspace);
    let paths: Vec<&PathBuf> = found.iter().map(|one| &one.path).collect();
    assert!(paths.is_sorted());
    found
        .iter()
        .map(|one| (shown(&one.path, workspace), one.source.as_ref().map(|source| source.text.clone()).map_err(ToString::to_string)))
        .collect()
}

#[test]
fn manifests_are_found_in_folders() {
    let workspace = tempfile::tempdir().expect("a folder");
    let manifests = workspace.path().join("manifests");
    for (name, text) in [
        ("b.yaml", "id: b"),
        ("Video/ä x/a.yml", "\u{feff}id: a"),
        ("c.JSON", "{}"),
        ("notes.txt", "x"),
        (".hidden/d.yaml", "x"),
        ("empty.yaml", ""),
    ] {
        write(&manifests, name, text);
    }
    let expected =
        [("manifests/Video/ä x/a.yml", "id: a"), ("manifests/b.yaml", "id: b"), ("manifests/c.JSON", "{}"), ("manifests/empty.yaml", "")];
    let expected = expected.map(|(name, text)| (name.to_owned(), Ok(text.to_owned())));
    assert_eq!(listed(workspace.path()), BTreeMap::from(expected));
    assert!(read_manifests(&workspace.path().join("none"), workspace.path()).is_empty());
}

#[test]
fn f_59_what_is_no_manifest_is_listed_with_the_reason() {
    let workspace = tempfile::tempdir().expect("a folder");
    let manifests = workspace.path().join("manifests");
    write(&manifests, "good.yaml", "id: good");
    write(&manifests, "latin.yaml", b"name: caf\xe9\n");
    write(&manifests, "CON.yaml", "id: con");
    write(&manifests, "com1.x.json", "{}");
    let huge = File::create(manifests.join("huge.yaml")).expect("made");
    huge.set_len(1 << 30).expect("sparse");
    let start = Instant::now();
    let found = listed(workspace.path());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let refused = |name: &str, word: &str| {
        let refusal = found[&format!("manifests/{name}")].as_ref().expect_err(name);
        assert!(refusal.contains(word) && refusal.starts_with(&format!("manifests/{name}:1:")), "{refusal}");
    };
    refused("latin.yaml", "byte 0xe9");
    refused("CON.yaml", "device");
    refused("com1.x.json", "device");
    refused("huge.yaml", "longer than 256 KiB");
    assert!(found["manifests/good.yaml"].is_ok());
    assert_eq!(found.len(), 5);
}

#[cfg(unix)]
#[test]
fn f_59_links_pipes_devices_and_odd_names_never_hang() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    let workspace = tempfile::tempdir().expect("a folder");
    let manifests = workspace.path().join("manifests");
    write(&manifests, "good.yaml", "id: good");
    symlink(&manifests, manifests.join("loop")).expect("linked");
    symlink("self.yaml", manifests.join("self.yaml")).expect("linked");
    symlink("good.yaml", manifests.join("link.yaml")).expect("linked");
    symlink("/dev/zero", manifests.join("zero.yaml")).expect("linked");
    rustix::fs::mknodat(rustix::fs::CWD, manifests.join("pipe.yaml"), rustix::fs::FileType::Fifo, 0o644.into(), 0).expect("a pipe");
    fs::write(manifests.join(OsStr::from_bytes(b"bad\xff.yaml")), "id: x").expect("written");
    let secret = write(&manifests, "secret.yaml", "id: s");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).expect("set");
    let start = Instant::now();
    let found = listed(workspace.path());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    for (name, word) in [
        ("loop", "links are not followed"),
        ("self.yaml", "links are not followed"),
        ("link.yaml", "links are not followed"),
        ("zero.yaml", "links are not followed"),
        ("pipe.yaml", "no regular file"),
        ("bad\u{fffd}.yaml", "not UTF-8"),
    ] {
        let refusal = found[&format!("manifests/{name}")].as_ref().expect_err(name);
        assert!(refusal.contains(word), "{refusal}");
    }
    // A superuser may read everything.
    if !rustix::process::geteuid().is_root() {
        assert!(found["manifests/secret.yaml"].as_ref().expect_err("unreadable").contains("may not be read"));
    }
    assert_eq!(found.len(), 8);
    assert!(read_file(&manifests.join("pipe.yaml"), "p", 10).expect_err("a pipe").message.contains("no regular file"));
    assert!(read_file(Path::new("/dev/zero"), "z", 10).is_err());
    assert_eq!(read_file(&manifests.join("link.yaml"), "l", 10).map(|source| source.text.clone()), Ok("id: good".to_owned()));
}

#[cfg(target_os = "linux")]
#[test]
fn f_59_names_that_differ_in_case_only() {
    let workspace = tempfile::tempdir().expect("a folder");
    let manifests = workspace.path().join("manifests");
    for name in ["Cut.yaml", "cut.yaml", "other.yaml"] {
        write(&manifests, name, "id: x");
    }
    let found = listed(workspace.path());
    assert!(found["manifests/Cut.yaml"].as_ref().expect_err("clash").contains("`manifests/cut.yaml` in case only"));
    assert!(found["manifests/cut.yaml"].as_ref().expect_err("clash").contains("`manifests/Cut.yaml` in case only"));
    assert!(found["manifests/other.yaml"].is_ok());
}

#[test]
fn a_12_scripts_outside_of_all_roots() {
    let place = tempfile::tempdir().expect("a folder");
    let place = fs::canonicalize(place.path()).expect("real");
    let (workspace, root) = (place.join("workspace"), place.join("data"));
    let inside = write(&workspace, "modules/m.py", "");
    let outside = write(&place, "bin/sh", "");
    let beside = write(&place, "data-secret/m.py", "");
    let rooted = write(&root, "tools/m.py", "");
    let roots = [workspace.clone(), root, place.join("gone")];
    assert_eq!(script_inside(&inside, &roots).ok(), Some(inside.clone()));
    assert_eq!(script_inside(&workspace.join("modules/../modules/m.py"), &roots).ok(), Some(inside));
    assert!(script_inside(&rooted, &roots).is_ok());
    for (script, word) in [
        (outside, "outside of the workspace"),
        (workspace.join("modules/../../bin/sh"), "outside of the workspace"),
        (beside, "outside of the workspace"),
        (workspace.join("modules/none.py"), "no such file"),
        (workspace.join("modules"), "regular file"),
    ] {
        let refused = script_inside(&script, &roots).expect_err("refused");
        assert!(refused.diagnostic.message.contains(word), "{refused:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_12_links_are_judged_by_where_they_lead() {
    use std::os::unix::fs::symlink;

    let place = tempfile::tempdir().expect("a folder");
    let place = fs::canonicalize(place.path()).expect("real");
    let workspace = place.join("workspace");
    let outside = write(&place, "bin/sh", "");
    let inside = write(&workspace, "modules/m.py", "");
    symlink(&outside, workspace.join("modules/out.py")).expect("linked");
    symlink(place.join("bin"), workspace.join("away")).expect("linked");
    symlink(&inside, workspace.join("in.py")).expect("linked");
    let roots = [workspace.clone()];
    for script in ["modules/out.py", "away/sh"] {
        let refused = script_inside(&workspace.join(script), &roots).expect_err(script);
        assert!(refused.diagnostic.message.contains("really is"), "{refused:?}");
    }
    assert_eq!(script_inside(&workspace.join("in.py"), &roots).ok(), Some(inside));
    rustix::fs::mknodat(rustix::fs::CWD, workspace.join("p.py"), rustix::fs::FileType::Fifo, 0o644.into(), 0).expect("a pipe");
    assert!(script_inside(&workspace.join("p.py"), &roots).expect_err("a pipe").diagnostic.message.contains("regular file"));
}
