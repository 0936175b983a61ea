//! The room that is kept for the first node that does not fit, and who may start before it.
//!
//! EASY backfilling (Lifka, "The ANL/IBM SP scheduling system", 1995; Mu'alem and Feitelson, "Utilization, predictability, workloads, and
//! user runtime estimates in scheduling the IBM SP2 with backfilling", 2001): the first node in order that lacks a resource gets a
//! reservation at the time when enough of what runs is expected to have ended. A later node may start before it if it is expected to
//! have ended by then, or if the first one fits beside it all the same. Where it is not known when what runs will end, nobody may take
//! anything of what the first one lacks, unless that could make no difference whichever attempt ends first.
//!
//! An attempt that runs longer than it was expected to is taken to need twice that time, and twice that again (after Tsafrir, Etsion and
//! Feitelson, "Backfilling using system-generated predictions rather than user runtime estimates", 2007).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{NodeIndex, ResourceName, RunId};
use crate::request::{Request, WHOLE_GPU};
use crate::resources::{Capacity, Held, Live, Unmet, fits, place, unmet};
use crate::units::{DurationMs, Timestamp};

/// A kind of thing that can be lacking.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Places,
    Cpus,
    Memory,
    /// Memory that others than our attempts use: no sum of ours tells how much will be free.
    MemoryInUse,
    Gpu,
    Custom(ResourceName),
    Reading,
}

impl Kind {
    fn of(unmet: &Unmet) -> Self {
        match unmet {
            Unmet::Slots { .. } => Self::Places,
            Unmet::Cpus { .. } => Self::Cpus,
            Unmet::Memory { .. } => Self::Memory,
            Unmet::MemoryInUse { .. } => Self::MemoryInUse,
            Unmet::Gpus { .. } | Unmet::Vram { .. } | Unmet::VramInUse { .. } => Self::Gpu,
            Unmet::Custom { name, .. } => Self::Custom(name.clone()),
            Unmet::Reading => Self::Reading,
        }
    }
}

/// The node that comes next, one of its requests, and what that lacks now.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) run: RunId,
    pub(super) node: NodeIndex,
    /// Each request of it that fits once everything of ours has ended, with what it lacks now. Never empty.
    pub(super) asks: Vec<(Request, Vec<Unmet>)>,
}

/// What an attempt holds since when, and how long it was expected to take if that is known.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) expected: Option<(Timestamp, DurationMs)>,
    pub(super) grant: Arc<Request>,
}

impl Lease {
    /// When it is given back, as it looks now.
    pub(super) fn release(&self, now: Timestamp) -> Release {
        let end = self.expected.map(|(started, expected)| expected_end(started, expected, now));
        Release { end, grant: self.grant.clone() }
    }
}

/// What is held, until when as far as that is known.
#[derive(Debug, Clone)]
pub(super) struct Release {
    pub(super) end: Option<Timestamp>,
    pub(super) grant: Arc<Request>,
}

/// When the head starts, and what others hold then.
#[derive(Debug)]
pub(super) struct Shadow {
    /// None: nobody knows.
    pub(super) at: Option<Timestamp>,
    request: Request,
    /// What is still held at that time; where nobody knows it, what is held now.
    rest: Held,
    lacking: BTreeSet<Kind>,
    /// The least that anybody holds of what is lacking: at least so much is given back before the head starts.
    least: BTreeMap<Kind, u64>,
}

impl Shadow {
    /// The earliest of the head's requests, by what is held and when it is given back.
    pub(super) fn of(head: &Head, capacity: &Capacity, held: &Held, releases: &mut [Release], now: Timestamp) -> Option<Self> {
        // Unknown ends come last.
        releases.sort_by_key(|release| (release.end.is_none(), release.end));
        let shadows = head.asks.iter().map(|(request, lacks)| Self::of_request(request, lacks, capacity, held, releases, now));
        shadows.min_by_key(|shadow| (shadow.at.is_none(), shadow.at))
    }

