//! A model played once by a list of priorities, as the scheduler plays a run: whatever is ready and has room starts, the highest
//! priority first. Arrays and heaps that are used again: this runs thousands of times for one decision.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::model::{FREE, Model};

/// Plays one model as often as wanted.
#[derive(Debug)]
pub struct Player<'m> {
    model: &'m Model,
    free: Vec<u64>,
    waits: Vec<u32>,
    /// Ready vertices of each demand.
    ready: Vec<BinaryHeap<(u64, Reverse<u32>)>>,
    /// Demands that have ready vertices.
    wanted: Vec<u32>,
    running: BinaryHeap<Reverse<(u64, u32)>>,
    /// Vertices whose predecessors have ended, and that are not looked at yet.
    released: Vec<u32>,
    /// Work units spent so far: vertices and edges passed, and demands compared.
    units: u64,
    /// How many there are.
    most: u64,
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
            free: Vec::new(),
            waits: Vec::new(),
            ready: vec![BinaryHeap::new(); model.demands.len()],
            wanted: Vec::new(),
            running: BinaryHeap::new(),
            released: Vec::new(),
            units: 0,
        }
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
            while let Some(vertex) = self.start() {
                if self.is_spent() {
                    return None;
                }
                started(vertex, now);
                let end = now.saturating_add(self.model.durations[vertex as usize]);
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
    fn start(&mut self) -> Option<u32> {
        let mut best: Option<(u64, Reverse<u32>, usize)> = None;
        for (at, demand) in self.wanted.iter().enumerate() {
            self.units += 1;
            let Some((priority, vertex)) = self.ready[*demand as usize].peek().copied() else { continue };
            if best.is_none_or(|(most, first, _)| (priority, vertex) > (most, first)) && self.fits(*demand) {
                best = Some((priority, vertex, at));
            }
        }
        let (_, Reverse(vertex), at) = best?;
        let demand = self.wanted[at];
        let heap = &mut self.ready[demand as usize];
        heap.pop();
        if heap.is_empty() {
            self.wanted.swap_remove(at);
        }
        for (limit, amount) in &self.model.demands[demand as usize].0 {
            self.free[*limit as usize] -= amount;
        }
        Some(vertex)
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
