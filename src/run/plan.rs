//! What a run derives from each of its pipelines once: ids to positions, levels, classes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::ids::ModuleId;
use crate::manifest::Module;
use crate::pipeline::definition::{Definition, Expansion, NodeDef, Work};
use crate::pipeline::expr::Template;
use crate::request::{NodeSettings, Priority, Request, WHOLE_GPU};
use crate::units::Bytes;

/// `Plan::inner` and `Plan::classes` where there is none.
const NONE: u32 = u32::MAX;

/// How long an attempt of a module with these settings is expected to take, in any unit that is the same for all.
pub(crate) type Weight<'a> = &'a dyn Fn(&ModuleId, &NodeSettings) -> u64;

/// What an attempt of a module is expected to need of what its author declares nothing of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExpectedUse {
    /// Memory.
    pub memory: Option<Bytes>,
    /// Memory of one GPU.
    pub vram: Option<Bytes>,
}

/// What an attempt of a module is expected to need. The function that it is given tells the bucket of the node's parameters, where they are
/// known before the run.
pub(crate) type Expected<'a> = &'a dyn Fn(&Module, &dyn Fn() -> Option<String>) -> ExpectedUse;

/// Pipelines with more nodes than this are not asked for the parameters of each of them: that would take seconds.
const BUCKETS_ASKED_MAX: usize = 20_000;

/// A pipeline with what was derived from it. All vectors run along its nodes.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) definition: Arc<Definition>,
    /// Positions, sorted by id.
    by_id: Vec<u32>,
    /// Weight of the longest way from the node to the end of the pipeline, the node included.
    pub(super) levels: Vec<u64>,
    /// Weight of the node (of one instance of it) alone.
    pub(super) weights: Vec<u64>,
    classes: Vec<u32>,
    inner: Vec<u32>,
    /// Nodes that entering it makes, instances of `foreach` left out. Saturates.
    pub(super) size: u64,
}

impl Plan {
    /// Position of the node with an id.
    pub(super) fn position(&self, id: &str) -> Option<u32> {
        let nodes = &self.definition.nodes;
        self.by_id.binary_search_by(|at| nodes[*at as usize].id.as_str().cmp(id)).ok().map(|at| self.by_id[at])
    }

    /// Plan of the sub-pipeline that a node calls.
    pub(super) fn inner(&self, position: u32) -> Option<u32> {
        Some(self.inner[position as usize]).filter(|plan| *plan != NONE)
    }

    /// Class of a node that runs a module, with the request as declared.
    pub(super) fn class(&self, position: u32) -> Option<u32> {
        Some(self.classes[position as usize]).filter(|class| *class != NONE)
    }

    /// Weight of the longest way through it.
    fn length(&self) -> u64 {
        self.levels.iter().copied().max().unwrap_or(0)
    }
}

/// Nodes of one class ask for the same and are limited by the same `concurrency`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClassBase {
    /// What they may ask for, the preferred first. Never empty; more than one where there is an `any_of`.
    pub(super) asks: Vec<Asked>,
    /// The module and its `concurrency`, if it has one.
    pub(super) limit: Option<(ModuleId, u32)>,
    /// What its nodes say of their priority.
    pub(super) priority: Option<Priority>,
    pub(super) affinity: Option<Arc<str>>,
}

/// One request of a class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked {
    pub(super) request: Arc<Request>,
    /// Memory and VRAM as declared, before they grew. What is asked for of one that is declared as 0 was learned.
    pub(super) declared: (Bytes, Bytes),
}

impl Asked {
    /// What is declared. Amounts of 0 say nothing: with and without them it is the same class.
    fn new(mut request: Request) -> Self {
        request.custom.retain(|_, amount| amount.0 > 0);
        let declared = (request.memory, request.vram);
        Self { request: Arc::new(request), declared }
    }

    /// Whether it says nothing of memory.
    fn is_without_memory(&self) -> bool {
        self.declared.0.0 == 0
    }

    /// Whether it says nothing of the memory of a GPU. Who has a GPU for itself shares its memory with nobody. `on_gpu`: the author says
    /// which of the alternatives run on a GPU; the others do not, whatever was measured.
    fn is_without_vram(&self, on_gpu: bool) -> bool {
        self.declared.1.0 == 0 && self.request.gpus.0 < WHOLE_GPU && (!on_gpu || self.request.gpus.0 > 0)
    }

    /// The request with what is expected of what it says nothing of; none where that changes nothing.
    fn expecting(&self, used: ExpectedUse, on_gpu: bool) -> Option<Request> {
        let memory = used.memory.filter(|_| self.is_without_memory());
        let vram = used.vram.filter(|_| self.is_without_vram(on_gpu));
        if memory.is_none() && vram.is_none() {
            return None;
        }
        let asked = &self.request;
        Some(Request { memory: memory.unwrap_or(asked.memory), vram: vram.unwrap_or(asked.vram), ..Request::clone(asked) })
    }
}

