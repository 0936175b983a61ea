//! Files that change while a host serves. Each folder is watched by itself: under Wine a watch of a tree gives nothing for folders in it.

use std::fs;

use prismq::watch::{Hints, Outlook, Watcher};

use crate::support::{TestSpace, until};

#[test]
fn a_watch_for_each_folder_sees_files_in_folders_that_come_later() {
    let space = TestSpace::new();
    let folder = space.at("manifests");
    let (send, looks) = std::sync::mpsc::channel();
    let watched = folder.clone();
    let look = move |_: &Hints| {
        let inner = watched.join("inner");
        let folders = [watched.clone(), inner.clone()].into_iter().filter(|folder| folder.is_dir()).collect();
        // Nobody may listen any more.
        let _ = send.send(inner.join("a.yaml").is_file());
        Outlook { folders, ..Outlook::default() }
    };
    let _watcher = Watcher::start(look, |_| {}).expect("a thread");
    fs::create_dir(folder.join("inner")).expect("a folder");
    fs::write(folder.join("inner").join("a.yaml"), "id: a\n").expect("written");
    assert!(until(|| looks.try_recv().is_ok_and(|seen| seen).then_some(())).is_some(), "nothing was seen");
}

#[test]
fn serve_follows_manifests() {
    let space = TestSpace::named("a space");
    space.stub("a", &["exit", "0"], "");
    let serve = space.start(&["serve"]);
    serve.wait_for_note("hosting");
    space.stub("b", &["exit", "0"], "");
    serve.wait_for_note("added b (manifests/b.yaml)");
    space.stub("b", &["exit", "0"], "timeout: 5m");
    serve.wait_for_note("changed b (manifests/b.yaml): timeout");
    fs::remove_file(space.at("manifests").join("b.yaml")).expect("removed");
    serve.wait_for_note("removed b (manifests/b.yaml)");
    serve.kill();
}
