//! The GPUs of this machine. Nobody asks the driver before somebody wants to know: loading it takes longer than all else that a host does
//! at its start, and more memory than an idle host has.
//!
//! Shared by the handle (a submission that asks for a GPU), the thread that looks at the machine, and verbs that only look. Knows drivers and
//! nothing of settings but whether they hand out any GPU.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use crate::probe::{GpuDevice, GpuDriver, GpuUse};

/// How long a driver may take to name its devices: it answers within some hundredths of a second, or not at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What a driver shows, or why nothing.
pub(super) type Answer = Result<Vec<GpuDevice>, String>;

type Open = Arc<dyn Fn() -> Box<dyn GpuDriver> + Send + Sync>;

/// The way to a driver. Copies are of the same one.
#[derive(Clone)]
pub(super) struct Devices(Arc<Inner>);

struct Inner {
    open: Open,
    found: OnceLock<Answer>,
    driver: Mutex<Option<Box<dyn GpuDriver>>>,
}

impl std::fmt::Debug for Devices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Devices").field(&self.known()).finish()
    }
}

impl Devices {
    /// Those of a driver that is opened when they are first asked for.
    pub(super) fn of(open: impl Fn() -> Box<dyn GpuDriver> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { open: Arc::new(open), found: OnceLock::new(), driver: Mutex::default() }))
    }

    /// None, for this reason; nobody is ever asked.
    pub(super) fn none(reason: &str) -> Self {
        let reason = reason.to_owned();
        let devices = Self::of(move || Box::new(crate::probe::NoDriver(reason.clone())));
        devices.find();
        devices
    }

    /// Asks the driver the first time, and remembers. May take some seconds where it hangs.
    pub(super) fn find(&self) -> &Answer {
        self.0.found.get_or_init(|| {
            let (send, answer) = mpsc::channel();
            let open = self.0.open.clone();
            let asking = std::thread::Builder::new().name("gpus".into()).spawn(move || {
                let mut driver = open();
                let devices = driver.devices();
                // Whoever asked may have given up.
                let _ = send.send((driver, devices));
            });
            // One that hangs, as with a card that fell off the bus, costs its GPUs and not the start of a run.
            let Some((driver, devices)) = asking.ok().and_then(|_| answer.recv_timeout(ANSWER_WITHIN).ok()) else {
                return Err("the NVIDIA driver does not answer".to_owned());
            };
            *self.0.driver.lock().unwrap_or_else(PoisonError::into_inner) = Some(driver);
            devices
        })
    }

    /// What is known by now; none where nobody has asked.
    pub(super) fn known(&self) -> Option<&Answer> {
        self.0.found.get()
    }

    /// What is in use; nothing before somebody asked for the devices. May take long where a driver hangs.
    pub(super) fn look(&self) -> Vec<GpuUse> {
        let mut driver = self.0.driver.lock().unwrap_or_else(PoisonError::into_inner);
        driver.as_mut().map(|driver| driver.look()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::probe::NoDriver;

    #[test]
    fn a_driver_is_opened_when_it_is_asked_for_and_once() {
        let opened = Arc::new(AtomicU32::new(0));
        let counted = opened.clone();
        let devices = Devices::of(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Box::new(NoDriver("none here".into()))
        });
        assert!(devices.known().is_none() && devices.look().is_empty());
        assert_eq!(opened.load(Ordering::Relaxed), 0);
        let other = devices.clone();
        assert_eq!(other.find(), &Err("none here".to_owned()));
        assert!(devices.find().is_err() && devices.known().is_some());
        assert_eq!(opened.load(Ordering::Relaxed), 1);
    }
}
