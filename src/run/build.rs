//! stub
use super::state::RunState;
use crate::ids::RunId;
use crate::pipeline::definition::Definition;
use serde_json::Value;
use std::sync::Arc;
impl RunState {
    /// A run before its submission is recorded.
    pub fn new(_id: RunId, _definition: Arc<Definition>, _params: Arc<Value>, _workspace: String) -> Self { todo!() }
}
