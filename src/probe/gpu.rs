//! GPUs as a driver shows them. The trait is what tests replace; [`nvidia`] is the real thing.

use crate::units::Bytes;

/// A GPU, or a part of one that the driver shows as a device of its own (MIG).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuDevice {
    /// As the driver tells it.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// All of its memory.
    pub total: Bytes,
}

/// What is in use of a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuUse {
    /// Its UUID.
    pub uuid: String,
    /// Memory in use.
    pub used: Bytes,
    /// Memory free.
    pub free: Bytes,
    /// Processes on it, with the memory of each where the driver tells it.
    pub processes: Vec<(u32, Option<Bytes>)>,
}

/// A driver.
pub trait GpuDriver: Send {
    /// All devices that answer.
    ///
    /// # Errors
    /// Why there are none, in words.
    fn devices(&mut self) -> Result<Vec<GpuDevice>, String>;

    /// What is in use now; a device that does not answer is left out. May take long where a driver hangs.
    fn look(&mut self) -> Vec<GpuUse>;
}

/// A machine without a driver, or a host that was told to hand out no GPUs.
#[derive(Debug, Clone)]
pub struct NoDriver(pub String);

impl GpuDriver for NoDriver {
    fn devices(&mut self) -> Result<Vec<GpuDevice>, String> {
        Err(self.0.clone())
    }

    fn look(&mut self) -> Vec<GpuUse> {
        Vec::new()
    }
}

/// NVIDIA's driver, by its management library (NVML), which is loaded now; without one a driver that has no devices.
#[must_use]
pub fn nvidia() -> Box<dyn GpuDriver> {
    super::nvml::load().unwrap_or_else(|reason| Box::new(NoDriver(reason)))
}
