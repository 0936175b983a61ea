//! What a pipeline would do on this machine: played through the real scheduler before anything runs.
//!
//! Durations are what authors say (`duration:`), else what was learned, else a second each. Above [`NODES_MAX`] nodes only the longest path
//! and the areas are told: playing a million nodes takes longer than anybody waits for a forecast.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::workspace::Workspace;
use crate::ids::{ModuleId, NodeIndex, RunId};
use crate::manifest::Module;
use crate::pipeline::analysis::Sizes;
use crate::pipeline::definition::{Definition, NodeDef, Work};
use crate::request::NodeSettings;
use crate::resources::{Capacity, Held};
use crate::run::RunState;
use crate::scheduler::{Durations, impossible};
pub use crate::simulate::Policy;
use crate::simulate::{self, Dice, Ending, Model, NODES_MAX, Player, Simulation, Span};
use crate::units::{DurationMs, Timestamp};

/// What a node counts for of which nobody knows how long it takes.
const UNKNOWN: DurationMs = DurationMs(1_000);

/// Seed of the search for an order: the same pipeline gets the same order everywhere.
pub(super) const SEED: u64 = 1;

/// How to look ahead.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// The order to go by; none: the best that is found.
    pub policy: Option<Policy>,
    /// Durations of the nodes, by their ids in the file, instead of what is known.
    pub durations: BTreeMap<String, DurationMs>,
    /// Duration of all other nodes, instead of what is known.
    pub duration: Option<DurationMs>,
    /// Real durations differ from the expected ones by up to so many thousandths. The lower bound is then that of the real ones.
    pub spread: u64,
    /// By how much in this play.
    pub seed: u64,
}

/// A pipeline, played.
#[derive(Debug)]
pub struct Forecast {
    /// What there is.
    pub capacity: Capacity,
    /// When it ends; `None` where it was not played (it is too large, or something never has room).
    pub makespan: Option<DurationMs>,
    /// When it would end by the longest way first, on what is expected.
    pub critical_path_first: Option<DurationMs>,
    /// The longest path in time.
    pub path: DurationMs,
    /// Ids of the nodes on it.
    pub critical_path: Vec<String>,
    /// No schedule ends before.
    pub bound: DurationMs,
    /// What that bound comes from.
    pub bound_by: BoundBy,
    /// The order that it went by.
    pub policy: Policy,
    /// Orders that were compared.
    pub tried: u32,
    /// Attempts in the order of their starts.
    pub spans: Vec<Span>,
    /// The most of each resource at once.
    pub peak: Held,
    /// Nodes that never have room, with what they lack.
    pub never_fits: Vec<(String, String)>,
    /// Nodes whose duration nobody knows.
    pub unknown: u64,
    /// Something asks for a GPU. Those are part of the times, and not of the model: no order is looked for, and the bound knows none.
    pub gpus_unmodelled: bool,
}

/// What a lower bound comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum BoundBy {
    /// The longest path.
    Path,
    /// All that is needed of a limit over what there is of it.
    Area {
        /// The limit.
        limit: String,
    },
    /// What is needed of a limit within an interval of time.
    Interval {
        /// The limit.
        limit: String,
    },
}

/// What the machine and the settings of a workspace give.
///
/// # Errors
/// All mistakes in the settings.
pub fn capacity_of(workspace: &Workspace) -> Result<Capacity, crate::diagnostics::Diagnostics> {
    super::catalog::settings_of(workspace).map(|settings| super::machine::Machine::detect(&settings).capacity())
}

/// What the workspace learned of durations; nothing where its journal cannot be read.
#[must_use]
pub fn learned(workspace: &Workspace) -> Durations {
    if !workspace.journal().is_dir() {
        return Durations::default();
    }
    let history = crate::journal::open_read_only(&workspace.journal());
    history.map(|history| super::replay::replay_to_damage(workspace, &history, |_| false).0.durations).unwrap_or_default()
}

