//! Secrets of an attempt: how to get them, and then what they are. Never printed; a value leaves only in the environment of its module.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use crate::event::SpawnFailure;

/// Values by name.
pub type Values = Vec<(OsString, OsString)>;

/// Gets the values. May take seconds, so that it is called on a thread of its own.
pub type Unlock = Arc<dyn Fn() -> Result<Values, SpawnFailure> + Send + Sync>;

/// The secrets of an attempt.
#[derive(Clone, Default)]
pub enum Secrets {
    /// It has none.
    #[default]
    None,
    /// They have to be fetched.
    Locked(Unlock),
    /// They are there.
    Open(Values),
}

impl Secrets {
    /// The names of those that are there.
    #[must_use]
    pub fn names(&self) -> Vec<OsString> {
        self.values().iter().map(|(name, _)| name.clone()).collect()
    }

    /// Those that are there.
    #[must_use]
    pub fn values(&self) -> &[(OsString, OsString)] {
        match self {
            Self::None | Self::Locked(_) => &[],
            Self::Open(values) => values,
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("None"),
            Self::Locked(_) => formatter.write_str("Locked"),
            Self::Open(_) => formatter.debug_tuple("Open").field(&self.names()).finish(),
        }
    }
}
