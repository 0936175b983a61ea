//! Reads one node of a pipeline file.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::diagnostics::{Diagnostic, Place, Severity, suggest};
use crate::fields::{Fields, not_built_yet};
use crate::ids::NodeId;
use crate::manifest::{Module, NODE_SETTINGS_KEYS, read_settings_keys};
use crate::params::{ParamSchema, Violation};
use crate::request::{NodeSettings, OnFailure};
use crate::tree::{Kind, NodeRef};

use super::bind::schema_of;
use super::compile::{FileReader, Found};
use super::definition::{Definition, Graph, NodeDef, Work};
use super::expr::{Names, Template};
use super::graph::Edge;
use super::links;

/// Keys of a node that are its own.
pub(super) const KEYS: [&str; 9] = ["module", "pipeline", "with", "needs", "when", "matrix", "foreach", "max_parallel", "allow_failure"];
/// Keys that later parts of prismq bring.
const LATER: [(&str, &str); 1] = [("engine", "Slurm")];
/// Keys that stand in a manifest only.
const OF_MANIFESTS: [&str; 10] =
    ["concurrency", "dependencies", "requires", "python", "pass_env", "pin", "enabled", "script", "command", "runtime"];

/// Names looked at for a suggestion, and mistakes that get one: enough for what people write, and no quadratic work for what programs do.
const SUGGESTED_MAX: usize = 10_000;
const SUGGESTIONS_MAX: usize = 50;

/// The modules that a file names, each looked up once.
#[derive(Default)]
pub(super) struct ModuleNames<'t> {
    known: HashMap<&'t str, Named>,
    /// The last one: neighbours in a file often run the same module.
    last: Option<(&'t str, Named)>,
}

#[derive(Clone)]
struct Named {
    module: Arc<Module>,
    /// What the schema says of no parameters at all, for the many nodes that give none.
    without_params: Arc<Vec<Violation>>,
}

/// The values of a node's own keys.
#[derive(Default)]
pub(super) struct Keys<'t> {
    module: Option<NodeRef<'t>>,
    pipeline: Option<NodeRef<'t>>,
    with: Option<NodeRef<'t>>,
    needs: Option<NodeRef<'t>>,
    pub(super) when: Option<NodeRef<'t>>,
    pub(super) matrix: Option<NodeRef<'t>>,
    pub(super) foreach: Option<NodeRef<'t>>,
    pub(super) max_parallel: Option<NodeRef<'t>>,
    pub(super) allow_failure: Option<NodeRef<'t>>,
    /// The first key that overrides the manifest.
    overrides: Option<NodeRef<'t>>,
    /// The node is no map at all, which is reported.
    none: bool,
}

/// Stands for what a node runs where that is a mistake, so that the other nodes keep their positions.
static NOTHING: LazyLock<Arc<Definition>> = LazyLock::new(|| {
    Arc::new(Definition {
        name: String::new(),
        source: crate::diagnostics::Source::new("", ""),
        folder: std::path::PathBuf::new(),
        on_failure: OnFailure::Continue,
        params: ParamSchema::empty(),
        outputs: None,
        nodes: Vec::new(),
        graph: Graph::default(),
    })
});

/// Settings of nodes that call pipelines: those of the nodes inside count.
static DEFAULT_SETTINGS: LazyLock<Arc<NodeSettings>> = LazyLock::new(Arc::default);

