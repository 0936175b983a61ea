//! What there is room for, with the starts chosen so far taken off. The one set of predicates for deciding and for explaining.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{ModuleId, NodeIndex, RunId};
use crate::request::Request;
use crate::resources::{Held, Live, Unmet, fits, place_near, unmet};
use crate::run::{ClassId, RunState, Wanted};
use crate::units::{Bytes, DurationMs, Timestamp};

use super::World;
use super::reserve::{Head, Release, Shadow};

/// One thing that keeps the nodes of a class from starting now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lack {
    /// Not enough of a resource is free; for which of several alternatives.
    Resource(Unmet, Option<u32>),
    /// As many attempts of the module run as its `concurrency` allows.
    Concurrency(ModuleId, u32),
    /// As many instances of the group run as its `max_parallel` allows.
    MaxParallel(NodeIndex, u32),
}

/// Most classes looked at for a node that may start before the one for which room is kept: what a decision costs must not grow with what
/// waits. Slurm has such a bound too (`bf_max_job_test`).
const LOOKED_MAX: u32 = 512;

/// What a node gets, and when it is expected to give it back.
#[derive(Debug)]
pub(super) struct Choice<'w> {
    pub(super) grant: Cow<'w, Request>,
    end: Option<Timestamp>,
}

/// The world's room, less what was chosen in this call.
pub(super) struct Room<'w> {
    world: &'w World,
    now: Timestamp,
    held: Held,
    modules: BTreeMap<&'w ModuleId, u32>,
    groups: BTreeMap<(&'w RunId, NodeIndex), u32>,
    /// What was chosen in this call.
    taken: Vec<Release>,
    /// Classes that were looked at in vain since there is a head.
    looked: u32,
    /// The first node in order that lacks a resource.
    head: Option<Head>,
    /// When it starts; looked for only where another one would come before it.
    shadow: OnceCell<Option<Shadow>>,
}

impl<'w> Room<'w> {
    pub(super) fn new(world: &'w World, now: Timestamp) -> Self {
        let (modules, groups, taken) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { world, now, held: world.held().clone(), modules, groups, taken, looked: 0, head: None, shadow: OnceCell::new() }
    }

    /// Whether all places for attempts are taken, so that nothing at all can start.
    pub(super) fn is_full(&self) -> bool {
        self.held.attempts >= self.world.capacity().max_concurrent || self.is_spent()
    }

    /// Whether so many were looked at in vain that nobody else is.
    fn is_spent(&self) -> bool {
        self.looked >= LOOKED_MAX
    }

    /// Whether nothing of a run can start, as far as one look at what is free tells.
    pub(super) fn is_full_for(&self, run: &RunState) -> bool {
        let (cpus, memory) = run.least_asked();
        let (all, held) = (self.world.capacity(), &self.held);
        let no_cpus = cpus.0 > all.cpus.0.saturating_sub(held.cpus.0);
        let no_memory = memory.0 > all.memory.0.saturating_sub(held.memory.0);
        // A node that lacks them may still be the one for which room is kept.
        self.is_full() || (no_cpus || no_memory) && self.head.is_some()
    }