/// Looks ahead.
#[must_use]
pub fn forecast(definition: &Definition, capacity: Capacity, durations: &Durations, ask: &Ask) -> Forecast {
    let never_fits: Vec<(String, String)> =
        impossible(definition, &capacity).into_iter().map(|(node, unmet)| (node, unmet.to_string())).collect();
    let known = |node: &NodeDef, module: &Module| ask.of(node).is_some() || durations.expected(&module.id, &node.settings).is_some();
    let unknown = simulate::unknown_durations(definition, &known);
    let gpus_unmodelled = simulate::wants_gpu(definition);
    let nodes = Sizes::default().of(definition).map_or(u64::MAX, |totals| totals.nodes);
    if nodes > NODES_MAX as u64 {
        let (bounds, path) = simulate::coarse(definition, &capacity, &|node, module| {
            ask.of(node).or_else(|| durations.expected(&module.id, &node.settings)).unwrap_or(UNKNOWN).0
        });
        let path = path.into_iter().map(|at| definition.nodes[at as usize].id.to_string()).collect();
        return Forecast { gpus_unmodelled, ..outlined(capacity, &bounds, path, never_fits, unknown, ask) };
    }
    let run = expected_run(definition, durations, ask);
    let spreads = Spreads::new(durations);
    let model = Model::of(&run, &capacity).known_to(&|node| ask.spread.max(spreads.of(&run, node)));
    let path = model.longest_path().into_iter().map(|node| run.path(node)).collect();
    let outlined = outlined(capacity, &simulate::bounds(&model), path, never_fits, unknown, ask);
    let mut forecast = Forecast { gpus_unmodelled, ..outlined };
    play(&mut forecast, run, &model, ask);
    forecast
}

/// The order in which the ready nodes of a new run start, where one is found that is better than the longest way first. Looked for on the
/// thread of whoever submits, within a fixed number of work units. A retry has results already, a run of which nobody knows how long
/// anything takes has nothing to compare, and of GPUs the model knows nothing: they go by the longest way.
pub(super) fn order(definition: &Arc<Definition>, capacity: &Capacity, durations: &Durations) -> Option<Arc<[u64]>> {
    let nodes = Sizes::default().of(definition).map_or(u64::MAX, |totals| totals.nodes);
    let known = |node: &NodeDef, module: &Module| durations.expected(&module.id, &node.settings).is_some();
    let is_small = nodes > 1 && nodes <= NODES_MAX as u64;
    if !is_small || !simulate::runs_any(definition, &known) || simulate::wants_gpu(definition) {
        return None;
    }
    let at = Timestamp::from_micros(0);
    let mut run = RunState::new(RunId::new(at, 0), definition.clone(), Arc::new(Value::Null), String::new());
    run.prioritise(&|module, settings| durations.weight(module, settings));
    let spreads = Spreads::new(durations);
    let model = Model::of(&run, capacity).known_to(&|node| spreads.of(&run, node));
    simulate::choose(&model, simulate::UNITS, SEED).order
}

/// How far the durations of nodes may be off: what somebody says is taken as it is, what was learned as far as the samples differ. Which of
/// them it is shows by the number, since a run that is looked ahead at carries what was learned where an author's word stands: a node that
/// counts for what its module usually takes was learned.
struct Spreads<'d> {
    durations: &'d Durations,
    known: RefCell<BTreeMap<ModuleId, u64>>,
}

impl<'d> Spreads<'d> {
    fn new(durations: &'d Durations) -> Self {
        Self { durations, known: RefCell::default() }
    }

    fn of(&self, run: &RunState, node: NodeIndex) -> u64 {
        let is_learned = |module: &&Arc<Module>| self.durations.of(&module.id).is_some_and(|mean| mean.0.max(1) == run.weight(node).max(1));
        let Some(module) = run.module(node).filter(is_learned) else { return 0 };
        if let Some(known) = self.known.borrow().get(&module.id) {
            return *known;
        }
        let spread = self.durations.spread(&module.id);
        self.known.borrow_mut().insert(module.id.clone(), spread);
        spread
    }
}

/// Whether anything of a pipeline asks for a GPU.
pub(super) fn wants_gpu(definition: &Definition, durations: &Durations) -> bool {
    let learned = |module: &Module| durations.used(&module.id).is_some_and(|used| used.vram_request(None).is_some());
    simulate::wants_gpu(definition) || simulate::runs_any(definition, &|_, module| learned(module))
}

/// What is known without playing.
fn outlined(
    capacity: Capacity,
    bounds: &simulate::Bounds,
    critical_path: Vec<String>,
    never_fits: Vec<(String, String)>,
    unknown: u64,
    ask: &Ask,
) -> Forecast {
    let (bound, bound_by) = bound_by(bounds);
    Forecast {
        makespan: None,
        critical_path_first: None,
        path: DurationMs(bounds.path),
        critical_path,
        bound: DurationMs(bound),
        bound_by,
        policy: ask.policy.unwrap_or(Policy::CriticalPath),
        tried: 0,
        spans: Vec::new(),
        peak: Held::default(),
        never_fits,
        unknown,
        gpus_unmodelled: false,
        capacity,
    }
}