    fn of_request(request: &Request, lacks: &[Unmet], capacity: &Capacity, held: &Held, releases: &[Release], now: Timestamp) -> Self {
        let lacking: BTreeSet<Kind> = lacks.iter().map(Kind::of).collect();
        let by_sums = lacks.iter().all(|lack| !matches!(lack, Unmet::MemoryInUse { .. } | Unmet::VramInUse { .. }));
        let mut rest = held.clone();
        let mut at = None;
        if by_sums {
            // What lacks nothing but a look at the machine fits now.
            at = fits(request, capacity, &rest, &Live::default()).then_some(now);
            for release in releases.iter().filter(|release| release.end.is_some()) {
                if at.is_some_and(|at| release.end > Some(at)) {
                    break;
                }
                rest.give_back(&release.grant);
                if at.is_none() && fits(request, capacity, &rest, &Live::default()) {
                    at = release.end;
                }
            }
        }
        if at.is_none() {
            rest = held.clone();
        }
        let mut least = BTreeMap::new();
        for kind in &lacking {
            let held = releases.iter().map(|release| amount(kind, &release.grant)).filter(|amount| *amount > 0);
            least.extend(held.min().map(|amount| (kind.clone(), amount)));
        }
        Self { at, request: request.clone(), rest, lacking, least }
    }

    /// Whether an attempt with this grant that is expected to end then does not delay the head.
    pub(super) fn lets_pass(&self, grant: &Request, end: Option<Timestamp>, capacity: &Capacity) -> bool {
        if self.at.is_some() && end.is_some_and(|end| Some(end) <= self.at) {
            return true;
        }
        let mut rest = self.rest.clone();
        rest.take(grant);
        if self.at.is_some() {
            return fits(&self.request, capacity, &rest, &Live::default());
        }
        let beside = unmet(&self.request, capacity, &rest, &Live::default());
        beside.iter().all(|lack| self.lacking.contains(&Kind::of(lack)))
            && self.lacking.iter().all(|kind| self.is_harmless(kind, grant, capacity))
    }

    /// Whether a grant takes nothing of a kind that the head could need, whichever attempts end before it starts.
    fn is_harmless(&self, kind: &Kind, grant: &Request, capacity: &Capacity) -> bool {
        let all = match kind {
            Kind::Places | Kind::Reading => return true,
            Kind::MemoryInUse => return grant.memory.0 == 0,
            Kind::Gpu => return self.is_on_other_gpus(grant, capacity),
            Kind::Cpus => capacity.cpus.0,
            Kind::Memory => capacity.memory.0,
            Kind::Custom(name) => capacity.custom.get(name).map_or(0, |amount| amount.0),
        };
        let (taken, asked) = (amount(kind, grant), amount(kind, &self.request));
        let held = match kind {
            Kind::Cpus => self.rest.cpus.0,
            Kind::Memory => self.rest.memory.0,
            Kind::Custom(name) => self.rest.custom(name).0,
            Kind::Places | Kind::Reading | Kind::MemoryInUse | Kind::Gpu => 0,
        };
        // When the head starts at least the smallest grant is given back.
        let left = held.saturating_sub(self.least.get(kind).copied().unwrap_or(0));
        taken == 0 || asked.saturating_add(left).saturating_add(taken) <= all
    }

    /// Whether the head could be on none of a grant's GPUs. One that asks for several could always need them.
    fn is_on_other_gpus(&self, grant: &Request, capacity: &Capacity) -> bool {
        if grant.devices.is_empty() {
            return true;
        }
        let gpus = capacity.gpus.iter().filter(|gpu| grant.devices.iter().any(|device| device.gpu == gpu.uuid)).cloned().collect();
        let only = Capacity { gpus, ..capacity.clone() };
        self.request.gpus.0 <= WHOLE_GPU && place(&self.request, &only, &Held::default(), &Live::default()).is_err()
    }

    /// Somebody starts before the head.
    pub(super) fn pass(&mut self, grant: &Request, end: Option<Timestamp>) {
        if self.at.is_some() && end.is_some_and(|end| Some(end) <= self.at) {
            return;
        }
        self.rest.take(grant);
        for kind in &self.lacking {
            let taken = amount(kind, grant);
            if taken > 0 {
                let least = self.least.entry(kind.clone()).or_insert(taken);
                *least = taken.min(*least);
            }
        }
    }
}

/// How much of a kind is asked for; of what is counted in one number.
fn amount(kind: &Kind, request: &Request) -> u64 {
    match kind {
        Kind::Cpus => request.cpus.0,
        Kind::Memory | Kind::MemoryInUse => request.memory.0,
        Kind::Custom(name) => request.custom.get(name).map_or(0, |amount| amount.0),
        Kind::Places | Kind::Gpu | Kind::Reading => 0,
    }
}

/// When an attempt is expected to end that was expected to take so long: always later than now.
fn expected_end(started: Timestamp, expected: DurationMs, now: Timestamp) -> Timestamp {
    let ran = now.since(started);
    let mut takes = DurationMs(expected.0.max(1));
    while takes <= ran && takes.0 < u64::MAX {
        takes.0 = takes.0.saturating_mul(2);
    }
    started.plus(takes)
}
