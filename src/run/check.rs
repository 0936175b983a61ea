//! A check of what a run keeps beside the states of its nodes.

use super::state::{Body, NodeState, RunState, index};

impl RunState {
    /// Compares everything that is kept with what follows from the states of the nodes, and the states with each other. For tests and
    /// for a host that suspects its state: it looks at every node.
    ///
    /// # Errors
    /// Says what differs.
    pub fn sanity_check(&self) -> Result<(), String> {
        let mut fresh = self.clone();
        fresh.rebuild();
        let differs = |what: &str, kept: &dyn std::fmt::Debug, right: &dyn std::fmt::Debug| {
            Err(format!("{what}: {kept:?} is kept, {right:?} is right"))
        };
        if fresh.derived != self.derived {
            return differs("derived", &self.derived, &fresh.derived);
        }
        for (at, (kept, right)) in self.groups.iter().zip(&fresh.groups).enumerate() {
            let open = matches!(self.node(kept.node).state, NodeState::Open { .. });
            if kept.tally != right.tally || open && (kept.admitted, kept.turns) != (right.admitted, right.turns) {
                return differs(&format!("group {at}"), kept, right);
            }
        }
        for (at, (kept, right)) in self.scopes.iter().zip(&fresh.scopes).enumerate() {
            if kept.tally != right.tally {
                return differs(&format!("scope {at}"), kept, right);
            }
        }
        self.check_states()
    }

    /// Whether the states of the nodes go together.
    pub(super) fn check_states(&self) -> Result<(), String> {
        (0..self.nodes.len()).try_for_each(|at| self.check_node(at))
    }

    fn check_node(&self, at: usize) -> Result<(), String> {
        let node = index(at);
        let state = &self.node(node).state;
        let wrong = |what: String| Err(format!("{}: {what} in state {state:?}", self.path(node)));
        if let NodeState::Waiting { unfinished } = state {
            let right = self.unfinished(node);
            if *unfinished != right {
                return wrong(format!("waits for {right}"));
            }
        }
        if let (Body::Leaf, NodeState::Open { .. }) = (self.node(node).body, state) {
            return wrong("a leaf is open".into());
        }
        if state.holding().is_some() && self.node(node).body != Body::Leaf {
            return wrong("a container runs".into());
        }
        if state.is_done() && self.inside(node).is_some_and(|tally| tally.left > 0) {
            return wrong("nodes inside it are not terminal".into());
        }
        Ok(())
    }

    /// What a waiting node waits for, counted afresh.
    pub(super) fn unfinished(&self, node: crate::ids::NodeIndex) -> u32 {
        let dependencies = self.dependencies(node).filter(|dependency| !self.node(*dependency).state.is_done()).count();
        index(dependencies).0 + u32::from(!self.is_surrounded_by_open(node))
    }
}