    /// What an attempt of a class may ask for, with what has to be there for it. Memory, also of a GPU, that was only learned is nothing to
    /// wait for where none of our attempts holds any: nobody of ours would ever make room, and the module ran before.
    fn asks(&self, run: &'w RunState, class: ClassId) -> impl Iterator<Item = (Wanted<'w>, Cow<'w, Request>)> + use<'w> {
        let (no_memory_held, no_gpu_held) = (self.held.memory.0 == 0, self.held.gpus.is_empty());
        run.requests_of(class, self.world.capacity()).map(move |wanted| {
            let asked = &wanted.request;
            let memory = if no_memory_held && wanted.learned_memory { Bytes(0) } else { asked.memory };
            let vram = if no_gpu_held && wanted.learned_vram { Bytes(0) } else { asked.vram };
            let needed = if (memory, vram) == (asked.memory, asked.vram) {
                asked.clone()
            } else {
                Cow::Owned(Request { memory, vram, ..Request::clone(asked) })
            };
            (wanted, needed)
        })
    }

    /// What a node of a class gets if it may start now: the first of its alternatives that fits and delays nobody who comes before it.
    pub(super) fn choose(&mut self, run: &'w RunState, class: ClassId, node: NodeIndex) -> Option<Choice<'w>> {
        if self.concurrency(run, class).is_some() || self.max_parallel(run, class).is_some() {
            return None;
        }
        let chosen = self.fitting(run, class, node).find(|choice| self.delays_nobody(choice));
        if chosen.is_none() {
            self.looked += u32::from(self.head.is_some());
            if self.head.is_none() {
                self.head = self.head_of(run, class, node);
            }
        }
        chosen
    }

    /// Whether a node fits and would start if it did not come after the one for which room is kept.
    pub(super) fn is_held_back(&self, run: &'w RunState, class: ClassId, node: NodeIndex) -> bool {
        let is_head = self.head.as_ref().is_some_and(|head| head.node == node && head.run == *run.id());
        let mut fitting = self.fitting(run, class, node).peekable();
        !is_head && fitting.peek().is_some() && (self.is_spent() || fitting.all(|choice| !self.delays_nobody(&choice)))
    }

    fn fitting<'a>(&'a self, run: &'w RunState, class: ClassId, node: NodeIndex) -> impl Iterator<Item = Choice<'w>> + use<'a, 'w> {
        let (capacity, live) = (self.world.capacity(), self.world.live());
        let fits = move |(_, needed): &(_, Cow<'w, Request>)| fits(needed, capacity, &self.held, live);
        let choice = move |(wanted, _)| Choice { grant: self.placed(run, class, wanted), end: self.end(run, node) };
        self.asks(run, class).filter(fits).map(choice)
    }

    /// A request with its GPUs chosen. Nodes with an `affinity` prefer the one on which the last of them ran.
    fn placed(&self, run: &RunState, class: ClassId, wanted: Wanted<'w>) -> Cow<'w, Request> {
        let affinity = run.affinity_of(class);
        let near = |gpu: &str| affinity.is_some() && self.world.warm().on(gpu) == affinity;
        let place = |live: &Live| place_near(&wanted.request, self.world.capacity(), &self.held, live, &near);
        let mut placed = place(self.world.live());
        if placed.is_err() && wanted.learned_vram {
            // It starts all the same, see `asks`, and holds what it will use.
            placed = place(&self.world.live().losses());
        }
        let asked = wanted.request;
        match placed {
            Ok(devices) if !devices.is_empty() => Cow::Owned(Request { devices, ..asked.into_owned() }),
            Ok(_) | Err(_) => asked,
        }
    }

    /// Whether a node would go on where one of its `affinity` ran last.
    pub(super) fn is_warm(&self, run: &'w RunState, class: ClassId, node: NodeIndex) -> bool {
        let Some(affinity) = run.affinity_of(class) else { return false };
        let warm = self.world.warm();
        self.fitting(run, class, node).next().is_some_and(|choice| match &choice.grant.devices[..] {
            [] => warm.off_gpus() == Some(affinity),
            devices => devices.iter().all(|device| warm.on(&device.gpu) == Some(affinity)),
        })
    }

    /// When an attempt of a node that starts now is expected to end.
    fn end(&self, run: &RunState, node: NodeIndex) -> Option<Timestamp> {
        let expected = self.world.durations().expected(&run.module(node)?.id, &run.node_def(node).settings)?;
        // As that of one that runs: never now.
        Some(self.now.plus(DurationMs(expected.0.max(1))))
    }

    /// Whether the node for which room is kept starts no later. Nobody is before a head.
    fn delays_nobody(&self, choice: &Choice<'_>) -> bool {
        let Some(shadow) = self.shadow() else { return true };
        shadow.lets_pass(&choice.grant, choice.end, self.world.capacity())
    }

    /// When the node starts for which room is kept.
    pub(super) fn shadow(&self) -> Option<&Shadow> {
        let head = self.head.as_ref()?;
        let look = || {
            let mut releases = self.world.releases(self.now);
            releases.extend(self.taken.iter().cloned());
            Shadow::of(head, self.world.capacity(), &self.held, &mut releases, self.now)
        };
        self.shadow.get_or_init(look).as_ref()
    }

    /// The node for which room is kept.
    pub(super) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// A node for which room is to be kept: it fits once our attempts have ended. One that waits for the programs of others, or for a
    /// device that is gone, keeps nobody.
    fn head_of(&self, run: &'w RunState, class: ClassId, node: NodeIndex) -> Option<Head> {
        let (capacity, live) = (self.world.capacity(), self.world.live());
        let mut alone: Option<Live> = None;
        let mut asks = Vec::new();
        for (_, needed) in self.asks(run, class) {
            let alone = alone.get_or_insert_with(|| live.without_ours());
            if fits(&needed, capacity, &Held::default(), alone) {
                let lacks = unmet(&needed, capacity, &self.held, live);
                asks.push((needed.into_owned(), lacks));
            }
        }
        (!asks.is_empty()).then(|| Head { run: run.id().clone(), node, asks })
    }

    /// Everything that keeps an attempt of a class from starting, but for nodes that come before it. Of several alternatives each tells
    /// what it lacks, or none where one of them fits.
    pub(super) fn lacks(&self, run: &'w RunState, class: ClassId) -> Vec<Lack> {
        let mut resources = Vec::new();
        for (wanted, needed) in self.asks(run, class) {
            let lacks = unmet(&needed, self.world.capacity(), &self.held, self.world.live());
            if lacks.is_empty() {
                resources.clear();
                break;
            }
            resources.extend(lacks.into_iter().map(|unmet| Lack::Resource(unmet, wanted.request.alternative)));
        }
        resources.into_iter().chain(self.concurrency(run, class)).chain(self.max_parallel(run, class)).collect()
    }

    /// Takes off what a node of a class gets.
    pub(super) fn take(&mut self, run: &'w RunState, class: ClassId, choice: &Choice<'w>) {
        self.held.take(&choice.grant);
        match self.shadow.get_mut() {
            Some(Some(shadow)) => shadow.pass(&choice.grant, choice.end),
            Some(None) | None => self.taken.push(Release { end: choice.end, grant: Arc::new(Request::clone(&choice.grant)) }),
        }
        if let Some((module, _)) = run.concurrency_of(class) {
            *self.modules.entry(module).or_default() += 1;
        }
        if let Some((group, ..)) = run.parallel_of(class) {
            *self.groups.entry((run.id(), group)).or_default() += 1;
        }
    }

    fn concurrency(&self, run: &'w RunState, class: ClassId) -> Option<Lack> {
        let (module, limit) = run.concurrency_of(class)?;
        let running = self.world.running(module) + self.modules.get(module).copied().unwrap_or(0);
        (running >= *limit).then(|| Lack::Concurrency(module.clone(), *limit))
    }

    fn max_parallel(&self, run: &'w RunState, class: ClassId) -> Option<Lack> {
        let (group, limit, active) = run.parallel_of(class)?;
        let running = active + self.groups.get(&(run.id(), group)).copied().unwrap_or(0);
        (running >= limit).then_some(Lack::MaxParallel(group, limit))
    }
}
