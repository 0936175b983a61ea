//! Pipelines for tests, built by hand: no YAML, no registry.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::diagnostics::{Diagnostics, Place, Source, Span};
use crate::ids::{ModuleId, NodeId, ResourceName, RunId};
use crate::manifest::{Module, Pin, Program, Requires};
use crate::params::ParamSchema;
use crate::pipeline::definition::{Control, Definition, Expansion, Graph, Matrix, NodeDef, Work};
use crate::pipeline::expr::{Expression, Template};
use crate::pipeline::graph::Edge;
use crate::request::{NodeSettings, OnFailure, RetryPolicy};
use crate::tree::{Kind, ScalarText, Tree, TreeBuilder};
use crate::units::{Amount, Bytes, CpuMillis, DurationMs};

use super::RunState;

/// A node to be built.
#[derive(Clone)]
pub(crate) struct N {
    id: String,
    needs: Vec<String>,
    work: Result<Arc<Module>, Arc<Definition>>,
    with: Value,
    settings: NodeSettings,
    when: Option<String>,
    matrix: Option<Value>,
    foreach: Option<String>,
    max_parallel: Option<u32>,
    allow_failure: bool,
}

/// A module without parameters.
pub(crate) fn module(id: &str, concurrency: Option<u32>) -> Arc<Module> {
    module_with(id, concurrency, json!({"type": "object", "additionalProperties": true}))
}

pub(crate) fn module_with(id: &str, concurrency: Option<u32>, params: Value) -> Arc<Module> {
    let source = Source::new(format!("{id}.yaml"), "");
    Arc::new(Module {
        id: ModuleId::parse(id).expect("an id"),
        name: id.into(),
        description: None,
        version: None,
        category: None,
        tags: vec![],
        program: Program::Command(vec![]),
        params: schema(&params),
        outputs: None,
        settings: Arc::default(),
        dependencies: vec![],
        concurrency,
        requires: Requires::default(),
        pass_env: vec![],
        pin: Pin::default(),
        enabled: true,
        folder: PathBuf::from("/w"),
        source: source.clone(),
        id_place: Place { source, span: Span::default() },
    })
}

/// A node that runs the module `m`.
pub(crate) fn n(id: &str) -> N {
    thread_local!(static MODULE: Arc<Module> = module("m", None));
    N {
        id: id.into(),
        needs: vec![],
        work: Ok(MODULE.with(Arc::clone)),
        with: json!({}),
        settings: NodeSettings { request: crate::request::Request { cpus: CpuMillis(1000), ..Default::default() }, ..Default::default() },
        when: None,
        matrix: None,
        foreach: None,
        max_parallel: None,
        allow_failure: false,
    }
}

impl N {
    pub(crate) fn needs(mut self, ids: &[&str]) -> Self {
        self.needs.extend(ids.iter().map(ToString::to_string));
        self
    }
    pub(crate) fn module(mut self, module: &Arc<Module>) -> Self {
        self.work = Ok(module.clone());
        self
    }
    pub(crate) fn calls(mut self, definition: &Arc<Definition>) -> Self {
        self.work = Err(definition.clone());
        self
    }
    pub(crate) fn with(mut self, with: Value) -> Self {
        self.with = with;
        self
    }
    pub(crate) fn when(mut self, when: &str) -> Self {
        self.when = Some(when.into());
        self
    }
    pub(crate) fn matrix(mut self, axes: Value) -> Self {
        self.matrix = Some(axes);
        self
    }
    pub(crate) fn foreach(mut self, list: &str) -> Self {
        self.foreach = Some(list.into());
        self
    }
    pub(crate) fn max_parallel(mut self, limit: u32) -> Self {
        self.max_parallel = Some(limit);
        self
    }
    pub(crate) fn allow_failure(mut self) -> Self {
        self.allow_failure = true;
        self
    }
    pub(crate) fn cpus(mut self, millis: u64) -> Self {
        self.settings.request.cpus = CpuMillis(millis);
        self
    }
    pub(crate) fn memory(mut self, bytes: u64) -> Self {
        self.settings.request.memory = Bytes(bytes);
        self
    }
    pub(crate) fn vram(mut self, bytes: u64) -> Self {
        self.settings.request.vram = Bytes(bytes);
        self
    }
    pub(crate) fn gpus(mut self, thousandths: u64) -> Self {
        self.settings.request.gpus = Amount(thousandths);
        self
    }
    pub(crate) fn custom(mut self, name: &str, amount: u64) -> Self {
        self.settings.request.custom = BTreeMap::from([(ResourceName::parse(name).expect("a name"), Amount(amount))]);
        self
    }
    pub(crate) fn duration(mut self, ms: u64) -> Self {
        self.settings.duration = Some(DurationMs(ms));
        self
    }
    pub(crate) fn timeout(mut self, ms: u64) -> Self {
        self.settings.timeout = Some(DurationMs(ms));
        self
    }
    pub(crate) fn retry(mut self, policy: RetryPolicy) -> Self {
        self.settings.retry = policy;
        self
    }
    pub(crate) fn reuse(mut self) -> Self {
        self.settings.reuse = crate::request::Reuse::Inputs;
        self
    }

    pub(crate) fn priority(mut self, priority: crate::request::Priority) -> Self {
        self.settings.priority = Some(priority);
        self
    }

    pub(crate) fn affinity(mut self, key: &str) -> Self {
        self.settings.affinity = Some(key.into());
        self
    }

