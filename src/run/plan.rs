//! stub
use crate::pipeline::definition::Definition;
use std::sync::Arc;
#[derive(Debug, Clone)]
pub(super) struct Plan { pub(super) definition: Arc<Definition> }
#[derive(Debug, Clone)]
pub(super) struct Plans(Vec<Arc<Plan>>);
impl Plans { pub(super) fn get(&self, at: u32) -> &Plan { &self.0[at as usize] } }
