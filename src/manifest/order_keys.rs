//! The keys about which node comes first, and which of several requests it gets: `priority`, `affinity`, `any_of`.

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::request::{Alternative, NodeSettings, Priority, Request};
use crate::tree::{Kind, NodeRef};

use super::settings_keys::read_request;

/// Most alternatives of a node. Every decision looks at each of them.
const ALTERNATIVES_MAX: usize = 8;

/// Longest key of `affinity`.
const AFFINITY_MAX: usize = 64;

const PRIORITIES: [(&str, Priority); 3] = [("high", Priority::High), ("normal", Priority::Normal), ("low", Priority::Low)];

/// Reads the three keys over what `settings` says, whose `resources` must have been read. `null` takes back what the manifest says.
pub(super) fn read(fields: &Fields<'_>, settings: &mut NodeSettings, diagnostics: &mut Diagnostics) {
    match fields.raw("priority") {
        None => {}
        Some(node) if node.kind() == Kind::Null => settings.priority = None,
        Some(_) => settings.priority = fields.word("priority", &PRIORITIES, diagnostics).or(settings.priority),
    }
    match fields.raw("affinity") {
        None => {}
        Some(node) if node.kind() == Kind::Null => settings.affinity = None,
        Some(node) => read_affinity(fields, node, settings, diagnostics),
    }
    match fields.raw("any_of") {
        None => {}
        Some(node) if node.kind() == Kind::Null => settings.any_of = Vec::new(),
        Some(_) => read_alternatives(fields, settings, diagnostics),
    }
}

fn read_affinity(fields: &Fields<'_>, node: NodeRef<'_>, settings: &mut NodeSettings, diagnostics: &mut Diagnostics) {
    let Some(key) = fields.filled_text("affinity", diagnostics) else { return };
    let refusal = if key.contains("${{") {
        Some((
            "`affinity` holds no expressions",
            "write a name, such as that of the model which the nodes load; nodes that load another are nodes of their own",
        ))
    } else if key.len() > AFFINITY_MAX || key.chars().any(char::is_control) {
        Some(("`affinity` is a name of at most 64 bytes without control characters", "write a short name, such as that of the model"))
    } else {
        None
    };
    match refusal {
        Some((message, help)) => diagnostics.push(Diagnostic::error(message).at(node.place()).with_help(help)),
        None => settings.affinity = Some(key.into()),
    }
}

fn read_alternatives(fields: &Fields<'_>, settings: &mut NodeSettings, diagnostics: &mut Diagnostics) {
    let Some(list) = fields.list("any_of", "a list of alternatives such as `[{vram: 8GiB}, {cpus: 8}]`", diagnostics) else { return };
    let items: Vec<NodeRef<'_>> = list.items().collect();
    if !(2..=ALTERNATIVES_MAX).contains(&items.len()) {
        let refusal = Diagnostic::error(format!("`any_of` has 2 to {ALTERNATIVES_MAX} alternatives, not {}", items.len())).at(list.place());
        return diagnostics.push(refusal.with_help("what all of them need stands in `resources`"));
    }
    let mut alternatives: Vec<Alternative> = Vec::new();
    for item in items {
        if item.kind() != Kind::Map {
            let refusal =
                Diagnostic::error(format!("an alternative must be a map such as `{{vram: 8GiB}}`, not {}", item.kind().described()));
            diagnostics.push(refusal.at(item.place()));
            continue;
        }
        let alternative = alternative(item, diagnostics);
        let request = alternative.over(&settings.request, 0);
        let earlier = alternatives.iter().position(|known| is_within(&known.over(&settings.request, 0), &request));
        if let Some(earlier) = earlier {
            let warning = Diagnostic::warning(format!("alternative {} is never chosen: {earlier} asks for no more", alternatives.len()));
            diagnostics.push(warning.at(item.place()).with_help("alternatives stand in the order of preference and are counted from 0"));
        }
        alternatives.push(alternative);
    }
    settings.any_of = alternatives;
}

/// What a map says, and only that.
fn alternative(map: NodeRef<'_>, diagnostics: &mut Diagnostics) -> Alternative {
    let mut said = Request::default();
    read_request(map, &mut said, diagnostics);
    let has = |key: &str| map.get(key).is_some();
    let mut custom = said.custom;
    // 0 takes back what `resources` asks for: the reader of requests leaves it out.
    let zero = map.entries().filter_map(|(key, _)| crate::ids::ResourceName::parse(key.as_str()?).ok());
    let known = ["cpus", "memory", "gpus", "vram"];
    for name in zero.filter(|name| !known.contains(&name.as_str())) {
        custom.entry(name).or_default();
    }
    Alternative {
        cpus: has("cpus").then_some(said.cpus),
        memory: has("memory").then_some(said.memory),
        gpus: has("gpus").then_some(said.gpus),
        vram: has("vram").then_some(said.vram),
        custom,
    }
}

/// Whether a request asks for no more than another of anything.
fn is_within(one: &Request, other: &Request) -> bool {
    let amount = |name| other.custom.get(name).copied().unwrap_or_default();
    one.cpus <= other.cpus
        && one.memory <= other.memory
        && one.gpus <= other.gpus
        && one.vram <= other.vram
        && one.custom.iter().all(|(name, asked)| *asked <= amount(name))
}
