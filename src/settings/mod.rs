//! stub
use crate::diagnostics::Diagnostics;
use crate::resources::Capacity;
use crate::tree::Tree;
use crate::units::*;
/// stub
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub defaults: crate::manifest::Defaults,
    pub roots: Vec<std::path::PathBuf>,
    pub pipelines: Vec<String>,
    pub queue: u32,
}
impl Settings {
    pub fn read(_t: &Tree) -> Result<(Settings, Diagnostics), Diagnostics> {
        Ok((Settings { queue: 10000, ..Default::default() }, Diagnostics::new()))
    }
    pub fn capacity(&self, c: CpuMillis, m: Bytes) -> Capacity {
        Capacity { cpus: c, memory: m, custom: Default::default(), max_concurrent: 2 }
    }
}
