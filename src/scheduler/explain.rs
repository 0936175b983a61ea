//! Why a node does not run: the scheduler's own predicates, as data.

use schemars::JsonSchema;
use serde::Serialize;

use crate::ids::{NodeIndex, RunId};
use crate::request::{Priority, Request, WHOLE_GPU};
use crate::resources::{Disk, Unmet};
use crate::run::{ClassId, NodeState, RunState};
use crate::units::Timestamp;

use super::World;
use super::precedence::patience;
use super::room::{Lack, Room};
use super::starts;

/// Most nodes and holders named in one answer.
pub const LISTED_MAX: usize = 20;

/// One thing that keeps a node from starting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "blocker")]
pub enum Blocker {
    /// Nodes that are not terminal; at most [`LISTED_MAX`] are named.
    Dependencies {
        /// Paths.
        nodes: Vec<String>,
        /// How many in all.
        count: u32,
    },
    /// The group or sub-pipeline around it was not opened.
    Around {
        /// Its path.
        node: String,
    },
    /// What it lacks, and who has it.
    Resource {
        /// What.
        unmet: Unmet,
        /// The capacity is too small even when all is free.
        missing: bool,
        /// Which of several alternatives (`any_of`) lacks it, counted from 0.
        #[serde(skip_serializing_if = "Option::is_none")]
        alternative: Option<u32>,
        /// Who holds it, at most [`LISTED_MAX`].
        holders: Vec<Holder>,
    },
    /// There is room, and it would delay a node that comes before it and has none yet.
    HeldBack {
        /// The run of that node.
        run_id: String,
        /// That node.
        node: String,
        /// When that one is expected to start; none where nobody knows how long what it waits for takes.
        #[serde(skip_serializing_if = "Option::is_none")]
        expected: Option<Timestamp>,
    },
    /// Room is kept for it: it comes next.
    Reserved {
        /// When it is expected to start; none where nobody knows how long what it waits for takes.
        #[serde(skip_serializing_if = "Option::is_none")]
        expected: Option<Timestamp>,
    },
    /// Others come before it by their priority, or it comes before them since it has waited long.
    Priority {
        /// Its own.
        priority: Priority,
        /// Ready nodes of a higher one.
        ahead: usize,
        /// Since when nothing of its run in this priority has started.
        since: Timestamp,
        /// When one of its run in this priority comes before all others, if none has started until then.
        first_at: Timestamp,
        /// Whether that time has come.
        first: bool,
    },
    /// The module's `concurrency`.
    Concurrency {
        /// The module.
        module: String,
        /// Its limit.
        limit: u32,
        /// Who runs it, at most [`LISTED_MAX`].
        holders: Vec<Holder>,
    },
    /// The group's `max_parallel`.
    MaxParallel {
        /// The group.
        group: String,
        /// Its limit.
        limit: u32,
    },
    /// It pauses before its next attempt.
    Backoff {
        /// Until then.
        until: Timestamp,
        /// Why the last attempt failed.
        cause: String,
    },
    /// The run is held until somebody says `resume`, or the node's attempt was lost with its host.
    RunHeld,
    /// The run is being cancelled, or its pipeline stopped.
    Stopping,
    /// A file system has less space than is kept free: nothing new starts until there is more.
    Disk {
        /// Which, how much is free, and how much must be.
        disk: Disk,
    },
    /// The host starts nothing new.
    NotAccepting,
    /// Whether an earlier result stands for it is being looked for (`reuse: inputs`).
    Reuse,
    /// There is room, and its start is being written to the journal; or the next decision takes it.
    Journal,
}

/// Who holds something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Holder {
    /// The run.
    pub run_id: String,
    /// The node.
    pub node: String,
    /// How much, in words.
    pub amount: String,
    /// Since when.
    pub since: Timestamp,
    /// When it usually would end, by what attempts of its module took before; may have passed. None where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What the decision of this moment says of all ready nodes, for as many questions as there are.
pub struct Survey<'w> {
    world: &'w World,
    now: Timestamp,
    room: Room<'w>,
    /// Ready nodes by priority.
    ready: [usize; Priority::ALL.len()],
}

