//! The clocks of this process. The only place where the host reads them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::units::{DurationMs, Mono, Now, Timestamp};

/// The wall clock and a monotonic one that started with it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Both times.
    #[must_use]
    pub fn now(&self) -> Now {
        let mono = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { wall: wall(), mono: Mono(mono) }
    }

    /// How long it is until a point of the monotonic clock; zero if it is past.
    #[must_use]
    pub fn until(&self, then: Mono) -> DurationMs {
        DurationMs(then.0.saturating_sub(self.now().mono.0))
    }
}

/// The wall clock.
#[must_use]
pub fn wall() -> Timestamp {
    // A clock before 1970 is a broken one; the records' order does not depend on it.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
