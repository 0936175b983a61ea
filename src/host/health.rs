//! Whether the journal takes records, and what is done about it where it does not.
//!
//! Pure: told what happened and when, it says what to do next. It does not know the journal's files, the runs or who asks; [`heal`]
//! carries out, and [`Board`] shows other threads how it stands.
//!
//! ```text
//!            failure                      healed
//!  Well ───────────────▶ Healing ───────────────────────────▶ Well          (a disk that failed once)
//!   ▲                     │   ▲  └── healed by the ballast ───▶ OnReserve ─▶ Well, when the ballast could be made anew
//!   │                     │   │                                   │
//!   │              failed │   │ a pause is over                   │ failure
//!   │                     ▼   │                                   ▼
//!   └─────────────────── Waiting ◀────────────────────────────────┘
//!
//!  anything ── the journal's file was deleted or changed ──▶ Broken, for good
//! ```
//!
//! [`heal`]: super::heal

use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::handle::CommandError;
use crate::journal::FailureKind;
use crate::units::{DurationMs, Mono};

/// Between two tries while the disk is full. It is made empty by people, who then look whether it helped.
const FULL_PAUSE: DurationMs = DurationMs(1_000);
/// First and longest pause between two tries on a disk that fails.
const IO_PAUSE: DurationMs = DurationMs(1_000);
const IO_PAUSE_MAX: DurationMs = DurationMs(60_000);
/// A failure so soon after the last healing is the same one: it waits longer, not shorter.
const CALM: DurationMs = DurationMs(60_000);

/// How the host is, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HostHealth {
    /// What it can do.
    pub status: HealthStatus,
    /// Why it cannot do more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a host can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Everything.
    #[default]
    Ok,
    /// A write failed, and a new file of the journal is being begun: answers wait for that.
    Healing,
    /// Nothing new is accepted or started until there is room on the disk; then it goes on by itself.
    DiskFull,
    /// Nothing can be written down; modules go on, and looking works.
    ReadOnly,
}

/// The state of the journal as far as the host's decisions go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    /// Records are taken. A failure before `calm` continues the last one, which had so many tries.
    Well { tries: u32, calm: Mono },
    /// A record was refused; the journal's own word of the failure is on its way.
    Stumbled(Trouble),
    /// A new segment is being begun.
    Healing(Trouble),
    /// That failed; it is tried again then.
    Waiting(Trouble, Mono),
    /// Records are taken again at the cost of the ballast, which is being made anew, or is tried again then.
    OnReserve(Trouble, Option<Mono>),
    /// The journal is not what was written. It is left as it is.
    Broken(String),
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    full: bool,
    reason: String,
    /// Failed tries to heal.
    tries: u32,
}

/// What is to be asked of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chore {
    /// Begin a new segment.
    Heal,
    /// Make the ballast anew.
    Reserve,
}

/// What is done with a request that needs a record.
#[derive(Debug)]
pub(super) enum Intake {
    /// It is carried out.
    Takes,
    /// It waits for the healing, which takes a moment.
    Later,
    /// It is refused.
    Refuses(CommandError),
}

impl Default for Health {
    fn default() -> Self {
        Self::Well { tries: 0, calm: Mono(0) }
    }
}

impl Health {
    /// Whether records are taken.
    pub(super) fn records(&self) -> bool {
        match self {
            Self::Well { .. } | Self::OnReserve(..) => true,
            Self::Stumbled(_) | Self::Healing(_) | Self::Waiting(..) | Self::Broken(_) => false,
        }
    }

    /// Whether new attempts may start.
    pub(super) fn starts(&self) -> bool {
        matches!(self, Self::Well { .. })
    }

    /// Whether the journal was asked for something whose answer decides how it goes on.
    pub(super) fn is_healing(&self) -> bool {
        matches!(self, Self::Stumbled(_) | Self::Healing(_))
    }

    /// What becomes of a new run.
    pub(super) fn for_runs(&self) -> Intake {
        match self {
            Self::Well { .. } => Intake::Takes,
            Self::OnReserve(trouble, _) => Intake::Refuses(trouble.refusal()),
            Self::Stumbled(_) | Self::Healing(_) | Self::Waiting(..) | Self::Broken(_) => self.for_changes(),
        }
    }

