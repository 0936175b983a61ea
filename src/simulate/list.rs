//! A model played once by a list of priorities, as the scheduler plays a run: whatever is ready and has room starts, the highest
//! priority first. Arrays and heaps that are used again: this runs thousands of times for one decision.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::model::{FREE, Model};

/// Plays one model as often as wanted.
#[derive(Debug)]
pub struct Player<'m> {
    model: &'m Model,
    /// How long each vertex takes in the next play.
    durations: &'m [u64],
    free: Vec<u64>,
    waits: Vec<u32>,
    /// Ready vertices of each demand.
    ready: Vec<BinaryHeap<(u64, Reverse<u32>)>>,
    /// Demands that have ready vertices.
    wanted: Vec<u32>,
    running: BinaryHeap<Reverse<(u64, u32)>>,
    /// Room that is kept, as `scheduler::reserve` keeps it.
    kept: Kept,
    /// Vertices whose predecessors have ended, and that are not looked at yet.
    released: Vec<u32>,
    /// Work units spent so far: vertices and edges passed, and demands compared.
    units: u64,
    /// How many there are.
    most: u64,
}

/// The first ready vertex that has no room, and what others may take before it starts. Only for the starts of one moment.
#[derive(Debug, Default)]
struct Kept {
    /// Its demand.
    head: Option<u32>,
    /// When it starts, and what is free then; looked for when it matters.
    shadow: Option<(u64, Vec<u64>)>,
    /// The first vertices of the demands that still have room, with their priorities.
    queue: BinaryHeap<(u64, Reverse<u32>, u32)>,
}

impl Kept {
    fn begin(&mut self) {
        self.head = None;
        self.shadow = None;
        self.queue.clear();
    }
}

/// So many edges passed, or vertices made ready for a play, cost about what one comparison of demands costs.
const STEPS_OF_A_UNIT: usize = 8;

impl<'m> Player<'m> {
    /// For one model, within a number of work units for all plays together. Graphs of equal size can differ a thousandfold in what a play
    /// costs: where all nodes ask for something else, every start compares them all.
    #[must_use]
    pub fn new(model: &'m Model, most: u64) -> Self {
        Self {
            most,
            model,
            durations: &model.durations,
            free: Vec::new(),
            waits: Vec::new(),
            ready: vec![BinaryHeap::new(); model.demands.len()],
            wanted: Vec::new(),
            running: BinaryHeap::new(),
            kept: Kept::default(),
            released: Vec::new(),
            units: 0,
        }
    }

    /// Lets the vertices take so long in the plays that follow.
    pub(super) fn lasting(&mut self, durations: &'m [u64]) -> &mut Self {
        self.durations = durations;
        self
    }

