use std::collections::BTreeSet;
use std::fs;

use super::update::{Change, PipelineNews, SettingsNews};
use super::*;
use crate::host::machine::Machine;
use crate::ids::ModuleId;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(60);

/// A workspace whose files are looked at when they are needed, with what its loop would be told.
struct Files {
    folder: tempfile::TempDir,
    reload: Reload,
    machine: Machine,
    inbox: mpsc::Receiver<Message>,
}

impl Files {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = Workspace::at(folder.path()).expect("a workspace");
        for (name, text) in files {
            put(workspace.root(), name, text);
        }
        let (settings, _) = crate::host::catalog::load_settings(&workspace).expect("settings");
        let settings = Arc::new(settings);
        let mut without_gpus = Settings::default();
        without_gpus.capacity.gpus = Some(Vec::new());
        let (sender, inbox) = mpsc::channel();
        let machine = Machine::detect(&without_gpus);
        machine.set_settings(settings.clone());
        let reload = Reload::new(&workspace, &settings, machine.clone(), sender, true);
        reload.current();
        Self { folder, reload, machine, inbox }
    }

    fn put(&self, name: &str, text: &str) {
        put(self.folder.path(), name, text);
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.folder.path().join(name)).expect("a file");
    }

    fn module(&self, id: &str) -> Target {
        Target::Module { id: ModuleId::parse(id).expect("an id"), with_dependencies: false }
    }

    /// Looks until something is told that fits.
    #[track_caller]
    fn told(&self, updates: &Subscription, fits: impl Fn(&WorkspaceUpdate) -> bool) -> Arc<WorkspaceUpdate> {
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {
            self.reload.look(&Hints::default());
            while let Some(update) = updates.next(Duration::from_millis(5)) {
                if fits(&update) {
                    return update;
                }
            }
        }
        panic!("it was not told");
    }
}

fn put(root: &std::path::Path, name: &str, text: &str) {
    let file = root.join(name);
    fs::create_dir_all(file.parent().expect("it lies in the workspace")).expect("a folder");
    fs::write(file, text).expect("written");
}

fn subscribed(files: &Files, most: usize) -> Subscription {
    let (subscription, sink) = Subscription::new(most);
    files.reload.subscribe(sink);
    subscription
}

fn modules(update: &WorkspaceUpdate) -> Vec<String> {
    match update {
        WorkspaceUpdate::Modules(news) => {
            news.iter().map(|news| format!("{} {}", news.change.as_str(), news.module_id.as_deref().unwrap_or("?"))).collect()
        }
        WorkspaceUpdate::Pipelines(_) | WorkspaceUpdate::Settings(_) | WorkspaceUpdate::Watch(_) | WorkspaceUpdate::Missed => Vec::new(),
    }
}

const A: &str = "id: a\ncommand: [a]\n";
const B: &str = "id: b\ncommand: [b]\n";

#[test]
fn a_change_of_many_files_is_told_once_and_one_catalogue() {
    let files = Files::with(&[("manifests/a.yaml", A), ("manifests/b.yaml", B)]);
    let before = files.reload.current();
    let updates = subscribed(&files, 8);
    files.remove("manifests/a.yaml");
    files.put("manifests/b.yaml", "id: b\ncommand: [bb]\n");
    files.put("manifests/c.yaml", "id: c\ncommand: [c]\n");
    // What stays away, or was written just now, may be told a moment later than what is new.
    let told = std::cell::RefCell::new(Vec::new());
    files.told(&updates, |update| {
        told.borrow_mut().extend(modules(update));
        told.borrow().len() >= 3
    });
    let mut told = told.into_inner();
    told.sort();
    assert_eq!(told, ["added c", "changed b", "removed a"]);
    let after = files.reload.current();
    let ids = |catalog: &Catalog| catalog.registry.iter().map(|module| module.id.to_string()).collect::<Vec<_>>();
    assert_eq!((ids(&before), ids(&after)), (vec!["a".to_owned(), "b".into()], vec!["b".to_owned(), "c".into()]));
}

#[test]
fn a_touch_and_the_same_text_again_are_no_change() {
    let files = Files::with(&[("manifests/a.yaml", A)]);
    let before = files.reload.current();
    let updates = subscribed(&files, 8);
    files.put("manifests/a.yaml", A);
    files.put("manifests/notes.txt", "no manifest");
    files.put("manifests/.hidden.yaml", "id: h\ncommand: [h]\n");
    files.put("manifests/z.yaml", "id: z\ncommand: [z]\n");
    let told = files.told(&updates, |update| !modules(update).is_empty());
    assert_eq!(modules(&told), ["added z"]);
    assert!(
        Arc::ptr_eq(before.registry.get("a").expect("a"), files.reload.current().registry.get("a").expect("a")),
        "it was not read again"
    );
}

