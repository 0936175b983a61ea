//! How often the disk is looked at.
//!
//! Pure: times come in as arguments.

use std::time::{Duration, Instant};

/// Hints in a burst: the look comes this long after the last one,
const GAP: Duration = Duration::from_millis(25);
/// and this long after the first one at the latest.
const BURST_MAX: Duration = Duration::from_millis(200);
/// Where events come, a look at everything is only a precaution.
const RESCAN: Duration = Duration::from_secs(45);
/// Where no events come: with the time in which a file has to be quiet, a save is known within a second and a half.
const POLL: Duration = Duration::from_secs(1);
/// Most time between two looks without events, however long one takes.
const POLL_LONGEST: Duration = Duration::from_secs(30);
/// Looks without events take at most one part in so many of a processor's time.
const SHARE: u32 = 1_000;
/// Between two looks is at least so many times as long as one takes, however many hints come.
const REST: u32 = 2;

/// When the next look is due.
#[derive(Debug)]
pub(super) struct Pace {
    /// By time alone.
    next: Instant,
    /// The earliest, since the last one has just been.
    rested: Instant,
    first_hint: Option<Instant>,
    last_hint: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, rested: now, first_hint: None, last_hint: now }
    }

    /// Something happened.
    pub(super) fn hint(&mut self, now: Instant) {
        self.first_hint.get_or_insert(now);
        self.last_hint = now;
    }

    /// Somebody wants a look.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.next = now;
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Instant {
        let burst = self.first_hint.map(|first| (self.last_hint + GAP).min(first + BURST_MAX).max(self.rested));
        burst.map_or(self.next, |burst| burst.min(self.next))
    }

    /// A look has just been, and took so long. `again` is what it asked for.
    pub(super) fn looked(&mut self, began: Instant, now: Instant, again: Option<Duration>, polls: bool) {
        let took = now.saturating_duration_since(began);
        self.first_hint = None;
        self.rested = now + took * REST;
        let slow = if polls { (took * SHARE).clamp(POLL, POLL_LONGEST) } else { (took * SHARE).max(RESCAN) };
        self.next = now + again.map_or(slow, |again| again.min(slow));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_is_one_look_and_an_endless_one_is_many() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.looked(start, start + ms(1), None, false);
        pace.hint(start + ms(10));
        assert_eq!(pace.due(), start + ms(35));
        pace.hint(start + ms(30));
        assert_eq!(pace.due(), start + ms(55));
        for at in (50..400).step_by(20) {
            pace.hint(start + ms(at));
        }
        assert_eq!(pace.due(), start + ms(210), "it does not wait for the end of a storm");
        pace.looked(start + ms(210), start + ms(310), None, false);
        pace.hint(start + ms(311));
        assert_eq!(pace.due(), start + ms(510), "a look that took 100 ms is followed by 200 ms of rest");
    }

    #[test]
    fn without_events_the_disk_is_looked_at_more_often_and_never_for_more_than_a_thousandth_of_the_time() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.due(), start, "the first look comes at once");
        pace.looked(start, start, None, false);
        assert_eq!(pace.due(), start + RESCAN);
        pace.looked(start, start, None, true);
        assert_eq!(pace.due(), start + POLL);
        pace.looked(start, start + ms(5), None, true);
        assert_eq!(pace.due(), start + ms(5_005));
        pace.looked(start, start, Some(ms(300)), false);
        assert_eq!(pace.due(), start + ms(300), "something has not settled yet");
        pace.hurry(start + ms(20));
        assert_eq!(pace.due(), start + ms(20));
    }
}