    pub(crate) fn any_of(mut self, alternatives: Vec<crate::request::Alternative>) -> Self {
        self.settings.any_of = alternatives;
        self
    }

    pub(crate) fn attempts(mut self, attempts: u32) -> Self {
        self.settings.retry.attempts = attempts;
        self
    }

    fn control(&self) -> Option<Control> {
        let axes = |axes: &Value| {
            let axes = axes.as_object().expect("axes").iter();
            Matrix { axes: axes.map(|(name, values)| (name.clone(), values.as_array().expect("values").clone())).collect() }
        };
        let expansion = match (&self.matrix, &self.foreach) {
            (Some(matrix), _) => Some(Expansion::Matrix(axes(matrix))),
            (None, Some(list)) => Some(Expansion::ForEach(expression(list))),
            (None, None) => None,
        };
        let plain = self.when.is_none() && expansion.is_none() && self.max_parallel.is_none() && !self.allow_failure;
        (!plain).then(|| Control {
            when: self.when.as_deref().map(expression),
            observed: vec![],
            expansion,
            max_parallel: self.max_parallel,
            allow_failure: self.allow_failure,
        })
    }
}

/// A pipeline of these nodes. References are dependencies, and a `when` that reads a status observes, as in the compiler.
pub(crate) fn pipe(nodes: Vec<N>) -> Arc<Definition> {
    pipe_with(nodes, OnFailure::Continue, None)
}

pub(crate) fn pipe_with(nodes: Vec<N>, on_failure: OnFailure, outputs: Option<Value>) -> Arc<Definition> {
    let positions: BTreeMap<String, u32> = nodes.iter().map(|node| node.id.clone()).zip(0..).collect();
    let mut edges = Vec::new();
    let mut defs = Vec::new();
    for (to, node) in (0_u32..).zip(&nodes) {
        let with = template(&node.with);
        let mut control = node.control();
        let mut from: Vec<String> = node.needs.clone();
        from.extend(with.references().iter().map(ToString::to_string));
        if let Some(control) = &mut control {
            let when = control.when.iter().flat_map(Expression::references);
            from.extend(when.map(|id| id.to_string()));
            control.observed = control.when.iter().flat_map(Expression::reads_status_of).map(|id| positions[id.as_str()]).collect();
            if let Some(Expansion::ForEach(list)) = &control.expansion {
                from.extend(list.references().iter().map(ToString::to_string));
            }
        }
        edges.extend(from.iter().map(|id| Edge { from: positions[id], to, span: Span::default() }));
        defs.push(NodeDef {
            id: NodeId::parse(&node.id).expect("an id"),
            work: node.work.clone().map_or_else(Work::Pipeline, Work::Module),
            with,
            settings: Arc::new(node.settings.clone()),
            control: control.map(Box::new),
            span: Span::default(),
        });
    }
    Arc::new(Definition {
        name: "test".into(),
        source: Source::new("test.yaml", ""),
        folder: PathBuf::from("/w"),
        on_failure,
        params: schema(&json!({"type": "object", "additionalProperties": true})),
        outputs: outputs.as_ref().map(template),
        graph: Graph::build(u32::try_from(defs.len()).expect("few"), &edges).expect("no circle"),
        nodes: defs,
    })
}

/// Distinct run ids, sorted by `number`.
pub(crate) fn run_id(number: u32) -> RunId {
    RunId::new(crate::units::Timestamp::from_micros(1_700_000_000_000_000 + i64::from(number) * 1_000_000), number)
}

pub(crate) fn run_of(definition: &Arc<Definition>) -> RunState {
    RunState::new(run_id(1), definition.clone(), Arc::new(json!({})), "/w".into())
}

fn schema(schema: &Value) -> ParamSchema {
    let mut diagnostics = Diagnostics::new();
    let compiled = ParamSchema::compile(tree(schema).root(), &mut diagnostics);
    compiled.unwrap_or_else(|| panic!("{diagnostics}"))
}

fn template(value: &Value) -> Template {
    let mut diagnostics = Diagnostics::new();
    let template = Template::compile(tree(value).root(), &mut diagnostics);
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    template
}

fn expression(text: &str) -> Expression {
    let mut diagnostics = Diagnostics::new();
    let compiled = Expression::compile(tree(&Value::from(text)).root(), &mut diagnostics);
    compiled.unwrap_or_else(|| panic!("{diagnostics}"))
}

fn tree(value: &Value) -> Tree {
    let text = value.to_string();
    let whole = Span::new(0, text.len());
    let mut builder = TreeBuilder::new(Source::new("test.yaml", text));
    add(value, whole, &mut builder);
    builder.finish()
}

fn add(value: &Value, span: Span, builder: &mut TreeBuilder) {
    let owned = |text: String| ScalarText::Owned(text.into());
    match value {
        Value::Null => builder.scalar(Kind::Null, span, owned(String::new())),
        Value::Bool(flag) => builder.scalar(Kind::Bool, span, owned(flag.to_string())),
        Value::Number(number) => builder.scalar(Kind::Number, span, owned(number.to_string())),
        Value::String(text) => builder.scalar(Kind::String, span, owned(text.clone())),
        Value::Array(items) => {
            builder.open(Kind::List, 0);
            items.iter().for_each(|item| add(item, span, builder));
            builder.close(span.end as usize);
        }
        Value::Object(entries) => {
            builder.open(Kind::Map, 0);
            for (key, item) in entries {
                builder.scalar(Kind::String, span, owned(key.clone()));
                add(item, span, builder);
            }
            builder.close(span.end as usize);
        }
    }
}
