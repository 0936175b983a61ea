//! Which finished runs go: a pure decision over rows of the index.
//!
//! Knows no disk: how much a run takes is asked through a function, and only as often as the answer matters.

use std::collections::BTreeMap;

use super::Keep;
use crate::host::index::RunRow;
use crate::ids::RunId;
use crate::units::{Bytes, DurationMs, Timestamp};

const DAY: DurationMs = DurationMs(86_400_000);

/// Why a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Because {
    /// It ended so many days ago.
    Age { days: u64 },
    /// Newer runs take all that may be kept.
    Size,
}

/// Why a run stays that the limits would let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Needed {
    /// A run that stays has results of it.
    ResultsOf(RunId),
    /// Somebody looks at it.
    Followed,
}

/// A run that goes, or would.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    pub(super) row: RunRow,
    pub(super) because: Because,
    /// It stays all the same.
    pub(super) needed: Option<Needed>,
}

/// Judges finished runs. `needed` are those that live runs or people hold on to. Gives the ones beyond the limits, the oldest first, and
/// the number of the others.
pub(super) fn choose(
    mut rows: Vec<RunRow>,
    keep: Keep,
    now: Timestamp,
    mut needed: BTreeMap<RunId, Needed>,
    mut size_of: impl FnMut(&RunId) -> Bytes,
) -> (Vec<Verdict>, usize) {
    rows.sort_by(|a, b| (a.completed_at, &a.run_id).cmp(&(b.completed_at, &b.run_id)));
    let newest = rows.len().checked_sub(1);
    let mut kept = 0;
    let mut room = keep.size;
    let mut verdicts = Vec::new();
    // From the newest to the oldest: sizes are asked for only until they fill what may be kept, and whoever took results of another run
    // is looked at before that one.
    for (at, row) in rows.into_iter().enumerate().rev() {
        let because = age(&row, keep, now).or_else(|| beyond(&row, &mut room, Some(at) == newest, &mut size_of));
        let held = needed.remove(&row.run_id);
        if because.is_none() || held.is_some() {
            // Rows of the first versions do not say whose results they have.
            let repeated = row.retry_of.iter().filter(|_| row.nodes.contains_key("reused"));
            for earlier in repeated.chain(&row.results_of) {
                needed.entry(earlier.clone()).or_insert_with(|| Needed::ResultsOf(row.run_id.clone()));
            }
        }
        match because {
            None => kept += 1,
            Some(because) => verdicts.push(Verdict { row, because, needed: held }),
        }
    }
    verdicts.reverse();
    (verdicts, kept)
}

fn age(row: &RunRow, keep: Keep, now: Timestamp) -> Option<Because> {
    let days = now.since(row.completed_at?).0 / DAY.0;
    (days >= u64::from(keep.days?)).then_some(Because::Age { days })
}

