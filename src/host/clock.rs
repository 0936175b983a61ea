//! The clocks of this process. The only place where the host reads them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::units::{DurationMs, Mono, Now, Timestamp};

/// The longest that the host sleeps at once while a deadline is before it: so much of a pause of the whole process may count as time.
pub const NAP_LONGEST: DurationMs = DurationMs(1_000);

/// A host that comes so much later than it wanted was stopped, and not merely busy.
const LATE: DurationMs = DurationMs(2_000);

/// The wall clock and a monotonic one that started with it.
///
/// The monotonic one stands still while the process is stopped or the machine sleeps: whoever wakes up after eight hours must not kill
/// everything whose time is over, since nobody had that time. It learns of such a pause by [`Clock::woke`].
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    pauses: Pauses,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now(), pauses: Pauses::default() }
    }

    /// Both times.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { wall: wall(), mono: self.pauses.left_out(self.running()) }
    }

    /// How long to sleep for something that is due then: not longer than [`NAP_LONGEST`].
    #[must_use]
    pub fn nap(&self, due: Mono) -> DurationMs {
        DurationMs(due.0.saturating_sub(self.now().mono.0)).min(NAP_LONGEST)
    }

    /// Call after each sleep of the host's loop; `nap` is how long it wanted to sleep at most, `None` where it waited for a message.
    /// Gives how long it was away against its will, if it was.
    pub fn woke(&mut self, nap: Option<DurationMs>) -> Option<DurationMs> {
        let running = self.running();
        self.pauses.woke(running, nap)
    }

    fn running(&self) -> Mono {
        Mono(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// What is left out of a clock that ran on while the process was stopped.
#[derive(Debug, Clone, Copy, Default)]
struct Pauses {
    /// When the loop last woke up, by the clock that runs on.
    woke: Mono,
    total: DurationMs,
}

impl Pauses {
    fn left_out(self, running: Mono) -> Mono {
        Mono(running.0.saturating_sub(self.total.0))
    }

    fn woke(&mut self, running: Mono, nap: Option<DurationMs>) -> Option<DurationMs> {
        let away = running.0.saturating_sub(self.woke.0);
        self.woke = running;
        // Nothing was due while it waited for a message.
        let late = DurationMs(away.saturating_sub(nap?.0));
        if late < LATE {
            return None;
        }
        self.total.0 += late.0;
        Some(late)
    }
}

/// The wall clock.
#[must_use]
pub fn wall() -> Timestamp {
    // A clock before 1970 is a broken one; the records' order does not depend on it.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAP: Option<DurationMs> = Some(NAP_LONGEST);

    #[test]
    fn f22_the_clock_stands_still_while_the_host_is_stopped() {
        let mut pauses = Pauses::default();
        assert_eq!(pauses.woke(Mono(1_000), NAP), None);
        // Eight hours of sleep, in the middle of a nap.
        let night = 8 * 3_600_000;
        assert_eq!(pauses.woke(Mono(2_000 + night), NAP), Some(DurationMs(night)));
        assert_eq!(pauses.left_out(Mono(2_000 + night)), Mono(2_000));
        // And it goes on as before.
        assert_eq!(pauses.woke(Mono(3_000 + night), NAP), None);
        assert_eq!(pauses.left_out(Mono(3_500 + night)), Mono(3_500));
    }

    #[test]
    fn f22_a_busy_host_and_one_that_waits_for_messages_were_not_stopped() {
        let mut pauses = Pauses::default();
        assert_eq!(pauses.woke(Mono(2_900), NAP), None, "it was late by 1.9 s");
        assert_eq!(pauses.woke(Mono(500_000), None), None, "nothing was due");
        assert_eq!(pauses.left_out(Mono(500_000)), Mono(500_000));
    }
}
