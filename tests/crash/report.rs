//! The closing lines: what was tried, what was counted, what was found.

use std::collections::BTreeMap;

use crate::cycle::{Act, Found};
use crate::fault::KINDS;

/// Everything that was counted.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    cycles: u64,
    cycles_hit: u64,
    acts: Vec<Act>,
    acks: usize,
    attempts: usize,
    /// By invariant.
    violations: BTreeMap<String, usize>,
    pub(crate) failed: Vec<u64>,
}

impl Totals {
    /// Takes what a cycle found.
    pub(crate) fn add(&mut self, number: u64, found: Found) {
        self.cycles += 1;
        self.cycles_hit += u64::from(found.acts.iter().any(|act| act.hit));
        self.acks += found.acks;
        self.attempts += found.attempts;
        for what in &found.violations {
            let invariant = what.split_once(':').map_or("other", |(head, _)| head);
            let name = if invariant.starts_with('I') && invariant.len() == 2 { invariant } else { "other" };
            *self.violations.entry(name.to_owned()).or_default() += 1;
        }
        if !found.violations.is_empty() {
            self.failed.push(number);
        }
        self.acts.extend(found.acts);
    }

    /// As text.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![format!("{} cycles, in {} of them the fault came to pass", self.cycles, self.cycles_hit)];
        for kind in KINDS {
            let acts: Vec<&Act> = self.acts.iter().filter(|act| act.kind == kind).collect();
            if acts.is_empty() {
                continue;
            }
            let mut calls: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
            for act in &acts {
                let counts = calls.entry(act.calls).or_default();
                counts.0 += 1;
                counts.1 += usize::from(act.hit);
            }
            let of_calls: Vec<String> = calls.iter().map(|(call, (all, hit))| format!("{call} {hit}/{all}")).collect();
            let hit = acts.iter().filter(|act| act.hit).count();
            lines.push(format!("  {:<13} {hit:>5} of {:>5} hit    {}", kind.name(), acts.len(), of_calls.join(", ")));
        }
        let count = |invariant: &str| self.violations.get(invariant).copied().unwrap_or(0);
        lines.push(format!(
            "{} acknowledgements checked, {} lost; {} attempts executed, {} of them twice",
            self.acks,
            count("I1"),
            self.attempts,
            count("I3")
        ));
        for (invariant, count) in &self.violations {
            lines.push(format!("  {invariant}: {count} violations"));
        }
        lines.join("\n")
    }
}