    /// What becomes of a cancel or a resume.
    pub(super) fn for_changes(&self) -> Intake {
        match self {
            Self::Well { .. } | Self::OnReserve(..) => Intake::Takes,
            Self::Stumbled(trouble) | Self::Healing(trouble) if trouble.tries == 0 => Intake::Later,
            Self::Stumbled(trouble) | Self::Healing(trouble) | Self::Waiting(trouble, _) => Intake::Refuses(trouble.refusal()),
            Self::Broken(reason) => Intake::Refuses(CommandError::Journal(reason.clone())),
        }
    }

    /// A record was refused.
    pub(super) fn stumbled(&mut self, kind: FailureKind, reason: String) {
        if !self.records() {
            return;
        }
        *self = match kind {
            // It said its last word.
            FailureKind::Ended => Self::Broken(reason),
            FailureKind::DiskFull | FailureKind::Io | FailureKind::Tampered => {
                Self::Stumbled(Trouble { full: kind == FailureKind::DiskFull, reason, tries: 0 })
            }
        };
    }

    /// The journal failed.
    pub(super) fn failed(&mut self, kind: FailureKind, reason: String, now: Mono) -> Option<Chore> {
        let full = kind == FailureKind::DiskFull;
        let tries = match self {
            Self::Well { tries, calm } if now < *calm => *tries,
            // The ballast is spent: there is no hurry any more.
            Self::OnReserve(trouble, _) => trouble.tries.max(1),
            Self::Well { .. } | Self::Stumbled(_) | Self::Healing(_) | Self::Waiting(..) | Self::Broken(_) => 0,
        };
        let trouble = Trouble { full, reason, tries };
        match kind {
            FailureKind::Tampered | FailureKind::Ended => *self = Self::Broken(trouble.reason),
            FailureKind::DiskFull | FailureKind::Io if tries == 0 => {
                *self = Self::Healing(trouble);
                return Some(Chore::Heal);
            }
            FailureKind::DiskFull | FailureKind::Io => *self = trouble.wait(now),
        }
        None
    }

    /// Healing failed.
    pub(super) fn heal_failed(&mut self, kind: FailureKind, reason: String, now: Mono) {
        let tries = match self {
            Self::Stumbled(trouble) | Self::Healing(trouble) | Self::Waiting(trouble, _) | Self::OnReserve(trouble, _) => trouble.tries,
            Self::Well { .. } | Self::Broken(_) => 0,
        };
        let trouble = Trouble { full: kind == FailureKind::DiskFull, reason, tries: tries.saturating_add(1) };
        *self = match kind {
            FailureKind::Tampered | FailureKind::Ended => Self::Broken(trouble.reason),
            FailureKind::DiskFull | FailureKind::Io => trouble.wait(now),
        };
    }

    /// A new segment was begun. Where the ballast made that possible, the disk is full until there is room for it again.
    pub(super) fn healed(&mut self, reserve_spent: bool, now: Mono) -> Chore {
        let trouble = match self {
            Self::Stumbled(trouble) | Self::Healing(trouble) | Self::Waiting(trouble, _) | Self::OnReserve(trouble, _) => {
                Some(trouble.clone())
            }
            Self::Well { .. } | Self::Broken(_) => None,
        };
        *self = match trouble {
            Some(trouble) if reserve_spent => Self::OnReserve(Trouble { full: true, ..trouble }, None),
            Some(trouble) => Self::Well { tries: trouble.tries.saturating_add(1), calm: now.plus(CALM) },
            None => Self::default(),
        };
        Chore::Reserve
    }

    /// Whether the ballast could be made.
    pub(super) fn reserve(&mut self, made: bool, now: Mono) {
        if let Self::OnReserve(trouble, next) = self {
            if made {
                *self = Self::Well { tries: 0, calm: now };
            } else {
                trouble.tries = trouble.tries.max(1);
                *next = Some(now.plus(FULL_PAUSE));
            }
        }
    }

