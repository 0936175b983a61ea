//! What the machine has, what is held of it, and whether a request fits.
//!
//! Capacity comes from the settings and the probe; what is held is the sum of the grants of running attempts, kept by whoever owns
//! them (`scheduler::World`); what the machine really has free comes in as a [`Live`]. One predicate, [`unmet`], serves both the decision
//! to start and the answer to "why does it wait?".
//! Pure arithmetic over L0 words: knows no runs, nodes or modules.

mod disk;
mod gpu;
mod lack;
mod live;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::ResourceName;
use crate::request::Request;
use crate::units::{Amount, Bytes, CpuMillis};

pub use disk::{Disk, DiskLevel, worst_level};
pub use gpu::{Gpu, GpuHeld, most_vram, place, place_near};
pub use lack::Unmet;
pub use live::{GpuReading, Live, LiveRoom, MemoryReading, Reading, Seen, Usage};

/// Attempts at once where the settings say nothing: enough to keep a workstation busy, few enough to keep it usable.
pub const MAX_CONCURRENT_DEFAULT: u32 = 10;

/// What may be held at most, reserves already taken off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Processors.
    pub cpus: CpuMillis,
    /// Memory.
    pub memory: Bytes,
    /// GPUs, those of the settings or all that were found.
    #[serde(default)]
    pub gpus: Vec<Gpu>,
    /// Counted resources that the settings define.
    #[serde(default)]
    pub custom: BTreeMap<ResourceName, Amount>,
    /// Attempts at once, whatever they hold.
    pub max_concurrent: u32,
}

/// What running attempts hold together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Processors.
    pub cpus: CpuMillis,
    /// Memory.
    pub memory: Bytes,
    /// GPUs by UUID; only those that somebody holds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gpus: BTreeMap<String, GpuHeld>,
    /// Counted resources; none of them is 0.
    pub custom: BTreeMap<ResourceName, Amount>,
    /// Number of attempts.
    pub attempts: u32,
}

impl Held {
    /// Adds a grant.
    pub fn take(&mut self, grant: &Request) {
        self.cpus.0 = self.cpus.0.saturating_add(grant.cpus.0);
        self.memory.0 = self.memory.0.saturating_add(grant.memory.0);
        for device in &grant.devices {
            self.gpus.entry(device.gpu.clone()).or_default().take(device);
        }
        for (name, amount) in &grant.custom {
            if amount.0 > 0 {
                let held = self.custom.entry(name.clone()).or_default();
                held.0 = held.0.saturating_add(amount.0);
            }
        }
        self.attempts += 1;
    }

    /// Takes a grant off again.
    pub fn give_back(&mut self, grant: &Request) {
        debug_assert!(self.attempts > 0, "a grant is given back once");
        self.cpus.0 = self.cpus.0.saturating_sub(grant.cpus.0);
        self.memory.0 = self.memory.0.saturating_sub(grant.memory.0);
        for device in &grant.devices {
            if let Some(held) = self.gpus.get_mut(&device.gpu) {
                held.give_back(device);
                if *held == GpuHeld::default() {
                    self.gpus.remove(&device.gpu);
                }
            }
        }
        for (name, amount) in &grant.custom {
            if let Some(held) = self.custom.get_mut(name) {
                held.0 = held.0.saturating_sub(amount.0);
                if held.0 == 0 {
                    self.custom.remove(name);
                }
            }
        }
        self.attempts = self.attempts.saturating_sub(1);
    }

    /// What is held of a GPU.
    #[must_use]
    pub fn gpu(&self, uuid: &str) -> GpuHeld {
        self.gpus.get(uuid).copied().unwrap_or_default()
    }

    /// Amount held of a counted resource.
    #[must_use]
    pub fn custom(&self, name: &ResourceName) -> Amount {
        self.custom.get(name).copied().unwrap_or_default()
    }
}

/// Everything that `request` lacks beside what is held and what others on the machine use. Empty: it fits.
#[must_use]
pub fn unmet(request: &Request, capacity: &Capacity, held: &Held, live: &Live) -> Vec<Unmet> {
    let mut lacks = Vec::new();
    if live.is_awaited() && request.is_measured() {
        lacks.push(Unmet::Reading);
    }
    if held.attempts >= capacity.max_concurrent {
        lacks.push(Unmet::Slots { limit: capacity.max_concurrent });
    }
    let free = CpuMillis(capacity.cpus.0.saturating_sub(held.cpus.0));
    if request.cpus > free {
        lacks.push(Unmet::Cpus { need: request.cpus, free, capacity: capacity.cpus });
    }
    let free = Bytes(capacity.memory.0.saturating_sub(held.memory.0));
    if request.memory > free {
        lacks.push(Unmet::Memory { need: request.memory, free, capacity: capacity.memory });
    } else if let Some(room) = live.memory_room(held).filter(|room| request.memory > room.free) {
        lacks.push(Unmet::MemoryInUse { need: request.memory, free: room.free, growth: room.growth, others: room.others });
    }
    if request.wants_gpu() {
        lacks.extend(place(request, capacity, held, live).err());
    }
    for (name, need) in &request.custom {
        let all = capacity.custom.get(name).copied().unwrap_or_default();
        let free = Amount(all.0.saturating_sub(held.custom(name).0));
        if *need > free {
            lacks.push(Unmet::Custom { name: name.clone(), need: *need, free, capacity: all });
        }
    }
    lacks
}