impl Ask {
    /// What is asked for of a node's duration.
    fn of(&self, node: &NodeDef) -> Option<DurationMs> {
        self.durations.get(node.id.as_str()).copied().or(self.duration)
    }
}

/// The run as it would be submitted, ordered by what is expected.
fn expected_run(definition: &Definition, durations: &Durations, ask: &Ask) -> RunState {
    let expected = |node: &NodeDef| match &node.work {
        Work::Module(module) => ask.of(node).or_else(|| durations.expected(&module.id, &node.settings)).or(Some(UNKNOWN)),
        Work::Pipeline(_) => None,
    };
    let assumed = simulate::assumed(definition, &expected);
    let at = Timestamp::from_micros(1_700_000_000_000_000);
    let mut run = RunState::new(RunId::new(at, 0), assumed, Arc::new(Value::Object(serde_json::Map::new())), String::new());
    run.prioritise(&|module: &ModuleId, settings: &NodeSettings| durations.expected(module, settings).unwrap_or(UNKNOWN).0);
    run
}

fn bound_by(bounds: &simulate::Bounds) -> (u64, BoundBy) {
    let (area, limit) = &bounds.area;
    let best = bounds.best();
    if best == bounds.path {
        return (best, BoundBy::Path);
    }
    match &bounds.interval {
        Some((interval, limit)) if *interval > *area => (best, BoundBy::Interval { limit: limit.clone() }),
        Some(_) | None => (best, BoundBy::Area { limit: limit.clone() }),
    }
}