    /// What is due by now. Asked once, it is under way.
    pub(super) fn due(&mut self, now: Mono) -> Option<Chore> {
        match self {
            Self::Waiting(trouble, next) if *next <= now => {
                *self = Self::Healing(trouble.clone());
                Some(Chore::Heal)
            }
            Self::OnReserve(_, next) if next.is_some_and(|next| next <= now) => {
                *next = None;
                Some(Chore::Reserve)
            }
            Self::Well { .. } | Self::Stumbled(_) | Self::Healing(_) | Self::Waiting(..) | Self::OnReserve(..) | Self::Broken(_) => None,
        }
    }

    /// When something is due next.
    pub(super) fn next(&self) -> Option<Mono> {
        match self {
            Self::Waiting(_, next) => Some(*next),
            Self::OnReserve(_, next) => *next,
            Self::Well { .. } | Self::Stumbled(_) | Self::Healing(_) | Self::Broken(_) => None,
        }
    }

    /// The host is about to leave: what waits is tried now.
    pub(super) fn hurry(&mut self, now: Mono) {
        if let Self::Waiting(_, next) = self {
            *next = now;
        }
    }

    /// How it is shown.
    pub(super) fn shown(&self) -> HostHealth {
        let (status, reason) = match self {
            Self::Well { .. } => (HealthStatus::Ok, None),
            Self::Stumbled(trouble) | Self::Healing(trouble) if trouble.tries == 0 && !trouble.full => {
                (HealthStatus::Healing, Some(&trouble.reason))
            }
            Self::Stumbled(trouble) | Self::Healing(trouble) | Self::Waiting(trouble, _) | Self::OnReserve(trouble, _) => {
                (if trouble.full { HealthStatus::DiskFull } else { HealthStatus::ReadOnly }, Some(&trouble.reason))
            }
            Self::Broken(reason) => (HealthStatus::ReadOnly, Some(reason)),
        };
        HostHealth { status, reason: reason.cloned() }
    }

    /// Why a host that ends now leaves something unwritten.
    pub(super) fn unwell(&self) -> Option<String> {
        if self.records() { None } else { self.shown().reason }
    }
}

impl Trouble {
    fn wait(self, now: Mono) -> Health {
        let pause = if self.full { FULL_PAUSE } else { DurationMs(IO_PAUSE.0 << self.tries.saturating_sub(1).min(10)).min(IO_PAUSE_MAX) };
        Health::Waiting(self, now.plus(pause))
    }

    fn refusal(&self) -> CommandError {
        if self.full { CommandError::DiskFull(self.reason.clone()) } else { CommandError::Journal(self.reason.clone()) }
    }
}

/// How the host is, for other threads: an answer about it must not wait for the loop.
#[derive(Debug, Clone, Default)]
pub(super) struct Board(Arc<Mutex<HostHealth>>);