impl<'w> Survey<'w> {
    /// Looks at everything that is ready, as a decision at this time does.
    #[must_use]
    pub fn new(world: &'w World, now: Timestamp) -> Self {
        // What would start now does so at once: of what is asked here only those are left that do not.
        let room = starts::starts(world, now, &mut Vec::new());
        let ready = Priority::ALL.map(|priority| world.startable().map(|run| run.count_ready(priority)).sum());
        Self { world, now, room, ready }
    }

    /// Why a node does not run. Empty for one that runs or is terminal, and for one that the host does not know.
    #[must_use]
    pub fn explain(&self, run: &RunId, node: NodeIndex) -> Vec<Blocker> {
        explain(self, run, node)
    }

    /// What keeps a ready node of a class.
    fn ready(&self, run: &'w RunState, class: ClassId, node: NodeIndex) -> Vec<Blocker> {
        let mut blockers = room(self, run, class);
        if let Some(head) = self.room.head().filter(|_| !blockers.is_empty() || self.room.is_held_back(run, class, node)) {
            let expected = self.room.shadow().and_then(|shadow| shadow.at);
            if (&head.run, head.node) == (run.id(), node) {
                blockers.push(Blocker::Reserved { expected });
            } else if blockers.is_empty() {
                let path = self.world.run(&head.run).map(|run| run.path(head.node)).unwrap_or_default();
                blockers.push(Blocker::HeldBack { run_id: head.run.to_string(), node: path, expected });
            }
        }
        if !blockers.is_empty() {
            blockers.extend(self.priority(run, class));
        }
        blockers
    }

    /// Where it stands by its priority, if that matters.
    fn priority(&self, run: &RunState, class: ClassId) -> Option<Blocker> {
        let priority = run.priority_of(class);
        let since = self.world.waits_since(run.id(), priority)?;
        let first_at = since.plus(patience(priority));
        let ahead = Priority::ALL.into_iter().zip(self.ready).filter(|(other, _)| *other < priority).map(|(_, count)| count).sum();
        let first = first_at <= self.now;
        (ahead > 0).then_some(Blocker::Priority { priority, ahead, since, first_at, first })
    }
}

fn explain(survey: &Survey<'_>, run: &RunId, node: NodeIndex) -> Vec<Blocker> {
    let world = survey.world;
    let Some(run) = world.run(run).filter(|run| node.at() < run.len()) else { return Vec::new() };
    let own = match run.node(node).state() {
        NodeState::Running { .. } | NodeState::Stopping { .. } | NodeState::Open { .. } | NodeState::Done { .. } => return Vec::new(),
        NodeState::Waiting { .. } => dependencies(run, node),
        NodeState::Ready { .. } if run.awaits_check(node) => vec![Blocker::Reuse],
        NodeState::Ready { .. } => match run.class_of(node) {
            Some(class) => survey.ready(run, class, node),
            None => turn(run, node),
        },
        NodeState::Retrying { until, cause, .. } => vec![Blocker::Backoff { until: *until, cause: cause.to_string() }],
        NodeState::Interrupted { .. } => vec![Blocker::RunHeld],
    };
    let mut blockers = Vec::new();
    if run.facts().held && !own.contains(&Blocker::RunHeld) {
        blockers.push(Blocker::RunHeld);
    }
    if run.is_swept(node) {
        blockers.push(Blocker::Stopping);
    }
    if !world.accepting() {
        blockers.push(Blocker::NotAccepting);
    }
    blockers.extend(world.short_disks().map(|disk| Blocker::Disk { disk: disk.clone() }));
    blockers.extend(own);
    if blockers.is_empty() {
        blockers.push(Blocker::Journal);
    }
    blockers
}

fn dependencies(run: &RunState, node: NodeIndex) -> Vec<Blocker> {
    let unfinished: Vec<NodeIndex> = run.dependencies(node).filter(|dependency| !run.node(*dependency).state().is_done()).collect();
    let mut blockers = Vec::new();
    if !unfinished.is_empty() {
        let nodes = unfinished.iter().take(LISTED_MAX).map(|node| run.path(*node)).collect();
        blockers.push(Blocker::Dependencies { nodes, count: u32::try_from(unfinished.len()).unwrap_or(u32::MAX) });
    }
    let closed = |parent: &NodeIndex| !matches!(run.node(*parent).state(), NodeState::Open { .. });
    blockers.extend(run.parent(node).filter(closed).map(|parent| Blocker::Around { node: run.path(parent) }));
    blockers
}

