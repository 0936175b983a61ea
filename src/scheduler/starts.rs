//! Which ready nodes start, and which intents are written before they are needed.
//!
//! By priority (`precedence`), runs in the order of their ids, within a run the longest way to the end first, then where one of the same
//! `affinity` ran last, then the order of the file. The first node that lacks a resource has room kept for it (`reserve`); a class that
//! has no room does not hold up the others otherwise. A chosen node whose intent is not durable yet keeps its room until it is: a sync is short, and a less
//! urgent node in its place may run for hours.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::iter::Peekable;
use std::sync::Arc;

use crate::event::Event;
use crate::ids::{AttemptId, NodeIndex, RunId};
use crate::request::{Priority, Request};
use crate::run::{ClassId, OrderKey, RunState, evaluate};
use crate::units::Timestamp;

use super::World;
use super::decide::record;
use super::effect::{Effect, StartOrder};
use super::room::{Choice, Room};
use super::warm::Warm;

/// Unused intents of ready nodes are filled up to the second number when they sink to the first: enough to keep any number of places
/// busy from one sync to the next, in batches, and few enough to be harmless.
const INTENDED_LOW: u32 = 32;
const INTENDED_HIGH: u32 = 64;

/// Unused intents at which those of waiting nodes are no longer written either.
const INTENDED_MOST: u32 = 128;

/// Starts and intents, after the records of this call. What is left of the room tells for whom some of it is kept.
pub(super) fn starts<'w>(world: &'w World, now: Timestamp, effects: &mut Vec<Effect>) -> Room<'w> {
    let mut room = Room::new(world, now);
    let mut intents = Intents { written: BTreeSet::new(), count: world.intended() };
    let mut first = BTreeSet::new();
    for (run, priority) in world.overdue(now) {
        if room.is_full() {
            break;
        }
        Turn { run, priority, first: &first }.start(world, 1, &mut room, &mut intents, effects).iter().for_each(|node| {
            first.insert((run.id(), *node));
        });
    }
    for (run, priority) in world.queues() {
        if room.is_full() {
            break;
        }
        Turn { run, priority, first: &first }.start(world, usize::MAX, &mut room, &mut intents, effects);
    }
    for run in world.undecided().filter(|run| !run.facts().held && run.facts().cancel.is_none()) {
        ahead_of_dependencies(run, &mut intents, effects);
    }
    if intents.count <= INTENDED_LOW {
        for (run, priority) in world.queues() {
            ahead_of_room(run, priority, &mut intents, effects);
            if intents.count >= INTENDED_HIGH {
                break;
            }
        }
    }
    room
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

/// What is ready of a run in one priority, without those that came first.
struct Turn<'w, 'f> {
    run: &'w RunState,
    priority: Priority,
    first: &'f BTreeSet<(&'w RunId, NodeIndex)>,
}

impl<'w> Turn<'w, '_> {
    /// Starts what there is room for, at most so many; tells which one was the last.
    fn start(
        &self,
        world: &'w World,
        most: usize,
        room: &mut Room<'w>,
        intents: &mut Intents<'w>,
        effects: &mut Vec<Effect>,
    ) -> Option<NodeIndex> {
        let run = self.run;
        let mut queue = Queue::new(run, self.priority).with_warm(world.warm(), self.priority);
        let mut last = None;
        for _ in 0..most {
            let is_first = |node| !self.first.is_empty() && self.first.contains(&(run.id(), node));
            let Some((class, node, choice)) = queue.next(room, is_first) else { break };
            room.take(run, class, &choice);
            last = Some(node);
            match run.intent(node) {
                Some(seq) if seq <= world.synced() => effects.push(match order(run, node, choice.grant.into_owned()) {
                    Ok(order) => Effect::Start(Box::new(order)),
                    Err(failed) => record(run, *failed),
                }),
                Some(_) | None => intents.propose(run, node, effects),
            }
        }
        last
    }
}

