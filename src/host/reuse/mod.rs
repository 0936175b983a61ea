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
mod made;
mod store;

use std::io;
use std::panic;
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
use crate::run::RunState;
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
            let look = |order: &ReuseOrder| {
                let asked = Asked { module: &order.module, settings: &order.settings, params: &order.params };
                search(&workspace, &mut hasher, asked)
            };
            answer_all(orders, look, |answer| inbox.send(Message::Checked(answer)).is_ok());
        })?;
        Ok(Self(sender))
    }

    /// Has it look.
    ///
    /// # Errors
    /// The answer, where the thread is gone: the node runs then, since nobody would ever answer it.
    fn ask(&self, order: ReuseOrder, at: Timestamp) -> Result<(), Answer> {
        self.0.send(order).map_err(|mpsc::SendError(order)| unchecked(&order, "the thread that looks for earlier results has ended", at))
    }
}

/// Answers every order, also where a look at one ends by a fault of ours: that node runs, and the others are looked for all the same.
fn answer_all(
    orders: mpsc::Receiver<ReuseOrder>,
    mut look: impl FnMut(&ReuseOrder) -> Result<Found, Box<ReuseCheck>>,
    tell: impl Fn(Answer) -> bool,
) {
    for order in orders {
        // What it remembers are whole entries of a map, whatever it was doing.
        let looked = panic::catch_unwind(panic::AssertUnwindSafe(|| look(&order)));
        let answer = match looked {
            Ok(found) => Answer { run: order.run, node: order.node, found },
            Err(_) => {
                tracing::error!(run = %order.run, node = order.node.0, "the look for an earlier result ended by a fault of ours");
                unchecked(&order, "the look for an earlier result ended by a fault of prismq", clock::wall())
            }
        };
        if !tell(answer) {
            break;
        }
    }
}

/// Nobody knows whether there is a result: the node runs.
fn unchecked(order: &ReuseOrder, message: &str, at: Timestamp) -> Answer {
    let why = NotReused::Unreadable { message: message.to_owned() };
    let check = ReuseCheck { why, key: None, at, files: Vec::new() };
    Answer { run: order.run.clone(), node: order.node, found: Err(Box::new(check)) }
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
    match made::lost(asked.module, entry.outputs.as_deref(), &entry.made, &entry.run) {
        Some(why) => Err(check(why, Some(key))),
        None => Ok(Found { from: entry.run, outputs: entry.outputs }),
    }
}

/// Notes what the nodes of a finished run may be found by. An entry that cannot be written costs a repetition.
pub(super) fn remember(workspace: &Workspace, file: &RunFile, state: &RunState) {
    for ((node, _), row) in state.nodes().zip(&file.nodes) {
        let Some(module) = state.module(node) else { continue };
        if let Err(error) = store::remember(workspace, &file.run.run_id, row, module) {
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

    fn order() -> ReuseOrder {
        ReuseOrder {
            run: run_id(1),
            node: NodeIndex(3),
            module: module("m", None),
            settings: Arc::new(NodeSettings::default()),
            params: Arc::default(),
        }
    }

    #[test]
    fn a_look_that_ends_by_a_fault_is_answered_and_so_are_those_behind_it() {
        let (sender, orders) = mpsc::channel();
        (3..6).for_each(|node| sender.send(ReuseOrder { node: NodeIndex(node), ..order() }).expect("it listens"));
        drop(sender);
        let answers = std::cell::RefCell::new(Vec::new());
        let look = |order: &ReuseOrder| {
            assert!(order.node != NodeIndex(4), "a fault");
            Ok(Found { from: run_id(2), outputs: None })
        };
        answer_all(orders, look, |answer| {
            answers.borrow_mut().push((answer.node.0, answer.found.map_err(|check| check.why).err()));
            true
        });
        let why = NotReused::Unreadable { message: "the look for an earlier result ended by a fault of prismq".into() };
        assert_eq!(answers.into_inner(), [(3, None), (4, Some(why)), (5, None)]);
    }

    #[test]
    fn a_thread_that_is_gone_leaves_no_node_waiting() {
        let (sender, orders) = mpsc::channel();
        let reuser = Reuser(sender);
        assert!(reuser.ask(order(), Timestamp::default()).is_ok());
        drop(orders);
        let Err(Answer { run, node, found: Err(check) }) = reuser.ask(order(), Timestamp::default()) else { panic!("nobody looks") };
        assert_eq!((run, node), (run_id(1), NodeIndex(3)));
        assert!(matches!(check.why, NotReused::Unreadable { .. }), "{check:?}");
    }
}
