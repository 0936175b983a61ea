//! A pipeline file becomes a [`Definition`]: every mistake of it and of the files it calls is found here, at once, before anything runs.
//!
//! One pass reads the nodes (`node`), a second one follows the references between them (`links`); both do as little per node as they
//! can, because a generated file may have a million. Files of sub-pipelines come through [`Sources`], modules through [`Modules`]:
//! nothing here touches the disk.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostics::{Diagnostic, Diagnostics, Place, Severity};
use crate::fields::Fields;
use crate::manifest::Module;
use crate::manifest::registry::{Broken, Registry};
use crate::params::ParamSchema;
use crate::request::{NodeSettings, OnFailure};
use crate::tree::{Kind, NodeRef, Tree};

use super::analysis::Sizes;
use super::bind::joined;
use super::definition::{Definition, Graph, NODES_MAX, NodeDef};
use super::expr::{Names, Template};
use super::{cycle, links, node};

/// Brings the files of sub-pipelines.
pub trait Sources {
    /// The tree of a file.
    ///
    /// # Errors
    /// Why it cannot be read, or what is wrong with its syntax; without a place where the file itself is missing.
    fn pipeline(&self, path: &Path) -> Result<Arc<Tree>, Diagnostics>;
}

/// What is known of a module's name.
#[derive(Debug, Clone)]
pub enum Found<'m> {
    /// A good module.
    Module(&'m Arc<Module>),
    /// A manifest of that name exists and is refused.
    Broken(&'m Broken),
    /// There is none.
    Unknown,
}

/// The modules of a workspace, as pipelines ask for them.
pub trait Modules {
    /// Looks one up.
    fn find(&self, id: &str) -> Found<'_>;
    /// All ids, for suggestions.
    fn ids(&self) -> Vec<&str>;
}

impl Modules for Registry {
    fn find(&self, id: &str) -> Found<'_> {
        match (self.get(id), self.broken_named(id)) {
            (Some(module), _) => Found::Module(module),
            (None, Some(broken)) => Found::Broken(broken),
            (None, None) => Found::Unknown,
        }
    }

    fn ids(&self) -> Vec<&str> {
        self.iter().map(|module| module.id.as_str()).collect()
    }
}

/// Keys of a pipeline file.
pub(super) const KEYS: [&str; 6] = ["format", "name", "params", "on_failure", "outputs", "nodes"];
/// Keys that later parts of prismq bring.
const LATER: [(&str, &str); 5] =
    [("schedule", "Patterns"), ("on_change", "Patterns"), ("on_finish", "Patterns"), ("resident", "Patterns"), ("warm", "Patterns")];
/// Mistakes after which the rest of a file is not looked at: who makes a thousand makes one, a thousand times.
const MISTAKES_MAX: usize = 1_000;
/// Deepest nesting of sub-pipelines.
const DEPTH_MAX: usize = 32;

/// Compiles the pipeline of `tree`, read from the absolute path `file`. Harmless findings (notes, warnings) come with the definition.
///
/// # Errors
/// All mistakes, sorted by file and place.
pub fn compile(
    tree: &Tree,
    file: &Path,
    modules: &dyn Modules,
    sources: &dyn Sources,
) -> Result<(Arc<Definition>, Diagnostics), Diagnostics> {
    let mut compiler = Compiler {
        modules,
        sources,
        done: HashMap::new(),
        open: Vec::new(),
        settings: HashSet::new(),
        sizes: Sizes::default(),
        diagnostics: Diagnostics::new(),
    };
    let definition = compiler.file(tree, file);
    let diagnostics = compiler.diagnostics.sorted();
    match definition {
        Some(definition) => diagnostics.into_result(definition),
        None => Err(diagnostics),
    }
}

/// What all files of one compilation share.
pub(super) struct Compiler<'c> {
    pub(super) modules: &'c dyn Modules,
    sources: &'c dyn Sources,
    /// Finished files; `None` for those with mistakes.
    done: HashMap<PathBuf, Option<Arc<Definition>>>,
    /// The files being compiled, outermost first, with the names that messages use.
    open: Vec<(PathBuf, String)>,
    /// Settings that differ from their module's, each combination once.
    settings: HashSet<Arc<NodeSettings>>,
    sizes: Sizes,
    pub(super) diagnostics: Diagnostics,
}

