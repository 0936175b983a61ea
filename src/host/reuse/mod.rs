//! `reuse: inputs`: whether a completed attempt had the same manifest, script, parameters and input files as a node that is ready.
//!
//! ```text
//!   decide ── CheckReuse ──▶ Turn ──▶ thread: hash (key), look up (store) ──▶ Turn: NodeReused, or NodeChecked and it runs
//!   run ended ──▶ filing thread: run.json, then an entry for each of its results (store)
//! ```
//!
//! Files are read on a thread of its own, never in the loop. What was decided is an event with all that it needs, so that replay reads none.
//! The entries in `.prismq/reuse` are hints: whether the run is still there the loop knows, and to delete them costs repetition and
//! nothing else.

mod forecast;
mod key;
mod store;

use std::io;
use std::sync::{Arc, mpsc};

use serde_json::Value;

use super::clock;
use super::runfile::RunFile;
use super::turn::{Message, Turn};
use super::workspace::Workspace;
use crate::event::{Event, NotReused, ReuseCheck};
use crate::ids::{NodeIndex, RunId};
use crate::manifest::Module;
use crate::request::NodeSettings;
use crate::scheduler::ReuseOrder;
use crate::units::Timestamp;

pub use forecast::{ReuseForecast, reuse_forecast};
use key::Hasher;

/// What was found for a node.
pub(super) struct Answer {
    run: RunId,
    node: NodeIndex,
    found: Result<Found, Box<ReuseCheck>>,
}

/// A result that can be taken.
struct Found {
    from: RunId,
    outputs: Option<Arc<Value>>,
}

/// The thread that looks for earlier results. It ends with its host; a file that it is reading then is of no use to anybody.
pub(super) struct Reuser(mpsc::Sender<ReuseOrder>);

impl Reuser {
    /// Starts it; it answers to `inbox`.
    pub(super) fn start(workspace: Workspace, inbox: mpsc::Sender<Message>) -> io::Result<Self> {
        let (sender, orders) = mpsc::channel::<ReuseOrder>();
        std::thread::Builder::new().name("reuse".into()).spawn(move || {
            let mut hasher = Hasher::default();
            for ReuseOrder { run, node, module, settings, params } in orders {
                let found = search(&workspace, &mut hasher, Asked { module: &module, settings: &settings, params: &params });
                if inbox.send(Message::Checked(Answer { run, node, found })).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Has it look.
    ///
    /// # Errors
    /// The answer, where the thread is gone: the node runs then, since nobody would ever answer it.
    fn ask(&self, order: ReuseOrder, at: Timestamp) -> Result<(), Answer> {
        self.0.send(order).map_err(|mpsc::SendError(ReuseOrder { run, node, .. })| {
            let why = NotReused::Unreadable { message: "the thread that looks for earlier results has ended".into() };
            Answer { run, node, found: Err(Box::new(ReuseCheck { why, key: None, at, files: Vec::new() })) }
        })
    }
}

/// An attempt that may have been done before.
#[derive(Clone, Copy)]
struct Asked<'a> {
    module: &'a Module,
    settings: &'a NodeSettings,
    params: &'a Value,
}

/// Looks for an earlier result.
fn search(workspace: &Workspace, hasher: &mut Hasher, asked: Asked<'_>) -> Result<Found, Box<ReuseCheck>> {
    let at = clock::wall();
    let files = asked.module.params.path_pointers(asked.params).into_iter().filter_map(|pointer| asked.params.pointer(&pointer)?.as_str());
    let files: Vec<String> = files.filter(|file| !file.is_empty()).map(str::to_owned).collect();
    let check = |why, key| Box::new(ReuseCheck { why, key, at, files: files.clone() });
    let key = hasher.key(asked, &files).map_err(|message| check(NotReused::Unreadable { message }, None))?;
    let entry = store::find(workspace, &asked.module.id, &key).map_err(|why| check(why, Some(key.clone())))?;
    let reported = asked.module.outputs.as_ref().zip(entry.outputs.as_deref());
    let gone = reported.and_then(|(schema, outputs)| {
        let paths = schema.path_pointers(outputs);
        let mut paths = paths.iter().filter_map(|pointer| outputs.pointer(pointer)?.as_str());
        paths.find(|path| !std::path::Path::new(path).exists()).map(str::to_owned)
    });
    match gone {
        Some(path) => Err(check(NotReused::OutputGone { run: entry.run, path }, Some(key))),
        None => Ok(Found { from: entry.run, outputs: entry.outputs }),
    }
}

/// Notes what the nodes of a finished run may be found by. An entry that cannot be written costs a repetition.
pub(super) fn remember(workspace: &Workspace, file: &RunFile) {
    for row in &file.nodes {
        if let Err(error) = store::remember(workspace, &file.run.run_id, row) {
            tracing::warn!(run = %file.run.run_id, node = row.node, %error, "a result cannot be found again by its inputs");
        }
    }
}

/// Removes what a dead host was just writing.
pub(super) fn sweep(workspace: &Workspace, remove_asides: impl Fn(&std::path::Path)) {
    for folder in std::fs::read_dir(store::folder(workspace)).into_iter().flatten().flatten() {
        remove_asides(&folder.path());
    }
}

impl Turn {
    /// Has an earlier result looked for.
    pub(super) fn look_for_result(&mut self, order: ReuseOrder) {
        self.world.set_checking(&order.run, order.node);
        if self.heads.get(&order.run).is_some_and(|head| head.retry_of.is_some()) {
            // Whoever repeats a run wants just that: its own results were taken over when it came.
            let check = Box::new(ReuseCheck { why: NotReused::Retry, key: None, at: self.clock.now().wall, files: Vec::new() });
            return self.checked(Answer { run: order.run, node: order.node, found: Err(check) });
        }
        if let Err(answer) = self.reuser.ask(order, self.clock.now().wall) {
            self.checked(answer);
        }
    }

    /// The thread has looked. An answer about a node that was stopped meanwhile is for nobody.
    pub(super) fn checked(&mut self, Answer { run, node, found }: Answer) {
        if !self.world.run(&run).is_some_and(|state| state.get(node).is_some() && state.awaits_check(node)) {
            return;
        }
        let event = match found {
            // It may have been pruned in this moment.
            Ok(found) if !self.is_finished(&found.from) => {
                let why = NotReused::Pruned { run: found.from };
                Event::NodeChecked { node, check: Box::new(ReuseCheck { why, key: None, at: self.clock.now().wall, files: Vec::new() }) }
            }
            Ok(found) => Event::NodeReused { node, from: found.from, outputs: found.outputs },
            Err(check) => Event::NodeChecked { node, check },
        };
        if self.commit(&run, event).is_none() {
            // The journal takes nothing now: it is asked again when it does.
            self.world.forget_checking(&run, node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::testing::{module, run_id};

    #[test]
    fn a_thread_that_is_gone_leaves_no_node_waiting() {
        let (sender, orders) = mpsc::channel();
        let reuser = Reuser(sender);
        let order = || ReuseOrder {
            run: run_id(1),
            node: NodeIndex(3),
            module: module("m", None),
            settings: Arc::new(NodeSettings::default()),
            params: Arc::default(),
        };
        assert!(reuser.ask(order(), Timestamp::default()).is_ok());
        drop(orders);
        let Err(Answer { run, node, found: Err(check) }) = reuser.ask(order(), Timestamp::default()) else { panic!("nobody looks") };
        assert_eq!((run, node), (run_id(1), NodeIndex(3)));
        assert!(matches!(check.why, NotReused::Unreadable { .. }), "{check:?}");
    }
}
