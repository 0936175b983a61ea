//! The machine as the host sees it: what may be handed out by settings and probe, what is really free, and what attempts use of it.
//!
//! Knows the probe and nothing of runs: attempts come in as [`Subject`]s. Used by `start`, by the thread in `measure`, and by `offline`.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use super::devices::Devices;
use crate::attempt::StartRecord;
use crate::ids::AttemptId;
use crate::probe::{self, GpuDevice, GpuUse, Processes};
use crate::resources::{Capacity, Gpu, GpuReading, MemoryReading, Reading, Usage};
use crate::settings::Settings;
use crate::units::{Bytes, CpuMillis, DurationMs};

/// What is known of the machine by now.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Processors and memory.
    pub(super) machine: probe::Detected,
    /// GPUs, or why there are none.
    pub(super) gpus: Result<Vec<GpuDevice>, String>,
    /// UUIDs of devices that ought to answer.
    expected: Vec<String>,
}

/// The machine, and the way to its drivers. Copies share what is found.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    machine: probe::Detected,
    devices: Devices,
    settings: Arc<RwLock<Arc<Settings>>>,
}

/// An attempt whose use is to be measured.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// Which.
    pub(super) id: AttemptId,
    /// Its folder, where the wrapper wrote down who it is.
    pub(super) folder: PathBuf,
    /// Its process, of one without a wrapper.
    pub(super) pid: Option<u32>,
}

/// What a look found.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    pub(super) reading: Reading,
    pub(super) used: Vec<(AttemptId, Usage)>,
    pub(super) times: CpuTimes,
}

/// Time on processors up to now.
#[derive(Debug, Clone, Default)]
pub(super) struct CpuTimes {
    /// Of all programs; none where the system does not tell.
    pub(super) busy: Option<DurationMs>,
    /// Of attempts.
    pub(super) attempts: BTreeMap<AttemptId, DurationMs>,
}

impl Machine {
    /// Looks at this machine, all of it.
    pub(super) fn detect(settings: &Settings) -> Self {
        let machine = Self::of_host(Arc::new(settings.clone()));
        machine.find_gpus();
        machine
    }

    /// The same, but that its GPUs are looked for when somebody wants them. Where the settings hand out none nobody is ever asked.
    pub(super) fn of_host(settings: Arc<Settings>) -> Self {
        let none = settings.capacity.gpus.as_ref().is_some_and(Vec::is_empty);
        let devices = if none { Devices::none("`host.capacity.gpus` in prismq.yaml is empty") } else { Devices::of(probe::nvidia) };
        Self { machine: probe::detect(), devices, settings: Arc::new(RwLock::new(settings)) }
    }

    /// Has the driver asked, if nobody did yet. May take some seconds where it hangs.
    pub(super) fn find_gpus(&self) {
        self.devices.find();
    }

    /// Whether it was.
    pub(super) fn has_asked(&self) -> bool {
        self.devices.known().is_some()
    }

    /// What is known by now.
    pub(super) fn found(&self) -> Found {
        let gpus = self.devices.known().cloned().unwrap_or_else(|| Err("nobody has asked for them yet".to_owned()));
        let expected = gpus.as_ref().map(|devices| expected(&self.settings(), devices)).unwrap_or_default();
        Found { machine: self.machine, gpus, expected }
    }

    /// What may be held at once: the settings, else what the machine has, less the reserve.
    pub(super) fn capacity(&self) -> Capacity {
        let (settings, found) = (self.settings(), self.machine);
        let cpus: CpuMillis = settings.capacity.cpus.unwrap_or(found.cpus);
        // The reserve is for the person's own programs: it is taken off what the machine has, not off what the settings say outright.
        let reserved = Bytes(found.memory.0.saturating_sub(settings.memory_reserve(found.memory).0));
        let memory = settings.capacity.memory.unwrap_or(reserved);
        let known = self.devices.known().and_then(|devices| devices.as_deref().ok());
        let gpus = gpus(&settings, known.unwrap_or_default());
        Capacity { cpus, memory, gpus, custom: settings.capacity.custom.clone(), max_concurrent: settings.max_concurrent }
    }

    fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes by other settings from now on, in all copies.
    pub(super) fn set_settings(&self, settings: Arc<Settings>) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Looks what is free, and what these attempts use. May take long where a driver hangs.
    pub(super) fn look(&self, subjects: &[Subject]) -> Report {
        // What is free comes last: what somebody takes between two of these steps is then missing twice, and never counted as free.
        let expected = self.found().expected;
        let asks = !expected.is_empty();
        let processes = if subjects.is_empty() && !asks { Processes::default() } else { Processes::look() };
        let uses = if asks { self.devices.look() } else { Vec::new() };
        let memory = probe::memory().map(|memory| MemoryReading { total: memory.total, free: memory.free });
        let gpus = expected.iter().map(|uuid| {
            let found = uses.iter().find(|gpu| gpu.uuid == *uuid);
            (uuid.clone(), found.map_or(GpuReading::Lost, |gpu| reading_of(gpu, &processes)))
        });
        let reading = Reading { memory, gpus: gpus.collect() };
        let (mut used, mut times) = (Vec::new(), CpuTimes { busy: probe::busy(), attempts: BTreeMap::new() });
        for (id, usage, cpu) in subjects.iter().filter_map(|subject| usage(subject, &processes, &uses)) {
            times.attempts.insert(id.clone(), cpu);
            used.push((id, usage));
        }
        Report { reading, used, times }
    }

    /// What is said of a machine that was asked and does not answer: its GPUs are out of reach, and of its memory nothing is known.
    pub(super) fn silent(found: &Found) -> Reading {
        let gpus = found.expected.iter().map(|uuid| (uuid.clone(), GpuReading::Lost));
        Reading { memory: None, gpus: gpus.collect() }
    }
}

/// Devices that were found, and those of the settings that this driver would show if they were there.
fn expected(settings: &Settings, found: &[GpuDevice]) -> Vec<String> {
    let mut uuids: Vec<String> = found.iter().map(|device| device.uuid.clone()).collect();
    let listed = settings.capacity.gpus.iter().flatten().map(|gpu| &gpu.uuid);
    let nvidia = |uuid: &&String| uuid.starts_with("GPU-") || uuid.starts_with("MIG-");
    uuids.extend(listed.filter(nvidia).filter(|uuid| found.iter().all(|device| device.uuid != **uuid)).cloned());
    uuids
}

/// Numbers of processes are of use only where they are those that this process sees: a container has its own.
fn reading_of(gpu: &GpuUse, processes: &Processes) -> GpuReading {
    let by_process = gpu.processes.iter().any(|(pid, memory)| memory.is_some() && processes.has(*pid));
    GpuReading::Seen { used: gpu.used, free: gpu.free, by_process }
}

fn usage(subject: &Subject, processes: &Processes, uses: &[GpuUse]) -> Option<(AttemptId, Usage, DurationMs)> {
    // What is left behind by a module belongs to its wrapper.
    let wrapper = || StartRecord::read(&subject.folder).ok().flatten().map(|record| record.wrapper.pid);
    let own: HashSet<u32> = processes.below(subject.pid.or_else(wrapper)?);
    let vram = uses.iter().map(|gpu| {
        let ours = gpu.processes.iter().filter(|(pid, _)| own.contains(pid)).filter_map(|(_, memory)| *memory);
        (gpu.uuid.clone(), Bytes(ours.fold(0, |sum, memory| sum.saturating_add(memory.0))))
    });
    let vram: BTreeMap<String, Bytes> = vram.filter(|(_, used)| used.0 > 0).collect();
    Some((subject.id.clone(), Usage { memory: processes.memory_of(&own), vram }, processes.cpu_of(&own)))
}

