//! How a host ends: what it waits for, and what it stops before.
//!
//! Wrapped attempts outlive it, so that it may leave at any moment; direct ones are its own children and would be lost. Each further
//! request may only be more urgent.

use super::turn::Turn;
use crate::request::Isolation;
use crate::run::RunState;
use crate::scheduler::StopHow;

/// What a host does about running attempts when it ends. In the order of urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnExit {
    /// Waits for direct attempts; wrapped ones go on, and the next host adopts them.
    Leave,
    /// Waits for all of them.
    Drain,
    /// Asks all of them to stop and kills those that are still there after their grace. Their runs are held until somebody says `resume`.
    Stop,
    /// Kills all of them at once.
    Kill,
    /// Waits for nothing. Direct attempts are lost, wrapped ones go on.
    Now,
}

/// Attempts that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attempts {
    /// Those that would be lost with the host.
    pub direct: usize,
    /// Those that go on without it.
    pub wrapped: usize,
}

impl Turn {
    /// Starts nothing new, and ends when there is nothing to wait for. Tells what runs.
    pub(super) fn leave(&mut self, on_exit: OnExit, hand_over: bool) -> Attempts {
        self.on_exit = self.on_exit.max(Some(on_exit));
        self.closed = !hand_over;
        self.world.set_accepting(false);
        match on_exit {
            OnExit::Leave | OnExit::Drain | OnExit::Now => {}
            OnExit::Stop => self.world.set_ending(StopHow::Polite),
            OnExit::Kill => self.world.set_ending(StopHow::Kill),
        }
        self.health.hurry(self.clock.now().mono);
        self.file_again_now();
        self.attempts()
    }

    /// Running attempts that have to end before the host does; none while it was not told to leave.
    pub(super) fn awaited(&self) -> Option<usize> {
        // Asked after each turn: only a host that leaves may go through all its runs for it.
        let on_exit = self.on_exit?;
        let attempts = self.attempts();
        Some(match on_exit {
            OnExit::Leave => attempts.direct,
            OnExit::Drain | OnExit::Stop | OnExit::Kill => attempts.direct + attempts.wrapped,
            OnExit::Now => 0,
        })
    }

    /// Attempts that run. One whose end could not be written down yet does not.
    pub(super) fn attempts(&self) -> Attempts {
        let is_direct = |run: &RunState, node| {
            let last = run.node(node).record().and_then(|record| record.attempts().last());
            last.is_some_and(|last| last.isolation == Isolation::Direct)
        };
        let active = self.world.runs().flat_map(|run| run.active().map(move |node| (run, node)));
        let active = active.filter(|(run, node)| !self.has_ended_unwritten(run.id(), *node));
        let (mut direct, mut wrapped) = (0, 0);
        for (run, node) in active {
            *(if is_direct(run, node) { &mut direct } else { &mut wrapped }) += 1;
        }
        Attempts { direct, wrapped }
    }
}