impl ClassBase {
    /// Whether its author says of any alternative that it runs on a GPU.
    fn is_on_gpu(&self) -> bool {
        self.asks.iter().any(|ask| ask.request.gpus.0 > 0 || ask.declared.1.0 > 0)
    }

    /// Whether any alternative says nothing of something that is learned.
    fn asks_for_learned(&self) -> bool {
        let on_gpu = self.is_on_gpu();
        self.asks.iter().any(|ask| ask.is_without_memory() || ask.is_without_vram(on_gpu))
    }

    /// The least that an attempt may end up asking for: thousandths of a processor, and memory.
    pub(super) fn least(&self) -> (u64, u64) {
        let cpus = self.asks.iter().map(|ask| ask.request.cpus.0).min();
        let memory = self.asks.iter().map(|ask| ask.declared.0.min(ask.request.memory).0).min();
        (cpus.unwrap_or(0), memory.unwrap_or(0))
    }
}

/// All plans and classes of a run; the run's own pipeline is the first.
#[derive(Debug, Clone)]
pub(super) struct Plans {
    plans: Vec<Plan>,
    classes: Vec<ClassBase>,
    class_index: BTreeMap<ClassBase, u32>,
}

impl Plans {
    /// Derives everything from a pipeline and those that it calls.
    pub(super) fn new(definition: &Arc<Definition>, weight: Weight<'_>) -> Self {
        let mut builder = Builder { plans: Vec::new(), known: HashMap::new(), classes: Interner::default() };
        builder.reserve(definition);
        let mut plans: Vec<Plan> = Vec::with_capacity(builder.plans.len());
        // Pipelines are met before those that they call, so the inner ones are derived first, from the end.
        for at in (0..builder.plans.len()).rev() {
            let (definition, inner) = builder.plans[at].clone();
            let plan = derive(definition, inner, &mut builder.classes, |inner| &plans[builder.plans.len() - 1 - inner as usize], weight);
            plans.push(plan);
        }
        plans.reverse();
        Self { plans, classes: builder.classes.list, class_index: builder.classes.index }
    }

    pub(super) fn get(&self, plan: u32) -> &Plan {
        &self.plans[plan as usize]
    }

    pub(super) fn class(&self, class: u32) -> &ClassBase {
        &self.classes[class as usize]
    }

    /// Whether any class asks for something like this.
    pub(super) fn any_request(&self, passes: impl Fn(&Request) -> bool) -> bool {
        self.classes.iter().any(|class| class.asks.iter().any(|ask| passes(&ask.request)))
    }

    /// Puts nodes that declare no memory, or none of a GPU, into classes that ask for what is expected. Whether that changed anything.
    pub(super) fn expect_use(&mut self, expected: Expected<'_>) -> bool {
        let mut changed = false;
        for at in 0..self.plans.len() {
            let definition = self.plans[at].definition.clone();
            let tell = definition.nodes.len() <= BUCKETS_ASKED_MAX;
            // Neighbours in a file mostly run the same module.
            let mut last: Option<(*const Module, ExpectedUse)> = None;
            for (position, node) in definition.nodes.iter().enumerate() {
                let (Work::Module(module), Some(class)) = (&node.work, self.plans[at].class(number(position))) else { continue };
                if module.is_made_up() || !self.class(class).asks_for_learned() {
                    continue;
                }
                let known = last.filter(|(known, _)| !tell && *known == Arc::as_ptr(module)).map(|(_, known)| known);
                let used = known.unwrap_or_else(|| expected(module, &|| bucket(node, module).filter(|_| tell)));
                last = Some((Arc::as_ptr(module), used));
                let told = self.class(class);
                let on_gpu = told.is_on_gpu();
                if told.asks.iter().any(|ask| ask.expecting(used, on_gpu).is_some()) {
                    let request = |ask: &Asked| ask.expecting(used, on_gpu).unwrap_or_else(|| Request::clone(&ask.request));
                    self.plans[at].classes[position] = self.class_with(class, request);
                    changed = true;
                }
            }
        }
        changed
    }

    /// The class whose requests are these instead.
    pub(super) fn class_with(&mut self, class: u32, request: impl Fn(&Asked) -> Request) -> u32 {
        let known = self.class(class);
        let asks = known.asks.iter().map(|ask| Asked { request: Arc::new(request(ask)), ..ask.clone() }).collect();
        let base = ClassBase { asks, ..known.clone() };
        let next = number(self.classes.len());
        *self.class_index.entry(base.clone()).or_insert_with(|| {
            self.classes.push(base);
            next
        })
    }
}

