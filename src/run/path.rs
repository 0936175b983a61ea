//! Paths of nodes: `score`, `score[3]`, `clips[2].cut`. Made and resolved on demand, kept nowhere.

use std::fmt::Write as _;

use crate::ids::NodeIndex;
use crate::pipeline::definition::Control;

use super::state::{Body, RunState};

impl RunState {
    /// Path of a node.
    ///
    /// # Panics
    /// When the index is not one of this run's.
    #[must_use]
    pub fn path(&self, node: NodeIndex) -> String {
        let mut chain = vec![node];
        while let Some(owner) = chain.last().and_then(|last| self.scopes[self.node(*last).scope as usize].owner) {
            chain.push(owner);
        }
        let mut path = String::new();
        for node in chain.into_iter().rev() {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(self.node_def(node).id.as_str());
            if let Some(ordinal) = self.node(node).ordinal() {
                // Writing to a string cannot fail.
                let _ = write!(path, "[{ordinal}]");
            }
        }
        path
    }

    /// The node of a path, exactly as [`path`](Self::path) writes it; `None` where there is none (any more or yet).
    #[must_use]
    pub fn find(&self, path: &str) -> Option<NodeIndex> {
        let mut scope = 0;
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            let (id, ordinal) = split_ordinal(part)?;
            let mut node = self.find_in(scope, id)?;
            if let Some(ordinal) = ordinal {
                let Body::Group(group) = self.node(node).body else { return None };
                let group = &self.groups[group as usize];
                node = (ordinal < group.count).then(|| NodeIndex(group.first + ordinal))?;
            }
            if parts.peek().is_none() {
                return Some(node);
            }
            let Body::Scope(inner) = self.node(node).body else { return None };
            scope = inner;
        }
        None
    }

    /// The node with an id in a scope.
    pub(super) fn find_in(&self, scope: u32, id: &str) -> Option<NodeIndex> {
        let scope = &self.scopes[scope as usize];
        self.plans.get(scope.plan).position(id).map(|position| NodeIndex(scope.first + position))
    }

    /// The node around a node: its group, or the node that called its pipeline.
    #[must_use]
    pub fn parent(&self, node: NodeIndex) -> Option<NodeIndex> {
        let at = self.node(node);
        let scope = &self.scopes[at.scope as usize];
        if at.ordinal().is_some() { Some(NodeIndex(scope.first + at.position)) } else { scope.owner }
    }

    /// What it waits for, in declared order. Instances wait for nothing but their group.
    pub fn dependencies(&self, node: NodeIndex) -> impl Iterator<Item = NodeIndex> {
        self.neighbours(node, |graph| &graph.dependencies)
    }

    /// What waits for it.
    pub fn dependents(&self, node: NodeIndex) -> impl Iterator<Item = NodeIndex> {
        self.neighbours(node, |graph| &graph.dependents)
    }

    fn neighbours(
        &self,
        node: NodeIndex,
        rows: impl Fn(&crate::pipeline::definition::Graph) -> &crate::pipeline::definition::Rows,
    ) -> impl Iterator<Item = NodeIndex> {
        let at = self.node(node);
        let first = self.scopes[at.scope as usize].first;
        let row = match at.ordinal() {
            Some(_) => &[],
            None => rows(&self.scope_definition(at.scope).graph).of(at.position),
        };
        row.iter().map(move |position| NodeIndex(first + position))
    }

    /// Nodes directly inside a group or sub-pipeline, in order; none for a leaf.
    pub fn children(&self, node: NodeIndex) -> impl ExactSizeIterator<Item = NodeIndex> + use<> {
        let range = match self.node(node).body {
            Body::Leaf => 0..0,
            Body::Group(group) => {
                let group = &self.groups[group as usize];
                group.first..group.first + group.count
            }
            Body::Scope(scope) => self.scope_nodes(scope),
        };
        range.map(NodeIndex)
    }

    /// Nodes of the run's own pipeline.
    pub fn roots(&self) -> impl ExactSizeIterator<Item = NodeIndex> + use<> {
        self.scope_nodes(0).map(NodeIndex)
    }

    pub(super) fn scope_nodes(&self, scope: u32) -> std::ops::Range<u32> {
        let first = self.scopes[scope as usize].first;
        first..first + super::state::index(self.scope_definition(scope).nodes.len()).0
    }

    /// The group of which a node is an instance.
    pub(super) fn group_of(&self, node: NodeIndex) -> Option<u32> {
        self.node(node).ordinal()?;
        match self.parent(node).map(|parent| self.node(parent).body) {
            Some(Body::Group(group)) => Some(group),
            Some(Body::Leaf | Body::Scope(_)) | None => None,
        }
    }

    /// The rarer keys of a node; those of its group for an instance.
    pub(super) fn control(&self, node: NodeIndex) -> Option<&Control> {
        self.node_def(node).control.as_deref()
    }

    /// Whether a failure of it (or of its instances) is tolerated.
    #[must_use]
    pub fn is_tolerated(&self, node: NodeIndex) -> bool {
        self.control(node).is_some_and(|control| control.allow_failure)
    }
}

/// `a[3]` into `a` and 3. Only the notation that `path` writes: no sign, no leading zero.
fn split_ordinal(part: &str) -> Option<(&str, Option<u32>)> {
    let Some((id, rest)) = part.split_once('[') else { return Some((part, None)) };
    let digits = rest.strip_suffix(']')?;
    let canonical = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()));
    if canonical { Some((id, Some(digits.parse().ok()?))) } else { None }
}