#[test]
fn a_moved_manifest_is_a_change_and_never_two_claims() {
    let files = Files::with(&[("manifests/a.yaml", A)]);
    let updates = subscribed(&files, 64);
    fs::rename(files.folder.path().join("manifests/a.yaml"), files.folder.path().join("manifests/z.yaml")).expect("renamed");
    let told = files.told(&updates, |update| !modules(update).is_empty());
    assert_eq!(modules(&told), ["changed a"]);
    files.put("manifests/b.yaml", B);
    let told = files.told(&updates, |update| !modules(update).is_empty());
    assert_eq!(modules(&told), ["added b"], "and nothing was removed meanwhile");
}

#[test]
fn a_submission_sees_the_save_before_it_and_keeps_what_it_got() {
    let files = Files::with(&[("manifests/a.yaml", A)]);
    let held = files.reload.catalog_for(&files.module("a"));
    files.put("manifests/a.yaml", "id: a\nversion: '2'\ncommand: [a]\n");
    let next = files.reload.catalog_for(&files.module("a"));
    let version = |catalog: &Catalog| catalog.registry.get("a").and_then(|module| module.version.clone());
    assert_eq!((version(&held), version(&next)), (None, Some("2".to_owned())));
    files.put("manifests/new.yaml", "id: new\ncommand: [n]\n");
    assert!(files.reload.catalog_for(&files.module("new")).registry.get("new").is_some());
}

#[test]
fn new_settings_go_to_the_loop_and_broken_ones_do_not() {
    let files = Files::with(&[("prismq.yaml", "host: {max_concurrent: 3}\n"), ("manifests/a.yaml", A)]);
    let updates = subscribed(&files, 8);
    assert_eq!(files.machine.capacity().max_concurrent, 3);
    files.put("prismq.yaml", "host: {max_concurrent: none}\n");
    let told = files.told(&updates, |update| matches!(update, WorkspaceUpdate::Settings(_)));
    assert!(
        matches!(told.as_ref(), WorkspaceUpdate::Settings(news) if news.errors[0].line == Some(1) && news.changed.is_empty()),
        "{told:?}"
    );
    assert_eq!((files.machine.capacity().max_concurrent, files.reload.view().settings_errors.len()), (3, 1));
    assert!(files.inbox.try_recv().is_err());
    files.put("prismq.yaml", "host: {max_concurrent: 4, shared_state: true}\ndefaults: {timeout: 5m}\n");
    let told = files.told(&updates, |update| matches!(update, WorkspaceUpdate::Settings(_)));
    let news = SettingsNews {
        changed: vec!["host.max_concurrent".into(), "defaults".into()],
        restart: vec!["host.shared_state".into()],
        errors: Vec::new(),
    };
    assert_eq!(*told, WorkspaceUpdate::Settings(news));
    let told = files.inbox.try_recv().expect("a message");
    assert!(matches!(told, Message::Command(Command::Settings { settings, .. }) if settings.max_concurrent == 4 && !settings.shared_state));
    assert_eq!(files.machine.capacity().max_concurrent, 4);
    let timeout = files.reload.current().registry.get("a").and_then(|module| module.settings.timeout);
    assert_eq!(timeout.map(|timeout| timeout.0), Some(300_000), "modules have the new defaults");
    files.remove("prismq.yaml");
    files.told(&updates, |update| matches!(update, WorkspaceUpdate::Settings(_)));
    assert_eq!(files.machine.capacity().max_concurrent, 10);
}

#[test]
fn pipelines_of_the_catalogue_follow_files_modules_and_settings() {
    let pipeline = "nodes:\n  n: {module: a}\n";
    let files = Files::with(&[("manifests/a.yaml", A), ("pipelines/p.yaml", pipeline), ("flows/q.yaml", pipeline)]);
    let updates = subscribed(&files, 64);
    let told = |wanted: &[(Change, &str)]| {
        let holds = |news: &[PipelineNews], change: Change, file: &str| news.iter().any(|news| news.change == change && news.file == file);
        files.told(
            &updates,
            |update| matches!(update, WorkspaceUpdate::Pipelines(news) if wanted.iter().all(|(change, file)| holds(news, *change, file))),
        );
    };
    assert_eq!(files.reload.pipelines(), [PipelineEntry { file: "pipelines/p.yaml".into(), errors: Vec::new() }]);
    files.put("manifests/a.yaml", "id: z\ncommand: [z]\n");
    told(&[(Change::Broken, "pipelines/p.yaml")]);
    let broken = files.reload.pipelines();
    assert_eq!((broken[0].errors[0].line, broken[0].errors[0].file.as_deref()), (Some(2), Some("pipelines/p.yaml")), "{broken:?}");
    files.put("manifests/a.yaml", A);
    told(&[(Change::Repaired, "pipelines/p.yaml")]);
    files.put("prismq.yaml", "pipelines: ['flows/*.yaml']\n");
    // The new patterns are used from the next look on.
    told(&[(Change::Added, "flows/q.yaml")]);
    told(&[(Change::Removed, "pipelines/p.yaml")]);
}