impl Board {
    pub(super) fn show(&self, health: HostHealth) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    pub(super) fn shown(&self) -> HostHealth {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1000)
    }

    fn status(health: &Health) -> HealthStatus {
        health.shown().status
    }

    fn refusal(intake: Intake) -> &'static str {
        match intake {
            Intake::Takes => "takes",
            Intake::Later => "later",
            Intake::Refuses(CommandError::DiskFull(_)) => "full",
            Intake::Refuses(_) => "read-only",
        }
    }

    #[test]
    fn f11_a_disk_that_fails_once_is_a_hiccup() {
        let mut health = Health::default();
        assert_eq!(health.failed(FailureKind::Io, "EIO".into(), at(1)), Some(Chore::Heal));
        assert_eq!((status(&health), health.records(), health.next()), (HealthStatus::Healing, false, None));
        assert_eq!((refusal(health.for_runs()), refusal(health.for_changes())), ("later", "later"));
        assert_eq!(health.healed(false, at(2)), Chore::Reserve);
        assert_eq!((status(&health), health.starts(), health.unwell()), (HealthStatus::Ok, true, None));
    }

    #[test]
    fn f12_a_disk_that_goes_on_failing_is_tried_ever_more_seldom() {
        let mut health = Health::default();
        health.failed(FailureKind::Io, "EIO".into(), at(0));
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            health.heal_failed(FailureKind::Io, "EIO".into(), now);
            assert_eq!((status(&health), refusal(health.for_changes())), (HealthStatus::ReadOnly, "read-only"));
            let next = health.next().expect("it is tried again");
            assert_eq!(health.due(Mono(next.0 - 1)), None);
            assert_eq!(health.due(next), Some(Chore::Heal));
            assert_eq!((health.due(next), status(&health)), (None, HealthStatus::ReadOnly), "it is under way");
            pauses.push((next.0 - now.0) / 1000);
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert!(health.unwell().is_some());
    }

    #[test]
    fn f12_a_disk_that_fails_again_at_once_is_not_healed_at_once() {
        let mut health = Health::default();
        health.failed(FailureKind::Io, "EIO".into(), at(0));
        health.healed(false, at(1));
        assert_eq!(health.failed(FailureKind::Io, "EIO".into(), at(2)), None);
        assert_eq!(health.next(), Some(at(3)));
        health.due(at(3));
        health.healed(false, at(3));
        assert_eq!(health.failed(FailureKind::Io, "EIO".into(), at(100)), Some(Chore::Heal), "a later failure is a new one");
    }

    #[test]
    fn f09_a_full_disk_records_on_the_ballast_and_starts_nothing_until_there_is_room() {
        let mut health = Health::default();
        assert_eq!(health.failed(FailureKind::DiskFull, "ENOSPC".into(), at(0)), Some(Chore::Heal));
        assert_eq!(health.healed(true, at(0)), Chore::Reserve);
        health.reserve(false, at(0));
        assert_eq!((status(&health), health.records(), health.starts()), (HealthStatus::DiskFull, true, false));
        assert_eq!((refusal(health.for_runs()), refusal(health.for_changes())), ("full", "takes"));
        assert_eq!((health.due(at(0)), health.due(at(1)), health.due(at(1))), (None, Some(Chore::Reserve), None));
        // The ballast is used up too.
        assert_eq!(health.failed(FailureKind::DiskFull, "ENOSPC".into(), at(1)), None);
        assert_eq!((status(&health), refusal(health.for_changes()), health.next()), (HealthStatus::DiskFull, "full", Some(at(2))));
        assert_eq!(health.due(at(2)), Some(Chore::Heal));
        health.heal_failed(FailureKind::DiskFull, "ENOSPC".into(), at(2));
        assert_eq!(health.next(), Some(at(3)), "always the same pause: people wait for it");
        health.due(at(3));
        health.healed(true, at(3));
        health.reserve(true, at(3));
        assert_eq!((status(&health), health.starts()), (HealthStatus::Ok, true));
    }

    #[test]
    fn f15_without_ballast_a_healed_journal_is_well_and_the_next_failure_takes_its_time() {
        let mut health = Health::default();
        health.failed(FailureKind::DiskFull, "EFBIG".into(), at(0));
        health.healed(false, at(0));
        assert_eq!(status(&health), HealthStatus::Ok);
        assert_eq!(health.failed(FailureKind::DiskFull, "EFBIG".into(), at(1)), None);
        assert_eq!(health.next(), Some(at(2)));
    }

    #[test]
    fn f16_a_journal_that_was_changed_is_never_begun_anew() {
        let mut health = Health::default();
        assert_eq!(health.failed(FailureKind::Tampered, "deleted".into(), at(0)), None);
        assert_eq!((status(&health), health.next(), health.due(at(1000))), (HealthStatus::ReadOnly, None, None));
        assert_eq!((refusal(health.for_runs()), health.unwell()), ("read-only", Some("deleted".into())));
        health.hurry(at(2));
        assert_eq!(health.next(), None);
    }

    #[test]
    fn a_refused_record_waits_for_the_word_of_the_journal() {
        let mut health = Health::default();
        health.stumbled(FailureKind::Io, "EIO".into());
        assert!(health.is_healing() && !health.records());
        assert_eq!(refusal(health.for_runs()), "later");
        assert_eq!(health.failed(FailureKind::Io, "EIO".into(), at(0)), Some(Chore::Heal));
    }
}
