//! Where nodes of an `affinity` ran last: on which GPU, or off them.
//!
//! A preference and nothing more: it follows from the events of this host, and a new host begins without it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::request::Request;

/// Keys by place.
#[derive(Debug, Clone, Default)]
pub(super) struct Warm {
    gpus: BTreeMap<String, Arc<str>>,
    off: Option<Arc<str>>,
}

impl Warm {
    /// An attempt starts or ends. Whoever was on a GPU before it has lost it; off GPUs, the last one that had a key counts.
    pub(super) fn note(&mut self, grant: &Request, affinity: Option<&Arc<str>>) {
        if grant.devices.is_empty() {
            if let Some(key) = affinity {
                self.off = Some(key.clone());
            }
            return;
        }
        for device in &grant.devices {
            match affinity {
                Some(key) => drop(self.gpus.insert(device.gpu.clone(), key.clone())),
                None => drop(self.gpus.remove(&device.gpu)),
            }
        }
    }

    /// The key of the last attempt on a GPU.
    pub(super) fn on(&self, gpu: &str) -> Option<&Arc<str>> {
        self.gpus.get(gpu)
    }

    /// The key of the last attempt with one that has no GPU.
    pub(super) fn off_gpus(&self) -> Option<&Arc<str>> {
        self.off.as_ref()
    }

    /// All keys that were last somewhere.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.gpus.values().chain(&self.off)
    }
}