impl Compiler<'_> {
    /// One allocation for all nodes with the same settings.
    pub(super) fn shared(&mut self, settings: NodeSettings) -> Arc<NodeSettings> {
        if let Some(known) = self.settings.get(&settings) {
            return known.clone();
        }
        let settings = Arc::new(settings);
        self.settings.insert(settings.clone());
        settings
    }

    /// The definition of a file that a node calls; `None` where it has mistakes, which are reported.
    pub(super) fn called(&mut self, path: &Path, place: &Place) -> Option<Arc<Definition>> {
        if let Some(done) = self.done.get(path) {
            return done.clone();
        }
        if let Some(position) = self.open.iter().position(|(open, _)| open == path) {
            let names: Vec<&str> = self.open[position..].iter().map(|(_, name)| name.as_str()).collect();
            let message = format!("pipelines call each other without end: {} -> {}", names.join(" -> "), names[0]);
            self.diagnostics.push(Diagnostic::error(message).at(place.clone()));
            return None;
        }
        if self.open.len() >= DEPTH_MAX {
            let message = format!("pipelines are nested deeper than {DEPTH_MAX} levels");
            self.diagnostics.push(Diagnostic::error(message).at(place.clone()));
            return None;
        }
        let definition = match self.sources.pipeline(path) {
            Ok(tree) => self.file(&tree, path),
            Err(found) => {
                let placed = found.into_iter().map(|mut diagnostic| {
                    diagnostic.place.get_or_insert_with(|| place.clone());
                    diagnostic
                });
                self.diagnostics.extend(placed);
                None
            }
        };
        self.done.insert(path.to_owned(), definition.clone());
        definition
    }

    fn file(&mut self, tree: &Tree, path: &Path) -> Option<Arc<Definition>> {
        let before = self.errors();
        self.open.push((path.to_owned(), tree.source().name.clone()));
        let definition = self.definition(tree, path);
        self.open.pop();
        definition.filter(|_| self.errors() == before).map(Arc::new)
    }

    pub(super) fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|found| found.severity == Severity::Error).count()
    }

    fn definition(&mut self, tree: &Tree, path: &Path) -> Option<Definition> {
        let fields = Fields::open(tree.root(), "a pipeline", &KEYS, &LATER, &mut self.diagnostics)?;
        read_format(fields, &mut self.diagnostics);
        let stem = || path.file_stem().map_or_else(|| "pipeline".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let name = fields.filled_text("name", &mut self.diagnostics).map_or_else(stem, str::to_owned);
        let words = [("continue", OnFailure::Continue), ("stop", OnFailure::Stop)];
        let on_failure = fields.word("on_failure", &words, &mut self.diagnostics).unwrap_or_default();
        let params = match fields.raw("params") {
            Some(node) => ParamSchema::compile(node, &mut self.diagnostics),
            None => Some(ParamSchema::empty()),
        };
        let folder = path.parent().unwrap_or_else(|| Path::new("")).to_owned();
        let parts = FileReader::new(self, tree, &folder, params.as_ref()).read(fields)?;
        let Parts { nodes, graph, outputs } = parts;
        Some(Definition { name, source: tree.source().clone(), folder, on_failure, params: params?, outputs, nodes, graph: graph? })
    }
}

fn read_format(fields: Fields<'_>, diagnostics: &mut Diagnostics) {
    if let Some(format) = fields.raw("format").filter(|format| format.as_u64() != Some(1)) {
        diagnostics.push(Diagnostic::error("this version of prismq reads `format: 1` only").at(format.place()));
    }
}

/// What the nodes of a file come to.
struct Parts {
    nodes: Vec<NodeDef>,
    /// None where the nodes wait for each other, which is reported.
    graph: Option<Graph>,
    outputs: Option<Template>,
}

/// What the readers of one file share.
pub(super) struct FileReader<'f, 'c, 't> {
    pub(super) compiler: &'f mut Compiler<'c>,
    pub(super) tree: &'t Tree,
    /// The file's folder.
    pub(super) folder: &'f Path,
    /// The pipeline's parameters; `None` where they are refused, and references to them are not checked.
    pub(super) params: Option<&'f ParamSchema>,
    /// Position of each node.
    pub(super) ids: HashMap<&'t str, u32>,
    pub(super) names: node::ModuleNames<'t>,
    pub(super) nodes: Vec<NodeDef>,
    /// Nodes of which it is not known what they run: a mistake that is reported, and no reason for others.
    pub(super) unknown: HashSet<u32>,
    pub(super) edges: Vec<super::graph::Edge>,
}

