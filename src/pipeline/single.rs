//! A run of one module is a pipeline of one node, and of the modules that come before it when that is asked for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::diagnostics::{Diagnostic, Diagnostics, Place, Span};
use crate::ids::{ModuleId, NAME_LENGTH_MAX, NodeId};
use crate::manifest::Module;
use crate::params::ParamSchema;
use crate::request::OnFailure;

use super::compile::{Found, Modules};
use super::definition::{Definition, Graph, NodeDef, Work};
use super::expr::Template;
use super::graph::Edge;
use super::{bind, cycle};

/// The pipeline that runs `module` with the parameters `with`; paths among them are absolute already. With dependencies, the modules
/// that it names, and those that they name, run before it with their defaults; their outputs are not passed on.
///
/// # Errors
/// Parameters that the schema refuses (with their pointers); a dependency that does not exist, is broken or switched off, or needs a
/// parameter; dependencies in a circle.
pub fn single(
    module: &Arc<Module>,
    with: Map<String, Value>,
    with_dependencies: bool,
    modules: &dyn Modules,
) -> Result<Definition, Diagnostics> {
    let mut chain =
        Chain { modules, members: vec![module.clone()], positions: HashMap::new(), edges: Vec::new(), found: Diagnostics::new() };
    chain.positions.insert(module.id.clone(), 0);
    if !module.enabled {
        let off = Diagnostic::error(format!("module `{}` is switched off", module.id)).with_help("its manifest says `enabled: false`");
        chain.found.push(off.at(module.id_place.clone()));
    }
    for violation in module.params.check_with_defaults(with.clone()) {
        chain.found.push(bind::diagnostic(module.id.as_str(), violation));
    }
    if with_dependencies {
        chain.follow();
    }
    chain.finish(with)
}

/// The modules gathered so far; the first is the one that is asked for.
struct Chain<'m> {
    modules: &'m dyn Modules,
    members: Vec<Arc<Module>>,
    positions: HashMap<ModuleId, u32>,
    edges: Vec<Edge>,
    found: Diagnostics,
}

impl Chain<'_> {
    fn follow(&mut self) {
        let mut at = 0;
        while let Some(module) = self.members.get(at).cloned() {
            let to = u32::try_from(at).unwrap_or(u32::MAX);
            for (wanted, place) in &module.dependencies {
                if let Some(from) = self.position(&module, wanted, place) {
                    self.edges.push(Edge { from, to, span: place.span });
                }
            }
            at += 1;
        }
    }

    fn position(&mut self, by: &Module, wanted: &ModuleId, place: &Place) -> Option<u32> {
        if let Some(known) = self.positions.get(wanted) {
            return Some(*known);
        }
        let refused = match self.modules.find(wanted.as_str()) {
            Found::Module(module) if module.enabled => return Some(self.add(module.clone(), by, place)),
            Found::Module(_) => format!("module `{wanted}`, on which `{}` depends, is switched off", by.id),
            Found::Broken(_) => format!("module `{wanted}`, on which `{}` depends, is broken", by.id),
            Found::Unknown => format!("there is no module `{wanted}`, on which `{}` depends", by.id),
        };
        self.found.push(Diagnostic::error(refused).at(place.clone()));
        None
    }

    fn add(&mut self, module: Arc<Module>, by: &Module, place: &Place) -> u32 {
        for violation in module.params.check_with_defaults(Map::new()) {
            let message =
                format!("module `{}`, on which `{}` depends, cannot run with its defaults: {}", module.id, by.id, violation.message);
            let help = "run them in a pipeline, where each node has its own parameters";
            self.found.push(Diagnostic::error(message).at(place.clone()).with_pointer(violation.pointer).with_help(help));
        }
        let position = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        self.positions.insert(module.id.clone(), position);
        self.members.push(module);
        position
    }

    fn finish(mut self, with: Map<String, Value>) -> Result<Definition, Diagnostics> {
        let count = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        let graph = Graph::build(count, &self.edges).unwrap_or_else(|stuck| {
            let id = |at: u32| self.members[at as usize].id.as_str();
            let place = |from: u32, to: u32| {
                let wanted = &self.members[from as usize].id;
                self.members[to as usize].dependencies.iter().find(|(id, _)| id == wanted).map(|(_, place)| place.clone())
            };
            cycle::report(&cycle::find(&stuck), &id, &place, &mut self.found);
            Graph::default()
        });
        let mut taken = HashSet::new();
        let mut with = Some(with);
        let nodes = self.members.iter().map(|module| NodeDef {
            id: node_id(&module.id, &mut taken),
            work: Work::Module(module.clone()),
            with: with
                .take()
                .filter(|with| !with.is_empty())
                .map_or_else(Template::empty_map, |with| Template::Constant(Arc::new(Value::Object(with)))),
            settings: module.settings.clone(),
            control: None,
            span: Span::default(),
        });
        let first = &self.members[0];
        let definition = Definition {
            name: first.id.to_string(),
            source: first.source.clone(),
            folder: first.folder.clone(),
            on_failure: OnFailure::Continue,
            params: ParamSchema::empty(),
            outputs: None,
            nodes: nodes.collect(),
            graph,
        };
        self.found.into_result(definition).map(|(definition, _)| definition)
    }
}

