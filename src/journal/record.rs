//! One record: a line.
use std::borrow::Cow;

use crate::ids::{AttemptNumber, Seq};
use crate::units::Timestamp;

/// A record as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number.
    pub seq: Seq,
    /// Wall clock at its writing.
    pub at: Timestamp,
    /// Boot of the machine that wrote it, shortened: see [`boot_id`](super::boot_id).
    pub boot: Cow<'a, str>,
    /// What happened.
    pub kind: Cow<'a, str>,
    /// The run concerned.
    pub run: Option<Cow<'a, str>>,
    /// Path of the node.
    pub node: Option<Cow<'a, str>>,
    /// The attempt.
    pub attempt: Option<AttemptNumber>,
    /// JSON text of the rest, fetched from `blobs/` where it lies there.
    pub data: Option<Cow<'a, str>>,
}
