//! The registry, as the compiler asks for modules.

use super::compile::{Found, Modules};
use crate::ids::ModuleId;
use crate::manifest::registry::Registry;

impl Modules for Registry {
    fn find(&self, id: &str) -> Found<'_> {
        match (self.get(id), self.broken_named(id)) {
            (Some(module), _) => Found::Module(module),
            (None, Some(broken)) => Found::Broken(broken.diagnostics.iter().find_map(|item| item.place.clone())),
            (None, None) => Found::Unknown,
        }
    }

    fn ids(&self) -> Vec<&str> {
        self.iter().map(|module| ModuleId::as_str(&module.id)).collect()
    }
}
