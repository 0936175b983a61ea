//! What earlier hosts left half made: files that were being written aside, and folders of runs that were never accepted.
//!
//! None of it was ever part of anything, so that it can go. Nothing else does: a folder that holds more than the submission stays, whatever
//! the journal says of it. Knows the names in the state's folders and nothing of what they mean.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::workspace::{ASIDE, Workspace};
use crate::attempt::ASIDES_OF_HOSTS;
use crate::ids::RunId;

/// Removes what is left over. `open` are the runs that had not ended, `known` are all that the journal tells of. Called before anything is
/// accepted.
pub(super) fn sweep<'a>(workspace: &Workspace, open: impl Iterator<Item = &'a RunId>, known: &HashSet<&str>) {
    remove_asides(&workspace.state());
    super::reuse::sweep(workspace, remove_asides);
    for run in open {
        remove_asides(&workspace.run(run));
        remove_asides(&workspace.run(run).join("params"));
        remove_asides_of_attempts(&workspace.run(run));
    }
    remove_unaccepted(&workspace.runs(), known);
}

fn remove_asides(folder: &Path) {
    for name in names_in(folder).into_iter().filter(|name| is_aside(name)) {
        // What cannot be removed costs nothing but space.
        let _ = fs::remove_file(folder.join(name));
    }
}

/// In the folders of attempts only what hosts write: a wrapper may live there, and a module may keep what it likes.
fn remove_asides_of_attempts(run: &Path) {
    let entries = fs::read_dir(run).into_iter().flatten().flatten();
    for folder in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        for name in ASIDES_OF_HOSTS {
            let _ = fs::remove_file(folder.path().join(name));
        }
    }
}

fn is_aside(name: &str) -> bool {
    name.starts_with(ASIDE) || Path::new(name).extension().is_some_and(|extension| extension == "tmp")
}

fn remove_unaccepted(runs: &Path, known: &HashSet<&str>) {
    for name in names_in(runs).into_iter().filter(|name| RunId::parse(name).is_ok() && !known.contains(name.as_str())) {
        let folder = runs.join(&name);
        if names_in(&folder).iter().all(|inner| inner == "pinned.json" || is_aside(inner)) {
            tracing::info!(run = name, "a submission that was never accepted is removed");
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    // A folder that is not there holds nothing, and names that are no text are none of ours.
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(root: &Path) -> Vec<String> {
        let mut names = Vec::new();
        let mut open = vec![root.to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).expect("a folder").flatten() {
                if entry.path().is_dir() { open.push(entry.path()) } else { names.push(entry.path()) }
            }
        }
        let mut names: Vec<String> =
            names.iter().map(|path| path.strip_prefix(root).expect("inside").to_string_lossy().replace('\\', "/")).collect();
        names.sort();
        names
    }

    #[test]
    fn f02_only_what_was_never_part_of_anything_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = Workspace::at(folder.path()).expect("a workspace");
        let (open, ended) = ("20261120-105501-aaaaa", "20261120-105502-bbbbb");
        let (unaccepted, worked) = ("20261120-105503-ccccc", "20261120-105504-ddddd");
        let kept = [
            format!("runs/{open}/pinned.json"),
            format!("runs/{open}/params/1.json"),
            format!("runs/{open}/a.1/x.tmp"),
            format!("runs/{open}/a.1/exit.json.tmp"),
            format!("runs/{ended}/pinned.json"),
            format!("runs/{worked}/a.1/stdout.log"),
            format!("runs/{worked}/pinned.json"),
            "runs/mine/pinned.json".to_owned(),
            "token".to_owned(),
        ];
        let left = [
            format!("runs/{open}/.aside-x1"),
            format!("runs/{open}/params/1.tmp"),
            format!("runs/{open}/a.1/stop.json.tmp"),
            ".aside-x2".to_owned(),
        ];
        let submission = [format!("runs/{unaccepted}/pinned.json"), format!("runs/{unaccepted}/.aside-x3")];
        for file in kept.iter().chain(&left).chain(&submission) {
            let path = workspace.state().join(file);
            fs::create_dir_all(path.parent().expect("it lies in the state")).expect("a folder");
            fs::write(path, "x").expect("a file");
        }
        let known = HashSet::from([open, ended]);
        let open = RunId::parse(open).expect("an id");
        sweep(&workspace, [&open].into_iter(), &known);
        let mut wanted = kept.to_vec();
        wanted.sort();
        assert_eq!(tree(&workspace.state()), wanted);
        assert!(!workspace.runs().join(unaccepted).exists());
    }
}