/// Whether `request` fits beside what is held.
#[must_use]
pub fn fits(request: &Request, capacity: &Capacity, held: &Held, live: &Live) -> bool {
    // An empty `Vec` does not allocate: no second predicate that could differ from the first.
    unmet(request, capacity, held, live).is_empty()
}

/// What alternatives of a request lack for ever; nothing where one of them could ever fit.
#[must_use]
pub fn none_fits(requests: &[Request], capacity: &Capacity) -> Vec<Unmet> {
    let mut lacks: Vec<Unmet> = Vec::new();
    for request in requests {
        let found = never_fits(request, capacity);
        if found.is_empty() {
            return found;
        }
        lacks.extend(found);
    }
    lacks
}

/// What `request` asks for beyond the whole capacity: it would wait for ever, and is refused at submit.
#[must_use]
pub fn never_fits(request: &Request, capacity: &Capacity) -> Vec<Unmet> {
    unmet(request, capacity, &Held::default(), &Live::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity() -> Capacity {
        let api = ResourceName::parse("api").expect("a name");
        Capacity {
            cpus: CpuMillis(4000),
            memory: Bytes(1 << 30),
            gpus: Vec::new(),
            custom: BTreeMap::from([(api, Amount(2000))]),
            max_concurrent: 3,
        }
    }

    fn request(cpus: u64, memory: u64, api: u64) -> Request {
        let name = ResourceName::parse("api").expect("a name");
        Request { cpus: CpuMillis(cpus), memory: Bytes(memory), custom: BTreeMap::from([(name, Amount(api))]), ..Request::default() }
    }

    #[test]
    fn a_grant_taken_and_given_back_leaves_nothing() {
        let mut held = Held::default();
        held.take(&request(1500, 10, 500));
        held.take(&request(0, 0, 0));
        assert_eq!((held.cpus, held.attempts), (CpuMillis(1500), 2));
        held.give_back(&request(1500, 10, 500));
        held.give_back(&request(0, 0, 0));
        assert_eq!(held, Held::default());
    }

    #[test]
    fn a_request_fits_to_the_last_thousandth() {
        let mut held = Held::default();
        held.take(&request(1500, 0, 1500));
        assert!(fits(&request(2500, 1 << 30, 500), &capacity(), &held, &Live::default()));
        assert!(!fits(&request(2501, 0, 0), &capacity(), &held, &Live::default()));
        let lacks = unmet(&request(0, 0, 501), &capacity(), &held, &Live::default());
        assert_eq!(lacks.len(), 1);
        assert_eq!(lacks[0].to_string(), "needs 0.501 of api, 0.5 of 2 are free");
        assert!(!lacks[0].is_missing());
    }

    #[test]
    fn f65_a_request_that_can_never_fit_is_known_with_its_number() {
        let lacks = never_fits(&request(8000, 2 << 30, 3000), &capacity());
        let texts: Vec<String> = lacks.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            ["needs 8 CPUs, 4 of 4 are free", "needs 2 GiB of memory, 1 GiB of 1 GiB are free", "needs 3 of api, 2 of 2 are free"]
        );
        assert!(lacks.iter().all(Unmet::is_missing));
        assert!(never_fits(&request(4000, 1 << 30, 2000), &capacity()).is_empty());
    }

    #[test]
    fn places_run_out_whatever_a_request_asks_for() {
        let mut held = Held::default();
        (0..3).for_each(|_| held.take(&request(0, 0, 0)));
        assert_eq!(unmet(&request(0, 0, 0), &capacity(), &held, &Live::default()), [Unmet::Slots { limit: 3 }]);
    }

    #[test]
    fn a_resource_that_the_settings_lost_is_missing() {
        let other = ResourceName::parse("gone").expect("a name");
        let request = Request { custom: BTreeMap::from([(other, Amount(1))]), ..Request::default() };
        assert!(never_fits(&request, &capacity())[0].is_missing());
    }
}
