//! stub
use crate::diagnostics::Diagnostics; use crate::tree::Tree; use crate::resources::Capacity; use crate::units::*;
/// stub
#[derive(Debug, Clone, Default)]
pub struct Settings { pub defaults: crate::manifest::Defaults, pub roots: Vec<std::path::PathBuf>, pub pipelines: Vec<String>, pub queue: u32 }
impl Settings { pub fn read(_t:&Tree)->Result<(Settings, Diagnostics), Diagnostics> {todo!()} pub fn capacity(&self, _c: CpuMillis, _m: Bytes)->Capacity {todo!()} }
