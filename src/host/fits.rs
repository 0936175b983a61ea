//! Whether what modules and pipelines ask for could ever run here, said with a place where the files are at hand.

use super::catalog::{Catalog, place_of};
use super::machine::Machine;
use crate::diagnostics::{Diagnostic, Diagnostics, Place};
use crate::manifest::Module;
use crate::pipeline::definition::Definition;
use crate::resources::{Capacity, Unmet, none_fits};
use crate::scheduler::impossible;

/// What this machine can hand out.
#[derive(Debug)]
pub struct Fits(Capacity);

impl Fits {
    /// By the settings of a workspace and this machine.
    #[must_use]
    pub fn here(catalog: &Catalog) -> Self {
        Self(Machine::detect(&catalog.settings).capacity())
    }

    /// What of a pipeline can never run here, each at its node.
    #[must_use]
    pub fn pipeline(&self, definition: &Definition) -> Diagnostics {
        let described = impossible(definition, &self.0).into_iter().map(|(path, unmet)| {
            let head = path.split('.').next().unwrap_or(&path);
            let node = definition.nodes.iter().find(|node| node.id.as_str() == head);
            let place = node.map(|node| Place { source: definition.source.clone(), span: node.span });
            diagnostic(&format!("node `{path}`"), &unmet, place)
        });
        collected(described)
    }

    /// What a module asks for and can never get here.
    #[must_use]
    pub fn module(&self, module: &Module) -> Diagnostics {
        let lacks = none_fits(&module.settings.requests(), &self.0);
        collected(lacks.iter().map(|unmet| diagnostic(&format!("module `{}`", module.id), unmet, Some(place_of(module, "resources")))))
    }
}

fn diagnostic(what: &str, unmet: &Unmet, place: Option<Place>) -> Diagnostic {
    let found = Diagnostic::error(format!("{what} can never run here: it {unmet}")).with_help_of(unmet.help());
    match place {
        Some(place) => found.at(place),
        None => found,
    }
}

fn collected(items: impl Iterator<Item = Diagnostic>) -> Diagnostics {
    let mut found = Diagnostics::new();
    items.for_each(|item| found.push(item));
    found
}