impl<'f, 'c, 't> FileReader<'f, 'c, 't> {
    fn new(compiler: &'f mut Compiler<'c>, tree: &'t Tree, folder: &'f Path, params: Option<&'f ParamSchema>) -> Self {
        Self {
            compiler,
            tree,
            folder,
            params,
            ids: HashMap::new(),
            names: node::ModuleNames::default(),
            nodes: Vec::new(),
            unknown: HashSet::new(),
            edges: Vec::new(),
        }
    }

    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.compiler.diagnostics.push(diagnostic);
    }

    /// All nodes, what they give to the outside, and the graph if there is one.
    fn read(mut self, fields: Fields<'t>) -> Option<Parts> {
        let map = fields.required("nodes", "a pipeline", &mut self.compiler.diagnostics)?;
        if map.kind() != Kind::Map || map.is_empty() {
            let found = if map.kind() == Kind::Map { "an empty map" } else { map.kind().described() };
            self.report(Diagnostic::error(format!("`nodes` must be a map of at least one node, not {found}")).at(map.place()));
            return None;
        }
        if map.len() as u64 > NODES_MAX {
            let message = format!("the pipeline has {} nodes, a run at most {NODES_MAX}", map.len());
            self.report(Diagnostic::error(message).at(fields.key_place("nodes")));
            return None;
        }
        self.read_ids(map);
        self.nodes.reserve_exact(map.len());
        for (at, (key, value)) in (0_u32..).zip(map.entries()) {
            if self.compiler.diagnostics.len() > MISTAKES_MAX {
                self.report(Diagnostic::error("there are more mistakes: the rest of the nodes was not looked at").at(key.place()));
                return None;
            }
            self.node(at, key, value);
        }
        links::follow_references(&mut self);
        links::add_module_dependencies(&mut self);
        self.check_total(&fields.key_place("nodes"));
        let outputs = fields.raw("outputs").map(|node| self.outputs(node));
        let graph = self.graph();
        Some(Parts { nodes: self.nodes, graph, outputs })
    }

    fn outputs(&mut self, node: NodeRef<'t>) -> Template {
        if node.kind() != Kind::Map {
            let message = format!("`outputs` must be a map, not {}", node.kind().described());
            self.report(Diagnostic::error(message).at(node.place()).with_help("write `name: ${{ nodes.ID.outputs.name }}`"));
        }
        let template = Template::compile(node, &mut self.compiler.diagnostics);
        template.check_names(Names { nodes: true, ..Names::default() }, &mut self.compiler.diagnostics);
        links::check_template(self, &template);
        template
    }

    fn read_ids(&mut self, map: NodeRef<'t>) {
        self.ids.reserve(map.len());
        for (at, (key, _)) in (0_u32..).zip(map.entries()) {
            let id = key.scalar_text().unwrap_or_default();
            if self.ids.insert(id, at).is_some() {
                self.report(Diagnostic::error(format!("node `{id}` is declared twice")).at(key.place()));
            }
        }
    }

    fn check_total(&mut self, place: &Place) {
        let total = self.compiler.sizes.of_nodes(&self.nodes);
        if total.is_none_or(|total| total > NODES_MAX) {
            let total = total.map_or_else(|| "more than 2^64".to_owned(), |total| total.to_string());
            let message = format!("with its instances and sub-pipelines, the pipeline has {total} nodes; a run has at most {NODES_MAX}");
            self.report(Diagnostic::error(message).at(place.clone()));
        }
    }

    fn graph(&mut self) -> Option<Graph> {
        let count = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let stuck = match Graph::build(count, &self.edges) {
            Ok(graph) => return Some(graph),
            Err(stuck) => stuck,
        };
        let id = |node: u32| self.nodes[node as usize].id.as_str();
        let place = |from: u32, to: u32| {
            let edge = self.edges.iter().find(|edge| (edge.from, edge.to) == (from, to))?;
            Some(Place { source: self.tree.source().clone(), span: edge.span })
        };
        cycle::report(&cycle::find(&stuck), &id, &place, &mut self.compiler.diagnostics);
        None
    }

    /// The absolute path of a file named in this one.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        joined(self.folder, Path::new(name))
    }
}

#[cfg(test)]
mod tests;
