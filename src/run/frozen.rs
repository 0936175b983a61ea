//! stub
use super::state::RunState;
use crate::ids::RunId;
use crate::pipeline::definition::Definition;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
/// The part of a run's state that changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Frozen {}
/// Why a frozen state does not fit the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot does not fit the pipeline: {0}")]
pub struct ThawError(pub String);
impl RunState {
    /// For a snapshot.
    pub fn freeze(&self) -> Frozen { todo!() }
    /// The run again.
    pub fn thaw(_id: RunId, _definition: Arc<Definition>, _params: Arc<Value>, _workspace: String, _frozen: Frozen) -> Result<Self, ThawError> { todo!() }
}
