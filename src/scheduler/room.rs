//! What there is room for, with the starts chosen so far taken off. The one set of predicates for deciding and for explaining.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::ids::{ModuleId, NodeIndex, RunId};
use crate::request::Request;
use crate::resources::{Held, Live, Unmet, fits, place, unmet};
use crate::run::{ClassId, RunState};
use crate::units::Bytes;

use super::World;

/// One thing that keeps the nodes of a class from starting now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lack {
    /// Not enough of a resource is free.
    Resource(Unmet),
    /// As many attempts of the module run as its `concurrency` allows.
    Concurrency(ModuleId, u32),
    /// As many instances of the group run as its `max_parallel` allows.
    MaxParallel(NodeIndex, u32),
}

/// The world's room, less what was chosen in this call.
pub(super) struct Room<'w> {
    world: &'w World,
    held: Held,
    modules: BTreeMap<&'w ModuleId, u32>,
    groups: BTreeMap<(&'w RunId, NodeIndex), u32>,
}

impl<'w> Room<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        Self { world, held: world.held().clone(), modules: BTreeMap::new(), groups: BTreeMap::new() }
    }

    /// Whether all places for attempts are taken, so that nothing at all can start.
    pub(super) fn is_full(&self) -> bool {
        self.held.attempts >= self.world.capacity().max_concurrent
    }

    /// Whether nothing of a run can start, as far as one look at what is free tells.
    pub(super) fn is_full_for(&self, run: &RunState) -> bool {
        let (cpus, memory) = run.least_asked();
        let (all, held) = (self.world.capacity(), &self.held);
        self.is_full() || cpus.0 > all.cpus.0.saturating_sub(held.cpus.0) || memory.0 > all.memory.0.saturating_sub(held.memory.0)
    }

    fn asked(&self, run: &'w RunState, class: ClassId) -> Cow<'w, Request> {
        run.request_of(class, self.world.capacity().most())
    }

    /// What an attempt of a class that [has](Self::has) room would hold, its GPUs chosen.
    pub(super) fn grant(&self, run: &'w RunState, class: ClassId) -> Cow<'w, Request> {
        let asked = self.asked(run, class);
        let mut placed = place(&asked, self.world.capacity(), &self.held, self.world.live());
        if placed.is_err() && run.learned_vram(class) {
            // It starts all the same, see `needed`, and holds what it will use.
            placed = place(&asked, self.world.capacity(), &self.held, &Live::default());
        }
        match placed {
            Ok(devices) if !devices.is_empty() => Cow::Owned(Request { devices, ..asked.into_owned() }),
            Ok(_) | Err(_) => asked,
        }
    }

    /// What has to be there for an attempt of a class. Memory, also of a GPU, that was only learned is nothing to wait for where none of our attempts holds
    /// any: nobody of ours would ever make room, and the module ran before.
    fn needed(&self, run: &'w RunState, class: ClassId) -> Cow<'w, Request> {
        let asked = self.asked(run, class);
        let no_memory = asked.memory.0 > 0 && self.held.memory.0 == 0 && !run.declares_memory(class);
        let no_vram = asked.vram.0 > 0 && self.held.gpus.is_empty() && run.learned_vram(class);
        if !no_memory && !no_vram {
            return asked;
        }
        let (memory, vram) = (if no_memory { Bytes(0) } else { asked.memory }, if no_vram { Bytes(0) } else { asked.vram });
        Cow::Owned(Request { memory, vram, ..asked.into_owned() })
    }

    /// Whether an attempt of a class may start now.
    pub(super) fn has(&self, run: &'w RunState, class: ClassId) -> bool {
        fits(&self.needed(run, class), self.world.capacity(), &self.held, self.world.live())
            && self.concurrency(run, class).is_none()
            && self.max_parallel(run, class).is_none()
    }

    /// Everything that keeps an attempt of a class from starting; nothing exactly if [`has`](Self::has) it room.
    pub(super) fn lacks(&self, run: &'w RunState, class: ClassId) -> Vec<Lack> {
        let lacks = unmet(&self.needed(run, class), self.world.capacity(), &self.held, self.world.live());
        let resources = lacks.into_iter().map(Lack::Resource);
        resources.chain(self.concurrency(run, class)).chain(self.max_parallel(run, class)).collect()
    }

    /// Takes off what an attempt of a class holds.
    pub(super) fn take(&mut self, run: &'w RunState, class: ClassId) {
        self.held.take(&self.grant(run, class));
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