fn play(forecast: &mut Forecast, mut run: RunState, model: &Model, ask: &Ask) {
    let order = match ask.policy {
        None if forecast.gpus_unmodelled => None,
        None => {
            let choice = simulate::choose(model, simulate::UNITS, SEED);
            (forecast.policy, forecast.tried) = (choice.policy, choice.tried);
            forecast.critical_path_first = choice.critical_path.map(DurationMs);
            choice.order
        }
        Some(policy) => {
            forecast.tried = 1;
            if !forecast.gpus_unmodelled {
                let mut player = Player::new(model, simulate::UNITS);
                forecast.critical_path_first = player.makespan(&model.tails(), u64::MAX).map(DurationMs);
            }
            Some(simulate::priorities(model, policy)[..run.len()].into())
        }
    };
    run.set_order(order);
    let id = run.id().clone();
    let expected: Vec<u64> = run.nodes().map(|(node, _)| run.weight(node)).collect();
    // By node and not by turn: every order is played with the same durations.
    let seed = Dice::new(ask.seed).next_u64();
    let really = RefCell::new(BTreeMap::new());
    let behaviour = Box::new(|order: &crate::scheduler::StartOrder| {
        let takes = expected.get(order.id.node.at()).copied().unwrap_or(0);
        let mut dice = Dice::new(seed ^ u64::from(order.id.node.0));
        let takes = if ask.spread > 0 { dice.spread(takes, ask.spread) } else { takes };
        really.borrow_mut().insert(order.id.node, takes);
        Ending::after(DurationMs(takes))
    });
    let mut simulation = Simulation::new(forecast.capacity.clone(), Durations::default(), behaviour);
    simulation.submit_at(DurationMs(0), run);
    if simulation.play().is_ok() {
        forecast.makespan = simulation.ended().get(&id).map(|(_, at)| *at);
    }
    forecast.spans = simulation.spans().to_vec();
    forecast.peak = simulation.peak().clone();
    drop(simulation);
    if ask.spread > 0 {
        // What no order could have beaten, had it known.
        let bounds = simulate::bounds(&model.lasting(&really.into_inner()));
        let (bound, bound_by) = bound_by(&bounds);
        (forecast.bound, forecast.bound_by, forecast.path) = (DurationMs(bound), bound_by, DurationMs(bounds.path));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run::testing::{N, n, pipe};
    use crate::units::{Bytes, CpuMillis};

    /// Two places for nodes of which the longest way first is not the best order.
    fn capacity() -> Capacity {
        Capacity { cpus: CpuMillis(2_000), memory: Bytes(0), gpus: Vec::new(), custom: BTreeMap::new(), max_concurrent: 10 }
    }

    fn tricky(known: bool) -> Vec<N> {
        let times = [("a", 300), ("b", 300), ("c", 200), ("d", 200), ("e", 200)];
        times.into_iter().map(|(id, ms)| if known { n(id).duration(ms) } else { n(id) }).collect()
    }

    fn is_ordered(nodes: Vec<N>) -> bool {
        order(&pipe(nodes), &capacity(), &Durations::default()).is_some()
    }

    #[test]
    fn an_order_is_looked_for_only_where_something_is_known() {
        assert!(is_ordered(tricky(true)));
        assert!(!is_ordered(tricky(false)));
        // Instances are nodes of the run too, and a duration is known of none of them.
        let each = |node: N| node.matrix(json!({"x": [1, 2, 3]}));
        let known = |node: &NodeDef, _: &Module| node.settings.duration.is_some();
        let inner = pipe(tricky(false));
        let nothing = pipe(vec![each(n("m")), n("sub").calls(&inner), n("again").calls(&inner)]);
        assert!(!simulate::runs_any(&nothing, &known));
        assert_eq!(order(&nothing, &capacity(), &Durations::default()), None);
        let something = pipe(vec![n("deep").calls(&pipe(vec![n("sub").calls(&pipe(tricky(true)))]))]);
        assert!(simulate::runs_any(&something, &known));
    }

    #[test]
    fn what_was_learned_is_as_uncertain_ahead_as_at_the_submission() {
        let mut durations = Durations::default();
        let module = ModuleId::parse("m").expect("an id");
        for (at, wall) in [(0, 90), (1, 100), (2, 130)] {
            durations.learn(&module, DurationMs(wall));
            durations.learn_use(&module, "", crate::scheduler::Sample::new(Timestamp::from_micros(at), DurationMs(wall), None, None));
        }
        let definition = pipe(vec![n("learned"), n("said").duration(50)]);
        let of = |run: &RunState| [0, 1].map(|node| Spreads::new(&durations).of(run, NodeIndex(node)));
        let mut submitted = RunState::new(RunId::new(Timestamp::from_micros(0), 0), definition.clone(), Arc::default(), String::new());
        submitted.prioritise(&|module, settings| durations.weight(module, settings));
        assert_eq!(of(&submitted), [300, 0]);
        assert_eq!(of(&expected_run(&definition, &durations, &Ask::default())), [300, 0]);
        let asked = Ask { durations: BTreeMap::from([("learned".to_owned(), DurationMs(7))]), ..Ask::default() };
        assert_eq!(of(&expected_run(&definition, &durations, &asked)), [0, 0], "who asks by a duration means it");
    }

    #[test]
    fn what_was_not_known_before_is_bounded_by_what_really_was() {
        let ask = |seed| Ask { spread: 300, seed, ..Ask::default() };
        let of = |seed| forecast(&pipe(tricky(true)), capacity(), &Durations::default(), &ask(seed));
        let (one, two) = (of(1), of(2));
        for found in [&one, &two] {
            assert!(found.makespan.is_some_and(|makespan| makespan >= found.bound && found.bound >= found.path), "{found:?}");
        }
        let other = forecast(&pipe(tricky(true)), capacity(), &Durations::default(), &Ask { policy: Some(Policy::Declared), ..ask(1) });
        assert_eq!(other.bound, one.bound, "another order has the same durations");
        assert!(one.spans != two.spans && of(1).spans == one.spans, "{one:?} {two:?}");
    }

    #[test]
    fn no_order_is_chosen_where_the_model_does_not_know_what_is_asked_for() {
        let with = |node: N| tricky(true).into_iter().chain([node]).collect::<Vec<N>>();
        assert!(is_ordered(with(n("plain").duration(1))));
        assert!(!is_ordered(with(n("gpu").duration(1).gpus(1_000))));
        assert!(!is_ordered(with(n("vram").duration(1).vram(1))));
        assert!(!is_ordered(with(n("sub").calls(&pipe(vec![n("gpu").duration(1).gpus(250)])))));
        let found = forecast(&pipe(with(n("gpu").duration(1).gpus(1_000))), capacity(), &Durations::default(), &Ask::default());
        assert!(found.gpus_unmodelled && found.policy == Policy::CriticalPath && found.tried == 0 && found.critical_path_first.is_none());
        let share = n("shared").custom("api", 0);
        let found = forecast(&pipe(with(share)), capacity(), &Durations::default(), &Ask::default());
        assert!(!found.gpus_unmodelled && found.tried > 1);
    }
}
