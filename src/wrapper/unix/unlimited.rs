//! Memory where nothing holds a module to its limit. Its record says so.

use std::time::Instant;

use crate::attempt::MemoryGuard;
use crate::units::Bytes;

/// Nothing.
#[derive(Debug)]
pub(in crate::wrapper) struct Guard;

impl Guard {
    pub(in crate::wrapper) fn set_up(_: Option<Bytes>) -> Self {
        Self
    }

    pub(in crate::wrapper) fn leave(&self) {}

    pub(in crate::wrapper) fn kind(&self) -> Option<MemoryGuard> {
        None
    }

    pub(in crate::wrapper) fn next(&self) -> Option<Instant> {
        None
    }

    pub(in crate::wrapper) fn is_passed(&mut self, _: Instant) -> bool {
        false
    }

    pub(in crate::wrapper) fn finish(self) -> (bool, Option<Bytes>) {
        (false, None)
    }
}