/// Pipelines in the order in which they are met, each once, with the plan of each node that calls one.
struct Builder {
    plans: Vec<(Arc<Definition>, Vec<u32>)>,
    known: HashMap<*const Definition, u32>,
    classes: Interner,
}

impl Builder {
    /// Numbers a pipeline and those inside it so that a caller comes before what it calls.
    fn reserve(&mut self, root: &Arc<Definition>) {
        let mut order: Vec<Arc<Definition>> = Vec::new();
        after_inner(root, &mut order, &mut std::collections::HashSet::new());
        order.reverse();
        for (at, definition) in order.iter().enumerate() {
            self.known.insert(Arc::as_ptr(definition), number(at));
        }
        for definition in order {
            let inner = definition.nodes.iter().map(|node| match &node.work {
                Work::Module(_) => NONE,
                Work::Pipeline(inner) => self.known[&Arc::as_ptr(inner)],
            });
            let inner = inner.collect();
            self.plans.push((definition, inner));
        }
    }
}

/// Pushes a pipeline after all that it calls. As deep as pipelines are nested in files, which the reader bounds.
fn after_inner(definition: &Arc<Definition>, order: &mut Vec<Arc<Definition>>, seen: &mut std::collections::HashSet<*const Definition>) {
    if !seen.insert(Arc::as_ptr(definition)) {
        return;
    }
    for node in &definition.nodes {
        match &node.work {
            Work::Module(_) => {}
            Work::Pipeline(inner) => after_inner(inner, order, seen),
        }
    }
    order.push(definition.clone());
}

#[derive(Default)]
struct Interner {
    list: Vec<ClassBase>,
    index: BTreeMap<ClassBase, u32>,
    /// The last answer: neighbours in a file mostly share module and settings.
    last: Option<(*const Module, *const NodeSettings, u32)>,
}

impl Interner {
    fn class(&mut self, module: &Arc<Module>, settings: &Arc<NodeSettings>) -> u32 {
        let key = (Arc::as_ptr(module), Arc::as_ptr(settings));
        if let Some((module, settings, class)) = self.last
            && (module, settings) == key
        {
            return class;
        }
        let base = ClassBase {
            asks: settings.requests().into_iter().map(Asked::new).collect(),
            limit: module.concurrency.map(|limit| (module.id.clone(), limit)),
            priority: settings.priority,
            affinity: settings.affinity.clone(),
        };
        let next = number(self.list.len());
        let class = *self.index.entry(base.clone()).or_insert_with(|| {
            self.list.push(base);
            next
        });
        self.last = Some((key.0, key.1, class));
        class
    }
}

fn derive<'p>(
    definition: Arc<Definition>,
    inner: Vec<u32>,
    interner: &mut Interner,
    plan: impl Fn(u32) -> &'p Plan,
    weight: Weight<'_>,
) -> Plan {
    let count = definition.nodes.len();
    let mut by_id: Vec<u32> = (0..number(count)).collect();
    by_id.sort_by(|a, b| definition.nodes[*a as usize].id.cmp(&definition.nodes[*b as usize].id));
    let mut classes = Vec::with_capacity(count);
    let mut weights = Vec::with_capacity(count);
    let mut size: u64 = 0;
    for (node, inner) in definition.nodes.iter().zip(&inner) {
        let (class, weight, instance) = match &node.work {
            Work::Module(module) => (interner.class(module, &node.settings), weight(&module.id, &node.settings), 1),
            Work::Pipeline(_) => (NONE, plan(*inner).length(), plan(*inner).size.saturating_add(1)),
        };
        classes.push(class);
        weights.push(weight);
        size = size.saturating_add(match node.control.as_ref().and_then(|control| control.expansion.as_ref()) {
            None => instance,
            Some(Expansion::ForEach(_)) => 1,
            Some(Expansion::Matrix(matrix)) => matrix.count().unwrap_or(u64::MAX).saturating_mul(instance).saturating_add(1),
        });
    }
    let levels = levels(&definition, &weights);
    Plan { definition, by_id, levels, weights, classes, inner, size }
}

/// The bucket of a node's parameters, where they hold no expression.
fn bucket(node: &NodeDef, module: &Module) -> Option<String> {
    let Template::Constant(with) = &node.with else { return None };
    let values = with.as_object().cloned().unwrap_or_default();
    Some(module.params.bucket(&module.params.complete(values).ok()?.value))
}

/// Bottom levels: each node's weight and the heaviest way after it.
fn levels(definition: &Definition, weights: &[u64]) -> Vec<u64> {
    let mut levels = vec![0_u64; weights.len()];
    for node in definition.graph.order.iter().rev() {
        let after = definition.graph.dependents.of(*node).iter().map(|next| levels[*next as usize]).max().unwrap_or(0);
        levels[*node as usize] = after.saturating_add(weights[*node as usize]);
    }
    levels
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NONE)
}
