//! One run out of all, by what people type: its id, a unique head or tail of it, `last`, `@~N`.
//!
//! Pure: whoever asks brings the runs.

use std::collections::BTreeMap;

use super::index::{Submitted, newest_first};
use crate::ids::RunId;
use crate::units::Timestamp;

/// Runs that are named where several fit.
const NAMED_MAX: usize = 5;

/// Why a selector names no run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// Nothing fits.
    #[error("there is no run `{0}`")]
    None(String),
    /// It was pruned.
    #[error("run {run} was pruned at {}: nothing is left of it", .at.local())]
    Pruned {
        /// Its id.
        run: RunId,
        /// When.
        at: Timestamp,
    },
    /// Several fit.
    #[error("`{selector}` fits several runs: {}", .candidates.join(", "))]
    Several {
        /// What was asked for.
        selector: String,
        /// Some of them.
        candidates: Vec<String>,
    },
}

impl SelectError {
    /// What to do.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::None(_) | Self::Pruned { .. } => "`prismq runs` lists them",
            Self::Several { .. } => "write more of its id",
        }
    }
}

/// The run that a selector names. `pruned`: when runs were pruned lately, asked for where nothing else fits.
pub(super) fn select<'a>(
    runs: impl Iterator<Item = Submitted<'a>>,
    selector: &str,
    pruned: impl FnOnce() -> BTreeMap<RunId, Timestamp>,
) -> Result<RunId, SelectError> {
    let mut runs: Vec<(Submitted<'_>, ())> = runs.map(|run| (run, ())).collect();
    let none = || SelectError::None(selector.to_owned());
    let back = match selector {
        "last" | "latest" | "@" => Some(0),
        _ => selector.strip_prefix("@~").and_then(|count| count.parse::<usize>().ok()),
    };
    if let Some(back) = back {
        newest_first(&mut runs, back..back.saturating_add(1));
        return runs.get(back).and_then(|(run, ())| RunId::parse(run.id).ok()).ok_or_else(none);
    }
    runs.retain(|(run, ())| !selector.is_empty() && (run.id.starts_with(selector) || run.id.ends_with(selector)));
    match runs.as_mut_slice() {
        [] if selector.is_empty() => Err(none()),
        [] => Err(among_pruned(&pruned(), selector).unwrap_or_else(none)),
        [(one, ())] => RunId::parse(one.id).map_err(|_| none()),
        several => {
            newest_first(several, 0..NAMED_MAX);
            let candidates = several.iter().take(NAMED_MAX).map(|(run, ())| run.id.to_owned()).collect();
            Err(SelectError::Several { selector: selector.to_owned(), candidates })
        }
    }
}

/// The only run that fits among those that were pruned lately.
fn among_pruned(pruned: &BTreeMap<RunId, Timestamp>, selector: &str) -> Option<SelectError> {
    let mut fits = pruned.iter().filter(|(run, _)| run.as_str().starts_with(selector) || run.as_str().ends_with(selector));
    let (run, at) = fits.next()?;
    fits.next().is_none().then(|| SelectError::Pruned { run: run.clone(), at: *at })
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 3] = ["20251120-081152-00001", "20251120-081153-00002", "20251121-081152-00001"];

    fn selected(selector: &str) -> Result<String, SelectError> {
        let runs = IDS.into_iter().rev().map(|id| Submitted::new(id, Timestamp::default()));
        let gone = BTreeMap::from([(RunId::parse("20240101-000000-abcde").expect("an id"), Timestamp::default())]);
        select(runs, selector, || gone).map(|run| run.to_string())
    }

    #[test]
    fn runs_are_named_by_place_head_and_tail() {
        let good = [("last", 2), ("@", 2), ("@~0", 2), ("@~2", 0), ("20251121", 2), ("00002", 1), (IDS[0], 0)];
        for (selector, at) in good {
            assert_eq!(selected(selector).as_deref(), Ok(IDS[at]), "{selector}");
        }
        for none in ["", "@~3", "@~18446744073709551615", "@~x", "nothing", "0812"] {
            assert_eq!(selected(none), Err(SelectError::None(none.to_owned())));
        }
        let several = |selector: &str, ids: &[&str]| {
            let candidates = ids.iter().map(ToString::to_string).collect();
            assert_eq!(selected(selector), Err(SelectError::Several { selector: selector.to_owned(), candidates }));
        };
        several("20251120", &[IDS[1], IDS[0]]);
        several("00001", &[IDS[2], IDS[0]]);
        assert!(matches!(selected("abcde"), Err(SelectError::Pruned { .. })));
    }
}