#[test]
fn a_subscriber_that_does_not_read_is_told_that_it_missed_something() {
    let files = Files::with(&[("manifests/a.yaml", A)]);
    let (slow, gone, fast) = (subscribed(&files, 1), subscribed(&files, 1), subscribed(&files, 64));
    drop(gone);
    for (id, text) in [("b", B), ("c", "id: c\ncommand: [c]\n"), ("d", "id: d\ncommand: [d]\n")] {
        files.put(&format!("manifests/{id}.yaml"), text);
        files.told(&fast, |update| modules(update) == [format!("added {id}")]);
    }
    assert_eq!(slow.next(LIMIT).as_deref(), Some(&WorkspaceUpdate::Missed));
    assert_eq!(slow.next(Duration::ZERO), None);
}

#[test]
fn updates_travel_as_json_and_read_well() {
    let files = Files::with(&[("manifests/a.yaml", A)]);
    let updates = subscribed(&files, 8);
    files.put("manifests/a.yaml", "id: a\ncommand: [a]\ntimeot: 5\n");
    let told = files.told(&updates, |update| !modules(update).is_empty());
    let text = serde_json::to_string(told.as_ref()).expect("JSON");
    assert!(
        text.starts_with(
            r#"{"type":"modules","data":[{"change":"broken","module_id":"a","file":"manifests/a.yaml","usable":true,"errors":[{"message":"#
        ),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<WorkspaceUpdate>(&text).expect("the same"), *told);
    let lines = told.lines();
    assert_eq!(lines[0], "broken a (manifests/a.yaml); its last good version stays in use");
    assert!(lines[1].starts_with("  manifests/a.yaml:3:1: ") && lines[1].contains("timeout"), "{lines:?}");
    let view = files.reload.view();
    assert_eq!((view.broken[0].usable, view.broken[0].errors[0].column), (true, Some(1)));
    let many = WorkspaceUpdate::Modules(
        (0..100)
            .flat_map(|_| match told.as_ref() {
                WorkspaceUpdate::Modules(news) => news.clone(),
                _ => Vec::new(),
            })
            .collect(),
    );
    assert_eq!(many.lines().len(), 21);
    assert!(many.lines()[20].contains("and 180 more"));
}

#[test]
fn whoever_subscribes_late_is_told_once_how_changes_are_noticed() {
    let files = Files::with(&[]);
    let subscribe = || {
        let (updates, sink) = Subscription::new(9);
        files.reload.subscribe(sink);
        updates
    };
    let told = |updates: &Subscription| updates.next(Duration::ZERO).map(|update| update.lines());
    files.reload.set_watch((&crate::watch::State::Events).into());
    let early = subscribe();
    assert_eq!(told(&early), None, "that it works as usual is no news");
    files.reload.set_watch((&crate::watch::State::Polling("nfs".into())).into());
    let late = subscribe();
    for updates in [early, late] {
        let line = "changes of files are looked for every few seconds: nfs".to_owned();
        assert_eq!((told(&updates), told(&updates)), (Some(vec![line]), None));
    }
}

#[test]
fn a_file_that_changes_while_a_watch_begins_is_read_again_or_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, other) = (folder.path().join("file"), folder.path().join("other"));
    for step in 1..4 {
        put(folder.path(), "file", "0");
        let (sender, changed) = mpsc::channel();
        let mut reads = 0;
        let read = || {
            let text = fs::read_to_string(&file).expect("a file");
            reads += 1;
            if reads == step {
                put(folder.path(), "file", "changed");
            }
            // The second reading finds one more file to be watched.
            (BTreeSet::from_iter([file.clone()].into_iter().chain((reads > 1).then(|| other.clone()))), text)
        };
        let tell = move |files| drop(sender.send(files));
        let (_watch, files, found) = super::files::FileWatch::around(read, tell).expect("a watch");
        assert_eq!(files, BTreeSet::from([file.clone(), other.clone()]));
        if found == "0" {
            assert_eq!(changed.recv_timeout(LIMIT), Ok(vec![file.clone()]), "changed after reading {step}");
        }
    }
}
