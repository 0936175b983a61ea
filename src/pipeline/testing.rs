//! For the tests of this folder: a JSON reader that makes trees with spans without the readers of the lower layer, and workspaces.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostics::{Diagnostic, Diagnostics, Place, Source, Span};
use crate::ids::ModuleId;
use crate::manifest::registry::Broken;
use crate::manifest::{Module, Pin, Program, Requires};
use crate::params::ParamSchema;
use crate::request::{NodeSettings, PythonChoice, Runtime};
use crate::tree::{Kind, ScalarText, Tree, TreeBuilder};

use super::compile::{Found, Modules, Sources, compile};
use super::definition::Definition;

/// The tree of a JSON text under a file name. Panics on anything that is not JSON.
pub(crate) fn tree_named(name: &str, text: &str) -> Tree {
    let source = Source::new(name, text);
    let mut builder = TreeBuilder::new(source.clone());
    let end = value(source.text.as_bytes(), skip(source.text.as_bytes(), 0), &source.text, &mut builder);
    assert_eq!(skip(source.text.as_bytes(), end), source.text.len(), "more after the value");
    builder.finish()
}

/// The tree of a JSON text called `p.json`.
pub(crate) fn tree(text: &str) -> Tree {
    tree_named("p.json", text)
}

fn skip(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

fn value(bytes: &[u8], start: usize, text: &str, builder: &mut TreeBuilder) -> usize {
    match bytes[start] {
        open @ (b'{' | b'[') => {
            let (kind, close) = if open == b'{' { (Kind::Map, b'}') } else { (Kind::List, b']') };
            builder.open(kind, start);
            let mut at = skip(bytes, start + 1);
            while bytes[at] != close {
                if kind == Kind::Map {
                    at = skip(bytes, value(bytes, at, text, builder));
                    assert_eq!(bytes[at], b':', "at {at}");
                    at = skip(bytes, at + 1);
                }
                at = skip(bytes, value(bytes, at, text, builder));
                if bytes[at] == b',' {
                    at = skip(bytes, at + 1);
                }
            }
            builder.close(at + 1);
            at + 1
        }
        b'"' => {
            let mut end = start + 1;
            while bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            let written = &text[start..=end];
            let content = if written.contains('\\') {
                ScalarText::Owned(serde_json::from_str::<String>(written).expect("a JSON string").into())
            } else {
                ScalarText::InSource { start: start + 1, end }
            };
            builder.scalar(Kind::String, Span::new(start, end + 1), content);
            end + 1
        }
        first => {
            let length = bytes[start..].iter().position(|byte| b",]} \n".contains(byte)).unwrap_or(bytes.len() - start);
            let kind = match first {
                b'n' => Kind::Null,
                b't' | b'f' => Kind::Bool,
                _ => Kind::Number,
            };
            builder.scalar(kind, Span::new(start, start + length), ScalarText::InSource { start, end: start + length });
            start + length
        }
    }
}

/// A module of tests; its manifest is called `ID.yaml`. `params` and `outputs` are JSON Schemas.
pub(crate) fn module(id: &str, params: &str, outputs: &str) -> Module {
    let source = Source::new(format!("{id}.yaml"), format!("id: {id}"));
    let schema = |text: &str, compile: fn(crate::tree::NodeRef<'_>, &mut Diagnostics) -> Option<ParamSchema>| {
        let mut diagnostics = Diagnostics::new();
        compile(tree(text).root(), &mut diagnostics).unwrap_or_else(|| panic!("{text}: {diagnostics}"))
    };
    Module {
        id: ModuleId::parse(id).expect("a module id"),
        name: id.to_owned(),
        description: None,
        version: None,
        category: None,
        tags: Vec::new(),
        program: Program::Script { path: format!("/w/{id}.py").into(), runtime: Runtime::Python, python: PythonChoice::Auto },
        params: if params.is_empty() { ParamSchema::empty() } else { schema(params, ParamSchema::compile) },
        outputs: (!outputs.is_empty()).then(|| schema(outputs, ParamSchema::compile_outputs)),
        settings: Arc::new(NodeSettings::default()),
        dependencies: Vec::new(),
        concurrency: None,
        requires: Requires::default(),
        pass_env: Vec::new(),
        pin: Pin::default(),
        enabled: true,
        folder: "/w".into(),
        id_place: Place { source: source.clone(), span: Span::new(4, 4 + id.len()) },
        source,
    }
}

/// The same with modules that must come before it.
pub(crate) fn depending(mut module: Module, on: &[&str]) -> Module {
    let place = module.id_place.clone();
    module.dependencies = on.iter().map(|id| (ModuleId::parse(id).expect("a module id"), place.clone())).collect();
    module
}

/// Modules and pipeline files of a test.
#[derive(Default)]
pub(crate) struct Workspace {
    pub(crate) modules: BTreeMap<String, Arc<Module>>,
    pub(crate) broken: BTreeMap<String, Broken>,
    /// By absolute path.
    pub(crate) files: BTreeMap<PathBuf, String>,
}

impl Workspace {
    pub(crate) fn of(modules: impl IntoIterator<Item = Module>) -> Self {
        let modules = modules.into_iter().map(|module| (module.id.to_string(), Arc::new(module))).collect();
        Self { modules, ..Self::default() }
    }

    /// The same with a module whose manifest is refused.
    pub(crate) fn with_broken(mut self, id: &str) -> Self {
        let id_place = module(id, "", "").id_place;
        let diagnostics = Diagnostic::error("unknown field `parms`").at(id_place).into();
        let broken = Broken { file: format!("/w/manifests/{id}.yaml").into(), id: ModuleId::parse(id).ok(), diagnostics, last_good: None };
        self.broken.insert(id.to_owned(), broken);
        self
    }

    pub(crate) fn file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.into(), text.to_owned());
        self
    }

    /// Compiles a text as `/w/p.json`.
    pub(crate) fn compile(&self, text: &str) -> Result<(Arc<Definition>, Diagnostics), Diagnostics> {
        compile(&tree(text), Path::new("/w/p.json"), self, self)
    }

    pub(crate) fn good(&self, text: &str) -> Arc<Definition> {
        let (definition, diagnostics) = self.compile(text).unwrap_or_else(|refused| panic!("{refused}"));
        assert!(diagnostics.is_empty(), "{diagnostics}");
        definition
    }

    /// The findings of a text that is refused, a line each.
    pub(crate) fn refused(&self, text: &str) -> String {
        self.compile(text).map(|_| ()).expect_err("it was accepted").to_string()
    }
}

impl Modules for Workspace {
    fn find(&self, id: &str) -> Found<'_> {
        match (self.modules.get(id), self.broken.get(id)) {
            (Some(module), _) => Found::Module(module),
            (None, Some(broken)) => Found::Broken(broken),
            (None, None) => Found::Unknown,
        }
    }

    fn ids(&self) -> Vec<&str> {
        self.modules.keys().map(String::as_str).collect()
    }
}

impl Sources for Workspace {
    fn pipeline(&self, path: &Path) -> Result<Arc<Tree>, Diagnostics> {
        match self.files.get(path) {
            Some(text) => Ok(Arc::new(tree_named(&path.file_name().expect("a name").to_string_lossy(), text))),
            None => Err(Diagnostic::error(format!("{} does not exist", path.display())).into()),
        }
    }
}
