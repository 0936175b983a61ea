//! The feed of everything but logs: how the workspace is, and then every change with a number.
//!
//! Changes are gathered for a moment, of several of one thing the last one counts, and encoded once for all clients. The newest ones lie in
//! a ring; who comes back within it goes on behind what it has, everybody else begins with how things are. Numbers begin with the time at
//! which the feed was opened, so that those of another feed are known to be foreign.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::{Stream, stream};
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;

use super::ring::{At, Numbered, Ring};
use super::sse::{COMMENT, GREETING, KEEP_ALIVE, event};
use super::{Slot, Streams};
use crate::api::error::ApiError;
use crate::api::work::on_thread;
use crate::event::RunStatus;
use crate::host::index::RunRow;
use crate::host::reload::update::WorkspaceUpdate;
use crate::host::update::NodeChange;
use crate::host::watch::{Change, WorkspaceView};
use crate::host::{Handle, clock};
use crate::ids::RunId;

/// So long changes are gathered after the first one.
const GATHER: Duration = Duration::from_millis(30);
/// Bytes of the newest changes that are kept.
const RING_BYTES: usize = 1 << 20;
/// How often it is looked whether anybody still listens.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A feed without a client is closed after so long.
const IDLE: Duration = Duration::from_secs(10);
/// Finished runs in a snapshot.
const FINISHED_MAX: usize = 100;

/// The feed, while somebody listens.
#[derive(Debug)]
pub(in crate::api) struct Feeds {
    handle: Handle,
    feed: Arc<Mutex<Option<Arc<Feed>>>>,
    opening: Arc<Mutex<()>>,
}

/// A feed.
#[derive(Debug)]
pub(in crate::api) struct Feed {
    state: Mutex<State>,
    bell: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    ring: Ring<Changes>,
    /// Number of the last change.
    last: u64,
    view: WorkspaceView,
    /// The runs of the view by their ids.
    runs: BTreeMap<RunId, RunRow>,
    queue: Queue,
    /// The snapshot of this number, encoded.
    snapshot: Option<(u64, Bytes)>,
    left: bool,
    used: Instant,
}

/// How many runs wait and run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Queue {
    queued: usize,
    running: usize,
}

/// Changes in a row, encoded.
#[derive(Debug)]
struct Changes {
    first: u64,
    /// Where each of them ends.
    ends: Vec<usize>,
    bytes: Bytes,
}

impl Numbered for Changes {
    fn numbers(&self) -> (u64, u64) {
        (self.first, self.first + self.ends.len() as u64 - 1)
    }

    fn bytes(&self) -> usize {
        self.bytes.len() + 8 * self.ends.len()
    }
}

impl Changes {
    /// Those from a number on.
    fn since(&self, number: u64) -> Bytes {
        let passed = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let begin = passed.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        self.bytes.slice(begin..)
    }
}

impl Feeds {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle, feed: Arc::default(), opening: Arc::default() }
    }

    /// The feed, opened where nobody listens yet.
    async fn get(&self) -> Result<Arc<Feed>, ApiError> {
        let known = |feed: &Mutex<Option<Arc<Feed>>>| {
            feed.lock().unwrap_or_else(PoisonError::into_inner).clone().inspect(|feed| feed.state().used = Instant::now())
        };
        if let Some(feed) = known(&self.feed) {
            return Ok(feed);
        }
        let (handle, shared, opening) = (self.handle.clone(), self.feed.clone(), self.opening.clone());
        on_thread(move || {
            let _alone = opening.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(feed) = known(&shared) {
                return Ok(feed);
            }
            let (sender, changes) = mpsc::channel();
            let files = sender.clone();
            handle.on_workspace_update(Box::new(move |update| files.send(Change::Files(update.clone())).is_ok()));
            let view = handle.watch(Box::new(move |change| sender.send(change).is_ok()))?;
            let feed = Arc::new(Feed::new(view));
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(feed.clone());
            let (weak, place) = (Arc::downgrade(&feed), shared);
            let spawned = std::thread::Builder::new().name("events".into()).spawn(move || run(&weak, &place, &changes));
            spawned.map_err(ApiError::from)?;
            Ok(feed)
        })
        .await?
    }
}

