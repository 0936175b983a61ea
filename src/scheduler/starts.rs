//! Which ready nodes start, and which intents are written before they are needed.
//!
//! Runs in the order of their ids, within a run the longest way to the end first, then the order of the file. A class that has no room
//! does not hold up the others. A chosen node whose intent is not durable yet keeps its room until it is: a sync is short, and a less
//! urgent node in its place may run for hours.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::iter::Peekable;
use std::sync::Arc;

use crate::event::Event;
use crate::ids::{AttemptId, NodeIndex, RunId};
use crate::run::{ClassId, OrderKey, RunState, evaluate};

use super::World;
use super::decide::record;
use super::effect::{Effect, StartOrder};
use super::room::Room;

/// Unused intents of ready nodes are filled up to the second number when they sink to the first: enough to keep any number of places
/// busy from one sync to the next, in batches, and few enough to be harmless.
const INTENDED_LOW: u32 = 32;
const INTENDED_HIGH: u32 = 64;

/// Unused intents at which those of waiting nodes are no longer written either.
const INTENDED_MOST: u32 = 128;

/// Starts and intents, after the records of this call.
pub(super) fn starts(world: &World, effects: &mut Vec<Effect>) {
    let mut room = Room::new(world);
    let mut intents = Intents { written: BTreeSet::new(), count: world.intended() };
    for run in world.startable() {
        if room.is_full() {
            break;
        }
        start_run(world, run, &mut room, &mut intents, effects);
    }
    for run in world.undecided().filter(|run| !run.facts().held && run.facts().cancel.is_none()) {
        ahead_of_dependencies(run, &mut intents, effects);
    }
    if intents.count <= INTENDED_LOW {
        for run in world.startable() {
            ahead_of_room(run, &mut intents, effects);
            if intents.count >= INTENDED_HIGH {
                break;
            }
        }
    }
}

/// Intents proposed in this call.
struct Intents<'w> {
    written: BTreeSet<(&'w RunId, NodeIndex)>,
    /// Unused ones, these included.
    count: u32,
}

impl<'w> Intents<'w> {
    /// Proposes the intent of a node's next attempt, unless it is written or proposed.
    fn propose(&mut self, run: &'w RunState, node: NodeIndex, effects: &mut Vec<Effect>) {
        debug_assert!(!run.awaits_check(node), "an intent before the answer about an earlier result");
        if run.intent(node).is_none() && self.written.insert((run.id(), node)) {
            self.count += 1;
            effects.push(record(run, Event::AttemptIntended { node, attempt: run.next_attempt(node) }));
        }
    }
}

fn start_run<'w>(world: &'w World, run: &'w RunState, room: &mut Room<'w>, intents: &mut Intents<'w>, effects: &mut Vec<Effect>) {
    let mut queue = Queue::new(run);
    while !room.is_full_for(run)
        && let Some((class, node)) = queue.next(|class| room.has(run, class))
    {
        match run.intent(node) {
            Some(seq) if seq <= world.synced() => match order(run, node, class, room) {
                Ok(order) => {
                    room.take(run, class);
                    effects.push(Effect::Start(Box::new(order)));
                }
                Err(failed) => effects.push(record(run, *failed)),
            },
            Some(_) | None => {
                room.take(run, class);
                intents.propose(run, node, effects);
            }
        }
    }
}

fn order<'w>(run: &'w RunState, node: NodeIndex, class: ClassId, room: &Room<'w>) -> Result<StartOrder, Box<Event>> {
    let params = evaluate::params(run, node).map_err(|cause| Box::new(Event::NodeFailed { node, cause }))?;
    let module = run.module(node).expect("only leaves are in classes, and a leaf runs a module").clone();
    Ok(StartOrder {
        id: AttemptId { run: run.id().clone(), node, attempt: run.next_attempt(node) },
        path: run.path(node),
        module,
        settings: run.node_def(node).settings.clone(),
        params: Arc::new(params.value),
        defaulted: params.defaulted,
        grant: room.grant(run, class).into_owned(),
    })
}

/// Intents of nodes that become ready when one attempt ends: then the hop to them does not wait for the disk.
fn ahead_of_dependencies<'w>(run: &'w RunState, intents: &mut Intents<'w>, effects: &mut Vec<Effect>) {
    for node in run.ahead().filter(|node| !run.is_swept(*node)) {
        if intents.count >= INTENDED_MOST {
            return;
        }
        intents.propose(run, node, effects);
    }
}

/// Intents of the next ready nodes, whether or not there is room for them now. A node that awaits its check is in no class, so that its
/// intent always follows the answer.
fn ahead_of_room<'w>(run: &'w RunState, intents: &mut Intents<'w>, effects: &mut Vec<Effect>) {
    let mut queue = Queue::new(run);
    while let Some((_, node)) = queue.next(|_| true) {
        if intents.count >= INTENDED_HIGH {
            return;
        }
        intents.propose(run, node, effects);
    }
}

/// The ready nodes of a run in order, merged from its classes. Only as many classes are looked at as are needed for the nodes that are asked
/// for: there may be as many classes as nodes.
struct Queue<'w> {
    run: &'w RunState,
    /// First nodes of the classes that were not looked at yet.
    firsts: Peekable<Box<dyn Iterator<Item = (OrderKey, ClassId)> + 'w>>,
    /// Next nodes of those that were.
    nexts: BinaryHeap<Reverse<(OrderKey, ClassId)>>,
}

impl<'w> Queue<'w> {
    fn new(run: &'w RunState) -> Self {
        let firsts: Box<dyn Iterator<Item = (OrderKey, ClassId)> + 'w> = Box::new(run.ready_heads());
        Self { run, firsts: firsts.peekable(), nexts: BinaryHeap::new() }
    }

    /// The next node of a class that `has_room`; a class without room is left out from then on. Nodes whose pipeline is being stopped
    /// are passed over.
    fn next(&mut self, has_room: impl Fn(ClassId) -> bool) -> Option<(ClassId, NodeIndex)> {
        loop {
            let next = self.nexts.peek().map(|Reverse(next)| *next);
            let (key, class) = match (self.firsts.peek().copied(), next) {
                (Some(first), Some(next)) if next < first => self.nexts.pop().map(|Reverse(next)| next),
                (None, Some(_)) => self.nexts.pop().map(|Reverse(next)| next),
                (Some(_), _) => self.firsts.next(),
                (None, None) => None,
            }?;
            if !has_room(class) {
                continue;
            }
            if let Some(after) = self.run.ready_after(class, key).next() {
                self.nexts.push(Reverse((after, class)));
            }
            if !self.run.is_swept(key.1) {
                return Some((class, key.1));
            }
        }
    }
}