/// A sub-pipeline among the instances of a group that waits for its turn.
fn turn(run: &RunState, node: NodeIndex) -> Vec<Blocker> {
    let group = run.parent(node).filter(|_| !run.needs_decision(node));
    let limit = run.node_def(node).control.as_ref().and_then(|control| control.max_parallel);
    group.zip(limit).map(|(group, limit)| Blocker::MaxParallel { group: run.path(group), limit }).into_iter().collect()
}

fn room<'w>(survey: &Survey<'w>, run: &'w RunState, class: ClassId) -> Vec<Blocker> {
    let world = survey.world;
    let blocker = |lack| match lack {
        Lack::Resource(unmet, alternative) => {
            let holders = holders(world, |run, node| amount_held(&unmet, run, node));
            Blocker::Resource { missing: unmet.is_missing(), holders, alternative, unmet }
        }
        Lack::Concurrency(module, limit) => {
            let runs_it = |run: &RunState, node| run.module(node).filter(|other| other.id == module).map(|_| "1".to_owned());
            Blocker::Concurrency { holders: holders(world, runs_it), module: module.to_string(), limit }
        }
        Lack::MaxParallel(group, limit) => Blocker::MaxParallel { group: run.path(group), limit },
    };
    Room::new(world, survey.now).lacks(run, class).into_iter().map(blocker).collect()
}

/// What a running node holds of a resource, in words.
fn amount_held(unmet: &Unmet, run: &RunState, node: NodeIndex) -> Option<String> {
    let (_, grant) = run.node(node).state().holding()?;
    match unmet {
        Unmet::Slots { .. } => Some("1".to_owned()),
        Unmet::Cpus { .. } => (grant.cpus.0 > 0).then(|| grant.cpus.to_string()),
        Unmet::Memory { .. } => (grant.memory.0 > 0).then(|| grant.memory.to_string()),
        Unmet::MemoryInUse { .. } => (grant.memory.0 > 0).then(|| grant.memory.to_string()),
        Unmet::Gpus { .. } | Unmet::Vram { .. } | Unmet::VramInUse { .. } => gpus_held(grant),
        Unmet::Reading => None,
        Unmet::Custom { name, .. } => grant.custom.get(name).filter(|amount| amount.0 > 0).map(ToString::to_string),
    }
}

fn gpus_held(grant: &Request) -> Option<String> {
    let said = grant.devices.iter().map(|device| match (device.share.0, device.vram.0) {
        (WHOLE_GPU.., _) => format!("all of {}", device.gpu),
        (0, _) => format!("{} of {}", device.vram, device.gpu),
        (_, 0) => format!("{} of {}", device.share, device.gpu),
        (_, _) => format!("{} and {} of {}", device.share, device.vram, device.gpu),
    });
    let said: Vec<String> = said.collect();
    (!said.is_empty()).then(|| said.join(", "))
}

fn holders(world: &World, amount: impl Fn(&RunState, NodeIndex) -> Option<String>) -> Vec<Holder> {
    let active = world.runs().flat_map(|run| run.active().map(move |node| (run, node)));
    let active = active.filter(|(run, node)| !world.has_vacated(run.id(), *node));
    let holder = |(run, node): (&RunState, NodeIndex)| {
        let amount = amount(run, node)?;
        let since = match run.node(node).state() {
            NodeState::Running { started, .. } => *started,
            NodeState::Stopping { since, .. } => *since,
            NodeState::Waiting { .. }
            | NodeState::Ready { .. }
            | NodeState::Retrying { .. }
            | NodeState::Interrupted { .. }
            | NodeState::Open { .. }
            | NodeState::Done { .. } => return None,
        };
        let usual = run.module(node).and_then(|module| world.durations().of(&module.id));
        let until = usual.map(|usual| since.plus(usual));
        Some(Holder { run_id: run.id().to_string(), node: run.path(node), amount, since, until })
    };
    active.filter_map(holder).take(LISTED_MAX).collect()
}
