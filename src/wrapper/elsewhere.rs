//! A system that the wrapper is not made for yet: nothing is started, and the exit record says so.

use std::io;
use std::process::Command;
use std::time::Instant;

use super::pump::Pump;
use crate::attempt::{ExitHow, MemoryGuard};
use crate::units::Bytes;

pub(super) fn settle_in(_: Option<u64>) {}

/// Signals to the wrapper.
#[derive(Debug)]
pub(super) struct Signals;

impl Signals {
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self)
    }
}

/// What a wait brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Woken {
    pub(super) term: bool,
    pub(super) look: bool,
}

/// How and when the module ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) how: ExitHow,
    pub(super) at: Instant,
}

/// A module that never runs.
#[derive(Debug)]
pub(super) enum Process {}

impl Process {
    pub(super) fn spawn(_: Command, _: Signals) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn id(&self) -> u32 {
        match *self {}
    }

    pub(super) fn end(&self) -> Option<&End> {
        match *self {}
    }

    pub(super) fn is_alone(&self) -> bool {
        match *self {}
    }

    pub(super) fn is_silent(&self) -> bool {
        match *self {}
    }

    pub(super) fn wait(&mut self, _: Option<Instant>, _: &mut Pump) -> Woken {
        match *self {}
    }

    pub(super) fn ask(&self) {
        match *self {}
    }

    pub(super) fn kill(&mut self) {
        match *self {}
    }

    pub(super) fn descendants(&self) -> Vec<u32> {
        match *self {}
    }
}

/// What holds a module to its memory limit.
#[derive(Debug)]
pub(super) struct Guard;

impl Guard {
    pub(super) fn set_up(_: Option<Bytes>) -> Self {
        Self
    }

    pub(super) fn leave(&self) {}

    pub(super) fn kind(&self) -> Option<MemoryGuard> {
        None
    }

    pub(super) fn next(&self) -> Option<Instant> {
        None
    }

    pub(super) fn is_passed(&mut self, _: Instant) -> bool {
        false
    }

    pub(super) fn finish(self) -> (bool, Option<Bytes>) {
        (false, None)
    }
}

/// What the children used.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) user_us: u64,
    pub(super) system_us: u64,
    pub(super) peak_memory: u64,
}

impl Usage {
    pub(super) fn of_children() -> Self {
        Self::default()
    }
}