/// Whether a run is beyond what may be kept. The newest one never is: a run larger than the limit would be gone before anybody saw it.
fn beyond(row: &RunRow, room: &mut Option<Bytes>, newest: bool, size_of: &mut impl FnMut(&RunId) -> Bytes) -> Option<Because> {
    let left = room.as_mut()?;
    if left.0 == 0 && !newest {
        return Some(Because::Size);
    }
    let size = size_of(&row.run_id);
    if size <= *left {
        left.0 -= size.0;
        return None;
    }
    // Whatever is older goes too, without being measured.
    left.0 = 0;
    (!newest).then_some(Because::Size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::RunStatus;

    const DAYS: i64 = 86_400_000_000;

    fn id(day: i64) -> RunId {
        RunId::new(Timestamp::from_micros(day * DAYS), 7)
    }

    fn row(day: i64) -> RunRow {
        RunRow {
            run_id: id(day),
            module_id: Some("m".into()),
            pipeline: None,
            status: RunStatus::Completed,
            held: false,
            created_at: Timestamp::from_micros(day * DAYS),
            started_at: None,
            completed_at: Some(Timestamp::from_micros(day * DAYS)),
            duration_seconds: None,
            exit_code: None,
            error_message: None,
            retry_of: None,
            results_of: Vec::new(),
            idempotency: None,
            mixed_code: false,
            unkillable: 0,
            reason: None,
            nodes: BTreeMap::from([("completed".to_owned(), 1)]),
        }
    }

    fn retry(day: i64, of: i64, reused: bool) -> RunRow {
        let mut row = RunRow { retry_of: Some(id(of)), ..row(day) };
        if reused {
            row.nodes.insert("reused".to_owned(), 1);
        }
        row
    }

    /// Days of the runs that go, and of those that are needed, at day 100.
    fn chosen(rows: Vec<RunRow>, keep: Keep, needed: &[i64], sizes: impl Fn(i64) -> u64) -> (Vec<i64>, Vec<i64>, usize) {
        let day = |run: &RunId| (0..200).find(|day| id(*day) == *run).expect("a day");
        let needed = needed.iter().map(|day| (id(*day), Needed::Followed)).collect();
        let now = Timestamp::from_micros(100 * DAYS);
        let (verdicts, kept) = choose(rows, keep, now, needed, |run| Bytes(sizes(day(run))));
        let days = |needed: bool| {
            let some = verdicts.iter().filter(|verdict| verdict.needed.is_some() == needed);
            some.map(|verdict| day(&verdict.row.run_id)).collect::<Vec<_>>()
        };
        (days(false), days(true), kept)
    }

    fn days(days: u32) -> Keep {
        Keep { days: Some(days), size: None }
    }

    fn size(bytes: u64) -> Keep {
        Keep { days: None, size: Some(Bytes(bytes)) }
    }

    fn unasked(_: i64) -> u64 {
        panic!("nobody needs to know the size")
    }

    #[test]
    fn the_oldest_go_first_by_the_day_of_their_end() {
        let rows = || vec![row(99), row(10), row(70), row(71)];
        assert_eq!(chosen(rows(), days(30), &[], unasked), (vec![10, 70], vec![], 2));
        assert_eq!(chosen(rows(), days(0), &[], unasked), (vec![10, 70, 71, 99], vec![], 0));
        assert_eq!(chosen(rows(), Keep::default(), &[], unasked), (vec![], vec![], 4));
        let ahead = vec![row(150), row(1)];
        assert_eq!(chosen(ahead, days(1), &[], unasked), (vec![1], vec![], 1), "a clock that was set back makes nothing old");
    }

    #[test]
    fn the_newest_stay_as_far_as_they_fit() {
        let rows = || (1..=5).map(row).collect::<Vec<_>>();
        assert_eq!(chosen(rows(), size(25), &[], |_| 10), (vec![1, 2, 3], vec![], 2));
        assert_eq!(chosen(rows(), size(50), &[], |_| 10), (vec![], vec![], 5));
        let measured_while_needed = |day| if day >= 3 { 10 } else { unasked(day) };
        assert_eq!(chosen(rows(), size(25), &[], measured_while_needed), (vec![1, 2, 3], vec![], 2));
        assert_eq!(chosen(rows(), size(5), &[], |_| 10), (vec![1, 2, 3, 4], vec![], 1), "the newest stays, however large");
        let one_is_huge = |day| if day == 4 { 1000 } else { 1 };
        assert_eq!(chosen(rows(), size(25), &[], one_is_huge), (vec![1, 2, 3, 4], vec![], 1));
    }

    #[test]
    fn both_limits_hold() {
        let rows: Vec<RunRow> = vec![row(60), row(95), row(96), row(97)];
        let keep = Keep { days: Some(30), size: Some(Bytes(20)) };
        assert_eq!(chosen(rows, keep, &[], |_| 10), (vec![60, 95], vec![], 2));
    }

    #[test]
    fn what_somebody_holds_on_to_stays() {
        assert_eq!(chosen(vec![row(1), row(2), row(3)], days(30), &[2], unasked), (vec![1, 3], vec![2], 0));
    }

    #[test]
    fn results_that_a_kept_run_took_over_stay_with_it() {
        // 3 has results of 2, which had results of 1; 5 repeats 4 and took nothing.
        let rows = || vec![row(1), retry(2, 1, true), retry(90, 2, true), row(4), retry(91, 4, false)];
        assert_eq!(chosen(rows(), days(30), &[], unasked), (vec![4], vec![1, 2], 2));
        assert_eq!(chosen(rows(), days(1), &[], unasked), (vec![1, 2, 4, 90, 91], vec![], 0), "none of them is kept");
        assert_eq!(chosen(rows(), days(1), &[90], unasked), (vec![4, 91], vec![1, 2, 90], 0));
        // 92 found results of 3 and 5 by its inputs.
        let found = RunRow { results_of: vec![id(3), id(5)], ..row(92) };
        assert_eq!(chosen(vec![row(3), row(4), row(5), found], days(30), &[], unasked), (vec![4], vec![3, 5], 1));
    }
}
