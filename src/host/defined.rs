//! Whether everything that modules and nodes ask for is something that the settings define. Asked where both are known, before
//! anything runs: a misspelt resource would otherwise only look like one that this machine never has enough of.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::diagnostics::{Diagnostic, Diagnostics, Place, suggest};
use crate::ids::ResourceName;
use crate::pipeline::definition::{Definition, Work};
use crate::request::{NodeSettings, Request};
use crate::settings::Settings;

/// Mistakes of a pipeline's nodes, and of the sub-pipelines that they call.
pub(super) fn check_nodes(definition: &Definition, settings: &Settings) -> Diagnostics {
    let mut found = Diagnostics::new();
    check_below(definition, settings, &mut BTreeSet::new(), &mut BTreeSet::new(), &mut found);
    found
}

fn check_below(
    definition: &Definition,
    settings: &Settings,
    seen: &mut BTreeSet<*const NodeSettings>,
    called: &mut BTreeSet<*const Definition>,
    found: &mut Diagnostics,
) {
    for node in &definition.nodes {
        match &node.work {
            // Nodes share their settings, and most ask for nothing of the kind.
            Work::Module(_) if asks_plainly(&node.settings) || !seen.insert(Arc::as_ptr(&node.settings)) => {}
            Work::Module(_) => {
                let place = Place { source: definition.source.clone(), span: node.span };
                node.settings.requests().iter().for_each(|request| found.extend(check_request(request, settings, &place)));
            }
            Work::Pipeline(inner) if called.insert(Arc::as_ptr(inner)) => check_below(inner, settings, seen, called, found),
            Work::Pipeline(_) => {}
        }
    }
}

/// Whether nothing is asked for that the settings would have to define.
fn asks_plainly(settings: &NodeSettings) -> bool {
    settings.request.custom.is_empty() && settings.any_of.iter().all(|alternative| alternative.custom.is_empty())
}

/// Mistakes of one request, at a place.
pub(super) fn check_request(request: &Request, settings: &Settings, place: &Place) -> Diagnostics {
    let defined = &settings.capacity.custom;
    let unknown = request.custom.keys().filter(|name| !defined.contains_key(*name));
    let described = unknown.map(|name| {
        let known = suggest(name.as_str(), defined.keys().map(ResourceName::as_str));
        let help = known.unwrap_or_else(|| format!("say in prismq.yaml how much there is: `host: {{capacity: {{{name}: 1}}}}`"));
        Diagnostic::error(format!("the settings define no resource `{name}`")).at(place.clone()).with_help(help)
    });
    let mut found = Diagnostics::new();
    described.for_each(|item| found.push(item));
    found
}
