//! stub
use super::state::RunState;
use crate::ids::NodeIndex;
impl RunState {
    /// Path of a node: `clips[2].cut`.
    pub fn path(&self, _node: NodeIndex) -> String { todo!() }
    /// The node of a path.
    pub fn find(&self, _path: &str) -> Option<NodeIndex> { todo!() }
}
