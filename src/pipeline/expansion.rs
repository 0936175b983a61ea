//! The rarer keys of a node: when it runs, how it becomes many, what its failure means.

use serde_json::Value;

use crate::diagnostics::Diagnostic;
use crate::ids::NodeId;
use crate::tree::{Kind, NodeRef};

use super::compile::FileReader;
use super::definition::{Control, Expansion, Matrix, NODES_MAX};
use super::expr::{Expression, Names, Template};
use super::node::{Keys, head};

impl<'t> FileReader<'_, '_, 't> {
    /// What most nodes do not have, if this one has some of it.
    pub(super) fn control(&mut self, keys: &Keys<'t>) -> Option<Box<Control>> {
        let none = keys.when.is_none() && keys.matrix.is_none() && keys.foreach.is_none();
        if none && keys.max_parallel.is_none() && keys.allow_failure.is_none() {
            return None;
        }
        let when = keys.when.and_then(|when| {
            let expression = Expression::compile(when, &mut self.compiler.diagnostics)?;
            expression.check_names(Names { nodes: true, ..Names::default() }, &mut self.compiler.diagnostics);
            Some(expression)
        });
        let expansion = self.expansion(keys);
        let max_parallel = keys.max_parallel.and_then(|node| self.max_parallel(node, keys));
        let allow_failure = keys.allow_failure.is_some_and(|node| self.allow_failure(node));
        Some(Box::new(Control { when, observed: Vec::new(), expansion, max_parallel, allow_failure }))
    }

    fn max_parallel(&mut self, node: NodeRef<'t>, keys: &Keys<'t>) -> Option<u32> {
        let value = node.as_u64().and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0);
        if value.is_none() {
            self.report(Diagnostic::error("`max_parallel` must be a whole number from 1").at(node.place()));
        } else if keys.matrix.is_none() && keys.foreach.is_none() {
            let help = "it limits the instances of `foreach` or `matrix`";
            self.report(Diagnostic::error("`max_parallel` has no effect on a single node").at(node.place()).with_help(help));
        }
        value
    }

    fn allow_failure(&mut self, node: NodeRef<'t>) -> bool {
        if node.as_bool().is_none() {
            self.report(Diagnostic::error("`allow_failure` must be `true` or `false`").at(node.place()));
        }
        node.as_bool().unwrap_or(false)
    }

    fn expansion(&mut self, keys: &Keys<'t>) -> Option<Expansion> {
        match (keys.matrix, keys.foreach) {
            (None, None) => None,
            (Some(matrix), None) => self.matrix(matrix).map(Expansion::Matrix),
            (None, Some(list)) => {
                let expression = Expression::compile_list(list, &mut self.compiler.diagnostics)?;
                expression.check_names(Names { nodes: true, ..Names::default() }, &mut self.compiler.diagnostics);
                Some(Expansion::ForEach(expression))
            }
            (Some(_), Some(list)) => {
                let help = "put the `foreach` around a sub-pipeline with the `matrix`";
                self.report(Diagnostic::error("a node has either `matrix` or `foreach`").at(list.place()).with_help(help));
                None
            }
        }
    }

    fn matrix(&mut self, node: NodeRef<'t>) -> Option<Matrix> {
        if node.kind() != Kind::Map || node.is_empty() {
            let help = "write `matrix: {name: [value, value]}`";
            self.report(Diagnostic::error("`matrix` must be a map of lists").at(node.place()).with_help(help));
            return None;
        }
        let mut axes = Vec::with_capacity(node.len());
        for (name, values) in node.entries() {
            axes.extend(self.axis(name, values));
        }
        let matrix = Matrix { axes };
        if matrix.count().is_none_or(|count| count > NODES_MAX) {
            let sizes: Vec<String> = matrix.axes.iter().map(|(_, values)| values.len().to_string()).collect();
            let message = format!("`matrix` makes {} nodes; a run has at most {NODES_MAX}", sizes.join(" x "));
            self.report(Diagnostic::error(message).at(head(node)));
            return None;
        }
        Some(matrix)
    }

    fn axis(&mut self, name: NodeRef<'t>, values: NodeRef<'t>) -> Option<(String, Vec<Value>)> {
        let axis = name.scalar_text().unwrap_or_default();
        if let Err(refused) = NodeId::parse(axis) {
            let message = format!("`matrix.{axis}` would be no name in an expression");
            self.report(Diagnostic::error(message).at(name.place()).with_help_of(refused.help));
        }
        if values.kind() != Kind::List || values.is_empty() {
            let message = format!("`{axis}` in `matrix` must be a list of at least one value");
            let help = "its values are known before the run; for a list that a node or a parameter brings there is `foreach`";
            self.report(Diagnostic::error(message).at(values.place()).with_help(help));
            return None;
        }
        match Template::compile(values, &mut self.compiler.diagnostics) {
            Template::Constant(list) => Some((axis.to_owned(), list.as_array().cloned().unwrap_or_default())),
            Template::Expression(_) | Template::Text(_) | Template::List(_) | Template::Map(_) => {
                let message = format!("`{axis}` in `matrix` holds an expression");
                let help = "the values of a matrix are known before the run; for others there is `foreach`";
                self.report(Diagnostic::error(message).at(values.place()).with_help(help));
                None
            }
        }
    }
}
