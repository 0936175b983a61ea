//! How busy the processors of the machine were since it was started, all programs together.

use crate::units::DurationMs;

/// Time that processors worked, of all together; none where the system does not tell it so.
#[must_use]
pub fn busy() -> Option<DurationMs> {
    #[cfg(target_os = "linux")]
    {
        let text = std::fs::read_to_string("/proc/stat").ok()?;
        ticks_in(text.lines().next()?).map(super::processes::of_ticks)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Ticks in the first line of `/proc/stat`, idle ones and those of guests, which stand in others, left out.
#[cfg(target_os = "linux")]
fn ticks_in(line: &str) -> Option<u64> {
    let ticks: Vec<u64> = line.strip_prefix("cpu ")?.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, _idle, _waiting, interrupts, soft, stolen] = ticks.try_into().ok()?;
    Some(user + nice + system + interrupts + soft + stolen)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn work_of_all_programs_is_found() {
        assert!(busy().is_some_and(|busy| busy.0 > 0));
        assert_eq!(ticks_in("cpu  1 2 3 100 50 4 5 6 7 8"), Some(21));
        assert_eq!((ticks_in("cpu 1 2"), ticks_in("intr 1"), ticks_in("cpu  a b c d e f g h")), (None, None, None));
    }
}
