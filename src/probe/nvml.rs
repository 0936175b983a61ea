//! NVML: the management library of NVIDIA's driver. It is loaded at run time; without a driver there is none, and nothing else happens.

use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::gpu::{GpuDevice, GpuDriver, GpuUse};
use crate::units::Bytes;

struct Nvidia {
    library: Nvml,
}

/// Loads the library.
///
/// # Errors
/// Why it cannot be, for people.
pub(super) fn load() -> Result<Box<dyn GpuDriver>, String> {
    let library = Nvml::init().map_err(|error| reason(&error))?;
    Ok(Box::new(Nvidia { library }))
}

fn reason(error: &NvmlError) -> String {
    if matches!(error, NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound) {
        let name = if cfg!(windows) { "nvml.dll" } else { "libnvidia-ml.so.1" };
        return format!("there is no NVIDIA driver here ({name} was not found)");
    }
    format!("the NVIDIA driver does not answer: {error}")
}

impl Nvidia {
    /// Whole cards, and instead of a card that is divided its parts.
    fn handles(&self) -> Result<Vec<Device<'_>>, NvmlError> {
        let mut handles = Vec::new();
        for index in 0..self.library.device_count()? {
            // One that fell off the bus is passed over: the others are still good.
            let Ok(card) = self.library.device_by_index(index) else { continue };
            let parts = parts_of(&card);
            if parts == 0 {
                handles.push(card);
            } else {
                handles.extend((0..parts).filter_map(|part| self.part(index, part)));
            }
        }
        Ok(handles)
    }

    /// A part of a card. There are gaps in their numbers.
    fn part(&self, card: u32, part: u32) -> Option<Device<'_>> {
        let uuid = self.library.device_by_index(card).ok()?.mig_device_by_index(part).ok()?.uuid().ok()?;
        // Asked for anew by its name, since the handle borrows from that of the card.
        self.library.device_by_uuid(uuid).ok()
    }
}

/// Into how many parts a card may be divided; 0: it is not.
fn parts_of(card: &Device<'_>) -> u32 {
    let divided = card.mig_mode().is_ok_and(|mode| mode.current == 1);
    if divided { card.mig_device_count().unwrap_or(0) } else { 0 }
}

impl GpuDriver for Nvidia {
    fn devices(&mut self) -> Result<Vec<GpuDevice>, String> {
        let handles = self.handles().map_err(|error| reason(&error))?;
        let described = |device: &Device<'_>| -> Result<GpuDevice, NvmlError> {
            let total = Bytes(device.memory_info()?.total);
            Ok(GpuDevice { uuid: device.uuid()?, name: device.name().unwrap_or_else(|_| "GPU".to_owned()), total })
        };
        let (devices, mut failed): (Vec<_>, Vec<_>) = handles.iter().map(described).partition(Result::is_ok);
        match failed.pop() {
            // Cards of which none can be described, as under a driver of before 2022, are no machine without cards.
            Some(Err(error)) if devices.is_empty() => Err(reason(&error)),
            Some(_) | None => Ok(devices.into_iter().flatten().collect()),
        }
    }

    fn look(&mut self) -> Vec<GpuUse> {
        let used = |device: &Device<'_>| {
            let lists = [device.running_compute_processes(), device.running_graphics_processes()];
            let processes = lists.into_iter().flatten().flatten().map(|process| {
                let memory = match process.used_gpu_memory {
                    UsedGpuMemory::Used(bytes) => Some(Bytes(bytes)),
                    UsedGpuMemory::Unavailable => None,
                };
                (process.pid, memory)
            });
            let mut processes: Vec<(u32, Option<Bytes>)> = processes.collect();
            // A process that computes and draws stands in both lists, each time with all of its memory.
            processes.sort_unstable();
            processes.dedup_by_key(|(pid, _)| *pid);
            // Last, as said in `host::machine`.
            let memory = device.memory_info().ok()?;
            Some(GpuUse { uuid: device.uuid().ok()?, used: Bytes(memory.used), free: Bytes(memory.free), processes })
        };
        self.handles().unwrap_or_default().iter().filter_map(used).collect()
    }
}

#[cfg(test)]
mod tests {
    /// What F-62 asks for on a machine without a driver: a reason and no panic. With one there are devices, or a reason.
    #[test]
    fn f62_a_machine_without_a_driver_says_so() {
        let mut driver = crate::probe::nvidia();
        match driver.devices() {
            Ok(devices) => assert!(devices.iter().all(|device| device.total.0 > 0)),
            Err(reason) => {
                assert!(reason.contains("NVIDIA driver"), "{reason}");
                assert!(driver.look().is_empty());
            }
        }
    }
}
