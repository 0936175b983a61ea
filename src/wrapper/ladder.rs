//! The kill ladder: what was asked for, what was sent, and when the next step is due. Pure; time comes in.

use std::time::{Duration, Instant};

use crate::attempt::{StopAs, StopRequest};

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Ask politely.
    Ask,
    /// End it by force.
    Kill,
}

/// How far the stop of an attempt has come.
#[derive(Debug)]
pub(super) struct Ladder {
    grace: Duration,
    asked: bool,
    kill_at: Option<Instant>,
    killing: bool,
}

impl Ladder {
    /// Nobody asked for a stop yet. The grace is for requests that do not say one.
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, asked: false, kill_at: None, killing: false }
    }

    /// Somebody wants it to stop.
    pub(super) fn request(&mut self, request: StopRequest, now: Instant) -> Step {
        match request.how {
            StopAs::Polite => self.ask(Duration::from_millis(request.grace.0), now),
            StopAs::Kill => self.kill(),
        }
    }

    /// The wrapper itself was asked to end: the first time politely, again at once.
    pub(super) fn signalled(&mut self, now: Instant) -> Step {
        if self.asked { self.kill() } else { self.ask(self.grace, now) }
    }

    /// A limit was passed: no grace.
    pub(super) fn kill(&mut self) -> Step {
        if self.killing {
            return Step::Nothing;
        }
        self.killing = true;
        self.kill_at = None;
        Step::Kill
    }

    /// There is no way to ask here: nobody is made to wait for an answer that cannot come.
    pub(super) fn cannot_ask(&mut self) -> Step {
        self.asked = false;
        self.kill()
    }

    fn ask(&mut self, grace: Duration, now: Instant) -> Step {
        if self.killing {
            return Step::Nothing;
        }
        // A second polite request may only shorten the time. A grace beyond all time is none that ends.
        let kill_at = now.checked_add(grace);
        self.kill_at = match (self.kill_at, kill_at) {
            (Some(before), Some(now)) => Some(before.min(now)),
            (before, now) => before.or(now),
        };
        if self.asked {
            return Step::Nothing;
        }
        self.asked = true;
        Step::Ask
    }

    /// When [`Self::due`] has something to say.
    pub(super) fn next(&self) -> Option<Instant> {
        self.kill_at
    }

    /// The step that time brings.
    pub(super) fn due(&mut self, now: Instant) -> Step {
        if self.kill_at.is_some_and(|at| at <= now) { self.kill() } else { Step::Nothing }
    }

    /// Somebody wants an end, so that nothing is left alive on purpose.
    pub(super) fn is_stopping(&self) -> bool {
        self.asked || self.killing
    }

    /// The kill came after the polite stop.
    pub(super) fn has_escalated(&self) -> bool {
        self.asked && self.killing
    }

    /// Signals that were sent, by name.
    pub(super) fn signals(&self) -> Vec<String> {
        let sent = [(self.asked, "TERM"), (self.killing, "KILL")];
        sent.into_iter().filter(|(sent, _)| *sent).map(|(_, name)| name.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::DurationMs;

    const SECOND: Duration = Duration::from_secs(1);

    fn polite(seconds: u64) -> StopRequest {
        StopRequest { how: StopAs::Polite, grace: DurationMs(seconds * 1000) }
    }

    #[test]
    fn the_kill_comes_when_the_grace_is_over_and_once() {
        let now = Instant::now();
        let mut ladder = Ladder::new(10 * SECOND);
        assert_eq!((ladder.due(now), ladder.next(), ladder.is_stopping()), (Step::Nothing, None, false));
        assert_eq!(ladder.request(polite(3), now), Step::Ask);
        assert_eq!(ladder.next(), Some(now + 3 * SECOND));
        assert_eq!(ladder.due(now + 2 * SECOND), Step::Nothing);
        assert!(ladder.is_stopping() && !ladder.has_escalated());
        assert_eq!(ladder.due(now + 3 * SECOND), Step::Kill);
        assert_eq!((ladder.due(now + 9 * SECOND), ladder.next()), (Step::Nothing, None));
        assert_eq!((ladder.has_escalated(), ladder.signals()), (true, vec!["TERM".to_owned(), "KILL".to_owned()]));
    }

    #[test]
    fn a_further_polite_request_asks_no_more_and_gives_no_more_time() {
        let now = Instant::now();
        let mut ladder = Ladder::new(SECOND);
        assert_eq!(ladder.request(polite(5), now), Step::Ask);
        assert_eq!(ladder.request(polite(9), now + SECOND), Step::Nothing);
        assert_eq!(ladder.next(), Some(now + 5 * SECOND));
        assert_eq!(ladder.request(polite(1), now + SECOND), Step::Nothing);
        assert_eq!(ladder.next(), Some(now + 2 * SECOND));
    }

    #[test]
    fn a_signal_is_polite_once() {
        let now = Instant::now();
        let mut ladder = Ladder::new(4 * SECOND);
        assert_eq!(ladder.signalled(now), Step::Ask);
        assert_eq!(ladder.next(), Some(now + 4 * SECOND));
        assert_eq!(ladder.signalled(now), Step::Kill);
        assert_eq!(ladder.signalled(now), Step::Nothing);
        assert_eq!(ladder.request(polite(1), now), Step::Nothing, "nobody is asked who is being killed");
    }

    #[test]
    fn who_cannot_be_asked_is_killed_at_once() {
        let now = Instant::now();
        let mut ladder = Ladder::new(SECOND);
        assert_eq!(ladder.request(polite(5), now), Step::Ask);
        assert_eq!(ladder.cannot_ask(), Step::Kill);
        assert_eq!((ladder.has_escalated(), ladder.signals(), ladder.next()), (false, vec!["KILL".to_owned()], None));
    }

    #[test]
    fn a_kill_is_no_escalation_by_itself() {
        let mut ladder = Ladder::new(SECOND);
        let kill = StopRequest { how: StopAs::Kill, grace: DurationMs(0) };
        assert_eq!(ladder.request(kill, Instant::now()), Step::Kill);
        assert_eq!((ladder.has_escalated(), ladder.signals()), (false, vec!["KILL".to_owned()]));
    }

    #[test]
    fn a_grace_without_end_is_no_overflow() {
        let now = Instant::now();
        let mut ladder = Ladder::new(Duration::MAX);
        assert_eq!(ladder.signalled(now), Step::Ask);
        assert_eq!(ladder.next(), None);
        assert_eq!(ladder.request(polite(2), now), Step::Nothing);
        assert_eq!(ladder.next(), Some(now + 2 * SECOND));
    }
}