/// Takes changes until nobody listens any more or the host leaves.
fn run(feed: &Weak<Feed>, place: &Mutex<Option<Arc<Feed>>>, changes: &mpsc::Receiver<Change>) {
    let mut deadline = Instant::now() + ASK_EVERY;
    let mut gathered = Vec::new();
    loop {
        let received = changes.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let left = matches!(received, Ok(Change::Leaving) | Err(RecvTimeoutError::Disconnected));
        match received {
            Ok(Change::Leaving) | Err(RecvTimeoutError::Disconnected) => {}
            Ok(change) => {
                if gathered.is_empty() {
                    deadline = Instant::now() + GATHER;
                }
                gathered.push(change);
                if Instant::now() < deadline {
                    continue;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let mut held = place.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(feed) = feed.upgrade() else { return };
        feed.take(std::mem::take(&mut gathered), left);
        // The place and this function hold it.
        let unused = Arc::strong_count(&feed) <= 2 && feed.state().used.elapsed() >= IDLE;
        if left || unused {
            *held = None;
            return;
        }
        deadline = Instant::now() + ASK_EVERY;
    }
}

impl Feed {
    fn new(view: WorkspaceView) -> Self {
        let begin = u64::try_from(clock::wall().micros()).unwrap_or(1);
        let mut ring = Ring::new(RING_BYTES);
        ring.skip_to(begin);
        let runs = view.runs.iter().map(|row| (row.run_id.clone(), row.clone())).collect();
        let mut state = State {
            ring,
            last: begin,
            view: WorkspaceView { runs: Vec::new(), ..view },
            runs,
            queue: Queue::default(),
            snapshot: None,
            left: false,
            used: Instant::now(),
        };
        state.queue = state.count();
        Self { state: Mutex::new(state), bell: watch::Sender::new(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, changes: Vec<Change>, left: bool) {
        if changes.is_empty() && !left {
            return;
        }
        let mut state = self.state();
        state.left |= left;
        state.take(changes);
        drop(state);
        self.bell.send_replace(());
    }
}

/// What of several changes the last one counts of.
#[derive(PartialEq, Eq, Hash)]
enum Subject {
    Run(RunId),
    Node(RunId, String),
    Progress(RunId, String),
    Host,
    Disks,
    Resources,
}

/// A node's change as clients get it: without the folder, which is nobody's business but the host's.
#[derive(Serialize)]
struct NodeReply<'a> {
    run_id: &'a RunId,
    #[serde(flatten)]
    change: &'a NodeChange,
}

impl State {
    fn take(&mut self, changes: Vec<Change>) {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        let first = self.last + 1;
        let mut put = |name: &str, data: serde_json::Value| {
            bytes.extend_from_slice(&event(name, Some(first + ends.len() as u64), &data));
            ends.push(bytes.len());
        };
        for change in last_of_each(changes) {
            match change {
                Change::Run(row) => {
                    put("run", value(&row));
                    self.runs.insert(row.run_id.clone(), *row);
                }
                Change::Node { run, mut change } => {
                    change.folder = None;
                    put("node", value(&NodeReply { run_id: &run, change: &change }));
                }
                Change::Progress(progress) => put("progress", value(&progress)),
                Change::Removed(runs) => {
                    put("removed", json!({ "runs": runs }));
                    runs.iter().for_each(|run| drop(self.runs.remove(run)));
                }
                Change::Host(health) => {
                    put("host", value(&health));
                    self.view.health = health;
                }
                Change::Disks(disks) => {
                    put("disks", json!({ "disks": disks }));
                    self.view.disks = disks;
                }
                Change::Resources(resources) => {
                    put("resources", value(&resources));
                    self.view.resources = *resources;
                }
                Change::Files(update) => {
                    let (name, data) = of_files(&update);
                    put(name, data);
                }
                Change::Leaving => {}
            }
        }
        forget_oldest(&mut self.runs);
        let queue = count(&self.runs);
        if queue != self.queue {
            put("queue", value(&queue));
            self.queue = queue;
        }
        if !ends.is_empty() {
            self.last += ends.len() as u64;
            self.ring.push(Changes { first, ends, bytes: bytes.into() });
            self.snapshot = None;
        }
    }

    fn count(&self) -> Queue {
        count(&self.runs)
    }

    /// How everything is, as an event, and its number.
    fn snapshot(&mut self) -> (u64, Bytes) {
        let State { last, view, runs, queue, snapshot, .. } = self;
        let make = || {
            let rows: Vec<&RunRow> = runs.values().rev().collect();
            let data = json!({
                "seq": *last, "runs": rows, "queue": *queue, "host": view.health, "disks": view.disks, "resources": view.resources,
            });
            (*last, event("snapshot", Some(*last), &data))
        };
        snapshot.get_or_insert_with(make).clone()
    }
}

/// The name and the data of what became of the workspace's files.
fn of_files(update: &WorkspaceUpdate) -> (&'static str, serde_json::Value) {
    match update {
        WorkspaceUpdate::Modules(changes) => ("modules", json!({ "changes": changes })),
        WorkspaceUpdate::Pipelines(changes) => ("pipelines", json!({ "changes": changes })),
        WorkspaceUpdate::Settings(news) => ("settings", value(news)),
        WorkspaceUpdate::Watch(news) => ("watch", value(news)),
        // Nothing is dropped between the files and this feed; a client that fell behind gets a snapshot.
        WorkspaceUpdate::Missed => ("modules", json!({ "changes": [] })),
    }
}

fn value(data: &impl Serialize) -> serde_json::Value {
    // Strings, numbers and maps with string keys: this cannot fail.
    serde_json::to_value(data).unwrap_or_default()
}

fn count(runs: &BTreeMap<RunId, RunRow>) -> Queue {
    let mut queue = Queue::default();
    for row in runs.values() {
        match row.status {
            RunStatus::Queued => queue.queued += 1,
            RunStatus::Running => queue.running += 1,
            RunStatus::Completed | RunStatus::Failed | RunStatus::Cancelled => {}
        }
    }
    queue
}

/// Lets the oldest finished runs go that a snapshot has no place for.
fn forget_oldest(runs: &mut BTreeMap<RunId, RunRow>) {
    // Ids begin with the time of the submission.
    let finished = runs.values().filter(|row| row.status.is_terminal()).count();
    let old: Vec<RunId> = runs
        .values()
        .filter(|row| row.status.is_terminal())
        .take(finished.saturating_sub(FINISHED_MAX))
        .map(|row| row.run_id.clone())
        .collect();
    old.iter().for_each(|run| drop(runs.remove(run)));
}

/// Of each subject the last change, in the order in which these came.
fn last_of_each(changes: Vec<Change>) -> Vec<Change> {
    let subject = |change: &Change| match change {
        Change::Run(row) => Some(Subject::Run(row.run_id.clone())),
        Change::Node { run, change } => Some(Subject::Node(run.clone(), change.node.clone())),
        Change::Progress(progress) => Some(Subject::Progress(progress.run_id.clone(), progress.node.clone())),
        Change::Host(_) => Some(Subject::Host),
        Change::Disks(_) => Some(Subject::Disks),
        Change::Resources(_) => Some(Subject::Resources),
        Change::Removed(_) | Change::Files(_) | Change::Leaving => None,
    };
    let mut last = HashMap::new();
    for (at, change) in changes.iter().enumerate() {
        last.extend(subject(change).map(|subject| (subject, at)));
    }
    let is_last = |(at, change): &(usize, Change)| subject(change).is_none_or(|subject| last.get(&subject) == Some(at));
    changes.into_iter().enumerate().filter(is_last).map(|(_, change)| change).collect()
}

struct Client {
    feed: Arc<Feed>,
    bell: watch::Receiver<()>,
    /// The change that it wants next; none: it begins with how things are.
    next: Option<u64>,
    greeted: bool,
    _slot: Slot,
}

/// The events for a client that has seen everything up to a number, or nothing yet.
///
/// # Errors
/// When the host is leaving.
pub(in crate::api) async fn events(
    streams: &Streams,
    seen: Option<u64>,
    slot: Slot,
) -> Result<impl Stream<Item = Bytes> + Send + use<>, ApiError> {
    let feed = streams.events.get().await?;
    let client = Client { bell: feed.bell.subscribe(), feed, next: seen.map(|seen| seen.saturating_add(1)), greeted: false, _slot: slot };
    Ok(stream::unfold(client, |mut client| async move { client.step().await.map(|bytes| (bytes, client)) }))
}

impl Client {
    async fn step(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Bytes::from_static(GREETING.as_bytes()));
        }
        loop {
            self.bell.borrow_and_update();
            if let Some(bytes) = self.next_bytes() {
                return bytes;
            }
            let changed = tokio::time::timeout(KEEP_ALIVE, self.bell.changed()).await;
            if changed.is_err() {
                return Some(Bytes::from_static(COMMENT.as_bytes()));
            }
        }
    }

    /// What there is for it; `Some(None)` at the end, `None` where there is nothing yet.
    fn next_bytes(&mut self) -> Option<Option<Bytes>> {
        let mut state = self.feed.state();
        let Some(next) = self.next else {
            let (seq, bytes) = state.snapshot();
            self.next = Some(seq + 1);
            return Some(Some(bytes));
        };
        match state.ring.at(next) {
            At::Here(changes) => {
                self.next = Some(changes.numbers().1 + 1);
                Some(Some(changes.since(next)))
            }
            // Exactly behind the last one: it has seen everything.
            At::Ahead if next == state.last + 1 => state.left.then_some(None),
            At::Ahead | At::Before => {
                // It has fallen behind too far, or comes from another host.
                let (seq, snapshot) = state.snapshot();
                self.next = Some(seq + 1);
                let reset = event("reset", None, &json!({ "reason": "what changed meanwhile is not known any more: a snapshot follows" }));
                Some(Some([reset, snapshot].concat().into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(reason: &str) -> Change {
        Change::Host(crate::host::HostHealth { reason: Some(reason.to_owned()), ..Default::default() })
    }

    #[test]
    fn of_several_changes_of_one_thing_the_last_counts() {
        let progress = |node: &str, done| {
            Change::Progress(Box::new(crate::host::watch::Progress {
                run_id: RunId::parse("20260101-000000-abcde").expect("an id"),
                node: node.to_owned(),
                done: Some(done),
                total: None,
                message: None,
            }))
        };
        let changes = vec![progress("a", 1.0), host("x"), progress("b", 1.0), progress("a", 2.0), host("y")];
        assert_eq!(last_of_each(changes), [progress("b", 1.0), progress("a", 2.0), host("y")]);
    }

    #[test]
    fn who_comes_back_goes_on_within_the_changes() {
        let feed = Feed::new(WorkspaceView::default());
        let begin = feed.state().last;
        feed.take(vec![host("one"), Change::Removed(Vec::new()), Change::Disks(Vec::new())], false);
        let mut state = feed.state();
        assert_eq!(state.last, begin + 3);
        let At::Here(changes) = state.ring.at(begin + 2) else { panic!("it is here") };
        let text = String::from_utf8(changes.since(begin + 2).to_vec()).expect("text");
        assert!(!text.contains("event: host") && text.contains(&format!("event: removed\nid: {}\n", begin + 2)), "{text}");
        assert!(text.contains(&format!("event: disks\nid: {}\n", begin + 3)), "{text}");
        assert!(matches!(state.ring.at(begin), At::Before));
        let (seq, snapshot) = state.snapshot();
        assert!(seq == begin + 3 && String::from_utf8_lossy(&snapshot).contains("\"reason\":\"one\""));
    }
}
