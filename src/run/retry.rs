//! Whether, when and with how much memory a failed attempt is followed by another.

use crate::event::FailureCause;
use crate::request::{Request, RetryOn, RetryPolicy};
use crate::units::{Bytes, DurationMs};

/// First and longest pause of a node for which the system has no room (no process, memory or descriptor is free). Such want passes
/// within seconds or is somebody else's for long; a try every half minute costs nobody anything.
const BUSY_FIRST: DurationMs = DurationMs(1_000);
const BUSY_LONGEST: DurationMs = DurationMs(30_000);

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Another one, after this pause.
    Again(DurationMs),
    /// Nothing: the node has failed.
    Final,
}

/// The verdict after `used` attempts that count, the last of which failed because of `cause`, with an exit code if it had one.
pub(super) fn verdict(policy: &RetryPolicy, used: u32, cause: &FailureCause, code: Option<i64>) -> Verdict {
    if names(policy, cause, code) && used < policy.attempts { Verdict::Again(pause(policy, used)) } else { Verdict::Final }
}

/// Whether a policy names a cause. A module that ended with a code because its graphics card was full did both.
fn names(policy: &RetryPolicy, cause: &FailureCause, code: Option<i64>) -> bool {
    let by_itself = match cause {
        FailureCause::Exit { .. } | FailureCause::Oom { said: Some(_), .. } => true,
        FailureCause::Oom { said: None, .. }
        | FailureCause::Signal { .. }
        | FailureCause::Timeout { .. }
        | FailureCause::Spawn(_)
        | FailureCause::Lost { .. }
        | FailureCause::Parameters { .. }
        | FailureCause::Outputs { .. }
        | FailureCause::Inner { .. }
        | FailureCause::ScriptChanged => false,
    };
    cause.retry_word().is_some_and(|word| policy.on.contains(&word))
        || by_itself && (policy.on.contains(&RetryOn::Exit) || code.is_some_and(|code| policy.exit_codes.contains(&code)))
}

/// Pause after `used` attempts: it grows by the factor each time, up to the longest one.
fn pause(policy: &RetryPolicy, used: u32) -> DurationMs {
    let longest = policy.max_backoff.0;
    DurationMs(scaled(policy.backoff.0, policy.factor_millis, used.saturating_sub(1), longest).min(longest))
}

/// Pause after the system had no room so many times in a row.
pub(super) fn busy_pause(times: u32) -> DurationMs {
    DurationMs(scaled(BUSY_FIRST.0, 2_000, times.saturating_sub(1), BUSY_LONGEST.0).min(BUSY_LONGEST.0))
}

/// `request` after `memory` attempts ran out of memory and `vram` of that of a graphics card.
pub(super) fn grown(request: &Request, policy: &RetryPolicy, memory: u32, vram: u32) -> Request {
    let memory = scaled(request.memory.0, policy.grow_memory_millis, memory, u64::MAX);
    let vram = scaled(request.vram.0, policy.grow_vram_millis, vram, u64::MAX);
    Request { memory: Bytes(memory), vram: Bytes(vram), ..request.clone() }
}

