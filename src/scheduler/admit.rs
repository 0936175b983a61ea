//! What of a pipeline can never run here, said at submit instead of after days of waiting.

use std::collections::BTreeSet;

use crate::pipeline::definition::{Definition, Work};
use crate::resources::{Capacity, Unmet, none_fits};

/// Nodes (`clips.cut` for one inside a sub-pipeline) that ask for more than there is, each with what it asks for and what there is. In
/// declared order, each node once; empty: the pipeline can run.
#[must_use]
pub fn impossible(definition: &Definition, capacity: &Capacity) -> Vec<(String, Unmet)> {
    let mut found = Vec::new();
    collect(definition, "", capacity, &mut BTreeSet::new(), &mut found);
    found
}

/// As deep as pipelines are nested in files, which the reader bounds. A pipeline called twice is looked at once.
fn collect(
    definition: &Definition,
    prefix: &str,
    capacity: &Capacity,
    seen: &mut BTreeSet<*const Definition>,
    found: &mut Vec<(String, Unmet)>,
) {
    if !seen.insert(std::ptr::from_ref(definition)) {
        return;
    }
    for node in &definition.nodes {
        match &node.work {
            Work::Module(_) => {
                let lacks = none_fits(&node.settings.requests(), capacity);
                found.extend(lacks.into_iter().map(|unmet| (format!("{prefix}{}", node.id), unmet)));
            }
            Work::Pipeline(inner) => collect(inner, &format!("{prefix}{}.", node.id), capacity, seen, found),
        }
    }
}
