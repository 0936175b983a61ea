//! stub
use crate::resources::Held;
/// Nodes that are equal to the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u32);
#[derive(Debug, Clone, Default)]
pub(super) struct Derived { pub(super) held: Held, pub(super) counts: [u32; 9] }