/// GPUs that may be handed out: those of the settings, else all that were found.
fn gpus(settings: &Settings, found: &[GpuDevice]) -> Vec<Gpu> {
    let reserve = settings.reserve_vram;
    let detected = |device: &GpuDevice| Gpu { uuid: device.uuid.clone(), name: device.name.clone(), total: device.total, reserve };
    let Some(listed) = &settings.capacity.gpus else { return found.iter().map(detected).collect() };
    let listed = listed.iter().filter_map(|setting| {
        let device = found.iter().find(|device| device.uuid == setting.uuid);
        let total = match (device, setting.vram) {
            (Some(device), Some(most)) => device.total.min(most),
            (Some(device), None) => device.total,
            (None, configured) => configured?,
        };
        let name = setting.name.clone().or_else(|| device.map(|device| device.name.clone())).unwrap_or_else(|| setting.uuid.clone());
        Some(Gpu { uuid: setting.uuid.clone(), name, total, reserve })
    });
    listed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AttemptNumber, NodeIndex, RunId};
    use crate::probe::GpuDriver;
    use crate::settings::GpuSetting;

    const GIB: u64 = 1 << 30;

    /// A driver that shows what a test tells it.
    struct Fake {
        devices: Vec<GpuDevice>,
        uses: Vec<GpuUse>,
    }

    impl GpuDriver for Fake {
        fn devices(&mut self) -> Result<Vec<GpuDevice>, String> {
            Ok(self.devices.clone())
        }

        fn look(&mut self) -> Vec<GpuUse> {
            self.uses.clone()
        }
    }

    fn device(uuid: &str, gib: u64) -> GpuDevice {
        GpuDevice { uuid: uuid.into(), name: format!("Card {uuid}"), total: Bytes(gib * GIB) }
    }

    fn machine(settings: &Settings, uses: Vec<GpuUse>) -> Machine {
        let open =
            move || -> Box<dyn GpuDriver> { Box::new(Fake { devices: vec![device("GPU-a", 24), device("GPU-b", 8)], uses: uses.clone() }) };
        let found = probe::Detected { cpus: CpuMillis(4000), memory: Bytes(16 * GIB) };
        let machine = Machine { machine: found, devices: Devices::of(open), settings: Arc::new(RwLock::new(Arc::new(settings.clone()))) };
        machine.find_gpus();
        machine
    }

    fn listed(uuid: &str, vram: Option<u64>) -> GpuSetting {
        GpuSetting { uuid: uuid.into(), name: None, vram: vram.map(|gib| Bytes(gib * GIB)) }
    }

    fn with_gpus(gpus: Vec<GpuSetting>) -> Settings {
        let mut settings = Settings::default();
        settings.capacity.gpus = Some(gpus);
        settings
    }

    #[test]
    fn all_that_is_found_is_handed_out_less_the_reserves() {
        let capacity = machine(&Settings::default(), Vec::new()).capacity();
        let shown: Vec<_> = capacity.gpus.iter().map(|gpu| (gpu.uuid.as_str(), gpu.usable().0 / GIB)).collect();
        assert_eq!((shown, capacity.memory), (vec![("GPU-a", 23), ("GPU-b", 7)], Bytes(15 * GIB)));
    }

    #[test]
    fn the_settings_choose_limit_and_add() {
        let settings = with_gpus(vec![listed("GPU-b", None), listed("GPU-a", Some(10)), listed("other", Some(4)), listed("unknown", None)]);
        let capacity = machine(&settings, Vec::new()).capacity();
        let shown: Vec<_> = capacity.gpus.iter().map(|gpu| (gpu.name.as_str(), gpu.total.0 / GIB)).collect();
        assert_eq!(shown, [("Card GPU-b", 8), ("Card GPU-a", 10), ("other", 4)]);
        assert_eq!(machine(&with_gpus(Vec::new()), Vec::new()).capacity().gpus, []);
    }

    #[test]
    fn f62_a_card_that_does_not_answer_is_lost_and_one_that_nobody_can_measure_is_not() {
        let settings = with_gpus(vec![listed("GPU-gone", Some(24)), listed("other", Some(4))]);
        let used = GpuUse { uuid: "GPU-a".into(), used: Bytes(5), free: Bytes(7), processes: Vec::new() };
        let reading = machine(&settings, vec![used]).look(&[]).reading;
        let seen = GpuReading::Seen { used: Bytes(5), free: Bytes(7), by_process: false };
        let wanted = [("GPU-a", seen), ("GPU-b", GpuReading::Lost), ("GPU-gone", GpuReading::Lost)];
        assert_eq!(reading.gpus, wanted.map(|(uuid, reading)| (uuid.to_owned(), reading)).into());
        assert!(reading.memory.is_some_and(|memory| memory.free <= memory.total));
    }

    #[test]
    fn the_use_of_an_attempt_is_that_of_its_processes() {
        let own = std::process::id();
        let processes = vec![(own, Some(Bytes(3))), (u32::MAX, Some(Bytes(100)))];
        let used = GpuUse { uuid: "GPU-a".into(), used: Bytes(103), free: Bytes(7), processes };
        let id = AttemptId { run: RunId::parse("20251120-081152-zzzzz").expect("an id"), node: NodeIndex(0), attempt: AttemptNumber(1) };
        let subject = |pid| Subject { id: id.clone(), folder: "/nowhere".into(), pid };
        let report = machine(&Settings::default(), vec![used]).look(&[subject(Some(own)), subject(None)]);
        assert_eq!(report.used.len(), 1, "of one whose process is not known nothing is said");
        assert_eq!(report.used[0].1.vram, BTreeMap::from([("GPU-a".to_owned(), Bytes(3))]));
        assert!(report.used[0].1.memory.0 > 0);
        assert!(matches!(report.reading.gpus["GPU-a"], GpuReading::Seen { by_process: true, .. }));
    }
}
