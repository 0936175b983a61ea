//! Free space of the file systems that runs write to: enough, low, or so short that nothing new starts.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Bytes;

/// Below this share of a file system, one part in so many (10 %), people are warned.
const LOW_SHARE: u64 = 10;

/// A file system that runs write to, as it was when somebody looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disk {
    /// The folder on it that is written to.
    pub folder: String,
    /// What can still be written.
    pub free: Bytes,
    /// Its size. 0 where it does not tell one: then nothing is concluded.
    pub total: Bytes,
    /// What is kept free: below it nothing new starts.
    pub reserve: Bytes,
}

/// How a file system stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DiskLevel {
    /// There is room.
    #[default]
    Enough,
    /// Below 10 %: a warning.
    Low,
    /// Below the reserve: nothing new starts.
    Short,
}

impl Disk {
    /// How it stands.
    #[must_use]
    pub fn level(&self) -> DiskLevel {
        if self.total.0 == 0 {
            DiskLevel::Enough
        } else if self.free < self.reserve {
            DiskLevel::Short
        } else if self.free.0 < self.total.0.div_ceil(LOW_SHARE) {
            DiskLevel::Low
        } else {
            DiskLevel::Enough
        }
    }
}

/// The worst of some file systems.
#[must_use]
pub fn worst_level(disks: &[Disk]) -> DiskLevel {
    disks.iter().map(Disk::level).max().unwrap_or(DiskLevel::Enough)
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} are free on the disk of {}", self.free, self.total, self.folder)?;
        if self.level() == DiskLevel::Short { write!(f, ", and nothing starts below {}", self.reserve) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(free: u64, total: u64, reserve: u64) -> DiskLevel {
        Disk { folder: "/w".into(), free: Bytes(free), total: Bytes(total), reserve: Bytes(reserve) }.level()
    }

    #[test]
    fn a_tenth_warns_and_the_reserve_stops() {
        assert_eq!([level(100, 1000, 20), level(99, 1000, 20)], [DiskLevel::Enough, DiskLevel::Low]);
        assert_eq!([level(20, 1000, 20), level(19, 1000, 20)], [DiskLevel::Low, DiskLevel::Short]);
        assert_eq!([level(0, 1000, 0), level(0, 9, 0), level(1, 9, 0)], [DiskLevel::Low, DiskLevel::Low, DiskLevel::Enough]);
        assert_eq!(level(999, 1000, 5000), DiskLevel::Short, "a reserve larger than the disk");
        assert_eq!(level(0, 0, 5000), DiskLevel::Enough, "what tells no size is no reason to stop");
        assert_eq!(level(u64::MAX - 1, u64::MAX, u64::MAX), DiskLevel::Short);
    }

    #[test]
    fn the_words_say_where_and_how_much() {
        let disk = Disk { folder: "/w".into(), free: Bytes(1 << 20), total: Bytes(1 << 30), reserve: Bytes(20 << 20) };
        assert_eq!(disk.to_string(), "1 MiB of 1 GiB are free on the disk of /w, and nothing starts below 20 MiB");
        assert_eq!(worst_level(&[Disk { reserve: Bytes(0), ..disk.clone() }, disk]), DiskLevel::Short);
        assert_eq!(worst_level(&[]), DiskLevel::Enough);
    }
}