impl<'t> FileReader<'_, '_, 't> {
    /// Reads the node at position `at`.
    pub(super) fn node(&mut self, at: u32, key: NodeRef<'t>, value: NodeRef<'t>) {
        let id = NodeId::parse(key.scalar_text().unwrap_or_default()).unwrap_or_else(|refused| {
            self.report(Diagnostic::error(refused.reason).at(key.place()).with_help_of(refused.help));
            self.unknown.insert(at);
            NodeId::parse("_").expect("an underscore is a node id")
        });
        let keys = self.keys(key, value);
        let named = self.named(at, key, &keys);
        let work = match &named {
            Some(named) => Work::Module(named.module.clone()),
            None => self.called(at, &keys),
        };
        let names = Names { nodes: true, item: keys.foreach.is_some(), index: has_index(&keys), matrix: keys.matrix.is_some() };
        let with = self.with(at, key, keys.with, &work, named.as_ref(), names);
        let settings = self.settings(value, &keys, &work);
        if let Some(needs) = keys.needs {
            self.needs(at, needs);
        }
        let control = self.control(&keys);
        self.nodes.push(NodeDef { id, work, with, settings, control, span: key.span() });
    }

    fn keys(&mut self, key: NodeRef<'t>, value: NodeRef<'t>) -> Keys<'t> {
        let mut keys = Keys::default();
        if value.kind() != Kind::Map {
            let id = key.scalar_text().unwrap_or_default();
            let message = format!("node `{id}` must be a map, not {}", value.kind().described());
            self.report(Diagnostic::error(message).at(key.place()).with_help("write at least `module: ID`"));
            keys.none = true;
            return keys;
        }
        for (name, value) in value.entries() {
            match name.scalar_text().unwrap_or_default() {
                "module" => keys.module = Some(value),
                "pipeline" => keys.pipeline = Some(value),
                "with" => keys.with = Some(value),
                "needs" => keys.needs = Some(value),
                "when" => keys.when = Some(value),
                "matrix" => keys.matrix = Some(value),
                "foreach" => keys.foreach = Some(value),
                "max_parallel" => keys.max_parallel = Some(value),
                "allow_failure" => keys.allow_failure = Some(value),
                other if NODE_SETTINGS_KEYS.contains(&other) => {
                    keys.overrides.get_or_insert(name);
                }
                other => self.unknown_key(name, other),
            }
        }
        keys
    }

    fn unknown_key(&mut self, key: NodeRef<'_>, name: &str) {
        let diagnostic = if let Some((_, comes_with)) = LATER.iter().find(|(later, _)| *later == name) {
            not_built_yet(key, comes_with)
        } else if OF_MANIFESTS.contains(&name) {
            Diagnostic::error(format!("`{name}` stands in a module's manifest, not in a node")).at(key.place())
        } else if name == "schedule" || name == "on_change" || name == "on_finish" {
            Diagnostic::error(format!("`{name}` belongs to a whole pipeline or module, not to a node")).at(key.place())
        } else {
            let help = suggest(name, KEYS.iter().chain(&NODE_SETTINGS_KEYS).copied());
            Diagnostic::error(format!("unknown field `{name}`")).at(key.place()).with_help_of(help)
        };
        self.report(diagnostic);
    }

    /// The module that a node names.
    fn named(&mut self, at: u32, key: NodeRef<'t>, keys: &Keys<'t>) -> Option<Named> {
        let id = key.scalar_text().unwrap_or_default();
        let value = match (keys.module, keys.pipeline) {
            (Some(value), None) => value,
            (None, Some(_)) => return None,
            (None, None) => {
                if !keys.none {
                    let message = format!("node `{id}` does not say what it runs");
                    self.report(Diagnostic::error(message).at(key.place()).with_help("give it `module: ID` or `pipeline: FILE`"));
                }
                self.unknown.insert(at);
                return None;
            }
            (Some(_), Some(pipeline)) => {
                let message = format!("node `{id}` has both `module` and `pipeline`");
                self.report(Diagnostic::error(message).at(pipeline.place()).with_help("a node runs one of them"));
                self.unknown.insert(at);
                return None;
            }
        };
        let Some(name) = value.as_str() else {
            let message = format!("`module` must be the id of a module, not {}", value.kind().described());
            self.report(Diagnostic::error(message).at(value.place()));
            self.unknown.insert(at);
            return None;
        };
        let named = self.look_up(name, value);
        if named.is_none() {
            self.unknown.insert(at);
        }
        named
    }

    fn look_up(&mut self, name: &'t str, value: NodeRef<'_>) -> Option<Named> {
        if let Some((_, named)) = self.names.last.as_ref().filter(|(last, _)| *last == name) {
            return Some(named.clone());
        }
        if let Some(known) = self.names.known.get(name) {
            self.names.last = Some((name, known.clone()));
            return Some(known.clone());
        }
        let diagnostic = match self.compiler.modules.find(name) {
            Found::Module(module) if module.enabled => {
                let without_params = Arc::new(links::violations(&module.params, &Template::empty_map()));
                let named = Named { module: module.clone(), without_params };
                self.names.known.insert(name, named.clone());
                return Some(named);
            }
            Found::Module(_) => {
                Diagnostic::error(format!("module `{name}` is switched off")).with_help("its manifest says `enabled: false`")
            }
            Found::Broken(broken) => {
                let first = broken.diagnostics.iter().find(|one| one.severity == Severity::Error);
                let help = format!("its manifest is {}; `prismq validate` says what is wrong with it", broken.file.display());
                let refused = Diagnostic::error(format!("module `{name}` is broken")).with_help(help);
                match first.and_then(|first| Some((first.message.clone(), first.place.clone()?))) {
                    Some((message, place)) => refused.with_related(message, place),
                    None => refused,
                }
            }
            Found::Unknown => self.unknown_module(name),
        };
        self.report(diagnostic.at(value.place()));
        None
    }

    fn unknown_module(&self, name: &str) -> Diagnostic {
        let looks_like_file = [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending));
        let ids = self.compiler.modules.ids();
        let help = if looks_like_file {
            Some(format!("a pipeline's file is called by `pipeline: {name}`"))
        } else if ids.is_empty() {
            Some("the workspace has no modules: put manifests under `manifests/`".to_owned())
        } else {
            suggest(name, ids.into_iter().take(SUGGESTED_MAX))
        };
        Diagnostic::error(format!("there is no module `{name}`")).with_help_of(help)
    }

    /// The sub-pipeline that a node calls.
    fn called(&mut self, at: u32, keys: &Keys<'t>) -> Work {
        let mut definition = None;
        if let (None, Some(value)) = (keys.module, keys.pipeline) {
            match value.as_str().filter(|name| !name.is_empty()) {
                Some(name) => definition = self.compiler.called(&self.path(name), &value.place()),
                None => {
                    let message = format!("`pipeline` must be the path of a pipeline's file, not {}", value.kind().described());
                    self.report(Diagnostic::error(message).at(value.place()));
                }
            }
        }
        Work::Pipeline(definition.unwrap_or_else(|| {
            self.unknown.insert(at);
            NOTHING.clone()
        }))
    }

    fn with(&mut self, at: u32, key: NodeRef<'t>, with: Option<NodeRef<'t>>, work: &Work, named: Option<&Named>, names: Names) -> Template {
        let Some(with) = with.filter(|with| !(with.is_empty() && with.kind() == Kind::Map)) else {
            let violations = match (named, work) {
                (Some(named), _) => named.without_params.clone(),
                (None, Work::Pipeline(called)) if !self.unknown.contains(&at) => {
                    Arc::new(links::violations(&called.params, &Template::empty_map()))
                }
                (None, _) => return Template::empty_map(),
            };
            for violation in violations.iter() {
                self.violation(key, None, schema_of(work), violation.clone());
            }
            return Template::empty_map();
        };
        let template = Template::compile(with, &mut self.compiler.diagnostics);
        template.check_names(names, &mut self.compiler.diagnostics);
        let is_map = match &template {
            Template::Constant(value) => value.is_object(),
            Template::Expression(_) | Template::Map(_) => true,
            Template::Text(_) | Template::List(_) => false,
        };
        if !is_map {
            let message = format!("`with` must be a map of parameters, not {}", with.kind().described());
            self.report(Diagnostic::error(message).at(with.place()));
        } else if !self.unknown.contains(&at) {
            for violation in links::violations(schema_of(work), &template) {
                self.violation(key, Some(with), schema_of(work), violation);
            }
        }
        template
    }

    /// A mistake in the parameters, shown at the value concerned (at its name, where that is the mistake), else at the node's id.
    fn violation(&mut self, key: NodeRef<'_>, with: Option<NodeRef<'_>>, known: &ParamSchema, violation: Violation) {
        let unknown = |with: NodeRef<'_>| {
            let name = violation.pointer.strip_prefix('/').filter(|name| !known.property_names().contains(name))?;
            with.entries().find(|(key, _)| key.scalar_text() == Some(name)).map(|(key, _)| key.place())
        };
        let place = match with {
            Some(with) => unknown(with).unwrap_or_else(|| head(with.nearest_at(&violation.pointer))),
            None => key.place(),
        };
        self.report(super::bind::diagnostic(key.scalar_text().unwrap_or_default(), violation).at(place));
    }

    fn settings(&mut self, value: NodeRef<'t>, keys: &Keys<'t>, work: &Work) -> Arc<NodeSettings> {
        match (work, keys.overrides) {
            (Work::Module(module), None) => module.settings.clone(),
            (Work::Module(module), Some(_)) => {
                let Some(fields) = Fields::open_any(value, "a node", &mut self.compiler.diagnostics) else {
                    return module.settings.clone();
                };
                let settings = read_settings_keys(&fields, &module.settings, &mut self.compiler.diagnostics);
                if settings == *module.settings { module.settings.clone() } else { self.compiler.shared(settings) }
            }
            (Work::Pipeline(_), overrides) => {
                if let (Some(name), true) = (overrides, keys.pipeline.is_some()) {
                    let message = format!("`{}` has no effect on a node that calls a pipeline", name.scalar_text().unwrap_or_default());
                    self.report(Diagnostic::error(message).at(name.place()).with_help("give it to the nodes inside"));
                }
                DEFAULT_SETTINGS.clone()
            }
        }
    }

    fn needs(&mut self, at: u32, needs: NodeRef<'t>) {
        if needs.kind() == Kind::List {
            for item in needs.items() {
                self.need(at, item);
            }
        } else {
            self.need(at, needs);
        }
    }

    fn need(&mut self, at: u32, item: NodeRef<'t>) {
        let Some(id) = item.as_str() else {
            let message = format!("`needs` names nodes, and this is {}", item.kind().described());
            self.report(Diagnostic::error(message).at(item.place()).with_help("write an id, or a list of ids"));
            return;
        };
        match self.ids.get(id) {
            Some(from) => self.edges.push(Edge { from: *from, to: at, span: item.span() }),
            None => {
                let diagnostic = self.unknown_node(id, item.place());
                self.report(diagnostic);
            }
        }
    }

    /// The refusal of an id that no node has.
    pub(super) fn unknown_node(&self, id: &str, place: Place) -> Diagnostic {
        let diagnostic = Diagnostic::error(format!("there is no node `{id}`")).at(place);
        if self.compiler.diagnostics.len() > SUGGESTIONS_MAX {
            return diagnostic;
        }
        let names = self.tree.root().get("nodes").into_iter().flat_map(NodeRef::entries).filter_map(|(key, _)| key.scalar_text());
        let known: Vec<&str> = names.take(SUGGESTED_MAX).collect();
        diagnostic.with_help_of(suggest(id, known))
    }
}

fn has_index(keys: &Keys<'_>) -> bool {
    keys.foreach.is_some() || keys.matrix.is_some()
}

/// Where to point at a value: a map by its first key, so that the mark does not run over many lines.
pub(super) fn head(node: NodeRef<'_>) -> Place {
    node.entries().next().map_or_else(|| node.place(), |(key, _)| key.place())
}
