//! What was acknowledged: what a person at the terminal has read, and may count on from then on.

use std::collections::{BTreeMap, BTreeSet};

use crate::process::Ran;

/// Acknowledgements of a cycle.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// Runs that were accepted, with the pipeline that they are of.
    pub(crate) submitted: BTreeMap<String, String>,
    /// Ends of nodes: run and node, and the status.
    pub(crate) nodes: BTreeMap<(String, String), String>,
    /// Ends of runs.
    pub(crate) ended: BTreeMap<String, String>,
    /// Runs whose cancel was answered.
    pub(crate) cancelled: BTreeSet<String>,
    /// What was told in two ways that do not agree.
    pub(crate) contradictions: Vec<String>,
}

impl Acks {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.submitted.len() + self.nodes.len() + self.ended.len() + self.cancelled.len()
    }

    /// Reads what a `run` or `resume` has said. Only whole lines were said.
    pub(crate) fn read(&mut self, pipeline: &str, ran: &Ran) {
        let mut run = String::new();
        for line in ran.stdout.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["run", id, "of", _] => {
                    run = (*id).to_owned();
                    self.submitted.insert(run.clone(), pipeline.to_owned());
                }
                ["run", id, "goes", "on"] => run = (*id).to_owned(),
                ["run", id, status, ..] if *id == run => {
                    let status = status.trim_end_matches(':');
                    let before = self.ended.insert(run.clone(), status.to_owned());
                    self.compare(&run, before.as_deref(), status);
                }
                [_, _, status @ ("completed" | "failed" | "cancelled" | "skipped"), node, ..] => {
                    let key = (run.clone(), (*node).to_owned());
                    let name = format!("{run}/{node}");
                    let before = self.nodes.insert(key, (*status).to_owned());
                    self.compare(&name, before.as_deref(), status);
                }
                _ => {}
            }
        }
    }

    /// Reads what `run --detach` has said.
    pub(crate) fn read_detached(&mut self, pipeline: &str, ran: &Ran) {
        if let (0, Some(run)) = (ran.code, ran.stdout.lines().next()) {
            self.submitted.insert(run.to_owned(), pipeline.to_owned());
        }
    }

    fn compare(&mut self, name: &str, before: Option<&str>, now: &str) {
        if before.is_some_and(|before| before != now) {
            self.contradictions.push(format!("{name} was told as {} and then as {now}", before.unwrap_or_default()));
        }
    }

    /// As lines of text.
    pub(crate) fn text(&self) -> String {
        let mut lines: Vec<String> = self.submitted.iter().map(|(run, pipeline)| format!("submitted {run} {pipeline}")).collect();
        lines.extend(self.nodes.iter().map(|((run, node), status)| format!("{status} {run}/{node}")));
        lines.extend(self.ended.iter().map(|(run, status)| format!("{status} {run}")));
        lines.extend(self.cancelled.iter().map(|run| format!("cancel {run}")));
        lines.join("\n") + "\n"
    }
}
