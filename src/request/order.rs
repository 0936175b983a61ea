//! Words about which node comes first, and which of several requests it gets.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Request;
use crate::ids::ResourceName;
use crate::units::{Amount, Bytes, CpuMillis};

/// Whether the nodes of a run come before or after those of others. The highest is declared first, so that sorting puts it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Before the others: what a person waits for. A single module that is run by itself, where nothing else is said.
    High,
    /// Pipelines, where nothing else is said.
    Normal,
    /// When nothing else wants the room.
    Low,
}

impl Priority {
    /// All of them, the highest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// As in files and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// One of the alternatives of `any_of`: what it says replaces what `resources` says, key by key.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Alternative {
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<CpuMillis>,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// GPUs, in thousandths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Amount>,
    /// Memory of one GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vram: Option<Bytes>,
    /// Counted resources; 0 takes one back.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom: BTreeMap<ResourceName, Amount>,
}

impl Alternative {
    /// The whole request that it makes of what all alternatives share; `at` is its position.
    #[must_use]
    pub fn over(&self, common: &Request, at: u32) -> Request {
        let mut custom = common.custom.clone();
        custom.extend(self.custom.iter().map(|(name, amount)| (name.clone(), *amount)));
        custom.retain(|_, amount| amount.0 > 0);
        Request {
            cpus: self.cpus.unwrap_or(common.cpus),
            memory: self.memory.unwrap_or(common.memory),
            gpus: self.gpus.unwrap_or(common.gpus),
            vram: self.vram.unwrap_or(common.vram),
            custom,
            devices: Vec::new(),
            alternative: Some(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::NodeSettings;

    #[test]
    fn an_alternative_is_laid_over_what_all_of_them_share() {
        let api = ResourceName::parse("api").expect("a name");
        let common = Request { memory: Bytes(4), custom: BTreeMap::from([(api.clone(), Amount(1_000))]), ..Request::default() };
        let settings = NodeSettings {
            request: common.clone(),
            any_of: vec![
                Alternative { vram: Some(Bytes(8)), custom: BTreeMap::from([(api, Amount(0))]), ..Alternative::default() },
                Alternative { cpus: Some(CpuMillis(8_000)), ..Alternative::default() },
            ],
            ..NodeSettings::default()
        };
        let [gpu, cpu] = &settings.requests()[..] else { panic!("two of them") };
        assert_eq!((gpu.vram, gpu.memory, gpu.custom.len(), gpu.alternative), (Bytes(8), Bytes(4), 0, Some(0)));
        assert_eq!((cpu.cpus, cpu.memory, cpu.custom.len(), cpu.alternative), (CpuMillis(8_000), Bytes(4), 1, Some(1)));
        assert!(settings.may_want_gpu() && !cpu.wants_gpu());
        assert_eq!((settings.asked(Some(1)), settings.asked(None), settings.asked(Some(9))), (cpu.clone(), common.clone(), common));
        assert_eq!(NodeSettings::default().requests(), [Request::default()]);
    }

    #[test]
    fn the_highest_priority_sorts_first() {
        let mut sorted = vec![Priority::Low, Priority::High, Priority::Normal];
        sorted.sort_unstable();
        assert_eq!(sorted, Priority::ALL);
        assert!(Priority::ALL.iter().all(|priority| serde_json::to_value(priority).is_ok_and(|word| word == priority.as_str())));
    }
}