/// `value * (millis / 1000) ^ times`, in integers; stops as soon as it passes `enough` or changes no more.
fn scaled(value: u64, millis: u64, times: u32, enough: u64) -> u64 {
    let mut value = u128::from(value);
    for _ in 0..times {
        let next = (value.saturating_mul(u128::from(millis)) / 1000).min(u128::from(u64::MAX));
        if next == value || value > u128::from(enough) {
            break;
        }
        value = next;
    }
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{LostReason, SpawnFailure, SpawnFailureKind};

    /// The verdict on a failure without an exit code.
    fn verdict(policy: &RetryPolicy, used: u32, cause: &FailureCause) -> Verdict {
        super::verdict(policy, used, cause, None)
    }

    #[test]
    fn exit_codes_are_tried_again_by_their_number() {
        let policy = RetryPolicy { on: [RetryOn::Oom].into(), exit_codes: [75].into(), ..policy() };
        let exit = |code| super::verdict(&policy, 1, &FailureCause::Exit { code }, Some(code));
        assert_eq!((exit(75), exit(1)), (Verdict::Again(DurationMs(2_000)), Verdict::Final));
        // An attempt that was ended for its time had perhaps a code, and that was not its own.
        let timeout = FailureCause::Timeout { limit_ms: DurationMs(1) };
        assert_eq!(super::verdict(&policy, 1, &timeout, Some(75)), Verdict::Final);
    }

    #[test]
    fn a_full_graphics_card_is_an_exit_and_out_of_memory() {
        let full = FailureCause::Oom { limit: None, peak: None, said: Some("CUDA out of memory".into()) };
        let on = |on: &[RetryOn], codes: &[i64]| RetryPolicy {
            on: on.iter().copied().collect(),
            exit_codes: codes.iter().copied().collect(),
            ..policy()
        };
        for named in [on(&[RetryOn::Oom], &[]), on(&[RetryOn::Exit], &[]), on(&[], &[3])] {
            assert_eq!(super::verdict(&named, 1, &full, Some(3)), Verdict::Again(DurationMs(2_000)));
        }
        assert_eq!(super::verdict(&on(&[RetryOn::Timeout], &[4]), 1, &full, Some(3)), Verdict::Final);
        let killed = FailureCause::Oom { limit: None, peak: None, said: None };
        assert_eq!(super::verdict(&on(&[RetryOn::Exit], &[]), 1, &killed, None), Verdict::Final);
    }

    fn policy() -> RetryPolicy {
        RetryPolicy { attempts: 4, max_backoff: DurationMs(5_000), grow_memory_millis: 1_500, ..RetryPolicy::default() }
    }

    #[test]
    fn the_pause_doubles_up_to_the_longest() {
        let exit = FailureCause::Exit { code: 1 };
        let pauses: Vec<Verdict> = (1..=4).map(|used| verdict(&policy(), used, &exit)).collect();
        let expected =
            [Verdict::Again(DurationMs(2_000)), Verdict::Again(DurationMs(4_000)), Verdict::Again(DurationMs(5_000)), Verdict::Final];
        assert_eq!(pauses, expected);
    }

    #[test]
    fn a_pause_never_overflows() {
        let policy = RetryPolicy { attempts: u32::MAX, factor_millis: u64::MAX, max_backoff: DurationMs(u64::MAX), ..policy() };
        assert_eq!(verdict(&policy, u32::MAX - 1, &FailureCause::Exit { code: 1 }), Verdict::Again(DurationMs(u64::MAX)));
    }

    #[test]
    fn only_named_causes_are_tried_again() {
        let lost = FailureCause::Lost { reason: LostReason::Reboot };
        assert_eq!(verdict(&policy(), 1, &lost), Verdict::Final);
        let named = RetryPolicy { on: [RetryOn::Lost].into(), ..policy() };
        assert_eq!(verdict(&named, 1, &lost), Verdict::Again(DurationMs(2_000)));
        assert_eq!(verdict(&named, 1, &FailureCause::Exit { code: 1 }), Verdict::Final);
        let spawn = FailureCause::Spawn(SpawnFailure { message: "x".into(), transient: false, kind: SpawnFailureKind::Other });
        assert_eq!(verdict(&policy(), 1, &spawn), Verdict::Final);
        assert_eq!(verdict(&policy(), 1, &FailureCause::Parameters { messages: vec![] }), Verdict::Final);
    }

    #[test]
    fn the_pause_for_the_system_is_bounded() {
        let pauses: Vec<u64> = [1, 2, 3, 5, 6, u32::MAX].into_iter().map(|times| busy_pause(times).0).collect();
        assert_eq!(pauses, [1_000, 2_000, 4_000, 16_000, 30_000, 30_000]);
    }

    #[test]
    fn memory_grows_with_each_attempt_that_ran_out_of_it() {
        let request = Request { memory: Bytes(1000), ..Request::default() };
        assert_eq!(grown(&request, &policy(), 2, 9).memory, Bytes(2250));
        assert_eq!(grown(&Request::default(), &policy(), 9, 9), Request::default());
        assert_eq!(grown(&request, &policy(), u32::MAX, 0).memory, Bytes(u64::MAX));
        let vram = Request { vram: Bytes(1000), ..request };
        let policy = RetryPolicy { grow_vram_millis: 2_000, ..policy() };
        let after = grown(&vram, &policy, 1, 3);
        assert_eq!((after.memory, after.vram), (Bytes(1500), Bytes(8000)));
    }
}