fn order(run: &RunState, node: NodeIndex, grant: Request) -> Result<StartOrder, Box<Event>> {
    let params = evaluate::params(run, node).map_err(|cause| Box::new(Event::NodeFailed { node, cause }))?;
    let module = run.module(node).expect("only leaves are in classes, and a leaf runs a module").clone();
    Ok(StartOrder {
        id: AttemptId { run: run.id().clone(), node, attempt: run.next_attempt(node) },
        path: run.path(node),
        module,
        settings: run.node_def(node).settings.clone(),
        params: Arc::new(params.value),
        defaulted: params.defaulted,
        grant,
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
fn ahead_of_room<'w>(run: &'w RunState, priority: Priority, intents: &mut Intents<'w>, effects: &mut Vec<Effect>) {
    let mut queue = Queue::new(run, priority);
    while let Some((class, key)) = queue.peek() {
        if intents.count >= INTENDED_HIGH {
            return;
        }
        queue.advance(class, key);
        if !run.is_swept(key.1) {
            intents.propose(run, key.1, effects);
        }
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
    /// Classes of an `affinity` that ran last somewhere, with their next nodes: among equals they come first. They are not among the others.
    warm: BTreeMap<ClassId, Option<OrderKey>>,
}

impl<'w> Queue<'w> {
    fn new(run: &'w RunState, priority: Priority) -> Self {
        let firsts: Box<dyn Iterator<Item = (OrderKey, ClassId)> + 'w> = Box::new(run.ready_heads(priority));
        Self { run, firsts: firsts.peekable(), nexts: BinaryHeap::new(), warm: BTreeMap::new() }
    }

    fn with_warm(mut self, warm: &Warm, priority: Priority) -> Self {
        for key in warm.keys() {
            self.warm.extend(self.run.ready_kin(priority, key).map(|(head, class)| (class, Some(head))));
        }
        self
    }

    /// The next node in order with its class; it stays there until somebody [advances](Self::advance).
    fn peek(&mut self) -> Option<(ClassId, OrderKey)> {
        while self.firsts.peek().is_some_and(|(_, class)| self.warm.contains_key(class)) {
            self.firsts.next();
        }
        let first = self.firsts.peek().copied();
        let next = self.nexts.peek().map(|Reverse(next)| *next);
        let warm = self.warm.iter().filter_map(|(class, key)| Some(((*key)?, *class)));
        first.into_iter().chain(next).chain(warm).min().map(|(key, class)| (class, key))
    }

    /// Takes a node off, so that the next one of its class comes in its place.
    fn advance(&mut self, class: ClassId, key: OrderKey) {
        let after = self.run.ready_after(class, key).next();
        if self.leave(class, key) {
            self.warm.insert(class, after);
        } else if let Some(after) = after {
            self.nexts.push(Reverse((after, class)));
        }
    }

    /// Takes a class off whose next node this is. Whether it is a warm one.
    fn leave(&mut self, class: ClassId, key: OrderKey) -> bool {
        if let Some(next) = self.warm.get_mut(&class) {
            *next = None;
            return true;
        }
        if self.firsts.peek() == Some(&(key, class)) {
            self.firsts.next();
        } else {
            self.nexts.pop();
        }
        false
    }

    /// The next node that may start, with what it gets. A class of which one may not is left out from then on; nodes whose pipeline is
    /// being stopped, and those for which `is_passed` holds, are passed over. Whether there is [room](Room::is_full_for) at all is asked before
    /// each of them, since there may be as many classes as nodes.
    fn next(&mut self, room: &mut Room<'w>, is_passed: impl Fn(NodeIndex) -> bool) -> Option<(ClassId, NodeIndex, Choice<'w>)> {
        while !room.is_full_for(self.run)
            && let Some((class, key)) = self.peek()
        {
            let (class, key) = self.warm_equal(key.0, room).unwrap_or((class, key));
            if self.run.is_swept(key.1) || is_passed(key.1) {
                self.advance(class, key);
                continue;
            }
            match room.choose(self.run, class, key.1) {
                Some(choice) => {
                    self.advance(class, key);
                    return Some((class, key.1, choice));
                }
                None => drop(self.leave(class, key)),
            }
        }
        None
    }

    /// Among the nodes with the longest way that is left, one that would go on where one of its `affinity` ran last.
    fn warm_equal(&self, way: Reverse<u64>, room: &Room<'w>) -> Option<(ClassId, OrderKey)> {
        let equals = self.warm.iter().filter_map(|(class, key)| Some(((*key)?, *class))).filter(|(key, _)| key.0 == way);
        let mut equals: Vec<(OrderKey, ClassId)> = equals.collect();
        equals.sort_unstable();
        let warm = equals.into_iter().find(|(key, class)| room.is_warm(self.run, *class, key.1));
        warm.map(|(key, class)| (class, key))
    }
}
