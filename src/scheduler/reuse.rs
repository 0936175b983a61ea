//! Which ready nodes are to be asked about: whether an earlier result stands for them (`reuse: inputs`).
//!
//! The answer needs files, so it is the host's; here is only decided when it is asked for: once everything that a node's parameters name
//! is known, and before there is room for it, since a result that is taken needs none.

use std::sync::Arc;

use crate::event::Event;
use crate::run::{RunState, evaluate};

use super::World;
use super::decide::record;
use super::effect::{Effect, ReuseOrder};

/// Most nodes of a run that are asked about at once: enough to keep one thread busy that reads files.
const ASKED_MAX: usize = 64;

/// Asks about ready nodes of a run that nobody looks for yet.
pub(super) fn checks(world: &World, run: &RunState, effects: &mut Vec<Effect>) {
    if run.is_frozen() || run.facts().cancel.is_some() {
        return;
    }
    for node in run.unchecked().take(ASKED_MAX).filter(|node| !run.is_swept(*node) && !world.is_checking(run.id(), *node)) {
        let Some(module) = run.module(node) else { continue };
        effects.push(match evaluate::params(run, node) {
            Err(cause) => record(run, Event::NodeFailed { node, cause }),
            Ok(params) => Effect::CheckReuse(Box::new(ReuseOrder {
                run: run.id().clone(),
                node,
                module: module.clone(),
                settings: run.node_def(node).settings.clone(),
                params: Arc::new(params.value),
            })),
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Sim, capacity};
    use super::super::{Blocker, Survey};
    use super::*;
    use crate::event::{NotReused, ReuseCheck};
    use crate::ids::NodeIndex;
    use crate::run::NodeStatus as S;
    use crate::run::testing::{n, pipe, run_id};
    use crate::units::Timestamp;

    fn none(node: NodeIndex) -> Event {
        let check = ReuseCheck { why: NotReused::First, key: None, at: Timestamp::default(), files: Vec::new() };
        Event::NodeChecked { node, check: Box::new(check) }
    }

    #[test]
    fn a_node_is_asked_about_once_its_parameters_are_known_and_waits_for_the_answer() {
        let mut sim = Sim::of(&pipe(vec![n("a"), n("b").with(json!({"n": "${{ nodes.a.outputs.n }}"})).reuse().attempts(2)]));
        assert!(sim.checks.is_empty());
        sim.ok("a", json!({"n": 3}));
        assert_eq!((sim.checks.len(), sim.running().len()), (1, 0));
        assert_eq!(*sim.checks[0].params, json!({"n": 3}));
        let node = sim.checks[0].node;
        assert_eq!(Survey::new(&sim.world, sim.now.wall).explain(&run_id(1), node), [Blocker::Reuse]);
        assert_eq!(sim.reason("b"), "looks for an earlier result");
        sim.turn();
        assert_eq!(sim.checks.len(), 1, "nobody asks twice");
        sim.event(none(node));
        sim.turn();
        assert_eq!(sim.running(), ["b"]);
        // Another attempt is one of the same kind: nothing is asked again.
        sim.fail("b", super::super::testing::exit());
        sim.pass(60_000);
        assert_eq!((sim.running(), sim.checks.len()), (vec!["b".to_owned()], 1));
    }

    /// A host that finds an intent takes a process of it for possible, and none is before the answer.
    #[test]
    fn an_intent_is_never_written_before_the_answer() {
        let mut sim = Sim::new(capacity(1, 1));
        sim.submit(1, &pipe(vec![n("a"), n("b").needs(&["a"]).reuse(), n("c").reuse(), n("d").needs(&["b"]).reuse().attempts(2)]));
        sim.turn();
        let intended = |sim: &Sim, path: &str| sim.run().intent(sim.run().find(path).expect("a node")).is_some();
        assert_eq!((sim.running(), intended(&sim, "b"), intended(&sim, "c")), (vec!["a".to_owned()], false, false));
        sim.event(none(sim.run().find("c").expect("a node")));
        sim.turn();
        assert!(intended(&sim, "c"), "it is ready without room, as any other");
        sim.ok("a", json!({}));
        let b = sim.run().find("b").expect("a node");
        assert!(sim.run().awaits_check(b) && !intended(&sim, "b"));
        sim.event(none(b));
        sim.turn();
        let place = |wanted: &dyn Fn(&Event) -> bool| sim.log.iter().position(|(_, event, _)| wanted(event)).expect("it is there");
        let checked = place(&|event| matches!(event, Event::NodeChecked { node, .. } if *node == b));
        let written = place(&|event| matches!(event, Event::AttemptIntended { node, .. } if *node == b));
        assert!(checked < written);
        assert!(!intended(&sim, "d"), "nor while the node before it runs");
    }

    #[test]
    fn a_result_that_is_taken_needs_no_room() {
        let mut sim = Sim::new(capacity(1, 1));
        sim.submit(1, &pipe(vec![n("busy"), n("b").reuse(), n("c").reuse()]));
        sim.turn();
        assert_eq!((sim.running(), sim.checks.len()), (vec!["busy".to_owned()], 2));
        let event = Event::NodeReused { node: sim.checks[0].node, from: run_id(9), outputs: None };
        sim.event(event);
        assert_eq!(sim.status("b"), S::Reused);
        assert_eq!(sim.run().results_of().into_iter().collect::<Vec<_>>(), [run_id(9)]);
    }

    #[test]
    fn what_is_cancelled_or_held_is_not_asked_about() {
        let mut sim = Sim::new(capacity(1, 1));
        sim.world.set_accepting(false);
        sim.submit(1, &pipe(vec![n("a").reuse()]));
        sim.turn();
        assert!(sim.checks.is_empty());
        sim.event(Event::RunHeld);
        sim.world.set_accepting(true);
        sim.turn();
        assert!(sim.checks.is_empty());
        sim.event(Event::RunCancelRequested { kill: false });
        sim.turn();
        assert_eq!((sim.status("a"), sim.checks.len()), (S::Cancelled, 0));
    }

    #[test]
    fn an_answer_that_comes_too_late_is_refused_by_the_state() {
        let mut sim = Sim::of(&pipe(vec![n("a").reuse()]));
        let node = sim.checks[0].node;
        sim.event(none(node));
        sim.turn();
        let stamp = crate::event::Stamp::default();
        assert!(sim.world.apply(&run_id(1), &none(node), stamp).is_err());
    }

    #[test]
    fn no_more_than_some_are_asked_about_at_once() {
        let axis: Vec<u32> = (0..200).collect();
        let mut sim = Sim::of(&pipe(vec![n("m").matrix(json!({"x": axis})).reuse()]));
        assert_eq!(sim.checks.len(), ASKED_MAX);
        let node = sim.checks[7].node;
        sim.event(none(node));
        sim.turn();
        assert_eq!(sim.checks.len(), ASKED_MAX + 1);
    }

    #[test]
    fn a_snapshot_keeps_the_answer() {
        let mut sim = Sim::of(&pipe(vec![n("a").reuse(), n("b").reuse()]));
        let node = sim.checks[0].node;
        sim.event(none(node));
        let (run, frozen) = (sim.run(), sim.run().freeze());
        let thawed =
            RunState::thaw(run.id().clone(), run.definition().clone(), run.params().clone(), "/w".into(), frozen).expect("it fits");
        assert!(!thawed.awaits_check(node) && thawed.unchecked().len() == 1);
    }
}
