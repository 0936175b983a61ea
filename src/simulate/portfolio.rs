//! The order in which the ready nodes of a run start: several orders are tried on the model, and the best is kept.
//!
//! No single order is best: the longest way to the end first is 17 % off on graphs where 3 % is possible. So it is tried beside others and
//! beside variants of itself and of the best one found, within a fixed number of work units, which is the same on every machine. What
//! comes out is never worse on the model than the longest way first.

use std::sync::Arc;

use serde::Serialize;

use super::bound::bounds_within;
use super::dice::Dice;
use super::list::Player;
use super::model::{FREE, Model};

/// Work units for one run: about 200 ms.
pub const UNITS: u64 = 4_000_000;

/// The part of them that goes into the lower bound by which the search knows that there is nothing left to find.
const BOUND_PART: u64 = 8;

/// Above so many vertices the longest way first is taken without a look at others.
pub const NODES_MAX: usize = 20_000;

/// Most variants: after so many, more find next to nothing.
const VARIANTS_MAX: u32 = 4_000;

/// How an order came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The longest way to the end first.
    CriticalPath,
    /// The longest node first.
    LongestFirst,
    /// As in the file.
    Declared,
    /// A variant of one of these.
    Perturbed,
}

/// What came of the search.
#[derive(Debug, Clone)]
pub struct Choice {
    /// A priority for each node of the run, the highest first; `None` where the run's own order is as good.
    pub order: Option<Arc<[u64]>>,
    /// How it came about.
    pub policy: Policy,
    /// When the run ends by it on the model; `None` where something never has room, and where the units do not
    /// suffice to play it once.
    pub makespan: Option<u64>,
    /// When it ends by the longest way first.
    pub critical_path: Option<u64>,
    /// How many orders were tried.
    pub tried: u32,
}

/// Priorities of a plain policy, for each vertex; of a variant those of the longest way.
#[must_use]
pub fn priorities(model: &Model, policy: Policy) -> Vec<u64> {
    match policy {
        Policy::CriticalPath | Policy::Perturbed => model.tails(),
        Policy::LongestFirst => model.durations.clone(),
        // Among equals the first node goes first.
        Policy::Declared => vec![0; model.len()],
    }
}

/// Looks for the best order within a number of work units. All follows from the model, the units and the seed.
///
/// Where durations are known only roughly, an order is worth what it comes to in the mean of some plays with durations that differ as the
/// real ones may. An order that is chosen for the expected ones alone fits them too closely: it does worse than the longest way first as
/// soon as they differ.
#[must_use]
pub fn choose(model: &Model, units: u64, seed: u64) -> Choice {
    if model.len() > NODES_MAX {
        return Choice { order: None, policy: Policy::CriticalPath, makespan: None, critical_path: None, tried: 0 };
    }
    // Finer steps than milliseconds, so that short nodes can change places too.
    let tails: Vec<u64> = model.tails().into_iter().map(|tail| tail.saturating_mul(FINER)).collect();
    let plays = plays(model, seed);
    let for_bound = units / BOUND_PART;
    let mut player = Player::new(model, units - for_bound);
    let critical_path = player.makespan(&tails, u64::MAX);
    let mut best = Best { priority: Vec::new(), policy: Policy::CriticalPath, ends: vec![u64::MAX; plays.len()], tried: 0 };
    if critical_path.is_none() || !best.consider(&mut player, tails.clone(), Policy::CriticalPath, &plays) {
        return Choice { order: None, policy: Policy::CriticalPath, makespan: critical_path, critical_path, tried: 1 };
    }
    let least =
        plays.iter().map(|durations| u128::from(bounds_within(&model.taking(durations), for_bound / plays.len() as u64).best())).sum();
    for policy in [Policy::LongestFirst, Policy::Declared] {
        best.consider(&mut player, priorities(model, policy), policy, &plays);
    }
    vary(model, &tails, &mut player, &mut best, &plays, (least, seed));
    let makespan = match best.policy {
        Policy::CriticalPath => critical_path,
        Policy::LongestFirst | Policy::Declared | Policy::Perturbed => Player::new(model, u64::MAX).makespan(&best.priority, u64::MAX),
    };
    let order = (best.policy != Policy::CriticalPath).then(|| best.priority[..model.nodes as usize].into());
    Choice { order, policy: best.policy, makespan, critical_path, tried: best.tried }
}

/// Plays by which an order is judged, where durations are known only roughly.
const PLAYS: usize = 16;

/// After so many of them an order that is behind is given up.
const FIRST_PLAYS: usize = 4;

/// Durations of the vertices by which an order is judged: as expected where they are known, else as they may come to be.
fn plays(model: &Model, seed: u64) -> Vec<Vec<u64>> {
    if model.spreads.is_empty() {
        return vec![model.durations.clone()];
    }
    let mut dice = Dice::new(!seed);
    let pairs = || model.durations.iter().zip(&model.spreads);
    (0..PLAYS).map(|_| pairs().map(|(duration, spread)| dice.spread(*duration, *spread)).collect()).collect()
}

struct Best {
    priority: Vec<u64>,
    policy: Policy,
    /// When each play ends by it.
    ends: Vec<u64>,
    tried: u32,
}

impl Best {
    /// Keeps what is better, and says whether it is; among equals what came first.
    fn consider<'m>(&mut self, player: &mut Player<'m>, priority: Vec<u64>, policy: Policy, plays: &'m [Vec<u64>]) -> bool {
        self.tried += 1;
        let total = |ends: &[u64]| ends.iter().map(|end| u128::from(*end)).sum::<u128>();
        let best = total(&self.ends);
        let (mut ends, mut sum) = (Vec::with_capacity(plays.len()), 0);
        for durations in plays {
            let limit = u64::try_from(best - sum).unwrap_or(u64::MAX);
            let Some(end) = player.lasting(durations).makespan(&priority, limit) else { return false };
            ends.push(end);
            sum += u128::from(end);
            if ends.len() == FIRST_PLAYS && sum >= total(&self.ends[..FIRST_PLAYS]) {
                return false;
            }
        }
        *self = Self { priority, policy, ends, tried: self.tried };
        true
    }
}

/// Noise in thousandths: little of it mends a good order, much of it finds another.
const NOISES: [u64; 5] = [20, 50, 100, 200, 400];

/// Priorities of variants in parts of a millisecond.
const FINER: u64 = 1024;

/// One in so many variants is of the best order found, the others of the longest way.
const OF_BEST: u32 = 2;

fn vary<'m>(model: &Model, tails: &[u64], player: &mut Player<'m>, best: &mut Best, plays: &'m [Vec<u64>], (least, seed): (u128, u64)) {
    let mut dice = Dice::new(seed);
    for round in 0..VARIANTS_MAX {
        if best.ends.iter().map(|end| u128::from(*end)).sum::<u128>() <= least || player.is_spent() {
            return;
        }
        let noise = NOISES[usize::try_from(dice.roll(NOISES.len() as u64)).unwrap_or(0)];
        let base = if round % OF_BEST == 0 { tails } else { &best.priority };
        let spread = base.iter().zip(&model.demand_of).map(|(level, demand)| match *demand {
            FREE => *level,
            _ => dice.spread(*level, noise),
        });
        let priority: Vec<u64> = spread.collect();
        best.consider(player, priority, Policy::Perturbed, plays);
    }
}