/// `fetch-feed` as `fetch_feed`, `3d` as `_3d`, and never the same twice.
fn node_id(module: &ModuleId, taken: &mut HashSet<NodeId>) -> NodeId {
    let mut base = module.as_str().replace('-', "_");
    if base.starts_with(|first: char| first.is_ascii_digit()) {
        base.insert(0, '_');
    }
    let mut number = 1_usize;
    loop {
        let ending = if number == 1 { String::new() } else { format!("_{number}") };
        let kept = base.len().min(NAME_LENGTH_MAX - ending.len());
        let id = NodeId::parse(&format!("{}{ending}", &base[..kept])).expect("letters, digits and underscores, not a digit first");
        if taken.insert(id.clone()) {
            return id;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::super::testing::{Workspace, depending, module};
    use super::*;

    fn workspace() -> Workspace {
        let needy = module("needy", r#"{"required": ["key"], "properties": {"key": {"type": "string"}}}"#, "");
        let mut off = module("off", "", "");
        off.enabled = false;
        Workspace::of([
            depending(module("report-3", r#"{"properties": {"n": {"type": "integer"}}}"#, ""), &["3d", "a-b", "a_b"]),
            depending(module("3d", "", ""), &["a-b"]),
            module("a-b", "", ""),
            module("a_b", "", ""),
            depending(module("wants", "", ""), &["needy", "off", "half", "gone"]),
            depending(module("x", "", ""), &["y"]),
            depending(module("y", "", ""), &["x"]),
            needy,
            off,
        ])
        .with_broken("half")
    }

    fn of(id: &str, with: Value, with_dependencies: bool) -> Result<Definition, Diagnostics> {
        let workspace = workspace();
        single(&workspace.modules[id], with.as_object().cloned().expect("an object"), with_dependencies, &workspace)
    }

    #[test]
    fn one_module_is_one_node() {
        let definition = of("report-3", json!({"n": 3}), false).expect("good");
        assert_eq!(definition.nodes.len(), 1);
        assert_eq!((definition.name.as_str(), definition.nodes[0].id.as_str()), ("report-3", "report_3"));
        assert_eq!(definition.graph.order, [0]);
        assert!(matches!(&definition.nodes[0].with, Template::Constant(value) if **value == json!({"n": 3})));
    }

    #[test]
    fn dependencies_come_first_and_have_ids_of_their_own() {
        let definition = of("report-3", json!({}), true).expect("good");
        let ids: Vec<&str> = definition.nodes.iter().map(|node| node.id.as_str()).collect();
        assert_eq!(ids, ["report_3", "_3d", "a_b", "a_b_2"]);
        assert_eq!(definition.graph.order, [2, 1, 3, 0]);
        let long = ModuleId::parse(&"9".repeat(64)).expect("a module id");
        assert_eq!(node_id(&long, &mut HashSet::new()).as_str().len(), 64);
    }

    #[test]
    fn what_cannot_run_is_refused() {
        assert_snapshot!(of("report-3", json!({"n": "x", "m": 1}), false).expect_err("bad parameters"), @r##"
        `report-3`: `n` must be a whole number, not the text "x"
        `report-3`: unknown parameter `m` (help: known are `n`)
        "##);
        assert_snapshot!(of("wants", json!({}), true).expect_err("bad dependencies"), @r##"
        wants.yaml:1:5: module `needy`, on which `wants` depends, cannot run with its defaults: `key` is missing (help: run them in a pipeline, where each node has its own parameters)
        wants.yaml:1:5: module `off`, on which `wants` depends, is switched off
        wants.yaml:1:5: module `half`, on which `wants` depends, is broken
        wants.yaml:1:5: there is no module `gone`, on which `wants` depends
        "##);
        assert_snapshot!(of("x", json!({}), true).expect_err("a circle"), @"y.yaml:1:5: these 2 nodes wait for each other: x -> y -> x (help: take one of these dependencies out)");
        assert_snapshot!(of("off", json!({}), false).expect_err("off"), @"off.yaml:1:5: module `off` is switched off (help: its manifest says `enabled: false`)");
        assert!(of("wants", json!({}), false).is_ok());
    }
}