    /// Work units spent so far. They do not depend on the machine.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.units
    }

    /// When all has ended, by a priority for each vertex (the highest first, among equals the first node); `None` where something never
    /// has room, where it would not be less than `limit`, or where the work units are spent first.
    pub fn makespan(&mut self, priority: &[u64], limit: u64) -> Option<u64> {
        self.play(priority, limit, &mut |_, _| {})
    }

    /// The same, telling the begin of each node.
    pub fn play(&mut self, priority: &[u64], limit: u64, started: &mut dyn FnMut(u32, u64)) -> Option<u64> {
        self.begin();
        let (mut now, mut left) = (0_u64, self.model.len());
        left -= self.release(priority);
        loop {
            self.kept.begin();
            while let Some(vertex) = self.start(now) {
                if self.is_spent() {
                    return None;
                }
                started(vertex, now);
                let end = now.saturating_add(self.durations[vertex as usize]);
                if end >= limit {
                    return None;
                }
                self.running.push(Reverse((end, vertex)));
            }
            let Some(Reverse((end, vertex))) = self.running.pop() else { break };
            if self.is_spent() {
                return None;
            }
            now = end;
            left -= self.end(vertex);
            while let Some(Reverse((at, vertex))) = self.running.peek().copied()
                && at == now
            {
                self.running.pop();
                left -= self.end(vertex);
            }
            left -= self.release(priority);
        }
        (left == 0).then_some(now)
    }

    /// Whether there are no work units left.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.units >= self.most
    }

    fn begin(&mut self) {
        self.units += (self.model.len() / STEPS_OF_A_UNIT) as u64;
        self.free.clear();
        self.free.extend(self.model.limits.iter().map(|limit| limit.capacity));
        self.waits.clone_from(&self.model.waits);
        self.ready.iter_mut().for_each(BinaryHeap::clear);
        self.wanted.clear();
        self.running.clear();
        self.released.clear();
        let count = u32::try_from(self.model.len()).unwrap_or(u32::MAX);
        let waits = &self.waits;
        self.released.extend((0..count).filter(|vertex| waits[*vertex as usize] == 0));
    }

    /// Puts released vertices among the ready ones; those that take nothing are passed at once, and counted.
    fn release(&mut self, priority: &[u64]) -> usize {
        let mut passed = 0;
        while let Some(vertex) = self.released.pop() {
            self.units += 1;
            let demand = self.model.demand_of[vertex as usize];
            if demand == FREE {
                passed += 1;
                self.pass(vertex);
            } else {
                let heap = &mut self.ready[demand as usize];
                if heap.is_empty() {
                    self.wanted.push(demand);
                }
                heap.push((priority[vertex as usize], Reverse(vertex)));
            }
        }
        passed
    }

    fn pass(&mut self, vertex: u32) {
        let successors = self.model.successors.of(vertex);
        self.units += (successors.len() / STEPS_OF_A_UNIT) as u64;
        for next in successors {
            let waits = &mut self.waits[*next as usize];
            *waits -= 1;
            if *waits == 0 {
                self.released.push(*next);
            }
        }
    }

    /// The next vertex that starts, with its amounts taken.
    fn start(&mut self, now: u64) -> Option<u32> {
        let (vertex, demand) = match self.kept.head {
            Some(_) => self.next_passing(now)?,
            None => match self.first() {
                (Some(first), None) => first,
                (None, _) => return None,
                (Some(_), Some(head)) => {
                    self.kept.head = Some(head);
                    self.fill_queue();
                    self.next_passing(now)?
                }
            },
        };
        let heap = &mut self.ready[demand as usize];
        heap.pop();
        match heap.peek() {
            Some((priority, vertex)) if self.kept.head.is_some() => self.kept.queue.push((*priority, *vertex, demand)),
            Some(_) => {}
            None => self.wanted.retain(|wanted| *wanted != demand),
        }
        for (limit, amount) in &self.model.demands[demand as usize].0 {
            self.free[*limit as usize] -= amount;
        }
        Some(vertex)
    }

    /// The first ready vertex that has room, with its demand; and the demand of one before it that waits for room, if there is one.
    fn first(&mut self) -> (Option<(u32, u32)>, Option<u32>) {
        let (mut best, mut blocked) = (None, None);
        self.units += self.wanted.len() as u64;
        for demand in &self.wanted {
            let Some((priority, vertex)) = self.ready[*demand as usize].peek().copied() else { continue };
            let top = Some((priority, vertex, *demand));
            if top <= best {
                continue;
            }
            if self.fits(*demand) {
                best = top;
            } else if top > blocked && self.may_be_head(*demand) {
                blocked = top;
            }
        }
        let head = blocked.filter(|_| blocked > best).map(|(_, _, demand)| demand);
        (best.map(|(_, Reverse(vertex), demand)| (vertex, demand)), head)
    }

    /// All that could start before the head, in order. Room only becomes less until the next moment.
    fn fill_queue(&mut self) {
        self.units += self.wanted.len() as u64;
        let mut queue = std::mem::take(&mut self.kept.queue);
        queue.clear();
        for demand in self.wanted.iter().filter(|demand| self.fits(**demand)) {
            queue.extend(self.ready[*demand as usize].peek().map(|(priority, vertex)| (*priority, *vertex, *demand)));
        }
        self.kept.queue = queue;
    }

    /// The next vertex that delays no head. A demand of which one does is left out, as the scheduler leaves out its class.
    fn next_passing(&mut self, now: u64) -> Option<(u32, u32)> {
        while let Some((_, Reverse(vertex), demand)) = self.kept.queue.pop() {
            self.units += 1;
            if self.fits(demand) && self.passes(demand, vertex, now) {
                return Some((vertex, demand));
            }
        }
        None
    }

    /// Whether a demand has no room, and will have some when others have ended: it waits for nothing else.
    fn may_be_head(&self, demand: u32) -> bool {
        let mut amounts = self.model.demands[demand as usize].0.iter().map(|(limit, amount)| (*limit as usize, *amount));
        amounts.all(|(at, amount)| {
            let limit = &self.model.limits[at];
            if limit.is_resource { amount <= limit.capacity } else { amount <= self.free[at] }
        })
    }

    /// Whether the first vertex of a demand may start before the one for which room is kept. If it may, it is taken to do so.
    fn passes(&mut self, demand: u32, vertex: u32, now: u64) -> bool {
        let Some(head) = self.kept.head else { return true };
        if self.kept.shadow.is_none() {
            self.kept.shadow = self.shadow(head, now);
        }
        let Some((at, rest)) = &mut self.kept.shadow else { return false };
        let lasts = self.durations[vertex as usize].max(1);
        if now.saturating_add(lasts) <= *at {
            return true;
        }
        let taken = &self.model.demands[demand as usize].0;
        let of = |amounts: &[(u32, u64)], limit: u32| amounts.iter().find(|(at, _)| *at == limit).map_or(0, |(_, amount)| *amount);
        let resources = self.model.demands[head as usize].0.iter().filter(|(limit, _)| self.model.limits[*limit as usize].is_resource);
        for (limit, amount) in resources {
            if rest[*limit as usize] < amount.saturating_add(of(taken, *limit)) {
                return false;
            }
        }
        for (limit, amount) in taken {
            rest[*limit as usize] = rest[*limit as usize].saturating_sub(*amount);
        }
        true
    }

    /// When a demand has room by what runs, and what is free then.
    fn shadow(&mut self, head: u32, now: u64) -> Option<(u64, Vec<u64>)> {
        let mut ends: Vec<(u64, u32)> = self.running.iter().map(|Reverse((end, vertex))| ((*end).max(now + 1), *vertex)).collect();
        ends.sort_unstable();
        self.units += (ends.len() / STEPS_OF_A_UNIT) as u64 + 1;
        let mut free = self.free.clone();
        let wanted = &self.model.demands[head as usize].0;
        let mut at = None;
        for (end, vertex) in ends {
            if at.is_some_and(|at| end > at) {
                break;
            }
            for (limit, amount) in &self.model.demands[self.model.demand_of[vertex as usize] as usize].0 {
                free[*limit as usize] += amount;
            }
            let resources = wanted.iter().filter(|(limit, _)| self.model.limits[*limit as usize].is_resource);
            if at.is_none() && resources.into_iter().all(|(limit, amount)| free[*limit as usize] >= *amount) {
                at = Some(end);
            }
        }
        at.map(|at| (at, free))
    }

    fn fits(&self, demand: u32) -> bool {
        self.model.demands[demand as usize].0.iter().all(|(limit, amount)| self.free[*limit as usize] >= *amount)
    }

    fn end(&mut self, vertex: u32) -> usize {
        self.units += 1;
        let demand = self.model.demand_of[vertex as usize];
        for (limit, amount) in &self.model.demands[demand as usize].0 {
            self.free[*limit as usize] += amount;
        }
        self.pass(vertex);
        1
    }
}
